// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/embed/llama_cpp_guests.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "embed/both_engines.hpp"
#include "embed/llama_cpp_engine.hpp"
#include "support/complaint.hpp"

using namespace activation_trace;
using test::Batch;
using test::complaint;

// Several sequences in the batches of one llama.cpp context, each with its mode: each token is what our own engine
// writes for that prompt alone.

namespace {

/// A server: what each of its sequences is at.
class Server {
 public:
  Server(test::Both& both, const std::vector<llama_cpp::GuestOptions>& options, bool flash_attention = false)
      : guests_(both.model.get(), both.path, options) {
    llama_context_params params = test::exact_params();
    if (flash_attention) {
      params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
      params.type_k = params.type_v = GGML_TYPE_F16;
    }
    params.n_ctx = 768;
    params.n_seq_max = static_cast<std::uint32_t>(options.size());
    params.kv_unified = true;
    guests_.attach(params);
    context_.reset(llama_init_from_model(both.model.get(), params));
    for (llama_seq_id s = 0; s < static_cast<llama_seq_id>(options.size()); ++s)
      chains_.push_back(test::greedy_chain(guests_.sampler(context_.get(), s)));
  }

  /// A new prompt in a sequence, for the next step.
  void begin(llama_seq_id sequence, std::vector<TokenId> prompt) {
    llama_memory_seq_rm(llama_get_memory(context_.get()), sequence, -1, -1);
    slots_[sequence] = {std::move(prompt), 0, {}};
  }

  /// One batch: of every sequence what it has not read, a token of each in turn. Returns their last ones' indices.
  std::map<llama_seq_id, std::int32_t> read() {
    batch_.clear();
    std::map<llama_seq_id, std::int32_t> outputs;
    for (bool more = true; std::exchange(more, false);)
      for (auto& [sequence, slot] : slots_) {
        if (slot.read == slot.all.size()) continue;
        more = true;
        const std::size_t at = slot.read++;
        outputs[sequence] = batch_.add(slot.all[at], static_cast<Index>(at), {sequence}, slot.read == slot.all.size());
      }
    REQUIRE(guests_.decode(context_.get(), batch_.get()) == 0);
    return outputs;
  }

  /// The same, and each writes a token.
  void step() {
    for (const auto& [sequence, output] : read()) {
      Slot& slot = slots_[sequence];
      slot.all.push_back(
          llama_sampler_sample(chains_[static_cast<std::size_t>(sequence)].get(), context_.get(), output));
      slot.written.push_back(slot.all.back());
    }
    guests_.check();
  }

  /// The prompt of `sequence` goes on.
  void append(llama_seq_id sequence, const std::vector<TokenId>& more) {
    slots_[sequence].all.insert(slots_[sequence].all.end(), more.begin(), more.end());
  }
  /// `to` goes on from where `from` is.
  void copy(llama_seq_id from, llama_seq_id to) {
    guests_.copy_sequence(context_.get(), from, to);
    go_on(from, to);
  }
  /// The same where llama.cpp's memory has it already.
  void go_on(llama_seq_id from, llama_seq_id to) { slots_[to] = slots_[from]; }

  [[nodiscard]] const std::vector<TokenId>& written(llama_seq_id sequence) { return slots_[sequence].written; }
  [[nodiscard]] llama_cpp::Guests& guests() { return guests_; }
  [[nodiscard]] llama_context* context() { return context_.get(); }
  [[nodiscard]] llama_sampler* chain(std::size_t sequence) { return chains_[sequence].get(); }

 private:
  struct Slot {
    std::vector<TokenId> all;
    std::size_t read = 0;
    std::vector<TokenId> written;
  };

