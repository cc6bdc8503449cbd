// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/ops/kernels/kernels.hpp"

#if !defined(ACTIVATION_TRACE_COMPILED_KERNELS)
#error "activation_trace::kernels did not bring its definition along: this file compiles the kernels again"
#endif
