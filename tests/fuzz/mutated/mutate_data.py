# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Changes sets of questions: JSON as a whole or a line of it, and tables where their rows and fields begin and end."""

import json
import pathlib

import mutate_json
import seeds

TESTS = pathlib.Path(__file__).resolve().parents[2]
FORMS = {"qa": ("nq",), "nq": ("nq",), "triviaqa": ("triviaqa",), "hotpotqa": ("hotpotqa",), "hotpot": ("hotpotqa",),
         "truthfulqa": ("truthfulqa-mc", "truthfulqa-gen"), "factor": ("factor",), "known": ("known-facts",)}
PARTS = [b'"', b'""', b",", b";", b"\t", b"\r", b"\r\n", b"\n", b"\n\n", b"\0", b"\xef\xbb\xbf", b"\xff", b"\xed\xa0\x80", b"[", b"]", b"'",
         b"['a', \"b\"]", b"=1+1", b"\x1b[2J", b"\xe2\x80\xa8", b"a" * 100000, b" ", b"nan", b"\\x41", b"\\", b"; "]


def data_seeds():
    """By task and form, each a file by its name."""
    result = {}
    for path in sorted([*(TESTS / "evaluation/golden/forms").iterdir(), *(TESTS / "fuzz/corpus/data_sets").iterdir()]):
        for task in FORMS[path.name.split(".")[0]]:
            result[f"{task} {path.name}"] = {path.name: path.read_bytes()}
    return result


def model():
    """One whose context has room for every task's prompt."""
    gguf = seeds.gguf_seeds()["gpt2"]
    gguf.put(b"llama.context_length", 4, 16384)
    return gguf


def change_text(data, rng):
    """A part goes, comes twice or becomes another."""
    begin = rng.randrange(len(data) + 1)
    end = min(len(data), begin + rng.choice((0, 1, 1, 3, 20)))
    other = rng.choice((b"", data[begin:end] * 2, *PARTS))
    return data[:begin] + other + data[end:], f"[{begin}:{end}] = {ascii(other[:20])}"


def change_lines(data, rng):
    lines = data.split(b"\n")
    place, what = rng.randrange(len(lines)), rng.choice(("twice", "removed", "exchanged", "many", "ends"))
    if what == "twice":
        lines.insert(place, lines[place])
    elif what == "removed":
        del lines[place]
    elif what == "exchanged":
        other = rng.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    elif what == "many":
        lines[place:place] = [lines[place]] * 2000
    else:
        end = rng.choice((b"\r\n", b"\r", b"\n\n", b"\xe2\x80\xa8"))
        return end.join(lines), f"lines end in {end}"
    return b"\n".join(lines), f"line {place} {what}"


def change_json(data, rng):
    """As a whole if it is one value, otherwise a line."""
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        lines = data.split(b"\n")
        place = rng.randrange(len(lines))
        lines[place], said = mutate_json.mutate(lines[place] or b" ", rng)
        return b"\n".join(lines), f"line {place}: {said}"
    return mutate_json.mutate(data, rng)


def mutate(seed, rng):
    """(files by name, what was changed)"""
    (name, data), said = next(iter(seed.items())), []
    is_json = data.removeprefix(b"\xef\xbb\xbf")[:1] in (b"{", b"[")
    for change in rng.choices((change_text, change_lines, change_json), (3, 1, 6 if is_json else 0), k=rng.choice((1, 1, 1, 2, 3))):
        data, step = change(data or b" ", rng)
        said.append(step)
    return {name: data}, "; ".join(said)
