// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <optional>
#include <vector>

#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/ops/choose_token.cuh"
#include "activation_trace/cuda/pinned.cuh"
#include "activation_trace/cuda/stream.cuh"
#include "activation_trace/generation/language_model.hpp"
#include "activation_trace/processors/argmax.hpp"
#include "activation_trace/processors/sampler.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// The tokens of one sequence of a Llama<Cuda>, chosen on the device. While the host is told a token, the device reads
/// it: the step that follows is queued before anybody knows whether it is wanted, and what it wrote behind the end of a
/// text is not counted. Random numbers are those of the host's Sampler.
template <class Model>
class TokenLoop final : public TokenSource {
 public:
  /// Whether these options are known here.
  [[nodiscard]] static bool serves(const Model& model, const std::optional<SamplingOptions>& sampling) {
    return model.places() == 1 && model.execution().get() != nullptr &&
           model.config().vocab <= detail::most_choice_entries && (!sampling || sampling->typical_p == 1);
  }

  /// Right after a forward() of the sequence alone, which gave `logits` [1, V]. `model` must outlive it, and its device
  /// must be the current one. Throws ArgumentError as append_sampling().
  TokenLoop(Model& model, Index sequence, MatrixView<const float, Cuda> logits,
            const std::optional<SamplingOptions>& sampling, Index most)
      : model_(model), sequence_(sequence), most_(most) {
    if (sampling) {
      ProcessorChain checked;
      append_sampling(checked, *sampling);
      sampler_.emplace(sampling->seed, sampling->stream);
      rules_ = {true, sampling->temperature, sampling->top_k, sampling->top_p, std::log(sampling->min_p)};
    }
    const Execution<Cuda> device = model_.execution();
    set_bytes(device, state_.view(), 0);
    detail::StepRows rows{};
    rows.row[0].position = static_cast<int>(model_.position(sequence) - 1);
    detail::set_step_rows(device, rows, model_.steps().rows());
    choose(logits);
  }
  /// Waits for what is queued.
  ~TokenLoop() override {
    try {
      model_.execution().synchronize();
    } catch (const CudaError&) {  // whoever calls next is told
    }
  }

  [[nodiscard]] TokenId next() override {
    if (told_ > 0) model_.accept_step(last_, sequence_);
    const bool goes_on = told_ + 1 < most_ && model_.position(sequence_) < model_.max_context();
    if (goes_on) choose(model_.queue_step(sequence_));
    Told& told = told_of(told_);
    told.event.synchronize();
    const detail::ChoiceRecord record = *told.record.data();
    if (record.token < 0 || !record.finite) fail();
    ++told_;
    return last_ = record.token;
  }

 private:
  /// What the host is told of every other token.
  struct Told {
    explicit Told(Execution<Cuda> device) : event(device) {}
    Buffer<detail::ChoiceRecord, Cuda> on_device{1};
    Buffer<detail::ChoiceRecord, Pinned> record{1};
    Event event;
  };
  [[nodiscard]] Told& told_of(Index token) { return tellers_[static_cast<std::size_t>(token % 2)]; }

  void choose(MatrixView<const float, Cuda> logits) {
    const Execution<Cuda> device = model_.execution();
    Told& told = told_of(chosen_++);
    detail::choose_token(device, logits.row(0), rules_, sampler_ ? sampler_->next() : 0, model_.watch().found(),
                         state_.data(), model_.steps().rows(), told.on_device.data());
    copy(device, std::as_const(told.on_device).view(), told.record.view());
    told.event.record(device);
  }

  /// Says why, as the calls of the model and the host's choice do.
  [[noreturn]] void fail() {
    const Index position = model_.position(sequence_);
    const TokenId id = model_.ids(sequence_).back();
    model_.rewind(position - 1, sequence_);
    const SequencePiece<Cuda> piece{sequence_, std::span(&id, 1), nullptr};
    const MatrixView<const float, Cuda> logits = model_.forward(std::span(&piece, 1));
    std::vector<float> row(static_cast<std::size_t>(logits.extent(1)));
    copy(model_.execution(), logits.row(0), VectorView<float>(row));
    model_.execution().synchronize();
    (void)argmax(row);
    throw StateError("TokenLoop: the device found logits that are not finite, and the host does not");
  }

  Model& model_;
  Index sequence_;
  Index most_;
  detail::ChoiceRules rules_;
  std::optional<Sampler> sampler_;
  Buffer<detail::ChoiceState, Cuda> state_{1};
  std::array<Told, 2> tellers_{Told(model_.execution()), Told(model_.execution())};
  Index chosen_ = 0;
  Index told_ = 0;
  TokenId last_ = -1;
};

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
