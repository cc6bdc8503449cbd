// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/evaluation/prompts.hpp"
#include "activation_trace/report/activation_map.hpp"
#include "support/command.hpp"
#include "support/engine.hpp"
#include "support/terminal.hpp"
#include "visualize/marked_context.hpp"
#include "visualize/output.hpp"

namespace activation_trace::examples {

struct MapSettings {
  ModelSettings model;
  OutputSettings output;
  std::string prompt;
  std::string prompt_file;
  std::string answer;
  std::string wrong;
  std::vector<Index> layers;
  ContextOptions context;  ///< its info layer is marked
  bool question_span = false;
  bool escape = true;
};

/// The token at which the last question of a prompt in the published form begins, "Q:"; 0 without one.
[[nodiscard]] inline Index question_begin(const Tokenizer& tokenizer, std::span<const TokenId> ids,
                                          std::string_view prompt) {
  const std::size_t place = prompt.rfind("Q:");
  if (place == std::string_view::npos) return 0;
  const std::size_t wanted = place + (tokenizer.adds_space() ? 1 : 0);
  std::size_t bytes = 0;
  Index token = 0;
  for (; token < static_cast<Index>(ids.size()); ++token) {
    const TokenId id = ids[static_cast<std::size_t>(token)];
    if (tokenizer.is_control(id)) continue;
    bytes += tokenizer.piece(id).size();
    if (bytes > wanted) break;  // this token has the Q
  }
  return token;
}

/// The prompt's ids, and for each answer those that follow.
struct EncodedAnswers {
  std::vector<TokenId> prompt;
  std::vector<std::vector<TokenId>> answers;
};

/// As score_text() divides them, the prompt as it stands before the first of them. Throws UsageError for an answer that
/// adds no token.
[[nodiscard]] inline EncodedAnswers encode_answers(const Engine& engine, const std::string& prompt,
                                                   const std::vector<std::string>& answers) {
  const detail::DividedText text = detail::divide_text(engine.tokenizer(), engine.config().vocab, prompt, answers);
  const Index length = text.prompt_length;
  EncodedAnswers result;
  for (std::size_t i = 0; i < text.sequences.size(); ++i) {
    const std::vector<TokenId>& ids = text.sequences[i];
    if (static_cast<Index>(ids.size()) <= length) throw UsageError("'" + answers[i] + "' adds no token to the prompt");
    if (i == 0) result.prompt.assign(ids.begin(), ids.begin() + length);
    result.answers.emplace_back(ids.begin() + length, ids.end());
  }
  return result;
}

/// In quotation marks, without the space that most answers begin with.
[[nodiscard]] inline std::string in_quotes(std::string_view text) { return "\u201c" + detail::strip(text) + "\u201d"; }

/// What is mapped of answers: all their tokens in a row, of each the one that tells them apart, and its mean.
struct MappedAnswers {
  std::vector<TokenId> ids;
  std::vector<MappedTokens> single;
  std::vector<MappedTokens> mean;
  bool several = false;  ///< tokens, of an answer
};

/// Throws UsageError for two answers that no token tells apart.
[[nodiscard]] inline MappedAnswers map_answers(const Tokenizer& tokenizer, const std::vector<std::string>& texts,
                                               const std::vector<std::vector<TokenId>>& answers) {
  // The first token in which they differ; alone, the first.
  std::size_t differing = 0;
  if (answers.size() == 2) {
    const auto& [a, b] = std::pair(answers[0], answers[1]);
    differing = static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
    if (differing >= std::min(a.size(), b.size()))
      throw UsageError("--wrong: no token tells '" + texts[1] + "' from '" + texts[0] + "'");
  }
  MappedAnswers mapped;
  for (std::size_t k = 0; k < texts.size(); ++k) {
    const std::vector<TokenId>& answer = answers[k];
    const std::string role = texts.size() == 1 ? "" : k == 0 ? "right: " : "wrong: ";
    mapped.single.push_back({role + in_quotes(tokenizer.piece(answer[differing])), {mapped.ids.size() + differing}});
    mapped.mean.push_back({role + "mean of " + in_quotes(texts[k]), {}});
    for (const TokenId id : answer) {
      mapped.mean.back().tokens.push_back(mapped.ids.size());
      mapped.ids.push_back(id);
    }
    mapped.several = mapped.several || answer.size() > 1;
  }
  return mapped;
}

/// Maps of the token that tells the answers apart and of their means, and the entropies.
[[nodiscard]] inline Report map_report(const MapSettings& s, Progress& progress) {
  progress.note("loading " + s.model.path);
  Engine engine(s.model);
  const Tokenizer& tokenizer = engine.tokenizer();
  std::vector<std::string> texts{s.answer};
  if (!s.wrong.empty()) texts.push_back(s.wrong);
  const EncodedAnswers encoded = encode_answers(engine, s.prompt, texts);
  const MappedAnswers mapped = map_answers(tokenizer, texts, encoded.answers);

  const Index blocks = engine.config().layers;
  const Index info_layer = resolve_layer(s.context.info_layer.value_or(default_info_layer(blocks)), blocks);
  ActivationMapOptions options{.layers = s.layers, .span = s.context.span, .prefill_piece = s.model.batch};
  if (s.question_span)
    options.span.begin = std::max(options.span.begin, question_begin(tokenizer, encoded.prompt, s.prompt));
  const auto length = static_cast<Index>(encoded.prompt.size());
  engine.reserve(engine.context(length), 1);
  const ActivationMaps maps =
      engine.activation_maps(encoded.prompt, mapped.ids, options, s.context.final_norm,
                             [&](Index done, Index total) { progress.bar("prompt", done, total); });
  progress.clear();

  std::vector<std::string> labels;
  for (const TokenId id : maps.positions) labels.emplace_back(tokenizer.piece(id));
  const std::string versus = texts.size() == 2 ? " and " + in_quotes(s.wrong) : "";
  Report report{.title = "What the context says of " + in_quotes(s.answer) + versus, .facts = {}, .pictures = {}};
  const auto fact = [&](const std::string& name, const std::string& value) { report.facts.emplace_back(name, value); };
  fact("model", std::filesystem::path(s.model.path).filename().string());
  fact("prompt", s.prompt);
  fact("positions", std::to_string(maps.first_position) + " to " +
                        std::to_string(maps.first_position + static_cast<Index>(maps.positions.size()) - 1) + " of " +
                        std::to_string(length));
  fact("hidden states", s.context.final_norm ? "after the final norm" : "as they are (the published method)");
  report.pictures.push_back(activation_heat_map(maps, "Activation of the answer's token by layer and position",
                                                mapped.single, labels, info_layer));
  std::vector<MappedTokens> curves = mapped.single;
  if (mapped.several) {
    report.pictures.push_back(
        activation_heat_map(maps, "Mean over all tokens of the answer", mapped.mean, labels, info_layer));
    curves.insert(curves.end(), mapped.mean.begin(), mapped.mean.end());
  }
  report.pictures.push_back(entropy_chart(maps, "Context entropy by layer: low is sharp", curves, info_layer));
  return report;
}

inline void add_map_command(CLI::App& app, Command& command) {
  CLI::App& map = *app.add_subcommand("map", "layers x prompt tokens for an answer, or a right and a wrong one");
  const auto s = std::make_shared<MapSettings>();
  const auto described = std::make_shared<DescribedOptions>();
  const auto layers = std::make_shared<std::string>();
  add_model_options(map, s->model);
  CLI::Option* prompt = map.add_option("-p,--prompt", s->prompt, "the prompt; - reads it from standard input");
  map.add_option("-f,--file", s->prompt_file, "a file with the prompt, taken as it is")->excludes(prompt);
  map.add_option("-a,--answer", s->answer, "the answer, usually with a leading space")->required();
  map.add_option("--wrong", s->wrong, "a wrong one beside it; shown is the first token in which they differ");
  map.add_flag("-e,--escape,!--no-escape", s->escape, "\\n, \\t and the like in -p and -a are escapes (default)");
  add_marked_context(map, *described);
  CLI::Option* positions = described->option("context_span");
  map.add_option("--layers", *layers, "hidden states to show, 0,8,16,24 (default: all)");
  map.add_flag_callback(
         "--skip_bos,--skip-bos", [s] { s->context.span = ContextSpan::without_bos(); }, "leave out the first position")
      ->excludes(positions);
  map.add_flag("--question_span,--question-span", s->question_span,
               "only the last question of a few-shot prompt, from its Q: on")
      ->excludes(positions);
  add_output_options(map, s->output);
  map.callback([&map, &command, s, described, layers] {
    command = [&map, s, described, layers] {
      check_output(s->output, {s->model.path, s->prompt_file});
      described->apply(s->context);
      if (!layers->empty()) s->layers = parse_layers("--layers", *layers);
      read_prompt(map, s->prompt, s->prompt_file, s->escape);
      if (s->escape) s->answer = unescaped(s->answer), s->wrong = unescaped(s->wrong);
      if (s->answer.empty()) throw UsageError("--answer: it is empty");
      Progress progress(!s->model.quiet);
      write_report(map_report(*s, progress), s->output);
      return 0;
    };
  });
}

}  // namespace activation_trace::examples
