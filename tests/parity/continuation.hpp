// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <algorithm>

#include "activation_trace/generation/generate.hpp"
#include "activation_trace/model/llama.hpp"
#include "parity/golden.hpp"
#include "support/no_text.hpp"

namespace activation_trace::test {

/// How continuations compare with golden ones.
struct Comparison {
  int tokens = 0;           ///< compared and equal
  int close_decisions = 0;  ///< where the two best scores are closer than 1e-4 and another token was chosen
};

/// Generates as `options` say and compares with `tokens`. Another token is allowed only where gap[step] < 1e-4; then it
/// is counted and the rest not compared. `check` sees each step that has the golden past.
template <class Check>
void compare(Llama<>& llama, std::span<const TokenId> prompt, GenerationOptions options,
             const std::vector<std::int32_t>& tokens, const std::vector<float>& gap, Comparison& result, Check check) {
  options.max_new_tokens = static_cast<Index>(tokens.size());
  const auto on_token = [&](const GeneratedToken& token) {
    const auto step = static_cast<std::size_t>(token.step);
    check(token);
    if (token.id == tokens[step]) {
      ++result.tokens;
      return Continue::yes;
    }
    CAPTURE(step);
    CAPTURE(token.id);
    CAPTURE(tokens[step]);
    CHECK(gap[step] < 1e-4f);
    ++result.close_decisions;
    return Continue::no;
  };
  generate(llama, NoText{}, prompt, options, {.on_token = on_token});
}

}  // namespace activation_trace::test
