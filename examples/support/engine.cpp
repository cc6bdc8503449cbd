// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "support/engine.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <optional>
#include <utility>
#include <variant>

#include "activation_trace/generation/amateur.hpp"
#include "activation_trace/generation/generate.hpp"
#include "activation_trace/generation/score.hpp"
#include "activation_trace/model/llama.hpp"
#include "activation_trace/tokenizer/load_tokenizer.hpp"
#include "activation_trace/tokenizer/stream_decoder.hpp"
#include "support/memory_limit.hpp"

namespace activation_trace::examples {
namespace {

/// Throws Error for options that take more memory than the machine has, or the program's control group may use: before
/// it is asked for, because a system that promises more than it has ends the program when the memory is used.
void check_memory(const LlamaConfig& config, const LlamaOptions& options) {
  const double needed = llama_memory(config, options);
  const double machine = machine_memory();
  const double limit = control_group_limit();
  const double there = std::min(machine, limit);
  if (needed <= there || options.max_context > config.max_context) return;  // the model itself refuses the latter
  char sizes[128];
  std::snprintf(sizes, sizeof sizes, " takes %.3g GiB of memory, and this %s %.3g; give a smaller -c", needed / 0x1p30,
                limit < machine ? "program's control group (cgroup) may use" : "machine has", there / 0x1p30);
  const std::string positions = "a context of " + std::to_string(options.max_context) + " positions";
  throw Error(config.source + ": " +
              (options.sequences == 1 ? positions + sizes
                                      : positions + " for each of " + std::to_string(options.sequences) +
                                            " texts at once" + sizes + ", or fewer texts at once"));
}

/// A student that is loaded.
class Student {
 public:
  /// `memory` is that of the model with this vocabulary, and on its `execution`, which must outlive this object. Throws
  /// what load_llama() throws, Error for more memory than there is.
  Student(const StudentSettings& settings, FileAccess access, Index vocab, const LlamaOptions& memory,
          Execution<Host>& execution) {
    if (!settings.is_model()) {
      amateur_ = std::make_unique<NgramAmateur>(vocab, NgramOptions{}, memory.sequences);
      return;
    }
    checkpoint_ = load_llama(settings.name, access);
    check_memory(checkpoint_.config, memory);
    model_.emplace(checkpoint_.config, checkpoint_.weights, memory, execution);
    amateur_ = std::make_unique<ModelAmateur<Llama<>>>(
        *model_, settings.ignore_prefix ? AmateurPrompt::last_token : AmateurPrompt::whole);
  }

  [[nodiscard]] Amateur& amateur() const { return *amateur_; }

 private:
  Checkpoint checkpoint_;
  std::optional<Llama<>> model_;
  std::unique_ptr<Amateur> amateur_;
};

/// Today, here: some templates write it.
std::chrono::year_month_day today() {
  const std::time_t now = std::time(nullptr);
  std::tm day{};
  (void)localtime_r(&now, &day);
  return std::chrono::year{1900 + day.tm_year} / (day.tm_mon + 1) / day.tm_mday;
}

}  // namespace

/// What computes: the one place for another model, device or library beside this one.
struct Engine::Running {
  Execution<Host> execution;
  Llama<> model;
  std::optional<Student> student;

