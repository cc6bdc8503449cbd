# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""sizes.py ROOT: fails if a header has more than 400 lines, a function more than 60, a folder more than 8 floors, which is
the longest chain of its headers that include each other, or if headers include each other in a circle.

A function is what the formatter makes of one: a line that ends with "{", up to the line that closes it at the same
indentation. A test case is none.
"""
import pathlib
import re
import sys

SOURCES = {".hpp", ".cuh", ".inl", ".cpp", ".cu"}
NO_FUNCTION = re.compile(r"(namespace|class|struct|enum|union|extern|if|else|for|while|switch|do|try|catch|case|default|"
                         r"TEST_CASE\w*|SUBCASE)\b")
INCLUDE = re.compile(r'#include "(activation_trace/[^"]+)"')
TEMPLATE = re.compile(r"(template <|requires )")


def functions(lines):
    """(number of the first line, how many lines) of each function."""
    open_at = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text.endswith("{"):
            first = number
            while first > 1 and goes_on(lines[first - 2]):
                first -= 1
            open_at[len(lines[first - 1]) - len(lines[first - 1].lstrip())] = first
        elif text.startswith("}") and len(line) - len(text) in open_at:
            first = open_at.pop(len(line) - len(text))
            head = " ".join(part.strip() for part in lines[first - 1:number])
            if "(" in head.split("{")[0] and not NO_FUNCTION.match(head):
                yield first, number - first + 1


def goes_on(line):
    """Whether the statement that begins in `line`, or above it, is not at its end."""
    text = line.split("//")[0].strip()
    return bool(text) and not text.startswith(("#", "}")) and not text.endswith((";", "{", "}", ":")) and \
        not TEMPLATE.match(text)


def floors(includes):
    """The longest chain of `includes`, {header: headers of the same folder}, or the circle that forbids one."""
    depth = {}

    def climb(header, path):
        if header in path:
            raise ValueError(" -> ".join(step.name for step in [*path[path.index(header):], header]))
        if header not in depth:
            depth[header] = 1 + max((climb(below, [*path, header]) for below in includes[header]), default=0)
        return depth[header]

    return max((climb(header, []) for header in includes), default=0)


def main():
    root = pathlib.Path(sys.argv[1])
    problems, counted = [], 0
    for folder in ("include", "examples", "tests", "bench", "cmake"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in SOURCES or path.name.endswith("_table.inl") or path.name.endswith("_tables.inl"):
                continue
            name = path.relative_to(root)
            lines = path.read_text().splitlines()
            if folder == "include" and len(lines) > 400:
                problems.append(f"{name}: {len(lines)} lines of at most 400")
            for first, count in functions(lines):
                counted += 1
                if count > 60:
                    problems.append(f"{name}:{first}: a function of {count} lines of at most 60")
    library = root / "include/activation_trace"
    headers = [path for path in sorted(library.rglob("*")) if path.suffix in SOURCES]
    includes = {path: [root / "include" / target for target in INCLUDE.findall(path.read_text())] for path in headers}
    try:
        floors(includes)
        for folder in sorted({path.parent for path in headers}):
            own = {path: [below for below in includes[path] if below.parent == folder]
                   for path in headers if path.parent == folder}
            count = floors(own)
            print(f"{folder.relative_to(library)}/: {count} floors")
            if count > 8:
                problems.append(f"{folder.relative_to(library)}/: {count} floors of at most 8")
    except ValueError as circle:
        problems.append(f"a circle: {circle}")
    if counted < 1000:
        problems.append(f"only {counted} functions found")
    print(f"{counted} functions")
    sys.exit("\n".join(problems) or 0)


main()
