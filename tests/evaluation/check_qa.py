# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Checks runs of `evaluate triviaqa`, `nq` and `hotpotqa` against the data set and Python's own metrics.

    python check_qa.py DATA RUN.jsonl...
    pip install torch transformers tokenizers gguf numpy
    python check_qa.py DATA RUN.jsonl... --model MODEL.gguf [--decode 20]

Questions and gold answers are read from the data set, answers are cut from the generated texts, and EM, strict EM and
F1 computed from them (evaluation/README.md 2.1): every record's and the run's means must be equal, to the last digit. With a
model the ids must be those of the text, and the prompt of 6.1 must have as many tokens as the record says; with
--decode the first questions are also decoded by transformers' float32 LlamaForCausalLM and processors/README.md 1 to 3 in
float64, and the tokens must be the same but where the two best scores are within 1e-4.
"""

import argparse
import ast
import csv
import json
import math
import pathlib
import sys

import answer_metrics
import published_prompts

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "golden"))


def questions(task, path):
    """question, gold answers"""
    if task == "triviaqa":
        csv.field_size_limit(sys.maxsize)
        with open(path, encoding="utf-8", newline="") as file:
            return [(question, ast.literal_eval(aliases)) for question, aliases in csv.reader(file, delimiter="\t")]
    with open(path, encoding="utf-8") as file:
        if task == "nq":
            return [(r["question"], r["answer"]) for r in map(json.loads, file)]
        return [(r["question"], [r["answer"]]) for r in json.load(file)]


def answer_of(text):
    return text.split("Q:")[0].strip(" \t\n\v\f\r")


def check_metrics(records, data, fail):
    """-> the run's means in percent."""
    sums = {"em": [], "strict_em": [], "f1": []}
    for sample, record in records.items():
        question, gold = data[sample]
        if (record["question"], record["gold"]) != (question, gold):
            fail(sample, f"question or gold differ from the data set: {question} {gold}")
        answer = answer_of(record["text"])
        if record["answer"] != answer:
            fail(sample, f"answer {record['answer']!r}, expected {answer!r}")
        for name, metric in (("em", answer_metrics.exact), ("strict_em", answer_metrics.strict), ("f1", answer_metrics.f1)):
            expected = float(max(metric(answer, g) for g in gold))
            sums[name].append(expected)
            if record[name] != expected:
                fail(sample, f"{name} {record[name]!r}, expected {expected!r}")
    return {name: 100 * math.fsum(values) / len(values) for name, values in sums.items()}


def check_tokens(records, tokenizer, style, fail):
    for sample, record in records.items():
        length = len(tokenizer.encode(published_prompts.knowledge_qa(record["question"], style)).ids)
        if record["prompt_tokens"] != length:
            fail(sample, f"{record['prompt_tokens']} prompt tokens, expected {length}")
        text = tokenizer.decode(record["tokens"], skip_special_tokens=True)
        if not text.startswith(record["text"]):  # a stop string cuts the text, not the tokens
            fail(sample, f"text {record['text']!r}, but its tokens are {text!r}")


def check_decoding(records, model, tokenizer, options, fail):
    import decoding_modes as dm

    known = {"decoding_strategy": "entropy", "mature_layer": None, "min_tokens_to_keep": 1, "context_span": [0, 2**63 - 1]}
    for name, value in known.items():
        if options[name] != value:
            raise SystemExit(f"--decode: {name} {options[name]!r} is not decoded here, only {value!r}")
    run = dm.Run(
        options["decoding_mode"],
        alpha=options["alpha"],
        info_layer=options["info_layer"],
        final_norm=options["final_norm"],
        layers=tuple(options["candidate_layers"]),
        divergence=options["divergence"],
        relative_top=options["relative_top"],
        repetition_penalty=options["repetition_penalty"],
    )
    tokens = 0
    for sample, record in records.items():
        ids = tokenizer.encode(published_prompts.knowledge_qa(record["question"], options["prompt_style"])).ids
        [steps] = dm.decode(model, None, ids, [run], len(record["tokens"]))
        for place, (step, token) in enumerate(zip(steps, record["tokens"])):
            if step.token != token:
                if min(step.gap, step.margin, step.layer_margin) > 1e-4:
                    fail(sample, f"token {place} is {token}, expected {step.token} ({step})")
                break
            tokens += 1
    return tokens


def check(path, data_path, arguments, tools):
    with open(path + ".manifest.json", encoding="utf-8") as file:
        manifest = json.load(file)
    with open(path, encoding="utf-8") as file:
        records = {r["sample"]: r for r in map(json.loads, file)}
    if not records:
        raise SystemExit(f"{path}: holds no records")
    failures = []

    def fail(sample, problem):
        failures.append(f"{path}: sample {sample}: {problem}")

    means = check_metrics(records, questions(manifest["task"], data_path), fail)
    summary = pathlib.Path(path + ".summary.json")
    if summary.exists():
        metrics = json.loads(summary.read_text())["metrics"]
        for name, mean in means.items():
            if not math.isclose(metrics[name]["value"], mean, rel_tol=1e-14, abs_tol=0):
                failures.append(f"{summary}: {name} {metrics[name]['value']!r}, expected {mean!r}")
    decoded = ""
    if tools:
        model, tokenizer = tools
        check_tokens(records, tokenizer, manifest["options"]["prompt_style"], fail)
    if arguments.decode:
        first = dict(sorted(records.items())[: arguments.decode])
        tokens = check_decoding(first, model, tokenizer, manifest["options"], fail)
        decoded = f", {tokens} of {sum(len(r['tokens']) for r in first.values())} tokens equal to transformers'"
    for failure in failures[:20]:
        print(failure)
    text = ", ".join(f"{name} {mean!r}" for name, mean in means.items())
    print(f"{path}: {manifest['task']} {manifest['options']['decoding_mode']}: {len(records)} questions{decoded}, "
          f"{len(failures)} failures; {text}")
    return not failures and records


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--model")
    parser.add_argument("--decode", type=int, default=0)
    arguments = parser.parse_args()
    tools = None
    if arguments.decode and not arguments.model:
        parser.error("--decode needs --model")
    if arguments.model:
        from gguf_llama import load_model, load_tokenizer

        tools = (load_model(arguments.model) if arguments.decode else None), load_tokenizer(arguments.model)
    return 0 if all([check(run, arguments.data, arguments, tools) for run in arguments.runs]) else 1


if __name__ == "__main__":
    sys.exit(main())
