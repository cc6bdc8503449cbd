// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "activation_trace/generation/result.hpp"
#include "support/terminal.hpp"

namespace activation_trace::examples {

/// The table of --compare: a line per step, greedy on the left and another mode on the right, each token with
/// log-probability, context entropy and a bar of its sharpness. A star marks a token that the entropy chose.
class Comparison {
 public:
  Comparison(std::string mode, Index positions, bool color)
      : mode_(std::move(mode)), positions_(positions), color_(color) {}

  void print_header() const {
    std::printf("      %-*s   %-*s\n", kCell, "greedy", kCell, mode_.c_str());
    for (int column = 0; column < 2; ++column)
      std::printf("%s%-*s %6s %5s %-*s", column == 0 ? "      " : "   ", kToken, "token", "log p", "E", kBar, "sharp");
    std::printf("\n");
  }

  /// A token of the greedy answer; printed together with its counterpart.
  void add_greedy(const StepRecord& record, const std::string& piece) { greedy_.push_back(cell(record, piece)); }

  /// A token of the other answer, and the line that it completes.
  void print(const StepRecord& record, const std::string& piece) {
    print_line(row_ < greedy_.size() ? greedy_[row_] : blank(), cell(record, piece) + (record.changed() ? " *" : ""));
  }

  /// The rest of a greedy answer that is longer.
  void finish() {
    while (row_ < greedy_.size()) print_line(greedy_[row_], "");
  }

 private:
  static constexpr int kToken = 14;
  static constexpr int kBar = 8;
  static constexpr int kCell = kToken + 1 + 6 + 1 + 5 + 1 + kBar;

  static std::string blank() { return std::string(kCell, ' '); }

  [[nodiscard]] std::string cell(const StepRecord& record, const std::string& piece) const {
    const double sharp = sharpness(record.chosen.entropy, positions_);
    char numbers[32];
    std::snprintf(numbers, sizeof numbers, " %6.2f %5.2f ", static_cast<double>(record.chosen.log_prob),
                  static_cast<double>(record.chosen.entropy));
    const auto full = static_cast<int>(std::lround(sharp * kBar));
    std::string bar;
    for (int i = 0; i < kBar; ++i) bar += i < full ? "█" : "·";
    const std::string token = printable_cell(piece, kToken);
    return (color_ ? shaded(token, sharp) : token) + numbers + bar;
  }

  void print_line(const std::string& left, const std::string& right) {
    std::printf("%4zu  %s   %s\n", ++row_, left.c_str(), right.c_str());
    std::fflush(stdout);
  }

  std::string mode_;
  Index positions_;
  bool color_;
  std::vector<std::string> greedy_;
  std::size_t row_ = 0;
};

}  // namespace activation_trace::examples
