// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include "activation_trace/ops/check.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// Row i of out [n, d] becomes row ids[i] of w [m, d], in any stored form, widened to float. Throws ShapeError, also
/// for an id that w has no row for.
void gather(Execution<Host>& execution, const StoredMatrix<>& w, std::span<const TokenId> ids, MatrixView<float> out);

inline void gather(Execution<Host>& execution, const StoredMatrix<>& w, std::span<const TokenId> ids,
                   MatrixView<float> out) {
  detail::check_extent("gather: rows of out", out.extent(0), static_cast<Index>(ids.size()));
  detail::check_extent("gather: columns of out", out.extent(1), w.cols());
  detail::check_contiguous_rows("gather: out", out);
  execution.for_each_rows(out.extent(0), out.extent(1), [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) w.decode_row(ids[static_cast<std::size_t>(i)], out.row(i).span());
  });
}

}  // namespace v0
}  // namespace activation_trace
