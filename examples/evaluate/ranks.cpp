// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/ranks.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "activation_trace/error.hpp"
#include "activation_trace/evaluation/run_log.hpp"
#include "activation_trace/text/json.hpp"
#ifdef ACTIVATION_TRACE_MPI
#include <mpi.h>
#endif

namespace activation_trace::examples {
namespace {

/// Processes of the mpirun that started this one, as Open MPI, and MPICH and its kin, tell it.
int started_processes() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"})
    if (const char* size = std::getenv(name)) return std::atoi(size);
  return 1;
}

#ifdef ACTIVATION_TRACE_MPI

enum Tag : int {
  kAsk,      // a rank to rank 0: it has no samples left; what it runs
  kRecord,   // a rank to rank 0: a record as JSON
  kEnded,    // a rank to rank 0: its body has ended; the error's text
  kSamples,  // the answer to kAsk: numbers of samples
  kFarewell  // rank 0 to all: everybody has ended
};

struct Message {
  int source;
  int tag;
  std::string bytes;
};

std::optional<Message> poll() {
  int arrived = 0;
  MPI_Status status;
  MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &arrived, &status);
  if (arrived == 0) return std::nullopt;
  int size = 0;
  MPI_Get_count(&status, MPI_BYTE, &size);
  Message message{status.MPI_SOURCE, status.MPI_TAG, std::string(static_cast<std::size_t>(size), '\0')};
  MPI_Recv(message.bytes.data(), size, MPI_BYTE, message.source, message.tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  return message;
}

/// MPI waits at full speed, on a core that others compute on; this does not.
void pause() { std::this_thread::sleep_for(std::chrono::microseconds(500)); }

Message receive() {
  for (;; pause())
    if (std::optional<Message> message = poll()) return *std::move(message);
}

void send(int rank, Tag tag, const std::string& bytes) {
  MPI_Send(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, rank, tag, MPI_COMM_WORLD);
}

#endif

}  // namespace

int Ranks::threads() const {
  // mpirun may have bound the process to its share already.
  const int usable = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const int cores = static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
  return usable < cores ? usable : std::max(1, cores / on_this_machine_);
}

#ifndef ACTIVATION_TRACE_MPI

Ranks::Ranks() {
  if (started_processes() > 1)
    throw Error("mpirun started " + std::to_string(started_processes()) +
                " processes, but this program was built without MPI; use --shard, or build it with MPI");
}

Ranks::~Ranks() = default;

int Ranks::together(const std::function<int()>& body) { return body(); }

void Ranks::share(const nlohmann::ordered_json&, const NextSamples& next, const Emit& take, const Work& work) {
  work(next, take);
}

#else

Ranks::Ranks() {
  if (started_processes() == 1) return;
  int granted = 0;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &granted);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &size_);
  MPI_Comm machine;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &machine);
  MPI_Comm_size(machine, &on_this_machine_);
  MPI_Comm_free(&machine);
  states_.assign(static_cast<std::size_t>(size_), State::running);
  if (rank_ > 0 && std::freopen("/dev/null", "w", stdout) == nullptr) throw Error("/dev/null: cannot be opened");
}

Ranks::~Ranks() {
  if (started_processes() > 1) MPI_Finalize();
}

int Ranks::together(const std::function<int()>& body) {
  if (size_ == 1) return body();
  if (rank_ > 0) {
    std::string error;
    try {
      body();
    } catch (const std::exception& e) {
      error = e.what();
    }
    send(0, kEnded, error);
    while (receive().tag != kFarewell) {
    }
    return 0;
  }
  int result = 0;
  try {
    result = body();
  } catch (...) {
    wait_for_end();
    throw;
  }
  wait_for_end();
  if (!error_.empty()) throw Error(error_);
  return result;
}

void Ranks::share(const nlohmann::ordered_json& manifest, const NextSamples& next, const Emit& take, const Work& work) {
  if (size_ == 1) return work(next, take);
  manifest_ = manifest;
  if (rank_ == 0) return serve(next, take, work);
  const auto ask = [&] {
    send(0, kAsk, activation_trace::detail::json_text(manifest_));
    const std::string bytes = receive().bytes;
    std::vector<Index> samples(bytes.size() / sizeof(Index));
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(samples.data()));
    return samples;
  };
  const auto hand_over = [](Index sample, const nlohmann::ordered_json& record) {
    const nlohmann::ordered_json message{{"sample", sample}, {"record", record}};
    send(0, kRecord, activation_trace::detail::json_text(message));
  };
  work(ask, hand_over);
}

// The main thread answers the others, because MPI is told that no other thread will call it; a second one works.
void Ranks::serve(const NextSamples& next, const Emit& take, const Work& work) {
  std::mutex mutex;
  std::exception_ptr failure;
  std::atomic<bool> stopped = false;
  std::atomic<bool> working = true;
  const auto fail = [&] {
    const std::scoped_lock lock(mutex);
    if (!failure) failure = std::current_exception();
    stopped = true;
  };
  const auto one_next = [&]() -> std::vector<Index> {
    try {
      const std::scoped_lock lock(mutex);
      if (!stopped) return next();
    } catch (...) {
      fail();
    }
    return {};  // an answer in any case: a rank waits for it
  };
  const auto one_take = [&](Index sample, nlohmann::ordered_json record) {
    const std::scoped_lock lock(mutex);
    take(sample, std::move(record));
  };
  {
    const std::jthread own([&] {
      try {
        work(one_next, one_take);
      } catch (...) {
        fail();
      }
      working = false;
    });
    while (working || std::find(states_.begin() + 1, states_.end(), State::running) != states_.end()) {
      try {
        if (!answer(one_next, one_take)) pause();
      } catch (...) {
        fail();
      }
      if (!error_.empty()) stopped = true;
    }
  }
  if (failure) std::rethrow_exception(failure);
  if (!error_.empty()) throw Error(error_);
}

// One message of another rank, if there is one.
bool Ranks::answer(const NextSamples& next, const Emit& take) {
  std::optional<Message> message = poll();
  if (!message) return false;
  State& state = states_[static_cast<std::size_t>(message->source)];
  const std::string sender = "rank " + std::to_string(message->source) + ": ";
  using activation_trace::detail::parse_json;
  if (message->tag == kAsk) {
    if (error_.empty() && !manifest_.is_null())
      if (const auto change = manifest_change(manifest_, parse_json(message->bytes, sender + "its manifest")))
        error_ = sender + "its '" + change->key + "' is " + change->now + ", and " + change->before + " of rank 0";
    const std::vector<Index> samples = error_.empty() ? next() : std::vector<Index>();
    if (samples.empty()) state = State::idle;
    send(message->source, kSamples,
         std::string(reinterpret_cast<const char*>(samples.data()), samples.size() * sizeof(Index)));
  } else if (message->tag == kRecord) {
    auto record = parse_json<nlohmann::ordered_json>(message->bytes, sender + "its record");
    take(record["sample"].get<Index>(), std::move(record["record"]));
  } else {
    state = State::ended;
    if (error_.empty() && !message->bytes.empty()) error_ = sender + message->bytes;
  }
  return true;
}

void Ranks::wait_for_end() {
  const auto none = [] { return std::vector<Index>(); };
  const auto ignore = [](Index, const nlohmann::ordered_json&) {};
  while (std::any_of(states_.begin() + 1, states_.end(), [](State state) { return state != State::ended; }))
    if (!answer(none, ignore)) pause();
  for (int other = 1; other < size_; ++other) send(other, kFarewell, {});
}

#endif

}  // namespace activation_trace::examples
