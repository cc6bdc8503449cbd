// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/cuda/llama.cuh"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "activation_trace/cuda/on_host.cuh"
#include "activation_trace/generation/generate.hpp"
#include "activation_trace/generation/score.hpp"
#include "model/family_facts.hpp"
#include "model/history.hpp"
#include "model/trace.hpp"
#include "support.cuh"
#include "support/no_text.hpp"

extern template class activation_trace::Llama<activation_trace::Cuda>;  // llama_cuda.cu

// The forward pass on the device against the one on the host: the same layers and logits, but for the order of sums.
using namespace activation_trace;
using namespace activation_trace::test;

static_assert(ChoosesTokens<OnHost<Llama<Cuda>>>);

namespace {

/// A model that knows how many calls had their tokens chosen by it, and how many their answers scored.
struct Choosing : OnHost<Llama<Cuda>> {
  using OnHost::OnHost;
  [[nodiscard]] std::unique_ptr<TokenSource> choose_tokens(const TokenRules& rules) {
    std::unique_ptr<TokenSource> source = OnHost::choose_tokens(rules);
    if (source != nullptr) ++calls;
    return source;
  }
  [[nodiscard]] std::unique_ptr<AnswerScorer> score_answers(const ScoreOptions& options,
                                                            std::span<const Index> layers) {
    std::unique_ptr<AnswerScorer> scorer = OnHost::score_answers(options, layers);
    if (scorer != nullptr) ++scored;
    return scorer;
  }
  int calls = 0;
  int scored = 0;
};

/// A tiny model on both sides.
class Both {
 public:
  explicit Both(const TinyLlamaOptions& options, const LlamaOptions& memory) : Both(TinyLlama(options), memory) {}
  Both(TinyLlama made, const LlamaOptions& memory)
      : tiny_(std::move(made)),
        weights_(tiny_.weights()),
        device_weights_(device_, weights_),
        on_device(tiny_.config(), weights_, device_weights_.view(), memory, device_, execution_),
        on_host(tiny_.config(), weights_, memory, execution_) {}

 private:
  TinyLlama tiny_;
  LlamaWeights<> weights_;
  Execution<Host> execution_{1};
  cuda::Stream stream_;
  Execution<Cuda> device_{stream_};
  cuda::DeviceWeights device_weights_;

 public:
  Choosing on_device;
  Llama<> on_host;
};

/// `tolerance` of the largest element, for all that both tell.
void check_histories(Both& both, std::size_t prompt, double tolerance = 1e-5) {
  const std::vector<std::vector<float>> expected = history(both.on_host, prompt);
  const std::vector<std::vector<float>> found = history(both.on_device, prompt);
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    CHECK(relative_error(found[i], expected[i]) <= tolerance);
  }
}

constexpr LlamaOptions two_sequences{.max_context = 40, .max_batch = 16, .sequences = 2};

}  // namespace

TEST_CASE("every weight type: layers, logits, several sequences, rewind, copy, early exits, as on the host") {
  for (const DType dtype : all_dtypes) {
    const std::string type(name(dtype));
    CAPTURE(type);
    TinyLlamaOptions options;
    options.dtype = dtype;
    options.config.kv_heads = 1;
    options.config.ffn = 256;
    options.config.layers = 1;
    options.config.vocab = 70;
    Both both(options, two_sequences);
    check_histories(both, 6);
  }
}

TEST_CASE(
    "fast arithmetic: logits of every weight type are near the exact ones of the host, in any cut the same bits") {
  LlamaOptions memory{.max_context = 24, .max_batch = 24};
  for (const DType dtype : all_dtypes) {
    const std::string type(name(dtype));
    CAPTURE(type);
    TinyLlamaOptions options;
    options.dtype = dtype;
    options.config.kv_heads = 1;
    options.config.ffn = 256;
    options.config.vocab = 70;
    const std::vector<TokenId> ids = some_ids(20, options.config.vocab);
    const auto logits_of = [&](auto& model, std::size_t piece) {
      std::vector<float> logits;
      model.rewind(0);
      for (std::size_t i = 0; i < ids.size(); i += piece) {
        const SequencePiece<> one{0, std::span(ids).subspan(i, piece), nullptr};
        const std::span<const float> out = model.forward(std::span(&one, 1)).row(0).span();
        logits.assign(out.begin(), out.end());
      }
      return logits;
    };
    memory.arithmetic = Arithmetic::exact;
    Both exact(options, memory);
    memory.arithmetic = Arithmetic::fast;
    Both fast(options, memory);
    const std::vector<float> expected = logits_of(exact.on_host, 20);
    const std::vector<float> found = logits_of(fast.on_device, 20);
    CHECK(relative_error(found, expected) <= 2e-2);
    const bool rounds = relative_error(found, expected) > 1e-5;
    CHECK(rounds == (dtype != DType::f32));
    CHECK(logits_of(fast.on_device, 5) == found);
    CHECK(logits_of(fast.on_device, 1) == logits_of(exact.on_device, 1));  // few rows are exact
  }
}

TEST_CASE("the facts of other families, a few at a time and all at once") {
  const auto check = [](const TinyLlamaOptions& options) {
    Both both(options, two_sequences);
    check_histories(both, 21);
  };
  TinyLlamaOptions all = small_family_options();
  TinyLlamaOptions few = small_family_options();
  for (std::size_t i = 0; i < family_facts().size(); ++i) {
    const auto& [fact, change] = family_facts()[i];
    CAPTURE(fact);  // and those before it
    change(all);
    change(few);
    if (i % 4 != 3) continue;
    check(few);
    few = small_family_options();
  }
  check(all);
}

TEST_CASE("tied and separate heads, odd sizes, one block, both layouts of the rotation") {
  TinyLlamaOptions options = small_family_options();
  options.config.heads = 5;
  options.config.kv_heads = 1;
  options.config.layers = 1;
  options.config.hidden = 7;
  options.config.ffn = 5;
  options.config.head_dim = 2;
  for (const Embeddings embeddings : {Embeddings::tied, Embeddings::separate}) {
    options.embeddings = embeddings;
    Both both(options, two_sequences);
    check_histories(both, 21);
  }
}

