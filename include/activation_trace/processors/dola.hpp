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

#include "activation_trace/config.hpp"
#include "activation_trace/ops/layer_divergence.hpp"
#include "activation_trace/processors/check.hpp"
#include "activation_trace/processors/dola_options.hpp"
#include "activation_trace/processors/lm_head.hpp"
#include "activation_trace/tensor/buffer.hpp"

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
/// An engine that has hidden states and no logits of its layers gives those: observe_states(). Movable, not copyable,
/// and not safe for concurrent use.
class DolaProcessor {
 public:
  /// Works on the threads of `execution`, which must outlive the processor, or without one on the calling thread. What
  /// the numbers in `layers` mean is the caller's business. Throws ArgumentError for no layers, a masked_value that is
  /// NaN or +inf, and as RelativeTopFilter does.
  explicit DolaProcessor(std::vector<Index> layers, DolaOptions options = {}, ExecutionHandle execution = {});

  /// logits[C, V] of the layers at this step, rows contiguous: a view, read by the next process() and then forgotten.
  /// Throws ShapeError for another C.
  void observe_layers(MatrixView<const float> logits);

  /// The same from hidden states[C, d] of the layers at this position, as an engine has them: multiplied by
  /// `lm_head`[V, d] here, without a norm, as the published method does. Nothing of what is given is kept. Memory: C *
  /// V floats. Throws ShapeError for another C or d.
  void observe_states(MatrixView<const float> states, const LmHead<>& lm_head);

  /// mature[V], logits, become scores in place. An entry that is -inf stays masked and does not count. Throws
  /// StateError without observe_layers(), ShapeError for another V, ArgumentError for NaN, +inf, or a layer's -inf
  /// where mature has none; mature is then unchanged.
  const DolaRecord& process(std::span<float> mature);

  /// The same for candidates in any order; the layers' logits [C, n] are then those of `ids`, in that order. After
  /// observe_states() they are found by id, and ArgumentError is thrown for one outside the vocabulary.
  const DolaRecord& process(std::span<const TokenId> ids, std::span<float> mature);

  /// What the last process() kept; valid until the next.
  [[nodiscard]] const DolaRecord& record() const noexcept { return record_; }

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
  void step(std::span<const TokenId> ids, std::span<float> mature);
  void gather_early(std::span<const TokenId> ids);
  void subtract(std::span<const TokenId> ids, std::span<float> mature, std::span<const float> early,
                const LogNormalizer& early_normalizer);

