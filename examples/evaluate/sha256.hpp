// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/evp.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "activation_trace/error.hpp"
#include "activation_trace/formats/gguf.hpp"

namespace activation_trace::examples {

/// SHA-256 of bytes that come in pieces.
class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    check(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
  }

  void add(std::string_view bytes) { check(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1); }

  /// Of all that was added, in hexadecimal, as sha256sum prints it.
  [[nodiscard]] std::string finish() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    check(EVP_DigestFinal_ex(context_.get(), digest.data(), &size) == 1);
    std::string text;
    for (unsigned i = 0; i < size; ++i) {
      text += "0123456789abcdef"[digest[i] >> 4];
      text += "0123456789abcdef"[digest[i] & 15];
    }
    return text;
  }

 private:
  static void check(bool done) {
    if (!done) throw Error("SHA-256 cannot be computed");
  }

  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

/// Of some bytes.
[[nodiscard]] inline std::string sha256(std::string_view bytes) {
  Sha256 hash;
  hash.add(bytes);
  return hash.finish();
}

/// Of a file, which is read and never mapped: a model's may be larger than the memory, and may shrink meanwhile.
[[nodiscard]] inline std::string sha256_of_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const auto check = [&](bool done) {
    if (!done) throw FormatError(path.string(), std::generic_category().message(errno));
  };
  check(file.is_open());
  Sha256 hash;
  std::vector<char> piece(1 << 20);
  do {
    file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    hash.add({piece.data(), static_cast<std::size_t>(file.gcount())});
  } while (file);
  check(!file.bad());
  return hash.finish();
}

/// The files of a model: one, those of its folder, or the parts of a split file, whichever was given.
[[nodiscard]] inline std::vector<std::filesystem::path> files_of_model(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  std::vector<fs::path> files;
  if (fs::is_directory(path)) {
    for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
      const std::string type = entry.path().extension().string();
      if (entry.is_regular_file() && (type == ".json" || type == ".safetensors" || type == ".model"))
        files.push_back(entry.path());
    }
  } else if (path.filename().string().find("-of-") == std::string::npos) {
    files.push_back(path);
  } else {
    const GgufFile model = GgufFile::open(path);
    for (const MappedFile& part : model.files()) files.emplace_back(part.name());
  }
  return files;
}

/// Of a model's only file; of several, of their names and hashes, as sha256sum prints them.
[[nodiscard]] inline std::string sha256_of_model(const std::filesystem::path& path) {
  const std::vector<std::filesystem::path> files = files_of_model(path);
  if (!std::filesystem::is_directory(path) && files.size() == 1) return sha256_of_file(files.front());
  std::map<std::string, std::string> hashes;
  for (const std::filesystem::path& file : files) hashes[file.filename().string()] = sha256_of_file(file);
  std::string all;
  for (const auto& [name, hash] : hashes) all += hash + "  " + name + '\n';
  return sha256(all);
}

/// The last part of a path: the same model has another folder on another machine.
[[nodiscard]] inline std::string file_name(const std::filesystem::path& path) {
  return std::filesystem::weakly_canonical(path).filename().string();
}

/// The model in a manifest, {"path", "sha256"}: a split file by its first part, whichever was given.
[[nodiscard]] inline nlohmann::ordered_json identity_of_model(const std::filesystem::path& path) {
  const bool folder = std::filesystem::is_directory(path);
  return {{"path", file_name(folder ? path : files_of_model(path).front())}, {"sha256", sha256_of_model(path)}};
}

}  // namespace activation_trace::examples
