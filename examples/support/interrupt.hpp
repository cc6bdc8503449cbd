// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <csignal>

namespace activation_trace::examples {

/// Whether Ctrl-C was pressed since catch_interrupt(): a signal handler can reach nothing but a global.
inline volatile std::sig_atomic_t interrupted = 0;

/// The first Ctrl-C asks for an end after the current step; the second has the usual effect.
inline void catch_interrupt() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = 1; };
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  sigaction(SIGINT, &action, nullptr);
}

}  // namespace activation_trace::examples
