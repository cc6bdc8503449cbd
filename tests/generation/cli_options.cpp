// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Every option of examples/generate beyond the plain ones of cli.cpp, and every combination that it refuses.
#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/generation/amateur.hpp"
#include "activation_trace/generation/generate.hpp"
#include "activation_trace/generation/presets.hpp"
#include "activation_trace/model/llama.hpp"
#include "activation_trace/tokenizer/load_tokenizer.hpp"
#include "activation_trace/tokenizer/stream_decoder.hpp"
#include "cli_fixture.hpp"

using namespace activation_trace;

namespace {

struct OptionsFixture : test::CliFixture {
  std::string student = (folder / "student.gguf").string();

  /// The same by the library: two texts, what the program prints without and with its report.
  [[nodiscard]] std::string library(GenerationOptions options, const std::string& amateur,
                                    AmateurPrompt amateur_prompt = AmateurPrompt::whole) const {
    const Checkpoint checkpoint = load_llama(model);
    const Tokenizer tokenizer = load_tokenizer(model);
    Execution<Host> execution(1);
    const LlamaOptions memory{.max_context = 60, .sequences = options.beams.count};
    Llama llama(checkpoint.config, checkpoint.weights, memory, execution);
    Checkpoint other;
    std::unique_ptr<Llama<>> other_llama;
    std::unique_ptr<Amateur> owned;
    if (amateur == "ngram") {
      owned = std::make_unique<NgramAmateur>(checkpoint.config.vocab, NgramOptions{}, options.beams.count);
    } else if (!amateur.empty()) {
      other = load_llama(amateur);
      other_llama = std::make_unique<Llama<>>(other.config, other.weights, memory, execution);
      owned = std::make_unique<ModelAmateur<Llama<>>>(*other_llama, amateur_prompt);
    }
    options.max_new_tokens = 12;
    const std::vector<TokenId> prompt = tokenizer.encode_prompt("the cat and the");
    std::string text = generate(llama, StreamDecoder(tokenizer), prompt, options, {}, {.amateur = owned.get()}).text;
    if (text.empty() || text.back() != '\n') text += '\n';
    return text;
  }
};

struct Equivalent {
  std::vector<std::string> arguments;
  std::function<void(GenerationOptions&)> change;
  std::string amateur = {};
  AmateurPrompt amateur_prompt = AmateurPrompt::whole;
};

}  // namespace

