# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Protobuf messages as lists of fields, of which every part can be wrong: what tokenizer.model is made of."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def read_varint(data, place):
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, place


def varint(value):
    result = bytearray()
    while value >= 128:
        result.append(value & 127 | 128)
        value >>= 7
    result.append(value)
    return bytes(result)


def fields_of(data):
    """[number, wire type, value] of each: an int of a varint, else bytes. Raises IndexError or ValueError if it is no message."""
    fields, place = [], 0
    while place < len(data):
        key, place = read_varint(data, place)
        wire = key & 7
        if wire == VARINT:
            value, place = read_varint(data, place)
        else:
            if wire not in (FIXED64, BYTES, FIXED32):
                raise ValueError(f"wire type {wire}")
            size, place = read_varint(data, place) if wire == BYTES else ({FIXED64: 8, FIXED32: 4}[wire], place)
            value = data[place : place + size]
            place += size
        fields.append([key >> 3, wire, value])
    return fields


def encode(fields):
    """The message. A value of BYTES may be a pair of the length to be written and the bytes, one of VARINT bytes."""
    parts = []
    for number, wire, value in fields:
        parts.append(varint(number << 3 | wire))
        if wire == BYTES:
            length, value = value if isinstance(value, tuple) else (len(value), value)
            parts.append(varint(length))
        parts.append(value if isinstance(value, bytes) else varint(value))
    return b"".join(parts)
