// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// examples/visualize as its users run it, on a tiny random LLaMA.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "activation_trace/evaluation/detection.hpp"
#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/model/llama.hpp"
#include "activation_trace/report/activation_map.hpp"
#include "activation_trace/tokenizer/load_tokenizer.hpp"
#include "generation/cli_fixture.hpp"

namespace activation_trace::test {

using nlohmann::json;
using Words = std::vector<std::string>;

struct VisualizeFixture : test::CliFixture {
  VisualizeFixture() { executable = ACTIVATION_TRACE_VISUALIZE; }

  [[nodiscard]] std::string path(const char* name) const { return (folder / name).string(); }

  [[nodiscard]] Finished map(Words more) const {
    Words words{"map", "-m", model, "-p", R"(Q: x\nA: y\nQ: What is the\nA:)", "-a", " he"};
    words.insert(words.end(), more.begin(), more.end());
    return run(words);
  }
  [[nodiscard]] json map_json(Words more) const {
    more.insert(more.end(), {"-o", path("map.json")});
    const Finished result = map(more);
    CAPTURE(result.err);
    REQUIRE(result.code == 0);
    return json::parse(test::read_text(path("map.json")));
  }
};

TEST_CASE_FIXTURE(VisualizeFixture, "A map's file has the library's numbers") {
  const Checkpoint checkpoint = load_llama(model);
  const Tokenizer tokenizer = load_tokenizer(model);
  Execution<Host> execution(1);
  Llama llama(checkpoint.config, checkpoint.weights, {.max_context = 64}, execution);
  const std::string prompt = "Q: x\nA: y\nQ: What is the\nA:";
  const std::vector<TokenId> ids = tokenizer.encode_prompt(prompt);
  struct Case {
    Words words;
    ActivationMapOptions options;
  };
  const FinalNorm norm{checkpoint.weights.final_norm, checkpoint.config.rms_norm_eps};
  const auto question = static_cast<Index>(tokenizer.encode_prompt("Q: x\nA: y\n").size());
  for (const Case& c :
       {Case{{}, {}}, Case{{"--layers", "0,-1", "--final_norm"}, {.layers = {0, 2}, .final_norm = norm}},
        Case{{"--skip_bos"}, {.span = {1, 1000}}}, Case{{"--context-span", "2:7"}, {.span = {2, 7}}},
        Case{{"--question_span"}, {.span = {question, 1000}}}}) {
    const json report = map_json(c.words);
    const std::vector<TokenId> answer = tokenizer.encode_prompt(prompt + " he");
    const ActivationMaps maps = activation_maps(llama, ids, std::span(answer).subspan(ids.size()), c.options);
    const json& heat = report["pictures"][0];
    REQUIRE(heat["kind"] == "heat_map");
    REQUIRE(heat["columns"].size() == maps.positions.size());
    CHECK(heat["first_column"] == maps.first_position);
    CHECK(heat["columns"][0] == std::string(tokenizer.piece(maps.positions[0])));
    for (std::size_t k = 0; k < maps.layers.size(); ++k)
      for (std::size_t i = 0; i < maps.positions.size(); ++i) {
        const std::size_t place = k * maps.positions.size() + i;
        CHECK(heat["views"][0]["values"][0][k][i] == maps.tokens[0].raw[place]);
        CHECK(heat["views"][1]["values"][0][k][i] == maps.tokens[0].softmax[place]);
        CHECK(heat["views"][2]["values"][0][k][i] == maps.tokens[0].probability[place]);
      }
    CHECK(report["pictures"].back()["curves"][0]["y"][0] == maps.tokens[0].entropies[0]);
  }
  // A pair, told apart by its second token.
  const json pair = map_json({"--wrong", " hx"});
  CHECK(pair["pictures"][0]["panels"].size() == 2);
  CHECK(pair["pictures"].size() == 3);  // and the mean over tokens
}

TEST_CASE_FIXTURE(VisualizeFixture, "Every form is written, and the terminal's is printed") {
  for (const char* name : {"m.html", "m.svg", "m.csv"}) {
    const Finished result = map({"-o", path(name), "--wrong", " the"});
    CHECK(result.code == 0);
    CHECK(result.out.empty());
    CHECK(test::read_text(path(name)).size() > 1000);
  }
  CHECK(map({}).out.find("softmax over positions") != std::string::npos);
  CHECK(map({"-o", "-"}).out == map({}).out);
}

TEST_CASE_FIXTURE(VisualizeFixture, "A trace of generate, and what is wrong with one that is not") {
  executable = ACTIVATION_TRACE_GENERATE;
  REQUIRE(with_model({"-p", "the", "-n", "4", "--trace", path("t.jsonl"), "--ignore-eos", "-q"}).code == 0);
  executable = ACTIVATION_TRACE_VISUALIZE;
  REQUIRE(run({"trace", path("t.jsonl"), "-o", path("t.json")}).code == 0);
  const json report = json::parse(test::read_text(path("t.json")));
  const std::vector<json> steps = test::json_lines(test::read_text(path("t.jsonl")));
  REQUIRE(report["pictures"][0]["steps"].size() == steps.size());
  for (std::size_t s = 0; s < steps.size(); ++s) {
    const json& step = report["pictures"][0]["steps"][s];
    CHECK(step["chosen"]["id"] == steps[s]["id"]);
    CHECK(step["kept"].size() == steps[s]["kept"].size());
    CHECK(step["instead"].is_null() == !steps[s]["changed"].get<bool>());
    for (std::size_t k = 1; k < step["kept"].size(); ++k)
      CHECK(step["kept"][k - 1]["score"] >= step["kept"][k]["score"]);
  }
  for (const char* name : {"t.html", "t.svg", "t.csv"})
    CHECK(run({"trace", path("t.jsonl"), "-o", path(name)}).code == 0);
  const auto wrong = [&](const std::string& text, const Words& names) {
    test::write_file(path("wrong.jsonl"), text);
    fails(run({"trace", path("wrong.jsonl")}), 1, names);
  };
  const std::string line = test::read_text(path("t.jsonl")).substr(0, test::read_text(path("t.jsonl")).find('\n') + 1);
  wrong("", {"wrong.jsonl", "is empty"});
  wrong("\n", {"wrong.jsonl:1", "is not JSON"});
  wrong("1\n", {"wrong.jsonl:1", "is not an object"});
  wrong(line + "{\n", {"wrong.jsonl:2", "is not JSON"});
  wrong("{\"mode\": 3}\n", {"wrong.jsonl:1: mode is not a string"});
  wrong("{\"mode\": \"x\", \"id\": 1}\n", {"wrong.jsonl:1: piece is missing"});
  // A number becomes a token id only if it is one.
  const auto step = [](const std::string& id, const std::string& instead, const std::string& of_kept) {
    return R"({"mode":"m","id":)" + id + R"(,"piece":"x","log_prob":0,"entropy":null,"score":0,"changed":true,)" +
           R"("without_entropy":)" + instead + R"(,"kept":[{"id":)" + of_kept +
           R"(,"piece":"\u001b[31m=1","log_prob":0,"entropy":1e300,"score":0}]})";
  };
  for (const char* id : {"1e39", "-1", "1e300", "0.5", "2147483648", "null", "\"1\"", "true"}) {
    wrong(step(id, "1", "1"), {"wrong.jsonl:1: id is "});
    wrong(step("1", id, "1"), {"wrong.jsonl:1: without_entropy is "});
    wrong(step("1", "1", id), {"wrong.jsonl:1: kept[0].id is "});
  }
  wrong(line + std::string(100000, '[') + "\n", {"wrong.jsonl:2", "nested more than"});
  wrong("{\"mode\": " + std::string(5000, '[') + "\n", {"nested more than"});
  std::string modes;
  for (int i = 0; i < 65; ++i)
    modes += R"({"id":1,"piece":"x","log_prob":0,"entropy":0,"score":0,"changed":false,"kept":[],"mode":"m)" +
             std::to_string(i) + "\"}\n";
  wrong(modes, {"wrong.jsonl:65", "more than 64 modes"});
  // Nothing of it commands the terminal or a spreadsheet.
  test::write_file(path("e.jsonl"), step("1", "1", "1") + "\n");
  CHECK(run({"trace", path("e.jsonl")}).out.find('\x1b') == std::string::npos);
  REQUIRE(run({"trace", path("e.jsonl"), "-o", path("e.csv")}).code == 0);
  CHECK(test::read_text(path("e.csv")).find(",\x1b[31m=1,") != std::string::npos);
  fails(run({"trace", path("none.jsonl")}), 1, {"none.jsonl"});
}

TEST_CASE_FIXTURE(VisualizeFixture, "A grid, and what is wrong with one that is not") {
  const auto grid = [&](const std::string& text) {
    test::write_file(path("g.json"), text);
    return run({"grid", path("g.json"), "-o", path("out.json")});
  };
  CHECK(grid(R"({"task": "t", "alphas": [0, 0.5], "layers": [1, 2, 3], "metrics": {"mc1": [[1, 2, 3], [4, 5, null]]}})")
            .code == 0);
  const json heat = json::parse(test::read_text(path("out.json")))["pictures"][0];
  CHECK(heat["rows"] == json{"0", "0.5"});
  CHECK(heat["columns"] == json{"1", "2", "3"});
  CHECK(heat["views"][0]["values"] == json::parse("[[[1, 2, 3], [4, 5, null]]]"));
  fails(grid("x"), 1, {"g.json", "is not JSON"});
  fails(grid(std::string(100000, '[')), 1, {"g.json", "nested more than"});
  CHECK(run({"grid", path("none.json")}).code == 1);
  // A name of a metric is foreign text; colours from one end of the doubles to the other are colours.
  REQUIRE(grid(R"({"alphas": [0], "layers": [1, 2, 3], "metrics": {"=\u001b]0;x": [[-1.7e308, 0, 1.7e308]]}})").code ==
          0);
  for (const char* name : {"g.html", "g.svg", "g.csv"})
    CHECK(run({"grid", path("g.json"), "-o", path(name)}).code == 0);
  CHECK(run({"grid", path("g.json")}).out.find('\x1b') == std::string::npos);
  CHECK(test::read_text(path("g.html")).find('\x1b') == std::string::npos);
  CHECK(test::read_text(path("g.csv")).find("'=\x1b]0;x by alpha and layer,'=") != std::string::npos);
  fails(grid(R"({"alphas": [0], "layers": [1], "metrics": {"\u009b": [[null]]}})"), 1, {"'\\u{9b}' holds no number"});
  fails(grid(R"({"alphas": [0]})"), 1, {"g.json", "'layers'"});
  fails(grid(R"({"alphas": [0], "layers": [1], "metrics": {"mc1": [[1, 2]]}})"), 1, {"a row of 'mc1'"});
  fails(grid(R"({"alphas": [0], "layers": ["a"], "metrics": {}})"), 1, {"'layers'", "numbers"});
  fails(grid(R"({"alphas": [0], "layers": [1], "metrics": {"m": [[null]]}})"), 1, {"'m' holds no number"});
}

