# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Golden files of every way of decoding, of scoring and of beam search. See README.md.

python generate_decoding.py MODEL.gguf FOLDER [PART...]  SmolLM2
python generate_decoding.py tiny FOLDER [PART...]        tiny_llama/, and tiny_amateur/ as its amateur, written as well

The parts are generation, scoring and beams; without any: all.
"""

import collections
import datetime
import json
import pathlib
import sys

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

import decoding_modes as dm
from decoding_modes import Run, Scoring
from gguf_llama import load_model, load_tokenizer, provenance

HERE = pathlib.Path(__file__).parent
STRATEGIES = {"subject": 5.0, "entropy_inverse": 0.5, "tendency": 0.1, "ema": 0.1, "majority_voting": 0.1}  # alphas
COUNT = 20  # tokens of each continuation

FEW_SHOT = (
    "Q: Who was President when the first Peanuts cartoon was published?\nA: Harry Truman\n\n"
    "Q: Where in England was Dame Judi Dench born?\nA: York\n\n"
)
CHAT = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
)


def prompt_text(entry):
    """What is continued."""
    question = entry["question"]
    return {
        "few_shot": f"{FEW_SHOT}Q: {question}\nA: ",  # the reference's, with its trailing space
        "zero_shot": f"Answer the following question concisely.\nQ:{question}\nA:",
        "chat": CHAT.format(question=question),
        "plain": entry.get("text"),
    }[entry["form"]]


def question_text(entry):
    """What stands before a scored answer."""
    return f"{FEW_SHOT if entry['form'] == 'few_shot' else ''}Q: {entry['question']}\nA:"


def runs(low, static, info, other_info, some):
    """Every mode, then alternatives on `some` prompts. `low`: DoLa's layers, `info`: normalised, `other_info`: raw."""
    dola = {"mode": "dola", "layers": low}
    both = {"mode": "activation_dola", "layers": low, "info_layer": info}
    few = {"prompts": some}
    penalty = {"repetition_penalty": 1.2, **few}
    ngram = {"mode": "contrastive", "amateur": "ngram"}
    model = {"mode": "contrastive", "amateur": "model"}
    return {
        "baseline": Run("baseline"),
        "dola_static": Run("dola_static", layers=(static,)),
        "dola": Run(**dola),
        "activation": Run("activation", info_layer=info),
        "activation_dola": Run(**both, base="logits"),
        "contrastive_ngram": Run(**ngram),
        "contrastive_model": Run(**model, ignore_prefix=True),
        "baseline_penalty": Run("baseline", **penalty),
        "dola_static_penalty": Run("dola_static", layers=(static,), **penalty),
        "dola_penalty": Run(**dola, **penalty),
        "dola_jensen_shannon": Run(**dola, divergence="jensen_shannon", **few),
        "dola_relative_top": Run(**dola, relative_top=0.3, **few),
        "activation_penalty": Run("activation", alpha=1.0, info_layer=info, **penalty),
        "activation_raw": Run("activation", alpha=1.0, info_layer=other_info, **few),
        "activation_dola_penalty": Run(**both, base="logits", **penalty),
        "activation_dola_log_probs": Run(**both, alpha=1.0, base="log_probs", **few),
        "activation_dola_log_probs_penalty": Run(**both, base="log_probs", **penalty),
        "contrastive_ngram_penalty": Run(**ngram, coefficient=0.5, student_temperature=0.8, **penalty),
        **{
            name: Run("activation", strategy=name, alpha=alpha, info_layer=info, **few)
            for name, alpha in STRATEGIES.items()
        },
        "contrastive_model_penalty": Run(**model, ignore_prefix=True, coefficient=0.5, student_temperature=0.8, **penalty),
    }


def scorings(low, static, info, other_info, some):
    few = {"prompts": some}
    dola = {"layers": low}
    activation = {"mode": "activation", "info_layer": info}
    both = {"mode": "activation_dola", "layers": low, "info_layer": info}
    return {
        "baseline": Scoring("baseline"),
        "dola_static": Scoring("dola_static", layers=(static,)),
        "dola": Scoring("dola", **dola),
        "activation": Scoring(**activation),
        "single_entropy": Scoring(**activation, strategy="single_entropy"),
        "activation_dola": Scoring(**both),
        "activation_raw": Scoring("activation", alpha=1.0, info_layer=other_info, **few),
        "activation_prompt": Scoring(**activation, context="prompt", **few),
        "single_entropy_prompt": Scoring(**activation, strategy="single_entropy", context="prompt", **few),
        "activation_dola_prompt": Scoring(**both, context="prompt", **few),
        "activation_filter": Scoring(**activation, filter=True, **few),
        "dola_plain": Scoring("dola", **dola, relative_top=0.0, post_softmax=False, **few),
        "dola_not_post": Scoring("dola", **dola, post_softmax=False, **few),
        "dola_static_not_post": Scoring("dola_static", layers=(static,), post_softmax=False, **few),
        "dola_value": Scoring("dola", **dola, relative_top=0.01, relative_top_value=-50.0, **few),
        "dola_jensen_shannon": Scoring("dola", **dola, divergence="jensen_shannon", **few),
        "activation_dola_not_post": Scoring(**both, post_softmax=False, **few),
    }


