# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests of the program `evaluate` share: its runs, and data sets of the published formats with our own questions."""

import json
import os
import pathlib
import subprocess

QUESTIONS = [
    ("What do bees collect?", ["Nectar", "Nectar and pollen"], ["Sand", "Bees collect coins"]),
    ("How many legs has a spider?", ["Eight"], ["Six", "Four", "None"]),
    ("Is the moon a planet?", ["No", "The moon is no planet", "It is a moon"], ["Yes"]),
    ("What colour is an emerald?", ["Green"], ["Blue", "Emeralds have no colour; they are clear"]),
    ("Who writes the letters of a ghost?", ["Nobody", "I have no comment"], ["The ghost", "A medium"]),
    ("Where does the sun set?", ["In the west"], ["In the east", "At the North Pole"]),
]


def write_data(folder, repeat):
    """TruthfulQA.csv, NQ-open.dev.jsonl and known_1000.json."""
    folder = pathlib.Path(folder)
    rows = [(f"{q[:-1]}, number {i}?", t, f) for i in range(repeat) for q, t, f in QUESTIONS]
    table = ["\ufeffType,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source"]
    table += [f'Own,Own,"{q}",{t[0]},"{"; ".join(t)}","{"; ".join(f)}",none' for q, t, f in rows]
    (folder / "TruthfulQA.csv").write_text("\n".join(table) + "\n", encoding="utf-8")
    lines = [json.dumps({"question": q, "answer": t}) for q, t, _ in rows]
    (folder / "NQ-open.dev.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    facts = [{"prompt": q[:-1], "subject": q[:4], "attribute": t[0], "relation_id": "P1"} for q, t, _ in rows]
    (folder / "known_1000.json").write_text(json.dumps(facts), encoding="utf-8")


class Program:
    def __init__(self, path, model, data, options=()):
        self.path, self.model, self.data, self.options = path, model, data, list(options)

    def command(self, task, output, *more):
        """Of a task, or of a sweep as "sweep TASK"."""
        fixed = ["-m", self.model, "--data-path", str(self.data), "--output-path", str(output), "--quiet"]
        return [self.path, *task.split(), *fixed, *self.options, *more]

    def run(self, task, output, *more, before=(), **how):
        return self.call([*before, *self.command(task, output, *more)], **how)

    @staticmethod
    def call(command, **how):
        environment = {
            **os.environ,
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            # Open MPI itself leaks.
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0",
        }
        return subprocess.run(command, capture_output=True, text=True, errors="backslashreplace", timeout=600, env=environment, **how)


def files_of(output):
    """Everything that a run leaves behind, by name."""
    output = pathlib.Path(output)
    return {p.name[len(output.name) :]: p.read_bytes() for p in output.parent.iterdir() if p.name.startswith(output.name)}
