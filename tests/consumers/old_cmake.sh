#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0

# The oldest CMake that guests may use, from PyPI, on the two ways in.
#   old_cmake.sh SOURCE_DIR PREFIX BUILD_DIR OPTION...    PREFIX: an installation; OPTION: -D... of every project
# Exits with 77, which ctest shows as skipped, where that CMake cannot be had.
set -euo pipefail
source=$1 prefix=$2 build=$3
shift 3
version=3.22.6
tools=$build/cmake-$version
if [ ! -d "$tools" ]; then
  part=$(mktemp -d)
  trap 'rm -rf "$part"' EXIT
  if ! timeout 120 python3 -m pip download -q --no-deps --disable-pip-version-check --dest "$part" cmake==$version; then
    echo "skipped: CMake $version could not be fetched from PyPI (python3-pip, a network)"
    exit 77
  fi
  python3 -m zipfile -e "$part"/cmake-*.whl "$part/wheel"
  chmod +x "$part"/wheel/cmake/data/bin/*
  mkdir -p "$build"
  mv "$part/wheel/cmake/data" "$tools"
fi

try() {  # PROJECT NAME OPTION...
  local project=$source/tests/consumers/$1 folder=$build/$2
  shift 2
  rm -rf "$folder"
  "$tools/bin/cmake" -S "$project" -B "$folder" -G Ninja "$@"
  "$tools/bin/cmake" --build "$folder"
  (cd "$folder" && "$tools/bin/ctest" --output-on-failure)
}
# Not the project find_package, whose files take eight times as long to compile and read the same package.
try kernels kernels -DCMAKE_PREFIX_PATH="$prefix" "$@"
try add_subdirectory add_subdirectory -DACTIVATION_TRACE_SOURCE_DIR="$source" "$@"
