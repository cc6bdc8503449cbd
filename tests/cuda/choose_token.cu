// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/cuda/ops/choose_token.cuh"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "activation_trace/cuda/answer_scores.cuh"
#include "activation_trace/cuda/processors/score_penalties.cuh"
#include "activation_trace/cuda/processors/step_record.cuh"
#include "activation_trace/processors/argmax.hpp"
#include "activation_trace/processors/logit_bias.hpp"
#include "activation_trace/processors/occurrence_penalty.hpp"
#include "activation_trace/processors/repetition_penalty.hpp"
#include "activation_trace/processors/sampler.hpp"
#include "activation_trace/processors/sampling_chain.hpp"
#include "support.cuh"

// The choice on the device against the host's, and both against the definition in long double.
using namespace activation_trace;
using namespace activation_trace::test;
using cuda::detail::ChoiceRecord;
using cuda::detail::ChoiceRules;
using cuda::detail::ChoiceState;
using cuda::detail::StepRow;
using cuda::detail::StepRows;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

/// A device that chooses, step after step.
class Chooser {
 public:
  Chooser() {
    cuda::set_bytes(stream_, state_.view(), 0);
    cuda::set_bytes(stream_, found_.view(), 0xff);
    cuda::detail::set_step_rows(stream_, {}, rows_.data());
  }

  ChoiceRecord choose(const std::vector<float>& logits, const ChoiceRules& rules = {}, double uniform = 0) {
    const Buffer<float, Cuda> row = to_device(logits);
    cuda::detail::choose_token(stream_, row.view(), rules, uniform, found_.data(), state_.data(), rows_.data(),
                               record_.data());
    ++steps_;
    const StepRow step = to_host(rows_).front();
    const ChoiceRecord record = to_host(record_).front();
    CHECK(step.position == steps_);
    CHECK(step.token == std::max(record.token, 0));
    return record;
  }
  void find_something() { cuda::set_bytes(stream_, found_.view(), 0); }

 private:
  cuda::Stream stream_;
  Buffer<ChoiceState, Cuda> state_{1};
  Buffer<cuda::detail::FirstNotFinite, Cuda> found_{1};
  Buffer<StepRow, Cuda> rows_{cuda::detail::StepRows::most};
  Buffer<ChoiceRecord, Cuda> record_{1};
  int steps_ = 0;
};

/// The token, and how far from another one the number was, as a share of the total.
struct Drawn {
  Index token;
  double margin;
};

/// Of the entries that have a weight only those stay whose surprise is nearest to the entropy. How far others are, as
/// Drawn::margin.
double keep_typical(const std::vector<float>& score, float p, std::vector<long double>& weight) {
  const long double best = *std::max_element(score.begin(), score.end());
  const long double whole = std::accumulate(weight.begin(), weight.end(), 0.0L);
  long double typical = 0;
  std::vector<std::size_t> nearest;
  for (std::size_t i = 0; i < score.size(); ++i) {
    typical += weight[i] * (static_cast<long double>(score[i]) - best) / whole;
    if (weight[i] > 0) nearest.push_back(i);
  }
  const auto distance = [&](std::size_t i) { return std::abs(static_cast<long double>(score[i]) - best - typical); };
  std::ranges::stable_sort(nearest, {}, distance);
  double margin = 1;
  long double sum = 0, farthest = 0;
  for (const std::size_t i : nearest) {
    margin = std::min(margin, static_cast<double>(std::abs(sum / whole - static_cast<long double>(p))));
    if (sum >= static_cast<long double>(p) * whole) break;
    farthest = distance(i);
    sum += weight[i];
  }
  for (const std::size_t i : nearest) {
    if (distance(i) <= farthest) continue;
    margin = std::min(margin, static_cast<double>(distance(i) - farthest));
    weight[i] = 0;
  }
  return margin;
}

