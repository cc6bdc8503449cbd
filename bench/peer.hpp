// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "activation_trace/ops/execution.hpp"
#include "floors.hpp"

#if defined(ACTIVATION_TRACE_BENCH_LLAMA_CPP)
#include "activation_trace/embed/llama_cpp_model.hpp"
#endif

namespace activation_trace::bench {

#if defined(ACTIVATION_TRACE_BENCH_LLAMA_CPP)

/// llama.cpp with the same file, sequences and threads, as it comes: its flash attention, its cache of halves. What it
/// has no function for, layers' logits and entropies, is ours there, too.
class Peer {
 public:
  Peer(const std::string& path, Index context, Index sequences, Execution<Host>& execution)
      : engine_(load(path)),
        model_(engine_.get(), open_lm_head(path, llama_cpp::detail::widen_by_ggml),
               params(context, sequences, execution.threads()), execution) {}

  /// Of f(model).
  template <class F>
  double seconds(const F& f) {
    return bench::seconds([&] { f(model_); });
  }

 private:
  static llama_model_ptr load(const std::string& path) {
    llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
    llama_model_ptr model(llama_model_load_from_file(path.c_str(), llama_model_default_params()));
    if (model == nullptr) throw Error(path + ": llama.cpp does not load it");
    return model;
  }
  static llama_context_params params(Index context, Index sequences, int threads) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = static_cast<std::uint32_t>((context + 255) / 256 * 256 * sequences);
    params.n_batch = params.n_ubatch = 512;
    params.n_seq_max = static_cast<std::uint32_t>(sequences);
    params.n_threads = params.n_threads_batch = threads;
    return params;
  }

  llama_model_ptr engine_;
  LlamaCppModel model_;
};

#else

/// None: there is no llama.cpp here.
struct Peer {
  Peer(const std::string& /*path*/, Index /*context*/, Index /*sequences*/, Execution<Host>& /*execution*/) {}

  template <class F>
  double seconds(const F& /*f*/) {
    return 0;
  }
};

#endif

}  // namespace activation_trace::bench
