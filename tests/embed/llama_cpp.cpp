// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/embed/llama_cpp.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "embed/both_engines.hpp"
#include "embed/llama_cpp_engine.hpp"
#include "support/complaint.hpp"
#include "support/file_builders.hpp"
#include "support/mode_fields.hpp"
#include "support/tiny_llama.hpp"

using namespace activation_trace;
using test::Both;
using test::complaint;
using test::decode;
using test::Flag;
using test::own_text;
using test::Step;

// The guest in llama.cpp beside our own engine, on random weights in f32 with an f32 cache: the same tokens.

namespace {

Flag flag_of(const llama_cpp::GuestOptions& options) {
  const std::optional<ContextOptions> context = read_context({.mode = options.mode, .record = options.record});
  return context && context->info_layer == 4 ? Flag::all : Flag::last;
}

/// Twenty prompts and `count` tokens of each by both; returns how many tokens were compared.
Index compare(Both& both, llama_cpp::GuestOptions options, Index count) {
  CAPTURE(name(options.mode));
  std::vector<Step> found;
  const bool records = options.record || context_of(options.mode) != nullptr;
  if (records) options.on_token = [&](const SharpnessCandidate& c) { found.push_back({c.id, c.log_prob, c.entropy}); };
  llama_cpp::Guest guest(both.model.get(), both.head(), options);
  const llama_context_ptr context = both.context(guest);
  const llama_sampler_ptr chain = test::greedy_chain(guest.sampler(context.get()));
  Index compared = 0;
  for (const std::vector<TokenId>& prompt : test::tiny_prompts(20)) {
    CAPTURE(compared);
    const std::vector<Step> expected = own_text(both, options, prompt, count);
    found.clear();
    llama_memory_clear(llama_get_memory(context.get()), true);  // and no word of it to the guest, who sees it
    decode(context.get(), prompt, 0, flag_of(options));
    const std::vector<TokenId> ids = test::sample(context.get(), chain.get(), count, std::ssize(prompt));
    guest.check();
    REQUIRE(ids.size() == expected.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      CAPTURE(i);
      REQUIRE(ids[i] == expected[i].id);
      if (!records) continue;
      REQUIRE(found.at(i).id == ids[i]);
      CHECK(std::abs(static_cast<double>(found[i].entropy) - static_cast<double>(expected[i].entropy)) < 2e-4);
      CHECK(std::abs(static_cast<double>(found[i].log_prob) - static_cast<double>(expected[i].log_prob)) < 2e-4);
    }
    compared += std::ssize(ids);
  }
  return compared;
}

const ContextOptions kLayer3{.info_layer = 3};

}  // namespace

TEST_CASE("20 prompts x 64 tokens in every mode: each token is our own engine's") {
  Both both;
  const std::vector<Index> early{0, 1, 2, 3};
  for (const Mode& mode :
       {Mode(Activation{.context = kLayer3}), Mode(Dola{.candidate_layers = early}),
        Mode(DolaStatic{.premature_layer = 1}), Mode(ActivationDola{.context = kLayer3, .candidate_layers = early})})
    CHECK(compare(both, {.mode = mode}, 64) == 20 * 64);
  CHECK(compare(both, {.mode = Baseline{}, .record = RecordOptions{.context = kLayer3}}, 64) == 20 * 64);
}

TEST_CASE("every layer, the norm, spans, strategies, growing contexts and tied heads") {
  Both both;
  for (const Index layer : {0, 1, 2, 4}) {
    CAPTURE(layer);
    CHECK(compare(both, {.mode = Activation{.context = {.info_layer = layer}}}, 8) == 160);
  }
  for (const ContextOptions& context :
       {ContextOptions{.final_norm = true}, ContextOptions{.span = {.begin = 1}},
        ContextOptions{.info_layer = 2, .span = {.begin = 1}, .growth = ContextGrowth::growing}})
    CHECK(compare(both, {.mode = Activation{.context = context}}, 8) == 160);
  for (const ContextStrategy strategy : {ContextStrategy::ema, ContextStrategy::tendency, ContextStrategy::subject}) {
    llama_cpp::GuestOptions options{.mode = Activation{.context = kLayer3, .strategy = strategy},
                                    .record = RecordOptions{}};
    CHECK(compare(both, options, 8) == 160);
  }
  Both tied(Embeddings::tied);
  CHECK(compare(tied, {.mode = Activation{.context = kLayer3}}, 8) == 160);
  CHECK(compare(tied, {.mode = Dola{.candidate_layers = {2, 3}}}, 8) == 160);
}

