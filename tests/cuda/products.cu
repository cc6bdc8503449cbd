// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "activation_trace/cuda/device_weights.cuh"
#include "activation_trace/cuda/graph.cuh"
#include "activation_trace/cuda/ops/gather.cuh"
#include "activation_trace/cuda/ops/matmul.cuh"
#include "support.cuh"
#include "support/oracle.hpp"
#include "support/random_matrix.hpp"

namespace activation_trace::test {
namespace {

constexpr float gap = 12345.0f;

/// Rows [0, n) of y [n, m] that `multiply(x, y)` makes of the first n rows of x [rows, d], whose distance is d + x_gap.
/// y is poisoned, its rows have gaps, and they are kept.
template <class Multiply>
std::vector<float> product(const std::vector<float>& x, Index d, Index x_gap, Index n, Index m,
                           const Multiply& multiply) {
  std::vector<float> with_gaps(static_cast<std::size_t>(n * (d + x_gap)), NAN);
  for (Index i = 0; i < n; ++i) std::copy_n(x.begin() + i * d, d, with_gaps.begin() + i * (d + x_gap));
  const Buffer<float, Cuda> device_x = to_device(with_gaps);
  Buffer<float, Cuda> y = to_device(std::vector<float>(static_cast<std::size_t>(n * (m + 3)), gap));
  multiply(MatrixView<const float, Cuda>(device_x.data(), {n, d}, {d + x_gap, 1}),
           MatrixView<float, Cuda>(y.data(), {n, m}, {m + 3, 1}));
  const std::vector<float> all = to_host(y);
  std::vector<float> result;
  bool kept = true;
  for (Index i = 0; i < n; ++i) {
    const auto row = all.begin() + i * (m + 3);
    result.insert(result.end(), row, row + m);
    kept = kept && std::all_of(row + m, row + m + 3, [](float value) { return value == gap; });
  }
  CHECK(kept);
  return result;
}

/// The largest error of y = x w^T, as a share of what it is measured against.
double worst_error(const std::vector<float>& y, const std::vector<DotProduct>& expected) {
  double worst = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double error = std::abs(static_cast<double>(y[i]) - expected[i].value) / expected[i].magnitude;
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  return worst;
}

/// Rounding errors of d products grow like a random walk; 4 standard deviations and the few of the combination.
double tolerance(Index d) { return 0x1p-24 * (8 + 4 * std::sqrt(static_cast<double>(d))); }

void by_row(Execution<Cuda> execution, const StoredMatrix<Cuda>& w, MatrixView<const float, Cuda> x,
            MatrixView<float, Cuda> y) {
  const MatmulTarget<Cuda> target{w, y};
  matmul_by_row(execution, x, std::span(&target, 1));
}

}  // namespace
}  // namespace activation_trace::test

using namespace activation_trace;
using namespace activation_trace::test;

TEST_CASE("rows of every type are gathered bit for bit") {
  const cuda::Stream stream;
  std::mt19937 random(1);
  for (const DType dtype : all_dtypes) {
    CAPTURE(std::string(name(dtype)));
    for (const Index d : {Index{768}, block_elements(dtype) == 1 ? Index{37} : block_elements(dtype)}) {
      const Index rows = 40;
      const RandomMatrix w(dtype, rows, d, random);
      const cuda::DeviceMatrix device(stream, w.view());
      for (const std::size_t n : {std::size_t{1}, std::size_t{5}, std::size_t{600}}) {
        if (n > 5 && (d == 768 || dtype != DType::f16)) continue;  // more than a launch takes
        std::vector<TokenId> ids;
        for (std::size_t i = 0; i < n; ++i) ids.push_back(static_cast<TokenId>((i * 7 + 39) % 40));
        std::vector<float> expected;
        for (const TokenId id : ids) {
          std::vector<float> row(static_cast<std::size_t>(d));
          w.view().decode_row(id, row);
          expected.insert(expected.end(), row.begin(), row.end());
          expected.insert(expected.end(), 3, gap);
        }
        Buffer<float, Cuda> out = to_device(std::vector<float>(expected.size(), gap));
        gather(stream, device.view(), ids, {out.data(), {static_cast<Index>(n), d}, {d + 3, 1}});
        ids.assign(ids.size(), -1);  // they have been read
        CHECK(to_host(out) == expected);
      }
    }
  }
}

