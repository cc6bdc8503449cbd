// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <nlohmann/json.hpp>

#include "activation_trace/config.hpp"

namespace activation_trace::examples {

/// Takes a finished sample's record.
using Emit = std::function<void(Index sample, nlohmann::ordered_json record)>;

}  // namespace activation_trace::examples
