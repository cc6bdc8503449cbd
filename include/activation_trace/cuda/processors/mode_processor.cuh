// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "activation_trace/cuda/processors/dola.cuh"
#include "activation_trace/cuda/processors/entropy_sharpness.cuh"
#include "activation_trace/cuda/processors/step_record.cuh"
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

  /// `mode` is one that validate() accepts and that is served, `record` says whether steps can be asked for their
  /// survivors, `shape` is of one sequence, `norm` is applied to the context's states, `early` are the premature layers
  /// as 0..N. Throws as the processors.
  ModeProcessor(Execution<Cuda> stream, const Mode& mode, const std::optional<RecordOptions>& record,
                const SharpnessShape& shape, const std::optional<FinalNorm>& norm, std::span<const Index> early)
      : stream_(stream), mature_(record ? shape.vocab : 0) {
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
    if (!record || sharpness_) return;
    row_ = Buffer<float, Cuda>(shape.vocab);
    sharpness_.emplace(stream, shape,
                       EntropySharpnessOptions{
                           .alpha = 0, .filter = record->filter, .context = record->context.span, .final_norm = norm});
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
    const VectorView<float, Cuda> scores = logits.row(0);
    if (records()) copy(stream_, VectorView<const float, Cuda>(scores), mature_.view());
    if (dola_) {
      dola_->observe_layers(logits.slice(0, 1, logits.extent(0)));
      dola_->process(scores);
    }
    if (!sharpness_) return;
    if (row_.size() != 0) copy(stream_, std::as_const(mature_).view(), row_.view());
    sharpness_->process(row_.size() != 0 ? row_.view() : scores);
  }

  /// Whether record() can be called.
  [[nodiscard]] bool records() const noexcept { return mature_.size() != 0; }
  /// Enqueues the record of the last process(), whose token was chosen since by `scores`: `step` has it, and what
  /// survived goes to kept[V]. `anything`: the token may be one that did not survive.
  void record(const detail::FinalScores& scores, const detail::StepRow* step, bool anything,
              detail::RecordedCandidate* kept, SharpnessCandidate* chosen) {
    if (anything) sharpness_->look_up(&step->token);
    const detail::SharpnessMemory memory = sharpness_->memory();
    detail::record_step(stream_, {.survivors = memory,
                                  .statistics = dola_ ? dola_->mature_statistics() : memory.statistics,
                                  .mature = mature_.data(),
                                  .scores = scores,
                                  .step = step,
                                  .kept = kept,
                                  .chosen = chosen});
  }

  /// What the last process() said; null in modes without one.
  [[nodiscard]] const DolaProcessor* dola() const noexcept { return dola_ ? &*dola_ : nullptr; }
  /// The same.
  [[nodiscard]] const EntropySharpnessProcessor<Cuda>* sharpness() const noexcept {
    return sharpness_ ? &*sharpness_ : nullptr;
  }

 private:
  Execution<Cuda> stream_;
  std::optional<DolaProcessor> dola_;
  std::optional<EntropySharpnessProcessor<Cuda>> sharpness_;  // the mode's own, or the records'
  Buffer<float, Cuda> mature_;                                // [V], where there are records
  Buffer<float, Cuda> row_;                                   // [V], where the entropies are the records' alone
};

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
