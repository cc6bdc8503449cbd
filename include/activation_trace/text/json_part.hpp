// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/text/json.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// A value in a JSON file that knows where it stands, so that every refusal names the part.
class JsonPart {
 public:
  JsonPart(const nlohmann::json& value, std::string path, const std::string& file)
      : value_(&value), path_(std::move(path)), file_(&file) {}

  [[nodiscard]] const nlohmann::json& value() const noexcept { return *value_; }
  [[nodiscard]] const std::string& file() const noexcept { return *file_; }

  [[noreturn]] void fail(const std::string& problem) const {
    throw FormatError(*file_, (path_.empty() ? "the file" : path_) + ' ' + problem);
  }
  /// Refuses the value, naming what would be supported.
  [[noreturn]] void refuse(const std::string& expected) const {
    std::string found = value_->dump(-1, ' ', true);
    fail("is " + printable(found) + ", which is not supported; expected " + expected);
  }

  /// A member; null if the object has none.
  [[nodiscard]] JsonPart operator[](const std::string& key) const {
    static const nlohmann::json null;
    if (!value_->is_object()) fail("is not an object");
    const auto found = value_->find(key);
    return {found == value_->end() ? null : *found, (path_.empty() ? "" : path_ + '.') + escaped(key, 80), *file_};
  }
  /// An element, which there must be.
  [[nodiscard]] JsonPart at(std::size_t i) const {
    if (!value_->is_array()) fail("is not an array");
    if (i >= value_->size()) fail("has no element " + std::to_string(i));
    return (*this)[i];
  }
  /// An element of an array that is known to have it.
  [[nodiscard]] JsonPart operator[](std::size_t i) const {
    return {(*value_)[i], path_ + '[' + std::to_string(i) + ']', *file_};
  }

  [[nodiscard]] bool is_null() const noexcept { return value_->is_null(); }
  [[nodiscard]] bool is(const nlohmann::json& wanted) const { return *value_ == wanted; }
  /// Whether this is an object of that "type".
  [[nodiscard]] bool has_type(const char* type) const {
    return value_->is_object() && value_->contains("type") && *value_->find("type") == type;
  }

  [[nodiscard]] const std::string& text() const {
    if (!value_->is_string()) fail(is_null() ? "is missing" : "is not a string");
    return value_->get_ref<const std::string&>();
  }
  [[nodiscard]] double number() const {
    if (!value_->is_number()) fail(is_null() ? "is missing" : "is not a number");
    return value_->get<double>();
  }
  [[nodiscard]] bool flag(bool otherwise) const {
    if (is_null()) return otherwise;
    if (!value_->is_boolean()) fail("is not true or false");
    return value_->get<bool>();
  }
  [[nodiscard]] TokenId id() const {
    if (!value_->is_number_unsigned() || !std::in_range<TokenId>(value_->get<std::uint64_t>()))
      fail(is_null() ? "is missing" : "is not a token id");
    return static_cast<TokenId>(value_->get<std::uint64_t>());
  }
  /// The elements of an array; of null, none.
  [[nodiscard]] std::vector<JsonPart> elements() const {
    std::vector<JsonPart> parts;
    if (is_null()) return parts;
    if (!value_->is_array()) fail("is not an array");
    parts.reserve(value_->size());
    for (std::size_t i = 0; i < value_->size(); ++i) parts.push_back((*this)[i]);
    return parts;
  }

 private:
  const nlohmann::json* value_;
  std::string path_;
  const std::string* file_;
};

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
