// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/ops/row_statistics.cuh"
#include "activation_trace/cuda/processors/dola.cuh"
#include "activation_trace/generation/score_options.hpp"
#include "activation_trace/ops/matmul.hpp"
#include "activation_trace/processors/base_scores.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

namespace detail {

/// Rows of logits, and what becomes of a token's.
struct AskedRows {
  const float* logits;              ///< [positions * distance, V]
  Index vocab;                      ///< V
  Index distance;                   ///< rows of a position
  const RowStatistics* statistics;  ///< of each position; null: the rows are scores
  float masked;                     ///< of what a filter rejects
};

/// log_probs[i] of tokens[i].
template <int threads>
__global__ void __launch_bounds__(threads)
    answer_scores_kernel(AskedRows rows, const AskedToken* tokens, Index count, double* log_probs) {
  ptx::wait_for_previous();
  const Index i = static_cast<Index>(blockIdx.x) * threads + threadIdx.x;
  if (i >= count) return;
  const auto [position, id] = tokens[i];
  const float x = rows.logits[position * rows.distance * rows.vocab + id];
  if (rows.statistics == nullptr) {
    log_probs[i] = static_cast<double>(x == -INFINITY ? rows.masked : x);
    return;
  }
  const RowStatistics& row = rows.statistics[position];
  log_probs[i] = x < row.lowest
                     ? static_cast<double>(rows.masked)
                     : static_cast<double>(x) - static_cast<double>(row.max) - static_cast<double>(row.log_sum);
}

/// log_probs[i] of tokens[i], for `count` of them.
inline void answer_scores(Execution<Cuda> execution, const AskedRows& rows, const AskedToken* tokens, Index count,
                          double* log_probs) {
  constexpr int threads = 128;
  launch_dependent(execution, "answer_scores_kernel", {blocks((count + threads - 1) / threads), threads},
                   answer_scores_kernel<threads>, rows, tokens, count, log_probs);
}

}  // namespace detail

/// Scores of answers by a Llama<Cuda>: states go to the device and a number per token comes back, logits stay there. In
/// all modes but contrastive scoring, where one device has the LM head.
template <class Model>
class AnswerScores final : public AnswerScorer {
 public:
  /// Whether these options are known here.
  [[nodiscard]] static bool serves(const Model& model, const ScoreOptions& options) {
    return !needs_amateur(options.mode) && model.weights().lm_head.rows() == model.config().vocab;
  }

  /// `layers` as of ScoresAnswers. `model` must outlive it, and the device of its logits be the current one. Throws
  /// CudaError where there is no memory for a block of 64 rows.
  AnswerScores(Model& model, const ScoreOptions& options, std::span<const Index> layers)
      : model_(model),
        layers_(static_cast<Index>(layers.size())),
        masked_(options.relative_top_value),
        filter_(options.filter == ScoreFilter::on ? *filter_of(options.mode) : RelativeTopOptions{.relative_top = 0}) {
    std::visit(
        [&]<class M>(const M& mode) {
          if constexpr (std::same_as<M, DolaStatic> || std::same_as<M, Dola> || std::same_as<M, ActivationDola>)
            dola_.emplace(device(), vocab(), std::vector<Index>(layers.begin() + 1, layers.end()),
                          dola_options(mode, ScoringForm{options.post_softmax, options.relative_top_value}));
        },
        options.mode);
    reserve(std::max<Index>({64, layers_, few_rows}));
  }

  void score(MatrixView<const float> states, std::span<const AskedToken> tokens, std::span<double> log_probs,
             std::span<Index> layers) override {
    if (tokens.empty()) return;
    const Execution<Cuda> execution = device();
    const DeviceGuard guard(execution.device());
    const Index rows = states.extent(0);
    const auto positions = static_cast<Index>(layers.size());
    const auto count = static_cast<Index>(tokens.size());
    reserve(rows);
    if (tokens_.size() < count) {
      log_probs_ = Buffer<double, Cuda>(count);
      tokens_ = Buffer<AskedToken, Cuda>(count);  // last: it says how many there are
    }
    const MatrixView<float, Cuda> there = states_.matrix(rows, states.extent(1));
    const MatrixView<float, Cuda> logits = logits_.matrix(rows, vocab());
    copy(execution, states, there);
    copy(execution, VectorView<const AskedToken>(tokens), tokens_.view().slice(0, 0, count));
    model_.queue_logits(there, logits);
    if (dola_)
      choose_layers(logits, positions);
    else
      detail::row_statistics(execution, detail::Rows(MatrixView<const float, Cuda>(logits)), positions, filter_,
                             *statistics_);
    detail::answer_scores(execution,
                          {logits.data(), vocab(), layers_, dola_ ? nullptr : statistics_->statistics.data(), masked_},
                          tokens_.data(), count, log_probs_.data());
    copy(execution, std::as_const(log_probs_).view().slice(0, 0, count), VectorView<double>(log_probs));
    std::vector<DolaChoice> choices(dola_ ? layers.size() : 0);
    if (dola_) copy(execution, std::as_const(choices_).view().slice(0, 0, positions), VectorView<DolaChoice>(choices));
    execution.synchronize();
    std::ranges::fill(layers, Index{-1});
    for (std::size_t p = 0; p < choices.size(); ++p) {
      if (choices[p].invalid != 0)
        throw ArgumentError("logits: the mature layer's hold NaN or +inf, or a layer's are not finite where those are");
      layers[p] = choices[p].layer;
    }
  }

 private:
  [[nodiscard]] Execution<Cuda>& device() const { return model_.execution(); }
  [[nodiscard]] Index vocab() const { return model_.config().vocab; }

  /// The rows of each position's mature layer become scores.
  void choose_layers(const MatrixView<float, Cuda>& logits, Index positions) {
    for (Index p = 0; p < positions; ++p) {
      dola_->observe_layers(logits.slice(0, p * layers_ + 1, (p + 1) * layers_));
      dola_->process(logits.row(p * layers_));
      copy(device(), dola_->choice(), choices_.view().slice(0, p, p + 1));
    }
  }

  /// Memory for as many rows.
  void reserve(Index rows) {
    if (logits_.size() >= rows * vocab()) return;
    logits_ = Buffer<float, Cuda>();  // never both
    states_ = Buffer<float, Cuda>(rows * model_.config().hidden);
    if (dola_)
      choices_ = Buffer<DolaChoice, Cuda>(rows);
    else
      statistics_.emplace(device(), rows, vocab());
    logits_ = Buffer<float, Cuda>(rows * vocab());  // last: it says for how many rows the others are
  }

  Model& model_;
  Index layers_;
  float masked_;
  RelativeTopOptions filter_;
  std::optional<DolaProcessor> dola_;
  std::optional<detail::RowStatisticsMemory> statistics_;  // of the positions, without a DoLa
  Buffer<float, Cuda> states_;                             // [rows, d]
  Buffer<float, Cuda> logits_;                             // [rows, V]
  Buffer<DolaChoice, Cuda> choices_;                       // of the positions
  Buffer<AskedToken, Cuda> tokens_;
  Buffer<double, Cuda> log_probs_;  // of those
};

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
