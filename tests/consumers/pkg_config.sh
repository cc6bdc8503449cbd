#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0

# Programs by pkg-config and nothing else, from an installation that lies elsewhere than it was configured for.
#   pkg_config.sh PREFIX BUILD_DIR C++_COMPILER...
set -euo pipefail
cd "$(dirname "$0")"
prefix=$1 build=$2
shift 2
command -v pkg-config >/dev/null || { echo "skipped: no pkg-config"; exit 77; }
mkdir -p "$build"
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig

try() {  # COMPONENT SOURCE COMPILER...
  local component=$1 source=$2 program=$build/$1
  shift 2
  # shellcheck disable=SC2046  # flags are words
  "$@" $(pkg-config --cflags "$component") -c "$source" -o "$program.o" &&
    "$@" "$program.o" $(pkg-config --libs "$component") -lm -o "$program" &&
    LD_LIBRARY_PATH=$prefix/lib "$program" || { echo "failed: $component"; exit 1; }
  echo "$component $(pkg-config --modversion "$component"): $(pkg-config --cflags --libs "$component")"
}
try activation_trace fetch_content/main.cpp "$@" -std=c++20  # and -processors, which it requires
try activation_trace-kernels processor_only/main.cpp "$@" -std=c++20
try activation_trace-c c/main.c cc -std=c99 -pedantic-errors
