// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <type_traits>
#include <utility>

#include "activation_trace/cuda/processors/entropy_sharpness_batch.cuh"

namespace activation_trace {
inline namespace v0 {

/// EntropySharpnessProcessor on the device: a batch of one. Each function is that of EntropySharpnessBatch<Cuda>.
template <>
class EntropySharpnessProcessor<Cuda> {
 public:
  /// Throws as EntropySharpnessBatch<Cuda>, and ArgumentError unless shape.sequences is 1.
  EntropySharpnessProcessor(Execution<Cuda> stream, const cuda::SharpnessShape& shape,
                            EntropySharpnessOptions options = {})
      : batch_(stream, shape, std::move(options)) {
    if (shape.sequences != 1)
      throw ArgumentError("sequences: a processor has one, got " + std::to_string(shape.sequences));
  }

  /// Appends hidden[T, d] to the context.
  template <class T>
  void observe_context(MatrixView<T, Cuda> hidden,
                       std::type_identity_t<MatrixView<const std::remove_const_t<T>, Cuda>> lm_head) {
    batch_[0].observe_context(hidden, lm_head);
  }
  /// The same for f32 hidden states and an LM head in any stored form.
  template <class T>
  requires(std::is_same_v<std::remove_const_t<T>, float>) void observe_context(MatrixView<T, Cuda> hidden,
                                                                               const StoredMatrix<Cuda>& lm_head) {
    batch_[0].observe_context(hidden, lm_head);
  }
  /// Tells ids, of the prompt or generated, to the repetition penalty.
  void observe_tokens(VectorView<const TokenId, Cuda> ids) {
    batch_.observe_tokens({ids.data(), {1, ids.size()}, {ids.size(), ids.stride(0)}});
  }
  /// Tells it the last choice, without waiting for the device.
  void observe_choice() { batch_.observe_choices(); }
  /// logits[V] become scores, in place.
  void process(VectorView<float, Cuda> logits) { batch_.process(one_row(logits)); }
  /// The same for candidates: logits[i] belongs to ids[i].
  void process(VectorView<const TokenId, Cuda> ids, VectorView<float, Cuda> logits) {
    batch_.process(ids, one_row(logits));
  }

  /// What the last process() chose, [1], on the device.
  [[nodiscard]] VectorView<const cuda::SharpnessChoice, Cuda> choice() const { return batch_.choices(); }
  /// What the last process() chose, on the host. Waits for the stream.
  [[nodiscard]] SharpnessRecord record() { return batch_[0].record(); }
  /// Brings the entropy of the token `id`, in the memory of the device, up to date after process().
  void look_up(const TokenId* id) { batch_.look_up(id); }
  /// What process() and look_up() left on the device.
  [[nodiscard]] cuda::detail::SharpnessMemory memory() { return batch_.memory(); }
  /// The entropies of all V tokens, in nats, on the device until the next call.
  [[nodiscard]] VectorView<const float, Cuda> entropy() { return batch_[0].entropy(); }
  /// The mergeable triple of token `id`, on the host. Waits for the stream.
  [[nodiscard]] SoftmaxState state(TokenId id) { return batch_[0].state(id); }
  /// Positions that count so far, T.
  [[nodiscard]] Index context_size() { return batch_[0].context_size(); }
  /// As given to the constructor.
  [[nodiscard]] const EntropySharpnessOptions& options() const noexcept { return batch_.options(); }
  /// Forgets the context, for the next prompt.
  void reset() { batch_[0].reset(); }

 private:
  static MatrixView<float, Cuda> one_row(const VectorView<float, Cuda>& logits) {
    return {logits.data(), {1, logits.size()}, {logits.size(), logits.stride(0)}};
  }

  EntropySharpnessBatch<Cuda> batch_;
};

}  // namespace v0
}  // namespace activation_trace
