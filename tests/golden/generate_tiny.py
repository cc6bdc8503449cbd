# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""A tiny random LLaMA as a sharded Hugging Face directory, and what transformers computes with it in float64.

python generate_tiny.py [OUTPUT FOLDER]. See README.md.
"""

import datetime
import pathlib
import sys

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

import algorithms as at
from gguf_llama import provenance

HERE = pathlib.Path(__file__).parent
LENGTH, STEPS = 40, 32
OPTIONS = at.Options(alpha=1.0, info_layer=2, repetition_penalty=1.2)


def main(output):
    config = transformers.LlamaConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=24,  # heads * head_dim is not the hidden size
        vocab_size=160,
        rms_norm_eps=1e-5,
        max_position_embeddings=256,
        # Of the 12 wavelengths 6.3, 13.5, 29, 63, ...: the first is kept, two are blended, the others divided.
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=[2, 3],
        attn_implementation="eager",
    )
    torch.set_default_dtype(torch.float64)
    model = transformers.LlamaForCausalLM(config).eval()
    torch.set_default_dtype(torch.float32)
    random = np.random.default_rng(7)
    stored = {}
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            value, dtype = 1 + 0.1 * random.standard_normal(parameter.shape), torch.float32
        else:
            scale = 1.0 if "embed" in name else 1.5 / np.sqrt(parameter.shape[1])
            value, dtype = scale * random.standard_normal(parameter.shape), torch.bfloat16
            if name == "lm_head.weight":
                value, dtype = 2 * value, torch.float16
        stored[name] = torch.from_numpy(value).to(dtype)
    model.load_state_dict({name: value.to(torch.float64) for name, value in stored.items()}, strict=True)

    ids = [1, *random.integers(4, config.vocab_size, LENGTH - 1).tolist()]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].numpy()
        single = model.to(torch.float32)(torch.tensor([ids])).logits[0].numpy()
    model.to(torch.float64)
    context = at.Context(model, ids)
    head = stored["lm_head.weight"].to(torch.float64).numpy()
    entropy = np.stack([at.position_entropy(h, head) for h in context.hidden])
    choosers = [
        lambda z, _: at.greedy_step(z),
        lambda z, s: at.sharpness_step(z, entropy[OPTIONS.info_layer], set(s), OPTIONS),
    ]
    greedy, activation = context.decode(choosers, STEPS)
    arrays = {
        "ids": np.array(ids, dtype=np.int32),
        "hidden": np.stack(context.hidden).astype(np.float32),  # [N + 1, T, d]
        "logits": logits.astype(np.float32),  # [T, V]
        "entropy": entropy.astype(np.float32),  # [N + 1, V]
        "greedy.tokens": np.array([s.token for s in greedy], dtype=np.int32),
        "activation.tokens": np.array([s.token for s in activation], dtype=np.int32),
    }
    facts = {
        **provenance(),
        "date": datetime.date.today().isoformat(),
        "options": str(OPTIONS),
        "steps_changed_by_entropy": sum(s.changed for s in activation),
        "smallest_gap": min(s.gap for s in greedy + activation),
        "float32_error_logits": float(np.abs(single - logits).max() / np.ptp(logits)),
    }
    print(facts)
    folder = output / "tiny_llama"
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16)  # for config.json; the weights written are those of `stored`
    model.save_pretrained(folder, state_dict=stored, max_shard_size="120KB")
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_file(arrays, output / "tiny_llama.safetensors", metadata={k: str(v) for k, v in facts.items()})


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
