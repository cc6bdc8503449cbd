// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/sweep.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/evaluation/answer_metrics.hpp"
#include "activation_trace/evaluation/data_sets.hpp"
#include "activation_trace/evaluation/multiple_choice.hpp"
#include "activation_trace/evaluation/prompts.hpp"
#include "activation_trace/evaluation/run_log.hpp"
#include "evaluate/engine.hpp"
#include "evaluate/progress.hpp"
#include "evaluate/run.hpp"
#include "evaluate/summary.hpp"
#include "evaluate/task.hpp"
#include "support/command_line.hpp"
#include "support/interrupt.hpp"
#include "support/score_settings.hpp"

namespace activation_trace::examples {
namespace {

using Json = nlohmann::ordered_json;
using Texts = std::vector<std::string>;

struct SweepSettings {
  TaskSettings task;
  detail::RawScoreSettings raw;
  std::string name;
  std::string alphas = "0,0.2,0.4,0.6,0.8,1";
  std::string layers;
  std::string output_path;
  bool resume = false;
  Index parallel = 16;  ///< texts of a question at once
};

/// A question of either kind.
struct SweepQuestion {
  std::string text;
  std::string prompt;
  Texts gold;       ///< of a question that is answered freely
  Texts correct;    ///< of a multiple choice
  Texts incorrect;  ///< the same
  Index best = 0;
};

std::vector<SweepQuestion> read_questions(const TaskSettings& task) {
  std::vector<SweepQuestion> questions;
  const std::filesystem::path path = data_file(task);
  const auto add = [&](const std::vector<QaQuestion>& all) {
    for (const QaQuestion& q : all)
      questions.push_back({.text = q.question,
                           .prompt = knowledge_qa_prompt(q.question, task.prompt_style),
                           .gold = q.gold,
                           .correct = {},
                           .incorrect = {}});
  };
  switch (task.traits.kind) {
    case TaskKind::triviaqa: add(read_triviaqa(path)); break;
    case TaskKind::hotpotqa: add(read_hotpotqa(path)); break;
    case TaskKind::nq: add(read_nq_open(path)); break;
    case TaskKind::truthfulqa_mc:
      for (const TruthfulQuestion& q : read_truthfulqa(path))
        questions.push_back({.text = q.question,
                             .prompt = truthfulqa_prompt(q.question),
                             .gold = {},
                             .correct = q.correct,
                             .incorrect = q.incorrect,
                             .best = q.best});
      break;
    default: throw UsageError(std::string("sweep: ") + task.traits.name + " has no sweep");
  }
  return questions;
}

std::vector<double> parse_alphas(const std::string& text) {
  std::vector<double> alphas;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::optional<double> alpha = parse_number<double>(std::string_view(text).substr(begin, end - begin));
    if (!alpha || !(*alpha >= 0 && *alpha <= static_cast<double>(std::numeric_limits<float>::max())))
      throw UsageError("--alphas: expected numbers >= 0 like 0,0.5,1, got " + text);
    alphas.push_back(*alpha);
    begin = end + 1;
  }
  return alphas;
}

/// The layers of the grid as 0..N; unless they are named, every second one of the upper half, as published.
std::vector<Index> choose_layers(const std::string& text, Index blocks) {
  std::vector<Index> layers;
  if (text.empty())
    for (Index layer = blocks; layer >= blocks / 2; layer -= 2) layers.insert(layers.begin(), layer);
  else if (text != "all")
    layers = parse_layers("--info_layers", text);
  return resolve_layers(layers, blocks);
}

/// A data set put to a model at every point of a grid.
class Sweep : public Task {
 public:
  Sweep(Engine& engine, const SweepSettings& settings)
      : engine_(engine),
        settings_(settings.task),
        questions_(read_questions(settings.task)),
        alphas_(parse_alphas(settings.alphas)),
        layers_(choose_layers(settings.layers, engine.checkpoint().config.layers)) {
    const ScoreColumn column{"activation", DecodingMode::activation};
    score_ = score_options(settings_.scoring, column, engine.checkpoint());
    generation_ = generation_options(score_);
    generation_.repetition_penalty = settings_.repetition_penalty;
    generation_.max_new_tokens = settings_.max_new_tokens;
    generation_.eos = engine.end_tokens();
    generation_.stop = {std::string(kNextQuestion)};
    for (const double alpha : alphas_)
      for (const Index layer : layers_) points_.push_back({static_cast<float>(alpha), layer});
  }

