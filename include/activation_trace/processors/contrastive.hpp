// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/ops/layer_divergence.hpp"
#include "activation_trace/processors/check.hpp"
#include "activation_trace/processors/contrastive_options.hpp"

namespace activation_trace {
inline namespace v0 {

/// Contrastive decoding (processors/README.md 4): the expert's log-probability minus `coefficient` times the amateur's,
/// for tokens that the expert finds plausible. A token that the amateur excludes (-inf) is masked.
///
///     processor.observe_amateur(amateur);  // [V], the amateur's logits at this position
///     processor.process(logits);           // [V], the expert's, in place
///
/// Movable, not copyable, and not safe for concurrent use.
class ContrastiveProcessor {
 public:
  /// Works on the threads of `execution`, which must outlive the processor, or without one on the calling thread.
  /// Throws ArgumentError for a coefficient that is negative or not finite, a temperature that is not positive and
  /// finite, a quotient of the two above 1e30, and as RelativeTopFilter does.
  explicit ContrastiveProcessor(ContrastiveOptions options = {}, ExecutionHandle execution = {});

  /// The amateur's logits[V] at this step: a view, read by the next process() and then forgotten.
  void observe_amateur(std::span<const float> logits);

  /// expert[V], logits, become scores in place. An entry that is -inf stays so and does not count. Throws StateError
  /// without observe_amateur(), ShapeError for another V, ArgumentError for NaN or +inf; expert is then unchanged.
  void process(std::span<float> expert);

  /// The same for candidates in any order; the amateur's logits [n] are then those of `ids`, in that order.
  void process(std::span<const TokenId> ids, std::span<float> expert);

  /// As given to the constructor.
  [[nodiscard]] const ContrastiveOptions& options() const noexcept { return options_; }

  /// Forgets an amateur that was observed and not used.
  void reset() { amateur_ = {}; }

 private:
  ContrastiveOptions options_;
  ExecutionHandle execution_;
  RelativeTopFilter filter_;
  std::span<const float> amateur_;
  DivergenceMemory memory_;
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE ContrastiveProcessor::ContrastiveProcessor(ContrastiveOptions options,
                                                                            ExecutionHandle execution)
    : options_(options), execution_(std::move(execution)), filter_(options.filter) {
  detail::check_contrastive(options.coefficient, options.student_temperature);
}

ACTIVATION_TRACE_COMPILED_INLINE void ContrastiveProcessor::observe_amateur(std::span<const float> logits) {
  if (logits.empty()) throw ShapeError("amateur: it has no logits");
  amateur_ = logits;
}

ACTIVATION_TRACE_COMPILED_INLINE void ContrastiveProcessor::process(std::span<const TokenId> ids,
                                                                    std::span<float> expert) {
  detail::check_candidates("ContrastiveProcessor", ids, expert);
  process(expert);
}

ACTIVATION_TRACE_COMPILED_INLINE void ContrastiveProcessor::process(std::span<float> expert) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  if (amateur_.empty()) throw StateError("no amateur: observe_amateur was not called for this step");
  detail::check_extent("logits: as many as the amateur has", static_cast<Index>(expert.size()),
                       static_cast<Index>(amateur_.size()));
  const std::span<const float> amateur = std::exchange(amateur_, {});
  detail::check_scores("logits", expert);
  detail::check_scores("amateur", amateur);
  LogNormalizer normalizers[2];
  log_normalizers(*execution_, expert, MatrixView<const float>(amateur.data(), {1, static_cast<Index>(amateur.size())}),
                  normalizers, memory_);
  const double weight = static_cast<double>(options_.coefficient) / static_cast<double>(options_.student_temperature);
  const float lowest = filter_.threshold(expert, normalizers[0].max);
  double offset = 0;
  if (options_.filter.relative_top != 0 || options_.unfiltered == Unfiltered::log_probs)
    offset = static_cast<double>(normalizers[0].max) + normalizers[0].log_sum -
             weight * (static_cast<double>(normalizers[1].max) + normalizers[1].log_sum);
  for (std::size_t v = 0; v < expert.size(); ++v) {
    const bool masked = expert[v] < lowest || expert[v] == -infinity || amateur[v] == -infinity;
    expert[v] =
        masked ? -infinity
               : static_cast<float>(static_cast<double>(expert[v]) - weight * static_cast<double>(amateur[v]) - offset);
  }
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
