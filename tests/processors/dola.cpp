// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/processors/dola.hpp"

#include "activation_trace/processors/processor_chain.hpp"

using DolaUnderTest = activation_trace::DolaProcessor;

#include "processors/dola_cases.hpp"

static_assert(LogitsProcessor<DolaProcessor>);

TEST_CASE("DoLa's buckets") {
  using Layers = std::vector<Index>;
  CHECK(dola_layers(DolaBucket::low, 32, Embeddings::separate) == Layers{0, 2, 4, 6, 8, 10, 12, 14});
  CHECK(dola_layers(DolaBucket::high, 32, Embeddings::separate) == Layers{16, 18, 20, 22, 24, 26, 28, 30});
  CHECK(dola_layers(DolaBucket::low, 30, Embeddings::tied) == Layers{2, 4, 6, 8, 10, 12, 14});
  CHECK(dola_layers(DolaBucket::high, 80, Embeddings::tied) == Layers{60, 62, 64, 66, 68, 70, 72, 74, 76, 78});
  CHECK(dola_layers(DolaBucket::low, 80, Embeddings::separate) == Layers{0, 2, 4, 6, 8, 10, 12, 14, 16, 18});
  CHECK(dola_layers(DolaBucket::low, 2, Embeddings::tied) == Layers{1});
  CHECK(dola_layers(DolaBucket::low, 4, Embeddings::tied) == Layers{2});
  CHECK(dola_layers(DolaBucket::high, 1, Embeddings::separate) == Layers{0});
  CHECK_THROWS_AS((void)dola_layers(DolaBucket::low, 0, Embeddings::tied), ArgumentError);
}
