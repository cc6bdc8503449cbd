# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a program on mutated model files, files in parts, folders and sets of questions: none may crash it, slow it down or fill
the memory.

    python3 run_mutated.py --program build/asan-ubsan/examples/generate --kind gguf --count 5000 --seed 1 --log log.jsonl

Every file is changed in one to three places that a reader looks at (mutate_gguf.py, mutate_folder.py, mutate_data.py), and is the
same for the same seed and number: --first N begins with number N. The program's name says what it is asked to do. A run fails by

- a signal, an exit code other than 0, 1 and 2, or a sanitizer's report;
- processor time of more than 2 s per MB of its files, a second, and twice what the seed took;
- resident memory of more than its files and 150 MB, beside what the seed took. AddressSanitizer's is measured without freed
  blocks, which it keeps otherwise, and allowed half as much again: that is what its marks around blocks take;
- a number in its output that is not finite, without an error;
- a message that is none, more than 2,000 bytes long, has control characters, or is a library's own ("std::bad_alloc").

--write FOLDER makes a folder of files of kind data instead, which one process reads, thirty a second where a program takes a third
of a second to start:

    python3 run_mutated.py --kind data --count 3000 --write mutated
    build/asan-ubsan/tests/fuzz/fuzz_data_sets -runs=0 -timeout=100 mutated