TEST_CASE("blocks take as many bytes on a device as in a file, and their rows' ends are 0") {
  const cuda::Stream stream;
  std::mt19937 random(8);
  for (const DType dtype : all_dtypes) {
    const Index block = block_elements(dtype);
    if (block == 1) continue;
    CAPTURE(std::string(name(dtype)));
    for (const Index d : {Index{512}, block, 3 * block}) {
      const RandomMatrix w(dtype, 3, d, random);
      const Index bytes = StoredMatrix<>::row_bytes_of(dtype, (d + 127) / 128 * 128);  // of whole tiles
      const Index distance = cuda::detail::device_row_bytes(w.view());
      CHECK(distance == (bytes + 15) / 16 * 16);
      Buffer<std::byte, Cuda> memory =
          to_device(std::vector<std::byte>(static_cast<std::size_t>(3 * distance), std::byte{0xff}));
      cuda::detail::Placement placement(memory.data());
      const StoredMatrix<Cuda> m = cuda::detail::upload(stream, w.view(), placement);
      // A copy whose row's end is not at the end of a tile, made as if it were: as many zeros.
      const StoredMatrix<Cuda> longer(dtype, m.data(), 3, (d + 127) / 128 * 128, distance, RowLayout::planes);
      Buffer<float, Cuda> row(longer.cols());
      const std::vector<TokenId> last{2};
      gather(stream, longer, last, row.matrix(1, longer.cols()));
      std::vector<float> expected(static_cast<std::size_t>(longer.cols()));
      w.view().decode_row(2, std::span(expected).first(static_cast<std::size_t>(d)));
      CHECK(to_host(row) == expected);
    }
  }
}

TEST_CASE("gather refuses what is not there") {
  const cuda::Stream stream;
  Buffer<float, Cuda> w(4 * 8), out(2 * 8);
  const StoredMatrix<Cuda> m(MatrixView<const float, Cuda>(w.data(), {4, 8}));
  const std::vector<TokenId> none{0, 4}, negative{-1, 0}, one{0};
  CHECK_THROWS_WITH_AS(gather(stream, m, none, out.matrix(2, 8)), "StoredMatrix: no row 4 of 4", ShapeError);
  CHECK_THROWS_AS(gather(stream, m, negative, out.matrix(2, 8)), ShapeError);
  CHECK_THROWS_AS(gather(stream, m, one, out.matrix(2, 8)), ShapeError);
  CHECK_THROWS_AS(gather(stream, m, one, out.matrix(1, 7)), ShapeError);
}

TEST_CASE("few rows of every type: double's numbers, and the bits of a row alone") {
  const cuda::Stream stream;
  std::mt19937 random(2);
  for (const DType dtype : all_dtypes) {
    CAPTURE(std::string(name(dtype)));
    const Index block = block_elements(dtype);
    for (const Index d : {block == 1    ? Index{550}
                          : block == 32 ? Index{544}
                                        : Index{768},
                          block == 1 ? Index{21} : block}) {
      CAPTURE(d);
      const Index m = d > 300 ? 37 : 6;
      const RandomMatrix w(dtype, m, d, random);
      const cuda::DeviceMatrix device(stream, w.view());
      const Index most = d > 300 && block != 1 ? 17 : 64;
      const std::vector<float> x = normal_floats(most * d, random);
      const auto multiply = [&](Index n, Index x_gap) {
        return product(x, d, x_gap, n, m, [&](auto from, auto to) { by_row(stream, device.view(), from, to); });
      };
      const std::vector<float> all = multiply(most, 4);
      CHECK(worst_error(all, products(matrix(x, most, d), w.view())) <= tolerance(d));
      CHECK(multiply(most, 5) == all);  // rows that are not aligned, a second run
      if (d == block) {                 // what is there for devices without tensor cores
        const std::vector<float> plain = product(x, d, 0, 9, m, [&](auto from, auto to) {
          cuda::detail::Products one;
          one.product[one.count++] = {cuda::detail::StoredRows(device.view()), to.data(), to.stride(0)};
          visit_dtype(dtype, [&]<class T>(std::type_identity<T>) {
            cuda::detail::multiply_rows<T>(stream, one, cuda::detail::rows_of(from));
          });
        });
        CHECK(worst_error(plain, products(matrix(x, most, d), w.view())) <= tolerance(d));
      }
      for (Index n = 1; n <= (d > 300 ? 9 : 17); ++n) {
        const std::vector<float> some = multiply(n, 4);
        CHECK(std::equal(some.begin(), some.end(), all.begin()));
      }
    }
  }
}

