# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Every public header compiles alone.

    python3 headers_compile_alone.py [--cuda] INCLUDE_DIR COMPILER OPTION...

With --cuda every .cuh, by nvcc, to PTX, which is what it parses itself.
One file per header would parse the lower layers some hundred times. Headers are put into chains instead, in which each
one includes the one before it, itself or through others, and a chain is one file. The first header of a chain is
alone. Every other one finds before it what it includes anyway, so it lacks nothing in the chain that it would lack
alone: only the order of its own includes could tell the two apart, and what it includes is tried as well.
The fewest chains are a maximum matching of headers with those that include them (Dilworth, Kuhn).
"""

import concurrent.futures
import os
import pathlib
import subprocess
import sys
import tempfile


def includes_of(root, header):
    """What a header includes whatever is defined: what stands under a condition may not be there."""
    names, conditions = [], 0
    for line in (root / header).read_text().splitlines():
        directive = line.replace(" ", "")
        conditions += directive.startswith("#if") - directive.startswith("#endif")
        if conditions == 0 and directive.startswith('#include"'):
            names.append(line.split('"')[1])
    return names


def reachable(graph, header):
    """What a header includes, itself or through others."""
    found, open_headers = set(), [header]
    while open_headers:
        for name in graph[open_headers.pop()]:
            if name not in found:
                found.add(name)
                open_headers.append(name)
    return found


def chains_of(below):
    """The fewest lists of headers, each with every one in what the next one includes; below[h]: what h includes."""
    above = {}  # the one that follows a header in its chain

    def follows(header, tried):
        for lower in sorted(below[header]):
            if lower not in tried:
                tried.add(lower)
                if lower not in above or follows(above[lower], tried):
                    above[lower] = header
                    return True
        return False

    for header in sorted(below):
        follows(header, set())
    chains = []
    for header in sorted(below.keys() - set(above.values())):
        chain = [header]
        while chain[-1] in above:
            chain.append(above[chain[-1]])
        chains.append(chain)
    return chains


def compile_chain(chain, command):
    source = "".join(f'#include "{header}"\n' for header in chain)
    done = subprocess.run([*command, "-fsyntax-only", "-x", "c++", "-"], input=source, text=True, capture_output=True)
    return done.returncode, done.stderr


def compile_cuda_chain(chain, command):
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "chain.cu")
        source.write_text("".join(f'#include "{header}"\n' for header in chain))
        done = subprocess.run([*command, "-ptx", "-o", f"{folder}/chain.ptx", source], text=True, capture_output=True)
    return done.returncode, done.stdout + done.stderr


def without_absent_guests(headers, command, language):
    """The headers but for those of llama.cpp and NCCL where they are not installed."""
    for theirs, ours in (("llama.h", "activation_trace/embed/llama_cpp"), ("nccl.h", "activation_trace/cuda/nccl")):
        guests = {header for header in headers if header.startswith(ours)}
        with tempfile.TemporaryDirectory() as folder:
            probe = pathlib.Path(folder, "probe." + language)
            probe.write_text(f"#if !__has_include(<{theirs}>)\n#error\n#endif\n")
            if guests and subprocess.run([*command, "-E", probe], capture_output=True).returncode:
                print(f"left out, {theirs} is not here: {', '.join(sorted(guests))}")
                headers -= guests
    return headers


def main():
    cuda = sys.argv[1] == "--cuda"
    include_dir, *command = sys.argv[2 if cuda else 1:]
    root, command = pathlib.Path(include_dir), [*command, f"-I{include_dir}"]
    files = [path for kind in ("*.hpp", "*.inl", "*.cuh") for path in root.glob("activation_trace/**/" + kind)]
    graph = {str(path.relative_to(root)): [] for path in files}
    for header in graph:
        graph[header] = [name for name in includes_of(root, header) if name in graph]
    # .inl files are compiled by those that include them.
    headers = {header for header in graph if header.endswith(".cuh" if cuda else ".hpp")}
    headers = without_absent_guests(headers, command, "cu" if cuda else "cpp")
    compile_one = compile_cuda_chain if cuda else compile_chain
    below = {header: (reachable(graph, header) & headers) - {header} for header in headers}
    chains = chains_of(below)
    assert sorted(header for chain in chains for header in chain) == sorted(headers)
    print(f"{len(headers)} headers in {len(chains)} chains")
    failed = not headers
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for chain, (status, errors) in zip(chains, pool.map(lambda chain: compile_one(chain, command), chains)):
            if status != 0:
                print("one of these does not compile alone: " + ", ".join(chain), errors, sep="\n")
                failed = True
    sys.exit(failed)


main()
