# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Writes golden/answers.txt and golden/detection.txt beside this file, for tests/evaluation/metrics.cpp.

    pip install scikit-learn
    python tests/evaluation/generate_metrics.py

answers.txt: what answer_metrics.py says. Five lines a case: answer, gold, normalised answer, EM, F1 (C99 hexadecimal).
detection.txt: scikit-learn. Lines: name, then values, labels, and
AUROC, average precision, area under the precision-recall curve.
"""

import pathlib
import random

import numpy as np
import sklearn
from sklearn import metrics

from answer_metrics import exact, f1, normalise

HERE = pathlib.Path(__file__).parent / "golden"


def answers():
    fixed = [
        ("", "York"), ("The.", "York"), ("art", "The Party"), ("Harry S. Truman", "Harry Truman"), ("an", "a"),
        ("York, in the north of England", "YORK"), ("It's O\u2019Neill\u00b4s `x`", "its o neill s x"), ("A_B_the_C", "b c"),
        ("\u00c9COLE \u00dcber Stra\u00dfe", "\u00e9cole"), ("\u039f\u0394\u039f\u03a3 \u039f\u03a3\u03a4\u039f\u03a5\u039d", "\u03bf\u03b4\u03bf\u03c2"),
        ("\u0130stanbul", "istanbul"), ("a\u0301bc the\u0301", "bc"), ("x\u00a0a\u2003the\x1cy\x0bz", "x y z"), ("\u20ac 5 \u2014 1,000", "1 000"),
        ("\u0410\u0411\u0412 \u0e01\u0e02 \u6f22\u5b57 \ua640\u1e9e\u2c00", "\u0430\u0431\u0432"), ("the the the", "the"), ("theatre another", "theatre"),
        ("One one one two", "one one three"), ("\u00b2\u00bd \u2167 \u24b6", "\u2177"), ("\U00010400\U0001f600", "\U00010428"), ("...", "?"),
    ]
    draw = random.Random(7)
    words = ["The", "a", "An", "York", "york", "New", "1,000", "U.S.A.", "na\u00efve", "O'Brien", "\u00c5ngstr\u00f6m", "of", "_x_", "\u2014", "\u0394", "I"]
    cases = fixed + [tuple(" ".join(draw.choices(words, k=draw.randint(0, 6))) for _ in "ag") for _ in range(300)]
    with open(HERE / "answers.txt", "w", encoding="utf-8", newline="\n") as file:
        for answer, gold in cases:
            assert not {"\n", "\r"} & set(answer + gold)
            file.write("\n".join([answer, gold, normalise(answer), str(exact(answer, gold)), f1(answer, gold).hex()]) + "\n")


def detection():
    rng = np.random.default_rng(3)
    with open(HERE / "detection.txt", "w", newline="\n") as file:
        for name, n, levels in (("distinct", 60, None), ("ties", 200, 7), ("two", 2, None), ("constant", 12, 1)):
            labels = rng.integers(0, 2, n)
            labels[:2] = 0, 1
            values = rng.normal(size=n) + labels
            if levels:
                values = np.clip(np.round(values), -levels // 2, levels // 2) if levels > 1 else np.zeros(n)
            precision, recall, _ = metrics.precision_recall_curve(labels, values)
            results = [metrics.roc_auc_score(labels, values), metrics.average_precision_score(labels, values), metrics.auc(recall, precision)]
            lines = [name, " ".join(float(x).hex() for x in values), " ".join(map(str, labels)), " ".join(float(x).hex() for x in results)]
            file.write("\n".join(lines) + "\n")


answers()
detection()
print("scikit-learn", sklearn.__version__, "numpy", np.__version__)