TEST_CASE("copies of a sampler, resets, rewinds and a conversation read the context that is there") {
  Both both;
  const std::vector<TokenId> prompt = test::tiny_prompts(20)[3];
  const std::vector<TokenId> more{17, 4, 250, 31, 9};
  const llama_cpp::GuestOptions options{.mode = Activation{.context = kLayer3}, .keep_answers = true};
  const auto own = [&](std::span<const TokenId> text, Index count) {
    std::vector<TokenId> ids;
    for (const Step& step : own_text(both, options, text, count)) ids.push_back(step.id);
    return ids;
  };
  llama_cpp::Guest guest(both.model.get(), both.head(), options);
  const llama_context_ptr context = both.context(guest);
  const llama_sampler_ptr chain = test::greedy_chain(guest.sampler(context.get()));
  const std::vector<TokenId> expected = own(prompt, 20);

  decode(context.get(), prompt, 0);
  std::vector<TokenId> text = test::sample(context.get(), chain.get(), 7, std::ssize(prompt));
  CHECK(guest.context_size() == std::ssize(prompt));
  const llama_sampler_ptr copy(llama_sampler_clone(chain.get()));  // goes on where the first one was
  decode(context.get(), std::span(&text.back(), 1), std::ssize(prompt) + 6);
  const std::vector<TokenId> rest = test::sample(context.get(), copy.get(), 13, std::ssize(prompt) + 7);
  text.insert(text.end(), rest.begin(), rest.end());
  CHECK(text == expected);

  // The memory holds all but the last token, which was not decoded. A user's next words, and a context of everything.
  std::vector<TokenId> whole = prompt;
  whole.insert(whole.end(), text.begin(), text.end() - 1);
  const Index before = std::ssize(whole);
  whole.insert(whole.end(), more.begin(), more.end());
  decode(context.get(), more, before);
  llama_sampler_reset(chain.get());
  CHECK(test::sample(context.get(), chain.get(), 10, std::ssize(whole)) == own(whole, 10));
  CHECK(guest.context_size() == std::ssize(whole));

  // Another end to the prompt: its beginning stays in both memories.
  const Index kept = std::ssize(prompt) - 4;
  REQUIRE(llama_memory_seq_rm(llama_get_memory(context.get()), 0, static_cast<llama_pos>(kept), -1));
  std::vector<TokenId> other(prompt.begin(), prompt.begin() + kept);
  other.insert(other.end(), more.begin(), more.end());
  decode(context.get(), more, kept);
  CHECK(test::sample(context.get(), chain.get(), 10, std::ssize(other)) == own(other, 10));
  CHECK(guest.context_size() == std::ssize(other));
  guest.check();
}

