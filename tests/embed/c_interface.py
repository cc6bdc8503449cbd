# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""The C interface from Python by ctypes, against NumPy in double: c_interface.py LIBRARY"""

import ctypes as C
import struct
import sys
import tempfile

try:
    import numpy as np
except ImportError:
    print("skipped: no numpy")
    sys.exit(77)

lib = C.CDLL(sys.argv[1])
lib.at_last_error.restype = C.c_char_p


class Candidate(C.Structure):
    _fields_ = [("id", C.c_int32), ("log_prob", C.c_float), ("entropy", C.c_float), ("score", C.c_float)]


def ok(status):
    assert status == 0, (status, lib.at_last_error().decode())


def refused(status, expected, text):
    assert status == expected and text in lib.at_last_error().decode(), (status, lib.at_last_error().decode())


def data(array):
    return array.ctypes.data_as(C.c_void_p)


def f32(rows, columns, scale=1.0):
    return (scale * random.standard_normal((rows, columns))).astype(np.float32)


def log_softmax(x):
    x = x.astype(np.float64)
    return x - x.max() - np.log(np.exp(x - x.max()).sum())


random = np.random.default_rng(1)
T, d, V = 40, 64, 1000
i64, i32, f = C.c_int64, C.c_int32, C.c_float
weights, hidden, logits = f32(V, d), f32(T, d), f32(1, V, 3)[0]

products = weights.astype(np.float64) @ hidden.astype(np.float64).T
p = np.exp(products - products.max(1, keepdims=True))
p /= p.sum(1, keepdims=True)
entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(1)
lp = log_softmax(logits)
kept = np.flatnonzero(lp >= lp.max() + np.log(0.1))
assert 1 < len(kept) < V

head = C.c_void_p()
ok(lib.at_head_view(0, data(weights), C.c_uint64(weights.nbytes), i64(V), i64(d), C.byref(head)))
refused(lib.at_head_view(0, data(weights), C.c_uint64(weights.nbytes - 4), i64(V), i64(d), C.byref(C.c_void_p())), 1, "bytes")
refused(lib.at_head_view(999, data(weights), C.c_uint64(4), i64(V), i64(d), C.byref(C.c_void_p())), 2, "999")
refused(lib.at_head_open(b"/nonexistent.gguf", C.byref(C.c_void_p())), 4, "nonexistent")

# activation decoding: states in two pieces, the second strided
sharpness = C.c_void_p()
refused(lib.at_sharpness_new(head, f(0.5), f(0.1), 1, 1, C.byref(sharpness)), 2, "final_norm")
refused(lib.at_sharpness_new(head, f(-1), f(0.1), 0, 1, C.byref(sharpness)), 2, "alpha")
assert sharpness.value is None
ok(lib.at_sharpness_new(head, f(0.5), f(0.1), 0, 2, C.byref(sharpness)))
scores = logits.copy()
best, count = i32(), i64()
refused(lib.at_sharpness_process(sharpness, None, data(scores), i64(V), C.byref(best)), 3, "context")
wide = np.zeros((T, d + 3), np.float32)
wide[:, :d] = hidden
ok(lib.at_sharpness_observe(sharpness, data(hidden), i64(7), i64(d), i64(0)))
ok(lib.at_sharpness_observe(sharpness, data(np.ascontiguousarray(wide[7:])), i64(T - 7), i64(d), i64(d + 3)))
refused(lib.at_sharpness_observe(sharpness, data(hidden), i64(1), i64(d - 1), i64(0)), 1, "hidden")
refused(lib.at_sharpness_observe(sharpness, None, i64(1), i64(d), i64(0)), 2, "null")
ok(lib.at_sharpness_process(sharpness, None, data(scores), i64(V), C.byref(best)))
expected = lp - 0.5 * entropy
assert best.value == kept[np.argmax(expected[kept])]
assert np.abs(scores[kept] - expected[kept]).max() < 1e-5
assert np.isneginf(np.delete(scores, kept)).all()
candidates = (Candidate * V)()
ok(lib.at_sharpness_kept(sharpness, candidates, i64(V), C.byref(count)))
assert [candidates[k].id for k in range(count.value)] == list(kept)
assert max(abs(candidates[k].entropy - entropy[v]) for k, v in enumerate(kept)) < 1e-5
refused(lib.at_sharpness_process(sharpness, None, data(scores), i64(V - 1), None), 1, "1000")
refused(lib.at_sharpness_process(sharpness, None, None, i64(V), None), 2, "null")
refused(lib.at_sharpness_process(None, None, data(scores), i64(V), None), 2, "null")
ids = random.permutation(V).astype(np.int32)
listed = logits[ids].copy()
ok(lib.at_sharpness_process(sharpness, data(ids), data(listed), i64(V), C.byref(best)))
assert best.value == kept[np.argmax(expected[kept])] and np.array_equal(listed, scores[ids])
refused(lib.at_sharpness_truncate(sharpness, i64(T + 1)), 2, str(T))
lib.at_sharpness_free(sharpness)

