// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/generation/amateur.hpp"
#include "activation_trace/generation/generate.hpp"
#include "activation_trace/model/llama.hpp"
#include "activation_trace/tokenizer/load_tokenizer.hpp"
#include "parity/golden.hpp"
#include "support/no_text.hpp"
#include "support/real_model.hpp"

// Real models of any supported family against transformers in float32: every FILE.gguf in the models' folder beside
// which real_models.py wrote FILE.gguf.parity.safetensors, and whose name holds ACTIVATION_TRACE_PARITY_RUN, which may
// be empty. Without that or without a file it is skipped: it takes minutes each, and ten and more where nothing is
// optimised.
namespace activation_trace::test {
namespace {

constexpr double kBar = 2e-3;

struct Run {
  const char* name;
  Mode mode;
};

std::vector<std::filesystem::path> oracles() {
  const char* const wanted = std::getenv("ACTIVATION_TRACE_PARITY_RUN");
  const std::filesystem::path folder = real_model_path().parent_path();
  std::vector<std::filesystem::path> result;
  if (wanted != nullptr && std::filesystem::is_directory(folder))
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if (name.ends_with(".gguf.parity.safetensors") && name.find(wanted) != std::string::npos)
        result.push_back(entry.path());
    }
  if (result.empty()) {
    if (wanted == nullptr)
      std::puts("Skipped: it takes minutes for each model; ACTIVATION_TRACE_PARITY_RUN= (a name, or empty) runs it");
    else
      std::printf("Skipped: no model in %s has an oracle; tests/parity/real_models.py writes them\n", folder.c_str());
    std::exit(77);
  }
  std::ranges::sort(result);
  return result;
}

// Of |a - b|_2 and |b|_2.
double relative_distance(std::span<const float> a, std::span<const float> b) {
  double squares = 0;
  double norm = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    squares += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    norm += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(squares / norm);
}

class RealModel {
 public:
  explicit RealModel(const std::filesystem::path& oracle)
      : golden_(oracle), checkpoint_(load_llama(oracle.parent_path() / oracle.stem().stem())) {}

  void compare_all() {
    const Tokenizer tokenizer = load_tokenizer(checkpoint_);
    int prompts = 0;
    for (const GoldenPrompt& prompt : golden_prompts()) {
      if (!golden_.contains(prompt.name + ".ids")) continue;
      CAPTURE(prompt.name);
      ++prompts;
      const auto text = golden_.get<std::uint8_t>(prompt.name + ".text");
      const auto ids = golden_.get<std::int32_t>(prompt.name + ".ids");
      CHECK(tokenizer.encode_prompt(std::string(text.begin(), text.end()), SpecialTokens::parse) == ids);
      compare_states(prompt.name, ids);
    }
    CHECK(prompts > 0);
    CHECK(worst_state_ < kBar);
    CHECK(worst_logits_ < kBar);
    std::printf("  %d prompts, states %.1e, logits %.1e of their range\n", prompts, worst_state_, worst_logits_);
    std::fflush(stdout);
    for (const Run& run : all_runs()) compare_tokens(run);
  }

 private:
  // h_0..h_N at the oracle's positions, and the last position's logits, element by element.
  void compare_states(const std::string& prompt, const std::vector<std::int32_t>& ids) {
    const auto positions = golden_.get<std::int32_t>(prompt + ".positions");
    const auto hidden = golden_.get<float>(prompt + ".hidden");  // [N + 1, positions, d]
    const auto d = static_cast<std::size_t>(checkpoint_.config.hidden);
    REQUIRE(hidden.size() == static_cast<std::size_t>(checkpoint_.config.layers + 1) * positions.size() * d);
    std::size_t compared = 0;
    LayerObserver<> observer;
    for (Index layer = 0; layer <= checkpoint_.config.layers; ++layer) observer.layers.push_back(layer);
    observer.on_states = [&](Index layer, Index first, MatrixView<const float> states) {
      for (std::size_t p = 0; p < positions.size(); ++p) {
        const Index row = positions[p] - first;
        if (row < 0 || row >= states.extent(0)) continue;  // in another batch
        const auto expected = part(hidden, (static_cast<std::size_t>(layer) * positions.size() + p) * d, d);
        worst_state_ = std::max(worst_state_, relative_distance(states.row(row).span(), expected));
        ++compared;
      }
    };
    llama_.rewind(0);
    const std::span<const float> logits = llama_.forward(ids, observer);
    CHECK(compared * d == hidden.size());
    const auto expected = golden_.get<float>(prompt + ".logits");
    REQUIRE(logits.size() == expected.size());
    const auto [least, most] = std::ranges::minmax(expected);
    for (std::size_t v = 0; v < expected.size(); ++v)
      worst_logits_ = std::max(worst_logits_, static_cast<double>(std::abs(logits[v] - expected[v]) / (most - least)));
  }

