// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// The rest of the target activation_trace::kernels: the long bodies that are no templates, and the forward pass.
#define ACTIVATION_TRACE_BODIES 1
#include "activation_trace/activation_trace.hpp"
#include "activation_trace/text/csv.hpp"
#include "activation_trace/text/lower_case.hpp"

template class activation_trace::Llama<activation_trace::Host>;
