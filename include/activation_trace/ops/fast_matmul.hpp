// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include "activation_trace/config.hpp"
#include "activation_trace/ops/arithmetic.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/kernels/kernels.hpp"
#include "activation_trace/ops/matmul.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// y_i = x w_i^T for every target, as matmul() by Arithmetic::exact. By Arithmetic::fast, quantised weights are
/// multiplied by x in eight bits: of each 32 elements the scale is max |x| / 127, to whole multiples of which they are
/// rounded, so that an element of y is off by at most the sum over these blocks of half a scale times sum |w|, besides
/// the rounding of float sums. BF16 weights, where rounds_bf16() and x has whole blocks of 32, are multiplied by x in
/// BF16, each element off by at most 2^-8 of itself. Every row of y is what it is alone. Other weights are multiplied
/// exactly.
void matmul(Execution<Host>& execution, MatrixView<const float> x, std::span<const MatmulTarget<>> targets,
            Arithmetic arithmetic);

/// The same as matmul_by_row().
void matmul_by_row(Execution<Host>& execution, MatrixView<const float> x, std::span<const MatmulTarget<>> targets,
                   Arithmetic arithmetic);

/// Whether Arithmetic::fast rounds what BF16 weights are multiplied by: by AVX-512, where the processor has a dot
/// product of BF16 pairs.
[[nodiscard]] bool rounds_bf16(Isa isa);

namespace detail {

/// Whether products of `Space` can be fast: it has matmul() and matmul_by_row() with an Arithmetic.
template <class Space>
concept HasFastProducts = requires(Execution<Space>& execution, MatrixView<const float, Space> x,
                                   std::span<const MatmulTarget<Space>> targets) {
  matmul(execution, x, targets, Arithmetic::fast);
  matmul_by_row(execution, x, targets, Arithmetic::fast);
};

/// A worker's scratch memory for products of rounded activations.
struct FastScratch {
  RoundedBlock* x;    ///< [n, d / 32]
  float* panel;       ///< `lanes` rows of w, fast_depth elements of each
  float* out;         ///< [n, lanes]
  std::byte* copied;  ///< rows of a w that has fewer than `lanes`

