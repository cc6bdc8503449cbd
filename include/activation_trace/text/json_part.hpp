// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/text/json_reading.hpp"

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// A value in a JSON file that knows where it stands, so that every refusal, a FormatError, names the part. Views its
/// JsonDocument. All that looks into it is compiled once, with activation_trace::kernels: nlohmann's templates are most
/// of the time that a file takes that includes readers of JSON.
class JsonPart {
 public:
  JsonPart(const nlohmann::json& value, std::string path, const std::string& file)
      : value_(&value), path_(std::move(path)), file_(&file) {}

  [[nodiscard]] const std::string& file() const noexcept { return *file_; }
  /// The value as JSON, escaped to ASCII.
  [[nodiscard]] std::string dump() const;

  [[noreturn]] void fail(const std::string& problem) const;
  /// Refuses the value, naming what would be supported.
  [[noreturn]] void refuse(const std::string& expected) const;
  /// The same value, called otherwise in messages.
  [[nodiscard]] JsonPart named(std::string name) const { return {*value_, std::move(name), *file_}; }

  [[nodiscard]] bool is_null() const noexcept;
  [[nodiscard]] bool is_object() const noexcept;
  [[nodiscard]] bool is_array() const noexcept;
  [[nodiscard]] bool is_string() const noexcept;
  /// Whether it is a whole number from 0 to 2^64 - 1.
  [[nodiscard]] bool is_size() const noexcept;
  [[nodiscard]] bool is(std::string_view wanted) const;
  [[nodiscard]] bool is(int wanted) const;
  /// Whether this is an object of that "type".
  [[nodiscard]] bool has_type(std::string_view type) const;
  /// Whether this is an object that has the key, be it with null.
  [[nodiscard]] bool has(const std::string& key) const;

  /// Of an array or an object the number of elements or members.
  [[nodiscard]] std::size_t size() const noexcept;
  /// A member; null if the object has none.
  [[nodiscard]] JsonPart operator[](const std::string& key) const;
  /// An element, which there must be.
  [[nodiscard]] JsonPart at(std::size_t i) const;
  /// An element of an array that is known to have it.
  [[nodiscard]] JsonPart operator[](std::size_t i) const;
  /// The text of an element of an array that is known to have it; null if it is no string.
  [[nodiscard]] const std::string* find_text_at(std::size_t i) const;
  /// The elements of an array; of null, none.
  [[nodiscard]] std::vector<JsonPart> elements() const;
  /// The members of an object, by key; the keys are the document's.
  [[nodiscard]] std::vector<std::pair<std::string_view, JsonPart>> members() const;

  /// What must be there.
  [[nodiscard]] const std::string& text() const;
  [[nodiscard]] double number() const;
  [[nodiscard]] std::uint64_t size_number() const;
  [[nodiscard]] TokenId id() const;

  /// What may be null.
  [[nodiscard]] bool flag(bool otherwise) const;
  [[nodiscard]] std::optional<std::string> find_text() const;
  [[nodiscard]] std::optional<Index> find_integer() const;
  [[nodiscard]] std::optional<float> find_float() const;
  /// One id or a list of ids; of null, none.
  [[nodiscard]] std::vector<TokenId> ids() const;

 private:
  [[noreturn]] void fail_as(const char* expected) const;

  const nlohmann::json* value_;
  std::string path_;
  const std::string* file_;
};

/// A JSON file that is not trusted, parsed as parse_json() says.
class JsonDocument {
 public:
  /// `file` is the name for messages. Throws FormatError naming the byte.
  JsonDocument(std::string_view text, std::string file, const JsonReading& reading = {});
  ~JsonDocument();
  JsonDocument(const JsonDocument&) = delete;
  JsonDocument& operator=(const JsonDocument&) = delete;

  [[nodiscard]] const std::string& file() const noexcept { return file_; }
  [[nodiscard]] JsonPart root() const { return {*value_, "", file_}; }
  /// As root(), which must be an object.
  [[nodiscard]] JsonPart object() const;

 private:
  std::string file_;
  std::unique_ptr<const nlohmann::json> value_;
};

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace

#if ACTIVATION_TRACE_BODIES
#include "activation_trace/text/json_part.inl"
#endif
