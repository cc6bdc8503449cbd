// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <optional>
#include <utility>
#include <vector>

#include "activation_trace/cuda/ops/attention.cuh"
#include "activation_trace/cuda/ops/elements.cuh"
#include "activation_trace/cuda/ops/first_not_finite.cuh"
#include "activation_trace/cuda/ops/rms_norm.cuh"
#include "activation_trace/cuda/ops/rope.cuh"
#include "support.cuh"
#include "support/oracle.hpp"

// The forward pass's ops, but for products, against their definitions in double. Rows lie apart, and what is between
// them stays as it was.
using namespace activation_trace;
using namespace activation_trace::test;

namespace {

constexpr float untouched = -77.0f;

/// A matrix on the device whose rows are `gap` elements apart.
class DeviceMatrix {
 public:
  DeviceMatrix(Index rows, Index cols, std::uint64_t seed, float scale = 1.0f, Index gap = 3)
      : rows_(rows), cols_(cols), stride_(cols + gap) {
    before_ = normal_vector<float>(rows * cols, scale, seed);
    std::vector<float> memory(static_cast<std::size_t>(rows * stride_), untouched);
    for (Index i = 0; i < rows; ++i) std::copy_n(before_.begin() + i * cols, cols, memory.begin() + i * stride_);
    device_ = to_device(memory);
  }

  [[nodiscard]] MatrixView<float, Cuda> view() { return {device_.data(), {rows_, cols_}, {stride_, 1}}; }
  /// What it was made of.
  [[nodiscard]] double before(Index row, Index col) const { return double{before_[index(row, col)]}; }
  /// What it holds now, without the gaps, which must be as they were.
  [[nodiscard]] std::vector<float> now() const {
    const std::vector<float> memory = to_host(device_);
    std::vector<float> result;
    for (Index i = 0; i < rows_; ++i) {
      const auto row = memory.begin() + i * stride_;
      result.insert(result.end(), row, row + cols_);
      CHECK(std::all_of(row + cols_, row + stride_, [](float x) { return x == untouched; }));
    }
    return result;
  }
  /// `expected(row, col)` to within `tolerance` of max(1, |expected|).
  template <class Expected>
  void check(const Expected& expected, double tolerance) const {
    const std::vector<float> found = now();
    double worst = 0;
    for (Index i = 0; i < rows_; ++i)
      for (Index c = 0; c < cols_; ++c) {
        const double wanted = expected(i, c);
        const double error = std::abs(double{found[index(i, c)]} - wanted) / std::max(1.0, std::abs(wanted));
        worst = error <= worst ? worst : error;  // NaN counts
      }
    CHECK(worst <= tolerance);
  }

 private:
  [[nodiscard]] std::size_t index(Index row, Index col) const { return static_cast<std::size_t>(row * cols_ + col); }

  Index rows_, cols_, stride_;
  std::vector<float> before_;
  Buffer<float, Cuda> device_;
};

const std::pair<Index, Index> shapes[] = {{1, 1}, {3, 300}, {70, 17}, {2, 1030}};

}  // namespace

