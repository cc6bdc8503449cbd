// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/launch.cuh"
#include "activation_trace/ops/first_not_finite.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda::detail {

/// What is known of all rows: the number of the row and the place in it, in the order of which the first is the least,
/// and what is there.
using FirstNotFinite = unsigned long long;
constexpr FirstNotFinite all_finite = ~FirstNotFinite{0};
constexpr int place_bits = 34;
constexpr int value_bits = 2;  ///< NaN or not, negative or not

/// Rows of a matrix, which have numbers from `first` on.
struct WatchedRows {
  static constexpr int room = 64;
  Index rows[room];
  FirstNotFinite first;
};

template <int threads>
__global__ void __launch_bounds__(threads)
    first_not_finite_kernel(const float* states, Index stride, Index d, const __grid_constant__ WatchedRows watched,
                            FirstNotFinite* found) {
  ptx::wait_for_previous();
  ptx::launch_dependents();
  const float* const row = states + watched.rows[blockIdx.y] * stride;
  for (Index i = static_cast<Index>(blockIdx.x) * threads + threadIdx.x; i < d;
       i += static_cast<Index>(gridDim.x) * threads) {
    const unsigned bits = __float_as_uint(row[i]);
    if ((bits & 0x7f800000u) != 0x7f800000u) continue;
    const FirstNotFinite is_nan = (bits & 0x007fffffu) != 0 ? 2 : 0;
    atomicMin(found, ((watched.first + blockIdx.y) << place_bits | static_cast<FirstNotFinite>(i)) << value_bits |
                         is_nan | bits >> 31);
    return;  // its first
  }
}

template <int threads>
__global__ void __launch_bounds__(threads) begin_watch_kernel(FirstNotFinite* found) {
  *found = all_finite;
}

/// Enqueues a look at these rows, no more than there is room for.
inline void look_at_rows(Execution<Cuda> execution, MatrixView<const float, Cuda> states, const WatchedRows& rows,
                         Index count, FirstNotFinite* found) {
  constexpr int threads = 256;
  const Index d = states.extent(1);
  if (count == 0 || d == 0) return;
  launch_dependent(execution, "first_not_finite_kernel",
                   {blocks(std::min<Index>((d + 4 * threads - 1) / (4 * threads), 64), count), threads},
                   first_not_finite_kernel<threads>, states.data(), states.stride(0), d, rows, found);
}

/// What `bits` say, but the number of the row.
[[nodiscard]] inline NotFinite not_finite_of(FirstNotFinite bits) {
  const float magnitude = (bits & 2) != 0 ? std::numeric_limits<float>::quiet_NaN() : INFINITY;
  return {static_cast<Index>(bits >> value_bits & ((FirstNotFinite{1} << place_bits) - 1)),
          std::copysign(magnitude, (bits & 1) != 0 ? -1.0f : 1.0f)};
}

/// Waits for the stream.
[[nodiscard]] inline FirstNotFinite read(Execution<Cuda> execution, const Buffer<FirstNotFinite, Cuda>& found) {
  FirstNotFinite bits = 0;
  copy(execution, found.view(), VectorView<FirstNotFinite>(&bits, {1}));
  execution.synchronize();
  return bits;
}

}  // namespace cuda::detail

/// As on the host. Waits for the stream, and allocates.
[[nodiscard]] inline std::optional<NotFinite> first_not_finite(Execution<Cuda> execution,
                                                               VectorView<const float, Cuda> x) {
  detail::check_contiguous_rows("first_not_finite: x", x);
  Buffer<cuda::detail::FirstNotFinite, Cuda> found(1);
  cuda::set_bytes(execution, found.view(), 0xff);
  cuda::detail::look_at_rows(execution, {x.data(), {1, x.size()}}, {}, 1, found.data());
  const cuda::detail::FirstNotFinite bits = cuda::detail::read(execution, found);
  if (bits == cuda::detail::all_finite) return std::nullopt;
  return cuda::detail::not_finite_of(bits);
}

namespace detail {

/// Waits at the end only, once.
template <>
class FiniteWatch<Cuda> {
 public:
  void begin(Execution<Cuda> execution) {
    looked_at_.clear();
    // No memset: in a graph the kernel that follows depends on a kernel, as all that wait for themselves.
    cuda::detail::launch(execution, "begin_watch_kernel", {cuda::detail::blocks(1), 1},
                         cuda::detail::begin_watch_kernel<1>, found_.data());
  }

  [[nodiscard]] std::optional<FoundNotFinite> look(Execution<Cuda> execution, MatrixView<const float, Cuda> states,
                                                   std::span<const WatchedRow> rows, Index layer) {
    for (std::size_t begin = 0; begin < rows.size(); begin += cuda::detail::WatchedRows::room) {
      const std::span<const WatchedRow> some =
          rows.subspan(begin, std::min<std::size_t>(rows.size() - begin, cuda::detail::WatchedRows::room));
      cuda::detail::WatchedRows watched{{}, looked_at_.size()};
      for (std::size_t i = 0; i < some.size(); ++i) {
        watched.rows[i] = some[i].row;
        looked_at_.push_back({layer, some[i].position});
      }
      cuda::detail::look_at_rows(execution, states, watched, std::ssize(some), found_.data());
    }
    return std::nullopt;
  }

  [[nodiscard]] std::optional<FoundNotFinite> end(Execution<Cuda> execution) {
    const cuda::detail::FirstNotFinite bits = cuda::detail::read(execution, found_);
    if (bits == cuda::detail::all_finite) return std::nullopt;
    const LookedAt& where = looked_at_[bits >> (cuda::detail::place_bits + cuda::detail::value_bits)];
    return FoundNotFinite{where.layer, where.position, cuda::detail::not_finite_of(bits)};
  }

  /// What was found, for kernels in the order of the work.
  [[nodiscard]] const cuda::detail::FirstNotFinite* found() const noexcept { return found_.data(); }
  [[nodiscard]] bool all_finite(Execution<Cuda> execution) {
    return cuda::detail::read(execution, found_) == cuda::detail::all_finite;
  }

 private:
  struct LookedAt {
    Index layer;
    Index position;
  };

  std::vector<LookedAt> looked_at_;  // since begin()
  Buffer<cuda::detail::FirstNotFinite, Cuda> found_{1};
};

}  // namespace detail
}  // namespace v0
}  // namespace activation_trace
