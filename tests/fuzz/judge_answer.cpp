// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/judge_answer.hpp"

#include <cstdint>
#include <cstdlib>

#include "evaluate/server_url.hpp"
#include "fuzz/inputs.hpp"

using namespace activation_trace;

// Any bytes are what a judge says, a probability or another reply, or a typed error; the same for the address of one.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(test::text_of_input(data, size));
  for (const auto api : {examples::HttpJudgeOptions::Api::completions, examples::HttpJudgeOptions::Api::chat}) try {
      const examples::Judgement said = examples::read_judge_answer(text, api, "input");
      if (said.yes && !(*said.yes >= 0 && *said.yes <= 1)) std::abort();
    } catch (const Error&) {
    }
  try {
    const examples::ServerUrl url = examples::parse_server_url(text);
    static_cast<void>(url.loopback());
    if (url.shown().find('@') != std::string::npos && url.path.find('@') == std::string::npos) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
