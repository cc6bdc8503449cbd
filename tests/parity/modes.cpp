// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "parity/modes.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <utility>
#include <vector>

#include "activation_trace/generation/amateur.hpp"
#include "activation_trace/generation/generate.hpp"
#include "activation_trace/generation/score.hpp"
#include "parity/golden.hpp"
#include "support/no_text.hpp"

namespace activation_trace::test {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<std::vector<TokenId>>;

// Below this distance float32 does not determine a choice: of the two best scores, of a log-probability and the
// filter's threshold, of the two largest divergences relative to the largest.
constexpr float kClose = 1e-4f;
// Of scores.
constexpr double kBar = 1e-3;
// The same where SmolLM2's early layers are subtracted. Their states are not normalised and their log-probabilities
// are hundreds, so float32 does not carry 1e-3 through a sum of them: transformers in float32 is up to 1.3e-3 away from
// transformers in float64 (golden/README.md).
constexpr double kEarlyLayersBar = 4e-3;
// The same where 1 / E is added and E may be 0.002: 1e-7 of E are then 0.02.
constexpr double kInverseBar = 0.05;

Ids ragged(const GoldenFile& golden, const std::string& key) {
  const auto values = golden.get<std::int32_t>(key);
  const auto offsets = golden.get<std::int32_t>(key + "_offsets");
  Ids rows;
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i)
    rows.emplace_back(values.begin() + offsets[i], values.begin() + offsets[i + 1]);
  return rows;
}

// The runs that a file's facts name.
std::vector<std::pair<std::string, Json>> runs(const std::string& file) {
  std::vector<std::pair<std::string, Json>> result;
  const Json all = Json::parse(read_golden(file));
  for (const auto& [name, facts] : all.items())
    if (name != "provenance") result.emplace_back(name, facts);
  return result;
}

// How many of `count` prompts are compared: of the tiny model's all, of the real one's an eighth, for the time it
// takes, or with ACTIVATION_TRACE_PARITY=full all.
std::size_t prompts_compared(const std::string& stem, std::size_t count) {
  const char* value = std::getenv("ACTIVATION_TRACE_PARITY");
  if (stem == "tiny_llama" || (value != nullptr && std::string(value) == "full")) return count;
  return (count + 7) / 8;
}

double allowed(const std::string& stem, std::span<const Index> early_layers) {
  return stem == "tiny_llama" || early_layers.empty() ? kBar : kEarlyLayersBar;
}

double allowed(const std::string& stem, const Mode& mode) {
  const auto* activation = std::get_if<Activation>(&mode);
  if (stem != "tiny_llama" && activation != nullptr && activation->strategy == ContextStrategy::entropy_inverse)
    return kInverseBar;
  return allowed(stem, premature_layers(mode));
}

ContextStrategy strategy_of(const Json& run) {
  for (const auto& entry : EnumNames<ContextStrategy>::all)
    if (entry.second == run.at("strategy").get<std::string>()) return entry.first;
  throw std::runtime_error("no such strategy: " + run.dump());
}

LayerDivergence divergence_of(const Json& run) {
  return run.at("divergence") == "reference" ? LayerDivergence::reference : LayerDivergence::jensen_shannon;
}

// The mode that a run's facts describe. Of generation and scoring both.
Mode mode_of(const Json& run) {
  const auto mode = run.at("mode").get<std::string>();
  const auto layers = run.at("layers").get<std::vector<Index>>();
  const RelativeTopOptions filter{.relative_top = run.at("relative_top")};
  const ContextOptions context{.info_layer = run.at("info_layer").get<Index>()};
  if (mode == "baseline") return Baseline{};
  if (mode == "dola_static") return DolaStatic{.premature_layer = layers.at(0), .filter = filter};
  if (mode == "dola") return Dola{.candidate_layers = layers, .divergence = divergence_of(run), .filter = filter};
  if (mode == "activation")
    return Activation{.alpha = run.at("alpha"), .filter = filter, .context = context, .strategy = strategy_of(run)};
  if (mode == "activation_dola") {
    ActivationDola result{.alpha = run.at("alpha"),
                          .filter = filter,
                          .context = context,
                          .strategy = strategy_of(run),
                          .candidate_layers = layers,
                          .divergence = divergence_of(run)};
    // The published form is the default, which is compared as it is.
    if (run.value("base", "") == "log_probs") result.base = DolaBase::log_probs;
    return result;
  }
  if (mode == "contrastive")
    return Contrastive{
        .coefficient = run.at("coefficient"), .student_temperature = run.at("student_temperature"), .filter = filter};
  throw std::runtime_error("no such mode: " + run.dump());
}

GenerationOptions generation_options(const Json& run) {
  return {.mode = mode_of(run), .repetition_penalty = run.at("repetition_penalty"), .record = RecordOptions{}};
}

