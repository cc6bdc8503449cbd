// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "support/gpu_layers.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

using activation_trace::Index;
using activation_trace::examples::place_layers;
using activation_trace::examples::share_layers;
using Counts = std::vector<Index>;

namespace {

/// The sizes that GPUs have to take of the last `taken` layers, of every way to divide them in order: the smallest
/// largest one.
double best_largest(const std::vector<double>& layers, std::size_t begin, Index gpus) {
  if (gpus == 1) return std::accumulate(layers.begin() + static_cast<std::ptrdiff_t>(begin), layers.end(), 0.0);
  double best = 1e300;
  double own = 0;
  for (std::size_t end = begin; end <= layers.size(); ++end) {
    best = std::min(best, std::max(own, best_largest(layers, end, gpus - 1)));
    if (end < layers.size()) own += layers[end];
  }
  return best;
}

}  // namespace

TEST_CASE("layers on GPUs: all where they fit, evenly; else the last; none where none fits") {
  const std::vector<double> even(8, 2.0);
  CHECK(place_layers(even, 1, 100) == Counts{8});
  CHECK(place_layers(even, 2, 100) == Counts{4, 4});
  CHECK(place_layers(even, 3, 100) == Counts{3, 3, 2});
  CHECK(place_layers(even, 2, 5) == Counts{2, 2});
  CHECK(place_layers(even, 1, 4) == Counts{2});
  CHECK(place_layers(even, 2, 1.5) == Counts{0, 0});
  CHECK(place_layers(std::vector<double>{1, 1, 6}, 2, 6) == Counts{2, 1});
  CHECK(place_layers(std::vector<double>{1, 1, 6}, 2, 5) == Counts{0, 0});  // the LM head comes last, and is first
}

TEST_CASE("layers on GPUs: no way to divide them has a smaller largest part, and no further layer fits") {
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    std::vector<double> layers(1 + random() % 7);
    for (double& size : layers) size = static_cast<double>(1 + random() % 9);
    const auto gpus = static_cast<Index>(1 + random() % 3);
    const double limit = static_cast<double>(1 + random() % 20);
    const Counts counts = place_layers(layers, gpus, limit);
    const Index taken = std::accumulate(counts.begin(), counts.end(), Index{0});
    REQUIRE(std::ssize(counts) == gpus);
    std::size_t next = layers.size() - static_cast<std::size_t>(taken);
    const std::size_t first = next;
    double largest = 0;
    for (const Index count : counts) {
      double sum = 0;
      for (Index k = 0; k < count; ++k) sum += layers[next++];
      largest = std::max(largest, sum);
    }
    CHECK(largest == doctest::Approx(best_largest(layers, first, gpus)));
    CHECK(largest <= limit);
    if (first > 0) CHECK(best_largest(layers, first - 1, gpus) > limit);
  }
}

TEST_CASE("layers are shared out by room: the fullest GPU is as empty as can be, and weights keep to their limit") {
  std::mt19937 random(3);
  const auto number = [&](int most) { return static_cast<double>(1 + random() % static_cast<unsigned>(most)); };
  for (int round = 0; round < 200; ++round) {
    std::vector<double> layers(1 + random() % 9), room(1 + random() % 3);
    for (double& bytes : layers) bytes = number(5);
    for (double& bytes : room) bytes = number(20);
    std::vector<double> weights;
    for (const double bytes : layers) weights.push_back(number(static_cast<int>(bytes)));
    const double limit = round % 2 == 0 ? number(12) : std::numeric_limits<double>::infinity();
    double most_weights = 0;
    // Every way to divide them in order: the smallest largest share.
    double best = 1e300;
    for (std::size_t a = 0; a <= layers.size(); ++a)
      for (std::size_t b = a; b <= layers.size(); ++b) {
        const std::vector<std::size_t> ends = room.size() == 1   ? std::vector{layers.size()}
                                              : room.size() == 2 ? std::vector{a, layers.size()}
                                                                 : std::vector{a, b, layers.size()};
        double worst = 0;
        for (std::size_t g = 0, begin = 0; g < ends.size(); begin = ends[g++]) {
          double sum = 0, weighed = 0;
          for (std::size_t i = begin; i < ends[g]; ++i) {
            sum += layers[i];
            weighed += weights[i];
          }
          worst = std::max(worst, weighed > limit + 1e-9 ? 1e300 : sum / room[g]);
        }
        best = std::min(best, worst);
      }
    const auto ends = share_layers(layers, room, weights, limit);
    REQUIRE(ends.has_value() == (best <= 1));
    if (!ends) continue;
    double worst = 0;
    Index begin = 0;
    for (std::size_t g = 0; g < room.size(); begin = (*ends)[g++]) {
      double sum = 0, weighed = 0;
      for (Index i = begin; i < (*ends)[g]; ++i) {
        sum += layers[static_cast<std::size_t>(i)];
        weighed += weights[static_cast<std::size_t>(i)];
      }
      worst = std::max(worst, sum / room[g]);
      most_weights = std::max(most_weights, weighed);
    }
    CHECK(most_weights <= limit + 1e-9);
    CHECK(begin == static_cast<Index>(layers.size()));
    CHECK(worst <= best + 1e-9);
  }
}
