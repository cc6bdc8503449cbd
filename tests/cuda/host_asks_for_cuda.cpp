// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// Must not compile: see CMakeLists.txt.
#include "activation_trace/tensor/buffer.hpp"

activation_trace::Buffer<float, activation_trace::Cuda> buffer(4);
