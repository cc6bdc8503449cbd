# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Changes GGUF files where a reader looks: counts, lengths, kinds, settings, vocabularies, shapes, offsets and weights.
A mutator changes its Gguf and says in a few words what it did, or None if there was nothing to change."""

import struct

from gguf_file import ARRAY, BLOCKS, BOOL, FLOATS, INTEGERS, SCALARS, STRING, Array, Entry, Raw, Tensor, encode_value, fit, u32, u64

WHOLE = sorted({0, 3, 1000, *(2**power + near for power in (0, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 26, 30, 31, 32, 33, 40, 53, 61, 62, 63, 64)
                              for near in (-1, 0, 1)), 2**64 - 32, 2**64 - 31})
REAL = [0.0, -0.0, 1e-45, 1e-38, 1e-30, 1e-6, 0.5, 0.999999, 1.0, 1.0000001, 2.0, 10.0, 1e6, 1e12, 1e30, 3.4e38, -1.0, -1e-6,
        float("nan"), float("inf"), -float("inf")]
TEXTS = [b"", b"\0", b"a" * 65535, b"a" * 65536, b"x" * 2**20, b"\xff\xfe", b"\xed\xa0\x80", b"../../etc/passwd",
         b"\x1b]0;x\x07\x1b[2J", b"%s%n%n", b"{{7*7}}", b"llama\0", b"LLAMA", b" ", b"\n", b"<|im_start|>", b"\xe2\x80\xa8"]
TOKENS = [*(text for text in TEXTS if len(text) < 2**20), b"<0x-1>", b"<0xZZ>", b"<0x1>", b"<0x+1>", b"<0X41>", b"<0x00>", b"<0x 1>",
          b"a" * 1000, b"a" * 8000 + b"b"]
MERGES = [b"", b" ", b"a", b"a ", b" a", b"zz qq", b"a b c", b"\xc4\xa0 \xc4\xa0", b"  ", b"\0 \0"]
SETTINGS = {b"tokenizer.ggml.pre": [b"llama-bpe", b"gpt-2", b"smollm", b"default", b"qwen2", b"llama3", b"tekken", b"gpt-4o", b"falcon3",
                                    b"deepseek-llm", b"deepseek-coder", b"smaug-bpe", b"exaone", b"stablelm2"],
            b"tokenizer.ggml.model": [b"gpt2", b"llama", b"bert", b"no_vocab"],
            b"general.architecture": [b"llama", b"qwen2", b"qwen3", b"gemma", b"gemma2", b"gemma3", b"phi3", b"granite", b"minicpm",
                                      b"smollm3", b"ernie4_5", b"internlm2", b"exaone"],
            b"general.name": [b"Phi-3-mini", b"x"],
            b".rope.scaling.type": [b"none", b"linear", b"yarn", b"llama3", b"longrope"],
            b"tokenizer.chat_template": [b"{{ bos_token }}[INST] <<SYS>>", b"<|start_header_id|><|eot_id|>",
                                         b"{% for m in messages %}<|im_start|>" * 1000, b"USER: ASSISTANT:"]}
TEMPLATE_PARTS = [b"{{ '<|im_start|>' }}", b"{{ bos_token }}", b"{%- if x %}", b"{% endif %}", b"\\n", b"\n", b"'", b'"', b"{{", b"%}", b"{#", b"| trim",
                  b"{% for m in messages %}", b"\xff", b"\0", b"raise_exception('x')", b"[INST]"]
# Keys that begin with a dot follow the architecture.
ADDED = [b".attention.key_length", b".attention.value_length", b".rope.dimension_count", b".expert_count", b".vocab_size",
         b".context_length", b".attention.sliding_window", b".attention.sliding_window_pattern", b".rope.scaling.original_context_length",
         b"tokenizer.ggml.eot_token_id", b"tokenizer.ggml.eom_token_id",
         b"general.alignment", b"split.count", b"split.no"]


def of_model(gguf, key):
    """The key, behind the architecture that the model's other keys begin with where it begins with a dot."""
    if not key.startswith(b"."):
        return key
    count = next((bytes(e.key) for e in gguf.entries if bytes(e.key).endswith(b".block_count")), b"llama.block_count")
    return count.removesuffix(b".block_count") + key


def shown(name):
    return ascii(bytes(name)[-40:].decode("latin1"))


