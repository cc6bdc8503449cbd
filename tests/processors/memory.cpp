// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>

#include "activation_trace/processors/entropy_sharpness.hpp"
#include "support/counted_allocations.hpp"
#include "support/random_matrix.hpp"

using namespace activation_trace;
namespace heap = test::heap;

namespace {

/// The most bytes that were allocated at any time during `action` and not before.
template <class Action>
std::size_t added_by(Action&& action) {
  const std::size_t before = heap::live;
  heap::peak = before;
  action();
  return heap::peak - before;
}

constexpr std::size_t kAllowed = 8'000'000;

}  // namespace

// Stacks hold no more than a tile, so the heap is the account. The T x V scores would be 101 MB.
TEST_CASE("Entropies of T = 512, d = 576, V = 49152 add at most 8 MB") {
  constexpr Index T = 512;
  constexpr Index d = 576;
  constexpr Index V = 49152;
  std::mt19937 random(1);
  const std::vector<float> hidden = test::normal_floats(T * d, random);
  std::vector<Half> w(static_cast<std::size_t>(V * d));
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = Half(hidden[i % hidden.size()] / 24);
  const StoredMatrix<> lm_head(DType::f16, reinterpret_cast<const std::byte*>(w.data()), V, d);
  const MatrixView<const float> states = test::matrix(hidden, T, d);
  const double bound = std::log(static_cast<double>(T));

  SUBCASE("fused, over the whole vocabulary") {
    float last = 0;
    const std::size_t added = added_by([&] {
      Execution<Host> execution(2);
      std::vector<float> entropy(static_cast<std::size_t>(V));
      softmax_entropy(execution, states, lm_head, entropy);
      last = entropy.back();
    });
    CHECK(last > 0);
    CHECK(last < bound);
    MESSAGE("softmax_entropy: " << added << " bytes");
    CHECK(added <= kAllowed);
  }
  SUBCASE("lazy, by candidates, then the whole vocabulary on demand") {
    float last = 0;
    std::size_t lazy = 0;
    const std::size_t added = added_by([&] {
      Execution<Host> execution(2);
      EntropySharpnessProcessor<> processor({}, execution);
      processor.observe_context(states, lm_head);
      for (TokenId first = 0; first < 1000; first += 100) {
        std::vector<TokenId> ids;
        for (TokenId id = first; id < first + 100; ++id) ids.push_back(id * 49);
        std::vector<float> logits(ids.size(), 1.0f);
        processor.process(ids, logits);
      }
      lazy = heap::peak;
      last = processor.entropy().back();
    });
    CHECK(last > 0);
    CHECK(last < bound);
    MESSAGE("processor: " << lazy - (heap::peak - added) << " bytes for 1000 candidates, " << added << " for all");
    CHECK(added <= kAllowed);
  }
}
