// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "activation_trace/error.hpp"
#include "activation_trace/text/json_reading.hpp"
#include "activation_trace/text/visible.hpp"

namespace activation_trace {
inline namespace v0 {

namespace detail {

/// Iterates over text and notes how far it has come: the parser's events do not say where they are.
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

/// What Python's json module reads although it is not JSON, made JSON: NaN and the infinities become null, halves of
/// surrogate pairs ("\\ud83d" without the other) U+FFFD. Text without any of them is not copied.
class PythonJson {
 public:
  explicit PythonJson(std::string_view text) : text_(text) {
    const auto has = [&](std::string_view part) { return text.find(part) != std::string_view::npos; };
    if (!has("NaN") && !has("Infinity") && !has("\\ud") && !has("\\uD")) return;
    bool in_string = false;
    for (std::size_t i = 0; i < text.size();) {
      const std::string_view rest = text.substr(i);
      std::size_t taken = in_string && rest[0] == '\\' ? std::min<std::size_t>(2, rest.size()) : 1;
      std::string_view put = rest.substr(0, taken);
      if (in_string) {
        if (rest[0] == '"') in_string = false;
        const auto half = surrogate(rest);
        const auto other = half ? surrogate(rest.substr(6)) : std::nullopt;
        if (half && *half < 0xdc00 && other && *other >= 0xdc00) {
          taken = 12;
          put = rest.substr(0, taken);
        } else if (half) {
          taken = 6;
          put = "\\ufffd";
        }
      } else if (rest.starts_with("NaN")) {
        taken = 3;
        put = "null";
        grown_.push_back(copy_.size() + put.size());
      } else if (rest.starts_with("Infinity") || rest.starts_with("-Infinity")) {
        taken = rest[0] == '-' ? 9 : 8;
        put = std::string_view("null     ").substr(0, taken);  // as long: what follows keeps its place
      } else if (rest[0] == '"') {
        in_string = true;
      }
      copy_ += put;
      i += taken;
    }
    text_ = copy_;
  }
  PythonJson(const PythonJson&) = delete;
  PythonJson& operator=(const PythonJson&) = delete;

  [[nodiscard]] std::string_view text() const noexcept { return text_; }
  /// Where byte `at` of text() stands in the original.
  [[nodiscard]] std::size_t original(std::size_t at) const {
    return at - static_cast<std::size_t>(std::upper_bound(grown_.begin(), grown_.end(), at) - grown_.begin());
  }

 private:
  /// The half of a surrogate pair that is escaped at the beginning of `text`.
  static std::optional<unsigned> surrogate(std::string_view text) {
    unsigned unit = 0;
    if (!text.starts_with("\\u") || text.size() < 6) return std::nullopt;
    const auto [end, error] = std::from_chars(text.data() + 2, text.data() + 6, unit, 16);
    if (error != std::errc() || end != text.data() + 6 || unit < 0xd800 || unit > 0xdfff) return std::nullopt;
    return unit;
  }

  std::string copy_;
  std::string_view text_;
  std::vector<std::size_t> grown_;  // ends of what is a byte longer in copy_
};

/// Builds a Json from the parser's events, in time linear in the text but for the logarithm of looking up keys: neither
/// nlohmann's callbacks, which walk through the parent at every child's end, nor ordered_json's look-ups, which walk
/// through the object.
template <class Json>
class JsonBuilder {
 public:
  using Fail = std::function<void(const std::string& problem)>;  ///< throws

  JsonBuilder(Json& root, int deepest, Fail fail) : root_(&root), deepest_(deepest), fail_(std::move(fail)) {}

  bool null() { return put(nullptr); }
  bool boolean(bool value) { return put(value); }
  bool number_integer(typename Json::number_integer_t value) { return put(value); }
  bool number_unsigned(typename Json::number_unsigned_t value) { return put(value); }
  bool number_float(typename Json::number_float_t value, const std::string&) { return put(value); }
  bool string(std::string& value) { return put(std::move(value)); }
  bool binary(typename Json::binary_t& value) { return put(std::move(value)); }
  bool start_object(std::size_t) { return open(Json::value_t::object); }
  bool start_array(std::size_t) { return open(Json::value_t::array); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(std::string& key) {
    Object& object = open_.back().value->template get_ref<Object&>();
    if constexpr (is_ordered) {
      if (!open_.back().keys.insert(key).second) fail_twice(key);
      static_cast<typename Object::Container&>(object).emplace_back(std::move(key), nullptr);
      member_ = &object.back().second;
    } else {
      const auto [place, is_new] = object.try_emplace(std::move(key));
      if (!is_new) fail_twice(place->first);
      member_ = &place->second;
    }
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const typename Json::exception& error) {
    // "[json.exception.parse_error.101] parse error at ...", which ends with the text it could not read, of any length.
    std::string_view problem = error.what();
    problem.remove_prefix(std::min(problem.size(), problem.find("] ") + 2));
    fail_("is not JSON: " + escaped(problem, 160));
    return false;
  }

 private:
  using Object = typename Json::object_t;
  static constexpr bool is_ordered = std::is_same_v<Json, nlohmann::ordered_json>;

  struct Level {
    Json* value;
    std::set<std::string, std::less<>> keys;  // of an ordered object, which has no index of its own
  };

  template <class Value>
  bool put(Value&& value) {
    place() = Json(std::forward<Value>(value));
    return true;
  }

  /// Where the next value goes.
  Json& place() {
    if (open_.empty()) return *root_;
    if (!open_.back().value->is_array()) return *member_;
    auto& list = open_.back().value->template get_ref<typename Json::array_t&>();
    return list.emplace_back();
  }

  bool open(typename Json::value_t type) {
    if (std::ssize(open_) >= deepest_) fail_("JSON is nested more than " + std::to_string(deepest_) + " levels deep");
    Json& value = place();
    value = Json(type);
    open_.push_back({&value, {}});
    return true;
  }

  bool close() {
    // Moved out and back: under JSON_DIAGNOSTICS that is what tells the elements their parent.
    Json value = std::move(*open_.back().value);
    *open_.back().value = std::move(value);
    open_.pop_back();
    return true;
  }

  void fail_twice(const std::string& key) const {
    fail_("JSON key " + printable(key) + " appears twice in one object");
  }

  Json* root_;
  int deepest_;
  Fail fail_;
  std::vector<Level> open_;  // a list or object does not grow, so does not move, while one within it is open
  Json* member_ = nullptr;   // of the innermost object: the value of the last key
};

/// Parses JSON from a file that is not trusted: strict UTF-8, no comments, no key twice in one object, values nested at
/// most `deepest` levels. Takes time in proportion to the text. Throws FormatError naming the byte.
template <class Json = nlohmann::json>
[[nodiscard]] Json parse_json(std::string_view text, const std::string& file, const JsonReading& reading = {}) {
  std::optional<PythonJson> python;
  if (reading.like_python) text = python.emplace(text).text();
  const char* reached = text.data();
  const auto fail = [&](const std::string& problem) {
    const auto at = static_cast<std::size_t>(reached - text.data());
    throw FormatError(file, reading.origin + (python ? python->original(at) : at), problem);
  };
  Json result;
  JsonBuilder<Json> builder(result, reading.deepest, fail);
  try {
    Json::sax_parse(TrackingIterator(text.data(), reached), TrackingIterator(text.data() + text.size(), reached),
                    &builder);
  } catch (const std::bad_alloc&) {
    fail("there is no memory for the rest of " + std::to_string(text.size()) + " bytes of JSON");
  }
  return result;
}

/// The value as an Index if it is a whole number that is one, else nothing: a cast of any other is undefined, or
/// another number.
template <class Json>
[[nodiscard]] std::optional<Index> whole_number(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.template get<std::uint64_t>();
    return std::in_range<Index>(number) ? std::optional(static_cast<Index>(number)) : std::nullopt;
  }
  return value.is_number_integer() ? std::optional(value.template get<Index>()) : std::nullopt;
}

/// JSON as text, in one line unless `indent` says how deep; bytes that are no UTF-8 become U+FFFD.
template <class Json>
[[nodiscard]] std::string json_text(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace detail

}  // namespace v0
}  // namespace activation_trace
