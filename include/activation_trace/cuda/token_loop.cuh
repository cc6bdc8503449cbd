// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "activation_trace/cuda/loop_memory.cuh"
#include "activation_trace/generation/language_model.hpp"
#include "activation_trace/processors/argmax.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// The tokens of texts in sequences of a Llama<Cuda>, chosen on the device. While the host is told the texts' tokens,
/// the device reads them: the step that follows is queued before anybody knows whether it is wanted, and what it wrote
/// behind the end of a text is not counted. The mode's scores, bias, penalties and filters are made of the logits where
/// they lie, of states that never leave the device. Random numbers are those of the host's Sampler.
template <class Model>
class TokenLoop final : public TokenSource {
 public:
  /// Whether these rules are known here.
  [[nodiscard]] static bool serves(const Model& model, const TokenRules& rules) {
    const GenerationOptions& options = rules.options;
    return model.places() == 1 && model.execution().get() != nullptr &&
           model.config().vocab <= detail::most_choice_entries && rules.texts <= detail::StepRows::most &&
           ModeProcessor::serves(options.mode) &&
           (rules.context == nullptr || model.config().logits() == LogitOptions{}) &&
           std::ssize(exits_of(rules)) <= model.config().layers + 1;
  }

  /// `model` and `shared` must outlive it, and its device must be the current one. Throws as the processors, and
  /// CudaError where there is no memory.
  TokenLoop(Model& model, LoopShared& shared, const TokenRules& rules)
      : model_(model), shared_(shared), memory_(memory_for(model, shared, rules)), most_(rules.options.max_new_tokens) {
    if (rules.context != nullptr) context_ = Context{rules.context->layer, rules.context->growth};
    anything_ = may_be_anything(rules.options);
    if (const std::optional<SamplingOptions>& sampling = rules.options.sampling) {
      ProcessorChain checked;
      append_sampling(checked, *sampling);
      seed_ = sampling->seed;
      rules_ = {.sampled = true,
                .temperature = sampling->temperature,
                .top_k = sampling->top_k,
                .typical_p = sampling->typical_p,
                .top_p = sampling->top_p,
                .log_min_p = std::log(sampling->min_p)};
    }
  }
  /// Waits for what is queued.
  ~TokenLoop() override {
    for (LayerObserver<Cuda>& observer : shared_.observers) observer = {};
    try {
      model_.execution().synchronize();
    } catch (const CudaError&) {  // whoever calls next is told
    }
  }

  void begin(Index sequence, std::span<const TokenId> prompt, MatrixView<const float> known,
             std::uint64_t stream) override {
    const Execution<Cuda> device = model_.execution();
    const DeviceGuard guard(device.device());
    detail::LoopText& text = text_of(sequence);
    text.mode.reset();
    if (text.penalties) text.penalties->begin(prompt);
    set_bytes(device, text.state.view(), 0);
    detail::launch(device, "store_kernel", {detail::blocks(1), 1}, detail::store_kernel<detail::StepRow>,
                   memory_.rows.data() + sequence, detail::StepRow{-1, static_cast<int>(prompt.size()) - 1});
    text.sampler.reset();
    if (rules_.sampled) text.sampler.emplace(seed_, stream);
    std::ranges::fill(text.histogram, Index{0});
    text.tokens_queued = text.tokens_told = 0;
    text.last = -1;
    if (!context_) return;
    if (!known.empty()) {
      const Buffer<float, Cuda> states(known.size());
      const MatrixView<float, Cuda> there(const_cast<float*>(states.data()), known.extents());
      copy(device, known, there);
      text.mode.observe_context(there, lm_head());
      device.synchronize();  // before the memory is gone
    }
    shared_.observers[static_cast<std::size_t>(sequence)] = {
        .layers = {context_->layer}, .on_states = [this, &text](Index, Index, MatrixView<const float, Cuda> states) {
          text.mode.observe_context(states, lm_head());
        }};
  }

  void end_prompt(Index sequence) override {
    shared_.observers[static_cast<std::size_t>(sequence)] = {};
    const MatrixView<float, Cuda> logits = logits_of(0).slice(0, 0, shared_.last.extent(0));
    copy(model_.execution(), shared_.last, logits);
    choose(sequence, logits);
  }

