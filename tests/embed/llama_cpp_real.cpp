// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <ggml-cpu.h>
#include <strings.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "activation_trace/embed/llama_cpp.hpp"
#include "activation_trace/embed/llama_cpp_model.hpp"
#include "activation_trace/formats/checkpoint.hpp"
#include "activation_trace/model/llama.hpp"
#include "activation_trace/processors/argmax.hpp"
#include "activation_trace/tokenizer/load_tokenizer.hpp"
#include "embed/agreement.hpp"
#include "embed/llama_cpp_engine.hpp"
#include "parity/golden.hpp"
#include "support/real_model.hpp"

// Real models with their quantised weights in llama.cpp as it is set up by default, an f16 cache and activations of
// eight bits, beside our own engine: every place where the two choose another token is one where the choice hangs on
// less than the two differ by elsewhere. Both read the text that our engine writes, so that no difference hides what
// follows it. A short run of SmolLM2; the whole by ACTIVATION_TRACE_GUEST_RUN="20 64 SmolLM2 dola": prompts, tokens of
// each, what the names of the models begin with, and what the names of the modes contain, if not all are wanted.
namespace activation_trace::test {
namespace {

/// llama.cpp's defaults but for the threads, of which it takes four wherever it is.
llama_context_params default_params() {
  llama_context_params params = llama_context_default_params();
  params.n_ctx = params.n_batch = 768;
  params.n_threads = params.n_threads_batch = 1;
  return params;
}

/// What is said of a text's next tokens, by step.
struct Sayings {
  std::vector<Saying> steps;
  std::vector<TokenId> text;
};

struct Run {
  const char* name;
  Mode mode;
};

std::vector<Run> all_runs(Index layers) {
  const std::vector<Index> early = dola_layers(DolaBucket::low, layers, Embeddings::tied);
  const ContextOptions norm{.final_norm = true};
  return {{"greedy", Baseline{}},
          {"activation", Activation{}},
          {"activation, final_norm", Activation{.context = norm}},
          {"dola_static", DolaStatic{.premature_layer = layers / 2}},
          {"dola", Dola{.candidate_layers = early}},
          {"activation_dola", ActivationDola{.context = norm, .candidate_layers = early}}};
}

/// What a model says of each token of `text`, or of what it would write itself where that is empty.
template <LanguageModel Model>
Sayings sayings_of(Model& model, const Mode& mode, std::span<const TokenId> prompt, std::vector<TokenId> text,
                   Index count) {
  const auto& config = model.config();
  const std::vector<Index> layers = activation_trace::detail::exit_layers(mode, config.layers);
  const std::span<const Index> early = std::span(layers).subspan(1);
  const ContextOptions* context = context_of(mode);
  std::optional<FinalNorm> norm;
  if (context != nullptr && context->final_norm) norm = model.final_norm();
  ModeProcessor processor(mode, {}, norm, early, config.vocab, model.execution());
  LayerObserver<> observer;
  observer.on_states = [&](Index, Index, MatrixView<const float> states) {
    processor.observe_context(states, model.lm_head());
  };
  if (context != nullptr)
    observer.layers = {activation_trace::detail::resolve_info_layer(context->info_layer, config.layers)};
  std::vector<float> logits(layers.size() * static_cast<std::size_t>(config.vocab));
  const MatrixView<const float> rows(logits.data(), {std::ssize(layers), config.vocab});
  model.rewind(0);
  Sayings result;
  const bool writes = text.empty();
  for (Index i = 0; i < count; ++i) {
    const SequencePiece<> piece{0, i == 0 ? prompt : std::span(text).subspan(static_cast<std::size_t>(i - 1), 1),
                                i == 0 && context != nullptr ? &observer : nullptr};
    model.early_exit(std::span(&piece, 1), layers, {logits.data(), {1, std::ssize(layers), config.vocab}});
    const StepLogits step{.mature = rows.row(0).span(), .early = rows.slice(0, 1, std::ssize(layers))};
    std::vector<float> scores(step.mature.begin(), step.mature.end());
    if (!processor.plain()) processor.process(step, scores);
    result.steps.emplace_back(step.mature, scores, divergences_of(mode, early, step));
    if (writes) text.push_back(static_cast<TokenId>(argmax(scores)));
  }
  result.text = std::move(text);
  return result;
}

/// What a guest in llama.cpp makes of each token of `text`.
Sayings sayings_of_guest(llama_model* model, const std::filesystem::path& path, const Mode& mode,
                         std::span<const TokenId> prompt, std::span<const TokenId> text) {
  llama_cpp::GuestOptions options{.mode = mode};
  if (std::holds_alternative<Baseline>(mode)) options.record = RecordOptions{};
  llama_cpp::Guest guest(model, llama_cpp::open_lm_head(path), options);
  llama_context_params params = default_params();
  guest.attach(params);
  const llama_context_ptr context(llama_init_from_model(model, params));
  const llama_sampler_ptr sampler(guest.sampler(context.get()));
  const auto vocab = static_cast<std::size_t>(llama_vocab_n_tokens(llama_model_get_vocab(model)));
  Sayings result;
  decode(context.get(), prompt, 0);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::span<const float> row(llama_get_logits_ith(context.get(), -1), vocab);
    std::vector<llama_token_data> data;
    for (std::size_t v = 0; v < vocab; ++v) data.push_back({static_cast<llama_token>(v), row[v], 0});
    llama_token_data_array candidates{data.data(), vocab, -1, false};
    llama_sampler_apply(sampler.get(), &candidates);
    guest.check();
    std::vector<float> scores(vocab, -std::numeric_limits<float>::infinity());
    for (std::size_t k = 0; k < candidates.size; ++k)
      scores[static_cast<std::size_t>(candidates.data[k].id)] = candidates.data[k].logit;
    result.steps.emplace_back(row, scores, std::vector<double>());
    decode(context.get(), text.subspan(i, 1), static_cast<Index>(prompt.size() + i));
  }
  return result;
}

/// A state as llama.cpp's kernels round it for a product with weights of a type that GGUF calls `type`.
std::vector<float> rounded(std::span<const float> state, const std::string& type) {
  constexpr std::int64_t block = 256;  // of Q8_K: a scale, its values, and their sums by sixteen
  constexpr std::size_t block_bytes = sizeof(float) + block + block / 16 * sizeof(std::int16_t);
  int weight = 0;
  while (weight < GGML_TYPE_COUNT && strcasecmp(ggml_type_name(static_cast<ggml_type>(weight)), type.c_str()) != 0)
    ++weight;
  if (weight == GGML_TYPE_COUNT) throw std::runtime_error("ggml knows no type " + type);
  const ggml_type to = ggml_get_type_traits_cpu(static_cast<ggml_type>(weight))->vec_dot_type;
  const auto count = static_cast<std::int64_t>(state.size());
  std::vector<char> bytes(ggml_row_size(to, count));
  ggml_get_type_traits_cpu(to)->from_float(state.data(), bytes.data(), count);
  std::vector<float> result(state.size());
  if (to != GGML_TYPE_Q8_K) {
    ggml_get_type_traits(to)->to_float(bytes.data(), result.data(), count);
    return result;
  }
  REQUIRE(ggml_row_size(to, block) == block_bytes);
  for (std::int64_t i = 0; i < count; ++i) {
    const char* begin = bytes.data() + static_cast<std::size_t>(i / block) * block_bytes;
    float scale = 0;
    std::memcpy(&scale, begin, sizeof(scale));
    result[static_cast<std::size_t>(i)] =
        scale *
        static_cast<float>(static_cast<signed char>(begin[sizeof(scale) + static_cast<std::size_t>(i % block)]));
  }
  return result;
}

/// Of the last position of a prompt, from llama.cpp's row and in parts of its largest: head times result_norm as it is,
/// and rounded as llama.cpp does.
struct HeadErrors {
  double plain = 0;
  double rounded = 0;
};

HeadErrors head_errors(llama_model* model, const std::filesystem::path& path, std::span<const TokenId> prompt) {
  const LmHeadFile file = llama_cpp::open_lm_head(path);
  const FileTensor* matrix = file.gguf->find_tensor("output.weight");
  if (matrix == nullptr) matrix = file.gguf->find_tensor("token_embd.weight");
  llama_cpp::LayerTap tap(model);
  llama_context_params params = default_params();
  tap.attach(params);
  const llama_context_ptr context(llama_init_from_model(model, params));
  tap.read(context.get(), 0);
  tap.keep(file.blocks, llama_cpp::Keep::last_row);
  decode(context.get(), prompt, 0);
  const float* row = llama_get_logits_ith(context.get(), -1);
  const auto error = [&](std::span<const float> state) {
    std::vector<float> found(static_cast<std::size_t>(file.head.vocab()));
    Execution<Host> execution(1);
    Buffer<float> memory;
    file.head.logits(execution, as_matrix(state, 1, file.head.hidden()),
                     as_matrix(std::span(found), 1, file.head.vocab()), memory);
    double worst = 0;
    double largest = 0;
    for (std::size_t v = 0; v < found.size(); ++v) {
      worst = std::max(worst, std::abs(static_cast<double>(found[v]) - static_cast<double>(row[v])));
      largest = std::max(largest, std::abs(static_cast<double>(row[v])));
    }
    return worst / largest;
  };
  const std::span<const float> state = tap.states(file.blocks).row(0).span();
  return {error(state), error(rounded(state, std::string(matrix->type)))};
}

class RealModel {
 public:
  explicit RealModel(const std::filesystem::path& path)
      : path_(path), checkpoint_(load_llama(path)), engine_(load_llama_cpp(path)) {}

