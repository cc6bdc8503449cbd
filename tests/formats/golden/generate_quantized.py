# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Writes quantized.safetensors: random blocks of every quantised type and the floats that PyPI's `gguf` makes of them.

    python generate_quantized.py        needs gguf, numpy, safetensors

`<type>.blocks` is U8 [n, bytes per block], `<type>.values` is F32 [n, elements per block]. The versions used are
in the file's __metadata__. Every bit is random but the scales, which are finite: the extremes first, then random
ones; among them zeros of both signs, subnormals, and the largest.
"""
import importlib.metadata
import pathlib

import gguf
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T
from safetensors.numpy import save_file

# Where the fp16 scales lie in a block.
SCALES = {T.Q8_0: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}
# What came later has random bits of its own, so that the others keep theirs.
LATER_SCALES = {T.Q5_0: [0], T.Q5_1: [0, 2], T.Q2_K: [80, 82], T.Q3_K: [108], T.IQ4_NL: [0], T.IQ4_XS: [0]}
EXTREMES = np.array([0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x7BFF, 0xFBFF], np.uint16)

tensors = {}


def add_blocks(kinds, random):
    for kind, places in kinds.items():
        elements, size = GGML_QUANT_SIZES[kind]
        n = 48 if elements == 32 else 16
        blocks = random.integers(0, 256, (n, size), np.uint8)
        for place in places:
            scales = random.integers(0, 0x7C00, n, np.uint16) | (random.integers(0, 2, n, np.uint16) << 15)
            scales[: len(EXTREMES)] = random.permutation(EXTREMES)
            blocks[:, place : place + 2] = scales.view(np.uint8).reshape(n, 2)
        values = gguf.dequantize(blocks, kind)
        assert values.shape == (n, elements) and np.isfinite(values).all()
        tensors[f"{kind.name}.blocks"] = blocks
        tensors[f"{kind.name}.values"] = values


random = np.random.default_rng(20261122)
add_blocks(SCALES, random)
bits = random.permutation(65536).astype(np.uint16)[:512]
for kind in (T.F16, T.BF16):
    data = bits.view(np.uint8).reshape(1, -1)
    values = gguf.dequantize(bits if kind == T.F16 else data, kind).reshape(-1, 1)
    tensors[f"{kind.name}.blocks"] = bits.view(np.uint8).reshape(-1, 2)
    tensors[f"{kind.name}.values"] = values

add_blocks(LATER_SCALES, np.random.default_rng(20261128))

versions = {name: importlib.metadata.version(name) for name in ("gguf", "numpy", "safetensors")}
save_file(tensors, pathlib.Path(__file__).with_name("quantized.safetensors"), metadata=versions)
print({name: t.shape for name, t in tensors.items()}, versions)
