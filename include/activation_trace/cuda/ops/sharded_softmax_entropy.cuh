// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/ops/softmax_entropy.cuh"
#include "activation_trace/cuda/ops/softmax_stored.cuh"
#include "activation_trace/cuda/stream.cuh"
#include "activation_trace/ops/check.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// Rows of an LM head in the memory of one device: a matrix of f32, f16 or bf16, or any stored form for states of f32.
template <class Rows>
struct LmHeadShard {
  Execution<Cuda> execution;  ///< that computes with them
  Rows rows;                  ///< [tokens, d], views
};

/// softmax_entropy() over an LM head whose rows are shared out over devices, each of which has a range of tokens.
/// States go to all of them, V floats come back, and nothing else passes between them, so the time is that of one
/// device divided by their number. A token's bits are those of its device alone: no other row plays a part in them.
///
///     cuda::ShardedSoftmaxEntropy<BFloat16> entropy(stream, {{first, upper_rows}, {second, lower_rows}}, 2048);
///     entropy(hidden, entropies.view());  // [T, d] and [V], where `stream` is
///
/// `T` is the type of states, `Rows` MatrixView<const T, Cuda> or StoredMatrix<Cuda>.
template <class T, class Rows = MatrixView<const T, Cuda>>
class ShardedSoftmaxEntropy {
 public:
  /// What it is made of.
  using Shard = LmHeadShard<Rows>;

  /// For up to `positions` states on the device of `stream`. Takes memory of every device, for the states there, and
  /// what one call needs. The rows must outlive it. Throws ShapeError for shards of different widths, ArgumentError
  /// for none, CudaError.
  ShardedSoftmaxEntropy(Execution<Cuda> stream, std::vector<Shard> shards, Index positions)
      : stream_(std::move(stream)), begin_(stream_), positions_(positions) {
    if (shards.empty()) throw ArgumentError("ShardedSoftmaxEntropy: no shards of an LM head");
    if (positions < 0) throw ArgumentError("ShardedSoftmaxEntropy: " + std::to_string(positions) + " positions");
    width_ = columns_of(shards.front().rows);
    for (Shard& shard : shards) {
      activation_trace::detail::check_extent("ShardedSoftmaxEntropy: columns of a shard", columns_of(shard.rows),
                                             width_);
      vocabulary_ += rows_of(shard.rows);
      const int device = shard.execution.device();
      const DeviceGuard guard(device);
      parts_.emplace_back(std::move(shard), device == stream_.device() ? 0 : positions * width_, positions);
    }
  }

  /// V, the rows of all shards.
  [[nodiscard]] Index vocabulary() const noexcept { return vocabulary_; }

  /// As softmax_entropy(): the entropies of the first shard's rows come first. `hidden` [T, d] without gaps and
  /// `entropy` [V] are on the device of the stream, in whose order all of it is; the shards' own streams wait for it,
  /// and it for them, and the host for nothing. Throws ShapeError, also for more states than it was made for.
  void operator()(MatrixView<const T, Cuda> hidden, VectorView<float, Cuda> entropy,
                  const SoftmaxOptions& options = {}) {
    check(hidden, entropy);
    begin_.record(stream_);
    Index row = 0;
    for (Part& part : parts_) {
      const Index rows = rows_of(part.shard.rows);
      compute(part, hidden, entropy.slice(0, row, row + rows), options);
      row += rows;
    }
    for (Part& part : parts_) part.done.hold(stream_);
  }

 private:
  struct Part {
    /// In the memory of the current device, with room for `states` elements of states from elsewhere.
    Part(Shard s, Index states, Index positions)
        : shard(std::move(s)),
          hidden(states),
          entropy(states > 0 ? rows_of(shard.rows) : 0),
          workspace(softmax_workspace_size(positions, rows_of(shard.rows))),
          done(shard.execution) {}

    Shard shard;
    Buffer<T, Cuda> hidden;       // [positions, d] where the states are elsewhere
    Buffer<float, Cuda> entropy;  // [rows], the same
    Buffer<SoftmaxState, Cuda> workspace;
    Event done;
  };

  static Index rows_of(const StoredMatrix<Cuda>& w) { return w.rows(); }
  static Index rows_of(const MatrixView<const T, Cuda>& w) { return w.extent(0); }
  static Index columns_of(const StoredMatrix<Cuda>& w) { return w.cols(); }
  static Index columns_of(const MatrixView<const T, Cuda>& w) { return w.extent(1); }

  void check(const MatrixView<const T, Cuda>& hidden, const VectorView<float, Cuda>& entropy) const {
    activation_trace::detail::check_extent("ShardedSoftmaxEntropy: columns of hidden", hidden.extent(1), width_);
    if (hidden.extent(0) > positions_)
      throw ShapeError("ShardedSoftmaxEntropy: made for " + std::to_string(positions_) + " positions, got " +
                       std::to_string(hidden.extent(0)));
    if (!hidden.contiguous()) throw ShapeError("ShardedSoftmaxEntropy: rows of hidden must have no gaps");
    detail::check_output(entropy, vocabulary_, "entropy");
  }

  void compute(Part& part, const MatrixView<const T, Cuda>& hidden, const VectorView<float, Cuda>& entropy,
               const SoftmaxOptions& options) {
    Execution<Cuda>& there = part.shard.execution;
    const int device = there.device();
    begin_.hold(there);
    if (device == stream_.device()) {
      softmax_entropy(there, hidden, part.shard.rows, entropy, part.workspace.view(), options);
    } else {
      const auto states = part.hidden.matrix(hidden.extent(0), width_);
      copy_peer(there, VectorView<const T, Cuda>(hidden.data(), {hidden.size()}), stream_.device(),
                VectorView<T, Cuda>(states.data(), {states.size()}), device);
      softmax_entropy(there, MatrixView<const T, Cuda>(states), part.shard.rows, part.entropy.view(),
                      part.workspace.view(), options);
      copy_peer(there, std::as_const(part.entropy).view(), device, entropy, stream_.device());
    }
    part.done.record(there);
  }

  Execution<Cuda> stream_;
  Event begin_;
  Index positions_;
  Index width_ = 0;
  Index vocabulary_ = 0;
  std::vector<Part> parts_;
};

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
