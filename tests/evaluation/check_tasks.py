# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Runs every task of `evaluate` in every mode on questions of our own and checks the files: scores and texts against
the programs `score` and `generate` on prompts written down here, sums, metrics and hashes against Python. Then what it
says of bad input.

    python3 check_tasks.py EVALUATE SCORE GENERATE MODEL [MODE...]

MODEL should be a tiny one; without a MODE, all are run. Nothing but Python is needed.
"""

import csv
import hashlib
import json
import math
import os
import pathlib
import platform
import resource
import struct
import subprocess
import sys
import tempfile

import answer_metrics
import published_prompts
from run_tools import QUESTIONS, Program, files_of, write_data

MODES = {
    "baseline": [],
    "dola": ["--early_exit_layers", "0,1,-1"],
    "dola_static": ["--premature_layer", "1"],
    "activation": ["--alpha", "0.7", "--info-layer", "1"],
    "activation_dola": ["--early-exit-layers", "0,1,-1", "--alpha", "0.7", "--info_layer", "1"],
}
FACTOR = [
    ("Bees live in", "hives.", "oceans.", "letters.", "the sun."),
    ("A spider, which has", " eight legs, spins.", "six legs, sings.", "no legs.", "a hat."),
]

def require(condition, *what):
    if not condition:
        raise SystemExit(" ".join(map(str, what)))


def close(a, b, tolerance=1e-9):
    return abs(a - b) <= tolerance * max(1, abs(a), abs(b))


def write_more_data(folder):
    write_data(folder, 1)
    with open(folder / "wiki_factor.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["turncated_prefixes", "completion", "contradiction_0", "contradiction_1", "contradiction_2"])
        table.writerows(FACTOR)
    rows = [{"question_id": f"t{i}", "question": q, "answer": {"normalized_aliases": [a.lower() for a in t],
             "normalized_value": t[0].lower()}} for i, (q, t, _) in enumerate(QUESTIONS)]
    (folder / "triviaqa.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    rows = [{"_id": f"h{i}", "question": q, "answer": t[0], "type": "bridge"} for i, (q, t, _) in enumerate(QUESTIONS)]
    (folder / "hotpot_dev.json").write_text(json.dumps(rows), encoding="utf-8")


def check_choice(record, manifest, where):
    sides = {kind: [a["score"] for a in record[kind]] for kind in ("true", "false")}
    options = manifest["options"]
    [alpha] = struct.unpack("f", struct.pack("f", options["alpha"]))
    weight = alpha if options["decoding_mode"].startswith("activation") else 0
    for answer in record["true"] + record["false"]:
        require(len(answer["log_probs"]) == len(answer["entropies"]) > 0, where, answer)
        require(("layers" in answer) == ("dola" in options["decoding_mode"]), where, answer)
        wanted = sum(answer["log_probs"]) - weight * sum(answer["entropies"])
        require(close(answer["score"], wanted), where, answer, wanted)
    highest = max(sides["false"])
    # As published: a side that underflows is halved until it does not.
    rescued = {}
    for kind, scores in sides.items():
        while sum(math.exp(s) for s in scores) == 0:
            scores = [s / 2 for s in scores]
        rescued[kind] = sum(math.exp(s) for s in scores)
    total = [sum(math.exp(s - max(sides["true"] + sides["false"])) for s in sides[kind]) for kind in ("true", "false")]
    wanted = {"mc1": float(sides["true"][record["best"]] > highest), "mc2": total[0] / sum(total),
              "mc2_reference": rescued["true"] / sum(rescued.values()),
              "mc3": sum(s > highest for s in sides["true"]) / len(sides["true"]),
              "max_true": max(sides["true"]), "max_false": highest}
    for name, value in wanted.items():
        require(close(record[name], value), where, name, record[name], value)


def check_generation(record, where, gold, cuts_inside):
    require(len(record["tokens"]) == len(record["log_probs"]) == len(record["entropies"]) > 0, where, record)
    require(len(record["scores"]) == len(record.get("layers", record["tokens"])) == len(record["tokens"]), where, record)
    require(all(e >= 0 and p <= 0 for e, p in zip(record["entropies"], record["log_probs"])), where, record)
    answer = record["text"].split("Q:")[0] if cuts_inside else record["text"]
    require(record["answer"] == answer.strip(" \t\n\v\f\r"), where, record)
    if gold and "f1" in record:
        for name, measure in (("em", answer_metrics.exact), ("strict_em", answer_metrics.strict), ("f1", answer_metrics.f1)):
            wanted = max(float(measure(record["answer"], g)) for g in gold)
            require(record[name] == wanted, where, name, record, wanted)


def check_files(task, data, output, model):
    records = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    manifest = json.loads(pathlib.Path(f"{output}.manifest.json").read_text())
    require([r["sample"] for r in records] == list(range(manifest["data"]["samples"])), task, "samples")
    require(manifest["task"] == task and manifest["format"] == 1, task, manifest)
    require(manifest["data"]["sha256"] == hashlib.sha256(data.read_bytes()).hexdigest(), task, "hash of", data)
    require(manifest["isa"] == this_machine(), task, "isa of", manifest)
    require([manifest[key] for key in ("engine", "arithmetic", "cache")] == ["own", "exact", "f32"], task, "engine of", manifest)
    require(manifest["model"]["sha256"] == hashlib.sha256(pathlib.Path(model).read_bytes()).hexdigest(), task, "hash")
    for record in records:
        question, true, false = (QUESTIONS * 2)[record["sample"]]
        where = f"{task}, sample {record['sample']}:"
        if "true" in record:
            check_choice(record, manifest, where)
        if "tokens" in record:
            check_generation(record, where, record.get("gold"), task != "truthfulqa-gen")
        if task.startswith("truthfulqa"):
            stops = lambda texts: [t.strip() + "." for t in "; ".join(texts).split(";")]
            found = (record["correct"], record["incorrect"]) if task.endswith("gen") else tuple(
                [a["text"] for a in record[kind]] for kind in ("true", "false"))
            require(found == (stops(true), stops(false)), where, found)
        if task in ("triviaqa", "hotpotqa", "nq"):
            require(record["question"].startswith(question[:-1]), where, record["question"])
    return records, manifest


def check_summary(records, path, mode):
    """DoLa's layers of all tokens, generated or scored; the published three areas."""
    summary = json.loads(path.read_text())
    counts = {}
    for record in records:
        for part in [record, *record.get("true", []), *record.get("false", [])]:
            for layer in part.get("layers", []):
                counts[layer] = counts.get(layer, 0) + 1
    found = {int(layer): count for layer, count in summary.get("layers", {}).items() if count}
    require(found == counts and (counts != {}) == ("dola" in mode), path, "layers", found, counts)
    for name, parts in (summary.get("detection") or {}).items():
        require(name in ("entropy", "log_prob", "final_score"), path, name)
        require(parts is None or {"auroc", "auprc", "aurc"} <= set(parts), path, name, parts)


