// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "activation_trace/config.hpp"
#include "activation_trace/ops/isa.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"

// The inner loops of the ops. instances.inl compiles them, which is most of what a file takes that uses them: in every
// such file, or once (ACTIVATION_TRACE_COMPILED_KERNELS, config.hpp). bench/compile_time.py prints the difference.

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// What a tile of a product does to the memory it is written to.
enum class Into { set, add };

/// Elements of a row that are decoded at a time; a multiple of every block length.
constexpr Index pack_depth = 256;

/// Rows of w that any instruction set packs side by side, at most.
constexpr Index max_panel_width = 32;

/// Entries of a row that are compared at a time.
constexpr Index divergence_block = 1024;

/// A layer's softmax, e^(x - maximum) * inverse_sum, and how much ln e^x / sum is below x more than the mature layer's.
struct DivergenceRow {
  float maximum;
  float inverse_sum;
  float offset;
  float offset_rest;  ///< what rounding takes from offset
};

/// Elements [begin, begin + count) of a row of one weight type as floats, both whole blocks.
using Decode = void (*)(const std::byte* row, Index begin, Index count, float* y);

/// The kernels that multiply rows of one weight type as they are stored by few rows of x. They, and those that compare
/// layers, have tables of their own: a file with the processor alone packs, and does not compile them.
struct DotKernels {
  Index (*arranged_size)(Index cols);
  void (*arrange)(const float* x, Index cols, float* out);
  void (*dot_rows)(const std::byte* w, Index row_bytes, Index rows, Index cols, const float* x, Index x_stride, Index n,
                   float* y, Index y_stride);
};

/// 32 activations as whole numbers of -127 to 127 times a scale. Sums are of the first half, the second, and both.
struct alignas(64) EightBits {
  std::int8_t q[32];
  float scale;
  float sums[3];           ///< scale times the next
  std::int32_t totals[3];  ///< of q
};

/// Activations that are all smaller than this count as 0.
constexpr float least_activation = 0x1p-100f;

/// 32 activations as the kernel that rounded them has them.
union RoundedBlock {
  EightBits eight;
  std::uint16_t bf16[32];
};

/// Elements of a row of w that are in a panel of rounded products at once; a multiple of every block length.
constexpr Index fast_depth = 256;

/// The kernels that multiply rows of one type by rows of x that were rounded, 32 elements at a time; null for a type
/// that has none. `multiply` adds to out [n, lanes] what a panel of `blocks` blocks of 32 makes: integer_products.inl,
/// bf16_products.inl.
struct FastKernels {
  Index lanes = 0;         ///< rows of w in a panel
  Index panel_floats = 0;  ///< of fast_depth elements
  void (*round)(const float* x, Index d, RoundedBlock* out) = nullptr;
  void (*pack)(const std::byte* w, Index stride, Index begin, Index count, float* panel) = nullptr;
  void (*multiply)(const float* panel, Index blocks, const RoundedBlock* x, Index x_stride, Index n,
                   float* out) = nullptr;
};

/// The kernels that compare layers' distributions.
struct DivergenceKernels {
  void (*counted_exponentials)(const float* mature, const float* x, Index n, float* maximum, double* sum_of);
  void (*reference_divergences)(const float* mature, const float* layers, Index stride, Index count, Index n,
                                const DivergenceRow* rows, double* sums);
  void (*jensen_shannon_divergences)(const float* mature, const float* layers, Index stride, Index count, Index n,
                                     const DivergenceRow* rows, double* sums);
};

/// The other kernels of one instruction set; the .inl files say what each does.
struct Kernels {
  Index lanes;
  Index panel_width;                             ///< rows of w that are multiplied at once
  std::array<Decode, WeightTypes::size> decode;  ///< in the order of WeightTypes
  void (*pack)(Decode decode, const std::byte* const* source, Index rows, Index begin, Index end, float* row_buffer,
               float* panel);
  void (*multiply_panel)(const float* x, Index x_stride, Index n, const float* panel, Index depth, float* out,
                         Index out_stride, Into into);
  void (*multiply_narrow_panel)(const float* x, Index x_stride, Index n, const float* panel, Index depth, float* out,
                                Index out_stride, Into into);
  void (*softmax_columns)(const float* scores, Index rows, Index width, float* state);
  float (*exponentiate_row)(float* scores, Index count, Index padded, float scale);
  float (*largest_of)(const float* x, Index n);
  double (*sum_exponentials)(const float* x, Index n, float maximum);
  void (*weighted_sum)(const float* weights, Index weight_stride, Index heads, const float* values, Index stride,
                       Index rows, Index cols, float* out, Index out_stride, Into into);
  void (*weighted_sum_f16)(const float* weights, Index weight_stride, Index heads, const Half* values, Index stride,
                           Index rows, Index cols, float* out, Index out_stride, Into into);
  void (*silu_multiply)(const float* gate, const float* up, Index n, float* y);
  void (*gelu_tanh_multiply)(const float* gate, const float* up, Index n, float* y);
  void (*rms_norm)(const float* x, const float* weight, Index d, float eps, float* y);

  /// What decodes rows of `dtype`, which must be one of DType's.
  [[nodiscard]] Decode decode_of(DType dtype) const noexcept { return decode[static_cast<std::size_t>(dtype)]; }
};

/// The kernels of `isa`, which this processor must support.
ACTIVATION_TRACE_COMPILED_INLINE const Kernels& kernels(Isa isa);

/// Those for rows of `dtype`, which must be one of DType's.
ACTIVATION_TRACE_COMPILED_INLINE const DotKernels& dot_kernels(Isa isa, DType dtype);

/// Those for rows of `dtype`, of which all are null if it is not a quantised one, nor BF16 where the processor
/// multiplies that.
ACTIVATION_TRACE_COMPILED_INLINE const FastKernels& fast_kernels(Isa isa, DType dtype);

/// Those for layers.
ACTIVATION_TRACE_COMPILED_INLINE const DivergenceKernels& divergence_kernels(Isa isa);

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace

#if !defined(ACTIVATION_TRACE_COMPILED_KERNELS)
#include "activation_trace/ops/kernels/instances.inl"
#endif
