// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/file_builders.hpp"

// What a fuzzer's bytes become for code that reads files, or several texts.
namespace activation_trace::test {

[[nodiscard]] inline std::string_view text_of_input(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// A folder of this process's own, in memory where there is such a place.
[[nodiscard]] inline const std::filesystem::path& input_folder() {
  struct Folder {
    Folder() {
      const std::filesystem::path memory = "/dev/shm";
      std::error_code ignored;
      path = (std::filesystem::is_directory(memory, ignored) ? memory : std::filesystem::temp_directory_path()) /
             ("activation_trace_fuzz_" + std::to_string(::getpid()));
      std::filesystem::create_directories(path);
    }
    ~Folder() {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
    std::filesystem::path path;
  };
  static const Folder folder;
  return folder.path;
}

/// The bytes as a file there.
[[nodiscard]] inline std::filesystem::path input_file(std::string_view name, std::string_view content) {
  std::filesystem::path path = input_folder() / name;
  write_file(path, content);
  return path;
}

/// The texts between lines of "----".
[[nodiscard]] inline std::vector<std::string_view> input_parts(std::string_view text) {
  constexpr std::string_view line = "\n----\n";
  std::vector<std::string_view> parts;
  for (std::size_t end; (end = text.find(line)) != std::string_view::npos; text.remove_prefix(end + line.size()))
    parts.push_back(text.substr(0, end));
  parts.push_back(text);
  return parts;
}

}  // namespace activation_trace::test
