// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "support/engine.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "activation_trace/generation/amateur.hpp"
#include "activation_trace/generation/generate.hpp"
#include "activation_trace/generation/score.hpp"
#include "activation_trace/model/llama.hpp"
#include "activation_trace/ops/fast_matmul.hpp"
#include "activation_trace/tokenizer/stream_decoder.hpp"
#include "support/checkpoint_model.hpp"
#include "support/loaded_model.hpp"
#include "support/memory_limit.hpp"

namespace activation_trace::examples {
namespace {

/// Our own engine.
class OwnModel final : public CheckpointModel {
 public:
  using CheckpointModel::CheckpointModel;

  [[nodiscard]] std::unique_ptr<AnyModel> run(Index context, Index sequences, Execution<Host>& execution) override {
    const LlamaOptions memory = options(context, sequences);
    if (context <= shape().max_context)  // what is longer the model itself refuses
      check_memory(checkpoint().config.source, llama_memory(checkpoint().config, memory), context, sequences);
    return std::make_unique<ModelOf<Llama<>>>(shape(), context, checkpoint().config, checkpoint().weights, memory,
                                              execution);
  }
};

/// A file beside the program, which holds an engine: what does not ask for it runs without its libraries.
std::filesystem::path beside_program(const char* file) {
  return std::filesystem::canonical("/proc/self/exe").parent_path() / file;
}

/// A model by the engine in `file`, which `option` asks for.
std::unique_ptr<LoadedModel> load_by(const char* file, const std::string& option, const ModelSettings& settings) {
  // For good: what it makes may live as long as the program.
  void* engine = dlopen(beside_program(file).c_str(), RTLD_NOW);
  if (engine == nullptr) throw Error(option + ": " + std::string(dlerror()));
  auto* make = reinterpret_cast<LoadModel*>(dlsym(engine, kLoadModel));
  if (make == nullptr) throw Error(option + ": " + std::string(dlerror()));
  return std::unique_ptr<LoadedModel>(make(settings));
}

std::unique_ptr<LoadedModel> load(const ModelSettings& settings) {
  if (settings.engine == EngineName::llama_cpp) {
    check_engine_is_there(settings.engine);
    return load_by(ACTIVATION_TRACE_LLAMA_CPP_ENGINE, "--engine llama.cpp", settings);
  }
  if (settings.cuda_device) return load_by(ACTIVATION_TRACE_CUDA_ENGINE, "--device cuda", settings);
  return std::make_unique<OwnModel>(settings);
}

/// A student that is loaded.
class Student {
 public:
  /// `model` says how it is run, with the memory of the model with this vocabulary, and on its `execution`, which must
  /// outlive this object. Throws what load() throws, Error for more memory than there is.
  Student(const StudentSettings& settings, ModelSettings model, Index vocab, Index context, Index sequences,
          Execution<Host>& execution) {
    if (!settings.is_model()) {
      amateur_ = std::make_unique<NgramAmateur>(vocab, NgramOptions{}, sequences);
      return;
    }
    model.path = settings.name;
    if (settings.engine) model.engine = *settings.engine;
    loaded_ = load(model);
    model_ = loaded_->run(context, sequences, execution);
    amateur_ = std::make_unique<ModelAmateur<AnyModel>>(
        *model_, settings.ignore_prefix ? AmateurPrompt::last_token : AmateurPrompt::whole);
  }

  [[nodiscard]] Amateur& amateur() const { return *amateur_; }

 private:
  std::unique_ptr<LoadedModel> loaded_;
  std::unique_ptr<AnyModel> model_;
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

void check_engine_is_there(EngineName engine) {
  if (engine == EngineName::llama_cpp && !std::filesystem::exists(beside_program(ACTIVATION_TRACE_LLAMA_CPP_ENGINE)))
    throw UsageError(
        "--engine llama.cpp: this program was built without llama.cpp; examples/get_llama_cpp.sh builds it, and a new "
        "build of this project finds it");
}

bool cuda_engine_is_there() { return std::filesystem::exists(beside_program(ACTIVATION_TRACE_CUDA_ENGINE)); }

/// What computes.
struct Engine::Running {
  Execution<Host> execution;
  std::unique_ptr<AnyModel> model;
  std::optional<Student> student;

  Running(LoadedModel& loaded, Index context, Index sequences, int threads, Isa isa)
      : execution(threads, isa), model(loaded.run(context, sequences, execution)) {}
};

Engine::Engine(const ModelSettings& settings, const StudentSettings& student)
    : settings_(settings),
      student_(student),
      loaded_(load(settings)),
      shape_(loaded_->shape()),
      tokenizer_(loaded_->tokenizer()) {}

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
  std::string isa(name(isa_));
  if (settings_.arithmetic == Arithmetic::fast && rounds_bf16(isa_)) isa += " with BF16";
  nlohmann::ordered_json program{{"version", version_text()}, {"compiler", compiler}, {"isa", isa}};
  program.update(loaded_->identity());
  return program;
}

Index Engine::context(Index needed) const {
  return settings_.context != 0 ? settings_.context : std::min(needed, config().max_context);
}

void Engine::reserve(Index context, Index sequences) {
  running_.reset();  // never two caches at once
  running_ = std::make_unique<Running>(*loaded_, context, sequences, settings_.threads, isa_);
  if (!student_.name.empty())
    running_->student.emplace(student_, settings_, config().vocab, context, sequences, running_->execution);
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
  return score_text(*running().model, tokenizer_, prompt, continuations, options, callbacks,
                    with(options.mode, prefix));
}

std::vector<LayerEntropies> Engine::layer_entropies(std::string_view prompt, std::span<const std::string> continuations,
                                                    std::span<const Index> layers, const ScoreOptions& options,
                                                    const ScoreCallbacks& callbacks, PrefixCache* prefix) {
  return layer_entropies_of_text(*running().model, tokenizer_, prompt, continuations, layers, options, callbacks,
                                 with(options.mode, prefix));
}

std::vector<GenerationResult> Engine::generate(std::span<const std::vector<TokenId>> prompts,
                                               const GenerationOptions& options, const GenerationCallbacks& callbacks,
                                               PrefixCache* prefix) {
  return generate_batch(
      *running().model, [&] { return StreamDecoder(tokenizer_); }, prompts, options, callbacks,
      with(options.mode, prefix));
}

std::vector<GenerationResult> Engine::generate_grid(std::span<const TokenId> prompt, std::span<const GridPoint> points,
                                                    const GenerationOptions& options,
                                                    const GenerationCallbacks& callbacks, PrefixCache* prefix) {
  return activation_trace::generate_grid(
      *running().model, [&] { return StreamDecoder(tokenizer_); }, prompt, points, options, callbacks,
      with(options.mode, prefix));
}

ActivationMaps Engine::activation_maps(std::span<const TokenId> prompt, std::span<const TokenId> ids,
                                       ActivationMapOptions options, bool normalised,
                                       const std::function<void(Index done, Index total)>& on_progress) {
  if (normalised) options.final_norm = running().model->final_norm();
  return activation_trace::activation_maps(*running().model, prompt, ids, options, on_progress);
}

}  // namespace activation_trace::examples
