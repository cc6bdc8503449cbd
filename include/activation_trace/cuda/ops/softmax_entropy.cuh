// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/launch.cuh"
#include "activation_trace/cuda/ops/softmax_mma.cuh"
#include "activation_trace/cuda/ops/softmax_resident.cuh"
#include "activation_trace/cuda/ops/softmax_simt.cuh"
#include "activation_trace/cuda/ops/softmax_wgmma.cuh"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// Which implementation computes the statistics.
enum class SoftmaxKernel {
  automatic,  ///< the fastest that this program was compiled for, and that the device and the matrices allow
  simt,       ///< fp32 on the plain cores: any device, any strides; the exactness anchor
  mma,        ///< tensor cores of sm_80 and later, f32 split in three tf32 products; 16-byte aligned rows
  wgmma,      ///< sm_90a, f16 and bf16 only; 16-byte aligned rows
};

/// What SoftmaxKernel::automatic is for rows of 16-byte multiples on the device of `stream`. A program whose code for
/// an H100 is plain sm_90, not sm_90a, has no wgmma, and is half as fast or slower without a word.
template <class T>
[[nodiscard]] SoftmaxKernel automatic_kernel(Execution<Cuda> stream);

/// For softmax_states() and softmax_entropy().
struct SoftmaxOptions {
  SoftmaxKernel kernel = SoftmaxKernel::automatic;  ///< all give the same to rounding
};

/// Elements of workspace that softmax_states and softmax_entropy need for T positions and V items: 12 bytes
/// per item and split of 128 positions.
[[nodiscard]] inline Index softmax_workspace_size(Index positions, Index vocabulary) {
  return (positions + 127) / 128 * vocabulary;
}

/// Appends the T positions of `hidden` to the state of each vocabulary item: with S = hidden w^T, states[v]
/// joins max, sum and weighted sum over S[., v] (numerics/README.md 1). S is never stored.
///
/// `hidden` [T, d] and `w` [V, d] are of one type, f32, f16 or bf16; products and sums are fp32. `workspace`
/// holds softmax_workspace_size(T, V) elements that mean nothing before or after. Runs in the order of
/// `stream`, does not synchronise, allocates nothing, and can be captured in a graph. The same bits every
/// time for the same kernel. Arguments must not alias. Throws ShapeError, CudaError, and ArgumentError if the
/// kernel that was asked for cannot be used here.
template <class T>
void softmax_states(Execution<Cuda> stream, MatrixView<T, Cuda> hidden,
                    std::type_identity_t<MatrixView<const std::remove_const_t<T>, Cuda>> w,
                    VectorView<SoftmaxState, Cuda> states, VectorView<SoftmaxState, Cuda> workspace,
                    const SoftmaxOptions& options = {});

/// Entropy in nats of softmax(S[., v]) over the T positions, for every item v (processors/README.md 1.1): entropy[v]
/// in [0, log T], NaN for T = 0. Otherwise as softmax_states.
template <class T>
void softmax_entropy(Execution<Cuda> stream, MatrixView<T, Cuda> hidden,
                     std::type_identity_t<MatrixView<const std::remove_const_t<T>, Cuda>> w,
                     VectorView<float, Cuda> entropy, VectorView<SoftmaxState, Cuda> workspace,
                     const SoftmaxOptions& options = {});

/// entropy[i] = states[i].entropy(), on the device.
void entropy(Execution<Cuda> stream, VectorView<const SoftmaxState, Cuda> states, VectorView<float, Cuda> entropy);