  llama_cpp::Guests guests_;
  llama_context_ptr context_;
  std::vector<llama_sampler_ptr> chains_;
  std::map<llama_seq_id, Slot> slots_;
  Batch batch_;
};

std::vector<TokenId> alone(test::Both& both, const llama_cpp::GuestOptions& options, std::span<const TokenId> prompt,
                           std::size_t count) {
  std::vector<TokenId> ids;
  for (const test::Step& step : own_text(both, options, prompt, static_cast<Index>(count))) ids.push_back(step.id);
  return ids;
}

/// Our own engine's text behind `prompt` that begins with `written`, `count` tokens more.
std::vector<TokenId> goes_on(test::Both& both, const Mode& mode, std::span<const TokenId> prompt,
                             std::vector<TokenId> written, std::size_t count) {
  const std::vector<Index> layers = activation_trace::detail::exit_layers(mode, both.own.config().layers);
  const Index vocab = both.own.config().vocab;
  ModeProcessor processor(mode, {}, {}, std::span(layers).subspan(1), vocab, both.execution);
  LayerObserver<> observer;
  if (context_of(mode) != nullptr) observer.layers.push_back(*context_of(mode)->info_layer);
  observer.on_states = [&](Index, Index, MatrixView<const float> states) {
    processor.observe_context(states, both.own.lm_head());
  };
  Buffer<float> memory(std::ssize(layers) * vocab);
  const MatrixView<float> rows(memory.data(), {std::ssize(layers), vocab});
  both.own.rewind(0);
  for (std::size_t i = 0, end = written.size() + count; i < end; ++i) {
    const SequencePiece<> piece{0, i == 0 ? prompt : std::span(written).subspan(i - 1, 1),
                                i == 0 ? &observer : nullptr};
    both.own.early_exit(std::span(&piece, 1), layers, {memory.data(), {1, std::ssize(layers), vocab}});
    if (i < written.size()) continue;
    std::vector<float> scores(rows.row(0).data(), rows.row(0).data() + vocab);
    processor.process({.mature = rows.row(0).span(), .early = rows.slice(0, 1, std::ssize(layers))}, scores);
    written.push_back(static_cast<TokenId>(argmax(scores)));
  }
  return written;
}

std::vector<llama_cpp::GuestOptions> some_options() {
  const ContextOptions at3{.info_layer = 3};
  return {{.mode = Activation{.context = at3}},
          {.mode = Dola{.candidate_layers = {0, 1, 2, 3}}},
          {.mode = ActivationDola{.context = at3, .candidate_layers = {1, 2}}},
          {.mode = Activation{.context = {.info_layer = 0, .growth = ContextGrowth::growing}}}};
}

}  // namespace

TEST_CASE("four sequences in one batch, each in its mode: each token is our own engine's, alone") {
  test::Both both;
  const std::vector<llama_cpp::GuestOptions> options = some_options();
  const std::vector<std::vector<TokenId>> prompts = test::tiny_prompts(20);
  Server server(both, options);
  // The third comes later, the first is followed by another prompt while the others go on.
  for (const llama_seq_id s : {0, 1, 3}) server.begin(s, prompts[static_cast<std::size_t>(s) + 2]);
  for (int i = 0; i < 6; ++i) server.step();
  server.begin(2, prompts[9]);
  for (int i = 0; i < 6; ++i) server.step();
  CHECK(server.written(0) == alone(both, options[0], prompts[2], 12));
  server.begin(0, prompts[11]);
  for (int i = 0; i < 20; ++i) server.step();
  CHECK(server.written(0) == alone(both, options[0], prompts[11], 20));
  CHECK(server.written(1) == alone(both, options[1], prompts[3], 32));
  CHECK(server.written(2) == alone(both, options[2], prompts[9], 26));
  CHECK(server.written(3) == alone(both, options[3], prompts[5], 32));
  CHECK(server.guests().guest(0).context_size() == std::ssize(prompts[11]));
}

