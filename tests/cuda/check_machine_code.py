#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""What the compiler made of the kernels, by cuobjdump: what must be in machine code and PTX, and in which order.

    check_machine_code.py INCLUDE CUOBJDUMP PROGRAM...

Every kernel that is started by launch_dependent() waits for the work ahead of it before it touches global memory, in all
code for sm_90 and later: without the wait it reads what is not written yet, rarely and without a word. Tensor cores and
wide loads are used where the design counts on them, and nothing lies on a stack. Exits with 77 where there is no cuobjdump, or no code for sm_90.
"""

import os
import pathlib
import re
import subprocess
import sys

# Instructions at whose place in the code the order matters.
SASS = {
    "wait": re.compile(r"ACQBULK"),
    "trigger": re.compile(r"PREEXIT"),
    "memory": re.compile(r"(LDG|STG|LD|ST|ATOM|ATOMG|RED|REDG|LDGSTS|UTMALDG)\b"),
    "tensor": re.compile(r"HGMMA"),
    "halves": re.compile(r"HMMA\.16816\.F32"),
    "tf32": re.compile(r"HMMA\.\w+\.F32\.TF32"),
    "matrices": re.compile(r"LDSM"),
    "boxes": re.compile(r"UTMALDG"),
    "wide": re.compile(r"LDG\.E\.128"),
    "tensors done": re.compile(r"WARPGROUP\.DEPBAR\.LE gsb0, 0x0"),
    "maximum": re.compile(r"FMNMX"),
}
PTX = {
    "wait": re.compile(r"griddepcontrol\.wait"),
    "trigger": re.compile(r"griddepcontrol\.launch_dependents"),
    "memory": re.compile(r"(ld|st|atom|red)\.(\w+\.)*global|cp\.async"),
}


def dump(cuobjdump, option, program):
    # It finds nvdisasm by PATH.
    path = f"{pathlib.Path(cuobjdump).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run([cuobjdump, option, program], capture_output=True, text=True, check=True,
                          env={**os.environ, "PATH": path}).stdout.splitlines()


def functions(lines, begin, kinds, instruction):
    """Yields (architecture, mangled name, {kind: places of its instructions})."""
    architecture, name, places, count = 0, None, {}, 0
    for line in lines:
        if found := re.match(r"arch = sm_(\d+)", line):
            if name is not None:
                yield architecture, name, places
            architecture, name = int(found[1]), None
        elif found := begin.search(line):
            if name is not None:
                yield architecture, name, places
            name, places, count = found[1], {kind: [] for kind in kinds}, 0
        elif name is not None and (found := instruction.match(line)):
            count += 1
            for kind, pattern in kinds.items():
                if pattern.match(found[1]):
                    places[kind].append(count)
    if name is not None:
        yield architecture, name, places


def on_stack(lines):
    """Yields (mangled name, its usage) of the kernels that have a stack frame or spill to it."""
    name = None
    for line in lines:
        if found := re.search(r"Function (\w+):", line):
            name = found[1]
        elif re.search(r"(STACK|LOCAL):[1-9]", line) and name is not None:
            yield name, line.strip()


def main(include, cuobjdump, *programs):
    if not pathlib.Path(cuobjdump).exists():
        print("skipped: no cuobjdump; pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm")
        return 77
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(pathlib.Path(include).rglob("*.cuh")))
    dependent = set(re.findall(r'launch_dependent\(\s*[\w.]+,\s*"(\w+)"', text))
    failures, seen = [], {"SASS": set(), "PTX": set()}

    def check(condition, name, architecture, what):
        if not condition:
            failures.append(f"{name}, sm_{architecture}: {what}")

    for program in programs:
        failures += [f"{name}: {usage}" for name, usage in on_stack(dump(cuobjdump, "-res-usage", program))]
        sass = functions(dump(cuobjdump, "-sass", program), re.compile(r"Function : (\S+)"), SASS,
                         re.compile(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?(.*?);"))
        ptx = functions(dump(cuobjdump, "-ptx", program), re.compile(r"\.entry (\w+)"), PTX,
                        re.compile(r"\s*(?:@!?%p\w+\s+)?(.*?);"))
        for language, code in (("SASS", sass), ("PTX", ptx)):
            for architecture, mangled, places in code:
                if architecture < 90:
                    continue
                # A nested name's parts are preceded by their lengths.
                kernel = next((k for k in dependent if f"{len(k)}{k}" in mangled), None)
                if kernel is not None:
                    seen[language].add(kernel)
                    first = min(places["memory"], default=sys.maxsize)
                    check(places["wait"], mangled, architecture, f"no wait in its {language}")
                    check(all(wait < first for wait in places["wait"][:1]), mangled, architecture,
                          f"global memory before the wait in its {language}")
                    check(all(places["wait"][0] < place for place in places["trigger"] if places["wait"]), mangled,
                          architecture, f"lets the next kernel begin before it has waited, in its {language}")
                if language == "PTX":
                    continue
                # Another architecture's body is empty.
                if re.search("softmax_(wgmma|resident)_kernel", mangled) and places["memory"]:
                    check(places["tensor"], mangled, architecture, "no wgmma")
                    check(places["boxes"], mangled, architecture, "no copies of boxes")
                    done = max(places["tensors done"], default=0)
                    check(done and done < min(places["maximum"], default=0), mangled, architecture,
                          "the fold begins before the products are done")
                if "attention_tiles_kernel" in mangled:
                    check(places["tf32"] and places["matrices"], mangled, architecture, "no products of tf32 matrices")
                if "multiply_blocks_kernel" in mangled:
                    check(places["halves"], mangled, architecture, "no products of 16 bits")
                    # 8 bytes of two bits each
                    small = any(name in mangled for name in ("Q2_KBlock", "Q3_KBlock"))
                    check(small or len(places["wide"]) >= 6, mangled, architecture,
                          "its weights are not read 16 bytes at a time")
                if any(name in mangled for name in ("9RowAccessE0", "row_statistics_kernel", "attention_tiles_kernel")):
                    check(places["wide"], mangled, architecture, "its rows are not read 16 bytes at a time")
    if not any(seen.values()):
        print("skipped: no code for sm_90 or later in these programs")
        return 77
    for language, kernels in seen.items():
        failures += [f"{kernel}: not found in {language} for sm_90 or later" for kernel in sorted(dependent - kernels)]
    for failure in failures:
        print(failure)
    print(f"{len(dependent)} dependent kernels; {len(failures)} failures")
    return 1 if failures or not dependent else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
