// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/formats/json.hpp"
#include "activation_trace/formats/mapped_file.hpp"

namespace activation_trace {
inline namespace v0 {

enum class RunStart {
  fresh,   ///< refuses to touch the files of an earlier run
  resume,  ///< continues one with the same manifest, or begins if there is none
};

/// A value that two manifests do not share.
struct ManifestChange {
  std::string key;     ///< of nested objects all, "options/alpha"
  std::string before;  ///< as JSON, or "nothing"
  std::string now;     ///< the same
};

/// The first of them; none if the manifests are equal.
[[nodiscard]] std::optional<ManifestChange> manifest_change(const nlohmann::json& before, const nlohmann::json& now);

/// The samples in a file that RunLog wrote, each without "sample". Throws FormatError for a missing file and a damaged
/// line, which it names.
[[nodiscard]] std::map<Index, nlohmann::ordered_json> read_run_records(const std::filesystem::path& path);

/// Writes a file, under another name first: there is never half a file at `path`. Throws Error if that fails.
void write_whole_file(const std::filesystem::path& path, const std::string& content);

/// The samples of a long run, safe from a kill at any moment. While it runs, PATH.part holds one JSON line per finished
/// sample, in the order in which they finish, each written and flushed at once; finish() turns them into PATH, ordered
/// by sample, so that a resumed run ends with the same bytes as an undisturbed one. PATH.manifest.json, written first,
/// says what was run. One process writes at a time.
class RunLog {
 public:
  /// `manifest` is an object of everything that the results depend on. Throws ArgumentError if `start` is fresh and
  /// there is an earlier run, or if the manifests differ (naming the first value that does), FormatError for a damaged
  /// line other than a last one that was cut off, which is dropped, and Error if a file cannot be written.
  RunLog(std::filesystem::path path, const nlohmann::ordered_json& manifest, RunStart start = RunStart::fresh);

  [[nodiscard]] bool has(Index sample) const { return records_.contains(sample); }
  /// Samples that are finished.
  [[nodiscard]] Index size() const noexcept { return static_cast<Index>(records_.size()); }
  /// Of those the record, without "sample".
  [[nodiscard]] const nlohmann::ordered_json& record(Index sample) const { return records_.at(sample); }

  /// Keeps the record of a finished sample: once this returns, no kill loses it. Throws ArgumentError for a sample that
  /// is there or below 0 or a record that is not an object, Error if it cannot be written: all others are kept then.
  void append(Index sample, nlohmann::ordered_json record);

  /// Writes PATH and removes PATH.part. Throws Error if that fails; PATH.part then still holds everything.
  void finish();

 private:
  void check_manifest(const nlohmann::ordered_json& manifest) const;
  void load(const std::filesystem::path& path);
  [[nodiscard]] static std::string line(Index sample, const nlohmann::ordered_json& record);
  [[nodiscard]] std::filesystem::path beside(const char* suffix) const { return path_.string() + suffix; }

  std::filesystem::path path_;
  std::map<Index, nlohmann::ordered_json> records_;
  std::ofstream part_;
};

namespace detail {

[[noreturn]] inline void fail_file(const std::filesystem::path& path, const std::string& what, int error) {
  throw Error(path.string() + ": " + what + (error != 0 ? std::string(": ") + std::strerror(error) : std::string()));
}

/// Adds the samples of whole lines; of two of one sample the later counts.
inline void parse_run_records(std::string_view text, const std::string& name,
                              std::map<Index, nlohmann::ordered_json>& records) {
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string place = name + ": line " + std::to_string(++number);
    const std::string_view content = text.substr(begin, end - begin);
    auto record = parse_json<nlohmann::ordered_json>(content, place);
    if (!record.is_object() || !record.contains("sample") || !record["sample"].is_number_unsigned())
      throw FormatError(place, "expected an object with the number of its 'sample'");
    const auto sample = record["sample"].get<Index>();
    record.erase("sample");
    records.insert_or_assign(sample, std::move(record));
    begin = end + 1;
  }
}

}  // namespace detail

inline void write_whole_file(const std::filesystem::path& path, const std::string& content) {
  const std::filesystem::path temporary = path.string() + ".new";
  errno = 0;
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file << content << std::flush;
  file.close();
  if (!file) detail::fail_file(temporary, "cannot be written", errno);
  std::error_code error;
  std::filesystem::rename(temporary, path, error);
  if (error) detail::fail_file(path, "cannot be written", error.value());
}

inline std::map<Index, nlohmann::ordered_json> read_run_records(const std::filesystem::path& path) {
  const MappedFile file = MappedFile::open(path);
  std::map<Index, nlohmann::ordered_json> records;
  detail::parse_run_records(detail::text_of(file.bytes()), file.name(), records);
  return records;
}

inline RunLog::RunLog(std::filesystem::path path, const nlohmann::ordered_json& manifest, RunStart start)
    : path_(std::move(path)) {
  namespace fs = std::filesystem;
  const fs::path part = beside(".part");
  const fs::path manifest_path = beside(".manifest.json");
  const bool before = fs::exists(path_) || fs::exists(part) || fs::exists(manifest_path);
  if (before && start == RunStart::fresh)
    throw ArgumentError(path_.string() + ": an earlier run is there; resume it, or name another output path");
  if (fs::exists(manifest_path)) {
    check_manifest(manifest);
  } else if (before) {
    throw FormatError(manifest_path.string(), "is missing, so it is not known what the samples beside it are of");
  } else {
    write_whole_file(manifest_path, manifest.dump(2) + '\n');
  }
  if (fs::exists(path_)) load(path_);
  if (fs::exists(part)) load(part);
  errno = 0;
  part_.open(part, std::ios::binary | std::ios::app);
  if (!part_) detail::fail_file(part, "cannot be written", errno);
}

inline void RunLog::append(Index sample, nlohmann::ordered_json record) {
  if (sample < 0 || has(sample))
    throw ArgumentError("sample " + std::to_string(sample) + (sample < 0 ? " is negative" : " is in the log already"));
  if (!record.is_object())
    throw ArgumentError("record: expected a JSON object, got " + std::string(record.type_name()));
  errno = 0;
  part_ << line(sample, record) << std::flush;
  if (!part_) detail::fail_file(beside(".part"), "cannot be written; the samples before are kept", errno);
  records_.emplace(sample, std::move(record));
}

inline void RunLog::finish() {
  std::string content;
  for (const auto& [sample, record] : records_) content += line(sample, record);
  write_whole_file(path_, content);
  part_.close();
  std::error_code error;
  std::filesystem::remove(beside(".part"), error);
  if (error) detail::fail_file(beside(".part"), "cannot be removed", error.value());
}

inline std::optional<ManifestChange> manifest_change(const nlohmann::json& before, const nlohmann::json& now) {
  if (before == now) return std::nullopt;
  if (!before.is_object() || !now.is_object()) return ManifestChange{"", before.dump(), now.dump()};
  nlohmann::json all = before;
  all.update(now);
  for (const auto& [key, unused] : all.items()) {
    const auto value = [&, name = key](const nlohmann::json& object) {
      return object.contains(name) ? object[name].dump() : std::string("nothing");
    };
    if (!before.contains(key) || !now.contains(key)) return ManifestChange{key, value(before), value(now)};
    if (std::optional<ManifestChange> change = manifest_change(before[key], now[key])) {
      change->key = key + (change->key.empty() ? "" : '/' + change->key);
      return change;
    }
  }
  return std::nullopt;
}

inline void RunLog::check_manifest(const nlohmann::ordered_json& manifest) const {
  const MappedFile file = MappedFile::open(beside(".manifest.json"), FileAccess::read);
  const nlohmann::json before = detail::parse_json(detail::text_of(file.bytes()), file.name());
  if (!before.is_object()) throw FormatError(file.name(), "expected an object");
  if (const std::optional<ManifestChange> change = manifest_change(before, manifest))
    throw ArgumentError(path_.string() + ": cannot be resumed, '" + change->key + "' was " + change->before +
                        " and is now " + change->now);
}

inline void RunLog::load(const std::filesystem::path& path) {
  std::string text;
  {
    std::ifstream file(path, std::ios::binary);
    text.assign(std::istreambuf_iterator<char>(file), {});
    if (file.bad()) detail::fail_file(path, "cannot be read", errno);
  }
  // A kill, or a full disk, leaves a last line without its end.
  const std::size_t whole = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
  if (whole != text.size()) {
    std::error_code error;
    std::filesystem::resize_file(path, whole, error);
    if (error) detail::fail_file(path, "cannot be shortened to its last whole line", error.value());
  }
  detail::parse_run_records(std::string_view(text).substr(0, whole), path.string(), records_);
}

inline std::string RunLog::line(Index sample, const nlohmann::ordered_json& record) {
  nlohmann::ordered_json object{{"sample", sample}};
  object.update(record);
  return detail::json_text(object) + '\n';
}

}  // namespace v0
}  // namespace activation_trace
