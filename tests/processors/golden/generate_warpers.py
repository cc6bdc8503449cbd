# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Writes warpers.txt: what Hugging Face transformers' logits warpers keep, for scores with and without ties.

    python generate_warpers.py            # transformers 5.23.0, torch 2.15.0

Per case four lines: "<warper> <value> <min_tokens_to_keep>", the scores (-inf for masked), the ids that are kept, and an
empty line. Scores are whole 64ths, so that they are written exactly. A case is dropped if double precision would keep
other ids than float32 does: then the sum lies within rounding of the border, and neither is right.
"""
import pathlib

import torch
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

WARPERS = {
    "top_k": (TopKLogitsWarper, [1, 2, 5, 40, 1000]),
    "top_p": (TopPLogitsWarper, [0.0, 0.1, 0.5, 0.9, 0.99]),
    "min_p": (MinPLogitsWarper, [0.0, 0.02, 0.3, 1.0]),
    "typical": (TypicalLogitsWarper, [0.05, 0.2, 0.5, 0.9, 0.99]),
}


def rows(generator):
    for size, deviation in ((1, 1.0), (2, 1.0), (7, 2.0), (67, 1.0), (67, 4.0)):
        yield torch.round(torch.randn(size, generator=generator) * deviation * 64) / 64
    coarse = torch.round(torch.randn(67, generator=generator) * 2)  # many ties
    yield coarse
    masked = coarse.clone()
    masked[::3] = -torch.inf
    yield masked
    yield torch.zeros(13)


def kept(warper, scores):
    return torch.isfinite(warper(None, scores[None])[0]).nonzero()[:, 0].tolist()


def main():
    generator = torch.Generator().manual_seed(20261122)
    lines = []
    dropped = 0
    for scores in rows(generator):
        for name, (warper, values) in WARPERS.items():
            for value in values:
                for keep in (1, 3):
                    made = warper(value, min_tokens_to_keep=keep)
                    ids = kept(made, scores)
                    if ids != kept(made, scores.double()):
                        dropped += 1
                        continue
                    lines.append(f"{name} {value} {keep}")
                    lines.append(" ".join(str(x) for x in scores.tolist()))
                    lines.append(" ".join(map(str, ids)))
                    lines.append("")
    pathlib.Path(__file__).with_name("warpers.txt").write_text("\n".join(lines))
    print(len(lines) // 4, "cases,", dropped, "dropped")


if __name__ == "__main__":
    main()
