// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <string>

namespace activation_trace::examples {

/// A server with OpenAI's API, and how to ask it.
struct HttpJudgeOptions {
  enum class Api {
    completions,  ///< POST /v1/completions: the probability of " yes" among the two most probable tokens
    chat,         ///< POST /v1/chat/completions: 1 for a reply that begins with yes, 0 for one with no
  };

  std::string url;  ///< http://host:port, with the path before /v1 if there is one
  Api api = Api::completions;
  std::string key = {};         ///< sent as a bearer token, unless it is empty
  double timeout_seconds = 60;  ///< to connect, and between two bytes of an answer
  int tries = 5;                ///< of one question: connections that fail, 408, 429 and 5xx are tried again
  double wait_seconds = 1;      ///< before the second try, then twice as long each time; or what Retry-After says
};

/// A judge's probability of " yes" after a prompt; 0 if it is not among the two most probable tokens (ALGORITHMS.md
/// 7.3).
using JudgeProbability = std::function<double(const std::string& prompt)>;

/// Asks `model` at the server. What it returns throws Error naming the server for an answer that makes no sense, a
/// refusal, and after the last try. Throws Error for a URL that is none, and where the program was built without
/// cpp-httplib.
[[nodiscard]] JudgeProbability http_judge(const HttpJudgeOptions& options, const std::string& model);

}  // namespace activation_trace::examples