  void compare(std::size_t prompts, Index tokens, const std::string& modes) {
    const Tokenizer tokenizer = load_tokenizer(checkpoint_);
    std::vector<std::vector<TokenId>> texts;
    for (const GoldenPrompt& prompt : golden_prompts()) {
      if (texts.size() == prompts) break;
      texts.push_back(tokenizer.encode_prompt(prompt.text, SpecialTokens::parse));
      CHECK(texts.back() == ids_of_llama_cpp(prompt.text));
    }
    HeadErrors worst;
    for (const std::vector<TokenId>& text : texts) {
      const HeadErrors errors = head_errors(engine_.get(), path_, text);
      worst = {std::max(worst.plain, errors.plain), std::max(worst.rounded, errors.rounded)};
    }
    std::printf(
        "%s: %zu prompts x %d tokens; head times result_norm %.1e of the largest logit, of the state in llama.cpp's "
        "eight bits %.1e\n",
        path_.filename().c_str(), texts.size(), static_cast<int>(tokens), worst.plain, worst.rounded);
    std::fflush(stdout);
    CHECK(worst.plain < 0.05);
    CHECK(worst.rounded < 1e-4);  // which is all that the two differ by
    for (const Run& run : all_runs(checkpoint_.config.layers))
      if (std::string_view(run.name).find(modes) != std::string_view::npos) compare(run, texts, tokens);
  }

