// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// The forward pass on a CUDA device, with all of its kernels: minutes for nvcc, so who else needs it declares it
// extern.
#include "activation_trace/cuda/llama.cuh"

template class activation_trace::Llama<activation_trace::Cuda>;
