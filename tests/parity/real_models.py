# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""What Hugging Face transformers computes in float32 with a real model's dequantised weights, for real_models.cpp.

python real_models.py MODEL.gguf [OUTPUT]     families qwen2 and gemma3; OUTPUT is MODEL.gguf.parity.safetensors
python real_models.py --llama-cpp MODEL.gguf  the reconstruction's greedy tokens beside llama.cpp's with F32 weights

Needs PyPI's torch, transformers 4.57, gguf, tokenizers, sentencepiece, protobuf and safetensors; a parameter is
widened at a time, so memory is four bytes per parameter. The configuration is made from the file's keys by hand:
transformers' own loading of Gemma 3 from GGUF leaves the 1 in the norms' weights.
"""

import dataclasses
import json
import pathlib
import re
import sys
import tempfile
import time

import gguf
import numpy as np
import torch
import transformers
from safetensors.numpy import save_file
from transformers.modeling_utils import no_init_weights

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
sys.path.insert(0, str(GOLDEN))
import algorithms as at  # noqa: E402
import decoding_modes as dm  # noqa: E402
from gguf_llama import FIXED, IN_BLOCK, provenance  # noqa: E402

STEPS = 64
MODES_PROMPTS, MODES_STEPS = 5, 20  # of the modes beside greedy and activation decoding
BATCH = 4  # prompts of about the same length that are continued together
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
OF_FAMILY = {  # what it has beside a LLaMA's
    "qwen2": {},
    "gemma3": {
        "attn_q_norm": "self_attn.q_norm",
        "attn_k_norm": "self_attn.k_norm",
        "post_attention_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    },
}


class File:
    """A GGUF file: its keys without the family's prefix, and its tensors."""

    def __init__(self, path):
        self.path = path
        self.reader = gguf.GGUFReader(path)
        self.family = self.get("general.architecture")
        self.tensors = {t.name: t for t in self.reader.tensors}

    def get(self, name, default=None):
        field = self.reader.fields.get(name)
        return default if field is None else field.contents()

    def key(self, name, default=None):
        return self.get(f"{self.family}.{name}", default)


def empty_model(file):
    common = {
        "hidden_size": file.key("embedding_length"),
        "intermediate_size": file.key("feed_forward_length"),
        "num_hidden_layers": file.key("block_count"),
        "num_attention_heads": file.key("attention.head_count"),
        "num_key_value_heads": file.key("attention.head_count_kv"),
        "vocab_size": int(file.tensors["token_embd.weight"].shape[1]),
        "rms_norm_eps": file.key("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": file.key("context_length"),
        "rope_theta": file.key("rope.freq_base"),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "attn_implementation": "eager",
    }
    with no_init_weights():
        if file.family == "qwen2":
            return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**common))
        assert file.family == "gemma3", file.family
        head = file.key("attention.key_length")
        layers = common["num_hidden_layers"]
        return transformers.Gemma3ForCausalLM(
            transformers.Gemma3TextConfig(
                **common,
                head_dim=head,
                query_pre_attn_scalar=head,
                sliding_window=file.key("attention.sliding_window"),
                rope_local_base_freq=file.key("rope.local.freq_base", 10000.0),
                layer_types=["sliding_attention" if (i + 1) % 6 else "full_attention" for i in range(layers)],
                hidden_activation="gelu_pytorch_tanh",
                final_logit_softcapping=None,
                attn_logit_softcapping=None,
            )
        )


def target(family, name):
    """The parameter of transformers that holds GGUF's tensor `name`."""
    stem, kind = name.rsplit(".", 1)
    block = re.fullmatch(r"blk\.(\d+)\.(\w+)", stem)
    if block is None:
        return f"{FIXED[stem]}.{kind}"
    return f"model.layers.{block[1]}.{ {**IN_BLOCK, **OF_FAMILY[family]}[block[2]]}.{kind}"


def load_model(file):
    model = empty_model(file).float().eval()
    model.tie_weights()
    parameters = dict(model.named_parameters())
    for name, tensor in file.tensors.items():
        weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if file.family == "gemma3" and name.endswith("norm.weight"):
            weight = weight - 1  # transformers adds it
        with torch.no_grad():
            parameter = parameters.pop(target(file.family, name))
            assert parameter.shape == weight.shape, (name, parameter.shape, weight.shape)
            parameter.copy_(torch.from_numpy(weight))
    assert not parameters, f"without a tensor: {sorted(parameters)}"
    return model