def choose(rng, values):
    values = list(values)
    return rng.choice(values) if values else None


def integer_entry(gguf, rng):
    entry = choose(rng, (e for e in gguf.entries if e.kind in INTEGERS and isinstance(e.value, int)
                         and not e.key.startswith(b"general.")))
    if entry is None:
        return None
    kind = rng.choice((4, 4, 5, 10, 10, 11, 0, 1, 2, 3))
    value = fit(kind, rng.choice([*WHOLE, -1, -2, entry.value - 1, entry.value + 1]))
    entry.kind, entry.value = kind, value
    return f"{shown(entry.key)} = {value} of kind {kind}"


def real_entry(gguf, rng):
    key = of_model(gguf, rng.choice((b".rope.freq_base", b".attention.layer_norm_rms_epsilon", b".rope.scaling.factor", b".rope.scale_linear",
                                     b".rope.freq_base_swa", b".final_logit_softcapping", b".attn_logit_softcapping", b".attention.scale",
                                     b".embedding_scale", b".residual_scale", b".logit_scale", b".rope.scaling.attn_factor")))
    value = rng.choice(REAL)
    gguf.put(key, rng.choice((6, 6, 12)), value)
    return f"{shown(key)} = {value}"


def added_entry(gguf, rng):
    key, value = of_model(gguf, rng.choice(ADDED)), fit(4, rng.choice([*WHOLE, -1]))
    gguf.put(key, 4, value)
    return f"{shown(key)} = {value}"


def text_setting(gguf, rng):
    key = rng.choice(list(SETTINGS))
    value = rng.choice(SETTINGS[key] + TEXTS[:6])
    key = of_model(gguf, key)
    gguf.put(key, STRING, value)
    if key.endswith(b"scaling.type"):
        gguf.put(of_model(gguf, b".rope.scaling.factor"), 6, rng.choice(REAL))
    return f"{shown(key)} = {shown(value)}"


def chat_template(gguf, rng):
    """A part of the template goes, comes twice or becomes another."""
    entry = gguf.find(b"tokenizer.chat_template")
    if entry is None or isinstance(entry.value, Raw) or not isinstance(entry.value, bytes) or not entry.value:
        return None
    text = entry.value
    begin = rng.randrange(len(text))
    end = min(len(text), begin + rng.choice((1, 1, 2, 5, 20, 200)))
    other = rng.choice((b"", b"", text[begin:end] * 2, rng.choice(TEMPLATE_PARTS)))
    entry.value = text[:begin] + other + text[end:]
    return f"template[{begin}:{end}] = {ascii(other[:30])}"


def split_entry(gguf, rng):
    key = rng.choice((b"split.no", b"split.count", b"split.tensors.count"))
    kind = rng.choice((2, 4, 5, 10, 11))
    value = fit(kind, rng.choice((0, 1, 2, 3, 4, 20, 21, -1, 65535, 99999, 100000, 2**31, 2**63)))
    gguf.put(key, kind, value)
    return f"{shown(key)} = {value}"


def alignment(gguf, rng):
    kind = rng.choice((4, 4, 4, 5, 10, 6, STRING, 0))
    number = rng.choice((0, 1, 2, 3, 4, 8, 16, 24, 31, 33, 64, 4096, 2**20, 2**21, 2**31, 2**32 - 1))
    gguf.put(b"general.alignment", kind, b"32" if kind == STRING else float(number) if kind in FLOATS else fit(kind, number))
    return f"alignment {number} of kind {kind}"


def heads(gguf, rng):
    query = rng.choice((0, 1, 2, 3, 4, 5, 8, 16, 64, 65536, 65537, 2**32 - 1))
    gguf.put(of_model(gguf, b".attention.head_count"), 4, query)
    gguf.put(of_model(gguf, b".attention.head_count_kv"), 4, rng.choice((0, 1, 2, 3, 4, 8, query)))
    if rng.random() < 0.5:
        gguf.put(of_model(gguf, b".attention.key_length"), 4, rng.choice((0, 1, 2, 15, 16, 17, 32, 65536)))
        gguf.remove(of_model(gguf, b".rope.dimension_count"))
    return f"{query} heads"


