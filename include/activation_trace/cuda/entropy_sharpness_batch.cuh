// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/sharpness_kernels.cuh"
#include "activation_trace/processors/repetition_penalty.hpp"
#include "activation_trace/processors/sharpness_options.hpp"
#include "activation_trace/tensor/dtype.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// What the device memory of a processor is made for.
struct SharpnessShape {
  Index vocab = 0;               ///< V
  Index hidden = 0;              ///< d
  Index positions = 0;           ///< room for the longest context, T
  Index sequences = 1;           ///< B
  DType dtype = DType::bf16;     ///< of hidden states and LM head: f32, f16 or bf16
  float repetition_penalty = 1;  ///< of the tokens that observe_tokens() was given, as in RepetitionPenalty
  /// Tokens of one step and sequence whose rows of the LM head are gathered. When more are new, all V entropies of the
  /// sequence are computed. 1024 are possible only while the best token's probability is below 0.01
  /// (processors/README.md 1.4).
  Index candidates = 1024;
};

}  // namespace cuda

/// Activation decoding for B sequences on the device, contexts of different lengths: what EntropySharpnessBatch does on
/// the host, on somebody's stream and without ever waiting for the device.
///
///     EntropySharpnessBatch<Cuda> batch(stream, {.vocab = V, .hidden = d, .positions = 2048, .sequences = B});
///     batch[b].observe_context(hidden, lm_head);  // [T, d], [V, d] on the device, for each prompt
///     batch.process(logits);                      // [B, V], in place, at every step
///     batch.choices();                            // [B]: the best token of each, on the device
///
/// Lazy as on the host: only rows of the LM head whose tokens survive the filter and are new are read; without a
/// filter, all when the context is observed. process() allocates nothing and can be recorded in a cuda::Graph, which
/// stays valid until a context grows or is reset. What concerns a context cannot be recorded: StateError.
///
/// All memory is made by the constructor: B T d elements for the hidden states, B V (12 states + 16 survivors + 5)
/// bytes, and 12 bytes per gathered token and 8 positions. Entropies are those of hidden states and LM head as stored,
/// with fp32 products and sums. Movable, not copyable, and not safe for concurrent use.
template <>
class EntropySharpnessBatch<Cuda> {
 public:
  /// Works in the order of `stream`, which must outlive the batch. Throws ArgumentError for an extent below 1, a dtype
  /// that is none of the three, and as the processor on the host does; CudaError.
  EntropySharpnessBatch(Execution<Cuda> stream, const cuda::SharpnessShape& shape, EntropySharpnessOptions options = {})
      : EntropySharpnessBatch(cuda::DeviceGuard(stream.device()), stream, shape, std::move(options)) {}

  /// Sequences, B.
  [[nodiscard]] Index size() const noexcept { return shape_.sequences; }

  /// What concerns one sequence: its processor, as on the host. Does not own, and must not outlive the batch.
  class Sequence {
   public:
    /// Appends hidden[T, d] to the context, as EntropySharpnessProcessor::observe_context on the host: copied;
    /// `lm_head`[V, d] is kept as a view. Values that are not finite are not looked for: they make the choice of a step
    /// that meets them invalid. Throws ShapeError, also when there is no room; ArgumentError for another type or LM
    /// head.
    template <class T>
    void observe_context(MatrixView<T, Cuda> hidden,
                         std::type_identity_t<MatrixView<const std::remove_const_t<T>, Cuda>> lm_head) {
      batch_->observe_context(b_, hidden, lm_head);
    }

    /// What the last process() chose, on the host, survivors by id; scores include the penalty. Waits for the stream.
    /// Throws ArgumentError if the choice is invalid.
    [[nodiscard]] SharpnessRecord record() const { return batch_->record(b_); }

    /// The entropies of all V tokens, in nats, on the device until the next call for any sequence. Not for graphs:
    /// allocates at the first call. Throws StateError before a context.
    [[nodiscard]] VectorView<const float, Cuda> entropy() { return batch_->entropy(b_); }

