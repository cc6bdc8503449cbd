// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/embed/llama_cpp_model.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "activation_trace/generation/generate.hpp"
#include "activation_trace/generation/prefix_cache.hpp"
#include "activation_trace/generation/score.hpp"
#include "activation_trace/model/llama.hpp"
#include "embed/llama_cpp_engine.hpp"
#include "support/complaint.hpp"
#include "support/file_builders.hpp"
#include "support/mode_fields.hpp"
#include "support/no_text.hpp"
#include "support/tiny_llama.hpp"

using namespace activation_trace;
using test::complaint;
using test::NoText;

// llama.cpp as an engine of ours beside our own engine, on random weights in f32 with an f32 cache.

namespace {

static_assert(LanguageModel<LlamaCppModel>);

const auto kNoText = [] { return NoText{}; };

/// The model in both engines, of three sequences.
struct Engines {
  Engines()
      : weights({.config = test::tiny_llama_cpp_config()}),
        own(weights.config(), weights.weights(), {.max_context = 256, .max_batch = 64, .sequences = 3}, execution) {
    weights.write_gguf(path);
    engine = test::load_llama_cpp(path);
  }
  [[nodiscard]] LlamaCppModel model() {
    llama_context_params params = test::exact_params();
    params.n_ctx = 3 * 256;
    params.n_seq_max = 3;
    params.n_batch = 48;  // shorter than some prompts
    return {engine.get(), llama_cpp::open_lm_head(path), params, execution};
  }

  test::TemporaryFolder folder;
  std::filesystem::path path = folder.path() / "tiny.gguf";
  test::TinyLlama weights;
  Execution<Host> execution;
  Llama<> own;
  llama_model_ptr engine;
};

const ContextOptions kAt3{.info_layer = 3};
const std::vector<Index> kEarly{0, 1, 2, 3};
const Mode kModes[] = {Baseline{},
                       Activation{.context = kAt3},
                       Activation{.context = {.info_layer = 4}},
                       Activation{.context = {.info_layer = 2, .final_norm = true, .growth = ContextGrowth::growing}},
                       Dola{.candidate_layers = kEarly},
                       DolaStatic{.premature_layer = 1},
                       DolaStatic{.premature_layer = 1, .mature_layer = 3},
                       ActivationDola{.context = kAt3, .candidate_layers = kEarly}};

}  // namespace

TEST_CASE("generate() on llama.cpp: 20 prompts in every mode, each token and layer our own engine's") {
  Engines both;
  LlamaCppModel model = both.model();
  CHECK(model.max_context() == 256);
  CHECK(model.sequences() == 3);
  for (const Mode& mode : kModes)
    for (const std::vector<TokenId>& prompt : test::tiny_prompts(20)) {
      CAPTURE(name(mode));
      const GenerationOptions options{.mode = mode, .repetition_penalty = 1.1f, .max_new_tokens = 64};
      const GenerationResult expected = generate(both.own, NoText{}, prompt, options);
      const GenerationResult found = generate(model, NoText{}, prompt, options);
      REQUIRE(found.ids == expected.ids);
      CHECK(found.layer_histogram == expected.layer_histogram);
      CHECK(found.ids.size() == 64);
      CHECK(model.position() == both.own.position());
    }
}

