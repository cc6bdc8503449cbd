// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/ops/arrange_rows.cuh"
#include "activation_trace/cuda/ops/planes.cuh"
#include "activation_trace/cuda/stream.cuh"
#include "activation_trace/model/llama_part.hpp"
#include "activation_trace/model/weights.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

namespace detail {

/// Where matrices and vectors lie one after another, each at a multiple of 256 bytes. Without memory it only counts.
class Placement {
 public:
  explicit Placement(std::byte* memory = nullptr) : memory_(memory) {}

  [[nodiscard]] Index bytes() const noexcept { return used_; }
  /// The next `bytes`, or null while counting.
  [[nodiscard]] std::byte* take(Index bytes) {
    std::byte* const place = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += (bytes + 255) / 256 * 256;
    return place;
  }

 private:
  std::byte* memory_;
  Index used_ = 0;
};

/// Bytes between rows, a multiple of 16: of scalars as they are, of blocks taken apart.
inline Index device_row_bytes(const StoredMatrix<>& m) {
  return visit_dtype(m.dtype(), [&]<class T>(std::type_identity<T>) {
    if constexpr (QuantizedBlock<T>)
      return Planes<T>::bytes(m.cols());
    else
      return (StoredMatrix<>::row_bytes_of(m.dtype(), m.cols()) + 15) / 16 * 16;
  });
}

/// Of rows that are on their way to being taken apart, in scratch memory: at least a row.
inline constexpr Index staged_bytes = Index{16} << 20;

/// Rows of blocks become rows of planes at `place`, by way of scratch memory.
inline void upload_blocks(Execution<Cuda> execution, const StoredMatrix<>& m, std::byte* place, Index distance) {
  if (m.cols() >= 1 << 30) throw ShapeError("upload: rows of " + std::to_string(m.cols()) + " elements are too long");
  const Index bytes = StoredMatrix<>::row_bytes_of(m.dtype(), m.cols());
  const Index staged = (bytes + 15) / 16 * 16;
  const Index most = std::clamp(staged_bytes / staged, Index{1}, m.rows());
  std::byte* const stage = execution.scratch<std::byte>(most * staged).data();
  for (Index first = 0; first < m.rows(); first += most) {
    const Index rows = std::min(most, m.rows() - first);
    copy(execution, MatrixView<const std::byte>(m.row(first), {rows, bytes}, {m.row_bytes(), 1}),
         MatrixView<std::byte, Cuda>(stage, {rows, bytes}, {staged, 1}));
    arrange_rows(execution, m.dtype(), rows, static_cast<int>(m.cols()), stage, staged, place + first * distance,
                 distance);
  }
}

/// Copies a matrix to its place in the order of `execution`.
inline StoredMatrix<Cuda> upload(Execution<Cuda> execution, const StoredMatrix<>& m, Placement& placement) {
  const Index bytes = StoredMatrix<>::row_bytes_of(m.dtype(), m.cols());
  const Index distance = device_row_bytes(m);
  std::byte* const place = placement.take(m.rows() * distance);
  if (place == nullptr || m.rows() == 0 || bytes == 0) return {};
  if (block_elements(m.dtype()) > 1)
    upload_blocks(execution, m, place, distance);
  else if (bytes == distance && bytes == m.row_bytes())  // at once, which is faster than by rows
    copy(execution, VectorView<const std::byte>(m.data(), {m.rows() * bytes}),
         VectorView<std::byte, Cuda>(place, {m.rows() * bytes}));
  else
    copy(execution, MatrixView<const std::byte>(m.data(), {m.rows(), bytes}, {m.row_bytes(), 1}),
         MatrixView<std::byte, Cuda>(place, {m.rows(), bytes}, {distance, 1}));
  return {m.dtype(), place, m.rows(), m.cols(), distance, RowLayout::planes};
}

inline VectorView<const float, Cuda> upload(Execution<Cuda> execution, const std::vector<float>& v,
                                            Placement& placement) {
  const auto size = static_cast<Index>(v.size());
  auto* const place = reinterpret_cast<float*>(placement.take(size * static_cast<Index>(sizeof(float))));
  if (place == nullptr || v.empty()) return {};
  copy(execution, VectorView<const float>(v), VectorView<float, Cuda>(place, {size}));
  return {place, {size}};
}

/// What upload() places of a block; of the embedding, or of the LM head and the norm in front of it; each by a function
/// of one matrix or vector.
template <class Place>
LlamaLayerWeights<Cuda> upload_block(const LlamaLayerWeights<>& w, const Place& place) {
  return {place(w.attention_norm),
          place(w.q),
          place(w.k),
          place(w.v),
          place(w.o),
          place(w.ffn_norm),
          place(w.gate),
          place(w.up),
          place(w.down),
          place(w.q_bias),
          place(w.k_bias),
          place(w.v_bias),
          place(w.o_bias),
          place(w.q_norm),
          place(w.k_norm),
          place(w.attention_out_norm),
          place(w.ffn_out_norm)};
}

/// The row of the embedding that the LM head begins at, if that is rows of it.
inline std::optional<Index> tied_at(const LlamaWeights<>& weights) {
  const StoredMatrix<>& head = weights.lm_head;
  const StoredMatrix<>& embedding = weights.embedding;
  const std::less_equal<> before;  // also of pointers into different memory
  if (head.row_bytes() == 0 || head.dtype() != embedding.dtype() || head.cols() != embedding.cols() ||
      head.row_bytes() != embedding.row_bytes() || !before(embedding.data(), head.data()) ||
      !before(head.row(head.rows()), embedding.row(embedding.rows())))
    return std::nullopt;
  const Index bytes = head.data() - embedding.data();
  return bytes % head.row_bytes() == 0 ? std::optional(bytes / head.row_bytes()) : std::nullopt;
}

/// Each block to the place that has it, one placement for each. What is tied lies once where first and last are one.
inline LlamaWeights<Cuda> upload(std::span<const LlamaPlace<Cuda>> places, const LlamaWeights<>& weights,
                                 std::span<Placement> placements) {
  const auto at = [&](std::size_t p) {
    return [&, p](const auto& w) { return upload(*places[p].execution, w, placements[p]); };
  };
  LlamaWeights<Cuda> result;
  result.embedding = at(0)(weights.embedding);
  result.layers.reserve(weights.layers.size());
  for (std::size_t p = 0; const LlamaLayerWeights<>& w : weights.layers) {
    while (static_cast<Index>(result.layers.size()) >= places[p].end && p + 1 < places.size()) ++p;
    result.layers.push_back(upload_block(w, at(p)));
  }
  result.final_norm = at(places.size() - 1)(weights.final_norm);
  if (const std::optional<Index> row = places.size() == 1 ? tied_at(weights) : std::nullopt) {
    if (result.embedding.rows() > 0) result.lm_head = result.embedding.slice(*row, *row + weights.lm_head.rows());
  } else {
    result.lm_head = at(places.size() - 1)(weights.lm_head);
  }
  return result;
}

}  // namespace detail