namespace detail {

inline void launch_finish(Execution<Cuda> stream, const SoftmaxState* partials, const SoftmaxOutput& out) {
  constexpr int threads = 128;
  launch_dependent(stream, "finish_kernel", {blocks((out.rows + threads - 1) / threads), threads},
                   finish_kernel<threads>, partials, out);
}

/// Runs `launch(out)` with the output split every `tile_t` positions, and joins the splits if there are several.
template <class Launch>
void split_positions(Execution<Cuda> stream, Index positions, Index tile_t, SoftmaxState* workspace, SoftmaxOutput out,
                     Launch&& launch) {
  out.splits = (positions + tile_t - 1) / tile_t;
  out.partials = out.splits > 1 ? workspace : nullptr;
  launch(out);
  if (out.splits > 1) launch_finish(stream, workspace, out);
}

/// Calls `f(std::type_identity<Tuning>{})` for the tuning that fits T and d best, out of those compiled in: the
/// fewest columns in all, a tile's fixed cost counted as 16. At T = 300, two tiles of 160 take 135 us, two of
/// 256 205 (d = 4096, V = 32000, H100). Pairs of blocks that share the tiles of H gain at long d where the card
/// is not held back by its power, and wait for each other at short d: 52.8 against 50.0 us at (512, 576, 49152).
///
/// Rows that fit beside the stages (192 < d <= 640) are for the kernel that keeps them, which hides the fold, in tiles
/// of 128 positions. A column of a panel takes d / 16 clocks of products and about 10 of the fold: what is hidden is
/// 20 to 38 % of the time, and up to 192 positions two tiles are a third or more beyond one of a size that fits.
template <class F>
void visit_tuning(Index positions, Index d, F&& f) {
  using Resident = ResidentTuning<128>;
  if (positions > 192 && Resident::takes(d)) return f(std::type_identity<Resident>{});
  const auto cost = [&](Index tile) { return (positions + tile - 1) / tile * (tile + 16); };
  Index best = 64;
  for (const Index tile : {128, 160, 192, 224, 256})
    if (cost(tile) < cost(best)) best = tile;
  switch (best) {
    case 64: return f(std::type_identity<WgmmaTuning<64, 1, 8, 1>>{});
    case 128: return f(std::type_identity<WgmmaTuning<128, 1, 6, 1>>{});
    case 160: return f(std::type_identity<WgmmaTuning<160, 1, 6, 1>>{});
    case 192: return f(std::type_identity<WgmmaTuning<192, 1, 5, 1>>{});
    case 224: return f(std::type_identity<WgmmaTuning<224, 1, 5, 1>>{});
    default: break;
  }
  if (d < 1024) return f(std::type_identity<WgmmaTuning<256, 1, 4, 1>>{});
  return f(std::type_identity<WgmmaTuning<256, 1, 4, 2>>{});
}

template <class T>
void run_wgmma(Execution<Cuda> stream, int multiprocessors, const MatrixView<const T, Cuda>& hidden,
               const MatrixView<const T, Cuda>& w, SoftmaxState* workspace, const SoftmaxOutput& out) {
  visit_tuning(hidden.extent(0), hidden.extent(1), [&]<class Tuning>(std::type_identity<Tuning>) {
    split_positions(stream, hidden.extent(0), Tuning::tile_t, workspace, out, [&](const SoftmaxOutput& o) {
      if constexpr (std::is_same_v<Tuning, ResidentTuning<Tuning::tile_t>>)
        launch_softmax_resident<T, Tuning>(stream, multiprocessors, hidden, w, o);
      else
        launch_softmax_wgmma<T, Tuning>(stream, multiprocessors, hidden, w, o);
    });
  });
}

template <class T>
[[nodiscard]] bool aligned_rows(const MatrixView<const T, Cuda>& m) {
  return !m.empty() && (m.extent(1) == 1 || m.stride(1) == 1) && m.stride(0) >= 0 &&
         m.stride(0) * static_cast<Index>(sizeof(T)) % 16 == 0 && reinterpret_cast<std::uintptr_t>(m.data()) % 16 == 0;
}

/// Of hidden states and `items` rows of w, of `columns` each.
template <class T>
void check_product(const MatrixView<T, Cuda>& hidden, Index items, Index columns) {
  constexpr Index limit = Index{1} << 30;
  const Index positions = hidden.extent(0);
  if (hidden.extent(1) != columns)
    throw ShapeError("softmax: hidden has " + std::to_string(hidden.extent(1)) + " columns, w has " +
                     std::to_string(columns));
  if (positions > limit || items > limit || columns > limit) throw ShapeError("softmax: an extent is above 2^30");
  // Blocks are counted in 32 bits, those of the plain kernel along the positions in 16; the smallest tiles are 64 x 64.
  if (positions > Index{65535} * simt_split || (positions + 63) / 64 * ((items + 63) / 64) >= Index{1} << 31)
    throw ShapeError("softmax: " + std::to_string(positions) + " positions of " + std::to_string(items) +
                     " items are more than a grid of blocks: call softmax_states for fewer at a time");
}

inline void check_workspace(const VectorView<SoftmaxState, Cuda>& workspace, Index needed) {
  if (workspace.size() < needed || !workspace.contiguous())
    throw ShapeError("softmax: workspace must hold " + std::to_string(needed) + " states, got " +
                     std::to_string(workspace.size()));
}

template <class T>
[[nodiscard]] bool has_kernel(Execution<Cuda> stream, SoftmaxKernel kernel) {
  if constexpr (sizeof(T) == 2)
    if (kernel == SoftmaxKernel::wgmma)
      return compiled_for_device(stream, &softmax_wgmma_kernel<T, WgmmaTuning<64, 1, 8, 1>>);
  return kernel == SoftmaxKernel::mma && compiled_for_device(stream, &softmax_mma_kernel<T, MmaTuning>);
}

template <class T>
void softmax(Execution<Cuda> stream, const MatrixView<const T, Cuda>& hidden, const MatrixView<const T, Cuda>& w,
             const VectorView<SoftmaxState, Cuda>& workspace, const SoftmaxOutput& out, SoftmaxKernel kernel) {
  check_product(hidden, w.extent(0), w.extent(1));
  check_workspace(workspace, softmax_workspace_size(hidden.extent(0), w.extent(0)));
  if (out.rows == 0) return;
  if (hidden.extent(0) == 0) {
    launch_finish(stream, nullptr, out);
    return;
  }

  const bool aligned = aligned_rows(hidden) && aligned_rows(w);
  constexpr bool sixteen_bits = sizeof(T) == 2;
  if constexpr (sixteen_bits) {
    const bool usable =
        aligned && fits_tensor_map(hidden) && fits_tensor_map(w) && has_kernel<T>(stream, SoftmaxKernel::wgmma);
    if (kernel == SoftmaxKernel::wgmma && !usable)
      throw ArgumentError("softmax: the wgmma kernel needs a device and code for sm_90a and rows of 16-byte multiples");
    if (usable && (kernel == SoftmaxKernel::automatic || kernel == SoftmaxKernel::wgmma)) {
      run_wgmma(stream, device_attribute(stream, cudaDevAttrMultiProcessorCount), hidden, w, workspace.data(), out);
      return;
    }
  } else if (kernel == SoftmaxKernel::wgmma) {
    throw ArgumentError("softmax: the wgmma kernel takes f16 and bf16 only");
  }

  const bool usable = aligned && has_kernel<T>(stream, SoftmaxKernel::mma);
  if (kernel == SoftmaxKernel::mma && !usable)
    throw ArgumentError("softmax: the mma kernel needs a device and code for sm_80 and rows of 16-byte multiples");
  if (usable && (kernel == SoftmaxKernel::automatic || kernel == SoftmaxKernel::mma)) {
    split_positions(stream, hidden.extent(0), MmaTuning::tile_t, workspace.data(), out,
                    [&](const SoftmaxOutput& o) { launch_softmax_mma<T, MmaTuning>(stream, hidden, w, o); });
    return;
  }
  split_positions(stream, hidden.extent(0), simt_split, workspace.data(), out,
                  [&](const SoftmaxOutput& o) { launch_softmax_simt<T>(stream, hidden, w, o); });
}

template <class T>
void check_output(const VectorView<T, Cuda>& out, Index rows, const char* name) {
  if (out.size() != rows || !out.contiguous())
    throw ShapeError("softmax: " + std::string(name) + " must be " + std::to_string(rows) +
                     " contiguous elements, got " + std::to_string(out.size()));
}

}  // namespace detail

