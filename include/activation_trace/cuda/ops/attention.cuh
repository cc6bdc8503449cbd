// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>
#include <string>

#include "activation_trace/cuda/ops/attention_kernel.cuh"
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

/// At most `most_attention_parts`. `steps` as for attention().
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
    all_rows += rows * groups;
    most_rows = std::max(most_rows, rows);
    longest = std::max(longest, k.extent(0));
  }
  if (all_rows == 0 || D == 0) return;
  work.window = static_cast<int>(std::min(options.window, longest));  // a longer one hides nothing
  const bool few = most_rows <= attention_warps;                      // of a block: one for each warp
  const Index tile = few ? attention_warps : attention_warps * attention_rows;
  const Index tiles = (most_rows + tile - 1) / tile;
  const Index blocks_of_rows = tiles * groups * static_cast<Index>(parts.size());
  const Index splits = (longest + attention_split - 1) / attention_split;
  // Where rows alone do not occupy the device, their positions are shared out, too.
  const bool shared = splits > 1 && blocks_of_rows < 2 * device_attribute(execution, cudaDevAttrMultiProcessorCount);
  work.shares = static_cast<int>(shared ? splits : 1);
  if (shared) work.partials = execution.scratch<float>(all_rows * splits * (D + 2)).data();

  const auto z = static_cast<Index>(parts.size());
  const Index key_row = attention_key_stride(work.D);
  const Grid grid{blocks(tiles * work.shares, groups, z), 32 * attention_warps,
                  static_cast<int>(((tile + 2 * attention_chunk) * key_row + tile * attention_chunk) *
                                   static_cast<Index>(sizeof(float)))};
  const Grid join{blocks((most_rows + attention_warps - 1) / attention_warps, groups, z), 32 * attention_warps};
  const auto run = [&](auto one_row, auto several) { (few ? one_row : several)(execution, work, grid, join); };
  if (D <= 64)
    run(launch_attention<1, 2, T>, launch_attention<attention_rows, 2, T>);
  else if (D <= 128)
    run(launch_attention<1, 4, T>, launch_attention<attention_rows, 4, T>);
  else
    run(launch_attention<1, 8, T>, launch_attention<attention_rows, 8, T>);
}

/// As below. `steps`, if not null, say for each part, of one query, where its positions end among those given.
template <class T>
void attention(Execution<Cuda> execution, std::span<const AttentionPart<Cuda, T>> parts,
               const AttentionOptions& options, const StepRow* steps) {
  check_attention(parts, options);
  for (std::size_t first = 0; first < parts.size(); first += most_attention_parts)
    attend(execution, parts.subspan(first, std::min(parts.size() - first, most_attention_parts)), options,
           steps == nullptr ? nullptr : steps + first);
}

}  // namespace cuda::detail

/// As on the host, for heads of up to 256 elements; ArgumentError for larger ones. A query's result, bit for bit, does
/// not depend on the others: not on how many are given at once, nor on the other parts. Uses the execution's scratch
/// memory where few queries share many positions.
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