/// By the definition: scores, an order, sums. Filters one after another, in which equals at a border stay, but in
/// top_p.
Drawn draw_oracle(const std::vector<float>& logits, const SamplingOptions& options, double uniform) {
  const std::size_t n = logits.size();
  std::vector<long double> weight(n);
  const float largest = *std::max_element(logits.begin(), logits.end());
  const bool blurred = std::abs(largest / options.temperature) > 1024;
  std::vector<float> score(n);
  for (std::size_t i = 0; i < n; ++i)
    score[i] = blurred ? static_cast<float>((static_cast<double>(logits[i]) - static_cast<double>(largest)) /
                                            static_cast<double>(options.temperature))
                       : logits[i] / options.temperature;
  const long double best = *std::max_element(score.begin(), score.end());
  for (std::size_t i = 0; i < n; ++i) weight[i] = std::exp(static_cast<long double>(score[i]) - best);
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return score[a] > score[b]; });
  if (options.top_k > 0 && options.top_k < static_cast<Index>(n)) {
    const float kth = score[order[static_cast<std::size_t>(options.top_k - 1)]];
    for (std::size_t i = 0; i < n; ++i)
      if (score[i] < kth) weight[i] = 0;
  }
  double margin = 1;
  const auto total = [&] { return std::accumulate(weight.begin(), weight.end(), 0.0L); };
  if (options.typical_p < 1) margin = keep_typical(score, options.typical_p, weight);
  if (options.top_p < 1) {
    const long double whole = total();
    long double sum = 0;
    for (const std::size_t i : order) {
      const bool enough = sum >= static_cast<long double>(options.top_p) * whole;
      margin = std::min(margin, static_cast<double>(std::abs(sum / whole - static_cast<long double>(options.top_p))));
      sum += weight[i];
      if (enough) weight[i] = 0;
    }
  }
  float left = -infinity;
  for (std::size_t i = 0; i < n; ++i)
    if (weight[i] > 0) left = std::max(left, score[i]);
  for (std::size_t i = 0; i < n; ++i)
    if (options.min_p > 0 && score[i] < left + std::log(options.min_p)) weight[i] = 0;
  const long double whole = total();
  long double sum = 0;
  Index token = -1;
  for (std::size_t i = 0; i < n; ++i) {
    sum += weight[i];
    margin = std::min(margin, static_cast<double>(std::abs(sum / whole - static_cast<long double>(uniform))));
    if (token < 0 && sum > static_cast<long double>(uniform) * whole) token = static_cast<Index>(i);
  }
  return {token, margin};
}

[[nodiscard]] Index draw_on_host(std::vector<float> logits, const SamplingOptions& options, double uniform) {
  ProcessorChain chain;
  append_sampling(chain, options);
  chain.process(logits);
  return Sampler(0).draw(logits, uniform);
}

}  // namespace

TEST_CASE("the largest logit, of equals the first; what is no number is no choice") {
  Chooser chooser;
  for (const Index n : {1, 33, 5000}) {
    CAPTURE(n);
    std::vector<float> logits = normal_vector<float>(n, 3, static_cast<std::uint64_t>(n));
    CHECK(chooser.choose(logits).token == argmax(logits));
    std::fill(logits.begin(), logits.end(), -0.0f);
    logits[static_cast<std::size_t>(n / 2)] = 0.0f;
    CHECK(chooser.choose(logits).token == 0);
    logits.back() = std::numeric_limits<float>::lowest();
    logits.front() = n == 1 ? 2.0f : -infinity;
    CHECK(chooser.choose(logits).token == (n == 1 ? 0 : 1));
    for (const float wrong : {infinity, NAN, -NAN}) {
      logits.back() = wrong;
      CHECK(chooser.choose(logits).token == -1);
      CHECK(chooser.choose(logits, {.sampled = true}, 0.5).token == -1);
    }
    logits.back() = 7;
    CHECK(chooser.choose(logits).token == n - 1);
  }
  CHECK(chooser.choose({1, 2}).finite);
  chooser.find_something();
  CHECK(!chooser.choose({1, 2}).finite);
}

