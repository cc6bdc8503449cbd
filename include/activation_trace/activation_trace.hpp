// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Everything for a host compiler. CUDA is never pulled in: include activation_trace/cuda.cuh in .cu files.
#include "activation_trace/model/config.hpp"
#include "activation_trace/model/weights.hpp"
#include "activation_trace/tensor/buffer.hpp"
#include "activation_trace/tensor/eigen.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"
#include "activation_trace/tensor/view.hpp"
#include "activation_trace/version.hpp"
