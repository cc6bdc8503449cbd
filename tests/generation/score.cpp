// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/generation/score.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "activation_trace/generation/layer_entropies.hpp"
#include "activation_trace/model/llama.hpp"
#include "support/mode_fields.hpp"
#include "support/oracle.hpp"
#include "support/reference_llama.hpp"
#include "support/tiny_llama.hpp"

using namespace activation_trace;
namespace reference = test::reference;

namespace {

LlamaConfig config() {
  LlamaConfig c = test::tiny_llama_config();
  c.layers = 5;
  c.hidden = 64;
  c.ffn = 96;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 16;
  c.vocab = 131;
  return c;
}

using Ids = std::vector<TokenId>;

const test::TinyLlama& tiny() {
  static const test::TinyLlama model({.config = config(), .seed = 5});
  return model;
}

const Ids prompt{1, 17, 90, 3, 3, 44, 101, 8, 59};
const std::vector<Ids> answers{{7, 12, 30, 7, 99}, {7}, {120, 3}, {44, 44, 44, 2, 0, 130, 61}, {12, 90, 8}, {61, 5}};

std::size_t layer_of(Index layer) { return static_cast<std::size_t>(layer < 0 ? layer + 6 : layer); }

/// What a DoLa subtracts at a position, by processors/README.md 2.2; the layer that it chose joins `layers`.
std::vector<double> early_row(const reference::ForwardResult& states, const test::ModeFields& mode,
                              const std::vector<double>& mature, std::size_t position, std::vector<Index>& layers) {
  const LlamaWeights<> weights = tiny().weights();
  std::vector<double> chosen;
  double largest = -1;
  for (const Index layer : mode.premature_layers) {
    const reference::Vector logits = reference::times(weights.lm_head, states.hidden[layer_of(layer)][position]);
    const std::vector<double> candidate = test::log_softmax(logits);
    const double d = test::layer_divergence(mature, candidate, mode.divergence);
    if (d <= largest) continue;
    if (largest >= 0) layers.pop_back();
    layers.push_back(static_cast<Index>(layer_of(layer)));
    largest = d;
    chosen = mode.dola_base == DolaBase::logits ? logits : candidate;
  }
  return chosen;
}

/// The entropy of a token over the positions that count.
double context_entropy(const reference::ForwardResult& states, const test::ModeFields& mode, std::size_t positions,
                       TokenId id) {
  const LlamaWeights<> weights = tiny().weights();
  const std::size_t layer = layer_of(mode.context.info_layer.value_or(4));
  std::vector<double> scores;
  for (std::size_t i = 0; i < positions; ++i) {
    if (static_cast<Index>(i) < mode.context.span.begin || static_cast<Index>(i) >= mode.context.span.end) continue;
    reference::Vector h = states.hidden[layer][i];
    if (mode.context.final_norm && layer != 5) h = reference::normalised(h, weights.final_norm, 1e-5);
    const reference::Vector w = reference::row(weights.lm_head, id);
    double sum = 0;
    for (std::size_t k = 0; k < h.size(); ++k) sum += h[k] * w[k];
    scores.push_back(sum);
  }
  return test::entropy(scores);
}

/// generation/README.md 1 written down again, from the hidden states of a model in double: one pass per answer, every
/// distribution and every entropy in full.
ContinuationScore expected(const reference::ForwardResult& states, const Ids& ids, std::size_t prompt_length,
                           const ScoreOptions& o) {
  const LlamaWeights<> weights = tiny().weights();
  const test::ModeFields mode(o.mode);
  const bool dola = !mode.premature_layers.empty();
  ContinuationScore result;
  for (std::size_t t = prompt_length; t < ids.size(); ++t) {
    const auto y = static_cast<std::size_t>(ids[t]);
    const std::size_t layer = layer_of(mode.mature_layer.value_or(-1));
    const std::vector<double> mature =
        test::log_softmax(reference::times(weights.lm_head, states.hidden[layer][t - 1]));
    std::vector<double> values = mature;
    if (dola) {
      const std::vector<double> early = early_row(states, mode, mature, t - 1, result.layers);
      for (std::size_t v = 0; v < values.size(); ++v) values[v] -= early[v];
      if (o.post_softmax == DolaOutput::log_probs) values = test::log_softmax(values);
    }
    if (mode.filter.relative_top > 0 && (dola || o.filter == ScoreFilter::on)) {
      std::vector<double> sorted = mature;
      std::sort(sorted.begin(), sorted.end(), std::greater<>());
      const double threshold = std::min(sorted[static_cast<std::size_t>(mode.filter.min_tokens_to_keep - 1)],
                                        sorted[0] + std::log(static_cast<double>(mode.filter.relative_top)));
      if (mature[y] < threshold) values[y] = static_cast<double>(o.relative_top_value);
    }
    result.ids.push_back(ids[t]);
    result.log_probs.push_back(values[y]);
    result.score += values[y];
  }
  if (!std::holds_alternative<Activation>(o.mode) && !std::holds_alternative<ActivationDola>(o.mode)) return result;
  const bool alone = mode.strategy == ContextStrategy::single_entropy;
  if (alone) result.score = 0;
  for (const TokenId id : result.ids) {
    const std::size_t positions = o.context == ScoreContext::whole ? ids.size() : prompt_length;
    const double entropy = context_entropy(states, mode, positions, id);
    result.entropies.push_back(entropy);
    if (alone)
      result.score += o.single_entropy == SingleEntropy::reference ? entropy : -entropy;
    else
      result.score -= static_cast<double>(mode.alpha) * entropy;
  }
  return result;
}

/// Every mode of generation/README.md 1 and each of its alternatives.
std::map<std::string, ScoreOptions> runs() {
  const DolaStatic dola_static{.premature_layer = 2};
  const Dola dola{.candidate_layers = {0, 1, 2, 3, -2}};
  const Activation activation{.alpha = 0.8f, .context = {.info_layer = 3}};
  const ActivationDola activation_dola{.context = {.info_layer = -1}, .candidate_layers = dola.candidate_layers};
  const auto with = [](auto mode, const auto& change) {
    change(mode);
    return ScoreOptions{.mode = mode};
  };
  const auto read = [&](const ContextOptions& context) {
    Activation mode = activation;
    mode.context = context;
    return ScoreOptions{.mode = mode};
  };
  const RelativeTopOptions unfiltered{.relative_top = 0};
  const auto raw = [](auto& mode) { mode.base = DolaBase::logits; };
  const auto truly = [](auto& mode) { mode.divergence = LayerDivergence::jensen_shannon; };
  const auto alone = [](Activation& mode) { mode.strategy = ContextStrategy::single_entropy; };
  std::map<std::string, ScoreOptions> all{
      {"baseline", {.mode = Baseline{}}},
      {"baseline, mature layer", {.mode = Baseline{.mature_layer = 3}}},
      {"dola_static", {.mode = dola_static}},
      {"dola_static, no filter", with(dola_static, [&](DolaStatic& m) { m.filter = unfiltered; })},
      {"dola", {.mode = dola}},
      {"dola, one candidate", {.mode = Dola{.candidate_layers = {1}}}},
      {"dola, difference", {.mode = dola, .post_softmax = DolaOutput::difference}},
      {"dola, other value", {.mode = dola, .relative_top_value = -7.5f}},
      {"dola, filter 0.001", with(dola, [](Dola& m) { m.filter.relative_top = 0.001f; })},
      {"dola, keep 100", with(dola, [](Dola& m) { m.filter.min_tokens_to_keep = 100; })},
      {"dola, true divergence", with(dola, truly)},
      {"dola, mature layer", {.mode = Dola{.candidate_layers = {3, 0}, .mature_layer = 4}}},
      {"activation", {.mode = activation}},
      {"activation, alpha 0", with(activation, [](Activation& m) { m.alpha = 0; })},
      {"activation, default layer", read({})},
      {"activation, layer 0", read({.info_layer = 0})},
      {"activation, layer N", read({.info_layer = 5})},
      {"activation, layer N, normalised already", read({.info_layer = 5, .final_norm = true})},
      {"activation, prompt", {.mode = activation, .context = ScoreContext::prompt}},
      {"activation, filter", with(activation, [](Activation& m) { m.filter.relative_top = 0.01f; })},
      {"activation, without BOS", read({.info_layer = 3, .span = ContextSpan::without_bos()})},
      {"activation, end of the prompt", read({.info_layer = 3, .span = {8, 9}})},
      {"activation, answer only", read({.info_layer = 3, .span = {9, 1000}})},
      {"activation, answer cut", read({.info_layer = 3, .span = {2, 10}})},
      {"activation, normalised", read({.info_layer = 3, .final_norm = true})},
      {"single_entropy", with(activation, alone)},
      {"single_entropy, negated", with(activation, alone)},
      {"activation_dola", {.mode = activation_dola}},
      {"activation_dola, logits", with(activation_dola, raw)},
      {"activation_dola, logits, not normalised", with(activation_dola, raw)},
      {"activation_dola, prompt", {.mode = activation_dola, .context = ScoreContext::prompt}},
      {"activation_dola, true divergence", with(activation_dola, truly)},
  };
  all["dola_static, no filter, difference"] = all["dola_static, no filter"];
  all["dola_static, no filter, difference"].post_softmax = DolaOutput::difference;
  all["activation, filter"].filter = ScoreFilter::on;
  all["single_entropy, negated"].single_entropy = SingleEntropy::negated;
  all["activation_dola, logits, not normalised"].post_softmax = DolaOutput::difference;
  return all;
}

struct Setup {
  int threads = 1;
  Index sequences = 1;
  Index batch = 512;
};

std::vector<ContinuationScore> run(const ScoreOptions& options, const Setup& setup = {},
                                   const std::vector<Ids>& continuations = answers, const Ids& before = prompt) {
  Execution<Host> execution(setup.threads);
  Llama llama(tiny().config(), tiny().weights(),
              {.max_context = 32, .max_batch = setup.batch, .sequences = setup.sequences}, execution);
  return score(llama, before, continuations, options);
}

void check_close(const ContinuationScore& actual, const ContinuationScore& wanted, double tolerance) {
  CHECK(actual.ids == wanted.ids);
  CHECK(actual.layers == wanted.layers);
  REQUIRE(actual.log_probs.size() == wanted.log_probs.size());
  REQUIRE(actual.entropies.size() == wanted.entropies.size());
  for (std::size_t t = 0; t < wanted.log_probs.size(); ++t)
    CHECK(std::abs(actual.log_probs[t] - wanted.log_probs[t]) < tolerance);
  for (std::size_t t = 0; t < wanted.entropies.size(); ++t)
    CHECK(std::abs(actual.entropies[t] - wanted.entropies[t]) < tolerance);
  CHECK(std::abs(actual.score - wanted.score) < 8 * tolerance);
}

void check_equal(const std::vector<ContinuationScore>& a, const std::vector<ContinuationScore>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i].score == b[i].score);
    CHECK(a[i].log_probs == b[i].log_probs);
    CHECK(a[i].entropies == b[i].entropies);
    CHECK(a[i].layers == b[i].layers);
  }
}

