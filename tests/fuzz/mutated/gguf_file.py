# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""A GGUF file as a structure of which every part can be wrong: what is written is what was said, whether it fits or not."""

import copy
import struct
from dataclasses import dataclass, field

STRING, ARRAY, BOOL = 8, 9, 7
# Kind of a scalar: struct's letter for it.
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", BOOL: "B", 10: "Q", 11: "q", 12: "d"}
FLOATS = (6, 12)
INTEGERS = {0: (0, 2**8), 1: (-(2**7), 2**7), 2: (0, 2**16), 3: (-(2**15), 2**15), 4: (0, 2**32), 5: (-(2**31), 2**31),
            BOOL: (0, 2**8), 10: (0, 2**64), 11: (-(2**63), 2**63)}
# Kind of a tensor: elements and bytes of a block.
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84), 11: (256, 110),
          12: (256, 144), 13: (256, 176), 14: (256, 210), 20: (32, 18), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4),
          27: (1, 8), 28: (1, 8), 30: (1, 2)}
DEFAULT_ALIGNMENT = 32


class Raw(bytes):
    """Bytes that stand where a string or a value would, as they are."""


@dataclass
class Array:
    kind: int
    items: list
    count: int | None = None  # what the file says; else the truth


@dataclass
class Entry:
    key: bytes
    kind: int
    value: object


@dataclass
class Tensor:
    name: bytes
    extents: list
    kind: int
    data: bytes
    offset: int | None = None  # what the file says; else where the data are
    rank: int | None = None


def u32(number):
    return struct.pack("<I", number % 2**32)


def u64(number):
    return struct.pack("<Q", number % 2**64)


def string(text):
    return bytes(text) if isinstance(text, Raw) else u64(len(text)) + text


def fit(kind, number):
    """The integer, wrapped around into what the kind holds."""
    low, end = INTEGERS[kind]
    return low + (number - low) % (end - low)


def encode_value(kind, value):
    if isinstance(value, Raw):
        return bytes(value)
    if kind == STRING:
        return string(value)
    if kind != ARRAY:
        return struct.pack("<" + SCALARS[kind], value)
    count = len(value.items) if value.count is None else value.count
    if value.kind in SCALARS:
        items = struct.pack(f"<{len(value.items)}{SCALARS[value.kind]}", *value.items)
    else:
        items = b"".join(encode_value(value.kind, item) for item in value.items)
    return u32(value.kind) + u64(count) + items


@dataclass
class Gguf:
    entries: list = field(default_factory=list)
    tensors: list = field(default_factory=list)
    version: int = 3
    entry_count: int | None = None
    tensor_count: int | None = None
    trailing: bytes = b""

    def copy(self):
        """What mutators change is copied, the tensors' bytes and the arrays are shared until they are replaced."""
        result = copy.copy(self)
        result.entries = [copy.copy(entry) for entry in self.entries]
        result.tensors = [copy.copy(tensor) for tensor in self.tensors]
        for tensor in result.tensors:
            tensor.extents = list(tensor.extents)
        return result

    def find(self, key):
        return next((entry for entry in self.entries if entry.key == key), None)

    def put(self, key, kind, value):
        if entry := self.find(key):
            entry.kind, entry.value = kind, value
        else:
            self.entries.append(Entry(key, kind, value))

    def remove(self, key):
        self.entries = [entry for entry in self.entries if entry.key != key]

    @property
    def alignment(self):
        entry = self.find(b"general.alignment")
        fits = entry and isinstance(entry.value, int) and 0 < entry.value <= 2**20
        return entry.value if fits else DEFAULT_ALIGNMENT

    def fix_offsets(self):
        """From now on the tensors' offsets stay, whatever becomes of the data."""
        offset = 0
        for tensor in self.tensors:
            tensor.offset = offset
            offset += len(tensor.data) + -len(tensor.data) % self.alignment

    def header(self):
        counts = (len(self.tensors) if self.tensor_count is None else self.tensor_count,
                  len(self.entries) if self.entry_count is None else self.entry_count)
        parts = [b"GGUF", u32(self.version), *map(u64, counts)]
        parts += [string(e.key) + u32(e.kind) + encode_value(e.kind, e.value) for e in self.entries]
        offset = 0
        for tensor in self.tensors:
            rank = len(tensor.extents) if tensor.rank is None else tensor.rank
            parts += [string(tensor.name), u32(rank), *map(u64, tensor.extents), u32(tensor.kind),
                      u64(offset if tensor.offset is None else tensor.offset)]
            offset += len(tensor.data) + -len(tensor.data) % self.alignment
        return b"".join(parts)

    def encode(self):
        result = bytearray(self.header())
        for data in [b"", *(tensor.data for tensor in self.tensors)]:
            result += bytes(-len(result) % self.alignment)
            result += data
        return bytes(result) + self.trailing