What failed is kept under --keep, and the command that shows it is printed. The last line is the verdict; exit code 1 if any failed.
"""

import argparse
import json
import mmap
import os
import pathlib
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import mutate_data
import mutate_folder
import mutate_gguf
import seeds

MB = 1e6
PROMPTS = ["the cat is <0x41> h\u00e9\u2581 <|im_end|>\n 12", "Q: a\n A:", "a" * 1500, "the"]
GENERATE = [["--decoding_mode", "activation"], ["--decoding_mode", "activation", "--chat"], ["--decoding_mode", "baseline"],
            ["--decoding_mode", "dola", "--early_exit_layers", "0,1"], ["--decoding_mode", "activation", "--info_layer", "1", "--final_norm"],
            ["--decoding_mode", "activation_dola", "--early_exit_layers", "0,1,2"], ["--decoding_mode", "activation", "--beams", "2"]]
SCORE = [["--decoding_mode", "activation"], ["--decoding_mode", "baseline"], ["--decoding_mode", "dola", "--early_exit_layers", "0,1"],
         []]
EVALUATE = [["factor", "--decoding_mode", "baseline"], ["factor", "--decoding_mode", "activation"],
            ["known-facts", "--decoding_mode", "activation"],
            ["known-facts", "--decoding_mode", "dola", "--early_exit_layers", "0,1,2"]]
DATA = {"factor": ("wiki_factor.csv", "full_prefix,completion,contradiction_0,contradiction_1,contradiction_2\n"
                                      "The cat is,on the mat.,12.,a dog.,the the.\n"),
        "known-facts": ("known_1000.json", json.dumps([
            {"prompt": "the cat", "subject": "cat", "attribute": "is", "relation_id": "P1"},
            {"prompt": "the dog", "subject": "dog", "attribute": "a the", "relation_id": "P1"}]))}
# Where memory came from is not recorded: that is a quarter of the time that a program takes to start. The command of a failure shows it.
SANITIZERS = {"ASAN_OPTIONS": "detect_leaks=0:exitcode=99:allocator_may_return_null=1:max_allocation_size_mb=4096:quarantine_size_mb=0:"
                              "thread_local_quarantine_size_kb=0:malloc_context_size=1",
              "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99"}
LIBRARY_MESSAGE = re.compile(r"std::|bad_alloc|json\.exception\.(?!parse_error)|filesystem error|basic_\w+::|terminate called")


class Failed(Exception):
    """One line that says what is wrong with a run."""


class Program:
    """A program of the examples, and where it works."""

    def __init__(self, path, folder):
        self.path, self.folder = pathlib.Path(path).resolve(), folder
        self.name = self.path.name
        with open(self.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            self.has_asan = content.find(b"__asan_init") >= 0
        self.output = folder / "output"

    def options(self, rng):
        """What it is asked, but for the model. Its output goes to or beside self.output."""
        prompt = ["-p", rng.choice(PROMPTS), "--no-escape"]
        if self.name == "generate":
            mode = rng.choice(GENERATE)
            return [*prompt, "-n", "2", "-t", "1", "-q", *mode, *([] if "--beams" in mode else ["--trace", str(self.output)])]
        if self.name == "score":
            return [*prompt, "-a", " the cat", "-a", " 12", "-t", "1", "-q", "--trace", str(self.output), *rng.choice(SCORE)]
        if self.name == "visualize":
            to = rng.choice(([], ["-o", f"{self.output}.html"], ["-o", f"{self.output}.svg"], ["-o", f"{self.output}.json"],
                             ["-o", f"{self.output}.csv"]))
            return ["map", *prompt, "-a", " the", *rng.choice(([], ["--wrong", " 12"], ["--final_norm"])), "-t", "1", "-q", *to]
        if self.name == "evaluate":
            mode = rng.choice(EVALUATE)
            name, text = DATA[mode[0]]
            (self.folder / name).write_text(text, encoding="utf-8")
            return [*mode, "--data-path", str(self.folder / name), "--output-path", str(self.output), "-t", "1", "-q"]
        raise SystemExit(f"--program: expected generate, score, visualize or evaluate, got {self.name}")

    def command(self, model, options):
        return [str(self.path), *options, "-m", str(model)]

    def limits(self):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**28, 2**28))
        if not self.has_asan:  # which reserves terabytes
            resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))

    def run(self, command):
        for left in self.folder.glob("output*"):
            left.unlink()
        files = [open(self.folder / name, "w+b") for name in ("stdout", "stderr")]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=files[0], stderr=files[1],
                                   env={**os.environ, **SANITIZERS}, preexec_fn=self.limits)
        signal.signal(signal.SIGALRM, lambda *_: process.kill())
        signal.alarm(300)  # for one that waits
        _, status, used = os.wait4(process.pid, 0)
        signal.alarm(0)
        process.returncode = os.waitstatus_to_exitcode(status)
        text = b""
        for file in files:
            file.seek(0)
            text = file.read(100_000)
            file.close()
        return Run(process.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, text.decode("utf-8", "backslashreplace"))


class Run:
    def __init__(self, code, seconds, resident, message):
        self.code, self.seconds, self.resident, self.message = code, seconds, resident, message

    def check(self, program, size, baseline, wants_entropy):
        """Raises Failed."""
        if self.code < 0:
            raise Failed(f"killed by {signal.Signals(-self.code).name}")
        if "Sanitizer" in self.message or "runtime error:" in self.message or self.code not in (0, 1, 2):
            raise Failed(f"exit code {self.code}: a sanitizer's report or an unknown end")
        if self.seconds > (limit := 2 * size / MB + 1 + 2 * baseline.seconds):
            raise Failed(f"took {self.seconds:.2f} s, more than {limit:.2f} s")
        allowed = size + 150 * MB
        if self.resident > (limit := baseline.resident + allowed * (1.5 if program.has_asan else 1)):
            raise Failed(f"took {self.resident / MB:.0f} MB, more than {limit / MB:.0f} MB")
        if self.code == 0:
            check_numbers(program.output, wants_entropy)
        elif not self.message.strip():
            raise Failed("an error without a message")
        elif LIBRARY_MESSAGE.search(self.message):
            raise Failed("the message is a library's own")
        if len(self.message) > 2000 or re.search(r"[\x00-\x08\x0b-\x1f\x7f]", self.message):
            raise Failed("the message is too long or has control characters")


def check_numbers(output, wants_entropy):
    """JSON lines of a trace or of results: null is what is not finite."""
    if not output.exists():
        return
    for line in output.read_text(encoding="utf-8").split("\n")[:-1]:  # not at U+2028
        record = json.loads(line)
        parts = [record, *record.get("true", []), *record.get("false", [])]
        for part in parts:
            lists = [*part.get("log_probs", []), *(part.get("entropies", []) if wants_entropy else [])]
            single = [part[key] for key in ("log_prob", "score", *(["entropy"] if wants_entropy else [])) if key in part]
            if None in lists + single:
                raise Failed("a number is not finite, and there is no error")


class Models:
    """Seeds, and what becomes of them: of kind gguf bytes, of the others files by name, None for one that is left out."""

    def __init__(self, kind, folder):
        self.kind = kind
        self.seeds = {"gguf": seeds.gguf_seeds, "split": seeds.split_seeds, "folder": seeds.folder_seeds,
                      "data": mutate_data.data_seeds}[kind]()
        self.path = folder / {"gguf": "model.gguf", "split": "split", "folder": "model", "data": "data"}[kind]

    @property
    def model(self):
        """What the program's -m is."""
        if self.kind == "data":
            return self.path.parent / "fixed.gguf"
        return next(iter(sorted(self.path.glob("*.gguf"))), self.path) if self.kind == "split" else self.path

    def options(self, program, name, rng):
        """What the program is asked, but for the model."""
        if self.kind != "data":
            return program.options(rng)
        task = name.split()[0]
        self.model.write_bytes(mutate_data.model().encode())
        new = [] if task in ("truthfulqa-mc", "factor", "known-facts") else ["--max-new-tokens", "2"]
        return [task, "--data-path", str(self.path / name.split()[1]), "--output-path", str(program.output), "--limit", "2", *new,
                "--decoding_mode", *self.mode(rng), "-t", "1", "-q"]

    def mode(self, rng):
        """Of a run on questions."""
        return rng.choice((["baseline"], ["activation"], ["dola", "--early_exit_layers", "0,1"]))

    def write(self, content):
        """The number of bytes."""
        if self.kind == "gguf":
            self.path.write_bytes(content)
            return len(content)
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir()
        if self.kind == "split":
            content = {f"model-{i + 1:05}-of-{len(content):05}.gguf": part for i, part in enumerate(content)}
        content = {name: data for name, data in content.items() if data is not None}
        for name, data in content.items():
            (self.path / name).write_bytes(data)
        return sum(map(len, content.values()))

    def write_seed(self, name):
        seed = self.seeds[name]
        return self.write(seed.encode() if self.kind == "gguf" else [part.encode() for part in seed] if self.kind == "split" else seed)

    def mutate(self, name, rng):
        change = {"gguf": mutate_gguf.mutate, "split": mutate_gguf.mutate_split, "folder": mutate_folder.mutate,
                  "data": mutate_data.mutate}[self.kind]
        return change(self.seeds[name], rng)

    def keep(self, folder, name):
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / (name + self.path.suffix)
        for data in [*self.path.parent.glob("*.[cj]s*"), *self.path.parent.glob("fixed.gguf")]:
            shutil.copy(data, folder)
        if self.kind != "gguf":
            shutil.copytree(self.path, kept, dirs_exist_ok=True)
        else:
            shutil.copyfile(self.path, kept)
        return kept