TEST_CASE_FIXTURE(OptionsFixture, "Every option does what the library's does") {
  test::write_file(student, test::tiny_gguf(test::TinyLlama({.seed = 2})).bytes());
  using O = GenerationOptions;
  constexpr RelativeTopOptions wide{.relative_top = 0.01f};
  const Dola dola{.candidate_layers = {0, 1}};
  const auto with = [](Mode mode) { return [mode = std::move(mode)](O& o) { o.mode = mode; }; };
  const auto penalised = [&](std::optional<DolaBase> base) {
    return [=](O& o) {
      o.mode = ActivationDola{.candidate_layers = {0, 1}, .base = base};
      o.repetition_penalty = 1.5f;
    };
  };
  const std::vector<Equivalent> all{
      {{"--decoding_mode", "baseline"}, with(Baseline{})},
      {{"--decoding-mode", "dola", "--early_exit_layers", "0,1,2"}, with(dola)},
      {{"--decoding_mode", "dola", "--candidate_premature_layers", "0,-2", "--mature_layer", "-1"}, with(dola)},
      {{"--decoding_mode", "dola", "--early-exit-layers", "0,1,2", "--divergence", "jensen-shannon", "--relative_top",
        "0"},
       with(Dola{
           .candidate_layers = {0, 1}, .divergence = LayerDivergence::jensen_shannon, .filter = {.relative_top = 0}})},
      {{"--decoding_mode", "dola", "--early_exit_layers", "low"}, with(Dola{.candidate_layers = {0}})},
      {{"--decoding_mode", "dola", "--early_exit_layers", "high", "--min_tokens_to_keep", "5"},
       with(Dola{.candidate_layers = {1}, .filter = {.min_tokens_to_keep = 5}})},
      {{"--decoding_mode", "dola-static", "--premature_layer", "1"}, with(DolaStatic{.premature_layer = 1})},
      {{"--decoding_mode", "dola_static", "--early_exit_layers", "0,1"},
       with(DolaStatic{.premature_layer = 0, .mature_layer = 1})},
      {{"--decoding_mode", "baseline", "--early_exit_layers", "-2"}, with(Baseline{.mature_layer = 1})},
      {{"--decoding_mode", "activation_dola", "--early_exit_layers", "0,1,2", "--alpha", "2", "--info_layer", "1"},
       with(ActivationDola{.alpha = 2, .context = {.info_layer = 1}, .candidate_layers = {0, 1}})},
      {{"--decoding_mode", "activation_dola", "--early_exit_layers", "0,1,2", "--activation_dola_base", "logits",
        "--repetition_penalty", "1.5"},
       penalised(DolaBase::logits)},
      {{"--decoding_mode", "activation_dola", "--early_exit_layers", "0,1,2", "--activation_dola_base", "log_probs",
        "--repetition_penalty", "1.5"},
       penalised(DolaBase::log_probs)},
      {{"--decoding_mode", "activation_dola", "--early_exit_layers", "0,1,2", "--repetition_penalty", "1.5"},
       penalised(DolaBase::logits)},  // as published
      {{"--decoding_mode", "contrastive", "--student", "ngram", "--st_coef", "0.5"},
       with(Contrastive{.coefficient = 0.5f}),
       "ngram"},
      {{"--decoding_mode", "contrastive", "--student", student, "--student_temperature", "0.5", "--relative_top",
        "0.01"},
       with(Contrastive{.student_temperature = 0.5f, .filter = wide}),
       student},
      {{"--decoding_mode", "contrastive", "--student-model", student, "--ignore_prefix", "--relative_top", "0.01"},
       with(Contrastive{.filter = wide}),
       student,
       AmateurPrompt::last_token},
      {{"--decoding_strategy", "single_entropy"}, with(Activation{.strategy = ContextStrategy::single_entropy})},
      {{"--strategy", "subject", "--subject_key", "2", "--alpha", "5", "--relative_top", "0.01"},
       with(Activation{.alpha = 5, .filter = wide, .strategy = ContextStrategy::subject, .subject_key = 2})},
      {{"--decoding_strategy", "entropy_inverse", "--relative_top", "0.01"},
       with(Activation{.filter = wide, .strategy = ContextStrategy::entropy_inverse})},
      {{"--decoding_strategy", "ema", "--strategy_base", "logits", "--alpha", "3"},
       with(Activation{.alpha = 3, .strategy = ContextStrategy::ema, .base = StrategyBase::logits})},
      {{"--decoding_strategy", "tendency", "--relative_top", "0.01"},
       with(Activation{.filter = wide, .strategy = ContextStrategy::tendency})},
      {{"--decoding_strategy", "ema", "--relative_top", "0.01"},
       with(Activation{.filter = wide, .strategy = ContextStrategy::ema})},
      {{"--decoding_strategy", "majority_voting", "--mj_threshold", "0.05", "--relative_top", "0.01"},
       with(Activation{.filter = wide, .strategy = ContextStrategy::majority_voting, .majority_threshold = 0.05f})},
      {{"--preset", "nq", "--relative_top", "0.01"},
       with(Activation{.alpha = preset(PresetData::nq, 2).alpha,
                       .filter = wide,
                       .context = {.info_layer = preset(PresetData::nq, 2).info_layer}})},
      {{"--context-growth", "growing", "--alpha", "3", "--relative_top", "0.01"},
       with(Activation{.alpha = 3, .filter = wide, .context = {.growth = ContextGrowth::growing}})},
      {{"--context-span", "1:4", "--alpha", "3", "--relative_top", "0.01"},
       with(Activation{.alpha = 3, .filter = wide, .context = {.span = {1, 4}}})},
      {{"--presence_penalty", "2", "--frequency-penalty", "0.5", "--repeat-penalty", "1.1"},
       [](O& o) {
         o.presence_penalty = 2;
         o.frequency_penalty = 0.5f;
         o.repetition_penalty = 1.1f;
       }},
      {{"--logit-bias", "40+30", "-l", "41+30.5", "-l", "42-inf"},
       [](O& o) {
         o.logit_bias = {{40, 30.0f}, {41, 30.5f}, {42, -INFINITY}};
       }},
      {{"--decoding_mode", "baseline", "--temp", "1.5", "--seed", "18446744073709551615"},
       [](O& o) {
         o.mode = Baseline{};
         o.sampling = SamplingOptions{.temperature = 1.5f, .seed = UINT64_MAX};
       }},
      {{"--decoding_mode", "baseline", "--temp", "3", "--top-k", "40", "--top-p", "0.9", "--min-p", "0.01", "--typical",
        "0.95", "-s", "7"},
       [](O& o) {
         o.mode = Baseline{};
         o.sampling = SamplingOptions{
             .temperature = 3, .top_k = 40, .typical_p = 0.95f, .top_p = 0.9f, .min_p = 0.01f, .seed = 7};
       }},
      {{"--decoding_mode", "baseline", "--beams", "3", "--length_penalty", "0.5", "--early_stopping", "yes"},
       [](O& o) {
         o.mode = Baseline{};
         o.beams = {.count = 3, .length_penalty = 0.5f, .early_stopping = EarlyStopping::yes};
       }},
      {{"--num_beams", "2", "--early-stopping", "never", "--alpha", "1"},
       [](O& o) {
         o.mode = Activation{.alpha = 1};
         o.beams = {.count = 2, .early_stopping = EarlyStopping::never};
       }},
  };
  std::set<std::string> texts;
  for (const Equivalent& one : all) {
    std::string command;
    for (const std::string& argument : one.arguments) command += argument + ' ';
    CAPTURE(command);
    std::vector<std::string> arguments = one.arguments;
    arguments.insert(arguments.end(), {"-p", "the cat and the", "-n", "12", "--ignore-eos"});
    const Finished result = with_model(arguments);
    CAPTURE(result.err);
    CHECK(result.code == 0);
    GenerationOptions options;
    one.change(options);
    CHECK(result.out == library(options, one.amateur, one.amateur_prompt));
    texts.insert(result.out);
  }
  CHECK(texts.size() >= 18);  // or the options would do nothing
}