# the detector, and a rewind
detector, e, alert = C.c_void_p(), f(), C.c_int()
ok(lib.at_detector_new(head, f(2.0), 0, 1, C.byref(detector)))
ok(lib.at_detector_observe(detector, data(hidden), i64(T), i64(d), i64(0)))
for v in range(0, V, 37):
    ok(lib.at_detector_entropy(detector, i32(v), C.byref(e), C.byref(alert)))
    assert abs(e.value - entropy[v]) < 1e-5 and alert.value == (entropy[v] > 2.0)
ok(lib.at_detector_truncate(detector, i64(1)))
ok(lib.at_detector_entropy(detector, i32(0), C.byref(e), None))
assert e.value == 0
refused(lib.at_detector_entropy(detector, i32(V), C.byref(e), None), 2, "vocabulary")
lib.at_detector_free(detector)

# DoLa of one layer
dola, layer = C.c_void_p(), i64()
state = f32(1, d, 0.3)
base = log_softmax((weights.astype(np.float64) @ state[0].astype(np.float64)))
ok(lib.at_dola_new(head, (i64 * 1)(6), i64(1), f(0.1), 1, C.byref(dola)))
scores = logits.copy()
ok(lib.at_dola_process(dola, data(state), i64(1), i64(d), i64(0), None, data(scores), i64(V), C.byref(best), C.byref(layer)))
assert layer.value == 6 and best.value == kept[np.argmax((lp - base)[kept])]
assert np.abs(scores[kept] - (lp - base)[kept]).max() < 1e-4
refused(lib.at_dola_process(dola, data(state), i64(2), i64(d), i64(0), None, data(scores), i64(V), None, None), 1, "layers")
lib.at_dola_free(dola)
lib.at_head_free(head)

# A head in a type that is not read here: of a GGUF file, and in memory. The callback's bytes are eighths.
Dequantize = C.CFUNCTYPE(i32, C.c_void_p, C.c_char_p, C.POINTER(C.c_int8), C.c_uint64, C.POINTER(f), i64)
types = set()


@Dequantize
def widen(user, type_name, row, size, out, width):
    assert user == 77 and width == 256
    types.add((type_name, size))
    for k in range(256):
        out[k] = row[k % size] / 8
    return 0


def gguf_file(path, tensor):
    """A version 3 file of one tensor, which is of type 16, IQ2_XXS: 256 elements in 66 bytes."""

    def text(s):
        return struct.pack("<Q", len(s)) + s

    block_count = text(b"x.block_count") + struct.pack("<II", 4, 5)
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, 2)
    header += text(b"general.architecture") + struct.pack("<I", 8) + text(b"x") + block_count
    header += text(b"output.weight") + struct.pack("<IQQIQ", 2, 256, len(tensor), 16, 0)
    with open(path, "wb") as file:
        file.write(header + b"\0" * (-len(header) % 32) + tensor.tobytes())


stored = random.integers(-60, 60, (50, 66)).astype(np.int8)
wide = stored[:, np.arange(256) % 66].astype(np.float64) / 8
hidden = f32(9, 256, 0.1)
products = wide @ hidden.astype(np.float64).T
p = np.exp(products - products.max(1, keepdims=True))
p /= p.sum(1, keepdims=True)
entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(1)
with tempfile.TemporaryDirectory() as folder:
    path = f"{folder}/head.gguf".encode()
    gguf_file(path, stored)
    from_file, in_memory = C.c_void_p(), C.c_void_p()
    refused(lib.at_head_open(path, C.byref(from_file)), 4, "IQ2_XXS")
    refused(lib.at_head_open_by(path, None, None, C.byref(from_file)), 2, "dequantize is null")
    ok(lib.at_head_open_by(path, widen, C.c_void_p(77), C.byref(from_file)))
    ok(lib.at_head_view_by(data(stored), C.c_uint64(stored.nbytes), i64(50), i64(256), widen, C.c_void_p(77), C.byref(in_memory)))
    vocab, width, blocks = i64(), i64(), i64()
    ok(lib.at_head_shape(from_file, C.byref(vocab), C.byref(width), C.byref(blocks)))
    assert (vocab.value, width.value, blocks.value) == (50, 256, 5)
    for head in from_file, in_memory:
        ok(lib.at_detector_new(head, f(1), 0, 1, C.byref(detector)))
        ok(lib.at_detector_observe(detector, data(hidden), i64(9), i64(256), i64(0)))
        for v in range(50):
            ok(lib.at_detector_entropy(detector, i32(v), C.byref(e), None))
            assert abs(e.value - entropy[v]) < 1e-5
        lib.at_detector_free(detector)
        lib.at_head_free(head)
assert types == {(b"IQ2_XXS", 66), (b"", 66)}
print(f"{len(kept)} candidates as in NumPy")
