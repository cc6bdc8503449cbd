# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Adds to tests/tokenizer/golden what came after generate_golden.py's files, which stay as they are.

    pip install tokenizers==0.22.1 sentencepiece==0.2.3 transformers==4.57.6 unicodedata2==16.0.0 gguf==0.17.1
    python tests/tokenizer/generate_more_golden.py tests/tokenizer/golden

golden/vocabularies/qwen2.json  byte-level BPE with Qwen2's regular expression and its NFC, trained on the same texts
golden/qwen2.{pieces,ids}, qwen2.parse.ids  as those of the other vocabularies; the pieces are of the text as it is
golden/vocabularies/tekken.json, tekken.{pieces,ids}  the same with Mistral's tekken, with ignore_merges and a BOS
golden/vocabularies/gpt4o.json, gpt4o.{pieces,ids}  the same with GPT-4o's, which Phi-4-mini has
golden/vocabularies/deepseek_{llm,coder}.json, deepseek_{llm,coder}.{pieces,ids}  the same with the steps of DeepSeek LLM and Coder
golden/gemma.ids  the vocabulary of llama2_prepend.json with Gemma's normalizer, pre-tokenizer and decoder (see gemma below)
golden/cases.bin, {tekken,gpt4o}.cases.pieces  random texts of letters of all cases, accents and signs, and their pieces
golden/step_cases.bin, deepseek_{llm,coder}.step_cases.pieces  random texts of what those steps tell apart

The pre-tokenizers are the published ones; the vocabularies are trained here. Real ones are compared by real_vocabularies.py.
"""

import functools
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

# deepseek-ai/deepseek-llm-7b-base and deepseek-coder-6.7b-base. The letters are those with two cases, of an older Unicode.
CASED = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376"
    "\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f"
    "\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77"
    "\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d"
    "\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4"
    "\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139"
    "\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d"
    "\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a"
    "\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2"
    "\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
)
DEEPSEEK = {
    "llm": ["[\r\n]", r"\s?[%s]+" % CASED, "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", r"\s+$",
            "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"],
    "coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"],
}


def in_steps(regexes):
    return [*map(split, regexes), pre_tokenizers.Digits(individual_digits=True)]


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


def train(steps, texts, normalizer=None):
    t = Tokenizer(models.BPE())
    if normalizer is not None:
        t.normalizer = normalizer
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    t.pre_tokenizer = pre_tokenizers.Sequence([*steps, level])
    t.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=800, initial_alphabet=alphabet, limit_alphabet=256, show_progress=False)
    t.train_from_iterator(texts, trainer)
    return t


def split(regex):
    return pre_tokenizers.Split(Regex(regex), "isolated")


def deepseek(steps, texts):
    t = train(steps, texts, normalizers.Sequence([]))
    names = ("<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>")
    t.add_special_tokens([AddedToken(x, normalized=False) for x in names])
    return json.loads(t.to_str())


def qwen2(texts):
    t = train([split(QWEN2)], texts, normalizers.NFC())
    t.add_special_tokens([AddedToken(x, normalized=False) for x in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    t.add_tokens([AddedToken("<tool_call>", normalized=False)])
    return json.loads(t.to_str())


def gpt4o(texts):
    t = train([split(GPT4O)], texts)
    t.add_special_tokens([AddedToken(x, normalized=False) for x in ("<|endoftext|>", "<|end|>", "<|user|>")])
    return json.loads(t.to_str())


def tekken(texts):
    t = train([split(TEKKEN)], texts)
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


def step_cases():
    """Runs of what the steps' classes hold, of what is in two of them, and of what is in none."""
    r = random.Random(12)
    kinds = ["aZ\u00e9\u0449\ua78c", "\u0294\u05d0\U0001d400\u1d7b", "\u6771\u3042\uac00\u0e01\u0905", "\u9fa6\u2e80\ud7ff\U00020000", "09\u0661\u00bd\u2167",
             "!~[^$+<", "\uff01\uff5e\u3001\u201c", "\u00bf\u2026\u0964", "\u20ac\U0001f600\u0301", " ", "\u3000\u2009\x0b\x85\u2028", "\n\r"]
    weights = [5, 2, 3, 1, 3, 3, 1, 1, 2, 7, 1, 1]
    texts = []
    for _ in range(2000):
        runs = r.choices(kinds, weights, k=r.randint(1, 8))
        texts.append("".join(r.choice(kind) for kind in runs for _ in range(r.choice((1, 1, 2, 3)))))
    return texts


def main(golden):
    def write(name, data):
        with open(golden + "/" + name, "wb") as file:
            file.write(data)

    texts = read_strings(golden + "/strings.bin")
    corpus = [s for s in SENTENCES * 6 + CODE * 3 + texts[:1500] if s and "\0" not in s and "\ufffd" not in s]

    def write_texts(name, texts):
        write(name, b"".join(leb(len(s.encode())) + s.encode() for s in texts))
        return texts

    def write_pieces(name, steps, texts):
        pieces = pre_tokenizers.Sequence(steps)
        write(name, ids_bytes([[len(p.encode()) for p, _ in pieces.pre_tokenize_str(s)] for s in texts]))

    cases = write_texts("cases.bin", random_cases())
    of_steps = write_texts("step_cases.bin", step_cases())

    made = [(name, [split(regex)], make) for name, regex, make in (("qwen2", QWEN2, qwen2), ("tekken", TEKKEN, tekken), ("gpt4o", GPT4O, gpt4o))]
    for name, regexes in DEEPSEEK.items():
        steps = in_steps(regexes)
        made.append(("deepseek_" + name, steps, functools.partial(deepseek, steps)))
        write_pieces("deepseek_%s.step_cases.pieces" % name, steps, of_steps)
    for name, steps, make in made:
        write_pieces(name + ".pieces", steps, texts)
        vocabulary = json.dumps(make(corpus), ensure_ascii=False, separators=(",", ":"))
        write("vocabularies/%s.json" % name, vocabulary.encode())
        t = Tokenizer.from_str(vocabulary)
        write(name + ".ids", ids_bytes(encode_all(t, texts, parse=False)))
        if name == "qwen2":
            write("qwen2.parse.ids", ids_bytes(encode_all(t, texts, parse=True)))
    with open(golden + "/vocabularies/llama2_prepend.json", encoding="utf-8") as file:
        t = Tokenizer.from_str(json.dumps(gemma(json.load(file))))
    write("gemma.ids", ids_bytes(encode_all(t, texts, parse=False)))
    write_pieces("tekken.cases.pieces", [split(TEKKEN)], cases)
    write_pieces("gpt4o.cases.pieces", [split(GPT4O)], cases)
    changed = sum(normalizers.NFC().normalize_str(s) != s for s in texts)
    print(len(texts), "strings,", changed, "of which NFC changes")


if __name__ == "__main__":
    main(*sys.argv[1:])
