// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/formats/file_tensor.hpp"
#include "activation_trace/text/json_part.hpp"
#include "activation_trace/text/mapped_file.hpp"

namespace activation_trace {
inline namespace v0 {

/// A safetensors file by the rules of formats/README.md 1. Everything is checked when it is opened. Moves, does not
/// copy; the tensors view the file's bytes.
class SafetensorsFile {
 public:
  /// Throws FormatError naming the byte where the file stops being safetensors.
  static SafetensorsFile open(const std::filesystem::path& path, FileAccess access = FileAccess::map);

  /// Reads a file that is in memory already, which must outlive the result. `name` is for messages.
  static SafetensorsFile parse(std::span<const std::byte> bytes, std::string name);

  /// The path as given, or the name of what was in memory: for messages.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// Sorted by name.
  [[nodiscard]] std::span<const FileTensor> tensors() const noexcept { return tensors_; }
  /// The tensor of that name, or null.
  [[nodiscard]] const FileTensor* find_tensor(std::string_view name) const noexcept;

 private:
  explicit SafetensorsFile(std::string name) : name_(std::move(name)) {}

  void read(std::span<const std::byte> bytes);
  [[nodiscard]] FileTensor read_tensor(std::string_view tensor, const detail::JsonPart& entry,
                                       std::span<const std::byte> data) const;
  void check_layout(std::uint64_t data_bytes) const;

  std::string name_;
  std::optional<MappedFile> file_;
  std::uint64_t data_start_ = 0;
  std::vector<FileTensor> tensors_;
};

/// Reads the index of a model that is split over several files (model.safetensors.index.json): the file of
/// each tensor. Throws FormatError unless every file is a plain name within the same folder.
[[nodiscard]] std::map<std::string, std::string> parse_safetensors_index(std::string_view text,
                                                                         const std::string& name);

/// Opens the weights of a Hugging Face folder: model.safetensors, or else all files of the index. Throws
/// FormatError if there are none, a tensor is in two files, or one is not where the index says.
[[nodiscard]] std::vector<SafetensorsFile> open_safetensors_folder(const std::filesystem::path& folder,
                                                                   FileAccess access = FileAccess::map);

namespace detail {

struct SafetensorsType {
  std::string_view name;
  unsigned bits;

  /// The weight type of that name; nothing: can be skipped over, not read.
  [[nodiscard]] constexpr std::optional<DType> dtype() const noexcept { return find_dtype(name); }
};

inline constexpr SafetensorsType safetensors_types[] = {
    {"F32", 32},    {"F16", 16},    {"BF16", 16},   {"BOOL", 8},        {"U8", 8},          {"I8", 8},
    {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"I32", 32},    {"U32", 32},    {"I64", 64},        {"U64", 64},        {"F64", 64},
    {"C64", 64},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},
};

}  // namespace detail

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path,
                                                                       FileAccess access) {
  SafetensorsFile result(path.string());
  result.file_ = MappedFile::open(path, access);
  result.read(result.file_->bytes());
  return result;
}

ACTIVATION_TRACE_COMPILED_INLINE SafetensorsFile SafetensorsFile::parse(std::span<const std::byte> bytes,
                                                                        std::string name) {
  SafetensorsFile result(std::move(name));
  result.read(bytes);
  return result;
}