/// The Llama as an engine that gives rows of its LM head on request, and tells which.
class Engine {
 public:
  explicit Engine(Llama<>& llama) : llama_(llama) {}

  [[nodiscard]] const LlamaConfig& config() const { return llama_.config(); }
  [[nodiscard]] activation_trace::LmHead<> lm_head() const {
    return {config().vocab, config().hidden, [this](Index begin, Index end, MatrixView<float> out) {
              if (end - begin == 1) ++single_rows[static_cast<TokenId>(begin)];
              for (Index r = begin; r < end; ++r) llama_.weights().lm_head.decode_row(r, out.row(r - begin).span());
            }};
  }
  [[nodiscard]] FinalNorm final_norm() const { return llama_.final_norm(); }
  [[nodiscard]] Index max_context() const { return llama_.max_context(); }
  [[nodiscard]] Index sequences() const { return llama_.sequences(); }
  [[nodiscard]] Index position(Index sequence = 0) const { return llama_.position(sequence); }
  [[nodiscard]] std::span<const TokenId> ids(Index sequence = 0) const { return llama_.ids(sequence); }
  [[nodiscard]] Execution<Host>& execution() const { return llama_.execution(); }
  void rewind(Index position, Index sequence = 0) { llama_.rewind(position, sequence); }
  void copy_sequence(Index from, Index to, Index begin) { llama_.copy_sequence(from, to, begin); }
  void fill(std::span<const SequencePiece<>> pieces) {
    for (const SequencePiece<>& piece : pieces) computed += static_cast<Index>(piece.ids.size());
    llama_.fill(pieces);
  }
  MatrixView<const float> forward(std::span<const SequencePiece<>> pieces) { return llama_.forward(pieces); }
  void early_exit(std::span<const SequencePiece<>> pieces, std::span<const Index> layers, TensorView<float, 3> logits) {
    llama_.early_exit(pieces, layers, logits);
  }

