// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// The kernels of the target activation_trace::kernels (see ACTIVATION_TRACE_COMPILED_KERNELS in config.hpp).
#include "activation_trace/ops/kernels/kernels.hpp"
//
#include "activation_trace/ops/kernels/instances.inl"