TEST_CASE("a prompt that several sequences share is read by all of their guests") {
  test::Both both;
  const std::vector<llama_cpp::GuestOptions> options = some_options();
  const std::vector<TokenId> prompt = test::tiny_prompts(20)[6];
  Server server(both, {options[0], options[2]});
  Batch batch;
  for (std::size_t i = 0; i < prompt.size(); ++i)
    batch.add(prompt[i], static_cast<Index>(i), {0, 1}, i + 1 == prompt.size());
  REQUIRE(server.guests().decode(server.context(), batch.get()) == 0);
  std::vector<TokenId> texts[2];
  std::int32_t outputs[2] = {batch.get().n_tokens - 1, batch.get().n_tokens - 1};
  for (Index step = 0; step < 12; ++step) {
    batch.clear();
    for (std::size_t s = 0; s < 2; ++s) {
      texts[s].push_back(llama_sampler_sample(server.chain(s), server.context(), outputs[s]));
      outputs[s] = batch.add(texts[s].back(), std::ssize(prompt) + step, {static_cast<llama_seq_id>(s)}, true);
    }
    server.guests().check();
    REQUIRE(server.guests().decode(server.context(), batch.get()) == 0);
  }
  CHECK(texts[0] == alone(both, options[0], prompt, 12));
  CHECK(texts[1] == alone(both, options[2], prompt, 12));
}

TEST_CASE("a prefix that was copied before a token was chosen is read on by each guest") {
  test::Both both;
  std::vector<llama_cpp::GuestOptions> options = some_options();
  options[3].mode = Activation{.alpha = 2, .context = {.info_layer = 3, .growth = ContextGrowth::growing}};
  options[2].check_head = false;
  const std::vector<TokenId> prefix = test::tiny_prompts(20)[7];
  const std::vector<std::vector<TokenId>> tails = {{17, 4, 250, 31}, {9}, {31, 8, 3, 2, 1, 5, 7}, {4, 4, 251}};
  Server server(both, options);
  server.begin(2, test::tiny_prompts(20)[8]);  // what a copy held, longer and shorter, is no more
  server.begin(3, test::tiny_prompts(20)[1]);
  for (int i = 0; i < 4; ++i) server.step();
  server.begin(0, prefix);
  server.read();
  for (const llama_seq_id s : {1, 2, 3}) server.copy(0, s);
  for (llama_seq_id s = 0; s < 4; ++s) server.append(s, tails[static_cast<std::size_t>(s)]);
  for (int i = 0; i < 12; ++i) server.step();
  for (std::size_t s = 0; s < 4; ++s) {
    CAPTURE(s);
    std::vector<TokenId> prompt = prefix;
    prompt.insert(prompt.end(), tails[s].begin(), tails[s].end());
    CHECK(server.written(static_cast<llama_seq_id>(s)) == alone(both, options[s], prompt, 12));
  }
}

TEST_CASE("a text that is copied within goes on twice with the prompt as its context") {
  test::Both both;
  const std::vector<llama_cpp::GuestOptions> options = {{.mode = Activation{.context = {.info_layer = 3}}},
                                                        {.mode = Activation{.alpha = 4, .context = {.info_layer = 3}}},
                                                        {.mode = Dola{.candidate_layers = {0, 1, 2, 3}}}};
  const std::vector<TokenId> prompt = test::tiny_prompts(20)[6];
  Server server(both, options);
  server.begin(0, prompt);
  for (int i = 0; i < 5; ++i) server.step();
  const std::vector<TokenId> written = server.written(0);
  server.copy(0, 1);
  server.copy(0, 2);
  CHECK(server.guests().guest(1).context_size() == std::ssize(prompt));
  for (int i = 0; i < 12; ++i) server.step();
  CHECK(server.written(0) == alone(both, options[0], prompt, 17));
  CHECK(server.written(1) == goes_on(both, options[1].mode, prompt, written, 12));
  CHECK(server.written(2) == goes_on(both, options[2].mode, prompt, written, 12));
  CHECK(server.written(1) != server.written(0));
  CHECK(server.written(2) != server.written(0));
}

