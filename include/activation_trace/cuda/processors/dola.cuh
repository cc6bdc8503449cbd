// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/ops/row_statistics.cuh"
#include "activation_trace/ops/check.hpp"
#include "activation_trace/processors/dola_options.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// What a step of DoLa chose, in device memory.
struct DolaChoice {
  int layer;    ///< place in the list of layers; -1 where all was masked or `invalid`
  int invalid;  ///< not 0: mature holds NaN or +inf, or a layer is not finite where mature is above -inf
};

/// DoLa on the device: as activation_trace::DolaProcessor, on somebody's stream and without ever waiting for the
/// device. process() allocates nothing and can be recorded in a Graph together with observe_layers().
///
///     processor.observe_layers(early);  // [C, V] on the device, which lm_head_logits() makes in one pass
///     processor.process(logits);        // [V], in place
///
/// Movable, not copyable, and not safe for concurrent use.
class DolaProcessor {
 public:
  /// For rows of at most `vocab` entries. Works in the order of `stream`, which must outlive the processor. Throws as
  /// the host's, ArgumentError for vocab < 1, CudaError.
  DolaProcessor(Execution<Cuda> stream, Index vocab, std::vector<Index> layers, DolaOptions options = {})
      : DolaProcessor(DeviceGuard(stream.device()), stream, vocab, std::move(layers), options) {}

  /// logits[C, V] of the layers at this step, rows contiguous: a view, read by the next process() and then forgotten.
  /// Throws ShapeError for another C.
  void observe_layers(MatrixView<const float, Cuda> logits);

  /// mature[V], contiguous logits, become scores in place; also the candidates of a list, if the layers' logits are in
  /// the same order. They stay as they are if the choice is invalid. Throws StateError without observe_layers(),
  /// ShapeError for another V.
  void process(VectorView<float, Cuda> mature);

  /// What the last process() chose, [1], on the device.
  [[nodiscard]] VectorView<const DolaChoice, Cuda> choice() const { return choice_.view(); }
  /// Of the mature logits at the last process(), on the device.
  [[nodiscard]] const detail::RowStatistics* mature_statistics() const { return statistics_.statistics.data(); }

  /// The layer that the last process() chose; -1 before, and where all was masked. Waits for the stream. Throws
  /// ArgumentError if the choice is invalid.
  [[nodiscard]] Index layer() const;
  /// Of each layer at the last process(), on the host; also of a single one. Waits for the stream.
  [[nodiscard]] std::vector<double> divergences() const;
  /// How often each layer was chosen since reset(), on the host. Waits for the stream.
  [[nodiscard]] std::vector<Index> histogram() const;
  /// The candidate layers, as given to the constructor; rows of what observe_layers() takes.
  [[nodiscard]] const std::vector<Index>& layers() const noexcept { return layers_; }
  /// As given to the constructor.
  [[nodiscard]] const DolaOptions& options() const noexcept { return options_; }

  /// Begins a new run: layer and histogram.
  void reset();

 private:
  DolaProcessor(const DeviceGuard&, Execution<Cuda> stream, Index vocab, std::vector<Index> layers,
                DolaOptions options);
  [[nodiscard]] Index count() const { return static_cast<Index>(layers_.size()); }

  Execution<Cuda> stream_;
  std::vector<Index> layers_;
  DolaOptions options_;
  Index vocab_;
  MatrixView<const float, Cuda> early_;
  detail::RowStatisticsMemory statistics_;  // mature, the layers, the differences
  Buffer<double, Cuda> partials_;           // [C, row_blocks(V)]: a block's sum
  Buffer<int, Cuda> entries_;               // [C, row_blocks(V)]: a block's entries
  Buffer<unsigned, Cuda> tickets_;          // [C]
  Buffer<double, Cuda> divergences_;        // [C]
  Buffer<DolaChoice, Cuda> choice_;         // [1]
  Buffer<int, Cuda> histogram_;             // [C]
  Buffer<float, Cuda> differences_;         // [V], for DolaOutput::log_probs
};

