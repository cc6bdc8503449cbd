// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "activation_trace/embed/llama_cpp_tap.hpp"
// Behind it, whose message says what is missing.
#include <llama.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"

namespace activation_trace {
inline namespace v0 {
namespace llama_cpp::detail {

/// Tokens of one sequence that follow each other, in the rows of a micro-batch and in the sequence.
struct TokenRun {
  llama_seq_id sequence;  ///< whose
  Index first;            ///< row
  Index count;            ///< of rows
  Index end;              ///< position behind the last one
  bool leads;             ///< the tokens' first sequence, by whose cells llama.cpp computes them
};

/// Whose tokens the cells of llama.cpp's memory hold, as its graphs show it: which cells they write, and which ones a
/// token may attend to. A sequence that attends to a cell into which none of its own tokens was written got it by
/// llama_memory_seq_cp(). One cache for all sequences (kv_unified); where a graph has no attention, or in a form that
/// is not known here, nothing is ever found.
class MemoryCells {
 public:
  /// A micro-batch begins.
  void begin() noexcept { awaited_ = Awaited::keys; }

  /// A node of the micro-batch of `runs`, in the order in which they are computed, all before they are. Calls
  /// strange(sequence) for those that attend to a cell of others at a position before context_end(sequence).
  void see(const ggml_tensor* node, std::span<const TokenRun> runs, auto&& context_end, auto&& strange) {
    if (awaited_ == Awaited::keys && node->op == GGML_OP_SET_ROWS && holds_keys(node->view_src)) {
      awaited_ = node->view_src->ne[2] == 1 && write(node->src[1], runs) ? Awaited::mask : Awaited::nothing;
      return;
    }
    if (awaited_ != Awaited::mask) return;
    const ggml_tensor* mask = mask_of(node);
    if (mask == nullptr) return;
    awaited_ = Awaited::nothing;
    for (Sequence& its : sequences_) its.looked_at = false;
    for (const TokenRun& run : runs)  // what follows in it attends to the same
      if (run.leads && !std::exchange(of(run.sequence).looked_at, true) &&
          attends_to_others(mask, run, context_end(run.sequence)))
        strange(run.sequence);
  }

  /// The sequence ends at `position`, and so does what it owns.
  void end_at(llama_seq_id sequence, Index position) {
    if (position >= of(sequence).end) return;
    of(sequence).end = position;
    for (Cell& cell : cells_)
      if (cell.position >= position) std::erase(cell.owners, sequence);
  }

  /// `to` has what `from` has, and nothing else.
  void copy(llama_seq_id from, llama_seq_id to) {
    const Index end = of(from).end;
    of(to).end = end;
    for (Cell& cell : cells_) {
      std::erase(cell.owners, to);
      if (std::ranges::find(cell.owners, from) != cell.owners.end()) cell.owners.push_back(to);
    }
  }

 private:
  struct Cell {
    Index position = 0;
    std::vector<llama_seq_id> owners;
  };
  struct Sequence {
    Index end = 0;           // behind all that it owns
    bool looked_at = false;  // in this micro-batch
  };
  enum class Awaited { keys, mask, nothing };

  [[nodiscard]] Sequence& of(llama_seq_id sequence) {
    const auto s = static_cast<std::size_t>(sequence);
    if (s >= sequences_.size()) sequences_.resize(s + 1);
    return sequences_[s];
  }

  [[nodiscard]] static bool holds_keys(const ggml_tensor* cache) {
    return cache != nullptr && std::string_view(cache->name).starts_with("cache_k_l");
  }

  /// f32 or f16 [tokens, cells], as it was handed to the graph; null: `node` has none.
  [[nodiscard]] static const ggml_tensor* mask_of(const ggml_tensor* node) {
    const ggml_tensor* mask = node->op == GGML_OP_FLASH_ATTN_EXT ? node->src[3]
                              : node->op == GGML_OP_SOFT_MAX     ? node->src[1]
                                                                 : nullptr;
    while (mask != nullptr && mask->op == GGML_OP_CPY) mask = mask->src[0];  // to f16, not computed yet
    return mask;
  }

  [[nodiscard]] static bool is_there(const ggml_tensor* input) {
    return input->op == GGML_OP_NONE && input->buffer != nullptr && ggml_is_contiguous(input);
  }

  /// Notes whose tokens go where; false where that is not to be read.
  bool write(const ggml_tensor* where, std::span<const TokenRun> runs) {
    if (!is_there(where) || where->type != GGML_TYPE_I64) return false;
    written_.resize(static_cast<std::size_t>(ggml_nelements(where)));
    ggml_backend_tensor_get(where, written_.data(), 0, ggml_nbytes(where));
    for (const std::int64_t cell : written_) {
      if (cell < 0) return false;
      if (static_cast<std::size_t>(cell) >= cells_.size()) cells_.resize(static_cast<std::size_t>(cell) + 1);
      cells_[static_cast<std::size_t>(cell)].owners.clear();
    }
    for (const TokenRun& run : runs) {
      if (run.first + run.count > std::ssize(written_)) return false;
      for (Index i = 0; i < run.count; ++i) {
        Cell& cell = cells_[static_cast<std::size_t>(written_[static_cast<std::size_t>(run.first + i)])];
        cell.position = run.end - run.count + i;
        cell.owners.push_back(run.sequence);
      }
      of(run.sequence).end = std::max(of(run.sequence).end, run.end);
    }
    return true;
  }

  /// By the first token of the run.
  [[nodiscard]] bool attends_to_others(const ggml_tensor* mask, const TokenRun& run, Index context_end) {
    const std::int64_t count = mask->ne[0];
    if (!is_there(mask) || mask->ne[1] <= run.first || mask->ne[2] != 1 || mask->ne[3] != 1) return false;
    row_.resize(static_cast<std::size_t>(count));
    const auto offset = static_cast<std::size_t>(run.first) * mask->nb[1];
    if (mask->type == GGML_TYPE_F16) {
      half_row_.resize(row_.size());
      ggml_backend_tensor_get(mask, half_row_.data(), offset, half_row_.size() * sizeof(ggml_fp16_t));
      ggml_fp16_to_fp32_row(half_row_.data(), row_.data(), count);
    } else if (mask->type == GGML_TYPE_F32) {
      ggml_backend_tensor_get(mask, row_.data(), offset, row_.size() * sizeof(float));
    } else {
      return false;
    }
    for (std::size_t c = 0; c < row_.size(); ++c) {
      if (std::isinf(row_[c])) continue;
      if (c >= cells_.size()) return true;
      const Cell& cell = cells_[c];
      if (cell.position < context_end && std::ranges::find(cell.owners, run.sequence) == cell.owners.end()) return true;
    }
    return false;
  }

  Awaited awaited_ = Awaited::nothing;
  std::vector<Cell> cells_;
  std::vector<Sequence> sequences_;
  std::vector<std::int64_t> written_;  // cells of the micro-batch's rows
  std::vector<float> row_;
  std::vector<ggml_fp16_t> half_row_;
};

}  // namespace llama_cpp::detail
}  // namespace v0
}  // namespace activation_trace
