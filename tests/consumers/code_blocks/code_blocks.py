# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Every code block of README.md and of the guide is compiled and run.

    python3 code_blocks.py extract ROOT FOLDER                 what is compiled, into FOLDER; prints the programs' names
    python3 code_blocks.py check ROOT SOURCE...                each block is spoken for, and each fragment in a SOURCE
    python3 code_blocks.py run ROOT FOLDER KEY=VALUE...        what is run; KEYs: see Place

A block is a fence with a language. The line above it is an HTML comment that says what becomes of it:

    <!-- code: NAME -->              a fragment. NAME.inl is included by a test that has what the text around it speaks
                                     of. A line "..." is the reader's own code: what follows it is NAME.2.inl.
    <!-- code: program NAME ARGS --> compiled by itself (c, cpp) or handed to python3, and run with ARGS
    <!-- code: same as PATH -->      to be found in that file, which is built; also as a second line of another comment
    <!-- code: run -->               sh: run by bash in a folder with the programs, tiny models and data sets; cmake:
                                     configured in a project with a target my_engine
    <!-- code: file PATH -->         written to that file of the folder that blocks are run in
    <!-- code: patch PATH -->        a diff, applied to that file there
    <!-- code: output -->            of a fence without a language: what the program or commands before it print
    <!-- code: not run: REASON -->

What is done in that folder takes more, each on a line of its own within the comment: "needs KEY", which `run` may lack;
"first: COMMAND" and "then: COMMAND", run before and after it and not shown; "without TEXT: REASON", for lines of the
block that hold TEXT and are not run.
"""

import difflib
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "evaluation"))
import run_tools

LANGUAGES = {"cpp", "c", "cuda", "cmake", "sh", "python", "diff"}
SUFFIXES = {"c": ".c", "cpp": ".cpp", "cuda": ".cu", "python": ".py"}


class Block:
    """A fence, where it stands, and the words of the comment above it."""

    def __init__(self, place, language, text, comment):
        self.place, self.language, self.text, self.comment = place, language, text, comment
        lines = [line.strip() for line in (comment or "").splitlines() if line.strip()]
        self.what = lines[0] if lines else ""
        self.first, self.then, self.needs, self.without = [], [], [], {}
        self.same_as = [line[8:] for line in lines if line.startswith("same as ")]
        for line in lines[1:]:
            word, rest = line.split(" ", 1)
            if word == "without" and ": " in rest:
                text, reason = rest.split(": ", 1)
                self.without[text] = reason
            elif word in ("first:", "then:", "needs"):
                getattr(self, word.strip(":")).append(rest)
            elif not line.startswith("same as "):
                raise SystemExit(f"{place}: what is this: {line}")

    @property
    def kind(self):
        for kind in ("program", "same as", "run", "file", "patch", "output", "not run:"):
            if self.what == kind or self.what.startswith(kind + " "):
                return kind
        return "fragment" if re.fullmatch(r"\w+", self.what) else ""

    @property
    def rest(self):
        return self.what[len(self.kind) :].strip() if self.kind != "fragment" else self.what

    @property
    def name(self):
        return self.rest.split()[0]


def documents(root):
    return [root / "README.md", *sorted((root / "examples/guide").glob("*.md"))]


def blocks_of(root):
    """Every fence that has a language or a comment."""
    found = []
    for path in documents(root):
        lines, at = path.read_text().splitlines(), 0
        while at < len(lines):
            fence = re.match(r"```(\S*)$", lines[at])
            if fence is None:
                at += 1
                continue
            end = lines.index("```", at + 1)
            above, comment = at - 1, None
            if above >= 0 and lines[above].endswith("-->"):
                while not lines[above].startswith("<!--"):
                    above -= 1
                match = re.fullmatch(r"<!-- code: (.*)-->", "\n".join(lines[above:at]), re.S)
                comment = match and match[1].strip()
            if fence[1] or comment:
                place = f"{path.relative_to(root)}:{at + 1}"
                found.append(Block(place, fence[1], "\n".join(lines[at + 1 : end]) + "\n", comment))
            at = end + 1
    return found


def pieces(block):
    """(file name, text) of a fragment, cut at the reader's own code."""
    parts = re.split(r"^\.\.\.\n", block.text, flags=re.M)
    return [(f"{block.name}{f'.{i}' if i > 1 else ''}.inl", part) for i, part in enumerate(parts, 1)]


