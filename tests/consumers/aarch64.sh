#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0

# The tests of the ops, built for 64-bit ARM by cmake/aarch64.cmake and run by an emulator.
#   aarch64.sh SOURCE_DIR OUT_DIR CTEST OPTION...      OPTION: of the consumer's cmake
set -euo pipefail
cd "$(dirname "$0")"
source=$1 out=$2 ctest=$3
shift 3
command -v aarch64-linux-gnu-g++ >/dev/null || { echo "skipped: no cross compiler (g++-aarch64-linux-gnu)"; exit 77; }
command -v qemu-aarch64-static >/dev/null || command -v qemu-aarch64 >/dev/null ||
  { echo "skipped: no emulator (qemu-user-static)"; exit 77; }

"$ctest" --build-and-test aarch64 "$out" --build-noclean "$@" "-DCMAKE_TOOLCHAIN_FILE=$source/cmake/aarch64.cmake" \
  "-DACTIVATION_TRACE_SOURCE_DIR=$source" --test-command "$ctest" --output-on-failure
