// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/ops/elements.cuh"
#include "activation_trace/cuda/stream.cuh"
#include "activation_trace/error.hpp"
#include "activation_trace/model/llama_ranks.hpp"
#include "activation_trace/ops/check.hpp"

// What the ranks of tensor parallelism need of each other: sums over devices of one process.
namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// Sums over ranks, each a stream of a device of its own.
template <class C>
concept Communicator = requires(C& communicator, const C& seen, std::span<const VectorView<float, Cuda>> x) {
  { seen.ranks() } -> std::convertible_to<std::span<const Execution<Cuda>>>;  // the streams
  // Each of x, one of every rank, becomes the sum of all, the same bits on every device. Queued in the order of the
  // ranks' streams, the host waits for nothing. Throws ArgumentError for another number of x than ranks, ShapeError for
  // gaps and different sizes, CudaError.
  communicator.all_reduce(x);
};

/// What a Llama of ranks sums by. It and its copies own the communicator.
template <Communicator C>
[[nodiscard]] AllReduce<Cuda> all_reduce_of(std::shared_ptr<C> communicator) {
  return [communicator = std::move(communicator)](std::span<const VectorView<float, Cuda>> x) {
    communicator->all_reduce(x);
  };
}

namespace detail {

/// Throws as Communicator::all_reduce.
inline void check_all_reduce(std::span<const VectorView<float, Cuda>> x, std::size_t ranks) {
  if (x.size() != ranks)
    throw ArgumentError("all_reduce: expected a vector of each of " + std::to_string(ranks) + " ranks, got " +
                        std::to_string(x.size()));
  for (const VectorView<float, Cuda>& part : x) {
    activation_trace::detail::check_contiguous_rows("all_reduce: x", part);
    activation_trace::detail::check_extent("all_reduce: length of x", part.size(), x.front().size());
  }
}

/// Throws ArgumentError for no ranks, and for two on one device.
inline void check_ranks_have_devices(std::span<const Execution<Cuda>> ranks) {
  if (ranks.empty()) throw ArgumentError("Communicator: expected a rank or more, got none");
  for (std::size_t r = 0; r < ranks.size(); ++r)
    for (std::size_t s = 0; s < r; ++s)
      if (ranks[r].device() == ranks[s].device())
        throw ArgumentError("Communicator: expected ranks on devices of their own, got " + std::to_string(s) + " and " +
                            std::to_string(r) + " on CUDA device " + std::to_string(ranks[r].device()));
}

/// x of rank `own` <- the sum over all in their order, where the others' lie one after another.
struct SummedInOrder {
  float* x;
  const float* others;
  Index size;
  int own;
  int ranks;
  __device__ void operator()(Index, Index i) const {
    float sum = own == 0 ? x[i] : others[i];
    for (int r = 1; r < ranks; ++r) sum += r == own ? x[i] : others[(r < own ? r : r - 1) * size + i];
    x[i] = sum;
  }
};

/// Lets kernels and copies of a device reach the memory of another directly, where the machine can.
inline void enable_peer_access(int device, int other) {
  int possible = 0;
  check(cudaDeviceCanAccessPeer(&possible, device, other), "cudaDeviceCanAccessPeer");
  if (possible == 0) return;  // copies go by the host's memory
  const DeviceGuard guard(device);
  const cudaError_t code = cudaDeviceEnablePeerAccess(other, 0);
  if (code == cudaErrorPeerAccessAlreadyEnabled || code == cudaErrorTooManyPeers)  // as many as a device can have
    cudaGetLastError();
  else
    check(code, "cudaDeviceEnablePeerAccess");
}

}  // namespace detail

/// A Communicator that needs no library: every rank copies what the others have, and adds in the order of the ranks, so
/// a sum's bits depend on nothing but what is summed. Each rank reads (ranks - 1) n floats for n: least for two, and
/// for a token or a few, whose cost is the latency of a copy and a kernel. What was copied lies in scratch memory.
class PeerCommunicator {
 public:
  /// Over these streams, one of each device. Throws ArgumentError for two of one device, and for none, CudaError.
  explicit PeerCommunicator(std::vector<Execution<Cuda>> ranks) : ranks_(std::move(ranks)) {
    detail::check_ranks_have_devices(ranks_);
    for (const Execution<Cuda>& rank : ranks_) {
      there_.emplace_back(rank);
      read_.emplace_back(rank);
      for (const Execution<Cuda>& other : ranks_)
        if (other.device() != rank.device()) detail::enable_peer_access(rank.device(), other.device());
    }
  }

  /// As given to the constructor.
  [[nodiscard]] std::span<const Execution<Cuda>> ranks() const noexcept { return ranks_; }
  /// As Communicator has it.
  void all_reduce(std::span<const VectorView<float, Cuda>> x) {
    detail::check_all_reduce(x, ranks_.size());
    const Index size = x.front().size();
    if (size == 0 || ranks_.size() == 1) return;
    for (std::size_t r = 0; r < ranks_.size(); ++r) there_[r].record(ranks_[r]);
    std::vector<const float*> read;
    for (std::size_t r = 0; r < ranks_.size(); ++r) read.push_back(read_others(r, x));
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      hold_others(read_, r);  // all have read what is written now
      detail::each_element(
          ranks_[r], 1, size,
          detail::SummedInOrder{x[r].data(), read[r], size, static_cast<int>(r), static_cast<int>(ranks_.size())});
    }
  }

 private:
  /// What rank r is asked from now on waits for the other ranks' events.
  void hold_others(const std::vector<Event>& events, std::size_t r) const {
    for (std::size_t s = 0; s < ranks_.size(); ++s)
      if (s != r) events[s].hold(ranks_[r]);
  }

  /// Where rank r has copies of the others' x.
  const float* read_others(std::size_t r, std::span<const VectorView<float, Cuda>> x) {
    const Execution<Cuda>& here = ranks_[r];
    const Index size = x[r].size();
    const VectorView<float, Cuda> copies = here.scratch<float>(static_cast<Index>(ranks_.size() - 1) * size);
    hold_others(there_, r);
    for (std::size_t s = 0, place = 0; s < ranks_.size(); ++s) {
      if (s == r) continue;
      const Index begin = static_cast<Index>(place++) * size;
      copy_peer(here, VectorView<const float, Cuda>(x[s]), ranks_[s].device(), copies.slice(0, begin, begin + size),
                here.device());
    }
    read_[r].record(here);
    return copies.data();
  }

  std::vector<Execution<Cuda>> ranks_;
  std::vector<Event> there_;  // of each rank: what it has to give is there
  std::vector<Event> read_;   // it has read what the others had
};

static_assert(Communicator<PeerCommunicator>);

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