def byte_level_encoder(file):
    from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

    pieces, types = file.get("tokenizer.ggml.tokens"), file.get("tokenizer.ggml.token_type")
    merges = [(m[: m.index(" ", 1)], m[m.index(" ", 1) + 1 :]) for m in file.get("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(p, special=True) for p, t in zip(pieces, types) if t == 3])
    return lambda text: tokenizer.encode(text).ids


def sentencepiece_encoder(file):
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as proto

    model = proto.ModelProto()
    rows = zip(*(file.get(f"tokenizer.ggml.{k}") for k in ("tokens", "scores", "token_type")))
    for piece, score, kind in rows:
        if kind == proto.ModelProto.SentencePiece.USER_DEFINED:
            piece = piece.replace(" ", "\u2581")  # llama.cpp's converter writes these as the text that they are
        model.pieces.add(piece=piece, score=score, type=kind)
    model.trainer_spec.model_type = proto.TrainerSpec.BPE
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = bool(file.get("tokenizer.ggml.add_space_prefix", True))
    model.normalizer_spec.remove_extra_whitespaces = False
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    first = [file.get("tokenizer.ggml.bos_token_id")] if file.get("tokenizer.ggml.add_bos_token", True) else []
    return lambda text: first + tokenizer.encode(text)


def encoder(file):
    return byte_level_encoder(file) if file.get("tokenizer.ggml.model") == "gpt2" else sentencepiece_encoder(file)


def prompts():
    return [(p["name"], p["text"]) for p in json.loads((GOLDEN / "prompts.json").read_text(encoding="utf-8"))]


def stacked_caches(contexts, rows):
    """One cache for each prompt's `rows` continuations, padded on the left, and its mask [prompts * rows, longest]."""
    longest = max(len(c.ids) for c in contexts)
    layers = []
    for layer in range(len(contexts[0].cache.layers)):
        pair = []
        for part in ("keys", "values"):
            held = [getattr(c.cache.layers[layer], part) for c in contexts]  # a window's: the last
            padded = [torch.nn.functional.pad(h, (0, 0, longest - h.shape[-2], 0)) for h in held]
            pair.append(torch.cat(padded).repeat_interleave(rows, dim=0))
        layers.append(tuple(pair))
    mask = torch.tensor([[0] * (longest - len(c.ids)) + [1] * len(c.ids) for c in contexts])
    return transformers.DynamicCache.from_legacy_cache(tuple(layers)), mask.repeat_interleave(rows, dim=0)


def decode(model, contexts, choosers):
    """STEPS tokens of each prompt by each of its choosers, as one batch; no token ends a text.

    choosers[p][c](logits [V]) -> record with a token and a gap. Returns the records [p][c][step].
    """
    rows = len(choosers[0])
    cache, mask = stacked_caches(contexts, rows)
    positions = torch.tensor([len(c.ids) for c in contexts]).repeat_interleave(rows)[:, None]
    logits = [c.logits for c in contexts for _ in range(rows)]
    flat = [choose for of_prompt in choosers for choose in of_prompt]
    records = [[] for _ in flat]
    for step in range(STEPS):
        for row, choose in enumerate(flat):
            records[row].append(choose(logits[row]))
        if step + 1 == STEPS:
            break
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        with torch.no_grad():
            out = model(
                torch.tensor([[r[-1].token] for r in records]),
                attention_mask=mask,
                position_ids=positions + step,
                past_key_values=cache,
                use_cache=True,
            )
        logits = out.logits[:, -1].numpy()
    return [records[p * rows : (p + 1) * rows] for p in range(len(contexts))]


class Entropies:
    """Of the ids asked for alone: all of a large vocabulary take longer than everything else."""

    def __init__(self, hidden, head):
        self.hidden, self.head = hidden, head

    def __getitem__(self, ids):
        return at.position_entropy(self.hidden, self.head[ids])


def other_modes(layers, info):
    """DoLa's candidates are those of transformers for `layers` of a model whose embeddings are tied."""
    dola = tuple(range(2, layers // 2, 2))
    return {
        "dola_static": dm.Run("dola_static", layers=(layers // 2,)),
        "dola": dm.Run("dola", layers=dola),
        "activation_dola": dm.Run("activation_dola", layers=dola, info_layer=info, final_norm=True, base="logits"),
        "contrastive": dm.Run("contrastive", amateur="ngram"),
    }


def main(path, output):
    start = time.time()
    file = File(path)
    model, encode = load_model(file), encoder(file)
    print(f"loaded in {time.time() - start:.0f} s", flush=True)
    layers = model.config.num_hidden_layers
    info = (4 * layers + 2) // 5  # default_info_layer
    head = model.lm_head.weight.detach().numpy()
    raw = dm.Run("activation", info_layer=info)
    runs = {"raw": raw, "norm": dataclasses.replace(raw, final_norm=True)}
    arrays, contexts, choosers = {}, [], []
    for name, text in prompts():
        context = at.Context(model, encode(text))
        length = len(context.ids)
        positions = sorted({0, 1, length // 4, length // 2, 3 * length // 4, length - 1})
        arrays[name + ".text"] = np.frombuffer(text.encode(), dtype=np.uint8)
        arrays[name + ".ids"] = np.array(context.ids, dtype=np.int32)
        arrays[name + ".positions"] = np.array(positions, dtype=np.int32)
        arrays[name + ".hidden"] = np.ascontiguousarray(np.stack(context.hidden)[:, positions])
        arrays[name + ".logits"] = context.logits
        of_prompt = [at.greedy_step]
        for run in runs.values():
            entropies = Entropies(dm.context_states(model, context.hidden, run), head)
            options = at.Options(alpha=run.alpha, info_layer=info)
            of_prompt.append(lambda logits, e=entropies, o=options: at.sharpness_step(logits, e, [], o))
        contexts.append(context)
        choosers.append(of_prompt)
        print(f"{name}: {length} tokens, {time.time() - start:.0f} s", flush=True)
    records = [None] * len(contexts)
    by_length = sorted(range(len(contexts)), key=lambda i: len(contexts[i].ids))
    for batch in (by_length[begin : begin + BATCH] for begin in range(0, len(by_length), BATCH)):
        for i, of_prompt in zip(batch, decode(model, [contexts[i] for i in batch], [choosers[i] for i in batch])):
            records[i] = of_prompt
        print(f"{len(batch)} prompts continued, {time.time() - start:.0f} s", flush=True)
    for (name, _), of_prompt in zip(prompts(), records):
        for run, steps in zip(["greedy", *runs], of_prompt):
            arrays[f"{name}.{run}.tokens"] = np.array([s.token for s in steps], dtype=np.int32)
            least = [s.gap if run == "greedy" else min(s.gap, s.margin) for s in steps]
            arrays[f"{name}.{run}.gap"] = np.minimum(least, 1e30).astype(np.float32)
    for run in runs:
        changed = sum(s.changed for steps in records for s in steps[1 + list(runs).index(run)])
        print(f"{run}: the entropy of layer {info} changed {changed} choices", flush=True)
    modes = other_modes(layers, info)
    for (name, _), context in list(zip(prompts(), contexts))[:MODES_PROMPTS]:
        for mode, steps in zip(modes, dm.decode(model, None, context.ids, list(modes.values()), MODES_STEPS)):
            arrays[f"{name}.{mode}.tokens"] = np.array([s.token for s in steps], dtype=np.int32)
            arrays[f"{name}.{mode}.gap"] = np.array([min(s.gap, s.margin, s.layer_margin) for s in steps], np.float32)
    print(f"other modes after {time.time() - start:.0f} s", flush=True)
    save_file(arrays, output, metadata=provenance(path))
    print(f"{output} in {time.time() - start:.0f} s")


def write_f32(file, path):
    """The same model with every tensor as F32."""
    writer = gguf.GGUFWriter(path, file.family)
    for field in file.reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        element = field.types[1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], element)
    for tensor in file.tensors.values():
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def compare_with_llama_cpp(path, count=20):
    import llama_cpp

    file = File(path)
    encode = encoder(file)
    with tempfile.TemporaryDirectory() as folder:
        wide = str(pathlib.Path(folder) / "f32.gguf")
        write_f32(file, wide)
        other = llama_cpp.Llama(wide, n_ctx=512, type_k=0, type_v=0, logits_all=True, verbose=False, n_threads=1)
        model = load_model(file)
        bos = file.get("tokenizer.ggml.add_bos_token", file.family == "gemma3")
        for name, text in prompts():
            ids = encode(text)
            same_ids = other.tokenize(text.encode(), add_bos=bool(bos), special=True) == ids
            context = at.Context(model, ids)
            own = [s.token for s in context.decode([lambda logits, _: at.greedy_step(logits)], count)[0]]
            other.reset()
            other.eval(ids)
            logits = np.array(other.scores[len(ids) - 1], dtype=np.float64)
            error = np.abs(logits - context.logits).max() / np.ptp(logits)
            theirs = []
            for _ in range(count):
                theirs.append(int(np.argmax(other.scores[other.n_tokens - 1])))
                other.eval(theirs[-1:])
            equal = sum(a == b for a, b in zip(own, theirs))
            print(f"{name}: ids {same_ids}, logits {error:.1e} of their range, {equal} of {count} tokens", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "--llama-cpp":
        compare_with_llama_cpp(sys.argv[2])
    else:
        main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else sys.argv[1] + ".parity.safetensors")
