#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0

# Prints the folder of the Python packages that some tests use: NumPy, ONNX and its runtime, Conan, and the headers of
# CUDA's mdspan and DLPack 1, which PyPI's wheels carry. Builds of the tests find it by themselves. Fetched once per
# machine and version of Python (some 120 MB).
set -euo pipefail
cd "$(dirname "$0")/.."
. cmake/debian_packages.sh

need_packages python3 python3-pip
version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
folder=${XDG_CACHE_HOME:-$HOME/.cache}/activation_trace/python-$version
packages=(apache-tvm-ffi==0.1.15.post2 conan==2.34.0 numpy==2.4.6 nvidia-cuda-cccl==13.3.5.0.6 onnx==1.23.2 onnxruntime==1.32.0)

if [ ! -e "$folder/${packages[*]//[= ]/_}" ]; then
  mkdir -p "$(dirname "$folder")"
  part=$(mktemp -d "$folder.XXXXXX")
  trap 'rm -rf "$part"' EXIT
  echo "Fetching ${packages[*]} from PyPI" >&2
  python3 -m pip install -q --no-compile --disable-pip-version-check --root-user-action=ignore --target "$part" \
    "${packages[@]}" >&2
  touch "$part/${packages[*]//[= ]/_}"
  rm -rf "$folder"
  mv "$part" "$folder"
fi
echo "$folder"
