// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

inline constexpr Kernels table{
    .lanes = lanes,
    .panel_width = panel_width,
    .pack = pack,
    .multiply_panel = multiply_panel,
    .multiply_narrow_panel = multiply_narrow_panel,
    .arranged_size = arranged_size,
    .arrange = arrange,
    .dot_rows = dot_rows,
    .softmax_columns = softmax_columns,
    .exponentiate_row = exponentiate_row,
    .largest_of = largest_of,
    .sum_exponentials = sum_exponentials,
    .weighted_sum = weighted_sum,
    .counted_exponentials = counted_exponentials,
    .reference_divergences = reference_divergences,
    .jensen_shannon_divergences = jensen_shannon_divergences,
    .silu_multiply = silu_multiply,
    .rms_norm = rms_norm,
};
