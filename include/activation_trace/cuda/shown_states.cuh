// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <deque>

#include "activation_trace/cuda/buffer.cuh"
#include "activation_trace/cuda/pinned.cuh"
#include "activation_trace/cuda/stream.cuh"
#include "activation_trace/model/layer_observer.hpp"

namespace activation_trace {
inline namespace v0 {
namespace cuda {

/// States on their way from devices to observers on the host, which are shown them in the order in which they were
/// sent, some time after: the devices do not wait for that. Up to `most` floats are on their way, or one matrix.
class ShownStates {
 public:
  static constexpr Index most = Index{1} << 24;  ///< 64 MiB

  /// Without memory.
  ShownStates() = default;
  ShownStates(const ShownStates&) = delete;
  ShownStates& operator=(const ShownStates&) = delete;
  ~ShownStates() { drop(); }

  /// Memory for as many floats as will be sent, but no more than `most`. Nothing may be on its way.
  void reserve(Index floats) {
    const Index size = std::min(floats, most);
    if (memory_.size() >= size) return;
    memory_ = Buffer<float, Pinned>();  // never both
    memory_ = Buffer<float, Pinned>(size);
  }

  /// Sends states of h_`layer`, the first of position `first`, in the order of `execution`. `observer` must live until
  /// it was shown them. Throws what observers throw that are shown something now, for want of room.
  void send(const Execution<Cuda>& execution, const LayerObserver<>& observer, Index layer, Index first,
            MatrixView<const float, Cuda> states) {
    const Index place = place_for(states.size());  // in memory that may be another then
    const MatrixView<float, Pinned> copy(memory_.data() + place, states.extents());
    cuda::copy(execution, states, copy);
    sent_.push_back({&observer, layer, first, copy, Event(execution)});
    sent_.back().there.record(execution);
  }

  /// Shows all that is on its way. Throws what observers throw.
  void show_all() {
    while (!sent_.empty()) show_oldest();
  }

  /// Forgets what is on its way, when it is there.
  void drop() noexcept {
    for (const Sent& sent : sent_) cudaEventSynchronize(sent.there.get());
    sent_.clear();
  }

 private:
  struct Sent {
    const LayerObserver<>* observer;
    Index layer, first;
    MatrixView<float, Pinned> copy;
    Event there;
  };

  void show_oldest() {
    sent_.front().there.synchronize();
    const Sent& sent = sent_.front();
    sent.observer->on_states(sent.layer, sent.first, on_host(sent.copy));
    sent_.pop_front();
  }

  /// Where there is room in the memory, which is a ring.
  [[nodiscard]] Index place_for(Index floats) {
    while (!sent_.empty()) {
      const Index begin = sent_.front().copy.data() - memory_.data();
      const Index end = sent_.back().copy.data() + sent_.back().copy.size() - memory_.data();
      const bool turned = end <= begin;
      if (floats <= (turned ? begin : memory_.size()) - end) return end;
      if (!turned && floats <= begin) return 0;
      show_oldest();
    }
    if (memory_.size() < floats) memory_ = Buffer<float, Pinned>(floats);
    return 0;
  }

  Buffer<float, Pinned> memory_;
  std::deque<Sent> sent_;
};

}  // namespace cuda
}  // namespace v0
}  // namespace activation_trace
