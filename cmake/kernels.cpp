// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// The target activation_trace::kernels (see kernels.hpp).
#include "activation_trace/ops/kernels/instances.hpp"
