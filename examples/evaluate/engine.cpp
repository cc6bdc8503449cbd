// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/engine.hpp"

#include <optional>
#include <utility>

#include "activation_trace/generation/generate.hpp"
#include "activation_trace/generation/score.hpp"
#include "activation_trace/model/llama.hpp"
#include "activation_trace/tokenizer/load_tokenizer.hpp"
#include "activation_trace/tokenizer/stream_decoder.hpp"
#include "support/memory.hpp"

namespace activation_trace::examples {

struct Engine::Running {
  Execution<Host> execution;
  Llama model;
  std::optional<Student> student;

  Running(const Checkpoint& checkpoint, const LlamaOptions& options, int threads, Isa isa)
      : execution(threads, isa), model(checkpoint.config, checkpoint.weights, options, execution) {}
};

Engine::Engine(const ModelSettings& settings, const StudentSettings& student)
    : settings_(settings),
      student_(student),
      checkpoint_(load_llama(settings.path, settings.access)),
      tokenizer_(load_tokenizer(settings.path).for_model(checkpoint_.config.vocab)) {}

Engine::~Engine() = default;

nlohmann::ordered_json Engine::program() const {
#ifdef __clang__
  const char* compiler = __VERSION__;
#else
  const char* compiler = "gcc " __VERSION__;
#endif
  return {{"version", version_text()}, {"compiler", compiler}, {"isa", name(isa_)}};
}

std::vector<TokenId> Engine::encode(std::string_view text) const {
  std::vector<TokenId> ids = tokenizer_.encode_prompt(text);
  if (tokenizer_.settings().add_eos) ids.pop_back();
  return ids;
}

std::vector<TokenId> Engine::end_tokens() const {
  std::vector<TokenId> ends = checkpoint_.config.eos;
  ends.insert(ends.end(), tokenizer_.end_tokens().begin(), tokenizer_.end_tokens().end());
  std::erase_if(ends, [&](TokenId id) { return id >= checkpoint_.config.vocab; });
  return ends;
}

void Engine::reserve(Index context, Index sequences) {
  const LlamaOptions memory{.max_context = context, .max_batch = settings_.batch, .sequences = sequences};
  check_memory(checkpoint_.config, memory);
  running_.reset();  // never two caches at once
  running_ = std::make_unique<Running>(checkpoint_, memory, settings_.threads, isa_);
  if (!student_.name.empty())
    running_->student.emplace(student_, settings_.access, checkpoint_.config.vocab, memory, running_->execution);
}

Engine::Running& Engine::running() const {
  if (running_ == nullptr) throw StateError("Engine: reserve() was not called");
  return *running_;
}

Companions Engine::with(PrefixCache* prefix) const {
  return {.prefix = prefix, .amateur = running().student ? &running().student->amateur() : nullptr};
}

std::vector<ContinuationScore> Engine::score(std::string_view prompt, std::span<const std::string> continuations,
                                             const ScoreOptions& options, const ScoreCallbacks& callbacks,
                                             PrefixCache* prefix) {
  return score_text(running().model, tokenizer_, prompt, continuations, options, callbacks, with(prefix));
}

std::vector<GenerationResult> Engine::generate(std::span<const std::vector<TokenId>> prompts,
                                               const GenerationOptions& options, const GenerationCallbacks& callbacks,
                                               PrefixCache* prefix) {
  return generate_batch(
      running().model, [&] { return StreamDecoder(tokenizer_); }, prompts, options, callbacks, with(prefix));
}

std::vector<LayerEntropies> Engine::layer_entropies(std::string_view prompt, std::span<const std::string> continuations,
                                                    std::span<const Index> layers, const ScoreOptions& options,
                                                    const ScoreCallbacks& callbacks, PrefixCache* prefix) {
  return layer_entropies_of_text(running().model, tokenizer_, prompt, continuations, layers, options, callbacks,
                                 with(prefix));
}

std::vector<GenerationResult> Engine::generate_grid(std::span<const TokenId> prompt, std::span<const GridPoint> points,
                                                    const GenerationOptions& options,
                                                    const GenerationCallbacks& callbacks, PrefixCache* prefix) {
  return activation_trace::generate_grid(
      running().model, [&] { return StreamDecoder(tokenizer_); }, prompt, points, options, callbacks, with(prefix));
}

}  // namespace activation_trace::examples