ScoreOptions score_options(const Json& run) {
  return {.mode = mode_of(run),
          .context = run.at("context") == "whole" ? ScoreContext::whole : ScoreContext::prompt,
          .filter = run.at("filter") ? ScoreFilter::on : ScoreFilter::off,
          .post_softmax = run.at("post_softmax") ? DolaOutput::log_probs : DolaOutput::difference,
          .relative_top_value = run.at("relative_top_value")};
}

// The golden continuations of one run, and what the library's were like.
class GoldenRun {
 public:
  GoldenRun(const GoldenFile& golden, std::string name, std::size_t prompts)
      : name_(std::move(name)),
        tokens_(golden.get<std::int32_t>(name_ + ".tokens")),
        scores_(golden.get<float>(name_ + ".scores")),
        gap_(golden.get<float>(name_ + ".gap")),
        margin_(optional(golden, ".margin")),
        layer_margin_(optional(golden, ".layer_margin")),
        count_(tokens_.size() / prompts) {
    if (golden.contains(name_ + ".layers")) layers_ = golden.get<std::uint8_t>(name_ + ".layers");
  }

  [[nodiscard]] Index count() const { return static_cast<Index>(count_); }

  Continue compare(const GeneratedToken& token) {
    const std::size_t at = static_cast<std::size_t>(token.sequence) * count_ + static_cast<std::size_t>(token.step);
    CAPTURE(name_);
    CAPTURE(token.sequence);
    CAPTURE(token.step);
    const bool same_layer = token.record == nullptr || layers_.empty() || token.record->layer == layers_[at];
    if (!same_layer) {
      CAPTURE(layers_[at]);
      CAPTURE(token.record->layer);
      CHECK(layer_margin_[at] < kClose);
      ++close_layers_;
    }
    if (token.id != tokens_[at]) {
      CAPTURE(tokens_[at]);
      CAPTURE(token.id);
      CAPTURE(gap_[at]);
      const bool close = gap_[at] < kClose || margin_[at] < kClose || layer_margin_[at] < kClose;
      CHECK(close);
      ++close_tokens_;
      return Continue::no;
    }
    ++tokens_equal_;
    if (token.record != nullptr && same_layer)
      worst_ = std::max(worst_, std::abs(static_cast<double>(token.record->chosen.score) - scores_[at]));
    return Continue::yes;
  }

  void finish(double bar) const {
    CAPTURE(name_);
    CHECK(worst_ < bar);
    CHECK(tokens_equal_ > 0);
    std::printf("%-34s %4d tokens equal, close decisions: %d tokens and %d layers differ; scores within %.1e\n",
                name_.c_str(), tokens_equal_, close_tokens_, close_layers_, worst_);
  }

 private:
  [[nodiscard]] std::vector<float> optional(const GoldenFile& golden, const char* key) const {
    return golden.contains(name_ + key) ? golden.get<float>(name_ + key) : std::vector<float>(tokens_.size(), 1e30f);
  }

  std::string name_;
  std::vector<std::int32_t> tokens_;  // [prompts, count], as all that follow
  std::vector<float> scores_;
  std::vector<float> gap_;
  std::vector<float> margin_;
  std::vector<float> layer_margin_;
  std::vector<std::uint8_t> layers_;
  std::size_t count_;
  double worst_ = 0;
  int tokens_equal_ = 0;
  int close_tokens_ = 0;
  int close_layers_ = 0;
};

void compare(const std::string& stem, GoldenRun run, Llama<>& llama, std::span<const std::vector<TokenId>> prompts,
             GenerationOptions options, Amateur* amateur = nullptr) {
  options.max_new_tokens = run.count();
  const auto make_decoder = [] { return NoText{}; };
  generate_batch(llama, make_decoder, prompts.first(prompts_compared(stem, prompts.size())), options,
                 {.on_token = [&](const GeneratedToken& token) { return run.compare(token); }}, {.amateur = amateur});
  run.finish(allowed(stem, options.mode));
}

}  // namespace

void compare_generation(const std::string& stem, Llama<>& llama, Llama<>& amateur) {
  const GoldenFile golden(stem + "_generation.safetensors");
  const Ids prompts = ragged(golden, "prompts");
  NgramAmateur ngram(llama.config().vocab, {}, llama.sequences());
  ModelAmateur<Llama<>> whole(amateur);
  ModelAmateur<Llama<>> last(amateur, AmateurPrompt::last_token);
  for (const auto& [name, facts] : runs(stem + "_generation.json")) {
    Amateur* student = nullptr;
    if (facts.at("amateur") == "ngram") student = &ngram;
    if (facts.at("amateur") == "model") student = facts.at("ignore_prefix") ? static_cast<Amateur*>(&last) : &whole;
    const auto count = facts.at("prompts").get<std::size_t>();
    compare(stem, GoldenRun(golden, name, count), llama, std::span(prompts).first(count), generation_options(facts),
            student);
  }
}

