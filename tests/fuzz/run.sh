#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0

# Runs the libFuzzer targets, each for so many seconds, two at a time. What they find is kept; the verdict comes last.
#   tests/fuzz/run.sh SECONDS [TARGET...]      15 minutes of all: tests/fuzz/run.sh 900
# BUILD names another build folder than build/fuzz, FOUND another place than fuzz_found/ for corpora, logs and inputs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=${BUILD:-$here/../../build/fuzz}/tests/fuzz
found=${FOUND:-fuzz_found}
seconds=${1:?"usage: tests/fuzz/run.sh SECONDS [TARGET...]"}
shift
if [ $# -eq 0 ]; then
  for program in "$build"/fuzz_*; do
    name=${program##*/fuzz_}
    [ -x "$program" ] && [ -f "$program" ] && [ -d "$here/corpus/$name" ] && set -- "$@" "$name"
  done
fi
mkdir -p "$found"

run_one() {  # TARGET SECONDS HERE BUILD FOUND
  mkdir -p "$5/corpus/$1" "$5/inputs/$1"
  local dictionary=()
  [ -f "$3/dictionaries/$1.dict" ] && dictionary=("-dict=$3/dictionaries/$1.dict")
  # An input of 4 KB that takes 5 s or 1 GB is a finding as well.
  "$4/fuzz_$1" -max_total_time="$2" -timeout=5 -rss_limit_mb=2048 -malloc_limit_mb=1024 -print_final_stats=1 \
    -artifact_prefix="$5/inputs/$1/" "${dictionary[@]}" "$5/corpus/$1" "$3/corpus/$1" >"$5/$1.log" 2>&1 ||
    echo "$1: exit code $?, see $5/$1.log"
}
export -f run_one
printf '%s\n' "$@" | xargs -P2 -I{} bash -c 'run_one "$@"' _ {} "$seconds" "$here" "$build" "$found" | tee "$found/failed"

for name in "$@"; do
  printf '%-18s %12s inputs in %s s\n' "$name" \
    "$(sed -n 's/^stat::number_of_executed_units: *//p' "$found/$name.log")" "$seconds"
done
if [ -s "$found/failed" ]; then
  echo "FAILED: $(wc -l <"$found/failed") of $# targets; inputs are in $found/inputs"
  exit 1
fi
echo "passed: $# targets found nothing in $seconds s each"
