// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// What `evaluate` does with runs that are finished, and sweep and chat on a tiny model.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "generation/cli_fixture.hpp"

using namespace activation_trace;
using nlohmann::json;
using test::json_lines;
using test::read_text;
using test::write_file;

namespace {

/// Runs of `evaluate`, by hand or of a tiny model with room for the published prompts.
struct Runs {
  test::TemporaryFolder folder;

  [[nodiscard]] std::string path(const std::string& name) const { return (folder / name).string(); }

  /// A finished run of these records.
  std::string write(const std::string& name, const std::string& task, const std::vector<json>& records,
                    const std::string& data_hash = "d") const {
    std::string lines;
    for (std::size_t i = 0; i < records.size(); ++i) {
      json line = records[i];
      line["sample"] = i;
      lines += line.dump() + '\n';
    }
    write_file(path(name), lines);
    const json manifest{
        {"task", task},
        {"model", {{"path", "org/tiny:1.gguf"}, {"sha256", "m"}}},
        {"data", {{"path", "questions.jsonl"}, {"sha256", data_hash}, {"samples", records.size()}}},
        {"options", {{"decoding_mode", "activation"}, {"max_new_tokens", 20}, {"prompt_style", "few_shot"}}},
        {"version", "0.1.0"},
        {"format", 1}};
    write_file(path(name) + ".manifest.json", manifest.dump());
    return path(name);
  }

  struct Finished {
    int code;
    std::string out;
    std::string err;
  };
  [[nodiscard]] Finished run(const std::vector<std::string>& arguments) const {
    test::Program program(folder.path(), arguments, {}, ACTIVATION_TRACE_EVALUATE);
    program.wait();
    return {program.code, program.out, program.err};
  }
  /// One line on standard error that has all of `words`.
  void fails(const std::vector<std::string>& arguments, int code, const std::vector<std::string>& words) const {
    const Finished result = run(arguments);
    CAPTURE(result.err);
    CHECK(result.code == code);
    CHECK(result.out.empty());
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
    for (const std::string& word : words) {
      CAPTURE(word);
      CHECK(result.err.find(word) != std::string::npos);
    }
  }

  /// A LLaMA of random weights that reads bytes.
  static test::GgufBuilder tiny_gguf() {
    LlamaConfig config = test::tiny_llama_config();
    config.layers = 4;
    config.hidden = 64;
    config.ffn = 96;
    config.head_dim = 16;
    config.max_context = 2048;
    return test::tiny_gguf(test::TinyLlama({.config = config}));
  }
  [[nodiscard]] std::string tiny_model() const {
    write_file(path("tiny.gguf"), tiny_gguf().bytes());
    return path("tiny.gguf");
  }
};

json qa(const std::string& question, const std::string& answer, double em, double f1) {
  return {
      {"id", question},    {"question", question}, {"gold", {"right"}}, {"text", answer + "\n"}, {"answer", answer},
      {"em", em},          {"strict_em", em},      {"f1", f1},          {"tokens", {1, 2}},      {"log_probs", {-0.5}},
      {"entropies", {1.0}}};
}

json choice(const std::string& question, const std::vector<double>& right, const std::vector<double>& wrong) {
  json record{{"question", question}, {"best", 0}, {"true", json::array()}, {"false", json::array()}};
  for (std::size_t i = 0; i < right.size(); ++i)
    record["true"].push_back({{"text", "t" + std::to_string(i)}, {"score", right[i]}});
  for (std::size_t i = 0; i < wrong.size(); ++i)
    record["false"].push_back({{"text", "f" + std::to_string(i)}, {"score", wrong[i]}});
  const bool first = right[0] > *std::max_element(wrong.begin(), wrong.end());
  record.update(json{{"mc1", first ? 1 : 0}, {"mc2", 0.5}, {"mc3", 0.25}});
  return record;
}

}  // namespace

TEST_CASE("compare: both runs, their difference, the paired test and what flipped") {
  const Runs runs;
  const std::string a = runs.write(
      "a.jsonl", "nq", {qa("q0", "right", 1, 1), qa("q1", "no", 0, 0), qa("q2", "no", 0, 0.5), qa("q3", "no", 0, 0)});
  const std::string b =
      runs.write("b.jsonl", "nq",
                 {qa("q0", "wrong", 0, 0), qa("q1", "right", 1, 1), qa("q2", "right", 1, 1), qa("q3", "no", 0, 0)});
  const Runs::Finished text = runs.run({"compare", a, b});
  CAPTURE(text.err);
  CHECK(text.code == 0);
  CHECK(text.out.find("em: 3 questions flipped, b gains 2 and loses 1") != std::string::npos);
  CHECK(text.out.find("-     0  q0\n         a: right\n         b: wrong\n") != std::string::npos);

  const json comparison = json::parse(runs.run({"compare", a, b, "--json"}).out);
  const json em = comparison["metrics"]["em"];
  CHECK(em["a"]["value"] == 25);
  CHECK(em["b"]["value"] == 50);
  CHECK(em["difference"]["value"] == 25);
  CHECK(em["difference"]["low"].get<double>() < 25);
  CHECK(em["difference"]["high"].get<double>() > 25);
  // However the signs of three differences of 1 are flipped, their sum is 1 or 3.
  CHECK(em["p"].get<double>() == doctest::Approx(1.0));
  CHECK(comparison["metrics"]["f1"]["difference"]["value"].get<double>() == doctest::Approx(12.5));
  REQUIRE(comparison["flips"].size() == 3);
  CHECK(comparison["flips"][1]["b"]["answer"] == "right");
  CHECK(comparison["flips"][1]["a"]["em"] == 0);

  const json same = json::parse(runs.run({"compare", a, a, "--json"}).out);
  CHECK(same["flips"].empty());
  CHECK(same["metrics"]["f1"]["p"] == 1);
}

