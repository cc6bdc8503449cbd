# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Real vocabularies: ids of the golden strings by the library, beside those of PyPI's implementations.

    pip install tokenizers==0.22.2 sentencepiece==0.2.3 protobuf gguf==0.19.0 mistral-common==1.13.1
    python tests/tokenizer/check_real_vocabularies.py --program build/dev/tests/tokenizer/encode_strings MODEL.gguf...
    python tests/tokenizer/check_real_vocabularies.py --program ... --mistral

MODEL.gguf is any file with a tokenizer, such as the models of tests/parity and the ggml-vocab-*.gguf of llama.cpp, which the
sdist of llama-cpp-python has. Vocabulary, merges, scores and types are the file's. A byte-level one is given to `tokenizers`
with the pre-tokenizer that its model is published with, below; one of SentencePiece to `sentencepiece`, and to `tokenizers`
with a merge for every way to put a piece together, as Hugging Face converts them. --mistral takes the vocabularies that
mistral-common brings: its SentencePiece models as tokenizer.model, its tekken as a GGUF with merges that follow from the ranks.

Exit code 1 if a string differs for all of a vocabulary's oracles. Special tokens are text in all of them.
"""

import argparse
import base64
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import gguf
from generate_golden import GPT2, LLAMA3
from generate_more_golden import DEEPSEEK, GPT4O, QWEN2, TEKKEN, in_steps, read_strings, split
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

GOLDEN = pathlib.Path(__file__).parent / "golden"
DIGITS = pre_tokenizers.Digits(individual_digits=True)
# By tokenizer.ggml.pre: what is before ByteLevel, and whether pieces that are tokens are taken whole.
PUBLISHED = {
    "gpt-2": ([split(GPT2)], False),
    **dict.fromkeys(("smollm", "refact", "starcoder", "command-r"), ([DIGITS, split(GPT2)], False)),
    "llama-bpe": ([split(LLAMA3)], True),
    "qwen2": ([split(QWEN2)], False),
    "tekken": ([split(TEKKEN)], True),
    "gpt-4o": ([split(GPT4O)], False),
    "deepseek-llm": (in_steps(DEEPSEEK["llm"]), False),
    "deepseek-coder": (in_steps(DEEPSEEK["coder"]), False),
}


def contents(path):
    fields = gguf.GGUFReader(path).fields
    return {name.removeprefix("tokenizer.ggml."): field.contents() for name, field in fields.items()
            if name.startswith("tokenizer.ggml.") or name == "general.name"}


def add_tokens(tokenizer, file):
    """Control tokens, which are text here, and user-defined ones, which are cut out, Phi-3's with what is behind them."""
    strips = any(name in file.get("general.name", "").lower() for name in ("phi3", "phi-3"))
    for kind, add in ((3, tokenizer.add_special_tokens), (4, tokenizer.add_tokens)):
        add([AddedToken(text, normalized=False, special=kind == 3, rstrip=strips and text not in ("<unk>", "<s>", "<|endoftext|>"))
             for text, of_kind in zip(file["tokens"], file["token_type"]) if of_kind == kind])
    tokenizer.encode_special_tokens = True
    return lambda texts: [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


def byte_level(file):
    steps, whole = PUBLISHED[file["pre"]]
    merges = [(merge[: merge.index(" ", 1)], merge[merge.index(" ", 1) + 1 :]) for merge in file["merges"]]
    vocabulary = {text: number for number, text in enumerate(file["tokens"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=whole))
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps, level])
    return {"tokenizers": add_tokens(tokenizer, file)}


def sentencepiece_processor(file):
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as proto

    model = proto.ModelProto()
    for text, score, kind in zip(file["tokens"], file["scores"], file["token_type"]):
        text = text.replace(" ", "\u2581") if kind == 4 else text  # llama.cpp's converter made spaces of them
        model.pieces.add(piece=text, score=score, type=3 if kind == 2 and text != "<unk>" else kind)  # one may be unknown
    model.trainer_spec.model_type = proto.TrainerSpec.BPE
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = bool(file.get("add_space_prefix", True))
    model.normalizer_spec.remove_extra_whitespaces = False
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    return lambda texts: [processor.encode(text) for text in texts]


