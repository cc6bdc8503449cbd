# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""processors/README.md 1 as plainly as it can be written, in float64, and how golden files hold large vectors."""

import copy
import dataclasses
import math

import numpy as np
import torch

FLOAT32_EPSILON = 2.0**-23


def position_entropy(hidden, head, clamp=FLOAT32_EPSILON, chunk=4096, finish=lambda products: products):
    """E[v] of 1.1 for every row of `head`: hidden [T, d], head [V, d] -> [V], nats. `finish` makes logits of products."""
    hidden, result = hidden.astype(np.float64), []
    for begin in range(0, len(head), chunk):
        scores = finish(hidden @ head[begin : begin + chunk].astype(np.float64).T)  # [T, chunk]
        p = np.exp(scores - scores.max(axis=0))
        p /= p.sum(axis=0)
        result.append(-(p * np.log(np.clip(p, clamp, 1 - clamp))).sum(axis=0))
    return np.concatenate(result)


def log_softmax(logits):
    z = logits.astype(np.float64)
    z = z - z.max()
    return z - math.log(np.exp(z).sum())


@dataclasses.dataclass
class Options:
    alpha: float = 0.5
    info_layer: int = 24
    relative_top: float = 0.1
    repetition_penalty: float = 1.0


@dataclasses.dataclass
class Step:
    token: int
    gap: float  # between the best and the second-best final score; infinite with one candidate
    margin: float  # distance of the plausibility threshold to the closest log-probability on either side
    changed: bool  # whether alpha = 0 would have chosen another token
    ids: np.ndarray  # candidates kept, ascending
    log_probs: np.ndarray
    entropies: np.ndarray
    scores: np.ndarray


@dataclasses.dataclass
class GreedyStep:
    token: int
    gap: float  # between the two largest logits


def sharpness_step(logits, entropy, seen, options):
    """1.2 for one position: logits [V], entropy [V], ids seen so far."""
    lp = log_softmax(logits)
    threshold = min(lp.max(), lp.max() + math.log(options.relative_top))
    kept = np.flatnonzero(~(lp < threshold))
    margin = np.abs(lp - threshold).min()

    def penalised(score):
        repeated = np.isin(kept, list(seen))
        factor = np.where(score < 0, options.repetition_penalty, 1 / options.repetition_penalty)
        return np.where(repeated, score * factor, score)

    scores = penalised(lp[kept] - options.alpha * entropy[kept])
    best = int(np.argmax(scores))
    without = int(np.argmax(penalised(lp[kept])))
    ranked = np.sort(scores)
    gap = ranked[-1] - ranked[-2] if len(ranked) > 1 else math.inf
    return Step(int(kept[best]), gap, margin, best != without, kept, lp[kept], entropy[kept], scores)


def greedy_step(logits):
    second, best = np.argpartition(logits, -2)[-2:]
    if logits[second] > logits[best]:
        second, best = best, second
    return GreedyStep(int(np.argmax(logits)), float(logits[best]) - float(logits[second]))


class Context:
    """A prompt that has gone through the model once."""

    def __init__(self, model, ids):
        self.model, self.ids = model, list(ids)
        with torch.no_grad():
            out = model(torch.tensor([self.ids]), use_cache=True, output_hidden_states=True)
        self.hidden = [h[0].numpy() for h in out.hidden_states]  # h_0 .. h_N, [T, d]
        self.logits = out.logits[0, -1].numpy()
        self.cache = out.past_key_values

    def decode(self, choosers, count):
        """One continuation of `count` tokens per chooser, side by side as a batch; EOS does not stop them.

        choosers[b](logits [V], ids so far) -> record with a token. Returns a list of records for each.
        """
        cache = copy.deepcopy(self.cache)
        cache.batch_repeat_interleave(len(choosers))
        logits = [self.logits] * len(choosers)
        ids = [list(self.ids) for _ in choosers]
        records = [[] for _ in choosers]
        for step in range(count):
            for b, choose in enumerate(choosers):
                records[b].append(choose(logits[b], ids[b]))
                ids[b].append(records[b][-1].token)
            if step + 1 < count:
                with torch.no_grad():
                    out = self.model(torch.tensor([s[-1:] for s in ids]), past_key_values=cache, use_cache=True)
                logits, cache = out.logits[:, -1].numpy(), out.past_key_values
        return records


def signs(projections, size):
    """Rademacher signs [projections, size]: +1 where the top bit of splitmix64's finaliser of j * 2^32 + i is 0."""
    j, i = np.arange(projections, dtype=np.uint64)[:, None], np.arange(size, dtype=np.uint64)[None, :]
    z = (j << np.uint64(32)) + i + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.where(z >> np.uint64(63) == 0, 1.0, -1.0)


def sketch(vectors, projections):
    """[..., size] -> [..., 1 + projections]: the Euclidean norm and the signed sums.

    For two vectors the mean square of the differences of their signed sums is an unbiased estimate of the squared
    distance, with relative deviation sqrt(2 / projections); every element takes part.
    """
    x = np.asarray(vectors, dtype=np.float64)
    sums = x @ signs(projections, x.shape[-1]).T
    return np.concatenate([np.linalg.norm(x, axis=-1, keepdims=True), sums], axis=-1).astype(np.float32)