TEST_CASE(
    "a cache of halves: as the host's; together as alone, recorded or not, in pieces, rewound and copied, bit for "
    "bit") {
  TinyLlamaOptions options = small_family_options();
  options.config.layers = 2;
  options.config.windows = {0, 9};
  LlamaOptions memory = two_sequences;
  memory.cache = DType::f16;
  const std::vector<TokenId> ids = some_ids(40, options.config.vocab);
  Both both(options, memory);
  // Keys and values that differ in their last bits, as sums in another order do, may be rounded to two neighbours,
  // which are 2^-10 apart: single ones are, and the states behind them differ by 3e-5. Equal halves: forward_ops.cu.
  check_histories(both, 21, 1e-4);
  OnHost<Llama<Cuda>>& model = both.on_device;
  const LayerObserver<> observer{.layers = {0}, .on_states = [](Index, Index, MatrixView<const float>) {}};
  const auto run = [&](bool together, bool recorded, std::size_t piece) {
    const auto forward = [&](std::size_t begin, std::size_t count) {
      const LayerObserver<>* const watching = recorded ? nullptr : &observer;  // who is observed is not recorded
      const std::vector<SequencePiece<>> pieces{{0, std::span(ids).subspan(begin, count), watching},
                                                {1, std::span(ids).subspan(begin + 3, count), watching}};
      if (together) return numbers(model.forward(pieces));
      std::vector<float> rows = numbers(model.forward(std::span(pieces).first(1)));
      const std::vector<float> second = numbers(model.forward(std::span(pieces).last(1)));
      rows.insert(rows.end(), second.begin(), second.end());
      return rows;
    };
    for (const Index sequence : {0, 1}) model.rewind(0, sequence);
    for (std::size_t begin = 0; begin < 12; begin += piece) forward(begin, piece);
    std::vector<std::vector<float>> rows;
    for (std::size_t i = 12; i < 16; ++i) rows.push_back(forward(i, 1));
    model.rewind(13, 0);
    model.copy_sequence(0, 1);
    rows.push_back(forward(20, 1));
    return rows;
  };
  const std::vector<std::vector<float>> expected = run(false, false, 12);
  CHECK(run(true, true, 4) == expected);
  CHECK(run(false, true, 12) == expected);
}

TEST_CASE("several sequences at once are what each is alone, bit for bit, and so is a second run") {
  TinyLlamaOptions options = small_family_options();
  options.dtype = DType::f16;
  const TinyLlama tiny(options);
  const LlamaOptions memory{.max_context = 64, .max_batch = 64, .sequences = 3};
  const std::vector<TokenId> ids = some_ids(64, tiny.config().vocab);
  const auto part = [&](std::size_t begin, std::size_t count) { return std::span(ids).subspan(begin, count); };
  Both both(tiny, memory);
  OnHost<Llama<Cuda>>& model = both.on_device;
  const auto run = [&](const std::vector<SequencePiece<>>& pieces) { return numbers(model.forward(pieces)); };
  const auto alone = [&] {
    std::vector<std::vector<float>> rows;
    for (Index s = 0; s < 3; ++s) model.rewind(0, s);
    rows.push_back(run({{0, part(0, 20)}}));
    rows.push_back(run({{1, part(5, 1)}}));
    rows.push_back(run({{2, part(9, 7)}}));
    for (Index s = 0; s < 3; ++s) rows.push_back(run({{s, part(30, 1)}}));
    return rows;
  };
  const std::vector<std::vector<float>> expected = alone();
  CHECK(alone() == expected);
  for (Index s = 0; s < 3; ++s) model.rewind(0, s);
  std::vector<float> together = run({{0, part(0, 20)}, {1, part(5, 1)}, {2, part(9, 7)}});
  const std::vector<float> steps = run({{2, part(30, 1)}, {0, part(30, 1)}, {1, part(30, 1)}});
  const auto vocab = static_cast<std::size_t>(tiny.config().vocab);
  const auto row = [&](const std::vector<float>& rows, std::size_t i) {
    return std::vector<float>(rows.begin() + static_cast<std::ptrdiff_t>(i * vocab),
                              rows.begin() + static_cast<std::ptrdiff_t>((i + 1) * vocab));
  };
  for (std::size_t s = 0; s < 3; ++s) CHECK(row(together, s) == expected[s]);
  CHECK(row(steps, 0) == expected[5]);
  CHECK(row(steps, 1) == expected[3]);
  CHECK(row(steps, 2) == expected[4]);
}

TEST_CASE("steps that are recorded are those that are not, bit for bit, across a bucket of lengths") {
  TinyLlamaOptions options = small_family_options();
  options.config.layers = 2;
  options.config.windows = {0, 20};
  options.config.max_context = 400;
  const std::vector<TokenId> ids = some_ids(300, options.config.vocab);
  const auto run = [&](const LayerObserver<>* observer) {
    Both both(options, {.max_context = 300, .max_batch = 64, .sequences = 2});
    OnHost<Llama<Cuda>>& model = both.on_device;
    std::vector<std::vector<float>> rows;
    const auto piece = [&](Index sequence, std::size_t begin, std::size_t count) {
      return SequencePiece<>{sequence, std::span(ids).subspan(begin, count), observer};
    };
    const auto forward = [&](const std::vector<SequencePiece<>>& pieces) {
      rows.push_back(numbers(model.forward(pieces)));
    };
    model.fill(std::vector{piece(0, 0, 252), piece(1, 7, 2)});
    for (std::size_t i = 0; i < 7; ++i) forward({piece(0, 20 + i, 1), piece(1, 40 + i, 1)});  // 253 to 259 positions
    model.rewind(253, 0);
    model.copy_sequence(1, 0);
    for (std::size_t i = 0; i < 3; ++i) {
      forward({piece(0, 60 + i, 1)});
      std::vector<float> exits(static_cast<std::size_t>(2 * options.config.vocab));
      model.early_exit(std::vector{piece(1, 70 + i, 1)}, std::vector<Index>{2, 1},
                       {exits.data(), {1, 2, options.config.vocab}});
      rows.push_back(exits);
    }
    return rows;
  };
  const LayerObserver<> observer{.layers = {0}, .on_states = [](Index, Index, MatrixView<const float>) {}};
  const std::vector<std::vector<float>> plain = run(&observer);  // who is observed is not recorded
#ifndef __CUDACC__
  const int before = cuda_on_cpu::devices[0].graph_launches;
#endif
  CHECK(run(nullptr) == plain);
#ifndef __CUDACC__
  CHECK(cuda_on_cpu::devices[0].graph_launches - before == 3 + 2 + 2 + 2);  // all but the first of each kind
#endif
}

