// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/evp.h>

#include <array>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "activation_trace/error.hpp"
#include "activation_trace/text/mapped_file.hpp"

namespace activation_trace::examples {

/// The SHA-256 of some bytes in hexadecimal, as sha256sum prints it.
[[nodiscard]] inline std::string sha256(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1)
    throw Error("SHA-256 cannot be computed");
  std::string text;
  for (unsigned i = 0; i < size; ++i) {
    text += "0123456789abcdef"[digest[i] >> 4];
    text += "0123456789abcdef"[digest[i] & 15];
  }
  return text;
}

[[nodiscard]] inline std::string sha256_of_file(const std::filesystem::path& path) {
  const MappedFile file = MappedFile::open(path);
  return sha256(activation_trace::detail::text_of(file.bytes()));
}

/// Of a model's file, or of its folder: of its files' names and hashes, as sha256sum prints them.
[[nodiscard]] inline std::string sha256_of_model(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(path)) return sha256_of_file(path);
  std::map<std::string, std::string> hashes;
  for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
    const std::string type = entry.path().extension().string();
    if (entry.is_regular_file() && (type == ".json" || type == ".safetensors" || type == ".model"))
      hashes[entry.path().filename().string()] = sha256_of_file(entry.path());
  }
  std::string all;
  for (const auto& [name, hash] : hashes) all += hash + "  " + name + '\n';
  return sha256(all);
}

/// The last part of a path: the same model has another folder on another machine.
[[nodiscard]] inline std::string file_name(const std::filesystem::path& path) {
  return std::filesystem::weakly_canonical(path).filename().string();
}

}  // namespace activation_trace::examples
