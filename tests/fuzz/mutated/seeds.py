# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny models of random weights to be mutated, the same on every machine: GGUF files of several types of weights, and
Hugging Face folders. Their vocabularies are those of the tokenizer's tests.

    python3 seeds.py CORPUS     writes the smallest of them, with which libFuzzer's targets gguf_tokenizer and forward begin
"""

import json
import pathlib
import random
import struct
import sys

from gguf_file import ARRAY, BLOCKS, BOOL, STRING, Array, Entry, Gguf, Tensor
from protobuf import BYTES, FIXED32, VARINT, encode, fields_of

TESTS = pathlib.Path(__file__).resolve().parents[2]
VOCABULARIES = TESTS / "tokenizer/golden/vocabularies"
CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
# Whose q, k and v are one tensor, and gate and up another.
FUSED = ("phi3",)
# A vocabulary's name in tokenizer.ggml.pre, the end of its texts, and its models' chat template.
BYTE_LEVEL = {"gpt2": ("gpt-2", "<|im_end|>", None), "smollm": ("smollm", "<|im_end|>", None),
              "llama_bpe": ("llama-bpe", "<|im_end|>", "llama-3.1"), "qwen2": ("qwen2", "<|im_end|>", "qwen 2.5"),
              "tekken": ("tekken", "</s>", "mistral, tekken"), "gpt4o": ("gpt-4o", "<|end|>", "phi-4-mini"),
              "deepseek_llm": ("deepseek-llm", "<\uff5cend\u2581of\u2581sentence\uff5c>", "deepseek-r1"),
              "deepseek_coder": ("deepseek-coder", "<\uff5cend\u2581of\u2581sentence\uff5c>", "granite 3.3")}
# What a family has beside a LLaMA: vectors of a block, by their length, and settings by key: kind and value.
FAMILIES = {
    "llama": ({}, {}),
    "mistral": ({}, {"attention.sliding_window": (4, 8)}),
    "qwen2": ({"attn_q.bias": "heads", "attn_k.bias": "kv", "attn_v.bias": "kv"}, {}),
    "qwen3": ({"attn_q_norm.weight": "head", "attn_k_norm.weight": "head"}, {}),
    "gemma3": ({"attn_q_norm.weight": "head", "attn_k_norm.weight": "head", "post_attention_norm.weight": "hidden",
                "post_ffw_norm.weight": "hidden"},
               {"attention.sliding_window": (4, 8), "attention.sliding_window_pattern": (4, 2), "rope.freq_base_swa": (6, 10000.0),
                "final_logit_softcapping": (6, 30.0)}),
    "phi3": ({}, {"rope.scaling.original_context_length": (4, 512), "rope.scaling.attn_factor": (6, 1.1)}),
    "smollm3": ({}, {}),
    "gemma": ({}, {}),
    "gemma2": ({"post_attention_norm.weight": "hidden", "post_ffw_norm.weight": "hidden"},
               {"attention.sliding_window": (4, 8), "attn_logit_softcapping": (6, 50.0), "final_logit_softcapping": (6, 30.0)}),
    "granite": ({}, {"embedding_scale": (6, 12.0), "attention.scale": (6, 0.5), "residual_scale": (6, 0.2), "logit_scale": (6, 4.0)}),
    "minicpm": ({}, {"embedding_scale": (6, 12.0), "residual_scale": (6, 0.5), "logit_scale": (6, 2.0)}),
    "ernie4_5": ({}, {}),
    "internlm2": ({}, {}),
    "exaone": ({}, {}),
}
# Chat templates of those whose vocabulary is SentencePiece's; Gemma's has no space in front.
TEMPLATES = {"gemma": "gemma 1", "gemma2": "gemma 2", "gemma3": "gemma 3", "llama": "mistral, v1", "exaone": "zephyr"}
# Where the blocks of a quantised type have their scales, and values that keep weights small.
SCALES = {2: {0: 0.015}, 3: {0: 0.02, 2: -0.15}, 6: {0: 0.007}, 7: {0: 0.01, 2: -0.15}, 8: {0: 0.001}, 10: {80: 0.002, 82: 0.004},
          11: {108: 0.0003}, 12: {0: 0.0005, 2: 0.002}, 13: {0: 0.0003, 2: 0.002}, 14: {208: 0.0001}, 20: {0: 0.001}, 23: {0: 0.00005}}


def floats(kind, values):
    """As F32, F16 or BF16, by GGUF's numbers."""
    if kind == 30:
        return b"".join(struct.pack("<f", value)[2:] for value in values)
    return struct.pack(f"<{len(values)}{'f' if kind == 0 else 'e'}", *values)


