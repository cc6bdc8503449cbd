// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"

namespace activation_trace {
inline namespace v0 {

/// What changes scores in place: those of a full row, scores[V], or those of a candidate list, where scores[i] belongs
/// to ids[i]. Masked entries are -inf.
template <class P>
concept LogitsProcessor = requires(P& processor, std::span<const TokenId> ids, std::span<float> scores) {
  processor.process(scores);
  processor.process(ids, scores);
};

/// Processors that run one after another, in the order in which they were added. A value: a copy is independent, apart
/// from processors that were added by reference. Works in place and allocates only in add(). Is a LogitsProcessor.
///
///     ProcessorChain chain;
///     chain.add("repetition_penalty", RepetitionPenalty(1.2f, vocab)).add("top_k", TopK(40));
///     chain.add("sharpness", std::ref(processor));  // stays the caller's
class ProcessorChain {
 public:
  ProcessorChain() = default;
  /// Copies the processors that the chain owns; those added by reference are shared.
  ProcessorChain(const ProcessorChain& other);
  ProcessorChain(ProcessorChain&&) noexcept = default;
  /// As the copy constructor; if a processor's copy throws, nothing has changed.
  ProcessorChain& operator=(const ProcessorChain& other) { return *this = ProcessorChain(other); }
  ProcessorChain& operator=(ProcessorChain&&) noexcept = default;
  ~ProcessorChain() = default;

  /// Appends a processor, which the chain owns. Throws ArgumentError for an empty name.
  template <LogitsProcessor P>
  requires std::copy_constructible<P> ProcessorChain& add(std::string name, P processor);

  /// Appends the caller's processor, which must outlive the chain and its copies.
  template <LogitsProcessor P>
  ProcessorChain& add(std::string name, std::reference_wrapper<P> processor);

  /// Tells the ids of the prompt to every processor that has observe_prompt(ids), or else observe(ids).
  void observe_prompt(std::span<const TokenId> ids);

  /// Tells generated ids to every processor that has observe(ids).
  void observe(std::span<const TokenId> ids);

  /// Throws what the processors throw; those before have then done their part.
  void process(std::span<float> scores);
  /// The same for candidates, in any order: scores[i] belongs to ids[i].
  void process(std::span<const TokenId> ids, std::span<float> scores);

  /// Resets every processor that has reset().
  void reset();

  /// The names in order: "repetition_penalty > temperature > top_k".
  [[nodiscard]] std::string order() const;
  /// Whether process() does nothing.
  [[nodiscard]] bool empty() const noexcept { return steps_.empty(); }
  /// Processors in the chain.
  [[nodiscard]] std::size_t size() const noexcept { return steps_.size(); }

 private:
  struct Step {
    virtual ~Step() = default;
    [[nodiscard]] virtual std::unique_ptr<Step> clone() const = 0;
    virtual void observe_prompt(std::span<const TokenId> ids) = 0;
    virtual void observe(std::span<const TokenId> ids) = 0;
    virtual void process(std::span<float> scores) = 0;
    virtual void process(std::span<const TokenId> ids, std::span<float> scores) = 0;
    virtual void reset() = 0;
  };

  template <class P, class Held>  // Held is P, or a reference to one
  struct StepOf;

  struct Named {
    std::string name;
    std::unique_ptr<Step> step;
  };

  template <class P, class Held>
  ProcessorChain& append(std::string name, Held held);

  std::vector<Named> steps_;
};

template <class P, class Held>
struct ProcessorChain::StepOf final : Step {
  explicit StepOf(Held h) : held(std::move(h)) {}

  P& get() { return held; }

  [[nodiscard]] std::unique_ptr<Step> clone() const override { return std::make_unique<StepOf>(held); }
  void observe_prompt(std::span<const TokenId> ids) override {
    if constexpr (requires(P & p) { p.observe_prompt(ids); })
      get().observe_prompt(ids);
    else
      observe(ids);
  }
  void observe(std::span<const TokenId> ids) override {
    if constexpr (requires(P & p) { p.observe(ids); }) get().observe(ids);
  }
  void process(std::span<float> scores) override { get().process(scores); }
  void process(std::span<const TokenId> ids, std::span<float> scores) override { get().process(ids, scores); }
  void reset() override {
    if constexpr (requires(P & p) { p.reset(); }) get().reset();
  }

  Held held;
};

inline ProcessorChain::ProcessorChain(const ProcessorChain& other) {
  steps_.reserve(other.steps_.size());
  for (const Named& named : other.steps_) steps_.push_back({named.name, named.step->clone()});
}

template <LogitsProcessor P>
requires std::copy_constructible<P> ProcessorChain& ProcessorChain::add(std::string name, P processor) {
  return append<P, P>(std::move(name), std::move(processor));
}

template <LogitsProcessor P>
ProcessorChain& ProcessorChain::add(std::string name, std::reference_wrapper<P> processor) {
  return append<P, std::reference_wrapper<P>>(std::move(name), processor);
}

template <class P, class Held>
ProcessorChain& ProcessorChain::append(std::string name, Held held) {
  if (name.empty()) throw ArgumentError("name: a processor of a chain needs one");
  steps_.push_back({std::move(name), std::make_unique<StepOf<P, Held>>(std::move(held))});
  return *this;
}

inline void ProcessorChain::observe_prompt(std::span<const TokenId> ids) {
  for (Named& named : steps_) named.step->observe_prompt(ids);
}

inline void ProcessorChain::observe(std::span<const TokenId> ids) {
  for (Named& named : steps_) named.step->observe(ids);
}

inline void ProcessorChain::process(std::span<float> scores) {
  for (Named& named : steps_) named.step->process(scores);
}

inline void ProcessorChain::process(std::span<const TokenId> ids, std::span<float> scores) {
  for (Named& named : steps_) named.step->process(ids, scores);
}

inline void ProcessorChain::reset() {
  for (Named& named : steps_) named.step->reset();
}

inline std::string ProcessorChain::order() const {
  std::string result;
  for (const Named& named : steps_) result += (result.empty() ? "" : " > ") + named.name;
  return result;
}

}  // namespace v0
}  // namespace activation_trace
