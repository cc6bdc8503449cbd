// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "activation_trace/config.hpp"
#include "activation_trace/processors/min_p.hpp"
#include "activation_trace/processors/processor_chain.hpp"
#include "activation_trace/processors/temperature.hpp"
#include "activation_trace/processors/top_k.hpp"
#include "activation_trace/processors/top_p.hpp"
#include "activation_trace/processors/typical.hpp"

namespace activation_trace {
inline namespace v0 {

/// How a token is drawn, in this order; the filters are those of Hugging Face's transformers.
struct SamplingOptions {
  float temperature = 1;     ///< > 0
  Index top_k = 0;           ///< 0: off
  float typical_p = 1;       ///< in (0, 1], 1: off
  float top_p = 1;           ///< in (0, 1], 1: off
  float min_p = 0;           ///< in [0, 1], 0: off
  std::uint64_t seed = 0;    ///< the same seed gives the same text
  std::uint64_t stream = 0;  ///< of independent random numbers; prompt i of a batch uses stream + i

  friend bool operator==(const SamplingOptions&, const SamplingOptions&) = default;
};

/// Appends what the options do to a row before a token is drawn: temperature > top_k > typical > top_p > min_p. What is
/// off is left out. Throws ArgumentError as those processors do.
inline void append_sampling(ProcessorChain& chain, const SamplingOptions& sampling) {
  if (sampling.temperature != 1) chain.add("temperature", Temperature(sampling.temperature));
  if (sampling.top_k != 0) chain.add("top_k", TopK(sampling.top_k));
  if (sampling.typical_p != 1) chain.add("typical", Typical(sampling.typical_p));
  if (sampling.top_p != 1) chain.add("top_p", TopP(sampling.top_p));
  if (sampling.min_p != 0) chain.add("min_p", MinP(sampling.min_p));
}

}  // namespace v0
}  // namespace activation_trace
