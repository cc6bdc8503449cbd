// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "activation_trace/error.hpp"
#include "activation_trace/evaluation/run_log.hpp"
#include "activation_trace/text/output_file.hpp"
#include "support/command_line.hpp"

// What all programs here ask before they write a file. A file that the run reads is never written to, by whatever name.
// A file that is there is replaced where an earlier run of these programs wrote it, which its first bytes tell; any
// other only with --overwrite.
namespace activation_trace::examples {

/// How the files begin that these programs write, for check_output_file().
namespace begins {
inline constexpr std::string_view trace = "{\"mode\":\"";        ///< generate and score
inline constexpr std::string_view answers = "{\"question\":0,";  ///< visualize auroc
inline constexpr std::string_view html =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';";
inline constexpr std::string_view svg =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"picture\" width=\"";
inline constexpr std::string_view csv = "picture,view,series,row,column_number,column,value,low,high\r\n";
inline constexpr std::string_view json = "{\n \"title\": \"";
}  // namespace begins

/// The files that a run reads, whatever their names: standard input, if it is a file, and those that are added.
class InputFiles {
 public:
  InputFiles(std::initializer_list<std::filesystem::path> paths = {}) {
    add(STDIN_FILENO, "standard input");
    for (const std::filesystem::path& path : paths) add(path);
  }

  /// A file, with the other parts if it is one of a split GGUF file, or a folder with everything in it; what is not
  /// there is for its reader to complain about.
  void add(const std::filesystem::path& path) {
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored))
      for (const auto& entry : std::filesystem::directory_iterator(path, ignored)) add_file(entry.path());
    else
      add_file(path);
    add_parts_beside(path);
  }

  /// The name under which the run reads the file at `path`, if it does.
  [[nodiscard]] std::optional<std::string> find(const std::filesystem::path& path) const {
    struct ::stat status {};
    if (::stat(path.c_str(), &status) != 0) return std::nullopt;
    const auto found = std::find_if(files_.begin(), files_.end(), [&](const File& file) {
      return file.device == status.st_dev && file.inode == status.st_ino;
    });
    return found == files_.end() ? std::nullopt : std::optional(found->name);
  }

 private:
  struct File {
    ::dev_t device;
    ::ino_t inode;
    std::string name;
  };

  // NAME-00001-of-00003.gguf: of all names that differ in the number only.
  void add_parts_beside(const std::filesystem::path& path) {
    const std::string name = path.filename().string();
    const std::size_t number_end = name.rfind("-of-");
    if (number_end == std::string::npos || number_end < 5 || !name.ends_with(".gguf")) return;
    std::error_code ignored;
    const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
    for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
      const std::string other = entry.path().filename().string();
      if (other != name && other.size() == name.size() && other.starts_with(name.substr(0, number_end - 5)) &&
          other.ends_with(name.substr(number_end)))
        add_file(entry.path());
    }
  }

  void add_file(const std::filesystem::path& path) {
    struct ::stat status {};
    if (::stat(path.c_str(), &status) == 0) add(status, path.string());
  }
  void add(int descriptor, const char* name) {
    struct ::stat status {};
    if (::fstat(descriptor, &status) == 0) add(status, name);
  }
  void add(const struct ::stat& status, std::string name) {
    if (S_ISREG(status.st_mode)) files_.push_back({status.st_dev, status.st_ino, std::move(name)});
  }

  std::vector<File> files_;
};

/// Refuses an empty name.
[[nodiscard]] inline CLI::Validator file_name() {
  return CLI::Validator(
      [](std::string& text) { return text.empty() ? std::string("expected a file's name, got none") : std::string(); },
      "");
}

/// --overwrite, of a program whose `option` names a file.
inline CLI::Option* add_overwrite(CLI::App& app, bool& overwrite, const std::string& option) {
  return app.add_flag("--overwrite", overwrite,
                      "let " + option + " replace a file that these programs did not write; never one that is read");
}

