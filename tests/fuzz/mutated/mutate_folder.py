# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Changes Hugging Face folders: their JSON files, tokenizer.model field by field, and the headers and weights of safetensors."""

import copy
import json
import struct

import mutate_json
import protobuf
from seeds import safetensors

PIECES = [b"", b"\xff", b"a" * 1000, b"<0x-1>", b"<0xGG>", b"\xe2\x96\x81", b"\0", b"the"]
EXTENTS = [0, 1, -1, 2**32, 2**62, 2**63, 2**64 - 1, 2**64, 1.0, "1", None, []]
SHAPES = [[], [0], [2**32, 2**32], [2**32, 2**31, 2], [0, 2**63], [2**63, 0], [1] * 10000]
KINDS = ["F64", "I8", "U8", "F8_E4M3", "F4", "F6_E2M3", "BOOL", "f32", "X", "", None, 1, "F32", "F16", "BF16", "C64"]
LENGTHS = [0, 1, 7, 8, 10, 100_000_000, 100_000_001, 2**31, 2**32, 2**63, 2**64 - 1, 2**64 - 8]
NAMES = ["x", "", "model.layers.99.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.bias", "a" * 100000]
NUMBERS = {"F32": (b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\xff\xff\x7f\x7f"), "F16": (b"\0\x7e", b"\0\x7c", b"\xff\x7b"),
           "BF16": (b"\xc0\x7f", b"\x80\x7f", b"\x7f\x7f")}


def message(data):
    """Its fields, or None."""
    try:
        return protobuf.fields_of(data)
    except (IndexError, ValueError, TypeError):
        return None


def change_piece(fields, rng):
    pieces = [f for f in fields if f[0] == 1 and f[1] == protobuf.BYTES and isinstance(f[2], bytes) and message(f[2])]
    if not pieces:
        return None
    field, what = rng.choice(pieces), rng.choice(("text", "score", "type", "twice", "unknown", "wire"))
    parts = message(field[2])
    if what == "text":
        parts = [[1, protobuf.BYTES, rng.choice([*PIECES, rng.randbytes(5)])] if part[0] == 1 else part for part in parts]
    elif what == "score":
        score = rng.choice((float("nan"), float("inf"), -float("inf"), 0, 1e38, -1e38))
        parts = [part for part in parts if part[0] != 2] + [[2, protobuf.FIXED32, struct.pack("<f", score)]]
    elif what == "type":
        kind = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 255, 2**31, 2**32, 2**63))
        parts = [part for part in parts if part[0] != 3] + [[3, protobuf.VARINT, kind]]
    elif what == "twice":
        parts = parts * 2
    elif what == "unknown":
        parts.append([rng.choice((4, 100, 2**29 - 1, 0)), rng.choice((protobuf.VARINT, protobuf.BYTES)), b"\1"])
    else:
        parts = [[part[0], rng.choice((0, 1, 3, 4, 5, 6, 7)), b"\1\2\3\4\5\6\7\x08"] for part in parts]
    field[2] = protobuf.encode(parts)
    return f"{what} of a piece"


def change_settings(fields, rng):
    """A value of the trainer's or the normaliser's settings."""
    field = rng.choice([f for f in fields if f[0] in (2, 3) and isinstance(f[2], bytes) and message(f[2])] or [None])
    if field is None:
        return None
    parts = message(field[2])
    part = rng.choice(parts)
    small = (0, 1, 2, 3, 4, 100, 2**31, 2**63)
    part[2] = rng.choice(small) if part[1] == protobuf.VARINT else rng.choice((b"", b"x", rng.randbytes(20)))
    field[2] = protobuf.encode(parts)
    return f"setting {field[0]}.{part[0]}"


def change_field(fields, rng):
    place = rng.randrange(len(fields))
    field, what = fields[place], rng.choice(("cut", "length", "wire", "twice", "removed", "groups", "varint"))
    if what == "cut":
        del fields[place:]
    elif what == "length" and field[1] == protobuf.BYTES and isinstance(field[2], bytes):
        field[2] = (rng.choice((0, 1, 2**31, 2**32, 2**63, 2**64 - 1, len(field[2]) + 1)), field[2])
    elif what == "wire":
        field[1:] = rng.choice((0, 1, 3, 4, 5, 6, 7)), b"\1\2\3\4\5\6\7\x08"
    elif what == "twice":
        fields.insert(rng.randrange(len(fields) + 1), list(field))
    elif what == "removed":
        del fields[place]
    elif what == "groups":
        fields.append([rng.choice((2, 3, 7)), 3, b"\x13" * rng.choice((1, 1000, 100000))])
    else:
        long = (b"\xff" * 9 + b"\x01", b"\xff" * 10, b"\xff" * 20 + b"\0", b"\x80" * 9 + b"\x02")
        fields.append([rng.choice((2, 3)), protobuf.VARINT, rng.choice(long)])
    return f"field {field[0]}: {what}"