TEST_CASE("a copy that its guest cannot read is refused, and leaves nothing") {
  test::Both both;
  Server server(both, {{.mode = Activation{.context = {.info_layer = 3}}},
                       {.mode = Activation{.context = {.info_layer = 2}}},
                       {.mode = Activation{.context = {.info_layer = 3}}}});
  const std::vector<TokenId> prompt = test::tiny_prompts(20)[6];
  const std::string size = std::to_string(prompt.size());
  const auto copy = [&](llama_seq_id from, llama_seq_id to) { return complaint([&] { server.copy(from, to); }); };
  llama_memory_t memory = llama_get_memory(server.context());
  CHECK(copy(0, 2) == "accepted");  // of nothing
  server.begin(0, prompt);
  server.read();
  CHECK(copy(0, 1).starts_with("copied context: llama.cpp's memory holds " + size +
                               " positions, and the guest has states of layer 2 at none: "));
  server.append(0, {4});
  server.step();
  CHECK(copy(0, 1) == "copied context: its guest reads layer 3, and the copy's layer 2");
  CHECK(llama_memory_seq_pos_max(memory, 1) == -1);
  CHECK(copy(0, 3) == "Guests: sequence 3 has no guest, those of 0..2 have");
  CHECK(copy(-1, 1) == "Guests: sequence -1 has no guest, those of 0..2 have");
  CHECK(copy(0, 0) == "accepted");
  // Past the guests.
  llama_memory_seq_cp(memory, 0, 2, -1, -1);
  Batch batch;
  batch.add(4, std::ssize(prompt) + 1, {2}, true);
  REQUIRE(server.guests().decode(server.context(), batch.get()) == 0);
  llama_sampler_sample(server.chain(2), server.context(), 0);
  const std::string complained = complaint([&] { server.guests().check(); });
  CHECK(complained.find("and the guest has states of layer 3 at ") != std::string::npos);
  CHECK(complained.find("copies are made by copy_sequence()") != std::string::npos);
}

TEST_CASE("a copy past the guests over an older prompt is seen, whatever its length") {
  test::Both both;
  const std::vector<llama_cpp::GuestOptions> options = {{.mode = Activation{.context = {.info_layer = 3}}},
                                                        {.mode = Activation{.context = {.info_layer = 3}}}};
  const std::vector<TokenId> older = test::tiny_prompts(20)[6];
  struct Form {
    const char* name;
    std::size_t shared;  // tokens that are copied
    bool first_removed;  // so that the new ones take the older ones' cells
    bool attention;      // llama.cpp's flash attention, and a cache in f16
  };
  for (const Form& form :
       {Form{"shorter", older.size() - 5, false, false}, Form{"as long", older.size(), false, false},
        Form{"as long as all", older.size() + 3, false, false}, Form{"longer", older.size() + 9, false, false},
        Form{"in its cells", older.size() - 5, true, false}, Form{"flash attention", older.size() - 5, false, true}}) {
    CAPTURE(form.name);
    Server server(both, options, form.attention);
    llama_memory_t memory = llama_get_memory(server.context());
    server.begin(1, older);
    for (int i = 0; i < 4; ++i) server.step();  // three are in the memory
    if (form.first_removed) llama_memory_seq_rm(memory, 1, -1, -1);
    std::vector<TokenId> shared;
    for (std::size_t i = 0; i < form.shared; ++i) shared.push_back(static_cast<TokenId>((71 * i + 19) % 320));
    server.begin(0, shared);
    server.read();
    llama_memory_seq_rm(memory, 1, -1, -1);
    llama_memory_seq_cp(memory, 0, 1, -1, -1);
    server.go_on(0, 1);
    for (const llama_seq_id s : {0, 1}) server.append(s, {17, 4, 250});
    const std::string complained = complaint([&] { server.step(); });
    CHECK(complained.find("and the guest has states of layer 3 at ") != std::string::npos);
    CHECK(complained.find("copies are made by copy_sequence()") != std::string::npos);
    if (form.attention) continue;
    // The same by copy_sequence().
    server.begin(1, older);
    server.read();
    server.begin(0, shared);
    server.read();
    server.copy(0, 1);
    for (const llama_seq_id s : {0, 1}) server.append(s, {17, 4, 250});
    for (int i = 0; i < 8; ++i) server.step();
    shared.insert(shared.end(), {17, 4, 250});
    for (const llama_seq_id s : {0, 1}) CHECK(server.written(s) == alone(both, options[0], shared, 8));
  }
}

