// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "activation_trace/model/llama.hpp"
#include "model/trace.hpp"

// A memory space that the host cannot reach: its pointers lie beyond all addresses, and what follows it has itself. So
// this file is what a device needs for the forward pass, with the host's ops for kernels, and whatever in model/ reads
// or writes a state itself crashes here, or does not compile.
namespace activation_trace::test::far {
namespace {

struct Far {
  static constexpr bool host_accessible = false;
  static constexpr std::uintptr_t distance = std::uintptr_t{1} << 60;
};

template <class T>
T* moved(T* p, std::uintptr_t distance) {
  return p == nullptr ? p : reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(p) + distance);
}
template <class T>
T* here(T* p) {
  return moved(p, 0 - Far::distance);
}
template <class T, int Rank>
TensorView<T, Rank> here(const TensorView<T, Rank, Far>& view) {
  return {here(view.data()), view.extents(), view.strides()};
}
StoredMatrix<> here(const StoredMatrix<Far>& m) {
  return {m.dtype(), here(m.data()), m.rows(), m.cols(), m.row_bytes()};
}
StoredMatrix<Far> there(const StoredMatrix<>& m) {
  return {m.dtype(), moved(m.data(), Far::distance), m.rows(), m.cols(), m.row_bytes()};
}
VectorView<const float, Far> there(const std::vector<float>& v) {
  return {moved(v.data(), Far::distance), {std::ssize(v)}};
}

}  // namespace
}  // namespace activation_trace::test::far

namespace activation_trace {

template <>
struct Allocator<test::far::Far> {
  static void* allocate(std::size_t bytes) {
    void* memory = Allocator<Host>::allocate(bytes);
    std::memset(memory, 0xff, bytes);  // as float: NaN
    return test::far::moved(memory, test::far::Far::distance);
  }
  static void deallocate(void* memory) noexcept { Allocator<Host>::deallocate(test::far::here(memory)); }
};

template <>
class Execution<test::far::Far> {
 public:
  Execution<Host> host{2};
};

template <>
class RopeTable<test::far::Far> {
 public:
  RopeTable(std::span<const float> frequencies, Index positions, Index head_dim, float amplitude)
      : host(frequencies, positions, head_dim, amplitude) {}
  RopeTable<Host> host;
};

}  // namespace activation_trace