namespace detail {

/// ln cosh h, without cancellation at small h.
__device__ inline float log_cosh(float h) {
  const float x = fabsf(h);
  if (x > 1.0f) return x + log1pf(expf(-2.0f * x)) - 0.693147181f;
  const float s = sinhf(0.5f * x);
  return log1pf(2.0f * s * s);
}

/// An entry's part of the divergence of p and q over (p + q) / 2, with h = (ln p - ln q) / 2: ln cosh h of
/// KL(M || p) + KL(M || q) over 2, h tanh h - ln cosh h of the Jensen-Shannon divergence. Neither has cancellation
/// left.
__device__ inline float divergence_term(float h, LayerDivergence kind) {
  const float c = log_cosh(h);
  return kind == LayerDivergence::reference ? c : h * tanhf(h) - c;
}

/// divergences[j] of layers[j] from mature, in the order of the blocks; not finite where a layer is not.
template <int threads>
__global__ void __launch_bounds__(threads)
    divergence_kernel(const float* mature, Rows layers, const RowStatistics* statistics, LayerDivergence kind,
                      double* partials, int* entries, unsigned* tickets, double* divergences) {
  ptx::wait_for_previous();
  ptx::launch_dependents();
  __shared__ double sums[threads / 32];
  __shared__ int counts[threads / 32];
  const Index j = blockIdx.y;
  const RowStatistics p = statistics[0];
  const RowStatistics q = statistics[j + 1];
  const double offset = (static_cast<double>(p.max) + static_cast<double>(p.log_sum)) -
                        (static_cast<double>(q.max) + static_cast<double>(q.log_sum));
  double sum = 0.0;
  int count = 0;
  for (Index i = static_cast<Index>(blockIdx.x) * threads + threadIdx.x; i < layers.n;
       i += static_cast<Index>(gridDim.x) * threads) {
    if (!layers.counts(i)) continue;
    const float x = mature[i];
    const float y = layers.data[j * layers.stride + i];
    const auto h = static_cast<float>(0.5 * (static_cast<double>(x) - static_cast<double>(y) - offset));
    const float both = expf(p.log_prob(x)) + expf(q.log_prob(y));
    sum += static_cast<double>(0.5f * both * divergence_term(h, kind));
    ++count;
  }
  for (int distance = 16; distance > 0; distance /= 2) {
    sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    count += __shfl_xor_sync(0xffffffffu, count, distance);
  }
  if (threadIdx.x % 32 == 0) {
    sums[threadIdx.x / 32] = sum;
    counts[threadIdx.x / 32] = count;
  }
  __syncthreads();
  partials += j * gridDim.x;
  entries += j * gridDim.x;
  if (threadIdx.x == 0) {
    for (int w = 1; w < threads / 32; ++w) {
      sum += sums[w];
      count += counts[w];
    }
    partials[blockIdx.x] = sum;
    entries[blockIdx.x] = count;
  }
  if (!last_block(tickets + j, gridDim.x) || threadIdx.x != 0) return;
  double total = 0.0;
  Index all = 0;
  for (unsigned b = 0; b < gridDim.x; ++b) {
    total += partials[b];
    all += entries[b];
  }
  divergences[j] = kind == LayerDivergence::reference ? total / static_cast<double>(all) : total;
}

/// What a step of DoLa does to its row, once the divergences are there.
struct DolaStep {
  Rows layers;
  Index count;
  const RowStatistics* statistics;  // mature, the layers, and perhaps the differences
  const double* divergences;
  DolaBase base;
  int raw;             // not 0: raw logits are subtracted, without normalisers
  float masked_value;  // of what the filter masks
};

/// The layer that diverges most, equals: the first. -1 and not valid as in DolaChoice.
__device__ inline DolaChoice choose_layer(const DolaStep& step) {
  if (step.statistics[0].max != step.statistics[0].max) return {-1, 1};
  if (!step.statistics[0].valid()) return {-1, 0};  // all masked
  int best = 0;
  bool finite = true;
  for (int j = 0; j < step.count; ++j) {
    finite = finite && std::isfinite(step.divergences[j]);
    if (step.divergences[j] > step.divergences[best]) best = j;
  }
  return finite ? DolaChoice{best, 0} : DolaChoice{-1, 1};
}

enum class DolaPass {
  scores,       ///< out = mature in place: differences, filtered
  differences,  ///< out: differences of all that is not masked
  normalised,   ///< as scores, less the log-sum of the differences
};

template <int threads>
__global__ void __launch_bounds__(threads)
    dola_kernel(DolaStep step, DolaPass pass, const float* mature, float* out, DolaChoice* choice, int* histogram) {
  ptx::wait_for_previous();
  ptx::launch_dependents();
  const DolaChoice chosen = choose_layer(step);
  if (blockIdx.x == 0 && threadIdx.x == 0 && pass != DolaPass::differences) {
    *choice = chosen;
    if (chosen.layer >= 0) ++histogram[chosen.layer];
  }
  if (chosen.invalid != 0) return;
  const RowStatistics p = step.statistics[0];
  double offset = 0.0;
  const float* early = nullptr;
  if (chosen.layer >= 0) {
    const RowStatistics q = step.statistics[chosen.layer + 1];
    early = step.layers.data + chosen.layer * step.layers.stride;
    if (step.raw == 0) offset = static_cast<double>(p.max) + static_cast<double>(p.log_sum);
    if (step.raw == 0 && step.base == DolaBase::log_probs)
      offset -= static_cast<double>(q.max) + static_cast<double>(q.log_sum);
    if (pass == DolaPass::normalised) {
      const RowStatistics all = step.statistics[step.count + 1];
      offset += static_cast<double>(all.max) + static_cast<double>(all.log_sum);
    }
  }
  for (Index i = static_cast<Index>(blockIdx.x) * threads + threadIdx.x; i < step.layers.n;
       i += static_cast<Index>(gridDim.x) * threads) {
    const float x = mature[i];
    const bool there = early != nullptr && x > -INFINITY;
    if (!there || (pass != DolaPass::differences && x < p.lowest))
      out[i] = pass == DolaPass::differences ? -INFINITY : step.masked_value;
    else
      out[i] = static_cast<float>((static_cast<double>(x) - static_cast<double>(early[i])) - offset);
  }
}

}  // namespace detail

