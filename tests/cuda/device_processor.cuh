// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "activation_trace/cuda/processors/entropy_sharpness.cuh"
#include "activation_trace/ops/execution.hpp"
#include "support.cuh"

namespace activation_trace::test {

/// EntropySharpnessProcessor<Cuda> with the host's views, for the tests that run on both: it copies to and fro and
/// waits.
template <class T = float>
class DeviceProcessor {
 public:
  explicit DeviceProcessor(EntropySharpnessOptions options = {}, ExecutionHandle = {}) : options_(std::move(options)) {}

  void observe_context(MatrixView<const float> hidden, MatrixView<const float> lm_head) {
    if (!processor_) {
      lm_head_ = upload(lm_head);
      processor_ = std::make_unique<EntropySharpnessProcessor<Cuda>>(stream_,
                                                                     cuda::SharpnessShape{.vocab = lm_head.extent(0),
                                                                                          .hidden = lm_head.extent(1),
                                                                                          .positions = 80,
                                                                                          .dtype = dtype_of<T>,
                                                                                          .candidates = 100},
                                                                     options_);
    }
    const Buffer<T, Cuda> rows = upload(hidden);
    processor_->observe_context(rows.matrix(hidden.extent(0), hidden.extent(1)),
                                std::as_const(lm_head_).matrix(lm_head.extent(0), lm_head.extent(1)));
    stream_.synchronize();
  }

  const SharpnessRecord& process(std::span<float> logits) { return step({}, logits); }
  const SharpnessRecord& process(std::span<const TokenId> ids, std::span<float> logits) { return step(ids, logits); }

  [[nodiscard]] const SharpnessRecord& record() const { return record_; }
  [[nodiscard]] std::span<const float> entropy() {
    entropy_ = to_host(processor_->entropy());
    return entropy_;
  }
  [[nodiscard]] SoftmaxState state(TokenId id) { return processor_->state(id); }
  [[nodiscard]] Index context_size() { return processor_->context_size(); }
  void reset() {
    processor_->reset();
    record_ = {};
  }

 private:
  Buffer<T, Cuda> upload(MatrixView<const float> host) {
    std::vector<T> rows;
    for (Index i = 0; i < host.extent(0); ++i)
      for (Index k = 0; k < host.extent(1); ++k) rows.push_back(T(host(i, k)));
    return to_device(rows);
  }

  const SharpnessRecord& step(std::span<const TokenId> ids, std::span<float> logits) {
    Buffer<float, Cuda> device = to_device(std::vector<float>(logits.begin(), logits.end()));
    if (ids.empty())
      processor_->process(device.view());
    else
      processor_->process(std::as_const(*(ids_ = std::make_unique<Buffer<TokenId, Cuda>>(
                                              to_device(std::vector<TokenId>(ids.begin(), ids.end())))))
                              .view(),
                          device.view());
    record_ = processor_->record();
    const std::vector<float> scores = to_host(device);
    std::copy(scores.begin(), scores.end(), logits.begin());
    return record_;
  }

  EntropySharpnessOptions options_;
  cuda::Stream stream_;
  Buffer<T, Cuda> lm_head_;
  std::unique_ptr<Buffer<TokenId, Cuda>> ids_;
  std::unique_ptr<EntropySharpnessProcessor<Cuda>> processor_;
  SharpnessRecord record_;
  std::vector<float> entropy_;
};

}  // namespace activation_trace::test