/// A matrix in any stored form in the memory of a device, laid out as its kernels read it: what an op or a processor
/// takes as its LM head, say, where there is no model.
class DeviceMatrix {
 public:
  /// Copies `m`, which need not live longer than the call. Throws Error if the device of `execution` has no memory for
  /// it, CudaError for other failures.
  DeviceMatrix(Execution<Cuda> execution, const StoredMatrix<>& m) {
    detail::Placement size;
    (void)detail::upload(execution, m, size);
    memory_ = detail::made_in_memory(execution.device(), "DeviceMatrix: the weights", static_cast<double>(size.bytes()),
                                     "", [&] { return Buffer<std::byte, Cuda>(size.bytes()); });
    detail::Placement placement(memory_.data());
    view_ = detail::upload(execution, m, placement);
    execution.synchronize();
  }

  /// A view of it, valid as long as this object or what it was moved to.
  [[nodiscard]] const StoredMatrix<Cuda>& view() const noexcept { return view_; }

 private:
  Buffer<std::byte, Cuda> memory_;
  StoredMatrix<Cuda> view_;
};

/// A LLaMA's weights in the memory of a device, in one piece: scalars as they are stored, in rows at multiples of 16
/// bytes, blocks taken apart into planes, which is as many bytes but for the ends of rows (cuda/ops/planes.cuh). An LM
/// head that is rows of the embedding is there once. Of several devices each has its blocks, the first the embedding,
/// the last the LM head.
///
/// While blocks are uploaded, up to 16 MiB of the scratch memory of an execution has rows as the file does.
class DeviceWeights {
 public:
  /// Copies `weights`, perhaps of a mapped file, which need not live longer than the call. Throws Error with the sums
  /// if the device of `execution` has no memory for them, CudaError for other failures.
  DeviceWeights(Execution<Cuda> execution, const LlamaWeights<>& weights)
      : DeviceWeights(std::array{LlamaPlace<Cuda>{&execution, static_cast<Index>(weights.layers.size())}}, weights) {}
  /// The same to the places of a Llama<Cuda>.
  DeviceWeights(std::span<const LlamaPlace<Cuda>> places, const LlamaWeights<>& weights) {
    std::vector<detail::Placement> sizes(places.size());
    (void)detail::upload(places, weights, sizes);
    std::vector<detail::Placement> placements;
    for (std::size_t p = 0; p < places.size(); ++p) {
      memory_.push_back(detail::made_in_memory(places[p].execution->device(), "DeviceWeights: the weights",
                                               static_cast<double>(sizes[p].bytes()), "",
                                               [&] { return Buffer<std::byte, Cuda>(sizes[p].bytes()); }));
      placements.emplace_back(memory_.back().data());
    }
    view_ = detail::upload(places, weights, placements);
    for (const LlamaPlace<Cuda>& place : places) place.execution->synchronize();
  }