    /// The mergeable triple of token `id`, on the host. Waits for the stream. Throws as entropy(), and ArgumentError
    /// outside the vocabulary.
    [[nodiscard]] SoftmaxState state(TokenId id) { return batch_->state(b_, id); }

    /// Positions that count so far, T.
    [[nodiscard]] Index context_size() const { return batch_->context(b_).positions; }

    /// Forgets the context and the observed tokens, for the next prompt.
    void reset() { batch_->reset(b_); }

   private:
    friend class EntropySharpnessBatch;
    Sequence(EntropySharpnessBatch& batch, Index b) : batch_(&batch), b_(b) {}

    EntropySharpnessBatch* batch_;
    Index b_;
  };

  /// Sequence b. Throws ArgumentError for another b.
  [[nodiscard]] Sequence operator[](Index b) {
    static_cast<void>(context(b));
    return {*this, b};
  }

  /// Adds ids[B, n] to the tokens that the repetition penalty is for, row b to sequence b. -1 is no token.
  void observe_tokens(MatrixView<const TokenId, Cuda> ids);

  /// Adds the tokens that the last process() chose, without a look at them.
  void observe_choices() {
    observe_tokens({&choices_.data()->best, {size(), 1}, {sizeof(cuda::SharpnessChoice) / sizeof(TokenId), 1}});
  }

  /// logits[B, V], rows contiguous, become scores in place: log-probability minus alpha times entropy, with the
  /// repetition penalty; -inf where the filter masks. One log-probability per entry, a row with NaN or +inf stays as it
  /// is and its choice is invalid. Throws StateError while a sequence has no context, ShapeError.
  void process(MatrixView<float, Cuda> logits);

  /// The same for one list of candidates in any order: column i belongs to ids[i], n of them, no more than V.
  void process(VectorView<const TokenId, Cuda> ids, MatrixView<float, Cuda> logits);

  /// What the last process() chose, [B], on the device.
  [[nodiscard]] VectorView<const cuda::SharpnessChoice, Cuda> choices() const { return choices_.view(); }