TEST_CASE(
    "texts whose tokens the device chooses are the host's: greedy, drawn, ended early, cancelled, a full context") {
  TinyLlamaOptions options = small_family_options();
  options.config.layers = 2;
  Both both(options, {.max_context = 24, .max_batch = 16, .sequences = 2});
  const std::vector<TokenId> prompt = some_ids(6, options.config.vocab);
  const auto check = [&](const GenerationOptions& how, const GenerationCallbacks& callbacks = {}) {
    const GenerationResult device = generate(both.on_device, NoText(), prompt, how, callbacks);
    const GenerationResult host = generate(both.on_host, NoText(), prompt, how, callbacks);
    CHECK(device.ids == host.ids);
    CHECK(device.reason == host.reason);
    CHECK(std::ranges::equal(both.on_device.ids(), both.on_host.ids()));
    return host.ids;
  };
  GenerationOptions how{.mode = Baseline{}, .max_new_tokens = 7};
#ifndef __CUDACC__
  const int before = cuda_on_cpu::devices[0].graph_launches;
#endif
  const std::vector<TokenId> greedy = check(how);
  REQUIRE(greedy.size() == 7);
#ifndef __CUDACC__
  CHECK(cuda_on_cpu::devices[0].graph_launches - before == 6 - 1);  // of the steps behind the prompt all but the first
#endif
  int shown = 0;
  check(how, {.on_token = [&](const GeneratedToken&) { return ++shown % 3 == 0 ? Continue::no : Continue::yes; }});
  how.eos = {greedy[3]};
  check(how);
  how.eos.clear();
  how.stop_sequences = {{greedy[1], greedy[2]}};
  check(how);
  how.stop_sequences.clear();
  how.max_new_tokens = 40;
  CHECK(check(how).size() == 19);  // 24 positions, and a token that is not read
  how.max_new_tokens = 6;
  for (const std::uint64_t seed : {1, 2, 3})
    for (const SamplingOptions& sampling :
         {SamplingOptions{.seed = seed}, SamplingOptions{.typical_p = 0.5f, .seed = seed},
          SamplingOptions{.temperature = 1.3f, .top_k = 30, .top_p = 0.9f, .min_p = 0.01f, .seed = seed}}) {
      how.sampling = sampling;
      check(how);
    }
  CHECK(both.on_device.calls > 13);
}

TEST_CASE("every mode with penalties and a bias on the device: texts are the host's, one by one and several at once") {
  TinyLlamaOptions options = small_family_options();
  options.dtype = DType::f16;
  const Index vocab = options.config.vocab;
  Both both(options, {.max_context = 32, .max_batch = 16, .sequences = 2});
  constexpr float infinity = std::numeric_limits<float>::infinity();
  std::vector<std::vector<TokenId>> prompts;
  for (std::size_t i = 0; i < 3; ++i) {
    prompts.push_back(some_ids(static_cast<Index>(5 + 4 * i), vocab));
    prompts.back().back() = static_cast<TokenId>(i);
  }
  const auto no_text = [] { return NoText(); };
  const auto check = [&](const GenerationOptions& how) {
    CAPTURE(name(how.mode));
    const int before = both.on_device.calls;
    const std::vector<GenerationResult> device = generate_batch(both.on_device, no_text, prompts, how);
    const std::vector<GenerationResult> host = generate_batch(both.on_host, no_text, prompts, how);
    CHECK(both.on_device.calls == before + 1);
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      CAPTURE(i);
      CHECK(device[i].ids == host[i].ids);
      CHECK(device[i].reason == host[i].reason);
      CHECK(device[i].layer_histogram == host[i].layer_histogram);
    }
    return host;
  };
  const ContextOptions context{.info_layer = 2};
  const ContextOptions whole{.info_layer = 1, .final_norm = true, .growth = ContextGrowth::growing};
  const std::vector<Mode> modes{
      Baseline{.mature_layer = 2},
      DolaStatic{.premature_layer = 1},
      Dola{.candidate_layers = {0, 1, 2}},
      Dola{.candidate_layers = {1, 2}, .divergence = LayerDivergence::jensen_shannon, .filter = {.relative_top = 0}},
      Activation{.alpha = 2, .context = context},
      Activation{.alpha = 1, .filter = {.relative_top = 0}, .context = {.info_layer = 3, .span = {.begin = 1}}},
      Activation{.alpha = 3, .filter = {.min_tokens_to_keep = 4}, .context = whole},
      Activation{.context = context, .strategy = ContextStrategy::single_entropy},
      ActivationDola{.alpha = 2, .context = context, .candidate_layers = {0, 1}},
      ActivationDola{.alpha = 2, .context = whole, .candidate_layers = {0, 2}, .base = DolaBase::log_probs}};
  for (const Mode& mode : modes) {
    GenerationOptions how{.mode = mode, .max_new_tokens = 5};
    const std::vector<GenerationResult> greedy = check(how);
    CHECK(generate(both.on_device, NoText(), prompts[1], how).ids == greedy[1].ids);
    how.eos = {greedy[1].ids[2], greedy[0].ids[3]};  // texts end at different steps
    how.logit_bias = {{greedy[2].ids[0], -2.5f}, {3, 0.5f}, {4, -1.0f}};
    how.repetition_penalty = 1.3f;
    how.presence_penalty = 0.2f;
    how.frequency_penalty = 0.4f;
    check(how);
    how.sampling = SamplingOptions{.temperature = 1.2f, .top_k = 50, .top_p = 0.95f, .seed = 3};
    check(how);
  }
  const GenerationOptions forced{.mode = Baseline{},
                                 .max_new_tokens = 6,
                                 .logit_bias = {{5, infinity}, {9, infinity}, {7, 2}},
                                 .presence_penalty = 1};
  const std::vector<GenerationResult> only = check(forced);
  for (const TokenId id : only[0].ids) CHECK((id == 5 || id == 9));
  // Not on the device, with the same texts.
  const int before = both.on_device.calls;
  const GenerationOptions other{.mode = Activation{.context = context, .strategy = ContextStrategy::ema},
                                .max_new_tokens = 4};
  CHECK(generate(both.on_device, NoText(), prompts[1], other).ids ==
        generate(both.on_host, NoText(), prompts[1], other).ids);
  CHECK(both.on_device.calls == before);
}

