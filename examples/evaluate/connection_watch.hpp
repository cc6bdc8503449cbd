// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

namespace activation_trace::examples {

/// A connection that another library reads from: what arrives on it is limited from outside, in whatever phase it is,
/// since that library has limits for none of handshake, header lines and body.
class WatchedConnection {
 public:
  WatchedConnection() = default;
  WatchedConnection(const WatchedConnection&) = delete;
  WatchedConnection& operator=(const WatchedConnection&) = delete;
  ~WatchedConnection();

  /// From now on this socket is meant; the one before is not watched any more.
  void use(int socket);

 private:
  friend class ConnectionWatch;

  [[nodiscard]] std::uint64_t received() const;

  std::mutex mutex_;
  int socket_ = -1;           // a descriptor of our own: nobody else closes it
  std::uint64_t before_ = 0;  // bytes that had arrived when the watch began
};

/// While it lives, shuts the connection down once the time is over, too many bytes have arrived (where the system
/// counts them: Linux), or Ctrl-C was pressed.
class ConnectionWatch {
 public:
  enum class Reason { none, seconds, bytes, interrupt };

  ConnectionWatch(WatchedConnection& connection, double seconds, std::uint64_t most_bytes);
  ConnectionWatch(const ConnectionWatch&) = delete;
  ConnectionWatch& operator=(const ConnectionWatch&) = delete;
  ~ConnectionWatch();

  /// Why the connection was shut down.
  [[nodiscard]] Reason reason() const noexcept { return reason_; }

 private:
  void run();
  [[nodiscard]] Reason check() const;

  WatchedConnection& connection_;
  std::chrono::steady_clock::time_point end_;
  std::uint64_t most_bytes_;
  std::atomic<Reason> reason_ = Reason::none;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace activation_trace::examples