template <class T>
SoftmaxKernel automatic_kernel(Execution<Cuda> stream) {
  for (const SoftmaxKernel kernel : {SoftmaxKernel::wgmma, SoftmaxKernel::mma})
    if (detail::has_kernel<T>(stream, kernel)) return kernel;
  return SoftmaxKernel::simt;
}

template <class T>
void softmax_states(Execution<Cuda> stream, MatrixView<T, Cuda> hidden,
                    std::type_identity_t<MatrixView<const std::remove_const_t<T>, Cuda>> w,
                    VectorView<SoftmaxState, Cuda> states, VectorView<SoftmaxState, Cuda> workspace,
                    const SoftmaxOptions& options) {
  detail::check_output(states, w.extent(0), "states");
  detail::softmax<std::remove_const_t<T>>(stream, hidden, w, workspace,
                                          {nullptr, 0, w.extent(0), states.data(), nullptr}, options.kernel);
}

template <class T>
void softmax_entropy(Execution<Cuda> stream, MatrixView<T, Cuda> hidden,
                     std::type_identity_t<MatrixView<const std::remove_const_t<T>, Cuda>> w,
                     VectorView<float, Cuda> entropy, VectorView<SoftmaxState, Cuda> workspace,
                     const SoftmaxOptions& options) {
  detail::check_output(entropy, w.extent(0), "entropy");
  detail::softmax<std::remove_const_t<T>>(stream, hidden, w, workspace,
                                          {nullptr, 0, w.extent(0), nullptr, entropy.data()}, options.kernel);
}

inline void entropy(Execution<Cuda> stream, VectorView<const SoftmaxState, Cuda> states,
                    VectorView<float, Cuda> entropy) {
  detail::check_output(entropy, states.size(), "entropy");
  detail::check_output(states, states.size(), "states");
  // The states are the partials of one split: joining them onto nothing gives them back.
  if (!states.empty())
    detail::launch_finish(stream, states.data(), {nullptr, 1, states.size(), nullptr, entropy.data()});
}

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