namespace {

/// What callers are shown of a token.
struct ShownRecord {
  Index sequence;
  StepRecord record;  // but for kept
  std::vector<SharpnessCandidate> kept;
};

/// Whether two numbers are those of the same sums in another order.
[[nodiscard]] bool near(float x, float y) { return x == y || std::abs(x - y) <= 2e-5f + 2e-5f * std::abs(y); }

void check_records(const std::vector<ShownRecord>& found, const std::vector<ShownRecord>& expected) {
  REQUIRE(found.size() == expected.size());
  const auto check_candidate = [](const SharpnessCandidate& x, const SharpnessCandidate& y) {
    CHECK(x.id == y.id);
    CHECK(near(x.log_prob, y.log_prob));
    CHECK(near(x.entropy, y.entropy));
    CAPTURE(x.score);
    CAPTURE(y.score);
    CHECK(near(x.score, y.score));
  };
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    CHECK(found[i].sequence == expected[i].sequence);
    check_candidate(found[i].record.chosen, expected[i].record.chosen);
    CHECK(found[i].record.without_entropy == expected[i].record.without_entropy);
    CHECK(found[i].record.layer == expected[i].record.layer);
    CHECK(found[i].record.alert == expected[i].record.alert);
    REQUIRE(found[i].kept.size() == expected[i].kept.size());
    for (std::size_t k = 0; k < found[i].kept.size(); ++k) check_candidate(found[i].kept[k], expected[i].kept[k]);
  }
}

}  // namespace

TEST_CASE("records of tokens that the device chose are the host's: all that survived, the chosen token, the layer") {
  TinyLlamaOptions options = small_family_options();
  options.dtype = DType::f16;
  Both both(options, {.max_context = 32, .max_batch = 16, .sequences = 2});
  std::vector<std::vector<TokenId>> prompts;
  for (std::size_t i = 0; i < 3; ++i) {
    prompts.push_back(some_ids(static_cast<Index>(5 + 4 * i), options.config.vocab));
    prompts.back().back() = static_cast<TokenId>(i);
  }
  std::size_t changed = 0, outside = 0, masked = 0;
  const auto check = [&](const GenerationOptions& how) {
    CAPTURE(name(how.mode));
    const auto records = [&](auto& model) {
      std::vector<ShownRecord> shown;
      const GenerationCallbacks callbacks{.on_token = [&](const GeneratedToken& token) {
        REQUIRE(token.record != nullptr);
        CHECK(token.record->chosen.id == token.id);
        const std::span<const SharpnessCandidate> kept = token.record->kept;
        shown.push_back({token.sequence, *token.record, {kept.begin(), kept.end()}});
        return Continue::yes;
      }};
      generate_batch(
          model, [] { return NoText(); }, prompts, how, callbacks);
      return shown;
    };
    const int before = both.on_device.calls;
    const std::vector<ShownRecord> expected = records(both.on_host);
    check_records(records(both.on_device), expected);
    CHECK(both.on_device.calls == before + 1);
    for (const ShownRecord& step : expected) {
      changed += step.record.changed() ? 1 : 0;
      outside += std::ranges::count(step.kept, step.record.chosen.id, &SharpnessCandidate::id) == 0 ? 1 : 0;
      masked += static_cast<std::size_t>(
          std::ranges::count(step.kept, -std::numeric_limits<float>::infinity(), &SharpnessCandidate::score));
    }
  };
  const ContextOptions context{.info_layer = 2};
  const ContextOptions whole{.info_layer = 1, .final_norm = true, .growth = ContextGrowth::growing};
  const std::vector<std::pair<Mode, RecordOptions>> modes{
      {Baseline{}, {.context = context}},
      {Baseline{.mature_layer = 2}, {.context = whole, .filter = {.relative_top = 0.5f}}},
      {Baseline{}, {.context = context, .filter = {.relative_top = 0}}},  // all of them
      {DolaStatic{.premature_layer = 1}, {.context = context}},
      {Dola{.candidate_layers = {0, 1, 2}, .filter = {.min_tokens_to_keep = 3}}, {.context = whole}},
      {Activation{.alpha = 2, .context = context}, {}},
      {Activation{.alpha = 3, .filter = {.relative_top = 0}, .context = whole}, {}},
      {ActivationDola{.alpha = 2, .context = context, .candidate_layers = {0, 1}}, {}},
      {ActivationDola{.alpha = 2, .context = whole, .candidate_layers = {0, 2}, .base = DolaBase::log_probs}, {}}};
  for (std::size_t i = 0; i < modes.size(); ++i) {
    GenerationOptions how{
        .mode = modes[i].first, .max_new_tokens = 3, .record = modes[i].second, .alert_entropy = 1.5f};
    check(how);
    how.logit_bias = {{3, 4.5f}, {4, -1.0f}};
    how.repetition_penalty = 1.3f;
    how.frequency_penalty = 0.4f;
    if (i % 2 == 1) check(how);
    how.sampling = SamplingOptions{.temperature = 1.2f, .top_k = 30, .top_p = 0.9f, .min_p = 0.01f, .seed = 3};
    if (i % 2 == 0) check(how);
    how.sampling->typical_p = 0.7f;
    how.logit_bias = {{5, std::numeric_limits<float>::infinity()}, {9, std::numeric_limits<float>::infinity()}};
    if (i % 3 == 0) check(how);
  }
  CHECK(changed > 10);
  CHECK(outside > 10);
  CHECK(masked > 10);
}

