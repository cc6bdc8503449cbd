// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "activation_trace/config.hpp"

namespace activation_trace {
inline namespace v0 {

/// Root of everything this library throws on purpose. `what()` is one line that names the argument (or the
/// file and offset), what was expected and what was found.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// An argument's shape does not fit: a wrong extent, rank, stride or length.
class ShapeError : public Error {
 public:
  using Error::Error;
};

/// An argument's value is not allowed: negative alpha, a NaN logit, a token id outside the vocabulary.
class ArgumentError : public Error {
 public:
  using Error::Error;
};

/// A call came too early or too late: process before observe_context, decode beyond the cache's end.
class StateError : public Error {
 public:
  using Error::Error;
};

/// A file cannot be read as what it claims to be. `offset()` is the byte at which reading failed.
class FormatError : public Error {
 public:
  /// A problem at byte `offset` of the file.
  FormatError(const std::string& file, std::uint64_t offset, const std::string& problem)
      : Error(file + ": at byte " + std::to_string(offset) + ": " + problem), file_(file), offset_(offset) {}

  /// A problem of the file as a whole: it is missing, empty, or not of a known kind.
  FormatError(const std::string& file, const std::string& problem) : Error(file + ": " + problem), file_(file) {}

  /// The path, or the name that was given for messages.
  [[nodiscard]] const std::string& file() const noexcept { return file_; }
  /// The byte at which reading failed; 0 if it is the file as a whole.
  [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }

 private:
  std::string file_;
  std::uint64_t offset_ = 0;
};

}  // namespace v0
}  // namespace activation_trace
