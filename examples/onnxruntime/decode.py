# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Activation decoding where ONNX Runtime runs the model: its graph hands out the states, the C interface decides.

    python decode.py MODEL.onnx --head FOLDER|FILE.gguf --library libactivation_trace_c.so --ids 1,15043 -n 20

MODEL.onnx is make_graph.py's, or any with its inputs and outputs. From Python, because PyPI's onnxruntime carries no C
headers and Debian 12 has no package of it; in C++ the outputs of Ort::Session::Run are as_matrix(std::span(..), T, d) and
go into EntropySharpnessProcessor::observe_context() and process().
"""

import argparse
import ctypes as C

import numpy as np
import onnxruntime


class Candidate(C.Structure):
    _fields_ = [("id", C.c_int32), ("log_prob", C.c_float), ("entropy", C.c_float), ("score", C.c_float)]


class Sharpness:
    """embed/activation_trace_c.h: a head of a model file, and a processor with it."""

    def __init__(self, library, head, alpha, relative_top=0.1):
        self.lib = C.CDLL(library)
        self.lib.at_last_error.restype = C.c_char_p
        self.head, self.processor = C.c_void_p(), C.c_void_p()
        self.call("head_open", head.encode(), C.byref(self.head))
        self.call("sharpness_new", self.head, C.c_float(alpha), C.c_float(relative_top), 0, 1, C.byref(self.processor))

    def call(self, name, *arguments):
        if getattr(self.lib, "at_" + name)(*arguments) != 0:
            raise SystemExit(f"decode.py: {self.lib.at_last_error().decode()}")

    def observe(self, states):
        """Appends states [T, d] of the layer to the context."""
        states = np.ascontiguousarray(states, np.float32)
        rows, hidden = (C.c_int64(n) for n in states.shape)
        self.call("sharpness_observe", self.processor, states.ctypes.data_as(C.c_void_p), rows, hidden, C.c_int64(0))

    def choose(self, logits):
        """The best token of a row of logits, as a Candidate."""
        scores, best, kept = np.array(logits, np.float32), C.c_int32(), (Candidate * len(logits))()
        self.call("sharpness_process", self.processor, None, scores.ctypes.data_as(C.c_void_p), C.c_int64(len(scores)), C.byref(best))
        count = C.c_int64()
        self.call("sharpness_kept", self.processor, kept, C.c_int64(len(logits)), C.byref(count))
        return next(kept[i] for i in range(count.value) if kept[i].id == best.value)


class Model:
    """An ONNX graph with a cache of keys and values."""

    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        past = [put for put in self.session.get_inputs() if put.name.startswith("past_")]
        self.cache = {put.name: np.zeros([0 if size == "P" else size for size in put.shape], np.float32) for put in past}
        self.vocab = next(put.shape[-1] for put in self.session.get_outputs() if put.name == "logits")
        self.outputs = ["logits", "states", *(name.replace("past_", "present_") for name in self.cache)]

    def forward(self, ids):
        """Logits [T, V] and the layer's states [T, d] of tokens that follow those before."""
        logits, states, *present = self.session.run(self.outputs, {"ids": np.array(ids, np.int64), **self.cache})
        self.cache = dict(zip(self.cache, present))
        return logits, states


def decode(model, sharpness, ids, count):
    """`count` tokens, as Candidates; the context is the prompt."""
    logits, states = model.forward(ids)
    sharpness.observe(states)
    for _ in range(count):
        chosen = sharpness.choose(logits[-1])
        yield chosen
        logits, _ = model.forward([chosen.id])


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("model")
    arguments.add_argument("--head", required=True, help="where the LM head is: the model's folder, or its GGUF file")
    arguments.add_argument("--library", required=True, help="activation_trace::c")
    arguments.add_argument("--ids", required=True, help="the prompt's tokens, with commas")
    arguments.add_argument("-n", type=int, default=20, help="tokens to choose")
    arguments.add_argument("--alpha", type=float, default=1.0)
    options = arguments.parse_args()
    sharpness = Sharpness(options.library, options.head, options.alpha)
    ids = [int(part) for part in options.ids.split(",")]
    model = Model(options.model)
    if wrong := [i for i in ids if not 0 <= i < model.vocab]:
        raise SystemExit(f"decode.py: --ids: {wrong[0]} is not a token of a vocabulary of {model.vocab}")
    print("token   log p       E    score")
    for chosen in decode(model, sharpness, ids, options.n):
        print(f"{chosen.id:5d}  {chosen.log_prob:6.3f}  {chosen.entropy:6.3f}  {chosen.score:7.3f}")


if __name__ == "__main__":
    main()