  /// As given to the constructor.
  [[nodiscard]] const EntropySharpnessOptions& options() const noexcept { return options_; }

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
    void (*find_missing)(EntropySharpnessBatch&, const cuda::detail::SharpnessRows&);
    void (*complete)(EntropySharpnessBatch&, Index);
  };
  template <class T>
  static const Operations* operations_of() {
    static constexpr Operations operations{&find_missing<T>, &complete<T>};
    return &operations;
  }

  EntropySharpnessBatch(const cuda::DeviceGuard&, Execution<Cuda> stream, const cuda::SharpnessShape& shape,
                        EntropySharpnessOptions options);
  static const cuda::SharpnessShape& checked(const cuda::SharpnessShape& shape, const EntropySharpnessOptions& options);
  /// Elements of `gathered_` per sequence: 8 positions and a token each, but at least one for every token.
  [[nodiscard]] static Index gathered_size(const cuda::SharpnessShape& shape) {
    return std::max((shape.positions + 7) / 8 * shape.candidates, shape.vocab);
  }
  template <class T>
  void observe_context(Index b, MatrixView<T, Cuda> hidden,
                       std::type_identity_t<MatrixView<const std::remove_const_t<T>, Cuda>> lm_head);
  [[nodiscard]] SharpnessRecord record(Index b) const;
  [[nodiscard]] VectorView<const float, Cuda> entropy(Index b);
  [[nodiscard]] SoftmaxState state(Index b, TokenId id);
  void reset(Index b);
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
  [[nodiscard]] MatrixView<const T, Cuda> lm_head() const {
    return {static_cast<const T*>(lm_head_), {shape_.vocab, shape_.hidden}, {lm_head_stride_, 1}};
  }
  [[nodiscard]] cuda::detail::SharpnessMemory memory();
  template <class T>
  void join_new_positions(Index b, Index begin, Index end);
  template <class T>
  static void find_missing(EntropySharpnessBatch& batch, const cuda::detail::SharpnessRows& rows);
  template <class T>
  static void complete(EntropySharpnessBatch& batch, Index b);
  void complete(Index b);
  /// Throws StateError while a graph is recorded: what the host knows of the device would be wrong.
  void require_eager(const char* call) const;
  void require_context(Index b, const char* call) const;
  void clear_states(Index b);
  void make_workspace();
  void step(const MatrixView<float, Cuda>& logits, const TokenId* ids);

  Execution<Cuda> stream_;
  cuda::SharpnessShape shape_;
  EntropySharpnessOptions options_;
  std::vector<Context> contexts_;                           // [B]
  const Operations* operations_ = nullptr;                  // before the first context
  const void* lm_head_ = nullptr;                           // [V, d]
  Index lm_head_stride_ = 0;                                // elements
  Buffer<std::byte, Cuda> hidden_;                          // [B, T, d] of shape_.dtype
  Buffer<float, Cuda> norm_;                                // [d], or nothing
  Buffer<int, Cuda> positions_;                             // [B]
  Buffer<SoftmaxState, Cuda> states_;                       // [B, V]
  Buffer<unsigned char, Cuda> seen_;                        // [B, V]
  Buffer<TokenId, Cuda> missing_;                           // [B, V]
  Buffer<SharpnessCandidate, Cuda> kept_;                   // [B, V]
  Buffer<SoftmaxState, Cuda> gathered_;                     // [B, gathered_size]
  cuda::detail::RowStatisticsMemory statistics_;            // [B]
  Buffer<cuda::detail::SharpnessCounters, Cuda> counters_;  // [B]
  Buffer<cuda::SharpnessChoice, Cuda> choices_;             // [B]
  Buffer<cuda::detail::RankedPair, Cuda> partials_;         // [B, row_blocks(V)]
  Buffer<unsigned, Cuda> tickets_;                          // [B]
  Buffer<SoftmaxState, Cuda> workspace_;                    // of the full kernel, at its first use
  Buffer<float, Cuda> entropy_;                             // [V], at its first use
};

inline const cuda::SharpnessShape& EntropySharpnessBatch<Cuda>::checked(const cuda::SharpnessShape& shape,
                                                                        const EntropySharpnessOptions& options) {
  const auto positive = [](const char* name, Index value) {
    if (value < 1 || value > Index{1} << 30)
      throw ArgumentError(std::string(name) + ": expected a number in [1, 2^30], got " + std::to_string(value));
  };
  positive("vocab", shape.vocab);
  positive("hidden", shape.hidden);
  positive("positions", shape.positions);
  positive("candidates", shape.candidates);
  positive("sequences", shape.sequences);
  if (shape.sequences > 65535)  // the y extent of a grid
    throw ArgumentError("sequences: expected at most 65535, got " + std::to_string(shape.sequences));
  if (shape.dtype != DType::f32 && shape.dtype != DType::f16 && shape.dtype != DType::bf16)
    throw ArgumentError("dtype: hidden states on the device are f32, f16 or bf16");
  const RepetitionPenalty checks_penalty(shape.repetition_penalty, 0);
  v0::detail::check_alpha(options.alpha);
  v0::detail::check_context(options.context, options.final_norm);
  const RelativeTopFilter checks_filter(options.filter);
  if (options.final_norm && static_cast<Index>(options.final_norm->weight.size()) != shape.hidden)
    throw ShapeError("final_norm: expected " + std::to_string(shape.hidden) + " weights, got " +
                     std::to_string(options.final_norm->weight.size()));
  return shape;
}