TEST_CASE("batches, beams, prefix caches and scores on llama.cpp are our own engine's") {
  Engines both;
  LlamaCppModel model = both.model();
  const std::vector<std::vector<TokenId>> prompts = test::tiny_prompts(7);
  for (const Mode& mode : kModes) {
    CAPTURE(name(mode));
    GenerationOptions options{.mode = mode, .max_new_tokens = 12};
    const std::vector<GenerationResult> expected = generate_batch(both.own, kNoText, prompts, options);
    const std::vector<GenerationResult> found = generate_batch(model, kNoText, prompts, options);
    for (std::size_t i = 0; i < prompts.size(); ++i) CHECK(found[i].ids == expected[i].ids);

    // Two prompts that begin alike.
    std::vector<TokenId> prefix = prompts[6];
    std::vector<TokenId> prompt = prefix;
    prompt.insert(prompt.end(), prompts[4].begin(), prompts[4].begin() + 9);
    PrefixCache own_cache(prefix);
    PrefixCache cache(prefix);
    for (int use = 0; use < 2; ++use)
      CHECK(generate(model, NoText{}, prompt, options, {}, {.prefix = &cache}).ids ==
            generate(both.own, NoText{}, prompt, options, {}, {.prefix = &own_cache}).ids);

    const ContextOptions* context = context_of(mode);
    const bool growing = context != nullptr && context->growth == ContextGrowth::growing;
    if (!growing) {
      options.beams.count = 3;
      const GenerationResult one = generate(both.own, NoText{}, prompts[2], options);
      const GenerationResult other = generate(model, NoText{}, prompts[2], options);
      CHECK(other.ids == one.ids);
      CHECK(other.score == doctest::Approx(one.score).epsilon(1e-4));
      const std::vector<std::vector<TokenId>> answers{{5, 6, 7}, {300, 2}, {8, 8, 8, 9, 10}};
      const auto scores = score(model, prompts[3], answers, {.mode = mode});
      const auto wanted = score(both.own, prompts[3], answers, {.mode = mode});
      for (std::size_t i = 0; i < answers.size(); ++i)
        CHECK(scores[i].score == doctest::Approx(wanted[i].score).epsilon(1e-4));
    }
  }
}

TEST_CASE("sequences of llama.cpp are rewound and copied, and a call that fails leaves them as they were") {
  Engines both;
  LlamaCppModel model = both.model();
  const std::vector<TokenId> text = test::tiny_prompts(4)[3];
  const auto row = [&](Index sequence, std::span<const TokenId> ids) {
    const SequencePiece<> piece{sequence, ids};
    const MatrixView<const float> logits = model.forward(std::span(&piece, 1));
    return std::vector<float>(logits.data(), logits.data() + 320);
  };
  const std::vector<TokenId> next{7};
  const std::vector<float> whole = row(0, text);
  model.rewind(20);
  CHECK(model.position() == 20);
  model.copy_sequence(0, 2);
  CHECK(std::vector<TokenId>(model.ids(2).begin(), model.ids(2).end()) ==
        std::vector<TokenId>(text.begin(), text.begin() + 20));
  const std::vector<float> again = row(2, std::span(text).subspan(20));
  for (std::size_t v = 0; v < again.size(); ++v)
    CHECK(again[v] == doctest::Approx(static_cast<double>(whole[v])).epsilon(1e-4));

  LayerObserver<> failing{.layers = {1},
                          .on_states = [](Index, Index, MatrixView<const float>) { throw StateError("no"); }};
  const std::vector<SequencePiece<>> pieces{{2, next, nullptr}, {0, text, &failing}};
  CHECK(complaint([&] { model.fill(pieces); }) == "no");
  CHECK(model.position(0) == 20);
  CHECK(model.position(2) == std::ssize(text));
  const std::vector<float> other = row(0, std::span(text).subspan(20));
  for (std::size_t v = 0; v < other.size(); ++v)
    CHECK(other[v] == doctest::Approx(static_cast<double>(whole[v])).epsilon(1e-4));

  const auto fill = [&](Index sequence, std::span<const TokenId> ids) {
    return complaint([&] {
      const SequencePiece<> piece{sequence, ids};
      model.fill(std::span(&piece, 1));
    });
  };
  CHECK(fill(3, next) == "LlamaCppModel: sequence 3 does not exist, there are 3");
  CHECK(fill(0, {}) == "LlamaCppModel: ids must not be empty");
  CHECK(fill(0, std::vector<TokenId>{320}) == "LlamaCppModel: ids[0] is 320, outside the vocabulary of 320");
  CHECK(fill(1, std::vector<TokenId>(257)) ==
        "LlamaCppModel: 257 tokens at position 0 of sequence 1 do not fit into a context of 256");
  CHECK(complaint([&] { model.rewind(-1); }) == "position: expected 0..42, got -1");
  CHECK(complaint([&] { model.copy_sequence(0, 1, 1); }) == "begin: 1 is beyond one of the two sequences");
  test::TinyLlama(test::TinyLlamaOptions{.config = test::tiny_llama_config()})
      .write_gguf(both.folder.path() / "other.gguf");
  CHECK(complaint([&] {
          const LlamaCppModel wrong(both.engine.get(), llama_cpp::open_lm_head(both.folder.path() / "other.gguf"),
                                    test::exact_params(), both.execution);
        }) == "head: [320, 256] of 2 blocks is not the model's, [320, 64] of 4");
}