TEST_CASE("compare names the answer that a multiple choice prefers") {
  const Runs runs;
  const std::string a = runs.write("a.jsonl", "truthfulqa-mc", {choice("q", {-1, -3}, {-2, -4})});
  const std::string b = runs.write("b.jsonl", "truthfulqa-mc", {choice("q", {-5, -3}, {-9, -2})});
  const json flips = json::parse(runs.run({"compare", a, b, "--json"}).out)["flips"];
  REQUIRE(flips.size() == 1);
  CHECK(flips[0]["a"]["answer"] == "t0");
  CHECK(flips[0]["b"]["answer"] == "f1");
}

TEST_CASE("compare refuses runs that have not the same questions") {
  const Runs runs;
  const std::string a = runs.write("a.jsonl", "nq", {qa("q", "x", 1, 1)});
  runs.fails({"compare", a, runs.write("b.jsonl", "triviaqa", {qa("q", "x", 1, 1)})}, 1, {"tasks nq and triviaqa"});
  runs.fails({"compare", a, runs.write("c.jsonl", "nq", {qa("q", "x", 1, 1)}, "e")}, 1,
             {"data differ", "questions.jsonl"});
  runs.fails({"compare", a, runs.write("d.jsonl", "nq", {qa("q", "x", 1, 1), qa("r", "x", 1, 1)})}, 1,
             {"1 and 2 samples"});
  runs.fails({"compare", a, runs.path("none.jsonl")}, 1, {"none.jsonl"});
  write_file(runs.path("part.jsonl.part"), std::string());
  runs.fails({"compare", a, runs.path("part.jsonl")}, 1, {"part.jsonl", "not finished", "--resume"});
  json bare = qa("q", "x", 1, 1);
  bare.erase("f1");
  runs.fails({"compare", a, runs.write("e.jsonl", "nq", {bare})}, 1, {"sample 0", "'f1'"});
  json wrong = qa("q", "x", 1, 1);
  wrong["f1"] = -5;
  runs.fails({"compare", a, runs.write("g.jsonl", "nq", {wrong})}, 1,
             {"g.jsonl: line 1: sample 0: field 'f1': expected a number from 0 to 1, found '-5'"});
  runs.write("f.jsonl", "nq", {qa("q", "x", 1, 1)});
  write_file(runs.path("f.jsonl"), std::string("{\"sample\": 0}\n{\"sample\": 1"));
  runs.fails({"compare", a, runs.path("f.jsonl")}, 1, {"f.jsonl", "line 2"});
  for (const char* key : {"model", "data", "options", "task"}) {
    const std::string odd = runs.write("odd.jsonl", "nq", {qa("q", "x", 1, 1)});
    json manifest = json::parse(read_text(odd + ".manifest.json"));
    manifest[key] = 3;
    write_file(odd + ".manifest.json", manifest.dump());
    runs.fails({"compare", a, odd}, 1, {"odd.jsonl.manifest.json", "'" + std::string(key) + "'"});
  }
  runs.fails({"compare", a}, 2, {"B"});
}

