#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0

# Every public .cuh compiles alone: as the only include of a file, to PTX, which is what nvcc itself parses.
#   headers_compile_alone.sh NVCC INCLUDE_DIR
set -euo pipefail
nvcc=$1 include=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
compile() {  # NVCC INCLUDE_DIR FOLDER HEADER
  local file=$3/${4//\//_}.cu
  echo "#include \"$4\"" >"$file"
  "$1" -std=c++20 -arch=sm_90a -ptx -DACTIVATION_TRACE_COMPILED_KERNELS -I"$2" -o "$file.ptx" "$file" ||
    { echo "$4 does not compile alone"; return 1; }
}
export -f compile
(cd "$include" && find activation_trace -name '*.cuh' | sort) >"$folder/headers"
echo "$(wc -l <"$folder/headers") headers"
[ -s "$folder/headers" ]
xargs -P"$(nproc)" -I{} bash -c 'compile "$@"' _ "$nvcc" "$include" "$folder" {} <"$folder/headers"
