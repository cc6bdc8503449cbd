# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Golden files of SmolLM2-135M-Instruct: python generate_smollm2.py MODEL.gguf [OUTPUT FOLDER]. See README.md."""

import collections
import datetime
import json
import math
import pathlib
import sys

import numpy as np
import torch
from safetensors.numpy import save_file

import algorithms as at
from gguf_llama import load_model, load_tokenizer, provenance

HERE = pathlib.Path(__file__).parent
STEPS = 64
INFO_LAYER = 24
STATE_PROJECTIONS, LOGIT_PROJECTIONS, TOP_LOGITS = 16, 32, 64
FULL_STATES = ["fact_short", "long_context"]  # h_0 .. h_N of the last position as they are
FULL_LOGITS = ["few_shot_australia"]
FULL_ENTROPY = ["few_shot_moon"]
EXTRA = ["fact_short", "fact_list", "few_shot_band", "truthful_preamble", "zero_shot", "chat_single", "scripts", "story"]
RUNS = {  # name: (options, prompts or all)
    "standard": (at.Options(), None),
    "penalty": (at.Options(repetition_penalty=1.2), None),
    "alpha_1": (at.Options(alpha=1.0), EXTRA),
    "layer_30": (at.Options(alpha=1.0, info_layer=30), EXTRA),
    "layer_12": (at.Options(alpha=1.0, info_layer=12), EXTRA),
}


def fixed_point(values):
    """float -> uint16 with its origin and step: value = origin + step * code."""
    origin, step = values.min(), max((values.max() - values.min()) / 65535, 1e-12)
    return np.round((values - origin) / step).astype(np.uint16), np.array([origin, step], dtype=np.float32)


def relative(a, b):
    return float(np.max(np.linalg.norm(a - b, axis=-1) / np.linalg.norm(b, axis=-1)))