TEST_CASE("scale, soft cap, bias and gate, element by element") {
  const cuda::Stream stream;
  const Execution<Cuda> execution = stream;
  for (const auto& shape : shapes) {
    const Index n = shape.first, d = shape.second;
    CAPTURE(d);
    DeviceMatrix a(n, d, 1, 3.0f), b(n, d, 2, 3.0f), y(n, d, 3);
    gated_multiply(execution, FfnActivation::silu, a.view(), b.view(), y.view());
    y.check([&](Index i, Index c) { return a.before(i, c) / (1 + std::exp(-a.before(i, c))) * b.before(i, c); }, 2e-6);
    gated_multiply(execution, FfnActivation::gelu_tanh, a.view(), b.view(), a.view());
    a.check(
        [&](Index i, Index c) {
          const double g = a.before(i, c);
          return g / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (g + 0.044715 * g * g * g))) * b.before(i, c);
        },
        4e-6);
    scale(execution, b.view(), 0.3f);
    b.check([&](Index i, Index c) { return double{0.3f} * b.before(i, c); }, 1e-7);
    DeviceMatrix capped(n, d, 4, 5.0f), biased(n, d, 5);
    soft_cap(execution, capped.view(), 2.5f);
    capped.check([&](Index i, Index c) { return 2.5 * std::tanh(capped.before(i, c) / 2.5); }, 1e-6);
    const std::vector<float> bias = normal_vector<float>(d, 1.0f, 6);
    const Buffer<float, Cuda> device_bias = to_device(bias);
    add_bias(execution, biased.view(), device_bias.view());
    biased.check([&](Index i, Index c) { return biased.before(i, c) + double{bias[static_cast<std::size_t>(c)]}; },
                 1e-7);
  }
  DeviceMatrix x(2, 3, 1), wide(2, 4, 1);
  CHECK_THROWS_WITH_AS(soft_cap(execution, x.view(), 0), "soft_cap: cap must be positive and finite, got 0.000000",
                       ArgumentError);
  CHECK_THROWS_WITH_AS(gated_multiply(execution, FfnActivation::silu, x.view(), wide.view(), x.view()),
                       "gated_multiply: extent of up: expected 3, got 4", ShapeError);
  CHECK_THROWS_AS(scale(execution, x.view().transposed(), 1), ShapeError);
}

TEST_CASE("rows are normalised, alone and as they are added; heads and whole rows") {
  const cuda::Stream stream;
  const Execution<Cuda> execution = stream;
  for (const auto& shape : {std::pair<Index, Index>{1, 1}, {5, 16}, {3, 256}, {4, 257}, {2, 1030}}) {
    const Index n = shape.first, d = shape.second;
    CAPTURE(d);
    const std::vector<float> weight = normal_vector<float>(d, 1.0f, 7);
    const Buffer<float, Cuda> device_weight = to_device(weight);
    const float eps = 0.01f;
    const auto normalised = [&](const auto& value, Index i, Index c) {
      double squares = 0;
      for (Index k = 0; k < d; ++k) squares += value(i, k) * value(i, k);
      return value(i, c) / std::sqrt(squares / static_cast<double>(d) + double{eps}) *
             double{weight[static_cast<std::size_t>(c)]};
    };
    DeviceMatrix x(n, d, 8), y(n, d, 9);
    const auto before = [&](Index i, Index c) { return x.before(i, c); };
    rms_norm(execution, x.view(), device_weight.view(), eps, y.view());
    y.check([&](Index i, Index c) { return normalised(before, i, c); }, 1e-6);
    rms_norm(execution, x.view(), device_weight.view(), eps, x.view());
    CHECK(x.now() == y.now());
    DeviceMatrix sum(n, d, 10), term(n, d, 11);
    const auto added = [&](Index i, Index c) { return sum.before(i, c) + term.before(i, c); };
    add_rms_norm(execution, sum.view(), term.view(), device_weight.view(), eps);
    sum.check(added, 2e-7);
    term.check([&](Index i, Index c) { return normalised(added, i, c); }, 1e-6);
  }
  DeviceMatrix x(2, 3, 1);
  const Buffer<float, Cuda> two(2);
  CHECK_THROWS_WITH_AS(rms_norm(execution, x.view(), two.view(), 0, x.view()),
                       "rms_norm: length of weight: expected 3, got 2", ShapeError);
}