TEST_CASE("a draw is the host's, by every filter and all of them, of rows with and without equals") {
  Chooser chooser;
  Random random(5);
  const std::vector<SamplingOptions> all{{},
                                         {.temperature = 0.7f},
                                         {.temperature = 1e-3f},
                                         {.top_k = 1},
                                         {.temperature = 1.5f, .top_k = 40},
                                         {.top_p = 0.9f},
                                         {.top_p = 0.05f},
                                         {.min_p = 0.1f},
                                         {.temperature = 0.8f, .top_k = 100, .top_p = 0.8f, .min_p = 0.02f},
                                         {.typical_p = 0.2f},
                                         {.temperature = 2, .typical_p = 0.9f},
                                         {.temperature = 1e-3f, .typical_p = 0.5f},
                                         {.top_k = 200, .typical_p = 0.4f, .top_p = 0.7f, .min_p = 0.3f}};
  int sure = 0;
  for (const Index n : {7, 4500})
    for (const bool equals : {false, true}) {
      std::vector<float> logits = normal_vector<float>(n, 2, static_cast<std::uint64_t>(n));
      if (equals)
        for (float& x : logits) x = std::round(x);
      for (const SamplingOptions& options : all)
        for (const double uniform : {1e-7, random.uniform(), random.uniform(), 1 - 0x1p-53}) {
          CAPTURE(n);
          CAPTURE(equals);
          CAPTURE(uniform);
          CAPTURE(&options - all.data());
          const ChoiceRules rules{.sampled = true,
                                  .temperature = options.temperature,
                                  .top_k = options.top_k,
                                  .typical_p = options.typical_p,
                                  .top_p = options.top_p,
                                  .log_min_p = std::log(options.min_p)};
          const TokenId token = chooser.choose(logits, rules, uniform).token;
          const Drawn expected = draw_oracle(logits, options, uniform);
          if (expected.margin > 1e-9 || uniform > 0.999999) {  // the last border is all, for both
            CHECK(token == expected.token);
            CHECK(token == draw_on_host(logits, options, uniform));
            ++sure;
          }
        }
    }
  CHECK(sure > 100);
}

TEST_CASE("what a score became is what the host's filters make of it, also where only the first of equals stay") {
  cuda::Stream stream;
  const std::vector<SamplingOptions> all{{.temperature = 0.7f},
                                         {.temperature = 1e-3f},
                                         {.top_k = 40},
                                         {.top_p = 0.6f},
                                         {.top_p = 0.3f, .min_p = 0.1f},
                                         {.typical_p = 0.3f},
                                         {.typical_p = 0.6f, .top_p = 0.5f, .min_p = 0.1f},
                                         {.temperature = 0.8f, .top_k = 400, .top_p = 0.8f, .min_p = 0.02f}};
  Buffer<ChoiceState, Cuda> state(1);
  cuda::set_bytes(stream, state.view(), 0);
  const Buffer<cuda::detail::FirstNotFinite, Cuda> found =
      to_device(std::vector<cuda::detail::FirstNotFinite>{cuda::detail::all_finite});
  int some_equals_stay = 0;
  for (const Index n : {7, 4500})
    for (const bool equals : {false, true}) {
      std::vector<float> logits = normal_vector<float>(n, 2, static_cast<std::uint64_t>(n));
      if (equals)
        for (float& x : logits) x = std::round(x);
      const Buffer<float, Cuda> row = to_device(logits);
      // Of every seventh token, in no order, what a record has of it.
      std::vector<SharpnessCandidate> survivors;
      for (Index i = 0; 7 * i < n; ++i) {
        const auto id = static_cast<TokenId>((7 * i + 7 * (n / 2)) % n);
        survivors.push_back({id, static_cast<float>(-id), static_cast<float>(id), 0});
      }
      std::vector<SoftmaxState> states(static_cast<std::size_t>(n));
      for (SoftmaxState& s : states) s = {.max = 0, .sum = 2, .weighted = 0};  // an entropy of ln 2
      const Buffer<SharpnessCandidate, Cuda> kept = to_device(survivors);
      const Buffer<SoftmaxState, Cuda> entropies = to_device(states);
      Buffer<cuda::detail::SharpnessCounters, Cuda> counters =
          to_device(std::vector<cuda::detail::SharpnessCounters>{{0, static_cast<int>(survivors.size()), 0}});
      const Buffer<cuda::detail::RowStatistics, Cuda> statistics =
          to_device(std::vector<cuda::detail::RowStatistics>{{3, 1, 0}});
      for (const SamplingOptions& options : all) {
        CAPTURE(n);
        CAPTURE(equals);
        CAPTURE(&options - all.data());
        const ChoiceRules rules{.sampled = true,
                                .temperature = options.temperature,
                                .top_k = options.top_k,
                                .typical_p = options.typical_p,
                                .top_p = options.top_p,
                                .log_min_p = std::log(options.min_p)};
        Buffer<StepRow, Cuda> step = to_device(std::vector<StepRow>{{-1, 0}});
        Buffer<ChoiceRecord, Cuda> record(1);
        Buffer<cuda::detail::RecordedCandidate, Cuda> recorded(n);
        Buffer<SharpnessCandidate, Cuda> chosen(1);
        cuda::detail::choose_token(stream, row.view(), rules, 0.4, found.data(), state.data(), step.data(),
                                   record.data());
        cuda::detail::SharpnessMemory memory{};
        memory.counters = counters.data();
        memory.states = const_cast<SoftmaxState*>(entropies.data());
        memory.kept = const_cast<SharpnessCandidate*>(kept.data());
        cuda::detail::record_step(stream, {memory,
                                           statistics.data(),
                                           row.data(),
                                           {row.view(), rules, state.data()},
                                           step.data(),
                                           recorded.data(),
                                           chosen.data()});
        std::vector<float> scores = logits;
        ProcessorChain chain;
        append_sampling(chain, options);
        chain.process(scores);
        const std::vector<cuda::detail::RecordedCandidate> told = to_host(recorded);
        for (std::size_t i = 0; i < survivors.size(); ++i) {
          const auto id = static_cast<std::size_t>(survivors[i].id);
          CHECK(told[i].id == survivors[i].id);
          CHECK(told[i].score == scores[id]);
          CHECK(told[i].log_prob == (logits[id] - 3) - 1);
          CHECK(told[i].base == survivors[i].log_prob);
          CHECK(told[i].entropy == survivors[i].entropy);
        }
        const TokenId token = to_host(step).front().token;
        const SharpnessCandidate one = to_host(chosen).front();
        CHECK(one.id == token);
        CHECK(one.score == scores[static_cast<std::size_t>(token)]);
        CHECK(one.log_prob == (logits[static_cast<std::size_t>(token)] - 3) - 1);
        CHECK(one.entropy == doctest::Approx(std::log(2.0)));
        const float last = *std::ranges::min_element(scores, {}, [](float x) { return x == -infinity ? infinity : x; });
        for (std::size_t i = 0; i < scores.size(); ++i)
          if (scores[i] == -infinity && logits[i] == last && options.temperature == 1) ++some_equals_stay;
      }
    }
  CHECK(some_equals_stay > 0);
}

