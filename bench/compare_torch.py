# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""The published method's entropies in eager PyTorch, for the ratio to bench_cuda_entropy in the same run.

    python compare_torch.py [ROUNDS]     on a GPU; without one a small shape on the CPU, as a check of this script

As the reference computes them (processors/README.md 1.1): the product of the prompt's states and the LM head, stored; softmax
over positions; the entropy of torch.distributions.Categorical. Medians, random normal bf16.
"""

import statistics
import sys
import time

import torch

gpu = torch.cuda.is_available()
device = "cuda" if gpu else "cpu"
rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
shapes = [(512, 4096, 32000), (2048, 4096, 128256), (4096, 8192, 32000), (512, 576, 49152), (64, 4096, 32000)]


def entropies(hidden, lm_head):
    probabilities = torch.nn.functional.softmax(hidden @ lm_head.T, dim=0)
    return torch.distributions.Categorical(probabilities.T, validate_args=False).entropy()


def seconds(work):
    if gpu:
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop) * 1e-3
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


print("torch", torch.__version__, torch.cuda.get_device_name() if gpu else "CPU")
for positions, d, vocabulary in shapes if gpu else [(64, 64, 1000)]:
    scale = d**-0.25  # logits are about N(0, 1)
    hidden, lm_head = ((torch.randn(n, d, device=device) * scale).bfloat16() for n in (positions, vocabulary))
    logits = hidden.double() @ lm_head[:100].double().T  # the script itself is checked against float64
    log_p = torch.log_softmax(logits, dim=0)
    worst = (entropies(hidden, lm_head)[:100].double() + (log_p.exp() * log_p).sum(0)).abs().max().item()
    times = [seconds(lambda: entropies(hidden, lm_head)) for _ in range(rounds + 3)][3:]
    print(f"  T {positions}, d {d}, V {vocabulary}: {statistics.median(times) * 1e6:10.1f} us, off by {worst:.3f} nats")