  Index computed = 0;
  mutable std::map<TokenId, int> single_rows;

 private:
  Llama<>& llama_;
};

/// The prompt with each answer, and what a forward pass in double makes of it.
std::pair<std::vector<Ids>, std::vector<reference::ForwardResult>> computed_in_double() {
  std::vector<Ids> sequences;
  std::vector<reference::ForwardResult> states;
  for (const Ids& answer : answers) {
    sequences.push_back(prompt);
    sequences.back().insert(sequences.back().end(), answer.begin(), answer.end());
    states.push_back(reference::forward(tiny().config(), tiny().weights(), sequences.back()));
  }
  return {std::move(sequences), std::move(states)};
}

}  // namespace

TEST_CASE("Every mode of scoring is its definition, computed in double") {
  const auto [sequences, states] = computed_in_double();
  std::set<Index> chosen;
  bool filtered = false;
  bool plausible = false;
  for (const auto& [key, options] : runs()) {
    const std::string& name = key;  // clang 14 captures no structured binding
    CAPTURE(name);
    for (const Index parallel : {1, 4}) {
      const std::vector<ContinuationScore> scores = run(options, {.sequences = parallel});
      REQUIRE(scores.size() == answers.size());
      for (std::size_t i = 0; i < answers.size(); ++i) {
        CAPTURE(i);
        check_close(scores[i], expected(states[i], sequences[i], prompt.size(), options), 1e-4);
        chosen.insert(scores[i].layers.begin(), scores[i].layers.end());
        for (const double x : scores[i].log_probs) {
          filtered = filtered || x == -1000;
          plausible = plausible || (name == "activation, filter" && x != -1000);
        }
      }
    }
  }
  CHECK(chosen.size() >= 4);  // or the data would say little about the choice
  CHECK(filtered);
  CHECK(plausible);
}

namespace {

/// The log-probabilities that an amateur gives what follows `before`.
using AmateurRow = std::function<std::vector<double>(const Ids& before)>;

/// Contrastive scoring of one sequence, in double: lp - coefficient / temperature * lp of the amateur.
ContinuationScore expected_contrastive(const reference::ForwardResult& states, const Ids& ids, const ScoreOptions& o,
                                       const AmateurRow& amateur) {
  const test::ModeFields mode(o.mode);
  const double weight = static_cast<double>(mode.coefficient) / static_cast<double>(mode.student_temperature);
  const auto layer = static_cast<std::size_t>(mode.mature_layer.value_or(5));
  ContinuationScore result;
  for (std::size_t t = prompt.size(); t < ids.size(); ++t) {
    const auto y = static_cast<std::size_t>(ids[t]);
    const auto lp = test::log_softmax(reference::times(tiny().weights().lm_head, states.hidden[layer][t - 1]));
    std::vector<double> sorted = lp;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    const double threshold = std::min(sorted[static_cast<std::size_t>(mode.filter.min_tokens_to_keep - 1)],
                                      sorted[0] + std::log(static_cast<double>(mode.filter.relative_top)));
    const bool kept = mode.filter.relative_top == 0 || lp[y] >= threshold;
    const double difference = lp[y] - weight * amateur({ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(t)})[y];
    result.ids.push_back(ids[t]);
    result.log_probs.push_back(kept ? difference : static_cast<double>(o.relative_top_value));
    result.score += result.log_probs.back();
  }
  return result;
}

/// Counts of three in a row, 0.1 added.
std::vector<double> trigram(const Ids& text) {
  std::vector<double> counts(131, 0.1);
  double total = 13.1;
  for (std::size_t i = 2; i < text.size(); ++i) {
    if (text[i - 2] != text[text.size() - 2] || text[i - 1] != text.back()) continue;
    counts[static_cast<std::size_t>(text[i])] += 1;
    total += 1;
  }
  for (double& count : counts) count = std::log(count / total);
  return counts;
}

const test::TinyLlama& weaker() {
  static const test::TinyLlama model({.config = config(), .seed = 6});
  return model;
}

}  // namespace

