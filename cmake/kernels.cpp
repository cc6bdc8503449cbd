// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// The kernels of all tests, examples and benchmarks, compiled once (see kernels.hpp).
#include "activation_trace/ops/kernels/instances.hpp"
