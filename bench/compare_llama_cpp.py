#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Compares prefill of 512 tokens and decode after them with llama.cpp, interleaved on the same machine.

Needs PyPI's llama-cpp-python or ik-llama-cpp-python or both, as --peers names them, and gguf and numpy for types other
than the file's own. llama-cpp-python takes the llama.cpp of examples/get_llama_cpp.sh by LLAMA_CPP_LIB_PATH, which names
its lib folder; ik_llama.cpp's wheel is of AVX2:

    compare_llama_cpp.py --bench build/release/bench/bench_model --model SmolLM2-135M-Instruct.Q4_1.gguf \\
        --types file f16 bf16 q8_0

"file" is the model as it is; for the other types its dequantised weights are written in that type to a temporary
folder. `--model tinyllama` is random weights of TinyLlama-1.1B's shape, a minute's work and 2 GB per type; --keep FOLDER
keeps the files, for other benchmarks. Each round runs the peers and then our benchmark program; the table gives the medians over the rounds, and what
share our program says it reaches of its floor, which is by what the machine multiplies and reads in the same run.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time


def convert(source, target, type_name):
    """Writes the GGUF file `source` with every matrix stored as `type_name`; vectors stay float."""
    import gguf

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        if kind == gguf.GGUFValueType.ARRAY:
            writer.add_array(field.name, field.contents())
        else:
            writer.add_key_value(field.name, field.contents(), kind)
    quantized = gguf.GGMLQuantizationType[type_name.upper()]
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        kind = quantized if len(tensor.shape) > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(tensor.name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_tinyllama(target, type_name):
    """Writes random weights of TinyLlama-1.1B's shape, matrices stored as `type_name`."""
    import gguf
    import numpy

    blocks, hidden, ffn, heads, kv_heads, vocab = 22, 2048, 5632, 32, 4, 32000
    kv = hidden // heads * kv_heads
    random = numpy.random.default_rng(1)
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_context_length(2048)
    writer.add_block_count(blocks)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocab)
    writer.add_tokenizer_model("llama")
    # What llama.cpp asks of a vocabulary of this kind: an unknown token, two of control, the bytes; the rest are words.
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    types = [2, 3, 3] + [6] * 256
    words = [f"w{i}" for i in range(vocab - len(tokens))]
    writer.add_token_list(tokens + words)
    writer.add_token_scores([0.0] * len(tokens) + [-float(i) for i in range(len(words))])
    writer.add_token_types(types + [1] * len(words))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    kind = gguf.GGMLQuantizationType[type_name.upper()]

    def add(name, rows, columns):
        values = random.standard_normal((rows, columns), dtype=numpy.float32) / numpy.float32(columns ** 0.5)
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    add("token_embd.weight", vocab, hidden)
    add("output.weight", vocab, hidden)
    ones = numpy.ones(hidden, dtype=numpy.float32)
    writer.add_tensor("output_norm.weight", ones)
    for i in range(blocks):
        for name, rows, columns in [("attn_q", hidden, hidden), ("attn_k", kv, hidden), ("attn_v", kv, hidden),
                                    ("attn_output", hidden, hidden), ("ffn_gate", ffn, hidden), ("ffn_up", ffn, hidden),
                                    ("ffn_down", hidden, ffn)]:
            add(f"blk.{i}.{name}.weight", rows, columns)
        writer.add_tensor(f"blk.{i}.attn_norm.weight", ones)
        writer.add_tensor(f"blk.{i}.ffn_norm.weight", ones)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Peer:
    """Times what a subclass does by `vocab`, reset() and eval(ids), which goes on where the last one ended."""

    def prefill(self):
        self.reset()
        return self.rate([self.ids()])

    def decode(self):
        return self.rate([[i] for i in self.ids()[:64]])

    def ids(self):
        return [(i * 7919 + 13) % self.vocab for i in range(512)]

    def rate(self, calls):
        start = time.perf_counter()
        for ids in calls:
            self.eval(ids)
        return sum(map(len, calls)) / (time.perf_counter() - start)


class LlamaCpp(Peer):
    def __init__(self, path, threads, flash_attention):
        import llama_cpp

        self.model = llama_cpp.Llama(path, n_ctx=1024, n_batch=512, n_ubatch=512, n_threads=threads,
                                     n_threads_batch=threads, flash_attn=flash_attention, verbose=False)
        self.vocab = self.model.n_vocab()
        self.reset = self.model.reset
        self.eval = self.model.eval