TEST_CASE("heads are rotated, in both layouts, in part and with an amplitude") {
  const cuda::Stream stream;
  const Execution<Cuda> execution = stream;
  const Index n = 5, heads = 3, positions = 40;
  const std::vector<float> frequencies{1.0f, 0.3f, 0.05f, 0.01f};
  for (const Index head_dim : {8, 11})
    for (const RopeLayout layout : {RopeLayout::half_split, RopeLayout::interleaved})
      for (const Index first : {0, 35}) {
        const RopeTable<Cuda> table(frequencies, positions, head_dim, 1.25f);
        DeviceMatrix x(n, heads * head_dim, 12);
        rope(execution, x.view(), heads, first, table, layout);
        x.check(
            [&](Index i, Index c) {
              const Index at = c % head_dim;
              if (at >= 8) return x.before(i, c);
              const bool split = layout == RopeLayout::half_split;
              const Index pair = split ? at % 4 : at / 2;
              const bool second = split ? at >= 4 : at % 2 == 1;
              const Index step = split ? 4 : 1;
              const double angle = static_cast<double>(first + i) * double{frequencies[static_cast<std::size_t>(pair)]};
              const double other = x.before(i, second ? c - step : c + step);
              return 1.25 * (x.before(i, c) * std::cos(angle) + (second ? other : -other) * std::sin(angle));
            },
            1e-6);
      }
  const RopeTable<Cuda> table(frequencies, positions);
  DeviceMatrix x(n, 8, 1);
  CHECK_THROWS_WITH_AS(rope(execution, x.view(), 1, 36, table, RopeLayout::half_split),
                       "rope: positions 36 to 41 lie beyond the table's 40", ArgumentError);
  CHECK_THROWS_WITH_AS(rope(execution, x.view(), 2, 0, table, RopeLayout::half_split),
                       "rope: columns of x: expected 16, got 8", ShapeError);
}

TEST_CASE("rows are copied, also onto themselves") {
  const cuda::Stream stream;
  const Execution<Cuda> execution = stream;
  DeviceMatrix from(9, 700, 1), to(9, 700, 2, 1.0f, 5);
  copy(execution, from.view(), to.view());
  CHECK(to.now() == from.now());
  for (const Index distance : {1, 4, 8}) {
    CAPTURE(distance);
    DeviceMatrix x(9, 700, 3, 1.0f, 0);
    const Index count = 9 - distance;
    copy(execution, x.view().slice(0, distance, 9), x.view().slice(0, 0, count));
    x.check([&](Index i, Index c) { return x.before(i < count ? i + distance : i, c); }, 0);
  }
  DeviceMatrix x(3, 700, 4, 1.0f, 0);  // a few columns to the left, of the same rows
  float* const data = x.view().data();
  copy(execution, MatrixView<const float, Cuda>(data + 3, {3, 690}, {700, 1}), {data, {3, 690}, {700, 1}});
  x.check([&](Index i, Index c) { return x.before(i, c < 690 ? c + 3 : c); }, 0);
  CHECK_THROWS_WITH_AS(copy(execution, from.view().slice(0, 0, 8), to.view()), "copy: rows of to: expected 8, got 9",
                       ShapeError);
}

TEST_CASE("rows are rounded to halves as the host rounds, and halves are copied") {
  const cuda::Stream stream;
  const Execution<Cuda> execution = stream;
  // Ties and both sides of them, of normal numbers, of the smallest and of the largest; what is beyond, and none at
  // all.
  std::vector<float> values{0.0f,
                            1 + 0x1p-11f,
                            1 + 0x3p-11f,
                            1 + 0x1.01p-11f,
                            1 + 0x1.ffp-12f,
                            0x1p-14f,
                            0x1.ffcp-15f,
                            0x1.ffep-15f,
                            0x1p-24f,
                            0x1p-25f,
                            0x1.01p-25f,
                            0x3p-25f,
                            0x1p-26f,
                            0x1p-140f,
                            65504.0f,
                            65519.99f,
                            65520.0f,
                            1e30f,
                            std::numeric_limits<float>::infinity()};
  for (const float x : normal_vector<float>(300 - std::ssize(values), 3.0f, 1)) values.push_back(x);
  const Index rows = 3, columns = static_cast<Index>(values.size());
  std::vector<float> all;
  for (const float factor : {1.0f, -1.0f, 0x1p-10f})
    for (const float x : values) all.push_back(factor * x);
  const Buffer<float, Cuda> from = to_device(all);
  const Half poison = Half::from_bits(0x7bcd);
  const Index gap = 5;
  const auto check = [&](const Buffer<Half, Cuda>& found) {
    const std::vector<Half> memory = to_host(found);
    Index wrong = 0;
    for (Index i = 0; i < std::ssize(memory); ++i) {
      const Index column = i % (columns + gap);
      const float x = column < columns ? all[static_cast<std::size_t>(i / (columns + gap) * columns + column)] : 0;
      wrong += memory[static_cast<std::size_t>(i)].bits != (column < columns ? Half(x) : poison).bits;
    }
    CHECK(wrong == 0);
  };
  const std::vector<Half> poisoned(static_cast<std::size_t>(rows * (columns + gap)), poison);
  Buffer<Half, Cuda> halves = to_device(poisoned), copies = to_device(poisoned);
  const auto view = [&](Buffer<Half, Cuda>& x) {
    return MatrixView<Half, Cuda>(x.data(), {rows, columns}, {columns + gap, 1});
  };
  copy(execution, from.matrix(rows, columns), view(halves));
  check(halves);
  copy(execution, MatrixView<const Half, Cuda>(view(halves)), view(copies));
  check(copies);
  const Buffer<float, Cuda> nan = to_device(std::vector<float>{NAN});
  copy(execution, nan.matrix(1, 1), view(halves).slice(0, 0, 1).slice(1, 0, 1));
  CHECK(std::isnan(float{to_host(halves)[0]}));
  CHECK_THROWS_WITH_AS(copy(execution, from.matrix(columns, rows), view(halves)),
                       "copy: rows of to: expected 300, got 3", ShapeError);
}