TEST_CASE("answers that the device scores have the host's numbers and layers, in every mode, filtered and not") {
  TinyLlamaOptions options = small_family_options();
  options.config.logit_scale = 0.5f;
  Both both(options, {.max_context = 40, .max_batch = 32, .sequences = 2});
  const Index vocab = options.config.vocab;
  const std::vector<TokenId> prompt = some_ids(9, vocab);
  std::vector<std::vector<TokenId>> answers{{3, 4, 5}, {3, 4, 9, 1}, {static_cast<TokenId>(vocab - 1)}, {3, 7}};
  for (TokenId id = 0; id < 6; ++id) answers.push_back(some_ids(11, vocab)), answers.back().front() = id;
  const ContextOptions context{.info_layer = 2};
  const std::vector<ScoreOptions> all{
      {.mode = Baseline{}},
      {.mode = Baseline{.mature_layer = 2}, .record = context},
      {.mode = DolaStatic{.premature_layer = 1}},
      {.mode = Dola{.candidate_layers = {0, 1, 2}}},
      {.mode = Dola{.candidate_layers = {2, 1}, .filter = {.relative_top = 0}}, .post_softmax = DolaOutput::difference},
      {.mode = Activation{.alpha = 2, .context = context}},
      {.mode = Activation{.context = context}, .filter = ScoreFilter::on},
      {.mode = Activation{.filter = {.relative_top = 0.3f, .min_tokens_to_keep = 3}, .context = context},
       .filter = ScoreFilter::on,
       .relative_top_value = -7},
      {.mode = ActivationDola{.alpha = 1, .context = context, .candidate_layers = {0, 1}}}};
  int filtered = 0;
  for (const ScoreOptions& how : all) {
    CAPTURE(&how - all.data());
    const std::vector<ContinuationScore> device = score(both.on_device, prompt, answers, how);
    const std::vector<ContinuationScore> host = score(both.on_host, prompt, answers, how);
    REQUIRE(device.size() == host.size());
    for (std::size_t i = 0; i < host.size(); ++i) {
      CAPTURE(i);
      CHECK(device[i].layers == host[i].layers);
      CHECK(device[i].score == doctest::Approx(host[i].score).epsilon(2e-5));
      for (std::size_t t = 0; t < host[i].log_probs.size(); ++t) {
        CHECK(std::abs(device[i].log_probs[t] - host[i].log_probs[t]) <= 2e-5 * (1 + std::abs(host[i].log_probs[t])));
        filtered += host[i].log_probs[t] == static_cast<double>(how.relative_top_value) ? 1 : 0;
      }
    }
  }
  CHECK(filtered > 10);
  CHECK(both.on_device.scored == static_cast<int>(all.size()));
}

TEST_CASE(
    "what prompts begin with is known on the device, too, and a text without a token that may be chosen is named") {
  TinyLlamaOptions options = small_family_options();
  Both both(options, {.max_context = 32, .max_batch = 16, .sequences = 2});
  const std::vector<TokenId> first = some_ids(9, options.config.vocab);
  std::vector<std::vector<TokenId>> prompts(3, first);
  for (std::size_t i = 0; i < prompts.size(); ++i)
    for (int k = 0; k < 5; ++k) prompts[i].push_back(static_cast<TokenId>(7 * i + static_cast<std::size_t>(k)));
  const auto texts = [&](auto& model) {
    PrefixCache prefix(first);
    std::vector<std::vector<TokenId>> ids;
    for (const ContextGrowth growth : {ContextGrowth::prompt, ContextGrowth::growing}) {
      const GenerationOptions how{.mode = Activation{.alpha = 2, .context = {.info_layer = 2, .growth = growth}},
                                  .max_new_tokens = 5};
      for (const GenerationResult& result :
           generate_batch(model, [] { return NoText(); }, prompts, how, {}, {.prefix = &prefix}))
        ids.push_back(result.ids);
    }
    return ids;
  };
  CHECK(texts(both.on_device) == texts(both.on_host));
  CHECK(both.on_device.calls == 2);
  GenerationOptions none{.mode = Baseline{}, .max_new_tokens = 3};
  for (TokenId id = 0; id < options.config.vocab; ++id)
    none.logit_bias.emplace_back(id, -std::numeric_limits<float>::infinity());
  CHECK_THROWS_WITH_AS(generate(both.on_host, NoText(), first, none), "logits: none is above -inf", ArgumentError);
  CHECK_THROWS_WITH_AS(generate(both.on_device, NoText(), first, none), "logits: none is above -inf", ArgumentError);
  CHECK(generate(both.on_device, NoText(), first, {.mode = Baseline{}, .max_new_tokens = 3}).ids.size() == 3);
}

TEST_CASE("a prompt in pieces of few_rows or more leaves the same states, bit for bit") {
  TinyLlamaOptions options = small_family_options();
  options.config.windows = {3, 0, 20};
  const std::vector<TokenId> ids = some_ids(40, options.config.vocab);
  const auto states = [&](Index max_batch, std::size_t piece) {
    Both both(options, {.max_context = 40, .max_batch = max_batch});
    Trace trace(options.config.layers);
    const LayerObserver<> observer = trace.observer();
    for (std::size_t i = 0; i < ids.size(); i += piece) {
      const SequencePiece<> one{0, std::span(ids).subspan(i, piece), &observer};
      both.on_device.fill(std::span(&one, 1));
    }
    return trace.hidden;
  };
  const auto whole = states(64, 40);
  CHECK(states(8, 40) == whole);
  CHECK(states(64, 5) == whole);
}

