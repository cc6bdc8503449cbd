// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/tensor/half.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// Scores where an engine keeps them, of any stride: two members of an array of structs, a row of 16-bit logits. Does
/// not own.
template <class T = float>
struct Candidates {
  static_assert(std::same_as<T, float> || std::same_as<T, Half> || std::same_as<T, BFloat16>);

  VectorView<const TokenId> ids;  ///< of the scores; empty: they are a full row [V]
  VectorView<T> scores;           ///< changed in place
};

/// Two members of an array of structs, such as llama.cpp's `candidates_of(entries, &llama_token_data::id,
/// &llama_token_data::logit)`.
template <class Entry, class T>
[[nodiscard]] Candidates<T> candidates_of(std::span<Entry> entries, TokenId Entry::*id, T Entry::*score) {
  static_assert(sizeof(Entry) % sizeof(TokenId) == 0 && sizeof(Entry) % sizeof(T) == 0);
  if (entries.empty()) return {};
  const auto count = static_cast<Index>(entries.size());
  return {{&(entries.front().*id), {count}, {static_cast<Index>(sizeof(Entry) / sizeof(TokenId))}},
          {&(entries.front().*score), {count}, {static_cast<Index>(sizeof(Entry) / sizeof(T))}}};
}

/// What processors want, which take tight rows of floats. Those are passed on as they are. Others are gathered, and
/// scattered when the processor is done: two passes, where its own several would wait for every stride. Keeps its
/// memory.
class CandidateBuffer {
 public:
  /// processor.process() of any LogitsProcessor. 16-bit scores are rounded. Throws ShapeError unless there is a score
  /// for every id, and what the processor throws; gathered scores are then unchanged.
  template <class P, class T>
  decltype(auto) process(P& processor, Candidates<T> candidates) {
    const auto& [ids, scores] = candidates;
    if (!ids.empty() && ids.extent(0) != scores.extent(0))
      throw ShapeError("candidates: got " + std::to_string(scores.extent(0)) + " scores for " +
                       std::to_string(ids.extent(0)) + " ids");
    if constexpr (std::same_as<T, float>)
      if (ids.contiguous() && scores.contiguous()) return call(processor, ids.span(), scores.span());
    ids_.resize(static_cast<std::size_t>(ids.extent(0)));
    scores_.resize(static_cast<std::size_t>(scores.extent(0)));
    for (Index i = 0; i < ids.extent(0); ++i) ids_[static_cast<std::size_t>(i)] = ids[i];
    for (Index i = 0; i < scores.extent(0); ++i) scores_[static_cast<std::size_t>(i)] = static_cast<float>(scores[i]);
    using Result = decltype(call(processor, std::span<const TokenId>(ids_), std::span(scores_)));
    if constexpr (std::is_void_v<Result>) {
      call(processor, std::span<const TokenId>(ids_), std::span(scores_));
      scatter(scores);
    } else {
      Result result = call(processor, std::span<const TokenId>(ids_), std::span(scores_));
      scatter(scores);
      return result;
    }
  }

 private:
  template <class P>
  static decltype(auto) call(P& processor, std::span<const TokenId> ids, std::span<float> scores) {
    if (ids.empty()) return processor.process(scores);
    return processor.process(ids, scores);
  }

  template <class T>
  void scatter(VectorView<T> scores) const {
    for (Index i = 0; i < scores.extent(0); ++i) scores[i] = static_cast<T>(scores_[static_cast<std::size_t>(i)]);
  }

  std::vector<TokenId> ids_;
  std::vector<float> scores_;
};

/// Hidden states of 16 bits as the floats [rows, cols] that observe_context() takes, and copies.
template <class T>
requires std::same_as<std::remove_const_t<T>, Half> || std::same_as<std::remove_const_t<T>, BFloat16>
[[nodiscard]] std::vector<float> widened(MatrixView<T> states) {
  std::vector<float> result;
  result.reserve(static_cast<std::size_t>(states.size()));
  for (Index i = 0; i < states.extent(0); ++i)
    for (Index k = 0; k < states.extent(1); ++k) result.push_back(static_cast<float>(states(i, k)));
  return result;
}

}  // namespace v0
}  // namespace activation_trace