TEST_CASE("Contrastive scoring is its definition in double, with n-grams and with another model") {
  // An answer that goes on as the prompt does, or the n-grams would all be alike.
  std::vector<Ids> more = answers;
  more.push_back({3, 3, 44, 101, 8, 3, 3, 44});
  std::vector<Ids> sequences;
  std::vector<reference::ForwardResult> states;
  for (const Ids& answer : more) {
    sequences.push_back(prompt);
    sequences.back().insert(sequences.back().end(), answer.begin(), answer.end());
    states.push_back(reference::forward(tiny().config(), tiny().weights(), sequences.back()));
  }
  std::map<Ids, std::vector<double>> rows;  // of the weaker model, computed once
  const auto weaker_row = [&](const Ids& text) {
    std::vector<double>& row = rows[text];
    if (row.empty()) {
      const auto hidden = reference::forward(weaker().config(), weaker().weights(), text).hidden;
      row = test::log_softmax(reference::times(weaker().weights().lm_head, hidden.back().back()));
    }
    return row;
  };
  const auto forgetful_row = [&](const Ids& text) {
    return weaker_row({text.begin() + static_cast<std::ptrdiff_t>(prompt.size()) - 1, text.end()});
  };
  const auto contrastive = [](const RelativeTopOptions& filter) {
    return Contrastive{.coefficient = 0.6f, .student_temperature = 0.5f, .filter = filter};
  };
  const Contrastive early{.coefficient = 0.6f, .mature_layer = 4, .filter = {.relative_top = 0.01f}};
  const Contrastive alone{.coefficient = 0};
  int filtered = 0;
  int kept = 0;
  for (const ScoreOptions& options :
       {ScoreOptions{.mode = contrastive({})}, ScoreOptions{.mode = contrastive({.relative_top = 0})},
        ScoreOptions{.mode = contrastive({.relative_top = 1, .min_tokens_to_keep = 60}), .relative_top_value = -7.5f},
        ScoreOptions{.mode = early, .relative_top_value = -std::numeric_limits<float>::infinity()},
        ScoreOptions{.mode = alone}})
    for (const Index parallel : {1, 4}) {
      Execution<Host> execution(2);
      Llama llama(tiny().config(), tiny().weights(), {.max_context = 32, .sequences = parallel}, execution);
      Llama other(weaker().config(), weaker().weights(), {.max_context = 32}, execution);
      ModelAmateur model(other);
      ModelAmateur forgetful(other, AmateurPrompt::last_token);
      NgramAmateur ngrams(131);
      const std::pair<Amateur*, AmateurRow> amateurs[] = {
          {&ngrams, trigram}, {&model, weaker_row}, {&forgetful, forgetful_row}};
      for (const auto& amateur : amateurs) {
        const std::vector<ContinuationScore> scores =
            score(llama, prompt, more, options, {}, {.amateur = amateur.first});
        REQUIRE(scores.size() == more.size());
        for (std::size_t i = 0; i < more.size(); ++i) {
          CAPTURE(i);
          const ContinuationScore wanted = expected_contrastive(states[i], sequences[i], options, amateur.second);
          const double rejected = static_cast<double>(options.relative_top_value);
          CHECK(scores[i].entropies.empty());
          CHECK(scores[i].layers.empty());
          REQUIRE(scores[i].log_probs.size() == wanted.log_probs.size());
          for (std::size_t t = 0; t < wanted.log_probs.size(); ++t) {
            (wanted.log_probs[t] == rejected ? filtered : kept) += 1;
            if (wanted.log_probs[t] == rejected)
              CHECK(scores[i].log_probs[t] == rejected);
            else
              CHECK(std::abs(scores[i].log_probs[t] - wanted.log_probs[t]) < 1e-4);
          }
          if (std::isfinite(wanted.score)) CHECK(std::abs(scores[i].score - wanted.score) < 1e-3);
          if (!std::isfinite(wanted.score)) CHECK(scores[i].score == wanted.score);
        }
      }
    }
  CHECK(filtered > 100);
  CHECK(kept > 100);
}

TEST_CASE("Contrastive scoring with a coefficient of 0 is the baseline, and records do not change it") {
  Execution<Host> execution(1);
  Llama llama(tiny().config(), tiny().weights(), {.max_context = 32, .sequences = 3}, execution);
  NgramAmateur ngrams(131);
  ScoreOptions options{.mode = Contrastive{.coefficient = 0, .filter = {.relative_top = 0}}};
  const Companions with{.amateur = &ngrams};
  const std::vector<ContinuationScore> plain = run({.mode = Baseline{}});
  const std::vector<ContinuationScore> zero = score(llama, prompt, answers, options, {}, with);
  options.record = ContextOptions{.info_layer = 3};
  const std::vector<ContinuationScore> recorded = score(llama, prompt, answers, options, {}, with);
  const std::vector<ContinuationScore> activation = run(runs().at("activation"));
  for (std::size_t i = 0; i < answers.size(); ++i) {
    check_close(zero[i], plain[i], 1e-5);
    CHECK(recorded[i].score == zero[i].score);
    CHECK(recorded[i].entropies == activation[i].entropies);
  }
}

TEST_CASE("An amateur that does not fit is refused by name") {
  Execution<Host> execution(1);
  Llama llama(tiny().config(), tiny().weights(), {.max_context = 32}, execution);
  Llama narrow(weaker().config(), weaker().weights(), {.max_context = 13}, execution);
  ModelAmateur short_context(narrow);
  NgramAmateur fitting(131);
  NgramAmateur other_vocabulary(130);
  const auto refuses = [&](const Mode& mode, Amateur* amateur, const char* text) {
    CHECK_THROWS_WITH_AS(score(llama, prompt, answers, {.mode = mode}, {}, {.amateur = amateur}), text, ArgumentError);
    CHECK(llama.position() == 0);
  };
  refuses(Contrastive{}, nullptr, "amateur: decoding_mode contrastive needs one");
  refuses(Activation{}, &fitting, "amateur: decoding_mode activation has no use for one");
  refuses(Contrastive{}, &other_vocabulary, "amateur: its vocabulary has 130 tokens, the model's 131");
  refuses(Contrastive{}, &short_context,
          "continuation 0: with the prompt it has 14 tokens, which do not fit into the amateur's context of 13");
  refuses(Contrastive{.coefficient = -1}, &fitting, "contrastive_coefficient: expected a number >= 0, got -1.000000");
}

