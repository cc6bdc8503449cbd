# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Runs tasks and sweeps of `evaluate` as one process; killed at random moments and resumed; as four shards, merged; and as four
ranks. All must leave the same files, byte for byte; shards and ranks that are not of the same run must be refused.

    python3 check_survival.py EVALUATE MODEL [--data FOLDER] [--tasks nq,truthfulqa-mc] [--limit 12] [--kills 50]
                              [--ways kills,shards,ranks] [--mpirun mpirun] [--option=--info_layer=24]...

Without --data the questions are our own. Nothing but Python is needed, and mpirun for ranks; exit code 77: it is missing.
"""

import argparse
import json
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from run_tools import Program, files_of, write_data


def must(done):
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(done.args)}\nended with {done.returncode}: {done.stderr}")
    return done


def compare(expected, output, what):
    found = files_of(output)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise SystemExit(f"{what}: {output}{name} differs from that of one process, or only one of them is there")


def killed(program, task, folder, seconds, kills, moment):
    """Until it has been killed so often; a run that is over sooner is begun anew. -> how often it was."""
    finished, after = 0, []
    output = folder / "killed.jsonl"
    while len(after) < kills:
        process = subprocess.Popen(program.command(task, output, "--resume"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            code = process.wait(moment.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            part = pathlib.Path(f"{output}.part")
            after.append(part.read_bytes().count(b"\n") if part.exists() else -1)
            continue
        error = process.communicate()[1].decode()
        if code != 0:
            raise SystemExit(f"{task}: a resumed run ended with {code}: {error}")
        finished += 1
        compare(EXPECTED[task], output, f"{task}, killed and resumed")
        for name in files_of(output):
            pathlib.Path(f"{output}{name}").unlink()
    must(program.run(task, output, "--resume"))
    compare(EXPECTED[task], output, f"{task}, killed and resumed")
    return finished + 1, after


def refuse(done, *words):
    if done.returncode == 0 or not all(word in done.stderr for word in words):
        raise SystemExit(f"{' '.join(done.args)}\nended with {done.returncode} and not with {words}: {done.stderr}")


EXPECTED = {}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("evaluate")
    parser.add_argument("model")
    parser.add_argument("--data")
    parser.add_argument("--tasks", default="nq,truthfulqa-mc,known-facts,sweep nq,sweep truthfulqa-mc")
    parser.add_argument("--limit", default="12")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--ways", default="kills,shards,ranks")
    parser.add_argument("--mpirun", default="mpirun")
    parser.add_argument("--option", action="append", default=[])
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    moment = random.Random(arguments.seed)
    ways = arguments.ways.split(",")
    mpirun = shutil.which(arguments.mpirun) if arguments.mpirun else None
    if "ranks" in ways and not mpirun:
        print("Skipped: evaluate was built without MPI, or there is no mpirun (libopenmpi-dev, openmpi-bin)")
        return 77
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if not arguments.data:
            write_data(folder, 4)
        options = ["--limit", arguments.limit, *arguments.option]
        program = Program(arguments.evaluate, arguments.model, arguments.data or folder, options)
        for task in arguments.tasks.split(","):
            begin = time.monotonic()
            must(program.run(task, folder / "whole.jsonl"))
            seconds = time.monotonic() - begin
            EXPECTED[task] = files_of(folder / "whole.jsonl")

            must(program.run(task, folder / "alone.jsonl", "-j", "1", "-t", "1"))
            compare(EXPECTED[task], folder / "alone.jsonl", f"{task}, one sample at a time")

            if "kills" in ways:
                finished, after = killed(program, task, folder, seconds, arguments.kills, moment)
                print(f"{task}: killed {len(after)} times with SIGKILL, after {after} samples (-1: before the first "
                      f"write), {finished} runs finished, all files as those of one process ({seconds:.1f} s)", flush=True)
            if "shards" in ways:
                shards = [folder / f"shard{i}.jsonl" for i in range(1, 5)]
                for i, shard in enumerate(shards, 1):
                    must(program.run(task, shard, "--shard", f"{i}/4"))
                merge = [program.path, "merge", str(folder / "merged.jsonl"), *map(str, reversed(shards))]
                must(program.call(merge))
                compare(EXPECTED[task], folder / "merged.jsonl", f"{task}, four shards")
                manifest = pathlib.Path(f"{shards[1]}.manifest.json")
                changed = json.loads(manifest.read_text()) | {"isa": "another"}
                manifest.write_text(json.dumps(changed))
                refuse(program.call(merge), str(shards[1]), "its 'isa' is \"another\"")
                print(f"{task}: four shards merged, all files as those of one process", flush=True)
            if "ranks" in ways:
                ranks = [mpirun, "--oversubscribe", "-n"]
                must(program.run(task, folder / "ranks.jsonl", before=[*ranks, "4"]))
                compare(EXPECTED[task], folder / "ranks.jsonl", f"{task}, four ranks")
                command = lambda *more: ["1", *program.command(task, folder / "unlike.jsonl", *more)]
                unlike = program.call([*ranks, *command(), ":", "-n", *command("--context-span", "1:5")])
                refuse(unlike, "rank 1: its 'options/context_span' is [1,5], and [0,", "of rank 0")
                print(f"{task}: four MPI ranks, all files as those of one process", flush=True)
            for path in folder.glob("*.jsonl*"):
                if path.name != "NQ-open.dev.jsonl":
                    path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
