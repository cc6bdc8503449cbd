// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "activation_trace/model/llama.hpp"
#include "model/trace.hpp"
#include "support/counted_allocations.hpp"

using namespace activation_trace;
using namespace activation_trace::test;

TEST_CASE("once every kernel has run, a forward pass allocates nothing") {
  for (const DType dtype : all_dtypes) {
    TinyLlamaOptions tiny_options;
    tiny_options.dtype = dtype;
    const TinyLlama tiny(tiny_options);
    const std::vector<TokenId> ids = some_ids(60, tiny.config().vocab);
    Execution<Host> execution(2);
    Llama model(tiny.config(), tiny.weights(), {.max_context = 64, .max_batch = 32, .sequences = 3}, execution);
    const std::vector<Index> layers{0, 1, -1};
    std::vector<float> logits(3 * static_cast<std::size_t>(tiny.config().vocab));
    const auto rows = as_matrix(std::span(logits), 3, tiny.config().vocab);
    LayerObserver<> observer;
    observer.layers = {0, 1, 2};
    float sum = 0;
    observer.on_states = [&](Index, Index, MatrixView<const float> states) { sum += states(0, 0); };
    const std::vector<SequencePiece<>> pieces{{2, std::span(ids).first(40), &observer},
                                              {0, std::span(ids).first(1), nullptr},
                                              {1, std::span(ids).first(7), &observer}};
    std::vector<float> memory(9 * static_cast<std::size_t>(tiny.config().vocab));
    const TensorView<float, 3> exits(memory.data(), {3, 3, tiny.config().vocab});
    const auto everything = [&] {
      for (Index s = 0; s < 3; ++s) model.rewind(0, s);
      model.forward(pieces);
      model.copy_sequence(2, 1);
      for (Index s = 0; s < 3; ++s) model.rewind(1, s);
      model.early_exit(pieces, layers, exits);
      model.rewind(0);
      model.forward(ids, observer);
      for (std::size_t i = 0; i < 3; ++i) model.forward(std::span(ids).subspan(i, 1));
      model.rewind(0);
      model.fill(std::span(ids).first(40));
      model.early_exit(std::span(ids).subspan(40), layers, rows, observer);
    };
    // The scratch memory of the workers grows to what the kernels need for a full context.
    everything();
    const long before = test::heap::allocations;
    everything();
    const long during = test::heap::allocations - before;  // read before doctest allocates for itself
    const std::string type(name(dtype));
    CAPTURE(type);
    CHECK(during == 0);
  }
}