 private:
  void compare(const Run& run, const std::vector<std::vector<TokenId>>& prompts, Index tokens) {
    CAPTURE(run.name);
    Agreement agreement;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      CAPTURE(i);
      const Sayings own = sayings_of(own_, run.mode, prompts[i], {}, tokens);
      const Sayings engine = sayings_of(model_, run.mode, prompts[i], own.text, tokens);
      const Sayings guest = sayings_of_guest(engine_.get(), path_, run.mode, prompts[i], own.text);
      for (std::size_t k = 0; k < own.text.size(); ++k) {
        CAPTURE(k);
        CHECK(guest.steps[k].same_as(engine.steps[k]));  // the same states and the same head in both
        agreement.add(own.steps[k], engine.steps[k]);
      }
    }
    const Agreement::Result result = agreement.explain();
    std::printf("  %-22s %s\n", run.name, result.text.c_str());
    std::fflush(stdout);
    CHECK(result.unexplained == 0);
  }

  [[nodiscard]] std::vector<TokenId> ids_of_llama_cpp(const std::string& text) const {
    std::vector<TokenId> ids(text.size() + 2);
    const int count =
        llama_tokenize(llama_model_get_vocab(engine_.get()), text.data(), static_cast<std::int32_t>(text.size()),
                       ids.data(), static_cast<std::int32_t>(ids.size()), true, true);
    ids.resize(static_cast<std::size_t>(std::max(count, 0)));
    return ids;
  }

  std::filesystem::path path_;
  Checkpoint checkpoint_;
  Execution<Host> execution_{1};
  Llama<> own_{checkpoint_.config, checkpoint_.weights, {.max_context = 768}, execution_};
  llama_model_ptr engine_;
  LlamaCppModel model_{engine_.get(), llama_cpp::open_lm_head(path_), default_params(), execution_};
};

}  // namespace

TEST_CASE("real models in llama.cpp: where another token is chosen, the choice hangs on less than rounding is") {
  const std::filesystem::path smollm2 = real_model_or_skip();
  // examples/get_model.sh NAME fetches the others.
  const std::array<std::string, 4> names = {smollm2.filename().string(), "gemma-3-270m-q4_k_m.gguf",
                                            "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
                                            "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"};
  std::size_t prompts = 4;
  Index tokens = 12;
  std::string begin = names.front();
  std::string modes;
  if (const char* run = std::getenv("ACTIVATION_TRACE_GUEST_RUN"))
    std::istringstream(run) >> prompts >> tokens >> begin >> modes;
  for (const std::string& name : names) {
    const std::filesystem::path path = smollm2.parent_path() / name;
    if (name.starts_with(begin) && std::filesystem::exists(path)) RealModel(path).compare(prompts, tokens, modes);
  }
}

}  // namespace activation_trace::test
