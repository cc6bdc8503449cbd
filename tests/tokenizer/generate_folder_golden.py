# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/tokenizer/golden/folders.json: folders with tokenizer.model, and what transformers makes of them.

    pip install transformers==4.57.1 sentencepiece==0.2.1 protobuf
    python tests/tokenizer/generate_folder_golden.py tests/tokenizer/golden

transformers 4 is the last with a slow tokenizer that reads these files: added_tokens.json and special_tokens_map.json
of before October 2023, added_tokens_decoder since. Per folder: the files beside tokenizer.model (vocabularies/spm.model),
the ids of BOS and EOS, and texts with their ids, nothing before or after, special tokens parsed. (No text has a
control token that the folder does not name: transformers takes such a name for text.)
"""

import json
import os
import shutil
import sys
import tempfile

import sentencepiece
import transformers

TEXTS = [
    "", "the capital", " the capital  of", "<|im_start|>user\nthe capital<|im_end|>\n<|im_start|>assistant\n",
    "[PAD]the [PAD] capital[PAD][PAD]", "a<more>b <more> <more", "<s>the<s> capital<s>", "<s> [INST] the [/INST]",
    "<mor<more>e><|im_end", "東京<|im_end|>мир", "<more><|im_start|><more>", "<unk>the<unk>", "the  capital [PA D]",
]


def main(golden):
    model = os.path.join(golden, "vocabularies", "spm.model")
    sp = sentencepiece.SentencePieceProcessor(model_file=model)
    n = sp.get_piece_size()
    plain = sp.piece_to_id("al")
    mark = lambda text, special=True, **more: {"content": text, "lstrip": False, "rstrip": False, "single_word": False, "normalized": not special, "special": special, **more}
    base = {str(i): mark(t) for i, t in enumerate(["<unk>", "<s>", "</s>"])}
    folders = {
        "chatml of before": {
            "added_tokens.json": {"<|im_start|>": n + 1, "<|im_end|>": n, "<more>": n + 2},
            "special_tokens_map.json": {"bos_token": "<s>", "eos_token": "<|im_end|>", "unk_token": "<unk>", "additional_special_tokens": ["<|im_start|>"]},
            "tokenizer_config.json": {"bos_token": mark("<s>"), "eos_token": "<|im_end|>", "unk_token": "<unk>"},
        },
        "a pad of before, with the base tokens": {
            "added_tokens.json": {"[PAD]": n, "<s>": 1, "</s>": 2, "<unk>": 0},
            "special_tokens_map.json": {"bos_token": mark("<s>"), "eos_token": mark("</s>"), "unk_token": mark("<unk>"), "pad_token": "[PAD]"},
            "tokenizer_config.json": {"add_bos_token": True},
        },
        "no config": {"added_tokens.json": {"[PAD]": n}},
        "the map decides": {
            "added_tokens.json": {"<|im_end|>": n},
            "special_tokens_map.json": {"eos_token": "<|im_end|>"},
            "tokenizer_config.json": {"eos_token": "</s>", "bos_token": "<s>"},
        },
        "since": {
            # The other two files are not read.
            "added_tokens.json": {"[PAD]": n},
            "special_tokens_map.json": {"eos_token": "</s>"},
            "tokenizer_config.json": {"bos_token": "<s>", "eos_token": "<|im_end|>", "unk_token": "<unk>",
                                      "added_tokens_decoder": {**base, str(n): mark("<|im_end|>"), str(n + 1): mark("<|im_start|>"), str(n + 2): mark("<more>", False, rstrip=True)}},
        },
        "an ordinary token is added": {
            "tokenizer_config.json": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
                                      "added_tokens_decoder": {**base, str(plain): mark(sp.id_to_piece(plain), False, lstrip=True)}},
        },
        "eos is an ordinary token": {"tokenizer_config.json": {"bos_token": "<s>", "eos_token": sp.id_to_piece(plain), "unk_token": "<unk>"}},
    }
    cases = []
    for name, files in folders.items():
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(model, os.path.join(folder, "tokenizer.model"))
            for file, content in files.items():
                with open(os.path.join(folder, file), "w") as f:
                    json.dump(content, f)
            tokenizer = transformers.LlamaTokenizer.from_pretrained(folder)
            texts = TEXTS + ["a special" + tokenizer.eos_token + " animal"]
            cases.append({"name": name, "files": files, "size": len(tokenizer), "bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id,
                          "texts": [{"text": t, "ids": tokenizer.encode(t, add_special_tokens=False)} for t in texts]})
    head = {"transformers": transformers.__version__, "sentencepiece": sentencepiece.__version__}
    with open(os.path.join(golden, "folders.json"), "w", encoding="utf-8") as f:
        f.write(json.dumps(head)[:-1] + ', "cases": [\n' + ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
