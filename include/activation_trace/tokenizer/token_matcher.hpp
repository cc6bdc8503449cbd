// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// Finds tokens by their text. An automaton (Aho and Corasick's) over the tokens read backwards: one pass from the
/// end of a text knows the longest token that begins at each place, in linear time whatever the tokens are.
class TokenMatcher {
 public:
  struct Match {
    std::size_t begin;
    std::size_t length;
    TokenId id;
  };

  TokenMatcher() = default;

  /// An empty text is never found; of equal texts the lowest id is. Throws ArgumentError for 2^32 bytes of them.
  explicit TokenMatcher(std::vector<std::pair<std::string, TokenId>> tokens);

  [[nodiscard]] bool empty() const noexcept { return tokens_.empty(); }

  /// Calls `on_match` for tokens from the left, at each place the longest; it returns where to look on.
  template <class OnMatch>
  void scan(std::string_view text, OnMatch&& on_match) const {
    const std::vector<Match> matches = find(text);
    std::size_t next = 0;
    for (auto match = matches.rbegin(); match != matches.rend(); ++match)
      if (match->begin >= next) next = on_match(*match);
  }

 private:
  using Node = std::uint32_t;  // 0 is the root
  static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();

  struct Token {
    std::size_t length;
    TokenId id;
  };

  void build_trie(const std::vector<std::pair<std::string, TokenId>>& reversed);
  void link();

  /// Every place where a token begins, the last first.
  [[nodiscard]] std::vector<Match> find(std::string_view text) const {
    std::vector<Match> matches;
    if (empty()) return matches;
    Node node = 0;
    for (std::size_t i = text.size(); i-- != 0;) {
      node = step(node, static_cast<std::uint8_t>(text[i]));
      if (node == 0) continue;
      if (const std::uint32_t token = longest_[node]; token != none)
        matches.push_back({i, tokens_[token].length, tokens_[token].id});
    }
    return matches;
  }

  /// The child of `node` by `byte`, the root if there is none.
  [[nodiscard]] Node child(Node node, std::uint8_t byte) const noexcept {
    const auto begin = bytes_.begin() + children_[node];
    const auto end = bytes_.begin() + children_[node + 1];
    const auto found = std::lower_bound(begin, end, byte);
    return found != end && *found == byte ? static_cast<Node>(found - bytes_.begin()) : 0;
  }
  [[nodiscard]] Node step(Node node, std::uint8_t byte) const noexcept {
    for (; node != 0; node = fallback_[node])
      if (const Node next = child(node, byte); next != 0) return next;
    return from_root_[byte];
  }

  std::vector<Token> tokens_;
  // The nodes level by level, so that those of one parent stand side by side, by their bytes.
  std::vector<std::uint8_t> bytes_;     // by which a node is reached
  std::vector<Node> children_;          // its first child; the next node's is the end
  std::vector<Node> fallback_;          // the longest other ending of what was read that is a node
  std::vector<std::uint32_t> longest_;  // of tokens_, that has been read; none
  std::array<Node, 256> from_root_{};
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE TokenMatcher::TokenMatcher(std::vector<std::pair<std::string, TokenId>> tokens) {
  std::erase_if(tokens, [](const auto& token) { return token.first.empty(); });
  std::size_t bytes = 0;
  for (auto& token : tokens) {
    std::reverse(token.first.begin(), token.first.end());
    bytes += token.first.size();
  }
  if (bytes >= none)
    throw ArgumentError("special tokens: " + std::to_string(bytes) + " bytes, expected less than 2^32");
  std::sort(tokens.begin(), tokens.end());
  const auto same_text = [](const auto& a, const auto& b) { return a.first == b.first; };
  tokens.erase(std::unique(tokens.begin(), tokens.end(), same_text), tokens.end());
  if (tokens.empty()) return;
  build_trie(tokens);
  link();
}

ACTIVATION_TRACE_COMPILED_INLINE void TokenMatcher::build_trie(
    const std::vector<std::pair<std::string, TokenId>>& reversed) {
  using Range = std::pair<std::size_t, std::size_t>;  // of the sorted tokens, those that go through a node
  for (const auto& token : reversed) tokens_.push_back({token.first.size(), token.second});
  bytes_.push_back(0);
  std::vector<Range> level{{0, reversed.size()}};
  std::vector<Range> next;
  for (std::size_t depth = 0; !level.empty(); ++depth, level.swap(next)) {
    next.clear();
    for (const Range& range : level) {
      std::size_t i = range.first;
      const bool ends_here = reversed[i].first.size() == depth;
      longest_.push_back(ends_here ? static_cast<std::uint32_t>(i) : none);
      children_.push_back(static_cast<Node>(bytes_.size()));
      for (i += ends_here ? 1 : 0; i != range.second;) {
        const char byte = reversed[i].first[depth];
        const std::size_t begin = i;
        while (i != range.second && reversed[i].first[depth] == byte) ++i;
        bytes_.push_back(static_cast<std::uint8_t>(byte));
        next.emplace_back(begin, i);
      }
    }
  }
  children_.push_back(static_cast<Node>(bytes_.size()));
}

ACTIVATION_TRACE_COMPILED_INLINE void TokenMatcher::link() {
  fallback_.assign(bytes_.size(), 0);
  for (Node node = children_[0]; node != children_[1]; ++node) from_root_[bytes_[node]] = node;
  // A fallback is on a level above, whose fallbacks are known.
  for (Node parent = 1; parent != bytes_.size(); ++parent) {
    for (Node node = children_[parent]; node != children_[parent + 1]; ++node)
      fallback_[node] = step(fallback_[parent], bytes_[node]);
    if (longest_[parent] == none) longest_[parent] = longest_[fallback_[parent]];
  }
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