TEST_CASE("the tap's states are our engine's, and keep their positions") {
  Both both;
  const std::vector<TokenId> prompt = test::tiny_prompts(20)[4];
  const auto length = static_cast<Index>(prompt.size());
  REQUIRE(length > 32);
  llama_cpp::LayerTap tap(both.model.get());
  llama_context_params params = test::exact_params();
  tap.attach(params);
  const llama_context_ptr context(llama_init_from_model(both.model.get(), params));
  tap.read(context.get(), 0);
  for (Index layer = 0; layer <= 4; ++layer) tap.keep(layer, llama_cpp::Keep::all_rows);
  decode(context.get(), prompt, 0, Flag::all);
  Index compared = 0;
  LayerObserver<> observer;
  observer.layers = {0, 1, 2, 3, 4};
  observer.on_states = [&](Index layer, Index first, MatrixView<const float> states) {
    const MatrixView<const float> found = tap.states(layer);
    REQUIRE(found.extent(0) == length);
    for (Index i = 0; i < states.extent(0); ++i)
      for (Index k = 0; k < states.extent(1); ++k)
        CHECK(found(first + i, k) == doctest::Approx(static_cast<double>(states(i, k))).epsilon(1e-4));
    compared += states.extent(0);
  };
  both.own.fill(prompt, observer);
  CHECK(compared == 5 * length);
  // The head times the last state is llama.cpp's row.
  const float* row = llama_get_logits_ith(context.get(), -1);
  const LmHeadFile file = both.head();
  std::vector<float> weights(64);
  for (TokenId v = 0; v < 320; ++v) {
    file.head.row(v, weights);
    double sum = 0;
    for (Index k = 0; k < 64; ++k)
      sum +=
          static_cast<double>(weights[static_cast<std::size_t>(k)]) * static_cast<double>(tap.states(4)(length - 1, k));
    CHECK(std::abs(sum - static_cast<double>(row[v])) < 1e-5 * 20);
  }
  // A rewind takes its states away with the next decode; a layer that is not kept costs nothing; one row is the last.
  tap.keep(1, llama_cpp::Keep::nothing);
  tap.keep(2, llama_cpp::Keep::last_row);
  REQUIRE(llama_memory_seq_rm(llama_get_memory(context.get()), 0, 10, -1));
  decode(context.get(), std::vector<TokenId>{1, 2, 3}, 10);
  CHECK(tap.end_position(3) == 13);
  CHECK(tap.states(3).extent(0) == 13);
  CHECK(tap.end_position(1) == length);
  CHECK(tap.first_position(2) == 12);
  CHECK(tap.states(2).extent(0) == 1);
}

TEST_CASE("where no logits are asked for, the product with the LM head is not computed, and everything before it is") {
  Both both;
  const std::vector<TokenId> prompt = test::tiny_prompts(20)[4];
  const auto row_of = [](llama_context* context) {
    const float* row = llama_get_logits_ith(context, -1);
    return std::vector<float>(row, row + 320);
  };
  llama_cpp::LayerTap tap(both.model.get());
  llama_context_params params = test::exact_params();
  tap.attach(params);
  const llama_context_ptr context(llama_init_from_model(both.model.get(), params));
  tap.read(context.get(), 0);
  tap.skip_logits(true);
  decode(context.get(), prompt, 0, Flag::all);  // layer N is not kept: nothing is skipped
  const std::vector<float> before = row_of(context.get());
  const std::vector<TokenId> next{7};
  const auto length = static_cast<Index>(prompt.size());
  tap.keep(4, llama_cpp::Keep::all_rows);
  decode(context.get(), next, length);
  const std::vector<float> skipped = row_of(context.get());
  const std::vector<float> state(tap.states(4).data(), tap.states(4).data() + 64);
  llama_memory_seq_rm(llama_get_memory(context.get()), 0, static_cast<llama_pos>(length), -1);
  tap.skip_logits(false);
  decode(context.get(), next, length);
  CHECK(row_of(context.get()) != skipped);
  CHECK(row_of(context.get()) != before);
  CHECK(std::equal(state.begin(), state.end(), tap.states(4).data()));
}

TEST_CASE("nodes have the names of llama.cpp, layers those of the library") {
  using llama_cpp::layer_of_node;
  CHECK(layer_of_node("embd", 4) == 0);
  CHECK(layer_of_node("inp_scaled", 4) == 0);
  CHECK(layer_of_node("l_out-0", 4) == 1);
  CHECK(layer_of_node("l_out-2", 4) == 3);
  CHECK(layer_of_node("l_out-3", 4) == -1);
  CHECK(layer_of_node("result_norm", 4) == 4);
  for (const char* name : {"l_out-", "l_out--1", "l_out-1x", "l_out-99999999999999999999", "attn_norm-1", "", "embd "})
    CHECK(layer_of_node(name, 4) == -1);
}

