// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The bodies of json_part.hpp: in every file that reads JSON, or once with activation_trace::kernels.
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/text/json.hpp"
#include "activation_trace/text/visible.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

ACTIVATION_TRACE_COMPILED_INLINE std::string JsonPart::dump() const {
  return value_->dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

ACTIVATION_TRACE_COMPILED_INLINE void JsonPart::fail(const std::string& problem) const {
  throw FormatError(*file_, (path_.empty() ? "the file" : path_) + ' ' + problem);
}

ACTIVATION_TRACE_COMPILED_INLINE void JsonPart::refuse(const std::string& expected) const {
  fail("is " + printable(dump()) + ", which is not supported; expected " + expected);
}

ACTIVATION_TRACE_COMPILED_INLINE void JsonPart::fail_as(const char* expected) const {
  fail(is_null() ? std::string("is missing") : std::string("is not ") + expected + ": " + printable(dump()));
}

ACTIVATION_TRACE_COMPILED_INLINE bool JsonPart::is_null() const noexcept { return value_->is_null(); }
ACTIVATION_TRACE_COMPILED_INLINE bool JsonPart::is_object() const noexcept { return value_->is_object(); }
ACTIVATION_TRACE_COMPILED_INLINE bool JsonPart::is_array() const noexcept { return value_->is_array(); }
ACTIVATION_TRACE_COMPILED_INLINE bool JsonPart::is_string() const noexcept { return value_->is_string(); }

ACTIVATION_TRACE_COMPILED_INLINE bool JsonPart::is_size() const noexcept { return value_->is_number_unsigned(); }

ACTIVATION_TRACE_COMPILED_INLINE bool JsonPart::is(std::string_view wanted) const {
  return is_string() && value_->get_ref<const std::string&>() == wanted;
}

ACTIVATION_TRACE_COMPILED_INLINE bool JsonPart::is(int wanted) const { return *value_ == nlohmann::json(wanted); }

ACTIVATION_TRACE_COMPILED_INLINE bool JsonPart::has_type(std::string_view type) const {
  return is_object() && (*this)["type"].is(type);
}

ACTIVATION_TRACE_COMPILED_INLINE bool JsonPart::has(const std::string& key) const { return value_->contains(key); }

ACTIVATION_TRACE_COMPILED_INLINE std::size_t JsonPart::size() const noexcept { return value_->size(); }

ACTIVATION_TRACE_COMPILED_INLINE JsonPart JsonPart::operator[](const std::string& key) const {
  static const nlohmann::json null;
  if (!is_object()) fail("is not an object");
  const auto found = value_->find(key);
  return {found == value_->end() ? null : *found, (path_.empty() ? "" : path_ + '.') + escaped(key, 80), *file_};
}

ACTIVATION_TRACE_COMPILED_INLINE JsonPart JsonPart::at(std::size_t i) const {
  if (!is_array()) fail("is not an array");
  if (i >= size()) fail("has no element " + std::to_string(i));
  return (*this)[i];
}

ACTIVATION_TRACE_COMPILED_INLINE JsonPart JsonPart::operator[](std::size_t i) const {
  return {(*value_)[i], path_ + '[' + std::to_string(i) + ']', *file_};
}

ACTIVATION_TRACE_COMPILED_INLINE const std::string* JsonPart::find_text_at(std::size_t i) const {
  return (*value_)[i].get_ptr<const std::string*>();
}

ACTIVATION_TRACE_COMPILED_INLINE std::vector<JsonPart> JsonPart::elements() const {
  std::vector<JsonPart> parts;
  if (is_null()) return parts;
  if (!is_array()) fail("is not an array");
  parts.reserve(size());
  for (std::size_t i = 0; i < size(); ++i) parts.push_back((*this)[i]);
  return parts;
}

ACTIVATION_TRACE_COMPILED_INLINE std::vector<std::pair<std::string_view, JsonPart>> JsonPart::members() const {
  if (!is_object()) fail("is not an object");
  std::vector<std::pair<std::string_view, JsonPart>> parts;
  parts.reserve(size());
  const std::string prefix = path_.empty() ? "" : path_ + '.';
  for (const auto& [key, value] : value_->get_ref<const nlohmann::json::object_t&>())
    parts.emplace_back(key, JsonPart(value, prefix + escaped(key, 80), *file_));
  return parts;
}

ACTIVATION_TRACE_COMPILED_INLINE const std::string& JsonPart::text() const {
  if (!is_string()) fail_as("a string");
  return value_->get_ref<const std::string&>();
}

ACTIVATION_TRACE_COMPILED_INLINE double JsonPart::number() const {
  if (!value_->is_number()) fail_as("a number");
  return value_->get<double>();
}

ACTIVATION_TRACE_COMPILED_INLINE std::uint64_t JsonPart::size_number() const {
  if (!is_size()) fail_as("a size");
  return value_->get<std::uint64_t>();
}

ACTIVATION_TRACE_COMPILED_INLINE TokenId JsonPart::id() const {
  if (!is_size() || !std::in_range<TokenId>(value_->get<std::uint64_t>())) fail_as("a token id");
  return static_cast<TokenId>(value_->get<std::uint64_t>());
}

ACTIVATION_TRACE_COMPILED_INLINE bool JsonPart::flag(bool otherwise) const {
  if (is_null()) return otherwise;
  if (!value_->is_boolean()) fail_as("true or false");
  return value_->get<bool>();
}

ACTIVATION_TRACE_COMPILED_INLINE std::optional<std::string> JsonPart::find_text() const {
  if (is_null()) return std::nullopt;
  return text();
}

ACTIVATION_TRACE_COMPILED_INLINE std::optional<Index> JsonPart::find_integer() const {
  if (is_null()) return std::nullopt;
  const std::optional<Index> integer = whole_number(*value_);
  if (!integer) fail_as("an integer in range");
  return integer;
}

ACTIVATION_TRACE_COMPILED_INLINE std::optional<float> JsonPart::find_float() const {
  if (is_null()) return std::nullopt;
  const double wide = value_->is_number() ? value_->get<double>() : std::numeric_limits<double>::infinity();
  if (!(std::abs(wide) <= static_cast<double>(std::numeric_limits<float>::max()))) fail_as("a number in range");
  return static_cast<float>(wide);
}

ACTIVATION_TRACE_COMPILED_INLINE std::vector<TokenId> JsonPart::ids() const {
  std::vector<TokenId> result;
  if (is_null()) return result;
  const auto add = [&](const nlohmann::json& id) {
    if (!id.is_number_unsigned() || !std::in_range<TokenId>(id.get<std::uint64_t>()))
      fail_as("a token id or a list of them");
    result.push_back(static_cast<TokenId>(id.get<std::uint64_t>()));
  };
  if (is_array())
    for (const nlohmann::json& id : *value_) add(id);
  else
    add(*value_);
  return result;
}

ACTIVATION_TRACE_COMPILED_INLINE JsonDocument::JsonDocument(std::string_view text, std::string file,
                                                            const JsonReading& reading)
    : file_(std::move(file)), value_(std::make_unique<const nlohmann::json>(parse_json(text, file_, reading))) {}

ACTIVATION_TRACE_COMPILED_INLINE JsonDocument::~JsonDocument() = default;

ACTIVATION_TRACE_COMPILED_INLINE JsonPart JsonDocument::object() const {
  if (!value_->is_object()) root().fail("is not a JSON object");
  return root();
}

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
