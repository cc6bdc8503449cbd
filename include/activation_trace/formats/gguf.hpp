// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/formats/file_tensor.hpp"
#include "activation_trace/formats/gguf_reader.hpp"
#include "activation_trace/formats/gguf_split.hpp"
#include "activation_trace/formats/gguf_types.hpp"
#include "activation_trace/formats/gguf_value.hpp"
#include "activation_trace/text/mapped_file.hpp"

namespace activation_trace {
inline namespace v0 {

/// A GGUF file, version 2 or 3, or all parts of a split one (formats/README.md 3). Everything is checked when it is
/// opened: what can be read here lies in the file. Moves, does not copy; strings and tensors view the files' bytes.
class GgufFile {
 public:
  /// Of a split file any part may be given: the others are found beside it by their names, and are as one with it.
  /// Throws FormatError naming the byte where a file stops being GGUF, or the part that is missing or is none of it.
  static GgufFile open(const std::filesystem::path& path, FileAccess access = FileAccess::map);

  /// The same for a file that is open already.
  static GgufFile open(MappedFile file);

  /// Reads a file that is in memory already, which must outlive the result; of a split one, that part alone. `name` is
  /// for messages.
  static GgufFile parse(std::span<const std::byte> bytes, std::string name);

  /// The path as given, of a split file the first part's, or the name of what was in memory: for messages.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// 2 or 3; they differ in nothing that is read here.
  [[nodiscard]] std::uint32_t version() const noexcept { return version_; }
  /// How the file was opened; read for one that was in memory.
  [[nodiscard]] FileAccess access() const noexcept {
    return files_.empty() ? FileAccess::read : files_.front().access();
  }
  /// What was opened: one file, or the parts in their order; none of what was in memory.
  [[nodiscard]] std::span<const MappedFile> files() const noexcept { return files_; }

  /// The metadata value of `key`, or nothing if there is none. T is bool, an integer, float, double,
  /// std::string_view or a std::vector of these. Throws FormatError if the value has another type or does not
  /// fit into T; integers of any width convert, other types do not.
  template <class T>
  [[nodiscard]] std::optional<T> find(std::string_view key) const;

  /// As find. Throws FormatError if there is none.
  template <class T>
  [[nodiscard]] T get(std::string_view key) const {
    if (auto value = find<T>(key)) return *std::move(value);
    throw FormatError(name_, "metadata " + detail::printable(key) + " is missing");
  }

  /// Whether there is a metadata value of that key, of any type.
  [[nodiscard]] bool contains(std::string_view key) const noexcept { return find_value(key) != nullptr; }

  /// In the files' order.
  [[nodiscard]] std::span<const FileTensor> tensors() const noexcept { return tensors_; }
  /// The tensor of that name, or null.
  [[nodiscard]] const FileTensor* find_tensor(std::string_view name) const noexcept;

 private:
  using Value = detail::GgufValue;

  // Limits of ggml's reader.
  static constexpr std::uint64_t longest_key = 65535;
  static constexpr std::uint64_t longest_array = std::uint64_t{1} << 30;
  static constexpr std::uint64_t longest_tensor_name = 63;
  static constexpr std::uint32_t highest_rank = 4;
  // Of our own: files in use have 32; padding by more serves no reader.
  static constexpr std::uint32_t highest_alignment = 1u << 20;
  // The shortest entry: key length, one byte of key, type, one byte of value.
  static constexpr std::uint64_t least_value_bytes = 8 + 1 + 4 + 1;
  // The shortest tensor: name length, one byte of name, rank 0, type, offset.
  static constexpr std::uint64_t least_tensor_bytes = 8 + 1 + 4 + 4 + 8;

  explicit GgufFile(std::string name) : name_(std::move(name)) {}

  static GgufFile open_part(MappedFile file);
  static GgufFile join_parts(GgufFile given, const detail::GgufSplit& split);
  [[nodiscard]] std::optional<detail::GgufSplit> split() const;
  void append(GgufFile part);
  void sort_tensors();

  void read(std::span<const std::byte> bytes);
  void read_values(detail::GgufReader& reader, std::uint64_t count);
  Value read_value(detail::GgufReader& reader) const;
  GgufType read_type(detail::GgufReader& reader, std::string_view key) const;
  std::span<const std::byte> take_elements(detail::GgufReader& reader, const Value& value) const;
  void read_tensors(detail::GgufReader& reader, std::span<const std::byte> bytes, std::uint64_t count);
  FileTensor read_tensor(detail::GgufReader& reader, std::uint64_t& bytes) const;
  [[nodiscard]] std::uint64_t alignment() const;

  [[nodiscard]] const Value* find_value(std::string_view key) const noexcept;

  std::string name_;
  std::vector<MappedFile> files_;
  std::uint32_t version_ = 0;
  std::vector<Value> values_;  // sorted by key
  std::vector<FileTensor> tensors_;
  std::vector<std::size_t> tensors_by_name_;
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE GgufFile GgufFile::open(const std::filesystem::path& path, FileAccess access) {
  return open(MappedFile::open(path, access));
}

ACTIVATION_TRACE_COMPILED_INLINE GgufFile GgufFile::open(MappedFile file) {
  GgufFile gguf = open_part(std::move(file));
  if (const auto split = gguf.split()) return join_parts(std::move(gguf), *split);
  return gguf;
}

ACTIVATION_TRACE_COMPILED_INLINE GgufFile GgufFile::open_part(MappedFile file) {
  GgufFile gguf(file.name());
  gguf.read(file.bytes());
  gguf.files_.push_back(std::move(file));  // its bytes stay where they are
  return gguf;
}

/// What the file says of its being a part; nothing if it is whole: llama.cpp leaves 0 parts in what it has joined.
ACTIVATION_TRACE_COMPILED_INLINE std::optional<detail::GgufSplit> GgufFile::split() const {
  const auto count = find<std::uint64_t>("split.count").value_or(0);
  if (count < 2) return std::nullopt;
  const detail::GgufSplit split{get<std::uint64_t>("split.no"), count, find<std::uint64_t>("split.tensors.count")};
  split.check(name_);
  return split;
}

/// `given` and the files beside it, as one.
ACTIVATION_TRACE_COMPILED_INLINE GgufFile GgufFile::join_parts(GgufFile given, const detail::GgufSplit& split) {
  const FileAccess access = given.access();
  const detail::GgufPartNames names(given.name(), split);
  const auto open_number = [&](std::uint64_t number) -> GgufFile {
    return number == split.number ? std::move(given) : open_part(names.open(number, access));
  };
  std::optional<GgufFile> whole;
  for (std::uint64_t number = 0; number < split.count; ++number) {
    GgufFile part = open_number(number);
    const auto found = part.split();
    detail::check_part(part.name(), found, {number, split.count, split.tensors}, names.given());
    if (whole)
      whole->append(std::move(part));
    else
      whole = std::move(part);
  }
  if (const auto claimed = whole->get<std::uint64_t>("split.tensors.count"); claimed != whole->tensors_.size())
    throw FormatError(whole->name(), "split.tensors.count is " + std::to_string(claimed) + ", but the parts hold " +
                                         std::to_string(whole->tensors_.size()) + " tensors");
  whole->sort_tensors();
  return *std::move(whole);
}

ACTIVATION_TRACE_COMPILED_INLINE void GgufFile::append(GgufFile part) {
  std::move(part.files_.begin(), part.files_.end(), std::back_inserter(files_));
  std::move(part.tensors_.begin(), part.tensors_.end(), std::back_inserter(tensors_));
}

ACTIVATION_TRACE_COMPILED_INLINE GgufFile GgufFile::parse(std::span<const std::byte> bytes, std::string name) {
  GgufFile gguf(std::move(name));
  gguf.read(bytes);
  return gguf;
}

ACTIVATION_TRACE_COMPILED_INLINE void GgufFile::read(std::span<const std::byte> bytes) {
  detail::GgufReader reader(bytes, name_);
  const auto magic = reader.take(4, "the magic number");
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) throw FormatError(name_, 0, "is not a GGUF file");
  version_ = reader.number<std::uint32_t>("the version");
  if ((version_ & 0xffffu) == 0)
    throw FormatError(name_, 4, "the file is big-endian; only little-endian GGUF is supported");
  if (version_ != 2 && version_ != 3)
    throw FormatError(name_, 4, "GGUF version " + std::to_string(version_) + " is not supported, expected 2 or 3");
  const auto tensor_count = reader.number<std::uint64_t>("the number of tensors");
  const auto value_count = reader.number<std::uint64_t>("the number of metadata values");
  reader.check_count(tensor_count, least_tensor_bytes, 8, "tensors");
  reader.check_count(value_count, least_value_bytes, 16, "metadata values");
  read_values(reader, value_count);
  reader.check_count(tensor_count, least_tensor_bytes, 8, "tensors");
  read_tensors(reader, bytes, tensor_count);
}

ACTIVATION_TRACE_COMPILED_INLINE void GgufFile::read_values(detail::GgufReader& reader, std::uint64_t count) {
  values_.reserve(static_cast<std::size_t>(count));
  for (std::uint64_t i = 0; i < count; ++i) values_.push_back(read_value(reader));
  // Sorted rather than hashed: crafted keys cannot make it slow.
  std::sort(values_.begin(), values_.end(), [](const Value& a, const Value& b) { return a.key < b.key; });
  const auto twice =
      std::adjacent_find(values_.begin(), values_.end(), [](const Value& a, const Value& b) { return a.key == b.key; });
  if (twice != values_.end())
    throw FormatError(name_, std::max(twice->offset, std::next(twice)->offset),
                      "metadata " + detail::printable(twice->key) + " appears twice");
}

ACTIVATION_TRACE_COMPILED_INLINE GgufFile::Value GgufFile::read_value(detail::GgufReader& reader) const {
  const std::uint64_t at = reader.position();
  Value value{};
  value.key = reader.string(longest_key, "a metadata key");
  if (value.key.empty()) throw FormatError(name_, at, "a metadata key is empty");
  value.type = read_type(reader, value.key);
  value.count = 1;
  if (value.type == GgufType::array) {
    value.is_array = true;
    value.type = read_type(reader, value.key);
    if (value.type == GgufType::array)
      throw FormatError(name_, reader.position() - 4,
                        "metadata " + detail::printable(value.key) + " is an array of arrays, which is not supported");
    const std::uint64_t count_at = reader.position();
    value.count = reader.number<std::uint64_t>("the length of an array");
    if (value.count > longest_array)
      throw FormatError(name_, count_at,
                        "metadata " + detail::printable(value.key) + " claims " + std::to_string(value.count) +
                            " elements, at most " + std::to_string(longest_array) + " are allowed");
    const std::size_t fixed = detail::fixed_bytes(value.type);
    reader.check_count(value.count, fixed != 0 ? fixed : 8, count_at, "array elements");
  }
  value.offset = reader.position();
  value.bytes = take_elements(reader, value);
  return value;
}

ACTIVATION_TRACE_COMPILED_INLINE GgufType GgufFile::read_type(detail::GgufReader& reader, std::string_view key) const {
  const std::uint64_t at = reader.position();
  const auto type = reader.number<std::uint32_t>("a metadata type");
  if (type > static_cast<std::uint32_t>(GgufType::f64))
    throw FormatError(
        name_, at, "metadata " + detail::printable(key) + " has type " + std::to_string(type) + ", expected 0 to 12");
  return static_cast<GgufType>(type);
}

ACTIVATION_TRACE_COMPILED_INLINE std::span<const std::byte> GgufFile::take_elements(detail::GgufReader& reader,
                                                                                    const Value& value) const {
  if (value.type == GgufType::string) {
    for (std::uint64_t i = 0; i < value.count; ++i)
      (void)reader.string(detail::longest_gguf_string, "a metadata string");
    return reader.since(value.offset);
  }
  const auto bytes = reader.take(value.count * detail::fixed_bytes(value.type), "a metadata value");
  if (value.type == GgufType::boolean)
    for (std::size_t i = 0; i < bytes.size(); ++i)
      if (std::to_integer<unsigned>(bytes[i]) > 1)
        throw FormatError(name_, value.offset + i,
                          "metadata " + detail::printable(value.key) + " has a bool that is neither 0 nor 1");
  return bytes;
}

ACTIVATION_TRACE_COMPILED_INLINE std::uint64_t GgufFile::alignment() const {
  const Value* value = find_value("general.alignment");
  if (value == nullptr) return 32;
  const auto alignment = get<std::uint32_t>("general.alignment");
  if (value->type != GgufType::u32 || alignment == 0 || (alignment & (alignment - 1)) != 0 ||
      alignment > highest_alignment)
    throw FormatError(name_, value->offset,
                      "general.alignment is " + std::to_string(alignment) + " (" +
                          std::string(detail::name(value->type)) + "), expected a u32 power of two up to " +
                          std::to_string(highest_alignment));
  return alignment;
}

ACTIVATION_TRACE_COMPILED_INLINE void GgufFile::read_tensors(detail::GgufReader& reader,
                                                             std::span<const std::byte> bytes, std::uint64_t count) {
  const std::uint64_t align = alignment();
  tensors_.reserve(static_cast<std::size_t>(count));
  std::vector<std::uint64_t> sizes;
  sizes.reserve(static_cast<std::size_t>(count));
  // Each tensor must begin where the one before it, padded, ends, as in ggml. That rules out overlaps and
  // leaves one running sum as the only arithmetic on offsets.
  std::uint64_t next = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    FileTensor tensor = read_tensor(reader, sizes.emplace_back());
    if (tensor.offset != next)
      throw FormatError(name_, reader.position() - 8,
                        "tensor " + detail::printable(tensor.name) + " has offset " + std::to_string(tensor.offset) +
                            ", expected " + std::to_string(next));
    const auto end = detail::checked_add(next, sizes.back());
    const auto padded = end ? detail::checked_round_up(*end, align) : std::nullopt;
    if (!padded)
      throw FormatError(name_, reader.position() - 8,
                        "tensor " + detail::printable(tensor.name) + " makes the size of all tensors overflow");
    next = *padded;
    tensors_.push_back(std::move(tensor));
  }

  const auto data_start = detail::checked_round_up(reader.position(), align);
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    FileTensor& tensor = tensors_[i];
    const auto begin = data_start ? detail::checked_add(*data_start, tensor.offset) : std::nullopt;
    const auto end = begin ? detail::checked_add(*begin, sizes[i]) : std::nullopt;
    if (!end || *end > bytes.size())
      throw FormatError(name_, begin.value_or(bytes.size()),
                        "tensor " + detail::printable(tensor.name) + " needs " + std::to_string(sizes[i]) +
                            " bytes from here, the file has " + std::to_string(bytes.size()) + " in all");
    tensor.offset = *begin;
    tensor.bytes = bytes.subspan(static_cast<std::size_t>(*begin), static_cast<std::size_t>(sizes[i]));
  }