TEST_CASE("few rows of blocks that are longer than what is split of them at a time") {
  const cuda::Stream stream;
  std::mt19937 random(9);
  const Index d = 8448, m = 3, n = 5;
  for (const DType dtype : {DType::q4_k, DType::q6_k, DType::q5_1}) {
    CAPTURE(std::string(name(dtype)));
    const RandomMatrix w(dtype, m, d, random);
    const cuda::DeviceMatrix device(stream, w.view());
    const std::vector<float> x = normal_floats(n * d, random);
    const auto multiply = [&](Index rows) {
      return product(x, d, 4, rows, m, [&](auto from, auto to) { by_row(stream, device.view(), from, to); });
    };
    const std::vector<float> all = multiply(n), one = multiply(1);
    CHECK(worst_error(all, products(matrix(x, n, d), w.view())) <= tolerance(d));
    CHECK(std::equal(one.begin(), one.end(), all.begin()));
  }
}

TEST_CASE("many rows of every type: double's numbers, and the same bits however many there are") {
  const cuda::Stream stream;
  std::mt19937 random(5);
  for (const DType dtype : all_dtypes) {
    CAPTURE(std::string(name(dtype)));
    const Index block = block_elements(dtype);
    const bool scalar = block == 1;
    for (const Index d : {scalar ? Index{165} : block == 32 ? Index{160} : Index{512}, scalar ? Index{7} : block}) {
      CAPTURE(d);
      const Index m = d == 165 ? 140 : 37;
      const RandomMatrix w(dtype, m, d, random);
      const cuda::DeviceMatrix device(stream, w.view());
      const Index most = d == 165 ? 70 : d > 500 ? 20 : 64;
      const std::vector<float> x = normal_floats(most * d, random);
      const std::vector<DotProduct> expected = products(matrix(x, most, d), w.view());
      for (const Arithmetic arithmetic : {Arithmetic::exact, Arithmetic::fast}) {
        const bool rounds = arithmetic == Arithmetic::fast && dtype != DType::f32;
        const auto multiply = [&](Index n, Index x_gap) {
          return product(x, d, x_gap, n, m, [&](auto from, auto to) {
            const MatmulTarget<Cuda> target{device.view(), to};
            matmul(stream, from, std::span(&target, 1), arithmetic);
          });
        };
        const std::vector<float> all = multiply(most, (8 - d % 4) % 4 + 4);
        const double of_factors = dtype == DType::bf16 ? 0x1p-9 : dtype == DType::f16 ? 0x1p-12 : 0x1p-11;
        const double error = worst_error(all, expected);
        CHECK(error <= tolerance(d) + (rounds ? of_factors : 0));
        if (rounds) CHECK(error > tolerance(d));
        CHECK(multiply(most, d % 2 == 1 ? 4 : 5) == all);  // rows that are not aligned, a second run
        for (Index n = few_rows; n <= 17; n += d < 100 ? 1 : 13) {
          const std::vector<float> some = multiply(n, 4);
          CHECK(std::equal(some.begin(), some.end(), all.begin()));
        }
      }
    }
  }
}