class IkLlamaCpp(Peer):
    def __init__(self, path, threads, flash_attention):
        from ik_llama_cpp import _ctypes_api, _internals

        self.api = _ctypes_api
        self.batch_of = _internals.make_batch_range
        self.model = _internals.IkModel(path)
        self.context = _internals.IkContext(self.model, n_ctx=1024, n_threads=threads, flash_attn=flash_attention)
        self.vocab = _ctypes_api.llama_vocab_n_tokens(self.model.vocab)
        self.position = 0

    def reset(self):
        self.context.kv_cache_clear()
        self.position = 0

    def eval(self, ids):
        batch = self.batch_of(ids, pos_start=self.position)
        failed = self.context.decode(batch)
        self.api.llama_batch_free(batch)
        if failed:
            raise RuntimeError(f"ik_llama.cpp: llama_decode returned {failed}")
        self.position += len(ids)


PEERS = {"llama.cpp": LlamaCpp, "ik_llama.cpp": IkLlamaCpp}


def loaded(peer, path, threads):
    """The peer with flash attention and without."""
    models = [PEERS[peer](path, threads, flash) for flash in (False, True)]
    for model in models:  # the first run loads the file
        model.prefill()
    return models


def ours(program, path, threads):
    """tokens/s and the share of the floor of one run of the benchmark program, by benchmark."""
    report = subprocess.run(
        [program, f"--benchmark_filter=^(prefill_512|decode)/{os.path.basename(path).removesuffix('.gguf')}"
                  f"/threads:{threads}/", "--benchmark_min_time=1", "--benchmark_format=json"],
        env={**os.environ, "ACTIVATION_TRACE_MODEL": path}, check=True, capture_output=True, text=True)
    results = json.loads(report.stdout)["benchmarks"]
    return {r["name"].split("/")[0]: (r["tokens/s"], r["of_floor"]) for r in results}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bench", required=True, help="our benchmark program, bench_model")
    parser.add_argument("--model", required=True, help='a .gguf file, or "tinyllama": random weights of its shape')
    parser.add_argument("--keep", metavar="FOLDER", help="where files of other types are written and stay")
    parser.add_argument("--types", nargs="+", default=["file"], help='"file", f16, bf16, q8_0, q4_0, ...')
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="+", default=["llama.cpp"], choices=list(PEERS))
    args = parser.parse_args()

    print(f"tokens/s, medians of {args.rounds} rounds, {args.threads} threads, peers at the better of flash attention "
          "on and off")
    print(f"{'type':8} {'what':12} {'peer':12} {'theirs':>10} {'ours':>10} {'ratio':>6} "
          f"{'of floor':>8}   ours, every round")
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or temporary
        for type_name in args.types:
            path = args.model
            if type_name != "file":
                path = os.path.join(folder, f"converted-{type_name}.gguf")
                write_tinyllama(path, type_name) if args.model == "tinyllama" else convert(args.model, path, type_name)
            peers = {peer: loaded(peer, path, args.threads) for peer in args.peers}
            theirs = {peer: [{"prefill_512": [], "decode": []} for _ in models] for peer, models in peers.items()}
            mine = {"prefill_512": [], "decode": []}
            for _ in range(args.rounds):
                for peer, models in peers.items():
                    for model, rates in zip(models, theirs[peer]):
                        rates["prefill_512"].append(model.prefill())
                        rates["decode"].append(model.decode())
                for what, measured in ours(args.bench, path, args.threads).items():
                    mine[what].append(measured)
            for what, measured in mine.items():
                rates, shares = zip(*measured)
                median = statistics.median(rates)
                for peer in args.peers:
                    best = max(statistics.median(t[what]) for t in theirs[peer])
                    print(f"{type_name:8} {what:12} {peer:12} {best:10.1f} {median:10.1f} {median / best:6.2f} "
                          f"{statistics.median(shares):8.0%}   " + " ".join(f"{r:.1f}" for r in rates), flush=True)
            if type_name != "file" and not args.keep:
                os.remove(path)


if __name__ == "__main__":
    main()