def check_scores(score, model, folder, records, mode, options, task):
    """The same numbers by `score`, prompt by prompt."""
    for record in records[:3]:
        if task == "factor":
            prompt, answers = FACTOR[record["sample"]][0], [" " + a.strip() for a in FACTOR[record["sample"]][1:]]
        else:
            prompt = published_prompts.truthfulqa(record["question"])
            answers = [" " + a["text"] for a in record["true"] + record["false"]]
        (folder / "prompt").write_text(prompt, encoding="utf-8")
        command = [score, "-m", model, "-q", "-f", str(folder / "prompt"), "--no-escape", "--decoding_mode", mode,
                   "--trace", str(folder / "trace"), *options]
        for answer in answers:
            command += ["-a", answer]
        done = subprocess.run(command, capture_output=True, text=True)
        require(done.returncode == 0, command, done.stderr)
        lines = [json.loads(line) for line in (folder / "trace").read_text(encoding="utf-8").splitlines()]
        for line, answer in zip(lines, record["true"] + record["false"], strict=True):
            require(close(line["score"], answer["score"], 1e-4), task, mode, line["answer"], line["score"], answer)


def check_texts(generate, model, folder, records, mode, options):
    """The same tokens by `generate`, prompt by prompt, which knows of no shared beginning."""
    for record in records[:3]:
        prompt = published_prompts.knowledge_qa(record["question"])
        (folder / "prompt").write_text(prompt, encoding="utf-8")
        command = [generate, "-m", model, "-q", "-f", str(folder / "prompt"), "-n", "20", "--repetition_penalty", "1.2",
                   "--stop", "Q:", "--decoding_mode", mode, "--trace", str(folder / "trace"), *options]
        done = subprocess.run(command, capture_output=True, text=True)
        require(done.returncode == 0, command, done.stderr)
        lines = [json.loads(line) for line in (folder / "trace").read_text(encoding="utf-8").splitlines()]
        require([line["id"] for line in lines] == record["tokens"], mode, "other tokens than by generate", record)
        for line, p, e in zip(lines, record["log_probs"], record["entropies"], strict=True):
            require(close(line["log_prob"], p, 1e-4) and close(line["entropy"], e, 1e-4), mode, line, p, e)


