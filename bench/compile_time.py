#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""What a file costs that includes this library: seconds of processor time and MB of memory of the compiler alone, the best of
three, for a quiet machine.

    python3 bench/compile_time.py [COMPILER [FLAG...]]      g++ -O2
"""

import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
KERNELS = "-DACTIVATION_TRACE_COMPILED_KERNELS"  # as activation_trace::kernels does
INCLUDE = '#include "activation_trace/{}"\nint main() {{}}\n'
CASES = [
    ("the processor's header, an empty main", INCLUDE.format("processors/entropy_sharpness.hpp")),
    ("a file that uses the processor", (ROOT / "tests/consumers/processor_only/main.cpp").read_text()),
    ("activation_trace.hpp, an empty main", INCLUDE.format("activation_trace.hpp")),
    ("experiments.hpp, an empty main", INCLUDE.format("experiments.hpp")),
]


def cost(command):
    """-> processor seconds, MB at most, of the compiler and what it starts."""
    child = subprocess.Popen(command)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\nended with {child.returncode}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1000


def main():
    compiler = sys.argv[1:] or ["g++", "-O2"]
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "main.cpp")
        print(f"{' '.join(compiler):40} headers alone     with ::kernels")
        for name, text in CASES:
            source.write_text(text)
            command = [*compiler, "-std=c++20", f"-I{ROOT / 'include'}", "-c", str(source), "-o", str(source.with_suffix(".o"))]
            row = [min(cost(command + more) for _ in range(3)) for more in ([], [KERNELS])]
            print(f"{name:40} " + "   ".join(f"{s:5.1f} s {mb:4.0f} MB" for s, mb in row), flush=True)


if __name__ == "__main__":
    main()
