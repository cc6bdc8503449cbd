// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "activation_trace/formats/file_tensor.hpp"

namespace activation_trace {
inline namespace v0 {

namespace detail {

/// Iterates over text and notes how far it has come: the parser's callbacks do not say where they are.
class TrackingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  TrackingIterator(const char* position, const char*& reached) noexcept : position_(position), reached_(&reached) {}
  reference operator*() const noexcept { return *position_; }
  TrackingIterator& operator++() noexcept {
    *reached_ = ++position_;
    return *this;
  }
  TrackingIterator operator++(int) noexcept {
    const TrackingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const TrackingIterator& other) const noexcept { return position_ == other.position_; }
  bool operator!=(const TrackingIterator& other) const noexcept { return position_ != other.position_; }

 private:
  const char* position_;
  const char** reached_;
};

/// Parses JSON from a file that is not trusted: strict UTF-8, no comments, no key twice in one object, values
/// nested at most `deepest` levels. Throws FormatError naming the byte, counted from `origin`.
template <class Json = nlohmann::json>
[[nodiscard]] Json parse_json(std::string_view text, const std::string& file, std::uint64_t origin = 0,
                              int deepest = 64) {
  const char* reached = text.data();
  const auto fail = [&](const std::string& problem) {
    throw FormatError(file, origin + static_cast<std::uint64_t>(reached - text.data()), problem);
  };
  std::vector<std::set<std::string, std::less<>>> keys;  // of the objects that are open
  using Event = typename Json::parse_event_t;
  const auto callback = [&](int depth, Event event, Json& value) {
    switch (event) {
      case Event::object_start: keys.emplace_back(); [[fallthrough]];
      case Event::array_start:
        if (depth >= deepest) fail("JSON is nested more than " + std::to_string(deepest) + " levels deep");
        break;
      case Event::object_end: keys.pop_back(); break;
      case Event::key: {
        const auto& key = value.template get_ref<const std::string&>();
        if (!keys.back().insert(key).second) fail("JSON key " + printable(key) + " appears twice in one object");
        break;
      }
      case Event::array_end:
      case Event::value: break;
    }
    return true;
  };
  try {
    return Json::parse(TrackingIterator(text.data(), reached), TrackingIterator(text.data() + text.size(), reached),
                       callback);
  } catch (const typename Json::exception& error) {
    // The parser's message ends with the text it could not read, of any length.
    constexpr std::size_t longest = 160;
    std::string problem = error.what();
    if (problem.size() > longest) problem = problem.substr(0, longest) + "...";
    fail("is not JSON: " + problem);
    throw;  // not reached
  }
}

/// JSON as text, in one line unless `indent` says how deep; bytes that are no UTF-8 become U+FFFD.
template <class Json>
[[nodiscard]] std::string json_text(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace detail

}  // namespace v0
}  // namespace activation_trace
