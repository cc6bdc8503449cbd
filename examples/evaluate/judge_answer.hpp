// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "activation_trace/error.hpp"
#include "activation_trace/text/json_part.hpp"
#include "activation_trace/text/visible.hpp"
#include "evaluate/http_judge.hpp"

namespace activation_trace::examples {

/// What a judge said in a server's answer, OpenAI's JSON. Throws Error for any other, which begins with `name`.
[[nodiscard]] Judgement read_judge_answer(const std::string& answer, HttpJudgeOptions::Api api,
                                          const std::string& name);

/// The start of what a server said, on one line.
[[nodiscard]] inline std::string excerpt(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r' || c == '\t'; }, ' ');
  return activation_trace::detail::escaped(text, 200);
}

namespace detail {

// " yes", as servers write it: with the space, with SentencePiece's mark for it, or without.
[[nodiscard]] inline bool is_yes(std::string_view token) {
  for (const std::string_view space : {" ", "\u2581", "\u0120"})
    if (token.starts_with(space)) token.remove_prefix(space.size());
  return token == "yes";
}

// {"logprobs": {"top_logprobs": [{token: log-probability}], "tokens": [token], "token_logprobs": [...]}}, or
// {"text", "logprobs": {"content": [{"token", "logprob", "top_logprobs": [{"token", "logprob"}]}]}}.
[[nodiscard]] inline double yes_probability(const activation_trace::detail::JsonPart& choice) {
  using activation_trace::detail::JsonPart;
  std::map<std::string, double> candidates;
  const auto add = [&](const std::string& token, const JsonPart& log_prob) {
    constexpr double rounding = 1e-3;
    const double x = log_prob.number();
    if (x > rounding) log_prob.fail("is above 0, so not the logarithm of a probability");
    candidates.emplace(token, std::exp(std::min(x, 0.0)));
  };
  const JsonPart log_probs = choice["logprobs"];
  // Where no candidates are listed, the chosen token is one all the same.
  const auto add_chosen = [&](const JsonPart& token, const JsonPart& log_prob) {
    if (candidates.empty() && !log_prob.is_null()) add((token.is_null() ? choice["text"] : token).text(), log_prob);
  };
  if (const JsonPart content = log_probs["content"]; !content.is_null()) {
    const JsonPart chosen = content.at(0);
    for (const JsonPart& candidate : chosen["top_logprobs"].elements())
      add(candidate["token"].text(), candidate["logprob"]);
    add_chosen(chosen["token"], chosen["logprob"]);
  } else {
    const auto top = log_probs["top_logprobs"].elements();
    const auto tokens = log_probs["tokens"].elements();
    const auto own = log_probs["token_logprobs"].elements();
    if (!top.empty() && !top[0].is_null())
      for (const auto& [token, log_prob] : top[0].members()) add(std::string(token), log_prob);
    if (!own.empty()) add_chosen(tokens.empty() ? choice["text"] : tokens[0], own[0]);
  }
  double yes = 0;
  bool found = false;
  for (const auto& [token, p] : candidates)
    if (is_yes(token)) yes += p, found = true;
  // Of two tokens without it, published judges make 0. Of one it is 0 only where that one has most of the
  // probability.
  if (!found && (candidates.empty() || (candidates.size() == 1 && candidates.begin()->second < 0.5)))
    log_probs.fail(std::string(candidates.empty() ? "names no token" : "names one token, of little probability") +
                   ", so that of ' yes' is unknown: ask a server that gives the two best, or by --api chat");
  return std::min(yes, 1.0);
}

[[nodiscard]] inline Judgement read_reply(const std::string& text) {
  std::string word;
  for (const char c : text) {
    const bool letter = std::isalpha(static_cast<unsigned char>(c)) != 0;
    if (!letter && !word.empty()) break;
    if (letter) word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  if (word == "yes" || word == "true") return {1.0};
  if (word == "no" || word == "false") return {0.0};
  return {std::nullopt, excerpt(text)};
}

}  // namespace detail

inline Judgement read_judge_answer(const std::string& answer, HttpJudgeOptions::Api api, const std::string& name) {
  const std::string file = name + ": the answer is not OpenAI's";
  try {
    const activation_trace::detail::JsonDocument json(answer, file);
    const auto choice = json.root()["choices"].at(0);
    if (api == HttpJudgeOptions::Api::completions) return {detail::yes_probability(choice)};
    const auto content = choice["message"]["content"];
    return detail::read_reply(content.is_null() ? "" : content.text());
  } catch (const FormatError& e) {
    throw Error(e.what() + (": " + excerpt(answer)));
  }
}

}  // namespace activation_trace::examples
