# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""A LLaMA of a Hugging Face folder as an ONNX graph that hands out the hidden states of one layer beside its logits.

    python make_graph.py FOLDER OUT.onnx --info-layer 24

An exporter (Optimum, onnxruntime-genai's model builder) makes such a graph of any model; what activation decoding needs
of it is one more output, the residual stream behind block `info_layer`: `states` here.

    ids [T] int64, past_key.i and past_value.i [1, kv_heads, P, head_dim], i = 0..N-1
    -> logits [T, V], states [T, d], present_key.i and present_value.i [1, kv_heads, P + T, head_dim]
"""

import argparse
import json
import math
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def load_safetensors(folder, pattern="*.safetensors"):
    """The tensors of a folder's .safetensors files, floats as float32."""
    kinds = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "I32": np.int32, "I64": np.int64, "U8": np.uint8}
    tensors = {}
    for path in sorted(pathlib.Path(folder).glob(pattern)):
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        for name, entry in json.loads(data[8:start]).items():
            if name == "__metadata__":
                continue
            begin, end = (start + offset for offset in entry["data_offsets"])
            array = np.frombuffer(data[begin:end], kinds[entry["dtype"]]).reshape(entry["shape"])
            if entry["dtype"] == "BF16":
                array = (array.astype(np.uint32) << 16).view(np.float32)
            tensors[name] = array.astype(np.float32) if entry["dtype"] == "F16" else array
    return tensors


def rope_frequencies(config, head_dim):
    """Radians per position of each pair of a head, with llama3's scaling where the config has it."""
    rope = config.get("rope_parameters") or {**(config.get("rope_scaling") or {}), "rope_theta": config.get("rope_theta", 1e4)}
    frequencies = rope["rope_theta"] ** (-np.arange(0, head_dim, 2) / head_dim)
    kind = rope.get("rope_type", "default")
    if kind == "default":
        return frequencies
    if kind != "llama3":
        raise SystemExit(f"make_graph.py: rope_type {kind!r} is not known, default and llama3 are")
    turns = rope["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    kept = np.clip((turns - low) / (high - low), 0, 1)  # of the slow ones nothing, of the fast ones all
    return kept * frequencies + (1 - kept) * frequencies / rope["factor"]


class Graph:
    """Nodes and constants in the order in which they are added; each returns the name of its output."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, operator, *inputs, outputs=None, **attributes):
        outputs = outputs or [f"{operator}.{len(self.nodes)}"]
        self.nodes.append(helper.make_node(operator, list(inputs), outputs, **attributes))
        return outputs[0]


def build(config, weights, info_layer):
    d, layers = config["hidden_size"], config["num_hidden_layers"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim") or d // heads
    positions = config["max_position_embeddings"]
    if not 0 <= info_layer < layers:
        raise SystemExit(f"make_graph.py: --info-layer {info_layer}: the model has layers 0 to {layers - 1} before its norm")
    g = Graph()

    def norm(x, name):
        weight = g.constant(name, weights[name])
        return g.add("RMSNormalization", x, weight, axis=-1, epsilon=config["rms_norm_eps"])

    def linear(x, name):
        return g.add("MatMul", x, g.constant(name, weights[name].T))

    def split_heads(x, count):  # [T, count * head_dim] -> [1, count, T, head_dim]
        shape = g.constant(f"heads.{len(g.nodes)}", np.array([1, -1, count, head_dim], np.int64))
        return g.add("Transpose", g.add("Reshape", x, shape), perm=[0, 2, 1, 3])

    # Positions go on where the cache ends; a query sees the keys up to its own.
    zero, one = g.constant("zero", np.array(0, np.int64)), g.constant("one", np.array(1, np.int64))
    first_axis = g.constant("first_axis", np.array([0], np.int64))
    length = g.add("Squeeze", g.add("Shape", "ids"))
    past = g.add("Squeeze", g.add("Shape", "past_key.0", start=2, end=3))
    total = g.add("Add", past, length)
    queries = g.add("Range", past, total, one)
    column = g.add("Unsqueeze", queries, g.constant("last_axis", np.array([1], np.int64)))
    mask = g.add("LessOrEqual", g.add("Range", zero, total, one), column)  # [T, P + T]
    position_ids = g.add("Unsqueeze", queries, first_axis)
    angles = np.arange(positions)[:, None] * rope_frequencies(config, head_dim)
    cos = g.constant("cos", np.cos(angles).astype(np.float32))
    sin = g.constant("sin", np.sin(angles).astype(np.float32))

    h = g.add("Gather", g.constant("model.embed_tokens.weight", weights["model.embed_tokens.weight"]), "ids")
    for i in range(layers):
        if i == info_layer:
            g.add("Identity", h, outputs=["states"])
        prefix = f"model.layers.{i}."
        x = norm(h, prefix + "input_layernorm.weight")
        q, k, v = (split_heads(linear(x, prefix + f"self_attn.{name}_proj.weight"), count)
                   for name, count in (("q", heads), ("k", kv_heads), ("v", kv_heads)))
        q, k = (g.add("RotaryEmbedding", part, cos, sin, position_ids) for part in (q, k))
        y = g.add("Attention", q, k, v, mask, f"past_key.{i}", f"past_value.{i}",
                  outputs=[f"attention.{i}", f"present_key.{i}", f"present_value.{i}"])
        joined = g.add("Reshape", g.add("Transpose", y, perm=[0, 2, 1, 3]),
                       g.constant(f"joined.{i}", np.array([-1, heads * head_dim], np.int64)))
        h = g.add("Add", h, linear(joined, prefix + "self_attn.o_proj.weight"))
        x = norm(h, prefix + "post_attention_layernorm.weight")
        gate = linear(x, prefix + "mlp.gate_proj.weight")
        gated = g.add("Mul", g.add("Mul", gate, g.add("Sigmoid", gate)), linear(x, prefix + "mlp.up_proj.weight"))
        h = g.add("Add", h, linear(gated, prefix + "mlp.down_proj.weight"))
    head = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
    g.add("MatMul", norm(h, "model.norm.weight"), g.constant("lm_head", head.T), outputs=["logits"])

    def value(name, shape, kind=TensorProto.FLOAT):
        return helper.make_tensor_value_info(name, kind, shape)

    def cache(name, count):
        return [value(f"{name}_{part}.{i}", [1, kv_heads, count, head_dim]) for i in range(layers) for part in ("key", "value")]

    return helper.make_graph(g.nodes, "llama", [value("ids", ["T"], TensorProto.INT64), *cache("past", "P")],
                             [value("logits", ["T", head.shape[0]]), value("states", ["T", d]), *cache("present", "P + T")],
                             g.constants)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder")
    arguments.add_argument("out")
    arguments.add_argument("--info-layer", type=int, required=True)
    options = arguments.parse_args()
    config = json.loads((pathlib.Path(options.folder) / "config.json").read_text())
    if config.get("model_type") != "llama" or config.get("attention_bias") or config.get("mlp_bias"):
        raise SystemExit(f"make_graph.py: {options.folder}: expected a llama without biases, got {config.get('model_type')!r}")
    graph = build(config, load_safetensors(options.folder), options.info_layer)
    # Operators of opset 23: RMSNormalization, RotaryEmbedding, Attention.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    onnx.checker.check_model(model)
    onnx.save(model, options.out)


if __name__ == "__main__":
    main()
