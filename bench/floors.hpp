// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <map>
#include <vector>

#include "activation_trace/ops/execution.hpp"
#include "activation_trace/ops/kernels/kernels.hpp"

// What a machine can do, measured in the run that quotes it, and how near to it a benchmark comes.

namespace activation_trace::bench {

template <class F>
double seconds(const F& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// A panel and rows that stay in the first-level cache: the micro-kernel's own limit, a few per cent below the
/// processor's multiply-add peak. Returns the operations of a call.
inline double multiply_add(Execution<Host>& execution) {
  const detail::Kernels& kernels = detail::kernels(execution.isa());
  constexpr Index depth = 128;
  constexpr Index rows = 24;
  constexpr Index repeats = 1000;
  execution.for_each_range(execution.threads(), 1, [&](Index, Index, int worker) {
    float* memory = execution.scratch(worker, rows * depth + (depth + rows) * kernels.panel_width).data();
    for (Index i = 0; i < repeats; ++i)
      kernels.multiply_panel(memory, depth, rows, memory + rows * depth, depth,
                             memory + rows * depth + depth * kernels.panel_width, kernels.panel_width,
                             detail::Into::set);
  });
  return 2.0 * static_cast<double>(rows * depth * kernels.panel_width * repeats * execution.threads());
}

/// Products of rows of 1024 ones: the fastest reader of memory there is in the library. Returns the bytes of `data`.
inline double read(Execution<Host>& execution, const std::vector<float>& data) {
  static const std::vector<float> ones(1024, 1.0f);
  execution.for_each_range(static_cast<Index>(data.size()) / 1024, 16, [&](Index begin, Index end, int worker) {
    float* sums = execution.scratch(worker, end - begin).data();
    detail::dot_kernels(execution.isa(), DType::f32)
        .dot_rows(reinterpret_cast<const std::byte*>(data.data() + begin * 1024), 4096, end - begin, 1024, ones.data(),
                  0, 1, sums, 0);
    benchmark::DoNotOptimize(sums[0]);
  });
  return static_cast<double>(data.size() * sizeof(float));
}

/// What cannot be avoided: multiply-adds, each two operations, and bytes read from memory.
struct Work {
  double flops = 0;
  double bytes = 0;

  [[nodiscard]] Work times(double n) const { return {flops * n, bytes * n}; }
  [[nodiscard]] Work plus(const Work& other) const { return {flops + other.flops, bytes + other.bytes}; }
};

/// Seconds that `threads` need for it at least, by what they reach of multiply-adds and of reading, the best of five.
inline double floor_of(const Work& work, int threads) {
  static std::map<int, Work> ceilings;  // per second
  const auto [found, missing] = ceilings.try_emplace(threads);
  if (missing) {
    Execution<Host> execution(threads);
    const std::vector<float> data(std::size_t{64} << 20, 1.0f);
    for (int i = 0; i < 5; ++i) {
      double done = 0;
      const double flop_seconds = seconds([&] { done = multiply_add(execution); });
      found->second.flops = std::max(found->second.flops, done / flop_seconds);
      const double byte_seconds = seconds([&] { done = read(execution, data); });
      found->second.bytes = std::max(found->second.bytes, done / byte_seconds);
    }
  }
  return std::max(work.flops / found->second.flops, work.bytes / found->second.bytes);
}

/// Beside a benchmark's time: operations and bytes per second, the floor in milliseconds, and its share of the time.
inline void report(benchmark::State& state, const Work& work, int threads, double seconds_each) {
  const auto rate = [&](const char* name, double each) {
    if (each > 0)
      state.counters[name] =
          benchmark::Counter(each / seconds_each, benchmark::Counter::kDefaults, benchmark::Counter::OneK::kIs1000);
  };
  rate("flop/s", work.flops);
  rate("bytes/s", work.bytes);
  const double floor = floor_of(work, threads);
  state.counters["floor_ms"] = floor * 1e3;
  state.counters["of_floor"] = floor / seconds_each;
}

/// Stands before a benchmark's loop and reports when the loop has ended.
class Reported {
 public:
  Reported(benchmark::State& state, const Work& work, int threads) : state_(state), work_(work), threads_(threads) {
    floor_of(work, threads);  // measured before the clock starts
    start_ = std::chrono::steady_clock::now();
  }
  ~Reported() {
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start_;
    report(state_, work_, threads_, taken.count() / static_cast<double>(state_.iterations()));
  }
  Reported(const Reported&) = delete;
  Reported& operator=(const Reported&) = delete;

 private:
  benchmark::State& state_;
  Work work_;
  int threads_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace activation_trace::bench
