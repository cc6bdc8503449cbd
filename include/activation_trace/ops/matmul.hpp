// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>

#include "activation_trace/config.hpp"
#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/kernels/kernels.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// Fewer rows than this are multiplied one at a time by matmul, so that each is rounded as it is alone. Who promises
/// the same bits for every cut of a sequence keeps its pieces this long.
constexpr Index few_rows = 4;

/// How matmul cuts its work, in positive numbers: for benchmarks, which sweep them; the defaults were measured. Only
/// `depth`, by which sums are cut, is seen in the last bits of a result.
struct MatmulTuning {
  Index grain = 4;         ///< few rows of x: workers get multiples of this many rows of w
  Index row_block = 96;    ///< rows of x that are multiplied by a panel before the next: for the second-level cache
  Index block_panels = 8;  ///< packed panels that take turns with them: 160 KB with 16 columns, for the same
  Index depth = 320;       ///< elements of a row that are packed at once, at most: half a first-level cache of 32 KiB
};

/// y = x w^T with x [n, d], w [m, d] in any stored form, y [n, m]. Weights are widened to float exactly and
/// everything is accumulated in float; activations are never quantised. y must not overlap x.
/// The result of a row of x does not depend on the number of threads. Throws ShapeError.
void matmul(Execution<Host>& execution, MatrixView<const float> x, const StoredMatrix<>& w, MatrixView<float> y,
            const MatmulTuning& tuning = {});

/// One product of several that share their x.
template <class Space = Host>
struct MatmulTarget {
  StoredMatrix<Space> w;       ///< [m, d]
  MatrixView<float, Space> y;  ///< [n, m]
};

/// y_i = x w_i^T for every target, in one parallel region: q, k and v of a layer, or gate and up.
void matmul(Execution<Host>& execution, MatrixView<const float> x, std::span<const MatmulTarget<>> targets,
            const MatmulTuning& tuning = {});

/// As matmul, but every row of y is, bit for bit, what matmul gives for that row of x alone, however many there are.
/// The faster of the two for up to a dozen rows, and slower by half for hundreds.
void matmul_by_row(Execution<Host>& execution, MatrixView<const float> x, std::span<const MatmulTarget<>> targets,
                   const MatmulTuning& tuning = {});