TEST_CASE("texts of one prompt may change places past the guests, as beams do") {
  test::Both both;
  const std::vector<llama_cpp::GuestOptions> options = {{.mode = Activation{.context = {.info_layer = 3}}},
                                                        {.mode = Activation{.alpha = 4, .context = {.info_layer = 3}}}};
  const std::vector<TokenId> prompt = test::tiny_prompts(20)[6];
  Server server(both, options);
  server.begin(0, prompt);
  server.step();
  server.copy(0, 1);
  for (int i = 0; i < 5; ++i) server.step();
  const std::vector<TokenId> written = server.written(0);
  CHECK(server.written(1) != written);
  llama_memory_t memory = llama_get_memory(server.context());
  llama_memory_seq_rm(memory, 1, -1, -1);
  llama_memory_seq_cp(memory, 0, 1, -1, -1);
  server.go_on(0, 1);
  for (int i = 0; i < 6; ++i) server.step();
  CHECK(server.written(0) == alone(both, options[0], prompt, 12));
  CHECK(server.written(1) == goes_on(both, options[1].mode, prompt, written, 6));
}

TEST_CASE("guests refuse by name what nobody has told them") {
  test::Both both;
  const std::vector<TokenId> prompt = test::tiny_prompts(20)[1];
  llama_cpp::Guests guests(both.model.get(), both.path, {{}, {}});
  llama_context_params params = test::exact_params();
  CHECK(complaint([&] { guests.attach(params); }) == "Guests: n_seq_max is 1, and there are guests of 2 sequences");
  params.n_seq_max = 3;
  params.kv_unified = false;
  CHECK(complaint([&] {
          guests.attach(params);
        }).starts_with("Guests: kv_unified must be true: llama.cpp takes batches of sequences apart"));
  params.kv_unified = true;
  guests.attach(params);
  CHECK(complaint([&] { guests.attach(params); }).starts_with("Guests: cb_eval of these context parameters is taken"));
  const llama_context_ptr context(llama_init_from_model(both.model.get(), params));
  CHECK(complaint([&] { (void)guests.sampler(context.get(), 2); }) ==
        "Guests: sequence 2 has no guest, those of 0..1 have");
  const llama_sampler_ptr chain = test::greedy_chain(guests.sampler(context.get(), 0));
  const llama_sampler_ptr other = test::greedy_chain(guests.sampler(context.get(), 1));
  Batch batch;
  batch.add(5, 0, {2}, true);
  CHECK(complaint([&] { guests.decode(context.get(), batch.get()); }) ==
        "Guests: sequence 2 has no guest, those of 0..1 have");
  std::vector<TokenId> ids = prompt;
  CHECK(complaint([&] { guests.decode(context.get(), llama_batch_get_one(ids.data(), 3)); }) ==
        "Guests: the batch must say pos and seq_id of its tokens");
  // llama_decode() by itself.
  test::decode(context.get(), prompt, 0);
  CHECK(complaint([&] { guests.check(); }) ==
        "Guests: llama_decode() was called past decode(), and nobody knows whose rows it computes");
  llama_memory_clear(llama_get_memory(context.get()), true);
  // A sequence that was not in the last batch.
  batch.clear();
  batch.add(5, 0, {0}, true);
  REQUIRE(guests.decode(context.get(), batch.get()) == 0);
  llama_sampler_sample(other.get(), context.get(), 0);
  CHECK(complaint([&] { guests.check(); }) == "the context has no logits of a last token");
  llama_sampler_sample(chain.get(), context.get(), 0);
  CHECK(complaint([&] { guests.check(); }) == "accepted");
}
