# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Every way of decoding and scoring of processors/README.md 1 to 4 as plainly as it can be written.

The logits and hidden states are those of a Hugging Face model, whatever precision it has; all formulas are float64.
"""

import copy
import dataclasses
import math

import numpy as np
import torch

import algorithms as at


@dataclasses.dataclass
class Run:
    """How to decode. Names as in processors/README.md 5."""

    mode: str  # baseline, dola_static, dola, activation, activation_dola, contrastive
    strategy: str = "entropy"  # or another of processors/README.md 1.6: what alpha multiplies
    alpha: float = 0.5
    info_layer: int = 0
    final_norm: bool = False  # whether the info layer's states pass the norm before the LM head; those of N have
    layers: tuple = ()  # premature layers: one for dola_static
    divergence: str = "reference"  # or jensen_shannon
    # What activation_dola subtracts: "logits" as the published code does, "log_probs" as dola. Every run of that mode
    # names it, whatever the library's default is.
    base: str = "log_probs"
    relative_top: float = 0.1
    repetition_penalty: float = 1.0
    amateur: str = ""  # ngram or model
    coefficient: float = 1.0
    student_temperature: float = 1.0
    ignore_prefix: bool = False
    prompts: int = 1000  # how many of the prompts


@dataclasses.dataclass
class Step:
    token: int
    score: float  # of the token, after the penalty
    gap: float  # to the second-best score; 1e30 with one candidate
    margin: float  # distance of the filter's threshold to the nearest log-probability; 1e30 without a filter
    layer: int = 255  # the premature layer
    layer_margin: float = 1e30  # difference of the two largest divergences over the largest


def log_softmax(logits):
    """Along the last axis."""
    z = np.asarray(logits, dtype=np.float64)
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def plausibility_threshold(lp, relative_top):
    """1.2 step 2 for one position: entries below it go."""
    return lp.max() + math.log(relative_top) if relative_top > 0 else -1e30


def kl(b, a_log):
    """sum_v b ln(b / a)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(b > 0, b * (np.log(b) - a_log), 0).sum(axis=-1)


def divergences(mature, premature, kind):
    """3.2: log-probabilities [V] and [C, V] -> [C]."""
    p, q = np.exp(mature), np.exp(premature)
    m = (p + q) / 2
    if kind == "reference":
        return (kl(m, mature) + kl(m, premature)) / 2 / len(mature)
    log_m = np.logaddexp(mature, premature) - math.log(2)
    return (kl(p, log_m) + kl(q, log_m)) / 2


def choose_layer(mature, premature, kind):
    """Index of the layer, and the margin of the choice."""
    d = divergences(mature, premature, kind)
    if len(d) == 1:
        return 0, 1e30
    ranked = np.sort(d)
    return int(np.argmax(d)), (ranked[-1] - ranked[-2]) / ranked[-1]


def context_term(strategy, hidden, head):
    """1.1 and 1.6: hidden [T, d], head [V, d] -> [V], what alpha times is added to the score."""
    if strategy == "entropy":
        return -at.position_entropy(hidden, head)
    if strategy == "entropy_inverse":
        return 1 / at.position_entropy(hidden, head)
    result = []
    for begin in range(0, len(head), 4096):
        s = hidden.astype(np.float64) @ head[begin : begin + 4096].astype(np.float64).T  # [T, chunk]
        if strategy == "tendency":
            result.append(s[-1] - s[0])
        elif strategy == "ema":
            mean = s[0]
            for row in s[1:]:
                mean = 0.9 * mean + 0.1 * row
            result.append(mean)
        else:
            p = np.exp(log_softmax(s.T)).T  # over positions
            result.append(p[0] if strategy == "subject" else (p > 0.001).sum(axis=0).astype(np.float64))
    return np.concatenate(result)


def ngram_log_probs(ids, vocab):
    """The prompt's 3-gram model: counts of what followed the last two ids before, plus 0.1 for each id."""
    counts = np.full(vocab, 0.1)
    for a, b, v in zip(ids, ids[1:], ids[2:]):
        if [a, b] == list(ids[-2:]):
            counts[v] += 1
    return np.log(counts / counts.sum())


