# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""What DoLa as Hugging Face published it generates: transformers 4.49, whose generate() has dola_layers built in.

python generate_dola_transformers.py MODEL.gguf|tiny FOLDER, after generate_decoding.py, whose prompts it reads from
FOLDER. See README.md.
"""

import datetime
import json
import pathlib
import sys

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file

from gguf_llama import load_model, provenance

HERE = pathlib.Path(__file__).parent
COUNT = 20  # tokens of each continuation


def load_tiny():
    """The folder's config.json is of transformers 5, which has other names for rope's settings."""
    settings = json.loads((HERE / "tiny_llama" / "config.json").read_text(encoding="utf-8"))
    scaling = settings.pop("rope_parameters")
    settings.pop("dtype", None)
    config = transformers.LlamaConfig(**settings, rope_theta=scaling.pop("rope_theta"), rope_scaling=scaling)
    return transformers.LlamaForCausalLM.from_pretrained(
        HERE / "tiny_llama", config=config, torch_dtype=torch.float32, attn_implementation="eager"
    ).eval()


def main(what, folder):
    torch.set_num_threads(1)
    stem = "tiny_llama" if what == "tiny" else "smollm2"
    model = load_tiny() if what == "tiny" else load_model(what)
    model.generation_config.eos_token_id = None  # nothing ends a continuation early
    source = load_file(folder / f"{stem}_generation.safetensors")
    prompts = np.split(source["prompts"], source["prompts_offsets"][1:-1])
    some = [1, 2] if what == "tiny" else [2, 12, 20]
    runs = {  # dola_layers, repetition_penalty, prompts
        "low": ("low", 1.0, 20),
        "high": ("high", 1.0, 8),
        "list": (some, 1.0, 8),
        "low_penalty": ("low", 1.2, 8),
    }
    arrays, facts = {}, {}
    for name, (layers, penalty, count) in runs.items():
        tokens, scores, gaps = [], [], []
        for prompt in prompts[:count]:
            out = model.generate(
                torch.tensor(prompt[None], dtype=torch.long),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                dola_layers=layers,
                repetition_penalty=penalty,
                do_sample=False,
                max_new_tokens=COUNT,
                pad_token_id=0,
                return_dict_in_generate=True,
                output_scores=True,
            )
            ranked = torch.sort(torch.cat(out.scores), dim=-1).values
            tokens.append(out.sequences[0, len(prompt) :].numpy())
            scores.append(ranked[:, -1].numpy())
            gaps.append(np.minimum((ranked[:, -1] - ranked[:, -2]).numpy(), 1e30))
        arrays[f"{name}.tokens"] = np.stack(tokens).astype(np.int32)
        arrays[f"{name}.scores"] = np.stack(scores).astype(np.float32)
        arrays[f"{name}.gap"] = np.stack(gaps).astype(np.float32)
        facts[name] = {
            "layers": layers,
            "tied_embeddings": model.config.tie_word_embeddings,
            "repetition_penalty": penalty,
            "prompts": count,
            "smallest_gap": float(np.min(gaps)),
        }
        print(name, facts[name], flush=True)
    version = provenance(None if what == "tiny" else what)
    facts["provenance"] = {**version, "date": datetime.date.today().isoformat()}
    stem += "_dola_transformers"
    save_file(arrays, folder / f"{stem}.safetensors", metadata={k: str(v) for k, v in facts["provenance"].items()})
    (folder / f"{stem}.json").write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
