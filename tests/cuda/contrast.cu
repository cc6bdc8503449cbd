// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/cuda/graph.cuh"
#include "activation_trace/cuda/ops/lm_head_logits.cuh"
#include "activation_trace/cuda/processors/contrastive.cuh"
#include "activation_trace/cuda/processors/dola.cuh"
#include "activation_trace/ops/execution.hpp"
#include "support.cuh"

namespace activation_trace::test {

constexpr Index most_entries = 3000;

[[nodiscard]] Buffer<float, Cuda> upload(MatrixView<const float> host) {
  std::vector<float> values;
  for (Index i = 0; i < host.extent(0); ++i)
    for (Index k = 0; k < host.extent(1); ++k) values.push_back(host(i, k));
  return to_device(values);
}

/// Runs `step` on a copy of `scores` in device memory, and copies back what it left there even if `after` throws.
template <class Step, class After>
void on_device(std::span<float> scores, const Step& step, const After& after) {
  Buffer<float, Cuda> device = to_device(std::vector<float>(scores.begin(), scores.end()));
  step(device.view());
  const std::vector<float> result = to_host(device);
  std::copy(result.begin(), result.end(), scores.begin());
  after();
}

/// cuda::DolaProcessor with the host's views.
class DeviceDola {
 public:
  explicit DeviceDola(std::vector<Index> layers, DolaOptions options = {}, ExecutionHandle = {})
      : processor_(stream_, most_entries, std::move(layers), options) {}

  void observe_layers(MatrixView<const float> logits) {
    early_ = upload(logits);
    processor_.observe_layers(std::as_const(early_).matrix(logits.extent(0), logits.extent(1)));
  }
  void process(std::span<float> mature) {
    on_device(
        mature, [&](VectorView<float, Cuda> row) { processor_.process(row); }, [&] { layer_ = processor_.layer(); });
    histogram_ = processor_.histogram();
    if (processor_.layers().size() > 1) divergences_ = processor_.divergences();
  }
  void process(std::span<const TokenId> ids, std::span<float> mature) {
    if (ids.size() != mature.size()) throw ShapeError("the device's processor takes rows");
    process(mature);
  }

  [[nodiscard]] Index layer() const { return layer_; }
  [[nodiscard]] const std::vector<double>& divergences() const { return divergences_; }
  [[nodiscard]] const std::vector<Index>& histogram() const { return histogram_; }
  void reset() {
    processor_.reset();
    layer_ = processor_.layer();
    histogram_ = processor_.histogram();
  }

 private:
  cuda::Stream stream_;
  cuda::DolaProcessor processor_;
  Buffer<float, Cuda> early_;
  Index layer_ = -1;
  std::vector<double> divergences_;
  std::vector<Index> histogram_;
};

/// cuda::ContrastiveProcessor with the host's views.
class DeviceContrastive {
 public:
  explicit DeviceContrastive(ContrastiveOptions options = {}) : processor_(stream_, most_entries, options) {}

  void observe_amateur(std::span<const float> logits) {
    amateur_ = to_device(std::vector<float>(logits.begin(), logits.end()));
    processor_.observe_amateur(std::as_const(amateur_).view());
  }
  void process(std::span<float> expert) {
    on_device(
        expert, [&](VectorView<float, Cuda> row) { processor_.process(row); }, [&] { processor_.check_step(); });
  }
  void process(std::span<const TokenId>, std::span<float> expert) { process(expert); }

 private:
  cuda::Stream stream_;
  cuda::ContrastiveProcessor processor_;
  Buffer<float, Cuda> amateur_;
};

}  // namespace activation_trace::test

using DolaUnderTest = activation_trace::test::DeviceDola;
using ContrastiveUnderTest = activation_trace::test::DeviceContrastive;

#include "processors/contrastive_cases.hpp"
#include "processors/dola_cases.hpp"

using activation_trace::test::Random;