def choose(run, seen, logits, premature, term, amateur):
    """One token: mature logits [V], premature logits [C, V] (raw), context_term [V], amateur's logits [V]."""
    lp = log_softmax(logits)
    threshold = plausibility_threshold(lp, run.relative_top)
    kept, margin = lp >= threshold, np.abs(lp - threshold).min()
    layer, layer_margin = 255, 1e30
    if run.layers:
        base = log_softmax(premature)
        index, layer_margin = choose_layer(lp, base, run.divergence)
        layer = run.layers[index]
    if run.mode == "baseline":
        score, kept, margin = logits.astype(np.float64), np.ones(len(lp), dtype=bool), 1e30
    elif run.mode in ("dola_static", "dola"):
        score = lp - base[index]
    elif run.mode == "activation":
        score = lp + run.alpha * term
    elif run.mode == "activation_dola":
        subtracted = premature[index].astype(np.float64) if run.base == "logits" else base[index]
        score = lp - subtracted + run.alpha * term
    elif run.mode == "contrastive":
        score = lp - run.coefficient * log_softmax(amateur) / run.student_temperature
    score = np.where(kept, score, -np.inf)
    repeated = np.isin(np.arange(len(score)), list(set(seen)))
    penalty = np.where(score < 0, run.repetition_penalty, 1 / run.repetition_penalty)
    score = np.where(repeated, score * penalty, score)
    second, best = np.sort(score)[-2:]
    return Step(int(np.argmax(score)), best, min(best - second, 1e30), margin, layer, layer_margin)


class Continuation:
    """The same ids in `rows` rows, each of which goes its own way then."""

    def __init__(self, model, ids, rows):
        self.model = model
        self.advance([list(ids)], None)
        self.cache.batch_repeat_interleave(rows)
        self.context = [h[0].numpy() for h in self.hidden]  # h_0 .. h_N, [T, d]
        self.hidden = [h.repeat_interleave(rows, dim=0) for h in self.hidden]
        self.logits = self.logits.repeat_interleave(rows, dim=0)

    def advance(self, ids, cache):
        with torch.no_grad():
            out = self.model(torch.tensor(ids), past_key_values=cache, use_cache=True, output_hidden_states=True)
        self.hidden, self.logits, self.cache = out.hidden_states, out.logits[:, -1], out.past_key_values

    def append(self, tokens):
        self.advance([[t] for t in tokens], self.cache)

    def premature(self, wanted):
        """For each row its layers -> for each row the logits [layers, V]; one product for all."""
        states = [self.hidden[layer][row, -1] for row, layers in enumerate(wanted) for layer in layers]
        if not states:
            return [None] * len(wanted)
        with torch.no_grad():
            logits = self.model.lm_head(torch.stack(states)).numpy()
        return np.split(logits, np.cumsum([len(layers) for layers in wanted])[:-1])


def context_states(model, context, run):
    hidden = context[run.info_layer]
    if not run.final_norm or run.info_layer == len(context) - 1:
        return hidden
    with torch.no_grad():
        return model.model.norm(torch.from_numpy(hidden)).numpy()


def decode(model, amateur, prompt, runs, count):
    """`count` tokens of each of `runs`, side by side; an end-of-text token stops nothing. -> a list of steps each."""
    head = model.lm_head.weight.detach().numpy()
    expert = Continuation(model, prompt, len(runs))
    terms = {}
    for run in runs:
        key = run.strategy, run.info_layer, run.final_norm
        if run.mode.startswith("activation") and key not in terms:
            terms[key] = context_term(run.strategy, context_states(model, expert.context, run), head)
    students = {
        row: Continuation(amateur, prompt[-1:] if r.ignore_prefix else prompt, 1)
        for row, r in enumerate(runs)
        if r.amateur == "model"
    }
    ids = [list(prompt) for _ in runs]
    steps = [[] for _ in runs]
    for i in range(count):
        premature = expert.premature([run.layers for run in runs])
        for row, run in enumerate(runs):
            student = None
            if run.amateur == "ngram":
                student = ngram_log_probs(ids[row], len(head))
            elif run.amateur == "model":
                student = students[row].logits[0].numpy()
            logits = expert.logits[row].numpy()
            term = terms.get((run.strategy, run.info_layer, run.final_norm))
            step = choose(run, ids[row], logits, premature[row], term, student)
            steps[row].append(step)
            ids[row].append(step.token)
        if i + 1 < count:
            expert.append([s[-1] for s in ids])
            for row, student in students.items():
                student.append(ids[row][-1:])
    return steps


