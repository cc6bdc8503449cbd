#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0

# Prints the folder of a llama.cpp with headers, libraries and CMake files, which builds of this project find by
# themselves. If it is not there, it is built once from the source that PyPI's llama-cpp-python carries (77 MB): some
# ten minutes on two cores. llama.cpp is ggml.org's, the package abetlen's; both MIT.
set -euo pipefail
cd "$(dirname "$0")/.."
. cmake/debian_packages.sh

version=0.3.36
prefix=${XDG_CACHE_HOME:-$HOME/.cache}/activation_trace/llama.cpp

if [ ! -e "$prefix/lib/cmake/llama/llama-config.cmake" ]; then
  need_packages g++ cmake ninja-build python3-pip
  part=$(mktemp -d)
  trap 'rm -rf "$part"' EXIT
  echo "Fetching llama.cpp (77 MB) from PyPI" >&2
  if ! python3 -m pip download -q --no-deps --no-binary llama-cpp-python --dest "$part" llama-cpp-python==$version >&2; then
    cat >&2 <<END
llama.cpp could not be fetched from PyPI. Install one yourself, and name its folder in CMAKE_PREFIX_PATH.
END
    exit 1
  fi
  tar -xzf "$part/llama_cpp_python-$version.tar.gz" -C "$part"
  echo "Building llama.cpp (once)" >&2
  # The library alone: no tools, and not the common code that they share. Nor RDMA, which would be there wherever this
  # machine happens to have libibverbs' headers, and be missed where the result is copied to.
  cmake -S "$part/llama_cpp_python-$version/vendor/llama.cpp" -B "$part/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=ON -DGGML_RPC=ON -DGGML_RPC_RDMA=OFF -DCMAKE_INSTALL_RPATH='$ORIGIN' -DCMAKE_INSTALL_LIBDIR=lib \
    -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
    -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF -DCMAKE_INSTALL_PREFIX="$prefix.part.$$" >"$part/log" 2>&1 &&
    cmake --build "$part/build" >>"$part/log" 2>&1 && cmake --install "$part/build" >>"$part/log" 2>&1 ||
    { tail -n 20 "$part/log" >&2; exit 1; }
  # The example that the guide begins with.
  install -D -m 644 "$part/llama_cpp_python-$version/vendor/llama.cpp/examples/simple/simple.cpp" \
    "$prefix.part.$$/share/llama.cpp/simple.cpp"
  rm -rf "$prefix"
  mv "$prefix.part.$$" "$prefix"
fi
echo "$prefix"
