// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "activation_trace/embed/llama_cpp.hpp"
#include "activation_trace/embed/llama_cpp_guests.hpp"
#include "activation_trace/embed/llama_cpp_model.hpp"
#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/generation/generate.hpp"
#include "activation_trace/model/llama.hpp"
#include "embed/llama_cpp_engine.hpp"
#include "support/file_builders.hpp"
#include "support/no_text.hpp"
#include "support/tiny_llama.hpp"

using namespace activation_trace;
using test::NoText;

// Architectures other than LLaMA's in llama.cpp: what it calls logits is the head times its last state, and what our
// engine reads of them it computes alike.

namespace {

std::vector<TokenId> some_tokens(Index count, Index vocab) {
  std::vector<TokenId> ids;
  for (Index i = 0; i < count; ++i) ids.push_back(static_cast<TokenId>((i * i * 7 + 3 * i + 4) % vocab));
  return ids;
}

/// The largest distance of head times state from llama.cpp's rows, over the largest logit.
double head_error(const std::filesystem::path& path) {
  const llama_model_ptr model = test::load_llama_cpp(path);
  const LmHeadFile file = llama_cpp::open_lm_head(path);
  const Index last = file.blocks;
  llama_cpp::LayerTap tap(model.get());
  llama_context_params params = test::exact_params();
  tap.attach(params);
  const llama_context_ptr context(llama_init_from_model(model.get(), params));
  tap.read(context.get(), 0);
  tap.keep(last, llama_cpp::Keep::all_rows);
  const std::vector<TokenId> ids = some_tokens(33, file.head.vocab());
  test::decode(context.get(), ids, 0, test::Flag::all);
  const LogitOptions& made = file.head.options();
  double worst = 0;
  double largest = 0;
  std::vector<float> row(static_cast<std::size_t>(file.head.hidden()));
  for (Index position = 0; position < 33; ++position) {
    const float* logits = llama_get_logits_ith(context.get(), static_cast<std::int32_t>(position));
    for (Index v = 0; v < file.head.vocab(); ++v) {
      file.head.row(static_cast<TokenId>(v), row);
      double sum = 0;
      for (Index k = 0; k < file.head.hidden(); ++k)
        sum +=
            static_cast<double>(row[static_cast<std::size_t>(k)]) * static_cast<double>(tap.states(last)(position, k));
      sum *= static_cast<double>(made.scale);
      if (made.soft_cap)
        sum = static_cast<double>(*made.soft_cap) * std::tanh(sum / static_cast<double>(*made.soft_cap));
      worst = std::max(worst, std::abs(sum - static_cast<double>(logits[v])));
      largest = std::max(largest, std::abs(static_cast<double>(logits[v])));
    }
  }
  return worst / largest;
}

/// 24 tokens behind a prompt by the guest of each of two sequences, which take turns in the batches.
std::array<std::vector<TokenId>, 2> by_guests(llama_model* model, const std::filesystem::path& path, const Mode& mode,
                                              std::span<const TokenId> prompt) {
  llama_cpp::Guests guests(model, path, {{.mode = mode}, {.mode = mode}});
  llama_context_params params = test::exact_params();
  params.n_seq_max = 2;
  params.kv_unified = true;
  params.swa_full = false;  // what is behind a window gives its cells to others
  guests.attach(params);
  const llama_context_ptr context(llama_init_from_model(model, params));
  std::array<std::vector<TokenId>, 2> texts;
  std::array<llama_sampler_ptr, 2> chains;
  for (std::size_t s = 0; s < 2; ++s) {
    texts[s].assign(prompt.begin(), prompt.end());
    chains[s] = test::greedy_chain(guests.sampler(context.get(), static_cast<llama_seq_id>(s)));
  }
  test::Batch batch;
  for (std::size_t read = 0, end = prompt.size(); end < prompt.size() + 24; ++end) {
    batch.clear();
    std::array<std::int32_t, 2> last{};
    for (; read < end; ++read)
      for (std::size_t s = 0; s < 2; ++s)
        last[s] = batch.add(texts[s][read], static_cast<Index>(read), {static_cast<llama_seq_id>(s)}, read + 1 == end);
    REQUIRE(guests.decode(context.get(), batch.get()) == 0);
    for (std::size_t s = 0; s < 2; ++s)
      texts[s].push_back(llama_sampler_sample(chains[s].get(), context.get(), last[s]));
    guests.check();
  }
  for (std::vector<TokenId>& text : texts) text.erase(text.begin(), text.begin() + std::ssize(prompt));
  return texts;
}

/// 24 tokens in every mode by our engine, by llama.cpp as an engine of ours, and by guests in it.
void compare_engines(const std::filesystem::path& path) {
  const Checkpoint checkpoint = load_llama(path);
  Execution<Host> execution;
  Llama own(checkpoint.config, checkpoint.weights, {.max_context = 128}, execution);
  const llama_model_ptr engine = test::load_llama_cpp(path);
  LlamaCppModel model(engine.get(), llama_cpp::open_lm_head(path), test::exact_params(), execution);
  const std::vector<TokenId> prompt = some_tokens(21, checkpoint.config.vocab);
  const Index before_last = checkpoint.config.layers - 1;
  const std::vector<Index> early{0, 1};
  for (const Mode& mode :
       {Mode(Baseline{}), Mode(Activation{.context = {.info_layer = before_last}}),
        Mode(Activation{.context = {.info_layer = 0, .final_norm = true, .growth = ContextGrowth::growing}}),
        Mode(DolaStatic{.premature_layer = 1}), Mode(Dola{.candidate_layers = early}),
        Mode(ActivationDola{.context = {.info_layer = before_last}, .candidate_layers = early})}) {
    CAPTURE(name(mode));
    const std::vector<TokenId> expected = generate(own, NoText{}, prompt, {.mode = mode, .max_new_tokens = 24}).ids;
    CHECK(generate(model, NoText{}, prompt, {.mode = mode, .max_new_tokens = 24}).ids == expected);
    if (std::holds_alternative<Baseline>(mode)) continue;  // no guest's
    llama_cpp::Guest guest(engine.get(), llama_cpp::open_lm_head(path), {.mode = mode});
    llama_context_params params = test::exact_params();
    guest.attach(params);
    const llama_context_ptr context(llama_init_from_model(engine.get(), params));
    const llama_sampler_ptr chain = test::greedy_chain(guest.sampler(context.get()));
    test::decode(context.get(), prompt, 0);
    CHECK(test::sample(context.get(), chain.get(), 24, std::ssize(prompt)) == expected);
    guest.check();
    for (const std::vector<TokenId>& text : by_guests(engine.get(), path, mode, prompt)) CHECK(text == expected);
  }
}

struct Kind {
  test::TinyFamily family;
  Embeddings embeddings = Embeddings::separate;
  std::function<void(test::GgufBuilder&)> add = [](test::GgufBuilder&) {};  // what the family's files say besides
};

const auto kHalves = RopeLayout::half_split;

/// Those that are told apart by what their GGUFs hold; those of Gemma have windows shorter than the prompts.
std::vector<Kind> kinds() {
  return {{},
          {{.architecture = "qwen2", .gguf_rotation = kHalves, .qkv_biases = true}},
          {{.architecture = "qwen3", .gguf_rotation = kHalves, .q_k_norms = true}},
          {{.architecture = "phi3", .gguf_rotation = kHalves, .fused = true},
           Embeddings::separate,
           [](auto& gguf) { gguf.value("phi3.attention.sliding_window", std::uint32_t{512}); }},
          {{.architecture = "gemma", .gguf_rotation = kHalves}, Embeddings::tied},
          {{.architecture = "gemma2", .gguf_rotation = kHalves, .out_norms = true},
           Embeddings::tied,
           [](auto& gguf) {
             gguf.value("gemma2.attention.sliding_window", std::uint32_t{9})
                 .value("gemma2.attn_logit_softcapping", 20.0f)
                 .value("gemma2.final_logit_softcapping", 15.0f);
           }},
          {{.architecture = "gemma3", .gguf_rotation = kHalves, .q_k_norms = true, .out_norms = true},
           Embeddings::tied,
           [](auto& gguf) {
             gguf.value("gemma3.attention.sliding_window", std::uint32_t{9})
                 .value("gemma3.attention.sliding_window_pattern", std::uint32_t{2})
                 .value("gemma3.rope.freq_base_swa", 500.0f);
           }},
          {{.architecture = "granite"}, Embeddings::tied, [](auto& gguf) {
             gguf.value("granite.attention.scale", 0.2f)
                 .value("granite.embedding_scale", 3.0f)
                 .value("granite.residual_scale", 0.5f)
                 .value("granite.logit_scale", 2.5f);
           }}};
}

}  // namespace

TEST_CASE("of each architecture and weight type the head times the last state is llama.cpp's row") {
  const test::TemporaryFolder folder;
  for (const Kind& kind : kinds()) {
    CAPTURE(kind.family.architecture);
    for (const DType dtype : {DType::f32, DType::q8_0, DType::q4_1, DType::q5_k}) {
      test::TinyLlamaOptions options;
      options.config.layers = 3;
      options.family = kind.family;
      options.embeddings = kind.embeddings;
      options.dtype = dtype;
      const std::filesystem::path path = folder.path() / "tiny.gguf";
      test::GgufBuilder gguf = test::TinyLlama(options).gguf();
      kind.add(gguf);
      test::write_file(path, gguf.bytes());
      // llama.cpp multiplies quantised weights by activations of eight bits.
      CHECK(head_error(path) < (dtype == DType::f32 ? 1e-5 : 0.02));
      if (dtype == DType::f32) compare_engines(path);
    }
  }
}
