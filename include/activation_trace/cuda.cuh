// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Everything for nvcc. Host translation units include activation_trace.hpp and never see this.
#include "activation_trace/cuda/allocator.cuh"
#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/device.cuh"
#include "activation_trace/cuda/device_weights.cuh"
#include "activation_trace/cuda/error.cuh"
#include "activation_trace/cuda/execution.cuh"
#include "activation_trace/cuda/graph.cuh"
#include "activation_trace/cuda/ops/attention.cuh"
#include "activation_trace/cuda/ops/elements.cuh"
#include "activation_trace/cuda/ops/first_not_finite.cuh"
#include "activation_trace/cuda/ops/gather.cuh"
#include "activation_trace/cuda/ops/lm_head_logits.cuh"
#include "activation_trace/cuda/ops/matmul.cuh"
#include "activation_trace/cuda/ops/rms_norm.cuh"
#include "activation_trace/cuda/ops/rope.cuh"
#include "activation_trace/cuda/ops/softmax_candidates.cuh"
#include "activation_trace/cuda/ops/softmax_entropy.cuh"
#include "activation_trace/cuda/processors/contrastive.cuh"
#include "activation_trace/cuda/processors/dola.cuh"
#include "activation_trace/cuda/processors/entropy_sharpness.cuh"
#include "activation_trace/cuda/processors/entropy_sharpness_batch.cuh"
#include "activation_trace/cuda/stream.cuh"