  [[nodiscard]] std::span<const TokenId> next(std::span<const Index> sequences) override {
    going_.clear();
    for (const Index sequence : sequences) {
      const detail::LoopText& text = text_of(sequence);
      if (text.tokens_told > 0) model_.accept_step(text.last, sequence);
      if (text.tokens_told + 1 < most_ && model_.position(sequence) < model_.max_context()) going_.push_back(sequence);
    }
    if (!going_.empty()) queue_steps();
    ids_.clear();
    for (const Index sequence : sequences) ids_.push_back(tell(sequence));
    return ids_;
  }

  [[nodiscard]] const ChosenStep* seen(Index sequence) const override {
    const detail::LoopText& text = memory_.texts[static_cast<std::size_t>(sequence)];
    return text.mode.records() ? &text.seen : nullptr;
  }

  [[nodiscard]] std::span<const Index> layer_histogram(Index sequence) const override {
    return memory_.texts[static_cast<std::size_t>(sequence)].histogram;
  }

 private:
  struct Context {
    Index layer;
    ContextGrowth growth;
  };

  /// A step's layers: those whose logits the mode wants, and the context's where its states join it.
  static std::vector<Index> exits_of(const TokenRules& rules) {
    std::vector<Index> exits(rules.layers.begin(), rules.layers.end());
    if (rules.context != nullptr && rules.context->growth == ContextGrowth::growing &&
        std::ranges::find(exits, rules.context->layer) == exits.end())
      exits.push_back(rules.context->layer);
    return exits;
  }

  /// Whether a token may be chosen that the plausibility filter of the records masks.
  static bool may_be_anything(const GenerationOptions& options) {
    const RelativeTopOptions* const filter = filter_of(options.mode);
    if (filter == nullptr) return options.sampling || !penalties_of(options).empty();
    return filter->relative_top == 0 || filter->min_tokens_to_keep > 1 ||
           std::ranges::any_of(options.logit_bias, [](const std::pair<TokenId, float>& entry) {
             return entry.second == std::numeric_limits<float>::infinity();
           });
  }

  static ScorePenaltyOptions penalties_of(const GenerationOptions& options) {
    return {options.logit_bias, options.repetition_penalty, options.presence_penalty, options.frequency_penalty};
  }

  static LoopMemory& memory_for(const Model& model, LoopShared& shared, const TokenRules& rules) {
    const GenerationOptions& options = rules.options;
    LoopShape shape{.mode = options.mode,
                    .record = record_options(options),
                    .norm = rules.context != nullptr ? rules.context->norm : std::nullopt,
                    .penalties = penalties_of(options),
                    .exits = exits_of(rules),
                    .early = std::ssize(rules.layers) - 1,
                    .vocab = model.config().vocab,
                    .hidden = model.config().hidden,
                    .texts = rules.texts,
                    .positions = std::max<Index>(rules.positions, 1)};
    shared.observers.resize(static_cast<std::size_t>(model.sequences()));
    if (shared.memory != nullptr && shared.memory->shape.covers(shape)) return *shared.memory;
    shared.memory.reset();  // never both
    // Made again for lengths that double, not for every prompt that is longer than those before.
    const auto room =
        static_cast<Index>(std::bit_ceil(static_cast<std::size_t>(std::max<Index>(shape.positions, 256))));
    shape.positions = std::max(shape.positions, std::min(room, model.max_context()));
    shared.memory = std::make_unique<LoopMemory>(model.execution(), std::move(shape));
    return *shared.memory;
  }

  [[nodiscard]] const StoredMatrix<Cuda>& lm_head() const { return model_.weights().lm_head; }
  [[nodiscard]] detail::LoopText& text_of(Index sequence) { return memory_.texts[static_cast<std::size_t>(sequence)]; }
  [[nodiscard]] Index exits() const { return std::ssize(memory_.shape.exits); }
  /// Of row `row` of a step, [exits, V].
  [[nodiscard]] MatrixView<float, Cuda> logits_of(Index row) {
    const Index vocab = memory_.shape.vocab;
    return {memory_.logits.data() + row * exits() * vocab, {exits(), vocab}};
  }

  /// Reads the last token of all that go on, and chooses the next.
  void queue_steps() {
    const auto count = static_cast<Index>(going_.size());
    detail::order_step_rows(model_.execution(), memory_.rows.data(), going_, model_.steps().rows());
    model_.queue_step(going_, memory_.shape.exits, {memory_.logits.data(), {count, exits(), memory_.shape.vocab}});
    for (Index row = 0; row < count; ++row) {
      const Index sequence = going_[static_cast<std::size_t>(row)];
      if (context_ && context_->growth == ContextGrowth::growing) {
        const Index state =
            row * exits() + (std::ranges::find(memory_.shape.exits, context_->layer) - memory_.shape.exits.begin());
        text_of(sequence).mode.observe_context(model_.exit_state(state), lm_head());
      }
      choose(sequence, logits_of(row).slice(0, 0, memory_.shape.early + 1));
    }
  }