namespace {

/// Queries, keys and values on both sides, [n, H, D] and [t, G, D].
template <class T = float>
struct HeadsProblem {
  Index n, t, H, G, D;
  std::vector<float> q;
  std::vector<T> k, v;
  Buffer<float, Cuda> device_q;
  Buffer<T, Cuda> device_k, device_v;
  Buffer<float, Cuda> device_out;

  HeadsProblem(Index queries, Index positions, Index heads, Index groups, Index dim, float scale, std::uint64_t seed)
      : n(queries),
        t(positions),
        H(heads),
        G(groups),
        D(dim),
        q(normal_vector<float>(n * H * D, scale, seed)),
        k(normal_vector<T>(t * G * D, 1.0f, seed + 1)),
        v(normal_vector<T>(t * G * D, 1.0f, seed + 2)),
        device_q(to_device(q)),
        device_k(to_device(k)),
        device_v(to_device(v)),
        device_out(to_device(std::vector<float>(q.size(), NAN))) {}

  /// Of queries [begin, end), which see what is before them.
  [[nodiscard]] AttentionPart<Cuda, T> part(Index begin, Index end) {
    const TensorView<const float, 3, Cuda> queries(device_q.data(), {n, H, D});
    const TensorView<const T, 3, Cuda> keys(device_k.data(), {t, G, D});
    const TensorView<const T, 3, Cuda> values(device_v.data(), {t, G, D});
    const TensorView<float, 3, Cuda> out(device_out.data(), {n, H, D});
    const Index visible = t - n + end;
    return {queries.slice(0, begin, end), keys.slice(0, 0, visible), values.slice(0, 0, visible),
            out.slice(0, begin, end)};
  }
  [[nodiscard]] AttentionPart<Cuda, T> part() { return part(0, n); }

  [[nodiscard]] double worst(const AttentionOptions& options) const {
    const std::vector<float> keys(k.begin(), k.end());
    const std::vector<float> values(v.begin(), v.end());
    const std::vector<double> expected =
        test::attention({q.data(), {n, H, D}}, {keys.data(), {t, G, D}}, {values.data(), {t, G, D}}, options);
    const std::vector<float> found = to_host(device_out);
    double result = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      const double error = std::abs(double{found[i]} - expected[i]);
      result = error <= result ? result : error;
    }
    return result;
  }
};

}  // namespace