TEST_CASE("Many continuations are those one at a time, bit for bit, for any number of sequences and threads") {
  for (const auto& [key, options] : runs()) {
    const std::string& name = key;  // clang 14 captures no structured binding
    CAPTURE(name);
    std::vector<ContinuationScore> single;
    for (const Ids& answer : answers) single.push_back(run(options, {}, {answer})[0]);
    for (const Setup& setup : {Setup{}, Setup{.threads = 2, .sequences = 2}, Setup{.threads = 5, .sequences = 3},
                               Setup{.sequences = 6}, Setup{.threads = 2, .sequences = 8}})
      check_equal(run(options, setup), single);
  }
}

TEST_CASE("Small batches and pieces change no more than rounding does") {
  for (const std::string name : {"baseline", "dola", "activation", "activation, prompt", "activation_dola"}) {
    CAPTURE(name);
    const std::vector<ContinuationScore> whole = run(runs().at(name));
    for (const Index batch : {1, 5, 11}) {
      ScoreOptions options = runs().at(name);
      options.prefill_piece = 3;
      const std::vector<ContinuationScore> cut = run(options, {.sequences = 3, .batch = batch});
      REQUIRE(cut.size() == whole.size());
      for (std::size_t i = 0; i < cut.size(); ++i) check_close(cut[i], whole[i], 5e-5);
    }
  }
}

TEST_CASE("More continuations than a block of rows, and repeated ones, change nothing") {
  std::vector<Ids> many;
  for (int i = 0; i < 9; ++i) many.insert(many.end(), answers.begin(), answers.end());
  for (const std::string name : {"baseline", "activation_dola"}) {
    const std::vector<ContinuationScore> few = run(runs().at(name));
    const std::vector<ContinuationScore> scores = run(runs().at(name), {.sequences = 5}, many);
    REQUIRE(scores.size() == many.size());
    std::vector<ContinuationScore> repeated;
    for (std::size_t i = 0; i < many.size(); ++i) repeated.push_back(few[i % answers.size()]);
    check_equal(scores, repeated);
  }
}

TEST_CASE("Answers that begin alike, and the same answers to another prompt, score as each does alone") {
  const std::vector<Ids> alike{{7, 12, 30, 7}, {7, 12, 30},       {7, 12, 31, 7},
                               {12, 30, 7},    {7, 12, 30, 7, 5}, {7, 12, 30}};
  Ids other = prompt;
  other[1] += 1;
  std::vector<Ids> sequences;
  for (const Ids& before : {prompt, other})
    for (const Ids& answer : alike) {
      sequences.push_back(before);
      sequences.back().insert(sequences.back().end(), answer.begin(), answer.end());
    }
  for (const std::string name : {"baseline", "dola", "dola_static", "activation", "activation_dola"}) {
    CAPTURE(name);
    const ScoreOptions options = runs().at(name);
    const auto score_all = [&](std::span<const Ids> some, Index at_once) {
      Execution<Host> execution(2);
      Llama llama(tiny().config(), tiny().weights(), {.max_context = 32, .sequences = at_once}, execution);
      return score_sequences(llama, some, std::ssize(prompt), options);
    };
    std::vector<ContinuationScore> single;
    for (const Ids& sequence : sequences) single.push_back(score_all(std::span(&sequence, 1), 1)[0]);
    for (const Index at_once : {1, 3, 12}) {
      const std::vector<ContinuationScore> together = score_all(sequences, at_once);
      REQUIRE(together.size() == single.size());
      // Of prompts that differ less is computed at once: the same numbers to rounding.
      for (std::size_t i = 0; i < single.size(); ++i) check_close(together[i], single[i], 5e-5);
    }
    check_equal(score_all(std::span(sequences).first(6), 4), std::vector(single.begin(), single.begin() + 6));
  }
}

TEST_CASE("A prompt of one token") {
  const Ids bos{1};
  for (const std::string name : {"baseline", "dola", "activation", "activation, prompt", "activation_dola"}) {
    const ScoreOptions options = runs().at(name);
    const std::vector<ContinuationScore> scores = run(options, {.sequences = 2}, answers, bos);
    for (std::size_t i = 0; i < answers.size(); ++i) {
      Ids ids = bos;
      ids.insert(ids.end(), answers[i].begin(), answers[i].end());
      check_close(scores[i], expected(reference::forward(tiny().config(), tiny().weights(), ids), ids, 1, options),
                  1e-4);
    }
  }
}

TEST_CASE("The prompt is computed once, and only the answers' tokens have entropies computed") {
  Execution<Host> execution(1);
  Llama llama(tiny().config(), tiny().weights(), {.max_context = 32}, execution);
  Engine engine(llama);
  const ScoreOptions options = runs().at("activation");
  const std::vector<ContinuationScore> scores = score(engine, prompt, answers, options);
  const std::vector<ContinuationScore> plain = run(options);
  check_equal(scores, plain);

  Index rows = static_cast<Index>(prompt.size()) - 1;
  Index rows_without_context = rows;
  std::map<TokenId, int> wanted;  // once for the prompt, once wherever an answer has the token
  for (const Ids& answer : answers) {
    // The prompt's last token goes with each answer, and so do those before it that make four rows.
    rows += std::max<Index>(4, std::ssize(answer) + 1);
    rows_without_context += std::max<Index>(4, std::ssize(answer));
    for (const TokenId id : answer) ++wanted.try_emplace(id, 1).first->second;
  }
  CHECK(engine.single_rows == wanted);
  CHECK(engine.computed == rows);

  engine.computed = 0;
  engine.single_rows.clear();
  static_cast<void>(score(engine, prompt, answers, runs().at("baseline")));
  CHECK(engine.single_rows.empty());
  // Of an answer's last token nothing is asked.
  CHECK(engine.computed == rows_without_context);
}