  sort_tensors();
}

ACTIVATION_TRACE_COMPILED_INLINE void GgufFile::sort_tensors() {
  tensors_by_name_.resize(tensors_.size());
  std::iota(tensors_by_name_.begin(), tensors_by_name_.end(), std::size_t{0});
  std::sort(tensors_by_name_.begin(), tensors_by_name_.end(),
            [this](std::size_t a, std::size_t b) { return tensors_[a].name < tensors_[b].name; });
  for (std::size_t i = 1; i < tensors_by_name_.size(); ++i) {
    const FileTensor& before = tensors_[tensors_by_name_[i - 1]];
    const FileTensor& tensor = tensors_[tensors_by_name_[i]];
    if (tensor.name != before.name) continue;
    throw FormatError(tensor.file, tensor.offset,
                      "tensor " + detail::printable(tensor.name) +
                          (tensor.file == before.file ? " appears twice" : " is also in " + before.file));
  }
}

ACTIVATION_TRACE_COMPILED_INLINE FileTensor GgufFile::read_tensor(detail::GgufReader& reader,
                                                                  std::uint64_t& bytes) const {
  const std::uint64_t at = reader.position();
  FileTensor tensor;
  tensor.name = reader.string(longest_tensor_name, "a tensor's name");
  const auto require = [&](bool ok, const std::string& problem) {
    if (!ok) throw FormatError(name_, at, "tensor " + detail::printable(tensor.name) + " " + problem);
  };
  require(!tensor.name.empty(), "has no name");
  const auto rank = reader.number<std::uint32_t>("a tensor's rank");
  require(rank <= highest_rank, "has " + std::to_string(rank) + " dimensions, at most 4 are allowed");
  std::vector<std::uint64_t> extents(rank);
  for (std::uint64_t& extent : extents) extent = reader.number<std::uint64_t>("a tensor's extent");
  const auto type_id = reader.number<std::uint32_t>("a tensor's type");
  const detail::GgufTensorType* type = detail::find_gguf_tensor_type(type_id);
  require(type != nullptr, "has type " + std::to_string(type_id) + ", which is not known");
  tensor.file = name_;
  tensor.type = type->name;
  tensor.dtype = type->dtype();
  tensor.offset = reader.number<std::uint64_t>("a tensor's offset");

  const auto elements = detail::checked_elements(extents);
  require(elements.has_value(), "has more elements than can be counted");
  const std::uint64_t row = extents.empty() ? 1 : extents[0];
  require(row % type->elements == 0, "has rows of " + std::to_string(row) + " elements, not a multiple of " +
                                         std::string(type->name) + "'s block of " + std::to_string(type->elements));
  const auto size = detail::checked_multiply(*elements / type->elements, type->bytes);
  require(size.has_value() && *size <= static_cast<std::uint64_t>(std::numeric_limits<Index>::max()),
          "has more bytes than can be counted");
  bytes = *size;
  for (auto extent = extents.rbegin(); extent != extents.rend(); ++extent)  // the file has the fastest first
    tensor.shape.push_back(static_cast<Index>(*extent));
  return tensor;
}

ACTIVATION_TRACE_COMPILED_INLINE const FileTensor* GgufFile::find_tensor(std::string_view name) const noexcept {
  const auto found = std::lower_bound(tensors_by_name_.begin(), tensors_by_name_.end(), name,
                                      [this](std::size_t i, std::string_view n) { return tensors_[i].name < n; });
  return found != tensors_by_name_.end() && tensors_[*found].name == name ? &tensors_[*found] : nullptr;
}

ACTIVATION_TRACE_COMPILED_INLINE const GgufFile::Value* GgufFile::find_value(std::string_view key) const noexcept {
  const auto found = std::lower_bound(values_.begin(), values_.end(), key,
                                      [](const Value& value, std::string_view k) { return value.key < k; });
  return found != values_.end() && found->key == key ? &*found : nullptr;
}

#endif  // ACTIVATION_TRACE_BODIES

template <class T>
std::optional<T> GgufFile::find(std::string_view key) const {
  const Value* value = find_value(key);
  if (value == nullptr) return std::nullopt;
  return value->as<T>(name_);
}

}  // namespace v0
}  // namespace activation_trace
