#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""bench/gpu.sh --run with stubs for its programs: whatever fails, all of them run, and the verdict comes last."""

import fnmatch
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "bench" / "gpu.sh"
PROGRAMS = [
    "nvidia-smi", "test_cuda_softmax_entropy", "test_cuda_softmax_candidates", "test_cuda_entropy_sharpness",
    "test_cuda_contrast", "test_cuda_softmax_thrust", "test_cuda_link_cpp_first", "test_cuda_link_cu_first",
    "test_cuda_forward_ops", "test_cuda_products", "test_cuda_choose_token", "test_cuda_llama", "test_cuda_code_blocks",
    "write_tiny_model", *8 * ["generate"], "cuda_entropy", "embed_device_rows"
] + 32 * ["compute-sanitizer"] + ["bench_cuda_entropy", "bench_cuda_llama"]
CHECKS = len(PROGRAMS) - 4  # generate is run twice for each

class GpuScript(unittest.TestCase):

    def run_script(self, bodies, mode="--run", look=lambda folder: None):
        """Runs the script where program `name` does bodies[name]; its status, lines, and what was started in order.
        look(folder) is where the programs are."""
        with tempfile.TemporaryDirectory() as folder:
            log = pathlib.Path(folder, "log")
            log.touch()
            for name in [*PROGRAMS, "python3", *bodies]:  # and no PyTorch
                stub = pathlib.Path(folder, name)
                body = bodies.get(name, "exit 1" if name == "python3" else f"echo output of {name}")
                note = f"echo {name} >> {log}" if name in PROGRAMS else ""
                stub.write_text(f"#!/bin/bash\n{note}\n{body}\n", encoding="utf-8")
                stub.chmod(0o755)
            environment = {**os.environ, "XDG_CACHE_HOME": folder, "PATH": f"{folder}:{os.environ['PATH']}", "LIMIT": "2", "MEASURE_LIMIT": "2"}
            result = subprocess.run(["bash", SCRIPT, mode, folder], env=environment, capture_output=True, text=True,
                                    timeout=120, check=False)
            look(folder)
            return result.returncode, result.stdout.splitlines(), log.read_text(encoding="utf-8").split()

    def test_all_pass(self):
        status, lines, started = self.run_script({})
        self.assertEqual(started, PROGRAMS)
        self.assertEqual(status, 0)
        self.assertEqual(lines[-1], f"{CHECKS} passed, 0 failed")
        self.assertIn("output of bench_cuda_entropy", lines)

    def test_failures_do_not_end_the_run(self):
        status, lines, started = self.run_script({
            "nvidia-smi": "exit 9",
            "test_cuda_softmax_entropy": "echo the reason; exit 1",
            "test_cuda_contrast": "kill -SEGV $$",
            "test_cuda_softmax_thrust": "exec sleep 60",
            "cuda_entropy": "exit 77",
            "bench_cuda_entropy": "echo the table; exit 3",
        })
        self.assertEqual(started, PROGRAMS)
        self.assertEqual(status, 1)
        self.assertIn("the reason", lines)
        self.assertIn("the table", lines)
        self.assertEqual(lines[-7:], [
            "FAILED: nvidia-smi --query-gpu=name,driver_version,clocks.sm,power.limit --format=csv,noheader: "
            "exit status 9",
            "FAILED: test_cuda_softmax_entropy: exit status 1",
            "FAILED: test_cuda_contrast: exit status 139",
            "FAILED: test_cuda_softmax_thrust: not done after 2 s",
            "FAILED: cuda_entropy: skipped: it found no device",
            "FAILED: bench_cuda_entropy --benchmark_repetitions=15: exit status 3",
            f"{CHECKS - 6} passed, 6 failed",
        ])

    def test_a_library_is_looked_for_however_much_ldd_says_behind_it(self):
        _, lines, _ = self.run_script({
            "ldd": "echo 'libcublasLt.so.13 => not found'; seq 100000",
            "find": "echo /where/it/is/libcublasLt.so.13",
            "bench_cuda_llama": 'echo "$LD_LIBRARY_PATH"',
        })
        self.assertTrue(any(line.endswith(":/where/it/is") for line in lines))

    def test_a_build_has_the_libraries_that_programs_need(self):
        with tempfile.TemporaryDirectory() as libraries:
            names = ["libbenchmark.so.1", "libcudart.so.13", "libnccl.so.2", "libcublasLt.so.13", "libc.so.6"]
            for name in names:
                pathlib.Path(libraries, name).touch()
            copied = []
            status, *_ = self.run_script(
                {
                    "cmake": "exit 0",
                    "find": f"echo {libraries}/libc.so.6",
                    "ldd": "\n".join(f"echo '\t{name} => {libraries}/{name} (0x1)'" for name in names),
                }, "--build", lambda folder: copied.extend(path.name for path in pathlib.Path(folder).glob("lib*")))
            self.assertEqual(status, 0)
            self.assertEqual(sorted(set(copied) - {"libc.so.6"}), ["libbenchmark.so.1", "libcudart.so.13", "libnccl.so.2"])

    def test_device_tests_of_cmake_are_run(self):
        cmake = pathlib.Path(__file__).with_name("CMakeLists.txt").read_text(encoding="utf-8")
        tests = re.findall(r"^ *activation_trace_cuda_test\((\w+) ", cmake, flags=re.MULTILINE)
        self.assertGreater(len(tests), 8)
        self.assertEqual([test for test in tests if f"test_cuda_{test}" not in PROGRAMS], [])

    def test_every_filter_of_cases_has_a_case(self):
        script = SCRIPT.read_text(encoding="utf-8")
        filters = re.findall(r'test_cuda_(\w+)" (?:\\\n *)?-tc="([^"]*)"', script)
        self.assertEqual(len(filters), script.count("-tc="))
        for test, patterns in filters:
            sources = [f"{test}.cu", "tensor_parallel.cu"] if test == "llama" else [f"{test}.cu"]
            text = "".join(pathlib.Path(__file__).with_name(source).read_text(encoding="utf-8") for source in sources)
            cases = re.findall(r'TEST_CASE\w*\(\s*"([^"]*)"', text)
            for pattern in patterns.split(","):
                self.assertTrue(fnmatch.filter(cases, pattern), f"{test}: no case {pattern}")

    def test_programs_that_are_missing_have_failed(self):
        status, lines, _ = self.run_script({"embed_device_rows": 'rm "$(dirname "$0")/bench_cuda_entropy"'})
        self.assertEqual(status, 1)
        self.assertEqual(lines[-1], f"{CHECKS - 1} passed, 1 failed")


if __name__ == "__main__":
    sys.exit(unittest.main())
