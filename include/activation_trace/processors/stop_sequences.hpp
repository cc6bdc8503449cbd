// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"

namespace activation_trace {
inline namespace v0 {

/// Looks for sequences of token ids in what one text appends, token by token. For sequences of characters see
/// StopStrings.
class StopSequences {
 public:
  /// Throws ArgumentError for an empty sequence.
  explicit StopSequences(std::vector<std::vector<TokenId>> sequences);

  /// Appends `id` and returns whether the ids now end in one of the sequences.
  bool push(TokenId id);

  /// The sequence in which the ids end, the longest of several, as its index; -1 if they end in none.
  [[nodiscard]] Index matched() const noexcept { return matched_; }

  /// Forgets all ids.
  void reset();

 private:
  std::vector<std::vector<TokenId>> sequences_;
  std::vector<TokenId> last_;  // as many ids as the longest sequence has, the newest at the end
  std::size_t longest_ = 0;
  Index matched_ = -1;
};

inline StopSequences::StopSequences(std::vector<std::vector<TokenId>> sequences) : sequences_(std::move(sequences)) {
  for (std::size_t i = 0; i < sequences_.size(); ++i) {
    if (sequences_[i].empty()) throw ArgumentError("stop: sequence " + std::to_string(i) + " is empty");
    longest_ = std::max(longest_, sequences_[i].size());
  }
  last_.reserve(longest_);
}

inline bool StopSequences::push(TokenId id) {
  matched_ = -1;
  if (longest_ == 0) return false;
  if (last_.size() == longest_) last_.erase(last_.begin());
  last_.push_back(id);
  std::size_t length = 0;
  for (std::size_t i = 0; i < sequences_.size(); ++i) {
    const std::vector<TokenId>& s = sequences_[i];
    if (s.size() <= length || s.size() > last_.size()) continue;
    if (!std::equal(s.rbegin(), s.rend(), last_.rbegin())) continue;
    matched_ = static_cast<Index>(i);
    length = s.size();
  }
  return matched_ >= 0;
}

inline void StopSequences::reset() {
  last_.clear();
  matched_ = -1;
}

}  // namespace v0
}  // namespace activation_trace