inline EntropySharpnessBatch<Cuda>::EntropySharpnessBatch(const cuda::DeviceGuard&, Execution<Cuda> stream,
                                                          const cuda::SharpnessShape& shape,
                                                          EntropySharpnessOptions options)
    : stream_(stream),
      shape_(checked(shape, options)),
      options_(std::move(options)),
      contexts_(static_cast<std::size_t>(shape.sequences)),
      hidden_(shape.sequences * shape.positions * shape.hidden * (shape.dtype == DType::f32 ? 4 : 2)),
      norm_(options_.final_norm ? shape.hidden : 0),
      positions_(shape.sequences),
      states_(shape.sequences * shape.vocab),
      seen_(shape.sequences * shape.vocab),
      missing_(shape.sequences * shape.vocab),
      kept_(shape.sequences * shape.vocab),
      gathered_(shape.sequences * gathered_size(shape)),
      statistics_(stream, shape.sequences, shape.vocab),
      counters_(shape.sequences),
      choices_(shape.sequences),
      partials_(shape.sequences * cuda::detail::row_blocks(shape.vocab)),
      tickets_(shape.sequences) {
  cuda::set_bytes(stream_, tickets_.view(), 0);
  cuda::set_bytes(stream_, choices_.view(), 0xff);  // ids of -1
  if (options_.final_norm) cuda::copy(stream_, VectorView<const float>(options_.final_norm->weight), norm_.view());
  if (options_.filter.relative_top == 0) make_workspace();
  for (Index b = 0; b < size(); ++b) reset(b);
}

inline const EntropySharpnessBatch<Cuda>::Context& EntropySharpnessBatch<Cuda>::context(Index b) const {
  if (b < 0 || b >= size())
    throw ArgumentError("sequence " + std::to_string(b) + " is not in a batch of " + std::to_string(size()));
  return contexts_[static_cast<std::size_t>(b)];
}

inline cuda::detail::SharpnessMemory EntropySharpnessBatch<Cuda>::memory() {
  return {statistics_.statistics.data(),
          counters_.data(),
          states_.data(),
          seen_.data(),
          missing_.data(),
          kept_.data(),
          choices_.data(),
          partials_.data(),
          tickets_.data()};
}

inline void EntropySharpnessBatch<Cuda>::clear_states(Index b) {
  using namespace cuda::detail;
  launch(stream_, "clear_states_kernel", {blocks(row_blocks(shape_.vocab)), row_threads},
         clear_states_kernel<row_threads>, states(b).data(), shape_.vocab);
}

inline void EntropySharpnessBatch<Cuda>::require_eager(const char* call) const {
  if (stream_.recording())
    throw StateError(std::string(call) + ": it cannot be recorded in a graph, call it before; process() can");
}

inline void EntropySharpnessBatch<Cuda>::require_context(Index b, const char* call) const {
  require_eager(call);
  if (context(b).positions == 0) throw StateError("no context: observe_context was not called for this sequence");
}

inline void EntropySharpnessBatch<Cuda>::reset(Index b) {
  require_eager("reset");
  Context& c = context(b);
  c = {};
  clear_states(b);
  cuda::set_bytes(stream_, seen_.view().slice(0, b * shape_.vocab, (b + 1) * shape_.vocab), 0);
  if (std::none_of(contexts_.begin(), contexts_.end(), [](const Context& other) { return other.observed != 0; }))
    lm_head_ = nullptr;
}