TEST_CASE("Prompts that share a prefix have it computed once, whatever comes before, and the numbers are the same") {
  const std::size_t shared = 4;
  const std::vector<Ids> prompts{prompt,
                                 {1, 17, 90, 3, 60, 61, 62, 63},
                                 {1, 17, 90, 3, 60, 61, 62},  // too little behind the prefix to be cut there
                                 {1, 17, 90, 4, 60, 61, 62, 63, 64},
                                 {1, 17, 90, 3, 60, 61, 62, 63, 99, 98, 97, 96, 95}};
  for (const auto& [key, plain] : runs()) {
    const std::string& name = key;  // clang 14 captures no structured binding
    CAPTURE(name);
    ScoreOptions options = plain;
    options.record.emplace();
    std::vector<std::vector<ContinuationScore>> first;
    for (const Setup& setup : {Setup{}, Setup{.threads = 2, .sequences = 4}}) {
      Execution<Host> execution(setup.threads);
      Llama llama(tiny().config(), tiny().weights(), {.max_context = 32, .sequences = setup.sequences}, execution);
      PrefixCache prefix(Ids(prompt.begin(), prompt.begin() + shared));
      for (std::size_t round = 0; round < 2; ++round)
        for (std::size_t k = 0; k < prompts.size(); ++k) {
          const std::size_t i = round == 0 ? k : prompts.size() - 1 - k;
          CAPTURE(i);
          if (options.entropies()->span.begin >= static_cast<Index>(prompts[i].size())) continue;
          const std::vector<ContinuationScore> alone = run(options, setup, answers, prompts[i]);
          if (round == 1 && k == 2) score(llama, prompts[3], answers, options);  // without it, over its positions
          const std::vector<ContinuationScore> cached =
              score(llama, prompts[i], answers, options, {}, {.prefix = &prefix});
          REQUIRE(cached.size() == alone.size());
          for (std::size_t a = 0; a < alone.size(); ++a) check_close(cached[a], alone[a], 1e-4);
          if (setup.sequences == 1 && round == 0)
            first.push_back(cached);
          else if (first.size() == prompts.size())
            check_equal(cached, first[i]);
        }
    }
  }
}

TEST_CASE("What a prefix costs") {
  Execution<Host> execution(1);
  Llama llama(tiny().config(), tiny().weights(), {.max_context = 32, .sequences = 2}, execution);
  Engine engine(llama);
  PrefixCache prefix(Ids{1, 17, 90});
  const Companions with{.prefix = &prefix};
  const std::vector<Ids> one{{7, 12}, {99}};
  score(engine, prompt, one, {}, {}, with);
  const Index common = static_cast<Index>(prompt.size()) - 1;
  const Index own = 4 + 4;
  CHECK(engine.computed == common + own);
  score(engine, prompt, one, {}, {}, with);
  CHECK(engine.computed == 2 * (common + own) - 3);
  llama.rewind(1, 0);
  score(engine, prompt, one, {}, {}, with);  // the other sequence still has it
  CHECK(engine.computed == 3 * (common + own) - 6);
  llama.rewind(1, 0);
  llama.rewind(1, 1);
  score(engine, prompt, one, {}, {}, with);
  CHECK(engine.computed == 4 * (common + own) - 6);
  Llama other(tiny().config(), tiny().weights(), {.max_context = 32}, execution);
  CHECK_THROWS_WITH_AS(score(other, prompt, one, {}, {}, with), "PrefixCache: it belongs to another model",
                       ArgumentError);
}

TEST_CASE("Entropies of all layers are those of one layer after the other, and their definition") {
  const auto [sequences, states] = computed_in_double();
  const auto length = static_cast<Index>(prompt.size());
  for (const std::string name :
       {"activation", "activation, prompt", "activation, answer cut", "activation, normalised", "activation_dola"}) {
    CAPTURE(name);
    for (const Setup& setup : {Setup{}, Setup{.threads = 2, .sequences = 4}}) {
      Execution<Host> execution(setup.threads);
      Llama llama(tiny().config(), tiny().weights(), {.max_context = 32, .sequences = setup.sequences}, execution);
      ScoreOptions options = runs().at(name);
      const std::vector<LayerEntropies> all = layer_entropies(llama, sequences, length, {}, options);
      REQUIRE(all.size() == answers.size());
      for (Index layer = 0; layer <= tiny().config().layers; ++layer) {
        CAPTURE(layer);
        if (auto* activation = std::get_if<Activation>(&options.mode)) activation->context.info_layer = layer;
        if (auto* dola = std::get_if<ActivationDola>(&options.mode)) dola->context.info_layer = layer;
        const std::vector<ContinuationScore> one = score_sequences(llama, sequences, length, options);
        for (std::size_t i = 0; i < all.size(); ++i) {
          REQUIRE(all[i].entropies.size() == 6);
          CHECK(all[i].ids == one[i].ids);
          CHECK(all[i].log_probs == one[i].log_probs);
          CHECK(all[i].entropies[static_cast<std::size_t>(layer)] == one[i].entropies);
          if (setup.sequences == 1)
            check_close(one[i], expected(states[i], sequences[i], prompt.size(), options), 1e-4);
        }
      }
      PrefixCache prefix(Ids(prompt.begin(), prompt.begin() + 4));
      const std::vector<LayerEntropies> prefixed =
          layer_entropies(llama, sequences, length, {}, options, {}, {.prefix = &prefix});
      for (std::size_t i = 0; i < all.size(); ++i)
        for (std::size_t k = 0; k < 6; ++k)
          for (std::size_t t = 0; t < all[i].ids.size(); ++t)
            CHECK(std::abs(prefixed[i].entropies[k][t] - all[i].entropies[k][t]) < 1e-5);
      const std::vector<Index> chosen{-1, 2};
      const std::vector<LayerEntropies> some = layer_entropies(llama, sequences, length, chosen, options);
      CHECK(some[3].entropies == std::vector{all[3].entropies[5], all[3].entropies[2]});
    }
  }
  Execution<Host> execution(1);
  Llama llama(tiny().config(), tiny().weights(), {.max_context = 32}, execution);
  const auto refuses = [&, &sequences = sequences](std::vector<Index> layers, const ScoreOptions& options,
                                                   const char* text) {
    CHECK_THROWS_WITH_AS(layer_entropies(llama, sequences, length, layers, options), text, ArgumentError);
  };
  refuses({5, 2, -1}, {}, "layers: layer 5 is there twice");
  refuses({6}, {}, "layer 6 does not exist: a model of 5 blocks has the hidden states -6..5");
  refuses({}, {.mode = Baseline{}},
          "layer_entropies: decoding_mode baseline reads no entropies; give it a context to record");
}