TEST_CASE("attention agrees with its definition: prefill, continued prefill, decode, groups, head sizes") {
  const cuda::Stream stream;
  const Execution<Cuda> execution = stream;
  struct Case {
    Index n, t, H, G, D;
  };
  for (const Case& c :
       {Case{1, 1, 9, 3, 64}, Case{1, 2, 4, 4, 8}, Case{1, 600, 8, 1, 24}, Case{2, 2, 3, 3, 16}, Case{3, 280, 6, 2, 80},
        Case{3, 70, 2, 1, 256}, Case{1, 520, 2, 1, 130},
        // On tensor cores: whole fours of elements and odd heads, tiles that are full, cut and of one row, several.
        Case{5, 5, 4, 2, 32}, Case{17, 40, 6, 2, 10}, Case{33, 300, 4, 4, 80}, Case{7, 64, 2, 2, 3},
        Case{65, 65, 1, 1, 8}, Case{4, 290, 2, 1, 128}, Case{22, 30, 3, 1, 256}, Case{9, 20, 1, 1, 131}})
    for (const float scale : {1.0f, 30.0f}) {  // 30: softmax is nearly one-hot
      const auto check = [&](auto heads) {
        const auto part = heads.part();
        attention(execution, std::span(&part, 1));
        CAPTURE(c.n);
        CAPTURE(c.t);
        CAPTURE(c.D);
        CHECK(heads.worst({}) <= 4e-6 * double{scale});
      };
      check(HeadsProblem<>(c.n, c.t, c.H, c.G, c.D, scale, 20));
      check(HeadsProblem<Half>(c.n, c.t, c.H, c.G, c.D, scale, 20));
    }
}

TEST_CASE("attention's scale, soft cap and window, in prefill and decode") {
  const cuda::Stream stream;
  const Execution<Cuda> execution = stream;
  const AttentionOptions all_options[] = {{.scale = 0.05f}, {.soft_cap = 2.0f}, {.window = 1},   {.window = 7},
                                          {.window = 300},  {.window = 10000},  {0.3f, 1.5f, 40}};
  for (const auto& lengths : {std::pair<Index, Index>{1, 1}, {1, 590}, {3, 150}, {37, 300}})
    for (const AttentionOptions& options : all_options) {
      HeadsProblem<> heads(lengths.first, lengths.second, 4, 2, 24, 3.0f, 30);
      const AttentionPart<Cuda> part = heads.part();
      attention(execution, std::span(&part, 1), options);
      CAPTURE(heads.n);
      CAPTURE(options.window);
      CHECK(heads.worst(options) <= 1e-5);
    }
}

TEST_CASE("a query's bits do not depend on what is computed with it: on few_queries or more of its own, or fewer") {
  const cuda::Stream stream;
  const Execution<Cuda> execution = stream;
  for (const Index window : {0, 100}) {
    const AttentionOptions options{.window = window};
    HeadsProblem<Half> heads(40, 610, 4, 2, 16, 2.0f, 40);
    const auto attended = [&](const std::vector<Index>& cuts, bool together) {
      heads.device_out = to_device(std::vector<float>(heads.q.size(), 0.0f));
      std::vector<AttentionPart<Cuda, Half>> parts;
      for (std::size_t i = 1; i < cuts.size(); ++i) parts.push_back(heads.part(cuts[i - 1], cuts[i]));
      if (together) parts.insert(parts.end(), 20, parts.back());  // more than a launch has room for
      if (together) attention(execution, parts, options);
      for (std::size_t i = 0; i < parts.size() && !together; ++i)
        attention(execution, std::span(&parts[i], 1), options);
      return to_host(heads.device_out);
    };
    const auto same = [&](const std::vector<Index>& whole, const std::vector<std::vector<Index>>& pieces) {
      const std::vector<float> expected = attended(whole, false);
      CHECK(attended(whole, true) == expected);
      for (const std::vector<Index>& cuts : pieces)
        for (const bool together : {false, true}) CHECK(attended(cuts, together) == expected);
    };
    same({0, 40}, {{0, 4, 9, 40}, {0, 20, 33, 40}, {0, 36, 40}});
    same({19, 22, 25}, {{19, 20, 21, 22, 25}, {19, 21, 24, 25}});
    // Both kinds in one call.
    const std::vector<float> few = attended({0, 1, 2, 3}, false), many = attended({3, 20, 40}, false);
    std::vector<float> both(few.size());
    std::ranges::transform(few, many, both.begin(), std::plus<>());  // zeros where the other has something
    CHECK(attended({0, 1, 3, 20, 40}, true) == both);
  }
}