TEST_CASE_FIXTURE(OptionsFixture, "Traces and reports tell layers, alerts and the size of the filter") {
  const std::string trace = (folder / "trace.jsonl").string();
  const Finished result = with_model({"-p", "x", "-n", "30", "--ignore-eos", "--decoding_mode", "dola",
                                      "--early_exit_layers", "0,1,2", "--alert", "0.3", "--trace", trace});
  REQUIRE(result.code == 0);
  int alerts = 0;
  int layers[2] = {};
  for (const nlohmann::json& line : test::json_lines(test::read_text(trace))) {
    CHECK(line["mode"] == "dola");
    CHECK(line["filter_size"] == line["kept"].size());
    CHECK(line["alert"] == (line["entropy"].get<double>() > 0.3f));
    alerts += line["alert"].get<bool>();
    ++layers[line["layer"].get<std::size_t>()];
  }
  CHECK(layers[0] + layers[1] == 30);
  CHECK(result.err.find("dola: " + std::to_string(alerts) + " alerts, entropy above 0.3\n") != std::string::npos);
  CHECK(result.err.find("dola: layers chosen 0: " + std::to_string(layers[0]) + ", 1: " + std::to_string(layers[1]) +
                        '\n') != std::string::npos);
  const Finished beams = with_model({"-p", "x", "-n", "5", "--decoding_mode", "baseline", "--beams", "2"});
  CHECK(beams.err.find("baseline: score -") != std::string::npos);
}

