#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""What the compiler made of the kernels, by cuobjdump: what must be in machine code and PTX, and in which order.

    check_machine_code.py INCLUDE CUOBJDUMP PTXAS PROGRAM...

Every kernel that is started by launch_dependent() waits for the work ahead of it before it touches global memory, in all
code for sm_90 and later: without the wait it reads what is not written yet, rarely and without a word. Tensor cores and
wide loads are used where the design counts on them, and nothing lies on a stack. The same, but for some bytes of stack,
holds on the devices that have no code of their own in the programs, sm_100 and sm_120: PTX is assembled for them as a
driver does it, each kernel once. Exits with 77 where there is no cuobjdump, or no code for sm_90.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

LATER = ("sm_100", "sm_120")
# Bytes of its stack that a kernel may use there, where the compiler was not asked: one in ten puts aside a value or two.
LATER_STACK = 16

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


def modules(lines, known):
    """The PTX modules for sm_90 of a program without the kernels in `known`, to which theirs are added."""

    def once(entry):
        is_new = entry[1] not in known
        known.add(entry[1])
        return entry[0] if is_new else ""

    for module in "\n".join(lines).split("Fatbin ")[1:]:
        if (begin := module.find(".version ")) < 0 or ".target sm_90" not in module:
            continue
        text = re.sub(r"^(?:\.\w+ )?\.entry (\w+)\(.*?^}$", once, module[begin:], flags=re.MULTILINE | re.DOTALL)
        if ".entry" in text:
            yield text


def assemble(ptxas, text, architecture, file):
    (source := file.with_suffix(".ptx")).write_text(text, encoding="utf-8")
    subprocess.run([ptxas, f"-arch={architecture}", source, "-o", file], check=True)
    return file


def on_stack(lines, most):
    """Yields (mangled name, its usage) of the kernels that have a stack frame of more than `most` bytes, or local memory."""
    name = None
    for line in lines:
        if found := re.search(r"Function (\w+):", line):
            name = found[1]
        elif name is not None and (found := re.search(r"STACK:(\d+).*LOCAL:(\d+)", line)):
            if int(found[1]) > most or int(found[2]) > 0:
                yield name, line.strip()


def main(include, cuobjdump, ptxas, *programs):
    if not pathlib.Path(cuobjdump).exists():
        print("skipped: no cuobjdump; pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm")
        return 77
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(pathlib.Path(include).rglob("*.cuh")))
    dependent = set(re.findall(r'launch_dependent\(\s*[\w.]+,\s*"(\w+)"', text))
    failures, seen = [], {"SASS": set(), "PTX": set()}

    def check(condition, name, architecture, what):
        if not condition:
            failures.append(f"{name}, sm_{architecture}: {what}")

    def check_program(program, ptx_lines=(), most_stack=0):
        usages = on_stack(dump(cuobjdump, "-res-usage", program), most_stack)
        failures.extend(f"{name}: {usage}" for name, usage in usages)
        sass = functions(dump(cuobjdump, "-sass", program), re.compile(r"Function : (\S+)"), SASS,
                         re.compile(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?(.*?);"))
        ptx = functions(ptx_lines, re.compile(r"\.entry (\w+)"), PTX, re.compile(r"\s*(?:@!?%p\w+\s+)?(.*?);"))
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
    known = set()
    with tempfile.TemporaryDirectory() as folder:
        for program in programs:
            ptx = dump(cuobjdump, "-ptx", program)
            check_program(program, ptx)
            for module in modules(ptx, known):
                for architecture in LATER:
                    code = assemble(ptxas, module, architecture, pathlib.Path(folder) / f"{architecture}.cubin")
                    check_program(code, most_stack=LATER_STACK)
    if not any(seen.values()):
        print("skipped: no code for sm_90 or later in these programs")
        return 77
    for language, kernels in seen.items():
        failures += [f"{kernel}: not found in {language} for sm_90 or later" for kernel in sorted(dependent - kernels)]
    for failure in failures:
        print(failure)
    print(f"{len(dependent)} dependent kernels, {len(known)} assembled for {' and '.join(LATER)}; {len(failures)} failures")
    return 1 if failures or not dependent else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
