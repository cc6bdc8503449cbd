# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/tokenizer/golden: small vocabularies, test strings, and what other programs make of them.

    pip install tokenizers==0.23.3 sentencepiece==0.2.3 transformers==5.23.0 unicodedata2==16.0.0 gguf==0.19.0 \\
        llama-cpp-python==0.3.36
    python tests/tokenizer/generate_golden.py SmolLM2-135M-Instruct.Q4_1.gguf tests/tokenizer/golden

golden/vocabularies   trained here on the strings below (deterministic): byte-level BPE with each pre-tokenizer,
                      SentencePiece BPE, and the latter as tokenizer.json in both of Llama 2's forms
golden/strings.bin    the strings: length and bytes each, all numbers as LEB128
golden/*.pieces       per string the number of the pre-tokenizer's pieces and the bytes of each
golden/*.ids          per string the number of ids and the ids; .parse.ids with special tokens parsed
golden/decode.bin     per vocabulary and case: number of ids, ids, length and bytes of the decoded text
golden/chat.json      conversations rendered by transformers (Jinja) with known templates
golden/provenance.json  versions, counts and where llama.cpp differs

`tokenizers` takes text only: ill-formed UTF-8 goes through Python's errors="replace" first, which is the rule
that the library has. llama.cpp gets the well-formed strings only.
"""

import contextlib
import io
import json
import os
import platform
import random
import sys

import sentencepiece
import tokenizers
import transformers
import unicodedata2
from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SPECIALS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>",
    "<|end_header_id|>", "<s>", "</s>", "<unk>", "<repo_name>", "<mask>", "<tool>", "<tool_call>", "<strip>", "<pad>",
]
SENTENCES = """The capital of France is Paris, and it has been so for most of the last thousand years.
Q: What is the highest mountain in the world? A: Mount Everest, 8,849 m above sea level.
I can't believe they've done it; we're sure you'll see that she'd said "don't" and I'm fine.
Water boils at 100 degrees Celsius (212 degrees Fahrenheit) at a pressure of 101.325 kPa.
In 1969, on July 20th at 20:17 UTC, the lunar module Eagle landed in the Sea of Tranquility.
Der Zug fährt um acht Uhr früh über Köln nach Düsseldorf; die Straße ist größtenteils frei.
Le cœur a ses raisons que la raison ne connaît point, n'est-ce pas ? Voilà l'été à Besançon.
El niño comió una piña mañana; ¿dónde está el pingüino? ¡Qué vergüenza!
Przyjdź zażółcić gęślą jaźń w Łodzi. Příliš žluťoučký kůň úpěl ďábelské ódy.
Съешь же ещё этих мягких французских булок, да выпей чаю. Київ — столиця України.
Το γρήγορο καφέ αλεπού πηδάει πάνω από το τεμπέλικο σκυλί. Ἐν ἀρχῇ ἦν ὁ λόγος.
日本語の文章では、漢字とひらがなとカタカナが混ざっています。東京は2020年に五輪を開催する予定だった。
中文没有空格，所以分词很难。北京是中华人民共和国的首都。繁體中文也要測試。
한국어 문장은 띄어쓰기가 있습니다. 서울은 대한민국의 수도이다.
اللغة العربية تُكتب من اليمين إلى اليسار. القاهرة عاصمة مصر ١٢٣٤٥
עברית נכתבת מימין לשמאל. ירושלים היא עיר הבירה של ישראל.
हिन्दी में संयुक्ताक्षर होते हैं। नई दिल्ली भारत की राजधानी है १२३
ภาษาไทยไม่มีช่องว่างระหว่างคำ กรุงเทพมหานครเป็นเมืองหลวง ๑๒๓
Tiếng Việt có rất nhiều dấu thanh. Hà Nội là thủ đô của Việt Nam.
தமிழ் ஒரு செம்மொழி. தெலுగు లిపి అందమైనది. বাংলা ভাষা মধুর। ქართული ენა უნიკალურია. Հայերենը հին լեզու է։
ብዙ ሰዎች አማርኛ ይናገራሉ። ᐃᓄᒃᑎᑐᑦ ᏣᎳᎩ ᠮᠣᠩᠭᠣᠯ ភាសាខ្មែរ ພາສາລາວ မြန်မာဘာသာ བོད་སྐད་ සිංහල""".split("\n")
CODE = """def f(x: int = 0) -> list[str]:
    \"\"\"Doc.\"\"\"
    return [str(i ** 2) for i in range(x) if i % 3 != 0]
---
#include <vector>
template <class T>
int main(int argc, char** argv) {
\tstd::vector<T> v{1, 2, 3};  // comment
\tfor (auto&& e : v) { e += 0x1F; }
\treturn v.empty() ? -1 : 0;
}
---
{"a": [1, 2.5e-3, null, true], "b": {"c": "\\u00e9\\n"}}
---
<div class="x" id='y'>&nbsp;<a href="https://example.org/?q=1&r=%20#z">link</a></div>
---
SELECT COUNT(*) FROM t WHERE name LIKE '%x_y%' AND id >= 10 ORDER BY 1 DESC;
---
$ for f in *.txt; do echo "${f%.txt}" | sed -e 's/a/b/g' >> out.log 2>&1; done
---
if (a&&b||!c) {x<<=2; y->z.w[i++]=~0u; s="\\\\t\\"";} /* ... */ ###### ======== -------->
---
fn main() -> Result<(), Box<dyn Error>> { let v: Vec<_> = (0..10).map(|x| x * x).collect(); Ok(()) }""".split("\n---\n")
EMOJI = ["😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇫🇷", "🇯🇵🇰🇷", "❤️‍🔥", "☃", "☃️", "1️⃣", "🧑🏿‍🚀", "🐻‍❄️", "©️", "™", "✈︎", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "👁️‍🗨️", "🫠", "\u200d", "\ufe0f"]
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\r", "\n\n", "\u00a0", "\u3000", "\u2028", "\u2009", "\x0b", "\x0c", "\x85", "        ", "\u200b", "\ufeff", "\u1680"]
WORDS = ["the", "Hello", "world", "x", "I", "12", "3.14", "2026", "don't", "été", "ß", "東京", "мир", "!", "...", "(a)", "-", "_", "\"q\"", "'", "’s", "a1b2", "é", "😀", "#", "Q:", "½", "Ⅷ"]


def assigned_by_script():
    """Letters, marks and digits by the first word of their names, which is the script for nearly all."""
    groups = {}
    for c in range(0x110000):
        if unicodedata2.category(chr(c))[0] in "LMN":
            name = unicodedata2.name(chr(c), "")
            groups.setdefault(name.split(" ")[0].split("-")[0], []).append(chr(c))
    return {k: v for k, v in groups.items() if len(v) >= 4}


def make_strings():
    r = random.Random(2026)
    strings = [""] + SENTENCES + [" " + s for s in SENTENCES[:8]] + CODE
    strings += [line for code in CODE for line in code.split("\n")]
    for script, characters in sorted(assigned_by_script().items()):
        for _ in range(2):
            words = ["".join(r.choices(characters, k=r.randint(1, 6))) for _ in range(r.randint(1, 4))]
            strings.append(r.choice([" ", " ", ", ", "", "\n", "1"]).join(words))
    edges = []
    last = None
    for c in list(range(0xD800)) + list(range(0xE000, 0x110000)):
        kind = unicodedata2.category(chr(c))[0]
        if last is not None and kind != last:
            edges += [chr(c - 1) if c != 0xE000 else "", chr(c)]
        last = kind
    edges = [c for c in dict.fromkeys(edges) if c and unicodedata2.category(c)[0] in "LNZ" or r.random() < 0.25]
    for i in range(0, len(edges), 12):
        strings.append("".join(edges[i : i + 12]))
    for c in list(range(0x20)) + list(range(0x7F, 0xA1)):
        strings.append("a" + chr(c) + r.choice(["b", " b", "1", "\n", chr(c)]) + chr(c))
    for _ in range(60):
        strings.append("".join(r.choice(EMOJI) + r.choice(["", "", " ", "a"]) for _ in range(r.randint(1, 5))))
    strings += EMOJI
    for _ in range(120):
        n = r.choice([r.randint(0, 99), r.randint(0, 10**6), r.randint(0, 10**18), r.random() * 1000])
        strings.append(r.choice(["%s", "$%s", "-%s", "%s%%", "No. %s", "x%sy", "%s. ", "v%s", "1e%s", "0x%s", "%s°C"]) % (
            r.choice([str(n), f"{n:,}", f"{n:.2f}", str(n).translate({48 + i: 0x660 + i for i in range(10)}), str(n) + "²³", f"{r.randint(1, 12)}/{r.randint(1, 28)}/{r.randint(1900, 2099)}"])))
    strings += ["".join(r.choices("0123456789", k=k)) for k in range(1, 30)] + ["१२३४५६७", "²³¹⁰", "ⅧⅨⅫ", "一二三四五", "①②③④⑤", "1²3½4"]
    for _ in range(250):
        strings.append("".join(r.choice(SPACES if r.random() < 0.55 else WORDS) for _ in range(r.randint(2, 10))))
    for k in (1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 100, 200):
        strings += [" " * k, "\n" * k, "\t" * k + "x", "x" + " " * k + "y", " " * k + "\n" + " " * (k // 2) + "z", "-" * k]
    for tail in ["s", "t", "re", "ve", "m", "ll", "d", "x", "r", "v", "l", "\u017f", "ſt", "sa", "lll"]:
        for word in ["it", "", " ", "1", "!"]:
            for variant in {tail, tail.upper(), tail.title()}:
                strings.append(word + r.choice(["'", "'", "'", "’", "''"]) + variant + r.choice(["", " ok", "'", "1"]))
    for _ in range(60):
        base = r.choice(SENTENCES)[: r.randint(3, 25)]
        strings.append("".join(c + "".join(chr(r.randint(0x300, 0x36F)) for _ in range(r.choice([0, 0, 1, 3]))) for c in base))
    strings += [unicodedata2.normalize("NFD", s) for s in SENTENCES[5:]] + [unicodedata2.normalize("NFKC", s) for s in SENTENCES[9:]]
    for _ in range(180):
        parts = []
        for _ in range(r.randint(1, 5)):
            parts.append(r.choice([r.choice(SPECIALS), r.choice(SPECIALS), r.choice(WORDS), r.choice(SPACES), r.choice(SPECIALS)[: r.randint(1, 6)], "<<" + r.choice(SPECIALS) + ">>"]))
        strings.append("".join(parts))
    strings += SPECIALS + [" " + s + " " for s in SPECIALS]
    for _ in range(120):
        strings.append("".join(chr(c) for c in (r.randrange(0x110000) for _ in range(r.randint(1, 6))) if not 0xD800 <= c < 0xE000))
    for _ in range(120):
        strings.append("".join(chr(r.choice([r.randrange(0x20, 0x7F), r.randrange(0x80, 0x800), r.randrange(0x2000, 0x2100)])) for _ in range(r.randint(2, 25))))
    strings += ["a" * 500, "ab" * 200, "▁▁▁ ▁a▁", "<0x41>", "<0x0A>a", "▁", "Ġ", "ĠĠa", "ÿ", "don\u2019t", "\u0000", "a\u0000b"]

    data = [s.encode("utf-8") for s in dict.fromkeys(strings)]
    bad = []
    for _ in range(120):
        bad.append(bytes(r.choice([r.randrange(256), r.randrange(0x80, 0x100), r.randrange(0x20, 0x7F)]) for _ in range(r.randint(1, 12))))
    for _ in range(120):
        s = bytearray(r.choice(SENTENCES)[: r.randint(4, 20)].encode("utf-8"))
        for _ in range(r.randint(1, 3)):
            s[r.randrange(len(s))] = r.choice([0xFF, 0xC0, 0xE2, 0xF0, 0x80, 0xED, 0xF4])
        bad.append(bytes(s[: r.randint(1, len(s))]))
    bad += [b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xf0\x9f\x98", b"\xf8\x88\x80\x80\x80", b"a\xe2\x28\xa1b"]
    return data + [b for b in dict.fromkeys(bad) if b not in set(data)]


def leb(n):
    out = bytearray()
    while True:
        out.append((n & 0x7F) | (0x80 if n > 0x7F else 0))
        n >>= 7
        if not n:
            return bytes(out)


def ids_bytes(rows):
    return b"".join(leb(len(row)) + b"".join(leb(i) for i in row) for row in rows)


def text_of(b):
    return b.decode("utf-8", errors="replace")


def train_byte_level(kind, texts):
    t = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind != "llama_bpe")
    if kind == "smollm":
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level])
    elif kind == "llama_bpe":
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), level])
    else:
        t.pre_tokenizer = level
    t.decoder = decoders.ByteLevel()
    # smollm without the full alphabet: some bytes then have no token, as in SmolLM2.
    alphabet = [] if kind == "smollm" else sorted(pre_tokenizers.ByteLevel.alphabet())
    t.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=800, initial_alphabet=alphabet, limit_alphabet=256, show_progress=False))
    data = json.loads(t.to_str())
    if kind == "llama_bpe":
        # Tokens that merging cannot reach, so that ignore_merges is seen.
        data["model"]["ignore_merges"] = True
        data["model"]["merges"] = [m for i, m in enumerate(data["model"]["merges"]) if i % 9 != 8]
    if kind == "gpt2":
        data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
    t = Tokenizer.from_str(json.dumps(data))
    t.add_special_tokens(["<|endoftext|>", "<|begin_of_text|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"])
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    t.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("<tool_call>", normalized=False), AddedToken("<strip>", lstrip=True, rstrip=True, normalized=False)])
    if kind == "llama_bpe":
        bos = t.token_to_id("<|begin_of_text|>")
        t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A $B", special_tokens=[("<|begin_of_text|>", bos)])])
    data = json.loads(t.to_str())
    if kind == "gpt2":  # as files older than tokenizers 0.20 have them
        data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
    return data


def train_sentencepiece(texts):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, model_type="bpe", vocab_size=1000, byte_fallback=True,
        character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, user_defined_symbols=["<tool>", "<tool_call>"], num_threads=1, minloglevel=2)
    return model.getvalue()


def llama2_json(sp, form):
    """The SentencePiece model as Hugging Face converts it: a merge for every way to put a piece together."""
    pieces = [(sp.id_to_piece(i), sp.get_score(i)) for i in range(sp.get_piece_size())]
    index = {p: i for i, (p, _) in enumerate(pieces)}
    merges = []
    for p, score in pieces:
        for k in range(1, len(p)):
            if p[:k] in index and p[k:] in index:
                merges.append((score, p, index[p[:k]], index[p[k:]], p[:k], p[k:]))
    merges.sort(key=lambda m: (-m[0], m[2], m[3]))
    t = Tokenizer(models.BPE(vocab=index, merges=[(m[4], m[5]) for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if form == "prepend":
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.add_special_tokens([AddedToken(x, normalized=False) for x in ("<unk>", "<s>", "</s>")])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", index["<s>"])])
    return json.loads(t.to_str())


def smollm2(path):
    fields = GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    t = Tokenizer(models.BPE(vocab={x: i for i, x in enumerate(tokens)}, merges=merges))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken(x, normalized=False) for x, y in zip(tokens, types) if y == 3])
    return t, fields["tokenizer.chat_template"].contents()


def encode_all(t, texts, parse):
    t.encode_special_tokens = not parse
    return [e.ids for e in t.encode_batch(texts, add_special_tokens=False)]


TEMPLATES = {
    "llama-2": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "llama-3": "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "chatml": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    # FastChat's format for Vicuna v1.1, written down as a template here.
    "vicuna": "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% set rest = messages[1:] %}{% else %}{{ \"A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.\" }}{% set rest = messages %}{% endif %}{{ ' ' }}{% for m in rest %}{% if m['role'] == 'user' %}{{ 'USER: ' + m['content'] + ' ' }}{% else %}{{ 'ASSISTANT: ' + m['content'] + eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
}


def chats(smollm2_template):
    user = {"role": "user", "content": "  What is the capital of France?\n"}
    answer = {"role": "assistant", "content": "\u3000Paris. "}
    system = {"role": "system", "content": "Be brief."}
    conversations = [[user], [system, user], [user, answer, user], [system, user, answer, user, answer]]
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    result = []
    for name, template in [("smollm2", smollm2_template), *TEMPLATES.items()]:
        fast.bos_token, fast.eos_token = ("<|begin_of_text|>", "<|eot_id|>") if name == "llama-3" else ("<s>", "</s>")
        for messages in conversations:
            for prompt in (True, False):
                text = fast.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=prompt)
                result.append({"name": name, "template": template, "messages": messages, "prompt": prompt, "text": text})
    return result


def main(gguf_path, out):
    os.makedirs(out + "/vocabularies", exist_ok=True)

    def write(name, data):
        with open(os.path.join(out, name), "wb") as f:
            f.write(data)

    data = make_strings()
    texts = [text_of(b) for b in data]
    write("strings.bin", b"".join(leb(len(b)) + b for b in data))
    provenance = {"strings": len(data), "python": platform.python_version(), "tokenizers": tokenizers.__version__,
                  "sentencepiece": sentencepiece.__version__, "transformers": transformers.__version__,
                  "unicodedata2": unicodedata2.unidata_version}
    corpus = [s for s in SENTENCES * 6 + CODE * 3 + texts[:1500] if s and "\0" not in s and "\ufffd" not in s]

    r = random.Random(7)
    decode_cases = b""

    def add_decode_cases(name, t, size, hidden):
        nonlocal decode_cases
        cases = []
        for _ in range(100):
            ids = [r.randrange(size) for _ in range(r.randint(1, 12))]
            ids = [i for i in ids if i not in hidden]
            cases.append((ids, t(ids).encode("utf-8")))
        decode_cases += leb(len(name)) + name.encode() + leb(len(cases))
        for ids, text in cases:
            decode_cases += ids_bytes([ids]) + leb(len(text)) + text

    split = {
        "gpt2": pre_tokenizers.Split(Regex(GPT2), "isolated"),
        "llama_bpe": pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
        "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Split(Regex(GPT2), "isolated")]),
    }
    for kind in ("gpt2", "smollm", "llama_bpe"):
        write(kind + ".pieces", ids_bytes([[len(p.encode("utf-8")) for p, _ in split[kind].pre_tokenize_str(s)] for s in texts]))
        vocabulary = train_byte_level(kind, corpus)
        write("vocabularies/%s.json" % kind, json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":")).encode())
        t = Tokenizer.from_str(json.dumps(vocabulary))
        write(kind + ".ids", ids_bytes(encode_all(t, texts, parse=False)))
        write(kind + ".parse.ids", ids_bytes(encode_all(t, texts, parse=True)))
        add_decode_cases(kind, lambda ids: t.decode(ids, skip_special_tokens=True), t.get_vocab_size(), set())

    model = train_sentencepiece([line for s in SENTENCES * 6 + CODE * 3 for line in s.split("\n")])
    write("vocabularies/spm.model", model)
    sp = sentencepiece.SentencePieceProcessor(model_proto=model)
    write("spm.ids", ids_bytes([sp.encode(s) for s in texts]))
    byte_ids = {i for i in range(sp.get_piece_size()) if sp.is_byte(i)}
    add_decode_cases("spm", sp.decode, sp.get_piece_size(), byte_ids)
    for form in ("prepend", "metaspace"):
        vocabulary = llama2_json(sp, form)
        write("vocabularies/llama2_%s.json" % form, json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":")).encode())
        t = Tokenizer.from_str(json.dumps(vocabulary))
        write("llama2_%s.ids" % form, ids_bytes(encode_all(t, texts, parse=False)))
        write("llama2_%s.parse.ids" % form, ids_bytes(encode_all(t, texts, parse=True)))
        add_decode_cases("llama2_" + form, lambda ids: t.decode(ids, skip_special_tokens=True), t.get_vocab_size(), byte_ids)
    write("decode.bin", decode_cases)

    t, template = smollm2(gguf_path)
    expected = {False: encode_all(t, texts, parse=False), True: encode_all(t, texts, parse=True)}
    write("smollm2.ids", ids_bytes(expected[False]))
    write("smollm2.parse.ids", ids_bytes(expected[True]))
    write("chat.json", json.dumps(chats(template), ensure_ascii=False, indent=1).encode())

    try:
        import llama_cpp

        with contextlib.redirect_stderr(io.StringIO()):
            llama = llama_cpp.Llama(gguf_path, vocab_only=True, verbose=False)
        report = {"llama-cpp-python": llama_cpp.__version__}
        for parse in (False, True):
            examples = []
            for b, s, ids in zip(data, texts, expected[parse]):
                if s.encode("utf-8") != b:
                    continue  # llama.cpp ends the process on some ill-formed bytes ("invalid codepoint")
                got = llama.tokenize(b, add_bos=False, special=parse) if b else []
                if got != ids:
                    examples.append({"text": s, "tokenizers": ids, "llama.cpp": got})
            report["parse" if parse else "as_text"] = {"differ": len(examples), "examples": examples[:12]}
        report["compared"] = sum(s.encode("utf-8") == b for b, s in zip(data, texts))
        provenance["smollm2_against_llama_cpp"] = report
    except ImportError:
        provenance["smollm2_against_llama_cpp"] = "llama-cpp-python was not installed"
    write("provenance.json", json.dumps(provenance, ensure_ascii=True, indent=1).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
