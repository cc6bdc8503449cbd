// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "activation_trace/cuda/communicator.cuh"
#include "activation_trace/cuda/device_weights.cuh"
#include "activation_trace/cuda/ops/sharded_softmax_entropy.cuh"
#include "activation_trace/model/llama_ranks.hpp"
#include "activation_trace/model/shard_weights.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// A LLaMA's weights shared out over devices for tensor parallelism, as shard_weights() has it: each device has its
/// share in one piece, and the whole embedding. A tied LM head is rows of that.
///
///     auto communicator = std::make_shared<cuda::PeerCommunicator>(streams);  // or cuda::NcclCommunicator
///     cuda::ShardedWeights weights(streams, checkpoint.config, checkpoint.weights);
///     Llama<Cuda> model(checkpoint.config, weights.ranks(cuda::all_reduce_of(communicator)), options);
class ShardedWeights {
 public:
  /// Copies `weights` to the devices of `ranks`; they need not live longer than the call. Throws as shard_weights, and
  /// Error with the sums if a device has no memory for them, CudaError for other failures.
  ShardedWeights(std::vector<Execution<Cuda>> ranks, const LlamaConfig& config, const LlamaWeights<>& weights)
      : ranks_(std::move(ranks)) {
    const std::vector<LlamaWeights<>> shares = shard_weights(config, weights, std::ssize(ranks_));
    for (std::size_t r = 0; r < ranks_.size(); ++r) weights_.emplace_back(ranks_[r], shares[r]);
  }
  ShardedWeights(const ShardedWeights&) = delete;
  ShardedWeights& operator=(const ShardedWeights&) = delete;

  /// What a Llama is made of, which must not outlive this.
  [[nodiscard]] LlamaRanks<Cuda> ranks(AllReduce<Cuda> all_reduce) {
    LlamaRanks<Cuda> result{{}, std::move(all_reduce)};
    for (std::size_t r = 0; r < ranks_.size(); ++r) result.ranks.push_back({&ranks_[r], weights_[r].view()});
    return result;
  }
  /// The rows of the LM head on each device, in the order of tokens: for ShardedSoftmaxEntropy.
  [[nodiscard]] std::vector<LmHeadShard<StoredMatrix<Cuda>>> lm_head() const {
    std::vector<LmHeadShard<StoredMatrix<Cuda>>> result;
    for (std::size_t r = 0; r < ranks_.size(); ++r) result.push_back({ranks_[r], weights_[r].view().lm_head});
    return result;
  }
  /// The embedding that a rank has.
  [[nodiscard]] StoredMatrix<Cuda> embedding(std::size_t rank) const { return weights_[rank].view().embedding; }
  /// What they take of the memory of a rank's device.
  [[nodiscard]] Index bytes(std::size_t rank) const { return weights_[rank].bytes(); }

 private:
  std::vector<Execution<Cuda>> ranks_;
  std::vector<DeviceWeights> weights_;
};

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
