// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/evaluation/data_sets.hpp"
#include "activation_trace/evaluation/grouped_auroc.hpp"
#include "activation_trace/evaluation/histogram.hpp"
#include "activation_trace/generation/layer_entropies.hpp"
#include "activation_trace/generation/prefix_cache.hpp"
#include "activation_trace/report/picture.hpp"
#include "activation_trace/text/mapped_file.hpp"
#include "support/command.hpp"
#include "support/engine.hpp"
#include "support/interrupt.hpp"
#include "support/terminal.hpp"
#include "support/trace_file.hpp"
#include "visualize/marked_context.hpp"
#include "visualize/output.hpp"

namespace activation_trace::examples {

struct AurocSettings {
  ModelSettings model;
  OutputSettings output;
  std::string data;
  std::optional<Index> limit;
  std::vector<Index> layers;
  ContextOptions context;  ///< its info layer is marked
  ScoreOptions options{.context = ScoreContext::prompt};
  ResamplingOptions resampling;
  std::optional<std::string> answers;  ///< a file name for every answer's numbers
};

/// A question with its continuations, the right ones first.
struct JudgedQuestion {
  std::string prompt;
  std::vector<std::string> answers;
  std::size_t right = 0;  ///< how many
};

/// Whether JSON records have TruthfulQA's answers: by the fields that the first of them names.
[[nodiscard]] inline bool has_truthful_answers(const std::string& path) {
  const MappedFile file = MappedFile::open(path);
  const std::string_view begin = detail::text_of(file.bytes()).substr(0, 1 << 16);
  return begin.find("\"mc1_targets\"") != std::string_view::npos ||
         begin.find("\"best_answer\"") != std::string_view::npos;
}

/// TruthfulQA's questions, or those known facts of which a false attribute is known. Throws FormatError, UsageError for
/// another kind of file.
[[nodiscard]] inline std::vector<JudgedQuestion> read_judged_questions(const std::string& path) {
  std::vector<JudgedQuestion> questions;
  const std::string extension = std::filesystem::path(path).extension().string();
  const bool is_json = extension == ".json" || extension == ".jsonl";
  if (extension == ".csv" || (is_json && has_truthful_answers(path))) {
    for (const TruthfulQuestion& q : read_truthfulqa(path)) {
      questions.push_back(
          {truthfulqa_prompt(q.question), truthfulqa_continuations(q.correct, q.incorrect), q.correct.size()});
    }
  } else if (is_json) {
    const std::vector<KnownFact> facts = read_known_facts(path);
    for (Index i = 0; i < static_cast<Index>(facts.size()); ++i) {
      const KnownFact& fact = facts[static_cast<std::size_t>(i)];
      // A relation may have one attribute only: of its facts nothing is false.
      if (const std::optional<std::string> other = false_attribute(facts, i))
        questions.push_back(
            {fact.prompt, truthfulqa_continuations(std::span(&fact.attribute, 1), std::span(&*other, 1)), 1});
    }
  } else {
    throw UsageError("--data-path: expected TruthfulQA's .csv or .json, or known facts' .json, got " + path);
  }
  return questions;
}

/// Of every answer, what detection is tried with.
struct JudgedAnswers {
  std::vector<char> right;
  std::vector<Index> questions;
  std::vector<std::vector<double>> mean_entropies;   ///< [layers][answers]
  std::vector<std::vector<double>> first_entropies;  ///< the same of the answers' first tokens
  std::vector<double> mean_log_probs;

  explicit JudgedAnswers(std::size_t layers) : mean_entropies(layers), first_entropies(layers) {}