TEST_CASE("rows of a step are those that are asked for") {
  cuda::Stream stream;
  std::vector<StepRow> rows;
  for (int i = 0; i < 5; ++i) rows.push_back({10 + i, 20 + i});
  const Buffer<StepRow, Cuda> from = to_device(rows);
  Buffer<StepRow, Cuda> to = to_device(std::vector<StepRow>(StepRows::most, StepRow{-7, -7}));
  const std::vector<Index> order{4, 1, 3};
  cuda::detail::order_step_rows(stream, from.data(), order, to.data());
  const std::vector<StepRow> found = to_host(to);
  for (std::size_t i = 0; i < found.size(); ++i) {
    CHECK(found[i].token == (i < order.size() ? 10 + order[i] : -7));
    CHECK(found[i].position == (i < order.size() ? 20 + order[i] : -7));
  }
}

TEST_CASE("bias and penalties are the host's, of a text that grows, token after token") {
  cuda::Stream stream;
  constexpr Index vocab = 301;
  const std::vector<TokenId> prompt{3, 3, 300, 17, 0};
  const std::vector<TokenId> text{5, 17, 5, 300, 8, 5};
  const cuda::ScorePenaltyOptions all{
      .logit_bias = {{8, 1.5f}, {0, -infinity}, {17, -3}}, .repetition = 1.3f, .presence = 0.25f, .frequency = -0.75f};
  const std::vector<cuda::ScorePenaltyOptions> cases{{.logit_bias = {{8, infinity}, {300, infinity}, {5, 2}}},
                                                     {.repetition = 0.7f},
                                                     {.presence = 1},
                                                     {.frequency = 2},
                                                     all};
  for (const cuda::ScorePenaltyOptions& options : cases) {
    CAPTURE(&options - cases.data());
    cuda::ScorePenalties device(stream, vocab, options);
    for (int round = 0; round < 2; ++round) {  // the second text knows nothing of the first
      LogitBias bias(options.logit_bias);
      RepetitionPenalty repetition(options.repetition, vocab);
      OccurrencePenalty occurrence({options.presence, options.frequency}, vocab);
      device.begin(prompt);
      repetition.observe(prompt);
      TokenId last = -1;
      for (const TokenId next : text) {
        std::vector<float> scores = normal_vector<float>(vocab, 2, static_cast<std::uint64_t>(next));
        scores[8] = -infinity;
        const Buffer<StepRow, Cuda> row = to_device(std::vector<StepRow>{{last, 0}});
        Buffer<float, Cuda> on_device = to_device(scores);
        device.process(on_device.view(), row.data());
        bias.process(scores);
        repetition.process(scores);
        occurrence.process(scores);
        const std::vector<float> found = to_host(on_device);
        for (std::size_t i = 0; i < scores.size(); ++i) {
          CAPTURE(i);  // the device may fuse a product and a sum
          CHECK((found[i] == scores[i] || std::abs(found[i] - scores[i]) <= 1e-6f));
        }
        last = next;
        repetition.observe(next);
        occurrence.observe(std::span(&next, 1));
      }
    }
  }
  CHECK_THROWS_AS(cuda::ScorePenalties(stream, vocab, {.logit_bias = {{vocab, 1}}}), ShapeError);
  CHECK_THROWS_AS(cuda::ScorePenalties(stream, vocab, {.logit_bias = {{1, 1}, {1, 2}}}), ArgumentError);
}

