// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "activation_trace/config.hpp"

namespace activation_trace::test {

/// A decoder for generate() where only ids or times matter.
struct NoText {
  std::string_view push(TokenId) { return {}; }
  std::string_view finish() { return {}; }
};

}  // namespace activation_trace::test