inline DolaProcessor::DolaProcessor(const DeviceGuard&, Execution<Cuda> stream, Index vocab, std::vector<Index> layers,
                                    DolaOptions options)
    : stream_(stream),
      layers_(std::move(layers)),
      options_(options),
      vocab_(detail::checked_vocab(vocab)),
      statistics_(stream, count() + 2, vocab),
      partials_(count() * detail::row_blocks(vocab)),
      entries_(count() * detail::row_blocks(vocab)),
      tickets_(count()),
      divergences_(count()),
      choice_(1),
      histogram_(count()),
      differences_(options.output == DolaOutput::log_probs ? vocab : 0) {
  v0::detail::check_dola(layers_, options);
  const RelativeTopFilter checks_filter(options.filter);
  set_bytes(stream_, tickets_.view(), 0);
  reset();
}

inline void DolaProcessor::observe_layers(MatrixView<const float, Cuda> logits) {
  using v0::detail::check_extent;
  check_extent("layers: rows of logits", logits.extent(0), count());
  check_extent("layers: stride of a row's logits", logits.extent(1) > 1 ? logits.stride(1) : 1, 1);
  early_ = logits;
}

inline void DolaProcessor::process(VectorView<float, Cuda> mature) {
  using namespace detail;
  if (early_.extent(0) == 0) throw StateError("no layers: observe_layers was not called for this step");
  v0::detail::check_extent("logits: as many as each layer has", mature.size(), early_.extent(1));
  check_row(mature.size(), vocab_);
  v0::detail::check_extent("logits: stride", mature.size() > 1 ? mature.stride(0) : 1, 1);
  const MatrixView<const float, Cuda> early = std::exchange(early_, {});
  if (mature.empty()) return;

  Rows layers(early);
  layers.mask = mature.data();
  row_statistics(stream_, Rows(VectorView<const float, Cuda>(mature)), 1, options_.filter, statistics_);
  row_statistics(stream_, layers, count(), {}, statistics_, 1);
  const Index row_parts = row_blocks(mature.size());
  launch_dependent(stream_, "divergence_kernel", {blocks(row_parts, count()), row_threads},
                   divergence_kernel<row_threads>, mature.data(), layers, statistics_.statistics.data(),
                   options_.divergence, partials_.data(), entries_.data(), tickets_.data(), divergences_.data());
  const bool raw = options_.base == DolaBase::log_probs && options_.filter.relative_top == 0 &&
                   options_.unfiltered == Unfiltered::logits;
  const DolaStep step{layers,        count(),     statistics_.statistics.data(), divergences_.data(),
                      options_.base, raw ? 1 : 0, options_.masked_value};
  const auto run = [&](DolaPass pass, float* out) {
    launch_dependent(stream_, "dola_kernel", {blocks(row_parts), row_threads}, dola_kernel<row_threads>, step, pass,
                     mature.data(), out, choice_.data(), histogram_.data());
  };
  if (options_.output == DolaOutput::difference) {
    run(DolaPass::scores, mature.data());
    return;
  }
  // All that is not masked takes part in the normaliser, whether it is plausible or not.
  run(DolaPass::differences, differences_.data());
  row_statistics(stream_, Rows(VectorView<const float, Cuda>(differences_.data(), {mature.size()})), 1, {}, statistics_,
                 count() + 1);
  run(DolaPass::normalised, mature.data());
}

inline Index DolaProcessor::layer() const {
  DolaChoice choice{};
  copy(stream_, choice_.view(), VectorView<DolaChoice>(&choice, {1}));
  stream_.synchronize();
  if (choice.invalid > 0)
    throw ArgumentError("logits: mature holds NaN or +inf, or a layer is not finite where mature is");
  return choice.layer < 0 ? -1 : layers_[static_cast<std::size_t>(choice.layer)];
}

inline std::vector<double> DolaProcessor::divergences() const {
  std::vector<double> result(layers_.size());
  copy(stream_, divergences_.view(), VectorView<double>(result));
  stream_.synchronize();
  return result;
}

inline std::vector<Index> DolaProcessor::histogram() const {
  std::vector<int> counts(layers_.size());
  copy(stream_, histogram_.view(), VectorView<int>(counts));
  stream_.synchronize();
  return {counts.begin(), counts.end()};
}

inline void DolaProcessor::reset() {
  early_ = {};
  set_bytes(stream_, choice_.view(), 0xff);  // a layer of -1
  set_bytes(stream_, histogram_.view(), 0);
}

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
