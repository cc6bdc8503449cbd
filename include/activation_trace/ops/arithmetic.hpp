// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <utility>

#include "activation_trace/config.hpp"
#include "activation_trace/text/enum_names.hpp"

namespace activation_trace {
inline namespace v0 {

/// How products with weights are computed.
enum class Arithmetic {
  exact,  ///< weights are widened exactly, activations stay float: the promise, and the default
  fast,   ///< activations are rounded, to eight bits for quantised weights: other numbers, ops/README.md 2
};

template <>
struct EnumNames<Arithmetic> {
  static constexpr std::pair<Arithmetic, std::string_view> all[] = {{Arithmetic::exact, "exact"},
                                                                    {Arithmetic::fast, "fast"}};
};

}  // namespace v0
}  // namespace activation_trace
