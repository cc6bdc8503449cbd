// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/generation/language_model.hpp"
#include "activation_trace/generation/layer_entropies.hpp"
#include "activation_trace/numerics/softmax_state.hpp"
#include "activation_trace/ops/log_softmax.hpp"
#include "activation_trace/ops/rms_norm.hpp"
#include "activation_trace/report/picture.hpp"
#include "activation_trace/tensor/buffer.hpp"

namespace activation_trace {
inline namespace v0 {

/// Which hidden states activation_maps() reads, and as what.
struct ActivationMapOptions {
  std::vector<Index> layers = {};            ///< hidden states 0..N, negative from the end; none: all
  ContextSpan span = {};                     ///< positions of the prompt that count
  std::optional<FinalNorm> final_norm = {};  ///< applied to all layers but N, which has passed it
  Index prefill_piece = 512;                 ///< prompt positions between two reports of progress
};

/// What T positions of a prompt say of tokens at L layers (report/README.md): L_k[i][a], the logit that W[a] makes of
/// h_k[i].
struct ActivationMaps {
  /// Of one token a; matrices [L, T], row by row.
  struct Token {
    TokenId id = -1;                  ///< the token a
    std::vector<double> raw;          ///< L_k[i][a]
    std::vector<double> softmax;      ///< P_k[a][i], the softmax of a matrix's row: what activation decoding reads
    std::vector<double> probability;  ///< softmax over the vocabulary at position i, at a: the logit lens
    std::vector<double> entropies;    ///< [L], of softmax's rows, in nats
  };
  std::vector<Index> layers;       ///< 0..N
  Index first_position = 0;        ///< of the prompt, that the first column shows
  std::vector<TokenId> positions;  ///< the prompt's ids there, [T]
  std::vector<Token> tokens;       ///< in the order in which they were asked for
};

/// One forward pass over `prompt`. Logits exist for 64 positions at a time. Overwrites the model's first sequence.
/// Throws ArgumentError for an empty prompt or one that does not fit, no ids, ids outside the vocabulary, layers that
/// do not exist or come twice, a span without positions, and what is not a number; and what the model throws.
template <LanguageModel Model>
ActivationMaps activation_maps(Model& model, std::span<const TokenId> prompt, std::span<const TokenId> ids,
                               const ActivationMapOptions& options = {},
                               const std::function<void(Index done, Index total)>& on_progress = {});

/// What a panel or a curve shows: the mean over some of ActivationMaps::tokens.
struct MappedTokens {
  std::string name;                 ///< the panel's title or the curve's legend
  std::vector<std::size_t> tokens;  ///< places in ActivationMaps::tokens, at least one
};

/// Layers x positions, a panel for each of `shown`, in the three views of ActivationMaps::Token. `labels` are those of
/// the positions. The colours of raw values end at the 5th and 95th percentile, as single positions are far outside.
[[nodiscard]] HeatMap activation_heat_map(const ActivationMaps& maps, std::string title,
                                          std::span<const MappedTokens> shown, std::vector<std::string> labels,
                                          Index info_layer);

/// The context entropy of each of `shown` by layer.
[[nodiscard]] LineChart entropy_chart(const ActivationMaps& maps, std::string title,
                                      std::span<const MappedTokens> shown, Index info_layer);

namespace detail {

/// One call of activation_maps().
template <class Model>
class ActivationMapping {
 public:
  ActivationMapping(Model& model, std::span<const TokenId> prompt, std::span<const TokenId> ids,
                    const ActivationMapOptions& options)
      : model_(model), prompt_(prompt), options_(options), lm_head_(model.lm_head()) {
    const Index blocks = model.config().layers;
    const auto length = static_cast<Index>(prompt.size());
    maps_.layers = resolve_layers(options.layers, blocks);
    if (prompt.empty()) throw ArgumentError("prompt: it is empty");
    if (ids.empty()) throw ArgumentError("activation_maps: there are no tokens to map");
    if (options.prefill_piece < 1)
      throw ArgumentError("prefill_piece: must be positive, got " + std::to_string(options.prefill_piece));
    if (length > model.max_context())
      throw ArgumentError("prompt: its " + std::to_string(length) + " tokens do not fit into a context of " +
                          std::to_string(model.max_context()));
    end_ = std::min(options.span.end, length);
    maps_.first_position = options.span.begin;
    if (options.span.begin < 0 || options.span.begin >= end_)
      throw ArgumentError("none of the prompt's " + std::to_string(length) + " positions lies within the span from " +
                          std::to_string(options.span.begin) + " to " + std::to_string(options.span.end));
    maps_.positions.assign(prompt.begin() + options.span.begin, prompt.begin() + end_);
    for (std::size_t a = 0; a < ids.size(); ++a) {
      if (ids[a] < 0 || ids[a] >= lm_head_.vocab())
        throw ArgumentError("token id " + std::to_string(ids[a]) + " is not in the vocabulary of " +
                            std::to_string(lm_head_.vocab()));
      const std::size_t size = maps_.layers.size() * maps_.positions.size();
      maps_.tokens.push_back({ids[a], std::vector<double>(size), std::vector<double>(size), std::vector<double>(size),
                              std::vector<double>(maps_.layers.size())});
    }
  }

  ActivationMaps run(const std::function<void(Index, Index)>& on_progress) {
    LayerObserver<> observer;
    observer.layers = maps_.layers;
    observer.begin = options_.span.begin;
    observer.end = options_.span.end;
    observer.on_states = [this](Index layer, Index first, MatrixView<const float> states) {
      take(layer, first, states);
    };
    model_.rewind(0, 0);
    const auto total = static_cast<Index>(prompt_.size());
    in_pieces(prompt_, options_.prefill_piece, [&](std::span<const TokenId> ids, Index done) {
      const SequencePiece<> piece{0, ids, &observer};
      model_.fill(std::span(&piece, 1));
      if (on_progress) on_progress(done, total);
      return true;
    });
    for (ActivationMaps::Token& token : maps_.tokens) complete(token);
    return std::move(maps_);
  }

 private:
  /// h_layer of positions from `first` on, some at a time.
  void take(Index layer, Index first, MatrixView<const float> states) {
    constexpr Index block = 64;
    for (Index begin = 0; begin < states.extent(0); begin += block)
      take_block(layer, first + begin, states.slice(0, begin, std::min(begin + block, states.extent(0))));
  }

  void take_block(Index layer, Index first, MatrixView<const float> states) {
    if (options_.final_norm && layer < model_.config().layers) {
      normed_.resize(static_cast<std::size_t>(states.size()));
      const MatrixView<float> normed(normed_.data(), states.extents());
      rms_norm(model_.execution(), states, options_.final_norm->weight, options_.final_norm->eps, normed);
      states = normed;
    }
    const Index count = states.extent(0);
    logits_.resize(static_cast<std::size_t>(count * lm_head_.vocab()));
    const MatrixView<float> logits(logits_.data(), {count, lm_head_.vocab()});
    lm_head_.logits(model_.execution(), states, logits, block_);
    const auto k = static_cast<std::size_t>(std::ranges::find(maps_.layers, layer) - maps_.layers.begin());
    for (Index i = 0; i < count; ++i) {
      const LogNormalizer normalizer = log_normalizer(model_.execution(), logits.row(i));
      const std::size_t place = k * maps_.positions.size() + static_cast<std::size_t>(first + i - maps_.first_position);
      for (ActivationMaps::Token& token : maps_.tokens) {
        const double x = static_cast<double>(logits(i, token.id));
        token.raw[place] = x;
        token.probability[place] = std::exp(x - static_cast<double>(normalizer.max) - normalizer.log_sum);
        if (!std::isfinite(x) || std::isnan(token.probability[place]))
          throw ArgumentError("layer " + std::to_string(layer) + ", position " + std::to_string(first + i) +
                              ": the logit of token " + std::to_string(token.id) + " is not a number");
      }
    }
  }

  /// The softmax over positions, and its entropy, in double.
  void complete(ActivationMaps::Token& token) const {
    const std::size_t count = maps_.positions.size();
    for (std::size_t k = 0; k < maps_.layers.size(); ++k) {
      const std::span raw(token.raw.data() + k * count, count);
      const auto state = BasicSoftmaxState<double>::of(count, [&](std::size_t i) { return raw[i]; });
      std::ranges::transform(raw, token.softmax.begin() + static_cast<std::ptrdiff_t>(k * count),
                             [&](double x) { return state.probability(x); });
      token.entropies[k] = state.entropy();
    }
  }

  Model& model_;
  std::span<const TokenId> prompt_;
  const ActivationMapOptions& options_;
  LmHead<> lm_head_;
  Index end_ = 0;
  ActivationMaps maps_;
  std::vector<float> normed_;  // states of a block
  std::vector<float> logits_;  // [block, V]
  Buffer<float> block_;        // of an LM head on request
};

inline std::vector<double> mean_over(const ActivationMaps& maps, const MappedTokens& shown,
                                     std::vector<double> ActivationMaps::Token::*values) {
  if (shown.tokens.empty()) throw ArgumentError("'" + shown.name + "' shows no tokens");
  std::vector<double> mean((maps.tokens.at(shown.tokens.front()).*values).size());
  for (const std::size_t token : shown.tokens)
    for (std::size_t i = 0; i < mean.size(); ++i)
      mean[i] += (maps.tokens.at(token).*values)[i] / static_cast<double>(shown.tokens.size());
  return mean;
}

}  // namespace detail

template <LanguageModel Model>
ActivationMaps activation_maps(Model& model, std::span<const TokenId> prompt, std::span<const TokenId> ids,
                               const ActivationMapOptions& options,
                               const std::function<void(Index done, Index total)>& on_progress) {
  return detail::ActivationMapping<Model>(model, prompt, ids, options).run(on_progress);
}

inline HeatMap activation_heat_map(const ActivationMaps& maps, std::string title, std::span<const MappedTokens> shown,
                                   std::vector<std::string> labels, Index info_layer) {
  HeatMap map{.title = std::move(title),
              .row_axis = "layer",
              .column_axis = "position",
              .rows = {},
              .columns = std::move(labels),
              .panels = {},
              .views = {},
              .first_column = maps.first_position};
  for (const Index layer : maps.layers) map.rows.push_back(std::to_string(layer));
  if (const auto found = std::ranges::find(maps.layers, info_layer); found != maps.layers.end()) {
    map.marked_row = found - maps.layers.begin();
    map.mark = "info_layer " + std::to_string(info_layer) + ", which decoding reads";
  }
  HeatMapView raw{.name = "raw logit",
                  .meaning =
                      "W[a] \u00b7 h[i], what the layer at each position says of the token; the colours end at "
                      "the 5th and 95th percentile",
                  .panels = {}};
  HeatMapView softmax{.name = "softmax over positions",
                      .meaning = "each row sums to 1; its entropy is the sharpness that decoding reads",
                      .panels = {}};
  HeatMapView probability{.name = "probability in the vocabulary",
                          .meaning = "the logit lens: the token's probability if the layer were the last",
                          .scale = ColorScale::logarithmic,
                          .low = 1e-6,
                          .panels = {}};
  for (const MappedTokens& panel : shown) {
    map.panels.push_back(panel.name);
    raw.panels.push_back(detail::mean_over(maps, panel, &ActivationMaps::Token::raw));
    softmax.panels.push_back(detail::mean_over(maps, panel, &ActivationMaps::Token::softmax));
    probability.panels.push_back(detail::mean_over(maps, panel, &ActivationMaps::Token::probability));
  }
  std::vector<double> all;
  for (const std::vector<double>& panel : raw.panels) all.insert(all.end(), panel.begin(), panel.end());
  std::ranges::sort(all);
  if (!all.empty()) {
    raw.low = detail::quantile(all, 0.05);
    raw.high = std::max(detail::quantile(all, 0.95), std::nextafter(raw.low, HUGE_VAL));
  }
  map.views = {std::move(raw), std::move(softmax), std::move(probability)};
  return map;
}

inline LineChart entropy_chart(const ActivationMaps& maps, std::string title, std::span<const MappedTokens> shown,
                               Index info_layer) {
  LineChart chart{.title = std::move(title),
                  .x_axis = "layer",
                  .y_axis = "context entropy E (nats)",
                  .x = {},
                  .curves = {},
                  .marked_x = static_cast<double>(info_layer),
                  .mark = "info_layer " + std::to_string(info_layer),
                  .reference_y = std::log(static_cast<double>(maps.positions.size())),
                  .reference = "ln T: all positions alike"};
  const std::vector<std::size_t> order = detail::ascending(maps.layers);
  for (const std::size_t k : order) chart.x.push_back(static_cast<double>(maps.layers[k]));
  for (const MappedTokens& curve : shown) {
    const std::vector<double> entropies = detail::mean_over(maps, curve, &ActivationMaps::Token::entropies);
    chart.curves.push_back({.name = curve.name, .y = {}});
    for (const std::size_t k : order) chart.curves.back().y.push_back(entropies[k]);
  }
  return chart;
}

}  // namespace v0
}  // namespace activation_trace