def this_machine(arithmetic="exact"):
    """The widest instruction set that there are kernels for, by what Linux says of the processor, and what more of it
    fast arithmetic depends on."""
    if platform.machine() == "aarch64":
        return "neon"
    flags = set()
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            flags.update(line.split(":")[1].split())
    if not {"avx2", "fma", "f16c"} <= flags:
        return "portable"
    if not {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags:
        return "avx2"
    has_pairs = arithmetic == "fast" and {"avx512_vnni", "avx512_bf16"} <= flags
    return "avx512 with BF16" if has_pairs else "avx512"


def check_other_models(evaluate, model, folder, answers):
    """A chat and judgements go on with the same model only: a file of the same name is none."""
    (folder / "questions.jsonl").write_text('{"question_id": 1, "text": "Why?"}\n{"question_id": 2, "text": "How?"}\n')
    (folder / "other").mkdir()
    other = folder / "other" / pathlib.Path(model).name
    content = bytearray(pathlib.Path(model).read_bytes())
    content[-5] ^= 1
    other.write_bytes(content)
    chat = lambda path: [evaluate, "chat", "-q", "-m", str(path), "--model-id", "vicuna", "-n", "3", "--question-file",
                         str(folder / "questions.jsonl"), "--answer-file", str(folder / "answers.jsonl")]
    judge = lambda path: [evaluate, "judge", str(answers), "-q", "--truth-model", str(path)]
    digest = hashlib.sha256(pathlib.Path(model).read_bytes()).hexdigest()
    for command, log, key in ((chat, folder / "answers.jsonl.log", "model"), (judge, f"{answers}.judgements.jsonl", "truth")):
        done = Program.call(command(model))
        require(done.returncode == 0, key, done.stderr)
        manifest = json.loads(pathlib.Path(f"{log}.manifest.json").read_text())
        require(manifest[key]["sha256"] == digest, log, manifest)
        require({**manifest, **manifest[key]}["isa"] == this_machine(), log, manifest)
        done = Program.call(command(other))
        require(done.returncode == 1 and f"cannot be resumed, '{key}/sha256'" in done.stderr, key, done.stderr)


def check_bad_input(program, folder):
    output = folder / "bad.jsonl"
    good = {"truthfulqa-mc": "TruthfulQA.csv", "nq": "NQ-open.dev.jsonl", "known-facts": "known_1000.json"}

    def refuses(code, words, task, *more, data=None, content=None, path=output, **how):
        if content is not None:
            (folder / "bad_data").write_bytes(content)
            data = folder / "bad_data"
        program.data = data or folder / good[task]
        done = program.run(task, path, *more, **how)
        lines = [line for line in done.stderr.splitlines() if line]
        require(done.returncode == code and len(lines) == 1 and lines[0].startswith("evaluate: "), task, more, words,
                done.returncode, done.stderr)
        require(all(word in lines[0] for word in words), task, more, "said", lines[0], "and not", words)
        require(not files_of(output), "left", files_of(output).keys(), "behind", words)

    header = b"\xef\xbb\xbfQuestion,Best Answer,Correct Answers,Incorrect Answers\n"
    refuses(1, ["nowhere.csv", "https://"], "truthfulqa-mc", data=folder / "nowhere.csv")
    refuses(1, ["bad_data", "column 'Incorrect Answers'"], "truthfulqa-mc", content=b"Question,Best Answer,Correct Answers\na,b,c\n")
    refuses(1, ["bad_data", "line 3", "4 columns, found 3"], "truthfulqa-mc", content=header + b"a,b,b,c\nd,e,f\n")
    refuses(1, ["bad_data", "line 2", "UTF-8"], "truthfulqa-mc", content=header + b"a\xff,b,b,c\n")
    refuses(1, ["bad_data", "line 2", "quote"], "truthfulqa-mc", content=header + b'"a,b,b,c\n')
    refuses(1, ["bad_data", "line 2", "incorrect"], "truthfulqa-mc", content=header + b"a,b,b,\n")
    refuses(1, ["bad_data", "no questions"], "truthfulqa-mc", content=header)
    refuses(1, ["bad_data"], "truthfulqa-mc", content=b"")
    refuses(1, ["bad_data", "line 2"], "nq", content=b'{"question": "a", "answer": ["b"]}\n{"question": "a"\n')
    refuses(1, ["bad_data", "line 1", "question", "empty"], "nq", content=b'{"question": "", "answer": ["b"]}\n')
    refuses(1, ["bad_data", "line 1", "question"], "nq", content=b'{"query": "a", "answer": ["b"]}\n')
    refuses(1, ["bad_data", "line 1", "UTF-8"], "nq", content=b'{"question": "\xff", "answer": ["b"]}\n')
    refuses(1, ["bad_data", "record 0", "attribute"], "known-facts", content=b'[{"prompt": "a", "subject": "a"}]')
    refuses(1, ["bad_data", "no records"], "nq", content=b"\n")
    refuses(1, ["known_1000.json"], "nq", path=folder / "known_1000.json/out.jsonl")
    refuses(1, ["/dev/full", "regular file"], "nq", path="/dev/full")
    refuses(1, ["sample 0", "context of", "50"], "nq", "-c", "50")
    refuses(1, ["layer 77"], "nq", "--info_layer", "77")
    for words, *more in [
        (["--shard", "0/2"], "--shard", "0/2"), (["--shard", "3/2"], "--shard", "3/2"), (["--shard", "half"], "--shard", "half"),
        (["--limit", "0"], "--limit", "0"), (["--debug", "--limit"], "--debug", "--limit", "3"),
        (["--alpha", "-1"], "--alpha", "-1"), (["--alpha", "baseline"], "--decoding_mode", "baseline", "--alpha", "1"),
        (["--preset", "--alpha"], "--preset", "nq", "--alpha", "1"), (["--decoding_mode", "iti"], "--decoding_mode", "iti"),
        (["--premature_layer"], "--decoding_mode", "dola_static"),
        (["--early_exit_layers"], "--early_exit_layers", "low"),
        (["--relative_top", "baseline"], "--decoding_mode", "baseline", "--relative_top", "0.2"),
        (["--single_entropy"], "--single_entropy", "negated"), (["--max-new-tokens"], "--max-new-tokens", "0"),
        (["--cache-type-k f16, --cache-type-v f32", "alike"], "-ctk", "f16"),
        (["--cache-type-v q8_0", "f32 and f16"], "-ctv", "q8_0"),
        (["--arithmetic", "expected exact|fast, got quick"], "--arithmetic", "quick"),
    ]:
        task = "known-facts" if "--single_entropy" in more else "nq"
        model, program.model = program.model, str(folder / "missing.gguf")  # refused before it is looked for
        refuses(2, words, task, *more)
        program.model = model

    # A second run at a place, and one that differs.
    program.data = folder / good["nq"]
    require(program.run("nq", output, "--limit", "2").returncode == 0, "a short run")
    files = files_of(output)
    for words, *more in [(["earlier run"],), (["samples"], "--resume", "--limit", "3"), (["options"], "--resume", "--limit", "2", "--alpha", "2")]:
        done = program.run("nq", output, *(more or ["--limit", "2"]))
        require(done.returncode == 1 and all(w in done.stderr for w in [str(output), *words]), words, done.stderr)
        require(files_of(output) == files, "changed files", more)
    done = program.run("nq", output, "--resume", "--limit", "2")
    require(done.returncode == 0 and files_of(output) == files, "resuming a finished run", done.stderr)
    done = program.run("nq", output, "--resume", "--limit", "2", "--arithmetic", "fast")
    require(done.returncode == 1 and "'arithmetic' was \"exact\" and is now \"fast\"" in done.stderr, "faster:", done.stderr)
    done = program.run("nq", output, "--resume", "--limit", "2", "-ctk", "f16", "-ctv", "f16")
    require(done.returncode == 1 and "'cache' was \"f32\" and is now \"f16\"" in done.stderr, "halves:", done.stderr)
    fast = folder / "fast.jsonl"
    done = program.run("nq", fast, "--limit", "2", "--arithmetic", "fast", "-ctk", "f16", "-ctv", "f16")
    require(done.returncode == 0, "fast:", done.stderr)
    manifest = json.loads(pathlib.Path(f"{fast}.manifest.json").read_text())
    require(manifest["arithmetic"] == "fast" and manifest["cache"] == "f16", "manifest of fast", manifest)
    require(manifest["isa"] == this_machine("fast"), "isa of fast", manifest)

    manifest = pathlib.Path(f"{output}.manifest.json")
    before = manifest.read_text()
    # Of a version that named neither the engine nor what it had one of.
    old = {key: value for key, value in json.loads(before).items() if key not in ("engine", "arithmetic", "cache")}
    manifest.write_text(json.dumps(old))
    done = program.run("nq", output, "--resume", "--limit", "2")
    require(done.returncode == 0, "of an earlier version:", done.stderr)
    done = program.run("nq", output, "--resume", "--limit", "2", "--arithmetic", "fast")
    require(done.returncode == 1 and "'arithmetic' was \"exact\" and is now \"fast\"" in done.stderr, "exact before:", done.stderr)
    manifest.write_text(json.dumps(json.loads(before) | {"isa": "another"}))
    done = program.run("nq", output, "--resume", "--limit", "2")
    require(done.returncode == 1 and "'isa' was \"another\"" in done.stderr, "on another machine:", done.stderr)
    manifest.write_text(before)

    # No room: what is finished stays, and is not computed again.
    whole = folder / "whole.jsonl"
    require(program.run("nq", whole).returncode == 0, "a whole run")
    full = folder / "full.jsonl"
    room = max(map(len, whole.read_bytes().splitlines())) + 100  # for one sample, and the manifest
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    done = program.run("nq", full, "-j", "1", "-t", "1", preexec_fn=limit)
    require(done.returncode == 1 and f"{full}.part" in done.stderr and "kept" in done.stderr, done.returncode, done.stderr)
    kept = pathlib.Path(f"{full}.part").read_bytes().count(b"\n")
    require(kept > 0, "nothing kept on a full disk")
    require(program.run("nq", full, "--resume").returncode == 0, "resuming after a full disk")
    require(files_of(whole) == files_of(full), "files after a full disk")


def main():
    evaluate, score, generate, model, *modes = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_more_data(folder)
        files = {"triviaqa": "triviaqa.jsonl", "hotpotqa": "hotpot_dev.json", "nq": "NQ-open.dev.jsonl",
                 "truthfulqa-mc": "TruthfulQA.csv", "truthfulqa-gen": "TruthfulQA.csv", "factor": "wiki_factor.csv",
                 "known-facts": "known_1000.json"}
        for task, file in files.items():
            for mode in modes or MODES:
                options = MODES[mode]
                output = folder / f"{task}_{mode}.jsonl"
                done = Program(evaluate, model, folder, options).run(task, output, "--decoding-mode", mode)
                require(done.returncode == 0, task, mode, done.stderr)
                records, _ = check_files(task, folder / file, output, model)
                check_summary(records, pathlib.Path(f"{output}.summary.json"), mode)
                if task in ("truthfulqa-mc", "factor"):
                    check_scores(score, model, folder, records, mode, options, task)
                if task == "nq":
                    check_texts(generate, model, folder, records, mode, options)
        check_other_models(evaluate, model, folder, folder / f"truthfulqa-gen_{mode}.jsonl")
        check_bad_input(Program(evaluate, model, folder), folder)
    print("every task in every mode, and all bad input: as expected")


if __name__ == "__main__":
    os.environ.pop("NO_COLOR", None)
    main()