TEST_CASE("export in lm-evaluation-harness's shapes") {
  const Runs runs;
  const std::string out = runs.write("a.jsonl", "nq", {qa("q0", "right", 1, 1), qa("q1", "no", 0, 0.5)});
  const Runs::Finished done = runs.run({"export", out, "-o", runs.path("lm")});
  CAPTURE(done.err);
  CHECK(done.code == 0);
  std::string results_file;
  std::string samples_file;
  for (const auto& entry : std::filesystem::directory_iterator(runs.folder / "lm" / "org__tiny__1.gguf")) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("results_2") && name.ends_with(".json")) results_file = entry.path().string();
    if (name.starts_with("samples_nq_2") && name.ends_with(".jsonl")) samples_file = entry.path().string();
  }
  REQUIRE(!results_file.empty());
  REQUIRE(!samples_file.empty());
  const json results = json::parse(read_text(results_file));
  CHECK(results["results"]["nq"]["em,none"] == 0.5);
  CHECK(results["results"]["nq"]["em_stderr,none"].get<double>() == doctest::Approx(0.5));  // sqrt(0.5 / 2)
  CHECK(results["results"]["nq"]["f1,none"] == 0.75);
  CHECK(results["n-shot"]["nq"] == 2);
  CHECK(results["n-samples"]["nq"] == json{{"original", 2}, {"effective", 2}});
  CHECK(results["higher_is_better"]["nq"]["f1"] == true);
  for (const char* key : {"configs", "versions", "config", "git_hash", "date", "task_hashes", "group_subtasks",
                          "model_source", "model_name", "model_name_sanitized", "total_evaluation_time_seconds"})
    CHECK(results.contains(key));
  const auto samples = json_lines(read_text(samples_file));
  REQUIRE(samples.size() == 2);
  const json& s = samples[1];
  CHECK(s["doc_id"] == 1);
  CHECK(s["doc"]["question"] == "q1");
  CHECK(s["target"] == "[\"right\"]");
  CHECK(s["arguments"]["gen_args_0"]["arg_0"].get<std::string>().ends_with("Q: q1\nA: "));
  CHECK(s["arguments"]["gen_args_0"]["arg_1"]["until"] == json::array({"Q:"}));
  CHECK(s["resps"] == json::array({json::array({"no\n"})}));
  CHECK(s["filtered_resps"] == json::array({"no"}));
  CHECK(s["filter"] == "none");
  CHECK(s["metrics"] == json{"em", "strict_em", "f1"});
  CHECK(s["f1"] == 0.5);
  // As sha256sum prints it.
  CHECK(s["target_hash"] == "074d45adee809eda8f0c17209c9dc323917532f10e85413beaddcee401824fa0");
  // The same files again.
  const std::string before = read_text(results_file);
  CHECK(runs.run({"export", out, "-o", runs.path("lm")}).code == 0);
  CHECK(read_text(results_file) == before);

  const std::string mc = runs.write("mc.jsonl", "truthfulqa-mc", {choice("q", {-1, -3}, {-2})});
  CHECK(runs.run({"export", mc, "-o", runs.path("mc")}).code == 0);
  for (const auto& entry : std::filesystem::directory_iterator(runs.folder / "mc" / "org__tiny__1.gguf")) {
    if (entry.path().extension() != ".jsonl") continue;
    const json line = json_lines(read_text(entry.path()))[0];
    CHECK(line["target"] == "t0");
    CHECK(line["doc"]["labels"] == json{1, 1, 0});
    CHECK(line["arguments"]["gen_args_2"]["arg_1"] == " f0");
    CHECK(line["filtered_resps"][1][0] == "-3.0");
  }
}

TEST_CASE("export stays in its folder, whatever the model is called") {
  const Runs runs;
  for (const char* model : {"..", ".", "", "../..", "../../x"}) {
    CAPTURE(model);
    const std::string out = runs.write("a.jsonl", "nq", {qa("q0", "right", 1, 1), qa("q1", "no", 0, 0)});
    json manifest = json::parse(read_text(out + ".manifest.json"));
    manifest["model"]["path"] = model;
    write_file(out + ".manifest.json", manifest.dump());
    const std::filesystem::path folder = runs.folder / "deep/lm";
    CHECK(runs.run({"export", out, "-o", folder.string()}).code == 0);
    REQUIRE(std::distance(std::filesystem::directory_iterator(folder), {}) == 1);
    CHECK(std::filesystem::directory_iterator(folder)->is_directory());
    CHECK(std::distance(std::filesystem::directory_iterator(folder.parent_path()), {}) == 1);
    std::filesystem::remove_all(folder.parent_path());
  }
}

TEST_CASE("export in the reference's shapes") {
  const Runs runs;
  const std::string out = runs.write("a.jsonl", "nq", {qa("q0", "right", 1, 1), qa("q1", "no", 0, 0.5)});
  CHECK(runs.run({"export", out, "--format", "reference"}).code == 0);
  const json rating = json::parse(read_text(runs.path("a_rating.json")));
  CHECK(rating["exact_match"] == 50);
  CHECK(rating["f1"] == 75);
  CHECK(rating["denominator"] == 2);
  CHECK(rating["is_correct"] == json{{"0", 1}, {"1", 0}});
  CHECK(rating["num_error"] == 1);
  CHECK(rating["mode"] == "activation");
  CHECK(rating["sample_prompt"].get<std::string>().ends_with("Q: q0\nA: "));
  const json results = json::parse(read_text(runs.path("a_results.json")));
  CHECK(results["correct_samples"]["0"] ==
        json{{"Q", "q0"}, {"model_prediction", "right"}, {"A", {"right"}}, {"correct", 1}});
  CHECK(results["error_samples"]["1"]["model_prediction"] == "no");
  // A run of before mc2_reference was recorded: its scores say it.
  CHECK(runs.run({"export", runs.write("mc.jsonl", "truthfulqa-mc", {choice("q", {-1000}, {-500})}), "--format",
                  "reference"})
            .code == 0);
  const json mc = json::parse(read_text(runs.path("mc.json")));
  CHECK(mc["model_scores"][0]["MC2"] == 0.5);
  CHECK(mc["model_scores"][0]["diff"] == -500);
  CHECK(mc["question"][0]["answer_false"] == "f0");
  runs.fails({"export", runs.write("mc.json", "truthfulqa-mc", {choice("q", {-1}, {-2})}), "--format", "reference"}, 1,
             {"--format reference", "mc.json", "--output-path"});
  runs.fails({"export", runs.write("f.jsonl", "factor", {choice("q", {-1}, {-2})}), "--format", "reference"}, 1,
             {"--format reference", "factor"});
}