  void add(const LayerEntropies& answer, bool is_right, Index question) {
    const auto mean = [](const std::vector<double>& values) {
      return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
    };
    right.push_back(is_right ? 1 : 0);
    questions.push_back(question);
    mean_log_probs.push_back(mean(answer.log_probs));
    for (std::size_t k = 0; k < answer.entropies.size(); ++k) {
      mean_entropies[k].push_back(mean(answer.entropies[k]));
      first_entropies[k].push_back(answer.entropies[k].front());
    }
  }
};

/// AUROC by layer of low entropy for right answers, beside that of their mean log-probability.
[[nodiscard]] inline LineChart auroc_chart(const JudgedAnswers& answers, const std::vector<Index>& layers,
                                           Index info_layer, const ResamplingOptions& resampling) {
  LineChart chart{.title = "AUROC of right against wrong answers, 95 % bootstrap intervals",
                  .x_axis = "layer",
                  .y_axis = "AUROC of low entropy = right",
                  .x = {},
                  .curves = {},
                  .marked_x = static_cast<double>(info_layer),
                  .mark = "info_layer " + std::to_string(info_layer),
                  .reference_y = 0.5,
                  .reference = "chance"};
  const std::vector<std::size_t> order = detail::ascending(layers);
  for (const std::size_t k : order) chart.x.push_back(static_cast<double>(layers[k]));
  const auto curve = [&](const char* name, auto values_at) {
    Curve result{.name = name, .y = {}, .band = {}};
    for (const std::size_t k : order) {
      const AurocEstimate estimate = grouped_auroc(values_at(k), answers.right, answers.questions, resampling);
      result.y.push_back(estimate.auroc);
      result.band.push_back(estimate.interval);
    }
    chart.curves.push_back(std::move(result));
  };
  const auto negated = [](std::vector<double> values) {
    for (double& x : values) x = -x;
    return values;
  };
  curve("entropy, mean of tokens", [&](std::size_t k) { return negated(answers.mean_entropies[k]); });
  curve("entropy, first token", [&](std::size_t k) { return negated(answers.first_entropies[k]); });
  const AurocEstimate log_probs = grouped_auroc(answers.mean_log_probs, answers.right, answers.questions, resampling);
  chart.curves.push_back({.name = "mean log-probability",
                          .y = std::vector<double>(order.size(), log_probs.auroc),
                          .band = std::vector<Interval>(order.size(), log_probs.interval)});
  return chart;
}

/// The scores of right and of wrong answers in 20 bins, as the published plot_auroc_scores has them.
[[nodiscard]] inline LineChart histogram_chart(const std::string& title, const std::string& score,
                                               std::span<const double> values, std::span<const char> right) {
  const ScoreHistogram histogram = score_histogram(values, right);
  LineChart chart{.title = title,
                  .x_axis = score,
                  .y_axis = "answers",
                  .x = {},
                  .curves = {{.name = "right", .y = {}}, {.name = "wrong", .y = {}}},
                  .bin_width = histogram.width};
  for (std::size_t bin = 0; bin < histogram.right.size(); ++bin) {
    chart.x.push_back(histogram.middle(bin));
    chart.curves[0].y.push_back(static_cast<double>(histogram.right[bin]));
    chart.curves[1].y.push_back(static_cast<double>(histogram.wrong[bin]));
  }
  return chart;
}

/// The answers to the first of the questions, as many as were complete before Ctrl-C; each also as a line of `file`, if
/// there is one.
[[nodiscard]] inline JudgedAnswers judge_answers(const AurocSettings& s, Engine& engine,
                                                 std::span<const JudgedQuestion> questions,
                                                 const std::vector<Index>& layers, std::optional<JsonLines>& file,
                                                 Progress& progress) {
  const Tokenizer& tokenizer = engine.tokenizer();
  ScoreOptions options = s.options;
  options.mode = Activation{.context = s.context};
  const std::size_t count = questions.size();
  std::size_t longest = 1;
  std::vector<std::vector<TokenId>> prompts;
  for (std::size_t i = 0; i < count; ++i) {
    prompts.push_back(tokenizer.encode_prompt(questions[i].prompt));
    for (const std::string& answer : questions[i].answers)
      longest = std::max(longest, tokenizer.encode_prompt(questions[i].prompt + answer).size());
  }
  constexpr Index answers_at_once = 8;
  engine.reserve(engine.context(static_cast<Index>(longest)), answers_at_once);
  PrefixCache prefix(common_prefix(prompts));
  catch_interrupt();
  JudgedAnswers answers(layers.size());
  for (std::size_t done = 0; done < count && interrupted == 0; ++done) {
    const JudgedQuestion& question = questions[done];
    const std::vector<LayerEntropies> scored =
        engine.layer_entropies(question.prompt, question.answers, layers, options, {}, &prefix);
    for (std::size_t k = 0; k < scored.size(); ++k) {
      answers.add(scored[k], k < question.right, static_cast<Index>(done));
      if (!file) continue;
      nlohmann::ordered_json line{{"question", done},
                                  {"answer", question.answers[k]},
                                  {"right", k < question.right},
                                  {"log_probs", scored[k].log_probs},
                                  {"layers", layers},
                                  {"entropies", scored[k].entropies}};
      if (!scored[k].moved_space.empty()) line["moved_space"] = scored[k].moved_space;
      file->write(line);
    }
    progress.bar("questions", static_cast<Index>(done + 1), static_cast<Index>(count));
  }
  progress.clear();
  if (answers.questions.empty()) throw Error("interrupted before the first question was complete");
  return answers;
}

/// Ctrl-C ends it early, with what is there.
[[nodiscard]] inline Report auroc_report(const AurocSettings& s, Progress& progress) {
  const std::vector<JudgedQuestion> questions = read_judged_questions(s.data);
  std::optional<JsonLines> file;
  if (s.answers) file.emplace(*s.answers);
  progress.note("loading " + s.model.path);
  Engine engine(s.model);
  const Index blocks = engine.config().layers;
  const std::vector<Index> layers = resolve_layers(s.layers, blocks);
  const Index info_layer = resolve_layer(s.context.info_layer.value_or(default_info_layer(blocks)), blocks);
  const auto limit = static_cast<std::size_t>(s.limit.value_or(std::numeric_limits<Index>::max()));
  const JudgedAnswers answers =
      judge_answers(s, engine, std::span(questions).first(std::min(questions.size(), limit)), layers, file, progress);
  const auto done = static_cast<std::size_t>(answers.questions.back() + 1);

  const auto rights = std::count(answers.right.begin(), answers.right.end(), 1);
  Report report{.title = "Does sharpness tell right answers from wrong ones?", .facts = {}, .pictures = {}};
  const auto fact = [&](const std::string& name, const std::string& value) { report.facts.emplace_back(name, value); };
  fact("model", std::filesystem::path(s.model.path).filename().string());
  fact("data", std::filesystem::path(s.data).filename().string());
  fact("questions", std::to_string(done) + (done < questions.size() ? " of " + std::to_string(questions.size()) : ""));
  fact("answers", std::to_string(rights) + " right, " +
                      std::to_string(answers.right.size() - static_cast<std::size_t>(rights)) + " wrong");
  fact("entropies over", s.options.context == ScoreContext::prompt ? "the prompt" : "prompt and answer");
  fact("hidden states", s.context.final_norm ? "after the final norm" : "as they are (the published method)");
  fact("intervals", format_number(100 * s.resampling.confidence) + " % percentile bootstrap over questions, " +
                        std::to_string(s.resampling.resamples) + " resamples");
  report.pictures.push_back(auroc_chart(answers, layers, info_layer, s.resampling));
  // Of the layer that is marked, or, if that is not tried, of the last one that is.
  const auto tried = std::ranges::find(layers, info_layer);
  const std::size_t shown_layer =
      tried != layers.end() ? static_cast<std::size_t>(tried - layers.begin()) : layers.size() - 1;
  report.pictures.push_back(
      histogram_chart("Entropy of right and wrong answers",
                      "entropy at layer " + std::to_string(layers[shown_layer]) + ", mean of tokens",
                      answers.mean_entropies[shown_layer], answers.right));
  report.pictures.push_back(histogram_chart("Log-probability of right and wrong answers", "mean log-probability",
                                            answers.mean_log_probs, answers.right));
  return report;
}

inline void add_auroc_command(CLI::App& app, Command& command) {
  CLI::App& auroc = *app.add_subcommand("auroc", "how well entropy tells right answers from wrong ones, by layer");
  const auto s = std::make_shared<AurocSettings>();
  const auto described = std::make_shared<DescribedOptions>();
  const auto layers = std::make_shared<std::string>();
  const auto limit = std::make_shared<Index>(0);
  add_model_options(auroc, s->model);
  auroc.add_option("--data-path,--data_path", s->data, "TruthfulQA.csv, or known facts' known_1000.json")->required();
  auroc.add_option("--limit", *limit, "only the first so many questions")->check(whole_number<Index>(1));
  add_marked_context(auroc, *described);
  described->add(auroc, s->options, [](std::string_view key) { return key == "context"; });
  auroc.add_option("--layers", *layers, "hidden states to try, 0,8,16,24 (default: all)");
  auroc
      .add_flag_callback(
          "--skip_bos,--skip-bos", [s] { s->context.span = ContextSpan::without_bos(); },
          "leave out the first position")
      ->excludes(described->option("context_span"));
  auroc.add_option("--resamples", s->resampling.resamples, "of the bootstrap")
      ->capture_default_str()
      ->check(whole_number<Index>(1));
  auroc.add_option("--answers", s->answers, "write one JSON object per answer, with its entropies, to this file")
      ->check(file_name());
  add_output_options(auroc, s->output);
  auroc.callback([&auroc, &command, s, described, layers, limit] {
    command = [&auroc, s, described, layers, limit] {
      const InputFiles inputs{s->model.path, s->data};
      check_output(s->output, inputs);
      if (s->answers) check_output_file("--answers", *s->answers, inputs, begins::answers, s->output.overwrite);
      described->apply(s->context);
      described->apply(s->options);
      if (auroc.count("--limit") != 0) s->limit = *limit;
      if (!layers->empty()) s->layers = parse_layers("--layers", *layers);
      s->options.prefill_piece = s->model.batch;
      Progress progress(!s->model.quiet);
      const Report report = auroc_report(*s, progress);
      print_report(report);
      if (!s->output.path.empty() && s->output.path != "-") write_report(report, s->output);
      return 0;
    };
  });
}

}  // namespace activation_trace::examples