namespace {

/// A token per character, but "ab" is one, and so is a space with the letter behind it: the end of a prompt can grow
/// together with a continuation.
struct PairTokenizer {
  struct Settings {
    bool add_eos = false;
  };
  Settings ends;
  bool bos = true;

  [[nodiscard]] const Settings& settings() const { return ends; }
  [[nodiscard]] Ids encode_prompt(std::string_view text) const {
    Ids ids;
    if (bos) ids.push_back(1);
    for (std::size_t i = 0; i < text.size(); ++i) {
      const bool pair = text.substr(i, 2) == "ab";
      const bool word = text[i] == ' ' && i + 1 < text.size() && text[i + 1] != ' ';
      if (word)
        ids.push_back(text[i + 1] - 'a' + 50);
      else
        ids.push_back(pair ? 100 : text[i] == ' ' ? 3 : text[i] - 'a' + 10);
      i += pair || word;
    }
    if (ends.add_eos) ids.push_back(2);
    return ids;
  }
};

/// One that can be told how many tokens the model has.
struct LargerTokenizer : PairTokenizer {
  Index known = 1000;

  [[nodiscard]] LargerTokenizer for_model(Index vocab) const { return {*this, vocab}; }
  [[nodiscard]] Ids encode_prompt(std::string_view text) const {
    Ids ids = PairTokenizer::encode_prompt(text);
    if (text.ends_with('z')) ids.back() = 999;
    for (const TokenId id : ids)
      if (id >= known) throw ArgumentError("the model has " + std::to_string(known) + " tokens");
    return ids;
  }
};

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("Text is tokenised together with its prompt") {
  Execution<Host> execution(1);
  Llama llama(tiny().config(), tiny().weights(), {.max_context = 32, .sequences = 2}, execution);
  const ScoreOptions options = runs().at("activation");
  const auto direct = [&](const Ids& before, const Ids& answer) {
    return score(llama, before, std::vector<Ids>{answer}, options)[0];
  };
  for (const bool add_eos : {false, true}) {
    const PairTokenizer tokenizer{{add_eos}};
    const std::vector<ContinuationScore> scores = score_text(llama, tokenizer, "dca", Texts{"cd", " d"}, options);
    REQUIRE(scores.size() == 2);
    CHECK(scores[0].ids == Ids{12, 13});
    CHECK(scores[1].ids == Ids{53});
    CHECK(scores[0].moved_space.empty());
    check_close(scores[0], direct({1, 13, 12, 10}, {12, 13}), 1e-5);
    check_close(scores[1], direct({1, 13, 12, 10}, {53}), 1e-5);
    CHECK_THROWS_WITH_AS(score_text(llama, tokenizer, "dca", Texts{"cd", ""}, options),
                         "continuation 1: it adds no token to the prompt", ArgumentError);
  }
  // A token that the model lacks is the tokenizer's to name.
  const std::string problem = "the model has " + std::to_string(tiny().config().vocab) + " tokens";
  CHECK_THROWS_WITH_AS(score_text(llama, LargerTokenizer{}, "dca", Texts{"z"}, options), problem.c_str(),
                       ArgumentError);
  CHECK_THROWS_WITH_AS(layer_entropies_of_text(llama, LargerTokenizer{}, "dca", Texts{"z"}, {}, options),
                       problem.c_str(), ArgumentError);
}

TEST_CASE("White space that a prompt's end shares with an answer's first token counts as the answers'") {
  Execution<Host> execution(1);
  Llama llama(tiny().config(), tiny().weights(), {.max_context = 32, .sequences = 2}, execution);
  const ScoreOptions options = runs().at("activation");
  for (const bool add_eos : {false, true}) {
    const PairTokenizer tokenizer{{add_eos}};
    // Alone "dc  " is d, c, space, space; the second answer leaves them, the first takes one. Both are asked for both.
    const Texts texts{"bcd", "  d"};
    const std::vector<ContinuationScore> scores = score_text(llama, tokenizer, "dc  ", texts, options);
    REQUIRE(scores.size() == 2);
    CHECK(scores[0].ids == Ids{3, 51, 12, 13});
    CHECK(scores[1].ids == Ids{3, 3, 3, 53});
    const std::vector<ContinuationScore> wanted = score_text(llama, tokenizer, "dc", Texts{"  bcd", "    d"}, options);
    for (std::size_t i = 0; i < 2; ++i) {
      CHECK(scores[i].moved_space == "  ");
      CHECK(wanted[i].moved_space.empty());
      CHECK(scores[i].score == wanted[i].score);
    }
    const ScoreOptions entropies = runs().at("activation");
    const auto layers = layer_entropies_of_text(llama, tokenizer, "dc  ", texts, std::vector<Index>{2}, entropies);
    CHECK(layers[0].ids == Ids{3, 51, 12, 13});
    CHECK(layers[0].moved_space == "  ");
    // Nothing merges: the space stays the prompt's, as published.
    const ContinuationScore stays = score_text(llama, tokenizer, "dc ", Texts{"  d"}, options)[0];
    CHECK(stays.ids == Ids{3, 53});
    CHECK(stays.moved_space.empty());
  }
}

TEST_CASE("Any other token over the border of prompt and answer is refused") {
  Execution<Host> execution(1);
  Llama llama(tiny().config(), tiny().weights(), {.max_context = 32}, execution);
  const ScoreOptions options = runs().at("activation");
  const auto refuses = [&](const PairTokenizer& tokenizer, const char* before, const Texts& texts, const char* start) {
    CAPTURE(before);
    try {
      static_cast<void>(score_text(llama, tokenizer, before, texts, options));
      FAIL("nothing was thrown");
    } catch (const ArgumentError& e) {
      CHECK(std::string(e.what()).starts_with(start));
    }
  };
  refuses({}, "dca", {"cd", "b"}, "continuation 1: its beginning and the prompt's end become one token");
  refuses({}, "dca", {"bcd"}, "continuation 0: its beginning and the prompt's end become one token");
  refuses({.ends = {}, .bos = false}, " ", {"d"}, "prompt: it is nothing but white space");
}

TEST_CASE("White space is Unicode's") {
  CHECK(detail::without_trailing_space("a b \t\n\u00a0\u3000") == "a b");
  CHECK(detail::without_trailing_space(" \xe3\x80") == " \xe3\x80");  // a part of a character is none
  CHECK(detail::without_trailing_space(" \u2028").empty());
  CHECK(detail::without_trailing_space("").empty());
}

TEST_CASE("Progress and an end on request") {
  Execution<Host> execution(1);
  Llama llama(tiny().config(), tiny().weights(), {.max_context = 32, .sequences = 2}, execution);
  ScoreOptions options = runs().at("activation");
  options.prefill_piece = 3;
  const std::vector<ContinuationScore> all = run(options, {.sequences = 2});
  std::vector<Index> done;
  Index total = 0;
  static_cast<void>(score(llama, prompt, answers, options, {.on_progress = [&](Index now, Index of) {
                            done.push_back(now);
                            total = of;
                          }}));
  CHECK(total == 6 + 20 + 6 * 3);  // two whole pieces, then what is left of the prompt with each answer
  CHECK(done.front() == 3);
  CHECK(done.back() == total);
  CHECK(std::is_sorted(done.begin(), done.end()));
  for (const Index at : {Index{3}, Index{5}, done[done.size() - 2]}) {
    std::stop_source stop;
    const std::vector<ContinuationScore> part = score(llama, prompt, answers, options,
                                                      {.on_progress =
                                                           [&](Index now, Index) {
                                                             if (now >= at) stop.request_stop();
                                                           },
                                                       .stop = stop.get_token()});
    CHECK(part.size() == (at <= 5 ? 0 : 4));
    check_equal(part, {all.begin(), all.begin() + static_cast<std::ptrdiff_t>(part.size())});
  }
}

TEST_CASE("What cannot be scored is refused by name") {
  const auto refuses = [](ScoreOptions options, const char* text, const std::vector<Ids>& continuations = answers,
                          const Ids& before = prompt) {
    CAPTURE(text);
    try {
      static_cast<void>(run(options, {}, continuations, before));
      FAIL("nothing was thrown");
    } catch (const ArgumentError& e) {
      CHECK(std::string(e.what()).find(text) != std::string::npos);
    }
  };
  const ScoreOptions plain{.mode = Baseline{}};
  refuses(plain, "prompt: it is empty", answers, {});
  refuses(plain, "continuation 1: it adds no token", {{5}, {}});
  refuses(plain, "continuation 1: with the prompt it has 33 tokens", {{5}, Ids(24, 3)});
  refuses(plain, "continuation 0: token id 131", {{131}});
  refuses(plain, "continuation 0: token id -1", {{-1}});
  const auto refuses_mode = [&](const Mode& mode, const char* text) { refuses({.mode = mode}, text); };
  refuses_mode(Contrastive{}, "amateur: decoding_mode contrastive needs one");
  refuses_mode(Dola{}, "candidate_layers: decoding_mode dola needs at least one");
  refuses_mode(DolaStatic{}, "premature_layer: decoding_mode dola_static needs one");
  refuses_mode(Dola{.candidate_layers = {6}}, "layer 6");
  refuses_mode(Dola{.candidate_layers = {2, -1}}, "-1 is the mature layer");
  refuses_mode(Dola{.candidate_layers = {2, 2}}, "layer 2 is there twice");
  refuses_mode(Baseline{.mature_layer = -7}, "layer -7");
  refuses_mode(Activation{.context = {.info_layer = 6}}, "layer 6");
  refuses({.mode = Baseline{}, .record = ContextOptions{.info_layer = 6}}, "layer 6");
  refuses_mode(Activation{.alpha = -0.1f}, "alpha");
  refuses_mode(Activation{.alpha = NAN}, "alpha");
  refuses_mode(Activation{.strategy = ContextStrategy::ema}, "decoding_strategy ema scores no continuations");
  refuses_mode(ActivationDola{.strategy = ContextStrategy::single_entropy, .candidate_layers = {1}},
               "decoding_strategy single_entropy is for mode activation only");
  refuses({.mode = Baseline{}, .filter = ScoreFilter::on}, "filter");
  refuses({.mode = Activation{.strategy = ContextStrategy::single_entropy}, .filter = ScoreFilter::on}, "filter");
  refuses_mode(Activation{.filter = {.relative_top = 1.5f}}, "relative_top");
  refuses_mode(Activation{.filter = {.min_tokens_to_keep = 0}}, "min_tokens_to_keep");
  refuses({.relative_top_value = NAN}, "relative_top_value");
  refuses_mode(Activation{.context = {.span = {4, 4}}}, "span [4, 4)");
  refuses_mode(Activation{.context = {.growth = ContextGrowth::growing}}, "context_growth growing has no meaning");
  refuses({.mode = Baseline{}, .record = ContextOptions{.growth = ContextGrowth::growing}}, "context_growth growing");
  refuses({.mode = Activation{.context = {.span = {9, 12}}}, .context = ScoreContext::prompt},
          "continuation 0: none of its positions");
  refuses({.prefill_piece = 0}, "prefill_piece");
  CHECK(run(plain, {}, {}).empty());
}
