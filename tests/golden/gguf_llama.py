# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""A GGUF file of the llama family as Hugging Face's float32 model and tokenizer, without network access.

Weights are dequantised by PyPI `gguf`; the arithmetic is that of transformers' LlamaForCausalLM.
"""

import hashlib
import importlib.metadata
import platform
import re

import gguf
import numpy as np
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

# GGUF's names and Hugging Face's, without their endings, and those within a block.
FIXED = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
IN_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def unpermute(weight, heads):
    """Rows of q or k from GGUF's interleaved pairs back to Hugging Face's two halves (formats/README.md 3)."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def load_model(path, dtype=torch.float32):
    """transformers' LlamaForCausalLM with the file's weights widened to `dtype`, eager attention."""
    reader = gguf.GGUFReader(path)
    key = lambda name: reader.fields["llama." + name].contents()  # noqa: E731
    heads, kv_heads = key("attention.head_count"), key("attention.head_count_kv")
    stored = {
        t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors
    }
    theta = key("rope.freq_base")
    rope = {"rope_parameters": {"rope_type": "default", "rope_theta": theta}}
    if transformers.__version__.startswith("4."):
        rope = {"rope_theta": theta}
    config = transformers.LlamaConfig(
        hidden_size=key("embedding_length"),
        intermediate_size=key("feed_forward_length"),
        num_hidden_layers=key("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=key("embedding_length") // heads,
        vocab_size=stored["token_embd.weight"].shape[0],
        rms_norm_eps=key("attention.layer_norm_rms_epsilon"),
        max_position_embeddings=key("context_length"),
        **rope,
        tie_word_embeddings="output.weight" not in stored,
        attn_implementation="eager",
    )
    state = {}
    for name, weight in stored.items():
        block = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
        if block is None:
            target = FIXED[name.removesuffix(".weight")]
        else:
            target = f"model.layers.{block[1]}.{IN_BLOCK[block[2]]}"
            if block[2] == "attn_q":
                weight = unpermute(weight, heads)
            if block[2] == "attn_k":
                weight = unpermute(weight, kv_heads)
        state[target + ".weight"] = torch.from_numpy(np.ascontiguousarray(weight)).to(dtype)
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    torch.set_default_dtype(dtype)
    model = transformers.LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.load_state_dict(state, strict=True)
    return model.to(dtype).eval()


def load_tokenizer(path):
    """The byte-level BPE of type `smollm` with the file's vocabulary and merges (tokenizer/README.md)."""
    fields = gguf.GGUFReader(path).fields
    assert fields["tokenizer.ggml.model"].contents() == "gpt2" and fields["tokenizer.ggml.pre"].contents() == "smollm"
    pieces = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    # A merge is "left right"; the separating space is the first one after position 0.
    merges = [(m[: m.index(" ", 1)], m[m.index(" ", 1) + 1 :]) for m in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(p, special=True) for p, t in zip(pieces, types) if t == 3])
    return tokenizer


def provenance(path=None):
    packages = ["torch", "transformers", "tokenizers", "gguf", "safetensors", "numpy"]
    result = {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in packages}}
    if path is not None:
        with open(path, "rb") as file:
            result["model_sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return result
