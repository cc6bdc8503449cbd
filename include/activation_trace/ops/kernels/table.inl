// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

template <class... T>
constexpr std::array<Decode, sizeof...(T)> decode_kernels(TypeList<T...>) {
  return {decode_row<T>...};
}

inline constexpr Kernels table{
    .lanes = lanes,
    .panel_width = panel_width,
    .decode = decode_kernels(WeightTypes{}),
    .pack = pack,
    .multiply_panel = multiply_panel,
    .multiply_narrow_panel = multiply_narrow_panel,
    .softmax_columns = softmax_columns,
    .exponentiate_row = exponentiate_row,
    .largest_of = largest_of,
    .sum_exponentials = sum_exponentials,
    .weighted_sum = weighted_sum<float>,
    .weighted_sum_f16 = weighted_sum<Half>,
    .silu_multiply = gated_multiply<Silu>,
    .gelu_tanh_multiply = gated_multiply<GeluTanh>,
    .rms_norm = rms_norm,
};

template <class... T>
constexpr std::array<DotKernels, sizeof...(T)> dot_kernels(TypeList<T...>) {
  return {DotKernels{.arranged_size = arranged_size<T>, .arrange = arrange<T>, .dot_rows = dot_rows<T>}...};
}

inline constexpr auto dot_table = dot_kernels(WeightTypes{});

inline constexpr DivergenceKernels divergence_table{
    .counted_exponentials = counted_exponentials,
    .reference_divergences = reference_divergences,
    .jensen_shannon_divergences = jensen_shannon_divergences,
};