namespace detail {

/// Throws as matmul.
template <class Space>
void check_matmul(MatrixView<const float, Space> x, std::span<const MatmulTarget<Space>> targets) {
  check_contiguous_rows("matmul: x", x);
  for (const auto& [w, y] : targets) {
    check_extent("matmul: columns of w", w.cols(), x.extent(1));
    check_extent("matmul: rows of y", y.extent(0), x.extent(0));
    check_extent("matmul: columns of y", y.extent(1), w.rows());
    check_contiguous_rows("matmul: y", y);
  }
}

/// Elements of a row of w that are packed at a time: equal parts of about `limit`, in whole blocks.
inline Index depth_of_pack(Index d, DType dtype, Index limit) {
  if (block_elements(dtype) > 32) return block_elements(dtype);
  const Index parts = std::max<Index>(1, (d + limit - 1) / limit);
  return ((d + parts - 1) / parts + 31) / 32 * 32;
}

/// Rows [first, first + rows) of w, elements [begin, end), as one panel.
inline void pack_rows(const Kernels& kernels, const StoredMatrix<>& w, Index first, Index rows, Index begin, Index end,
                      float* row_buffer, float* panel) {
  const std::byte* source[max_panel_width];
  for (Index r = 0; r < rows; ++r) source[r] = w.row(first + r);
  kernels.pack(kernels.decode_of(w.dtype()), source, rows, begin, end, row_buffer, panel);
}

/// Distance between arranged rows: whole cache lines, as a vector that crosses two costs two loads.
inline Index arranged_stride(const DotKernels& kernels, Index cols) {
  return (kernels.arranged_size(cols) + 15) / 16 * 16;
}

/// Few rows of x: each is multiplied by the rows of every w as they are stored.
void multiply_rows(Execution<Host>& execution, MatrixView<const float> x, std::span<const MatmulTarget<>> targets,
                   const MatmulTuning& tuning);

/// Many rows of x: blocks of w are packed into panels of floats first.
void multiply_panels(Execution<Host>& execution, MatrixView<const float> x, std::span<const MatmulTarget<>> targets,
                     const MatmulTuning& tuning);

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE void matmul(Execution<Host>& execution, MatrixView<const float> x,
                                             std::span<const MatmulTarget<>> targets, const MatmulTuning& tuning) {
  detail::check_matmul(x, targets);
  if (x.extent(0) < few_rows || x.extent(1) == 0)
    detail::multiply_rows(execution, x, targets, tuning);
  else
    detail::multiply_panels(execution, x, targets, tuning);
}

ACTIVATION_TRACE_COMPILED_INLINE void matmul_by_row(Execution<Host>& execution, MatrixView<const float> x,
                                                    std::span<const MatmulTarget<>> targets,
                                                    const MatmulTuning& tuning) {
  detail::check_matmul(x, targets);
  detail::multiply_rows(execution, x, targets, tuning);
}

ACTIVATION_TRACE_COMPILED_INLINE void detail::multiply_rows(Execution<Host>& execution, MatrixView<const float> x,
                                                            std::span<const MatmulTarget<>> targets,
                                                            const MatmulTuning& tuning) {
  const Index d = x.extent(1);
  if (d == 0) {  // rows without a place: no kernel counts on from nothing
    for (const auto& [w, y] : targets)
      for (Index i = 0; i < y.extent(0); ++i) std::ranges::fill(y.row(i).span(), 0.0f);
    return;
  }
  Index rows = 0;
  Index scratch = 0;
  for (const auto& [w, y] : targets) {
    rows += w.rows();
    scratch = std::max(scratch, arranged_stride(dot_kernels(execution.isa(), w.dtype()), d));
  }
  const Index n = x.extent(0);
  if (n == 0) return;  // y has no place to count on from
  execution.for_each_range(rows, tuning.grain, [&](Index begin, Index end, int worker) {
    // Every worker arranges x for itself: that is cheaper than waiting for one that does it for all.
    float* arranged = execution.scratch(worker, n * scratch).data();
    const StoredMatrix<>* last = nullptr;
    Index first = 0;  // of this target among all rows
    for (const auto& [w, y] : targets) {
      const Index from = std::max(begin - first, Index{0});
      const Index to = std::min(end - first, w.rows());
      first += w.rows();
      if (from >= to) continue;
      const DotKernels& kernels = dot_kernels(execution.isa(), w.dtype());
      const Index size = arranged_stride(kernels, d);
      if (size > 0 && (last == nullptr || last->dtype() != w.dtype()))
        for (Index i = 0; i < n; ++i) kernels.arrange(x.data() + i * x.stride(0), d, arranged + i * size);
      last = &w;
      kernels.dot_rows(w.row(from), w.row_bytes(), to - from, d, size > 0 ? arranged : x.data(),
                       size > 0 ? size : x.stride(0), n, y.data() + from, y.stride(0));
    }
  });
}

ACTIVATION_TRACE_COMPILED_INLINE void detail::multiply_panels(Execution<Host>& execution, MatrixView<const float> x,
                                                              std::span<const MatmulTarget<>> targets,
                                                              const MatmulTuning& tuning) {
  const Index row_block = tuning.row_block;
  const Index block_panels = tuning.block_panels;
  const Kernels& kernels = detail::kernels(execution.isa());
  const Index width = kernels.panel_width;
  const Index d = x.extent(1);
  const auto panels_of = [&](const StoredMatrix<>& w) { return (w.rows() + width - 1) / width; };
  Index panels = 0;
  Index deepest = 0;
  for (const auto& [w, y] : targets) {
    panels += panels_of(w);
    deepest = std::max(deepest, depth_of_pack(d, w.dtype(), tuning.depth));
  }
  const Index panel_size = deepest * width;
  execution.for_each_range(panels, 1, [&](Index begin, Index end, int worker) {
    float* packed = execution.scratch(worker, block_panels * panel_size + (pack_depth + row_block) * width).data();
    float* row_buffer = packed + block_panels * panel_size;
    float* edge = row_buffer + pack_depth * width;  // a tile of the last, narrower panel
    Index first = 0;                                // of this target among all panels
    for (const auto& [w, y] : targets) {
      const Index from = std::max(begin - first, Index{0});
      const Index to = std::min(end - first, panels_of(w));
      first += panels_of(w);
      const Index depth = depth_of_pack(d, w.dtype(), tuning.depth);
      for (Index block = from; block < to; block += block_panels) {
        const Index block_end = std::min(block + block_panels, to);
        for (Index k = 0; k < d; k += depth) {
          const Index k_end = std::min(k + depth, d);
          const Into into = k == 0 ? Into::set : Into::add;
          for (Index p = block; p < block_end; ++p)
            pack_rows(kernels, w, p * width, std::min(width, w.rows() - p * width), k, k_end, row_buffer,
                      packed + (p - block) * panel_size);
          for (Index i = 0; i < x.extent(0); i += row_block) {
            const Index n = std::min(row_block, x.extent(0) - i);
            const float* x_block = x.data() + i * x.stride(0) + k;
            for (Index p = block; p < block_end; ++p) {
              const float* panel = packed + (p - block) * panel_size;
              float* out = y.data() + i * y.stride(0) + p * width;
              const Index columns = std::min(width, w.rows() - p * width);
              if (columns == width) {
                kernels.multiply_panel(x_block, x.stride(0), n, panel, k_end - k, out, y.stride(0), into);
                continue;
              }
              kernels.multiply_panel(x_block, x.stride(0), n, panel, k_end - k, edge, width, Into::set);
              for (Index r = 0; r < n; ++r)
                for (Index c = 0; c < columns; ++c) {
                  float& element = out[r * y.stride(0) + c];
                  element = into == Into::set ? edge[r * width + c] : element + edge[r * width + c];
                }
            }
          }
        }
      }
    }
  });
}

ACTIVATION_TRACE_COMPILED_INLINE void matmul(Execution<Host>& execution, MatrixView<const float> x,
                                             const StoredMatrix<>& w, MatrixView<float> y, const MatmulTuning& tuning) {
  const MatmulTarget<> target{w, y};
  matmul(execution, x, std::span(&target, 1), tuning);
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