  /// The next token by `logits`[1 + C, V].
  void choose(Index sequence, MatrixView<float, Cuda> logits) {
    const Execution<Cuda> device = model_.execution();
    detail::LoopText& text = text_of(sequence);
    detail::StepRow* const row = memory_.rows.data() + sequence;
    detail::ToldToken& told = text.told_of(text.tokens_queued++);
    text.mode.process(logits);
    if (text.penalties) text.penalties->process(logits.row(0), row);
    detail::choose_token(device, logits.row(0), rules_, text.sampler ? text.sampler->next() : 0, model_.watch().found(),
                         text.state.data(), row, told.on_device.data());
    if (text.mode.records())
      text.mode.record({logits.row(0), rules_, text.state.data()}, row, anything_, told.kept.data(),
                       told.chosen.data());
    copy(device, std::as_const(told.on_device).view(), told.choice.view());
    if (text.mode.dola() != nullptr) copy(device, text.mode.dola()->choice(), told.dola.view());
    if (text.mode.sharpness() != nullptr) copy(device, text.mode.sharpness()->choice(), told.sharpness.view());
    told.event.record(device);
  }

  [[nodiscard]] TokenId tell(Index sequence) {
    detail::LoopText& text = text_of(sequence);
    detail::ToldToken& told = text.told_of(text.tokens_told);
    told.event.synchronize();
    const detail::ChoiceRecord choice = *told.choice.data();
    if (choice.token < 0 || !choice.finite) complain(sequence, choice.token);
    if (text.mode.dola() != nullptr) {
      const DolaChoice dola = *told.dola.data();
      if (dola.invalid != 0) throw ArgumentError("layers: a logit is not a number where the mature layer's is one");
      if (dola.layer >= 0) ++text.histogram[static_cast<std::size_t>(dola.layer)];
    }
    if (text.mode.sharpness() != nullptr && told.sharpness.data()->invalid != 0)
      throw ArgumentError(
          "the context entropy of a token is not a number: its products with the hidden states overflow or lm_head "
          "holds a NaN");
    if (text.mode.records()) tell_record(text, told);
    ++text.tokens_told;
    return text.last = choice.token;
  }

  void tell_record(detail::LoopText& text, const detail::ToldToken& told) const {
    const std::span all(told.kept.data(), static_cast<std::size_t>(told.sharpness.data()->kept));
    text.kept.clear();
    std::vector<detail::RecordedCandidate>& sorted = text.sorted;
    sorted.assign(all.begin(), all.end());
    std::ranges::sort(sorted, {}, &detail::RecordedCandidate::id);
    text.scores.clear();
    for (const detail::RecordedCandidate& c : sorted) {
      text.kept.push_back({c.id, c.log_prob, c.entropy, c.base});
      text.scores.push_back(c.score);
    }
    const int layer = text.mode.dola() != nullptr ? told.dola.data()->layer : -1;
    text.seen = {text.kept, text.scores, *told.chosen.data(),
                 layer < 0 ? Index{-1} : memory_.shape.exits[static_cast<std::size_t>(layer) + 1]};
  }

  /// Says why there is no token, as the calls of the model and the host's choice do. Returns if it was another text's
  /// token that had logits or states that are not finite: one that nobody wants, behind its end.
  void complain(Index sequence, TokenId token) {
    const Index position = model_.position(sequence);
    const TokenId id = model_.ids(sequence).back();
    model_.rewind(position - 1, sequence);
    const SequencePiece<Cuda> piece{sequence, std::span(&id, 1), nullptr};
    const MatrixView<const float, Cuda> logits = model_.forward(std::span(&piece, 1));
    if (token >= 0) return;
    std::vector<float> row(static_cast<std::size_t>(logits.extent(1)));
    copy(model_.execution(), logits.row(0), VectorView<float>(row));
    model_.execution().synchronize();
    (void)argmax(row);
    throw ArgumentError("logits: none is above -inf");
  }

  Model& model_;
  LoopShared& shared_;
  LoopMemory& memory_;
  Index most_;
  std::optional<Context> context_;
  bool anything_ = false;  // a token may be one that the records' filter masks
  detail::ChoiceRules rules_;
  std::uint64_t seed_ = 0;
  std::vector<Index> going_;  // sequences of the step that is queued
  std::vector<TokenId> ids_;
};

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
