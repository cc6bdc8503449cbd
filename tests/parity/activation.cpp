// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "parity/continuation.hpp"
#include "parity/real_llama.hpp"

namespace activation_trace::test {
namespace {

// One run of generate_smollm2.py's RUNS.
struct Run {
  const char* name;
  float alpha;
  Index info_layer;
  float repetition_penalty;
};

// Largest differences of the numbers of candidates that both sides kept.
struct Differences {
  double log_prob = 0;
  double entropy = 0;
  double score = 0;
  int candidates = 0;
  int close_filter_decisions = 0;  // kept by one side only, where a log-probability is within 1e-4 of the threshold
  int changed = 0;                 // choices that the entropy changed
};

// The candidates of every step of one prompt and run.
class GoldenCandidates {
 public:
  GoldenCandidates(const GoldenFile& golden, const std::string& key)
      : offsets_(golden.get<std::int32_t>(key + "offsets")),
        ids_(golden.get<std::int32_t>(key + "ids")),
        log_probs_(golden.get<float>(key + "log_probs")),
        entropies_(golden.get<float>(key + "entropies")),
        scores_(golden.get<float>(key + "scores")),
        margin_(golden.get<float>(key + "margin")),
        changed_(golden.get<std::uint8_t>(key + "changed")) {}

  void compare(const GeneratedToken& token, Differences& result) const {
    const auto step = static_cast<std::size_t>(token.step);
    CAPTURE(step);
    std::map<TokenId, std::size_t> expected;
    for (auto i = static_cast<std::size_t>(offsets_[step]); i < static_cast<std::size_t>(offsets_[step + 1]); ++i)
      expected.emplace(ids_[i], i);
    REQUIRE(token.record != nullptr);
    std::size_t common = 0;
    const auto widen = [](double& largest, float a, float b) {
      largest = std::max(largest, std::abs(static_cast<double>(a) - static_cast<double>(b)));
    };
    for (const SharpnessCandidate& c : token.record->kept) {
      const auto found = expected.find(c.id);
      if (found == expected.end()) continue;
      ++common;
      widen(result.log_prob, c.log_prob, log_probs_[found->second]);
      widen(result.entropy, c.entropy, entropies_[found->second]);
      widen(result.score, c.score, scores_[found->second]);
    }
    result.candidates += static_cast<int>(common);
    if (common != expected.size() || common != token.record->kept.size()) {
      CHECK(margin_[step] < 1e-4f);
      ++result.close_filter_decisions;
    }
    const bool equal_choice = token.record->changed() == (changed_[step] != 0);
    CHECK(equal_choice);
    result.changed += token.record->changed();
  }

 private:
  std::vector<std::int32_t> offsets_;  // [steps + 1]
  std::vector<std::int32_t> ids_;
  std::vector<float> log_probs_;
  std::vector<float> entropies_;
  std::vector<float> scores_;
  std::vector<float> margin_;  // [steps]
  std::vector<std::uint8_t> changed_;
};

}  // namespace

TEST_CASE("Activation decoding of SmolLM2 is that of the independent implementation") {
  RealLlama model;
  const GoldenFile states("smollm2_states.safetensors");
  const GoldenFile golden("smollm2_decoding.safetensors");
  for (const Run& run : {Run{"standard", 0.5f, 24, 1}, Run{"penalty", 0.5f, 24, 1.2f}, Run{"alpha_1", 1, 24, 1},
                         Run{"layer_30", 1, 30, 1}, Run{"layer_12", 1, 12, 1}}) {
    CAPTURE(run.name);
    Comparison result;
    Differences differences;
    for (const GoldenPrompt& prompt : golden_prompts()) {
      const std::string key = prompt.name + "." + run.name + ".";
      if (!golden.contains(key + "tokens")) continue;
      CAPTURE(prompt.name);
      const GoldenCandidates candidates(golden, key);
      compare(model.llama, states.get<std::int32_t>(prompt.name + ".ids"),
              {.mode = Activation{.alpha = run.alpha, .context = {.info_layer = run.info_layer}},
               .repetition_penalty = run.repetition_penalty},
              golden.get<std::int32_t>(key + "tokens"), golden.get<float>(key + "gap"), result,
              [&](const GeneratedToken& token) { candidates.compare(token, differences); });
    }
    CHECK(differences.log_prob < 1e-3);
    CHECK(differences.entropy < 1e-3);
    CHECK(differences.score < 2e-3);
    std::printf(
        "%-9s %d tokens equal, %d differ where the two best are closer than 1e-4; the entropy changed %d choices;\n"
        "          %d candidates: log-probabilities within %.1e, entropies %.1e, scores %.1e, %d at the filter's "
        "edge\n",
        run.name, result.tokens, result.close_decisions, differences.changed, differences.candidates,
        differences.log_prob, differences.entropy, differences.score, differences.close_filter_decisions);
  }
}

}  // namespace activation_trace::test