  std::vector<Index> layers_;
  DolaOptions options_;
  ExecutionHandle execution_;
  RelativeTopFilter filter_;
  MatrixView<const float> early_;
  bool by_id_ = false;  // early_ has all V tokens, of observe_states()
  Index layer_ = -1;
  DolaRecord record_;
  Buffer<float> state_logits_;              // [C, V], of observe_states()
  Buffer<float> gathered_logits_;           // [C, n] of them
  Buffer<float> rows_;                      // of an LM head that is given on request
  std::vector<Index> histogram_;            // [C]
  std::vector<double> divergences_;         // [C]
  std::vector<LogNormalizer> normalizers_;  // [1 + C]: mature, then the layers
  DivergenceMemory memory_;
  std::vector<float> differences_;  // [V], for DolaOutput::log_probs
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE std::vector<Index> dola_layers(DolaBucket bucket, Index blocks,
                                                                Embeddings embeddings) {
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

ACTIVATION_TRACE_COMPILED_INLINE DolaProcessor::DolaProcessor(std::vector<Index> layers, DolaOptions options,
                                                              ExecutionHandle execution)
    : layers_(std::move(layers)),
      options_(options),
      execution_(std::move(execution)),
      filter_(options.filter),
      histogram_(layers_.size()),
      divergences_(layers_.size() > 1 ? layers_.size() : 0),
      normalizers_(layers_.size() + 1) {
  detail::check_dola(layers_, options);
  record_.kept.reserve(1024);  // as many as a step keeps, unless it is a most uncertain one
}

ACTIVATION_TRACE_COMPILED_INLINE void DolaProcessor::observe_layers(MatrixView<const float> logits) {
  detail::check_extent("layers: rows of logits", logits.extent(0), static_cast<Index>(layers_.size()));
  detail::check_contiguous_rows("layers: logits", logits);
  early_ = logits;
  by_id_ = false;
}

ACTIVATION_TRACE_COMPILED_INLINE void DolaProcessor::observe_states(MatrixView<const float> states,
                                                                    const LmHead<>& lm_head) {
  const auto count = static_cast<Index>(layers_.size());
  detail::check_extent("layers: rows of states", states.extent(0), count);
  detail::check_extent("layers: columns of states", states.extent(1), lm_head.hidden());
  if (state_logits_.size() < count * lm_head.vocab()) state_logits_ = Buffer<float>(count * lm_head.vocab());
  const MatrixView<float> logits(state_logits_.data(), {count, lm_head.vocab()});
  lm_head.logits_by_row(*execution_, states, logits, rows_);
  early_ = logits;
  by_id_ = true;
}

ACTIVATION_TRACE_COMPILED_INLINE const DolaRecord& DolaProcessor::process(std::span<const TokenId> ids,
                                                                          std::span<float> mature) {
  detail::check_candidates("DolaProcessor", ids, mature);
  if (by_id_) gather_early(ids);
  step(ids, mature);
  return record_;
}

ACTIVATION_TRACE_COMPILED_INLINE const DolaRecord& DolaProcessor::process(std::span<float> mature) {
  step({}, mature);
  return record_;
}

ACTIVATION_TRACE_COMPILED_INLINE void DolaProcessor::gather_early(std::span<const TokenId> ids) {
  const auto count = static_cast<Index>(ids.size());
  for (const TokenId id : ids)
    if (id < 0 || id >= early_.extent(1))
      throw ArgumentError("ids: " + std::to_string(id) + " is not in the vocabulary of " +
                          std::to_string(early_.extent(1)));
  if (gathered_logits_.size() < early_.extent(0) * count) gathered_logits_ = Buffer<float>(early_.extent(0) * count);
  const MatrixView<float> gathered(gathered_logits_.data(), {early_.extent(0), count});
  for (Index layer = 0; layer < early_.extent(0); ++layer)
    for (Index i = 0; i < count; ++i) gathered(layer, i) = early_(layer, ids[static_cast<std::size_t>(i)]);
  early_ = gathered;
  by_id_ = false;
}

ACTIVATION_TRACE_COMPILED_INLINE void DolaProcessor::step(std::span<const TokenId> ids, std::span<float> mature) {
  if (early_.extent(0) == 0)
    throw StateError("no layers: neither observe_layers nor observe_states was called for this step");
  detail::check_extent("logits: as many as each layer has", static_cast<Index>(mature.size()), early_.extent(1));
  const MatrixView<const float> early = std::exchange(early_, {});
  by_id_ = false;
  detail::check_scores("logits", mature);
  log_normalizers(*execution_, mature, early, normalizers_, memory_);
  layer_ = -1;
  record_.kept.clear();
  record_.best = -1;
  record_.layer = -1;
  if (std::isnan(normalizers_[0].log_sum)) {  // nothing above -inf: no distribution, and nothing to choose
    std::fill(divergences_.begin(), divergences_.end(), 0.0);
    std::fill(mature.begin(), mature.end(), options_.masked_value);
    return;
  }
  const std::size_t chosen = choose(mature, early);
  check_layer(mature, early, static_cast<Index>(chosen));
  subtract(ids, mature, early.row(static_cast<Index>(chosen)).span(), normalizers_[chosen + 1]);
  layer_ = record_.layer = layers_[chosen];
  ++histogram_[chosen];
}

ACTIVATION_TRACE_COMPILED_INLINE std::size_t DolaProcessor::choose(std::span<const float> mature,
                                                                   MatrixView<const float> early) {
  if (divergences_.empty()) return 0;
  layer_divergences(*execution_, mature, early, normalizers_, options_.divergence, divergences_, memory_);
  for (std::size_t j = 0; j < divergences_.size(); ++j)
    if (!std::isfinite(divergences_[j])) check_layer(mature, early, static_cast<Index>(j));
  return static_cast<std::size_t>(std::max_element(divergences_.begin(), divergences_.end()) - divergences_.begin());
}

// Where mature is not masked the layer must be finite: counted first, without branches, as in check_scores.
ACTIVATION_TRACE_COMPILED_INLINE void DolaProcessor::check_layer(std::span<const float> mature,
                                                                 MatrixView<const float> early, Index row) {
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

ACTIVATION_TRACE_COMPILED_INLINE void DolaProcessor::subtract(std::span<const TokenId> ids, std::span<float> mature,
                                                              std::span<const float> early,
                                                              const LogNormalizer& early_normalizer) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const LogNormalizer& normalizer = normalizers_[0];
  const float lowest = filter_.threshold(mature, normalizer.max);
  // The difference of two rows minus the difference of their normalisers, which is one number.
  double offset = static_cast<double>(normalizer.max) + normalizer.log_sum;
  if (options_.base == DolaBase::log_probs)
    offset -= static_cast<double>(early_normalizer.max) + early_normalizer.log_sum;
  if (options_.base == DolaBase::log_probs && options_.filter.relative_top == 0 &&
      options_.unfiltered == Unfiltered::logits)
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
  float best = -infinity;
  for (std::size_t v = 0; v < mature.size(); ++v) {
    const bool masked = mature[v] < lowest || mature[v] == -infinity;
    mature[v] = masked ? options_.masked_value : difference(v);
    if (masked) continue;
    const TokenId id = ids.empty() ? static_cast<TokenId>(v) : ids[v];
    record_.kept.push_back({id, mature[v]});
    if (record_.best != -1 && (mature[v] < best || (mature[v] == best && id > record_.best))) continue;
    record_.best = id;
    best = mature[v];
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void DolaProcessor::reset() {
  layer_ = -1;
  early_ = {};
  by_id_ = false;
  record_.kept.clear();
  record_.best = -1;
  record_.layer = -1;
  std::fill(histogram_.begin(), histogram_.end(), Index{0});
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
