// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#if !__has_include(<llama.h>)
#error "activation_trace/embed/llama_cpp*.hpp need llama.cpp's headers: find_package(llama), and link its target llama"
#endif

#include <llama.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/embed/lm_head_file.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/ops/execution.hpp"
#include "activation_trace/processors/argmax.hpp"
#include "activation_trace/tensor/buffer.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {

/// The library as a guest in llama.cpp: its hidden states, its LM head, and its samplers. The only headers that include
/// llama.h are llama_cpp*.hpp; the umbrella has none of them.
namespace llama_cpp {

/// The LM head and the final norm of a model that llama.cpp runs, of any architecture and weight type: ggml widens what
/// is not read here. Throws as activation_trace::open_lm_head(), and FormatError for a type that ggml cannot widen.
[[nodiscard]] LmHeadFile open_lm_head(const std::filesystem::path& path);

/// The hidden state 0..`blocks` that a node of llama.cpp's graphs is, by its name; -1: it is none. h_0 may go by two
/// names in one graph, where it is scaled; the later one is it. h_N is behind the final norm, `result_norm`, with rows
/// of those tokens only that are flagged for output; so is the last block's `l_out`, which is no hidden state here.
[[nodiscard]] Index layer_of_node(std::string_view name, Index blocks);

/// How much of a layer LayerTap keeps.
enum class Keep {
  nothing,   ///< the layer costs nothing
  last_row,  ///< the newest position
  all_rows,  ///< every position that was computed one after another, and what a rewind has not taken away
};

/// Keeps hidden states that llama_decode() computes, by llama_context_params::cb_eval. Of one sequence: states have the
/// positions that it has in llama.cpp's memory, so those of a prefix that was kept in both are not lost, and where the
/// sequence is rewound and goes on otherwise, the states do.
///
///     LayerTap tap(model);
///     tap.attach(context_params);                                   // before the context is made
///     llama_context* context = llama_init_from_model(model, context_params);
///     tap.read(context, 0);                                         // what sequence is decoded from now on
///     tap.keep(24, Keep::all_rows);
///
/// An exception cannot pass through llama.cpp: what goes wrong during a decode is thrown by the next states(). Neither
/// copied nor moved, and it must outlive the context.
class LayerTap {
 public:
  /// Consecutive positions of the sequence among the rows of a node, [tokens, d].
  struct Rows {
    const ggml_tensor* node;  ///< where they are
    Index first;              ///< row
    Index count;              ///< of rows
    Index end;                ///< position behind the last one
  };

  /// Of a model with a decoder. Throws ArgumentError for one with an encoder.
  explicit LayerTap(const llama_model* model);
  LayerTap(const LayerTap&) = delete;
  LayerTap& operator=(const LayerTap&) = delete;
  ~LayerTap() = default;

  /// Throws StateError if somebody else's callback stands there, or the tap was attached before.
  void attach(llama_context_params& params);

  /// The decodes that follow are `sequence` of `context`, which has the tap attached. States of another one are
  /// forgotten. Throws ArgumentError for a sequence that the context does not have.
  void read(llama_context* context, llama_seq_id sequence);

  /// From the next decode on. Throws ArgumentError for a layer that is not 0..N.
  void keep(Index layer, Keep what);

  /// From the next decode on, where layer N is kept, llama.cpp's graphs end behind it: the product with the LM head
  /// costs nothing then, and the context's logits are not to be read.
  void skip_logits(bool skip) noexcept { skips_logits_ = skip; }

  /// The kept states[n, d] of `layer`, valid until the next decode. Throws what went wrong during a decode, and
  /// ArgumentError for a layer that is not 0..N.
  [[nodiscard]] MatrixView<const float> states(Index layer) const;
  /// The position of the first of them.
  [[nodiscard]] Index first_position(Index layer) const { return at(layer).first; }
  /// Behind the last of them.
  [[nodiscard]] Index end_position(Index layer) const;

  /// Positions that the sequence has in llama.cpp's memory; 0 before read().
  [[nodiscard]] Index positions() const;

