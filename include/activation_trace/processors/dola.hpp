// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/ops/layer_divergence.hpp"
#include "activation_trace/processors/check.hpp"
#include "activation_trace/processors/dola_options.hpp"

namespace activation_trace {
inline namespace v0 {

/// The half of the blocks from which dola_layers() takes its candidates.
enum class DolaBucket { low, high };

/// The candidate layers of Hugging Face's DoLa for a model of `blocks` blocks: every second hidden state of its lower
/// or upper half, of the first or last 20 above 40 blocks; without the embeddings where they are tied to the LM head
/// (processors/README.md 2.3). Throws ArgumentError for blocks < 1.
[[nodiscard]] std::vector<Index> dola_layers(DolaBucket bucket, Index blocks, Embeddings embeddings);

/// DoLa (processors/README.md 2): what the mature layer says minus what an early one says, for tokens that the mature
/// one finds plausible. With several layers the one that diverges most is taken at every step, equals: the first.
///
///     processor.observe_layers(early);  // [C, V], the logits of the C layers at this position
///     processor.process(logits);        // [V], in place
///
/// Movable, not copyable, and not safe for concurrent use.
class DolaProcessor {
 public:
  /// Works on the threads of `execution`, which must outlive the processor, or without one on the calling thread. What
  /// the numbers in `layers` mean is the caller's business. Throws ArgumentError for no layers, a masked_value that is
  /// NaN or +inf, and as RelativeTopFilter does.
  explicit DolaProcessor(std::vector<Index> layers, DolaOptions options = {}, ExecutionHandle execution = {});

  /// logits[C, V] of the layers at this step, rows contiguous: a view, read by the next process() and then forgotten.
  /// Throws ShapeError for another C.
  void observe_layers(MatrixView<const float> logits);

  /// mature[V], logits, become scores in place. An entry that is -inf stays masked and does not count. Throws
  /// StateError without observe_layers(), ShapeError for another V, ArgumentError for NaN, +inf, or a layer's -inf
  /// where mature has none; mature is then unchanged.
  void process(std::span<float> mature);

  /// The same for candidates in any order; the layers' logits [C, n] are then those of `ids`, in that order.
  void process(std::span<const TokenId> ids, std::span<float> mature);

  /// The layer that the last process() chose; -1 before, and where all was masked.
  [[nodiscard]] Index layer() const noexcept { return layer_; }
  /// Of each layer at the last process(); empty if there is nothing to choose.
  [[nodiscard]] std::span<const double> divergences() const noexcept { return divergences_; }
  /// How often each layer was chosen since reset().
  [[nodiscard]] std::span<const Index> histogram() const noexcept { return histogram_; }
  /// The candidate layers, as given to the constructor; rows of what observe_layers() takes.
  [[nodiscard]] std::span<const Index> layers() const noexcept { return layers_; }
  /// As given to the constructor.
  [[nodiscard]] const DolaOptions& options() const noexcept { return options_; }

  /// Begins a new run: layer and histogram.
  void reset();

 private:
  [[nodiscard]] std::size_t choose(std::span<const float> mature, MatrixView<const float> early);
  static void check_layer(std::span<const float> mature, MatrixView<const float> early, Index row);
  void subtract(std::span<float> mature, std::span<const float> early, const LogNormalizer& early_normalizer);

  std::vector<Index> layers_;
  DolaOptions options_;
  ExecutionHandle execution_;
  RelativeTopFilter filter_;
  MatrixView<const float> early_;
  Index layer_ = -1;
  std::vector<Index> histogram_;            // [C]
  std::vector<double> divergences_;         // [C]
  std::vector<LogNormalizer> normalizers_;  // [1 + C]: mature, then the layers
  DivergenceMemory memory_;
  std::vector<float> differences_;  // [V], for DolaOutput::log_probs
};

inline std::vector<Index> dola_layers(DolaBucket bucket, Index blocks, Embeddings embeddings) {
  if (blocks < 1) throw ArgumentError("blocks: expected at least 1, got " + std::to_string(blocks));
  Index begin = embeddings == Embeddings::tied ? std::min<Index>(blocks - 1, 2) : 0;
  Index end = blocks <= 40 ? blocks / 2 : 20;
  if (bucket == DolaBucket::high) {
    begin = blocks <= 40 ? blocks / 2 : blocks - 20;
    end = blocks;
  }
  if (begin >= end) return {begin};
  std::vector<Index> layers;
  for (Index layer = begin; layer < end; layer += 2) layers.push_back(layer);
  return layers;
}

inline DolaProcessor::DolaProcessor(std::vector<Index> layers, DolaOptions options, ExecutionHandle execution)
    : layers_(std::move(layers)),
      options_(options),
      execution_(std::move(execution)),
      filter_(options.filter),
      histogram_(layers_.size()),
      divergences_(layers_.size() > 1 ? layers_.size() : 0),
      normalizers_(layers_.size() + 1) {
  detail::check_dola(layers_, options);
}

inline void DolaProcessor::observe_layers(MatrixView<const float> logits) {
  detail::check_extent("layers: rows of logits", logits.extent(0), static_cast<Index>(layers_.size()));
  detail::check_contiguous_rows("layers: logits", logits);
  early_ = logits;
}

inline void DolaProcessor::process(std::span<const TokenId> ids, std::span<float> mature) {
  detail::check_candidates("DolaProcessor", ids, mature);
  process(mature);
}

inline void DolaProcessor::process(std::span<float> mature) {
  if (early_.extent(0) == 0) throw StateError("no layers: observe_layers was not called for this step");
  detail::check_extent("logits: as many as each layer has", static_cast<Index>(mature.size()), early_.extent(1));
  const MatrixView<const float> early = std::exchange(early_, {});
  detail::check_scores("logits", mature);
  log_normalizers(*execution_, mature, early, normalizers_, memory_);
  layer_ = -1;
  if (std::isnan(normalizers_[0].log_sum)) {  // nothing above -inf: no distribution, and nothing to choose
    std::fill(divergences_.begin(), divergences_.end(), 0.0);
    std::fill(mature.begin(), mature.end(), options_.masked_value);
    return;
  }
  const std::size_t chosen = choose(mature, early);
  check_layer(mature, early, static_cast<Index>(chosen));
  subtract(mature, early.row(static_cast<Index>(chosen)).span(), normalizers_[chosen + 1]);
  layer_ = layers_[chosen];
  ++histogram_[chosen];
}

inline std::size_t DolaProcessor::choose(std::span<const float> mature, MatrixView<const float> early) {
  if (divergences_.empty()) return 0;
  layer_divergences(*execution_, mature, early, normalizers_, options_.divergence, divergences_, memory_);
  for (std::size_t j = 0; j < divergences_.size(); ++j)
    if (!std::isfinite(divergences_[j])) check_layer(mature, early, static_cast<Index>(j));
  return static_cast<std::size_t>(std::max_element(divergences_.begin(), divergences_.end()) - divergences_.begin());
}

// Where mature is not masked the layer must be finite: counted first, without branches, as in check_scores.
inline void DolaProcessor::check_layer(std::span<const float> mature, MatrixView<const float> early, Index row) {
  const std::span<const float> layer = early.row(row).span();
  const auto bad = [&](std::size_t v) {
    return static_cast<int>(mature[v] > -std::numeric_limits<float>::infinity()) &
           static_cast<int>(!(std::abs(layer[v]) < std::numeric_limits<float>::infinity()));
  };
  int count = 0;
  for (std::size_t v = 0; v < mature.size(); ++v) count |= bad(v);
  if (count == 0) return;
  for (std::size_t v = 0; v < mature.size(); ++v)
    if (bad(v) != 0)
      throw ArgumentError("layers: logits [" + std::to_string(row) + ", " + std::to_string(v) + "] is " +
                          std::to_string(layer[v]));
}

inline void DolaProcessor::subtract(std::span<float> mature, std::span<const float> early,
                                    const LogNormalizer& early_normalizer) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const LogNormalizer& normalizer = normalizers_[0];
  const float lowest = filter_.threshold(mature, normalizer.max);
  // The difference of two rows minus the difference of their normalisers, which is one number.
  double offset = static_cast<double>(normalizer.max) + normalizer.log_sum;
  if (options_.base == DolaBase::log_probs)
    offset -= static_cast<double>(early_normalizer.max) + early_normalizer.log_sum;
  if (options_.base == DolaBase::log_probs && options_.filter.relative_top == 0 &&
      options_.unfiltered == DolaUnfiltered::logits)
    offset = 0;
  const auto difference = [&](std::size_t v) {
    return static_cast<float>((static_cast<double>(mature[v]) - static_cast<double>(early[v])) - offset);
  };
  if (options_.output == DolaOutput::log_probs) {
    // All that is not masked takes part in the normaliser, whether it is plausible or not.
    differences_.resize(mature.size());
    for (std::size_t v = 0; v < mature.size(); ++v)
      differences_[v] = mature[v] == -infinity ? -infinity : difference(v);
    const LogNormalizer all = log_normalizer(*execution_, differences_);
    offset += static_cast<double>(all.max) + all.log_sum;
  }
  for (std::size_t v = 0; v < mature.size(); ++v)
    mature[v] = mature[v] < lowest || mature[v] == -infinity ? options_.masked_value : difference(v);
}

inline void DolaProcessor::reset() {
  layer_ = -1;
  early_ = {};
  std::fill(histogram_.begin(), histogram_.end(), Index{0});
}

}  // namespace v0
}  // namespace activation_trace