def array_for_number(gguf, rng):
    key = of_model(gguf, rng.choice((b".attention.head_count", b".attention.head_count_kv", b".feed_forward_length",
                                     b".attention.sliding_window_pattern")))
    gguf.put(key, ARRAY, Array(rng.choice((4, 5)), [rng.choice((0, 1, 2, 4, 96)) for _ in range(rng.choice((0, 1, 2, 3)))]))
    return f"an array as {shown(key)}"


def flag(gguf, rng):
    flags = (b"add_bos_token", b"add_eos_token", b"add_space_prefix", b"remove_extra_whitespaces")
    key = rng.choice((of_model(gguf, b".rope.scaling.finetuned"), *(b"tokenizer.ggml." + name for name in flags)))
    gguf.put(key, BOOL, rng.choice((0, 1, 1, 2, 255)))
    return f"flag {shown(key)}"


def special_id(gguf, rng):
    key = b"tokenizer.ggml." + rng.choice((b"bos", b"eos", b"eot", b"eom", b"unknown", b"padding", b"seperator")) + b"_token_id"
    kind = rng.choice((4, 5, 10, 11, 1))
    value = fit(kind, rng.choice((0, 1, 2, -1, -2, 810, 811, 812, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63)))
    gguf.put(key, kind, value)
    return f"{shown(key)} = {value} of kind {kind}"


def kind_only(gguf, rng):
    """The bytes of the value stay."""
    entry = rng.choice(gguf.entries)
    value = Raw(encode_value(entry.kind, entry.value))
    entry.kind, entry.value = rng.choice([*range(15), 100, 2**31, 2**32 - 1]), value
    return f"kind of {shown(entry.key)} = {entry.kind}"


def other_kind(gguf, rng):
    entry, kind = rng.choice(gguf.entries), rng.choice(range(13))
    if kind in FLOATS:
        value = 1.5
    elif kind == STRING:
        value = b"abc"
    elif kind == ARRAY:
        items = rng.choice((0, 4, 5, 6, 7, STRING, 10, 12))
        value = Array(items, [b"ab" if items == STRING else 1] * rng.choice((0, 1, 2, 49152)))
    else:
        value = fit(kind, rng.choice(WHOLE))
    entry.kind, entry.value = kind, value
    return f"{shown(entry.key)} as kind {kind}"


def text_value(gguf, rng):
    entry = choose(rng, (e for e in gguf.entries if e.kind == STRING and not isinstance(e.value, Raw)))
    if entry is None:
        return None
    if rng.random() < 0.5:
        entry.value = rng.choice(TEXTS)
        return f"{shown(entry.key)} = {shown(entry.value)}"
    length = rng.choice(WHOLE)
    entry.value = Raw(u64(length) + entry.value)
    return f"length of {shown(entry.key)} = {length}"


def key_name(gguf, rng):
    entry = rng.choice(gguf.entries)
    key = bytes(entry.key)
    entry.key = rng.choice((b"", key + b"x", key[:-1], key.upper(), b"\0", key + b"\0", b"a" * 65535, b"a" * 65536,
                            Raw(u64(rng.choice(WHOLE)) + key)))
    return f"key {shown(key)} is {shown(entry.key)}"


def key_twice(gguf, rng):
    entry = rng.choice(gguf.entries)
    gguf.entries.insert(rng.randrange(len(gguf.entries) + 1), Entry(entry.key, entry.kind, entry.value))
    return f"{shown(entry.key)} twice"


def key_removed(gguf, rng):
    entry = rng.choice(gguf.entries)
    gguf.entries.remove(entry)
    return f"no {shown(entry.key)}"


def many_keys(gguf, rng):
    count = rng.choice((1000, 20000))
    gguf.entries += [Entry(b"z%d" % i, 0, 1) for i in range(count)]
    return f"{count} more keys"


def an_array(gguf, rng):
    return choose(rng, (e for e in gguf.entries if e.kind == ARRAY and isinstance(e.value, Array)))


def array_length(gguf, rng):
    if (entry := an_array(gguf, rng)) is None:
        return None
    size = len(entry.value.items)
    count = rng.choice([*WHOLE, size - 1, size + 1, 2 * size])
    entry.value = Array(entry.value.kind, entry.value.items, count)
    return f"length of {shown(entry.key)} = {count}"


