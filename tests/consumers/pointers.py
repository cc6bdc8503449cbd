# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""pointers.py ROOT: fails if a comment or a text points to a document, or to a section of one, that is not there.

A pointer is a path that ends in .md, from the root, the library's or the tests' folder or the
file's own, with the numbers behind it.
"""
import pathlib
import re
import sys

POINTER = re.compile(r"((?:[\w.-]+/)*[\w-]+\.md)((?:,? (?:and )?\d+(?:\.\d+)*(?: (?:to|and) \d+(?:\.\d+)*)?)*)")
SECTION = re.compile(r"^#+ (\d+(?:\.\d+)*)\.? ", re.M)
KINDS = {".hpp", ".h", ".inl", ".cuh", ".cpp", ".cu", ".py", ".sh", ".cmake", ".in", ".txt", ".md"}


def main():
    root = pathlib.Path(sys.argv[1])
    library = root / "include/activation_trace"
    sources = [root / "README.md", root / "CMakeLists.txt"]
    for folder in ("include", "examples", "tests", "bench", "cmake"):
        sources += [path for path in sorted((root / folder).rglob("*")) if path.suffix in KINDS]
    problems, count = [], 0
    for path in sources:
        if path.samefile(__file__) or "corpus" in path.parts or path.parent.name == "golden" and path.suffix != ".md":
            continue
        text = path.read_text(errors="replace")
        for found in POINTER.finditer(text):
            count += 1
            place = f"{path.relative_to(root)}:{text.count(chr(10), 0, found.start()) + 1}: {found[0]}"
            document = next((base / found[1] for base in (root, library, root / "tests", path.parent) if (base / found[1]).is_file()), None)
            if document is None:
                problems.append(f"{place}: there is no such document")
                continue
            sections = SECTION.findall(document.read_text())
            problems += [f"{place}: it has no section {number}"
                         for number in re.findall(r"\d+(?:\.\d+)*", found[2]) if number not in sections]
    if count < 100:
        problems.append(f"only {count} pointers found")
    print(f"{count} pointers to documents")
    sys.exit("\n".join(problems) or 0)


main()