  /// What attach() leads llama.cpp to, for who has the callback and knows whose rows are whose: `rows` are `layer`, a
  /// number 0..N. Returns what the callback does.
  bool see(Index layer, bool ask, const Rows& rows) noexcept;
  /// Instead of attach().
  void attached_by_other() noexcept { attached_ = true; }
  /// Has the states that `from` has of the layers that are kept here, as its own sequence's.
  void take_over(const LayerTap& from);

  /// Is told the position at which every micro-batch begins, before it is computed.
  std::function<void(Index first_position)> on_begin;

  /// Throws what went wrong during a decode; then it is forgotten, and so are the states.
  void check();

  /// Forgets all states, and what went wrong.
  void forget();
  /// The states alone.
  void forget_states() noexcept;

  /// N.
  [[nodiscard]] Index blocks() const noexcept { return blocks_; }
  /// d.
  [[nodiscard]] Index hidden() const noexcept { return hidden_; }

 private:
  struct Layer {
    Keep keep = Keep::nothing;
    Index first = 0;
    std::vector<float> states;  // [n, d]
  };

  static bool callback(ggml_tensor* node, bool ask, void* user) noexcept;
  void take(Layer& layer, const Rows& rows);
  [[nodiscard]] const Layer& at(Index layer) const;
  [[nodiscard]] Index rows(const Layer& layer) const { return std::ssize(layer.states) / hidden_; }

