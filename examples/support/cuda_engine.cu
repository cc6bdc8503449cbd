// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// Our own engine on a CUDA device: a file beside the programs that engine.cpp loads, with CUDA's libraries.
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "activation_trace/cuda/on_host.cuh"
#include "support/checkpoint_model.hpp"
#include "support/gpu_layers.hpp"
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

/// The stream of a device that a model is on.
class DeviceStream {
 public:
  explicit DeviceStream(int number) : device_(number) {}

  [[nodiscard]] const Device& device() const { return device_; }
  [[nodiscard]] Execution<Cuda>& execution() { return execution_; }
  /// Bytes that are free, in GiB no more than `limit`, if that is not 0.
  [[nodiscard]] double room(double limit) const {
    const cuda::DeviceGuard guard(execution_.device());
    std::size_t free = 0, total = 0;
    cuda::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    return std::min(static_cast<double>(free), limit > 0 ? limit * 0x1p30 : static_cast<double>(free));
  }

 private:
  Device device_;
  cuda::Stream stream_;
  Execution<Cuda> execution_{stream_};
};

class CudaModel final : public CheckpointModel {
 public:
  explicit CudaModel(const ModelSettings& settings)
      : CheckpointModel(settings),
        devices_(streams(settings)),
        places_(share(settings)),
        weights_(places_, checkpoint().weights) {}

  [[nodiscard]] Json identity() const override {
    Json identity = CheckpointModel::identity();
    identity["device"] = devices_.front()->device().identity();
    if (places_.size() > 1)
      for (const LlamaPlace<Cuda>& place : places_) identity["blocks_end"].push_back(place.end);
    return identity;
  }
  [[nodiscard]] std::unique_ptr<AnyModel> run(Index context, Index sequences, Execution<Host>& execution) override {
    return std::make_unique<ModelOf<OnHost<Llama<Cuda>>>>(shape(), context, checkpoint().config, checkpoint().weights,
                                                          weights_.view(), options(context, sequences), places_,
                                                          execution);
  }

 private:
  using Devices = std::vector<std::unique_ptr<DeviceStream>>;

  static Devices streams(const ModelSettings& settings) {
    Devices devices;
    for (Index i = 0; i < settings.llama_cpp.gpus.value_or(1); ++i)
      devices.push_back(std::make_unique<DeviceStream>(*settings.cuda_device + static_cast<int>(i)));
    return devices;
  }

  /// Blocks by free memory. Throws Error with the sums where they do not fit.
  [[nodiscard]] std::vector<LlamaPlace<Cuda>> share(const ModelSettings& settings) const {
    if (devices_.size() == 1 && settings.llama_cpp.gpu_memory == 0)  // which says itself what does not fit
      return {{&devices_.front()->execution(), shape().layers}};
    const std::vector<double> blocks =
        cuda::DeviceWeights::block_bytes(devices_.front()->execution(), checkpoint().weights);
    std::vector<double> room;
    for (const auto& device : devices_) room.push_back(device->room(settings.llama_cpp.gpu_memory));
    const std::optional<std::vector<Index>> ends = share_layers(blocks, room);
    if (!ends) {
      std::string sums;
      for (std::size_t i = 0; i < room.size(); ++i)
        sums += (i == 0 ? "" : ", ") + cuda::detail::mebibytes(room[i]) + " (device " +
                std::to_string(*settings.cuda_device + static_cast<int>(i)) + ")";
      const double all = std::accumulate(blocks.begin(), blocks.end(), 0.0);
      throw Error(settings.path + ": the weights take " + cuda::detail::mebibytes(all) +
                  " in whole blocks, and CUDA devices have room for " + sums +
                  "; --num-gpus and --max_gpu_memory say how much");
    }
    std::vector<LlamaPlace<Cuda>> places;
    for (std::size_t i = 0; i < ends->size(); ++i)
      if ((*ends)[i] > (places.empty() ? 0 : places.back().end))
        places.push_back({&devices_[i]->execution(), (*ends)[i]});
    return places;
  }

  Devices devices_;
  std::vector<LlamaPlace<Cuda>> places_;
  cuda::DeviceWeights weights_;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) LoadedModel* activation_trace_load_model(
    const ModelSettings& settings) {
  return new CudaModel(settings);
}

}  // namespace activation_trace::examples