TEST_CASE("a guest refuses what it cannot do, by name, before anything is decoded") {
  Both both;
  const auto guest = [&](llama_cpp::GuestOptions options) {
    return complaint([&] { const llama_cpp::Guest made(both.model.get(), both.head(), std::move(options)); });
  };
  CHECK(guest({.mode = Activation{.context = {.info_layer = 5}}}) ==
        "layer 5 does not exist: a model of 4 blocks has the hidden states -5..4");
  CHECK(guest({.mode = Dola{.candidate_layers = {1, 9}}}).starts_with("layer 9 does not exist"));
  CHECK(guest({.mode = Contrastive{}}) == "decoding_mode contrastive needs an amateur, which a guest has none of");
  CHECK(guest({.mode = Activation{.mature_layer = 2}}) ==
        "mature_layer: a guest has llama.cpp's logits, which are of layer 4");
  CHECK(guest({.mode = Baseline{}}) == "decoding_mode baseline without record: nothing to do");
  CHECK(guest({.mode = Dola{.candidate_layers = {1}}, .on_token = [](const SharpnessCandidate&) {}}) ==
        "on_token: decoding_mode dola makes no records without record");
  CHECK(guest({.mode = Activation{.alpha = -1}}).starts_with("alpha"));

  LlamaConfig larger = test::tiny_llama_cpp_config();
  larger.vocab = 400;
  test::TinyLlama(test::TinyLlamaOptions{.config = larger}).write_gguf(both.folder.path() / "larger.gguf");
  CHECK(complaint([&] {
          const llama_cpp::Guest made(both.model.get(), llama_cpp::open_lm_head(both.folder.path() / "larger.gguf"),
                                      {});
        }) == "head: [400, 64] of 4 blocks is not the model's, [320, 64] of 4");

  llama_cpp::Guest one(both.model.get(), both.head(), {});
  llama_context_params params = test::exact_params();
  const llama_context_ptr without(llama_init_from_model(both.model.get(), params));
  CHECK(complaint([&] { (void)one.sampler(without.get()); }) ==
        "LayerTap: attach() was not called before the context was made");
  one.attach(params);
  CHECK(complaint([&] { one.attach(params); }) == "LayerTap: cb_eval of these context parameters is taken already");
  llama_cpp::Guest second(both.model.get(), both.head(), {.sequence = 3});
  llama_context_params others = test::exact_params();
  second.attach(others);
  const llama_context_ptr context(llama_init_from_model(both.model.get(), others));
  CHECK(complaint([&] { (void)second.sampler(context.get()); }) ==
        "LayerTap: the context has the sequences 0..0, not 3");
}

