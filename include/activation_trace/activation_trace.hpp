// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Everything for a host compiler. CUDA is never pulled in: include activation_trace/cuda.cuh in .cu files.
#include "activation_trace/model/config.hpp"
#include "activation_trace/model/weights.hpp"
#include "activation_trace/numerics/softmax_state.hpp"
#include "activation_trace/ops/attention.hpp"
#include "activation_trace/ops/isa.hpp"
#include "activation_trace/ops/log_softmax.hpp"
#include "activation_trace/ops/matmul.hpp"
#include "activation_trace/ops/rms_norm.hpp"
#include "activation_trace/ops/rope.hpp"
#include "activation_trace/ops/silu_multiply.hpp"
#include "activation_trace/ops/softmax_entropy.hpp"
#include "activation_trace/ops/thread_pool.hpp"
#include "activation_trace/processors/context_entropy.hpp"
#include "activation_trace/processors/entropy_sharpness.hpp"
#include "activation_trace/processors/entropy_sharpness_batch.hpp"
#include "activation_trace/processors/lm_head.hpp"
#include "activation_trace/processors/relative_top.hpp"
#include "activation_trace/processors/repetition_penalty.hpp"
#include "activation_trace/tensor/buffer.hpp"
#include "activation_trace/tensor/eigen.hpp"
#include "activation_trace/tensor/stored_matrix.hpp"
#include "activation_trace/tensor/view.hpp"
#include "activation_trace/version.hpp"