BEAMS = {  # name: what Hugging Face's generate() gets beside num_beams = 4
    "plain": {"length_penalty": 1.0, "early_stopping": False},
    "early": {"length_penalty": 1.0, "early_stopping": True},
    "short": {"length_penalty": 0.3, "early_stopping": False},
    "long": {"length_penalty": 2.0, "early_stopping": True},
    "never": {"length_penalty": 2.0, "early_stopping": "never"},
}


def ragged(arrays, name, rows, dtype=np.int32):
    arrays[name] = np.concatenate([np.asarray(r) for r in rows]).astype(dtype)
    arrays[name + "_offsets"] = np.cumsum([0, *map(len, rows)]).astype(np.int32)


def generation(arrays, model, amateur, prompts, runs, count):
    records = {name: [] for name in runs}
    for number, prompt in enumerate(prompts):
        names = [name for name, run in runs.items() if number < run.prompts]
        for name, steps in zip(names, dm.decode(model, amateur, prompt, [runs[n] for n in names], count)):
            records[name].append(steps)
        print("generation", number, len(prompt), flush=True)
    facts = {}
    for name, rows in records.items():
        field = lambda key, dtype: np.array([[getattr(s, key) for s in row] for row in rows]).astype(dtype)  # noqa: B023, E731
        arrays[f"{name}.tokens"] = field("token", np.int32)
        arrays[f"{name}.scores"] = field("score", np.float32)
        arrays[f"{name}.gap"] = field("gap", np.float32)
        fact = {**vars(runs[name]), "prompts": len(rows), "steps": len(rows) * count}
        if runs[name].mode != "baseline":
            arrays[f"{name}.margin"] = field("margin", np.float32)
        if runs[name].layers:
            arrays[f"{name}.layers"] = field("layer", np.uint8)
            arrays[f"{name}.layer_margin"] = field("layer_margin", np.float32)
            fact["layers_chosen"] = dict(sorted(collections.Counter(field("layer", int).ravel().tolist()).items()))
            fact["layer_margins_below_1e-4"] = int((field("layer_margin", float) < 1e-4).sum())
        fact["gaps_below_1e-4"] = int((field("gap", float) < 1e-4).sum())
        fact["margins_below_1e-4"] = int((field("margin", float) < 1e-4).sum())
        baseline = np.array([[s.token for s in row] for row in records["baseline"]])[: len(rows)]
        fact["prompts_that_differ_from_baseline"] = int((field("token", int) != baseline).any(axis=1).sum())
        fact["score_range"] = [float(field("score", float).min()), float(field("score", float).max())]
        facts[name] = fact
    return facts


def scoring(arrays, model, pairs, scorings):
    """pairs: (prompt, answers)."""
    records = {name: [] for name in scorings}
    for number, (prompt, answers) in enumerate(pairs):
        for answer in answers:
            sequence = dm.Sequence(model, prompt, answer)
            for name, options in scorings.items():
                if number < options.prompts:
                    records[name].append(dm.score(sequence, options))
        print("scoring", number, len(prompt), flush=True)
    facts = {}
    for name, rows in records.items():
        arrays[f"{name}.total"] = np.array([r.total for r in rows])  # float64: a sum may hold -1000 several times
        arrays[f"{name}.margin"] = np.array([r.margin for r in rows], dtype=np.float32)
        fact = {**vars(scorings[name]), "pairs": len(rows)}
        if scorings[name].layers:
            ragged(arrays, f"{name}.layers", [r.layers for r in rows], np.uint8)
            arrays[f"{name}.layer_margin"] = np.array([r.layer_margin for r in rows], dtype=np.float32)
            chosen = collections.Counter(np.concatenate([r.layers for r in rows]).tolist())
            fact["layers_chosen"] = dict(sorted(chosen.items()))
            fact["layer_margins_below_1e-4"] = sum(bool(r.layer_margin < 1e-4) for r in rows)
        fact["margins_below_1e-4"] = sum(bool(r.margin < 1e-4) for r in rows)
        totals = [r.total for r in rows]
        fact["score_range"] = [float(min(totals)), float(max(totals))]
        facts[name] = fact
    return facts


