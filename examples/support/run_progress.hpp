// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <utility>

#include "activation_trace/config.hpp"
#include "support/terminal.hpp"

namespace activation_trace::examples {

/// How far a run is on standard error, with rate and time left: a bar on a terminal, else a line now and then.
class RunProgress {
 public:
  /// `done` of `total` samples are there from before.
  RunProgress(std::string name, Index done, Index total, bool wanted)
      : name_(std::move(name)), bar_(wanted), wanted_(wanted), before_(done), done_(done), total_(total) {}

  void advance() {
    ++done_;
    if (is_terminal(stderr)) {
      bar_.bar(name_, done_, total_, rate_and_rest());
      return;
    }
    const auto now = Clock::now();
    if (!wanted_ || (done_ != total_ && now - said_ < std::chrono::seconds(30))) return;
    said_ = now;
    std::fprintf(stderr, "%s: %ld of %ld samples, %s\n", name_.c_str(), static_cast<long>(done_),
                 static_cast<long>(total_), rate_and_rest().c_str());
  }

  void clear() { bar_.clear(); }

 private:
  using Clock = std::chrono::steady_clock;

  [[nodiscard]] std::string rate_and_rest() const {
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    const double rate = static_cast<double>(done_ - before_) / std::max(seconds, 1e-9);
    const auto rest = static_cast<long>(static_cast<double>(total_ - done_) / rate + 0.5);
    char text[96];
    std::snprintf(text, sizeof text, "%.2f/s, %ld:%02ld:%02ld left", rate, rest / 3600, rest / 60 % 60, rest % 60);
    return text;
  }

  std::string name_;
  Progress bar_;
  bool wanted_;
  Index before_;
  Index done_;
  Index total_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point said_ = start_;
};

}  // namespace activation_trace::examples