template <class T>
void EntropySharpnessBatch<Cuda>::observe_context(
    Index b, MatrixView<T, Cuda> hidden_states,
    std::type_identity_t<MatrixView<const std::remove_const_t<T>, Cuda>> w) {
  using Value = std::remove_const_t<T>;
  using namespace cuda::detail;
  Context& c = context(b);
  require_eager("observe_context");
  if (dtype_of<Value> != shape_.dtype)
    throw ArgumentError("hidden: its type is not the dtype that the processor was made for");
  if (w.extent(0) != shape_.vocab || w.extent(1) != shape_.hidden)
    throw ShapeError("lm_head: expected [" + std::to_string(shape_.vocab) + ", " + std::to_string(shape_.hidden) +
                     "], got [" + std::to_string(w.extent(0)) + ", " + std::to_string(w.extent(1)) + "]");
  check_product(hidden_states, w);
  if ((hidden_states.extent(1) > 1 && hidden_states.stride(1) != 1) || (shape_.hidden > 1 && w.stride(1) != 1))
    throw ShapeError("observe_context: the columns of hidden and lm_head must be contiguous");
  if (lm_head_ != nullptr && (lm_head_ != w.data() || lm_head_stride_ != w.stride(0)))
    throw ArgumentError("lm_head: not the one that the batch began with; call reset() first");
  if (!compiled_for_device(stream_, &softmax_candidates_kernel<Value, RowAccess::chunks, 1, 1, 16>))
    throw ArgumentError("EntropySharpnessProcessor<Cuda> needs a device and code for sm_80");

  const Index rows = hidden_states.extent(0);
  const Index begin = std::clamp<Index>(options_.context.begin - c.observed, 0, rows);
  const Index end = std::clamp<Index>(options_.context.end - c.observed, begin, rows);
  const Index positions = c.positions + end - begin;
  if (positions > shape_.positions)
    throw ShapeError("hidden: " + std::to_string(positions) + " positions, the processor was made for " +
                     std::to_string(shape_.positions));
  operations_ = operations_of<Value>();
  lm_head_ = w.data();
  lm_head_stride_ = w.stride(0);
  if (end > begin) {
    const MatrixView<const Value, Cuda> counted = MatrixView<const Value, Cuda>(hidden_states).slice(0, begin, end);
    const MatrixView<Value, Cuda> target = hidden<Value>(b, c.positions, positions);
    if (options_.final_norm)
      launch(stream_, "norm_rows_kernel", {blocks(end - begin), row_threads}, norm_rows_kernel<Value, row_threads>,
             Strided<Value>(counted), norm_.data(), options_.final_norm->eps, target.data(), target.stride(0));
    else
      cuda::copy(stream_, counted, target);
    join_new_positions<Value>(b, c.positions, positions);
  }
  c.observed += rows;
  c.positions = positions;
  launch(stream_, "store_kernel", {blocks(1), 1}, store_kernel<int>, positions_.data() + b,
         static_cast<int>(positions));
  // Without a filter every step asks for all entropies. They are made here and not by the first step, which may be one
  // that is recorded: its graph would make them again at every launch, and nobody before that.
  if (positions > 0 && options_.filter.relative_top == 0 && options_.input == SharpnessInput::logits) complete(b);
}

// Positions that come after a state was asked for are added to it, and to no other: each product is made once at most.
template <class T>
void EntropySharpnessBatch<Cuda>::join_new_positions(Index b, Index begin, Index end) {
  using namespace cuda::detail;
  const Context& c = context(b);
  if (!c.asked) return;
  const MatrixView<const T, Cuda> w = lm_head<T>();
  if (c.complete) {
    cuda::softmax_states(stream_, hidden<T>(b, begin, end), w, states(b), workspace_.view());
    return;
  }
  int* const count = &counters_.data()[b].missing;
  const CandidateList known{missing_.data() + b * shape_.vocab, count, shape_.vocab, StateAt::id};
  cuda::set_bytes(stream_, VectorView<int, Cuda>(count, {1}), 0);
  launch(stream_, "list_known_kernel", {blocks(row_blocks(shape_.vocab)), row_threads}, list_known_kernel<row_threads>,
         states(b).data(), shape_.vocab, missing_.data() + b * shape_.vocab, count);
  const Index room = gathered_size(shape_);
  const auto join = [&](auto launch_for, Index tile_t) {
    const Index most = room / shape_.vocab * tile_t;
    for (Index first = begin; first < end; first += most)
      launch_for(stream_, RowBytes(MatrixView<const T, Cuda>(hidden<T>(b, first, std::min(first + most, end)))),
                 RowBytes(w), known, CandidateBatch{}, 1, gathered_.data() + b * room, states(b).data());
  };
  if (row_access(w) == RowAccess::elements)
    join(launch_candidates<T, RowAccess::elements, 1, 1, 8>, 8);
  else
    join(launch_candidates<T, RowAccess::chunks, 2, 4, 8>, 32);
}

