// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/ops/choose_token.cuh"
#include "activation_trace/cuda/pinned.cuh"
#include "activation_trace/cuda/processors/mode_processor.cuh"
#include "activation_trace/cuda/processors/score_penalties.cuh"
#include "activation_trace/cuda/stream.cuh"
#include "activation_trace/model/layer_observer.hpp"
#include "activation_trace/processors/sampler.hpp"
#include "activation_trace/processors/token_chooser.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// What memory for the texts of a TokenLoop is made for.
struct LoopShape {
  Mode mode;                            ///< of all of them
  std::optional<RecordOptions> record;  ///< the same, if there are records
  std::optional<FinalNorm> norm;        ///< of the context's states
  ScorePenaltyOptions penalties;        ///< of all of them
  std::vector<Index> exits;  ///< layers 0..N of a step: the mode's, and where the context grows that layer, too
  Index early = 0;           ///< of them, behind the first
  Index vocab = 0;           ///< V
  Index hidden = 0;          ///< d
  Index texts = 1;           ///< at once
  Index positions = 1;       ///< of a context

  /// Whether memory of this shape is good for what `other` asks for.
  [[nodiscard]] bool covers(const LoopShape& other) const {
    return mode == other.mode && record == other.record && norm == other.norm && penalties == other.penalties &&
           exits == other.exits && early == other.early && vocab == other.vocab && hidden == other.hidden &&
           texts >= other.texts && positions >= other.positions;
  }
};

namespace detail {

/// What the host is told of every other token of a text.
struct ToldToken {
  ToldToken(Execution<Cuda> device, const LoopShape& shape) : kept(shape.record ? shape.vocab : 0), event(device) {}

  Buffer<ChoiceRecord, Cuda> on_device{1};
  Buffer<ChoiceRecord, Pinned> choice{1};
  Buffer<DolaChoice, Pinned> dola{1};            // where the mode has one
  Buffer<SharpnessChoice, Pinned> sharpness{1};  // the same
  Buffer<RecordedCandidate, Pinned> kept;        // [V], where there are records: room for all, none is left out
  Buffer<SharpnessCandidate, Pinned> chosen{1};  // the same
  Event event;
};

/// A text whose tokens the device chooses, one after another of a sequence.
struct LoopText {
  LoopText(Execution<Cuda> device, const LoopShape& shape)
      : mode(device, shape.mode, shape.record,
             {.vocab = shape.vocab, .hidden = shape.hidden, .positions = shape.positions, .dtype = DType::f32},
             shape.norm, std::span(shape.exits).subspan(1, static_cast<std::size_t>(shape.early))),
        told{ToldToken(device, shape), ToldToken(device, shape)},
        histogram(static_cast<std::size_t>(shape.early)) {
    if (!shape.penalties.empty()) penalties.emplace(device, shape.vocab, shape.penalties);
  }

  [[nodiscard]] ToldToken& told_of(Index token) { return told[static_cast<std::size_t>(token % 2)]; }

  ModeProcessor mode;
  std::optional<ScorePenalties> penalties;
  Buffer<ChoiceState, Cuda> state{1};
  std::array<ToldToken, 2> told;
  // Of the text under way.
  std::optional<Sampler> sampler;
  std::vector<Index> histogram;  // of the premature layers
  Index tokens_queued = 0;
  Index tokens_told = 0;
  TokenId last = -1;
  std::vector<RecordedCandidate> sorted;  // survivors of the last token that was told
  std::vector<SharpnessCandidate> kept;   // the same
  std::vector<float> scores;              // the same
  ChosenStep seen;                        // of those
};

}  // namespace detail

/// The memory of such texts, which stays for those that follow, as do the recordings that name it.
struct LoopMemory {
  /// Of the current device, which must be that of `device`.
  LoopMemory(Execution<Cuda> device, LoopShape made_for)
      : shape(std::move(made_for)),
        logits(shape.texts * static_cast<Index>(shape.exits.size()) * shape.vocab),
        rows(shape.texts) {
    texts.reserve(static_cast<std::size_t>(shape.texts));  // observers point to them
    for (Index text = 0; text < shape.texts; ++text) texts.emplace_back(device, shape);
  }

  LoopShape shape;                      ///< as given to the constructor
  Buffer<float, Cuda> logits;           ///< [texts, exits, V]
  Buffer<detail::StepRow, Cuda> rows;   ///< [texts]: the last token and its position
  std::vector<detail::LoopText> texts;  ///< by sequence
};

/// What a model on the host's side and the loops that choose its tokens know of each other.
struct LoopShared {
  MatrixView<const float, Cuda> last;          ///< logits [exits, V] of the first piece of the last call
  std::vector<LayerObserver<Cuda>> observers;  ///< of each sequence's prompt: whoever wants states on the device
  std::unique_ptr<LoopMemory> memory;          ///< of the last loop
};

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
