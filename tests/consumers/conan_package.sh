#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0

# `conan create` with the recipe in cmake/conan: the package is made and its test package built and run, by a Conan with a
# home of its own and no remotes, so that nothing is fetched: nlohmann_json and CMake are the system's.
#   conan_package.sh SOURCE_DIR OUT_DIR PYTHON_PACKAGES PYTHON CXX [LAUNCHER]
set -euo pipefail
source=$1 out=$2 packages=$3 python=$4 cxx=$5 launcher=${6:-}
export PYTHONPATH=$packages
conan() { "$python" -c 'import sys; from conans.conan import run; run()' "$@"; }
"$python" -c 'import conan' 2>/dev/null || { echo "skipped: no Conan (tests/get_python_packages.sh)"; exit 77; }

export CONAN_HOME=$out/home
rm -rf "$out"
mkdir -p "$CONAN_HOME"
conan remote disable "*" >/dev/null 2>&1
json=$(pkg-config --modversion nlohmann_json)
case $("$cxx" --version | head -n 1) in
  *clang*) compiler=clang libcxx=libstdc++11 ;;
  *) compiler=gcc libcxx=libstdc++11 ;;
esac
cat >"$out/profile" <<END
[settings]
os=Linux
arch=$(uname -m | sed s/aarch64/armv8/)
compiler=$compiler
compiler.version=$("$cxx" -dumpversion | cut -d. -f1)
compiler.libcxx=$libcxx
compiler.cppstd=20
build_type=Debug
[platform_requires]
nlohmann_json/$json
[conf]
tools.cmake.cmaketoolchain:generator=Ninja
tools.cmake.cmaketoolchain:user_presets=
tools.cmake.cmake_layout:test_folder=$out/test
tools.build:compiler_executables={'cpp': '$cxx'}
tools.cmake.cmaketoolchain:extra_variables={'CMAKE_CXX_COMPILER_LAUNCHER': '$launcher'}
END
conan create "$source/cmake/conan" --profile:all "$out/profile" --no-remote
