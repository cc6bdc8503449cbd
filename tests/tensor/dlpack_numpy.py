# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""DLPack with NumPy, and with PyTorch where it is there, both ways, by ctypes: dlpack_numpy.py LIBRARY"""

import ctypes as C
import gc
import sys

try:
    import numpy as np
except ImportError:
    print("skipped: no numpy")
    sys.exit(77)

lib = C.CDLL(sys.argv[1])
lib.last_error.restype = C.c_char_p
python = C.pythonapi
python.PyCapsule_GetName.restype, python.PyCapsule_GetName.argtypes = C.c_char_p, [C.py_object]
python.PyCapsule_GetPointer.restype, python.PyCapsule_GetPointer.argtypes = C.c_void_p, [C.py_object, C.c_char_p]
python.PyCapsule_New.restype, python.PyCapsule_New.argtypes = C.py_object, [C.c_void_p, C.c_char_p, C.c_void_p]


def function(verb, versioned):
    return getattr(lib, verb + "_dltensor" + ("_versioned" if versioned else ""))


def name(versioned):
    return b"dltensor_versioned" if versioned else b"dltensor"


def capsule_of(array, versioned):
    capsule = array.__dlpack__(max_version=(1, 0)) if versioned else array.__dlpack__()
    assert python.PyCapsule_GetName(capsule) == name(versioned)
    return capsule


def read(array, versioned):
    capsule = capsule_of(array, versioned)
    out = (C.c_float * (array.shape[0] * array.shape[1]))()
    pointer = C.c_void_p(python.PyCapsule_GetPointer(capsule, name(versioned)))
    assert function("read", versioned)(pointer, out) == 0, lib.last_error()
    return np.array(out).reshape(array.shape)


class Ours:
    """What from_dlpack() asks: a tensor of this library."""

    def __init__(self, rows, cols, versioned):
        make = function("make", versioned)
        make.restype = C.c_void_p
        self.capsule = python.PyCapsule_New(make(rows, cols), name(versioned), None)

    def __dlpack__(self, **_):
        return self.capsule

    def __dlpack_device__(self):
        return (1, 0)


def both_ways(library, from_dlpack, arange, versioned):
    matrix = arange(24).reshape(4, 6)
    for array in (matrix, matrix.T, matrix[1:3, ::2]):
        assert np.array_equal(read(array, versioned), np.asarray(array)), (library, versioned)
    theirs = from_dlpack(Ours(3, 5, versioned))
    expected = (10 * np.arange(3)[:, None] + np.arange(5)[None, :]).astype(np.float32).T
    assert np.array_equal(np.asarray(theirs), expected), (library, versioned)
    assert lib.tensors_alive() == 1
    del theirs
    gc.collect()
    assert lib.tensors_alive() == 0, f"{library} did not call the deleter"
    print(f"{library}: {name(versioned).decode()} both ways")


def refuses(verb, capsule, versioned, argument, text):
    status = function(verb, versioned)(C.c_void_p(python.PyCapsule_GetPointer(capsule, name(versioned))), argument)
    assert status == 1 and text in lib.last_error().decode(), lib.last_error()


versions = [False] + [True] * (np.lib.NumpyVersion(np.__version__) >= "2.1.0")
for versioned in versions:
    both_ways("NumPy", np.from_dlpack, lambda n: np.arange(n, dtype=np.float32), versioned)
refuses("read", np.zeros((2, 2)).__dlpack__(), False, None, "expected elements of float32, got float64")
refuses("read", np.zeros(2, np.float32).__dlpack__(), False, None, "expected 2 dimensions, got 1")
if True in versions:
    constant = np.zeros((2, 2), np.float32)
    constant.flags.writeable = False
    refuses("write", capsule_of(constant, True), True, C.c_float(1), "read-only")
try:
    import torch
except ImportError:
    print("PyTorch is not here")
else:
    for versioned in (False, True):
        both_ways("PyTorch", torch.from_dlpack, lambda n: torch.arange(n, dtype=torch.float32), versioned)
