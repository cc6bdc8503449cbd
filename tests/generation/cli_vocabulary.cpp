// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Models whose vocabulary is not their tokenizer's, and chat templates that are not known, as users meet them.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "cli_fixture.hpp"

using namespace activation_trace;

namespace {

struct VocabularyFixture : test::CliFixture {
  /// A folder with the tiny model of another number of tokens than the 320 of its tokenizer. (A GGUF file whose two
  /// numbers differ contradicts itself.)
  void write_model(Index vocab) {
    test::TinyLlamaOptions options;
    options.config.vocab = vocab;
    model = (folder / std::to_string(vocab)).string();
    test::write_tiny_folder(test::TinyLlama(options), model);
  }
};

}  // namespace

TEST_CASE_FIXTURE(VocabularyFixture, "tokens of the model's padding are no text, and the text goes on") {
  write_model(384);
  // A mode that filters nothing, where the bias alone decides.
  const std::vector<std::string> padding{"-p",           "the cat",         "-n",       "6",  "-q",
                                         "--ignore-eos", "--decoding_mode", "baseline", "-l", "350+1000"};
  const Finished only = with_model(padding);
  CHECK(only.code == 0);
  CHECK(only.err.empty());
  CHECK(only.out.empty());
  const std::string trace = (folder / "t.jsonl").string();
  for (const std::vector<std::string>& more :
       std::vector<std::vector<std::string>>{{"--trace", trace}, {"--color", "always"}, {"--num_beams", "2"}}) {
    CAPTURE(more[0]);
    std::vector<std::string> arguments = padding;
    arguments.insert(arguments.end(), more.begin(), more.end());
    CHECK(with_model(arguments).code == 0);
  }
  for (const nlohmann::json& line : test::json_lines(test::read_text(trace))) CHECK(line["id"] == 350);
}

TEST_CASE_FIXTURE(VocabularyFixture, "a token that the model lacks is an error that names it and both sizes") {
  write_model(260);  // " the" is token 261
  fails(with_model({"-p", "in the", "-n", "1"}), 1, {"token 261 (", "has 260 tokens", "tokenizer's 320"});
  CHECK(with_model({"-p", "in it", "-n", "1", "-q"}).code == 0);
  executable = ACTIVATION_TRACE_SCORE;
  fails(with_model({"-p", "in", "-a", " the"}), 1, {"token 261 (", "has 260 tokens", "tokenizer's 320"});
}

TEST_CASE_FIXTURE(VocabularyFixture, "a chat template that is not known is said, -q or not") {
  for (const std::string text :
       {"{{ '<|im_start|>' }}", "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}"}) {
    test::write_file(model, test::tiny_gguf(tiny).value("tokenizer.chat_template", text).bytes());
    const Finished chat = with_model({"-p", "in it", "-n", "1", "-q", "--chat"});
    CHECK(chat.code == 0);
    CHECK(chat.err.find("no chat template that is known") != std::string::npos);
  }
  CHECK(with_model({"-p", "in it", "-n", "1", "-q"}).err.empty());
}

TEST_CASE_FIXTURE(VocabularyFixture, "--chat_date is the date that a template writes") {
  // The first user message of the golden conversations, which Jinja rendered with the template's own date.
  const auto golden = nlohmann::json::parse(
      test::read_text(std::string(ACTIVATION_TRACE_SOURCE_DIR) + "/tests/tokenizer/golden/chat_formats.json"));
  const std::string first_message = golden["conversations"][0][0]["content"];
  const auto row = std::ranges::find_if(golden["templates"], [](const auto& t) { return t["name"] == "llama-3.1"; });
  std::string expected = (*row)["texts"][0];
  expected.replace(0, std::string("<|begin_of_text|>").size(), "<s>");
  expected.replace(expected.find("26 Jul 2024"), 11, "07 Mar 2026");
  test::write_file(
      model, test::tiny_gguf(tiny).value("tokenizer.chat_template", (*row)["template"].get<std::string>()).bytes());
  const auto steps_of = [&](std::vector<std::string> arguments) {
    const std::string trace = (folder / "t.jsonl").string();
    for (const char* more : {"-n", "3", "-q", "--no-escape", "--trace", trace.c_str()}) arguments.emplace_back(more);
    CHECK(with_model(arguments).code == 0);
    return test::read_text(trace);
  };
  const std::string own = steps_of({"-p", first_message, "--chat"});
  const std::string dated = steps_of({"-p", first_message, "--chat", "--chat_date", "2026-03-07"});
  CHECK(own != dated);
  CHECK(own == steps_of({"-p", first_message, "--chat", "--chat_date", "2024-07-26"}));
  CHECK(dated == steps_of({"-p", expected}));
}
