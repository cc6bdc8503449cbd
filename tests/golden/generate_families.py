# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny random models of the families beside LLaMA as Hugging Face folders, and what transformers computes in float64.

python generate_families.py FOLDER [FILE...]. See README.md.
"""

import datetime
import json
import pathlib
import re
import sys

import gguf
import numpy as np
import safetensors.torch
import torch
import transformers
from safetensors.numpy import save_file

import algorithms as at
import decoding_modes as modes
from gguf_llama import provenance

LENGTH = 20
CONTEXT = 32  # with the tokens chosen
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
    "self_attn.qkv_proj": "attn_qkv",
    "mlp.gate_up_proj": "ffn_up",
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
GEMMA2 = {
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "head_dim": 8,
    "query_pre_attn_scalar": 32,
    "sliding_window": 5,
    "attn_logit_softcapping": 2.0,
    "final_logit_softcapping": 5.0,
}
GRANITE = {
    "embedding_multiplier": 6.0,
    "attention_multiplier": 0.5,
    "residual_multiplier": 0.4,
    "logits_scaling": 3.0,
}
MINICPM = {"scale_emb": 2, "scale_depth": 3.5, "dim_model_base": 5}
MINICPM4 = {  # whose own code looks for the original context where the factors are, a LLaMA's beside them
    **MINICPM,
    "max_position_embeddings": 64,
    "original_max_position_embeddings": 16,
    "rope_scaling": {
        "rope_type": "longrope",
        "short_factor": [1.0, 1.25, 1.5, 2.0],
        "long_factor": [1.0, 2.0, 4.0, 7.5],
        "original_max_position_embeddings": 16,
    },
}
LONGROPE = {  # a quarter of each head is not rotated, of the rest three pairs turn
    "tie_word_embeddings": True,
    "partial_rotary_factor": 0.75,
    "max_position_embeddings": 64,
    "original_max_position_embeddings": 16,
    "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.25, 1.5], "long_factor": [1.0, 3.0, 7.5]},
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
FAMILIES = {  # name -> what differs from its class' defaults
    "mistral": ("Mistral", {"sliding_window": 6, "rope_theta": 1000.0}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True, "eos_token_id": 2}),
    "qwen3": ("Qwen3", {"head_dim": 16, "rope_theta": 1e6, "bos_token_id": 1, "eos_token_id": [2, 3]}),
    "gemma": ("Gemma", {"head_dim": 12}),
    "gemma2": ("Gemma2", GEMMA2),
    "gemma3": ("Gemma3", GEMMA3),
    "granite": ("Granite", GRANITE),
    "minicpm": ("MiniCPM", MINICPM),
    "minicpm4": ("MiniCPM", MINICPM4),
    "phi3": ("Phi3", {"sliding_window": 6, "eos_token_id": [2, 3], "pad_token_id": 0}),
    "phi4_mini": ("Phi3", LONGROPE),
    "smollm3": (
        "SmolLM3",
        {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 5, "rope_theta": 1000.0}
        | {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
    ),
    "ernie4_5": ("Ernie4_5", {"head_dim": 12, "rope_theta": 1000.0}),
    # LLaMAs, written as their own classes, which are not in transformers, have them.
    "internlm2": ("Llama", {"rope_theta": 1000.0, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}),
    "exaone": ("Llama", {"rope_theta": 1000.0, "rms_norm_eps": 1e-3, "tie_word_embeddings": True}),
}
INTERNLM2_NAMES = {
    "embed_tokens": "tok_embeddings",
    "lm_head": "output",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
}
EXAONE_NAMES = {
    "model.embed_tokens": "transformer.wte",
    "model.layers": "transformer.h",
    "model.norm": "transformer.ln_f",
    "input_layernorm": "ln_1",
    "post_attention_layernorm": "ln_2",
    "self_attn.o_proj": "attn.attention.out_proj",
    "self_attn": "attn.attention",
    "gate_proj": "c_fc_0",
    "up_proj": "c_fc_1",
    "down_proj": "c_proj",
}
EXAONE_KEYS = {"num_hidden_layers": "num_layers", "rms_norm_eps": "layer_norm_epsilon", "hidden_act": "activation_function"}
SCALED = ("gemma2", "granite", "minicpm")  # whose logits are not W h: entropies and decoded tokens too
FILES = {"tiny_scaled_families": ("gemma", *SCALED, "minicpm4")}
FILES["tiny_families"] = tuple(name for name in FAMILIES if name not in FILES["tiny_scaled_families"])
STEPS = 16
QUANTISED = {"phi3": ("qkv_proj", "gate_up_proj")}  # whose values are those of Q8_0 blocks, as which its GGUF has them


def random_value(family, name, shape, random):
    """Norms around 1, biases around 0, and products that neither vanish nor explode."""
    if name.endswith("bias"):
        return 0.5 * random.standard_normal(shape), torch.float32
    if len(shape) == 1:
        mean = 0 if family.startswith("Gemma") else 1  # whose norms are stored as w - 1
        return mean + 0.2 * random.standard_normal(shape), torch.float32
    scale = 1.0 if "embed" in name else 1.5 / np.sqrt(shape[1])
    return scale * random.standard_normal(shape), torch.bfloat16


def finish_of(config):
    """What the model makes of products with its head."""
    cap = getattr(config, "final_logit_softcapping", None)
    if cap is not None:
        return lambda products: cap * np.tanh(products / cap)
    return lambda products: products / getattr(config, "logits_scaling", 1)


class MiniCPM(transformers.LlamaForCausalLM):
    """transformers has no MiniCPM: a LLaMA computes the same once its weights are multiplied by the four numbers.

    Their own code multiplies the embedding's rows by scale_emb, what each half of a block adds by scale_depth / sqrt(N),
    and divides h_N by hidden_size / dim_model_base in front of the LM head, which is the embedding.
    """

    def load_state_dict(self, state, **_):
        config = self.config
        state = dict(state)
        state["lm_head.weight"] = state["model.embed_tokens.weight"] * (config.dim_model_base / config.hidden_size)
        state["model.embed_tokens.weight"] = state["model.embed_tokens.weight"] * config.scale_emb
        for key in state:
            if key.endswith(("o_proj.weight", "down_proj.weight")):
                state[key] = state[key] * (config.scale_depth / config.num_hidden_layers**0.5)
        return super().load_state_dict(state, strict=True)


def model_of(family, changes):
    if family == "MiniCPM":
        return MiniCPM(transformers.LlamaConfig(**{**SIZES, **changes}))
    text = "Text" if hasattr(transformers, family + "TextConfig") else ""
    config = getattr(transformers, family + text + "Config")(**{**SIZES, **changes})
    return getattr(transformers, family + "ForCausalLM")(config)


def write_gguf(path, name, config, stored):
    """As llama.cpp's converter does. What differs between families beside names is in the functions that this calls."""
    architecture = "phi3" if name == "phi4_mini" else name
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    names = dict(GGUF_NAMES)
    if name.startswith("gemma"):
        add_gemma(writer, name, config, names)
    if name in ("granite", "minicpm"):
        add_scales(writer, name, config)
    if architecture == "phi3":
        add_phi3(writer, config)
    if name == "smollm3":
        writer.add_vocab_size(config.vocab_size)
        writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    if name == "ernie4_5":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    for key, value in stored.items():
        block = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.weight", key)
        tensor = f"blk.{block[1]}.{names[block[2]]}" if block else names[key.removesuffix(".weight")]
        data = value.to(torch.float32).numpy()
        if name.startswith("gemma"):
            data = gemma_tensor(name, key, data, config)
        if name in ("smollm3", "internlm2", "granite", "minicpm") and key.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config.num_attention_heads if "q_proj" in key else config.num_key_value_heads
            data = permute(data, heads)
        kind = gguf.GGMLQuantizationType.F32
        if any(part in key for part in QUANTISED.get(name, ())):
            kind = gguf.GGMLQuantizationType.Q8_0
        elif value.dtype == torch.bfloat16 and name != "gemma3":
            kind = gguf.GGMLQuantizationType.BF16
        writer.add_tensor(tensor + ".weight", gguf.quants.quantize(data, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_gemma(writer, name, config, names):
    """No query_pre_attn_scalar: the scale of q k^T is 1 / sqrt(D)."""
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    if name == "gemma":
        return
    writer.add_sliding_window(config.sliding_window)
    if name == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    else:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope_scaling["factor"])
        writer.add_float32("gemma3.rope.freq_base_swa", config.rope_local_base_freq)
    names["post_attention_layernorm"] = "post_attention_norm"
    names["pre_feedforward_layernorm"] = "ffn_norm"
    names["post_feedforward_layernorm"] = "post_ffw_norm"


def add_scales(writer, name, config):
    if name == "granite":
        writer.add_embedding_scale(config.embedding_multiplier)
        writer.add_attention_scale(config.attention_multiplier)
        writer.add_residual_scale(config.residual_multiplier)
        writer.add_logit_scale(config.logits_scaling)
    else:
        writer.add_embedding_scale(float(config.scale_emb))
        writer.add_residual_scale(config.scale_depth / config.num_hidden_layers**0.5)
        writer.add_logit_scale(config.hidden_size / config.dim_model_base)


def gemma_tensor(name, key, data, config):
    """Norms plus 1, and in q or its norm what GGUF cannot say of this model's scale."""
    if "norm" in key:
        data = data + np.float32(1)
    if {"gemma2": "q_proj", "gemma3": "q_norm"}.get(name, "no such part") in key:
        data = data * np.float32(np.sqrt(config.head_dim / config.query_pre_attn_scalar))
    return data


def add_phi3(writer, config):
    rotated = int(config.hidden_size // config.num_attention_heads * config.partial_rotary_factor)
    original = config.original_max_position_embeddings
    writer.add_rope_scaling_orig_ctx_len(original)
    writer.add_rope_dimension_count(rotated)
    writer.add_sliding_window(config.sliding_window or 0)
    if config.rope_scaling is None:
        return
    stretch = config.max_position_embeddings / original
    writer.add_rope_scaling_attn_factors(np.sqrt(1 + np.log(stretch) / np.log(original)))
    for length in ("long", "short"):
        factors = np.array(config.rope_scaling[length + "_factor"], dtype=np.float32)
        writer.add_tensor(f"rope_factors_{length}.weight", factors)


def permute(rows, heads):
    """From two halves to interleaved pairs."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def rewrite_internlm2(folder, config, stored):
    """Other names, and one tensor with the rows of q, k and v of each key head in turn."""
    tensors = {}
    for key, value in stored.items():
        block, qkv, _ = key.partition("self_attn.q_proj")
        if qkv:
            parts = [stored[block + f"self_attn.{x}_proj.weight"] for x in "qkv"]
            grouped = [part.reshape(config.num_key_value_heads, -1, config.hidden_size) for part in parts]
            tensors[block + "attention.wqkv.weight"] = torch.cat(grouped, dim=1).reshape(-1, config.hidden_size)
        elif "k_proj" not in key and "v_proj" not in key:
            for name, other in INTERNLM2_NAMES.items():
                key = key.replace(name, other)
            tensors[key] = value
    safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"architectures": ["InternLM2ForCausalLM"], "model_type": "internlm2", "bias": False}
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")


def rewrite_exaone(folder, stored):
    """Other names of tensors, and of three settings."""
    tensors = {}
    for key, value in stored.items():
        for name, other in EXAONE_NAMES.items():
            key = key.replace(name, other)
        tensors[key] = value
    safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((folder / "config.json").read_text())
    settings = {EXAONE_KEYS.get(key, key): value for key, value in settings.items() if "bias" not in key}
    settings |= {"architectures": ["ExaoneForCausalLM"], "model_type": "exaone"}
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")


def write_minicpm(folder, model, stored):
    """As its authors' own code saves it."""
    kept = ("hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads vocab_size "
            "max_position_embeddings hidden_act rms_norm_eps rope_theta rope_scaling bos_token_id eos_token_id "
            "scale_emb scale_depth dim_model_base").split()
    facts = {"architectures": ["MiniCPMForCausalLM"], "model_type": "minicpm"}
    facts |= {key: getattr(model.config, key) for key in kept}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(facts, indent=2) + "\n")
    safetensors.torch.save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})