TEST_CASE("what goes wrong within llama.cpp is logged, thrown by check(), and leaves the candidates alone") {
  Both both;
  const std::vector<TokenId> prompt = test::tiny_prompts(20)[1];
  const auto length = static_cast<Index>(prompt.size());
  llama_context_params two = test::exact_params();
  two.n_seq_max = 2;
  two.kv_unified = true;
  llama_cpp::Guest guest(both.model.get(), both.head(), {.mode = Activation{.context = kLayer3}});
  const llama_context_ptr context = both.context(guest, two);
  llama_memory_t memory = llama_get_memory(context.get());
  // The problem, and whether the greedy choice was plain decoding's.
  const auto problem = [&](llama_sampler* chain) {
    test::llama_cpp_log().clear();
    const TokenId chosen = llama_sampler_sample(chain, context.get(), -1);
    const std::string text = complaint([&] { guest.check(); });
    CHECK(complaint([&] { guest.check(); }) == "accepted");
    if (text != "accepted") {
      CHECK(test::llama_cpp_log() == "activation_trace: " + text + "\n");
      const llama_sampler_ptr plain = test::greedy_chain(nullptr);
      CHECK(chosen == llama_sampler_sample(plain.get(), context.get(), -1));
    }
    return text;
  };

  // A prompt that was read before the guest.
  decode(context.get(), prompt, 0);
  const llama_sampler_ptr chain = test::greedy_chain(guest.sampler(context.get()));
  CHECK(problem(chain.get())
            .starts_with("head: llama.cpp's memory holds 16 positions, and the guest has states of layer 4 at none: "));
  // Its end alone.
  decode(context.get(), std::span(prompt).first(4), length);
  CHECK(problem(chain.get()) ==
        "context: llama.cpp's memory holds 20 positions, and the guest has states of layer 3 at 16..19: clear the "
        "memory and read all with the guest, or, where a conversation goes on, keep_answers");
  // Not the first of its chain: a shorter list, and other logits.
  llama_memory_clear(memory, true);
  decode(context.get(), prompt, 0);
  const llama_sampler_ptr late(llama_sampler_chain_init(llama_sampler_chain_default_params()));
  llama_sampler_chain_add(late.get(), llama_sampler_init_top_k(40));
  llama_sampler_chain_add(late.get(), guest.sampler(context.get()));
  llama_sampler_chain_add(late.get(), llama_sampler_init_greedy());
  CHECK(problem(late.get()) == "the guest's sampler must be the first of its chain: it was given 40 candidates of 320");
  const llama_sampler_ptr biased(llama_sampler_chain_init(llama_sampler_chain_default_params()));
  const llama_logit_bias bias{7, 1e-3f};
  llama_sampler_chain_add(biased.get(), llama_sampler_init_logit_bias(320, 1, &bias));
  llama_sampler_chain_add(biased.get(), guest.sampler(context.get()));
  llama_sampler_chain_add(biased.get(), llama_sampler_init_greedy());
  CHECK(
      problem(biased.get()) ==
      "the guest's sampler must be the first of its chain: 1 candidates are not llama.cpp's logits of the last token, "
      "index -1, or not in their place");
  CHECK(problem(chain.get()) == "accepted");
  // Another position than the last.
  llama_memory_clear(memory, true);
  decode(context.get(), prompt, 0, Flag::all);
  llama_sampler_sample(chain.get(), context.get(), 4);
  CHECK(complaint([&] { guest.check(); }).find("are not llama.cpp's logits of the last token, index -1") !=
        std::string::npos);
  CHECK(problem(chain.get()) == "accepted");
  // Another sequence beside it.
  decode(context.get(), std::span(prompt).first(3), 0, Flag::last, 1);
  CHECK(problem(chain.get()) ==
        "sequence 1 of the context is in use: a guest reads one, 0, and several need Guests, which are told whose rows "
        "are whose");
  llama_memory_clear(memory, true);
  // Answers that were not kept are no part of a later context.
  decode(context.get(), prompt, 0);
  const std::vector<TokenId> text = test::sample(context.get(), chain.get(), 5, length);
  CHECK(complaint([&] { guest.check(); }) == "accepted");
  llama_sampler_reset(chain.get());
  decode(context.get(), std::span(prompt).first(3), length + 4);
  CHECK(problem(chain.get())
            .starts_with(
                "context: llama.cpp's memory holds 23 positions, and the guest has states of layer 3 at 20..22: "));
}

TEST_CASE("a head of another model of that shape, a last layer without its rows, and what on_token throws") {
  Both both;
  const std::vector<TokenId> prompt = test::tiny_prompts(20)[2];
  test::TinyLlama(test::TinyLlamaOptions{.config = test::tiny_llama_cpp_config(), .seed = 2})
      .write_gguf(both.folder.path() / "other.gguf");
  const auto first_problem = [&](LmHeadFile head, llama_cpp::GuestOptions options) {
    llama_cpp::Guest guest(both.model.get(), std::move(head), std::move(options));
    const llama_context_ptr context = both.context(guest);
    const llama_sampler_ptr chain = test::greedy_chain(guest.sampler(context.get()));
    decode(context.get(), prompt, 0);
    llama_sampler_sample(chain.get(), context.get(), -1);
    std::string text = complaint([&] { guest.check(); });
    if (text != "accepted") return text;
    decode(context.get(), std::span(prompt).first(1), std::ssize(prompt));
    llama_sampler_sample(chain.get(), context.get(), -1);
    return complaint([&] { guest.check(); });
  };
  const auto other = [&] { return llama_cpp::open_lm_head(both.folder.path() / "other.gguf"); };
  const std::string head = first_problem(other(), {});
  CHECK(head.starts_with("head: it is not the model's, which gives token "));
  CHECK(first_problem(other(), {.check_head = false}) == "accepted");
  CHECK(first_problem(both.head(), {}) == "accepted");
  CHECK(first_problem(both.head(), {.mode = Activation{.context = {.info_layer = 4}}})
            .find("flag every token for output") != std::string::npos);
  CHECK(first_problem(both.head(), {.on_token = [](const SharpnessCandidate&) { throw StateError("mine"); }}) ==
        "mine");
}
