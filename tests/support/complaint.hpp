// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "activation_trace/error.hpp"

namespace activation_trace::test {

/// What the library says of `f()`, or "accepted" if it throws no Error.
template <class F>
std::string complaint(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace activation_trace::test