  FastScratch(Execution<Host>& execution, int worker, MatrixView<const float> x,
              std::span<const MatmulTarget<>> targets);
};

/// y = x times the panel of `kernels.lanes` rows that begin at `first`, in which the first `skipped` are not asked for.
void multiply_fast_panel(const FastKernels& kernels, const FastScratch& scratch, const MatmulTarget<>& target,
                         Index first, Index skipped);

/// Products of targets whose kernels exist and round x to the same.
void multiply_rounded(Execution<Host>& execution, MatrixView<const float> x, std::span<const MatmulTarget<>> targets);

/// Calls `exact` for the targets that have no fast kernels, and multiplies the others.
template <class Exact>
void multiply_fast(Execution<Host>& execution, MatrixView<const float> x, std::span<const MatmulTarget<>> targets,
                   const Exact& exact) {
  check_matmul(x, targets);
  const auto rounding_of = [&](const MatmulTarget<>& target) {  // null where x is not rounded
    return x.extent(1) % 32 == 0 ? fast_kernels(execution.isa(), target.w.dtype()).round : nullptr;
  };
  const auto multiply = [&](std::span<const MatmulTarget<>> alike) {
    return rounding_of(alike[0]) != nullptr ? multiply_rounded(execution, x, alike) : exact(alike);
  };
  if (targets.empty()) return;
  if (std::ranges::all_of(targets, [&](const auto& t) { return rounding_of(t) == rounding_of(targets[0]); }))
    return multiply(targets);
  for (const MatmulTarget<>& target : targets) multiply(std::span(&target, 1));
}

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE bool rounds_bf16(Isa isa) {
  return detail::fast_kernels(isa, DType::bf16).round != nullptr;
}

ACTIVATION_TRACE_COMPILED_INLINE void matmul(Execution<Host>& execution, MatrixView<const float> x,
                                             std::span<const MatmulTarget<>> targets, Arithmetic arithmetic) {
  if (arithmetic == Arithmetic::exact) return matmul(execution, x, targets);
  detail::multiply_fast(execution, x, targets,
                        [&](std::span<const MatmulTarget<>> rest) { matmul(execution, x, rest); });
}

ACTIVATION_TRACE_COMPILED_INLINE void matmul_by_row(Execution<Host>& execution, MatrixView<const float> x,
                                                    std::span<const MatmulTarget<>> targets, Arithmetic arithmetic) {
  if (arithmetic == Arithmetic::exact) return matmul_by_row(execution, x, targets);
  detail::multiply_fast(execution, x, targets,
                        [&](std::span<const MatmulTarget<>> rest) { matmul_by_row(execution, x, rest); });
}

ACTIVATION_TRACE_COMPILED_INLINE detail::FastScratch::FastScratch(Execution<Host>& execution, int worker,
                                                                  MatrixView<const float> activations,
                                                                  std::span<const MatmulTarget<>> targets) {
  const Index n = activations.extent(0);
  const Index blocks = activations.extent(1) / 32;
  const FastKernels& kernels = fast_kernels(execution.isa(), targets[0].w.dtype());
  constexpr Index block_floats = sizeof(RoundedBlock) / sizeof(float);
  Index copied_floats = 0;
  for (const auto& [w, y] : targets)
    if (w.rows() < kernels.lanes)
      copied_floats =
          std::max(copied_floats, (kernels.lanes * StoredMatrix<>::row_bytes_of(w.dtype(), w.cols()) + 3) / 4);
  float* memory =
      execution.scratch(worker, n * blocks * block_floats + kernels.panel_floats + n * kernels.lanes + copied_floats)
          .data();
  x = reinterpret_cast<RoundedBlock*>(memory);
  panel = memory + n * blocks * block_floats;
  out = panel + kernels.panel_floats;
  copied = reinterpret_cast<std::byte*>(out + n * kernels.lanes);
  for (Index i = 0; i < n; ++i)
    kernels.round(activations.data() + i * activations.stride(0), activations.extent(1), x + i * blocks);
}

ACTIVATION_TRACE_COMPILED_INLINE void detail::multiply_fast_panel(const FastKernels& kernels,
                                                                  const FastScratch& scratch,
                                                                  const MatmulTarget<>& target, Index first,
                                                                  Index skipped) {
  const auto& [w, y] = target;
  const Index n = y.extent(0);
  const Index blocks = w.cols() / 32;
  const std::byte* rows = w.row(first);
  Index stride = w.row_bytes();
  if (w.rows() < kernels.lanes) {  // those that are missing are the last once more
    stride = StoredMatrix<>::row_bytes_of(w.dtype(), w.cols());
    for (Index r = 0; r < kernels.lanes; ++r)
      std::copy_n(w.row(std::min(r, w.rows() - 1)), stride, scratch.copied + r * stride);  // of no columns, too
    rows = scratch.copied;
  }
  std::fill_n(scratch.out, n * kernels.lanes, 0.0f);
  for (Index begin = 0; begin < w.cols(); begin += fast_depth) {
    const Index count = std::min(fast_depth, w.cols() - begin);
    kernels.pack(rows, stride, begin, count, scratch.panel);
    kernels.multiply(scratch.panel, count / 32, scratch.x + begin / 32, blocks, n, scratch.out);
  }
  const Index columns = std::min(kernels.lanes, w.rows()) - skipped;
  for (Index i = 0; i < n; ++i)
    std::copy_n(scratch.out + i * kernels.lanes + skipped, columns, y.data() + i * y.stride(0) + first + skipped);
}

ACTIVATION_TRACE_COMPILED_INLINE void detail::multiply_rounded(Execution<Host>& execution, MatrixView<const float> x,
                                                               std::span<const MatmulTarget<>> targets) {
  if (x.extent(0) == 0) return;
  const Index lanes = fast_kernels(execution.isa(), targets[0].w.dtype()).lanes;
  const auto panels_of = [&](const StoredMatrix<>& w) { return (w.rows() + lanes - 1) / lanes; };
  Index panels = 0;
  for (const auto& [w, y] : targets) panels += panels_of(w);
  execution.for_each_range(panels, 1, [&](Index begin, Index end, int worker) {
    // Every worker rounds x for itself: that is cheaper than waiting for one that does it for all.
    const FastScratch scratch(execution, worker, x, targets);
    Index before = 0;  // of this target among all panels
    for (const MatmulTarget<>& target : targets) {
      const FastKernels& kernels = fast_kernels(execution.isa(), target.w.dtype());
      const Index own = panels_of(target.w);
      for (Index p = std::max(begin - before, Index{0}); p < std::min(end - before, own); ++p) {
        // The last panel ends where w does, and repeats rows of the one before.
        const Index first = std::max(std::min(p * lanes, target.w.rows() - lanes), Index{0});
        multiply_fast_panel(kernels, scratch, target, first, p * lanes - first);
      }
      before += own;
    }
  });
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
