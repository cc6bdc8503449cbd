// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/numerics/layer_divergence.hpp"
#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/log_softmax.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// Work memory of the functions below: grows to what they need and is kept.
struct DivergenceMemory {
  std::vector<double> partial;              ///< results of blocks of the vocabulary
  std::vector<detail::DivergenceRow> rows;  ///< what the kernels are told of each row
};

/// normalizers[0] of mature[V] and normalizers[1 + j] of layers[j], layers [C, V], all over those entries where mature
/// is above -inf, as if the others had not been given. log_sum is NaN for a row that holds NaN or +inf there, or
/// nothing above -inf. The same for any number of threads. Throws ShapeError.
void log_normalizers(Execution<Host>& execution, std::span<const float> mature, MatrixView<const float> layers,
                     std::span<LogNormalizer> normalizers, DivergenceMemory& memory);

/// divergences[j] of layers[j] from mature, over those V entries where mature is above -inf; `normalizers` are those of
/// log_normalizers. Not finite where a layer is not finite or a normalizer is NaN. Relative error about 1e-6, never
/// negative; the same for any number of threads. Throws ShapeError.
void layer_divergences(Execution<Host>& execution, std::span<const float> mature, MatrixView<const float> layers,
                       std::span<const LogNormalizer> normalizers, LayerDivergence kind, std::span<double> divergences,
                       DivergenceMemory& memory);

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE void log_normalizers(Execution<Host>& execution, std::span<const float> mature,
                                                      MatrixView<const float> layers,
                                                      std::span<LogNormalizer> normalizers, DivergenceMemory& memory) {
  const Index V = layers.extent(1);
  const Index rows = layers.extent(0) + 1;
  detail::check_extent("log_normalizers: length of mature", static_cast<Index>(mature.size()), V);
  detail::check_extent("log_normalizers: length of normalizers", static_cast<Index>(normalizers.size()), rows);
  detail::check_contiguous_rows("log_normalizers: layers", layers);
  const detail::DivergenceKernels& kernels = detail::divergence_kernels(execution.isa());
  const Index blocks = (V + detail::divergence_block - 1) / detail::divergence_block;
  memory.partial.resize(static_cast<std::size_t>(2 * blocks * rows));  // [blocks][rows]: maximum, sum
  execution.for_each_range(blocks, 1, [&](Index begin, Index end, int) {
    for (Index block = begin; block < end; ++block) {
      const Index first = block * detail::divergence_block;
      const Index n = std::min(detail::divergence_block, V - first);
      const float* x = mature.data() + first;
      for (Index row = 0; row < rows; ++row) {
        double* out = memory.partial.data() + 2 * (block * rows + row);
        float maximum = 0;
        kernels.counted_exponentials(mature.data() + first, x, n, &maximum, out + 1);
        out[0] = static_cast<double>(maximum);
        x = layers.data() + row * layers.stride(0) + first;
      }
    }
  });
  for (Index row = 0; row < rows; ++row) {
    const auto of = [&](Index block) { return memory.partial.data() + 2 * (block * rows + row); };
    double maximum = -std::numeric_limits<double>::infinity();
    for (Index block = 0; block < blocks; ++block) maximum = std::max(maximum, of(block)[0]);
    double sum = 0;
    for (Index block = 0; block < blocks; ++block) sum += of(block)[1] * std::exp(of(block)[0] - maximum);
    normalizers[static_cast<std::size_t>(row)] = {
        static_cast<float>(maximum), blocks == 0 ? std::numeric_limits<double>::quiet_NaN() : std::log(sum)};
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void layer_divergences(Execution<Host>& execution, std::span<const float> mature,
                                                        MatrixView<const float> layers,
                                                        std::span<const LogNormalizer> normalizers,
                                                        LayerDivergence kind, std::span<double> divergences,
                                                        DivergenceMemory& memory) {
  const Index V = layers.extent(1);
  const Index count = layers.extent(0);
  detail::check_extent("layer_divergences: length of mature", static_cast<Index>(mature.size()), V);
  detail::check_extent("layer_divergences: length of normalizers", static_cast<Index>(normalizers.size()), count + 1);
  detail::check_extent("layer_divergences: length of divergences", static_cast<Index>(divergences.size()), count);
  detail::check_contiguous_rows("layer_divergences: layers", layers);
  const detail::DivergenceKernels& kernels = detail::divergence_kernels(execution.isa());
  const auto compute =
      kind == LayerDivergence::reference ? kernels.reference_divergences : kernels.jensen_shannon_divergences;
  const Index blocks = (V + detail::divergence_block - 1) / detail::divergence_block;
  memory.rows.resize(static_cast<std::size_t>(count + 1));
  const auto log_sum_of = [&](Index row) {
    const LogNormalizer& n = normalizers[static_cast<std::size_t>(row)];
    return static_cast<double>(n.max) + n.log_sum;
  };
  for (Index row = 0; row <= count; ++row) {
    const LogNormalizer& n = normalizers[static_cast<std::size_t>(row)];
    const double offset = log_sum_of(row) - log_sum_of(0);
    const auto rounded = static_cast<float>(offset);
    memory.rows[static_cast<std::size_t>(row)] = {n.max, static_cast<float>(std::exp(-n.log_sum)), rounded,
                                                  static_cast<float>(offset - static_cast<double>(rounded))};
  }
  memory.partial.resize(static_cast<std::size_t>(blocks * (count + 1)));  // [blocks][count + 1]
  execution.for_each_range(blocks, 1, [&](Index begin, Index end, int) {
    for (Index block = begin; block < end; ++block) {
      const Index first = block * detail::divergence_block;
      compute(mature.data() + first, layers.data() + first, layers.stride(0), count,
              std::min(detail::divergence_block, V - first), memory.rows.data(),
              memory.partial.data() + block * (count + 1));
    }
  });
  // In the order of the blocks, whoever computed them.
  const auto total = [&](Index column) {
    double sum = 0;
    for (Index block = 0; block < blocks; ++block)
      sum += memory.partial[static_cast<std::size_t>(block * (count + 1) + column)];
    return sum;
  };
  const double entries = kind == LayerDivergence::reference ? total(count) : 1;
  for (Index j = 0; j < count; ++j) divergences[static_cast<std::size_t>(j)] = total(j) / (2 * entries);
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
