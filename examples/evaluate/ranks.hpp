// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "activation_trace/config.hpp"
#include "evaluate/emit.hpp"

namespace activation_trace::examples {

/// The next samples to run; none when there are no more.
using NextSamples = std::function<std::vector<Index>()>;

/// Runs samples until there are no more.
using Work = std::function<void(const NextSamples& next, const Emit& take)>;

/// The processes that one mpirun started; without it, this process alone. Rank 0 hands out samples and takes records,
/// and runs samples itself beside that; the others ask it for samples whenever they have none.
class Ranks {
 public:
  /// Joins the others. Those but rank 0 are silent on standard output from then on. Throws Error if mpirun started
  /// several processes and this program was built without MPI: each would write the same files.
  Ranks();
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;
  ~Ranks();

  [[nodiscard]] int rank() const noexcept { return rank_; }
  [[nodiscard]] int size() const noexcept { return size_; }
  /// This process's share of the cores of its machine.
  [[nodiscard]] int threads() const;

  /// main() of every rank, to be called once. When `body` throws on one of them, the others finish the samples that
  /// they have; then rank 0 throws what it threw there, or an Error with another rank's text. The others return 0, or
  /// mpirun would end all at once.
  int together(const std::function<int()>& body);

  /// Calls `work` on every rank, with functions that lead to `next` and `take` on rank 0, which are called one at a
  /// time. Returns on rank 0 when no rank has samples left. `manifest` says what is run: a rank that has another one,
  /// say of another data set under the same name on its machine, ends all. To be called once, within together().
  void share(const nlohmann::ordered_json& manifest, const NextSamples& next, const Emit& take, const Work& work);

 private:
  enum class State { running, idle, ended };

  bool answer(const NextSamples& next, const Emit& take);
  void serve(const NextSamples& next, const Emit& take, const Work& work);
  void wait_for_end();

  int rank_ = 0;
  int size_ = 1;
  int on_this_machine_ = 1;
  std::vector<State> states_;  ///< on rank 0: of all ranks
  nlohmann::ordered_json manifest_;
  std::string error_;  ///< of the first other rank that failed
};

}  // namespace activation_trace::examples