def converted(file):
    """As Hugging Face converts a SentencePiece model."""
    tokens, scores = file["tokens"], file["scores"]
    index = {text: number for number, text in enumerate(tokens)}
    merges = []
    for text, score, kind in zip(tokens, scores, file["token_type"]):
        if kind == 1:
            ways = [(text[:k], text[k:]) for k in range(1, len(text)) if text[:k] in index and text[k:] in index]
            merges += [(-score, index[text], index[a], index[b], a, b) for a, b in ways]
    merges.sort(key=lambda m: (m[0], m[2], m[3]))
    model = models.BPE(vocab=index, merges=[m[4:] for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    replace = normalizers.Replace(" ", "\u2581")
    prefix = bool(file.get("add_space_prefix", True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), replace]) if prefix else replace
    return add_tokens(tokenizer, file)


def merges_of(ranks):
    """The pair that each token of several bytes is put together from last, by those of lower rank."""
    merges = []
    for token, rank in ranks.items():
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            pairs = [(ranks.get(a + b, rank), i) for i, (a, b) in enumerate(zip(parts, parts[1:]))]
            best, i = min(pairs)
            if best >= rank:
                break
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        if len(parts) == 2:
            merges.append(tuple(parts))
    return merges


def write_tekken(path, source):
    """mistral-common's own format as GGUF, as llama.cpp's converter does."""
    data = json.loads(source.read_text(encoding="utf-8"))
    special = data["config"]["default_num_special_tokens"]
    rows = data["vocab"][: data["config"]["default_vocab_size"] - special]
    ranks = {base64.b64decode(row["token_bytes"]): row["rank"] for row in rows}
    printable = [b for b in range(256) if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or b >= 0xAE]
    letters = {b: chr(b) for b in printable}
    letters |= {b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in letters)}

    def written(token):
        return "".join(letters[b] for b in token)

    names = {row["rank"]: row["token_str"] for row in data.get("special_tokens") or []}
    named = {0: "<unk>", 1: "<s>", 2: "</s>"} | names
    tokens = [named.get(i, f"<SPECIAL_{i}>") for i in range(special)] + [written(token) for token in ranks]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("tekken")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * special + [1] * len(ranks))
    writer.add_token_merges([f"{written(a)} {written(b)}" for a, b in merges_of(ranks)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def ids_of(program, model, strings):
    output = subprocess.run([program, str(model)], input=strings, stdout=subprocess.PIPE, check=True).stdout
    rows, at = [], 0

    def number():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte, at = output[at], at + 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(output):
        rows.append([number() for _ in range(number())])
    return rows


def compare(name, size, ours, texts, oracles):
    """Whether some oracle has our ids for every string that they do not differ on themselves."""
    theirs = {oracle: encode(texts) for oracle, encode in oracles.items()}
    for oracle, rows in theirs.items():
        wrong = [i for i, row in enumerate(rows) if row != ours[i]]
        print(f"{name} ({size} tokens): {len(texts) - len(wrong)} of {len(texts)} as {oracle}", flush=True)
        for i in wrong[:3]:
            print(f"  {ascii(texts[i])[:100]}\n    ours   {ours[i][:24]}\n    theirs {rows[i][:24]}")
    return all(any(rows[i] == ours[i] for rows in theirs.values()) for i in range(len(texts)))


def check_file(program, path, strings, texts):
    file = contents(path)
    oracles = byte_level(file) if file["model"] == "gpt2" else {"sentencepiece": sentencepiece_processor(file), "tokenizers": converted(file)}
    return compare(path.name, len(file["tokens"]), ids_of(program, path, strings), texts, oracles)


def check_mistral(program, strings, texts):
    import mistral_common
    from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    equal = True
    for source in sorted((pathlib.Path(mistral_common.__file__).parent / "data").iterdir()):
        with tempfile.TemporaryDirectory() as folder:
            if source.name.startswith("tekken"):
                model = pathlib.Path(folder) / "tekken.gguf"
                write_tekken(model, source)
                oracle = Tekkenizer.from_file(str(source))
            elif ".model" in source.name:
                model = pathlib.Path(folder)
                shutil.copy(source, model / "tokenizer.model")
                oracle = SentencePieceTokenizer(str(source))
            else:
                continue
            encode = {"mistral-common": lambda all_texts, o=oracle: [o.encode(text, bos=False, eos=False) for text in all_texts]}
            equal &= compare(source.name, oracle.n_words, ids_of(program, model, strings), texts, encode)
    return equal


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, help="encode_strings")
    parser.add_argument("--mistral", action="store_true")
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    strings = (GOLDEN / "strings.bin").read_bytes()
    texts = read_strings(GOLDEN / "strings.bin")
    equal = [check_file(arguments.program, path, strings, texts) for path in arguments.models]
    if arguments.mistral:
        equal.append(check_mistral(arguments.program, strings, texts))
    return 0 if all(equal) else 1


if __name__ == "__main__":
    sys.exit(main())
