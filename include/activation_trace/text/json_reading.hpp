// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace activation_trace {
inline namespace v0 {
namespace detail {

/// How JSON is read.
struct JsonReading {
  std::uint64_t origin = 0;  ///< where the text begins in its file: messages count bytes from there
  int deepest = 64;          ///< levels of nesting
  bool like_python = false;  ///< NaN, infinities and halves of surrogate pairs are read, as PythonJson says
};

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
