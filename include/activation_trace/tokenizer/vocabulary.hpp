// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
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

[[nodiscard]] inline std::size_t slot(TokenId id) noexcept { return static_cast<std::size_t>(id); }

/// Ids by text, made once. Hashed into buckets and sorted in each, so that texts crafted to share a hash cost a
/// binary search and nothing more.
class TokenIndex {
 public:
  struct Entry {
    std::string_view text;
    TokenId id;
    std::uint32_t hash = 0;  ///< the index's own
  };

  TokenIndex() = default;

  /// The texts must outlive the index. Of equal texts, find_duplicate tells.
  explicit TokenIndex(std::vector<Entry> entries);

  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }

  /// The id of `text`, -1 if it has none.
  [[nodiscard]] TokenId find(std::string_view text) const noexcept {
    if (entries_.empty()) return -1;
    const Hash hash(text);
    const std::size_t bucket = hash.low & mask_;
    const auto end = entries_.begin() + static_cast<std::ptrdiff_t>(begins_[bucket + 1]);
    const auto found = std::lower_bound(entries_.begin() + static_cast<std::ptrdiff_t>(begins_[bucket]), end,
                                        Entry{text, 0, hash.high}, is_before);
    return found != end && found->hash == hash.high && found->text == text ? found->id : -1;
  }

  /// The first of two entries with one text that stand side by side, nothing if all texts differ.
  [[nodiscard]] const Entry* find_duplicate() const noexcept {
    const auto found = std::adjacent_find(entries_.begin(), entries_.end(),
                                          [](const Entry& a, const Entry& b) { return a.text == b.text; });
    return found == entries_.end() ? nullptr : &*found;
  }

 private:
  struct Hash {
    explicit Hash(std::string_view text) noexcept {
      const std::uint64_t all = std::hash<std::string_view>{}(text);
      low = static_cast<std::uint32_t>(all);
      high = static_cast<std::uint32_t>(all >> 32);
    }
    std::uint32_t low;   // chooses the bucket
    std::uint32_t high;  // the order in it, before the text
  };
  [[nodiscard]] static bool is_before(const Entry& a, const Entry& b) noexcept {
    return a.hash != b.hash ? a.hash < b.hash : a.text < b.text;
  }

  std::vector<Entry> entries_;  // by bucket
  std::vector<std::uint32_t> begins_;
  std::size_t mask_ = 0;
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE TokenIndex::TokenIndex(std::vector<Entry> entries) {
  if (entries.empty()) return;
  mask_ = std::bit_ceil(entries.size()) - 1;
  begins_.assign(mask_ + 2, 0);
  std::vector<std::uint32_t> buckets;
  buckets.reserve(entries.size());
  for (Entry& entry : entries) {
    const Hash hash(entry.text);
    entry.hash = hash.high;
    buckets.push_back(static_cast<std::uint32_t>(hash.low & mask_));
    ++begins_[buckets.back() + 1];
  }
  std::partial_sum(begins_.begin(), begins_.end(), begins_.begin());
  entries_.resize(entries.size());
  std::vector<std::uint32_t> next(begins_.begin(), begins_.end() - 1);
  for (std::size_t i = 0; i < entries.size(); ++i) entries_[next[buckets[i]]++] = entries[i];
  for (std::size_t b = 0; b <= mask_; ++b)
    if (begins_[b + 1] - begins_[b] > 1)
      std::sort(entries_.begin() + static_cast<std::ptrdiff_t>(begins_[b]),
                entries_.begin() + static_cast<std::ptrdiff_t>(begins_[b + 1]), is_before);
}

/// That there are as many types as tokens, and as many scores if there are any: before anybody reads one by a
/// token's id. Throws FormatError naming both numbers.
ACTIVATION_TRACE_COMPILED_INLINE void check_lengths(const Vocabulary& vocabulary) {
  const std::size_t size = vocabulary.tokens.size();
  const auto check = [&](const char* what, std::size_t length) {
    if (length != size)
      throw FormatError(vocabulary.file, "the vocabulary has " + std::to_string(size) + " tokens but " +
                                             std::to_string(length) + ' ' + what);
  };
  check("token types", vocabulary.types.size());
  if (!vocabulary.scores.empty()) check("scores", vocabulary.scores.size());
}

#endif  // ACTIVATION_TRACE_BODIES

/// Ids by text, with the checks that hold for every vocabulary. Throws FormatError naming the token.
[[nodiscard]] TokenIndex index_tokens(const Vocabulary& vocabulary);

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

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE PairMerges::PairMerges(const Vocabulary& vocabulary, const TokenIndex& index) {
  if (vocabulary.merges.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
    throw FormatError(vocabulary.file, "the vocabulary has too many merges");
  merges_.reserve(vocabulary.merges.size());
  std::string joined;
  for (std::size_t i = 0; i < vocabulary.merges.size(); ++i) {
    const std::string_view left = vocabulary.merges[i].first;
    const std::string_view right = vocabulary.merges[i].second;
    joined.assign(left).append(right);
    const auto id = [&](std::string_view text) {
      const TokenId found = index.find(text);
      if (found < 0)
        throw FormatError(vocabulary.file, "merge " + std::to_string(i) + " of " + printable(left) + " and " +
                                               printable(right) + ": " + printable(text) + " is not a token");
      return found;
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

ACTIVATION_TRACE_COMPILED_INLINE TokenIndex index_tokens(const Vocabulary& vocabulary) {
  const std::size_t size = vocabulary.tokens.size();
  const auto refuse = [&](const std::string& problem) { throw FormatError(vocabulary.file, problem); };
  if (size == 0) refuse("the vocabulary is empty");
  if (size > static_cast<std::size_t>(std::numeric_limits<TokenId>::max())) refuse("the vocabulary is too large");
  check_lengths(vocabulary);
  std::vector<TokenIndex::Entry> entries;
  entries.reserve(size);
  for (std::size_t i = 0; i < size; ++i) {
    const auto type = static_cast<unsigned>(vocabulary.types[i]);
    if (type < 1 || type > 6)
      refuse("token " + std::to_string(i) + " has type " + std::to_string(type) + ", expected 1 to 6");
    if (!vocabulary.scores.empty() && std::isnan(vocabulary.scores[i]))
      refuse("the score of token " + std::to_string(i) + " is not a number");
    if (!vocabulary.tokens[i].empty()) entries.push_back({vocabulary.tokens[i], static_cast<TokenId>(i)});
  }
  TokenIndex index(std::move(entries));
  if (const TokenIndex::Entry* first = index.find_duplicate()) {
    const auto [low, high] = std::minmax(first[0].id, first[1].id);
    refuse("tokens " + std::to_string(low) + " and " + std::to_string(high) + " are both " + printable(first->text));
  }
  return index;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail

}  // namespace v0
}  // namespace activation_trace
