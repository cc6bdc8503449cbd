// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "machine.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <new>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <thread>

#include <ucontext.h>

#include "cuda_on_cpu.hpp"
#include "races.hpp"

// Not instrumented for ThreadSanitizer: what it knows of this is what races.hpp says.
namespace cuda_on_cpu {
namespace {

constexpr std::size_t stack_bytes = std::size_t{128} << 10;
constexpr std::size_t slot_bytes = 32;
constexpr std::size_t most_shared_bytes = 227 << 10;  // dynamic, of a block

thread_local char shared_base;  // where shared memory lies in this multiprocessor

enum class Waiting { not_at_all, warp, block, cluster, barrier };

struct Place {
  void* words[5];  // of __builtin_setjmp, which ThreadSanitizer leaves alone
};

struct Thread {
  std::unique_ptr<std::byte[]> stack;
  bool begun = false;  // on that stack
  Place place;
  Identity identity;
  ThreadState state;
  Waiting waiting = Waiting::not_at_all;
  const Barrier* barrier = nullptr;  // and the phase of it that is waited for
  unsigned parity = 0;
  bool done = false;
  bool waited = false;   // for the previous kernel
  bool arrived = false;  // at the cluster's barrier
  unsigned exchanges = 0, warp_barriers = 0, block_barriers = 0, cluster_barriers = 0;
  bool fenced = false;
  std::vector<const void*> met;  // atomics since the last fence
};

struct BarrierState {
  int arrivals, pending;
  std::int64_t bytes;
  unsigned phase;
};

struct Warp {
  alignas(16) std::byte slots[2][32 * slot_bytes];  // of this and of the previous exchange
  char barrier[2];                                  // addresses to order by: of this and of the previous one
};

struct alignas(16) Chunk {
  std::byte bytes[16];
};

class Multiprocessor {
 public:
  /// The first is the thread that waits for the device: a change of threads takes long on a busy machine.
  explicit Multiprocessor(bool first) : shared_((dynamic_begin + most_shared_bytes) / 16), first_(first) {
    if (!first) std::thread([this] { work(); }).detach();
    release(&last_block_);
  }

  /// Begins a block. `rank` is its place in its cluster.
  void begin(const Launch& launch, const std::function<void()>& body, uint3 block, int rank);
  /// Runs what can run; whether that was anything.
  bool go_on() {
    if (first_) {
      run();
    } else {
      go_.release();
      back_.acquire();
    }
    return progress_;
  }
  void end();

  [[nodiscard]] bool all_wait_for_cluster() const;
  void leave_cluster_barrier();
  [[nodiscard]] bool done() const;

  Thread& running() { return threads_[running_]; }
  [[nodiscard]] const Launch& launch() const { return *launch_; }
  [[nodiscard]] int rank() const { return rank_; }
  void wait(Waiting kind);
  Warp& warp() { return warps_[running_ / 32]; }
  std::size_t lane() const { return running_ % 32; }
  std::byte* dynamic() { return shared_.data()->bytes; }
  /// The same place as `address` of `other`, here.
  const Barrier& peer(const Multiprocessor& other, const Barrier& barrier) const {
    return *reinterpret_cast<const Barrier*>(base_ + (reinterpret_cast<const char*>(&barrier) - other.base_));
  }
  BarrierState& state(const Barrier& barrier);

  std::map<const Barrier*, BarrierState> barriers;
  std::string error;
  Identity engine;    // that copies boxes
  char engine_order;  // address to order by
  char block_barrier[2];

 private:
  void work();
  void run();
  static void enter();
  static void change(Place& from, Place& to);
  void begin_fiber(Thread& thread);
  bool can_go_on(Thread& thread);
  bool run_warp(std::size_t warp);
  bool leave(std::size_t begin, std::size_t end, Waiting kind);

