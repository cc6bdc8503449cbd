// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "activation_trace/config.hpp"

// Reads what tests/golden holds; the formats are described in its README.
namespace activation_trace::test {

inline std::string golden_path(const std::string& name) {
  return std::string(ACTIVATION_TRACE_SOURCE_DIR) + "/tests/golden/" + name;
}

inline std::string read_whole(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path.string());
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::string read_golden(const std::string& name) { return read_whole(golden_path(name)); }

/// The arrays of a safetensors file, read without the library's own reader: 8 bytes length, JSON, data.
class GoldenFile {
 public:
  explicit GoldenFile(const char* name) : GoldenFile(std::filesystem::path(golden_path(name))) {}
  explicit GoldenFile(const std::string& name) : GoldenFile(name.c_str()) {}
  explicit GoldenFile(const std::filesystem::path& path) : bytes_(read_whole(path)) {
    std::uint64_t length = 0;
    std::memcpy(&length, bytes_.data(), sizeof(length));
    header_ = nlohmann::json::parse(bytes_.substr(8, length));
    data_ = 8 + length;
  }

  [[nodiscard]] bool contains(const std::string& key) const { return header_.contains(key); }

  /// The array `key`, row-major. Throws if it is missing or of another type.
  template <class T>
  [[nodiscard]] std::vector<T> get(const std::string& key) const {
    const nlohmann::json& entry = header_.at(key);
    if (entry.at("dtype") != type_name(T{})) throw std::runtime_error(key + " is " + entry.at("dtype").dump());
    const auto begin = entry.at("data_offsets").at(0).get<std::size_t>();
    const auto end = entry.at("data_offsets").at(1).get<std::size_t>();
    std::vector<T> values((end - begin) / sizeof(T));
    std::memcpy(values.data(), bytes_.data() + data_ + begin, end - begin);
    return values;
  }

 private:
  static const char* type_name(double) { return "F64"; }
  static const char* type_name(float) { return "F32"; }
  static const char* type_name(std::int32_t) { return "I32"; }
  static const char* type_name(std::uint16_t) { return "U16"; }
  static const char* type_name(std::uint8_t) { return "U8"; }

  std::string bytes_;
  nlohmann::json header_;
  std::size_t data_ = 0;
};

struct GoldenPrompt {
  std::string name;
  std::string text;
};

inline std::vector<GoldenPrompt> golden_prompts() {
  std::vector<GoldenPrompt> prompts;
  for (const auto& entry : nlohmann::json::parse(read_golden("prompts.json")))
    prompts.push_back({entry.at("name"), entry.at("text")});
  return prompts;
}

/// sum_i sign(j, i) x_i, the signs as in golden/algorithms.py.
inline double signed_sum(std::span<const float> x, std::uint64_t j) {
  double sum = 0;
  for (std::uint64_t i = 0; i < x.size(); ++i) {
    std::uint64_t z = (j << 32) + i + 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    z ^= z >> 31;
    sum += (z >> 63) == 0 ? x[i] : -x[i];
  }
  return sum;
}

/// An estimate of |x - y|_2 from x and y's sketch [1 + projections], see golden/README.md.
inline double distance_to_sketch(std::span<const float> x, std::span<const float> sketch) {
  double squares = 0;
  for (std::size_t j = 1; j < sketch.size(); ++j) {
    const double difference = signed_sum(x, j - 1) - static_cast<double>(sketch[j]);
    squares += difference * difference;
  }
  return std::sqrt(squares / static_cast<double>(sketch.size() - 1));
}

/// The first `count` of `values` from `begin` on.
template <class T>
std::span<const T> part(const std::vector<T>& values, std::size_t begin, std::size_t count) {
  return std::span<const T>(values).subspan(begin, count);
}

}  // namespace activation_trace::test
