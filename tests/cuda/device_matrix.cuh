// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/device_weights.cuh"

namespace activation_trace::test {

/// A matrix of the host, in device memory.
class DeviceMatrix {
 public:
  DeviceMatrix(Execution<Cuda> execution, const StoredMatrix<>& m)
      : memory_(m.rows() * cuda::detail::device_row_bytes(m) + 256) {
    cuda::detail::Placement placement(memory_.data());
    view_ = cuda::detail::upload(execution, m, placement);
  }
  [[nodiscard]] const StoredMatrix<Cuda>& view() const { return view_; }

 private:
  Buffer<std::byte, Cuda> memory_;
  StoredMatrix<Cuda> view_;
};

}  // namespace activation_trace::test
