// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

// Writers of the file formats for fixtures and crafted files: what they are told, right or wrong.
namespace activation_trace::test {

/// A little-endian byte string that grows.
class ByteWriter {
 public:
  template <class T>
  requires std::is_arithmetic_v<T> ByteWriter& put(T value) {
    const auto* begin = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), begin, begin + sizeof(T));
    return *this;
  }
  ByteWriter& raw(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  ByteWriter& raw(std::string_view text) { return raw(std::as_bytes(std::span(text))); }
  /// GGUF's string: u64 length and bytes.
  ByteWriter& string(std::string_view text) { return put(std::uint64_t{text.size()}).raw(text); }
  ByteWriter& pad(std::size_t alignment) {
    while (alignment != 0 && bytes_.size() % alignment != 0) bytes_.push_back(std::byte{0});
    return *this;
  }
  [[nodiscard]] const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

/// Writes GGUF. The fields in `std::optional` replace what is right.
struct GgufBuilder {
  struct Tensor {
    std::string name;
    std::uint32_t type = 0;
    std::vector<std::uint64_t> extents;  ///< the file's order: the fastest first
    std::vector<std::byte> data;
    std::optional<std::uint64_t> offset{};
  };

  std::uint32_t version = 3;
  std::size_t alignment = 32;
  std::optional<std::uint64_t> value_count{};
  std::optional<std::uint64_t> tensor_count{};
  std::vector<std::vector<std::byte>> values;
  std::vector<Tensor> tensors;

  template <class T>
  static constexpr std::uint32_t type_id() {
    if constexpr (std::is_same_v<T, std::uint8_t>) return 0;
    if constexpr (std::is_same_v<T, std::int8_t>) return 1;
    if constexpr (std::is_same_v<T, std::uint16_t>) return 2;
    if constexpr (std::is_same_v<T, std::int16_t>) return 3;
    if constexpr (std::is_same_v<T, std::uint32_t>) return 4;
    if constexpr (std::is_same_v<T, std::int32_t>) return 5;
    if constexpr (std::is_same_v<T, float>) return 6;
    if constexpr (std::is_same_v<T, bool>) return 7;
    if constexpr (std::is_convertible_v<T, std::string_view>) return 8;
    if constexpr (std::is_same_v<T, std::uint64_t>) return 10;
    if constexpr (std::is_same_v<T, std::int64_t>) return 11;
    if constexpr (std::is_same_v<T, double>) return 12;
  }

  template <class T>
  GgufBuilder& value(std::string_view key, const T& value) {
    ByteWriter out;
    out.string(key).put(type_id<T>());
    put(out, value);
    values.push_back(out.bytes());
    return *this;
  }
  GgufBuilder& value(std::string_view key, const char* text) { return value(key, std::string_view(text)); }

  template <class T>
  GgufBuilder& array(std::string_view key, const std::vector<T>& elements) {
    ByteWriter out;
    out.string(key).put(std::uint32_t{9}).put(type_id<T>()).put(std::uint64_t{elements.size()});
    for (const auto& element : elements) put<T>(out, element);
    values.push_back(out.bytes());
    return *this;
  }

  /// An entry as it is: key, type and value.
  GgufBuilder& raw_value(const ByteWriter& entry) {
    values.push_back(entry.bytes());
    return *this;
  }

  GgufBuilder& tensor(Tensor tensor) {
    tensors.push_back(std::move(tensor));
    return *this;
  }

  [[nodiscard]] std::vector<std::byte> bytes() const {
    ByteWriter out;
    out.raw("GGUF").put(version);
    out.put(tensor_count.value_or(tensors.size())).put(value_count.value_or(values.size()));
    for (const auto& value : values) out.raw(value);
    std::uint64_t offset = 0;
    for (const Tensor& tensor : tensors) {
      out.string(tensor.name).put(static_cast<std::uint32_t>(tensor.extents.size()));
      for (const std::uint64_t extent : tensor.extents) out.put(extent);
      out.put(tensor.type).put(tensor.offset.value_or(offset));
      offset += (tensor.data.size() + alignment - 1) / alignment * alignment;
    }
    out.pad(alignment);
    for (const Tensor& tensor : tensors) out.raw(tensor.data).pad(alignment);
    return out.bytes();
  }

 private:
  template <class T>
  static void put(ByteWriter& out, const T& value) {
    if constexpr (std::is_convertible_v<T, std::string_view>)
      out.string(value);
    else
      out.put(value);
  }
};

/// A safetensors file: the header as given, padded to a multiple of 8 with spaces, then the data.
inline std::vector<std::byte> safetensors_bytes(std::string header, std::span<const std::byte> data = {}) {
  while (header.size() % 8 != 0) header.push_back(' ');
  return ByteWriter().put(std::uint64_t{header.size()}).raw(header).raw(data).bytes();
}

inline void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!out.flush()) throw std::runtime_error("cannot write " + path.string());
}
inline void write_file(const std::filesystem::path& path, std::string_view text) {
  write_file(path, std::as_bytes(std::span(text)));
}

/// A new folder under the system's, removed with everything in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::random_device random;
    do {
      path_ = std::filesystem::temp_directory_path() / ("activation_trace_test_" + std::to_string(random()));
    } while (!std::filesystem::create_directory(path_));
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace activation_trace::test
