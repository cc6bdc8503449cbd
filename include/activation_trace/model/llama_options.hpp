// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/model/config.hpp"
#include "activation_trace/ops/arithmetic.hpp"
#include "activation_trace/tensor/dtype.hpp"

namespace activation_trace {
inline namespace v0 {

/// What a Llama allocates memory for, and how it computes.
struct LlamaOptions {
  Index max_context = 512;  ///< positions that the KV cache of a sequence holds: prompt and answer together
  Index max_batch = 512;    ///< positions computed at once; longer inputs are cut into pieces of this length
  Index sequences = 1;      ///< sequences with a KV cache of their own
  Arithmetic arithmetic = Arithmetic::exact;  ///< of products with weights, of the LM head too; not every space is fast
  DType cache = DType::f32;  ///< of keys and values, or f16: rounded, in half the memory; not in every space

  /// Positions that one batch may have.
  [[nodiscard]] Index max_rows() const { return std::min(max_batch, max_context * sequences); }

  /// Throws ArgumentError for numbers that are not positive, a context longer than the model's, more than 1024
  /// sequences, a cache of other types and what no machine can address.
  void validate(const LlamaConfig& config) const;
};

/// Bytes that a Llama allocates beside its weights, by what they are for; doubles, which no options overflow.
struct LlamaMemory {
  double block;    ///< keys and values of one block
  double batch;    ///< of each place of blocks: the rows of a batch, and rotations
  double brought;  ///< of each place but the first: states that come while those of the batch before are computed
  double logits;   ///< of the last place: logits, and the states that they are made of
};
/// Of a Llama of these options, at one place or at several.
[[nodiscard]] LlamaMemory llama_memory_by_use(const LlamaConfig& config, const LlamaOptions& options);

/// All bytes that a Llama at one place allocates beside its weights, nearly all for the KV caches.
[[nodiscard]] double llama_memory(const LlamaConfig& config, const LlamaOptions& options);

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE LlamaMemory llama_memory_by_use(const LlamaConfig& c, const LlamaOptions& o) {
  const auto number = [](Index x) { return static_cast<double>(x); };
  const double keys = number(c.kv_heads) * number(c.head_dim);
  const double queries = number(c.heads) * number(c.head_dim);
  const double sequences = number(o.sequences);
  const double context = number(o.max_context);
  const double tables = c.window_rope ? 2 : 1;  // of the rotation
  const double rows = std::min(number(o.max_batch), context * sequences);
  const double states = rows * 2 * number(c.hidden);
  return {.block = sequences * context * 2 * keys * number(block_bytes(o.cache)),
          .batch = sizeof(float) *
                   (tables * context * number(c.head_dim) + states + rows * (queries + 2 * keys + 2 * number(c.ffn))),
          .brought = sizeof(float) * states,
          .logits = sizeof(float) * sequences * (number(c.vocab) + number(c.layers + 1) * number(c.hidden))};
}

ACTIVATION_TRACE_COMPILED_INLINE double llama_memory(const LlamaConfig& c, const LlamaOptions& o) {
  const LlamaMemory memory = llama_memory_by_use(c, o);
  const double ids = sizeof(TokenId) * static_cast<double>(o.sequences) * static_cast<double>(o.max_context);
  return static_cast<double>(c.layers) * memory.block + memory.batch + memory.logits + ids;
}

ACTIVATION_TRACE_COMPILED_INLINE void LlamaOptions::validate(const LlamaConfig& config) const {
  constexpr Index max_sequences = 1024;
  if (max_context < 1 || max_context > config.max_context)
    throw ArgumentError("LlamaOptions: max_context must be in 1.." + std::to_string(config.max_context) +
                        ", the model's context, got " + std::to_string(max_context));
  if (max_batch < 1) throw ArgumentError("LlamaOptions: max_batch must be positive, got " + std::to_string(max_batch));
  if (sequences < 1 || sequences > max_sequences)
    throw ArgumentError("LlamaOptions: sequences must be in 1.." + std::to_string(max_sequences) + ", got " +
                        std::to_string(sequences));
  if (cache != DType::f32 && cache != DType::f16)
    throw ArgumentError("LlamaOptions: cache must be F32 or F16, got " + std::string(name(cache)));
  if (llama_memory(config, *this) > 0x1p60)  // below, no extent overflows
    throw ArgumentError("LlamaOptions: max_context " + std::to_string(max_context) + " of " +
                        std::to_string(sequences) + " sequences takes more memory than can be addressed");
}

#endif  // ACTIVATION_TRACE_BODIES

}  // namespace v0
}  // namespace activation_trace
