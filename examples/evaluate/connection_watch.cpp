// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluate/connection_watch.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <system_error>

#include "activation_trace/error.hpp"
#include "support/interrupt.hpp"
// Not beside netinet/tcp.h, which cpp-httplib includes: it has the same structure without the bytes received.
#if __has_include(<linux/tcp.h>)
#include <linux/tcp.h>
#include <netinet/in.h>
#endif

namespace activation_trace::examples {

WatchedConnection::~WatchedConnection() {
  if (socket_ >= 0) ::close(socket_);
}

void WatchedConnection::use(int socket) {
  const std::lock_guard lock(mutex_);
  if (socket_ >= 0) ::close(socket_);
  socket_ = ::dup(socket);
  before_ = 0;
}

std::uint64_t WatchedConnection::received() const {
#ifdef TCP_INFO
  tcp_info info{};
  socklen_t size = sizeof info;
  if (socket_ >= 0 && ::getsockopt(socket_, IPPROTO_TCP, TCP_INFO, &info, &size) == 0) return info.tcpi_bytes_received;
#endif
  return 0;
}

ConnectionWatch::ConnectionWatch(WatchedConnection& connection, double seconds, std::uint64_t most_bytes)
    : connection_(connection),
      end_(std::chrono::steady_clock::now() +
           std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(seconds))),
      most_bytes_(most_bytes) {
  {
    const std::lock_guard lock(connection_.mutex_);
    connection_.before_ = connection_.received();
  }
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& e) {
    throw Error(std::string("--url: no thread can be started to watch the connection: ") + e.what() +
                "; allow more processes (ulimit -u) or end some");
  }
}

ConnectionWatch::~ConnectionWatch() {
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

ConnectionWatch::Reason ConnectionWatch::check() const {
  if (interrupted != 0) return Reason::interrupt;
  if (std::chrono::steady_clock::now() >= end_) return Reason::seconds;
  return connection_.received() - connection_.before_ > most_bytes_ ? Reason::bytes : Reason::none;
}

void ConnectionWatch::run() {
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, std::chrono::milliseconds(10), [this] { return done_; })) {
    const std::lock_guard connection(connection_.mutex_);
    if (reason_ == Reason::none) reason_ = check();
    // Again and again: a connection may be made anew.
    if (reason_ != Reason::none && connection_.socket_ >= 0) ::shutdown(connection_.socket_, SHUT_RDWR);
  }
}

}  // namespace activation_trace::examples