  [[nodiscard]] const std::vector<double>& alphas() const { return alphas_; }
  [[nodiscard]] const std::vector<Index>& layers() const { return layers_; }
  /// Of the records: grids [alphas][layers] of shares of 1.
  [[nodiscard]] std::vector<std::string> metrics() const {
    if (settings_.traits.generates) return {"em", "strict_em", "f1"};
    return {"mc1", "mc2", "mc3"};
  }

  [[nodiscard]] Index size() const override { return std::ssize(questions_); }

  [[nodiscard]] Index positions(Index sample) const override {
    const SweepQuestion& q = at(sample);
    if (settings_.traits.generates)
      return static_cast<Index>(engine_.encode(q.prompt).size()) + generation_.max_new_tokens;
    std::size_t longest = 0;
    for (const std::string& answer : continuations(q))
      longest = std::max(longest, engine_.encode(q.prompt + answer).size());
    return static_cast<Index>(longest);
  }

  [[nodiscard]] Json options() const override {
    Json j{{"alphas", alphas_},
           {"info_layers", layers_},
           {"final_norm", score_.final_norm.has_value()},
           {"context_span", {score_.span.begin, score_.span.end}},
           {"batch_size", score_.prefill_piece}};
    if (settings_.traits.generates)
      j.update({{"relative_top", generation_.relative_top},
                {"min_tokens_to_keep", generation_.min_tokens_to_keep},
                {"max_new_tokens", generation_.max_new_tokens},
                {"repetition_penalty", generation_.repetition_penalty},
                {"stop", generation_.stop},
                {"prompt_style", settings_.prompt_style == PromptStyle::few_shot ? "few_shot" : "zero_shot"}});
    else
      j["context"] = score_.context == ScoreContext::whole ? "whole" : "prompt";
    return j;
  }

  void run(std::span<const Index> samples, const Emit& emit, const std::stop_token& stop) override {
    for (const Index sample : samples) {
      if (stop.stop_requested()) return;
      emit(sample, settings_.traits.generates ? answer(at(sample)) : choose(at(sample)));
    }
  }

 private:
  [[nodiscard]] const SweepQuestion& at(Index sample) const { return questions_[static_cast<std::size_t>(sample)]; }

  static Texts continuations(const SweepQuestion& q) { return truthfulqa_continuations(q.correct, q.incorrect); }

  /// [alphas][layers] of what value(point) says.
  template <class Value>
  [[nodiscard]] Json grid(const Value& value) const {
    Json rows = Json::array();
    for (std::size_t a = 0; a < alphas_.size(); ++a) {
      rows.push_back(Json::array());
      for (std::size_t k = 0; k < layers_.size(); ++k) rows.back().push_back(value(a * layers_.size() + k));
    }
    return rows;
  }

  [[nodiscard]] Json answer(const SweepQuestion& q) const {
    const std::vector<GenerationResult> results = engine_.generate_grid(engine_.encode(q.prompt), points_, generation_);
    Texts answers;
    std::vector<AnswerMetrics> metrics;
    for (const GenerationResult& result : results) {
      answers.push_back(knowledge_qa_answer(result.text));
      metrics.push_back(compare_answer(answers.back(), q.gold));
    }
    return {{"question", q.text},
            {"answers", grid([&](std::size_t i) { return answers[i]; })},
            {"em", grid([&](std::size_t i) { return metrics[i].exact_match ? 1.0 : 0.0; })},
            {"strict_em", grid([&](std::size_t i) { return metrics[i].strict_exact_match ? 1.0 : 0.0; })},
            {"f1", grid([&](std::size_t i) { return metrics[i].f1; })}};
  }