def main(model_path, output, prompts=None):
    prompts = prompts or json.loads((HERE / "prompts.json").read_text(encoding="utf-8"))
    tokenizer, model = load_tokenizer(model_path), load_model(model_path)
    double = load_model(model_path, torch.float64)
    head = model.lm_head.weight.detach().numpy()
    states, entropy_file, decoding = {}, {}, {}
    facts = {"prompts": {}, "runs": {}}
    kept_counts, new_counts = collections.Counter(), collections.Counter()
    first_mass = {layer: [] for layer in (12, 24, 30)}
    run_facts = {name: collections.Counter() for name in RUNS}
    run_gaps = {name: [] for name in [*RUNS, "greedy"]}

    for prompt in prompts:
        name = prompt["name"]
        ids = tokenizer.encode(prompt["text"]).ids
        context = at.Context(model, ids)
        exact = at.Context(double, ids)
        length = len(ids)
        hidden = np.stack(context.hidden)  # [N + 1, T, d]
        fact = {"tokens": length, "text": prompt["text"]}

        # States and logits.
        positions = sorted({0, 1, length // 4, length // 2, 3 * length // 4, length - 1})
        states[name + ".ids"] = np.array(ids, dtype=np.int32)
        states[name + ".positions"] = np.array(positions, dtype=np.int32)
        states[name + ".hidden_sketch"] = at.sketch(hidden[:, positions], STATE_PROJECTIONS)
        if name in FULL_STATES:
            states[name + ".hidden_last"] = hidden[:, -1].copy()
        logits = context.logits
        top = np.argsort(-logits, kind="stable")[:TOP_LOGITS].astype(np.int32)
        states[name + ".logits_top_ids"] = top
        states[name + ".logits_top"] = logits[top]
        states[name + ".logits_range"] = np.array([logits.min(), logits.max()], dtype=np.float32)
        states[name + ".logits_sketch"] = at.sketch(logits, LOGIT_PROJECTIONS)
        if name in FULL_LOGITS:
            states[name + ".logits"] = logits
        fact["float32_error_hidden"] = relative(hidden, np.stack(exact.hidden))
        fact["float32_error_logits"] = float(np.abs(logits - exact.logits).max() / np.ptp(exact.logits))

        # Entropies, of the float64 model: at the raw layers position 0 has a norm of 25,000 beside 370, and float32
        # itself is 1e-4 away from the truth there. How far Hugging Face's float32 model is away is noted below.
        entropy = {layer: at.position_entropy(exact.hidden[layer], head) for layer in (12, 24, 30)}
        e = entropy[INFO_LAYER]
        if name in FULL_ENTROPY:
            entropy_file[name + ".entropy"] = e.astype(np.float32)
        else:
            codes, scale = fixed_point(e)
            entropy_file[name + ".entropy_codes"], entropy_file[name + ".entropy_scale"] = codes, scale
        fact["entropy_range"] = [float(e.min()), float(e.max())]
        error = np.abs(at.position_entropy(context.hidden[INFO_LAYER], head) - e)
        fact["float32_error_entropy"] = {"max": float(error.max()), "mean": float(error.mean()), "above_1e-4": int((error > 1e-4).sum())}
        unclamped = at.position_entropy(exact.hidden[INFO_LAYER], head, clamp=1e-300)
        fact["clamp_effect_entropy"] = float(np.abs(e - unclamped).max())

        # Greedy and activation decoding.
        choosers = {"greedy": lambda z, _: at.greedy_step(z)}
        for run, (options, chosen) in RUNS.items():
            if chosen is None or name in chosen:
                e = entropy[options.info_layer]
                choosers[run] = lambda z, s, e=e, o=options: at.sharpness_step(z, e, set(s), o)
        records = dict(zip(choosers, context.decode(list(choosers.values()), STEPS)))
        greedy = records.pop("greedy")
        decoding[name + ".greedy.tokens"] = np.array([s.token for s in greedy], dtype=np.int32)
        decoding[name + ".greedy.gap"] = np.array([s.gap for s in greedy], dtype=np.float32)
        run_gaps["greedy"] += [s.gap for s in greedy]
        fact["greedy"] = tokenizer.decode([s.token for s in greedy], skip_special_tokens=False)
        for run, steps in records.items():
            key = f"{name}.{run}."
            decoding[key + "tokens"] = np.array([s.token for s in steps], dtype=np.int32)
            decoding[key + "gap"] = np.array([min(s.gap, 1e30) for s in steps], dtype=np.float32)
            decoding[key + "margin"] = np.array([s.margin for s in steps], dtype=np.float32)
            decoding[key + "changed"] = np.array([s.changed for s in steps], dtype=np.uint8)
            decoding[key + "offsets"] = np.cumsum([0] + [len(s.ids) for s in steps]).astype(np.int32)
            decoding[key + "ids"] = np.concatenate([s.ids for s in steps]).astype(np.int32)
            for field in ("log_probs", "entropies", "scores"):
                decoding[key + field] = np.concatenate([getattr(s, field) for s in steps]).astype(np.float32)
            count = run_facts[run]
            count["steps"] += len(steps)
            count["changed_by_entropy"] += sum(s.changed for s in steps)
            count["prompts_that_differ_from_greedy"] += [s.token for s in steps] != [s.token for s in greedy]
            run_gaps[run] += [s.gap for s in steps]
            fact[run] = tokenizer.decode([s.token for s in steps], skip_special_tokens=False)
            if run == "standard":
                memo = set()
                for s in steps:
                    kept_counts[len(s.ids)] += 1
                    new_counts[len(set(s.ids.tolist()) - memo)] += 1
                    memo |= set(s.ids.tolist())
                fact["distinct_candidates"] = len(memo)
                union = np.array(sorted(memo))
                for layer, masses in first_mass.items():
                    scores = exact.hidden[layer] @ head[union].astype(np.float64).T
                    p = np.exp(scores - scores.max(axis=0))
                    masses.append((p / p.sum(axis=0))[0])
        facts["prompts"][name] = fact
        print(name, length, {k: v for k, v in fact.items() if k.startswith(("float32", "entropy_r", "distinct"))}, flush=True)

    for run in RUNS:
        gaps = np.array(run_gaps[run])
        run_facts[run]["gaps_below_1e-4"] = int((gaps < 1e-4).sum())
        facts["runs"][run] = {**vars(RUNS[run][0]), **run_facts[run], "smallest_gap": float(gaps.min())}
    gaps = np.array(run_gaps["greedy"])
    facts["runs"]["greedy"] = {"steps": len(gaps), "gaps_below_1e-4": int((gaps < 1e-4).sum()), "smallest_gap": float(gaps.min())}
    facts["candidates_kept_per_step"] = {str(k): n for k, n in sorted(kept_counts.items())}
    facts["new_ids_per_step"] = {str(k): n for k, n in sorted(new_counts.items())}
    facts["softmax_mass_on_position_0"] = {
        str(layer): {
            "mean": float(np.mean(np.concatenate(m))),
            "median": float(np.median(np.concatenate(m))),
            "share_above_0.5": float(np.mean(np.concatenate(m) > 0.5)),
            "mean_of_1_over_T": float(np.mean([1 / f["tokens"] for f in facts["prompts"].values()])),
        }
        for layer, m in first_mass.items()
    }
    facts["provenance"] = {
        **provenance(model_path),
        "model": pathlib.Path(model_path).name,
        "date": datetime.date.today().isoformat(),
        "machine": "CPU, float32 eager attention",
    }
    for stem, arrays in (("states", states), ("entropy", entropy_file), ("decoding", decoding)):
        save_file(arrays, output / f"smollm2_{stem}.safetensors", metadata={k: str(v) for k, v in facts["provenance"].items()})
    (output / "smollm2.json").write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else HERE)