TEST_CASE("sums of nothing are 0") {
  const cuda::Stream stream;
  for (const Index n : {1, 5}) {
    Buffer<float, Cuda> y = to_device(std::vector<float>(static_cast<std::size_t>(n * 3), gap));
    matmul(stream, MatrixView<const float, Cuda>(nullptr, {n, 0}), StoredMatrix<Cuda>(DType::f16, nullptr, 3, 0, 0),
           y.matrix(n, 3));
    CHECK(to_host(y) == std::vector<float>(static_cast<std::size_t>(n * 3)));
  }
}

TEST_CASE("what is not finite stays in its row") {
  const cuda::Stream stream;
  std::mt19937 random(6);
  const Index n = 6, d = 64, m = 5;
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    std::vector<float> values = normal_floats(m * d, random);
    std::vector<float> x = normal_floats(n * d, random);
    x[1 * d + 3] = INFINITY;
    x[2 * d + 40] = NAN;
    x[3 * d + 7] = 1;
    values[4 * d + 7] = -INFINITY;
    std::vector<std::byte> stored;
    visit_dtype(dtype, [&]<class T>(std::type_identity<T>) {
      if constexpr (!QuantizedBlock<T>) {  // nvcc needs the braces
        for (const float value : values) {
          const T element(value);
          const auto* const bytes = reinterpret_cast<const std::byte*>(&element);
          stored.insert(stored.end(), bytes, bytes + sizeof(T));
        }
      }
    });
    const StoredMatrix<> w(dtype, stored.data(), m, d, static_cast<Index>(stored.size()) / m);
    const cuda::DeviceMatrix device(stream, w);
    const std::vector<DotProduct> expected = products(matrix(x, n, d), w);
    for (const bool many : {false, true}) {
      const std::vector<float> y = product(x, d, 0, n, m, [&](auto from, auto to) {
        many ? matmul(stream, from, device.view(), to) : by_row(stream, device.view(), from, to);
      });
      for (std::size_t i = 0; i < y.size(); ++i) {
        const double right = expected[i].value;
        CHECK(std::isfinite(y[i]) == std::isfinite(right));
        // A weight that is not finite meets a term that is 0, where a row is of two.
        const bool is_known = dtype == DType::f32 || i % static_cast<std::size_t>(m) != 4;
        if (is_known && !std::isfinite(right))
          CHECK((std::isnan(right) ? std::isnan(y[i]) : static_cast<double>(y[i]) == right));
      }
    }
  }
}

TEST_CASE("the smallest and largest floats are multiplied as they are") {
  const cuda::Stream stream;
  std::mt19937 random(7);
  const Index n = 9, d = 320, m = 40;
  for (const DType dtype : {DType::f16, DType::bf16}) {
    const RandomMatrix w(dtype, m, d, random);
    const cuda::DeviceMatrix device(stream, w.view());
    std::vector<float> x = normal_floats(n * d, random);
    for (Index i = 0; i < n; ++i)
      for (Index k = 0; k < d; ++k) {
        float& value = x[static_cast<std::size_t>(i * d + k)];
        const Index chunk = k / 32;  // 32 elements of one size, and one that is larger than its neighbours by far
        value = std::ldexp(value, static_cast<int>(i * 24 - 90 + 3 * (chunk % 3) + (k == 77 && i < 7 ? 20 : 0)));
        if (chunk == 4) value = i % 2 == 0 ? 0.0f : -0.0f;
      }
    const std::vector<DotProduct> expected = products(matrix(x, n, d), w.view());
    for (const bool many : {false, true}) {
      const std::vector<float> y = product(x, d, 0, n, m, [&](auto from, auto to) {
        many ? matmul(stream, from, device.view(), to) : by_row(stream, device.view(), from, to);
      });
      for (std::size_t i = 0; i < y.size(); ++i)
        CHECK(std::abs(static_cast<double>(y[i]) - expected[i].value) <=
              tolerance(d) * expected[i].magnitude + 0x1p-149);
    }
  }
}

