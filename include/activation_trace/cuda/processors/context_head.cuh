// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/cuda/ops/softmax_candidates.cuh"
#include "activation_trace/cuda/ops/softmax_entropy.cuh"
#include "activation_trace/cuda/ops/softmax_stored.cuh"

// The LM head of ContextEntropies, by what is known of its type: how the rows of some tokens are joined to their
// states.
namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// An LM head of the hidden states' type.
template <class T>
struct ViewedHead {
  using State = T;  ///< what hidden states are

  explicit ViewedHead(const StoredMatrix<Cuda>& m)
      : view(reinterpret_cast<const T*>(m.data()), {m.rows(), m.cols()},
             {m.row_bytes() / static_cast<Index>(sizeof(T)), 1}) {}

  [[nodiscard]] static bool available(Execution<Cuda> stream) { return has_candidates<T>(stream); }
  [[nodiscard]] bool by_elements() const { return row_access(view) == RowAccess::elements; }
  /// Positions of a tile of join_many().
  [[nodiscard]] Index many_tile() const { return by_elements() ? 8 : 32; }

  template <class... Arguments>
  void join_many(Execution<Cuda> stream, const MatrixView<const T, Cuda>& hidden, const Arguments&... arguments) const {
    const auto join = by_elements() ? launch_candidates<T, RowAccess::elements, 1, 1, 8>
                                    : launch_candidates<T, RowAccess::chunks, 2, 4, 8>;
    join(stream, RowBytes(hidden), RowBytes(view), arguments...);
  }
  template <class... Arguments>
  void join_few(Execution<Cuda> stream, const MatrixView<const T, Cuda>& hidden, const Arguments&... arguments) const {
    const auto join = by_elements() ? launch_candidates<T, RowAccess::elements, 1, 1, 8>
                                    : launch_candidates<T, RowAccess::chunks, 1, 1, 16>;
    join(stream, RowBytes(hidden), RowBytes(view), arguments...);
  }
  [[nodiscard]] Strided<T> elements() const { return Strided<T>(view); }

  MatrixView<const T, Cuda> view;
};

/// One in any stored form, of f32 hidden states.
struct StoredHead {
  using State = float;

  explicit StoredHead(const StoredMatrix<Cuda>& m) : view(m) {}

  template <int = 0>
  [[nodiscard]] static bool available(Execution<Cuda> stream) {
    return has_stored_candidates(stream);
  }
  [[nodiscard]] Index many_tile() const { return 8; }

  template <class... Arguments>
  void join_many(Execution<Cuda> stream, const MatrixView<const float, Cuda>& hidden,
                 const Arguments&... arguments) const {
    join_few(stream, hidden, arguments...);
  }
  template <class... Arguments>
  void join_few(Execution<Cuda> stream, const MatrixView<const float, Cuda>& hidden,
                const Arguments&... arguments) const {
    launch_stored_candidates(stream, StoredMatrix<Cuda>(hidden), view, arguments...);
  }
  [[nodiscard]] StoredElements elements() const { return StoredElements(view); }

  StoredMatrix<Cuda> view;
};

}  // namespace cuda::detail
}  // namespace v0
}  // namespace activation_trace
