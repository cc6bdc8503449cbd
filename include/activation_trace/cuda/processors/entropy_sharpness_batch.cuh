// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string>
#include <type_traits>
#include <utility>

#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/processors/context_entropies.cuh"
#include "activation_trace/cuda/processors/sharpness_kernels.cuh"
#include "activation_trace/cuda/processors/sharpness_shape.cuh"
#include "activation_trace/processors/sharpness_options.hpp"

namespace activation_trace {
inline namespace v0 {

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
/// stays valid until a context is reset, also where one grows. What concerns a context cannot be recorded: StateError.
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
      batch_->contexts_.observe(b_, hidden, lm_head);
    }
    /// The same for f32 hidden states and an LM head in any stored form, neither of which is rounded.
    template <class T>
    requires(std::is_same_v<std::remove_const_t<T>, float>) void observe_context(MatrixView<T, Cuda> hidden,
                                                                                 const StoredMatrix<Cuda>& lm_head) {
      batch_->contexts_.observe(b_, hidden, lm_head);
    }

    /// What the last process() chose, on the host, survivors by id; scores include the penalty. Waits for the stream.
    /// Throws ArgumentError if the choice is invalid.
    [[nodiscard]] SharpnessRecord record() const { return batch_->record(b_); }

    /// The entropies of all V tokens, in nats, on the device until the next call for any sequence. Not for graphs:
    /// allocates at the first call. Throws StateError before a context.
    [[nodiscard]] VectorView<const float, Cuda> entropy() { return batch_->contexts_.entropy(b_); }

    /// The mergeable triple of token `id`, on the host. Waits for the stream. Throws as entropy(), and ArgumentError
    /// outside the vocabulary.
    [[nodiscard]] SoftmaxState state(TokenId id) { return batch_->contexts_.state(b_, id); }

    /// Positions that count so far, T.
    [[nodiscard]] Index context_size() const { return batch_->contexts_.positions(b_); }

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
    static_cast<void>(contexts_.positions(b));
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

  /// Brings the entropies of the token `id`, of the vocabulary and in the memory of the device, up to date after
  /// process(), whether it survived or not.
  void look_up(const TokenId* id) { contexts_.update_token(id, memory()); }
  /// What process() and look_up() left on the device, for kernels that come after them.
  [[nodiscard]] cuda::detail::SharpnessMemory memory();

  /// As given to the constructor.
  [[nodiscard]] const EntropySharpnessOptions& options() const noexcept { return options_; }

 private:
  EntropySharpnessBatch(const cuda::DeviceGuard&, Execution<Cuda> stream, const cuda::SharpnessShape& shape,
                        EntropySharpnessOptions options);
  [[nodiscard]] SharpnessRecord record(Index b) const;
  void reset(Index b);
  void step(const MatrixView<float, Cuda>& logits, const TokenId* ids);

  Execution<Cuda> stream_;
  cuda::SharpnessShape shape_;
  EntropySharpnessOptions options_;
  cuda::detail::ContextEntropies contexts_;
  Buffer<unsigned char, Cuda> seen_;                        // [B, V]
  Buffer<SharpnessCandidate, Cuda> kept_;                   // [B, V]
  cuda::detail::RowStatisticsMemory statistics_;            // [B]
  Buffer<cuda::detail::SharpnessCounters, Cuda> counters_;  // [B]
  Buffer<cuda::SharpnessChoice, Cuda> choices_;             // [B]
  Buffer<cuda::detail::RankedPair, Cuda> partials_;         // [B, row_blocks(V)]
  Buffer<unsigned, Cuda> tickets_;                          // [B]
};

inline EntropySharpnessBatch<Cuda>::EntropySharpnessBatch(const cuda::DeviceGuard&, Execution<Cuda> stream,
                                                          const cuda::SharpnessShape& shape,
                                                          EntropySharpnessOptions options)
    : stream_(stream),
      shape_(cuda::detail::checked(shape, options)),
      options_(std::move(options)),
      contexts_(stream, shape_, options_),
      seen_(shape.sequences * shape.vocab),
      kept_(shape.sequences * shape.vocab),
      statistics_(stream, shape.sequences, shape.vocab),
      counters_(shape.sequences),
      choices_(shape.sequences),
      partials_(shape.sequences * cuda::detail::row_blocks(shape.vocab)),
      tickets_(shape.sequences) {
  cuda::set_bytes(stream_, seen_.view(), 0);
  cuda::set_bytes(stream_, tickets_.view(), 0);
  cuda::set_bytes(stream_, choices_.view(), 0xff);  // ids of -1
}

inline cuda::detail::SharpnessMemory EntropySharpnessBatch<Cuda>::memory() {
  return {statistics_.statistics.data(),
          counters_.data(),
          contexts_.states(),
          seen_.data(),
          contexts_.lists(),
          kept_.data(),
          choices_.data(),
          partials_.data(),
          tickets_.data()};
}

inline void EntropySharpnessBatch<Cuda>::reset(Index b) {
  contexts_.reset(b);
  cuda::set_bytes(stream_, seen_.view().slice(0, b * shape_.vocab, (b + 1) * shape_.vocab), 0);
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
    if (contexts_.positions(b) == 0)
      throw StateError("no context: sequence " + std::to_string(b) + " has observed no position within the span");

  const SharpnessRows rows{logits.data(), logits.extent(1), logits.stride(0),          ids,
                           shape_.vocab,  options_.alpha,   shape_.repetition_penalty, options_.input};
  row_statistics(stream_, Rows(MatrixView<const float, Cuda>(logits)), size(), options_.filter, statistics_, 0,
                 &counters_.data()->missing, sizeof(SharpnessCounters) / sizeof(int));
  const SharpnessMemory all = memory();
  contexts_.update_survivors(rows, all);
  launch_dependent(stream_, "score_kernel", {blocks(row_blocks(rows.n), size()), row_threads},
                   score_kernel<row_threads>, rows, all);
}

inline SharpnessRecord EntropySharpnessBatch<Cuda>::record(Index b) const {
  contexts_.require_eager("record");
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

}  // namespace v0
}  // namespace activation_trace
