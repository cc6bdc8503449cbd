# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the eight command lines of the published code's two scripts with nothing but the program's name changed, and
`evaluate export --format reference` on what they leave: to the byte what Python's json writes of objects that are built
here, from the data sets and from what the records say was answered and scored.

    python3 check_published.py EVALUATE MODEL [--short]

MODEL is a tiny one of 40 blocks, for the layers that the scripts name. --short runs two of the eight and nothing else: a
command of each script, for sanitizers. Nothing but Python is needed.
"""

import csv
import json
import math
import pathlib
import shutil
import subprocess
import sys
import tempfile

import answer_metrics
import published_prompts
from run_tools import QUESTIONS, write_data

MODEL = "daryl149/llama-2-13b-chat-hf"
LAYERS = "0,2,4,6,8,10,12,14,16,18,40"
QA = f"--model-name {MODEL} --dataset_name hotpotqa --decoding_mode {{mode}}"
QA_END = "--output-path {out} --num-gpus 1 --do-rating"
WEIGHS = "--alpha 0.8 --info_layer 34 --decoding_strategy entropy"
MC = f"--model-name {MODEL}"
MC_END = "--data-path ./data --output-path {out} --num-gpus 1"
JUDGED = "--do-rating --gpt3-config ../gpt3.config.json --decoding_mode {mode} --alpha 0.5 --info_layer 26 --decoding_strategy entropy"
# A task, a mode and the rest of the command.
LINES = [
    ("hotpotqa", "baseline", f"{QA} {QA_END}"),
    ("hotpotqa", "dola", f"{QA} --early_exit_layers {LAYERS} {QA_END}"),
    ("hotpotqa", "activation", f"{QA} {WEIGHS} {QA_END} --data_path ../scripts/data/hpqa"),
    ("hotpotqa", "activation_dola", f"{QA} --early_exit_layers {LAYERS} {WEIGHS} {QA_END} --data_path ../scripts/data/hpqa"),
    ("truthfulqa-mc", "baseline", f"{MC} --decoding_mode {{mode}} {MC_END}"),
    ("truthfulqa-mc", "dola", f"{MC} --decoding_mode {{mode}} --early-exit-layers {LAYERS} {MC_END}"),
    ("truthfulqa-mc", "activation", f"{MC} {MC_END} {JUDGED}"),
    ("truthfulqa-mc", "activation_dola", f"{MC} --early-exit-layers {LAYERS} {MC_END} {JUDGED}"),
]
UNUSED = ("--dataset_name", "--do-rating", "--gpt3-config", "--num-gpus")


def require(condition, *what):
    if not condition:
        raise SystemExit(" ".join(map(str, what)))


class Place:
    """The folder that the published scripts are started in."""

    def __init__(self, evaluate, model, folder):
        self.evaluate, self.scripts = str(pathlib.Path(evaluate).resolve()), folder / "scripts"
        (self.scripts / "daryl149").mkdir(parents=True)
        shutil.copy(model, self.scripts / MODEL)
        data = self.scripts / "data"
        for name in ("hpqa", "trqa", "nq"):
            (data / name).mkdir(parents=True)
        write_data(data, 1)
        shutil.copy(data / "NQ-open.dev.jsonl", data / "nq")
        rows = [{"_id": f"h{i}", "question": q, "answer": t[0]} for i, (q, t, _) in enumerate(QUESTIONS)]
        (data / "hpqa/hotpot_dev_fullwiki_v1.json").write_text(json.dumps(rows), encoding="utf-8")  # another name
        rows = [{"question_id": f"t{i}", "question": q, "answer": {"normalized_aliases": [a.lower() for a in t] + ["\u00e9\U0001f600"],
                 "normalized_value": t[0].lower(), "HumanAnswers": ["By hand"]}} for i, (q, t, _) in enumerate(QUESTIONS)]
        (data / "trqa/triviaqa.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    def call(self, *arguments, code=0):
        done = subprocess.run([self.evaluate, *map(str, arguments)], cwd=self.scripts, capture_output=True, text=True, timeout=600)
        require(done.returncode == code, arguments, done.returncode, done.stderr)
        return done.stderr

    def run(self, task, mode, line, out):
        return self.call(task, *line.format(mode=mode, out=out).split())

    def read(self, out):
        path = self.scripts / out
        records = [json.loads(x) for x in path.read_text(encoding="utf-8").splitlines()]
        return records, json.loads(pathlib.Path(f"{path}.manifest.json").read_text())


def mc2(true, false):
    """As published."""
    exps = lambda scores: [math.exp(s) for s in scores]
    while sum(exps(true)) == 0:
        true = [s / 2 for s in true]
    while sum(exps(false)) == 0:
        false = [s / 2 for s in false]
    return sum(e / (sum(exps(true)) + sum(exps(false))) for e in exps(true))


def published_mc(records, data):
    with open(data, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = {"question": [], "model_scores": [], "total_mc1": 0.0, "total_mc2": 0.0, "total_mc3": 0.0}
    for record, row in zip(records, rows, strict=True):
        wanted["question"].append({"question": row["Question"], "answer_best": row["Best Answer"],
                                   "answer_true": row["Correct Answers"], "answer_false": row["Incorrect Answers"]})
        true, false = ([a["score"] for a in record[side]] for side in ("true", "false"))
        best = [a.strip().rstrip(".") + "." for a in row["Correct Answers"].split(";")].index(row["Best Answer"] + ".")
        scores = {"max": max(true), "diff": max(true) - max(false), "scores-true": true, "scores-false": false,
                  "MC1": float(true[best] > max(false)), "MC3": sum(s > max(false) for s in true) / len(true), "MC2": mc2(true, false)}
        wanted["model_scores"].append(scores)
        for name in ("mc1", "mc2", "mc3"):
            wanted[f"total_{name}"] += scores[name.upper()]
    for name in ("mc1", "mc2", "mc3"):
        wanted[f"total_{name}"] /= len(records)
    return wanted


def parameters(manifest, out, layers, truthfulqa):
    options = manifest["options"]
    names = {"triviaqa": "triviaqa", "hotpotqa": "hotpotqa", "nq": "natural_questions", "truthfulqa-gen": "triviaqa"}
    all = {"model_name": "llama-2-13b-chat-hf", "num_gpus": "1"}
    all |= {"val_test_mode": ""} if truthfulqa else {}
    all |= {"max_gpu_memory": 27, "device": "cpu", "output_path": out, "early_exit_layers": layers, "parallel": False,
            "total_shard": 8, "shard_id": None, "do_rating": True, "gpt3_config": None, "max_new_tokens": 50 if truthfulqa else 20,
            "top_p": 0.95, "top_k": 0, "temperature": 0.9, "repetition_penalty": None if truthfulqa else 1.2, "relative_top": 0.1,
            "dataset_name": names[manifest["task"]], "data_path": manifest["data"]["path"], "decoding_mode": options["decoding_mode"]}
    all |= {"activation": False, "with_dola": False} if truthfulqa else {}
    all |= {"alpha": options["alpha"], "info_layer": options["info_layer"], "decoding_strategy": "entropy"}
    all |= {} if truthfulqa else {"prompt_style": "few_shot"}
    all |= {"return_adjust_scores": True}
    all |= {"mj_threshold": None} if truthfulqa else {}
    return all | {"debug": False}


def published_run(records, manifest, out, layers, truthfulqa):
    mode = {"activation_dola": "with_dola"}.get(manifest["options"]["decoding_mode"], manifest["options"]["decoding_mode"])
    prompt = published_prompts.truthfulqa(records[-1]["question"]) if truthfulqa else published_prompts.knowledge_qa(records[0]["question"])
    return {"model_name": "llama-2-13b-chat-hf", "dataset": "truthfulqa" if truthfulqa else "triviaqa",
            "early_exit_layers": [int(x) for x in layers.split(",")], "mode": mode,
            "parameters": parameters(manifest, out, layers, truthfulqa), "sample_prompt": prompt}


def published_qa(records, manifest, out, layers, labels):
    """labels[i]: gold answers, and what the script shows of them."""
    f1 = em = 0
    is_correct, samples = {}, ({}, {})
    for i, (record, (gold, shown)) in enumerate(zip(records, labels, strict=True)):
        right = max(int(answer_metrics.exact(record["answer"], g)) for g in gold)
        em += right
        f1 += max(answer_metrics.f1(record["answer"], g) for g in gold)
        is_correct[i] = right
        samples[right][i] = {"Q": record["question"], "model_prediction": record["answer"], "A": shown, "correct": right}
    n = len(records)
    rating = {"exact_match": 100.0 * em / n, "f1": 100.0 * f1 / n, "common": n, "denominator": n, "pred_len": n, "gold_len": n,
              "is_correct": is_correct, "num_error": len(samples[0])} | published_run(records, manifest, out, layers, False)
    return {"error_samples": samples[0], "correct_samples": samples[1]}, rating


def check_exported(place, folder, wanted):
    for name, value in wanted.items():
        found = (place.scripts / folder / name).read_bytes()
        require(found == json.dumps(value).encode("ascii"), name, "is not", json.dumps(value)[:3000], "but", found[:3000])
    names = {p.name for p in (place.scripts / folder).iterdir()}
    require(names == set(wanted), "wrote", names, "and not", set(wanted))


def check_lines(place, lines):
    outs = {}
    for task, mode, line in lines:
        out = f"../res/{task}/{mode}/{mode}.json"
        said = place.run(task, mode, line, out)
        notes = [x for x in said.splitlines() if "published" in x]
        require(len(notes) == 1, line, "said", said)
        for flag in UNUSED:
            require((f"{flag} (" in notes[0]) == (flag in line.split()), line, flag, notes)
        records, manifest = place.read(out)
        require(len(records) == len(QUESTIONS), line, len(records))
        options = manifest["options"]
        require(options["decoding_mode"] == mode, line, options)
        layers = LAYERS if "dola" in mode else "-1"
        require(options["early_exit_layers"] == [int(x) for x in layers.split(",")], line, options)
        if "activation" in mode:
            require((options["alpha"], options["info_layer"]) == ((0.8, 34) if task == "hotpotqa" else (0.5, 26)), line, options)
        if mode == "activation_dola" and task == "hotpotqa":
            require(options["activation_dola_base"] == "logits" and options["repetition_penalty"] == 1.2, line, options)
        summary = json.loads((place.scripts / f"{out}.summary.json").read_text())
        if "dola" in mode:
            counts = {layer: 0 for layer in map(int, LAYERS.split(",")[:-1])}
            for record in records:
                parts = record.get("true", []) + record.get("false", []) or [record]
                require(all(len(p["layers"]) == len(p["log_probs"]) for p in parts), line, record)
                for layer in sum((p["layers"] for p in parts), []):
                    counts[layer] += 1
            require(summary["layers"] == {str(k): v for k, v in sorted(counts.items())}, line, summary, counts)
        else:
            require("layers" not in summary, line, summary)
        if task == "truthfulqa-mc":
            mean = 100 * sum(r["mc2_reference"] for r in records) / len(records)
            require(abs(summary["metrics"]["mc2_reference"]["value"] - mean) < 1e-9, line, summary)
        outs[task, mode] = out
        place.call("export", out, "--format", "reference", "-o", f"exported/{task}_{mode}")
        if task == "truthfulqa-mc":
            wanted = {f"{mode}.json": published_mc(records, place.scripts / "data/TruthfulQA.csv")}
        else:
            labels = [([t[0]], t[0]) for _, t, _ in QUESTIONS]
            results, rating = published_qa(records, manifest, out, layers, labels)
            wanted = {f"{mode}_results.json": results, f"{mode}_rating.json": rating}
        check_exported(place, f"exported/{task}_{mode}", wanted)
    place.call("export", out, "--format", "reference", code=1)  # over the run itself
    return outs


def check_other_data(place):
    """What the scripts' comments name besides, and eval_tqa."""
    nq = [(t, t) for _, t, _ in QUESTIONS]
    trivia = [([a.lower() for a in t] + ["\u00e9\U0001f600", t[0].lower(), "by hand"], [a.lower() for a in t] + ["\u00e9\U0001f600"])
              for _, t, _ in QUESTIONS]
    line = f"--model-name {MODEL} --dataset_name {{data}} {QA_END} --top_p 0.95 --top_k 0 --temperature 0.9 --device cuda --max_gpu_memory 27"
    for task, data, labels in (("nq", "natural_questions", nq), ("natural_questions", "natural_questions", nq), ("triviaqa", "triviaqa", trivia)):
        out = f"other_{task}.json"
        said = place.call(task, *f"{line} --decoding_mode activation --early_exit_layers 0,2,40".format(data=data, out=out).split())
        require("--early_exit_layers (activation compares no layers" in said and "--device (" in said, said)
        records, manifest = place.read(out)
        place.call("export", out, "--format", "reference", "-o", f"exported/{task}")
        results, rating = published_qa(records, manifest, out, "0,2,40", labels)
        check_exported(place, f"exported/{task}", {f"other_{task}_results.json": results, f"other_{task}_rating.json": rating})
    place.call("nq", *line.format(data="hotpotqa", out="x.json").split(), code=2)

    out = "tqa.json"
    place.call("truthfulqa-gen", *f"{MC} {MC_END} --decoding_mode baseline --early_exit_layers -1".format(out=out).split())
    records, manifest = place.read(out)
    ids = range(len(records))
    whole = {"qid_list": list(ids), "answers": {}, "model_completion": {i: records[i]["answer"] for i in ids},
             "questions": {i: records[i]["question"] for i in ids}, "logit_scores": {}}
    place.call("export", out, "--format", "reference", "-o", "exported/tqa")
    check_exported(place, "exported/tqa", {"tqa.json": whole})
    truth, info = [0.9, 0.5, 1e-7, 0, 0.3, 0.75], [0.1, 0.6, 1, 0.5, 0.25, 0]
    lines = [json.dumps({"sample": i, "truth": truth[i], "info": info[i]}) for i in ids]
    (place.scripts / "ratings.jsonl").write_text("\n".join(lines) + "\n")
    place.call("judge", out, "--judgements", "ratings.jsonl")
    place.call("export", out, "--format", "reference", "-o", "exported/tqa")
    yes = lambda scores: [float(s >= 0.5) for s in scores]
    truth, info = [float(x) for x in truth], [float(x) for x in info]
    mean = lambda values: sum(values) / len(records)
    rating = {"judge_scores": truth, "info_scores": info, "judge_accs": yes(truth), "info_accs": yes(info),
              "avg_judge_score": mean(truth), "avg_judge_acc": mean(yes(truth)), "avg_info_score": mean(info), "avg_info_acc": mean(yes(info)),
              "avg_both_acc": mean([a * b for a, b in zip(yes(truth), yes(info))]), "avg_both_score": mean([a * b for a, b in zip(truth, info)]),
              "avg_rej": mean([float("I have no comment" in r["answer"]) for r in records])} | published_run(records, manifest, out, "-1", True)
    samples = ({}, {})
    for i in ids:
        samples[truth[i] != 0][i] = {"Q": records[i]["question"], "model_prediction": records[i]["answer"], "is_correct": truth[i] != 0}
    results = {"error_samples": samples[0], "correct_samples": samples[1]}
    check_exported(place, "exported/tqa", {"tqa.json": whole, "tqa_rating.json": rating, "tqa_results.json": results})