inline void EntropySharpnessBatch<Cuda>::make_workspace() {
  const cuda::DeviceGuard guard(stream_.device());
  if (workspace_.size() == 0)
    workspace_ = Buffer<SoftmaxState, Cuda>(cuda::softmax_workspace_size(shape_.positions, shape_.vocab));
}

template <class T>
void EntropySharpnessBatch<Cuda>::complete(EntropySharpnessBatch& batch, Index b) {
  cuda::softmax_states(batch.stream_, batch.hidden<T>(b, 0, batch.context(b).positions), batch.lm_head<T>(),
                       batch.states(b), batch.workspace_.view());
}

inline void EntropySharpnessBatch<Cuda>::complete(Index b) {
  Context& c = context(b);
  if (c.complete) return;
  make_workspace();
  clear_states(b);
  operations_->complete(*this, b);
  c.asked = c.complete = true;
}

inline void EntropySharpnessBatch<Cuda>::observe_tokens(MatrixView<const TokenId, Cuda> ids) {
  using namespace cuda::detail;
  if (ids.extent(0) != size())
    throw ShapeError("ids: expected " + std::to_string(size()) + " rows, got " + std::to_string(ids.extent(0)));
  if (ids.extent(1) == 0) return;
  if (ids.extent(1) > 1 && ids.stride(1) != 1) throw ShapeError("ids: the columns must be contiguous");
  launch(stream_, "mark_seen_kernel", {blocks(row_blocks(ids.extent(1)), size()), row_threads},
         mark_seen_kernel<row_threads>, ids.data(), ids.extent(1), ids.stride(0), shape_.vocab, seen_.data());
}

inline void EntropySharpnessBatch<Cuda>::process(MatrixView<float, Cuda> logits) {
  if (logits.extent(1) != shape_.vocab)
    throw ShapeError("logits: expected " + std::to_string(shape_.vocab) + ", got " + std::to_string(logits.extent(1)));
  step(logits, nullptr);
}

inline void EntropySharpnessBatch<Cuda>::process(VectorView<const TokenId, Cuda> ids, MatrixView<float, Cuda> logits) {
  if (ids.size() != logits.extent(1))
    throw ShapeError("logits: got " + std::to_string(logits.extent(1)) + " for " + std::to_string(ids.size()) + " ids");
  if (ids.empty()) throw ArgumentError("ids: the candidate list is empty");
  if (ids.size() > shape_.vocab) throw ShapeError("ids: more than the vocabulary of " + std::to_string(shape_.vocab));
  if (!ids.contiguous()) throw ShapeError("ids: they must be contiguous");
  step(logits, ids.data());
}

inline void EntropySharpnessBatch<Cuda>::step(const MatrixView<float, Cuda>& logits, const TokenId* ids) {
  using namespace cuda::detail;
  if (logits.extent(0) != size())
    throw ShapeError("logits: expected " + std::to_string(size()) + " rows, got " + std::to_string(logits.extent(0)));
  if (logits.extent(1) > 1 && logits.stride(1) != 1) throw ShapeError("logits: rows must be contiguous");
  for (Index b = 0; b < size(); ++b)
    if (context(b).positions == 0)
      throw StateError("no context: sequence " + std::to_string(b) + " has observed no position within the span");

  const SharpnessRows rows{logits.data(), logits.extent(1), logits.stride(0),          ids,
                           shape_.vocab,  options_.alpha,   shape_.repetition_penalty, options_.input};
  row_statistics(stream_, Rows(MatrixView<const float, Cuda>(logits)), size(), options_.filter, statistics_, 0,
                 &counters_.data()->missing, sizeof(SharpnessCounters) / sizeof(int));
  if (!std::all_of(contexts_.begin(), contexts_.end(), [](const Context& c) { return c.complete; }))
    operations_->find_missing(*this, rows);
  launch_dependent(stream_, "score_kernel", {blocks(row_blocks(rows.n), size()), row_threads},
                   score_kernel<row_threads>, rows, memory());
}

