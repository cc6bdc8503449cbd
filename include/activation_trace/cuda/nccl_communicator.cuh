// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nccl.h>

#include <algorithm>
#include <memory>
#include <source_location>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "activation_trace/cuda/communicator.cuh"
#include "activation_trace/cuda/stream.cuh"

// Sums by NCCL: the only header that needs it. CMake's target activation_trace::nccl has its header and its library.
namespace activation_trace {
inline namespace v0 {
namespace cuda {

namespace detail {

/// Throws CudaError with NCCL's own words unless `code` is ncclSuccess.
inline void check_nccl(ncclResult_t code, const char* call, ncclComm_t communicator = nullptr,
                       const std::source_location& location = std::source_location::current()) {
  if (code == ncclSuccess) return;
  const char* const last = ncclGetLastError(communicator);
  std::string text = ncclGetErrorString(code);
  if (last != nullptr && *last != '\0') text += std::string(" (") + last + ")";
  throw CudaError(text, call, location);
}

/// Calls of NCCL for several devices by one thread are a group, which is queued as a whole at its end.
template <class Calls>
void in_nccl_group(const Calls& calls) {
  check_nccl(ncclGroupStart(), "ncclGroupStart");
  try {
    calls();
  } catch (...) {
    ncclGroupEnd();
    throw;
  }
  check_nccl(ncclGroupEnd(), "ncclGroupEnd");
}

}  // namespace detail

/// A Communicator by NCCL's ncclAllReduce, in one process. In which order it adds is NCCL's choice, by the number of
/// elements, the ranks and the machine: all ranks get the same bits, but a row's may be others in a batch than alone.
class NcclCommunicator {
 public:
  /// Over these streams, one of each device. Throws ArgumentError for two of one device, and for none, CudaError, also
  /// for NCCL's errors.
  explicit NcclCommunicator(std::vector<Execution<Cuda>> ranks) : ranks_(std::move(ranks)) {
    detail::check_ranks_have_devices(ranks_);
    std::vector<int> devices;
    for (const Execution<Cuda>& rank : ranks_) devices.push_back(rank.device());
    std::vector<ncclComm_t> made(ranks_.size(), nullptr);
    communicators_.reserve(ranks_.size());
    detail::check_nccl(ncclCommInitAll(made.data(), static_cast<int>(devices.size()), devices.data()),
                       "ncclCommInitAll");
    for (const ncclComm_t communicator : made) communicators_.emplace_back(communicator);
  }

  /// As given to the constructor.
  [[nodiscard]] std::span<const Execution<Cuda>> ranks() const noexcept { return ranks_; }
  /// As Communicator has it.
  void all_reduce(std::span<const VectorView<float, Cuda>> x) {
    detail::check_all_reduce(x, ranks_.size());
    if (x.front().size() == 0 || ranks_.size() == 1) return;
    detail::in_nccl_group([&] {
      for (std::size_t r = 0; r < ranks_.size(); ++r) {
        const DeviceGuard guard(ranks_[r].device());
        const ncclComm_t communicator = communicators_[r].get();
        detail::check_nccl(ncclAllReduce(x[r].data(), x[r].data(), static_cast<std::size_t>(x[r].size()), ncclFloat32,
                                         ncclSum, communicator, ranks_[r].get()),
                           "ncclAllReduce", communicator);
      }
    });
  }

 private:
  struct Destroy {
    void operator()(ncclComm_t communicator) const noexcept { ncclCommDestroy(communicator); }
  };
  using Owned = std::unique_ptr<std::remove_pointer_t<ncclComm_t>, Destroy>;

  std::vector<Execution<Cuda>> ranks_;
  std::vector<Owned> communicators_;  // of each rank
};

static_assert(Communicator<NcclCommunicator>);

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