TEST_CASE_FIXTURE(VisualizeFixture, "AUROC by layer is that of the answers' numbers") {
  test::write_file(path("q.csv"),
                   "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source\r\n"
                   "A,B,Who?,he,he; the cat,x; it,s\r\nA,B,What?,it,it,he; a; b,s\r\nA,B,Why?,so,so; no,yes,s\r\n");
  LlamaConfig config = test::tiny_llama_config();
  config.max_context = 2048;  // the demonstrations, a byte a token
  test::write_file(path("wide.gguf"), test::tiny_gguf(test::TinyLlama({.config = config})).bytes());
  const Finished result = run({"auroc", "-m", path("wide.gguf"), "--data-path", path("q.csv"), "--resamples", "50",
                               "--answers", path("answers.jsonl"), "-o", path("auroc.json")});
  CAPTURE(result.err);
  REQUIRE(result.code == 0);
  CHECK(result.out.find("entropy, mean of tokens") != std::string::npos);
  const json chart = json::parse(test::read_text(path("auroc.json")))["pictures"][0];
  const std::vector<json> answers = test::json_lines(test::read_text(path("answers.jsonl")));
  CHECK(answers.size() == 11);
  REQUIRE(chart["x"] == json{0, 1, 2});
  for (std::size_t k = 0; k < 3; ++k) {
    std::vector<double> mean;
    std::vector<double> first;
    std::vector<char> right;
    for (const json& answer : answers) {
      const auto entropies = answer["entropies"][k].get<std::vector<double>>();
      double sum = 0;
      for (const double e : entropies) sum += e;
      mean.push_back(-sum / static_cast<double>(entropies.size()));
      first.push_back(-entropies[0]);
      right.push_back(answer["right"].get<bool>());
    }
    CHECK(chart["curves"][0]["y"][k].get<double>() == doctest::Approx(detection_metrics(mean, right).auroc));
    CHECK(chart["curves"][1]["y"][k].get<double>() == doctest::Approx(detection_metrics(first, right).auroc));
    CHECK(chart["curves"][0]["low"][k].get<double>() <= chart["curves"][0]["y"][k].get<double>());
  }
  // The histograms hold every answer once, at the scores that the answers' file has.
  const json report = json::parse(test::read_text(path("auroc.json")));
  REQUIRE(report["pictures"].size() == 3);
  for (const std::size_t p : {std::size_t{1}, std::size_t{2}}) {
    const json& histogram = report["pictures"][p];
    CHECK(histogram["x"].size() == 20);
    double low = 1e9;
    double high = -1e9;
    double counts[2] = {0, 0};
    for (const json& answer : answers) {
      double sum = 0;
      // The marked layer is 80 % of two: the last.
      const json& values = p == 1 ? answer["entropies"][2] : answer["log_probs"];
      for (const json& x : values) sum += x.get<double>();
      sum /= static_cast<double>(values.size());
      low = std::min(low, sum);
      high = std::max(high, sum);
      ++counts[answer["right"].get<bool>() ? 0 : 1];
    }
    const double width = histogram["bin_width"].get<double>();
    CHECK(width == doctest::Approx((high - low) / 20));
    CHECK(histogram["x"][0].get<double>() == doctest::Approx(low + width / 2));
    for (std::size_t c = 0; c < 2; ++c) {
      double sum = 0;
      for (const json& y : histogram["curves"][c]["y"]) sum += y.get<double>();
      CHECK(sum == counts[c]);
    }
  }
  for (const char* name : {"a.html", "a.svg", "a.csv"})
    CHECK(run({"auroc", "-m", path("wide.gguf"), "--data-path", path("q.csv"), "--resamples", "5", "--layers", "0",
               "-q", "-o", path(name)})
              .code == 0);
  CHECK(test::read_text(path("a.csv")).find("Entropy of right and wrong answers,answers,right,,0,") !=
        std::string::npos);
  test::write_file(path("q.json"),
                   R"([{"question": "Who?", "mc1_targets": {"he.": 1, "x.": 0}}, {"question": "Why?", "mc1_targets":
    {"so.": 1, "no.": 0}}])");
  CHECK(
      run({"auroc", "-m", path("wide.gguf"), "--data-path", path("q.json"), "--resamples", "5", "--layers", "0", "-q"})
          .out.find("answers: 2 right, 2 wrong") != std::string::npos);
  test::write_file(path("facts.json"), R"([{"prompt": "A is", "subject": "A", "attribute": "he", "relation_id": "P1"},
    {"prompt": "B is", "subject": "B", "attribute": "it", "relation_id": "P1"}])");
  CHECK(run({"auroc", "-m", model, "--data-path", path("facts.json"), "--limit", "1", "-q"}).code == 0);
}

