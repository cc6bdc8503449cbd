// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// Our own engine on a CUDA device: a file beside the programs that engine.cpp loads, with CUDA's libraries.
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "activation_trace/cuda/on_host.cuh"
#include "activation_trace/cuda/sharded_weights.cuh"
#include "support/checkpoint_model.hpp"
#include "support/gpu_layers.hpp"
#include "support/loaded_model.hpp"
#include "support/model_settings.hpp"
#include "support/nccl_sums.cuh"

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
  /// Bytes that are free.
  [[nodiscard]] double free() const {
    const cuda::DeviceGuard guard(execution_.device());
    std::size_t free = 0, total = 0;
    cuda::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    return static_cast<double>(free);
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
        path_(settings.path),
        weight_limit_(settings.llama_cpp.gpu_memory > 0 ? settings.llama_cpp.gpu_memory * 0x1p30
                                                        : std::numeric_limits<double>::infinity()),
        split_(settings.split),
        devices_(streams(settings)) {}

  /// Where which block lies is not in it: it depends on what is free, and no bit on it. On ranks bits depend.
  [[nodiscard]] Json identity() const override {
    Json identity = CheckpointModel::identity();
    identity["device"] = devices_.front()->device().identity();
    for (std::size_t i = 1; i < devices_.size(); ++i)
      identity["more_devices"].push_back(devices_[i]->device().identity());
    if (split_ != SplitMode::layer) identity["split_mode"] = name(split_);
    return identity;
  }
  [[nodiscard]] std::unique_ptr<AnyModel> run(Index context, Index sequences, Execution<Host>& execution) override {
    const LlamaOptions memory = options(context, sequences);
    if (split_ != SplitMode::layer) return run_ranks(context, memory, execution);
    const std::vector<LlamaPlace<Cuda>> places = share(memory);
    if (!weights_ || !std::ranges::equal(places, places_, {}, &LlamaPlace<Cuda>::end, &LlamaPlace<Cuda>::end)) {
      weights_.reset();  // never twice
      places_ = places;
      weights_.emplace(places_, checkpoint().weights);
    }
    return std::make_unique<ModelOf<OnHost<Llama<Cuda>>>>(shape(), context, checkpoint().config, checkpoint().weights,
                                                          weights_->view(), memory, places_, execution);
  }

 private:
  using Devices = std::vector<std::unique_ptr<DeviceStream>>;

  /// What is left for the scratch memory of ops, early exits and what CUDA takes as it goes.
  static constexpr double spare = 32 * 0x1p20;

  static Devices streams(const ModelSettings& settings) {
    Devices devices;
    for (Index i = 0; i < settings.llama_cpp.gpus.value_or(1); ++i)
      devices.push_back(std::make_unique<DeviceStream>(*settings.cuda_device + static_cast<int>(i)));
    return devices;
  }

  /// Bytes of a device that weights and caches may have, if the weights that are there go.
  [[nodiscard]] double free(DeviceStream& device) const {
    double bytes = device.free();
    for (std::size_t p = 0; p < places_.size() && weights_; ++p)
      if (places_[p].execution == &device.execution()) bytes += static_cast<double>(weights_->bytes(p));
    for (std::size_t r = 0; r < devices_.size() && shares_; ++r)
      if (devices_[r].get() == &device) bytes += static_cast<double>(shares_->bytes(r));
    return bytes;
  }

  /// A rank on each device, whose weights stay.
  [[nodiscard]] std::unique_ptr<AnyModel> run_ranks(Index context, const LlamaOptions& memory,
                                                    Execution<Host>& execution) {
    check_room(memory);
    if (!shares_) {
      std::vector<Execution<Cuda>> ranks;
      for (const auto& device : devices_) ranks.push_back(device->execution());
      all_reduce_ = split_ == SplitMode::tensor_nccl
                        ? nccl_sums(ranks)
                        : cuda::all_reduce_of(std::make_shared<cuda::PeerCommunicator>(ranks));
      shares_.emplace(std::move(ranks), checkpoint().config, checkpoint().weights);
    }
    return std::make_unique<ModelOf<OnHost<Llama<Cuda>>>>(shape(), context, checkpoint().config, checkpoint().weights,
                                                          shares_->ranks(all_reduce_), memory, execution);
  }

  /// Throws Error with the sums where a rank's share has no room on its device.
  void check_room(const LlamaOptions& options) const {
    using cuda::detail::mebibytes;
    const LlamaConfig& config = checkpoint().config;
    const std::vector<LlamaWeights<>> shares = shard_weights(config, checkpoint().weights, std::ssize(devices_));
    // What the others have is copied to be summed.
    const double copies = static_cast<double>(devices_.size() - 1) * sizeof(float) *
                          static_cast<double>(options.max_rows()) * static_cast<double>(config.hidden);
    std::string taken;
    bool fits = true;
    for (std::size_t r = 0; r < devices_.size(); ++r) {
      const LlamaConfig share = activation_trace::detail::rank_config(config, shares[r]);
      const double weights = cuda::DeviceWeights::bytes_of(devices_[r]->execution(), shares[r]);
      const double rest = llama_memory(share, options) + copies;
      fits = fits && weights <= weight_limit_ && weights + rest + spare <= free(*devices_[r]);
      taken += (taken.empty() ? "" : ", ") + mebibytes(weights) + " and " + mebibytes(rest);
    }
    if (!fits)
      throw Error(path_ + ": shared out over " + std::to_string(devices_.size()) + " devices the weights, and " +
                  std::to_string(options.sequences) + " x " + std::to_string(options.max_context) +
                  " positions with a batch, take " + taken + ", with " + mebibytes(spare) + " to spare each; " +
                  there());
  }

  /// Blocks, with their keys and values, by free memory. Throws Error with the sums where they do not fit.
  [[nodiscard]] std::vector<LlamaPlace<Cuda>> share(const LlamaOptions& options) const {
    if (devices_.size() == 1 && std::isinf(weight_limit_))  // which says itself what does not fit
      return {{&devices_.front()->execution(), shape().layers}};
    const LlamaMemory memory = llama_memory_by_use(checkpoint().config, options);
    const std::vector<double> weights =
        cuda::DeviceWeights::block_bytes(devices_.front()->execution(), checkpoint().weights);
    std::vector<double> blocks = weights;
    for (double& bytes : blocks) bytes += memory.block;
    blocks.back() += memory.logits;
    std::vector<double> room;
    for (const auto& device : devices_)
      room.push_back(free(*device) - spare - memory.batch - (room.empty() ? 0 : memory.brought));
    const std::optional<std::vector<Index>> ends = share_layers(blocks, room, weights, weight_limit_);
    if (!ends) throw Error(path_ + sums(weights, memory, options));
    std::vector<LlamaPlace<Cuda>> places;
    for (std::size_t i = 0; i < ends->size(); ++i)
      if ((*ends)[i] > (places.empty() ? 0 : places.back().end))
        places.push_back({&devices_[i]->execution(), (*ends)[i]});
    return places;
  }

  /// What is needed and what there is.
  [[nodiscard]] std::string sums(std::span<const double> weights, const LlamaMemory& memory,
                                 const LlamaOptions& options) const {
    using cuda::detail::mebibytes;
    const double layers = static_cast<double>(shape().layers);
    return ": in whole blocks the weights take " + mebibytes(std::accumulate(weights.begin(), weights.end(), 0.0)) +
           ", the largest block of them " + mebibytes(*std::ranges::max_element(weights)) + ", " +
           std::to_string(options.sequences) + " x " + std::to_string(options.max_context) + " positions " +
           mebibytes(layers * memory.block + memory.logits) + ", and a batch " +
           mebibytes(spare + memory.batch + memory.brought) + " of each device; " + there();
  }
  /// What there is, and what changes that.
  [[nodiscard]] std::string there() const {
    using cuda::detail::mebibytes;
    std::string list;
    for (const auto& device : devices_)
      list += (list.empty() ? "" : ", ") + mebibytes(free(*device)) + " (device " +
              std::to_string(device->execution().device()) + ")";
    if (!std::isinf(weight_limit_)) list += ", of which weights may take " + mebibytes(weight_limit_) + " each";
    return "CUDA devices have free " + list +
           "; --num-gpus and --max_gpu_memory say how much, a shorter context and -b make it less";
  }

  std::string path_;
  double weight_limit_;  // bytes of a device
  SplitMode split_;
  Devices devices_;
  std::vector<LlamaPlace<Cuda>> places_;
  std::optional<cuda::DeviceWeights> weights_;
  // Of ranks, instead.
  AllReduce<Cuda> all_reduce_;
  std::optional<cuda::ShardedWeights> shares_;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) LoadedModel* activation_trace_load_model(
    const ModelSettings& settings) {
  return new CudaModel(settings);
}

}  // namespace activation_trace::examples
