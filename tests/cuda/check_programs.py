# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""The programs with --device cuda beside --device cpu: the same tokens in every mode, and numbers within 1e-4; what makes no sense
is refused in one line. The device is the one on the CPU (on_cpu/), or that of this machine, if it has one.

    python3 check_programs.py BIN FOLDER WRITE_TINY_MODEL
    python3 check_programs.py BIN FOLDER --real             eight tokens of SmolLM2, or 77 without it: a minute

BIN is the folder of the programs, FOLDER has the cuda_engine.so that is made for the device on the CPU.
"""

import argparse
import json
import os
import pathlib
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "embed"))
import check_engine  # noqa: E402
from check_engine import Comparison, Place, stop  # noqa: E402
from run_tools import write_data  # noqa: E402

PROGRAMS = ("generate", "score", "visualize", "evaluate")
check_engine.OWN = ["--device", "cpu", "-t", "1"]
check_engine.EXACT = ["--device", "cuda", "-t", "1"]


def check_runs(place):
    found = Comparison()
    check_engine.PROMPTS = ["the the"]
    runs = check_engine.check_generate(place, found)
    # Tokens are chosen on the device with a trace's records, as above, and without.
    ways = [[], ["--temp", "0.8", "-s", "7"], ["--temp", "1.2", "--top_k", "40", "--top_p", "0.9", "--min_p", "0.01", "-s", "3"], ["-ctk", "f16", "-ctv", "f16"]]
    for way in ways:
        command = ["generate", "-m", place.model, "-p", "the the", "-n", 8, "-q", "--decoding_mode", "baseline", *way]
        found.same(*place.both(lambda name, engine: place.run(*command, *engine).stdout), f"generate {way}")
    two = place.run(*command, "--device", "cuda", "--num-gpus", 2, "--max_gpu_memory", 1, "-t", 1).stdout
    alone = place.run(*command, "--device", "cpu", "-t", 1).stdout
    found.same(alone, two, "generate on two devices")
    for split in ("tensor", "tensor-nccl"):
        ranks = place.run(*command, "--device", "cuda", "--num-gpus", 2, "-sm", split, "--max_gpu_memory", 1, "-t", 1).stdout
        found.same(alone, ranks, f"generate on two devices, --split-mode {split}")
    runs += len(ways) + 3
    check_engine.PROMPTS = ["the"] * 4
    check_engine.check_score_and_pictures(place, found)
    return runs + 2, found


def check_evaluate(place, found):
    """The tokens and the metrics are those of the host; the manifest says where, and a run goes on nowhere else."""
    command = ["evaluate", "nq", "-m", place.model, "--data-path", place.folder / "NQ-open.dev.jsonl", "-q", "--limit", 1, *place.context,
               "--max-new-tokens", 3, "-t", 1]
    logs = {}
    for device in ("cpu", "cuda:1"):
        logs[device] = place.folder / f"{device[:4]}.jsonl"
        place.run(*command, "--device", device, "--output-path", logs[device])
    found.same(*(check_engine.read_lines(log) for log in logs.values()), "evaluate nq")
    manifest = json.loads(pathlib.Path(f"{logs['cuda:1']}.manifest.json").read_text())
    identity = manifest.get("device", {})
    if sorted(identity) != ["compute_capability", "driver", "name", "runtime"] or identity["compute_capability"] != "12.0":
        stop("the manifest names another device, or none:", manifest)
    for name, log in logs.items():
        place.run("evaluate", "export", log, "--format", "lm_eval", "-o", place.folder / name[:4])
        written = "".join(path.read_text() for path in (place.folder / name[:4]).rglob("results*.json"))
        if f'"device": "{name[:4].rstrip(":")}"' not in written:
            stop("the export of", log, "names another device:", written)
    place.fails(1, ["'device' was {", "and is now nothing"], *command, "--device", "cpu", "--output-path", logs["cuda:1"], "--resume")


def check_refusals(place, alone):
    generate = ["generate", "-m", place.model, "-p", "x", "-n", 1, "--info_layer", 1]
    for text in ("gpu", "cuda:", "cuda:-1", "cuda:x", "cuda1"):
        place.fails(2, ["--device", "expected cpu, cuda or cuda:NUMBER, got " + text], *generate, "--device", text)
    place.fails(1, ["--device cuda:4: there are 4 CUDA devices"], *generate, "--device", "cuda:4", "-q")
    for text in ("cpu", "cuda"):
        place.fails(2, [f"--device {text}: is for our own engine; llama.cpp is told by -ngl"], *generate, "--engine", "llama.cpp", "--device", text)
    place.run(*generate, "-q", "--device", "cuda", "--arithmetic", "fast")
    place.fails(2, ["--num-gpus: needs --engine llama.cpp; our own engine takes --device"], *generate, "--num-gpus", 1)
    place.fails(2, ["--num-gpus auto: is llama.cpp's; --device cuda takes a number"], *generate, "--device", "cuda", "--num-gpus", "auto")
    place.fails(1, ["the weights take 1 MiB", "CUDA devices have free 1048576 MiB (device 0), 1048576 MiB (device 1), of which weights may take 0 MiB each"],
                *generate, "-q", "--device", "cuda", "--num-gpus", 2, "--max_gpu_memory", "0.00001")
    shared = [*generate, "-q", "--device", "cuda", "--split-mode"]
    place.fails(2, ["--split-mode", "expected layer|tensor|tensor-nccl, got row"], *shared, "row")
    place.fails(2, ["--split-mode tensor: needs --num-gpus of 2 or more"], *shared, "tensor")
    place.fails(2, ["--split-mode tensor: is for our own engine with --device cuda"], *generate, "--split-mode", "tensor")
    place.fails(1, ["expected 1 to 2 ranks, got 3: the model's 2 kv heads"], *shared, "tensor", "--num-gpus", 3)
    place.fails(1, ["shared out over 2 devices the weights, and 1 x ", "CUDA devices have free 1048576 MiB (device 0), 1048576 MiB (device 1), of which"],
                *shared, "tensor", "--num-gpus", 2, "--max_gpu_memory", "0.00001")
    os.environ["CUDA_ON_CPU_MIB"] = "33"  # room for weights, caches and batches of a short context, with 32 MiB to spare
    placed = [*generate, "-q", "--device", "cuda", "--max_gpu_memory", 1, "-c"]
    place.run(*placed, 20, "--num-gpus", 1)
    place.fails(1, ["1 x 256 positions", "CUDA devices have free 33 MiB (device 0), of which weights may take 1024 MiB each"],
                *placed, 256, "--num-gpus", 1)
    place.run(*placed, 256, "--num-gpus", 2, "-b", 4)
    del os.environ["CUDA_ON_CPU_MIB"]
    alone.fails(2, ["--device cuda:0: this program was built without CUDA", "ACTIVATION_TRACE_ENABLE_CUDA"], *generate, "--device", "cuda:0")


def check_this_machine(place):
    """The file that nvcc made: without a GPU it says so."""
    command = ["generate", "-m", place.model, "-p", "x", "-n", 2, "--info_layer", 1, "-q", "-t", 1]
    done = place.call(*command, "--device", "cuda")
    if done.returncode == 0:
        if done.stdout != place.run(*command, "--device", "cpu").stdout:
            stop("this machine's GPU says something else:", done.stdout)
        return "as on the host"
    place.fails(1, ["--device cuda:0: there is no CUDA device (cudaError", "--device cpu runs on the host"], *command, "--device", "cuda")
    return "there is none"


def check_real_model(bin_folder, engine):
    given, cache = os.environ.get("ACTIVATION_TRACE_MODEL"), os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    model = pathlib.Path(given or pathlib.Path(cache) / "activation_trace" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    if not model.exists():
        print(f"skipped: no {model}; examples/get_model.sh fetches it")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        for file in (pathlib.Path(bin_folder) / "generate", pathlib.Path(engine) / "cuda_engine.so"):
            shutil.copy2(file, folder)
        place = Place(argparse.Namespace(bin=folder, model=model, data=None, layer=1, final_norm=False, limit=1), pathlib.Path(folder))
        # Three positions at once go through the kernels for few rows, which the CPU does much sooner than tensor cores' work.
        command = ["generate", "-m", model, "-p", "The capital of France is", "-n", 8, "-b", 3, "--decoding_mode", "baseline", "-q"]
        host, device = (place.run(*command, *options).stdout for options in (check_engine.OWN, check_engine.EXACT))
        if host != device or "Paris" not in host:
            stop("SmolLM2 says", repr(device), "and on the host", repr(host))
    print("eight tokens of SmolLM2 are those of the host")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin")
    parser.add_argument("engine")
    parser.add_argument("write_tiny_model", nargs="?")
    parser.add_argument("--real", action="store_true")
    arguments = parser.parse_args()
    if arguments.real:
        return check_real_model(arguments.bin, arguments.engine)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model = folder / "tiny.gguf"
        place = argparse.Namespace(bin=str(folder / "with"), model=model, data=None, layer=1, final_norm=False, limit=1)
        for programs, engine in (("with", True), ("without", False)):
            (folder / programs).mkdir()
            for program in PROGRAMS if engine else PROGRAMS[:1]:
                shutil.copy2(pathlib.Path(arguments.bin) / program, folder / programs)
        shutil.copy2(pathlib.Path(arguments.engine) / "cuda_engine.so", folder / "with")
        written = check_engine.subprocess.run([arguments.write_tiny_model, str(model), "4"], check=False)
        if written.returncode != 0:
            stop("no model is written")
        write_data(folder, 1)
        emulated = Place(place, folder)
        emulated.blocks = 4
        place.bin = str(folder / "without")
        alone = Place(place, folder)
        place.bin = arguments.bin
        real = Place(place, folder)
        check_refusals(emulated, alone)
        machine = check_this_machine(real)
        runs, found = check_runs(emulated)
        check_evaluate(emulated, found)
        print(f"{runs + 1} runs are the same on the device: {found.numbers} numbers differ by at most {found.largest:.1e}; "
              f"this machine's GPU: {machine}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