TEST_CASE("an observer that throws, early or late, leaves no token behind, and the next call is what it would be") {
  const TinyLlama tiny(small_family_options());
  Both both(tiny, {.max_context = 48, .max_batch = 8});
  const std::vector<TokenId> ids = some_ids(40, tiny.config().vocab);
  OnHost<Llama<Cuda>>& model = both.on_device;
  const std::vector<float> expected = numbers(model.forward(std::vector<SequencePiece<>>{{0, ids}}));
  for (const Index throws_at : {0, 16, 32}) {
    model.rewind(2);
    LayerObserver<> observer;
    observer.layers = {1};
    observer.on_states = [&](Index, Index first, MatrixView<const float>) {
      if (first >= throws_at) throw std::runtime_error("enough");
    };
    CHECK_THROWS_WITH_AS(model.forward(std::vector<SequencePiece<>>{{0, std::span(ids).subspan(2), &observer}}),
                         "enough", std::runtime_error);
    CHECK(model.position() == 2);
    model.rewind(0);
    CHECK(numbers(model.forward(std::vector<SequencePiece<>>{{0, ids}})) == expected);
  }
}

TEST_CASE("what is wrong is named as on the host, and no token has been appended") {
  TinyLlamaOptions options = small_family_options();
  Both both(options, {.max_context = 8, .max_batch = 4, .sequences = 2});
  const std::vector<TokenId> ids = some_ids(9, options.config.vocab);
  const auto complaint = [&](auto& model, const auto& call) -> std::string {
    try {
      call(model);
    } catch (const Error& error) {
      CHECK(model.position(0) == 0);
      return error.what();
    }
    return "accepted";
  };
  const auto same = [&](const auto& call) {
    const std::string expected = complaint(both.on_host, call);
    CHECK(expected != "accepted");
    CHECK(complaint(both.on_device, call) == expected);
  };
  same([&](auto& model) { model.forward(std::vector<SequencePiece<>>{}); });
  same([&](auto& model) { model.forward(std::vector<SequencePiece<>>{{0, ids}}); });
  same([&](auto& model) { model.fill(std::vector<SequencePiece<>>{{2, std::span(ids).first(1)}}); });
  same([&](auto& model) { model.rewind(1, 0); });
  same([&](auto& model) { model.copy_sequence(0, 1, 1); });
  std::vector<float> logits(static_cast<std::size_t>(options.config.vocab));
  const std::vector<Index> layers{0, 1};
  same([&](auto& model) {
    model.early_exit(std::vector<SequencePiece<>>{{0, std::span(ids).first(1)}}, layers,
                     {logits.data(), {1, 1, options.config.vocab}});
  });
  LayerObserver<> observer;
  observer.layers = {1};
  same([&](auto& model) { model.fill(std::vector<SequencePiece<>>{{0, std::span(ids).first(1), &observer}}); });
  observer.layers = {4};
  observer.on_states = [](Index, Index, MatrixView<const float>) {};
  same([&](auto& model) { model.fill(std::vector<SequencePiece<>>{{0, std::span(ids).first(1), &observer}}); });
  // An observer that would change the model.
  observer.layers = {1};
  same([&](auto& model) {
    observer.on_states = [&](Index, Index, MatrixView<const float>) {
      model.early_exit(std::vector<SequencePiece<>>{{0, std::span(ids).first(1)}}, std::vector<Index>{0},
                       {logits.data(), {1, 1, options.config.vocab}});
    };
    model.fill(std::vector<SequencePiece<>>{{0, std::span(ids).first(1), &observer}});
  });
}

TEST_CASE("weights that are not finite are found, and the layer says where") {
  TinyLlamaOptions options = small_family_options();
  options.config.source = "damaged.gguf";
  const TinyLlama tiny(options);
  const std::vector<TokenId> ids = some_ids(6, options.config.vocab);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto complaint = [&](const LlamaWeights<>& weights, const LayerObserver<>* observer = nullptr) {
    Execution<Host> execution(1);
    cuda::Stream stream;
    Execution<Cuda> device = stream;
    const cuda::DeviceWeights device_weights(device, weights);
    const LlamaOptions memory{.max_context = 40, .max_batch = 4};
    OnHost<Llama<Cuda>> model(tiny.config(), weights, device_weights.view(), memory, device, execution);
    Llama host(tiny.config(), weights, memory, execution);
    const SequencePiece<> piece{0, ids, observer};
    std::string texts[2];
    const auto call = [&](auto& m, std::string& text) {
      try {
        m.forward(std::span(&piece, 1));
      } catch (const Error& error) {
        text = error.what();
        CHECK(m.position(0) == 0);
      }
    };
    call(model, texts[0]);
    call(host, texts[1]);
    CHECK(texts[0] == texts[1]);
    return texts[0];
  };
  LlamaWeights<> weights = tiny.weights();
  weights.layers[1].ffn_norm[3] = nan;
  CHECK(complaint(weights).starts_with("damaged.gguf: h_2 at position 3 is "));
  weights = tiny.weights();
  weights.final_norm[3] = std::numeric_limits<float>::infinity();
  CHECK(complaint(weights).starts_with("damaged.gguf: h_3 at position 5 is "));
  CHECK(complaint(tiny.weights()).empty());
}

