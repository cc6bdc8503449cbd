// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/embed/llama_cpp_options.hpp"
#include "activation_trace/embed/llama_cpp_tap.hpp"
// Behind it, whose message says what is missing.
#include <llama.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "activation_trace/embed/lm_head_file.hpp"
#include "activation_trace/generation/options.hpp"
#include "activation_trace/generation/validate.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/processors/context_entropy.hpp"
#include "activation_trace/processors/mode_processor.hpp"

namespace activation_trace {
inline namespace v0 {
namespace llama_cpp {

/// Activation decoding, DoLa, both, or the detector in a program that runs llama.cpp:
///
///     Guest guest(model, open_lm_head(path), {.mode = Activation{.alpha = 0.5f}});
///     guest.attach(params);                                    // and then llama_init_from_model(model, params)
///     llama_sampler_chain_add(chain, guest.sampler(context));  // the first of the chain
///     ...                                                      // llama_decode(), llama_sampler_sample()
///     guest.check();                                           // throws what went wrong within llama.cpp
///
/// The context is what llama_decode() reads up to the first sampling. A new one begins with llama_sampler_reset(), or
/// by itself with a decode that starts before the end of the last one: another prompt, or the same with another end.
/// What is left of a prompt in llama.cpp's memory is left here, too; a memory that holds what the guest did not see is
/// an error, and so is another sequence in use. No exception passes through llama.cpp: an error is logged by its
/// logger, leaves that step's candidates alone, and is thrown by check().
///
/// Works on the threads of `execution` while llama.cpp does not. It must outlive context and samplers, and stays where
/// it is.
class Guest {
 public:
  /// `head` is the model's own. Throws ArgumentError for one of another shape, a layer that the model lacks, a mode
  /// that is not for guests, a final_norm that the model does not have, and as validate().
  Guest(const llama_model* model, LmHeadFile head, GuestOptions options, ExecutionHandle execution = {})
      : Guest(model, std::make_shared<const LmHeadFile>(std::move(head)), std::move(options), std::move(execution)) {}
  /// The same with a head that others use, too.
  Guest(const llama_model* model, std::shared_ptr<const LmHeadFile> head, GuestOptions options,
        ExecutionHandle execution = {});

  /// Throws StateError if somebody else's callback stands there.
  void attach(llama_context_params& params) { tap_.attach(params); }

  /// A sampler for the head of a chain, which it belongs to. Its copies (llama_sampler_clone) share the context. Throws
  /// StateError for a context without the guest, ArgumentError for a sequence that it does not have.
  [[nodiscard]] llama_sampler* sampler(llama_context* context);

  /// Throws what went wrong in llama.cpp's calls since the last check, if anything did.
  void check();

  /// Positions of the context that is read; 0 before the first token is chosen after it.
  [[nodiscard]] Index context_size() const noexcept { return end_; }

 private:
  class Sampler;
  friend class Guests;

  [[nodiscard]] static llama_sampler_i* table();
  [[nodiscard]] llama_sampler* make(llama_context* context);
  [[nodiscard]] ModeProcessor make_mode();
  void fail(const std::exception_ptr& problem) noexcept;
  void begin_decode(Index first_position);
  void begin_context();
  void end_context(MatrixView<const float> prompt);
  void go_on_from(const Guest& other);
  /// Of the positions that the context may have.
  [[nodiscard]] Index context_end() const { return open_ ? std::numeric_limits<Index>::max() : end_; }
  /// It is not the one that llama.cpp's memory holds.
  void lose_context();
  void check_sequences(llama_context* context) const;
  void check_last_state(std::span<const float> logits);
  void know_head();
  [[nodiscard]] MatrixView<const float> states(Index layer, Index begin, const char* what) const;
  [[nodiscard]] MatrixView<const float> early_logits();

  std::shared_ptr<const LmHeadFile> head_;
  GuestOptions options_;
  ExecutionHandle execution_;
  LayerTap tap_;
  std::optional<ContextOptions> read_;  // the mode's or the records'
  Index info_layer_ = -1;
  std::optional<FinalNorm> norm_;
  std::vector<Index> layers_;  // mature first
  std::optional<ContextEntropy> entropies_;
  Index prompt_ = 0;          // positions that the context begins with
  Index end_ = 0;             // of the context
  bool open_ = true;          // all that is decoded joins what it begins with
  bool alone_ = true;         // in llama.cpp's context
  std::int32_t output_ = -1;  // the token of the last decode whose logits are read
  int number_ = 0;            // of the context: samplers begin anew when it has changed
  bool head_is_known_;        // to be the model's
  detail::LayerLogits early_;
  std::exception_ptr problem_;
};

/// What stands behind a llama_sampler.
class Guest::Sampler {
 public:
  /// Of `guest`, on its context.
  Sampler(Guest& guest, llama_context* context) : guest_(&guest), context_(context) {}

  /// The mode's scores for the candidates' logits, without those that it masks. Throws what Guest::check() does.
  void apply(llama_token_data_array& candidates);
  /// Tells on_token of the chosen one. Throws as apply().
  void accept(llama_token token);
  /// A new context begins.
  void reset() { guest_->begin_context(); }
  /// Another sampler of the same guest, which reads the context anew.
  [[nodiscard]] llama_sampler* clone() const { return guest_->make(context_); }
  /// Whose sampler it is.
  [[nodiscard]] Guest& guest() const noexcept { return *guest_; }

 private:
  [[nodiscard]] std::span<const float> row_of(const llama_token_data_array& candidates) const;
  void read_context();

  Guest* guest_;
  llama_context* context_;
  std::optional<ModeProcessor> mode_;
  int number_ = -1;                     // of the context that mode_ has begun
  Index observed_ = 0;                  // its positions
  bool asked_ = false;                  // apply() has seen the row that accept() may be about
  std::vector<float> logits_, scores_;  // [V]
};

inline Guest::Guest(const llama_model* model, std::shared_ptr<const LmHeadFile> head, GuestOptions options,
                    ExecutionHandle execution)
    : head_(std::move(head)),
      options_(std::move(options)),
      execution_(std::move(execution)),
      tap_(model),
      head_is_known_(!options_.check_head) {
  using activation_trace::detail::require;
  detail::check_shape(*head_, tap_, llama_vocab_n_tokens(llama_model_get_vocab(model)));
  const GenerationOptions generation{.mode = options_.mode, .record = options_.record};
  validate(generation);
  layers_ = activation_trace::detail::exit_layers(options_.mode, tap_.blocks());
  const std::string mode = "decoding_mode " + std::string(name(options_.mode));
  require(layers_.front() == tap_.blocks(),
          "mature_layer: a guest has llama.cpp's logits, which are of layer " + std::to_string(tap_.blocks()));
  require(!needs_amateur(options_.mode), mode + " needs an amateur, which a guest has none of");
  read_ = read_context(generation);
  require(read_ || !std::holds_alternative<Baseline>(options_.mode), mode + " without record: nothing to do");
  for (const Index layer : std::span(layers_).subspan(1)) tap_.keep(layer, Keep::last_row);
  if (read_) {
    info_layer_ = activation_trace::detail::resolve_info_layer(read_->info_layer, tap_.blocks());
    require(!read_->final_norm || head_->norm, "final_norm: the model has no RMSNorm in front of its LM head");
    if (read_->final_norm) norm_ = activation_trace::detail::norm_at(info_layer_, tap_.blocks(), head_->norm);
    entropies_.emplace(*execution_, read_->span, norm_);
  }
  require(!options_.on_token || make_mode().records(), "on_token: " + mode + " makes no records without record");
  tap_.on_begin = [this](Index first) { begin_decode(first); };
  begin_context();
}

inline ModeProcessor Guest::make_mode() {
  return {options_.mode,
          record_options({.mode = options_.mode, .record = options_.record}),
          norm_,
          std::span(layers_).subspan(1),
          head_->head.vocab(),
          *execution_};
}

inline llama_sampler* Guest::sampler(llama_context* context) {
  tap_.read(context, options_.sequence);
  return make(context);
}

inline llama_sampler* Guest::make(llama_context* context) {
  auto own = std::make_unique<Sampler>(*this, context);
  llama_sampler* result = llama_sampler_init(table(), own.get());
  static_cast<void>(own.release());  // the table's free() has it now
  return result;
}

inline void Guest::check() {
  tap_.check();
  if (problem_) std::rethrow_exception(std::exchange(problem_, nullptr));
}

inline void Guest::fail(const std::exception_ptr& problem) noexcept {
  if (!problem_) problem_ = problem;
  try {
    std::rethrow_exception(problem);
  } catch (const std::exception& e) {
    ggml_log_callback log = nullptr;
    void* user = nullptr;
    llama_log_get(&log, &user);
    if (log != nullptr) log(GGML_LOG_LEVEL_ERROR, (std::string("activation_trace: ") + e.what() + "\n").c_str(), user);
  } catch (...) {  // what on_token threw is the caller's
  }
}

inline void Guest::begin_context() {
  ++number_;
  open_ = true;
  prompt_ = end_ = 0;
  if (entropies_) entropies_->reset();
  if (!head_is_known_) tap_.keep(tap_.blocks(), Keep::last_row);
  if (read_) tap_.keep(info_layer_, Keep::all_rows);
}

// Within llama.cpp.
inline void Guest::begin_decode(Index first_position) {
  if (!open_ && first_position < end_) begin_context();
}

inline void Guest::end_context(MatrixView<const float> prompt) {
  entropies_->observe(prompt, head_->head);
  prompt_ = end_ = prompt.extent(0);
  open_ = false;
  const bool early = std::ranges::find(layers_, info_layer_) != layers_.end();  // then every step reads it
  if (read_->growth == ContextGrowth::prompt && !options_.keep_answers && !early) tap_.keep(info_layer_, Keep::nothing);
}

inline void Guest::lose_context() {
  if (!read_) return;  // each step's states are its own
  begin_context();
  tap_.forget_states();
}

// llama.cpp's memory holds the same of both sequences.
inline void Guest::go_on_from(const Guest& other) {
  if (other.head_is_known_ && !head_is_known_) know_head();  // else it is checked by the other's last state
  begin_context();
  tap_.take_over(other.tap_);
  output_ = other.output_;
  if (!read_ || tap_.positions() == 0) return;
  if (other.open_) return static_cast<void>(states(info_layer_, 0, "copied context"));
  if (other.info_layer_ != info_layer_)
    throw StateError("copied context: its guest reads layer " + std::to_string(other.info_layer_) +
                     ", and the copy's layer " + std::to_string(info_layer_));
  end_context(tap_.states(info_layer_).slice(0, 0, other.prompt_));
}

// Of the positions from `begin` to the last one in llama.cpp's memory, which all must have passed the tap.
inline MatrixView<const float> Guest::states(Index layer, Index begin, const char* what) const {
  const MatrixView<const float> known = tap_.states(layer);
  const Index first = tap_.first_position(layer);
  const Index end = tap_.end_position(layer);
  if (known.extent(0) != 0 && first <= begin && begin < end && end == tap_.positions())
    return known.slice(0, begin - first, end - first);
  std::string seen = known.extent(0) == 0 ? "none" : std::to_string(first) + ".." + std::to_string(end - 1);
  throw StateError(std::string(what) + ": llama.cpp's memory holds " + std::to_string(tap_.positions()) +
                   " positions, and the guest has states of layer " + std::to_string(layer) + " at " + seen + ": " +
                   (layer == tap_.blocks() ? "flag every token for output"
                                           : "clear the memory and read all with the guest, or, where a conversation "
                                             "goes on, keep_answers") +
                   (alone_ ? "" : "; copies are made by copy_sequence()"));
}

inline void Guest::check_sequences(llama_context* context) const {
  for (llama_seq_id s = 0; s < static_cast<llama_seq_id>(llama_n_seq_max(context)); ++s)
    if (s != options_.sequence && llama_memory_seq_pos_max(llama_get_memory(context), s) >= 0)
      throw StateError("sequence " + std::to_string(s) + " of the context is in use: a guest reads one, " +
                       std::to_string(options_.sequence) +
                       ", and several need Guests, which are told whose rows are whose");
}

inline void Guest::check_last_state(std::span<const float> logits) {
  detail::check_head(*head_, states(tap_.blocks(), tap_.positions() - 1, "head").row(0).span(), logits);
  know_head();
}

inline void Guest::know_head() {
  head_is_known_ = true;
  if (info_layer_ != tap_.blocks()) tap_.keep(tap_.blocks(), Keep::nothing);
}

inline MatrixView<const float> Guest::early_logits() {
  const auto layers = std::span(layers_).subspan(1);
  if (layers.empty()) return {};
  return early_.compute(*execution_, head_->head, layers, [this](Index layer) {
    return states(layer, tap_.positions() - 1, "early layers").row(0).span();
  });
}

inline void Guest::Sampler::apply(llama_token_data_array& candidates) {
  asked_ = false;
  if (guest_->alone_) guest_->check_sequences(context_);
  const std::span<const float> row = row_of(candidates);
  if (!guest_->head_is_known_) guest_->check_last_state(row);
  read_context();
  if (mode_->records() && guest_->options_.on_token) logits_.assign(row.begin(), row.end());
  if (!mode_->plain()) {
    scores_.assign(row.begin(), row.end());
    mode_->process({.mature = row, .early = guest_->early_logits()}, scores_);
    std::size_t kept = 0;
    for (std::size_t v = 0; v < scores_.size(); ++v)
      if (scores_[v] > -std::numeric_limits<float>::infinity())
        candidates.data[kept++] = {static_cast<llama_token>(v), scores_[v], 0};
    if (kept == 0) throw ArgumentError("logits: every token is masked");
    candidates.size = kept;
    candidates.sorted = false;
    candidates.selected = -1;
  }
  asked_ = true;
}

// llama.cpp's logits, which the candidates must be: samplers that ran before would not be seen by the early layers.
inline std::span<const float> Guest::Sampler::row_of(const llama_token_data_array& candidates) const {
  const auto vocab = static_cast<std::size_t>(guest_->head_->head.vocab());
  const std::string first = "the guest's sampler must be the first of its chain: ";
  if (candidates.size != vocab)
    throw StateError(first + "it was given " + std::to_string(candidates.size) + " candidates of " +
                     std::to_string(vocab));
  const std::int32_t output = guest_->output_;
  const float* row = output < -1 ? nullptr : llama_get_logits_ith(context_, output);
  if (row == nullptr) throw StateError("the context has no logits of a last token");
  std::size_t same = 0;
  for (std::size_t v = 0; v < vocab; ++v)
    same += static_cast<std::size_t>(candidates.data[v].id == static_cast<llama_token>(v) &&
                                     !(candidates.data[v].logit != row[v] && row[v] == row[v]));
  if (same != vocab)
    throw StateError(first + std::to_string(vocab - same) +
                     " candidates are not llama.cpp's logits of the last token, index " + std::to_string(output) +
                     ", or not in their place");
  return {row, vocab};
}

inline void Guest::Sampler::read_context() {
  Guest& guest = *guest_;
  if (guest.read_ && guest.open_) guest.end_context(guest.states(guest.info_layer_, 0, "context"));
  if (number_ != guest.number_) {
    mode_.emplace(guest.make_mode());
    observed_ = guest.prompt_;
    if (guest.read_)
      mode_->begin_context(guest.tap_.states(guest.info_layer_).slice(0, 0, observed_), *guest.entropies_,
                           guest.head_->head);
    number_ = guest.number_;
  }
  if (!guest.read_ || guest.read_->growth == ContextGrowth::prompt || guest.tap_.positions() == observed_) return;
  const MatrixView<const float> added = guest.states(guest.info_layer_, observed_, "growing context");
  mode_->observe_context(added, guest.head_->head);
  guest.end_ = observed_ = observed_ + added.extent(0);
}

inline void Guest::Sampler::accept(llama_token token) {
  if (!std::exchange(asked_, false) || !guest_->options_.on_token) return;
  if (token < 0 || static_cast<std::size_t>(token) >= logits_.size())
    throw ArgumentError("token " + std::to_string(token) + " is not in the vocabulary");
  SharpnessCandidate chosen = mode_->look_up({.mature = logits_}, token);
  chosen.score = (mode_->plain() ? logits_ : scores_)[static_cast<std::size_t>(token)];
  guest_->options_.on_token(chosen);
}

inline llama_sampler_i* Guest::table() {
  static constexpr auto of = [](const llama_sampler* sampler) { return static_cast<Sampler*>(sampler->ctx); };
  static constexpr auto guarded = [](Sampler* sampler, auto&& call) {
    try {
      call(*sampler);
    } catch (...) {
      sampler->guest().fail(std::current_exception());
    }
  };
  static llama_sampler_i functions = [] {
    llama_sampler_i f{};  // those that this llama.cpp has besides stay null
    f.name = [](const llama_sampler*) { return "activation_trace"; };
    f.apply = [](llama_sampler* sampler, llama_token_data_array* candidates) {
      guarded(of(sampler), [&](Sampler& own) { own.apply(*candidates); });
    };
    f.accept = [](llama_sampler* sampler, llama_token token) {
      guarded(of(sampler), [&](Sampler& own) { own.accept(token); });
    };
    f.reset = [](llama_sampler* sampler) { of(sampler)->reset(); };
    f.clone = [](const llama_sampler* sampler) { return of(sampler)->clone(); };
    f.free = [](llama_sampler* sampler) { std::unique_ptr<Sampler>(of(sampler)).reset(); };
    return f;
  }();
  return &functions;
}

}  // namespace llama_cpp
}  // namespace v0
}  // namespace activation_trace
