// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include "activation_trace/embed/lm_head_file.hpp"
#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/model/llama.hpp"
#include "parity/golden.hpp"

// A tiny folder of each family beside LLaMA, as transformers wrote it, and what transformers computes with it.
namespace activation_trace::test {
namespace {

// transformers in float32 is 1e-6 of the largest logit away from transformers in float64, which wrote the golden file.
constexpr double kFamilyTolerance = 1e-5;

double largest_of(std::span<const float> x) {
  double largest = 0;
  for (const float value : x) largest = std::max(largest, std::abs(static_cast<double>(value)));
  return largest;
}

void check_close(std::span<const float> got, std::span<const float> expected) {
  REQUIRE(got.size() == expected.size());
  double worst = 0;
  for (std::size_t i = 0; i < got.size(); ++i)
    worst = std::max(worst, std::abs(static_cast<double>(got[i]) - static_cast<double>(expected[i])));
  CHECK(worst < kFamilyTolerance * largest_of(expected));
}

/// A guest that opens the file for its LM head alone gets the model's.
void check_head(const Checkpoint& checkpoint, const std::filesystem::path& path) {
  const LmHeadFile file = open_lm_head(path);
  const LlamaConfig& config = checkpoint.config;
  CHECK(file.blocks == config.layers);
  CHECK(file.embeddings == checkpoint.embeddings);
  CHECK(file.head.options() == LogitOptions{.scale = config.logit_scale, .soft_cap = config.logit_soft_cap});
  REQUIRE(file.norm);
  CHECK(file.norm->weight == checkpoint.weights.final_norm);
  CHECK(file.norm->eps == config.rms_norm_eps);
  REQUIRE(file.head.vocab() == config.vocab);
  std::vector<float> row(static_cast<std::size_t>(config.hidden));
  std::vector<float> expected(row.size());
  for (Index v = 0; v < config.vocab; ++v) {
    file.head.row(static_cast<TokenId>(v), row);
    checkpoint.weights.lm_head.decode_row(v, expected);
    REQUIRE(row == expected);
  }
}

/// `name` is what the golden file calls the run of the model in `file`, with a cache of `context`.
void check_family(const GoldenFile& golden, const std::string& name, const std::string& file, Index context = 32) {
  CAPTURE(name);
  CAPTURE(file);
  const Checkpoint checkpoint = load_llama(golden_path(file));
  check_head(checkpoint, golden_path(file));
  const LlamaConfig& config = checkpoint.config;
  const auto ids = golden.get<std::int32_t>(name + ".ids");
  const auto hidden = golden.get<float>(name + ".hidden");  // [N + 1, T, d]
  const auto logits = golden.get<float>(name + ".logits");  // [T, V]
  const auto vocab = static_cast<std::size_t>(config.vocab);
  const auto width = static_cast<std::size_t>(config.hidden);
  Execution<Host> execution(1);
  Llama model(config, checkpoint.weights, {.max_context = context}, execution);

  LayerObserver<> observer;
  for (Index layer = 0; layer <= config.layers; ++layer) observer.layers.push_back(layer);
  std::size_t seen = 0;
  observer.on_states = [&](Index layer, Index, MatrixView<const float> states) {
    CAPTURE(layer);
    for (Index t = 0; t < states.extent(0); ++t, ++seen) {
      const auto row = (static_cast<std::size_t>(layer) * ids.size() + static_cast<std::size_t>(t)) * width;
      check_close(std::span(states.row(t).data(), width), part(hidden, row, width));
    }
  };
  check_close(model.forward(ids, observer), part(logits, logits.size() - vocab, vocab));
  CHECK(seen == static_cast<std::size_t>(config.layers + 1) * ids.size());

  model.rewind(0);
  for (std::size_t t = 0; t < ids.size(); ++t) {
    CAPTURE(t);
    check_close(model.forward(std::span(ids).subspan(t, 1)), part(logits, t * vocab, vocab));
  }

  model.rewind(0);
  std::span<const float> last = model.forward(ids);
  for (const std::int32_t token : golden.get<std::int32_t>(name + ".greedy")) {
    CAPTURE(model.position());
    CHECK(std::distance(last.begin(), std::ranges::max_element(last)) == token);
    last = model.forward(std::span(&token, 1));
  }
}

}  // namespace

TEST_CASE("Folders of other families written by transformers: states of all layers, and logits at every position") {
  const GoldenFile golden("tiny_families.safetensors");
  for (const std::string name :
       {"mistral", "qwen2", "qwen3", "gemma3", "phi3", "phi4_mini", "smollm3", "ernie4_5", "internlm2", "exaone"})
    check_family(golden, name, "tiny_" + name);
}

TEST_CASE("The same in GGUF, as converters write it") {
  const GoldenFile golden("tiny_families.safetensors");
  for (const std::string name : {"gemma3", "phi3", "phi4_mini", "smollm3", "ernie4_5", "internlm2", "exaone"})
    check_family(golden, name, "tiny_" + name + ".gguf");
}

TEST_CASE("Scaled and capped models: states of all layers, logits at every position, greedy tokens, in both formats") {
  const GoldenFile golden("tiny_scaled_families.safetensors");
  for (const std::string name : {"gemma", "gemma2", "granite", "minicpm"})
    for (const char* ending : {"", ".gguf"}) check_family(golden, name, "tiny_" + name + ending);
  check_family(golden, "minicpm4", "tiny_minicpm4");
}

TEST_CASE("longrope: sequences that cannot be longer than the original context have the short divisors") {
  const GoldenFile golden("tiny_families.safetensors");
  for (const char* file : {"tiny_phi4_mini", "tiny_phi4_mini.gguf"}) check_family(golden, "phi4_mini_short", file, 16);
}

}  // namespace activation_trace::test
