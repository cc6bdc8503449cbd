# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Adds to tests/tokenizer/golden what came after generate_golden.py's files, which stay as they are.

    pip install tokenizers==0.22.1 sentencepiece==0.2.3 transformers==4.57.6 unicodedata2==16.0.0 gguf==0.17.1
    python tests/tokenizer/generate_more_golden.py tests/tokenizer/golden

golden/vocabularies/qwen2.json  byte-level BPE with Qwen2's regular expression and its NFC, trained on the same texts
golden/qwen2.{pieces,ids}, qwen2.parse.ids  as those of the other vocabularies; the pieces are of the text as it is
"""

import json
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from generate_golden import CODE, SENTENCES, encode_all, ids_bytes, text_of

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def read_strings(path):
    with open(path, "rb") as file:
        data = file.read()
    texts, at = [], 0
    while at < len(data):
        size, shift = 0, 0
        while True:
            byte, at = data[at], at + 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        texts.append(text_of(data[at : at + size]))
        at += size
    return texts


def train(regex, texts):
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), "isolated"), level])
    t.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=800, initial_alphabet=alphabet, limit_alphabet=256, show_progress=False)
    t.train_from_iterator(texts, trainer)
    t.add_special_tokens([AddedToken(x, normalized=False) for x in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    t.add_tokens([AddedToken("<tool_call>", normalized=False)])
    return t


def main(golden):
    def write(name, data):
        with open(golden + "/" + name, "wb") as file:
            file.write(data)

    texts = read_strings(golden + "/strings.bin")
    corpus = [s for s in SENTENCES * 6 + CODE * 3 + texts[:1500] if s and "\0" not in s and "\ufffd" not in s]
    split = pre_tokenizers.Split(Regex(QWEN2), "isolated")
    write("qwen2.pieces", ids_bytes([[len(p.encode()) for p, _ in split.pre_tokenize_str(s)] for s in texts]))
    t = train(QWEN2, corpus)
    vocabulary = json.dumps(json.loads(t.to_str()), ensure_ascii=False, separators=(",", ":"))
    write("vocabularies/qwen2.json", vocabulary.encode())
    t = Tokenizer.from_str(vocabulary)
    write("qwen2.ids", ids_bytes(encode_all(t, texts, parse=False)))
    write("qwen2.parse.ids", ids_bytes(encode_all(t, texts, parse=True)))
    changed = sum(normalizers.NFC().normalize_str(s) != s for s in texts)
    print(len(texts), "strings,", changed, "of which NFC changes")


if __name__ == "__main__":
    main(*sys.argv[1:])
