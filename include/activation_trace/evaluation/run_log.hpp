// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/text/json.hpp"
#include "activation_trace/text/mapped_file.hpp"
#include "activation_trace/text/output_file.hpp"

namespace activation_trace {
inline namespace v0 {

/// What a run does about the files of an earlier one.
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

/// The first of them, what one of the manifests lacks last; none if they are equal.
[[nodiscard]] std::optional<ManifestChange> manifest_change(const nlohmann::json& before, const nlohmann::json& now);

/// Says in a manifest that an earlier version wrote what has a name by now.
using ManifestUpdate = std::function<void(nlohmann::json& manifest)>;

/// Throws Error for what a sample's record cannot be.
using RecordCheck = std::function<void(Index sample, const nlohmann::ordered_json& record)>;

/// The samples in a file that RunLog wrote, each without "sample". Throws FormatError for a missing file, and for a
/// line that is damaged or that `check` throws for, naming it.
[[nodiscard]] std::map<Index, nlohmann::ordered_json> read_run_records(const std::filesystem::path& path,
                                                                       const RecordCheck& check = {});

/// Throws ArgumentError if something of an earlier run is at `path`: what RunLog does at once if it is to begin one.
void check_no_earlier_run(const std::filesystem::path& path);

/// The samples of a long run, safe from a kill or a power cut at any moment. While it runs, PATH.part holds one JSON
/// line per finished sample, in the order in which they finish, each on the disk before append() returns; finish()
/// turns them into PATH, ordered by sample, so that a resumed run ends with the same bytes as an undisturbed one.
/// PATH.manifest.json, written first, says what was run. One process writes at a time.
class RunLog {
 public:
  /// `manifest` is an object of everything that the results depend on, and every record has to pass `check`, whether it
  /// comes from the files or from append(). Throws ArgumentError if `start` is fresh and there is an earlier run, or if
  /// the manifests differ (naming the first value that does, after `update` of the earlier run's), FormatError naming a
  /// line that is damaged or does not pass (but a last one that was cut off is dropped), and Error if a file cannot be
  /// written.
  RunLog(std::filesystem::path path, const nlohmann::ordered_json& manifest, RunStart start = RunStart::fresh,
         RecordCheck check = {}, const ManifestUpdate& update = {});

  /// Whether the sample is finished, in this run or the one that it resumes.
  [[nodiscard]] bool has(Index sample) const { return records_.contains(sample); }
  /// Samples that are finished.
  [[nodiscard]] Index size() const noexcept { return static_cast<Index>(records_.size()); }
  /// Of those the record, without "sample".
  [[nodiscard]] const nlohmann::ordered_json& record(Index sample) const { return records_.at(sample); }

  /// Keeps the record of a finished sample: once this returns, it is on the disk, which takes one fdatasync(), 4 ms on
  /// the virtual disk where it was measured. Throws ArgumentError for a sample that is there or below 0 or a record
  /// that is not an object, Error if it cannot be written: all others are kept then.
  void append(Index sample, nlohmann::ordered_json record);
  /// The same for many at the price of one; of those none is kept if one cannot be.
  void append(std::map<Index, nlohmann::ordered_json> records);

  /// Writes PATH and removes PATH.part. Throws Error if that fails; PATH.part then still holds everything.
  void finish();

 private:
  void check_manifest(const nlohmann::ordered_json& manifest, const ManifestUpdate& update) const;
  void load(const std::filesystem::path& path);
  [[nodiscard]] static std::string line(Index sample, const nlohmann::ordered_json& record);
  [[nodiscard]] std::filesystem::path beside(const char* suffix) const { return path_.string() + suffix; }

  std::filesystem::path path_;
  RecordCheck check_;
  std::map<Index, nlohmann::ordered_json> records_;
  std::optional<OutputFile> part_;
};

namespace detail {

/// Adds the samples of whole lines; of two of one sample the later counts.
inline void parse_run_records(std::string_view text, const std::string& name, const RecordCheck& check,
                              std::map<Index, nlohmann::ordered_json>& records) {
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string place = name + ": line " + std::to_string(++number);
    const std::string_view content = text.substr(begin, end - begin);
    auto record = parse_json<nlohmann::ordered_json>(content, place);
    std::optional<Index> told;
    if (record.is_object() && record.contains("sample")) told = whole_number(record["sample"]);
    if (!told || *told < 0) throw FormatError(place, "expected an object with the number of its 'sample'");
    const Index sample = *told;
    record.erase("sample");
    if (check) try {
        check(sample, record);
      } catch (const Error& e) {
        throw FormatError(place, "sample " + std::to_string(sample) + ": " + e.what());
      }
    records.insert_or_assign(sample, std::move(record));
    begin = end + 1;
  }
}

}  // namespace detail

inline std::map<Index, nlohmann::ordered_json> read_run_records(const std::filesystem::path& path,
                                                                const RecordCheck& check) {
  const MappedFile file = MappedFile::open(path);
  std::map<Index, nlohmann::ordered_json> records;
  detail::parse_run_records(detail::text_of(file.bytes()), file.name(), check, records);
  return records;
}

namespace detail {

/// A link that leads nowhere is something, too.
[[nodiscard]] inline bool is_taken(const std::filesystem::path& path) {
  return std::filesystem::exists(std::filesystem::symlink_status(path));
}

/// Whether there is a file of a run.
[[nodiscard]] inline bool has_run(const std::filesystem::path& path) {
  return is_taken(path) || is_taken(path.string() + ".part") || is_taken(path.string() + ".manifest.json");
}

}  // namespace detail

inline void check_no_earlier_run(const std::filesystem::path& path) {
  if (detail::has_run(path))
    throw ArgumentError(path.string() + ": an earlier run is there; resume it, or name another output path");
}

inline RunLog::RunLog(std::filesystem::path path, const nlohmann::ordered_json& manifest, RunStart start,
                      RecordCheck check, const ManifestUpdate& update)
    : path_(std::move(path)), check_(std::move(check)) {
  const std::filesystem::path part = beside(".part");
  const std::filesystem::path manifest_path = beside(".manifest.json");
  const bool before = detail::has_run(path_);
  if (start == RunStart::fresh) check_no_earlier_run(path_);
  if (detail::is_taken(manifest_path)) {
    check_manifest(manifest, update);
  } else if (before) {
    throw FormatError(manifest_path.string(), "is missing, so it is not known what the samples beside it are of");
  } else {
    write_whole_file(manifest_path, detail::json_text(manifest, 2) + '\n');
  }
  if (detail::is_taken(path_)) load(path_);
  if (detail::is_taken(part)) load(part);
  part_.emplace(OutputFile::append(part));
  detail::sync_folder(part.parent_path());
}

inline void RunLog::append(Index sample, nlohmann::ordered_json record) {
  std::map<Index, nlohmann::ordered_json> one;
  one.emplace(sample, std::move(record));
  append(std::move(one));
}

inline void RunLog::append(std::map<Index, nlohmann::ordered_json> records) {
  std::string lines;
  for (const auto& [sample, record] : records) {
    if (sample < 0 || has(sample))
      throw ArgumentError("sample " + std::to_string(sample) +
                          (sample < 0 ? " is negative" : " is in the log already"));
    if (!record.is_object())
      throw ArgumentError("record: expected a JSON object, got " + std::string(record.type_name()));
    if (check_) check_(sample, record);
    lines += line(sample, record);
  }
  if (!part_) throw StateError(path_.string() + ": the run is finished");
  try {
    part_->write(lines);
    part_->sync();
  } catch (const Error& e) {
    throw Error(std::string(e.what()) + "; the samples before are kept");
  }
  records_.merge(records);
}

inline void RunLog::finish() {
  std::string content;
  for (const auto& [sample, record] : records_) content += line(sample, record);
  write_whole_file(path_, content);
  part_.reset();
  std::error_code error;
  std::filesystem::remove(beside(".part"), error);
  if (error) throw Error(beside(".part").string() + ": cannot be removed: " + error.message());
}

inline std::optional<ManifestChange> manifest_change(const nlohmann::json& before, const nlohmann::json& now) {
  if (before == now) return std::nullopt;
  if (!before.is_object() || !now.is_object())
    return ManifestChange{"", detail::json_text(before), detail::json_text(now)};
  nlohmann::json all = before;
  all.update(now);
  std::optional<ManifestChange> lacking;
  for (const auto& [key, unused] : all.items()) {
    if (before.contains(key) && now.contains(key)) {
      if (std::optional<ManifestChange> change = manifest_change(before[key], now[key])) {
        change->key = key + (change->key.empty() ? "" : '/' + change->key);
        return change;
      }
    } else if (!lacking) {
      const bool gone = before.contains(key);
      const std::string value = detail::json_text(all[key]);
      lacking = ManifestChange{key, gone ? value : "nothing", gone ? "nothing" : value};
    }
  }
  return lacking;
}

inline void RunLog::check_manifest(const nlohmann::ordered_json& manifest, const ManifestUpdate& update) const {
  const MappedFile file = MappedFile::open(beside(".manifest.json"), FileAccess::read);
  nlohmann::json before = detail::parse_json(detail::text_of(file.bytes()), file.name());
  if (!before.is_object()) throw FormatError(file.name(), "expected an object");
  if (update) update(before);
  // As it would be read back: in a file name, bytes that are no UTF-8 become U+FFFD.
  const nlohmann::json now = detail::parse_json(detail::json_text(manifest), "manifest");
  if (const std::optional<ManifestChange> change = manifest_change(before, now))
    throw ArgumentError(path_.string() + ": cannot be resumed, '" + change->key + "' was " + change->before +
                        " and is now " + change->now);
}

inline void RunLog::load(const std::filesystem::path& path) {
  std::size_t whole = 0;
  std::size_t size = 0;
  std::error_code error;
  if (std::filesystem::is_regular_file(path, error) && std::filesystem::file_size(path, error) == 0) return;
  {
    const MappedFile file = MappedFile::open(path, FileAccess::read);
    const std::string_view text = detail::text_of(file.bytes());
    size = text.size();
    // A kill, or a full disk, leaves a last line without its end.
    whole = text.rfind('\n') == std::string_view::npos ? 0 : text.rfind('\n') + 1;
    detail::parse_run_records(text.substr(0, whole), path.string(), check_, records_);
  }
  if (whole == size) return;
  std::filesystem::resize_file(path, whole, error);
  if (error) throw Error(path.string() + ": cannot be shortened to its last whole line: " + error.message());
}

inline std::string RunLog::line(Index sample, const nlohmann::ordered_json& record) {
  // Put together as text: an ordered_json walks through all its keys to take one more.
  const std::string text = detail::json_text(record);
  return "{\"sample\":" + std::to_string(sample) + (record.empty() ? "" : ",") + text.substr(1) + '\n';
}

}  // namespace v0
}  // namespace activation_trace
