// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <optional>
#include <span>
#include <type_traits>
#include <variant>
#include <vector>

#include "activation_trace/cuda/processors/dola.cuh"
#include "activation_trace/cuda/processors/entropy_sharpness.cuh"
#include "activation_trace/processors/base_scores.hpp"
#include "activation_trace/processors/mode.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// A mode's scores on the device, for the texts of one sequence: what activation_trace::ModeProcessor is on the host,
/// of the same processors, without ever waiting.
class ModeProcessor {
 public:
  /// Whether `mode` is one of those that are here: not contrastive decoding, and not strategies that read no entropies.
  [[nodiscard]] static bool serves(const Mode& mode) {
    const auto* const activation = std::get_if<Activation>(&mode);
    return !needs_amateur(mode) && (activation == nullptr || reads_entropy(activation->strategy));
  }

  /// `mode` is one that validate() accepts and that is served, `shape` of one sequence, `norm` is applied to the
  /// context's states, `early` are the premature layers as 0..N. Throws as the processors.
  ModeProcessor(Execution<Cuda> stream, const Mode& mode, const SharpnessShape& shape,
                const std::optional<FinalNorm>& norm, std::span<const Index> early) {
    std::visit(
        [&]<class M>(const M& m) {
          if constexpr (std::same_as<M, DolaStatic> || std::same_as<M, Dola> || std::same_as<M, ActivationDola>)
            dola_.emplace(stream, shape.vocab, std::vector<Index>(early.begin(), early.end()), dola_options(m));
          if constexpr (std::same_as<M, Activation> || std::same_as<M, ActivationDola>) {
            EntropySharpnessOptions options{
                .alpha = *entropy_weight(mode), .context = m.context.span, .final_norm = norm};
            if (dola_)
              options.input = SharpnessInput::scores;
            else
              options.filter = m.filter;
            sharpness_.emplace(stream, shape, std::move(options));
          }
        },
        mode);
  }

  /// A text begins.
  void reset() {
    if (dola_) dola_->reset();
    if (sharpness_) sharpness_->reset();
  }
  /// Whether observe_context() must be told the info layer's states.
  [[nodiscard]] bool reads_context() const noexcept { return sharpness_.has_value(); }
  /// Appends states[T, d]; as EntropySharpnessProcessor<Cuda>::observe_context.
  void observe_context(MatrixView<const float, Cuda> states, const StoredMatrix<Cuda>& lm_head) {
    sharpness_->observe_context(states, lm_head);
  }
  /// logits[1 + C, V] of the mature layer and the premature ones: row 0 becomes the mode's scores, in place.
  void process(MatrixView<float, Cuda> logits) {
    if (dola_) {
      dola_->observe_layers(logits.slice(0, 1, logits.extent(0)));
      dola_->process(logits.row(0));
    }
    if (sharpness_) sharpness_->process(logits.row(0));
  }

  /// What the last process() said; null in modes without one.
  [[nodiscard]] const DolaProcessor* dola() const noexcept { return dola_ ? &*dola_ : nullptr; }
  /// The same.
  [[nodiscard]] const EntropySharpnessProcessor<Cuda>* sharpness() const noexcept {
    return sharpness_ ? &*sharpness_ : nullptr;
  }

 private:
  std::optional<DolaProcessor> dola_;
  std::optional<EntropySharpnessProcessor<Cuda>> sharpness_;
};

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
