// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/cuda/answer_scores.cuh"
#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/llama.cuh"
#include "activation_trace/cuda/pinned.cuh"
#include "activation_trace/cuda/shown_states.cuh"
#include "activation_trace/cuda/token_loop.cuh"
#include "activation_trace/generation/language_model.hpp"

namespace activation_trace {
inline namespace v0 {

/// A model whose memory is a device's, as one of the host: a LanguageModel, which generate(), score() and all that is
/// made of them take. Logits and the states that observers want are copied to the host, where the modes, samplers and
/// callbacks are; the LM head and the final norm are the host's own.
///
///     cuda::Stream stream;
///     Execution<Cuda> device = stream;
///     const cuda::DeviceWeights weights(device, checkpoint.weights);
///     OnHost<Llama<Cuda>> model(checkpoint.config, checkpoint.weights, weights.view(), options, device, execution);
///     generate(model, ...);
template <class Model>
class OnHost {
 public:
  /// A Model of the rest, on the device of `device`. `weights` are what `device_weights` were made of. They, both
  /// executions and the device's weights must outlive this. Throws as Model, and Error with the sums where the device
  /// has no memory for the options.
  OnHost(const LlamaConfig& config, const LlamaWeights<>& weights, LlamaWeights<Cuda> device_weights,
         const LlamaOptions& options, Execution<Cuda>& device, Execution<Host>& execution)
      : OnHost(config, weights, std::move(device_weights), options,
               std::array{LlamaPlace<Cuda>{&device, config.layers}}, execution) {}
  /// The same on several devices.
  OnHost(const LlamaConfig& config, const LlamaWeights<>& weights, LlamaWeights<Cuda> device_weights,
         const LlamaOptions& options, std::span<const LlamaPlace<Cuda>> places, Execution<Host>& execution)
      : execution_(&execution),
        lm_head_(weights.lm_head, config.logits()),
        final_norm_{weights.final_norm, config.rms_norm_eps},
        model_(in_memory(places.empty() ? 0 : places.back().execution->device(), config, options,
                         [&] { return Model(config, std::move(device_weights), options, places); })),
        logits_(options.sequences * config.vocab) {}
  /// The same by ranks, whose weights are shares of `weights` (cuda::ShardedWeights).
  OnHost(const LlamaConfig& config, const LlamaWeights<>& weights, LlamaRanks<Cuda> ranks, const LlamaOptions& options,
         Execution<Host>& execution)
      : execution_(&execution),
        lm_head_(weights.lm_head, config.logits()),
        final_norm_{weights.final_norm, config.rms_norm_eps},
        model_(in_memory_of(ranks, config, options)),
        logits_(options.sequences * config.vocab) {}

  /// As given to the constructor.
  [[nodiscard]] const LlamaConfig& config() const noexcept { return model_.config(); }
  /// In the host's memory.
  [[nodiscard]] const LmHead<>& lm_head() const noexcept { return lm_head_; }
  /// The same.
  [[nodiscard]] const FinalNorm& final_norm() const noexcept { return final_norm_; }
  /// The host's threads.
  [[nodiscard]] Execution<Host>& execution() const noexcept { return *execution_; }
  /// The model on the device.
  [[nodiscard]] const Model& model() const noexcept { return model_; }

  /// As Llama.
  [[nodiscard]] Index sequences() const noexcept { return model_.sequences(); }
  /// As Llama.
  [[nodiscard]] Index max_context() const noexcept { return model_.max_context(); }
  /// As Llama.
  [[nodiscard]] Index position(Index sequence = 0) const { return model_.position(sequence); }
  /// As Llama.
  [[nodiscard]] std::span<const TokenId> ids(Index sequence = 0) const { return model_.ids(sequence); }
  /// As Llama.
  void rewind(Index position, Index sequence = 0) {
    detail::Turn::check(passing_);
    model_.rewind(position, sequence);
  }
  /// As Llama. Does not wait for the device.
  void copy_sequence(Index from, Index to, Index begin = 0) {
    detail::Turn::check(passing_);
    model_.copy_sequence(from, to, begin);
  }

  /// As Llama. Observers see copies in the host's memory, valid until they return, in the order of the device's work,
  /// most of them at the end of the call.
  void fill(std::span<const SequencePiece<>> pieces) {
    run(pieces, [&](const DevicePieces& on_device) { model_.fill(on_device); });
  }
  /// As Llama: logits [pieces, V] in the host's memory, valid until the next call.
  MatrixView<const float> forward(std::span<const SequencePiece<>> pieces) {
    MatrixView<const float, Cuda> logits;
    run(pieces, [&](const DevicePieces& on_device) { logits = model_.forward(on_device); });
    const MatrixView<float, cuda::Pinned> result = logits_.matrix(logits.extent(0), logits.extent(1));
    loop_.last = logits.slice(0, 0, 1);
    cuda::copy(device(), logits, result);
    device().synchronize();
    return cuda::on_host(result);
  }
  /// As Llama. Takes memory of the device for the logits when it is first called, and where there are more.
  void early_exit(std::span<const SequencePiece<>> pieces, std::span<const Index> layers, TensorView<float, 3> logits) {
    detail::Turn::check(passing_);  // before memory is touched that is in use
    detail::check_contiguous_rows("Llama: early-exit logits", logits);
    const TensorView<float, 3, Cuda> exits(memory_of(exits_, logits.size()), logits.extents());
    run(pieces, [&](const DevicePieces& on_device) { model_.early_exit(on_device, layers, exits); });
    loop_.last = {exits.data(), {exits.extent(1), exits.extent(2)}};
    for (Index p = 0; p < exits.extent(0); ++p) cuda::copy(device(), exits.row(p), logits.row(p));
    device().synchronize();
  }
  /// Tokens that are chosen on the device (cuda/README.md 8). Null for rules that are not known there, and where there
  /// is no memory for them.
  [[nodiscard]] std::unique_ptr<TokenSource> choose_tokens(const TokenRules& rules) {
    if (!cuda::TokenLoop<Model>::serves(model_, rules)) return nullptr;
    const cuda::DeviceGuard guard(device().device());
    try {
      return std::make_unique<cuda::TokenLoop<Model>>(model_, loop_, rules);
    } catch (const CudaError& error) {
      if (error.code() != cudaErrorMemoryAllocation) throw;
      return nullptr;
    }
  }
  /// Scores of answers that are made on the device of the logits (cuda/README.md 8). Null for a mode that is not known
  /// there, and where there is no memory.
  [[nodiscard]] std::unique_ptr<AnswerScorer> score_answers(const ScoreOptions& options,
                                                            std::span<const Index> layers) {
    if (!cuda::AnswerScores<Model>::serves(model_, options)) return nullptr;
    const cuda::DeviceGuard guard(device().device());
    try {
      return std::make_unique<cuda::AnswerScores<Model>>(model_, options, layers);
    } catch (const CudaError& error) {
      if (error.code() != cudaErrorMemoryAllocation) throw;
      return nullptr;
    }
  }

 private:
  [[nodiscard]] Execution<Cuda>& device() const noexcept { return model_.execution(); }

  /// What make() makes, on `device` of a model of this shape, or of a rank's.
  template <class Make>
  static Model in_memory(int device, const LlamaConfig& config, const LlamaOptions& options, const Make& make) {
    const std::string what =
        "Llama: " + std::to_string(options.sequences) + " x " + std::to_string(options.max_context) + " positions";
    return cuda::detail::made_in_memory(device, what, llama_memory(config, options),
                                        " beside the weights; lower the context, or the batch", make);
  }
  static Model in_memory_of(LlamaRanks<Cuda>& ranks, const LlamaConfig& config, const LlamaOptions& options) {
    detail::check_ranks(config, ranks);
    const LlamaRank<Cuda>& first = ranks.ranks.front();
    const LlamaConfig share = detail::rank_config(config, first.weights);
    return in_memory(first.execution->device(), share, options,
                     [&] { return Model(config, std::move(ranks), options); });
  }

  /// Memory for `size` elements, which grows once and then again.
  template <class Space>
  float* memory_of(Buffer<float, Space>& buffer, Index size) {
    if (buffer.size() < size) {
      const cuda::DeviceGuard guard(device().device());
      buffer = Buffer<float, Space>();  // never both
      buffer = Buffer<float, Space>(size);
    }
    return buffer.data();
  }

  /// The same pieces, whose observers see copies.
  class DevicePieces {
   public:
    DevicePieces(OnHost& model, std::span<const SequencePiece<>> pieces) {
      observers_.reserve(pieces.size());
      for (const auto& [sequence, ids, observer] : pieces) {
        const bool shown = observer != nullptr && !observer->layers.empty();
        if (shown) shown_rows_ += std::ssize(ids) * std::ssize(observer->layers);
        pieces_.push_back(
            {sequence, ids,
             shown ? &observers_.emplace_back(model.on_device(*observer)) : model.loop_observer(sequence)});
      }
    }
    operator std::span<const SequencePiece<Cuda>>() const { return pieces_; }
    /// No fewer than observers will be shown.
    [[nodiscard]] Index shown_rows() const noexcept { return shown_rows_; }

   private:
    std::vector<LayerObserver<Cuda>> observers_;
    std::vector<SequencePiece<Cuda>> pieces_;
    Index shown_rows_ = 0;
  };

  [[nodiscard]] LayerObserver<Cuda> on_device(const LayerObserver<>& observer) {
    LayerObserver<Cuda> result{observer.layers, nullptr, observer.begin, observer.end};
    if (observer.on_states)
      result.on_states = [this, &observer](Index layer, Index first, MatrixView<const float, Cuda> states) {
        shown_.send(model_.execution_of(layer), observer, layer, first, states);
      };
    return result;
  }

  /// Of a text whose tokens the device chooses, who sees states where they are.
  [[nodiscard]] const LayerObserver<Cuda>* loop_observer(Index sequence) const {
    return sequence >= 0 && sequence < std::ssize(loop_.observers)
               ? &loop_.observers[static_cast<std::size_t>(sequence)]
               : nullptr;
  }

  /// Calls call(the pieces on the device), and shows observers what they have not seen yet. Whatever is thrown, no
  /// token has been appended.
  template <class Call>
  void run(std::span<const SequencePiece<>> pieces, const Call& call) {
    const detail::Turn turn(passing_);
    const DevicePieces on_device(*this, pieces);
    shown_.reserve(on_device.shown_rows() * model_.config().hidden);
    bool appended = false;
    try {
      call(on_device);
      appended = true;
      shown_.show_all();
    } catch (...) {
      shown_.drop();
      for (const auto& [sequence, ids, observer] : pieces)
        if (appended) model_.rewind(model_.position(sequence) - std::ssize(ids), sequence);
      throw;
    }
  }

  Execution<Host>* execution_;
  LmHead<> lm_head_;
  FinalNorm final_norm_;
  Model model_;
  cuda::LoopShared loop_;
  Buffer<float, cuda::Pinned> logits_;  // [sequences, V]
  cuda::ShownStates shown_;
  Buffer<float, Cuda> exits_;  // [pieces, layers, V]
  bool passing_ = false;
};

}  // namespace v0
}  // namespace activation_trace