TEST_CASE("attention in place, of caches with gaps, and what it refuses") {
  const cuda::Stream stream;
  const Execution<Cuda> execution = stream;
  // By rows; and on tensor cores, by tiles of 64 rows and of 8: that share the positions, and where many are not to.
  for (const auto& sizes : {std::pair<Index, Index>{3, 1}, {36, 1}, {36, 4}}) {
    const Index n = sizes.first, groups = sizes.second, D = 12;
    HeadsProblem<> heads(n, 285, 2 * groups, groups, D, 1.0f, 50);
    AttentionPart<Cuda> part = heads.part();
    attention(execution, std::span(&part, 1));
    CHECK(heads.worst({}) <= 4e-6);
    const std::vector<float> expected = to_host(heads.device_out);
    part.out = {heads.device_q.data(), {n, 2 * groups, D}};
    attention(execution, std::span(&part, 1));
    CHECK(to_host(heads.device_q) == expected);
  }
  HeadsProblem<> shared(1, 530, 2, 1, 8, 1.0f, 60);  // its positions are shared out
  const AttentionPart<Cuda> decode = shared.part();
  attention(execution, std::span(&decode, 1));
  CHECK(shared.worst({}) <= 4e-6);

  HeadsProblem<> large(1, 2, 1, 1, 257, 1.0f, 1);
  const AttentionPart<Cuda> too_large = large.part();
  CHECK_THROWS_WITH_AS(attention(execution, std::span(&too_large, 1)),
                       "attention: heads have at most 256 elements on a device, got 257", ArgumentError);
  AttentionPart<Cuda> part = shared.part();
  CHECK_THROWS_AS(attention(execution, std::span(&part, 1), {.soft_cap = -1.0f}), ArgumentError);
  part.v = part.v.slice(0, 0, 49);
  CHECK_THROWS_WITH_AS(attention(execution, std::span(&part, 1)), "attention: extent of v: expected 530, got 49",
                       ShapeError);
}

TEST_CASE("a row that is not finite is found, the first of them, and what is there") {
  const cuda::Stream stream;
  Execution<Cuda> execution = stream;
  const Index n = 70, d = 1500;
  std::vector<float> states(static_cast<std::size_t>(n * d), std::numeric_limits<float>::max());
  const auto state = [&](Index row, Index column) -> float& {
    return states[static_cast<std::size_t>(row * d + column)];
  };
  state(5, 1400) = -INFINITY;
  state(5, 1499) = NAN;
  state(66, 0) = INFINITY;
  state(69, 700) = NAN;
  const Buffer<float, Cuda> device = to_device(states);
  const MatrixView<const float, Cuda> rows = device.matrix(n, d);
  CHECK_FALSE(first_not_finite(execution, rows.row(4)).has_value());
  const std::optional<NotFinite> found = first_not_finite(execution, rows.row(5));
  REQUIRE(found.has_value());
  CHECK(found->at == 1400);
  CHECK(found->value == -INFINITY);

  detail::FiniteWatch<Cuda> watch;
  std::vector<detail::WatchedRow> watched;
  const auto first = [&] {
    watch.begin(execution);
    for (const Index layer : {7, 8}) CHECK_FALSE(watch.look(execution, rows, watched, layer).has_value());
    return watch.end(execution);
  };
  CHECK_FALSE(first().has_value());
  for (Index row = 69; row >= 0; --row)
    if (row != 69 && row != 5) watched.push_back({row, 100 + row});  // more than a launch has room for
  std::optional<detail::FoundNotFinite> seen = first();
  REQUIRE(seen.has_value());
  CHECK(seen->layer == 7);
  CHECK(seen->position == 166);
  CHECK(seen->what.at == 0);
  CHECK(seen->what.value == INFINITY);
  watched = {{69, 3}, {66, 4}};
  seen = first();
  REQUIRE(seen.has_value());
  CHECK(seen->position == 3);
  CHECK(seen->what.at == 700);
  CHECK(std::isnan(seen->what.value));
  watched = {{4, 3}, {68, 4}};
  CHECK_FALSE(first().has_value());
}
