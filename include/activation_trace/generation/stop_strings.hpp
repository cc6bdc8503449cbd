// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"

namespace activation_trace {
inline namespace v0 {

/// Ends a text at the first of several stop strings. Works on the text, not on tokens, so a stop string may begin
/// inside a token and span several, and any tokenizer gives the same result: the string that is complete first wins,
/// the longest of those that end together. What could be the beginning of one is held back until that is decided.
class StopStrings {
 public:
  /// Throws ArgumentError for an empty stop string.
  explicit StopStrings(std::vector<std::string> stops);

  /// Appends text and returns what may be shown now; valid until the next call. Nothing once found().
  std::string_view push(std::string_view text);

  /// The end of the text: returns what was held back.
  std::string_view finish();

  /// Whether a stop string is complete: the text has ended before it.
  [[nodiscard]] bool found() const noexcept { return found_; }

 private:
  [[nodiscard]] std::size_t complete() const;
  [[nodiscard]] std::size_t beginning() const;

  std::vector<std::string> stops_;
  std::string held_;
  std::string shown_;
  bool found_ = false;
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
  if (std::find(stops_.begin(), stops_.end(), std::string()) != stops_.end())
    throw ArgumentError("stop: a stop string is empty");
}

ACTIVATION_TRACE_COMPILED_INLINE std::string_view StopStrings::push(std::string_view text) {
  shown_.clear();
  if (found_) return shown_;
  if (stops_.empty()) return shown_ = text;
  // Byte by byte, because which string is complete first must not depend on how the text was cut.
  for (const char byte : text) {
    held_ += byte;
    const std::size_t stop = complete();
    found_ = stop != 0;
    const std::size_t keep = found_ ? stop : beginning();
    shown_.append(held_, 0, held_.size() - keep);
    held_.erase(0, held_.size() - keep);
    if (found_) {
      held_.clear();
      break;
    }
  }
  return shown_;
}

ACTIVATION_TRACE_COMPILED_INLINE std::string_view StopStrings::finish() {
  shown_ = std::exchange(held_, {});
  return shown_;
}

// Length of the longest stop string that the text ends with, 0 if none.
ACTIVATION_TRACE_COMPILED_INLINE std::size_t StopStrings::complete() const {
  std::size_t longest = 0;
  for (const std::string& stop : stops_)
    if (held_.ends_with(stop)) longest = std::max(longest, stop.size());
  return longest;
}

// Length of the longest end of the text that a stop string begins with.
ACTIVATION_TRACE_COMPILED_INLINE std::size_t StopStrings::beginning() const {
  const std::string_view held = held_;
  for (std::size_t first = 0; first < held.size(); ++first)
    for (const std::string& stop : stops_)
      if (std::string_view(stop).starts_with(held.substr(first))) return held.size() - first;
  return 0;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