def beams(arrays, model, prompts, eos, count):
    """Hugging Face's generate(): the four sequences of each prompt, the best first, and their scores."""
    facts = {}
    for name, options in BEAMS.items():
        rows, scores = [], []
        for prompt in prompts:
            out = model.generate(
                torch.tensor([list(prompt)]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                num_beams=4,
                num_return_sequences=4,
                do_sample=False,
                max_new_tokens=count,
                eos_token_id=list(eos),
                pad_token_id=eos[0],
                return_dict_in_generate=True,
                output_scores=True,
                **options,
            )
            for sequence in out.sequences[:, len(prompt) :].tolist():
                ended = [i + 1 for i, token in enumerate(sequence) if token in eos]
                rows.append(sequence[: ended[0]] if ended else sequence)  # what follows an eos is padding
            scores.append(out.sequences_scores.tolist())
        ragged(arrays, f"{name}.tokens", rows)
        arrays[f"{name}.scores"] = np.array(scores, dtype=np.float32)
        ended = sum(row[-1] in eos for row in rows)
        facts[name] = {**options, "max_new_tokens": count, "sequences": len(rows), "ended_by_eos": ended}
        print("beams", name, facts[name], flush=True)
    return facts


def tiny_amateur(folder):
    """A smaller model with the same vocabulary, as transformers saves it."""
    config = transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        vocab_size=160,
        rms_norm_eps=1e-5,
        max_position_embeddings=256,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="eager",
    )
    model = transformers.LlamaForCausalLM(config).eval()
    random = np.random.default_rng(11)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            value = 1 + 0.1 * random.standard_normal(parameter.shape)
        else:
            scale = 1.0 if "embed" in name else (3 if "lm_head" in name else 1.5) / np.sqrt(parameter.shape[1])
            value = scale * random.standard_normal(parameter.shape)
        parameter.data = torch.from_numpy(value).to(torch.bfloat16)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    # Not model.to(torch.float32): rope's frequencies would be those of bfloat16.
    return transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def load(what, output):
    """(model, amateur, prompts, pairs of prompt and answers, layers of runs() and scorings(), eos of beams, provenance)."""
    if what == "tiny":
        model = transformers.LlamaForCausalLM.from_pretrained(HERE / "tiny_llama", dtype=torch.float32, attn_implementation="eager")
        amateur = tiny_amateur(output / "tiny_amateur")
        random = np.random.default_rng(13)
        draw = lambda size: random.integers(4, 160, size).tolist()  # noqa: E731
        prompts = [[1, *draw(random.integers(4, 60))] for _ in range(50)]
        pairs = [(prompt, [draw(random.integers(2, 15)) for _ in range(4)]) for prompt in prompts]
        return model.eval(), amateur, prompts, pairs, ((0, 1, 2), 1, 3, 2, 16), list(range(2, 12)), provenance()
    model, tokenizer = load_model(what), load_tokenizer(what)
    encode = lambda text: tokenizer.encode(text).ids  # noqa: E731
    entries = json.loads((HERE / "decoding_prompts.json").read_text(encoding="utf-8"))
    prompts = [encode(prompt_text(e)) for e in entries]
    pairs = []
    for e in entries:
        question = encode(question_text(e))
        together = [encode(f"{question_text(e)} {answer}") for answer in e["answers"]]
        assert all(ids[: len(question)] == question for ids in together)
        pairs.append((question, [ids[len(question) :] for ids in together]))
    # The eos ids of beam search: end of text, end of turn and the line feed, so that beams end at different times.
    eos = [tokenizer.token_to_id("<|endoftext|>"), tokenizer.token_to_id("<|im_end|>"), *encode("\n")]
    source = {**provenance(what), "model": pathlib.Path(what).name}
    return model, model, prompts, pairs, (tuple(range(2, 15, 2)), 8, 30, 24, 6), eos, source


def main(what, output, parts):
    torch.set_num_threads(1)  # more wait for one another where other programs run
    model, amateur, prompts, pairs, layers, eos, source = load(what, output)
    source = {**source, "date": datetime.date.today().isoformat(), "machine": "CPU, float32 eager attention"}
    for part in parts:
        arrays = {}
        if part == "generation":
            ways = runs(*layers)
            if what != "tiny":  # see README.md
                del ways["dola_jensen_shannon"]
            ragged(arrays, "prompts", prompts)
            facts = generation(arrays, model, amateur, prompts, ways, COUNT)
        elif part == "scoring":
            ways = scorings(*layers)
            if what != "tiny":
                del ways["dola_jensen_shannon"]
            ragged(arrays, "questions", [question for question, _ in pairs])
            ragged(arrays, "answers", [answer for _, answers in pairs for answer in answers])
            facts = scoring(arrays, model, pairs, ways)
        else:
            chosen = [prompts[i * 5 // 2] for i in range(20)]
            ragged(arrays, "prompts", chosen)
            arrays["eos"] = np.array(eos, dtype=np.int32)
            facts = beams(arrays, model, chosen, eos, COUNT)
        stem = f"{'tiny_llama' if what == 'tiny' else 'smollm2'}_{part}"
        save_file(arrays, output / f"{stem}.safetensors", metadata={k: str(v) for k, v in source.items()})
        text = json.dumps({"provenance": source, **facts}, indent=1, allow_nan=False)
        (output / f"{stem}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:] or ["generation", "scoring", "beams"])
