// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/formats/file_tensor.hpp"

namespace activation_trace {
inline namespace v0 {

/// What a token is for; the numbers are those of SentencePiece and GGUF.
enum class TokenType : std::uint8_t { normal = 1, unknown, control, user_defined, unused, byte };

/// What a file says about its vocabulary, as it says it: byte-level tokens in GPT-2's printable alphabet,
/// SentencePiece's with U+2581 for the space. Every reader fills one, every tokenizer is made from one.
/// The strings view the file: they are needed only until the tokenizer is made.
struct Vocabulary {
  std::string file;                      ///< its name, for messages
  std::vector<std::string_view> tokens;  ///< by id; the empty text is a token that no text has
  std::vector<TokenType> types;          ///< one per token
  std::vector<float> scores;             ///< one per token, or none if there are merges
  std::vector<std::pair<std::string_view, std::string_view>> merges;  ///< the first is applied first
};

namespace detail {

using TokenIndex = std::unordered_map<std::string_view, TokenId>;

[[nodiscard]] inline std::size_t slot(TokenId id) noexcept { return static_cast<std::size_t>(id); }

/// Ids by text, with the checks that hold for every vocabulary. Throws FormatError naming the token.
[[nodiscard]] inline TokenIndex index_tokens(const Vocabulary& vocabulary) {
  const std::size_t size = vocabulary.tokens.size();
  const auto refuse = [&](const std::string& problem) { throw FormatError(vocabulary.file, problem); };
  const auto check_length = [&](const char* what, std::size_t length) {
    if (length != size)
      refuse("the vocabulary has " + std::to_string(size) + " tokens but " + std::to_string(length) + ' ' + what);
  };
  if (size == 0) refuse("the vocabulary is empty");
  if (size > static_cast<std::size_t>(std::numeric_limits<TokenId>::max())) refuse("the vocabulary is too large");
  check_length("token types", vocabulary.types.size());
  if (!vocabulary.scores.empty()) check_length("scores", vocabulary.scores.size());
  for (std::size_t i = 0; i < size; ++i) {
    const auto type = static_cast<unsigned>(vocabulary.types[i]);
    if (type < 1 || type > 6)
      refuse("token " + std::to_string(i) + " has type " + std::to_string(type) + ", expected 1 to 6");
    if (!vocabulary.scores.empty() && std::isnan(vocabulary.scores[i]))
      refuse("the score of token " + std::to_string(i) + " is not a number");
  }
  TokenIndex index;
  index.reserve(size);
  for (std::size_t i = 0; i < size; ++i) {
    if (vocabulary.tokens[i].empty()) continue;
    const auto [entry, inserted] = index.emplace(vocabulary.tokens[i], static_cast<TokenId>(i));
    if (!inserted)
      refuse("tokens " + std::to_string(entry->second) + " and " + std::to_string(i) + " are both " +
             printable(vocabulary.tokens[i]));
  }
  return index;
}

/// The bytes of every token in one piece of memory.
class TokenTexts {
 public:
  void push_back(std::string_view text) {
    bytes_.insert(bytes_.end(), text.begin(), text.end());
    ends_.push_back(bytes_.size());
  }
  [[nodiscard]] std::size_t size() const noexcept { return ends_.size(); }
  [[nodiscard]] std::string_view operator[](TokenId id) const noexcept {
    const std::size_t begin = id == 0 ? 0 : ends_[slot(id) - 1];
    return {bytes_.data() + begin, ends_[slot(id)] - begin};
  }

 private:
  std::vector<char> bytes_;  // not a std::string: views of it survive a move
  std::vector<std::size_t> ends_;
};

/// The merges of a vocabulary by their two tokens.
class PairMerges {
 public:
  struct Merge {
    TokenId left;
    TokenId right;
    TokenId result;
    std::int32_t rank;
  };

  PairMerges() = default;

  /// Throws FormatError naming the merge if it joins or makes an unknown token, or appears twice.
  PairMerges(const Vocabulary& vocabulary, const TokenIndex& index);

  [[nodiscard]] bool empty() const noexcept { return merges_.empty(); }

  [[nodiscard]] const Merge* find(TokenId left, TokenId right) const noexcept {
    const auto begin = merges_.begin() + first_of_left_[slot(left)];
    const auto end = merges_.begin() + first_of_left_[slot(left) + 1];
    const auto found = std::lower_bound(begin, end, right, [](const Merge& m, TokenId id) { return m.right < id; });
    return found != end && found->right == right ? &*found : nullptr;
  }

 private:
  // Sorted rather than hashed: crafted pairs cannot make it slow.
  std::vector<Merge> merges_;
  std::vector<std::int32_t> first_of_left_;
};

inline PairMerges::PairMerges(const Vocabulary& vocabulary, const TokenIndex& index) {
  if (vocabulary.merges.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
    throw FormatError(vocabulary.file, "the vocabulary has too many merges");
  merges_.reserve(vocabulary.merges.size());
  std::string joined;
  for (std::size_t i = 0; i < vocabulary.merges.size(); ++i) {
    const std::string_view left = vocabulary.merges[i].first;
    const std::string_view right = vocabulary.merges[i].second;
    joined.assign(left).append(right);
    const auto id = [&](std::string_view text) {
      const auto found = index.find(text);
      if (found == index.end())
        throw FormatError(vocabulary.file, "merge " + std::to_string(i) + " of " + printable(left) + " and " +
                                               printable(right) + ": " + printable(text) + " is not a token");
      return found->second;
    };
    merges_.push_back({id(left), id(right), id(joined), static_cast<std::int32_t>(i)});
  }
  std::sort(merges_.begin(), merges_.end(), [](const Merge& a, const Merge& b) {
    return std::pair(a.left, a.right) != std::pair(b.left, b.right)
               ? std::pair(a.left, a.right) < std::pair(b.left, b.right)
               : a.rank < b.rank;
  });
  const auto twice = std::adjacent_find(merges_.begin(), merges_.end(), [](const Merge& a, const Merge& b) {
    return a.left == b.left && a.right == b.right;
  });
  if (twice != merges_.end())
    throw FormatError(vocabulary.file, "merges " + std::to_string(twice->rank) + " and " +
                                           std::to_string(std::next(twice)->rank) + " are the same");
  first_of_left_.assign(vocabulary.tokens.size() + 1, 0);
  for (const Merge& merge : merges_) ++first_of_left_[slot(merge.left) + 1];
  std::partial_sum(first_of_left_.begin(), first_of_left_.end(), first_of_left_.begin());
}

}  // namespace detail

}  // namespace v0
}  // namespace activation_trace