void compare_dola_of_transformers(const std::string& stem, Llama<>& llama) {
  const GoldenFile golden(stem + "_dola_transformers.safetensors");
  const Ids prompts = ragged(GoldenFile(stem + "_generation.safetensors"), "prompts");
  for (const auto& [name, facts] : runs(stem + "_dola_transformers.json")) {
    Dola mode;
    if (facts.at("layers").is_string())
      mode.candidate_layers =
          dola_layers(facts.at("layers") == "low" ? DolaBucket::low : DolaBucket::high, llama.config().layers,
                      facts.at("tied_embeddings") ? Embeddings::tied : Embeddings::separate);
    else
      mode.candidate_layers = facts.at("layers").get<std::vector<Index>>();
    const GenerationOptions options{
        .mode = mode, .repetition_penalty = facts.at("repetition_penalty"), .record = RecordOptions{}};
    const auto count = facts.at("prompts").get<std::size_t>();
    compare(stem, GoldenRun(golden, name, count), llama, std::span(prompts).first(count), options);
  }
}

void compare_scoring(const std::string& stem, Llama<>& llama) {
  const GoldenFile golden(stem + "_scoring.safetensors");
  const Ids questions = ragged(golden, "questions");
  const Ids answers = ragged(golden, "answers");
  const std::size_t per_question = answers.size() / questions.size();
  for (const auto& [key, facts] : runs(stem + "_scoring.json")) {
    const std::string& name = key;  // clang 14 captures no structured binding
    CAPTURE(name);
    const ScoreOptions options = score_options(facts);
    const auto totals = golden.get<double>(name + ".total");
    const auto margins = golden.get<float>(name + ".margin");
    std::vector<std::uint8_t> layers;
    std::vector<float> layer_margins(totals.size(), 1e30f);
    if (!premature_layers(options.mode).empty()) {
      layers = golden.get<std::uint8_t>(name + ".layers");
      layer_margins = golden.get<float>(name + ".layer_margin");
    }
    double worst = 0;
    int pairs = 0;
    int close_layers = 0;
    int close_filter = 0;
    std::size_t position = 0;
    for (std::size_t q = 0; q < prompts_compared(stem, totals.size() / per_question); ++q) {
      const std::span<const std::vector<TokenId>> four = std::span(answers).subspan(q * per_question, per_question);
      const std::vector<ContinuationScore> scores = score(llama, questions[q], four, options);
      for (std::size_t a = 0; a < per_question; ++a) {
        const std::size_t pair = q * per_question + a;
        CAPTURE(pair);
        bool same_layers = true;
        for (std::size_t t = 0; t < scores[a].layers.size(); ++t)
          same_layers = same_layers && scores[a].layers[t] == layers[position + t];
        position += four[a].size();
        if (!same_layers) {
          CHECK(layer_margins[pair] < kClose);
          ++close_layers;
        } else if (margins[pair] < kClose && std::abs(scores[a].score - totals[pair]) > 1) {
          ++close_filter;  // a token is kept here and filtered there
        } else {
          worst = std::max(worst, std::abs(scores[a].score - totals[pair]));
        }
        ++pairs;
      }
    }
    CHECK(worst < allowed(stem, options.mode));
    std::printf("%-24s %3d pairs within %.1e; close decisions: %d layers and %d at the filter's edge differ\n",
                name.c_str(), pairs, worst, close_layers, close_filter);
  }
}

void compare_beams(const std::string& stem, Llama<>& llama) {
  const GoldenFile golden(stem + "_beams.safetensors");
  const Ids prompts = ragged(golden, "prompts");
  for (const auto& [key, facts] : runs(stem + "_beams.json")) {
    const std::string& name = key;  // clang 14 captures no structured binding
    CAPTURE(name);
    const Ids expected = ragged(golden, name + ".tokens");                  // [prompts * 4], the best first
    const std::vector<float> scores = golden.get<float>(name + ".scores");  // [prompts, 4]
    GenerationOptions options{
        .mode = Baseline{}, .max_new_tokens = facts.at("max_new_tokens"), .eos = golden.get<std::int32_t>("eos")};
    options.beams = {.count = 4, .length_penalty = facts.at("length_penalty")};
    const Json& early = facts.at("early_stopping");
    if (early.is_string())
      options.beams.early_stopping = EarlyStopping::never;
    else
      options.beams.early_stopping = early ? EarlyStopping::yes : EarlyStopping::no;
    double worst = 0;
    int tokens = 0;
    int close = 0;
    for (std::size_t i = 0; i < prompts_compared(stem, prompts.size()); ++i) {
      CAPTURE(i);
      const GenerationResult result = generate(llama, NoText{}, prompts[i], options);
      worst = std::max(worst, std::abs(result.score - static_cast<double>(scores[4 * i])));
      if (result.ids == expected[4 * i]) {
        tokens += static_cast<int>(result.ids.size());
      } else {
        CAPTURE(result.score);
        CAPTURE(scores[4 * i]);
        CHECK(scores[4 * i] - scores[4 * i + 1] < kClose);
        ++close;
      }
    }
    CHECK(worst < kBar);
    std::printf("beams, %-6s %d tokens equal, %d texts differ and are close; scores within %.1e\n", name.c_str(),
                tokens, close, worst);
  }
}

}  // namespace activation_trace::test