def weights(rng, kind, count):
    if kind not in SCALES:
        return floats(kind, [rng.gauss(0, 0.08) for _ in range(count)])
    elements, size = BLOCKS[kind]
    blocks = []
    for _ in range(count // elements):
        block = bytearray(rng.randbytes(size))
        for place, scale in SCALES[kind].items():
            block[place : place + 2] = struct.pack("<e", scale)
        blocks.append(block)
    return b"".join(blocks)


def norm(rng, count):
    return [1 + rng.gauss(0, 0.1) for _ in range(count)]


def read_bpe(name):
    """Tokens, types and merges of a tokenizer.json as GGUF has them."""
    file = json.loads((VOCABULARIES / f"{name}.json").read_text(encoding="utf-8"))
    tokens = {number: text for text, number in file["model"]["vocab"].items()}
    types = dict.fromkeys(tokens, 1)
    for added in file["added_tokens"]:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = 3 if added["special"] else 4
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in file["model"]["merges"]]
    order = range(len(tokens))
    return [tokens[i].encode() for i in order], [types[i] for i in order], [merge.encode() for merge in merges]


def template_of(name):
    file = json.loads((TESTS / "tokenizer/golden/chat_formats.json").read_text(encoding="utf-8"))
    return next(row["template"] for row in file["templates"] if row["name"] == name)


def read_pieces():
    """Tokens, scores and types of a tokenizer.model."""
    tokens, scores, types = [], [], []
    for number, _, piece in fields_of((VOCABULARIES / "spm.model").read_bytes()):
        if number != 1:
            continue
        parts = {field: value for field, _, value in fields_of(piece)}
        tokens.append(parts[1])
        scores.append(struct.unpack("<f", parts[2])[0])
        types.append(parts.get(3, 1))
    return tokens, scores, types


def tokenizer_entries(name):
    def entry(key, kind, value):
        return Entry(b"tokenizer." + key, kind, value)

    if name == "spm":
        tokens, scores, types = read_pieces()
        return [entry(b"ggml.model", STRING, b"llama"), entry(b"ggml.tokens", ARRAY, Array(STRING, tokens)),
                entry(b"ggml.scores", ARRAY, Array(6, scores)), entry(b"ggml.token_type", ARRAY, Array(5, types)),
                entry(b"ggml.bos_token_id", 4, 1), entry(b"ggml.eos_token_id", 4, 2), entry(b"ggml.unknown_token_id", 4, 0),
                entry(b"ggml.add_bos_token", BOOL, 1), entry(b"ggml.add_space_prefix", BOOL, 1)]
    tokens, types, merges = read_bpe(name)
    pre, end, template = BYTE_LEVEL[name]
    # Ends of text come as control tokens and as user-defined ones; not every vocabulary has a token to begin with.
    eos = tokens.index(end.encode())
    types[eos] = 4 if name in ("qwen2", "gpt4o") else types[eos]
    bos = next((i for i, token in enumerate(tokens) if b"begin" in token and types[i] == 3), eos)
    return [entry(b"ggml.model", STRING, b"gpt2"), entry(b"ggml.pre", STRING, pre.encode()),
            entry(b"ggml.tokens", ARRAY, Array(STRING, tokens)), entry(b"ggml.token_type", ARRAY, Array(5, types)),
            entry(b"ggml.merges", ARRAY, Array(STRING, merges)), entry(b"ggml.bos_token_id", 4, bos),
            entry(b"ggml.eos_token_id", 4, eos), entry(b"ggml.add_bos_token", BOOL, 0),
            entry(b"chat_template", STRING, (template_of(template) if template else CHATML).encode())]


