// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <string>
#include <type_traits>

#include "activation_trace/cuda/launch.cuh"
#include "activation_trace/cuda/ops/softmax_candidates.cuh"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// logits[C, V] = states[C, d] w[V, d]^T: what C layers, or C sequences, say of every token, in one pass over the LM
/// head for up to 16 rows and one more for each further 16. Products and sums are fp32: with C = 9 that is half of what
/// a card can do while it reads W once, so tensor cores would gain nothing.
///
/// Types are f32, f16 or bf16, columns contiguous; rows of 16-byte multiples are fast. Runs in the order of `stream`,
/// does not synchronise, allocates nothing. The same bits every time. Arguments must not alias. Throws ShapeError.
template <class T>
void lm_head_logits(Execution<Cuda> stream, MatrixView<T, Cuda> states,
                    std::type_identity_t<MatrixView<const std::remove_const_t<T>, Cuda>> w,
                    MatrixView<float, Cuda> logits);

namespace detail {

/// Tokens that a warp works on at once: so often is a chunk of the states used when it is read.
constexpr int logits_tokens = 4;

/// A warp per four tokens, its lanes along d. The states are read again for every four tokens, from L1.
template <class T, RowAccess access, int rows, int threads>
__global__ void __launch_bounds__(threads, 1)
    lm_head_logits_kernel(RowBytes states, RowBytes w, Index first, float* logits, Index stride) {
  constexpr int elements = 16 / static_cast<int>(sizeof(T));
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const Index warp = (static_cast<Index>(blockIdx.x) * threads + threadIdx.x) / 32;
  const Index v0 = warp * logits_tokens;
  if (v0 >= w.rows) return;
  const auto unpack = [](uint4 chunk, float(&x)[elements]) {
    T values[elements];
    memcpy(static_cast<void*>(values), &chunk, sizeof(chunk));
#pragma unroll
    for (int i = 0; i < elements; ++i) x[i] = widen(values[i]);
  };
  // What does not exist is read as the last row, and not written.
  const auto row_of = [](const RowBytes& m, Index row) { return m.data + min(row, m.rows - 1) * m.stride_bytes; };

  float acc[rows][logits_tokens] = {};
  for (Index byte = 16 * lane; byte < w.row_bytes; byte += 32 * 16) {
    float weights[logits_tokens][elements];
#pragma unroll
    for (int t = 0; t < logits_tokens; ++t)
      unpack(load_chunk<T, access>(row_of(w, v0 + t), byte, w.row_bytes), weights[t]);
#pragma unroll
    for (int c = 0; c < rows; ++c) {
      float state[elements];
      unpack(load_chunk<T, access>(row_of(states, first + c), byte, w.row_bytes), state);
#pragma unroll
      for (int t = 0; t < logits_tokens; ++t)
#pragma unroll
        for (int i = 0; i < elements; ++i) acc[c][t] += state[i] * weights[t][i];
    }
  }
#pragma unroll
  for (int c = 0; c < rows; ++c)
#pragma unroll
    for (int t = 0; t < logits_tokens; ++t) {
      float sum = acc[c][t];
#pragma unroll
      for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
      if (lane == 0 && first + c < states.rows && v0 + t < w.rows) logits[(first + c) * stride + v0 + t] = sum;
    }
}

template <class T, RowAccess access, int rows>
void launch_lm_head_logits(Execution<Cuda> stream, const RowBytes& states, const RowBytes& w, Index first,
                           const MatrixView<float, Cuda>& logits) {
  constexpr int threads = 128;
  const Index warps = (w.rows + logits_tokens - 1) / logits_tokens;
  launch(stream, "lm_head_logits_kernel", {blocks((warps + threads / 32 - 1) / (threads / 32)), threads},
         lm_head_logits_kernel<T, access, rows, threads>, states, w, first, logits.data(), logits.stride(0));
}

}  // namespace detail

template <class T>
void lm_head_logits(Execution<Cuda> stream, MatrixView<T, Cuda> states,
                    std::type_identity_t<MatrixView<const std::remove_const_t<T>, Cuda>> w,
                    MatrixView<float, Cuda> logits) {
  using namespace detail;
  using Value = std::remove_const_t<T>;
  const MatrixView<const Value, Cuda> rows = states;
  check_product(states, w);
  if (logits.extent(0) != rows.extent(0) || logits.extent(1) != w.extent(0))
    throw ShapeError("lm_head_logits: expected logits [" + std::to_string(rows.extent(0)) + ", " +
                     std::to_string(w.extent(0)) + "], got [" + std::to_string(logits.extent(0)) + ", " +
                     std::to_string(logits.extent(1)) + "]");
  for (const Index stride : {rows.extent(1) > 1 ? rows.stride(1) : 1, w.extent(1) > 1 ? w.stride(1) : 1,
                             logits.extent(1) > 1 ? logits.stride(1) : 1})
    if (stride != 1) throw ShapeError("lm_head_logits: columns must be contiguous");
  if (logits.empty()) return;
  const bool chunks = row_access(rows) == RowAccess::chunks && row_access(w) == RowAccess::chunks;
  for (Index first = 0; first < rows.extent(0); first += 16) {
    const auto run = [&](auto start) { start(stream, RowBytes(rows), RowBytes(w), first, logits); };
    if (!chunks)
      run(launch_lm_head_logits<Value, RowAccess::elements, 16>);
    else if (rows.extent(0) - first > 8)
      run(launch_lm_head_logits<Value, RowAccess::chunks, 16>);
    else
      run(launch_lm_head_logits<Value, RowAccess::chunks, 8>);
  }
}

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
