// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <stop_token>

#include "activation_trace/config.hpp"
#include "evaluate/emit.hpp"

namespace activation_trace::examples {

/// A data set as it is put to a model, sample by sample. A sample's record depends on nothing but the sample and the
/// settings: not on what ran before it or runs beside it.
class TaskRun {
 public:
  virtual ~TaskRun() = default;

  /// Samples of the data set.
  [[nodiscard]] virtual Index size() const = 0;
  /// Positions of the context that sample needs, its answers included.
  [[nodiscard]] virtual Index positions(Index sample) const = 0;
  /// Of a sample's record what comes from the data set: what tells it from the others.
  [[nodiscard]] virtual nlohmann::ordered_json data_of(Index sample) const = 0;
  /// Every option that the results depend on, as it is for this model.
  [[nodiscard]] virtual nlohmann::ordered_json options() const = 0;
  /// Runs `samples`, in any order, until a stop is asked for. What emit() throws ends it.
  virtual void run(std::span<const Index> samples, const Emit& emit, const std::stop_token& stop) = 0;
};

}  // namespace activation_trace::examples