@dataclasses.dataclass
class Scoring:
    """How to score a continuation (generation/README.md 1)."""

    mode: str  # baseline, dola_static, dola, activation, activation_dola
    strategy: str = "entropy"  # or single_entropy
    alpha: float = 0.5
    info_layer: int = 0
    layers: tuple = ()
    divergence: str = "reference"
    relative_top: float = 0.1
    relative_top_value: float = -1000.0
    post_softmax: bool = True
    context: str = "whole"  # or prompt
    filter: bool = False  # activation: tokens that fail the relative-top test get relative_top_value
    prompts: int = 1000


@dataclasses.dataclass
class Score:
    total: float
    layers: np.ndarray  # [A]
    layer_margin: float  # the least of the positions
    margin: float  # the least distance of an answer's id to the filter's threshold; 1e30 without a filter


class Sequence:
    """Prompt and answer in one pass."""

    def __init__(self, model, prompt, answer):
        self.model, self.prompt, self.answer = model, len(prompt), list(answer)
        with torch.no_grad():
            out = model(torch.tensor([list(prompt) + self.answer]), output_hidden_states=True)
        self.hidden = [h[0] for h in out.hidden_states]
        self.positions = slice(self.prompt - 1, self.prompt - 1 + len(self.answer))
        self.mature = log_softmax(out.logits[0, self.positions].numpy())  # [A, V]
        self.premature = {}
        self.choices = {}

    def layers(self, layers, divergence):
        """Log-probabilities of `layers` [C, A, V], and for each position choose_layer()."""
        for layer in layers:
            if layer not in self.premature:
                with torch.no_grad():
                    logits = self.model.lm_head(self.hidden[layer][self.positions]).numpy()
                self.premature[layer] = log_softmax(logits)
        candidates = np.stack([self.premature[layer] for layer in layers])
        if (layers, divergence) not in self.choices:
            positions = range(len(self.answer))
            chosen = [choose_layer(self.mature[t], candidates[:, t], divergence) for t in positions]
            self.choices[layers, divergence] = chosen
        return candidates, self.choices[layers, divergence]

    def entropies(self, layer, context):
        """E of the answer's ids over the positions of prompt and answer, or of the prompt."""
        head = self.model.lm_head.weight.detach().numpy()
        rows = self.hidden[layer] if context == "whole" else self.hidden[layer][: self.prompt]
        return at.position_entropy(rows.numpy(), head[self.answer])


def score(sequence, scoring):
    mature, answer = sequence.mature, sequence.answer
    each = np.arange(len(answer))
    layers, layer_margin, margin = np.full(len(answer), 255), 1e30, 1e30
    if scoring.strategy == "single_entropy":
        values = sequence.entropies(scoring.info_layer, scoring.context)
        return Score(values.sum(), layers, layer_margin, margin)
    if scoring.layers:
        candidates, chosen = sequence.layers(scoring.layers, scoring.divergence)
        layers = np.array([scoring.layers[index] for index, _ in chosen])
        layer_margin = min(m for _, m in chosen)
        difference = np.stack([mature[t] - candidates[chosen[t][0], t] for t in each])
        if scoring.post_softmax:
            difference = log_softmax(difference)
        values = difference[each, answer]
    else:
        values = mature[each, answer]
    if scoring.layers or scoring.filter:
        threshold = np.array([plausibility_threshold(row, scoring.relative_top) for row in mature])
        inside = mature[each, answer] >= threshold
        margin = np.abs(mature[each, answer] - threshold).min()
        values = np.where(inside, values, scoring.relative_top_value)
    if scoring.mode.startswith("activation"):
        values = values - scoring.alpha * sequence.entropies(scoring.info_layer, scoring.context)
    return Score(values.sum(), layers, layer_margin, margin)
