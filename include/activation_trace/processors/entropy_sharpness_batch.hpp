// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "activation_trace/processors/entropy_sharpness.hpp"

namespace activation_trace {
inline namespace v0 {

/// One EntropySharpnessProcessor per sequence of a batch: contexts of different lengths, one entropy per sequence and
/// token, masks by row (processors/README.md 1.5). Rows do not influence each other; padding is not observed.
template <class Space>
class EntropySharpnessBatch {
  static_assert(std::is_same_v<Space, Host>,
                "activation_trace: EntropySharpnessBatch<Cuda> needs nvcc and #include \"activation_trace/cuda.cuh\"");

 public:
  /// Works on the threads of `execution`, which must outlive the batch, or without one on the calling thread. Throws
  /// ArgumentError for a negative number of sequences and as the processor does.
  explicit EntropySharpnessBatch(Index sequences, const EntropySharpnessOptions& options = {},
                                 ExecutionHandle execution = {});

  /// Sequences, B.
  [[nodiscard]] Index size() const noexcept { return static_cast<Index>(rows_.size()); }

  /// The processor of sequence b: observe_context, entropy, record, reset. Throws ArgumentError for another b.
  [[nodiscard]] EntropySharpnessProcessor<>& operator[](Index b);

  /// logits[B, V], contiguous rows, become scores in place, row b by the context of sequence b. Throws ShapeError for
  /// another number of rows, and as the processor does; then the rows before the offending one are done.
  void process(MatrixView<float> logits);

 private:
  ExecutionHandle execution_;
  std::vector<EntropySharpnessProcessor<>> rows_;
};

template <class Space>
EntropySharpnessBatch<Space>::EntropySharpnessBatch(Index sequences, const EntropySharpnessOptions& options,
                                                    ExecutionHandle execution)
    : execution_(std::move(execution)) {
  if (sequences < 0) throw ArgumentError("sequences: must not be negative, got " + std::to_string(sequences));
  rows_.reserve(static_cast<std::size_t>(sequences));
  for (Index b = 0; b < sequences; ++b) rows_.emplace_back(options, *execution_);
}

template <class Space>
EntropySharpnessProcessor<>& EntropySharpnessBatch<Space>::operator[](Index b) {
  if (b < 0 || b >= size())
    throw ArgumentError("sequence " + std::to_string(b) + " is not in a batch of " + std::to_string(size()));
  return rows_[static_cast<std::size_t>(b)];
}

template <class Space>
void EntropySharpnessBatch<Space>::process(MatrixView<float> logits) {
  if (logits.extent(0) != size())
    throw ShapeError("logits: expected " + std::to_string(size()) + " rows, got " + std::to_string(logits.extent(0)));
  for (Index b = 0; b < size(); ++b) rows_[static_cast<std::size_t>(b)].process(logits.row(b).span());
}

}  // namespace v0
}  // namespace activation_trace