def array_kind(gguf, rng):
    if (entry := an_array(gguf, rng)) is None:
        return None
    kind = rng.choice([*range(14), 99, 2**32 - 1])
    entry.value = Raw(u32(kind) + encode_value(ARRAY, entry.value)[4:])
    return f"elements of {shown(entry.key)} of kind {kind}"


def nested_array(gguf, rng):
    depth = rng.choice((1, 2, 3, 64, 1000, 100000))
    key = rng.choice((b"x.nested", b"tokenizer.ggml.tokens"))
    gguf.put(key, ARRAY, Raw((u32(ARRAY) + u64(1)) * depth + encode_value(ARRAY, Array(4, [1, 2, 3]))))
    return f"{shown(key)} nested {depth} deep"


def array_elements(gguf, rng):
    entry = an_array(gguf, rng)
    if entry is None or not entry.value.items or entry.value.kind not in (*SCALARS, STRING):
        return None
    kind, items = entry.value.kind, list(entry.value.items)
    places = [rng.randrange(len(items)) for _ in range(rng.choice((1, 1, 1, 3, 20)))]
    for place in places:
        if kind == STRING:
            items[place] = rng.choice([*(MERGES if entry.key.endswith(b"merges") else TOKENS), rng.choice(items), items[place] + b"x"])
        elif kind in FLOATS:
            items[place] = rng.choice(REAL)
        else:
            items[place] = fit(kind, rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, -1, 100, 2**31 - 1)))
    entry.value = Array(kind, items)
    return f"{shown(entry.key)}[{places[0]}] = {str(items[places[0]])[:30]}, {len(places)} of them"


