// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/ops/arithmetic.hpp"
#include "activation_trace/tensor/dtype.hpp"
#include "activation_trace/text/enum_names.hpp"
#include "activation_trace/text/mapped_file.hpp"

// What engines are told. Of the command line nothing else is known to them.
namespace activation_trace::examples {

/// What runs a model.
enum class EngineName { own, llama_cpp };

/// How our own engine shares a model out over GPUs: its blocks, or each block's work, summed by us or by NCCL.
enum class SplitMode { layer, tensor, tensor_nccl };

}  // namespace activation_trace::examples

template <>
struct activation_trace::EnumNames<activation_trace::examples::EngineName> {
  using Name = activation_trace::examples::EngineName;
  static constexpr std::pair<Name, std::string_view> all[] = {{Name::own, "own"}, {Name::llama_cpp, "llama.cpp"}};
};

template <>
struct activation_trace::EnumNames<activation_trace::examples::SplitMode> {
  using Mode = activation_trace::examples::SplitMode;
  static constexpr std::pair<Mode, std::string_view> all[] = {
      {Mode::layer, "layer"}, {Mode::tensor, "tensor"}, {Mode::tensor_nccl, "tensor-nccl"}};
};

namespace activation_trace::examples {

/// What llama.cpp has beside the model, in its words and defaults.
struct LlamaCppSettings {
  std::optional<Index> gpu_layers;   ///< the last ones, of N and the LM head; none: all
  std::optional<Index> gpus;         ///< the first ones that it sees; none: all
  std::vector<double> tensor_split;  ///< of GPUs, in proportion; empty: by their free memory
  double gpu_memory = 0;             ///< GiB of each GPU that weights may have; 0: all
  std::vector<std::string> rpc;      ///< servers, host:port
  std::string cache_type_k = "f16";  ///< a type of ggml's
  std::string cache_type_v = "f16";  ///< the same
  bool flash_attention = false;      ///< another order of sums
};

/// A model and how to run it.
struct ModelSettings {
  std::string path;
  Index context = 0;  ///< 0: as much as prompt and answer need
  Index batch = 512;
  int threads = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 1024u));
  FileAccess access = FileAccess::map;
  bool quiet = false;
  EngineName engine = EngineName::own;
  std::optional<int> cuda_device;             ///< that our own engine runs on; none: the host
  SplitMode split = SplitMode::layer;         ///< of our own engine over several of them
  Arithmetic arithmetic = Arithmetic::exact;  ///< of our own engine
  DType cache = DType::f32;                   ///< of our own engine: the same flags as llama.cpp's
  LlamaCppSettings llama_cpp;
};

}  // namespace activation_trace::examples
