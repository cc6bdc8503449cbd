// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "activation_trace/config.hpp"
#include "activation_trace/error.hpp"
#include "activation_trace/ops/isa.hpp"
#include "activation_trace/tensor/buffer.hpp"
#include "activation_trace/tensor/space.hpp"

namespace activation_trace {
inline namespace v0 {

/// The host's: a fixed number of workers, the instruction set of their kernels, and their scratch memory.
///
/// The calling thread is worker 0; a context of one thread starts none. Work is split into static contiguous
/// ranges, so who computes what follows from the sizes alone. Between calls workers spin for some tens of
/// microseconds, the length of the serial pieces of a decoder, and then sleep: threads that only spin
/// starve each other when the machine is busy. One op at a time runs on it, and none from inside another.
template <>
class Execution<Host> {
 public:
  /// Throws ArgumentError for fewer than 1 or more than 1024 threads or an instruction set that this
  /// processor lacks, Error if the system starts no more threads.
  explicit Execution(int threads = 1, Isa isa = best_isa());

  /// An engine's own threads: calls part(w) once for each w in [0, parts), on whatever threads it likes and in any
  /// order, and returns when all have returned. `part` throws nothing.
  using Executor = std::function<void(int parts, const std::function<void(int w)>& part)>;

  /// Starts no threads: work is cut into `threads` parts, as for so many workers and with the same results, which
  /// `executor` calls. Throws as above, and ArgumentError for an empty function. What `executor` throws passes through
  /// the op; one that leaves parts out makes it throw StateError.
  Execution(int threads, Executor executor, Isa isa = best_isa());
  ~Execution();
  Execution(const Execution&) = delete;
  Execution& operator=(const Execution&) = delete;

  /// Workers, the calling thread among them.
  [[nodiscard]] int threads() const noexcept { return static_cast<int>(workers_.size()); }
  /// The instruction set of the kernels, as given to the constructor.
  [[nodiscard]] Isa isa() const noexcept { return isa_; }

  /// Calls `f(begin, end, worker)` on every worker that gets a part of [0, count), and returns when all
  /// have; boundaries are multiples of `grain`. If calls throw, the exception of the lowest worker is
  /// rethrown here. Throws StateError when called from inside itself or from two threads at once.
  template <class F>
  void for_each_range(Index count, Index grain, F&& f);

  /// The same for rows of `width` elements that are passed over once, as f(begin, end). Where that is done before the
  /// other workers are awake, the calling thread does it: one row, or a few thousand elements.
  template <class F>
  void for_each_rows(Index rows, Index width, F&& f);

  /// Scratch memory of one worker, 64-byte aligned, for the duration of its f: grows to the largest size
  /// asked for and keeps it, so a loop of equal calls allocates once.
  [[nodiscard]] std::span<float> scratch(int worker, Index floats);

 private:
  using Task = void (*)(void* context, int worker);

  // Each worker's own cache line: neighbours' scratch pointers are written while it runs.
  struct alignas(64) Worker {
    Buffer<float> scratch;
    std::exception_ptr exception;
    std::thread thread;
  };

  void check_arguments(int threads) const;
  void run(Task task, void* context, int workers);
  void start(Task task, void* context, int workers);
  void lend(Task task, void* context);
  void call(Task task, void* context, int worker) noexcept;
  void serve(int worker);
  void stop() noexcept;
  template <class T>
  static T await_change(const std::atomic<T>& value, T old);
  static void pause();

  Isa isa_;
  Executor executor_;  // empty: own threads
  std::vector<Worker> workers_;
  std::atomic<bool> busy_ = false;
  Task task_ = nullptr;  // nullptr: stop
  void* context_ = nullptr;
  alignas(64) std::atomic<std::uint32_t> generation_ = 0;  // raised once per task
  alignas(64) std::atomic<int> running_ = 0;               // workers that have not finished the task
};

/// `Execution execution(2);` is one of the host.
Execution(int threads, Isa isa = best_isa())->Execution<Host>;
/// The same of one on an engine's threads.
Execution(int threads, std::function<void(int, const std::function<void(int)>&)> executor, Isa isa = best_isa())
    ->Execution<Host>;

/// An execution context that somebody lends and that must outlive this, or else an own one, the calling thread alone.
class ExecutionHandle {
 public:
  ExecutionHandle() : own_(std::make_unique<Execution<Host>>(1)), execution_(own_.get()) {}
  /// Lent: `execution` must outlive the handle.
  ExecutionHandle(Execution<Host>& execution) noexcept : execution_(&execution) {}  // NOLINT: passed as it is

  /// The context, lent or own.
  [[nodiscard]] Execution<Host>& operator*() const noexcept { return *execution_; }
  /// The same, never null.
  [[nodiscard]] Execution<Host>* operator->() const noexcept { return execution_; }

 private:
  std::unique_ptr<Execution<Host>> own_;
  Execution<Host>* execution_;
};

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE void Execution<Host>::check_arguments(int threads) const {
  if (threads < 1 || threads > 1024)
    throw ArgumentError("Execution: threads must be in 1..1024, got " + std::to_string(threads));
  if (!supports(isa_)) throw ArgumentError("Execution: this processor does not run " + std::string(name(isa_)));
}

ACTIVATION_TRACE_COMPILED_INLINE Execution<Host>::Execution(int threads, Executor executor, Isa isa)
    : isa_(isa), executor_(std::move(executor)) {
  check_arguments(threads);
  if (!executor_) throw ArgumentError("Execution: executor is an empty function");
  workers_ = std::vector<Worker>(static_cast<std::size_t>(threads));
}

ACTIVATION_TRACE_COMPILED_INLINE Execution<Host>::Execution(int threads, Isa isa) : isa_(isa) {
  check_arguments(threads);
  workers_ = std::vector<Worker>(static_cast<std::size_t>(threads));
  try {
    for (int worker = 1; worker < threads; ++worker)
      workers_[static_cast<std::size_t>(worker)].thread = std::thread([this, worker] { serve(worker); });
  } catch (const std::system_error& e) {
    const auto started = std::ranges::count_if(workers_, [](const Worker& w) { return w.thread.joinable(); });
    stop();  // end those that run
    throw Error("Execution: of " + std::to_string(threads) + " threads the system starts no more than " +
                std::to_string(1 + started) + " (" + e.code().message() + "); ask for fewer, -t in the programs");
  }
}

#endif  // ACTIVATION_TRACE_BODIES

inline Execution<Host>::~Execution() { stop(); }

inline void Execution<Host>::stop() noexcept {
  task_ = nullptr;
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (Worker& worker : workers_)
    if (worker.thread.joinable()) worker.thread.join();
}

template <class F>
void Execution<Host>::for_each_range(Index count, Index grain, F&& f) {
  if (count < 0 || grain < 1) throw ArgumentError("Execution::for_each_range: needs count >= 0 and grain >= 1");
  struct Context {
    std::remove_reference_t<F>* f;
    Index count, grain, chunks, size;
  } context{&f, count, grain, count / grain + (count % grain != 0), threads()};
  const auto task = [](void* opaque, int worker) {
    const auto& c = *static_cast<const Context*>(opaque);
    const Index begin = (c.chunks * worker + c.size - 1) / c.size * c.grain;
    const Index end = std::min((c.chunks * (worker + 1) + c.size - 1) / c.size * c.grain, c.count);
    if (begin < end) (*c.f)(begin, end, worker);
  };
  run(task, &context, context.chunks > 1 ? threads() : 1);
}

template <class F>
void Execution<Host>::for_each_rows(Index rows, Index width, F&& f) {
  constexpr Index worth_waking = 8192;  // elements: some microseconds
  if (rows > 1 && rows * width >= worth_waking)
    for_each_range(rows, 1, [&](Index begin, Index end, int) { f(begin, end); });
  else
    f(Index{0}, rows);
}

#if ACTIVATION_TRACE_BODIES

ACTIVATION_TRACE_COMPILED_INLINE std::span<float> Execution<Host>::scratch(int worker, Index floats) {
  Buffer<float>& buffer = workers_.at(static_cast<std::size_t>(worker)).scratch;
  if (buffer.size() < floats) buffer = Buffer<float>(floats);
  return {buffer.data(), static_cast<std::size_t>(floats)};
}

ACTIVATION_TRACE_COMPILED_INLINE void Execution<Host>::run(Task task, void* context, int workers) {
  if (busy_.exchange(true, std::memory_order_acquire))
    throw StateError("Execution: for_each_range was called while another call runs");
  std::exception_ptr first;
  if (workers > 1 && executor_) {
    try {
      lend(task, context);
    } catch (...) {
      first = std::current_exception();
    }
  } else {
    start(task, context, workers);
  }
  for (Worker& worker : workers_) {
    std::exception_ptr thrown = std::exchange(worker.exception, nullptr);
    if (!first) first = std::move(thrown);
  }
  busy_.store(false, std::memory_order_release);
  if (first) std::rethrow_exception(first);
}

ACTIVATION_TRACE_COMPILED_INLINE void Execution<Host>::lend(Task task, void* context) {
  std::atomic<int> called = 0;
  const auto part = [&](int worker) {
    call(task, context, worker);
    called.fetch_add(1, std::memory_order_acq_rel);
  };
  executor_(threads(), std::ref(part));  // a reference fits into a function without allocating
  if (const int count = called.load(std::memory_order_acquire); count != threads())
    throw StateError("Execution: the executor called " + std::to_string(count) + " of " + std::to_string(threads()) +
                     " parts");
}

ACTIVATION_TRACE_COMPILED_INLINE void Execution<Host>::start(Task task, void* context, int workers) {
  if (workers > 1) {
    task_ = task;
    context_ = context;
    running_.store(threads() - 1, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
  }
  call(task, context, 0);
  for (int left = running_.load(std::memory_order_acquire); left != 0;) left = await_change(running_, left);
}

ACTIVATION_TRACE_COMPILED_INLINE void Execution<Host>::call(Task task, void* context, int worker) noexcept {
  try {
    task(context, worker);
  } catch (...) {
    workers_[static_cast<std::size_t>(worker)].exception = std::current_exception();
  }
}

ACTIVATION_TRACE_COMPILED_INLINE void Execution<Host>::serve(int worker) {
  for (std::uint32_t seen = 0;;) {
    seen = await_change(generation_, seen);
    if (task_ == nullptr) return;
    call(task_, context_, worker);
    if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) running_.notify_one();
  }
}

#endif  // ACTIVATION_TRACE_BODIES

template <class T>
T Execution<Host>::await_change(const std::atomic<T>& value, T old) {
  for (int spin = 0; spin < 2000; ++spin) {
    const T now = value.load(std::memory_order_acquire);
    if (now != old) return now;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

inline void Execution<Host>::pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace v0
}  // namespace activation_trace