template <class T>
void EntropySharpnessBatch<Cuda>::find_missing(EntropySharpnessBatch& batch, const cuda::detail::SharpnessRows& rows) {
  using namespace cuda::detail;
  const cuda::SharpnessShape& shape = batch.shape_;
  const SharpnessMemory memory = batch.memory();
  Index longest = 0;
  for (Context& c : batch.contexts_) {
    longest = std::max(longest, c.positions);
    c.asked = true;
  }
  launch_dependent(batch.stream_, "list_missing_kernel", {blocks(row_blocks(rows.n), shape.sequences), row_threads},
                   list_missing_kernel<row_threads>, rows, memory);
  const CandidateList missing{memory.missing, &memory.counters->missing, shape.candidates, StateAt::id};
  const CandidateBatch sequences{.positions = batch.positions_.data(),
                                 .hidden_bytes = shape.positions * shape.hidden * static_cast<Index>(sizeof(T)),
                                 .counts = sizeof(SharpnessCounters) / sizeof(int),
                                 .ids = shape.vocab,
                                 .partials = gathered_size(shape),
                                 .states = shape.vocab};
  const MatrixView<const T, Cuda> hidden = batch.hidden<T>(0, 0, longest);
  const MatrixView<const T, Cuda> w = batch.lm_head<T>();
  const auto gather = row_access(w) == RowAccess::elements ? launch_candidates<T, RowAccess::elements, 1, 1, 8>
                                                           : launch_candidates<T, RowAccess::chunks, 1, 1, 16>;
  gather(batch.stream_, RowBytes(hidden), RowBytes(w), missing, sequences, shape.sequences, batch.gathered_.data(),
         memory.states);
  launch_dependent(batch.stream_, "complete_states_kernel",
                   {blocks((shape.vocab + simt_tile - 1) / simt_tile, shape.sequences), 256}, complete_states_kernel<T>,
                   Strided<T>(hidden), Strided<T>(w), sequences, static_cast<int>(shape.candidates), memory);
}

inline SharpnessRecord EntropySharpnessBatch<Cuda>::record(Index b) const {
  require_eager("record");
  cuda::SharpnessChoice choice{};
  cuda::copy(stream_, choices_.view().slice(0, b, b + 1), VectorView<cuda::SharpnessChoice>(&choice, {1}));
  stream_.synchronize();
  if (choice.invalid > 0)
    throw ArgumentError(
        "sequence " + std::to_string(b) +
        ": a logit is NaN or +inf, an id is not in the vocabulary, or the context entropy of a survivor "
        "is not a number");
  SharpnessRecord record;
  record.kept.resize(static_cast<std::size_t>(std::max(choice.kept, 0)));
  const Index first = b * shape_.vocab;
  cuda::copy(stream_, kept_.view().slice(0, first, first + static_cast<Index>(record.kept.size())),
             VectorView<SharpnessCandidate>(record.kept));
  stream_.synchronize();
  std::sort(record.kept.begin(), record.kept.end(), [](const SharpnessCandidate& x, const SharpnessCandidate& y) {
    return x.id != y.id ? x.id < y.id : x.log_prob > y.log_prob;  // a list may name a token twice
  });
  record.most_probable = choice.most_probable;
  record.best = choice.best;
  return record;
}

inline VectorView<const float, Cuda> EntropySharpnessBatch<Cuda>::entropy(Index b) {
  require_context(b, "entropy");
  complete(b);
  const cuda::DeviceGuard guard(stream_.device());
  if (entropy_.size() == 0) entropy_ = Buffer<float, Cuda>(shape_.vocab);
  cuda::entropy(stream_, states(b), entropy_.view());
  return std::as_const(entropy_).view();
}

inline SoftmaxState EntropySharpnessBatch<Cuda>::state(Index b, TokenId id) {
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

}  // namespace v0
}  // namespace activation_trace