TEST_CASE("what a recorded step finds that is not finite is said as ever, and the text goes on") {
  const TinyLlama tiny(small_family_options());
  Execution<Host> execution(1);
  // A model in which one token's embedding is damaged.
  const auto run = [&](TokenId damaged, const auto& use) {
    LlamaWeights<> weights = tiny.weights();
    const auto width = static_cast<std::size_t>(tiny.config().hidden);
    std::vector<float> embedding(static_cast<std::size_t>(tiny.config().vocab) * width);
    for (std::size_t i = 0; i < embedding.size(); i += width)
      weights.embedding.decode_row(static_cast<Index>(i / width), std::span(embedding).subspan(i, width));
    weights.embedding = as_matrix(std::span<const float>(embedding), tiny.config().vocab, tiny.config().hidden);
    embedding[static_cast<std::size_t>(damaged) * width + 1] = std::numeric_limits<float>::infinity();
    cuda::Stream stream;
    Execution<Cuda> device = stream;
    const cuda::DeviceWeights device_weights(device, weights);
    OnHost<Llama<Cuda>> model(tiny.config(), weights, device_weights.view(), {.max_context = 40}, device, execution);
    use(model);
  };
  const auto message = [](int position) {
    return "Llama: h_0 at position " + std::to_string(position) +
           " is inf: the model's weights are damaged, or too large for float";
  };
  std::vector<TokenId> greedy;
  const std::vector<TokenId> prompt{1, 2};
  const auto text = [&](OnHost<Llama<Cuda>>& model) {
    return generate(model, NoText(), prompt, {.mode = Baseline{}, .max_new_tokens = 6}).ids;
  };
  run(5, [&](OnHost<Llama<Cuda>>& model) {
    const auto step = [&](TokenId id) { return numbers(model.forward(std::vector<SequencePiece<>>{{0, {&id, 1}}})); };
    for (const TokenId id : {1, 2, 3}) step(id);
    CHECK_THROWS_WITH_AS(step(5), message(3).c_str(), Error);
    CHECK(model.position() == 3);
    const std::vector<float> next = step(4);
    model.rewind(3);
    CHECK(step(4) == next);
    greedy = text(model);
  });
  // The token is one that the device chose itself, and is about to read.
  REQUIRE(greedy.size() == 6);
  const TokenId damaged = greedy[3];
  const auto first = std::ranges::find(greedy, damaged) - greedy.begin();
  run(damaged, [&](OnHost<Llama<Cuda>>& model) {
    CHECK_THROWS_WITH_AS(text(model), message(2 + static_cast<int>(first)).c_str(), Error);
    CHECK(model.position() == 2 + first);
  });
}

#if __has_include("device_llama.inl")  // a fragment of the guide, where Python extracts it
TEST_CASE("guide: our own forward pass") {
  namespace at = activation_trace;
  const TinyLlama tiny(small_family_options());
  struct {
    LlamaConfig config;
    LlamaWeights<> weights;
  } const checkpoint{tiny.config(), tiny.weights()};
  Execution<Host> execution(1);
  const std::vector<TokenId> prompt = some_ids(5, tiny.config().vocab);
  NoText text;
#include "device_llama.inl"
  Llama host(checkpoint.config, checkpoint.weights, {.max_context = 64}, execution);
  const GenerationOptions options{.mode = Activation{.context = {.info_layer = 1}}, .max_new_tokens = 8};
  CHECK(answer.ids.size() == 8);
  CHECK(answer.ids == generate(host, text, prompt, options).ids);
}
#endif

namespace {

/// A stream of each of the first devices.
class DeviceStreams {
 public:
  explicit DeviceStreams(int count) {
    for (int device = 0; device < count; ++device) {
      const cuda::DeviceGuard guard(device);
      streams_.emplace_back();
      executions_.emplace_back(streams_.back());
    }
  }

  /// One per end of blocks.
  [[nodiscard]] std::vector<LlamaPlace<Cuda>> places(const std::vector<Index>& ends) {
    std::vector<LlamaPlace<Cuda>> result;
    for (std::size_t i = 0; i < ends.size(); ++i) result.push_back({&executions_[i], ends[i]});
    return result;
  }

 private:
  std::vector<cuda::Stream> streams_;
  std::vector<Execution<Cuda>> executions_;
};

/// Two and three devices, where they are there.
std::vector<std::vector<Index>> borders_of_three_blocks() {
  int devices = 0;
  cuda::check(cudaGetDeviceCount(&devices), "cudaGetDeviceCount");
  std::vector<std::vector<Index>> result;
  if (devices > 1) result = {{1, 3}, {2, 3}};
  if (devices > 2) result.push_back({1, 2, 3});
  return result;
}

}  // namespace

TEST_CASE("blocks on several devices are those on one, bit for bit") {
  Execution<Host> execution(1);
  for (const Embeddings embeddings : {Embeddings::tied, Embeddings::separate}) {
    TinyLlamaOptions options = small_family_options();
    options.embeddings = embeddings;
    options.config.windows = {0, 5, 0};
    const TinyLlama tiny(options);
    const LlamaWeights<> weights = tiny.weights();
    LlamaOptions memory = two_sequences;
    memory.cache = embeddings == Embeddings::tied ? DType::f16 : DType::f32;
    Both both(tiny, memory);
    const std::vector<std::vector<float>> expected = history(both.on_device, 21);  // two batches
    for (const std::vector<Index>& ends : borders_of_three_blocks()) {
      CAPTURE(ends.front());
      CAPTURE(ends.size());
      DeviceStreams streams(static_cast<int>(ends.size()));
      const std::vector<LlamaPlace<Cuda>> places = streams.places(ends);
      const cuda::DeviceWeights device_weights(places, weights);
      OnHost<Llama<Cuda>> model(tiny.config(), weights, device_weights.view(), memory, places, execution);
      CHECK(history(model, 21) == expected);
      const std::vector<TokenId> prompt = some_ids(5, tiny.config().vocab);
      const GenerationOptions how{.mode = Baseline{}, .max_new_tokens = 5};
      CHECK(generate(model, NoText(), prompt, how).ids == generate(both.on_device, NoText(), prompt, how).ids);
    }
    DeviceStreams streams(1);
    const auto wrong = [&](std::vector<Index> ends) {
      std::vector<LlamaPlace<Cuda>> places;
      for (const Index end : ends) places.push_back({streams.places({end}).front().execution, end});
      Execution<Cuda>& first = *streams.places({1}).front().execution;
      CHECK_THROWS_AS(Llama<Cuda>(tiny.config(), cuda::DeviceWeights(first, weights).view(), two_sequences, places),
                      ArgumentError);
    };
    wrong({});
    wrong({2});
    wrong({2, 2, 3});
    wrong({4});
  }
}

