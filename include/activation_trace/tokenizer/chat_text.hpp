// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/text/unicode.hpp"
#include "activation_trace/tokenizer/special_tokens.hpp"

namespace activation_trace {
inline namespace v0 {

/// A conversation as one text, and where in it what was said is.
struct ChatText {
  std::string text;                 ///< as Jinja renders it
  std::vector<TextRange> contents;  ///< where messages' contents are, in order; the rest is the template's
};

namespace detail {

/// Without the white space at both ends, as Jinja's trim and Python's strip leave it.
[[nodiscard]] std::string_view trim(std::string_view text) noexcept;

/// Writes a ChatText. In marks, %bos%, %eos% and %date% stand for what was given; in nothing else does anything stand
/// for anything.
class ChatWriter {
 public:
  ChatWriter() = default;
  /// All three must outlive it.
  ChatWriter(std::string_view bos, std::string_view eos, const std::optional<std::string>& date)
      : words_{{{"%bos%", bos}, {"%eos%", eos}, {"%date%", date ? std::string_view(*date) : std::string_view()}}} {}

  [[nodiscard]] std::size_t size() const noexcept { return chat_.text.size(); }

  void literal(std::string_view text) { chat_.text += text; }

  void mark(std::string_view text) {
    while (!text.empty()) {
      const std::size_t at = std::min(text.find('%'), text.size());
      literal(text.substr(0, at));
      text.remove_prefix(at);
      const auto word = std::find_if(words_.begin(), words_.end(),
                                     [&](const auto& w) { return !w.first.empty() && text.starts_with(w.first); });
      if (word == words_.end()) {
        literal(text.substr(0, 1));
        text.remove_prefix(std::min<std::size_t>(1, text.size()));
      } else {
        literal(word->second);
        text.remove_prefix(word->first.size());
      }
    }
  }

  void content(std::string_view text) {
    if (!text.empty()) chat_.contents.push_back({size(), size() + text.size()});
    chat_.text += text;
  }

  /// Takes away the white space at both ends of what was written since `begin`.
  void trim_from(std::size_t begin) {
    const std::string_view whole = std::string_view(chat_.text).substr(begin);
    const std::string_view kept = trim(whole);
    const std::size_t left = kept.empty() ? whole.size() : static_cast<std::size_t>(kept.data() - whole.data());
    const std::size_t end = begin + left + kept.size();
    for (TextRange& range : chat_.contents) {
      if (range.end <= begin) continue;
      range.begin = std::clamp(range.begin, begin + left, end) - left;
      range.end = std::clamp(range.end, begin + left, end) - left;
    }
    std::erase_if(chat_.contents, [](const TextRange& range) { return range.begin == range.end; });
    chat_.text.resize(end);
    chat_.text.erase(begin, left);
  }

  [[nodiscard]] ChatText take() && { return std::move(chat_); }

 private:
  std::array<std::pair<std::string_view, std::string_view>, 3> words_{};
  ChatText chat_;
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE std::string_view trim(std::string_view text) noexcept {
  std::size_t begin = text.size();
  std::size_t end = 0;
  for (std::size_t i = 0; i < text.size();) {
    const DecodedCharacter c = decode_character(text, i);
    // Python counts four separators among the controls, which are not White_Space.
    const bool separator = c.code_point >= 0x1c && c.code_point <= 0x1f;
    if (!separator && character_class(c.code_point) != CharacterClass::space) {
      begin = std::min(begin, i);
      end = i + c.length;
    }
    i += c.length;
  }
  return begin < end ? text.substr(begin, end - begin) : std::string_view{};
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