  Running(const Checkpoint& checkpoint, const LlamaOptions& options, int threads, Isa isa)
      : execution(threads, isa), model(checkpoint.config, checkpoint.weights, options, execution) {}
};

Engine::Engine(const ModelSettings& settings, const StudentSettings& student)
    : settings_(settings),
      student_(student),
      checkpoint_(load_llama(settings.path, settings.access)),
      tokenizer_(load_tokenizer(checkpoint_)) {}

Engine::~Engine() = default;

ChatTemplate Engine::chat_template(const std::optional<std::chrono::year_month_day>& date) const {
  const auto text_of = [&](TokenId id) { return id < 0 ? std::string() : std::string(tokenizer_.piece(id)); };
  ChatWords words{.bos = text_of(tokenizer_.bos()), .eos = text_of(tokenizer_.eos()), .today = today()};
  if (date) {
    words.today = date;
    words.date = activation_trace::detail::date_text(activation_trace::detail::ChatDate::today, date, std::nullopt);
  }
  return ChatTemplate::recognise(tokenizer_.settings().chat_template, std::move(words));
}

std::vector<TokenId> Engine::encode(std::string_view text) const {
  std::vector<TokenId> ids = tokenizer_.encode_prompt(text);
  if (tokenizer_.settings().add_eos) ids.pop_back();
  return ids;
}

nlohmann::ordered_json Engine::program() const {
#ifdef __clang__
  const char* compiler = __VERSION__;
#else
  const char* compiler = "gcc " __VERSION__;
#endif
  return {{"version", version_text()}, {"compiler", compiler}, {"isa", name(isa_)}};
}

Index Engine::context(Index needed) const {
  return settings_.context != 0 ? settings_.context : std::min(needed, config().max_context);
}

void Engine::reserve(Index context, Index sequences) {
  const LlamaOptions memory{.max_context = context, .max_batch = settings_.batch, .sequences = sequences};
  check_memory(checkpoint_.config, memory);
  running_.reset();  // never two caches at once
  running_ = std::make_unique<Running>(checkpoint_, memory, settings_.threads, isa_);
  if (!student_.name.empty())
    running_->student.emplace(student_, settings_.access, config().vocab, memory, running_->execution);
}

Engine::Running& Engine::running() const {
  if (running_ == nullptr) throw StateError("Engine: reserve() was not called");
  return *running_;
}

Companions Engine::with(const Mode& mode, PrefixCache* prefix) const {
  const std::optional<Student>& student = running().student;
  const bool subtracted = student && needs_amateur(mode);
  return {.prefix = prefix, .amateur = subtracted ? &student->amateur() : nullptr};
}

std::vector<ContinuationScore> Engine::score(std::string_view prompt, std::span<const std::string> continuations,
                                             const ScoreOptions& options, const ScoreCallbacks& callbacks,
                                             PrefixCache* prefix) {
  return score_text(running().model, tokenizer_, prompt, continuations, options, callbacks, with(options.mode, prefix));
}

std::vector<LayerEntropies> Engine::layer_entropies(std::string_view prompt, std::span<const std::string> continuations,
                                                    std::span<const Index> layers, const ScoreOptions& options,
                                                    const ScoreCallbacks& callbacks, PrefixCache* prefix) {
  return layer_entropies_of_text(running().model, tokenizer_, prompt, continuations, layers, options, callbacks,
                                 with(options.mode, prefix));
}

std::vector<GenerationResult> Engine::generate(std::span<const std::vector<TokenId>> prompts,
                                               const GenerationOptions& options, const GenerationCallbacks& callbacks,
                                               PrefixCache* prefix) {
  return generate_batch(
      running().model, [&] { return StreamDecoder(tokenizer_); }, prompts, options, callbacks,
      with(options.mode, prefix));
}

std::vector<GenerationResult> Engine::generate_grid(std::span<const TokenId> prompt, std::span<const GridPoint> points,
                                                    const GenerationOptions& options,
                                                    const GenerationCallbacks& callbacks, PrefixCache* prefix) {
  return activation_trace::generate_grid(
      running().model, [&] { return StreamDecoder(tokenizer_); }, prompt, points, options, callbacks,
      with(options.mode, prefix));
}

ActivationMaps Engine::activation_maps(std::span<const TokenId> prompt, std::span<const TokenId> ids,
                                       ActivationMapOptions options, bool normalised,
                                       const std::function<void(Index done, Index total)>& on_progress) {
  if (normalised) options.final_norm = running().model.final_norm();
  return activation_trace::activation_maps(running().model, prompt, ids, options, on_progress);
}

}  // namespace activation_trace::examples