  Index blocks_;
  Index hidden_;
  llama_context* context_ = nullptr;
  llama_seq_id sequence_ = 0;
  bool attached_ = false;
  bool skips_logits_ = false;
  std::vector<Layer> layers_;  // [N + 1]
  std::exception_ptr problem_;
};

namespace detail {

/// Widens a row of any of ggml's types.
inline void widen_by_ggml(std::string_view type, std::span<const std::byte> row, std::span<float> out) {
  const auto equal = [](std::string_view a, std::string_view b) {
    return std::ranges::equal(a, b,
                              [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
  };
  for (int t = 0; t < GGML_TYPE_COUNT; ++t) {
    const auto id = static_cast<ggml_type>(t);
    const char* name = ggml_type_name(id);
    if (name == nullptr || !equal(name, type)) continue;
    const auto* traits = ggml_get_type_traits(id);
    const auto count = static_cast<std::int64_t>(out.size());
    if (traits->to_float == nullptr || ggml_row_size(id, count) != row.size()) break;
    traits->to_float(row.data(), out.data(), count);
    return;
  }
  throw ArgumentError("LM head: ggml does not widen rows of " + std::to_string(out.size()) + " elements of type " +
                      std::string(type));
}

/// Throws ArgumentError unless the head has the shape of the tap's model, whose vocabulary has `vocab` tokens.
inline void check_shape(const LmHeadFile& file, const LayerTap& tap, Index vocab) {
  if (file.head.vocab() == vocab && file.head.hidden() == tap.hidden() && file.blocks == tap.blocks()) return;
  throw ArgumentError("head: [" + std::to_string(file.head.vocab()) + ", " + std::to_string(file.head.hidden()) +
                      "] of " + std::to_string(file.blocks) + " blocks is not the model's, [" + std::to_string(vocab) +
                      ", " + std::to_string(tap.hidden()) + "] of " + std::to_string(tap.blocks()));
}

/// Throws ArgumentError unless the head makes of `state`, the last position's behind the norm, what llama.cpp says:
/// `logits`[V]. By some tokens, the most probable among them: an 8-bit engine is one per cent off, another model's head
/// by far more.
inline void check_head(const LmHeadFile& file, std::span<const float> state, std::span<const float> logits) {
  const Index vocab = file.head.vocab();
  std::vector<TokenId> ids{static_cast<TokenId>(argmax(logits))};
  for (Index i = 0; i < 32; ++i) ids.push_back(static_cast<TokenId>(i * vocab / 32));
  Execution<Host> execution(1);
  Buffer<float> rows;
  std::vector<float> found(ids.size());
  file.head.logits(execution, as_matrix(state, 1, file.head.hidden()), ids,
                   as_matrix(std::span(found), 1, static_cast<Index>(ids.size())), rows);
  const auto wanted = [&](TokenId id) { return logits[static_cast<std::size_t>(id)]; };
  float largest = 0;
  for (const TokenId id : ids) largest = std::max(largest, std::abs(wanted(id)));
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (!(std::abs(found[i] - wanted(ids[i])) <= 0.1f * largest))
      throw ArgumentError("head: it is not the model's, which gives token " + std::to_string(ids[i]) + " a logit of " +
                          std::to_string(wanted(ids[i])) + ", and the head makes " + std::to_string(found[i]) +
                          " of the last state");
}

/// What the LM head makes of hidden states of one position.
class LayerLogits {
 public:
  /// logits[layers, V] of state_of(layer), each a span of d floats; valid until the next call.
  MatrixView<const float> compute(Execution<Host>& execution, const LmHead<>& head, std::span<const Index> layers,
                                  auto&& state_of) {
    const Index count = std::ssize(layers);
    if (states_.size() < count * head.hidden()) states_ = Buffer<float>(count * head.hidden());
    if (logits_.size() < count * head.vocab()) logits_ = Buffer<float>(count * head.vocab());
    const MatrixView<float> states(states_.data(), {count, head.hidden()});
    const MatrixView<float> logits(logits_.data(), {count, head.vocab()});
    for (Index i = 0; i < count; ++i)
      std::ranges::copy(state_of(layers[static_cast<std::size_t>(i)]), states.row(i).data());
    head.logits_by_row(execution, states, logits, rows_);
    return logits;
  }

 private:
  Buffer<float> states_;  // [layers, d]
  Buffer<float> logits_;  // [layers, V]
  Buffer<float> rows_;    // of a head that is given on request
};

}  // namespace detail

inline LmHeadFile open_lm_head(const std::filesystem::path& path) {
  return activation_trace::open_lm_head(path, detail::widen_by_ggml);
}

inline Index layer_of_node(std::string_view name, Index blocks) {
  constexpr std::array<std::string_view, 4> embedding = {"embd", "inp_embd", "inp_scaled", "inp_embd_scaled"};
  constexpr std::string_view block = "l_out-";
  if (name == "result_norm") return blocks;
  if (std::ranges::find(embedding, name) != embedding.end()) return 0;
  if (!name.starts_with(block)) return -1;
  Index number = -1;
  const auto [end, problem] = std::from_chars(name.data() + block.size(), name.data() + name.size(), number);
  const bool whole = problem == std::errc() && end == name.data() + name.size();
  return whole && number >= 0 && number + 1 < blocks ? number + 1 : -1;
}

inline LayerTap::LayerTap(const llama_model* model)
    : blocks_(llama_model_n_layer(model)),
      hidden_(llama_model_n_embd(model)),
      layers_(static_cast<std::size_t>(blocks_ + 1)) {
  if (llama_model_has_encoder(model))
    throw ArgumentError("LayerTap: the model has an encoder; decoders alone are read");
}

inline void LayerTap::attach(llama_context_params& params) {
  if (params.cb_eval != nullptr) throw StateError("LayerTap: cb_eval of these context parameters is taken already");
  if (attached_) throw StateError("LayerTap: it was attached before; a context needs one of its own");
  params.cb_eval = &LayerTap::callback;
  params.cb_eval_user_data = this;
  attached_ = true;
}

inline void LayerTap::read(llama_context* context, llama_seq_id sequence) {
  const auto count = static_cast<llama_seq_id>(llama_n_seq_max(context));
  if (sequence < 0 || sequence >= count)
    throw ArgumentError("LayerTap: the context has the sequences 0.." + std::to_string(count - 1) + ", not " +
                        std::to_string(sequence));
  if (!attached_) throw StateError("LayerTap: attach() was not called before the context was made");
  if (context != context_ || sequence != sequence_) forget();
  context_ = context;
  sequence_ = sequence;
}

inline const LayerTap::Layer& LayerTap::at(Index layer) const {
  if (layer < 0 || layer > blocks_)
    throw ArgumentError("LayerTap: layer " + std::to_string(layer) +
                        " does not exist: the model has the hidden states 0.." + std::to_string(blocks_));
  return layers_[static_cast<std::size_t>(layer)];
}

inline void LayerTap::keep(Index layer, Keep what) {
  static_cast<void>(at(layer));
  layers_[static_cast<std::size_t>(layer)].keep = what;
}

inline MatrixView<const float> LayerTap::states(Index layer) const {
  if (problem_) std::rethrow_exception(problem_);
  const Layer& kept = at(layer);
  return {kept.states.data(), {rows(kept), hidden_}};
}

inline Index LayerTap::end_position(Index layer) const { return at(layer).first + rows(at(layer)); }

inline Index LayerTap::positions() const {
  return context_ == nullptr ? 0 : llama_memory_seq_pos_max(llama_get_memory(context_), sequence_) + 1;
}

inline void LayerTap::check() {
  if (!problem_) return;
  const std::exception_ptr problem = problem_;
  forget();
  std::rethrow_exception(problem);
}

inline void LayerTap::forget() {
  forget_states();
  problem_ = nullptr;
}

inline void LayerTap::forget_states() noexcept {
  for (Layer& layer : layers_) {
    layer.first = 0;
    layer.states.clear();
  }
}

inline void LayerTap::take_over(const LayerTap& from) {
  forget();
  for (std::size_t k = 0; k < layers_.size(); ++k) {
    if (layers_[k].keep == Keep::nothing) continue;
    layers_[k].first = from.layers_[k].first;
    layers_[k].states = from.layers_[k].states;
  }
}

// Frames of C are above. `ask`: whether the node is wanted. To answer no to what is computed ends the graph, and nobody
// is told.
inline bool LayerTap::callback(ggml_tensor* node, bool ask, void* user) noexcept {
  auto& self = *static_cast<LayerTap*>(user);
  const Index number = layer_of_node(node->name, self.blocks_);
  if (number < 0) return !ask;
  // The sequence has the positions of this micro-batch already.
  return self.see(number, ask, {node, 0, static_cast<Index>(node->ne[1]), self.positions()});
}

inline bool LayerTap::see(Index number, bool ask, const Rows& rows) noexcept {
  if (context_ == nullptr) return !ask;
  try {
    if (ask && number == 0 && on_begin) on_begin(rows.end - rows.count);
    Layer& layer = layers_[static_cast<std::size_t>(number)];
    if (layer.keep == Keep::nothing) return !ask;
    if (!ask) take(layer, rows);
  } catch (...) {
    if (!problem_) problem_ = std::current_exception();
  }
  return ask || number != blocks_ || !skips_logits_;
}

inline void LayerTap::take(Layer& layer, const Rows& from) {
  const auto& [node, first, count, end] = from;
  if (count == 0) return;  // a micro-batch without a token that is flagged for output, in the last block
  if (node->type != GGML_TYPE_F32 || node->ne[0] != hidden_ || node->ne[2] != 1 || !ggml_is_contiguous(node))
    throw Error("llama.cpp: node " + std::string(node->name) + " is " + ggml_type_name(node->type) + " [" +
                std::to_string(node->ne[1]) + ", " + std::to_string(node->ne[0]) + "], expected tight f32 rows of " +
                std::to_string(hidden_));
  const Index skipped = layer.keep == Keep::last_row ? count - 1 : 0;
  const Index begin = end - (count - skipped);
  const Index known = begin - layer.first;  // rows that stay
  if (layer.keep == Keep::last_row || known < 0 || known > rows(layer)) {
    layer.first = begin;
    layer.states.clear();
  } else {
    layer.states.resize(static_cast<std::size_t>(known * hidden_));
  }
  const std::size_t old = layer.states.size();
  const auto added = static_cast<std::size_t>((count - skipped) * hidden_);
  layer.states.resize(old + added);
  ggml_backend_tensor_get(node, layer.states.data() + old, static_cast<std::size_t>(first + skipped) * node->nb[1],
                          added * sizeof(float));
}

}  // namespace llama_cpp
}  // namespace v0
}  // namespace activation_trace