namespace activation_trace::test::far {
namespace {

using FarExecution = Execution<Far>;
using FarMatrix = MatrixView<float, Far>;
using FarConstMatrix = MatrixView<const float, Far>;
using FarConstVector = VectorView<const float, Far>;

void gather(FarExecution& e, const StoredMatrix<Far>& w, std::span<const TokenId> ids, FarMatrix out) {
  activation_trace::gather(e.host, here(w), ids, here(out));
}
void scale(FarExecution& e, FarMatrix x, float factor) { activation_trace::scale(e.host, here(x), factor); }
void copy(FarExecution& e, FarConstMatrix from, FarMatrix to) { activation_trace::copy(e.host, here(from), here(to)); }
void add_bias(FarExecution& e, FarMatrix x, FarConstVector bias) {
  activation_trace::add_bias(e.host, here(x), here(bias));
}
void rms_norm(FarExecution& e, FarConstMatrix x, FarConstVector weight, float eps, FarMatrix y) {
  activation_trace::rms_norm(e.host, here(x), here(weight), eps, here(y));
}
void add_rms_norm(FarExecution& e, FarMatrix x, FarMatrix y, FarConstVector weight, float eps) {
  activation_trace::add_rms_norm(e.host, here(x), here(y), here(weight), eps);
}
void gated_multiply(FarExecution& e, FfnActivation activation, FarConstMatrix gate, FarConstMatrix up, FarMatrix y) {
  activation_trace::gated_multiply(e.host, activation, here(gate), here(up), here(y));
}
void soft_cap(FarExecution& e, FarMatrix x, float cap) { activation_trace::soft_cap(e.host, here(x), cap); }
std::optional<NotFinite> first_not_finite(const FarExecution& e, FarConstVector x) {
  return activation_trace::first_not_finite(e.host, here(x));
}
void rope(FarExecution& e, FarMatrix x, Index heads, Index first, const RopeTable<Far>& table, RopeLayout layout) {
  activation_trace::rope(e.host, here(x), heads, first, table.host, layout);
}

std::vector<MatmulTarget<>> here(std::span<const MatmulTarget<Far>> targets) {
  std::vector<MatmulTarget<>> result;
  for (const MatmulTarget<Far>& target : targets) result.push_back({here(target.w), here(target.y)});
  return result;
}
void matmul(FarExecution& e, FarConstMatrix x, std::span<const MatmulTarget<Far>> targets) {
  activation_trace::matmul(e.host, here(x), here(targets));
}
void matmul_by_row(FarExecution& e, FarConstMatrix x, std::span<const MatmulTarget<Far>> targets) {
  activation_trace::matmul_by_row(e.host, here(x), here(targets));
}
void attention(FarExecution& e, std::span<const AttentionPart<Far>> parts, const AttentionOptions& options) {
  std::vector<AttentionPart<>> host;
  for (const AttentionPart<Far>& p : parts) host.push_back({here(p.q), here(p.k), here(p.v), here(p.out)});
  activation_trace::attention(e.host, host, options);
}

LlamaWeights<Far> there(const LlamaWeights<>& w) {
  LlamaWeights<Far> result{there(w.embedding), {}, there(w.final_norm), there(w.lm_head)};
  for (const LlamaLayerWeights<>& l : w.layers)
    result.layers.push_back({there(l.attention_norm), there(l.q), there(l.k), there(l.v), there(l.o), there(l.ffn_norm),
                             there(l.gate), there(l.up), there(l.down), there(l.q_bias), there(l.k_bias),
                             there(l.v_bias), there(l.o_bias), there(l.q_norm), there(l.k_norm),
                             there(l.attention_out_norm), there(l.ffn_out_norm)});
  return result;
}

template <class T, class Space>
std::vector<float> numbers(const TensorView<T, 2, Space>& m) {
  const auto rows = [&] {
    if constexpr (Space::host_accessible)
      return m;
    else
      return here(m);
  }();
  std::vector<float> result;
  for (Index i = 0; i < rows.extent(0); ++i) {
    const std::span<const float> row = rows.row(i).span();
    result.insert(result.end(), row.begin(), row.end());
  }
  return result;
}

/// All that a model tells about two sequences: prompts of 21 and 3 tokens together, two steps, early exits, a rewind
/// and a copy.
template <class Space>
std::vector<std::vector<float>> history(Llama<Space>& model) {
  std::vector<std::vector<float>> seen;
  LayerObserver<Space> observer;
  observer.layers = {0, 1, -2, -1};
  observer.on_states = [&](Index, Index, MatrixView<const float, Space> states) { seen.push_back(numbers(states)); };
  const std::vector<TokenId> ids = some_ids(40, model.config().vocab);
  const auto pieces = [&](std::size_t begin, std::size_t first, std::size_t second) {
    return std::vector<SequencePiece<Space>>{{0, std::span(ids).subspan(begin, first), &observer},
                                             {1, std::span(ids).subspan(begin + 1, second), nullptr}};
  };
  seen.push_back(numbers(model.forward(pieces(0, 21, 3))));
  seen.push_back(numbers(model.forward(pieces(21, 1, 1))));
  const std::vector<Index> layers{1, -1};
  Buffer<float, Space> exits(2 * 2 * model.config().vocab);
  model.early_exit(pieces(22, 1, 5), layers, {exits.data(), {2, 2, model.config().vocab}});
  seen.push_back(numbers(exits.matrix(4, model.config().vocab)));
  model.rewind(7, 0);
  model.copy_sequence(0, 1, 0);
  seen.push_back(numbers(model.forward(pieces(30, 4, 4))));
  return seen;
}

}  // namespace
}  // namespace activation_trace::test::far

TEST_CASE("in memory that the host cannot reach the forward pass is the same, bit for bit") {
  using namespace activation_trace;
  using namespace activation_trace::test;
  using namespace activation_trace::test::far;
  TinyLlamaOptions options;
  options.dtype = DType::f16;
  const TinyLlama plain(options);
  options.family = {.qkv_biases = true, .o_bias = true, .q_k_norms = true};
  options.config.activation = FfnActivation::gelu_tanh;
  options.config.embedding_scale = 6.5f;
  options.config.attention_soft_cap = 1.5f;
  options.config.residual_scale = 0.7f;
  options.config.logit_scale = 0.5f;
  options.config.logit_soft_cap = 3;
  options.config.windows.assign(static_cast<std::size_t>(options.config.layers), 5);
  const TinyLlama other(options);
  for (const TinyLlama* tiny : {&plain, &other}) {
    const LlamaOptions memory{.max_context = 40, .max_batch = 16, .sequences = 2};
    const LlamaWeights<> weights = tiny->weights();
    Execution host(2);
    Execution<Far> far;
    Llama expected(tiny->config(), weights, memory, host);
    Llama model(tiny->config(), there(weights), memory, far);
    static_assert(std::is_same_v<decltype(model), Llama<Far>>);
    const std::vector<std::vector<float>> seen = history(expected);
    CHECK(seen.size() == 4 + 3 * 5);  // of three layers, the first prompt in two batches
    CHECK(history(model) == seen);
    LlamaOptions fast = memory;
    fast.arithmetic = Arithmetic::fast;  // for which this space has no products
    CHECK_THROWS_WITH_AS(Llama(tiny->config(), there(weights), fast, far),
                         "LlamaOptions: arithmetic fast is not there in this memory space; exact is", ArgumentError);
    LlamaOptions halves = memory;
    halves.cache = DType::f16;
    CHECK_THROWS_WITH_AS(Llama(tiny->config(), there(weights), halves, far),
                         "LlamaOptions: a cache of F16 is not there in this memory space; F32 is", ArgumentError);
  }
}