TEST_CASE_FIXTURE(OptionsFixture, "--compare sets any mode beside greedy") {
  const Finished result = with_model({"-p", "two answers", "-n", "9", "--ignore-eos", "--compare", "--decoding_mode",
                                      "dola", "--early_exit_layers", "0,1,2"});
  REQUIRE(result.code == 0);
  CHECK(result.out.find("greedy") != std::string::npos);
  CHECK(result.out.find("\ndola:       ") != std::string::npos);
}

TEST_CASE_FIXTURE(OptionsFixture, "What makes no sense is refused by name before the model is loaded") {
  // Were it looked for, the model that is missing would be what fails, with exit code 1.
  const auto refuses = [&](std::vector<std::string> arguments, const std::vector<std::string>& names) {
    std::string command;
    for (const std::string& argument : arguments) command += argument + ' ';
    CAPTURE(command);
    arguments.insert(arguments.begin(), {"-m", (folder / "missing.gguf").string(), "-p", "x"});
    fails(run(arguments), 2, names);
  };
  const std::vector<std::string> dola{"--decoding_mode", "dola", "--early_exit_layers", "0,1,2"};
  const auto with_dola = [&](std::vector<std::string> more) {
    more.insert(more.begin(), dola.begin(), dola.end());
    return more;
  };

  // Values.
  for (const char* option :
       {"--predict", "--ctx-size", "--batch-size", "--threads", "--min_tokens_to_keep", "--top-k", "--seed", "--beams",
        "--info_layer", "--mature_layer", "--premature_layer", "--subject_key"})
    for (const char* value : {"99999999999999999999", "-99999999999999999999", "1.5", "many", "0x10"})
      refuses({option, value}, {option, value});
  for (const char* option : {"--ctx-size", "--batch-size", "--threads", "--min_tokens_to_keep", "--beams"})
    refuses({option, "0"}, {option, "got 0"});
  for (const char* value : {"gpu", "cuda:", "cuda:-1", "cuda:1x", "CUDA"})
    refuses({"--device", value}, {"--device", "expected cpu, cuda or cuda:NUMBER", value});
  for (const char* value : {"cpu", "cuda"})
    refuses({"--engine", "llama.cpp", "--device", value}, {"--device", "llama.cpp is told by -ngl"});
  refuses({"-n", "-2"}, {"--predict", "-2"});
  refuses({"--threads", "1025"}, {"--threads", "1025"});
  for (const char* option : {"--alpha", "--relative_top", "--temp", "--top-p", "--min-p", "--typical", "--st_coef",
                             "--student_temperature", "--repetition_penalty", "--presence_penalty",
                             "--frequency_penalty", "--length_penalty", "--alert", "--mj_threshold"})
    for (const char* value : {"nan", "inf", "1e999", "much"}) refuses({option, value}, {option, value});
  for (const char* option : {"--alpha", "--relative_top", "--temp", "--top-p", "--min-p", "--typical", "--st_coef",
                             "--alert", "--mj_threshold"})
    refuses({option, "-0.5"}, {option, "-0.5"});
  for (const char* option : {"--relative_top", "--top-p", "--min-p", "--typical", "--mj_threshold"})
    refuses({option, "1.5"}, {option, "1.5"});
  refuses({"--repetition_penalty", "0"}, {"--repetition_penalty", "0"});
  refuses({"--student_temperature", "0"}, {"--student_temperature", "0"});
  refuses({"--temp", "1", "--top-p", "0"}, {"top_p", "0"});
  refuses({"--temp", "1", "--typical", "0"}, {"typical_p", "0"});
  for (const char* option : {"--decoding_mode", "--decoding_strategy", "--divergence", "--activation_dola_base",
                             "--early_stopping", "--context-growth", "--preset", "--color"})
    refuses({option, "magic"}, {option, "magic"});
  refuses({"--early_exit_layers", "0,1,"}, {"--early_exit_layers", "0,1,"});
  refuses({"--early_exit_layers", "first"}, {"--early_exit_layers", "first"});
  refuses({"--candidate_premature_layers", "0;1"}, {"--candidate_premature_layers", "0;1"});
  for (const char* bias : {"5", "+5", "5+x", "x+5", "5++1", "99999999999999999999+1"})
    refuses({"--logit-bias", bias}, {"--logit-bias", bias});
  refuses({"--logit-bias", "5+nan"}, {"bias", "nan"});
  refuses({"--stop", ""}, {"--stop"});
  for (const char* span : {"5:5", "a:b", "5", "-1:3", "99999999999999999999:"})
    refuses({"--context-span", span}, {"--context-span", span});
  refuses({"--bogus"}, {"--bogus"});

  // Combinations: the mode.
  const std::vector<std::string> baseline{"--decoding_mode", "baseline"};
  for (std::vector<std::string> more : std::vector<std::vector<std::string>>{{"--alpha", "1"},
                                                                             {"--decoding_strategy", "ema"},
                                                                             {"--preset", "nq"},
                                                                             {"--info_layer", "1"},
                                                                             {"--context-span", "1:"},
                                                                             {"--final_norm"},
                                                                             {"--context-growth", "growing"},
                                                                             {"--relative_top", "0.1"},
                                                                             {"--min_tokens_to_keep", "2"},
                                                                             {"--early_exit_layers", "0,1,2"},
                                                                             {"--early_exit_layers", "low"},
                                                                             {"--divergence", "reference"}}) {
    const std::string option = more[0];
    more.insert(more.begin(), baseline.begin(), baseline.end());
    refuses(more, {option, "--decoding_mode baseline"});
  }
  refuses({"--decoding_mode", "baseline", "--compare"}, {"--compare"});
  refuses(with_dola({"--alpha", "1"}), {"--alpha", "--decoding_mode dola"});
  refuses(with_dola({"--info_layer", "1"}), {"--info_layer", "--decoding_mode dola"});
  refuses(with_dola({"--activation_dola_base", "logits"}), {"--activation_dola_base", "activation_dola"});
  refuses({"--strategy_base", "logits"}, {"--strategy_base", "--decoding_strategy"});
  refuses({"--decoding_strategy", "ema", "--strategy_base", "logits", "--relative_top", "0.1"}, {"--relative_top"});
  refuses({"--premature_layer", "1"}, {"--premature_layer", "dola_static"});
  refuses(with_dola({"--premature_layer", "1"}), {"--early_exit_layers", "--premature_layer"});
  refuses(with_dola({"--candidate_premature_layers", "1"}), {"--early_exit_layers", "--candidate_premature_layers"});
  refuses(with_dola({"--mature_layer", "1"}), {"--early_exit_layers", "--mature_layer"});
  refuses({"--candidate_premature_layers", "1"}, {"--candidate_premature_layers", "dola"});
  refuses({"--decoding_mode", "dola"}, {"--decoding_mode dola", "--early_exit_layers"});
  refuses({"--decoding_mode", "activation_dola"}, {"--decoding_mode activation_dola", "--early_exit_layers"});
  refuses({"--decoding_mode", "dola", "--early_exit_layers", "2"}, {"--decoding_mode dola", "--early_exit_layers"});
  refuses({"--decoding_mode", "dola_static"}, {"--decoding_mode dola_static", "--premature_layer"});
  refuses({"--decoding_mode", "dola_static", "--early_exit_layers", "0,1,2"}, {"dola_static", "--premature_layer"});
  refuses({"--decoding_mode", "dola_static", "--early_exit_layers", "low"}, {"dola_static", "--premature_layer"});
  refuses({"--decoding_mode", "dola_static", "--premature_layer", "1", "--divergence", "reference"}, {"--divergence"});
  refuses({"--decoding_mode", "activation_dola", "--early_exit_layers", "0,1,2", "--decoding_strategy", "ema"},
          {"strategy ema", "activation_dola"});

  // The amateur.
  refuses({"--student", "ngram"}, {"--student", "contrastive"});
  refuses({"--st_coef", "1"}, {"--st_coef", "contrastive"});
  refuses({"--student_temperature", "1"}, {"--student_temperature", "contrastive"});
  refuses({"--ignore_prefix"}, {"--ignore_prefix", "contrastive"});
  refuses({"--decoding_mode", "contrastive"}, {"--decoding_mode contrastive", "--student"});
  refuses({"--decoding_mode", "contrastive", "--student", "ngram", "--ignore_prefix"}, {"--ignore_prefix", "ngram"});

  // The context.
  refuses({"--preset", "nq", "--alpha", "1"}, {"--preset", "--alpha"});
  refuses({"--preset", "nq", "--info_layer", "1"}, {"--preset", "--info_layer"});
  refuses({"--decoding_strategy", "single_entropy", "--alpha", "1"}, {"--alpha", "single_entropy"});
  refuses({"--subject_key", "1"}, {"--subject_key", "subject"});
  refuses({"--mj_threshold", "0.1"}, {"--mj_threshold", "majority_voting"});
  refuses({"--final_norm", "--info_layer", "-1"}, {"--final_norm", "--info_layer -1"});
  refuses({"--context-growth", "growing", "--context-span", "0:5"}, {"context_growth", "5"});

  // Sampling and beams.
  for (const std::vector<std::string>& more : std::vector<std::vector<std::string>>{
           {"--top-k", "5"}, {"--top-p", "0.5"}, {"--min-p", "0.5"}, {"--typical", "0.5"}, {"--seed", "1"}}) {
    refuses(more, {more[0], "--temp"});
    refuses({"--temp", "0", more[0], more[1]}, {more[0], "--temp"});
  }
  for (const std::vector<std::string>& more :
       std::vector<std::vector<std::string>>{{"--length_penalty", "1"}, {"--early_stopping", "yes"}})
    refuses(more, {more[0], "--beams"});
  for (std::vector<std::string> more : std::vector<std::vector<std::string>>{{"--temp", "1"},
                                                                             {"--stop", "x"},
                                                                             {"--trace", "x"},
                                                                             {"--alert", "1"},
                                                                             {"--compare"},
                                                                             {"--color"},
                                                                             {"--context-growth", "growing"}}) {
    const std::string option = more[0];
    more.insert(more.end(), {"--beams", "2"});
    refuses(more, {option, "--beams"});
  }
  refuses({"--temp", "1", "--compare"}, {"--compare", "--temp"});
  refuses({"--system", "be kind"}, {"--system", "--chat"});
  refuses({"--chat_date", "2026-03-07"}, {"--chat_date", "--chat"});
  for (const char* date : {"2026-02-29", "2026-3-07", "07 Mar 2026", "2026-03-07x", "+026-03-07", "2026-03-+7", ""})
    refuses({"--chat", "--chat_date", date}, {"--chat_date", "YYYY-MM-DD"});
}

TEST_CASE_FIXTURE(OptionsFixture, "What only the model can tell fails with its name") {
  const std::string prompt = "x";
  fails(with_model({"-p", "x", "--decoding_mode", "dola", "--early_exit_layers", "0,3"}), 1, {"layer 3"});
  fails(with_model({"-p", "x", "--decoding_mode", "dola", "--early_exit_layers", "0,0,2"}), 1, {"layer 0", "twice"});
  fails(with_model({"-p", "x", "--decoding_mode", "dola_static", "--premature_layer", "-1"}), 1, {"-1", "mature"});
  fails(with_model({"-p", "x", "--logit-bias", "320+1"}), 1, {"logit_bias", "320"});
  fails(with_model({"-p", "x", "--decoding_mode", "contrastive", "--student", (folder / "none.gguf").string()}), 1,
        {"none.gguf"});
  LlamaConfig small = test::tiny_llama_config();
  small.vocab = 300;
  test::write_file(student, test::TinyLlama({.config = small}).gguf().bytes());
  fails(with_model({"-p", "x", "--decoding_mode", "contrastive", "--student", student}), 1, {"300", "320"});
}