TEST_CASE("several products share a launch, whatever their types are") {
  const cuda::Stream stream;
  std::mt19937 random(3);
  const Index n = 5, d = 256;
  const std::vector<float> x = normal_floats(n * d, random);
  const Buffer<float, Cuda> device_x = to_device(x);
  const std::vector<DType> types{DType::q4_k, DType::q4_k, DType::q6_k, DType::f16,
                                 DType::f16,  DType::f16,  DType::f16,  DType::f16};
  std::vector<RandomMatrix> weights;
  std::vector<cuda::DeviceMatrix> device;
  std::vector<Buffer<float, Cuda>> y;
  std::vector<MatmulTarget<Cuda>> targets;
  for (std::size_t i = 0; i < types.size(); ++i) {
    const Index m = i == 4 ? 0 : 5 + static_cast<Index>(i);
    weights.emplace_back(types[i], m, d, random);
    device.emplace_back(stream, weights.back().view());
    y.push_back(to_device(std::vector<float>(static_cast<std::size_t>(n * m), gap)));
    targets.push_back(
        {m == 0 ? StoredMatrix<Cuda>(types[i], nullptr, 0, d, d * 2) : device.back().view(), y.back().matrix(n, m)});
  }
  const auto check = [&] {
    for (std::size_t i = 0; i < types.size(); ++i)
      CHECK(worst_error(to_host(y[i]), products(matrix(x, n, d), weights[i].view())) <= tolerance(d));
  };
  matmul_by_row(stream, device_x.matrix(n, d), targets);
  check();
  Execution<Cuda> once = stream;
  matmul(once, device_x.matrix(n, d), targets);  // scratch memory does not grow while work is recorded
  for (Buffer<float, Cuda>& target : y) cuda::set_bytes(stream, target.view(), 0xff);
  const cuda::Graph graph(once, [&](Execution<Cuda> e) { matmul(e, device_x.matrix(n, d), targets); });
  graph.launch(stream);
  check();
}

TEST_CASE("shapes that do not fit, and rows that cannot be read, are refused") {
  const cuda::Stream stream;
  Buffer<float, Cuda> x(64), y(64);
  Buffer<std::byte, Cuda> w(4 * 144 + 16);
  const StoredMatrix<Cuda> m(DType::f32, w.data(), 3, 8, 32);
  CHECK_THROWS_AS(matmul(stream, x.matrix(2, 7), m, y.matrix(2, 3)), ShapeError);
  CHECK_THROWS_AS(matmul(stream, x.matrix(2, 8), m, y.matrix(3, 3)), ShapeError);
  CHECK_THROWS_AS(matmul(stream, x.matrix(2, 8), m, y.matrix(2, 4)), ShapeError);
  CHECK_THROWS_AS(matmul(stream, MatrixView<const float, Cuda>(x.data(), {2, 8}, {8, 2}), m, y.matrix(2, 3)),
                  ShapeError);
  const StoredMatrix<Cuda> shifted(DType::q4_k, w.data() + 8, 1, 256, 144, RowLayout::planes);
  const Buffer<float, Cuda> row(256);
  CHECK_THROWS_WITH_AS(matmul(stream, row.matrix(1, 256), shifted, y.matrix(1, 1)),
                       "matmul: w: rows of Q4_K must begin at multiples of 16 bytes", ShapeError);
  const std::string of_file =
      ": w: rows of Q4_K lie as in a file; cuda::DeviceMatrix and cuda::DeviceWeights lay them out for a device";
  const StoredMatrix<Cuda> raw(DType::q4_k, w.data(), 1, 256, 144);
  const std::vector<TokenId> first{0};
  CHECK_THROWS_WITH_AS(matmul(stream, row.matrix(1, 256), raw, y.matrix(1, 1)), ("matmul" + of_file).c_str(),
                       ShapeError);
  CHECK_THROWS_WITH_AS(gather(stream, raw, first, Buffer<float, Cuda>(256).matrix(1, 256)),
                       ("gather" + of_file).c_str(), ShapeError);
  CHECK_NOTHROW(matmul(stream, x.matrix(0, 8), m, y.matrix(0, 3)));
}