  /// Bytes that all of them take at one place. `execution` is of any device.
  [[nodiscard]] static double bytes_of(Execution<Cuda> execution, const LlamaWeights<>& weights) {
    const LlamaPlace<Cuda> place{&execution, static_cast<Index>(weights.layers.size())};
    detail::Placement sizes;
    (void)detail::upload(std::span(&place, 1), weights, std::span(&sizes, 1));
    return static_cast<double>(sizes.bytes());
  }
  /// Bytes that each block takes, with the embedding in the first and the LM head in the last: what is shared out among
  /// devices. `execution` is of any of them.
  [[nodiscard]] static std::vector<double> block_bytes(Execution<Cuda> execution, const LlamaWeights<>& weights) {
    std::vector<double> result;
    for (const LlamaLayerWeights<>& w : weights.layers) {
      detail::Placement sizes;
      const auto count = [&](const auto& matrix) { return detail::upload(execution, matrix, sizes); };
      (void)detail::upload_block(w, count);
      if (result.empty()) (void)count(weights.embedding);
      if (result.size() + 1 == weights.layers.size()) {
        (void)count(weights.final_norm);
        (void)count(weights.lm_head);
      }
      result.push_back(static_cast<double>(sizes.bytes()));
    }
    return result;
  }

  /// Views of them, valid as long as this object or what it was moved to.
  [[nodiscard]] const LlamaWeights<Cuda>& view() const noexcept { return view_; }
  /// What they take of the memory of a place.
  [[nodiscard]] Index bytes(std::size_t place) const { return memory_[place].size(); }
  /// What they take of the devices' memory.
  [[nodiscard]] Index bytes() const noexcept {
    Index sum = 0;
    for (const Buffer<std::byte, Cuda>& memory : memory_) sum += memory.size();
    return sum;
  }

 private:
  std::vector<Buffer<std::byte, Cuda>> memory_;  // of each place
  LlamaWeights<Cuda> view_;
};

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