  // Scores are linear in alpha, so one pass gives them all.
  [[nodiscard]] Json choose(const SweepQuestion& q) const {
    const std::vector<LayerEntropies> answers = engine_.layer_entropies(q.prompt, continuations(q), layers_, score_);
    const auto sum = [](const std::vector<double>& x) { return std::accumulate(x.begin(), x.end(), 0.0); };
    std::vector<MultipleChoiceMetrics> metrics;
    for (const double alpha : alphas_)
      for (std::size_t k = 0; k < layers_.size(); ++k) {
        std::vector<double> right;
        std::vector<double> wrong;
        for (std::size_t i = 0; i < answers.size(); ++i)
          (i < q.correct.size() ? right : wrong)
              .push_back(sum(answers[i].log_probs) -
                         static_cast<double>(static_cast<float>(alpha)) * sum(answers[i].entropies[k]));
        metrics.push_back(multiple_choice(right, wrong, q.best));
      }
    Json record{{"question", q.text}, {"best", q.best}, {"true", Json::array()}, {"false", Json::array()}};
    for (std::size_t i = 0; i < answers.size(); ++i) {
      const bool correct = i < q.correct.size();
      Json entropies = Json::array();
      for (const std::vector<double>& of_layer : answers[i].entropies) entropies.push_back(sum(of_layer));
      record[correct ? "true" : "false"].push_back(
          {{"text", correct ? q.correct[i] : q.incorrect[i - q.correct.size()]},
           {"log_prob", sum(answers[i].log_probs)},
           {"entropies", std::move(entropies)}});
    }
    record["mc1"] = grid([&](std::size_t i) { return metrics[i].mc1; });
    record["mc2"] = grid([&](std::size_t i) { return metrics[i].mc2; });
    record["mc3"] = grid([&](std::size_t i) { return metrics[i].mc3; });
    return record;
  }

  Engine& engine_;
  const TaskSettings settings_;
  std::vector<SweepQuestion> questions_;
  std::vector<double> alphas_;
  std::vector<Index> layers_;
  std::vector<GridPoint> points_;  // [alphas][layers]
  ScoreOptions score_;
  GenerationOptions generation_;
};

/// Percentages: {"task", "samples", "mode", "alphas", "layers", "metrics": {name: [alphas][layers]}}.
Json means(const std::string& task, const Sweep& sweep, const RunLog& log, Index samples) {
  Json result{{"task", task},
              {"samples", samples},
              {"mode", "activation"},
              {"alphas", sweep.alphas()},
              {"layers", sweep.layers()},
              {"metrics", Json::object()}};
  for (const std::string& metric : sweep.metrics()) {
    std::vector<std::vector<double>> sums(sweep.alphas().size(), std::vector<double>(sweep.layers().size()));
    for (Index sample = 0; sample < samples; ++sample) {
      const Json& grid = log.record(sample).at(metric);
      for (std::size_t a = 0; a < sums.size(); ++a)
        for (std::size_t k = 0; k < sums[a].size(); ++k) sums[a][k] += grid.at(a).at(k).get<double>();
    }
    for (std::vector<double>& row : sums)
      for (double& x : row) x = 100 * x / static_cast<double>(samples);
    result["metrics"][metric] = sums;
  }
  return result;
}

void write_grid(const std::string& output_path, const Json& grid) {
  std::string csv = "metric,alpha,layer,value\r\n";
  for (const auto& [metric, rows] : grid["metrics"].items())
    for (std::size_t a = 0; a < grid["alphas"].size(); ++a)
      for (std::size_t k = 0; k < grid["layers"].size(); ++k)
        csv +=
            metric + ',' + grid["alphas"][a].dump() + ',' + grid["layers"][k].dump() + ',' + rows[a][k].dump() + "\r\n";
  write_whole_file(output_path + ".grid.json", grid.dump(2) + '\n');
  write_whole_file(output_path + ".grid.csv", csv);

  for (const auto& [metric, rows] : grid["metrics"].items()) {
    std::printf("%-10s", (metric + ", %").c_str());
    for (const Json& layer : grid["layers"]) std::printf(" %7s", ("h_" + layer.dump()).c_str());
    std::printf("\n");
    for (std::size_t a = 0; a < rows.size(); ++a) {
      std::printf("%10s", ("alpha " + grid["alphas"][a].dump()).c_str());
      for (const Json& x : rows[a]) std::printf(" %7.2f", x.get<double>());
      std::printf("\n");
    }
  }
  flush_output();
}

int sweep(SweepSettings s) {
  const bool quiet = s.task.scoring.model.quiet;
  parse_alphas(s.alphas);  // before the model is loaded
  Progress loading(!quiet);
  loading.note("loading " + s.task.scoring.model.path);
  static_cast<void>(data_file(s.task));
  Engine engine(s.task.scoring.model);
  Sweep task(engine, s);
  Json manifest = make_manifest(s.task, engine, task);
  const auto samples = manifest["data"]["samples"].get<Index>();
  manifest["task"] = "sweep " + s.name;
  RunLog log(s.output_path, manifest, s.resume ? RunStart::resume : RunStart::fresh);

  std::vector<Index> all(static_cast<std::size_t>(samples));
  std::iota(all.begin(), all.end(), Index{0});
  reserve(engine, task, all, s.task, s.parallel);
  loading.clear();

  catch_interrupt();
  RunProgress progress("sweep " + s.name, log.size(), samples, !quiet);
  const Emit take = [&](Index sample, Json record) {
    log.append(sample, std::move(record));
    progress.advance();
  };
  for (const Index sample : all)
    if (interrupted == 0 && !log.has(sample)) task.run(std::span(&sample, 1), take, {});
  progress.clear();
  if (log.size() != samples) {
    std::fprintf(stderr, "evaluate: interrupted after %td of %td samples; --resume goes on from there\n", log.size(),
                 samples);
    return 1;
  }
  log.finish();
  write_grid(s.output_path, means(s.name, task, log, samples));
  return 0;
}

}  // namespace

