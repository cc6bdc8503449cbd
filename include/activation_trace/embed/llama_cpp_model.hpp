// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/embed/llama_cpp_tap.hpp"
// Behind it, whose message says what is missing.
#include <llama-cpp.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/embed/lm_head_file.hpp"
#include "activation_trace/generation/language_model.hpp"
#include "activation_trace/model/layer_observer.hpp"
#include "activation_trace/model/sequence_piece.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/tensor/buffer.hpp"

namespace activation_trace {
inline namespace v0 {

/// How LlamaCppModel decodes several sequences where no hidden states are asked for.
enum class Together {
  yes,  ///< in one batch: faster, and a sequence's last bits depend on what else is in it
  no,   ///< one after another: a sequence's numbers depend on nothing but itself
};

/// A model that llama.cpp runs, as a LanguageModel: generate(), score(), beams, batches and prefix caches on whatever
/// architecture, weight type and device llama.cpp knows. Its arithmetic is llama.cpp's: with quantised weights or an
/// f16 cache it differs from ours by more than rounding.
///
///     LlamaCppModel model(engine, open_lm_head(path), params, execution);  // a llama_model*, llama_context_params
///
/// A context of its own is made from `params`: what is there of threads, devices, types of the cache counts, as do
/// n_ctx, for all sequences together, and n_seq_max. Sequences are decoded one after another where hidden states are
/// asked for, and elsewhere as Together says. Not safe for concurrent use; movable.
class LlamaCppModel {
 public:
  /// What generation asks of a model's configuration.
  struct Config {
    Index layers = 0;  ///< N
    Index hidden = 0;  ///< d
    Index vocab = 0;   ///< V
  };

  /// `model` and `execution`, on which is computed what llama.cpp does not compute, must outlive this object. Throws
  /// ArgumentError for a head of another shape, as LayerTap does, and Error if llama.cpp makes no context.
  LlamaCppModel(llama_model* model, LmHeadFile head, llama_context_params params, Execution<Host>& execution,
                Together together = Together::yes)
      : LlamaCppModel(model, std::make_shared<const LmHeadFile>(std::move(head)), params, execution, together) {}
  /// The same with a head that others use, too.
  LlamaCppModel(llama_model* model, std::shared_ptr<const LmHeadFile> head, llama_context_params params,
                Execution<Host>& execution, Together together = Together::yes);

  /// Of the model.
  [[nodiscard]] const Config& config() const noexcept { return config_; }
  /// As opened; without soft cap and scale.
  [[nodiscard]] const LmHead<>& lm_head() const noexcept { return head_->head; }
  /// Throws Error for a model that has no RMSNorm in front of its LM head.
  [[nodiscard]] FinalNorm final_norm() const;
  /// As given to the constructor.
  [[nodiscard]] Execution<Host>& execution() const noexcept { return *execution_; }
  /// llama.cpp's, for what else is to be known of it.
  [[nodiscard]] llama_context* context() const noexcept { return context_.get(); }

  /// n_seq_max.
  [[nodiscard]] Index sequences() const noexcept { return std::ssize(ids_); }
  /// Positions that a sequence may have.
  [[nodiscard]] Index max_context() const noexcept { return max_context_; }
  /// Tokens that the sequence holds. Throws ArgumentError for one that does not exist, as everything below.
  [[nodiscard]] Index position(Index sequence = 0) const { return std::ssize(ids(sequence)); }
  /// Those tokens, valid until the sequence changes.
  [[nodiscard]] std::span<const TokenId> ids(Index sequence = 0) const { return ids_[checked(sequence)]; }
  /// Forgets the tokens from `position` on. Throws ArgumentError unless 0 <= position <= position(sequence), and Error
  /// where llama.cpp cannot, as with recurrent models.
  void rewind(Index position, Index sequence = 0);
  /// Makes `to` equal to `from`. Throws ArgumentError if one of the two has fewer than `begin` positions.
  void copy_sequence(Index from, Index to, Index begin = 0);

  /// Appends the ids of each piece to its sequence. Throws ArgumentError for a piece that cannot be, StateError where
  /// there is no room, Error where llama.cpp fails, and what an observer throws; then nothing has been appended.
  void fill(std::span<const SequencePiece<>> pieces) { run(pieces, {}, {}); }
  /// The same, and logits [pieces, V] after each of them, valid until the next call. Throws as fill().
  MatrixView<const float> forward(std::span<const SequencePiece<>> pieces);
  /// The same, and W h_k for k of `layers`, 0..N, as [pieces, layers, V]; of N llama.cpp's own logits. Throws as
  /// fill(), and ShapeError for another shape.
  void early_exit(std::span<const SequencePiece<>> pieces, std::span<const Index> layers, TensorView<float, 3> logits);

 private:
  [[nodiscard]] std::size_t checked(Index sequence) const {
    return detail::check_sequence("LlamaCppModel", sequence, sequences());
  }
  void run(std::span<const SequencePiece<>> pieces, std::span<const Index> exits, TensorView<float, 3> logits);
  void run_together(std::span<const SequencePiece<>> pieces, TensorView<float, 3> logits);
  void run_alone(const SequencePiece<>& piece, std::span<const Index> exits, MatrixView<float> logits);
  void show(const LayerObserver<>& observer, Index layer, Index begin, Index end);
  [[nodiscard]] MatrixView<const float> states_of(Index layer, Index begin, Index end) const;
  void exit_at(std::span<const Index> exits, std::int32_t token, MatrixView<float> logits);
  void add(TokenId id, Index position, Index sequence, bool output);
  void decode();
  void read_row(std::int32_t token, std::span<float> row);
  void take_back(std::span<const SequencePiece<>> pieces) noexcept;

  std::shared_ptr<const LmHeadFile> head_;
  Config config_;
  Execution<Host>* execution_;
  Together together_;
  std::unique_ptr<llama_cpp::LayerTap> tap_;  // stays where it is when this moves
  llama_context_ptr context_;
  Index max_context_ = 0;
  Index max_batch_ = 0;
  std::vector<std::vector<TokenId>> ids_;  // by sequence
  Buffer<float> logits_;                   // [pieces, 1, V]
  llama_cpp::detail::LayerLogits exits_;
  // One llama_decode().
  std::vector<llama_token> tokens_;
  std::vector<llama_pos> positions_;
  std::vector<llama_seq_id> sequences_;
  std::vector<std::int8_t> outputs_;
};

inline LlamaCppModel::LlamaCppModel(llama_model* model, std::shared_ptr<const LmHeadFile> head,
                                    llama_context_params params, Execution<Host>& execution, Together together)
    : head_(std::move(head)),
      execution_(&execution),
      together_(together),
      tap_(std::make_unique<llama_cpp::LayerTap>(model)) {
  config_ = {tap_->blocks(), tap_->hidden(), llama_vocab_n_tokens(llama_model_get_vocab(model))};
  llama_cpp::detail::check_shape(*head_, *tap_, config_.vocab);
  tap_->attach(params);
  context_.reset(llama_init_from_model(model, params));
  if (context_ == nullptr) throw Error("llama.cpp: it makes no context of these parameters");
  max_context_ = llama_n_ctx_seq(context_.get());
  max_batch_ = llama_n_batch(context_.get());
  ids_.resize(llama_n_seq_max(context_.get()));
}

inline FinalNorm LlamaCppModel::final_norm() const {
  if (!head_->norm) throw Error("final_norm: the model has no RMSNorm in front of its LM head");
  return *head_->norm;
}

inline void LlamaCppModel::rewind(Index position, Index sequence) {
  std::vector<TokenId>& ids = ids_[checked(sequence)];
  if (position < 0 || position > std::ssize(ids))
    throw ArgumentError("position: expected 0.." + std::to_string(ids.size()) + ", got " + std::to_string(position));
  if (position == std::ssize(ids)) return;
  if (!llama_memory_seq_rm(llama_get_memory(context_.get()), static_cast<llama_seq_id>(sequence),
                           static_cast<llama_pos>(position), -1))
    throw Error("llama.cpp: a sequence of this model cannot be rewound to position " + std::to_string(position));
  ids.resize(static_cast<std::size_t>(position));
}

inline void LlamaCppModel::copy_sequence(Index from, Index to, Index begin) {
  if (begin < 0 || begin > std::min(position(from), position(to)))
    throw ArgumentError("begin: " + std::to_string(begin) + " is beyond one of the two sequences");
  if (from == to) return;
  llama_memory_t memory = llama_get_memory(context_.get());
  rewind(0, to);
  if (position(from) != 0)
    llama_memory_seq_cp(memory, static_cast<llama_seq_id>(from), static_cast<llama_seq_id>(to), -1, -1);
  ids_[checked(to)] = ids_[checked(from)];
}

inline MatrixView<const float> LlamaCppModel::forward(std::span<const SequencePiece<>> pieces) {
  const Index count = std::ssize(pieces);
  if (logits_.size() < count * config_.vocab) logits_ = Buffer<float>(count * config_.vocab);
  run(pieces, std::span(&config_.layers, 1), {logits_.data(), {count, 1, config_.vocab}});
  return {logits_.data(), {count, config_.vocab}};
}

inline void LlamaCppModel::early_exit(std::span<const SequencePiece<>> pieces, std::span<const Index> layers,
                                      TensorView<float, 3> logits) {
  if (logits.extents() != TensorView<float, 3>::Extents{std::ssize(pieces), std::ssize(layers), config_.vocab} ||
      logits.stride(2) != 1)
    throw ShapeError("logits: expected [" + std::to_string(pieces.size()) + ", " + std::to_string(layers.size()) +
                     ", " + std::to_string(config_.vocab) + "] with tight rows");
  std::vector<Index> exits;
  for (const Index layer : layers) exits.push_back(resolve_layer(layer, config_.layers));
  run(pieces, exits, logits);
}

inline void LlamaCppModel::run(std::span<const SequencePiece<>> pieces, std::span<const Index> exits,
                               TensorView<float, 3> logits) {
  detail::check_pieces(pieces, {"LlamaCppModel", sequences(), max_context_, config_.vocab, config_.layers},
                       [this](Index sequence) { return position(sequence); });
  Index tokens = 0;
  bool states = std::ranges::any_of(exits, [&](Index layer) { return layer != config_.layers; });
  for (const SequencePiece<>& piece : pieces) {
    tokens += std::ssize(piece.ids);
    states = states || (piece.observer != nullptr && !piece.observer->layers.empty());
  }
  try {
    if (!states && tokens <= max_batch_ && (together_ == Together::yes || pieces.size() == 1))
      run_together(pieces, exits.empty() ? TensorView<float, 3>() : logits);
    else
      for (std::size_t p = 0; p < pieces.size(); ++p)
        run_alone(pieces[p], exits, exits.empty() ? MatrixView<float>() : logits.row(static_cast<Index>(p)));
  } catch (...) {
    take_back(pieces);
    throw;
  }
  for (const SequencePiece<>& piece : pieces)
    ids_[checked(piece.sequence)].insert(ids_[checked(piece.sequence)].end(), piece.ids.begin(), piece.ids.end());
}

inline void LlamaCppModel::run_together(std::span<const SequencePiece<>> pieces, TensorView<float, 3> logits) {
  tap_->skip_logits(false);
  std::vector<std::int32_t> last;
  for (const auto& [sequence, ids, observer] : pieces) {
    Index next = position(sequence);
    for (const TokenId& id : ids) add(id, next++, sequence, !logits.empty() && &id == &ids.back());
    last.push_back(static_cast<std::int32_t>(tokens_.size()) - 1);
  }
  decode();
  for (Index p = 0; p < logits.extent(0); ++p)
    for (Index i = 0; i < logits.extent(1); ++i)
      read_row(last[static_cast<std::size_t>(p)], logits.row(p).row(i).span());
}

inline void LlamaCppModel::run_alone(const SequencePiece<>& piece, std::span<const Index> exits,
                                     MatrixView<float> logits) {
  const auto& [sequence, ids, observer] = piece;
  std::set<Index> shown;
  if (observer != nullptr)
    for (const Index layer : observer->layers) shown.insert(resolve_layer(layer, config_.layers));
  tap_->forget();
  tap_->read(context_.get(), static_cast<llama_seq_id>(sequence));
  for (Index layer = 0; layer <= config_.layers; ++layer) tap_->keep(layer, llama_cpp::Keep::nothing);
  for (const Index layer : exits) tap_->keep(layer, llama_cpp::Keep::last_row);
  for (const Index layer : shown) tap_->keep(layer, llama_cpp::Keep::all_rows);
  tap_->skip_logits(exits.empty());  // tokens are flagged for their states alone
  const Index first = position(sequence);
  std::int32_t last = 0;
  for (Index begin = 0; begin < std::ssize(ids); begin += max_batch_) {
    const Index end = std::min(begin + max_batch_, std::ssize(ids));
    for (Index i = begin; i < end; ++i)
      add(ids[static_cast<std::size_t>(i)], first + i, sequence,
          shown.contains(config_.layers) || (!exits.empty() && i + 1 == std::ssize(ids)));
    last = static_cast<std::int32_t>(end - begin) - 1;
    decode();
    for (const Index layer : shown) show(*observer, layer, first + begin, first + end);
  }
  if (!exits.empty()) exit_at(exits, last, logits);
}

inline void LlamaCppModel::show(const LayerObserver<>& observer, Index layer, Index begin, Index end) {
  begin = std::max(begin, observer.begin);
  end = std::min(end, observer.end);
  if (begin >= end) return;
  observer.on_states(layer, begin, states_of(layer, begin, end));
}

inline MatrixView<const float> LlamaCppModel::states_of(Index layer, Index begin, Index end) const {
  const MatrixView<const float> states = tap_->states(layer);
  const Index known = tap_->first_position(layer);
  if (begin < known || end > known + states.extent(0))
    throw Error("llama.cpp: its graph of this architecture has no states of layer " + std::to_string(layer) +
                " at the positions " + std::to_string(begin) + ".." + std::to_string(end - 1));
  return states.slice(0, begin - known, end - known);
}

inline void LlamaCppModel::exit_at(std::span<const Index> exits, std::int32_t token, MatrixView<float> logits) {
  const Index position = tap_->positions() - 1;
  std::vector<Index> early;
  std::vector<Index> places;  // their rows of `logits`
  for (Index i = 0; i < std::ssize(exits); ++i) {
    const Index layer = exits[static_cast<std::size_t>(i)];
    if (layer == config_.layers) {
      read_row(token, logits.row(i).span());
      continue;
    }
    early.push_back(layer);
    places.push_back(i);
  }
  if (early.empty()) return;
  const MatrixView<const float> rows = exits_.compute(*execution_, head_->head, early, [&](Index layer) {
    return states_of(layer, position, position + 1).row(0).span();
  });
  for (std::size_t i = 0; i < early.size(); ++i)
    std::ranges::copy(rows.row(static_cast<Index>(i)).span(), logits.row(places[i]).data());
}

inline void LlamaCppModel::add(TokenId id, Index position, Index sequence, bool output) {
  tokens_.push_back(id);
  positions_.push_back(static_cast<llama_pos>(position));
  sequences_.push_back(static_cast<llama_seq_id>(sequence));
  outputs_.push_back(output ? 1 : 0);
}

inline void LlamaCppModel::decode() {
  std::vector<std::int32_t> counts(tokens_.size(), 1);
  std::vector<llama_seq_id*> sequence_of;
  for (llama_seq_id& sequence : sequences_) sequence_of.push_back(&sequence);
  llama_batch batch{};
  batch.n_tokens = static_cast<std::int32_t>(tokens_.size());
  batch.token = tokens_.data();
  batch.pos = positions_.data();
  batch.n_seq_id = counts.data();
  batch.seq_id = sequence_of.data();
  batch.logits = outputs_.data();
  const int status = llama_decode(context_.get(), batch);
  tokens_.clear();
  positions_.clear();
  sequences_.clear();
  outputs_.clear();
  if (status != 0) throw Error("llama.cpp: llama_decode() fails with " + std::to_string(status));
  tap_->check();
}

inline void LlamaCppModel::read_row(std::int32_t token, std::span<float> row) {
  const float* logits = llama_get_logits_ith(context_.get(), token);
  if (logits == nullptr) throw Error("llama.cpp: it has no logits of the last token");
  std::copy(logits, logits + config_.vocab, row.begin());
}

inline void LlamaCppModel::take_back(std::span<const SequencePiece<>> pieces) noexcept {
  llama_memory_t memory = llama_get_memory(context_.get());
  for (const SequencePiece<>& piece : pieces) {
    if (piece.sequence < 0 || piece.sequence >= sequences()) continue;  // which is what was wrong
    const auto sequence = static_cast<llama_seq_id>(piece.sequence);
    std::vector<TokenId>& ids = ids_[static_cast<std::size_t>(piece.sequence)];
    if (llama_memory_seq_rm(memory, sequence, static_cast<llama_pos>(ids.size()), -1)) continue;
    llama_memory_seq_rm(memory, sequence, -1, -1);  // a recurrent model's: all that can be done
    ids.clear();
  }
}

}  // namespace v0
}  // namespace activation_trace