def compute(model, ids):
    """Logits and hidden states."""
    with torch.no_grad():
        result = model(torch.tensor([ids]), output_hidden_states=True)
    return result.logits[0].numpy(), np.stack([h[0].numpy() for h in result.hidden_states])


def record(model, name, ids, length, arrays):
    """What the model makes of `ids`, and of its own choices behind them up to `length`."""
    logits, hidden = compute(model, ids)
    arrays[name + ".ids"] = np.array(ids, dtype=np.int32)
    arrays[name + ".hidden"] = hidden.astype(np.float32)  # [N + 1, T, d]
    arrays[name + ".logits"] = logits.astype(np.float32)  # [T, V]
    tokens = list(ids)
    while len(tokens) < length:
        last = compute(model, tokens)[0][-1]
        second, best = np.sort(last)[-2:]
        assert best - second > 1e-4 * np.abs(last).max(), "no near ties"
        tokens.append(int(last.argmax()))
    arrays[name + ".greedy"] = np.array(tokens[len(ids) :], dtype=np.int32)
    return logits


def decode(model, ids, entropy, arrays, name):
    """Greedy, activation decoding of the layer before the last, and DoLa over all early layers."""
    finish, head = finish_of(model.config), model.lm_head.weight.detach().numpy()
    blocks = model.config.num_hidden_layers
    runs = [
        modes.Run("baseline", repetition_penalty=1.5),
        modes.Run("activation", alpha=1.0, info_layer=blocks - 1, repetition_penalty=1.5),
        modes.Run("dola", layers=tuple(range(blocks)), divergence="jensen_shannon"),
    ]
    terms = {blocks - 1: -entropy[blocks - 1]}
    for run in runs:
        tokens, layers, seen, least = [], [], list(ids), np.inf
        for _ in range(STEPS):
            with torch.no_grad():
                out = model(torch.tensor([seen]), output_hidden_states=True)
            states = np.stack([h[0, -1].numpy() for h in out.hidden_states[:-1]])
            step = modes.choose(
                run, seen, out.logits[0, -1].numpy(), finish(states @ head.T)[list(run.layers)],
                terms.get(run.info_layer), None)
            least = min(least, step.gap, step.margin, step.layer_margin)
            tokens.append(step.token)
            layers.append(step.layer)
            seen.append(step.token)
        arrays[f"{name}.{run.mode}.tokens"] = np.array(tokens, dtype=np.int32)
        if run.layers:
            arrays[f"{name}.{run.mode}.layers"] = np.array(layers, dtype=np.int32)
        assert least > 1e-4, (name, run.mode, least)  # float32 decides the same


