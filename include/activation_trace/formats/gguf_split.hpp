// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/text/mapped_file.hpp"
#include "activation_trace/text/visible.hpp"

namespace activation_trace {
inline namespace v0 {

namespace detail {

/// What a part of a split GGUF file says of itself.
struct GgufSplit {
  static constexpr std::uint64_t most_parts = 99999;  ///< more have no names

  std::uint64_t number;                  ///< split.no, from 0
  std::uint64_t count;                   ///< split.count
  std::optional<std::uint64_t> tensors;  ///< split.tensors.count, of all parts; only the first must have it

  /// Throws FormatError for a number that is none.
  void check(const std::string& file) const {
    if (count > most_parts)
      throw FormatError(file, "split.count is " + std::to_string(count) + ", at most " + std::to_string(most_parts) +
                                  " parts have names");
    if (number >= count)
      throw FormatError(
          file, "split.no is " + std::to_string(number) + ", expected less than split.count, " + std::to_string(count));
  }
};

/// The names of the parts of a split file: NAME-00001-of-00003.gguf, ...
class GgufPartNames {
 public:
  /// From the one that was given. Throws FormatError if its name is not that of its number.
  GgufPartNames(std::string given, const GgufSplit& split) : given_(std::move(given)), count_(split.count) {
    const std::filesystem::path path = given_;
    const std::string ending = ending_of(split.number);
    prefix_ = path.filename().string();
    if (prefix_.size() <= ending.size() || !prefix_.ends_with(ending))
      throw FormatError(given_, "is part " + std::to_string(split.number + 1) + " of " + std::to_string(count_) +
                                    " of a split file, which are found by their names: expected one that ends in " +
                                    ending);
    prefix_.resize(prefix_.size() - ending.size());
    folder_ = path.parent_path();
  }

  [[nodiscard]] const std::string& given() const noexcept { return given_; }

  /// Opens a part. Throws FormatError naming it if it is not there.
  [[nodiscard]] MappedFile open(std::uint64_t number, FileAccess access) const {
    const std::filesystem::path path = folder_ / (prefix_ + ending_of(number));
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored))
      throw FormatError(path.string(), "is not there: part " + std::to_string(number + 1) + " of " +
                                           std::to_string(count_) + " of the split file of which " + given_ +
                                           " is one");
    return MappedFile::open(path, access);
  }

 private:
  static std::string five_digits(std::uint64_t value) {
    const std::string digits = std::to_string(value);
    return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
  }
  [[nodiscard]] std::string ending_of(std::uint64_t number) const {
    return "-" + five_digits(number + 1) + "-of-" + five_digits(count_) + ".gguf";
  }

  std::string given_;
  std::uint64_t count_;
  std::filesystem::path folder_;
  std::string prefix_;
};

#if ACTIVATION_TRACE_BODIES

/// Throws FormatError if what a part says is not what its name and the part that was given do.
ACTIVATION_TRACE_COMPILED_INLINE void check_part(const std::string& file, const std::optional<GgufSplit>& found,
                                                 const GgufSplit& expected, const std::string& given) {
  const std::string of = ", expected " + std::to_string(expected.number + 1) + " of " + std::to_string(expected.count) +
                         " as its name and " + given + " say";
  if (!found) throw FormatError(file, "does not say that it is a part" + of);
  if (found->number != expected.number || found->count != expected.count)
    throw FormatError(
        file, "says that it is part " + std::to_string(found->number + 1) + " of " + std::to_string(found->count) + of);
  if (found->tensors && expected.tensors && *found->tensors != *expected.tensors)
    throw FormatError(file, "split.tensors.count is " + std::to_string(*found->tensors) + ", but " +
                                std::to_string(*expected.tensors) + " in " + given + ": parts of two models");
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace detail

}  // namespace v0
}  // namespace activation_trace