TEST_CASE_TEMPLATE("the logits of several rows are those of double precision", T, float, Half, BFloat16) {
  for (const auto& [count, d, vocab] : {std::array<Index, 3>{1, 64, 9},
                                        {3, 40, 70},
                                        {8, 577, 33},
                                        {9, 512, 130},
                                        {16, 8, 4},
                                        {35, 72, 101},
                                        {2, 1, 1}}) {
    CAPTURE(count);
    CAPTURE(d);
    CAPTURE(vocab);
    const std::vector<T> states = test::normal_vector<T>(count * d, 1, 3);
    const std::vector<T> w = test::normal_vector<T>(vocab * d, 1 / std::sqrt(static_cast<float>(d)), 4);
    const Buffer<T, Cuda> device_states = test::to_device(states);
    const Buffer<T, Cuda> device_w = test::to_device(w);
    Buffer<float, Cuda> logits = test::to_device(std::vector<float>(static_cast<std::size_t>(count * (vocab + 2)), 7));
    cuda::lm_head_logits(Execution<Cuda>{}, device_states.matrix(count, d), device_w.matrix(vocab, d),
                         MatrixView<float, Cuda>(logits.data(), {count, vocab}, {vocab + 2, 1}));
    const std::vector<float> got = test::to_host(logits);
    for (Index v = 0; v < vocab; ++v) {
      const std::vector<double> expected = test::logits_oracle(states, w, d, v);
      for (Index c = 0; c < count; ++c)
        CHECK(std::abs(got[static_cast<std::size_t>(c * (vocab + 2) + v)] - expected[static_cast<std::size_t>(c)]) <=
              5e-6);
    }
    for (Index c = 0; c < count; ++c) CHECK(got[static_cast<std::size_t>(c * (vocab + 2) + vocab)] == 7);

    // Of floats, whatever w is; and a row alone.
    const std::vector<float> floats = test::normal_vector<float>(count * d, 1, 5);
    const Buffer<float, Cuda> device_floats = test::to_device(floats);
    Buffer<float, Cuda> of_floats(count * vocab), alone(vocab);
    cuda::lm_head_logits(Execution<Cuda>{}, device_floats.matrix(count, d), device_w.matrix(vocab, d),
                         of_floats.matrix(count, vocab));
    cuda::lm_head_logits(Execution<Cuda>{}, device_floats.matrix(count, d).slice(0, count - 1, count),
                         device_w.matrix(vocab, d), alone.matrix(1, vocab));
    const std::vector<float> all = test::to_host(of_floats), last = test::to_host(alone);
    CHECK(std::equal(last.begin(), last.end(), all.end() - vocab));
    const std::vector<float> wide(w.begin(), w.end());
    for (Index v = 0; v < vocab; ++v) {
      const std::vector<double> expected = test::logits_oracle(floats, wide, d, v);
      for (Index c = 0; c < count; ++c)
        CHECK(std::abs(all[static_cast<std::size_t>(c * vocab + v)] - expected[static_cast<std::size_t>(c)]) <= 5e-6);
    }
  }
  Buffer<T, Cuda> some = test::to_device(std::vector<T>(64));
  Buffer<float, Cuda> out(64);
  CHECK_THROWS_AS(cuda::lm_head_logits(Execution<Cuda>{}, some.matrix(2, 8), some.matrix(4, 8), out.matrix(2, 5)),
                  ShapeError);
  CHECK_THROWS_AS(cuda::lm_head_logits(Execution<Cuda>{}, some.matrix(2, 8), some.matrix(8, 4), out.matrix(2, 8)),
                  ShapeError);
}

