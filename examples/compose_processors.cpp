// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
// A processor of one's own in a chain with the library's. No model: the engine's part is played by a row of logits.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <limits>

#include "activation_trace/processors/processor_chain.hpp"
#include "activation_trace/processors/repetition_penalty.hpp"
#include "activation_trace/processors/top_p.hpp"

namespace at = activation_trace;

// Never lets the same two tokens follow one another again. observe() and reset() are optional: the chain calls them.
class NoRepeatedPair {
 public:
  void observe(std::span<const at::TokenId> ids) { seen_.insert(seen_.end(), ids.begin(), ids.end()); }
  void reset() { seen_.clear(); }

  void process(std::span<float> scores) const {
    for (std::size_t i = 0; i + 1 < seen_.size(); ++i)
      if (seen_[i] == seen_.back()) scores[static_cast<std::size_t>(seen_[i + 1])] = masked;
  }
  void process(std::span<const at::TokenId> ids, std::span<float> scores) const {
    for (std::size_t i = 0; i + 1 < seen_.size(); ++i)
      for (std::size_t c = 0; c < ids.size(); ++c)
        if (seen_[i] == seen_.back() && ids[c] == seen_[i + 1]) scores[c] = masked;
  }

 private:
  static constexpr float masked = -std::numeric_limits<float>::infinity();
  std::vector<at::TokenId> seen_;
};

int main() try {
  const std::vector<float> logits{2.0f, 1.8f, 0.5f, -1.0f};  // the same at every step
  at::ProcessorChain chain;
  chain.add("repetition_penalty", at::RepetitionPenalty(1.05f, static_cast<at::Index>(logits.size())))
      .add("no_repeated_pair", NoRepeatedPair())
      .add("top_p", at::TopP(0.95f));
  std::printf("%s:", chain.order().c_str());

  std::vector<float> scores(logits.size());
  for (int step = 0; step < 8; ++step) {
    std::copy(logits.begin(), logits.end(), scores.begin());
    chain.process(scores);
    const auto token = static_cast<at::TokenId>(std::max_element(scores.begin(), scores.end()) - scores.begin());
    std::printf(" %d", token);
    chain.observe(std::span(&token, 1));
  }
  std::puts("");
  return 0;
} catch (const std::exception& e) {
  return std::fprintf(stderr, "compose_processors: %s\n", e.what()), 1;
}