ACTIVATION_TRACE_COMPILED_INLINE void SafetensorsFile::read(std::span<const std::byte> bytes) {
  constexpr std::uint64_t length_bytes = 8;
  constexpr std::uint64_t longest_header = 100'000'000;  // the reference reader's limit
  if (bytes.size() < length_bytes)
    throw FormatError(name_, 0, "a safetensors file has at least 8 bytes, found " + std::to_string(bytes.size()));
  std::uint64_t length;
  std::memcpy(&length, bytes.data(), sizeof(length));
  if (length > longest_header || length > bytes.size() - length_bytes)
    throw FormatError(name_, 0,
                      "the header claims " + std::to_string(length) + " bytes, the file has " +
                          std::to_string(bytes.size() - length_bytes) + " after its length and at most " +
                          std::to_string(longest_header) + " are allowed");
  const std::string_view header = detail::text_of(bytes.subspan(length_bytes, static_cast<std::size_t>(length)));
  if (!header.starts_with('{')) throw FormatError(name_, length_bytes, "the header does not begin with '{'");
  const detail::JsonDocument json(header, name_, {.origin = length_bytes});

  data_start_ = length_bytes + length;
  const auto data = bytes.subspan(static_cast<std::size_t>(data_start_));
  for (const auto& [name, entry] : json.root().members()) {
    if (name == "__metadata__") {
      const auto is_text = [](const auto& member) { return member.second.is_string(); };
      if (!entry.is_object() || !std::ranges::all_of(entry.members(), is_text))
        throw FormatError(name_, length_bytes, "__metadata__ is not a map of strings to strings");
      continue;
    }
    tensors_.push_back(read_tensor(name, entry, data));
  }
  std::sort(tensors_.begin(), tensors_.end(), [](const FileTensor& a, const FileTensor& b) { return a.name < b.name; });
  check_layout(data.size());
}

ACTIVATION_TRACE_COMPILED_INLINE FileTensor SafetensorsFile::read_tensor(std::string_view tensor,
                                                                         const detail::JsonPart& entry,
                                                                         std::span<const std::byte> data) const {
  // The parsed header no longer knows its offsets: messages name the tensor instead.
  const auto require = [&](bool ok, const std::string& problem) {
    if (!ok) throw FormatError(name_, 8, "tensor " + detail::printable(tensor) + " " + problem);
  };
  const auto sizes = [&](const char* key) {
    const detail::JsonPart list = entry[key];
    require(list.is_array(), std::string("has no array ") + key);
    std::vector<std::uint64_t> values;
    for (const detail::JsonPart& value : list.elements()) {
      require(value.is_size(), std::string("has a value in ") + key + " that is not a size");
      values.push_back(value.size_number());
    }
    return values;
  };
  require(entry.is_object(), "is not described by an object");
  require(entry["dtype"].is_string(), "has no dtype");
  const std::string& type_name = entry["dtype"].text();
  const auto* type = std::find_if(std::begin(detail::safetensors_types), std::end(detail::safetensors_types),
                                  [&](const auto& known) { return known.name == type_name; });
  require(type != std::end(detail::safetensors_types), "has unknown dtype " + detail::printable(type_name));
  const std::vector<std::uint64_t> shape = sizes("shape");
  const std::vector<std::uint64_t> offsets = sizes("data_offsets");
  require(offsets.size() == 2, "has " + std::to_string(offsets.size()) + " data_offsets, expected 2");
  const auto [begin, end] = std::pair(offsets[0], offsets[1]);
  require(begin <= end && end <= data.size(), "has data_offsets [" + std::to_string(begin) + ", " +
                                                  std::to_string(end) + "], the data has " +
                                                  std::to_string(data.size()) + " bytes");
  const auto elements = detail::checked_elements(shape);
  const auto bits = elements ? detail::checked_multiply(*elements, type->bits) : std::nullopt;
  require(bits.has_value(), "has more elements than can be counted");
  require(*bits % 8 == 0 && *bits / 8 == end - begin, "has " + std::to_string(end - begin) +
                                                          " bytes, its shape and dtype " + std::string(type->name) +
                                                          " need " + std::to_string(*bits / 8));

  FileTensor result;
  result.file = name_;
  result.name = std::string(tensor);
  result.type = type->name;
  result.dtype = type->dtype();
  for (const std::uint64_t extent : shape) result.shape.push_back(static_cast<Index>(extent));
  result.bytes = data.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  result.offset = data_start_ + begin;
  return result;
}

