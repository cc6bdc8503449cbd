// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/processors/context_head.cuh"
#include "activation_trace/cuda/processors/sharpness_kernels.cuh"
#include "activation_trace/cuda/processors/sharpness_shape.cuh"

namespace activation_trace {
inline namespace v0 {
namespace cuda {
namespace detail {

/// The contexts of B sequences in device memory, and their entropies as far as somebody has asked for them: what
/// ContextEntropy is on the host. EntropySharpnessBatch<Cuda> says what its functions throw and wait for.
class ContextEntropies {
 public:
  /// Memory for a `shape` that checked() has accepted, on the current device, which must be the stream's.
  ContextEntropies(Execution<Cuda> stream, const SharpnessShape& shape, const EntropySharpnessOptions& options);

  /// Positions of sequence b that count. Throws ArgumentError for another b.
  [[nodiscard]] Index positions(Index b) const { return context(b).positions; }
  /// Appends hidden[T, d] to the context of sequence b.
  template <class T>
  void observe(Index b, MatrixView<T, Cuda> hidden,
               std::type_identity_t<MatrixView<const std::remove_const_t<T>, Cuda>> lm_head) {
    if (lm_head.extent(1) > 1 && lm_head.stride(1) != 1)
      throw ShapeError("observe_context: the columns of lm_head must be contiguous");
    append<ViewedHead<std::remove_const_t<T>>>(b, hidden, StoredMatrix<Cuda>(lm_head));
  }
  /// The same for an LM head in any stored form, and f32 hidden states.
  template <class T>
  requires(std::is_same_v<std::remove_const_t<T>, float>) void observe(Index b, MatrixView<T, Cuda> hidden,
                                                                       const StoredMatrix<Cuda>& lm_head) {
    append<StoredHead>(b, hidden, lm_head);
  }
  /// Forgets the context of sequence b.
  void reset(Index b);

  /// Brings the states of what survives in `rows` up to date; every sequence must have positions. Can be recorded.
  void update_survivors(const SharpnessRows& rows, const SharpnessMemory& memory);
  /// The same for the token of the vocabulary that `id` is in the memory of the device, of all sequences.
  void update_token(const TokenId* id, const SharpnessMemory& memory);
  /// The entropies of all V tokens, valid until the next call.
  [[nodiscard]] VectorView<const float, Cuda> entropy(Index b);
  /// The mergeable triple of token `id`, on the host.
  [[nodiscard]] SoftmaxState state(Index b, TokenId id);

  /// All states, [B, V]; those that nobody has asked for are empty.
  [[nodiscard]] SoftmaxState* states() { return states_.data(); }
  /// Room for a list of tokens, [B, V].
  [[nodiscard]] TokenId* lists() { return lists_.data(); }

  /// Throws StateError while a graph is recorded: what the host knows of the device would be wrong.
  void require_eager(const char* call) const;

 private:
  struct Context {
    Index observed = 0;     // positions, within the span or not
    Index positions = 0;    // those that count
    bool asked = false;     // some states may be known
    bool complete = false;  // all are
  };
  /// What depends on the type of the numbers: chosen by the first context, so that a program holds the kernels of the
  /// types that it uses only.
  struct Operations {
    void (ContextEntropies::*join)(Index, Index, Index, const CandidateList&);
    void (ContextEntropies::*gather)(Index, const CandidateList&, const CandidateBatch&, const SharpnessMemory&);
    void (ContextEntropies::*compute)(Index, Index, Index);
  };
  template <class Head>
  static const Operations* operations_of() {
    static constexpr Operations operations{&ContextEntropies::join_known<Head>, &ContextEntropies::gather_missing<Head>,
                                           &ContextEntropies::compute_states<Head>};
    return &operations;
  }

  /// Elements of `gathered_` per sequence: 8 positions and a token each, but at least one for every token.
  [[nodiscard]] static Index gathered_size(const SharpnessShape& shape) {
    return std::max((shape.positions + 7) / 8 * shape.candidates, shape.vocab);
  }
  [[nodiscard]] const Context& context(Index b) const;
  [[nodiscard]] Context& context(Index b) { return const_cast<Context&>(std::as_const(*this).context(b)); }
  [[nodiscard]] VectorView<SoftmaxState, Cuda> states(Index b) {
    return states_.view().slice(0, b * shape_.vocab, (b + 1) * shape_.vocab);
  }
  /// Rows [begin, end) of the context of sequence b.
  template <class T>
  [[nodiscard]] MatrixView<T, Cuda> hidden(Index b, Index begin, Index end) {
    T* const first = reinterpret_cast<T*>(hidden_.data()) + (b * shape_.positions + begin) * shape_.hidden;
    return {first, {end - begin, shape_.hidden}};
  }

  template <class T>
  void check(const MatrixView<const T, Cuda>& hidden, const StoredMatrix<Cuda>& w) const;
  template <class Head>
  void append(Index b, MatrixView<const typename Head::State, Cuda> hidden, const StoredMatrix<Cuda>& lm_head);
  template <class T>
  void store(const MatrixView<const T, Cuda>& counted, const MatrixView<T, Cuda>& target);
  void join_new_positions(Index b, Index begin, Index end);
  template <class Head>
  void join_known(Index b, Index begin, Index end, const CandidateList& known);
  template <class Head>
  void gather_missing(Index longest, const CandidateList& missing, const CandidateBatch& sequences,
                      const SharpnessMemory& memory);
  template <class Head>
  void compute_states(Index b, Index begin, Index end);
  void complete(Index b);
  void require_context(Index b, const char* call) const;
  void clear_states(Index b);
  void make_workspace();
  [[nodiscard]] bool all_complete() const {
    return std::all_of(contexts_.begin(), contexts_.end(), [](const Context& c) { return c.complete; });
  }
  void update_listed(const SharpnessMemory& memory);

  Execution<Cuda> stream_;
  SharpnessShape shape_;
  ContextSpan span_;
  float norm_eps_;                          // of norm_
  bool complete_at_once_;                   // every step asks for all entropies
  std::vector<Context> contexts_;           // [B]
  const Operations* operations_ = nullptr;  // before the first context
  StoredMatrix<Cuda> lm_head_;              // [V, d]
  Buffer<std::byte, Cuda> hidden_;          // [B, T, d] of shape_.dtype
  Buffer<float, Cuda> norm_;                // [d], or nothing
  Buffer<int, Cuda> positions_;             // [B]
  Buffer<SoftmaxState, Cuda> states_;       // [B, V]
  Buffer<TokenId, Cuda> lists_;             // [B, V]
  Buffer<int, Cuda> known_;                 // [1], the length of a list
  Buffer<SoftmaxState, Cuda> gathered_;     // [B, gathered_size]
  Buffer<SoftmaxState, Cuda> workspace_;    // of the full kernel, at its first use
  Buffer<float, Cuda> entropy_;             // [V], at its first use
};

inline ContextEntropies::ContextEntropies(Execution<Cuda> stream, const SharpnessShape& shape,
                                          const EntropySharpnessOptions& options)
    : stream_(stream),
      shape_(shape),
      span_(options.context),
      norm_eps_(options.final_norm ? options.final_norm->eps : 0),
      complete_at_once_(options.filter.relative_top == 0 && options.input == SharpnessInput::logits),
      contexts_(static_cast<std::size_t>(shape.sequences)),
      hidden_(shape.sequences * shape.positions * shape.hidden * (shape.dtype == DType::f32 ? 4 : 2)),
      norm_(options.final_norm ? shape.hidden : 0),
      positions_(shape.sequences),
      states_(shape.sequences * shape.vocab),
      lists_(shape.sequences * shape.vocab),
      known_(1),
      gathered_(shape.sequences * gathered_size(shape)) {
  if (options.final_norm) cuda::copy(stream_, VectorView<const float>(options.final_norm->weight), norm_.view());
  if (options.filter.relative_top == 0) make_workspace();
  for (Index b = 0; b < shape.sequences; ++b) reset(b);
}

inline const ContextEntropies::Context& ContextEntropies::context(Index b) const {
  if (b < 0 || b >= shape_.sequences)
    throw ArgumentError("sequence " + std::to_string(b) + " is not in a batch of " + std::to_string(shape_.sequences));
  return contexts_[static_cast<std::size_t>(b)];
}

inline void ContextEntropies::clear_states(Index b) {
  launch(stream_, "clear_states_kernel", {blocks(row_blocks(shape_.vocab)), row_threads},
         clear_states_kernel<row_threads>, states(b).data(), shape_.vocab);
}

inline void ContextEntropies::require_eager(const char* call) const {
  if (stream_.recording())
    throw StateError(std::string(call) + ": it cannot be recorded in a graph, call it before; process() can");
}

inline void ContextEntropies::require_context(Index b, const char* call) const {
  require_eager(call);
  if (context(b).positions == 0) throw StateError("no context: observe_context was not called for this sequence");
}

inline void ContextEntropies::reset(Index b) {
  require_eager("reset");
  context(b) = {};
  clear_states(b);
  if (std::none_of(contexts_.begin(), contexts_.end(), [](const Context& other) { return other.observed != 0; }))
    lm_head_ = {};
}

template <class T>
void ContextEntropies::check(const MatrixView<const T, Cuda>& hidden_states, const StoredMatrix<Cuda>& w) const {
  if (dtype_of<T> != shape_.dtype)
    throw ArgumentError("hidden: its type is not the dtype that the processor was made for");
  if (w.rows() != shape_.vocab || w.cols() != shape_.hidden)
    throw ShapeError("lm_head: expected [" + std::to_string(shape_.vocab) + ", " + std::to_string(shape_.hidden) +
                     "], got [" + std::to_string(w.rows()) + ", " + std::to_string(w.cols()) + "]");
  check_product(hidden_states, w.rows(), w.cols());
  check_stored("lm_head", w);
  if (hidden_states.extent(1) > 1 && hidden_states.stride(1) != 1)
    throw ShapeError("observe_context: the columns of hidden must be contiguous");
  if (lm_head_.data() != nullptr &&
      (lm_head_.data() != w.data() || lm_head_.row_bytes() != w.row_bytes() || lm_head_.dtype() != w.dtype()))
    throw ArgumentError("lm_head: not the one that the batch began with; call reset() first");
}

template <class Head>
void ContextEntropies::append(Index b, MatrixView<const typename Head::State, Cuda> hidden_states,
                              const StoredMatrix<Cuda>& w) {
  using T = typename Head::State;
  Context& c = context(b);
  require_eager("observe_context");
  check<T>(hidden_states, w);
  if (!Head::available(stream_))
    throw ArgumentError("EntropySharpnessProcessor<Cuda> needs a device and code for sm_80");

  const Index rows = hidden_states.extent(0);
  const Index begin = std::clamp<Index>(span_.begin - c.observed, 0, rows);
  const Index end = std::clamp<Index>(span_.end - c.observed, begin, rows);
  const Index positions = c.positions + end - begin;
  if (positions > shape_.positions)
    throw ShapeError("hidden: " + std::to_string(positions) + " positions, the processor was made for " +
                     std::to_string(shape_.positions));
  operations_ = operations_of<Head>();
  lm_head_ = w;
  if (end > begin) {
    store<T>(hidden_states.slice(0, begin, end), hidden<T>(b, c.positions, positions));
    join_new_positions(b, c.positions, positions);
  }
  c.observed += rows;
  c.positions = positions;
  launch(stream_, "store_kernel", {blocks(1), 1}, store_kernel<int>, positions_.data() + b,
         static_cast<int>(positions));
  // Without a filter every step asks for all entropies. They are made here and not by the first step, which may be one
  // that is recorded: its graph would make them again at every launch, and nobody before that.
  if (positions > 0 && complete_at_once_) complete(b);
}

template <class T>
void ContextEntropies::store(const MatrixView<const T, Cuda>& counted, const MatrixView<T, Cuda>& target) {
  if (norm_.size() != 0)
    launch(stream_, "norm_rows_kernel", {blocks(counted.extent(0)), row_threads}, norm_rows_kernel<T, row_threads>,
           Strided<T>(counted), norm_.data(), norm_eps_, target.data(), target.stride(0));
  else
    cuda::copy(stream_, counted, target);
}

// Positions that come after a state was asked for are added to it, and to no other: each product is made once at most.
inline void ContextEntropies::join_new_positions(Index b, Index begin, Index end) {
  const Context& c = context(b);
  if (!c.asked) return;
  if (c.complete) {
    (this->*operations_->compute)(b, begin, end);
    return;
  }
  TokenId* const list = lists_.data() + b * shape_.vocab;
  cuda::set_bytes(stream_, known_.view(), 0);
  launch(stream_, "list_known_kernel", {blocks(row_blocks(shape_.vocab)), row_threads}, list_known_kernel<row_threads>,
         states(b).data(), shape_.vocab, list, known_.data());
  (this->*operations_->join)(b, begin, end, {list, known_.data(), shape_.vocab, StateAt::id});
}

template <class Head>
void ContextEntropies::join_known(Index b, Index begin, Index end, const CandidateList& known) {
  const Head head(lm_head_);
  const Index room = gathered_size(shape_);
  const Index most = room / shape_.vocab * head.many_tile();
  for (Index first = begin; first < end; first += most)
    head.join_many(stream_, hidden<typename Head::State>(b, first, std::min(first + most, end)), known,
                   CandidateBatch{}, 1, gathered_.data() + b * room, states(b).data());
}

inline void ContextEntropies::make_workspace() {
  const DeviceGuard guard(stream_.device());
  if (workspace_.size() == 0)
    workspace_ = Buffer<SoftmaxState, Cuda>(cuda::softmax_workspace_size(shape_.positions, shape_.vocab));
}

template <class Head>
void ContextEntropies::compute_states(Index b, Index begin, Index end) {
  cuda::softmax_states(stream_, hidden<typename Head::State>(b, begin, end), Head(lm_head_).view, states(b),
                       workspace_.view());
}

inline void ContextEntropies::complete(Index b) {
  Context& c = context(b);
  if (c.complete) return;
  make_workspace();
  clear_states(b);
  (this->*operations_->compute)(b, 0, c.positions);
  c.asked = c.complete = true;
}

inline void ContextEntropies::update_survivors(const SharpnessRows& rows, const SharpnessMemory& memory) {
  if (all_complete()) return;
  launch_dependent(stream_, "list_missing_kernel", {blocks(row_blocks(rows.n), shape_.sequences), row_threads},
                   list_missing_kernel<row_threads>, rows, memory);
  update_listed(memory);
}

inline void ContextEntropies::update_token(const TokenId* id, const SharpnessMemory& memory) {
  if (all_complete()) return;
  launch_dependent(stream_, "list_token_kernel", {blocks(1), row_threads}, list_token_kernel<row_threads>, id,
                   shape_.sequences, shape_.vocab, memory);
  update_listed(memory);
}

inline void ContextEntropies::update_listed(const SharpnessMemory& memory) {
  // The kernels read how long each context is on the device. A graph is for contexts that may have grown since.
  Index longest = stream_.recording() ? shape_.positions : 0;
  for (Context& c : contexts_) {
    longest = std::max(longest, c.positions);
    c.asked = true;
  }
  const CandidateList missing{memory.missing, &memory.counters->missing, shape_.candidates, StateAt::id};
  const CandidateBatch sequences{.positions = positions_.data(),
                                 .hidden_bytes = hidden_.size() / shape_.sequences,
                                 .counts = sizeof(SharpnessCounters) / sizeof(int),
                                 .ids = shape_.vocab,
                                 .partials = gathered_size(shape_),
                                 .states = shape_.vocab};
  (this->*operations_->gather)(longest, missing, sequences, memory);
}

template <class Head>
void ContextEntropies::gather_missing(Index longest, const CandidateList& missing, const CandidateBatch& sequences,
                                      const SharpnessMemory& memory) {
  using T = typename Head::State;
  const Head head(lm_head_);
  const MatrixView<const T, Cuda> all = hidden<T>(0, 0, longest);
  head.join_few(stream_, all, missing, sequences, shape_.sequences, gathered_.data(), memory.states);
  const auto elements = head.elements();
  const Index tiles = (shape_.vocab + simt_tile - 1) / simt_tile;
  const Index enough = 2 * device_attribute(stream_, cudaDevAttrMultiProcessorCount);
  launch_dependent(stream_, "complete_states_kernel", {blocks(std::min(tiles, enough), shape_.sequences), 256},
                   complete_states_kernel<T, std::remove_const_t<decltype(elements)>>, Strided<T>(all), elements,
                   sequences, static_cast<int>(shape_.candidates), memory);
}

inline VectorView<const float, Cuda> ContextEntropies::entropy(Index b) {
  require_context(b, "entropy");
  complete(b);
  const DeviceGuard guard(stream_.device());
  if (entropy_.size() == 0) entropy_ = Buffer<float, Cuda>(shape_.vocab);
  cuda::entropy(stream_, states(b), entropy_.view());
  return std::as_const(entropy_).view();
}

inline SoftmaxState ContextEntropies::state(Index b, TokenId id) {
  require_context(b, "state");
  if (id < 0 || id >= shape_.vocab)
    throw ArgumentError("token id " + std::to_string(id) + " is not in the vocabulary of " +
                        std::to_string(shape_.vocab));
  SoftmaxState state;
  const auto read = [&] {
    cuda::copy(stream_, VectorView<const SoftmaxState, Cuda>(states(b).slice(0, id, id + 1)),
               VectorView<SoftmaxState>(&state, {1}));
    stream_.synchronize();
  };
  read();
  if (!state.empty()) return state;
  complete(b);
  read();
  return state;
}

}  // namespace detail
}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
