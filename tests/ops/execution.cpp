// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "activation_trace/ops/execution.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace activation_trace;

TEST_CASE("every index is visited once, in contiguous ranges that start at multiples of the grain") {
  for (const int threads : {1, 2, 3, 8}) {
    Execution<Host> execution(threads);
    CHECK(execution.threads() == threads);
    for (const Index count : {0, 1, 5, 16, 17, 1000}) {
      for (const Index grain : {1, 4, 16, 5000}) {
        std::vector<int> visits(static_cast<std::size_t>(count));
        std::vector<int> calls(static_cast<std::size_t>(threads));
        execution.for_each_range(count, grain, [&](Index begin, Index end, int worker) {
          if (begin >= end || begin % grain != 0 || worker < 0 || worker >= threads) throw std::logic_error("range");
          ++calls[static_cast<std::size_t>(worker)];
          for (Index i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
        });
        CHECK(visits == std::vector<int>(visits.size(), 1));
        for (const int c : calls) CHECK(c <= 1);
      }
    }
  }
}

TEST_CASE("rows are shared where that is worth it, and each is visited once") {
  for (const int threads : {1, 3}) {
    Execution execution(threads);
    for (const Index width : {Index{1}, Index{8192}}) {
      for (const Index rows : {0, 1, 2, 17}) {
        std::vector<int> visits(static_cast<std::size_t>(rows));
        std::atomic<int> calls = 0;
        execution.for_each_rows(rows, width, [&](Index begin, Index end) {
          ++calls;
          for (Index i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
        });
        CHECK(visits == std::vector<int>(visits.size(), 1));
        CHECK(calls == (rows > 1 && width > 1 ? std::min<Index>(threads, rows) : 1));
      }
    }
  }
}

TEST_CASE("thousands of short tasks, with and without sleep between them") {
  Execution<Host> execution(3);
  std::vector<Index> sums(3 * 16);
  for (int task = 0; task < 3000; ++task) {
    execution.for_each_range(30, 1, [&](Index begin, Index end, int worker) {
      for (Index i = begin; i < end; ++i) sums[static_cast<std::size_t>(worker * 16)] += i;
    });
    if (task % 1000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  CHECK(sums[0] + sums[16] + sums[32] == 3000 * (29 * 30 / 2));
}

TEST_CASE("the lowest worker's exception arrives, and the execution goes on working") {
  Execution<Host> execution(4);
  const auto fail = [](Index, Index, int worker) {
    if (worker != 0) throw std::runtime_error("worker " + std::to_string(worker));
  };
  CHECK_THROWS_WITH_AS(execution.for_each_range(100, 1, fail), "worker 1", std::runtime_error);
  int calls = 0;
  execution.for_each_range(1, 1, [&](Index, Index, int) { ++calls; });
  CHECK(calls == 1);
}

TEST_CASE("a call from inside a call is an error, not a deadlock") {
  for (const int threads : {1, 3}) {
    Execution<Host> execution(threads);
    const auto nested = [&](Index, Index, int) { execution.for_each_range(1, 1, [](Index, Index, int) {}); };
    CHECK_THROWS_AS(execution.for_each_range(3, 1, nested), StateError);
    CHECK_NOTHROW(execution.for_each_range(3, 1, [](Index, Index, int) {}));
  }
}

TEST_CASE("scratch memory is aligned, each worker's own, and kept") {
  Execution<Host> execution(2);
  float* first[2] = {};
  execution.for_each_range(2, 1, [&](Index, Index, int worker) {
    const std::span<float> scratch = execution.scratch(worker, 1000);
    first[worker] = scratch.data();
    for (float& x : scratch) x = static_cast<float>(worker);
  });
  for (int worker = 0; worker < 2; ++worker) {
    CHECK(reinterpret_cast<std::uintptr_t>(first[worker]) % 64 == 0);
    const std::span<float> again = execution.scratch(worker, 500);
    CHECK(again.data() == first[worker]);
    CHECK(again.back() == static_cast<float>(worker));
  }
}

TEST_CASE("arguments are checked") {
  CHECK_THROWS_WITH_AS(Execution<Host>(0), "Execution: threads must be in 1..1024, got 0", ArgumentError);
  CHECK_THROWS_AS(Execution<Host>(1025), ArgumentError);
  Execution<Host> execution;
  CHECK(execution.isa() == best_isa());
  CHECK_THROWS_AS(execution.for_each_range(-1, 1, [](Index, Index, int) {}), ArgumentError);
  CHECK_THROWS_AS(execution.for_each_range(1, 0, [](Index, Index, int) {}), ArgumentError);
  for (const Isa isa : all_isas) {
    if (supports(isa))
      CHECK(Execution<Host>(1, isa).isa() == isa);
    else
      CHECK_THROWS_AS(Execution<Host>(1, isa), ArgumentError);
  }
}

TEST_CASE("an engine's threads do the work, in any order, with the ranges of own ones") {
  int runs = 0;
  const auto backwards = [&](int parts, const std::function<void(int)>& part) {
    ++runs;
    std::vector<std::thread> threads;
    for (int w = parts - 1; w > 0; --w) threads.emplace_back([&part, w] { part(w); });
    part(0);
    for (std::thread& thread : threads) thread.join();
  };
  Execution<Host> lent(3, backwards);
  Execution<Host> own(3);
  CHECK(lent.threads() == 3);
  const auto owners = [](Execution<Host>& execution) {
    std::vector<int> owner(100, -1);
    execution.for_each_range(100, 8, [&](Index begin, Index end, int worker) {
      for (Index i = begin; i < end; ++i) owner[static_cast<std::size_t>(i)] = worker;
    });
    return owner;
  };
  CHECK(owners(lent) == owners(own));
  CHECK(runs == 1);
  lent.for_each_range(8, 8, [](Index, Index, int) {});  // one part: nobody is woken
  CHECK(runs == 1);

  CHECK_THROWS_WITH_AS(
      lent.for_each_range(30, 1, [](Index, Index, int w) { throw std::logic_error(std::to_string(w)); }), "0",
      std::logic_error);
  CHECK_THROWS_AS(
      lent.for_each_range(30, 1, [&](Index, Index, int) { lent.for_each_range(1, 1, [](Index, Index, int) {}); }),
      StateError);
  CHECK(owners(lent) == owners(own));  // and goes on
}

TEST_CASE("an engine whose threads do not do the work is told so") {
  Execution<Host> lazy(4, [](int, const std::function<void(int)>& part) { part(2); });
  CHECK_THROWS_WITH_AS(lazy.for_each_range(40, 1, [](Index, Index, int) {}),
                       "Execution: the executor called 1 of 4 parts", StateError);
  Execution<Host> failing(2, [](int, const std::function<void(int)>&) { throw std::runtime_error("no threads"); });
  for (int again = 0; again < 2; ++again)
    CHECK_THROWS_WITH_AS(failing.for_each_range(40, 1, [](Index, Index, int) {}), "no threads", std::runtime_error);
  CHECK_THROWS_AS(Execution<Host>(2, Execution<Host>::Executor()), ArgumentError);
  CHECK_THROWS_AS(Execution<Host>(0, [](int, const std::function<void(int)>&) {}), ArgumentError);
}