def tiny_gguf(rng, tokenizer, kind, embedding_kind, shape, tied, divisors=False, family="llama", padding=0):
    """`shape` is hidden, ffn, heads, kv_heads, head_dim, layers; the kinds are of the matrices. Without a tokenizer there are
    six tokens; `padding` rows have none."""
    hidden, ffn, heads, kv_heads, head_dim, layers = shape
    entries = tokenizer_entries(tokenizer) if tokenizer else [Entry(b"tokenizer.ggml.model", STRING, b"no_vocab")]
    vocab = next((len(e.value.items) for e in entries if e.key.endswith(b"tokens")), 6) + padding
    more_vectors, more_settings = FAMILIES[family]
    architecture = b"llama" if family == "mistral" else family.encode()
    if tokenizer == "spm" and family in TEMPLATES:
        next(e for e in entries if e.key.endswith(b"add_space_prefix")).value = int(not family.startswith("gemma"))
        entries.append(Entry(b"tokenizer.chat_template", STRING, template_of(TEMPLATES[family]).encode()))
    gguf = Gguf([Entry(b"general.architecture", STRING, architecture), Entry(b"general.name", STRING, b"tiny random LLaMA")])
    for key, value in {"block_count": layers, "context_length": 2048, "embedding_length": hidden, "feed_forward_length": ffn,
                       "attention.head_count": heads, "attention.head_count_kv": kv_heads, "vocab_size": vocab,
                       "rope.dimension_count": head_dim, "attention.key_length": head_dim,
                       "attention.value_length": head_dim}.items():
        gguf.put(architecture + b"." + key.encode(), 4, value)
    gguf.put(architecture + b".rope.freq_base", 6, 10000.0)
    gguf.put(architecture + b".attention.layer_norm_rms_epsilon", 6, 1e-5)
    for key, (of_kind, value) in more_settings.items():
        gguf.put(architecture + b"." + key.encode(), of_kind, value)
    gguf.entries += entries

    def matrix(name, columns, rows, kind=kind):
        gguf.tensors.append(Tensor(name.encode(), [columns, rows], kind, weights(rng, kind, columns * rows)))

    def vector(name, values):
        gguf.tensors.append(Tensor(name.encode(), [len(values)], 0, floats(0, values)))

    matrix("token_embd.weight", hidden, vocab, embedding_kind)
    for layer in range(layers):
        block = f"blk.{layer}."
        vector(block + "attn_norm.weight", norm(rng, hidden))
        if family in FUSED:
            matrix(block + "attn_qkv.weight", hidden, (heads + 2 * kv_heads) * head_dim)
        else:
            matrix(block + "attn_q.weight", hidden, heads * head_dim)
            matrix(block + "attn_k.weight", hidden, kv_heads * head_dim)
            matrix(block + "attn_v.weight", hidden, kv_heads * head_dim)
        matrix(block + "attn_output.weight", heads * head_dim, hidden)
        lengths = {"heads": heads * head_dim, "kv": kv_heads * head_dim, "head": head_dim, "hidden": hidden}
        for part, length in more_vectors.items():
            numbers = norm(rng, lengths[length])
            vector(block + part, [n - 1 for n in numbers] if part.endswith("bias") else numbers)
        vector(block + "ffn_norm.weight", norm(rng, hidden))
        if family not in FUSED:
            matrix(block + "ffn_gate.weight", hidden, ffn)
        matrix(block + "ffn_up.weight", hidden, 2 * ffn if family in FUSED else ffn)
        matrix(block + "ffn_down.weight", ffn, hidden)
    vector("output_norm.weight", norm(rng, hidden))
    if not tied:
        matrix("output.weight", hidden, vocab, embedding_kind)
    if family in ("phi3", "minicpm"):
        for length in ("long", "short"):
            vector(f"rope_factors_{length}.weight", [1 + i / 10 for i in range(head_dim // 2)])
    if divisors:
        vector("rope_freqs.weight", [1 + i / 10 for i in range(head_dim // 2)])
    return gguf


def gguf_seeds():
    """By name. Two layers each or more, so that every option of the programs fits all of them."""
    rng = random.Random("gguf")
    return {"smollm": tiny_gguf(rng, "smollm", 3, 8, (64, 96, 4, 2, 16, 2), tied=True),
            "spm": tiny_gguf(rng, "spm", 1, 30, (32, 48, 2, 1, 16, 2), tied=False),
            "gpt2": tiny_gguf(rng, "gpt2", 2, 0, (32, 64, 2, 2, 16, 2), tied=True),
            "llama_bpe": tiny_gguf(rng, "llama_bpe", 12, 14, (256, 256, 4, 2, 64, 2), tied=False, divisors=True),
            "qwen2": tiny_gguf(rng, "qwen2", 6, 8, (64, 96, 4, 2, 16, 2), tied=True, family="qwen2"),
            "qwen3": tiny_gguf(rng, "qwen2", 20, 7, (64, 96, 2, 1, 32, 2), tied=False, family="qwen3"),
            "gemma3": tiny_gguf(rng, "spm", 7, 6, (64, 96, 2, 1, 32, 3), tied=True, family="gemma3"),
            "mistral": tiny_gguf(rng, "tekken", 10, 11, (256, 256, 4, 2, 64, 2), tied=False, family="mistral"),
            "gpt4o": tiny_gguf(rng, "gpt4o", 23, 13, (256, 256, 4, 2, 64, 2), tied=True),
            "phi3": tiny_gguf(rng, "gpt4o", 8, 2, (64, 96, 4, 2, 16, 2), tied=True, family="phi3"),
            "smollm3": tiny_gguf(rng, "llama_bpe", 1, 6, (32, 64, 2, 1, 16, 4), tied=True, family="smollm3"),
            "deepseek_llm": tiny_gguf(rng, "deepseek_llm", 11, 20, (256, 256, 4, 4, 64, 2), tied=True),
            "deepseek_coder": tiny_gguf(rng, "deepseek_coder", 23, 10, (256, 256, 4, 2, 64, 2), tied=False),
            "gemma": tiny_gguf(rng, "spm", 0, 3, (64, 96, 2, 1, 32, 2), tied=True, family="gemma"),
            "gemma2": tiny_gguf(rng, "spm", 6, 12, (256, 256, 4, 2, 64, 2), tied=True, family="gemma2"),
            "granite": tiny_gguf(rng, "deepseek_coder", 10, 14, (256, 256, 4, 2, 64, 2), tied=True, family="granite"),
            "minicpm": tiny_gguf(rng, "spm", 11, 12, (256, 256, 4, 2, 64, 2), tied=True, family="minicpm"),
            "ernie4_5": tiny_gguf(rng, "spm", 30, 7, (64, 96, 4, 2, 16, 2), tied=True, family="ernie4_5"),
            "internlm2": tiny_gguf(rng, "spm", 13, 8, (256, 256, 4, 2, 64, 2), tied=False, family="internlm2"),
            "exaone": tiny_gguf(rng, "smollm", 20, 6, (64, 96, 2, 1, 32, 2), tied=True, family="exaone", padding=7),
            "phi3_spm": tiny_gguf(rng, "spm", 2, 20, (64, 96, 4, 2, 16, 2), tied=False, family="phi3")}


def split_seeds():
    """By name, each a list of the parts of a split file."""
    result, whole = {}, gguf_seeds()
    for name, count in (("smollm", 2), ("qwen2", 3), ("gemma3", 2), ("spm", 3), ("granite", 2), ("phi3", 3)):
        tensors = whole[name].tensors
        parts = []
        for number in range(count):
            part = Gguf(whole[name].copy().entries if number == 0 else [])
            part.put(b"split.no", 2, number)
            part.put(b"split.count", 2, count)
            part.put(b"split.tensors.count", 5, len(tensors))
            part.tensors = whole[name].copy().tensors[number * len(tensors) // count : (number + 1) * len(tensors) // count]
            parts.append(part)
        result[name] = parts
    return result


def vocabulary_size(name, data):
    if name.endswith(".model"):
        return sum(number == 1 for number, _, _ in fields_of(data))
    file = json.loads(data)
    return 1 + max([*file["model"]["vocab"].values(), *(added["id"] for added in file["added_tokens"])])


def safetensors(header, data, length=None):
    """The file. `header` is the JSON as bytes or what becomes it, `length` what the file says of it if it is not the truth."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", (len(text) if length is None else length) % 2**64) + text + data


# A folder's class, what its config.json has beside a LLaMA's, and vectors of a block by their length.
CLASSES = {
    "LlamaForCausalLM": ("llama", {"attention_bias": False, "mlp_bias": False}, {}),
    "MistralForCausalLM": ("mistral", {"sliding_window": 8}, {}),
    "Qwen2ForCausalLM": ("qwen2", {"use_sliding_window": False},
                         {"self_attn.q_proj.bias": 16, "self_attn.k_proj.bias": 8, "self_attn.v_proj.bias": 8}),
    "Qwen3ForCausalLM": ("qwen3", {"attention_bias": False, "use_sliding_window": False},
                         {"self_attn.q_norm.weight": 8, "self_attn.k_norm.weight": 8}),
    "Phi3ForCausalLM": ("phi3", {"partial_rotary_factor": 1.0, "original_max_position_embeddings": 512, "sliding_window": None}, {}),
    "SmolLM3ForCausalLM": ("smollm3", {"num_hidden_layers": 4, "no_rope_layer_interval": 4, "attention_bias": False}, {}),
    "Gemma3ForCausalLM": ("gemma3_text", {"sliding_window": 8, "hidden_activation": "gelu_pytorch_tanh", "rope_local_base_freq": 10000.0,
                                          "query_pre_attn_scalar": 8, "final_logit_softcapping": None,
                                          "layer_types": ["sliding_attention", "full_attention"]},
                          {"self_attn.q_norm.weight": 8, "self_attn.k_norm.weight": 8, "pre_feedforward_layernorm.weight": 16,
                           "post_feedforward_layernorm.weight": 16}),
    "GemmaForCausalLM": ("gemma", {"hidden_act": "gelu_pytorch_tanh"}, {}),
    "Gemma2ForCausalLM": ("gemma2", {"sliding_window": 8, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 8,
                                     "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
                          {"pre_feedforward_layernorm.weight": 16, "post_feedforward_layernorm.weight": 16}),
    "GraniteForCausalLM": ("granite", {"attention_bias": False, "embedding_multiplier": 12.0, "attention_multiplier": 0.5,
                                       "residual_multiplier": 0.2, "logits_scaling": 4.0}, {}),
    "MiniCPMForCausalLM": ("minicpm", {"scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 8}, {}),
    "Ernie4_5ForCausalLM": ("ernie4_5", {"use_bias": False}, {}),
    "InternLM2ForCausalLM": ("internlm2", {"bias": False}, {}),
    "InternLM3ForCausalLM": ("internlm3", {"bias": False, "qkv_bias": False}, {}),
    "ExaoneForCausalLM": ("exaone", {}, {}),
}
# What their tensors are called where a LLaMA's are called otherwise.
OTHER_NAMES = {
    "InternLM2ForCausalLM": {"embed_tokens": "tok_embeddings", "lm_head": "output", "input_layernorm": "attention_norm",
                             "post_attention_layernorm": "ffn_norm", "self_attn.qkv_proj": "attention.wqkv",
                             "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.up_proj": "feed_forward.w3",
                             "mlp.down_proj": "feed_forward.w2"},
    "ExaoneForCausalLM": {"model.embed_tokens": "transformer.wte", "model.layers": "transformer.h", "model.norm": "transformer.ln_f",
                          "input_layernorm": "ln_1", "post_attention_layernorm": "ln_2", "self_attn": "attn.attention",
                          "o_proj": "out_proj", "mlp.gate_proj": "mlp.c_fc_0", "mlp.up_proj": "mlp.c_fc_1", "mlp.down_proj": "mlp.c_proj"},
}
# And keys of their config.json.
OTHER_KEYS = {"ExaoneForCausalLM": {"num_hidden_layers": "num_layers", "rms_norm_eps": "layer_norm_epsilon", "hidden_act": "activation_function"}}


def tensors_of(rng, config, kind, more):
    """Name, shape and bytes of each."""
    hidden, ffn, heads, kv_heads, head_dim = 16, 32, 2, 1, 8
    layers, vocab, tied = (config[key] for key in ("num_hidden_layers", "vocab_size", "tie_word_embeddings"))
    shapes = {"model.embed_tokens.weight": [vocab, hidden]}
    for layer in range(layers):
        parts = {"input_layernorm": [hidden], "self_attn.q_proj": [heads * head_dim, hidden],
                 "self_attn.k_proj": [kv_heads * head_dim, hidden], "self_attn.v_proj": [kv_heads * head_dim, hidden],
                 "self_attn.o_proj": [hidden, heads * head_dim], "post_attention_layernorm": [hidden],
                 "mlp.gate_proj": [ffn, hidden], "mlp.up_proj": [ffn, hidden], "mlp.down_proj": [hidden, ffn]}
        if config["model_type"] in (*FUSED, "internlm2"):
            for part in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"):
                del parts[part]
            parts["self_attn.qkv_proj"] = [(heads + 2 * kv_heads) * head_dim, hidden]
        if config["model_type"] in FUSED:
            del parts["mlp.gate_proj"], parts["mlp.up_proj"]
            parts["mlp.gate_up_proj"] = [2 * ffn, hidden]
        shapes |= {f"model.layers.{layer}.{part}.weight": shape for part, shape in parts.items()}
        shapes |= {f"model.layers.{layer}.{part}": [length] for part, length in more.items()}
    shapes["model.norm.weight"] = [hidden]
    if not tied:
        shapes["lm_head.weight"] = [vocab, hidden]
    number = {"F32": 0, "F16": 1, "BF16": 30}[kind]
    for old, new in OTHER_NAMES.get(config["architectures"][0], {}).items():
        shapes = {name.replace(old, new): shape for name, shape in shapes.items()}
    return [(name, shape, floats(number, norm(rng, shape[0])) if len(shape) == 1 else weights(rng, number, shape[0] * shape[1]))
            for name, shape in shapes.items()]


def safetensors_files(tensors, kind, shards):
    files, places = {}, {}
    for shard in range(shards):
        name = "model.safetensors" if shards == 1 else f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        header, data = {"__metadata__": {"format": "pt"}}, b""
        for tensor, shape, content in tensors[shard * len(tensors) // shards : (shard + 1) * len(tensors) // shards]:
            header[tensor] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
            data += content
            places[tensor] = name
        files[name] = safetensors(header, data)
    if shards > 1:
        files["model.safetensors.index.json"] = json.dumps({"metadata": {"total_size": 1}, "weight_map": places}).encode()
    return files


def vocabulary_file(name):
    """Gemma's is Llama 2's with its normalizer and pre-tokenizer, or without a space in front and with a token of users."""
    if name == "gemma.model":
        fields = fields_of((VOCABULARIES / "spm.model").read_bytes())
        settings = next(field for field in fields if field[0] == 3)
        settings[2] = encode([*(part for part in fields_of(settings[2]) if part[0] != 3), [3, VARINT, 0]])
        return encode([*fields, [1, BYTES, encode([[1, BYTES, b"\n\n"], [2, FIXED32, struct.pack("<f", 0)], [3, VARINT, 4]])]])
    if name != "gemma.json":
        return (VOCABULARIES / name).read_bytes()
    data, space = json.loads((VOCABULARIES / "llama2_prepend.json").read_bytes()), {"String": " "}
    data["normalizer"] = {"type": "Replace", "pattern": space, "content": "\u2581"}
    data["pre_tokenizer"] = {"type": "Split", "pattern": space, "behavior": "MergedWithPrevious", "invert": False}
    data["decoder"]["decoders"].pop()
    return json.dumps(data).encode()


def end_of(vocabulary):
    """Its tokens to begin and to end with, and its chat template."""
    _, end, template = BYTE_LEVEL.get(vocabulary.removesuffix(".json"), ("", "</s>", None))
    if end == "</s>" and vocabulary != "tekken.json":
        return "<s>", end, CHATML
    begins = {"<|im_end|>": "<|begin_of_text|>", "</s>": "<|begin_of_text|>", "<|end|>": "<|endoftext|>"}
    begin = "<|endoftext|>" if vocabulary == "qwen2.json" else begins.get(end, "<\uff5cbegin\u2581of\u2581sentence\uff5c>")
    return begin, end, template_of(template) if template else CHATML


def with_vision(config, tensors, size):
    """As the text part of a model that sees, of which one tensor stands for the rest."""
    config = {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
              "text_config": {key: value for key, value in config.items() if key != "architectures"}, "vision_config": {}}
    tensors = [("language_model." + name, shape, data) for name, shape, data in tensors]
    return config, [*tensors, ("vision_tower.patch.weight", [1, 1], tensors[0][2][:size])]


def tiny_folder(rng, vocabulary, kind, scaling, tied, shards, of_class="LlamaForCausalLM", vision=False):
    """Files by name."""
    tokenizer = vocabulary_file(vocabulary)
    model_type, settings, more = CLASSES[of_class]
    vocab = vocabulary_size(vocabulary, tokenizer)
    is_model = vocabulary.endswith(".model")
    config = {"architectures": [of_class], "model_type": model_type, "hidden_size": 16, "intermediate_size": 32,
              "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "vocab_size": vocab,
              "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": scaling, "max_position_embeddings": 2048,
              "hidden_act": "silu", "tie_word_embeddings": tied, "bos_token_id": 1, "eos_token_id": [2],
              "torch_dtype": "float32"} | settings
    if "hidden_activation" in settings:
        del config["hidden_act"]
    begin, end, template = end_of(vocabulary)
    names = {"bos_token": begin, "eos_token": end, "add_bos_token": False, "chat_template": template}
    files = {"config.json": b"", "tokenizer.model" if is_model else "tokenizer.json": tokenizer,
             "generation_config.json": b'{"bos_token_id": 1, "eos_token_id": [2, 3]}'}
    if is_model:  # a folder of before October 2023, with two tokens more than its tokenizer.model has
        config["vocab_size"] = vocab + 2
        files["added_tokens.json"] = json.dumps({"<|im_start|>": vocab, "<|im_end|>": vocab + 1}).encode()
        names["eos_token"] = "<|im_end|>"
    files["tokenizer_config.json"] = json.dumps(names).encode()
    tensors = tensors_of(rng, config, kind, more)
    if vision:
        config, tensors = with_vision(config, tensors, 4 if kind == "F32" else 2)
    config = {OTHER_KEYS.get(of_class, {}).get(key, key): value for key, value in config.items()}
    files["config.json"] = json.dumps(config).encode()
    return files | safetensors_files(tensors, kind, shards)


def folder_seeds():
    """By name, each a dictionary of files."""
    rng = random.Random("folders")
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 32}
    linear = {"type": "linear", "factor": 2.0}
    dynamic = {"type": "dynamic", "factor": 2.0}
    longrope = {"type": "longrope", "long_factor": [1.0, 1.5, 2.0, 4.0], "short_factor": [1.0, 1.0, 1.2, 1.5]}
    return {"gpt2": tiny_folder(rng, "gpt2.json", "F32", None, tied=True, shards=1),
            "smollm": tiny_folder(rng, "smollm.json", "BF16", linear, tied=True, shards=2),
            "llama_bpe": tiny_folder(rng, "llama_bpe.json", "BF16", llama3, tied=False, shards=1),
            "llama2_prepend": tiny_folder(rng, "llama2_prepend.json", "F16", None, tied=False, shards=2),
            "llama2_metaspace": tiny_folder(rng, "llama2_metaspace.json", "F32", None, tied=False, shards=1),
            "spm": tiny_folder(rng, "spm.model", "F16", None, tied=False, shards=1),
            "mistral": tiny_folder(rng, "tekken.json", "BF16", None, tied=False, shards=1, of_class="MistralForCausalLM"),
            "qwen2": tiny_folder(rng, "qwen2.json", "F32", None, tied=True, shards=1, of_class="Qwen2ForCausalLM"),
            "qwen3": tiny_folder(rng, "qwen2.json", "F16", None, tied=True, shards=2, of_class="Qwen3ForCausalLM"),
            "gemma3": tiny_folder(rng, "gemma.json", "BF16", None, tied=True, shards=1, of_class="Gemma3ForCausalLM"),
            "gpt4o": tiny_folder(rng, "gpt4o.json", "F32", None, tied=True, shards=1),
            "phi3": tiny_folder(rng, "gpt4o.json", "BF16", longrope, tied=False, shards=2, of_class="Phi3ForCausalLM"),
            "smollm3": tiny_folder(rng, "llama_bpe.json", "F16", None, tied=True, shards=1, of_class="SmolLM3ForCausalLM"),
            "deepseek_llm": tiny_folder(rng, "deepseek_llm.json", "F32", None, tied=False, shards=1),
            "deepseek_coder": tiny_folder(rng, "deepseek_coder.json", "F16", None, tied=True, shards=1),
            "gemma": tiny_folder(rng, "gemma.model", "BF16", None, tied=True, shards=1, of_class="GemmaForCausalLM"),
            "gemma2": tiny_folder(rng, "gemma.json", "F32", None, tied=True, shards=2, of_class="Gemma2ForCausalLM"),
            "gemma3_vision": tiny_folder(rng, "gemma.json", "BF16", None, tied=True, shards=1, of_class="Gemma3ForCausalLM", vision=True),
            "granite": tiny_folder(rng, "deepseek_coder.json", "BF16", None, tied=True, shards=1, of_class="GraniteForCausalLM"),
            "minicpm": tiny_folder(rng, "spm.model", "F16", longrope, tied=True, shards=1, of_class="MiniCPMForCausalLM"),
            "ernie4_5": tiny_folder(rng, "llama2_prepend.json", "BF16", None, tied=True, shards=1, of_class="Ernie4_5ForCausalLM"),
            "internlm2": tiny_folder(rng, "spm.model", "BF16", dynamic, tied=False, shards=2, of_class="InternLM2ForCausalLM"),
            "internlm3": tiny_folder(rng, "llama2_prepend.json", "F32", None, tied=False, shards=1, of_class="InternLM3ForCausalLM"),
            "exaone": tiny_folder(rng, "smollm.json", "F16", llama3, tied=True, shards=1, of_class="ExaoneForCausalLM")}


def few_tokens(name):
    """The entries of a tokenizer of some dozen tokens."""
    entries = tokenizer_entries(name)
    arrays = {e.key.removeprefix(b"tokenizer.ggml."): e.value for e in entries if e.kind == ARRAY}
    tokens = arrays[b"tokens"].items
    letters = {*map(chr, range(ord("a"), ord("z") + 1)), "\u0120", "\u2581"}
    wanted = [b"<unk>", b"<s>", b"</s>", b"<|im_end|>", b"<|begin_of_text|>", b"<tool>", b"<0x0A>", b"<0xC3>",
              b"<|end|>", *(f"<\uff5c{part}\u2581of\u2581sentence\uff5c>".encode() for part in ("begin", "end"))]
    texts = [token.decode("utf-8", "replace") for token in tokens]
    kept = [i for i, token in enumerate(tokens) if token in wanted or texts[i] in letters]
    kept += [i for i, text in enumerate(texts) if 1 < len(text) < 4 and letters.issuperset(text)][:24]
    left = {tokens[i] for i in kept}
    for key, array in arrays.items():
        array.items = [array.items[i] for i in kept] if key != b"merges" else [
            merge for merge in array.items if {*merge.split(b" "), merge.replace(b" ", b"")} <= left]
    for entry in entries:
        if entry.key.endswith(b"_token_id"):
            entry.value = next((i for i, number in enumerate(kept) if number == entry.value), 0)
    for entry in entries:
        if entry.key.endswith(b"chat_template"):
            entry.value = CHATML.encode()
    return entries


def write_corpus(root):
    rng = random.Random("corpus")
    for folder in ("gguf_tokenizer", "forward"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in ("spm", *BYTE_LEVEL):
        gguf = Gguf(few_tokens(name))
        (root / "gguf_tokenizer" / f"{name}.gguf").write_bytes(gguf.encode())
        # Lists of other lengths take more steps than a fuzzer makes.
        for key, size in (("tokens", 20), ("token_type", 1), ("scores", 3)):
            changed = gguf.copy()
            if entry := changed.find(f"tokenizer.ggml.{key}".encode()):
                entry.value = Array(entry.value.kind, entry.value.items[:size])
                (root / "gguf_tokenizer" / f"{name}_{size}_{key}.gguf").write_bytes(changed.encode())
    for name, kind, shape in (("f32", 0, (4, 4, 2, 1, 2, 1)), ("f16", 1, (4, 4, 1, 1, 4, 2)), ("bf16", 30, (4, 8, 2, 2, 2, 1)),
                              ("q4_0", 2, (32, 32, 1, 1, 32, 1)), ("q4_1", 3, (32, 32, 1, 1, 32, 1)), ("q8_0", 8, (32, 32, 1, 1, 32, 1)),
                              ("q5_0", 6, (32, 32, 1, 1, 32, 1)), ("q5_1", 7, (32, 32, 1, 1, 32, 1)), ("iq4_nl", 20, (32, 32, 1, 1, 32, 1))):
        gguf = tiny_gguf(rng, None, kind, kind, shape, tied=kind in (1, 2, 8), divisors=kind == 30)
        (root / "forward" / f"{name}.gguf").write_bytes(gguf.encode())
    for family in FAMILIES:
        gguf = tiny_gguf(rng, None, 0, 0, (4, 4, 2, 1, 2, 2), tied=True, family=family)
        (root / "forward" / f"{family}.gguf").write_bytes(gguf.encode())


if __name__ == "__main__":
    write_corpus(pathlib.Path(sys.argv[1]))
