// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <utility>

#include "activation_trace/text/enum_names.hpp"

namespace activation_trace {
inline namespace v0 {

/// How far the distribution q of an early layer is from that of the mature one, p; with M = (p + q) / 2.
enum class LayerDivergence {
  reference,       ///< (KL(M || p) + KL(M || q)) / (2 V), as the published DoLa computes it (processors/README.md 2.2)
  jensen_shannon,  ///< (KL(p || M) + KL(q || M)) / 2, in nats: what that is called
};

template <>
struct EnumNames<LayerDivergence> {
  static constexpr std::pair<LayerDivergence, std::string_view> all[] = {
      {LayerDivergence::reference, "reference"}, {LayerDivergence::jensen_shannon, "jensen_shannon"}};
};

}  // namespace v0
}  // namespace activation_trace
