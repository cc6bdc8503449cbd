// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

template <class... T>
constexpr std::array<RowKernels, sizeof...(T)> row_kernels(TypeList<T...>) {
  return {RowKernels{
      .pack = pack<T>, .arranged_size = arranged_size<T>, .arrange = arrange<T>, .dot_rows = dot_rows<T>}...};
}

inline constexpr Kernels table{
    .lanes = lanes,
    .panel_width = panel_width,
    .rows = row_kernels(WeightTypes{}),
    .multiply_panel = multiply_panel,
    .multiply_narrow_panel = multiply_narrow_panel,
    .softmax_columns = softmax_columns,
    .exponentiate_row = exponentiate_row,
    .largest_of = largest_of,
    .sum_exponentials = sum_exponentials,
    .weighted_sum = weighted_sum,
    .counted_exponentials = counted_exponentials,
    .reference_divergences = reference_divergences,
    .jensen_shannon_divergences = jensen_shannon_divergences,
    .silu_multiply = gated_multiply<Silu>,
    .gelu_tanh_multiply = gated_multiply<GeluTanh>,
    .rms_norm = rms_norm,
};
