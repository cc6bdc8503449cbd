# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Checks runs of `evaluate truthfulqa-mc` against Hugging Face transformers and generation/README.md 1 in float64.

    pip install torch transformers tokenizers gguf safetensors numpy
    python check_truthfulqa_mc.py MODEL.gguf TruthfulQA.csv CACHE.json [--limit 100] [RUN.jsonl...]

CACHE.json keeps what transformers' float32 LlamaForCausalLM says of the first questions, whatever the mode: for every
token of an answer its log-probability, what DoLa gives it with each candidate layer, and its entropy at every layer, of
the states as they are and after the final norm.
It is computed once (15 minutes for 100 questions on one core), and continued where it ended. Prompts, answers, tokens,
scores and measures are made from the data set without a look at the run. Of a run the mode, alpha and layers are read
from its manifest. Every answer's score must agree within 1e-3, and MC1, MC2 (within 1e-3) and MC3 of every question.
"""

import argparse
import csv
import json
import math
import os
import pathlib
import sys

import numpy as np

import published_prompts

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "golden"))

CANDIDATES = (0, 2, 4, 6, 8, 10, 12, 14)
TOLERANCE = 1e-3


def questions(path):
    """Of every row: question, true answers, false answers, place of the best among the true ones."""

    def split(text):
        answers = [a.strip() for a in text.split(";") if a.strip()]
        return [a if a.endswith(".") else a + "." for a in answers]

    with open(path, encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            true, false = split(row["Correct Answers"]), split(row["Incorrect Answers"])
            yield row["Question"].strip(), true, false, true.index(split(row["Best Answer"])[0])


class HuggingFace:
    """What the model says of answers. What prompts share goes through it once."""

    def __init__(self, path):
        import torch

        import algorithms
        import decoding_modes
        from gguf_llama import load_model, load_tokenizer

        torch.set_num_threads(1)
        self.torch, self.at, self.dm = torch, algorithms, decoding_modes
        self.model, self.tokenizer = load_model(path), load_tokenizer(path)
        self.head = self.model.lm_head.weight.detach().numpy()
        self.ids, self.cache, self.hidden = [], None, None

    def forward(self, ids):
        """h_0 .. h_N of all positions, [N + 1, T, d]."""
        from transformers import DynamicCache

        shared = 0
        while shared < min(len(ids), len(self.ids)) - 1 and ids[shared] == self.ids[shared]:
            shared += 1
        if self.cache is None:
            self.cache = DynamicCache(config=self.model.config)
        if shared < len(self.ids):
            self.cache.crop(shared - len(self.ids))  # how many to drop
        with self.torch.no_grad():
            out = self.model.model(
                self.torch.tensor([ids[shared:]]), past_key_values=self.cache, use_cache=True, output_hidden_states=True
            )
        fresh = np.stack([h[0].numpy() for h in out.hidden_states])
        self.hidden = fresh if shared == 0 else np.concatenate([self.hidden[:, :shared], fresh], axis=1)
        self.ids = list(ids)
        return self.hidden

    def entropies(self, hidden, tokens):
        return [self.at.position_entropy(h, self.head[tokens]).tolist() for h in hidden]

    def answer(self, prompt, continuation):
        dm = self.dm
        length = len(self.tokenizer.encode(prompt).ids)
        ids = self.tokenizer.encode(prompt + continuation).ids
        hidden = self.forward(ids)
        tokens = np.array(ids[length:])
        each = np.arange(len(tokens))

        def log_probs(layer):
            states = self.torch.from_numpy(hidden[layer, length - 1 : -1])
            with self.torch.no_grad():
                return dm.log_softmax(self.model.lm_head(states).numpy())

        mature = log_probs(-1)
        premature = np.stack([log_probs(layer) for layer in CANDIDATES])
        threshold = np.array([dm.plausibility_threshold(row, 0.1) for row in mature])
        own = mature[each, tokens]
        with self.torch.no_grad():  # h_N has passed the final norm
            normed = [*self.model.model.norm(self.torch.from_numpy(hidden[:-1])).numpy(), hidden[-1]]
        return {
            "ids": tokens.tolist(),
            "log_probs": own.tolist(),
            "filter_margins": (own - threshold).tolist(),  # below 0: DoLa gives -1000
            "divergences": [dm.divergences(mature[t], premature[:, t], "reference").tolist() for t in each],
            "differences": [dm.log_softmax(mature - p)[each, tokens].tolist() for p in premature],
            "entropies": self.entropies(hidden, tokens),
            "normed_entropies": self.entropies(normed, tokens),
        }


def compute(model_path, wanted, cache_path):
    cache = []
    if os.path.exists(cache_path):
        with open(cache_path) as file:
            cache = [json.loads(line) for line in file]
    if len(cache) >= len(wanted):
        return cache
    model = HuggingFace(model_path)
    with open(cache_path, "a") as file:
        for number in range(len(cache), len(wanted)):
            question, true, false, _ = wanted[number]
            prompt = published_prompts.truthfulqa(question)
            record = {
                "question": question,
                "true": [model.answer(prompt, " " + a) for a in true],
                "false": [model.answer(prompt, " " + a) for a in false],
            }
            file.write(json.dumps(record) + "\n")
            file.flush()
            cache.append(record)
            print(f"transformers: question {number + 1} of {len(wanted)}", file=sys.stderr, flush=True)
    return cache


def score(answer, options):
    """The sum over the tokens; the chosen layers; the least relative margin of any choice that float32 might turn."""
    values, layers, margin = list(answer["log_probs"]), [], math.inf
    if options["candidates"]:
        columns = [CANDIDATES.index(layer) for layer in options["candidates"]]
        for t, row in enumerate(answer["divergences"]):
            divergences = [row[c] for c in columns]
            best = int(np.argmax(divergences))
            ranked = sorted(divergences)
            if len(ranked) > 1:
                margin = min(margin, (ranked[-1] - ranked[-2]) / ranked[-1])
            margin = min(margin, abs(answer["filter_margins"][t]))
            layers.append(CANDIDATES[columns[best]])
            inside = answer["filter_margins"][t] >= 0
            values[t] = answer["differences"][columns[best]][t] if inside else -1000.0
    if options["mode"].startswith("activation"):
        entropies = answer[options["states"]][options["info_layer"]]
        values = [v - options["alpha"] * e for v, e in zip(values, entropies)]
    return math.fsum(values), layers, margin


def measures(true, false, best):
    """evaluation/README.md 2.2."""
    largest = max(true + false)
    mass = lambda scores: math.fsum(math.exp(s - largest) for s in scores)  # noqa: E731
    return {
        "mc1": float(true[best] > max(false)),
        "mc2": mass(true) / (mass(true) + mass(false)),
        "mc3": sum(s > max(false) for s in true) / len(true),
    }


def options_of(manifest):
    options = manifest["options"]
    published = {"relative_top": 0.1, "relative_top_value": -1000, "post_softmax": "on", "divergence": "reference",
                 "context": "whole", "filter": "off", "decoding_strategy": "entropy", "mature_layer": None}
    for name, value in published.items():
        if options[name] != value:
            raise SystemExit(f"{name} is {options[name]!r}: only {value!r} is checked")
    return {
        "mode": options["decoding_mode"],
        "states": "normed_entropies" if options["final_norm"] else "entropies",
        "alpha": options["alpha"],
        "info_layer": options["info_layer"],
        "candidates": options["candidate_layers"],
    }


def check(run_path, wanted, cache):
    with open(run_path + ".manifest.json") as file:
        options = options_of(json.load(file))
    with open(run_path, encoding="utf-8") as file:
        records = {r["sample"]: r for r in map(json.loads, file)}
    failures, answers, worst, worst_entropy, verdicts, near = [], 0, 0.0, 0.0, 0, 0
    sums = {"mc1": 0.0, "mc2": 0.0, "mc3": 0.0}
    compared = [n for n in range(len(wanted)) if n in records]
    for number in compared:
        record, (question, true, false, best) = records[number], wanted[number]
        place = f"{run_path}: sample {number}"
        if record["question"] != question or record["best"] != best:
            failures.append(f"{place}: question or best answer differ from the data set")
        scores = {}
        for side, texts in (("true", true), ("false", false)):
            if [a["text"] for a in record[side]] != texts:
                failures.append(f"{place}: the {side} answers differ from the data set")
                continue
            scores[side] = []
            for theirs, ours in zip(record[side], cache[number][side]):
                expected, layers, margin = score(ours, options)
                scores[side].append(expected)
                answers += 1
                if layers and theirs["layers"] != layers or abs(theirs["score"] - expected) > 900:
                    near += margin < 1e-4
                    if margin >= 1e-4:
                        failures.append(f"{place}: '{theirs['text']}': {theirs['score']}, expected {expected}; layers "
                                        f"{theirs.get('layers')}, expected {layers}")
                    continue
                error = abs(theirs["score"] - expected)
                worst = max(worst, error)
                if not error <= TOLERANCE:
                    failures.append(f"{place}: '{theirs['text']}': {theirs['score']}, expected {expected}")
                entropies = ours[options["states"]][options["info_layer"]]
                difference = np.abs(np.array(theirs["entropies"]) - entropies).max()
                worst_entropy = max(worst_entropy, difference)
                if not difference <= TOLERANCE:
                    failures.append(f"{place}: '{theirs['text']}': entropies differ by {difference}")
        if len(scores) < 2:
            continue
        expected = measures(scores["true"], scores["false"], best)
        for name, value in expected.items():
            sums[name] += value
            verdicts += 1
            if not abs(record[name] - value) <= (TOLERANCE if name == "mc2" else 1e-12):
                failures.append(f"{place}: {name} {record[name]}, expected {value}")
    for failure in failures[:20]:
        print(failure)
    means = ", ".join(f"{k} {100 * v / max(1, len(compared)):.2f}" for k, v in sums.items())
    print(f"{run_path}: {options['mode']}: {len(compared)} questions, {answers} answers, largest difference of a score "
          f"{worst:.2g}, of an entropy {worst_entropy:.2g}; {verdicts} verdicts; {near} choices within float32's reach "
          f"went another way; {len(failures)} failures; {means}")
    return not failures and len(compared) == len(wanted)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("cache")
    parser.add_argument("runs", nargs="*")
    parser.add_argument("--limit", type=int, default=100)
    arguments = parser.parse_args()
    wanted = list(questions(arguments.data))[: arguments.limit]
    cache = compute(arguments.model, wanted, arguments.cache)
    return 0 if all([check(run, wanted, cache) for run in arguments.runs]) else 1


if __name__ == "__main__":
    sys.exit(main())
