// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "activation_trace/config.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// A run of the text that is one token so far, in a list threaded through a vector.
struct MergeSymbol {
  std::uint32_t begin;
  std::uint32_t length;  // 0 once the symbol to its left has swallowed it
  TokenId id;            // -1: not a token by itself
  std::int32_t previous;
  std::int32_t next;
};

struct MergeCandidate {
  double priority;  // the lowest first; equal ones from the left. Ranks and float scores are both exact in it.
  std::int32_t left;
  TokenId result;
  std::uint32_t length;
};

/// The memory that merging needs, kept from one piece of text to the next.
struct MergeMemory {
  std::vector<MergeSymbol> symbols;
  std::vector<MergeCandidate> heap;

  void clear() {
    symbols.clear();
    heap.clear();
  }
  void push_symbol(std::size_t begin, std::size_t length, TokenId id) {
    const auto index = static_cast<std::int32_t>(symbols.size());
    symbols.push_back(
        {static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(length), id, index - 1, index + 1});
  }
};

struct Merge {
  double priority;
  TokenId result;
};

/// Merges neighbours in `memory.symbols` until no pair is left that `find` knows: always the one of lowest
/// priority, of equals the leftmost. `find(const MergeSymbol& left, const MergeSymbol& right)` returns
/// std::optional<Merge>. O(n log n) for n symbols, whatever they are.
template <class Find>
void merge_symbols(MergeMemory& memory, Find&& find) {
  auto& symbols = memory.symbols;
  auto& heap = memory.heap;
  if (symbols.empty()) return;
  symbols.back().next = -1;
  const auto after = [](const MergeCandidate& a, const MergeCandidate& b) {
    return a.priority != b.priority ? a.priority > b.priority : a.left > b.left;
  };
  const auto offer = [&](std::int32_t left) {
    const MergeSymbol& a = symbols[static_cast<std::size_t>(left)];
    if (a.next < 0) return false;
    const MergeSymbol& b = symbols[static_cast<std::size_t>(a.next)];
    const std::optional<Merge> merge = find(a, b);
    if (merge) heap.push_back({merge->priority, left, merge->result, a.length + b.length});
    return merge.has_value();
  };
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) offer(static_cast<std::int32_t>(i));
  std::make_heap(heap.begin(), heap.end(), after);

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), after);
    const MergeCandidate candidate = heap.back();
    heap.pop_back();
    MergeSymbol& left = symbols[static_cast<std::size_t>(candidate.left)];
    if (left.length == 0 || left.next < 0) continue;
    MergeSymbol& right = symbols[static_cast<std::size_t>(left.next)];
    // Symbols only grow, so the same length means the same pair.
    if (left.length + right.length != candidate.length) continue;
    left.length = candidate.length;
    left.id = candidate.result;
    left.next = right.next;
    right.length = 0;
    if (left.next >= 0) symbols[static_cast<std::size_t>(left.next)].previous = candidate.left;
    if (offer(candidate.left)) std::push_heap(heap.begin(), heap.end(), after);
    if (left.previous >= 0 && offer(left.previous)) std::push_heap(heap.begin(), heap.end(), after);
  }
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
