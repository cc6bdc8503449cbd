// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include <string_view>

#include "activation_trace/ops/kernels/kernels.hpp"
#include "activation_trace/version.hpp"

#if !defined(ACTIVATION_TRACE_COMPILED_KERNELS)
#error "activation_trace::kernels did not bring its definition along: this file compiles the kernels again"
#endif

static_assert(std::string_view(ACTIVATION_TRACE_VERSION_STRING) == PACKAGE_VERSION);
#if ACTIVATION_TRACE_VERSION != PACKAGE_NUMBER || ACTIVATION_TRACE_VERSION < 200
#error "the version of the headers is not that of the package"
#endif