def make(name, output, arrays, facts):
    family, changes = FAMILIES[name]
    torch.set_default_dtype(torch.float64)
    model = model_of(family, changes).eval()
    config = model.config
    torch.set_default_dtype(torch.float32)
    random = np.random.default_rng(sum(name.encode()))
    stored = {}
    for key, parameter in model.named_parameters():  # a tied head is none
        if family == "MiniCPM" and key.startswith("lm_head"):
            continue
        value, dtype = random_value(family, key, tuple(parameter.shape), random)
        stored[key] = torch.from_numpy(value).to(dtype)
        if any(part in key for part in QUANTISED.get(name, ())):
            blocks = gguf.quants.quantize(value.astype(np.float32), gguf.GGMLQuantizationType.Q8_0)
            stored[key] = torch.from_numpy(gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType.Q8_0))
    problems = model.load_state_dict({k: v.to(torch.float64) for k, v in stored.items()}, strict=False)
    assert not problems.unexpected_keys and set(problems.missing_keys) <= {"lm_head.weight"}, problems
    model.tie_weights()

    ids = random.integers(4, config.vocab_size, LENGTH).tolist()
    logits = record(model, name, ids, CONTEXT, arrays)
    if name == "phi4_mini":  # what is not longer than its original context rotates otherwise
        short = config.original_max_position_embeddings
        record(model, name + "_short", ids[: short - 4], short, arrays)
    if name in SCALED:
        hidden = compute(model, ids)[1]
        head, finish = model.lm_head.weight.detach().numpy(), finish_of(config)
        assert np.abs(finish(hidden[-1] @ head.T) - logits).max() < 1e-12 * np.abs(logits).max()
        entropy = np.stack([at.position_entropy(h, head, clamp=0, finish=finish) for h in hidden])
        arrays[name + ".entropy"] = entropy.astype(np.float32)  # [N + 1, V]
        decode(model, ids, entropy, arrays, name)
    single = compute(model.to(torch.float32), ids)[0]
    facts[name + ".float32_error_logits"] = float(np.abs(single - logits).max() / np.abs(logits).max())
    folder = output / ("tiny_" + name)
    if family == "MiniCPM":
        write_minicpm(folder, model, stored)
    else:
        model.to(torch.bfloat16)  # for config.json; the weights written are those of `stored`
        model.save_pretrained(folder, state_dict=stored)
        (folder / "generation_config.json").unlink(missing_ok=True)
    if name == "internlm2":
        rewrite_internlm2(folder, config, stored)
    if name == "exaone":
        rewrite_exaone(folder, stored)
    if name not in ("mistral", "qwen2", "qwen3", "minicpm4"):
        write_gguf(output / f"tiny_{name}.gguf", name, config, stored)


def main(output, files):
    for file in files or FILES:
        arrays, facts = {}, {**provenance(), "date": datetime.date.today().isoformat()}
        for name in FILES[file]:
            make(name, output, arrays, facts)
        print(facts)
        save_file(arrays, output / (file + ".safetensors"), metadata={k: str(v) for k, v in facts.items()})


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2:])