def array_cut(gguf, rng):
    if (entry := an_array(gguf, rng)) is None:
        return None
    items = entry.value.items
    longer = rng.random() < 0.3
    items = items + items[: rng.choice((1, 5))] if longer else items[: rng.choice((0, 1, 2, len(items) // 2, max(0, len(items) - 1)))]
    entry.value = Array(entry.value.kind, items)
    return f"{len(items)} elements in {shown(entry.key)}"


def token_types(gguf, rng):
    entry = gguf.find(b"tokenizer.ggml.token_type")
    if entry is None or not isinstance(entry.value, Array):
        return None
    share, one = rng.choice((0.3, 1)), rng.choice((None, 1, 2, 3, 4, 5, 6))
    entry.value = Array(5, [one or rng.choice((1, 2, 3, 4, 5, 6)) if rng.random() < share else old for old in entry.value.items])
    return f"{share} of the token types {one or 'at random'}"


def counts(gguf, rng):
    if rng.random() < 0.5:
        gguf.tensor_count = rng.choice([*WHOLE, len(gguf.tensors) - 1, len(gguf.tensors) + 1])
        return f"{gguf.tensor_count} tensors"
    gguf.entry_count = rng.choice([*WHOLE, len(gguf.entries) - 1, len(gguf.entries) + 1])
    return f"{gguf.entry_count} entries"


def version(gguf, rng):
    gguf.version = rng.choice((0, 1, 2, 2, 4, 5, 0x03000000, 0x30000, 0xFFFFFFFF, 65536))
    return f"version {gguf.version}"


def extents(gguf, rng):
    tensor = choose(rng, (t for t in gguf.tensors if t.extents))
    if tensor is None:
        return None
    place = rng.randrange(len(tensor.extents))
    old = tensor.extents[place]
    tensor.extents[place] = rng.choice([*WHOLE, old + 1, old - 1, old * 2, old // 2, old + 32, -old])
    if rng.random() < 0.3:
        tensor.extents[-1 - place] = rng.choice(WHOLE)
    return f"extents of {shown(tensor.name)} {tensor.extents}"


def products(gguf, rng):
    tensor = choose(rng, gguf.tensors)
    if tensor is None:
        return None
    old = tensor.extents
    tensor.extents = list(rng.choice((
        [2**32, 2**32], [2**63 - 1, 2], [2**62, 4], [2**31, 2**31, 4], [2**16] * 4, [0, 2**63], [2**63, 0], [2**64 - 1, 0, 5, 5], [0],
        [0] * 4, [32, 2**59], [2**63 - 32, 1], [2**61 + 32, 8], [32, 2**58 + 1], [*old, 1], [*old, 1, 1], old[::-1], [1, *old], old[:1], [])))
    return f"extents of {shown(tensor.name)} {tensor.extents}"


def tensor_numbers(gguf, rng):
    tensor = choose(rng, gguf.tensors)
    if tensor is None:
        return None
    what = rng.choice(("rank", "offset", "offset", "kind"))
    if what == "rank":
        tensor.rank = rng.choice((0, 1, 3, 4, 5, 8, 255, 2**31, 2**32 - 1))
    elif what == "kind":
        tensor.kind = rng.choice([*range(45), 99, 255, 256, 2**31 - 1, 2**31, 2**32 - 1])
    else:
        old = tensor.offset or 0
        tensor.offset = rng.choice([*WHOLE, old + 1, old + 16, old + 32, old - 32, -old, rng.choice(gguf.tensors).offset or 0])
    return f"{what} of {shown(tensor.name)} = {getattr(tensor, what)}"


def other_weights(gguf, rng):
    """Of another type, with bits at random."""
    tensor, kind = choose(rng, gguf.tensors), rng.choice(list(BLOCKS))
    if tensor is None:
        return None
    elements, size = BLOCKS[kind]
    count = 1
    for extent in tensor.extents:
        count *= extent
    if not 0 <= count <= 10**6 or count % elements != 0:
        return None
    tensor.kind, tensor.data = kind, rng.randbytes(count // elements * size)
    for other in gguf.tensors:
        other.offset = None
    return f"{shown(tensor.name)} of type {kind}"


def tensor_list(gguf, rng):
    if not gguf.tensors:
        return None
    place, what = rng.randrange(len(gguf.tensors)), rng.choice(("twice", "removed", "exchanged"))
    tensor = gguf.tensors[place]
    if what == "twice":
        gguf.tensors.insert(rng.randrange(len(gguf.tensors) + 1), Tensor(tensor.name, list(tensor.extents), tensor.kind, tensor.data))
    elif what == "removed":
        del gguf.tensors[place]
    else:
        other = rng.randrange(len(gguf.tensors))
        gguf.tensors[place], gguf.tensors[other] = gguf.tensors[other], gguf.tensors[place]
    return f"{shown(tensor.name)} {what}"


def tensor_name(gguf, rng):
    tensor = choose(rng, gguf.tensors)
    if tensor is None:
        return None
    old = bytes(tensor.name)
    tensor.name = rng.choice((b"", b"\0", old + b"\0", old[:-1], b"a" * 63, b"a" * 64, b"a" * 70000, old.replace(b"0", b"1"),
                              old.replace(b"0", b"00"), b"blk.99.attn_q.weight", b"blk.0.attn_q.bias", b"rope_freqs.weight", b"rope_factors_long.weight",
                              b"output.weight", b"blk.0.attn_qkv.weight", b"blk.0.attn_q_norm.weight", b"\xff\xff", Raw(u64(rng.choice(WHOLE)) + old)))
    return f"{shown(old)} is called {shown(tensor.name)}"


def tensors_added(gguf, rng):
    if rng.random() < 0.3:
        count = rng.choice((1000, 5000))
        gguf.tensors += [Tensor(b"z%d" % i, [0], 0, b"") for i in range(count)]
        return f"{count} more tensors without elements"
    name = rng.choice((b"blk.0.attn_q.bias", b"rope_freqs.weight", b"output.weight", b"x.weight", b"blk.0.attn_rot_embd",
                       b"x.rotary_emb.inv_freq", b"blk.0.attn_qkv.weight"))
    shape, kind = rng.choice(([0], [1], [8], [16], [32], [64, 512], [0, 0], [])), rng.choice((0, 0, 1, 8, 24))
    count = 1
    for extent in shape:
        count *= extent
    elements, size = BLOCKS[kind]
    gguf.tensors.append(Tensor(name, list(shape), kind, rng.randbytes(-(-count // elements) * size)))
    return f"a tensor {shown(name)} {shape} of type {kind}"


def numbers(gguf, rng):
    """Not finite, the largest, all zero or at random: one, or all of a tensor."""
    tensor = choose(rng, (t for t in gguf.tensors if len(t.data) >= 8 and t.kind in BLOCKS))
    if tensor is None:
        return None
    what, data = rng.choice(("nan", "inf", "-inf", "largest", "zero", "random")), bytearray(tensor.data)
    if what in ("zero", "random"):
        tensor.data = bytes(len(data)) if what == "zero" else rng.randbytes(len(data))
        return f"{shown(tensor.name)} {what}"
    single = {"nan": 0x7FC00000, "inf": 0x7F800000, "-inf": 0xFF800000, "largest": 0x7F7FFFFF}[what]
    half = {"nan": 0x7E00, "inf": 0x7C00, "-inf": 0xFC00, "largest": 0x7BFF}[what]
    bits = {0: struct.pack("<I", single), 30: struct.pack("<I", single)[2:]}.get(tensor.kind, struct.pack("<H", half))
    begin, step = {10: 80, 11: 108, 14: 208}.get(tensor.kind, 0), BLOCKS[tensor.kind][1]
    places = range(begin, len(data) - len(bits) + 1, step)
    for place in places if rng.random() < 0.3 else [rng.choice(places)]:
        data[place : place + len(bits)] = bits
    tensor.data = bytes(data)
    return f"{what} in {shown(tensor.name)}"


def divisors(gguf, rng):
    count, name = rng.choice((0, 1, 7, 8, 16, 32)), rng.choice((b"rope_freqs", b"rope_factors_short", b"rope_factors_long")) + b".weight"
    data = struct.pack(f"<{count}f", *(rng.choice(REAL) for _ in range(count)))
    gguf.tensors = [tensor for tensor in gguf.tensors if tensor.name != name]
    gguf.tensors.append(Tensor(name, [count], 0, data))
    return f"{count} divisors of frequencies, {shown(name)}"


def trailing(gguf, rng):
    gguf.trailing = rng.randbytes(rng.choice((1, 31, 32, 1000)))
    return f"{len(gguf.trailing)} bytes more"


# How often each is tried.
MUTATORS = {integer_entry: 6, real_entry: 2, added_entry: 3, text_setting: 3, chat_template: 3, split_entry: 1, alignment: 2, heads: 2, array_for_number: 1, flag: 1,
            special_id: 5, kind_only: 2, other_kind: 2, text_value: 4, key_name: 2, key_twice: 1, key_removed: 2, many_keys: 1,
            array_length: 2, array_kind: 1, nested_array: 1, array_elements: 12, array_cut: 2, token_types: 5, counts: 2, version: 1,
            extents: 3, products: 3, tensor_numbers: 4, other_weights: 6, tensor_list: 3, tensor_name: 1, tensors_added: 3, numbers: 20,
            divisors: 1, trailing: 1}


def damage(data, header_size, rng):
    """What a bad disk does: the end is missing, or bytes of the header are others."""
    if rng.random() < 0.5:
        size = int(len(data) * rng.random() ** 2)
        return data[:size], f"cut to {size} bytes"
    changed, count = bytearray(data), rng.choice((1, 1, 2, 8))
    for _ in range(count):
        changed[rng.randrange(min(len(data), header_size))] = rng.choice((0, 1, 255, 127, 128, rng.randrange(256)))
    return bytes(changed), f"{count} other bytes in the header"


def mutate_split(parts, rng):
    """(the parts' bytes, None for one that is not there; what was changed)"""
    number, what = rng.randrange(len(parts)), rng.random()
    files = [part.encode() for part in parts]
    if what < 0.7:
        seed = parts[number]
        if what < 0.2:
            seed = seed.copy()
            said = split_entry(seed, rng)
            files[number] = seed.encode()
        else:
            files[number], said = mutate(seed, rng)
    elif what < 0.8:
        files[number], said = None, "is not there"
    elif what < 0.9:
        other = rng.randrange(len(parts))
        files[number], files[other], said = files[other], files[number], f"exchanged with {other + 1}"
    else:
        other = rng.randrange(len(parts))
        files[number], said = files[other], f"a copy of {other + 1}"
    return files, f"part {number + 1}: {said}"


def mutate(seed, rng):
    """(bytes of a file, what was changed)"""
    while True:
        gguf, said = seed.copy(), []
        if rng.random() < 0.5:
            gguf.fix_offsets()
        for mutator in rng.choices(list(MUTATORS), MUTATORS.values(), k=rng.choice((1, 1, 1, 1, 2, 3))):
            if gguf.entries and (step := mutator(gguf, rng)):
                said.append(step)
        data = gguf.encode()
        if rng.random() < 0.05:
            data, step = damage(data, len(gguf.header()), rng)
            said.append(step)
        if said:
            return data, "; ".join(said)
