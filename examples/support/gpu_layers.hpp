// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <vector>

#include "activation_trace/config.hpp"

// What --num-gpus and --max_gpu_memory mean to engines that ask for numbers of layers.
namespace activation_trace::examples {

/// How many of `layers` each of `gpus` takes, in order, if none takes more than `limit`; none if they do not fit.
[[nodiscard]] inline std::optional<std::vector<Index>> fill_gpus(std::span<const double> layers, Index gpus,
                                                                 double limit) {
  std::vector<Index> counts(static_cast<std::size_t>(gpus), 0);
  std::size_t gpu = 0;
  double taken = 0;
  for (const double size : layers) {
    if (taken + size > limit) {
      if (++gpu == counts.size()) return std::nullopt;
      taken = 0;
    }
    if (size > limit) return std::nullopt;
    taken += size;
    ++counts[gpu];
  }
  return counts;
}

/// Layers by GPU, in order, where each GPU takes at most `limit` bytes of weights: of the layers, whose sizes in bytes
/// are `layers`, as many of the last as fit, as evenly as they go. All zero if not even the last one fits.
[[nodiscard]] inline std::vector<Index> place_layers(std::span<const double> layers, Index gpus, double limit) {
  while (!layers.empty() && !fill_gpus(layers, gpus, limit)) layers = layers.subspan(1);
  double low = 0;
  double high = std::min(limit, std::accumulate(layers.begin(), layers.end(), 0.0));
  for (int i = 0; i < 60; ++i) {  // the lowest limit that does
    const double middle = (low + high) / 2;
    (fill_gpus(layers, gpus, middle) ? high : low) = middle;
  }
  return fill_gpus(layers, gpus, high).value_or(std::vector<Index>(static_cast<std::size_t>(gpus), 0));
}

/// Where each of the GPUs ends that have some of `layers`, whose sizes in bytes these are, in order: each takes about
/// the same share of its `room`, and one that would take none is left out, as a number that is that of the GPU before
/// it. Of what is `weights` in each layer, as many numbers or none, a GPU takes at most `limit` bytes. None if they do
/// not fit.
[[nodiscard]] inline std::optional<std::vector<Index>> share_layers(
    std::span<const double> layers, std::span<const double> room, std::span<const double> weights = {},
    double limit = std::numeric_limits<double>::infinity()) {
  const auto fill = [&](double share) -> std::optional<std::vector<Index>> {
    std::vector<Index> ends;
    std::size_t next = 0;
    const auto weight = [&] { return weights.empty() ? 0 : weights[next]; };
    for (const double bytes : room) {
      double left = share * bytes;
      double limit_left = limit;
      for (; next < layers.size() && layers[next] <= left && weight() <= limit_left; ++next) {
        left -= layers[next];
        limit_left -= weight();
      }
      ends.push_back(static_cast<Index>(next));
    }
    return next == layers.size() ? std::optional(ends) : std::nullopt;
  };
  if (!fill(1)) return std::nullopt;
  double low = 0;
  double high = 1;
  for (int i = 0; i < 60; ++i) {  // the lowest share that does
    const double middle = (low + high) / 2;
    (fill(middle) ? high : low) = middle;
  }
  return fill(high);
}

}  // namespace activation_trace::examples
