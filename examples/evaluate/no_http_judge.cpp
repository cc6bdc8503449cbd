// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/error.hpp"
#include "evaluate/http_judge.hpp"

namespace activation_trace::examples {

JudgeProbability http_judge(const HttpJudgeOptions&, const std::string&) {
  throw Error("--url: this program was built without cpp-httplib (Debian: libcpp-httplib-dev)");
}

}  // namespace activation_trace::examples