void add_sweep_command(CLI::App& app, Command& command) {
  const auto s = std::make_shared<SweepSettings>();
  CLI::App* sub = app.add_subcommand("sweep", "a grid of alpha and info_layer, in little more than one run");
  sub->add_option("TASK", s->name, "triviaqa, hotpotqa, nq or truthfulqa-mc")
      ->required()
      ->check(CLI::IsMember({"triviaqa", "hotpotqa", "nq", "truthfulqa-mc"}));
  add_model_options(*sub, s->task.scoring.model);
  sub->add_option("--data-path,--data_path", s->task.data_path, "the data set")->required();
  sub->add_option("--output-path,--output_path", s->output_path,
                  "JSON lines, one per sample; beside it .manifest.json, .grid.json and .grid.csv")
      ->required();
  sub->add_flag("--resume", s->resume, "go on with the sweep that is there");
  sub->add_option("--limit", s->task.limit, "only so many samples, the first")->check(whole_number<Index>(1));
  sub->add_option("--alphas", s->alphas, "weights of the entropy")->capture_default_str();
  sub->add_option("--info_layers,--info-layers", s->layers,
                  "hidden states 0..N, or all (default: every second of the upper half)");
  sub->add_option("--parallel,-j", s->parallel, "texts of a question at once")
      ->capture_default_str()
      ->check(whole_number<Index>(1, 1024));
  ScoreOptions& o = s->task.scoring.options;
  add_choice<ScoreContext>(*sub, "--context", o.context,
                           {{"whole", ScoreContext::whole}, {"prompt", ScoreContext::prompt}},
                           "of truthfulqa-mc: what entropies are over (default: whole)");
  sub->add_option("--context-span,--context_span", s->raw.span, "positions of it that count, BEGIN:END");
  sub->add_flag("--final_norm,--final-norm", s->task.scoring.final_norm,
                "normalise the hidden states as before the LM head");
  sub->add_option("--relative_top,--relative-top", o.relative_top, "of the plausibility filter in generation")
      ->capture_default_str()
      ->check(number(0, 1));
  sub->add_option("--max-new-tokens,--max_new_tokens", s->task.max_new_tokens, "tokens to generate (default: 20)")
      ->check(whole_number<Index>(1));
  s->task.repetition_penalty = 0;
  sub->add_option("--repetition_penalty,--repetition-penalty", s->task.repetition_penalty, "1: none (default: 1.2)")
      ->check(positive_number());
  add_prompt_style(*sub, s->task.prompt_style);
  sub->callback([s, &command] {
    const auto tasks = all_tasks();
    s->task.traits = *std::find_if(tasks.begin(), tasks.end(), [&](const TaskTraits& t) { return s->name == t.name; });
    if (s->task.max_new_tokens == 0) s->task.max_new_tokens = s->task.traits.max_new_tokens;
    if (s->task.repetition_penalty == 0) s->task.repetition_penalty = s->task.traits.repetition_penalty;
    if (!s->raw.span.empty()) s->task.scoring.options.span = parse_span(s->raw.span);
    s->task.scoring.options.prefill_piece = s->task.scoring.model.batch;
    command = [s] { return sweep(*s); };
  });
}

}  // namespace activation_trace::examples
