# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny random models of the families beside LLaMA as Hugging Face folders, and what transformers computes in float64.

python generate_families.py [OUTPUT FOLDER]. See README.md.
"""

import datetime
import pathlib
import re
import sys

import gguf
import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

from gguf_llama import provenance

HERE = pathlib.Path(__file__).parent
LENGTH = 20
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "max_position_embeddings": 128,
    "attn_implementation": "eager",
}
GGUF_NAMES = {  # of a module's name -> of the tensor, where there is a GGUF too
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
GEMMA3 = {  # seven blocks, of which the sixth sees all
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 7,
    "head_dim": 8,
    "query_pre_attn_scalar": 12,
    "sliding_window": 5,
    "rope_theta": 3000.0,
    "rope_local_base_freq": 100.0,
    "rope_scaling": {"rope_type": "linear", "factor": 8.0},
}
FAMILIES = {  # name -> what differs from its class' defaults
    "mistral": ("Mistral", {"sliding_window": 6, "rope_theta": 1000.0}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True, "eos_token_id": 2}),
    "qwen3": ("Qwen3", {"head_dim": 16, "rope_theta": 1e6, "bos_token_id": 1, "eos_token_id": [2, 3]}),
    "gemma3": ("Gemma3", GEMMA3),
}


def random_value(family, name, shape, random):
    """Norms around 1, biases around 0, and products that neither vanish nor explode."""
    if name.endswith("bias"):
        return 0.5 * random.standard_normal(shape), torch.float32
    if len(shape) == 1:
        mean = 0 if family == "Gemma3" else 1  # whose norms are stored as w - 1
        return mean + 0.2 * random.standard_normal(shape), torch.float32
    scale = 1.0 if "embed" in name else 1.5 / np.sqrt(shape[1])
    return scale * random.standard_normal(shape), torch.bfloat16


def write_gemma3(path, config, stored):
    """As llama.cpp's converter does: norms plus 1, the head left out; its scale of q k^T is 1 / sqrt(D)."""
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(config.rope_scaling["factor"])
    writer.add_sliding_window(config.sliding_window)
    writer.add_float32("gemma3.rope.freq_base_swa", config.rope_local_base_freq)
    names = {
        **GGUF_NAMES,
        "post_attention_layernorm": "post_attention_norm",
        "pre_feedforward_layernorm": "ffn_norm",
        "post_feedforward_layernorm": "post_ffw_norm",
    }
    for key, value in stored.items():
        block = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.weight", key)
        name = f"blk.{block[1]}.{names[block[2]]}" if block else names[key.removesuffix(".weight")]
        data = value.to(torch.float32).numpy()
        if "norm" in key:
            data = data + np.float32(1)
        if "q_norm" in key:  # what GGUF cannot say of this model's scale
            data = data * np.float32(np.sqrt(config.head_dim / config.query_pre_attn_scalar))
        writer.add_tensor(name + ".weight", data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make(name, output, arrays, facts):
    family, changes = FAMILIES[name]
    text = "Text" if hasattr(transformers, family + "TextConfig") else ""
    config = getattr(transformers, family + text + "Config")(**{**SIZES, **changes})
    torch.set_default_dtype(torch.float64)
    model = getattr(transformers, family + "ForCausalLM")(config).eval()
    torch.set_default_dtype(torch.float32)
    random = np.random.default_rng(sum(name.encode()))
    stored = {}
    for key, parameter in model.named_parameters():  # a tied head is none
        value, dtype = random_value(family, key, tuple(parameter.shape), random)
        stored[key] = torch.from_numpy(value).to(dtype)
    problems = model.load_state_dict({k: v.to(torch.float64) for k, v in stored.items()}, strict=False)
    assert not problems.unexpected_keys and set(problems.missing_keys) <= {"lm_head.weight"}, problems
    model.tie_weights()

    ids = random.integers(4, config.vocab_size, LENGTH).tolist()
    with torch.no_grad():
        result = model(torch.tensor([ids]), output_hidden_states=True)
        logits = result.logits[0].numpy()
        hidden = np.stack([h[0].numpy() for h in result.hidden_states])
        single = model.to(torch.float32)(torch.tensor([ids])).logits[0].numpy()
    arrays[name + ".ids"] = np.array(ids, dtype=np.int32)
    arrays[name + ".hidden"] = hidden.astype(np.float32)  # [N + 1, T, d]
    arrays[name + ".logits"] = logits.astype(np.float32)  # [T, V]
    facts[name + ".float32_error_logits"] = float(np.abs(single - logits).max() / np.abs(logits).max())
    folder = output / ("tiny_" + name)
    model.to(torch.bfloat16)  # for config.json; the weights written are those of `stored`
    model.save_pretrained(folder, state_dict=stored)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if name == "gemma3":
        write_gemma3(output / "tiny_gemma3.gguf", config, stored)


def main(output):
    arrays, facts = {}, {**provenance(), "date": datetime.date.today().isoformat()}
    for name in FAMILIES:
        make(name, output, arrays, facts)
    print(facts)
    save_file(arrays, output / "tiny_families.safetensors", metadata={k: str(v) for k, v in facts.items()})


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
