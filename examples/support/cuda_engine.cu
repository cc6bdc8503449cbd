// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// Our own engine on a CUDA device: a file beside the programs that engine.cpp loads, with CUDA's libraries.
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "activation_trace/cuda/on_host.cuh"
#include "support/checkpoint_model.hpp"
#include "support/loaded_model.hpp"
#include "support/model_settings.hpp"

extern template class activation_trace::Llama<activation_trace::Cuda>;  // llama_cuda.cu

namespace activation_trace::examples {
namespace {

using Json = nlohmann::ordered_json;

/// A number of CUDA's like 13000 in words: 13.0.
std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

/// A device that there is. It is current from here on.
class Device {
 public:
  /// Throws Error naming --device where there is none of this number, or none that this program has code for.
  explicit Device(int number) {
    const std::string option = "--device cuda:" + std::to_string(number) + ": ";
    int count = 0;
    if (const cudaError_t code = cudaGetDeviceCount(&count); code != cudaSuccess || count == 0)
      throw Error(option + "there is no CUDA device (" + cudaGetErrorName(code) + ": " + cudaGetErrorString(code) +
                  "); --device cpu runs on the host");
    if (number >= count) throw Error(option + "there are " + std::to_string(count) + " CUDA devices, numbered from 0");
    cuda::check(cudaSetDevice(number), "cudaSetDevice");
    cuda::check(cudaGetDeviceProperties(&properties_, number), "cudaGetDeviceProperties");
    cuda::check(cudaDriverGetVersion(&driver_), "cudaDriverGetVersion");
    cuda::check(cudaRuntimeGetVersion(&runtime_), "cudaRuntimeGetVersion");
    if (properties_.major < 8)
      throw Error(option + properties_.name + " has compute capability " + capability() + ", and 8.0 is needed");
    if (cuda::detail::attributes_of(Execution<Cuda>{}, cuda::detail::rms_norm_kernel<32>).ptxVersion == 0)
      throw Error(option + "this program has no code for " + properties_.name + ", of compute capability " +
                  capability() + "; CMAKE_CUDA_ARCHITECTURES says for which it is built");
  }

  [[nodiscard]] Json identity() const {
    return {{"name", properties_.name},
            {"compute_capability", capability()},
            {"driver", version_text(driver_)},
            {"runtime", version_text(runtime_)}};
  }

 private:
  [[nodiscard]] std::string capability() const {
    return std::to_string(properties_.major) + "." + std::to_string(properties_.minor);
  }

  cudaDeviceProp properties_{};
  int driver_ = 0;
  int runtime_ = 0;
};

class CudaModel final : public CheckpointModel {
 public:
  explicit CudaModel(const ModelSettings& settings)
      : CheckpointModel(settings), device_(*settings.cuda_device), weights_(execution_, checkpoint().weights) {}

  [[nodiscard]] Json identity() const override {
    Json identity = CheckpointModel::identity();
    identity["device"] = device_.identity();
    return identity;
  }
  [[nodiscard]] std::unique_ptr<AnyModel> run(Index context, Index sequences, Execution<Host>& execution) override {
    return std::make_unique<ModelOf<OnHost<Llama<Cuda>>>>(shape(), context, checkpoint().config, checkpoint().weights,
                                                          weights_.view(), options(context, sequences), execution_,
                                                          execution);
  }

 private:
  Device device_;
  cuda::Stream stream_;
  Execution<Cuda> execution_{stream_};
  cuda::DeviceWeights weights_;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) LoadedModel* activation_trace_load_model(
    const ModelSettings& settings) {
  return new CudaModel(settings);
}

}  // namespace activation_trace::examples
