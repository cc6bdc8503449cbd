// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"

namespace activation_trace {
inline namespace v0 {

/// The n and the smoothing of an NgramModel.
struct NgramOptions {
  Index order = 3;         ///< n, >= 1
  double smoothing = 0.1;  ///< added to every count, > 0
};

/// An n-gram model of what it has seen, such as the prompt: the amateur that costs nothing (processors/README.md 4).
/// p(v | last n - 1 ids) = (count of v after them + s) / (count of anything after them + s V).
class NgramModel {
 public:
  /// Throws ArgumentError for vocab < 1, order < 1, or a smoothing that is not positive and finite.
  explicit NgramModel(Index vocab, NgramOptions options = {});

  /// Appends ids of the prompt or generated ones. Throws ArgumentError for one outside the vocabulary; then none is
  /// appended.
  void observe(std::span<const TokenId> ids);

  /// Room for so many ids, so that observing them does not allocate.
  void reserve(Index ids);

  /// out[V]: the natural logarithms of the next id's probabilities. Throws ShapeError for another length.
  void log_probs(std::span<float> out);

  /// V, as given to the constructor.
  [[nodiscard]] Index vocab() const noexcept { return vocab_; }
  /// Ids seen so far.
  [[nodiscard]] Index position() const noexcept { return static_cast<Index>(ids_.size()); }

  /// Forgets all but the first `position` ids. Throws ArgumentError unless 0 <= position <= position().
  void rewind(Index position);

  /// Forgets all ids, keeps its memory.
  void reset() { ids_.clear(); }

 private:
  Index vocab_;
  NgramOptions options_;
  std::vector<TokenId> ids_;
  std::vector<TokenId> followers_;  // of the last n - 1 ids, wherever these occurred before
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE NgramModel::NgramModel(Index vocab, NgramOptions options)
    : vocab_(vocab), options_(options) {
  if (vocab < 1) throw ArgumentError("vocab: expected at least 1, got " + std::to_string(vocab));
  if (options.order < 1) throw ArgumentError("order: expected at least 1, got " + std::to_string(options.order));
  if (!(options.smoothing > 0 && std::isfinite(options.smoothing)))
    throw ArgumentError("smoothing: expected a positive number, got " + std::to_string(options.smoothing));
}

ACTIVATION_TRACE_COMPILED_INLINE void NgramModel::observe(std::span<const TokenId> ids) {
  for (const TokenId id : ids)
    if (id < 0 || id >= vocab_)
      throw ArgumentError("NgramModel: token id " + std::to_string(id) + " is not in the vocabulary of " +
                          std::to_string(vocab_));
  ids_.insert(ids_.end(), ids.begin(), ids.end());
}

ACTIVATION_TRACE_COMPILED_INLINE void NgramModel::reserve(Index ids) {
  ids_.reserve(static_cast<std::size_t>(std::max<Index>(ids, 0)));
  followers_.reserve(ids_.capacity());
}

ACTIVATION_TRACE_COMPILED_INLINE void NgramModel::log_probs(std::span<float> out) {
  if (static_cast<Index>(out.size()) != vocab_)
    throw ShapeError("NgramModel: expected room for " + std::to_string(vocab_) + " numbers, got " +
                     std::to_string(out.size()));
  // A search through a few thousand ids takes less time than writing V numbers, and needs no table.
  const Index length = options_.order - 1;
  followers_.clear();
  if (position() > length) {
    const auto context = ids_.end() - length;
    for (auto at = ids_.begin(); at + length < ids_.end(); ++at)
      if (std::equal(context, ids_.end(), at)) followers_.push_back(at[length]);
  }
  std::sort(followers_.begin(), followers_.end());
  const double total = static_cast<double>(followers_.size()) + options_.smoothing * static_cast<double>(vocab_);
  std::fill(out.begin(), out.end(), static_cast<float>(std::log(options_.smoothing / total)));
  for (std::size_t first = 0; first < followers_.size();) {
    std::size_t end = first;
    while (end < followers_.size() && followers_[end] == followers_[first]) ++end;
    const double count = static_cast<double>(end - first) + options_.smoothing;
    out[static_cast<std::size_t>(followers_[first])] = static_cast<float>(std::log(count / total));
    first = end;
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void NgramModel::rewind(Index position) {
  if (position < 0 || position > this->position())
    throw ArgumentError("position: expected 0 to " + std::to_string(this->position()) + ", got " +
                        std::to_string(position));
  ids_.resize(static_cast<std::size_t>(position));
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
