// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <type_traits>

#include "activation_trace/cuda/ops/softmax_candidates.cuh"
#include "activation_trace/cuda/ops/softmax_entropy.cuh"
#include "activation_trace/cuda/ops/state_terms.cuh"
#include "activation_trace/cuda/ops/stored_octets.cuh"
#include "activation_trace/tensor/stored_matrix.hpp"

// The statistics of softmax_entropy.cuh for f32 hidden states and w in any stored form: what a model computes, neither
// rounded. Beside 16-bit weights states are sums of terms (state_terms.cuh); others are floats of two tf32 terms, as
// states are then (softmax_mma.cuh).
namespace activation_trace {
inline namespace v0 {
namespace cuda {
namespace detail {

/// A stored matrix whose type a kernel looks up: one kernel for all of them.
struct StoredWeights : StoredRows {
  DType dtype = DType::f32;

  explicit StoredWeights(const StoredMatrix<Cuda>& m) : StoredRows(m), dtype(m.dtype()) {}
};

/// For softmax_candidates_kernel: a lane takes an octet of each row.
struct StoredFactors {
  StoredRows hidden;  // floats
  StoredWeights w;
};

template <int warps, int v_tiles, int t_tiles>
__device__ void multiply_candidates(const StoredFactors& factors, const LaneRows<v_tiles, t_tiles>& rows,
                                    float (&acc)[v_tiles][t_tiles][4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const auto row_of = [](StoredRows m, const std::byte* row) {
    m.data = row;
    return m;
  };
  visit_stored(factors.w.dtype, [&]<class T>(std::type_identity<T>) {
    for (int first = 4 * warp; first < factors.w.octets(); first += 4 * warps) {
      const int octet = first + lane % 4;
      float a[2 * v_tiles][8];
      float b[t_tiles][8];
#pragma unroll
      for (int i = 0; i < 2 * v_tiles; ++i) widen_octet<T>(row_of(factors.w, rows.w[i]), 0, octet, a[i]);
#pragma unroll
      for (int i = 0; i < t_tiles; ++i) widen_octet<float>(row_of(factors.hidden, rows.hidden[i]), 0, octet, b[i]);
#pragma unroll
      for (int k = 0; k < 8; k += 2)
#pragma unroll
        for (int v = 0; v < v_tiles; ++v)
#pragma unroll
          for (int t = 0; t < t_tiles; ++t) {
            const std::uint32_t w[4] = {__float_as_uint(a[2 * v][k]), __float_as_uint(a[2 * v + 1][k]),
                                        __float_as_uint(a[2 * v][k + 1]), __float_as_uint(a[2 * v + 1][k + 1])};
            const std::uint32_t hidden[2] = {__float_as_uint(b[t][k]), __float_as_uint(b[t][k + 1])};
            multiply(float{}, acc[v][t], w, hidden);
          }
    }
  });
}

template <int = 0>
[[nodiscard]] bool has_stored_candidates(Execution<Cuda> stream) {
  return compiled_for_device(stream, &softmax_candidates_kernel<StoredFactors, 1, 1, 16>);
}

/// launch_candidates() of f32 hidden states and stored weights.
template <int = 0>
void launch_stored_candidates(Execution<Cuda> stream, const StoredMatrix<Cuda>& hidden, const StoredMatrix<Cuda>& w,
                              const CandidateList& list, const CandidateBatch& batch, Index sequences,
                              SoftmaxState* partials, SoftmaxState* states) {
  StoredFactors factors{StoredRows(hidden), StoredWeights(w)};
  factors.hidden.wide = factors.hidden.wide && hidden.row_bytes() % 16 == 0;  // of every sequence
  join_candidates<1, 1, 16>(stream, factors, list, batch, sequences, partials, states);
}

/// Elements of stored weights, for the plain kernel.
struct StoredElements : StoredWeights {
  using StoredWeights::StoredWeights;

  /// 0 outside the matrix.
  __device__ float operator()(Index r, Index c) const {
    float element = 0.0f;
    if (r < rows && c < cols)
      visit_stored(dtype, [&]<class T>(std::type_identity<T>) {
        float y[8];
        widen_octet<T>(*this, r, static_cast<int>(c / 8), y);
#pragma unroll
        for (int i = 0; i < 8; ++i)
          if (i == c % 8) element = y[i];
      });
    return element;
  }
};

/// Rows of w as floats, a block each.
template <int threads>
__global__ void __launch_bounds__(threads) decode_rows_kernel(StoredWeights w, float* out, Index out_stride) {
  float* const row = out + blockIdx.x * out_stride;
  visit_stored(w.dtype, [&]<class T>(std::type_identity<T>) {
    for (int octet = static_cast<int>(threadIdx.x); octet < w.octets(); octet += threads) {
      float y[8];
      widen_octet<T>(w, blockIdx.x, octet, y);
#pragma unroll
      for (int i = 0; i < 8; ++i)
        if (8 * octet + i < w.cols) row[8 * octet + i] = y[i];
    }
  });
}

/// softmax_states of f32 states and a 16-bit head by tensor cores of 16 bits, the states as sums of terms. False, and
/// nothing done, where they cannot be used or another kernel is asked for.
template <class T>
[[nodiscard]] bool softmax_terms(Execution<Cuda> stream, const MatrixView<const float, Cuda>& hidden,
                                 const MatrixView<const T, Cuda>& w, SoftmaxState* workspace, const SoftmaxOutput& out,
                                 SoftmaxKernel kernel) {
  constexpr int terms = exact_terms<T>;
  constexpr int most_stages = wgmma_block_bytes - 1024;  // bytes
  using Small = WgmmaTuning<64, 1, most_stages / ((128 + terms * 64) * 128), 1, terms>;
  using Large = WgmmaTuning<128, 1, most_stages / ((128 + terms * 128) * 128), 1, terms>;
  const Index positions = hidden.extent(0);
  if (positions == 0 || !aligned_rows(w) || (hidden.extent(1) > 1 && hidden.stride(1) != 1)) return false;
  const auto asked = [&](SoftmaxKernel one) { return kernel == SoftmaxKernel::automatic || kernel == one; };
  const bool wgmma = asked(SoftmaxKernel::wgmma) && fits_tensor_map(w) && terms * positions < Index{1} << 31 &&
                     compiled_for_device(stream, &softmax_wgmma_kernel<T, Small>);
  const bool mma =
      asked(SoftmaxKernel::mma) && compiled_for_device(stream, &softmax_mma_kernel<T, MmaTermsTuning<terms>>);
  if (!wgmma && !mma) return false;
  const StateTerms<T> states = split_states<T>(stream, hidden);
  const auto run = [&]<class Tuning>(std::type_identity<Tuning>) {
    split_positions(stream, positions, Tuning::tile_t, workspace, out, [&](const SoftmaxOutput& o) {
      if constexpr (std::is_base_of_v<MmaTuning, Tuning>)
        launch_softmax_mma<T, Tuning>(stream, states.rows, w, o, states.scales);
      else
        launch_softmax_wgmma<T, Tuning>(stream, device_attribute(stream, cudaDevAttrMultiProcessorCount), states.rows,
                                        w, o, states.scales);
    });
  };
  if (!wgmma)
    run(std::type_identity<MmaTermsTuning<terms>>{});
  else if (positions <= Small::tile_t)
    run(std::type_identity<Small>{});
  else
    run(std::type_identity<Large>{});
  return true;
}

/// Floats that rows of w are decoded to at a time: 128 MiB are enough rows to fill a device at d = 8192.
inline constexpr Index decoded_floats = Index{1} << 25;

template <int = 0>
void softmax_stored(Execution<Cuda> stream, const MatrixView<const float, Cuda>& hidden, const StoredMatrix<Cuda>& w,
                    const VectorView<SoftmaxState, Cuda>& workspace, const SoftmaxOutput& out, SoftmaxKernel kernel,
                    Index floats = decoded_floats) {
  check_product(hidden, w.rows(), w.cols());
  check_stored("softmax: w", w);
  if (w.dtype() == DType::f32) {
    const auto* const data = reinterpret_cast<const float*>(w.data());
    softmax<float>(stream, hidden, {data, {w.rows(), w.cols()}, {w.row_bytes() / 4, 1}}, workspace, out, kernel);
    return;
  }
  const auto by_terms = [&]<class T>(std::type_identity<T>) {
    const MatrixView<const T, Cuda> view(reinterpret_cast<const T*>(w.data()), {w.rows(), w.cols()},
                                         {w.row_bytes() / 2, 1});
    check_workspace(workspace, softmax_workspace_size(hidden.extent(0), w.rows()));
    return softmax_terms<T>(stream, hidden, view, workspace.data(), out, kernel);
  };
  if (w.dtype() == DType::f16 && by_terms(std::type_identity<Half>{})) return;
  if (w.dtype() == DType::bf16 && by_terms(std::type_identity<BFloat16>{})) return;
  const Index stride = (w.cols() + 3) / 4 * 4;  // rows of 16-byte multiples are fast
  const Index most = std::clamp(floats / std::max(stride, Index{1}) / 128 * 128, Index{128}, Index{1} << 30);
  const VectorView<float, Cuda> decoded = stream.scratch<float>(std::min(most, w.rows()) * stride);
  for (Index first = 0; first < w.rows(); first += most) {
    const Index rows = std::min(most, w.rows() - first);
    launch(stream, "decode_rows_kernel", {blocks(rows), 128}, decode_rows_kernel<128>,
           StoredWeights(w.slice(first, first + rows)), decoded.data(), stride);
    SoftmaxOutput part = out;
    part.rows = rows;
    if (part.states != nullptr) part.states += first;
    if (part.entropy != nullptr) part.entropy += first;
    softmax<float>(stream, hidden, {decoded.data(), {rows, w.cols()}, {stride, 1}}, workspace, part, kernel);
  }
}

}  // namespace detail

/// As softmax_states of views, for f32 hidden states and w in any stored form, neither of which is rounded. Needs
/// scratch memory of the stream, which grows at the first call: 4 or 6 bytes per element of `hidden` beside f16 or
/// bf16, for other types up to 128 MiB of rows of w, decoded to floats.
template <class T>
requires(std::is_same_v<std::remove_const_t<T>, float>) void softmax_states(Execution<Cuda> stream,
                                                                            MatrixView<T, Cuda> hidden,
                                                                            const StoredMatrix<Cuda>& w,
                                                                            VectorView<SoftmaxState, Cuda> states,
                                                                            VectorView<SoftmaxState, Cuda> workspace,
                                                                            const SoftmaxOptions& options = {}) {
  detail::check_output(states, w.rows(), "states");
  detail::softmax_stored(stream, hidden, w, workspace, {nullptr, 0, w.rows(), states.data(), nullptr}, options.kernel);
}

/// The same for softmax_entropy.
template <class T>
requires(std::is_same_v<std::remove_const_t<T>, float>) void softmax_entropy(
    Execution<Cuda> stream, MatrixView<T, Cuda> hidden, const StoredMatrix<Cuda>& w, VectorView<float, Cuda> entropy,
    VectorView<SoftmaxState, Cuda> workspace, const SoftmaxOptions& options = {}) {
  detail::check_output(entropy, w.rows(), "entropy");
  detail::softmax_stored(stream, hidden, w, workspace, {nullptr, 0, w.rows(), nullptr, entropy.data()}, options.kernel);
}

/// The same for softmax_states of candidates, whose rows of w are decoded in registers: no scratch memory.
template <class T>
requires(std::is_same_v<std::remove_const_t<T>, float>) void softmax_states(
    Execution<Cuda> stream, MatrixView<T, Cuda> hidden, const StoredMatrix<Cuda>& w, const Candidates& candidates,
    VectorView<SoftmaxState, Cuda> states, VectorView<SoftmaxState, Cuda> workspace) {
  const Index size = candidates.ids.size();
  detail::check_candidates(hidden, w.rows(), w.cols(), candidates, states, workspace);
  detail::check_stored("softmax: w", w);
  if (size == 0 || hidden.extent(0) == 0 || w.rows() == 0) return;
  if (!detail::has_stored_candidates(stream))
    throw ArgumentError("softmax: candidates need a device and code for sm_80");
  detail::launch_stored_candidates(stream, StoredMatrix<Cuda>(hidden), w,
                                   {candidates.ids.data(), candidates.count, size}, {}, 1, workspace.data(),
                                   states.data());
}

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
