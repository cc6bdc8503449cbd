// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// examples/score as its users run it, on a tiny random LLaMA.
#include <doctest/doctest.h>

#include <cmath>
#include <sstream>
#include <string>
#include <vector>

#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/generation/presets.hpp"
#include "activation_trace/generation/score.hpp"
#include "activation_trace/model/llama.hpp"
#include "activation_trace/tokenizer/load_tokenizer.hpp"
#include "cli_fixture.hpp"

using namespace activation_trace;

namespace {

const std::string question = "Q: What is it?\nA:";
const std::vector<std::string> given{" the cat.", " he\n", " x"};

struct ScoreFixture : test::CliFixture {
  ScoreFixture() { executable = ACTIVATION_TRACE_SCORE; }

  [[nodiscard]] Finished scores(std::vector<std::string> more) const {
    std::vector<std::string> arguments{"-p", R"(Q: What is it?\nA:)", "-a", " the cat.", "-a", R"( he\n)", "-a", " x"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return with_model(arguments);
  }

  /// The same by the library.
  [[nodiscard]] std::vector<ContinuationScore> library(const ScoreOptions& options) const {
    const Checkpoint checkpoint = load_llama(model);
    const Tokenizer tokenizer = load_tokenizer(model);
    Execution<Host> execution(1);
    Llama llama(checkpoint.config, checkpoint.weights, {.max_context = 64}, execution);
    return score_text(llama, tokenizer, question, given, options);
  }
};

/// The words of a line, but the answer in front.
std::vector<std::string> cells(const std::string& line) {
  std::istringstream stream(line.substr(32));
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

std::vector<std::string> lines(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> all;
  for (std::string line; std::getline(stream, line);) all.push_back(line);
  return all;
}

}  // namespace

TEST_CASE_FIXTURE(ScoreFixture, "The table has the library's scores, a column per mode, a row per answer") {
  const Finished result = scores({"--premature_layer", "1", "--alpha", "0.7", "--info_layer", "1"});
  REQUIRE(result.code == 0);
  const ContextOptions context{.info_layer = 1};
  const std::vector<ScoreOptions> columns{
      {.mode = Baseline{}},
      {.mode = DolaStatic{.premature_layer = 1}},
      {.mode = Dola{.candidate_layers = {0}}},
      {.mode = Activation{.alpha = 0.7f, .context = context}},
      {.mode = Activation{.context = context, .strategy = ContextStrategy::single_entropy}},
      {.mode = ActivationDola{.alpha = 0.7f, .context = context, .candidate_layers = {0}}},
  };
  const std::vector<std::string> table = lines(result.out);
  REQUIRE(table.size() == 4);
  CHECK(cells(table[0]) == std::vector<std::string>{"tokens", "baseline", "dola_static", "dola", "activation",
                                                    "single_entropy", "activation_dola"});
  CHECK(table[1].starts_with(" the cat.  "));
  CHECK(table[2].starts_with(" he\\n  "));
  for (std::size_t c = 0; c < columns.size(); ++c) {
    const std::vector<ContinuationScore> wanted = library(columns[c]);
    double best = -INFINITY;
    for (const ContinuationScore& score : wanted) best = std::max(best, score.score);
    for (std::size_t a = 0; a < given.size(); ++a) {
      const std::vector<std::string> row = cells(table[a + 1]);
      REQUIRE(row.size() == columns.size() + 1);
      CHECK(row[0] == std::to_string(wanted[a].ids.size()));
      const std::string cell = row[c + 1];
      CHECK(cell.ends_with('*') == (wanted[a].score == best));
      CHECK(std::abs(std::stod(cell) - wanted[a].score) < 5.1e-5);  // four decimals
    }
  }
  for (const char* mode : {"baseline", "dola_static", "single_entropy"})
    CHECK(result.err.find(std::string(mode) + ": 3 answers in ") != std::string::npos);
  CHECK(scores({"-q"}).err.empty());
  CHECK(lines(scores({"-q"}).out)[0].find("dola_static") == std::string::npos);
}

TEST_CASE_FIXTURE(ScoreFixture, "Every option does what the library's does; the trace has every token") {
  struct Equivalent {
    std::vector<std::string> arguments;
    ScoreOptions options;
  };
  const std::vector<Equivalent> all{
      {{"--decoding_mode", "activation", "--context", "prompt"}, {.context = ScoreContext::prompt}},
      {{"--decoding_mode", "activation", "--filter", "on", "--relative_top", "0.5", "--relative_top_value", "-7"},
       {.mode = Activation{.filter = {.relative_top = 0.5f}}, .filter = ScoreFilter::on, .relative_top_value = -7}},
      {{"--decoding_mode", "activation", "--preset", "hotpotqa"},
       {.mode = Activation{.alpha = preset(PresetData::hotpotqa, 2).alpha, .context = {.info_layer = 2}}}},
      {{"--decoding_mode", "activation", "--context-span", "1:6"}, {.mode = Activation{.context = {.span = {1, 6}}}}},
      {{"--decoding_mode", "activation", "--info_layer", "1", "--final_norm"},
       {.mode = Activation{.context = {.info_layer = 1, .final_norm = true}}}},
      {{"--decoding-mode", "single-entropy", "--single_entropy", "negated"},
       {.mode = Activation{.strategy = ContextStrategy::single_entropy}, .single_entropy = SingleEntropy::negated}},
      {{"--decoding_mode", "baseline", "--mature_layer", "1"}, {.mode = Baseline{.mature_layer = 1}}},
      {{"--decoding_mode", "dola", "--early_exit_layers", "0,1,2", "--divergence", "jensen_shannon", "--post_softmax",
        "off", "--relative_top", "0"},
       {.mode = Dola{.candidate_layers = {0, 1},
                     .divergence = LayerDivergence::jensen_shannon,
                     .filter = {.relative_top = 0}},
        .post_softmax = DolaOutput::difference}},
      {{"--decoding_mode", "activation_dola", "--early_exit_layers", "high", "--min_tokens_to_keep", "200"},
       {.mode = ActivationDola{.filter = {.min_tokens_to_keep = 200}, .candidate_layers = {1}}}},
      {{"--decoding_mode", "activation_dola", "--early_exit_layers", "high", "--activation_dola_base", "logits",
        "--post_softmax", "off"},
       {.mode = ActivationDola{.candidate_layers = {1}, .base = DolaBase::logits},
        .post_softmax = DolaOutput::difference}},
  };
  const std::string trace = (folder / "trace.jsonl").string();
  for (Equivalent one : all) {
    std::string command;
    for (const std::string& argument : one.arguments) command += argument + ' ';
    CAPTURE(command);
    one.arguments.insert(one.arguments.end(), {"--trace", trace, "-q"});
    const Finished result = scores(one.arguments);
    CAPTURE(result.err);
    REQUIRE(result.code == 0);
    const std::vector<ContinuationScore> wanted = library(one.options);
    const std::vector<nlohmann::json> found = test::json_lines(test::read_text(trace));
    REQUIRE(found.size() == given.size());
    for (std::size_t a = 0; a < given.size(); ++a) {
      CHECK(found[a]["answer"] == given[a]);
      CHECK(found[a]["score"].get<double>() == doctest::Approx(wanted[a].score).epsilon(1e-9));
      CHECK(found[a]["ids"] == wanted[a].ids);
      CHECK(found[a]["pieces"].size() == wanted[a].ids.size());
      CHECK(found[a]["log_probs"].size() == wanted[a].ids.size());
      CHECK(found[a].contains("entropies") == !wanted[a].entropies.empty());
      CHECK(found[a].contains("layers") == !wanted[a].layers.empty());
    }
  }
}

TEST_CASE_FIXTURE(ScoreFixture, "Threads, batches and mapping change nothing that is printed") {
  const std::string plain = scores({"-q"}).out;
  CHECK(scores({"-q", "-t", "2"}).out == plain);
  CHECK(scores({"-q", "-b", "64", "--no-mmap", "-c", "100"}).out == plain);
  test::write_file(folder / "prompt.txt", question);
  CHECK(with_model({"-f", (folder / "prompt.txt").string(), "-a", " the cat.", "-a", " he\\n", "-a", " x", "-q"}).out ==
        plain);
}

TEST_CASE_FIXTURE(ScoreFixture, "White space at the prompt's end goes to the answers whose first token takes it") {
  const std::string trace = (folder / "trace.jsonl").string();
  const auto run_with = [&](const char* prompt, const char* first, const char* second) {
    const Finished result = with_model({"-p", prompt, "-a", first, "-a", second, "--trace", trace});
    REQUIRE(result.code == 0);
    CHECK((result.err.find("the white space that ends the prompt") != std::string::npos) ==
          std::string(prompt).ends_with(' '));
    return test::json_lines(test::read_text(trace));
  };
  const std::vector<nlohmann::json> found = run_with("What is ", "the cat.", "x");
  const std::vector<nlohmann::json> wanted = run_with("What is", " the cat.", " x");
  REQUIRE(found.size() == wanted.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CHECK(found[i]["moved_space"] == " ");
    CHECK_FALSE(wanted[i].contains("moved_space"));
    CHECK(found[i]["ids"] == wanted[i]["ids"]);
    CHECK(found[i]["score"] == wanted[i]["score"]);
  }
  fails(with_model({"-p", "What is h", "-a", "e"}), 1, {"continuation 0", "one token"});
}

TEST_CASE_FIXTURE(ScoreFixture, "User errors of score") {
  CHECK(run({"--help"}).code == 0);
  const auto refuses = [&](std::vector<std::string> arguments, const std::vector<std::string>& names) {
    CAPTURE(arguments.back());
    arguments.insert(arguments.begin(), {"-m", (folder / "missing.gguf").string(), "-p", "x"});
    fails(run(arguments), 2, names);
  };
  refuses({}, {"--answer"});
  refuses({"-a", ""}, {"--answer", "empty"});
  fails(run({"-a", "x", "-p", "x"}), 2, {"--model"});
  fails(with_model({"-a", "x"}), 2, {"-p"});
  fails(with_model({"-p", "", "-a", "x"}), 2, {"prompt", "empty"});
  const auto with_answer = [&](std::vector<std::string> arguments, const std::vector<std::string>& names) {
    arguments.insert(arguments.begin(), {"-a", " y"});
    refuses(arguments, names);
  };
  for (const char* option : {"--ctx-size", "--batch-size", "--threads", "--min_tokens_to_keep", "--info_layer",
                             "--mature_layer", "--premature_layer"})
    with_answer({option, "99999999999999999999"}, {option, "99999999999999999999"});
  with_answer({"--alpha", "-1"}, {"--alpha", "-1"});
  with_answer({"--relative_top", "2"}, {"--relative_top", "2"});
  with_answer({"--relative_top_value", "nan"}, {"--relative_top_value", "nan"});
  with_answer({"--decoding_mode", "contrastive"}, {"--decoding_mode", "contrastive"});
  with_answer({"--decoding_mode", "baseline,magic"}, {"--decoding_mode", "magic"});
  for (const char* option : {"--preset", "--context", "--single_entropy", "--filter", "--post_softmax", "--divergence"})
    with_answer({option, "magic"}, {option, "magic"});
  with_answer({"--early_exit_layers", "2"}, {"--early_exit_layers", "2"});
  with_answer({"--early_exit_layers", "a,b"}, {"--early_exit_layers", "a,b"});
  with_answer({"--early_exit_layers", "0,1", "--mature_layer", "2"}, {"--early_exit_layers", "--mature_layer"});
  with_answer({"--preset", "nq", "--alpha", "1"}, {"--preset", "--alpha"});
  with_answer({"--final_norm", "--info_layer", "-1"}, {"--final_norm", "--info_layer -1"});
  with_answer({"--context-span", "3:2"}, {"--context-span", "3:2"});
  with_answer({"--decoding_mode", "dola_static"}, {"--decoding_mode dola_static", "--premature_layer"});
  for (const std::vector<std::string>& more :
       std::vector<std::vector<std::string>>{{"--alpha", "1"},
                                             {"--preset", "nq"},
                                             {"--info_layer", "1"},
                                             {"--context", "prompt"},
                                             {"--context-span", "1:"},
                                             {"--premature_layer", "1"},
                                             {"--early_exit_layers", "low"},
                                             {"--divergence", "reference"},
                                             {"--activation_dola_base", "logits"},
                                             {"--post_softmax", "off"},
                                             {"--filter", "on"},
                                             {"--relative_top", "0.5"},
                                             {"--relative_top_value", "-5"},
                                             {"--min_tokens_to_keep", "2"},
                                             {"--single_entropy", "negated"}})
    with_answer({"--decoding_mode", "baseline", more[0], more[1]}, {more[0]});

  // What only the model can tell.
  fails(run({"-m", (folder / "missing.gguf").string(), "-p", "x", "-a", " y"}), 1, {"missing.gguf"});
  fails(scores({"--info_layer", "3"}), 1, {"layer 3"});
  fails(scores({"-c", "10"}), 1, {"continuation 0", "context of 10"});
  fails(scores({"--trace", (folder / "no_folder/trace").string()}), 1, {"no_folder/trace"});
  fails(with_model({"-f", (folder / "missing.txt").string(), "-a", "x"}), 1, {"missing.txt"});
}
