// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Llama<Cuda>: model/llama.hpp with the ops of a device (model/README.md 3).
//
//     cuda::DeviceWeights weights(execution, checkpoint.weights);
//     Llama model(checkpoint.config, weights.view(), options, execution);
//
// Its memory is of the device that is current when it is made, which must be the execution's (cuda::DeviceGuard). Calls
// wait for the device once, at their end, where they say whether all was finite: observers are called before that.
#include "activation_trace/cuda/crossing.cuh"
#include "activation_trace/cuda/device_weights.cuh"
#include "activation_trace/cuda/llama_steps.cuh"
#include "activation_trace/cuda/ops/attention.cuh"
#include "activation_trace/cuda/ops/elements.cuh"
#include "activation_trace/cuda/ops/first_not_finite.cuh"
#include "activation_trace/cuda/ops/gather.cuh"
#include "activation_trace/cuda/ops/matmul.cuh"
#include "activation_trace/cuda/ops/rms_norm.cuh"
#include "activation_trace/cuda/ops/rope.cuh"
#include "activation_trace/model/llama.hpp"
