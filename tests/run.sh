#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0

# The README's second command: builds the tests and examples and runs every test.
#   tests/run.sh [WORKFLOW PRESET]     dev (default), asan-ubsan, tsan, release or cuda
set -euo pipefail
cd "$(dirname "$0")/.."
. cmake/debian_packages.sh

need_packages g++ cmake ninja-build ccache patch libeigen3-dev nlohmann-json3-dev libcli11-dev doctest-dev libbenchmark-dev \
  libdlpack-dev pkg-config dpkg-dev file python3 python3-numpy libssl-dev libcpp-httplib-dev libopenmpi-dev openmpi-bin
case "${1:-dev}" in
  dev) need_packages g++-aarch64-linux-gnu qemu-user-static ;;
  asan-ubsan) need_packages clang-14 libclang-rt-14-dev ;;
esac
build_settings
exec cmake --workflow --preset "${1:-dev}"
