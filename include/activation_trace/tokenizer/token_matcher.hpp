// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// Finds tokens by their text at a place in a text, the longest first.
class TokenMatcher {
 public:
  struct Match {
    TokenId id;
    std::size_t length;
  };

  TokenMatcher() = default;
  explicit TokenMatcher(std::vector<std::pair<std::string, TokenId>> tokens) : tokens_(std::move(tokens)) {
    std::erase_if(tokens_, [](const auto& token) { return token.first.empty(); });
    std::sort(tokens_.begin(), tokens_.end());
    for (const auto& token : tokens_) begins_[static_cast<std::uint8_t>(token.first[0])] = true;
  }

  [[nodiscard]] bool empty() const noexcept { return tokens_.empty(); }

  [[nodiscard]] std::optional<Match> longest_at(std::string_view text, std::size_t position) const noexcept {
    std::optional<Match> match;
    if (!begins_[static_cast<std::uint8_t>(text[position])]) return match;
    auto first = tokens_.begin();
    auto last = tokens_.end();
    // Narrows the sorted tokens to those that share one more character with the text.
    for (std::size_t length = 0; position + length < text.size(); ++length) {
      const auto wanted = static_cast<std::uint8_t>(text[position + length]);
      const auto at = [length](const auto& token) {
        return token.first.size() > length ? static_cast<int>(static_cast<std::uint8_t>(token.first[length])) : -1;
      };
      first = std::partition_point(first, last, [&](const auto& token) { return at(token) < wanted; });
      last = std::partition_point(first, last, [&](const auto& token) { return at(token) <= wanted; });
      if (first == last) break;
      if (first->first.size() == length + 1) match = Match{first->second, length + 1};
    }
    return match;
  }

 private:
  std::vector<std::pair<std::string, TokenId>> tokens_;
  std::array<bool, 256> begins_{};
};

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