def check_shards(place, outs):
    task, mode, line = LINES[4]
    parts = []
    for i in range(3):
        said = place.run(task, mode, f"{line} --parallel --total-shard 3 --shard-id {i}", "parts.json")
        require(f"--shard {i + 1}/3" in said, said)
        parts.append(f"parts.json_{i}.json")
    place.call("merge", "merged.json", *parts)
    require((place.scripts / "merged.json").read_bytes() == (place.scripts / outs[task, mode]).read_bytes(), "merged shards")
    task, mode, line = LINES[0]
    place.call(task, *f"{line} --parallel --total-shard 6 --shard-id 5".format(mode=mode, out="qa.json").split())
    require(len((place.scripts / "qa.json_5.jsonl").read_text().splitlines()) == 1, "the last of six shards")
    base = line.format(mode=mode, out="bad.json").split()
    for more, word in ((["--parallel"], "--total-shard"), (["--parallel", "x"], "--parallel"), (["--parallel", "--shard-id", "8"], "--shard-id"),
                       (["--parallel", "--shard-id", "0", "--shard", "1/2"], "--shard"), (["--parallel", "0"], "--parallel")):
        said = place.call(task, *base, *more, code=2)
        require(word in said and said.count("\n") == 1, more, said)
    said = place.call(task, *base, "-j", "2", "--total-shard", "3", "--limit", "1")
    require("--total-shard (nothing without" in said, said)


def main():
    evaluate, model, *short = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        place = Place(evaluate, model, pathlib.Path(name))
        if short:
            check_lines(place, LINES[3::4])
        else:
            outs = check_lines(place, LINES)
            check_other_data(place)
            check_shards(place, outs)
    print("the published command lines and files: as expected")


if __name__ == "__main__":
    main()