TEST_CASE("a model's weights are uploaded as they are, a tied LM head once") {
  const cuda::Stream stream;
  std::mt19937 random(4);
  std::vector<RandomMatrix> matrices;
  matrices.reserve(9);
  const auto matrix = [&](DType dtype, Index rows, Index cols) {
    return matrices.emplace_back(dtype, rows, cols, random).view();
  };
  LlamaWeights<> host;
  host.embedding = matrix(DType::f16, 7, 9);  // rows of 18 bytes
  host.final_norm = normal_floats(9, random);
  host.lm_head = host.embedding;
  LlamaLayerWeights<> layer;
  layer.attention_norm = normal_floats(3, random);
  layer.q = matrix(DType::q8_0, 4, 64);
  layer.k = matrix(DType::q6_k, 2, 256);
  layer.v = matrix(DType::bf16, 3, 8);
  layer.o = matrix(DType::f32, 3, 5);
  layer.ffn_norm = normal_floats(5, random);
  layer.gate = matrix(DType::q4_k, 3, 512);
  layer.up = matrix(DType::q5_0, 3, 32);
  layer.down = matrix(DType::iq4_xs, 1, 256);
  layer.k_bias = normal_floats(70, random);
  layer.q_norm = normal_floats(2, random);
  layer.ffn_out_norm = normal_floats(1, random);
  host.layers = {layer, layer};

  cuda::DeviceWeights made(stream, host);
  const cuda::DeviceWeights device = std::move(made);
  const LlamaWeights<Cuda>& view = device.view();
  const auto same = [&](const StoredMatrix<Cuda>& m, const StoredMatrix<>& expected) {
    REQUIRE(m.dtype() == expected.dtype());
    REQUIRE(m.rows() == expected.rows());
    REQUIRE(m.cols() == expected.cols());
    CHECK(reinterpret_cast<std::uintptr_t>(m.data()) % 256 == 0);
    CHECK(m.row_bytes() % 16 == 0);
    CHECK(m.layout() == RowLayout::planes);
    Buffer<float, Cuda> rows(m.rows() * m.cols());
    std::vector<float> decoded(static_cast<std::size_t>(m.rows() * m.cols()));
    std::vector<TokenId> ids;
    for (Index r = 0; r < m.rows(); ++r) {
      ids.push_back(static_cast<TokenId>(r));
      expected.decode_row(
          r, std::span(decoded).subspan(static_cast<std::size_t>(r * m.cols()), static_cast<std::size_t>(m.cols())));
    }
    gather(stream, m, ids, rows.matrix(m.rows(), m.cols()));
    CHECK(to_host(rows) == decoded);
  };
  const auto same_vector = [](VectorView<const float, Cuda> v, const std::vector<float>& expected) {
    CHECK((v.empty() ? std::vector<float>{} : to_host(v)) == expected);
  };
  same(view.embedding, host.embedding);
  CHECK(view.lm_head.data() == view.embedding.data());
  same(view.lm_head, host.lm_head);
  same_vector(view.final_norm, host.final_norm);
  REQUIRE(view.layers.size() == 2);
  for (const LlamaLayerWeights<Cuda>& w : view.layers) {
    same_vector(w.attention_norm, layer.attention_norm);
    same(w.q, layer.q);
    same(w.k, layer.k);
    same(w.v, layer.v);
    same(w.o, layer.o);
    same_vector(w.ffn_norm, layer.ffn_norm);
    same(w.gate, layer.gate);
    same(w.up, layer.up);
    same(w.down, layer.down);
    same_vector(w.q_bias, layer.q_bias);
    same_vector(w.k_bias, layer.k_bias);
    same_vector(w.v_bias, layer.v_bias);
    same_vector(w.o_bias, layer.o_bias);
    same_vector(w.q_norm, layer.q_norm);
    same_vector(w.k_norm, layer.k_norm);
    same_vector(w.attention_out_norm, layer.attention_out_norm);
    same_vector(w.ffn_out_norm, layer.ffn_out_norm);
  }
  host.lm_head = matrix(DType::f16, 7, 9);
  const cuda::DeviceWeights untied(stream, host);
  same(untied.view().lm_head, host.lm_head);
  CHECK(untied.bytes() > device.bytes());
  CHECK(cuda::DeviceWeights(stream, LlamaWeights<>{}).bytes() == 0);
}
