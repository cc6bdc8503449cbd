# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""evaluation/README.md 2.1 with Python's own lower(), regular expressions, split() and multisets."""

import collections
import re
import string

PUNCTUATION = set(string.punctuation) | {"\u2018", "\u2019", "\u00b4", "`"}


def normalise(text):
    text = text.replace("_", " ").lower()
    text = "".join(" " if c in PUNCTUATION else c for c in text)
    text = re.sub(r"\b(?:the|an|a)\b", " ", text)
    return " ".join(text.split())


def exact(answer, gold):
    if answer == "":
        return 0
    a, g = normalise(answer), normalise(gold)
    return int(a == g or g in a or a in g)


def strict(answer, gold):
    return int(answer != "" and normalise(answer) == normalise(gold))


def f1(answer, gold):
    a, g = normalise(answer).split(), normalise(gold).split()
    common = sum((collections.Counter(a) & collections.Counter(g)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(a), common / len(g)
    return 2 * precision * recall / (precision + recall)