  // Of real_models.py; its defaults are the library's.
  [[nodiscard]] std::vector<Run> all_runs() const {
    const Index layers = checkpoint_.config.layers;
    const std::vector<Index> early = dola_layers(DolaBucket::low, layers, Embeddings::tied);
    const ContextOptions norm{.final_norm = true};
    return {{"greedy", Baseline{}},
            {"raw", Activation{}},
            {"norm", Activation{.context = norm}},
            {"dola_static", DolaStatic{.premature_layer = layers / 2}},
            {"dola", Dola{.candidate_layers = early}},
            {"activation_dola", ActivationDola{.context = norm, .candidate_layers = early}},
            {"contrastive", Contrastive{}}};
  }

  // All texts of a run, several at a time.
  void compare_tokens(const Run& run) {
    CAPTURE(run.name);
    std::vector<std::vector<TokenId>> prompts;
    std::vector<std::vector<TokenId>> tokens;
    std::vector<std::vector<float>> gaps;
    for (const GoldenPrompt& prompt : golden_prompts()) {
      const std::string key = prompt.name + "." + run.name;
      if (!golden_.contains(key + ".tokens")) continue;  // of the other modes some prompts
      prompts.push_back(golden_.get<TokenId>(prompt.name + ".ids"));
      tokens.push_back(golden_.get<TokenId>(key + ".tokens"));
      gaps.push_back(golden_.get<float>(key + ".gap"));
    }
    REQUIRE(!prompts.empty());
    int equal = 0;
    int close = 0;
    const auto on_token = [&](const GeneratedToken& token) {
      const auto text = static_cast<std::size_t>(token.sequence);
      const auto step = static_cast<std::size_t>(token.step);
      CAPTURE(text);
      CAPTURE(step);
      CAPTURE(token.id);
      CAPTURE(tokens[text][step]);
      if (token.id == tokens[text][step]) return ++equal, Continue::yes;
      CHECK(gaps[text][step] < 1e-4f);
      return ++close, Continue::no;
    };
    Amateur* amateur = std::holds_alternative<Contrastive>(run.mode) ? &ngram_ : nullptr;
    const GenerationOptions options{.mode = run.mode, .max_new_tokens = static_cast<Index>(tokens.front().size())};
    generate_batch(llama_, [] { return NoText{}; }, prompts, options, {.on_token = on_token}, {.amateur = amateur});
    std::printf("  %s: %d texts, %d tokens equal, %d differ where a choice hangs on less than 1e-4\n", run.name,
                static_cast<int>(prompts.size()), equal, close);
    std::fflush(stdout);
  }

  GoldenFile golden_;
  Checkpoint checkpoint_;
  Execution<Host> execution_{2};
  Llama<> llama_{checkpoint_.config, checkpoint_.weights, {.max_context = 704, .sequences = 8}, execution_};
  NgramAmateur ngram_{checkpoint_.config.vocab, {}, 8};
  double worst_state_ = 0;
  double worst_logits_ = 0;
};

}  // namespace

TEST_CASE("Real models of other families are transformers' in float32") {
  for (const std::filesystem::path& oracle : oracles()) {
    const std::string name = oracle.filename().string();
    CAPTURE(name);
    std::printf("%s\n", name.c_str());
    RealModel(oracle).compare_all();
  }
}

}  // namespace activation_trace::test