TEST_CASE("judgements from a file, and by a local model") {
  const Runs runs;
  std::vector<json> records;
  for (int i = 0; i < 5; ++i)
    records.push_back({{"question", "q" + std::to_string(i)},
                       {"answer", "a"},
                       {"rejected", 0},
                       {"log_probs", {-i}},
                       {"entropies", {5 - i}}});
  const std::string out = runs.write("gen.jsonl", "truthfulqa-gen", records);
  runs.fails({"judge", out}, 2, {"--truth-model"});
  runs.fails({"judge", out, "--truth-model", "m", "--timeout", "3"}, 2, {"--timeout", "--url"});
  runs.fails({"judge", runs.write("nq.jsonl", "nq", {qa("q", "x", 1, 1)}), "--truth-model", "m"}, 1,
             {"nq.jsonl", "truthfulqa-gen"});
  write_file(runs.path("ratings.jsonl"), std::string(R"({"sample": 0, "truth": 0.5, "info": true}
{"sample": 1, "truth": 0.49, "info": 1}
{"sample": 2, "truth": 0, "info": 0.2}
{"sample": 3, "truth": 1.5, "info": 0.2}
)"));
  runs.fails({"judge", out, "-q", "--judgements", runs.path("ratings.jsonl")}, 1, {"sample 3", "'truth'", "1.5"});
  std::filesystem::remove(out + ".judgements.jsonl.part");
  std::filesystem::remove(out + ".judgements.jsonl.manifest.json");
  write_file(runs.path("ratings.jsonl"), std::string(R"({"sample": 4, "truth": 1, "info": 0}
{"sample": 0, "truth": 0.5, "info": true}
{"sample": 1, "truth": 0.49, "info": 1}
{"sample": 2, "truth": 0, "info": 0.2}
{"sample": 3, "truth": 0, "info": 0.7}
)"));
  const Runs::Finished done = runs.run({"judge", out, "-q", "--judgements", runs.path("ratings.jsonl")});
  CAPTURE(done.err);
  CHECK(done.code == 0);
  const json summary = json::parse(read_text(out + ".summary.json"));
  CHECK(summary["metrics"]["truth"]["value"] == 40);
  CHECK(summary["metrics"]["info"]["value"] == 60);
  CHECK(summary["metrics"]["truth*info"]["value"] == 20);
  // True by one half: 0 and 4. By anything but 0: 1, too. Trusted by low entropy: 4, 3, 2, 1, 0.
  CHECK(summary["detection"]["entropy"]["auroc"]["value"].get<double>() == doctest::Approx(0.5));
  // The right ones are first and last: precisions 1, 1/2, 1/3, 1/4, 2/5 where the recall is 1/2 up to the last.
  CHECK(summary["detection"]["entropy"]["auprc"]["value"].get<double>() == doctest::Approx((1 + 0.4) / 2));
  CHECK(summary["detection"]["entropy"]["aurc"]["value"].get<double>() ==
        doctest::Approx(0.5 * 1 + 0.5 * (0.25 + 0.4) / 2));
  CHECK(summary["detection_nonzero"]["entropy"]["auroc"]["value"].get<double>() == doctest::Approx(2.0 / 6));

  // A random model has no opinion, but it is asked, and of truth alone.
  const std::string model = runs.tiny_model();
  const std::string other = runs.write("gen2.jsonl", "truthfulqa-gen", records);
  const Runs::Finished local = runs.run({"judge", other, "-q", "-t", "1", "--truth-model", model});
  CAPTURE(local.err);
  CHECK(local.code == 0);
  const auto judgements = json_lines(read_text(other + ".judgements.jsonl"));
  REQUIRE(judgements.size() == 5);
  for (const json& j : judgements) {
    CHECK(j["truth"].get<double>() >= 0);
    CHECK(j["truth"].get<double>() <= 1);
    CHECK(!j.contains("info"));
  }
  const json truth_only = json::parse(read_text(other + ".summary.json"));
  CHECK(truth_only["metrics"].contains("truth"));
  CHECK(!truth_only["metrics"].contains("truth*info"));
}

TEST_CASE("the manifest of a sweep's shard is checked before its numbers are used") {
  const Runs runs;
  const std::string shard = runs.write(
      "shard.jsonl", "sweep nq", {json::parse(R"({"question": "q", "em": [[1]], "strict_em": [[1]], "f1": [[0.5]]})")});
  json manifest = json::parse(read_text(shard + ".manifest.json"));
  manifest["shard"] = "1/1";
  const auto merged = [&](const char* alphas, const char* layers, const char* out) {
    manifest["options"]["alphas"] = json::parse(alphas);
    manifest["options"]["info_layers"] = json::parse(layers);
    write_file(shard + ".manifest.json", manifest.dump());
    return std::vector<std::string>{"merge", runs.path(out), shard};
  };
  runs.fails(merged(R"(["=\u009b"])", "[1]", "a"), 1, {"options/alphas"});
  runs.fails(merged("[0.5]", R"({"x": 1})", "b"), 1, {"options/info_layers"});
  runs.fails(merged("0.5", "[1]", "c"), 1, {"options/alphas"});
  for (const char* samples : {"1e39", "-1e300", "0.5", "18446744073709551615", "\"1\"", "null"}) {
    const auto command = merged("[0.5]", "[1]", "e");
    json other = manifest;
    other["data"]["samples"] = json::parse(samples);
    write_file(shard + ".manifest.json", other.dump());
    runs.fails(command, 1, {"data/samples"});
  }
  REQUIRE(runs.run(merged("[0.5]", "[1]", "d")).code == 0);
  CHECK(read_text(runs.path("d.grid.csv")) ==
        "metric,alpha,layer,value\r\nem,0.5,1,100\r\nstrict_em,0.5,1,100\r\nf1,0.5,1,50\r\n");
}

TEST_CASE("a sweep has at every point what a run there has") {
  const Runs runs;
  const std::string model = runs.tiny_model();
  write_file(runs.path("nq.jsonl"), std::string(R"({"question": "who is it", "answer": ["x"]}
{"question": "where was it", "answer": ["y"]}
)"));
  write_file(runs.path("t.csv"),
             std::string("Category,Question,Best Answer,Correct Answers,Incorrect Answers\n"
                         "c,What is it?,A cat,A cat; It is a cat,A dog; The cow\nc,Who?,Me,Me,You; They; It\n"));
  const std::vector<std::pair<std::string, std::string>> points{{"0", "1"}, {"0", "4"}, {"3", "1"}, {"3", "4"}};
  struct Sweep {
    std::string task;
    std::string data;
    std::vector<std::string> mode = {};
  };
  const std::vector<std::string> dola{"--decoding_mode", "activation_dola", "--early_exit_layers", "0,2,4"};
  for (const Sweep& sweep : {Sweep{"nq", "nq.jsonl"}, Sweep{"truthfulqa-mc", "t.csv"}, Sweep{"nq", "nq.jsonl", dola},
                             Sweep{"truthfulqa-mc", "t.csv", dola}}) {
    const std::string& task = sweep.task;
    const std::string& data = sweep.data;
    CAPTURE(task);
    const std::string name = task + std::to_string(sweep.mode.size());
    const std::string out = runs.path("sweep_" + name);
    std::vector<std::string> command{
        "sweep",         task, "-q",       "-m",  model,           "-t", "1", "--data-path", runs.path(data),
        "--output-path", out,  "--alphas", "0,3", "--info_layers", "1,4"};
    command.insert(command.end(), sweep.mode.begin(), sweep.mode.end());
    const Runs::Finished swept = runs.run(command);
    CAPTURE(swept.err);
    REQUIRE(swept.code == 0);
    const auto records = json_lines(read_text(out));
    const json grid = json::parse(read_text(out + ".grid.json"));
    CHECK(grid["alphas"] == json{0.0, 3.0});
    CHECK(grid["layers"] == json{1, 4});
    CHECK(read_text(out + ".grid.csv").starts_with("metric,alpha,layer,value\r\n"));
    std::set<std::string> different;
    for (std::size_t i = 0; i < points.size(); ++i) {
      const std::string single = runs.path(name + std::to_string(i));
      std::vector<std::string> point{task,
                                     "-q",
                                     "-m",
                                     model,
                                     "-t",
                                     "1",
                                     "--data-path",
                                     runs.path(data),
                                     "--output-path",
                                     single,
                                     "--alpha",
                                     points[i].first,
                                     "--info_layer",
                                     points[i].second};
      point.insert(point.end(), sweep.mode.begin(), sweep.mode.end());
      const Runs::Finished ran = runs.run(point);
      CAPTURE(ran.err);
      REQUIRE(ran.code == 0);
      const auto expected = json_lines(read_text(single));
      const std::size_t a = i / 2;
      const std::size_t k = i % 2;
      for (std::size_t q = 0; q < expected.size(); ++q) {
        if (task == "nq") {
          CHECK(records[q]["answers"][a][k] == expected[q]["answer"]);
          CHECK(records[q]["f1"][a][k] == expected[q]["f1"]);
          different.insert(expected[q]["answer"]);
          continue;
        }
        CHECK(records[q]["mc1"][a][k] == expected[q]["mc1"]);
        CHECK(records[q]["mc2"][a][k] == expected[q]["mc2"]);
        CHECK(records[q]["mc2_reference"][a][k] == expected[q]["mc2_reference"]);
        for (const char* kind : {"true", "false"})
          for (std::size_t n = 0; n < expected[q][kind].size(); ++n) {
            const json& answer = records[q][kind][n];
            const double score = answer["log_prob"].get<double>() -
                                 grid["alphas"][a].get<double>() * answer["entropies"][k].get<double>();
            CHECK(score == expected[q][kind][n]["score"].get<double>());  // to the last bit: it reads the same prefix
          }
      }
      const std::string metric = task == "nq" ? "f1" : "mc2";
      const json summary = json::parse(read_text(single + ".summary.json"));
      CHECK(grid["metrics"][metric][a][k].get<double>() ==
            doctest::Approx(summary["metrics"][metric]["value"].get<double>()).epsilon(1e-6));
    }
    if (task == "nq") CHECK(different.size() > 3);

    // A sweep that lost its end goes on, and ends with the same bytes.
    const std::string whole = read_text(out);
    std::filesystem::rename(out, out + ".part");
    write_file(out + ".part", whole.substr(0, whole.find('\n') + 5));
    std::vector<std::string> again = command;
    again.push_back("--resume");
    CHECK(runs.run(again).code == 0);
    CHECK(read_text(out) == whole);
    runs.fails(command, 1, {"resume"});
    again[std::size_t(std::find(again.begin(), again.end(), "0,3") - again.begin())] = "0,2";
    runs.fails(again, 1, {"cannot be resumed, 'options"});
  }
  runs.fails({"sweep", "factor", "-m", model, "--data-path", "x", "--output-path", "y"}, 2, {"TASK"});
  const std::vector<std::string> base{
      "sweep", "nq", "-q", "-m", model, "--data-path", runs.path("nq.jsonl"), "--output-path", runs.path("bad")};
  const auto with = [&](const std::string& option, const std::string& value) {
    std::vector<std::string> all = base;
    all.push_back(option);
    all.push_back(value);
    return all;
  };
  runs.fails(with("--alphas", "0,-1"), 2, {"--alphas"});
  runs.fails(with("--alphas", "0,,1"), 2, {"--alphas"});
  runs.fails(with("--info_layers", "1,x"), 2, {"--info_layers"});
  runs.fails(with("--context", "prompt"), 2, {"--context", "nq"});
  runs.fails(with("--info_layers", "5"), 1, {"5"});
  runs.fails(with("--activation_dola_base", "logits"), 2, {"--activation_dola_base", "activation_dola"});
}

TEST_CASE("chat: sampled answers, the same for the same seed") {
  const Runs runs;
  const std::string model = runs.tiny_model();
  write_file(runs.path("q.jsonl"), std::string(R"({"question_id": 81, "text": "Write a poem.", "category": "writing"}
{"question_id": "b", "text": "Why?"}
{"question_id": 83, "text": "How?"}
)"));
  const auto command = [&](const std::string& answers, const std::vector<std::string>& more) {
    std::vector<std::string> all{"chat",
                                 "-q",
                                 "-m",
                                 model,
                                 "-t",
                                 "1",
                                 "--model-id",
                                 "tiny-vicuna",
                                 "--question-file",
                                 runs.path("q.jsonl"),
                                 "--answer-file",
                                 runs.path(answers),
                                 "-n",
                                 "12"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const Runs::Finished done = runs.run(command("a.jsonl", {"--seed", "5"}));
  CAPTURE(done.err);
  REQUIRE(done.code == 0);
  const auto answers = json_lines(read_text(runs.path("a.jsonl")));
  REQUIRE(answers.size() == 3);
  CHECK(answers[0]["question_id"] == 81);
  CHECK(answers[1]["question_id"] == "b");
  CHECK(answers[0]["model_id"] == "tiny-vicuna");
  CHECK(answers[0]["metadata"] == json::object());
  CHECK(answers[0]["answer_id"].get<std::string>().size() == 22);
  CHECK(answers[0]["answer_id"] != answers[1]["answer_id"]);
  for (const json& a : answers) CHECK(!a["text"].get<std::string>().empty());
  // One question at a time, every mode, another seed.
  CHECK(runs.run(command("b.jsonl", {"--seed", "5", "-j", "1"})).code == 0);
  CHECK(read_text(runs.path("b.jsonl")) == read_text(runs.path("a.jsonl")));
  CHECK(runs.run(command("c.jsonl", {"--seed", "6"})).code == 0);
  CHECK(json_lines(read_text(runs.path("c.jsonl")))[0]["text"] != answers[0]["text"]);
  CHECK(runs.run(command("d.jsonl", {"--decoding_mode", "activation_dola", "--early_exit_layers", "0,2,4"})).code == 0);
  // After a kill.
  const std::string log = read_text(runs.path("a.jsonl.log"));
  CHECK(json_lines(log)[0]["question_id"] == 81);
  CHECK(json_lines(log)[1]["question_id"] == "b");
  CHECK(json_lines(log)[1]["text"] == answers[1]["text"]);
  const std::string before = read_text(runs.path("a.jsonl"));
  std::filesystem::remove(runs.path("a.jsonl.log"));
  std::filesystem::remove(runs.path("a.jsonl"));
  write_file(runs.path("a.jsonl.log.part"), log.substr(0, log.find('\n') + 1));
  CHECK(runs.run(command("a.jsonl", {"--seed", "5"})).code == 0);
  CHECK(read_text(runs.path("a.jsonl")) == before);
  runs.fails(command("a.jsonl", {"--seed", "7"}), 1, {"cannot be resumed, 'options"});
  for (const auto& [id, complaint] : {std::pair<std::string, std::string>{R"("question_id":82,)", "have '81' there"},
                                      {R"("question_id":null,)", "expected a text or a whole number, found 'null'"},
                                      {"", "field 'question_id' is missing"}}) {
    std::string other = log;
    other.replace(other.find(R"("question_id":81,)"), 17, id);
    write_file(runs.path("a.jsonl.log"), other);
    runs.fails(command("a.jsonl", {"--seed", "5"}), 1, {"a.jsonl.log: line 1: sample 0: ", complaint});
  }
  write_file(runs.path("q.jsonl"), std::string("{\"question_id\": 1}\n"));
  runs.fails(command("e.jsonl", {}), 1, {"q.jsonl", "line 1", "'text'"});
  write_file(runs.path("q.jsonl"), std::string("{\"question_id\": [1], \"text\": \"a\"}\n"));
  runs.fails(command("e.jsonl", {}), 1, {"q.jsonl", "line 1", "'question_id' to be a text or a whole number"});
}

TEST_CASE("a run of a split model goes on from whichever part is given") {
  const Runs runs;
  const test::GgufBuilder whole = Runs::tiny_gguf();
  const auto count = static_cast<std::int32_t>(whole.tensors.size());
  std::vector<std::string> parts;
  for (std::uint16_t part = 0; part < 2; ++part) {
    test::GgufBuilder builder;
    if (part == 0) builder.values = whole.values;
    builder.value("split.no", part).value("split.count", std::uint16_t{2}).value("split.tensors.count", count);
    for (std::size_t i = part; i < whole.tensors.size(); i += 2) builder.tensor(whole.tensors[i]);
    parts.push_back(runs.path("m-0000" + std::to_string(part + 1) + "-of-00002.gguf"));
    write_file(parts.back(), builder.bytes());
  }
  write_file(runs.path("nq.jsonl"), std::string("{\"question\": \"who\", \"answer\": [\"x\"]}\n"));
  write_file(runs.path("q.jsonl"), std::string("{\"question_id\": 1, \"text\": \"Why?\"}\n"));
  for (const std::string& part : {parts[1], parts[0]}) {
    CAPTURE(part);
    const Runs::Finished run = runs.run({"nq", "-q", "-m", part, "-t", "1", "--data-path", runs.path("nq.jsonl"),
                                         "--output-path", runs.path("out"), "--resume", "--max-new-tokens", "2"});
    CAPTURE(run.err);
    CHECK(run.code == 0);
    const Runs::Finished chat =
        runs.run({"chat", "-q", "-m", part, "-t", "1", "--model-id", "vicuna", "-n", "2", "--question-file",
                  runs.path("q.jsonl"), "--answer-file", runs.path("answers")});
    CAPTURE(chat.err);
    CHECK(chat.code == 0);
    for (const char* log : {"out", "answers.log"})
      CHECK(json::parse(read_text(runs.path(log) + ".manifest.json"))["model"]["path"] == "m-00001-of-00002.gguf");
  }
}

TEST_CASE("an export leaves files alone that are not its own") {
  const Runs runs;
  const std::string out = runs.write("a.jsonl", "nq", {qa("q0", "right", 1, 1), qa("q1", "no", 0, 0.5)});
  const std::vector<std::string> command{"export", out, "--format", "reference", "-o", runs.path("made/here")};
  CHECK(runs.run(command).code == 0);
  CHECK(runs.run(command).code == 0);  // the same again
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(runs.folder / "made" / "here"))
    files.push_back(entry.path());
  REQUIRE(files.size() >= 2);
  for (const std::filesystem::path& file : files) {
    const std::string content = read_text(file);
    write_file(file, content.substr(0, content.size() / 2) + "somebody else's");
    const std::string other = read_text(file);
    runs.fails(command, 1, {file.string(), "is there", "--overwrite"});
    CHECK(read_text(file) == other);
    std::vector<std::string> all = command;
    all.emplace_back("--overwrite");
    CHECK(runs.run(all).code == 0);
    CHECK(read_text(file) == content);
    std::filesystem::remove(file);
    std::filesystem::create_symlink(out + ".manifest.json", file);
    runs.fails(all, 2, {file.string(), "is read by this run"});
    std::filesystem::remove(file);
    CHECK(runs.run(command).code == 0);
  }
  CHECK(json_lines(read_text(out)).size() == 2);
}

TEST_CASE("where a run goes is tried before the work") {
  const Runs runs;
  write_file(runs.path("nq.jsonl"), std::string("{\"question\": \"who\", \"answer\": [\"x\"]}\n"));
  const std::string data = read_text(runs.path("nq.jsonl"));
  // There is no such model: whoever complains of that has tried the output.
  const auto to = [&](const std::string& output, const std::vector<std::string>& more = {}) {
    std::vector<std::string> words{
        "nq", "-m", runs.path("no.gguf"), "--data-path", runs.path("nq.jsonl"), "--output-path", output, "-q"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  runs.fails(to(""), 2, {"--output-path", "expected a file's name"});
  runs.fails(to(runs.folder.path().string()), 1, {"is not a regular file"});
  runs.fails(to(runs.path("made/")), 1, {"made/", "is not a regular file"});
  runs.fails(to(runs.path("nq.jsonl/out")), 1, {"nq.jsonl: the folder cannot be made", "Not a directory"});
  runs.fails(to("/proc/out.jsonl"), 1, {"/proc: cannot be written"});
  for (const char* output : {"nq.jsonl", "./nq.jsonl"})
    runs.fails(to(runs.path(output)), 2, {"--output-path", "is read by this run"});
  for (const char* suffix : {".part", ".manifest.json", ".summary.json"}) {
    std::filesystem::create_symlink(runs.path("nq.jsonl"), runs.path("out") + suffix);
    for (const std::vector<std::string>& more : {std::vector<std::string>{}, {"--resume"}})
      runs.fails(to(runs.path("out"), more), 2, {"--output-path", suffix, "is read by this run"});
    std::filesystem::remove(runs.path("out") + suffix);
  }
  write_file(runs.path("out.summary.json"), std::string("mine"));
  for (const std::vector<std::string>& more : {std::vector<std::string>{}, {"--resume"}})
    runs.fails(to(runs.path("out"), more), 1, {"out.summary.json: is there, without the run"});
  CHECK(read_text(runs.path("out.summary.json")) == "mine");
  std::filesystem::create_symlink(runs.path("nowhere"), runs.path("dangling.part"));
  runs.fails(to(runs.path("dangling")), 1, {"an earlier run is there"});
  CHECK_FALSE(std::filesystem::exists(runs.path("nowhere")));
  CHECK(read_text(runs.path("nq.jsonl")) == data);

  runs.fails(to(runs.path("made/at/once/out")), 1, {"no.gguf"});
  CHECK(std::filesystem::is_empty(runs.path("made/at/once")));
  runs.fails({"chat", "-m", runs.path("no.gguf"), "--model-id", "vicuna", "--question-file", runs.path("nq.jsonl"),
              "--answer-file", runs.path("nq.jsonl")},
             2, {"--answer-file", "is read by this run"});
  write_file(runs.path("answer.jsonl"), std::string("mine"));
  runs.fails({"chat", "-m", runs.path("no.gguf"), "--model-id", "vicuna", "--question-file", runs.path("nq.jsonl"),
              "--answer-file", runs.path("answer.jsonl")},
             1, {"answer.jsonl: is there"});
  const std::string shard = runs.write("shard", "nq", {qa("q", "x", 1, 1)});
  runs.fails({"merge", shard, shard}, 2, {"OUT", "is read by this run"});
}

TEST_CASE("a run goes on with records of its own only") {
  const Runs runs;
  const std::string model = runs.tiny_model();
  write_file(runs.path("nq.jsonl"), std::string(R"({"question": "who is it", "answer": ["x"]}
{"question": "where was it", "answer": ["y"]}
{"question": "what is it", "answer": ["z"]}
)"));
  write_file(runs.path("t.csv"),
             std::string("Category,Question,Best Answer,Correct Answers,Incorrect Answers\n"
                         "c,What is it?,A cat,A cat; It is a cat,A dog; The cow\nc,Who?,Me,Me,You; They; It\n"
                         "c,Where?,Here,Here,There; Nowhere\n"));
  const auto changed = [](json record, const std::string& key, const json& value) {
    record[key] = value;
    return record;
  };
  for (const std::string task : {"nq", "truthfulqa-mc", "truthfulqa-gen"}) {
    CAPTURE(task);
    const std::string data = task == "nq" ? "nq.jsonl" : "t.csv";
    const std::string out = runs.path("run_" + task);
    std::vector<std::string> command{
        task, "-q", "-m", model, "-t", "1", "--data-path", runs.path(data), "--output-path", out, "--resume"};
    if (task != "truthfulqa-mc") command.insert(command.end(), {"--max-new-tokens", "3"});
    REQUIRE(runs.run(command).code == 0);
    const std::string whole = read_text(out);
    std::vector<json> records = json_lines(whole);
    REQUIRE(records.size() == 3);
    const auto lines = [](const std::vector<json>& all) {
      std::string text;
      for (const json& record : all) text += record.dump() + '\n';
      return text;
    };
    const auto refuses = [&](const json& second, const std::vector<std::string>& words) {
      for (const char* suffix : {"", ".part"}) {
        std::filesystem::remove(out);
        write_file(out + suffix, lines({records[0], second}));
        std::vector<std::string> all{out + suffix + ": line 2: sample "};
        all.insert(all.end(), words.begin(), words.end());
        const std::string before = read_text(out + suffix);
        runs.fails(command, 1, all);
        CHECK(read_text(out + suffix) == before);
        std::filesystem::remove(out + ".part");
      }
    };
    const std::string share = task == "nq" ? "f1" : task == "truthfulqa-mc" ? "mc2" : "rejected";
    for (const json& value : {json(-5), json(1.5), json("1"), json(), json::array({1})})
      refuses(changed(records[1], share, value), {"field '" + share + "'", "from 0 to 1"});
    for (const char* key : {"question", "em", "gold", "tokens", "true", "best", "mc1", "answer", "finish"})
      if (records[1].contains(key)) {
        json without = records[1];
        without.erase(key);
        refuses(without, {"'" + std::string(key) + "'"});
        refuses(changed(records[1], key, json::object()), {"'" + std::string(key) + "'"});
      }
    refuses(changed(records[1], "sample", 2), {"sample 2", "the data set has", "renumbered"});
    refuses(changed(records[1], "sample", 3), {"sample 3", "no sample of this run"});
    refuses(json{{"sample", 1}}, {"sample 1", "missing"});
    // And what is whole is taken, to the same bytes.
    std::filesystem::remove(out);
    write_file(out + ".part", whole.substr(0, whole.find('\n') + 1));
    CHECK(runs.run(command).code == 0);
    CHECK(read_text(out) == whole);
  }
}