TEST_CASE("pieces of a prompt follow each other over the devices, and are what they are on one, bit for bit") {
  const TinyLlama tiny(small_family_options());
  const LlamaWeights<> weights = tiny.weights();
  Execution<Host> execution(1);
  constexpr Index pieces = 5;
  const LlamaOptions memory{.max_context = 48, .max_batch = 8};
  const std::vector<TokenId> ids = some_ids(8 * pieces + 2, tiny.config().vocab);
  const std::span<const TokenId> prompt = std::span(ids).first(8 * pieces);
  std::vector<std::vector<float>> rows;
  const LayerObserver<> observed{
      .layers = {0, 1, 3}, .on_states = [&](Index, Index, MatrixView<const float> m) { rows.push_back(numbers(m)); }};
  // Twice: what the first call left is used by the second.
  const auto run = [&](OnHost<Llama<Cuda>>& model) {
    rows.clear();
    for (int round = 0; round < 2; ++round) {
      model.rewind(0);
      rows.push_back(
          numbers(model.forward(std::vector<SequencePiece<>>{{0, prompt, round == 0 ? nullptr : &observed}})));
      rows.push_back(numbers(model.forward(std::vector<SequencePiece<>>{{0, std::span(ids).last(2)}})));
    }
    return rows;
  };
  Both both(tiny, memory);
  const std::vector<std::vector<float>> expected = run(both.on_device);
  for (const std::vector<Index>& ends : borders_of_three_blocks()) {
    CAPTURE(ends.front());
    CAPTURE(ends.size());
    DeviceStreams streams(static_cast<int>(ends.size()));
    const std::vector<LlamaPlace<Cuda>> places = streams.places(ends);
    const cuda::DeviceWeights device_weights(places, weights);
    OnHost<Llama<Cuda>> model(tiny.config(), weights, device_weights.view(), memory, places, execution);
    CHECK(run(model) == expected);
#ifndef __CUDACC__
    // The device on the CPU does the work of the first device first, and of another only what that has to wait for.
    for (const LayerObserver<>* const observer : {static_cast<const LayerObserver<>*>(nullptr), &observed}) {
      model.rewind(0);
      std::vector<int> order;  // devices of kernels
      cuda_on_cpu::on_kernel = [&](int device) { order.push_back(device); };
      model.fill(std::vector<SequencePiece<>>{{0, prompt, observer}});
      cuda_on_cpu::on_kernel = nullptr;
      for (int device = 0; device + 1 < std::ssize(ends); ++device) {
        auto other = std::ranges::find(order, device + 1);  // the watch's
        other = std::find(other + 1, order.end(), device + 1);
        const auto kernels = std::ranges::count(order, device) - 1;  // but that of the watch
        REQUIRE(kernels % pieces == 0);
        // Three pieces: the next device has memory for two, and the third is all there but not brought.
        CHECK(std::count(order.begin(), other, device) - 1 == 3 * kernels / pieces);
      }
    }
#endif
  }
}

#ifndef __CUDACC__  // of the device on the CPU, whose memory is what we say it is
TEST_CASE("a model that does not fit is refused with the sums") {
  const TinyLlama tiny(small_family_options());
  const LlamaWeights<> weights = tiny.weights();
  Execution<Host> execution(1);
  cuda::Stream stream;
  Execution<Cuda> device = stream;
  const cuda::DeviceWeights device_weights(device, weights);
  auto& memory = cuda_on_cpu::devices[static_cast<std::size_t>(device.device())];
  const std::size_t before = memory.total;
  memory.total = memory.bytes + (std::size_t{1} << 20);
  const auto make = [&](Index sequences, DType cache) {
    OnHost<Llama<Cuda>> model(tiny.config(), weights, device_weights.view(),
                              {.max_context = 256, .max_batch = 16, .sequences = sequences, .cache = cache}, device,
                              execution);
  };
  make(4, DType::f32);
  make(8, DType::f16);
  CHECK_THROWS_WITH_AS(make(8, DType::f32),
                       "Llama: 8 x 256 positions take 2 MiB, and of the 1 MiB of CUDA device 0 only 1 MiB are free "
                       "beside the weights; lower the context, or the batch",
                       Error);
  memory.total = before;
}

TEST_CASE("answers are scored after there was no memory for so many") {
  const TinyLlama tiny(small_family_options());
  cuda::Stream stream;
  Execution<Cuda> device = stream;
  const cuda::DeviceWeights weights(device, tiny.weights());
  Llama<Cuda> model(tiny.config(), weights.view(), {.max_context = 16, .max_batch = 16}, device);
  const Index rows = 100, vocab = tiny.config().vocab;
  const std::vector<float> states = normal_vector<float>(rows * tiny.config().hidden, 1, 3);
  const std::vector<AskedToken> tokens{{rows - 1, 1}};
  const std::vector<Index> mature{tiny.config().layers};
  cuda::AnswerScores<Llama<Cuda>> first(model, {}, mature), again(model, {}, mature);
  const auto score = [&](cuda::AnswerScores<Llama<Cuda>>& scorer) {
    std::vector<double> log_probs(1);
    std::vector<Index> layers(static_cast<std::size_t>(rows));
    scorer.score(as_matrix(std::span(states), rows, tiny.config().hidden), tokens, log_probs, layers);
    return log_probs.front();
  };
  const double expected = score(first);
  auto& memory = cuda_on_cpu::devices[static_cast<std::size_t>(device.device())];
  const std::size_t before = memory.total;
  // For the logits of 100 rows instead of 64, and nothing else.
  memory.total = memory.bytes + static_cast<std::size_t>(rows - 64) * static_cast<std::size_t>(vocab) * 4 + 100;
  CHECK_THROWS_AS(score(again), CudaError);
  memory.total = before;
  CHECK(score(again) == expected);
}
#endif
