# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""examples/onnxruntime against Hugging Face transformers: onnxruntime.py SOURCE_DIR LIBRARY OUT_DIR

Graph and tokens of the tiny fixture: states and logits within what float32 explains, and of 16 prompts the 20 tokens
and their scores that transformers and a float64 processor gave (tests/golden/README.md, activation_raw).
"""
import pathlib
import subprocess
import sys

source, library, out = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
sys.path[0] = str(source / "examples/onnxruntime")  # not this folder, whose name for this file is another package's
try:
    import numpy as np
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
except ImportError as missing:
    print(f"skipped: {missing} (tests/get_python_packages.sh)")
    sys.exit(77)
import decode
from make_graph import load_safetensors

golden = source / "tests/golden"
folder = str(golden / "tiny_llama")
out.mkdir(parents=True, exist_ok=True)
graph = str(out / "tiny_llama.onnx")
subprocess.run([sys.executable, source / "examples/onnxruntime/make_graph.py", folder, graph, "--info-layer", "2"], check=True)

# The states and logits of a whole prompt, and of the same in two pieces.
expected = load_safetensors(golden, "tiny_llama.safetensors")
ids = [int(i) for i in expected["ids"]]
model = decode.Model(graph)
pieces = [model.forward(ids[:25]), model.forward(ids[25:])]
for logits, states in (decode.Model(graph).forward(ids), [np.concatenate(parts) for parts in zip(*pieces)]):
    for name, found, wanted in (("states", states, expected["hidden"][2]), ("logits", logits, expected["logits"])):
        worst = float(np.abs(found - wanted).max() / np.abs(wanted).max())
        assert worst < 5e-6, (name, worst)
        print(f"{name}: within {worst:.1e} of the largest")

# Tokens and scores. On equal tokens scores differ by what float32 differs; gaps to the second-best are above 1e-4.
expected = load_safetensors(golden, "tiny_llama_generation.safetensors")
offsets, tokens, scores = expected["prompts_offsets"], expected["activation_raw.tokens"], expected["activation_raw.scores"]
worst = 0.0
for row, (wanted, score) in enumerate(zip(tokens, scores)):
    sharpness = decode.Sharpness(library, folder, alpha=1.0)
    prompt = [int(i) for i in expected["prompts"][offsets[row]:offsets[row + 1]]]
    chosen = list(decode.decode(decode.Model(graph), sharpness, prompt, len(wanted)))
    assert [c.id for c in chosen] == list(wanted), (row, [c.id for c in chosen], list(wanted))
    worst = max(worst, max(abs(c.score - s) for c, s in zip(chosen, score)))
assert worst < 5e-5, worst
print(f"{tokens.size} tokens as transformers', scores within {worst:.1e}")

# As a user calls it.
lines = subprocess.run([sys.executable, source / "examples/onnxruntime/decode.py", graph, "--head", folder, "--library", library,
                        "--ids", ",".join(map(str, expected["prompts"][: offsets[1]])), "-n", "5"],
                       check=True, capture_output=True, text=True).stdout.splitlines()
assert [int(line.split()[0]) for line in lines[1:]] == list(tokens[0][:5]), lines