/// Throws UsageError for a file that the run reads or that its standard output goes to.
inline void check_not_read(const std::string& option, const std::filesystem::path& path, const InputFiles& inputs) {
  if (const std::optional<std::string> name = inputs.find(path))
    throw UsageError(option + ": " + path.string() + " is read by this run, as " + *name + "; name another file");
  struct ::stat file {};
  struct ::stat stream {};
  if (::stat(path.c_str(), &file) != 0 || !S_ISREG(file.st_mode)) return;
  for (const auto& [descriptor, name] : {std::pair(STDOUT_FILENO, "output"), {STDERR_FILENO, "error"}})
    if (::fstat(descriptor, &stream) == 0 && stream.st_dev == file.st_dev && stream.st_ino == file.st_ino)
      throw UsageError(option + ": standard " + name + " goes to " + path.string() + "; name another file");
}

/// The same, and throws Error for what cannot be written, or is there and does not begin as `own` files do unless
/// `overwrite`. To be asked before the work. Pipes and devices may be written to.
inline void check_output_file(const std::string& option, const std::filesystem::path& path, const InputFiles& inputs,
                              std::string_view own, bool overwrite) {
  namespace fs = std::filesystem;
  check_not_read(option, path, inputs);
  const auto fail = [&](const std::string& problem) { throw Error(option + ": " + path.string() + ": " + problem); };
  const fs::path folder = path.has_parent_path() ? path.parent_path() : ".";
  std::error_code problem;
  const fs::file_status status = fs::status(path, problem);
  if (fs::is_directory(status)) fail("is a folder, expected the name of a file");
  if (!fs::exists(status)) {
    if (!fs::is_directory(folder, problem)) fail("cannot be written: there is no folder " + folder.string());
    if (::access(folder.c_str(), W_OK | X_OK) != 0)
      fail("cannot be written: " + std::generic_category().message(errno));
    return;
  }
  if (::access(path.c_str(), W_OK) != 0) fail("cannot be written: " + std::generic_category().message(errno));
  if (overwrite || !fs::is_regular_file(status) || fs::file_size(path, problem) == 0) return;
  std::string start(own.size(), '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(start.data(), static_cast<std::streamsize>(start.size()));
  if (!file || start != own)
    fail("is there, and no earlier run of this kind wrote it; name another file, or add --overwrite");
}

/// Makes a folder and those above it. Throws Error if that fails or no file can be made in it: before the work.
inline void prepare_folder(const std::filesystem::path& folder) {
  namespace fs = std::filesystem;
  const fs::path place = folder.empty() ? "." : folder;
  std::error_code problem;
  fs::create_directories(place, problem);
  if (problem) throw Error(place.string() + ": the folder cannot be made: " + problem.message());
  const fs::path trial = activation_trace::detail::temporary_beside(place / "trial");
  OutputFile::create(trial, place.string());
  fs::remove(trial, problem);
}

/// The same for a run that is kept at `path`, by a RunLog and its summary: throws UsageError for no name and for files
/// that the run reads, ArgumentError if it is to be fresh and is not, Error for what a run cannot be kept in, or is of
/// none and would be replaced.
inline void prepare_run_output(const std::string& option, const std::filesystem::path& path, RunStart start,
                               const InputFiles& inputs) {
  namespace fs = std::filesystem;
  if (path.empty()) throw UsageError(option + ": expected a file's name, got none");
  constexpr const char* summaries[] = {".summary.json", ".grid.json", ".grid.csv"};
  check_not_read(option, path, inputs);
  for (const char* suffix : {".part", ".manifest.json", summaries[0], summaries[1], summaries[2]})
    check_not_read(option, path.string() + suffix, inputs);
  if (!path.has_filename() || (fs::exists(path) && !fs::is_regular_file(path)))
    throw Error(path.string() + ": is not a regular file, so a run cannot be kept there");
  if (start == RunStart::fresh) check_no_earlier_run(path);
  for (const char* suffix : summaries)
    if (const std::string file = path.string() + suffix;
        activation_trace::detail::is_taken(file) && !activation_trace::detail::has_run(path))
      throw Error(file + ": is there, without the run that it would be of; move it, or name another " + option);
  prepare_folder(path.parent_path());
}

}  // namespace activation_trace::examples
