# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Adds to tests/tokenizer/golden what came after generate_golden.py's files, which stay as they are.

    pip install tokenizers==0.22.1 sentencepiece==0.2.3 transformers==4.57.6 unicodedata2==16.0.0 gguf==0.17.1
    python tests/tokenizer/generate_more_golden.py tests/tokenizer/golden

golden/vocabularies/qwen2.json  byte-level BPE with Qwen2's regular expression and its NFC, trained on the same texts
golden/qwen2.{pieces,ids}, qwen2.parse.ids  as those of the other vocabularies; the pieces are of the text as it is
golden/vocabularies/tekken.json, tekken.{pieces,ids}  the same with Mistral's tekken, with ignore_merges and a BOS
golden/vocabularies/gpt4o.json, gpt4o.{pieces,ids}  the same with GPT-4o's, which Phi-4-mini has
golden/gemma.ids  the vocabulary of llama2_prepend.json with Gemma's normalizer, pre-tokenizer and decoder (see gemma below)
golden/cases.bin, {tekken,gpt4o}.cases.pieces  random texts of letters of all cases, accents and signs, and their pieces
"""

import json
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from generate_golden import CODE, SENTENCES, encode_all, ids_bytes, leb, text_of

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
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


def train(regex, texts, normalizer=None):
    t = Tokenizer(models.BPE())
    if normalizer is not None:
        t.normalizer = normalizer
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), "isolated"), level])
    t.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=800, initial_alphabet=alphabet, limit_alphabet=256, show_progress=False)
    t.train_from_iterator(texts, trainer)
    return t


def qwen2(texts):
    t = train(QWEN2, texts, normalizers.NFC())
    t.add_special_tokens([AddedToken(x, normalized=False) for x in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    t.add_tokens([AddedToken("<tool_call>", normalized=False)])
    return json.loads(t.to_str())


def gpt4o(texts):
    t = train(GPT4O, texts)
    t.add_special_tokens([AddedToken(x, normalized=False) for x in ("<|endoftext|>", "<|end|>", "<|user|>")])
    return json.loads(t.to_str())


def tekken(texts):
    t = train(TEKKEN, texts)
    t.add_special_tokens([AddedToken(x, normalized=False) for x in ("<|begin_of_text|>", "</s>", "[INST]", "[/INST]")])
    name = "<|begin_of_text|>"
    t.post_processor = processors.TemplateProcessing(
        single=name + " $A", pair=name + " $A $B", special_tokens=[(name, t.token_to_id(name))])
    data = json.loads(t.to_str())
    # Tokens that merging cannot reach, so that ignore_merges is seen.
    data["model"]["ignore_merges"] = True
    data["model"]["merges"] = [m for i, m in enumerate(data["model"]["merges"]) if i % 9 != 8]
    return data


def gemma(data):
    """A space is U+2581, none is put first, Split finds none, and runs of line breaks are added tokens."""
    space = {"String": " "}
    data["normalizer"] = {"type": "Replace", "pattern": space, "content": "\u2581"}
    data["pre_tokenizer"] = {"type": "Split", "pattern": space, "behavior": "MergedWithPrevious", "invert": False}
    data["decoder"]["decoders"].pop()
    size = len(data["model"]["vocab"])
    for i in range(3):
        token = {"id": size + i, "content": "\n" * (i + 1), "special": False, "normalized": False}
        data["added_tokens"].append(dict(token, single_word=False, lstrip=False, rstrip=False))
        data["model"]["vocab"]["\n" * (i + 1)] = size + i
    return data


def random_cases():
    """Words in which case changes, with characters of none and marks among them and before them."""
    r = random.Random(11)
    kinds = ["aéщ", "AÉЩ", "ǅ", "ʰªא文", "\u0301\u0903", "1½", " ", "/", "\n", "-", "'", "\u2028"]
    weights = [6, 6, 1, 4, 4, 1, 2, 1, 1, 1, 1, 1]
    return ["".join(r.choice(k) for k in r.choices(kinds, weights, k=r.randint(1, 12))) for _ in range(2000)]


def main(golden):
    def write(name, data):
        with open(golden + "/" + name, "wb") as file:
            file.write(data)

    texts = read_strings(golden + "/strings.bin")
    corpus = [s for s in SENTENCES * 6 + CODE * 3 + texts[:1500] if s and "\0" not in s and "\ufffd" not in s]
    cases = random_cases()
    write("cases.bin", b"".join(leb(len(s.encode())) + s.encode() for s in cases))

    def write_pieces(name, regex, texts):
        split = pre_tokenizers.Split(Regex(regex), "isolated")
        write(name, ids_bytes([[len(p.encode()) for p, _ in split.pre_tokenize_str(s)] for s in texts]))

    for name, regex, make in (("qwen2", QWEN2, qwen2), ("tekken", TEKKEN, tekken), ("gpt4o", GPT4O, gpt4o)):
        write_pieces(name + ".pieces", regex, texts)
        vocabulary = json.dumps(make(corpus), ensure_ascii=False, separators=(",", ":"))
        write("vocabularies/%s.json" % name, vocabulary.encode())
        t = Tokenizer.from_str(vocabulary)
        write(name + ".ids", ids_bytes(encode_all(t, texts, parse=False)))
        if name == "qwen2":
            write("qwen2.parse.ids", ids_bytes(encode_all(t, texts, parse=True)))
    with open(golden + "/vocabularies/llama2_prepend.json", encoding="utf-8") as file:
        t = Tokenizer.from_str(json.dumps(gemma(json.load(file))))
    write("gemma.ids", ids_bytes(encode_all(t, texts, parse=False)))
    write_pieces("tekken.cases.pieces", TEKKEN, cases)
    write_pieces("gpt4o.cases.pieces", GPT4O, cases)
    changed = sum(normalizers.NFC().normalize_str(s) != s for s in texts)
    print(len(texts), "strings,", changed, "of which NFC changes")


if __name__ == "__main__":
    main(*sys.argv[1:])
