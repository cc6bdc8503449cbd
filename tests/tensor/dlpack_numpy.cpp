// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// What dlpack_numpy.py calls: NumPy's and PyTorch's tensors come in, ours go out.
#include <array>
#include <cstring>
#include <exception>
#include <span>

#include "activation_trace/tensor/buffer.hpp"
#include "activation_trace/tensor/dlpack.hpp"
#include "support/dlpack.hpp"

using namespace activation_trace;

namespace {

thread_local std::array<char, 256> error;
int alive = 0;

/// Counts the tensors whose deleter was not called.
struct Counted {
  Buffer<float> buffer;
  explicit Counted(Index size) : buffer(size) { ++alive; }
  Counted(Counted&& other) noexcept : buffer(std::move(other.buffer)) { ++alive; }
  ~Counted() { --alive; }
};

template <class M>
int read(const M* managed, float* out) try {
  const MatrixView<const float> view = as_view<const float, 2>(*managed);
  for (Index i = 0; i < view.extent(0); ++i)
    for (Index j = 0; j < view.extent(1); ++j) *out++ = view(i, j);
  return 0;
} catch (const std::exception& e) {
  std::strncpy(error.data(), e.what(), error.size() - 1);
  return 1;
}

template <class M>
int write(const M* managed, float value) try {
  as_view<float, 2> (*managed)(0, 0) = value;
  return 0;
} catch (const std::exception& e) {
  std::strncpy(error.data(), e.what(), error.size() - 1);
  return 1;
}

/// [rows, cols], element (i, j) is 10 i + j; transposed as it goes out.
template <class M>
M* make(int rows, int cols) {
  Counted counted(Index{rows} * cols);
  const MatrixView<float> matrix = counted.buffer.matrix(rows, cols);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < cols; ++j) matrix(i, j) = static_cast<float>(10 * i + j);
  return as_dlpack<M>(matrix.transposed(), std::move(counted)).release();
}

}  // namespace

extern "C" {
const char* last_error() { return error.data(); }
int tensors_alive() { return alive; }
int read_dltensor(const DLManagedTensor* managed, float* out) { return read(managed, out); }
int read_dltensor_versioned(const DLManagedTensorVersioned* managed, float* out) { return read(managed, out); }
int write_dltensor(const DLManagedTensor* managed, float value) { return write(managed, value); }
int write_dltensor_versioned(const DLManagedTensorVersioned* managed, float value) { return write(managed, value); }
DLManagedTensor* make_dltensor(int rows, int cols) { return make<DLManagedTensor>(rows, cols); }
DLManagedTensorVersioned* make_dltensor_versioned(int rows, int cols) {
  return make<DLManagedTensorVersioned>(rows, cols);
}
}
