// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/cuda/communicator.cuh"

// The part of NCCL that the library calls, for devices on the CPU, as strict as its documentation allows: one thread
// that calls for several ranks does it within a group, nothing is queued before the group ends, and all ranks of a
// communicator must have called for as many elements. Sums are in the order of the ranks.
enum ncclResult_t { ncclSuccess = 0, ncclUnhandledCudaError = 1, ncclInvalidArgument = 4, ncclInvalidUsage = 5 };
enum ncclDataType_t { ncclFloat32 = 7 };
enum ncclRedOp_t { ncclSum = 0 };

namespace nccl_on_cpu {

struct Call {
  int rank;
  const void* from;
  void* to;
  std::size_t count;
  cudaStream_t stream;
};
/// All ranks of a communicator.
struct Clique {
  std::vector<int> devices;
  std::vector<Call> calls;  // of the open group
  std::vector<cudaStream_t> streams;
  std::unique_ptr<activation_trace::cuda::PeerCommunicator> sums;  // over those
};

inline int communicators = 0;                         ///< that there are
inline int groups = 0;                                ///< that were queued
inline ncclResult_t next_communicator = ncclSuccess;  ///< what the next ncclCommInitAll says
inline int open_groups = 0;
inline std::set<Clique*> called;  ///< in the open group

/// What a group asks of a communicator.
inline ncclResult_t queue(Clique& clique) {
  const std::vector<Call> calls = std::exchange(clique.calls, {});
  if (calls.size() != clique.devices.size()) return ncclInvalidUsage;  // the device would wait for ever
  std::vector<activation_trace::VectorView<float, activation_trace::Cuda>> x(calls.size());
  std::vector<cudaStream_t> streams(calls.size(), nullptr);
  for (const Call& call : calls) {
    int device = -1;
    if (cudaStreamGetDevice(call.stream, &device) != cudaSuccess ||
        device != clique.devices[static_cast<std::size_t>(call.rank)])
      return ncclInvalidUsage;
    if (call.from != call.to || call.count != calls.front().count || !x[static_cast<std::size_t>(call.rank)].empty())
      return ncclInvalidArgument;
    x[static_cast<std::size_t>(call.rank)] = {static_cast<float*>(call.to), {static_cast<std::ptrdiff_t>(call.count)}};
    streams[static_cast<std::size_t>(call.rank)] = call.stream;
  }
  if (streams != clique.streams) {
    clique.streams = streams;
    clique.sums = std::make_unique<activation_trace::cuda::PeerCommunicator>(
        std::vector<activation_trace::Execution<activation_trace::Cuda>>(streams.begin(), streams.end()));
  }
  clique.sums->all_reduce(x);
  ++groups;
  return ncclSuccess;
}

}  // namespace nccl_on_cpu

struct ncclComm {
  std::shared_ptr<nccl_on_cpu::Clique> clique;
  int rank;
};
using ncclComm_t = ncclComm*;

inline ncclResult_t ncclCommInitAll(ncclComm_t* made, int count, const int* devices) {
  if (const ncclResult_t code = std::exchange(nccl_on_cpu::next_communicator, ncclSuccess); code != ncclSuccess)
    return code;
  const std::vector<int> all(devices, devices + count);
  if (std::set<int>(all.begin(), all.end()).size() != all.size()) return ncclInvalidUsage;
  const auto clique = std::make_shared<nccl_on_cpu::Clique>();
  clique->devices = all;
  for (int rank = 0; rank < count; ++rank) made[rank] = new ncclComm{clique, rank};
  nccl_on_cpu::communicators += count;
  return ncclSuccess;
}
inline ncclResult_t ncclCommDestroy(ncclComm_t communicator) {
  delete communicator;
  --nccl_on_cpu::communicators;
  return ncclSuccess;
}
inline ncclResult_t ncclGroupStart() {
  ++nccl_on_cpu::open_groups;
  return ncclSuccess;
}
inline ncclResult_t ncclGroupEnd() {
  if (nccl_on_cpu::open_groups == 0) return ncclInvalidUsage;
  if (--nccl_on_cpu::open_groups > 0) return ncclSuccess;
  ncclResult_t result = ncclSuccess;
  for (nccl_on_cpu::Clique* const clique : std::exchange(nccl_on_cpu::called, {}))
    if (const ncclResult_t code = nccl_on_cpu::queue(*clique); code != ncclSuccess) result = code;
  return result;
}
inline ncclResult_t ncclAllReduce(const void* from, void* to, std::size_t count, ncclDataType_t type, ncclRedOp_t op,
                                  ncclComm_t communicator, cudaStream_t stream) {
  if (type != ncclFloat32 || op != ncclSum || from == nullptr || to == nullptr) return ncclInvalidArgument;
  if (nccl_on_cpu::open_groups == 0) return ncclInvalidUsage;
  communicator->clique->calls.push_back({communicator->rank, from, to, count, stream});
  nccl_on_cpu::called.insert(communicator->clique.get());
  return ncclSuccess;
}
inline const char* ncclGetErrorString(ncclResult_t code) {
  return code == ncclInvalidUsage         ? "invalid usage"
         : code == ncclUnhandledCudaError ? "unhandled cuda error"
                                          : "invalid argument";
}
inline const char* ncclGetLastError(ncclComm_t) { return "on the CPU"; }
