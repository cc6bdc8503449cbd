// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>

namespace activation_trace::examples {

/// A server with OpenAI's API, and how to ask it.
struct HttpJudgeOptions {
  enum class Api {
    completions,  ///< POST /v1/completions: the probability of " yes" among the two most probable tokens
    chat,         ///< POST /v1/chat/completions: 1 for a reply that begins with yes, 0 for one with no
  };

  /// http://host:port, with the path before /v1 if there is one; user:password@ and a query are sent, and never shown.
  std::string url;
  Api api = Api::completions;
  std::string key = {};               ///< sent as a bearer token, unless it is empty
  std::string key_name = "the key";   ///< for messages
  bool send_key_unencrypted = false;  ///< a key, password or query by http:// to another machine
  double timeout_seconds = 60;        ///< from connecting to the last byte of an answer
  int tries = 5;                      ///< of one question: connections that fail, 408, 429 and 5xx are tried again
  double wait_seconds = 1;            ///< before the second try, then twice as long; or what Retry-After says
};

/// Longer ones are refused.
inline constexpr std::size_t longest_judge_answer = std::size_t{1} << 20;

/// What a judge said.
struct Judgement {
  std::optional<double> yes;  ///< the probability of " yes"; nothing for a reply that is neither yes nor no
  std::string reply = {};     ///< that reply
};

/// A judge's probability of " yes" after a prompt; 0 if it is not among the two most probable tokens
/// (evaluation/README.md 2.3).
using JudgeProbability = std::function<Judgement(const std::string& prompt)>;

/// Asks `model` at the server. What it returns throws Error naming the server for an answer that makes no sense or is
/// too long, a refusal, and after the last try. Throws Error for a URL that is none, a key that would be readable on
/// its way, and where the program was built without cpp-httplib.
[[nodiscard]] JudgeProbability http_judge(const HttpJudgeOptions& options, const std::string& model);

}  // namespace activation_trace::examples