def baseline(program, models, name, options, known):
    """The seed's own run, which must succeed, or the mutants of it would try nothing."""
    key = (name, *options)
    if key not in known:
        models.write_seed(name)
        run = program.run(program.command(models.model, options))
        if run.code != 0:
            raise SystemExit(f"the unchanged {name} fails: {run.message}")
        known[key] = run
    return known[key]


def write_all(arguments, folder):
    """The files that run_all() runs."""
    folder.mkdir(parents=True, exist_ok=True)
    models = Models("data", folder)
    for number in range(arguments.first, arguments.first + arguments.count):
        rng = random.Random(f"{arguments.seed}/{number}")
        name = rng.choice(list(models.seeds))
        models.mode(rng)  # as there, or the numbers behind it are others
        ((file, content),) = models.mutate(name, rng)[0].items()
        (folder / f"{number:06}.{file}").write_bytes(content)


def run_all(arguments, folder, log):
    program, models, known = Program(arguments.program, folder), Models(arguments.kind, folder), {}
    codes, failures, slowest, largest = {}, 0, 0.0, 0.0
    for number in range(arguments.first, arguments.first + arguments.count):
        rng = random.Random(f"{arguments.seed}/{number}")
        name = rng.choice(list(models.seeds))
        options = models.options(program, name, rng)
        before = baseline(program, models, name, options, known)
        content, change = models.mutate(name, rng)
        size = models.write(content)
        run = program.run(program.command(models.model, options))
        slowest, largest = max(slowest, run.seconds - before.seconds), max(largest, run.resident - before.resident)
        record = {"number": number, "seed": name, "change": change, "options": options, "size": size, "code": run.code,
                  "seconds": round(run.seconds, 3), "resident": run.resident, "message": run.message[:3000]}
        try:
            run.check(program, size, before, any(word.startswith("activation") for word in options))
        except Failed as failure:
            failures += 1
            keep = pathlib.Path(arguments.keep).resolve()
            kept = models.keep(keep, f"{program.name}_{arguments.kind}_{arguments.seed}_{number}")
            model = models.model if models.kind == "data" else kept / models.model.name if models.kind == "split" else kept
            shown = shlex.join(program.command(model, options)).replace(str(models.path), str(kept)).replace(str(folder), str(keep))
            record["failed"], record["command"] = str(failure), shown
            print(f"FAILED {number}: {failure}\n  {change}\n  {shown}", flush=True)
        codes[run.code] = codes.get(run.code, 0) + 1
        if log:
            print(json.dumps(record), file=log, flush=True)
    print(f"{program.name}, {arguments.count} of kind {arguments.kind}: exit codes {dict(sorted(codes.items()))}, "
          f"at most {slowest:.2f} s and {largest / MB:.0f} MB above the seed, {failures} failures")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", help="generate, score, visualize or evaluate")
    parser.add_argument("--kind", choices=("gguf", "split", "folder", "data"), required=True)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--log", help="JSON lines, one for each run")
    parser.add_argument("--write", help="a folder for the files, of kind data, that would be run")
    parser.add_argument("--keep", default="mutated_failures", help="a folder for what failed")
    arguments = parser.parse_args()
    if arguments.write:
        if arguments.kind != "data":
            parser.error("--write is for --kind data")
        return write_all(arguments, pathlib.Path(arguments.write))
    if not arguments.program:
        parser.error("--program is missing")
    if arguments.kind == "data" and not arguments.program.endswith("evaluate"):
        parser.error("--kind data is evaluate's")
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        log = open(arguments.log, "a", encoding="utf-8") if arguments.log else None
        return 1 if run_all(arguments, pathlib.Path(folder), log) else 0


if __name__ == "__main__":
    sys.exit(main())
