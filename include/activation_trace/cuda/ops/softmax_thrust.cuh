// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_fp16.h>
#include <thrust/execution_policy.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/transform.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "activation_trace/numerics/softmax_state.hpp"
#include "activation_trace/ops/check.hpp"
#include "activation_trace/tensor/half.hpp"
#include "activation_trace/tensor/view.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// Positions that one thread of softmax_states_thrust adds up.
constexpr Index thrust_split = 64;

/// Elements of workspace that softmax_states_thrust needs for T positions and V items.
[[nodiscard]] inline Index thrust_workspace_size(Index positions, Index vocabulary) {
  return (positions + thrust_split - 1) / thrust_split * vocabulary;
}

namespace detail {

// On both sides; the types' own conversions are for the host.
[[nodiscard]] inline ACTIVATION_TRACE_HOST_DEVICE float widened(float x) { return x; }
[[nodiscard]] inline ACTIVATION_TRACE_HOST_DEVICE float widened(Half x) {
  __half_raw raw;
  raw.x = x.bits;
  return __half2float(raw);
}
[[nodiscard]] inline ACTIVATION_TRACE_HOST_DEVICE float widened(BFloat16 x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x.bits) << 16;
  float y;
  memcpy(&y, &bits, sizeof(y));
  return y;
}

/// A matrix that device code reads one element at a time.
template <class T>
struct Elements {
  const T* data;
  Index row_stride, column_stride;

  [[nodiscard]] ACTIVATION_TRACE_HOST_DEVICE float operator()(Index row, Index column) const {
    return widened(data[row * row_stride + column * column_stride]);
  }
};

/// i -> the state of item i % V over split i / V of the positions.
template <class T>
struct StateOfSplit {
  Elements<T> hidden, w;
  Index positions, d, vocabulary;

  [[nodiscard]] ACTIVATION_TRACE_HOST_DEVICE SoftmaxState operator()(Index i) const {
    const Index v = i % vocabulary;
    const Index begin = i / vocabulary * thrust_split;
    const Index end = begin + thrust_split < positions ? begin + thrust_split : positions;
    SoftmaxState state;
    for (Index t = begin; t < end; ++t) {
      float logit = 0;
      for (Index k = 0; k < d; ++k) logit += hidden(t, k) * w(v, k);
      state.push(logit);
    }
    return state;
  }
};

/// (v, state) -> that state and item v's splits, merged in their order.
struct MergedSplits {
  const SoftmaxState* splits;
  Index count, vocabulary;

  [[nodiscard]] ACTIVATION_TRACE_HOST_DEVICE SoftmaxState operator()(Index v, SoftmaxState state) const {
    for (Index i = 0; i < count; ++i) state.merge(splits[i * vocabulary + v]);
    return state;
  }
};

}  // namespace detail

/// softmax_states (softmax_entropy.cuh) by Thrust, on whatever `policy` runs: the same source is tested on a CPU
/// through Thrust's CPP device system, where host views are device memory. It is the shortest form, not a fast one:
/// plain fp32 products, any strides. `workspace` has thrust_workspace_size(T, V) elements. The same bits every time:
/// sums are split and merged in a fixed order, which reduce_by_key does not promise. Arguments must not alias. Throws
/// ShapeError; whether it synchronises is the policy's.
template <class Policy, class T, class Space>
void softmax_states_thrust(const Policy& policy, MatrixView<T, Space> hidden,
                           std::type_identity_t<MatrixView<const std::remove_const_t<T>, Space>> w,
                           std::type_identity_t<VectorView<SoftmaxState, Space>> states,
                           std::type_identity_t<VectorView<SoftmaxState, Space>> workspace) {
  const Index positions = hidden.extent(0);
  const Index vocabulary = w.extent(0);
  using v0::detail::check_extent;
  check_extent("softmax_states_thrust: columns of w", w.extent(1), hidden.extent(1));
  check_extent("softmax_states_thrust: size of states", states.size(), vocabulary);
  check_extent("softmax_states_thrust: size of workspace", workspace.size(),
               thrust_workspace_size(positions, vocabulary));
  check_extent("softmax_states_thrust: stride of states", states.size() > 1 ? states.stride(0) : 1, 1);
  check_extent("softmax_states_thrust: stride of workspace", workspace.size() > 1 ? workspace.stride(0) : 1, 1);

  using Element = std::remove_const_t<T>;
  const auto elements = [](const auto& m) { return detail::Elements<Element>{m.data(), m.stride(0), m.stride(1)}; };
  const thrust::counting_iterator<Index> first(0);
  thrust::transform(
      policy, first, first + workspace.size(), workspace.data(),
      detail::StateOfSplit<Element>{elements(hidden), elements(w), positions, hidden.extent(1), vocabulary});
  const Index splits = (positions + thrust_split - 1) / thrust_split;
  thrust::transform(policy, first, first + vocabulary, states.data(), states.data(),
                    detail::MergedSplits{workspace.data(), splits, vocabulary});
}

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