TEST_CASE("tokens that are asked for have their row's log-probability, its score, or what filters leave") {
  const Index positions = 3, distance = 2, vocab = 300;
  std::vector<float> logits;
  for (Index i = 0; i < positions * distance * vocab; ++i)
    logits.push_back(static_cast<float>(i * 7919 % 1009) / 100.0f);
  logits[5] = -infinity;
  const Buffer<float, Cuda> there = to_device(logits);
  std::vector<AskedToken> asked;  // more than a block of threads, and not a multiple
  for (Index i = 0; i < 150; ++i) asked.push_back({i % positions, static_cast<TokenId>(i * 2)});
  asked.push_back({0, 5});
  const Buffer<AskedToken, Cuda> tokens = to_device(asked);
  const auto count = static_cast<Index>(asked.size());
  const cuda::Stream stream;
  constexpr float masked = -1000.0f;
  const auto run = [&](Index rows_of_position, const cuda::detail::RowStatistics* statistics) {
    const Buffer<double, Cuda> poisoned = to_device(std::vector<double>(static_cast<std::size_t>(count + 1), -7.0));
    Buffer<double, Cuda> result(count + 1);
    copy(stream, poisoned.view(), result.view());
    cuda::detail::answer_scores(stream, {there.data(), vocab, rows_of_position, statistics, masked}, tokens.data(),
                                count, result.data());
    stream.synchronize();
    std::vector<double> host = to_host(result);
    CHECK(host.back() == -7.0);
    return host;
  };
  const auto logit = [&](const AskedToken& token, Index rows_of_position) {
    return logits[static_cast<std::size_t>(token.position * rows_of_position * vocab + token.id)];
  };

  const std::vector<double> scores = run(distance, nullptr);
  for (std::size_t i = 0; i < asked.size(); ++i) {
    const float x = logit(asked[i], distance);
    CHECK(scores[i] == static_cast<double>(x == -infinity ? masked : x));
  }

  const RelativeTopOptions filter{.relative_top = 0.01f};
  cuda::detail::RowStatisticsMemory memory(stream, positions, vocab);
  cuda::detail::row_statistics(
      stream, cuda::detail::Rows(MatrixView<const float, Cuda>(there.data(), {positions, vocab}, {vocab, 1})),
      positions, filter, memory);
  const std::vector<double> log_probs = run(1, memory.statistics.data());
  Index rejected = 0;
  for (std::size_t i = 0; i < asked.size(); ++i) {
    const auto row = logits.begin() + asked[i].position * vocab;
    const long double largest = *std::max_element(row, row + vocab);
    long double sum = 0;
    for (Index v = 0; v < vocab; ++v) sum += std::exp(static_cast<long double>(row[v]) - largest);
    const long double x = logit(asked[i], 1);
    const long double border = largest + std::log(0.01L);
    if (std::abs(x - border) < 1e-4L) continue;
    rejected += x < border ? 1 : 0;
    const long double expected = x < border ? static_cast<long double>(masked) : x - largest - std::log(sum);
    CHECK(std::abs(static_cast<long double>(log_probs[i]) - expected) < 3e-6L);
  }
  CHECK(rejected > 20);
  CHECK(rejected < count - 20);
}