TEST_CASE("DoLa from hidden states to scores in one graph, as on the host") {
  const Index layers = 8, d = 64, vocab = 700;
  const auto w = test::normal_vector<float>(vocab * d, 0.3f, 1);
  const Buffer<float, Cuda> device_w = test::to_device(w);
  Buffer<float, Cuda> states((layers + 1) * d), logits((layers + 1) * vocab);
  const cuda::Stream stream;
  std::vector<Index> numbers;
  for (Index j = 0; j < layers; ++j) numbers.push_back(2 * j);
  cuda::DolaProcessor processor(stream, vocab, numbers);
  const MatrixView<float, Cuda> rows = logits.matrix(layers + 1, vocab);
  const cuda::Graph graph(stream, [&, rows](Execution<Cuda> queue) {
    cuda::lm_head_logits(queue, states.matrix(layers + 1, d), device_w.matrix(vocab, d), rows);
    processor.observe_layers(rows.slice(0, 0, layers));
    processor.process(VectorView<float, Cuda>(rows.data() + layers * vocab, {vocab}));
  });
  activation_trace::DolaProcessor host(numbers);
  for (std::uint64_t step = 0; step < 5; ++step) {
    const auto h = test::normal_vector<float>((layers + 1) * d, 1, 10 + step);
    cuda::copy(stream, VectorView<const float>(h), states.view());
    graph.launch(stream);
    std::vector<float> early, mature;
    for (Index c = 0; c <= layers; ++c)
      for (Index v = 0; v < vocab; ++v) {
        double sum = 0;
        for (Index k = 0; k < d; ++k)
          sum += static_cast<double>(h[static_cast<std::size_t>(c * d + k)]) *
                 static_cast<double>(w[static_cast<std::size_t>(v * d + k)]);
        (c == layers ? mature : early).push_back(static_cast<float>(sum));
      }
    host.observe_layers(MatrixView<const float>(early.data(), {layers, vocab}));
    host.process(mature);
    CHECK(processor.layer() == host.layer());
    const std::vector<float> got = test::to_host(VectorView<const float, Cuda>(rows.data() + layers * vocab, {vocab}));
    for (std::size_t v = 0; v < mature.size(); ++v)
      CHECK((got[v] == mature[v] || std::abs(got[v] - mature[v]) <= 2e-5f));
  }
  CHECK(std::equal(host.histogram().begin(), host.histogram().end(), processor.histogram().begin()));
}

TEST_CASE("rows longer than the device's processors were made for are refused") {
  const cuda::Stream stream;
  // Also those of as many blocks: 4096 entries have no more than 3000, and 131072 no fewer than any number.
  for (const auto& [vocab, entries] : {std::array<Index, 2>{3000, 3001}, {3000, 4096}, {131072, 131073}}) {
    CAPTURE(vocab);
    Buffer<float, Cuda> rows = test::to_device(std::vector<float>(static_cast<std::size_t>(2 * entries)));
    const VectorView<float, Cuda> row = rows.view().slice(0, entries, 2 * entries);
    const std::string expected = "logits: " + std::to_string(entries) + " are more than the " + std::to_string(vocab) +
                                 " that the processor was made for";
    for (const DolaOutput output : {DolaOutput::log_probs, DolaOutput::difference}) {
      cuda::DolaProcessor dola(stream, vocab, {1}, {.output = output});
      dola.observe_layers(std::as_const(rows).matrix(1, entries));
      CHECK_THROWS_WITH_AS(dola.process(row), expected.c_str(), ShapeError);
    }
    cuda::ContrastiveProcessor contrastive(stream, vocab);
    contrastive.observe_amateur(std::as_const(rows).view().slice(0, 0, entries));
    CHECK_THROWS_WITH_AS(contrastive.process(row), expected.c_str(), ShapeError);
  }
  Buffer<float, Cuda> numbers = test::to_device(std::vector<float>(40000));
  cuda::DolaProcessor dola(stream, 100, {1});
  dola.observe_layers(std::as_const(numbers).matrix(1, 20000));
  CHECK_THROWS_AS(dola.process(numbers.view().slice(0, 20000, 40000)), ShapeError);
  cuda::ContrastiveProcessor contrastive(stream, 100);
  contrastive.observe_amateur(std::as_const(numbers).view().slice(0, 0, 20000));
  CHECK_THROWS_AS(contrastive.process(numbers.view().slice(0, 20000, 40000)), ShapeError);
  CHECK_THROWS_AS(cuda::DolaProcessor(stream, 0, {1}), ArgumentError);
  CHECK_THROWS_AS(cuda::ContrastiveProcessor(stream, 0), ArgumentError);
}