TEST_CASE_FIXTURE(VisualizeFixture, "What makes no sense is refused by name, before the model is read where possible") {
  const auto senseless = [&](const Words& more, const Words& names) { fails(map(more), 2, names); };
  senseless({"-o", "x.pdf"}, {"--output", "x.pdf"});
  senseless({"--layers", "a"}, {"--layers", "a"});
  senseless({"--context-span", "3"}, {"--context-span"});
  senseless({"--skip_bos", "--context-span", "1:2"}, {"--context-span"});
  senseless({"--view", "nice"}, {"--view", "raw|softmax|probability"});
  senseless({"--wrong", " he"}, {"no token tells"});
  senseless({"--info_layer", "x"}, {"--info_layer"});
  fails(map({"--layers", "9"}), 1, {"layer 9 does not exist"});
  fails(map({"--info_layer", "3"}), 1, {"layer 3 does not exist"});
  fails(map({"--context-span", "500:600"}), 1, {"none of the prompt's"});
  fails(map({"-o", "/nowhere/x.html"}), 1, {"/nowhere/x.html"});
  fails(run({"map", "-m", model, "-a", "x"}), 2, {"-p or -f"});
  fails(run({"auroc", "-m", model, "--data-path", path("none.csv")}), 1, {"none.csv"});
  fails(run({"auroc", "-m", model, "--data-path", "x.txt"}), 2, {"--data-path", "x.txt"});
  fails(run({}), 2, {"subcommand"});
}

}  // namespace activation_trace::test
