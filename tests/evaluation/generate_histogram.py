# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Writes golden/histogram.txt beside this file, for tests/evaluation/metrics.cpp: numpy.histogram, 20 bins, of the cases in
golden/detection.txt.

    pip install numpy
    python tests/evaluation/generate_histogram.py

Lines: name, then lower end and width of the bins, counts of right answers, counts of wrong ones.
"""

import pathlib

import numpy as np

HERE = pathlib.Path(__file__).parent / "golden"
lines = (HERE / "detection.txt").read_text().splitlines()
with open(HERE / "histogram.txt", "w", newline="\n") as file:
    for name, values, labels in zip(lines[0::4], lines[1::4], lines[2::4]):
        scores = np.array([float.fromhex(word) for word in values.split()])
        right = np.array([word == "1" for word in labels.split()])
        edges = np.histogram_bin_edges(scores, bins=20)
        counts = [np.histogram(scores[chosen], bins=edges)[0] for chosen in (right, ~right)]
        ends = "%s %s" % (float(edges[0]).hex(), float((edges[-1] - edges[0]) / 20).hex())
        file.write("\n".join([name, ends] + [" ".join(map(str, c)) for c in counts]) + "\n")
print("numpy", np.__version__)
