// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// Scores given answers to a prompt by several modes, as a table on standard output; everything else goes to standard
// error. Exit codes: 0 done, 1 something went wrong, 2 the command line makes no sense.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "activation_trace/generation/validate.hpp"
#include "support/engine.hpp"
#include "support/interrupt.hpp"
#include "support/score_settings.hpp"
#include "support/terminal.hpp"
#include "support/trace_file.hpp"

namespace activation_trace::examples {
namespace {

using Scores = std::vector<ContinuationScore>;

/// Rows are answers, columns are modes; a star marks each mode's highest score.
void print_table(const ScoreSettings& settings, const std::vector<Scores>& columns) {
  constexpr std::size_t answer_width = 32;
  std::string header = printable_cell("answer", answer_width) + " tokens";
  for (std::size_t c = 0; c < columns.size(); ++c) {
    const std::string& title = settings.columns[c].title;
    header += std::string(17 - std::min<std::size_t>(17, title.size() + 1), ' ') + title + ' ';
  }
  std::printf("%s\n", header.c_str());
  for (std::size_t a = 0; a < settings.answers.size(); ++a) {
    std::printf("%s %6zu", printable_cell(settings.answers[a], answer_width).c_str(), columns[0][a].ids.size());
    for (const Scores& scores : columns) {
      const auto best = std::max_element(scores.begin(), scores.end(),
                                         [](const auto& x, const auto& y) { return x.score < y.score; });
      std::printf("%16.4f%c", scores[a].score, scores[a].score == best->score ? '*' : ' ');
    }
    std::printf("\n");
  }
  flush_output();
}

nlohmann::ordered_json as_json(const std::string& mode, const std::string& answer, const ContinuationScore& score,
                               const Tokenizer& tokenizer) {
  nlohmann::ordered_json pieces = nlohmann::ordered_json::array();
  for (const TokenId id : score.ids) pieces.push_back(std::string(tokenizer.piece(id)));
  nlohmann::ordered_json line{{"mode", mode},     {"answer", answer}, {"score", score.score},
                              {"ids", score.ids}, {"pieces", pieces}, {"log_probs", score.log_probs}};
  if (!score.entropies.empty()) line["entropies"] = score.entropies;
  if (!score.layers.empty()) line["layers"] = score.layers;
  if (!score.moved_space.empty()) line["moved_space"] = score.moved_space;
  return line;
}

/// Those of every column; throws for a layer that does not exist before minutes are spent on the first.
std::vector<ScoreOptions> options_of_columns(const ScoreSettings& settings, const Engine& engine) {
  const Index blocks = engine.config().layers;
  std::vector<ScoreOptions> options;
  for (const ScoreColumn& column : settings.columns) {
    options.push_back(with_mode(settings.options, column.mode.complete(blocks, engine.embeddings())));
    check_layers(options.back().mode, blocks);
  }
  return options;
}

int run(int argc, char** argv) {
  const std::variant<ScoreSettings, int> parsed = parse_score_command_line(argc, argv);
  if (const int* done = std::get_if<int>(&parsed)) return *done;
  const auto& settings = std::get<ScoreSettings>(parsed);
  Progress progress(!settings.model.quiet);
  std::optional<JsonLines> trace;
  if (settings.trace) {  // before minutes are spent on what cannot be kept
    check_output_file("--trace", *settings.trace, {settings.model.path, settings.prompt_file, settings.student.name},
                      begins::trace, settings.overwrite);
    trace.emplace(*settings.trace);
  }
  progress.note("loading " + settings.model.path);
  Engine engine(settings.model, settings.student);
  const Tokenizer& tokenizer = engine.tokenizer();
  const std::vector<ScoreOptions> all_options = options_of_columns(settings, engine);
  Index longest = 1;
  for (const std::string& answer : settings.answers)
    longest = std::max(longest, static_cast<Index>(tokenizer.encode_prompt(settings.prompt + answer).size()));
  engine.reserve(engine.context(longest), 1);
  progress.clear();

  catch_interrupt();
  std::stop_source stop;
  std::vector<Scores> columns;
  for (const ScoreOptions& options : all_options) {
    const ScoreColumn& column = settings.columns[columns.size()];
    const auto start = std::chrono::steady_clock::now();
    const ScoreCallbacks callbacks{.on_progress =
                                       [&](Index done, Index total) {
                                         progress.bar(column.title, done, total);
                                         if (interrupted != 0) stop.request_stop();
                                       },
                                   .stop = stop.get_token()};
    Scores scores = engine.score(settings.prompt, settings.answers, options, callbacks);
    progress.clear();
    if (scores.size() != settings.answers.size()) break;  // Ctrl-C: the table has what is complete
    for (std::size_t i = 0; trace && i < scores.size(); ++i)
      trace->write(as_json(column.title, settings.answers[i], scores[i], tokenizer));
    if (!settings.model.quiet)
      std::fprintf(stderr, "%s: %zu answers in %.2f s\n", column.title.c_str(), scores.size(),
                   std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    columns.push_back(std::move(scores));
  }
  if (!columns.empty() && !columns[0][0].moved_space.empty())
    std::fputs(
        "score: the white space that ends the prompt is part of the answers' first tokens and scored with them\n",
        stderr);
  if (!columns.empty()) print_table(settings, columns);
  return 0;
}

}  // namespace
}  // namespace activation_trace::examples

int main(int argc, char** argv) {
  return activation_trace::examples::guarded("score", activation_trace::examples::run, argc, argv);
}
