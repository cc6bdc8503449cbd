// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "activation_trace/cuda/ops/attention_kernel.cuh"
#include "activation_trace/cuda/ops/attention_tiles.cuh"
#include "activation_trace/ops/attention.hpp"
#include "activation_trace/tensor/half.hpp"

namespace activation_trace {
inline namespace v0 {

namespace cuda::detail {

/// Throws as the host's attention, and for heads that are too large.
template <class T>
void check_attention(std::span<const AttentionPart<Cuda, T>> parts, const AttentionOptions& options) {
  activation_trace::detail::check_attention(parts, options);
  const Index D = parts.empty() ? 0 : parts[0].q.extent(2);
  if (D > most_head_elements)
    throw ArgumentError("attention: heads have at most " + std::to_string(most_head_elements) +
                        " elements on a device, got " + std::to_string(D));
}

template <int rows, int columns, class T>
void launch_attention(Execution<Cuda> execution, const AttentionWork<T>& work, const Grid& grid, const Grid& join) {
  launch_dependent(execution, "attention_kernel", grid, attention_kernel<T, rows, columns>, work);
  if (work.shares > 1)
    launch_dependent(execution, "join_attention_kernel", join, join_attention_kernel<T, attention_warps>, work);
}

template <int octets, class T>
void launch_attention_tiles(Execution<Cuda> execution, const AttentionWork<T>& work, const Grid& grid,
                            const Grid& join) {
  launch_dependent(execution, "attention_tiles_kernel", grid, attention_tiles_kernel<T, octets>, work);
  if (work.shares > 1)
    launch_dependent(execution, "join_attention_kernel", join, join_attention_kernel<T, attention_warps>, work);
}

/// Whether the rows of x can be read by fours of elements.
template <class U>
[[nodiscard]] bool in_fours(const TensorView<U, 3, Cuda>& x) {
  return reinterpret_cast<std::uintptr_t>(x.data()) % (4 * sizeof(U)) == 0 && x.stride(0) % 4 == 0 &&
         x.stride(1) % 4 == 0;
}

/// Whether a part has enough queries for tensor cores. What they give is a matter of the part alone.
template <class T>
[[nodiscard]] bool has_many_queries(Execution<Cuda> execution, const AttentionPart<Cuda, T>& part) {
  return part.q.extent(0) >= activation_trace::detail::few_queries && has_attention_tiles<T>(execution);
}

/// At most `most_attention_parts`, which have many queries all, or none of them. `steps` as for attention().
template <class T>
void attend(Execution<Cuda> execution, std::span<const AttentionPart<Cuda, T>> parts, const AttentionOptions& options,
            const StepRow* steps) {
  const Index D = parts[0].q.extent(2);
  const Index groups = parts[0].k.extent(1);
  AttentionWork<T> work{};
  work.D = static_cast<int>(D);
  work.sharing = static_cast<int>(parts[0].q.extent(1) / groups);
  work.scale = activation_trace::detail::attention_scale(options, D);
  work.soft_cap = options.soft_cap.value_or(0.0f);
  work.wide = D % 4 == 0;
  Index most_rows = 0, all_rows = 0, longest = 0;
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const auto& [q, k, v, out] = parts[p];
    const Index rows = q.extent(0) * work.sharing;
    work.parts[p] = {HeadRows(q),
                     HeadRows(k),
                     HeadRows(v),
                     HeadRows(out),
                     static_cast<int>(q.extent(0)),
                     static_cast<int>(k.extent(0)),
                     all_rows,
                     steps == nullptr ? nullptr : steps + p};
    work.wide = work.wide && in_fours(q) && in_fours(k) && in_fours(v);
    all_rows += rows * groups;
    most_rows = std::max(most_rows, rows);
    longest = std::max(longest, k.extent(0));
  }
  if (all_rows == 0 || D == 0) return;
  work.window = static_cast<int>(std::min(options.window, longest));  // a longer one hides nothing
  const bool on_tensor_cores = has_many_queries(execution, parts[0]);
  const bool few = most_rows <= attention_warps;  // of a block: one for each warp
  const Index tile = on_tensor_cores ? attention_tile_rows : few ? attention_warps : attention_warps * attention_rows;
  const Index tiles = (most_rows + tile - 1) / tile;
  const Index blocks_of_rows = tiles * groups * static_cast<Index>(parts.size());
  const Index splits = (longest + attention_split - 1) / attention_split;
  // Where rows alone do not occupy the device, their positions are shared out, too.
  const Index left = all_rows * splits * (D + 2);
  const bool shared = splits > 1 && left <= most_attention_partials &&
                      blocks_of_rows < 2 * device_attribute(execution, cudaDevAttrMultiProcessorCount);
  work.shares = static_cast<int>(shared ? splits : 1);
  if (shared) work.partials = execution.scratch<float>(left).data();

  const auto z = static_cast<Index>(parts.size());
  const Index key_row = attention_key_stride(work.D);
  const Index shared_floats = (tile + 2 * attention_chunk) * key_row + tile * attention_chunk;
  const Grid grid{blocks(tiles * work.shares, groups, z), 32 * attention_warps,
                  on_tensor_cores ? attention_tile_bytes(work.D)
                                  : static_cast<int>(shared_floats * static_cast<Index>(sizeof(float)))};
  const Grid join{blocks((most_rows + attention_warps - 1) / attention_warps, groups, z), 32 * attention_warps};
  const auto run = [&](auto one_row, auto several, auto tiles_of_rows) {
    (on_tensor_cores ? tiles_of_rows : few ? one_row : several)(execution, work, grid, join);
  };
  if (D <= 64)
    run(launch_attention<1, 2, T>, launch_attention<attention_rows, 2, T>, launch_attention_tiles<8, T>);
  else if (D <= 128)
    run(launch_attention<1, 4, T>, launch_attention<attention_rows, 4, T>, launch_attention_tiles<16, T>);
  else
    run(launch_attention<1, 8, T>, launch_attention<attention_rows, 8, T>, launch_attention_tiles<32, T>);
}

/// As below. `steps`, if not null, say for each part, of one query, where its positions end among those given.
template <class T>
void attention(Execution<Cuda> execution, std::span<const AttentionPart<Cuda, T>> parts,
               const AttentionOptions& options, const StepRow* steps) {
  check_attention(parts, options);
  for (std::size_t first = 0, count = 0; first < parts.size(); first += count) {
    const bool many = has_many_queries(execution, parts[first]);
    for (count = 1; count < most_attention_parts && first + count < parts.size() &&
                    has_many_queries(execution, parts[first + count]) == many;)
      ++count;
    attend(execution, parts.subspan(first, count), options, steps == nullptr ? nullptr : steps + first);
  }
}

}  // namespace cuda::detail

/// As on the host, for heads of up to 256 elements; ArgumentError for larger ones. A query's result, bit for bit, does
/// not depend on the other parts, nor on how many queries of its own are given at once, if there are `few_queries` or
/// more, or fewer. Uses the execution's scratch memory where few queries share many positions.
template <int = 0>
void attention(Execution<Cuda> execution, std::span<const AttentionPart<Cuda>> parts,
               const AttentionOptions& options = {}) {
  cuda::detail::attention(execution, parts, options, nullptr);
}
/// The same with keys and values of half the size.
template <int = 0>
void attention(Execution<Cuda> execution, std::span<const AttentionPart<Cuda, Half>> parts,
               const AttentionOptions& options = {}) {
  cuda::detail::attention(execution, parts, options, nullptr);
}

}  // namespace v0
}  // namespace activation_trace
