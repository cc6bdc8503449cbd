// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>

#include "activation_trace/cuda/ops/row_statistics.cuh"
#include "activation_trace/ops/check.hpp"
#include "activation_trace/processors/contrastive_options.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// Contrastive decoding on the device: as activation_trace::ContrastiveProcessor, on somebody's stream and without ever
/// waiting for the device. process() allocates nothing and can be recorded in a Graph together with observe_amateur().
///
///     processor.observe_amateur(amateur);  // [V] on the device, the amateur's logits at this position
///     processor.process(logits);           // [V], the expert's, in place
///
/// Movable, not copyable, and not safe for concurrent use.
class ContrastiveProcessor {
 public:
  /// For rows of at most `vocab` entries. Works in the order of `stream`, which must outlive the processor. Throws as
  /// the host's, ArgumentError for vocab < 1, CudaError.
  ContrastiveProcessor(Execution<Cuda> stream, Index vocab, ContrastiveOptions options = {})
      : ContrastiveProcessor(DeviceGuard(stream.device()), stream, vocab, options) {}

  /// The amateur's contiguous logits[V] at this step: a view, read by the next process() and then forgotten.
  void observe_amateur(VectorView<const float, Cuda> logits);

  /// expert[V], contiguous logits, become scores in place; also the candidates of a list, if the amateur's logits are
  /// in the same order. NaN or +inf in either row makes the step invalid, and the expert's logits stay as they are.
  /// Throws StateError without observe_amateur(), ShapeError for another V.
  void process(VectorView<float, Cuda> expert);

  /// [1], on the device: not 0 if the last step was invalid.
  [[nodiscard]] VectorView<const int, Cuda> invalid() const { return invalid_.view(); }
  /// Waits for the stream. Throws ArgumentError if the last step was invalid.
  void check_step() const;
  /// As given to the constructor.
  [[nodiscard]] const ContrastiveOptions& options() const noexcept { return options_; }

  /// Forgets an amateur that was observed and not used.
  void reset() { amateur_ = {}; }

 private:
  ContrastiveProcessor(const DeviceGuard&, Execution<Cuda> stream, Index vocab, ContrastiveOptions options);

  Execution<Cuda> stream_;
  ContrastiveOptions options_;
  Index vocab_;
  VectorView<const float, Cuda> amateur_;
  detail::RowStatisticsMemory statistics_;  // expert, amateur
  Buffer<int, Cuda> invalid_;               // [1]
};

namespace detail {

template <int threads>
__global__ void __launch_bounds__(threads) contrastive_kernel(Rows amateur, const RowStatistics* statistics,
                                                              double weight, int raw, float* expert, int* invalid) {
  ptx::wait_for_previous();
  ptx::launch_dependents();
  const RowStatistics e = statistics[0];
  const RowStatistics a = statistics[1];
  const bool bad = e.max != e.max || a.max != a.max;
  if (blockIdx.x == 0 && threadIdx.x == 0) *invalid = bad ? 1 : 0;
  if (bad) return;
  double offset = 0.0;
  if (raw == 0)
    offset = static_cast<double>(e.max) + static_cast<double>(e.log_sum) -
             weight * (static_cast<double>(a.max) + static_cast<double>(a.log_sum));
  for (Index i = static_cast<Index>(blockIdx.x) * threads + threadIdx.x; i < amateur.n;
       i += static_cast<Index>(gridDim.x) * threads) {
    const float x = expert[i];
    const float y = amateur.data[i];
    const bool masked = x < e.lowest || x == -INFINITY || y == -INFINITY;
    expert[i] =
        masked ? -INFINITY : static_cast<float>(static_cast<double>(x) - weight * static_cast<double>(y) - offset);
  }
}

}  // namespace detail

inline ContrastiveProcessor::ContrastiveProcessor(const DeviceGuard&, Execution<Cuda> stream, Index vocab,
                                                  ContrastiveOptions options)
    : stream_(stream),
      options_(options),
      vocab_(detail::checked_vocab(vocab)),
      statistics_(stream, 2, vocab),
      invalid_(1) {
  v0::detail::check_contrastive(options.coefficient, options.student_temperature);
  const RelativeTopFilter checks_filter(options.filter);
  set_bytes(stream_, invalid_.view(), 0);
}

inline void ContrastiveProcessor::observe_amateur(VectorView<const float, Cuda> logits) {
  if (logits.empty()) throw ShapeError("amateur: it has no logits");
  v0::detail::check_extent("amateur: stride", logits.size() > 1 ? logits.stride(0) : 1, 1);
  amateur_ = logits;
}

inline void ContrastiveProcessor::process(VectorView<float, Cuda> expert) {
  using namespace detail;
  if (amateur_.empty()) throw StateError("no amateur: observe_amateur was not called for this step");
  v0::detail::check_extent("logits: as many as the amateur has", expert.size(), amateur_.size());
  v0::detail::check_extent("logits: stride", expert.size() > 1 ? expert.stride(0) : 1, 1);
  check_row(expert.size(), vocab_);
  const bool raw = options_.filter.relative_top == 0 && options_.unfiltered == Unfiltered::logits;
  Rows amateur(std::exchange(amateur_, {}));
  amateur.mask = expert.data();
  row_statistics(stream_, Rows(VectorView<const float, Cuda>(expert)), 1, options_.filter, statistics_);
  row_statistics(stream_, amateur, 1, {}, statistics_, 1);
  launch_dependent(stream_, "contrastive_kernel", {blocks(row_blocks(expert.size())), row_threads},
                   contrastive_kernel<row_threads>, amateur, statistics_.statistics.data(),
                   static_cast<double>(options_.coefficient) / static_cast<double>(options_.student_temperature),
                   raw ? 1 : 0, expert.data(), invalid_.data());
}

inline void ContrastiveProcessor::check_step() const {
  int bad = 0;
  copy(stream_, invalid_.view(), VectorView<int>(&bad, {1}));
  stream_.synchronize();
  if (bad != 0) throw ArgumentError("logits: the expert's or the amateur's hold NaN or +inf");
}

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
