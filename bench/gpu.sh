#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0

# Builds, tests, sanitises and measures the CUDA kernels on a machine with a GPU, in under eight minutes. What fails, or
# takes longer than LIMIT seconds (default 120), does not end the run: the verdict comes last, and is the exit status.
#   bench/gpu.sh               configures and builds in build/cuda-gpu, then runs
#   bench/gpu.sh --build DIR   only builds, into DIR: on a machine with nvcc and the packages but without a GPU
#   bench/gpu.sh --run DIR     only runs what lies in DIR: on a machine with a GPU and nothing else
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:---all}
dir=${2:-build/cuda-gpu}
step() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

tests=(test_cuda_softmax_entropy test_cuda_softmax_candidates test_cuda_entropy_sharpness test_cuda_contrast
       test_cuda_softmax_thrust test_cuda_link_cpp_first test_cuda_link_cu_first test_cuda_forward_ops
       test_cuda_products test_cuda_choose_token test_cuda_llama test_cuda_code_blocks)
programs=("${tests[@]}" bench_cuda_entropy bench_cuda_llama cuda_entropy embed_device_rows generate write_tiny_model)

if [ "$mode" != --run ]; then
  step build
  # Other architectures than our own (cmake/activation_trace_cuda.cmake): ARCHITECTURES="80;100".
  cmake --preset cuda -B "$dir/tree" -DCMAKE_BUILD_TYPE=Release \
    ${ARCHITECTURES:+-DCMAKE_CUDA_ARCHITECTURES="$ARCHITECTURES"} >/dev/null
  cmake --build "$dir/tree" --target "${programs[@]}"
  for p in "${programs[@]}"; do
    cp "$(find "$dir/tree" -name "$p" -type f | head -1)" "$dir/"
  done
  cp "$(find "$dir/tree" -path '*/examples/cuda_engine.so' -type f | head -1)" "$dir/"  # which generate loads
  # So that they run where the toolkit is not installed: Debian has Google Benchmark as a shared library only, and what
  # links CUDA::cudart needs it. cublasLt, which is large, is found at run time.
  for library in $(ldd "$dir/bench_cuda_entropy" "$dir/cuda_engine.so" |
    awk '/lib(benchmark|cudart|nccl)/ { print $3 }' | sort -u); do
    cp "$library" "$dir/"
  done
  [ "$mode" = --build ] && exit 0
fi

# From here on nothing but the end ends the script.
set +e
passed=0
failed=()
# run LINES PROGRAM [ARGUMENT...]: shows the last LINES of its output, 40 if it fails, and counts it.
run() {
  local lines=$1 output code
  shift
  output=$(timeout --kill-after=10 "${LIMIT:-120}" "$@" 2>&1)
  code=$?
  if [ "$code" = 0 ]; then
    passed=$((passed + 1))
  else
    lines=40
    case $code in
      77) why="skipped: it found no device" ;;
      124 | 137) why="not done after ${LIMIT:-120} s" ;;
      *) why="exit status $code" ;;
    esac
    failed+=("${*/#$dir\//}: $why")
  fi
  tail -n "$lines" <<<"$output"
  [ "$code" = 0 ] || echo "FAILED: ${failed[-1]}"
}

export LD_LIBRARY_PATH="$dir:${LD_LIBRARY_PATH:-}"
if [[ $(ldd "$dir/bench_cuda_entropy" 2>/dev/null) =~ libcublasLt[^$'\n']*"not found" ]]; then
  library=$(find / -name 'libcublasLt.so.1[23]*' -not -path '/proc/*' 2>/dev/null | head -1)
  export LD_LIBRARY_PATH="$LD_LIBRARY_PATH:$(dirname "$library")"
fi
run 8 nvidia-smi --query-gpu=name,driver_version,clocks.sm,power.limit --format=csv,noheader

step tests
for p in "${tests[@]}"; do
  run 4 "$dir/$p"
done

# What generate says on the card and on the host: text, and the numbers of activation decoding, if not to the last digit.
same_text() {
  local model=$1
  shift
  run 4 bash -c 'on() { "$@" -q --decoding_mode "${words[@]}" --device "$where"; }
    words=("${@:3}")
    for where in cpu cuda; do texts+=("$(on "$1" -m "$2" -p "The capital of France is" -n 32)") || exit; done
    [ "${texts[0]}" = "${texts[1]}" ] && echo "as on the host: ${words[*]}" && exit
    printf "%s\n" "on the host: ${texts[0]}" "on the card: ${texts[1]}"; exit 1' - "$dir/generate" "$model" "$@"
}
step tokens beside the host\'s
run 4 "$dir/write_tiny_model" "$dir/tiny.gguf" 4
real=${ACTIVATION_TRACE_MODEL:-${XDG_CACHE_HOME:-$HOME/.cache}/activation_trace/SmolLM2-135M-Instruct.Q4_1.gguf}
models=("$dir/tiny.gguf")
if [ -f "$real" ]; then models+=("$real"); else echo "No $real: ACTIVATION_TRACE_MODEL names another."; fi
for model in "${models[@]}"; do
  same_text "$model" baseline
  same_text "$model" baseline --temp 0.8 --top_k 40 --top_p 0.9 --min_p 0.01 -s 7
  same_text "$model" activation
  same_text "$model" dola
done

step examples
run 20 "$dir/cuda_entropy"
run 20 "$dir/embed_device_rows"

if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck initcheck synccheck; do
    step "$tool"
    # A reduced set: every kernel, every type, few sizes. What CUDA refuses is an error of ours unless it is asked for,
    # as a peer's memory for the second time; and tests copy whole buffers of which a kernel writes a part.
    options=(--error-exitcode 1 --report-api-errors no --tool "$tool")
    [ "$tool" != initcheck ] || options+=(--check-api-memory-access no)
    sanitize() { run 2 compute-sanitizer "${options[@]}" "$@"; }
    sanitize "$dir/test_cuda_softmax_entropy" -tc="*pieces*"
    sanitize "$dir/test_cuda_softmax_candidates"
    sanitize "$dir/test_cuda_entropy_sharpness" -tc="*ragged*,*growing*,*more new tokens*,*recorded*,*more than once*"
    sanitize "$dir/test_cuda_contrast" -tc="*several rows*,*one graph*"
    for p in forward_ops products choose_token; do sanitize "$dir/test_cuda_$p"; done
    # A fifth of its hundred thousand launches, which take a tool up to a millisecond each.
    sanitize "$dir/test_cuda_llama" \
      -tc="every weight type*,tied and separate*,steps that are*,a cache of halves*,records of*,answers that*,*sums over*"
  done
fi

step measurements
LIMIT=${MEASURE_LIMIT:-300}
if python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
  run 1000 python3 bench/compare_torch.py "${ROUNDS:-15}"
else
  echo "No PyTorch with CUDA here: the published method is not measured beside."
fi
run 1000 "$dir/bench_cuda_entropy" --benchmark_repetitions="${ROUNDS:-15}"
run 1000 "$dir/bench_cuda_llama" --benchmark_min_time=0.3

step verdict
for f in "${failed[@]}"; do echo "FAILED: $f"; done
echo "$passed passed, ${#failed[@]} failed"
[ "${#failed[@]}" = 0 ]