def write(path, text):
    """Only what has changed, so that nothing else is compiled again."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def extract(root, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for block in blocks_of(root):
        if block.kind == "fragment":
            for name, text in pieces(block):
                write(folder / name, text)
        elif block.kind == "program":
            write(folder / (block.name + SUFFIXES[block.language]), block.text)
            if block.language in ("c", "cpp"):
                print(block.name + SUFFIXES[block.language])


def check(root, sources):
    included = "".join(pathlib.Path(source).read_text() for source in sources)
    problems, names, count = [], {}, 0
    for block in blocks_of(root):
        count += 1
        if block.kind == "":
            problems.append(f"{block.place}: a block of {block.language}: nothing above it says what becomes of it")
            continue
        if block.language and block.language not in LANGUAGES:
            problems.append(f"{block.place}: {block.language} is none of {', '.join(sorted(LANGUAGES))}")
        if block.kind in ("fragment", "program"):
            if block.name in names:
                problems.append(f"{block.place}: {block.name} is the name of {names[block.name]}, too")
            names[block.name] = block.place
        if block.kind == "fragment":
            problems += [f"{block.place}: no test includes {name}" for name, _ in pieces(block) if f'"{name}"' not in included]
        problems += [f"{block.place}: this is not in {path}" for path in block.same_as
                     if block.text not in (root / path).read_text()]
        if block.kind == "not run:" and not block.rest:
            problems.append(f"{block.place}: not run, and no reason")
    if count < 10:
        problems.append(f"only {count} blocks found")
    print(f"{count} blocks")
    sys.exit("\n".join(problems) or 0)


class Place:
    """The folder that blocks are run in: programs and files by the names that the texts give them."""

    def __init__(self, root, blocks, keys):
        self.root, self.blocks, self.keys, self.printed = root, blocks, keys, ""
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="code_blocks_"))
        for program in pathlib.Path(keys["examples"]).iterdir():
            if program.is_file() and os.access(program, os.X_OK):
                self.link(program.name, program)
        for name in ("MODEL", "MODEL.gguf", "SMALLER.gguf", "JUDGE.gguf"):
            self.link(name, keys["deep" if name.startswith("MODEL") else "tiny"])
        self.link("build/quickstart/examples", self.folder)
        self.link("activation_trace", keys["prefix"])
        if "llama" in keys:
            self.link(".cache/activation_trace/llama.cpp", keys["llama"])
        run_tools.write_data(self.folder, 1)
        self.environment = {**os.environ, "HOME": str(self.folder), "CXX": keys["cxx"], "CMAKE_GENERATOR": "Ninja",
                            "LD_LIBRARY_PATH": keys["libraries"],
                            "CCACHE_DIR": os.environ.get("CCACHE_DIR", os.path.expanduser("~/.cache/ccache")),
                            "PATH": f"{pathlib.Path(keys['cmake']).parent}:{os.environ['PATH']}"}

    def link(self, name, target):
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).symlink_to(target)

    def call(self, command, **how):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="backslashreplace",
                              cwd=self.folder, env=self.environment, timeout=300, **how)
        self.printed = done.stdout
        return done.returncode

    def run_sh(self, block):
        lines = block.text.replace("\\\n", "").splitlines()
        for text, reason in block.without.items():
            print(f"   not run: {block.place}: {text}: {reason}")
            lines = [line for line in lines if text not in line]
        for part in (block.first, lines, block.then):
            status = self.call(["bash", "-euo", "pipefail"], input="\n".join(part)) if part else 0
            if status != 0:
                return status
        return 0

    def run_cmake(self, block):
        """In a project with a target my_engine; where two ways of finding us are named, each by itself."""
        ways = ("find_package(activation_trace", "add_subdirectory(activation_trace")
        for way in [way for way in ways if way in block.text]:
            project = self.folder / way.split("(")[0]
            project.mkdir()
            (project / "main.cpp").write_text("int main() {}\n")
            (project / "activation_trace").symlink_to(self.root)
            lines = [line for line in block.text.splitlines() if way in line or not any(w in line for w in ways)]
            lines[:0] = ["cmake_minimum_required(VERSION 3.22)", "project(my LANGUAGES CXX)", "add_executable(my_engine main.cpp)"]
            (project / "CMakeLists.txt").write_text("\n".join(lines) + "\n")
            status = self.call(["cmake", "-S", project, "-B", project / "build", f"-DCMAKE_PREFIX_PATH={self.keys['prefix']}"])
            if status != 0:
                return status
        return 0

    def run(self, block):
        """0 if it works; what it printed is in `printed`."""
        if block.kind == "output":
            differences = difflib.unified_diff(block.text.splitlines(True), self.printed.splitlines(True), "text", "run")
            different = block.text != self.printed
            self.printed = "".join(differences)
            return different
        if block.kind == "file":
            (self.folder / block.rest).write_text(block.text)
            return 0
        if block.kind == "patch":
            return self.call(["patch", block.rest], input=block.text)
        if block.kind == "program":
            command = [os.path.join(self.keys["programs"], f"code_block_{block.name}")]
            if block.language == "python":
                command = [sys.executable, str(self.blocks / f"{block.name}.py")]
            return self.call([*command, *shlex.split(block.rest)[1:]])
        return self.run_sh(block) if block.language == "sh" else self.run_cmake(block)


def run(root, folder, keys):
    place = Place(root, folder, keys)
    failed = 0
    for block in blocks_of(root):
        begin = time.monotonic()
        missing = [key for key in block.needs if key not in keys]
        if missing:
            print(f"   not run: {block.place}: {', '.join(missing)} is not here")
        elif block.kind == "not run:":
            print(f"   not run: {block.place}: {block.rest}")
        elif block.kind not in ("fragment", "same as"):
            status = place.run(block)
            print(f"{block.place}: {block.what}: {'failed' if status else 'ok'} ({time.monotonic() - begin:.1f} s)")
            if status:
                failed += 1
                print(place.printed)
    if failed:
        sys.exit(f"{failed} failed, in {place.folder}")
    shutil.rmtree(place.folder)


def main():
    command, root, *rest = sys.argv[1], pathlib.Path(sys.argv[2]).resolve(), *sys.argv[3:]
    if command == "extract":
        extract(root, pathlib.Path(rest[0]))
    elif command == "check":
        check(root, rest)
    else:
        run(root, pathlib.Path(rest[0]), dict(word.split("=", 1) for word in rest[1:] if "=" in word))


main()
