# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Changes JSON: as a text that no longer is any, or is unusual, and as a value with other members."""

import copy
import json
import re

NUMBERS = [0, 1, -1, 2, 3, 7, 16, 17, 255, 256, 65536, 2**20, 2**20 + 1, 2**26 + 1, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63,
           2**64 - 1, 2**64, 10**30, -(2**63), 0.5, 1.5, 1e-45, 1e38, 1e39, 1e308, -1e308, -0.0, 1e12]
OTHERS = [None, True, False, "", "x", "\0", "\u2028", "\U0001f600", "a" * 70000, [], {}, [1], [[]], {"a": 1}, "silu",
          "LlamaForCausalLM", "</script>", "../x", "\x1b[2J", float("nan"), float("inf")]
WORDS = ["a b c", " ", "\u2581", "<0x-1>", "<0xZZ>", "BPE", "Unigram", "WordPiece", "Replace", "ByteLevel", "Split", "(?:a+)+$"]
KEYS = ["vocab_size", "type", "x", "content", "quantization_config", "rope_scaling", "dropout", "truncation", "padding",
        "model_max_length"]


def flipped(data, rng):
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 5))):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def after(data, mark, more):
    """With `more` behind the first `mark`."""
    place = data.find(mark) + 1
    return data[:place] + more + data[place:]


def nested(rng):
    depth = rng.choice((10, 60, 64, 65, 1000, 100000))
    return b"[" * depth + b"]" * depth if rng.random() < 0.5 else b'{"a":' * depth + b"1" + b"}" * depth


def many_members(rng):
    count, value = rng.choice((300, 20000)), rng.choice((b'{"b":[0]}', b"1", b'"x"'))
    return b'"many":{' + b",".join(b'"%d":%s' % (i, value) for i in range(count)) + b"},"


# Name: the changed text.
TEXT_MUTATORS = {
    "cut": lambda data, rng: data[: rng.randrange(len(data))],
    "other bytes": flipped,
    "byte order mark": lambda data, rng: b"\xef\xbb\xbf" + data,
    "a key twice": lambda data, rng: after(data, b"{", rng.choice((b'"vocab_size":1,', b'"model":1,', b'"":1,"":2,', b'"a":1,"a":2,'))),
    "deep": lambda data, rng: after(data, b"{", b'"deep":' + nested(rng) + b","),
    "many members": lambda data, rng: after(data, b"{", many_members(rng)),
    "ill-formed UTF-8": lambda data, rng: after(data, b'"', rng.choice((b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"))),
    "comment": lambda data, rng: b"/*x*/" + data,
    "more behind it": lambda data, rng: data + rng.choice((b"x", b",", b"{}", b"\0", b"\n\n  ")),
    "other root": lambda data, rng: rng.choice((b"", b" ", b"null", b"[]", b"{}", b'""', b"1", b"{" * 1000, b"\0" * 100)),
    "control character": lambda data, rng: after(data, b'"', b"\x01"),
    "lone surrogate": lambda data, rng: after(data, b'"', rng.choice((b"\\ud800", b"\\udc00\\ud800"))),
    "odd number": lambda data, rng: re.sub(
        rb": ?\d+", b": " + rng.choice((b"9" * 400, b"-" + b"9" * 30, b"1e999", b"0x10", b"01", b"NaN", b"1.", b".5")), data, count=1),
}


def places_of(value, place=()):
    """Where there is something, as keys and indices from the root; of long lists and objects a part only."""
    if place:
        yield place
    if isinstance(value, (dict, list)):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        for key in keys[:10] + keys[10 :: len(keys) // 20 + 1]:
            yield from places_of(value[key], (*place, key))


def other_value(old, rng):
    choice = rng.random()
    if isinstance(old, bool) and choice < 0.7:
        return not old
    if isinstance(old, (int, float)) and choice < 0.8:
        return rng.choice(NUMBERS)
    if isinstance(old, list) and choice < 0.5:
        return old * 2 if len(old) < 2000 else old[: rng.randrange(len(old))]
    if isinstance(old, str) and choice < 0.4:
        return rng.choice([old + "x", old[:-1], old.upper(), old * 2, *WORDS])
    return rng.choice(NUMBERS + OTHERS * 2)


def change_value(root, rng):
    """One member becomes another, goes or is copied."""
    places = list(places_of(root))
    if not places:
        return None
    *path, last = rng.choice(places)
    parent = root
    for key in path:
        parent = parent[key]
    where, what = "/".join(map(str, [*path, last]))[-60:], rng.random()
    if what < 0.2:
        del parent[last]
        return f"no {where}"
    if what < 0.75:
        parent[last] = other_value(parent[last], rng)
        return f"{where} = {str(parent[last])[:30]}"
    if isinstance(parent, list):
        parent.insert(rng.randrange(len(parent) + 1), copy.deepcopy(rng.choice(parent)))
        return f"another element beside {where}"
    if what < 0.9:
        key = rng.choice([*KEYS, f"{last}2"])
        parent[key] = rng.choice(NUMBERS + OTHERS)
        return f"{key} beside {where}"
    source = rng.choice(list(parent))
    parent[last] = copy.deepcopy(parent[source])
    return f"{where} as {source}"


def mutate(data, rng):
    """(JSON as bytes, what was changed)"""
    if rng.random() < 0.15:
        name = rng.choice(list(TEXT_MUTATORS))
        return TEXT_MUTATORS[name](data, rng), name
    try:
        root = json.loads(data)
    except (ValueError, RecursionError):  # an earlier change
        return flipped(data or b"{", rng), "other bytes"
    said = [step for _ in range(rng.choice((1, 1, 1, 2, 3))) if (step := change_value(root, rng))]
    return json.dumps(root, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass"), "; ".join(said)