def mutate_model(data, rng):
    """tokenizer.model"""
    fields, said = message(data), []
    if not fields or rng.random() < 0.1:
        return mutate_json.flipped(data or b"\0", rng), "other bytes"
    for change in rng.choices((change_piece, change_settings, change_field), (6, 2, 7), k=rng.choice((1, 1, 2, 3))):
        if fields and (step := change(fields, rng)):
            said.append(step)
    return protobuf.encode(fields), "; ".join(said)


def change_extent(header, name, data, rng):
    shape = header[name]["shape"]
    if shape and rng.random() < 0.6:
        place = rng.randrange(len(shape))
        shape[place] = rng.choice([*EXTENTS, shape[place] + 1])
    else:
        header[name]["shape"] = rng.choice([*SHAPES, [*shape, 1], [1, *shape], shape[::-1]])
    return data


def change_place(header, name, data, rng):
    """What the header says of where a tensor's data are."""
    offsets, names = header[name]["data_offsets"], [n for n in header if n != "__metadata__"]
    what = rng.choice(("one", "one", "as another's", "exchanged", "a gap"))
    if what == "one":
        side = rng.randrange(2)
        offsets[side] = rng.choice((0, 1, offsets[side] + 1, offsets[side] - 1, -1, 2**31, 2**63, 2**64 - 1, 2**64, len(data),
                                    len(data) + 1, 1.5, "0", None))
    elif what == "a gap":
        for other in names:
            begin, end = header[other]["data_offsets"]
            if begin >= offsets[1]:
                header[other]["data_offsets"] = [begin + 4, end + 4]
        data += b"\0\0\0\0"
    else:
        other = rng.choice(names)
        header[name]["data_offsets"] = list(header[other]["data_offsets"])
        if what == "exchanged":
            header[other]["data_offsets"] = offsets
    return data


def change_tensor(header, name, data, rng):
    """Its type, its name, and whether it is there."""
    what = rng.choice(("kind", "kind", "removed", "renamed", "twice", "added", "metadata"))
    if what == "kind":
        header[name]["dtype"] = rng.choice(KINDS)
    elif what == "removed":
        del header[name]
    elif what == "renamed":
        header[rng.choice([*NAMES, name + "\0", name.replace("0", "1")])] = header.pop(name)
    elif what == "twice":
        header[name + "2"] = copy.deepcopy(header[name])
    elif what == "added":
        header["model.layers.0.self_attn.rotary_emb.inv_freq"] = {"dtype": "F32", "shape": [0], "data_offsets": [len(data)] * 2}
    else:
        header["__metadata__"] = rng.choice((None, 1, [], {"a": 1}, {"a": None}, {"a": "b" * 100000}, {"format": "pt"}))
    return data


def change_numbers(header, name, data, rng):
    """Not finite, the largest or zero: one, or all of a tensor; or data are missing or too many."""
    what = rng.random()
    if what < 0.1:
        return data[: rng.randrange(len(data) + 1)]
    if what < 0.2:
        return data + bytes(rng.choice((1, 4, 1000)))
    (begin, end), changed = header[name]["data_offsets"], bytearray(data)
    if what < 0.35:
        changed[begin:end] = bytes(end - begin)
        return bytes(changed)
    bits = rng.choice(NUMBERS[header[name]["dtype"]])
    places = range(begin, end, len(bits))
    for place in places if rng.random() < 0.3 else [rng.choice(places)]:
        changed[place : place + len(bits)] = bits
    return bytes(changed)


def mutate_safetensors(file, rng):
    size = struct.unpack_from("<Q", file)[0]
    header, data = json.loads(file[8 : 8 + size]), file[8 + size :]
    if rng.random() < 0.2:
        text, said = mutate_json.mutate(json.dumps(header).encode(), rng)
        return safetensors(text, data), f"header: {said}"
    name = rng.choice([n for n in header if n != "__metadata__"])
    change = rng.choices((change_extent, change_place, change_tensor, change_numbers), (4, 4, 4, 6))[0]
    data = change(header, name, data, rng)
    length = rng.choice(LENGTHS) if rng.random() < 0.1 else None
    text = json.dumps(header).encode()
    if rng.random() < 0.5:
        text += b" " * (-len(text) % 8)
    return safetensors(text, data, length), f"{change.__name__} {name[-30:]}" + (f", header of {length} bytes" if length is not None else "")


def mutate(seed, rng):
    """(files by name, what was changed)"""
    files, said = dict(seed), []
    tokenizer = "tokenizer.model" if "tokenizer.model" in files else "tokenizer.json"
    for name in rng.choices([*files, tokenizer, "config.json"], [1] * len(files) + [3, 2], k=rng.choice((1, 1, 1, 2))):
        if any(step.startswith(name) for step in said):
            continue
        change = mutate_model if name.endswith(".model") else mutate_safetensors if name.endswith(".safetensors") else mutate_json.mutate
        files[name], step = change(files[name], rng)
        said.append(f"{name}: {step}")
    if rng.random() < 0.02:
        name = rng.choice(list(files))
        del files[name]
        said.append(f"no {name}")
    return files, " | ".join(said)
