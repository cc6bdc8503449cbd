# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny random models of the families beside LLaMA as Hugging Face folders, and what transformers computes in float64.

python generate_families.py [OUTPUT FOLDER]. See README.md.
"""

import datetime
import pathlib
import sys

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
FAMILIES = {  # name -> what differs from its class' defaults
    "mistral": ("Mistral", {"sliding_window": 6, "rope_theta": 1000.0}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True, "eos_token_id": 2}),
    "qwen3": ("Qwen3", {"head_dim": 16, "rope_theta": 1e6, "bos_token_id": 1, "eos_token_id": [2, 3]}),
}


def random_value(name, shape, random):
    """Norms around 1, biases around 0, and products that neither vanish nor explode."""
    if name.endswith("bias"):
        return 0.5 * random.standard_normal(shape), torch.float32
    if len(shape) == 1:
        return 1 + 0.2 * random.standard_normal(shape), torch.float32
    scale = 1.0 if "embed" in name else 1.5 / np.sqrt(shape[1])
    return scale * random.standard_normal(shape), torch.bfloat16


def make(name, output, arrays, facts):
    family, changes = FAMILIES[name]
    config = getattr(transformers, family + "Config")(**{**SIZES, **changes})
    torch.set_default_dtype(torch.float64)
    model = getattr(transformers, family + "ForCausalLM")(config).eval()
    torch.set_default_dtype(torch.float32)
    random = np.random.default_rng(sum(name.encode()))
    stored = {}
    for key, parameter in model.named_parameters():  # a tied head is none
        value, dtype = random_value(key, tuple(parameter.shape), random)
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


def main(output):
    arrays, facts = {}, {**provenance(), "date": datetime.date.today().isoformat()}
    for name in FAMILIES:
        make(name, output, arrays, facts)
    print(facts)
    save_file(arrays, output / "tiny_families.safetensors", metadata={k: str(v) for k, v in facts.items()})


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