// No holes and no overlaps: sorted by place, each tensor begins where the one before it ended.
ACTIVATION_TRACE_COMPILED_INLINE void SafetensorsFile::check_layout(std::uint64_t data_bytes) const {
  std::vector<const FileTensor*> order(tensors_.size());
  std::transform(tensors_.begin(), tensors_.end(), order.begin(), [](const FileTensor& tensor) { return &tensor; });
  std::sort(order.begin(), order.end(), [](const FileTensor* a, const FileTensor* b) {
    return std::pair(a->offset, a->bytes.size()) < std::pair(b->offset, b->bytes.size());
  });
  std::uint64_t next = data_start_;
  for (const FileTensor* tensor : order) {
    if (tensor->offset != next)
      throw FormatError(name_, tensor->offset,
                        "tensor " + detail::printable(tensor->name) + " begins here, the one before it ends at " +
                            std::to_string(next));
    next += tensor->bytes.size();
  }
  if (next != data_start_ + data_bytes)
    throw FormatError(name_, next, std::to_string(data_start_ + data_bytes - next) + " bytes belong to no tensor");
}

ACTIVATION_TRACE_COMPILED_INLINE const FileTensor* SafetensorsFile::find_tensor(std::string_view name) const noexcept {
  const auto found = std::lower_bound(tensors_.begin(), tensors_.end(), name,
                                      [](const FileTensor& tensor, std::string_view n) { return tensor.name < n; });
  return found != tensors_.end() && found->name == name ? &*found : nullptr;
}

ACTIVATION_TRACE_COMPILED_INLINE std::map<std::string, std::string> parse_safetensors_index(std::string_view text,
                                                                                            const std::string& name) {
  const detail::JsonDocument json(text, name);
  if (!json.root().is_object() || !json.root()["weight_map"].is_object())
    throw FormatError(name, "has no object weight_map");
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : json.root()["weight_map"].members()) {
    if (!file.is_string())
      throw FormatError(name, "weight_map has no file name for tensor " + detail::printable(tensor));
    const std::string& basename = file.text();
    // The name is not trusted: it must not lead out of the folder.
    if (basename.find_first_of(std::string_view("/\\:\0", 4)) != std::string::npos ||
        !basename.ends_with(".safetensors") || basename.starts_with('.'))
      throw FormatError(
          name, "weight_map names " + detail::printable(basename) + ", expected the plain name of a .safetensors file");
    files.emplace(tensor, basename);
  }
  return files;
}

ACTIVATION_TRACE_COMPILED_INLINE std::vector<SafetensorsFile> open_safetensors_folder(
    const std::filesystem::path& folder, FileAccess access) {
  std::vector<SafetensorsFile> files;
  const std::filesystem::path single = folder / "model.safetensors";
  std::error_code ignored;
  if (std::filesystem::exists(single, ignored)) {
    files.push_back(SafetensorsFile::open(single, access));
    return files;
  }
  const std::filesystem::path index = folder / "model.safetensors.index.json";
  if (!std::filesystem::exists(index, ignored))
    throw FormatError(folder.string(), "holds neither model.safetensors nor model.safetensors.index.json");
  const MappedFile index_file = MappedFile::open(index, FileAccess::read);
  const auto weight_map = parse_safetensors_index(detail::text_of(index_file.bytes()), index_file.name());

  std::map<std::string, std::size_t> opened;
  for (const auto& [tensor, file] : weight_map) {
    const auto [place, is_new] = opened.emplace(file, files.size());
    if (is_new) files.push_back(SafetensorsFile::open(folder / file, access));
    if (files[place->second].find_tensor(tensor) == nullptr)
      throw FormatError(files[place->second].name(),
                        "holds no tensor " + detail::printable(tensor) + ", which the index places there");
  }
  std::map<std::string_view, const SafetensorsFile*> owners;
  for (const SafetensorsFile& file : files)
    for (const FileTensor& tensor : file.tensors())
      if (const auto [owner, is_new] = owners.emplace(tensor.name, &file); !is_new)
        throw FormatError(file.name(), tensor.offset,
                          "tensor " + detail::printable(tensor.name) + " is also in " + owner->second->name());
  return files;
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
