// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/text/utf8.hpp"

namespace activation_trace {
inline namespace v0 {

namespace detail {

/// A Python list of strings as repr() prints it.
class PythonList {
 public:
  static std::optional<std::vector<std::string>> parse(std::string_view text) { return PythonList(text).list(); }

 private:
  explicit PythonList(std::string_view text) : text_(text) {}

  std::optional<std::vector<std::string>> list() {
    std::vector<std::string> items;
    if (!take('[')) return std::nullopt;
    if (take(']')) return at_end() ? std::optional(items) : std::nullopt;
    do {
      std::optional<std::string> item = string();
      if (!item) return std::nullopt;
      items.push_back(std::move(*item));
    } while (take(','));
    if (!take(']') || !at_end()) return std::nullopt;
    return items;
  }

  std::optional<std::string> string() {
    skip_spaces();
    if (at_ == text_.size() || (text_[at_] != '\'' && text_[at_] != '"')) return std::nullopt;
    const char quote = text_[at_++];
    std::string result;
    while (at_ < text_.size() && text_[at_] != quote) {
      if (text_[at_] != '\\') {
        result += text_[at_++];
        continue;
      }
      if (++at_ == text_.size() || !escape(result, text_[at_++])) return std::nullopt;
    }
    if (at_ == text_.size()) return std::nullopt;
    ++at_;
    return result;
  }

  bool escape(std::string& result, char kind) {
    switch (kind) {
      case '\\':
      case '\'':
      case '"': result += kind; return true;
      case 'n': result += '\n'; return true;
      case 't': result += '\t'; return true;
      case 'r': result += '\r'; return true;
      case 'x': return hexadecimal(result, 2);
      case 'u': return hexadecimal(result, 4);
      case 'U': return hexadecimal(result, 8);
      default: return false;
    }
  }

  bool hexadecimal(std::string& result, std::size_t digits) {
    if (digits > text_.size() - at_) return false;
    std::uint32_t code = 0;
    for (const char c : text_.substr(at_, digits)) {
      const auto value =
          std::string_view("0123456789abcdef").find(static_cast<char>(c >= 'A' && c <= 'F' ? c + 32 : c));
      if (value == std::string_view::npos) return false;
      code = code << 4 | static_cast<std::uint32_t>(value);
    }
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return false;
    append_utf8(result, code);
    at_ += digits;
    return true;
  }

  void skip_spaces() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool take(char c) {
    skip_spaces();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool at_end() {
    skip_spaces();
    return at_ == text_.size();
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace detail

}  // namespace v0
}  // namespace activation_trace