  const Launch* launch_ = nullptr;
  const std::function<void()>* body_ = nullptr;
  uint3 block_{};
  int rank_ = 0;
  std::size_t count_ = 0;
  std::size_t running_ = 0;
  unsigned order_ = 1;
  bool progress_ = false;
  const char* base_ = nullptr;
  Place scheduler_;
  std::deque<Thread> threads_;
  std::array<Warp, 32> warps_;
  std::vector<Chunk> shared_;
  char last_block_;  // address to order by: blocks that follow each other here are in order
  bool first_;
  std::binary_semaphore go_{0}, back_{0};
};

struct Box {
  TensorMap map;
  int column, row;
  Multiprocessor* issuer;
  Multiprocessor* target;
  std::uint32_t address;
  const Barrier* barrier;
};

#ifdef CUDA_ON_CPU_RACES
constexpr std::size_t most_multiprocessors = 2;  // neighbouring blocks have nothing that orders them
constexpr bool own_multiprocessors = true;       // of each device: nor have blocks of two devices
#else
constexpr std::size_t most_multiprocessors = 1;
constexpr bool own_multiprocessors = false;
#endif
std::map<int, std::vector<std::unique_ptr<Multiprocessor>>> multiprocessors_of;
std::vector<Multiprocessor*> cluster;  // those that run now
Multiprocessor* current = nullptr;
std::vector<Box> boxes;  // on their way
char cluster_barrier[2];
unsigned next_block = 0;

void Multiprocessor::work() {
  for (;;) {
    go_.acquire();
    run();
    back_.release();
  }
}

void Multiprocessor::run() {
  base_ = &shared_base;
  current = this;
  Identity self = Identity::current();
  progress_ = false;
  for (bool any = true; any && error.empty();) {
    any = false;
    // In an order that changes: what one warp writes before another has read it shows.
    order_ = order_ * 1664525u + 1013904223u;
    const std::size_t warps = (count_ + 31) / 32;
    for (std::size_t i = 0; i < warps && error.empty(); ++i) any = run_warp((i + (order_ >> 16)) % warps) || any;
    any = leave(0, count_, Waiting::block) || any;
    progress_ = progress_ || any;
  }
  self.become();
}

// One that is done waits here for its next block.
void Multiprocessor::enter() {
  for (;;) {
    Multiprocessor& here = *current;
    Thread& thread = here.running();
    acquire(here.launch_->queued);
    if (!here.launch_->dependent) acquire(here.launch_->before);
    acquire(&here.last_block_);
    (*here.body_)();
    thread.state = {};
    thread.met.clear();
    release(&here.last_block_);
    release(here.launch_->after);
    thread.done = true;
    change(thread.place, here.scheduler_);
  }
}

// Not in the function of a __builtin_setjmp.
[[noreturn]] __attribute__((noinline)) void jump(Place& to) { __builtin_longjmp(to.words, 1); }

__attribute__((noinline)) void Multiprocessor::change(Place& from, Place& to) {
  if (__builtin_setjmp(from.words) == 0) jump(to);
}

void Multiprocessor::begin_fiber(Thread& thread) {
  if (!thread.stack) thread.stack = std::make_unique_for_overwrite<std::byte[]>(stack_bytes);
  ucontext_t context{};
  getcontext(&context);
  context.uc_stack.ss_sp = thread.stack.get();
  context.uc_stack.ss_size = stack_bytes;
  context.uc_link = nullptr;
  makecontext(&context, &enter, 0);
  thread.begun = true;
  if (__builtin_setjmp(scheduler_.words) == 0) setcontext(&context);
}

void Multiprocessor::wait(Waiting kind) {
  Thread& thread = running();
  thread.waiting = kind;
  change(thread.place, scheduler_);
}

bool Multiprocessor::can_go_on(Thread& thread) {
  if (thread.done) return false;
  if (thread.waiting == Waiting::barrier) return (state(*thread.barrier).phase & 1) != thread.parity;
  return thread.waiting == Waiting::not_at_all;
}

/// Until all threads of the warp are done or wait.
bool Multiprocessor::run_warp(std::size_t warp) {
  const std::size_t begin = 32 * warp;
  const std::size_t end = std::min(begin + 32, count_);
  bool any = false;
  do {
    for (std::size_t i = begin; i < end && error.empty(); ++i) {
      Thread& thread = threads_[i];
      if (!can_go_on(thread)) continue;
      any = true;
      thread.waiting = Waiting::not_at_all;
      running_ = i;
      threadIdx = {static_cast<unsigned>(i), 0, 0};
      blockIdx = block_;
      thread.identity.become();
      if (thread.begun)
        change(scheduler_, thread.place);
      else
        begin_fiber(thread);
    }
  } while (error.empty() && leave(begin, end, Waiting::warp));
  return any;
}

/// Lets threads go on that all wait for each other.
bool Multiprocessor::leave(std::size_t begin, std::size_t end, Waiting kind) {
  bool any = false;
  for (std::size_t i = begin; i < end; ++i) {
    if (threads_[i].done) continue;
    if (threads_[i].waiting != kind) return false;
    any = true;
  }
  for (std::size_t i = begin; i < end; ++i) threads_[i].waiting = Waiting::not_at_all;
  return any;
}

void Multiprocessor::begin(const Launch& launch, const std::function<void()>& body, uint3 block, int rank) {
  launch_ = &launch;
  body_ = &body;
  block_ = block;
  rank_ = rank;
  count_ = static_cast<std::size_t>(launch.threads);
  const std::size_t chunks = (dynamic_begin + static_cast<std::size_t>(launch.shared_bytes) + 15) / 16;
  for (std::size_t i = 0; i < chunks; ++i)
    for (volatile std::byte& byte : shared_[i].bytes) byte = std::byte{0xff};
  if (threads_.size() < count_) {
    while (threads_.size() < count_) threads_.emplace_back();
    release(&last_block_);
  }
  for (std::size_t i = 0; i < count_; ++i) {
    Thread& thread = threads_[i];
    thread.waiting = Waiting::not_at_all;
    thread.done = thread.waited = thread.arrived = thread.fenced = false;
    thread.exchanges = thread.warp_barriers = thread.block_barriers = thread.cluster_barriers = 0;
  }
  const Unseen machine;
  barriers.clear();
}

void Multiprocessor::end() {
  for (std::size_t i = 0; i < count_; ++i) {
    if (!threads_[i].done && error.empty()) error = "a barrier that not every thread reaches";
    if (threads_[i].done && launch_->dependent && !threads_[i].waited && error.empty())
      error = "a dependent launch of code that does not wait for the work ahead of it";
    if (!threads_[i].done) threads_[i].begun = false;  // left where it is
  }
}

bool Multiprocessor::done() const {
  for (std::size_t i = 0; i < count_; ++i)
    if (!threads_[i].done) return false;
  return true;
}

bool Multiprocessor::all_wait_for_cluster() const {
  for (std::size_t i = 0; i < count_; ++i)
    if (!threads_[i].done && threads_[i].waiting != Waiting::cluster) return false;
  return true;
}

void Multiprocessor::leave_cluster_barrier() { leave(0, count_, Waiting::cluster); }

BarrierState& Multiprocessor::state(const Barrier& barrier) {
  const auto found = barriers.find(&barrier);
  if (found == barriers.end()) fail("an mbarrier is used that was not initialised");
  return found->second;
}

/// Takes arrivals and bytes off a barrier.
void count_down(Multiprocessor& here, const Barrier& barrier, int arrivals, std::int64_t bytes) {
  BarrierState& state = here.state(barrier);
  release(&barrier.place[4 * (state.phase & 1)]);
  state.pending -= arrivals;
  state.bytes -= bytes;
  if (state.pending < 0) fail("more arrivals at an mbarrier than it counts");
  if (state.pending > 0 || state.bytes != 0) return;
  state.pending = state.arrivals;
  ++state.phase;
}

/// Does what the copy engine has before it: one box, any of them.
void copy_one_box() {
  static unsigned order = 1;
  order = order * 1664525u + 1013904223u;
  const std::size_t place = (order >> 16) % boxes.size();
  const Box box = boxes[place];
  {
    const Unseen machine;
    boxes.erase(boxes.begin() + static_cast<std::ptrdiff_t>(place));
  }
  Identity self = Identity::current();
  box.issuer->engine.become();
  acquire(&box.issuer->engine_order);
  const TensorMap& map = box.map;
  for (std::uint32_t r = 0; r < map.box_rows; ++r)
    for (std::uint32_t c = 0; c < map.box_columns; c += 8) {  // chunks of 16 bytes
      std::byte chunk[16] = {};
      const std::int64_t row = box.row + static_cast<std::int64_t>(r);
      const std::int64_t left = static_cast<std::int64_t>(map.columns) - box.column - static_cast<std::int64_t>(c);
      if (row >= 0 && row < static_cast<std::int64_t>(map.rows) && left > 0)
        std::memcpy(chunk,
                    map.data + static_cast<std::uint64_t>(row) * map.row_bytes +
                        2 * (static_cast<std::uint64_t>(box.column) + c),
                    static_cast<std::size_t>(2 * std::min<std::int64_t>(left, 8)));
      std::memcpy(box.target->dynamic() + swizzled(box.address + 128 * r + 2 * c), chunk, 16);
    }
  count_down(*box.target, *box.barrier, 0, static_cast<std::int64_t>(map.box_rows) * map.box_columns * 2);
  self.become();
}

/// One cluster from beginning to end.
void run_cluster() {
  for (;;) {
    bool any = false, error = false, done = true, all_wait = true;
    for (Multiprocessor* const here : cluster) {
      any = here->go_on() || any;
      error = error || !here->error.empty();
      done = done && here->done();
      all_wait = all_wait && here->all_wait_for_cluster();
    }
    if (error || (done && boxes.empty())) return;
    if (any) continue;
    if (all_wait && !done)
      for (Multiprocessor* const here : cluster) here->leave_cluster_barrier();
    else if (!boxes.empty())
      copy_one_box();
    else
      return;  // nobody can go on
  }
}

}  // namespace

void run_grid(const Launch& launch, const std::function<void()>& body) {
  gridDim = launch.blocks;
  blockDim = dim3(static_cast<unsigned>(launch.threads));
  const auto size = static_cast<unsigned>(launch.cluster);
  const std::size_t used = std::max<std::size_t>(most_multiprocessors, size);
  const bool is_first = multiprocessors_of.empty();
  std::vector<std::unique_ptr<Multiprocessor>>& multiprocessors =
      multiprocessors_of[own_multiprocessors ? launch.device : 0];
  while (multiprocessors.size() < used)
    multiprocessors.push_back(std::make_unique<Multiprocessor>(is_first && multiprocessors.empty()));
  for (unsigned z = 0; z < launch.blocks.z; ++z)
    for (unsigned y = 0; y < launch.blocks.y; ++y)
      for (unsigned x = 0; x < launch.blocks.x; x += size) {
        cluster.clear();
        for (unsigned rank = 0; rank < size; ++rank) {
          cluster.push_back(multiprocessors[next_block++ % used].get());
          cluster.back()->begin(launch, body, {x + rank, y, z}, static_cast<int>(rank));
        }
        run_cluster();
        std::string error;  // what went wrong, or else who was left waiting
        for (const Multiprocessor* const here : cluster)
          if (error.empty()) error = here->error;
        for (Multiprocessor* const here : cluster) {
          here->end();
          if (error.empty()) error = here->error;
          here->error.clear();
        }
        if (error.empty() && !boxes.empty()) error = "a block ended while a copy was on its way";
        boxes.clear();
        if (!error.empty()) throw std::logic_error(error);
      }
}

ThreadState& self() { return current->running().state; }

void fail(const char* what) {
  current->error = what;
  current->wait(Waiting::block);  // for ever
  std::abort();
}

void wait_for_previous() {
  Thread& thread = current->running();
  if (!current->launch().can_wait) return;
  thread.waited = true;
  acquire(current->launch().before);
}

void sync_block() {
  const unsigned turn = current->running().block_barriers++ % 2;
  release(&current->block_barrier[turn]);
  current->wait(Waiting::block);
  acquire(&current->block_barrier[turn]);
}

void sync_warp() {
  const unsigned turn = current->running().warp_barriers++ % 2;
  release(&current->warp().barrier[turn]);
  current->wait(Waiting::warp);
  acquire(&current->warp().barrier[turn]);
}

const void* exchange(const void* value, std::size_t bytes) {
  if (bytes > slot_bytes) fail("more than a lane can give");
  std::byte* const slots = current->warp().slots[current->running().exchanges++ % 2];
  // Not by memcpy, which ThreadSanitizer would see.
  const auto* const from = static_cast<const volatile std::byte*>(value);
  volatile std::byte* const to = slots + current->lane() * bytes;
  for (std::size_t i = 0; i < bytes; ++i) to[i] = from[i];
  current->wait(Waiting::warp);
  return slots;
}

void arrive_cluster() {
  Thread& thread = current->running();
  thread.arrived = true;
  release(&cluster_barrier[thread.cluster_barriers % 2]);
}

void wait_cluster() {
  Thread& thread = current->running();
  if (!thread.arrived) fail("a wait for the cluster without an arrival");
  thread.arrived = false;
  current->wait(Waiting::cluster);
  acquire(&cluster_barrier[thread.cluster_barriers++ % 2]);
}

int cluster_rank() { return current->rank(); }

void fence() {
  Thread& thread = current->running();
  thread.fenced = true;
  for (const void* const address : thread.met) acquire(address);
  thread.met.clear();
}
void before_atomic(const void* address) {
  Thread& thread = current->running();
  if (std::exchange(thread.fenced, false)) release(address);
}
void after_atomic(const void* address) { current->running().met.push_back(address); }

std::byte* dynamic_shared() { return current->dynamic() + dynamic_begin; }
std::byte* shared_at(std::uint32_t address, std::size_t bytes) {
  if (address < dynamic_begin ||
      address + bytes > dynamic_begin + static_cast<std::size_t>(current->launch().shared_bytes))
    fail("outside of the block's dynamic shared memory");
  return current->dynamic() + address;
}

void init_barrier(Barrier& barrier, int arrivals) {
  if (arrivals < 1) fail("an mbarrier for nobody");
  const Unseen machine;
  current->barriers[&barrier] = {arrivals, arrivals, 0, 0};
}

void arrive(const Barrier& barrier, int rank, std::uint32_t bytes) {
  if (rank < 0 || static_cast<std::size_t>(rank) >= cluster.size()) fail("no such block in the cluster");
  Multiprocessor& there = *cluster[static_cast<std::size_t>(rank)];
  if (there.done()) fail("an arrival at a barrier of a block that has ended");
  const Barrier& peer = there.peer(*current, barrier);
  there.state(peer).bytes += bytes;
  count_down(there, peer, 1, 0);
}

void wait_phase(const Barrier& barrier, std::uint32_t parity) {
  Thread& thread = current->running();
  const BarrierState& state = current->state(barrier);
  if (parity > 1) fail("a parity is 0 or 1");
  if ((state.phase & 1) == parity) {
    thread.barrier = &barrier;
    thread.parity = parity;
    current->wait(Waiting::barrier);
  }
  acquire(&barrier.place[4 * parity]);
}

void copy_box(std::uint32_t target, const CUtensorMap& map, int column, int row, const Barrier& barrier,
              unsigned mask) {
  Box box{};
  static_assert(sizeof(TensorMap) <= sizeof(CUtensorMap));
  const auto* const from = reinterpret_cast<const volatile std::byte*>(&map);
  for (std::size_t i = 0; i < sizeof(TensorMap); ++i) reinterpret_cast<volatile std::byte*>(&box.map)[i] = from[i];
  box.column = column;
  box.row = row;
  box.issuer = current;
  box.address = target;
  const std::size_t bytes = std::size_t{box.map.box_rows} * box.map.box_columns * 2;
  static_cast<void>(shared_at(target, bytes));
  if (target % 128 != 0) fail("a box begins at no multiple of 128 bytes");
  if ((mask >> cluster.size()) != 0) fail("a box for a block that is not in the cluster");
  for (std::size_t rank = 0; rank < cluster.size(); ++rank)
    if ((mask >> rank & 1u) != 0) {
      if (cluster[rank]->done()) fail("a copy to a block that has ended");
      cluster[rank]->state(cluster[rank]->peer(*current, barrier));
    }
  Identity self = Identity::current();
  release(&current->engine_order);
  current->engine.become();
  acquire(&current->engine_order);
  for (std::size_t rank = 0; rank < cluster.size(); ++rank) {
    if ((mask >> rank & 1u) == 0) continue;
    box.target = cluster[rank];
    box.barrier = &box.target->peer(*current, barrier);
    std::memset(box.target->dynamic() + target, 0xff, bytes);  // from now on it may be there
    const Unseen machine;
    boxes.push_back(box);
  }
  self.become();
}

}  // namespace cuda_on_cpu
