# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""llama.cpp as the engine of the programs, beside our own on the same f32 weights with an f32 cache: the same tokens, layers and
alerts, and numbers within 1e-4; what makes no sense is refused in one line.

    python3 check_engine.py BIN MODEL [--data FOLDER] [--limit 4] [--layer 3] [--final-norm] [--rpc-server PROGRAM] [--libraries FOLDER]

BIN is the folder of the programs, MODEL a GGUF file of f32 weights. Nothing but Python is needed.
"""

import argparse
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "evaluation"))
from run_tools import files_of, write_data  # noqa: E402

OWN = ["--engine", "own", "-t", "1"]
EXACT = ["--engine", "llama.cpp", "-ctk", "f32", "-ctv", "f32", "-t", "1"]
PROMPTS = ["What do bees collect?", "Q: Who wrote Hamlet?\nA:", "the the the", "Where does the sun set? In the"]
ANSWERS = ["-a", " In the west", "-a", " Eight", "-a", " the"]


def stop(*what):
    raise SystemExit(" ".join(map(str, what)))


class Comparison:
    """Own and other numbers: equal but for floats, which differ by at most 1e-4 of 1 or of themselves; in a map of raw logits, whose
    states some positions blow up, of the row's largest."""

    def __init__(self):
        self.numbers, self.largest = 0, 0.0

    def same(self, own, other, place, scale=1.0):
        if isinstance(own, dict) and isinstance(other, dict):
            if own.keys() != other.keys():
                stop(place, list(own), list(other))
            for key in own:
                self.same(own[key], other[key], f"{place}/{key}")
        elif isinstance(own, list) and isinstance(other, list):
            if len(own) != len(other):
                stop(place, len(own), len(other))
            if place.startswith("visualize") and own and all(isinstance(a, float) for a in own):
                scale = max(1.0, *map(abs, own))
            for i, (a, b) in enumerate(zip(own, other)):
                self.same(a, b, f"{place}/{i}", scale)
        elif isinstance(own, float) or isinstance(other, float):
            self.numbers += 1
            difference = abs(own - other) / max(scale, abs(own))
            self.largest = max(self.largest, difference)
            if not difference <= 1e-4:
                stop(place, own, other)
        elif own != other:
            stop(place, own, other)


class Place:
    def __init__(self, arguments, folder):
        self.bin, self.model, self.folder = pathlib.Path(arguments.bin), arguments.model, folder
        self.data = pathlib.Path(arguments.data) if arguments.data else folder
        self.context = ["--info_layer", arguments.layer, *(["--final_norm"] if arguments.final_norm else [])]
        self.limit = arguments.limit

    def call(self, program, *options):
        return subprocess.run([str(self.bin / program), *map(str, options)], capture_output=True, text=True, errors="backslashreplace",
                              timeout=900, stdin=subprocess.DEVNULL)

    def run(self, program, *options):
        done = self.call(program, *options)
        if done.returncode != 0:
            stop(*done.args, "ended with", done.returncode, done.stderr)
        return done

    def both(self, run):
        """What run(name, engine options) gives of either."""
        return run("own", OWN), run("other", EXACT)

    def fails(self, code, words, program, *options):
        done = self.call(program, *options)
        if done.returncode != code or done.stderr.count("\n") != 1 or not all(word in done.stderr for word in words):
            stop(*done.args, "ended with", done.returncode, "and not with", words, done.stderr)


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def check_generate(place, found):
    context = place.context
    early = ["--early_exit_layers", "0,1,2," + str(place.blocks)]
    ways = [["--decoding_mode", "baseline"], ["--decoding_mode", "activation", *context],
            ["--decoding_mode", "activation", *context, "--context_growth", "growing"], ["--decoding_mode", "dola", *early],
            ["--decoding_mode", "activation_dola", *context, *early],
            ["--decoding_mode", "contrastive", "--student", place.model, "--ignore_prefix"],
            ["--decoding_mode", "contrastive", "--student", place.model, "--ignore_prefix", "--student_engine", "own"],
            ["--decoding_mode", "activation", *context, "--temp", "0.8", "-s", "7"], ["--decoding_mode", "activation", *context, "--beams", "3"]]
    for way in ways:
        for prompt in PROMPTS:
            def run(name, engine):
                trace = place.folder / f"{name}.jsonl"
                options = [] if "--beams" in way else ["--trace", trace]
                done = place.run("generate", "-m", place.model, "-p", prompt, "-n", 24, "-q", *way, *options, *engine)
                return done.stdout, read_lines(trace) if options else []
            own, other = place.both(run)
            found.same(own[0], other[0], f"generate {way} {prompt!r}")
            # The candidates of a filter's threshold may differ by one; what was chosen may not.
            chosen = [[{k: step[k] for k in ("id", "log_prob", "entropy", "score", "changed")} for step in steps] for _, steps in (own, other)]
            found.same(*chosen, f"generate {way} {prompt!r}")
    return len(ways) * len(PROMPTS)


def check_score_and_pictures(place, found):
    def score(name, engine):
        trace = place.folder / f"score.{name}.jsonl"
        place.run("score", "-m", place.model, "-p", PROMPTS[1], *ANSWERS, "-q", *place.context, "--trace", trace, *engine)
        return read_lines(trace)
    found.same(*place.both(score), "score")

    def picture(name, engine):
        path = place.folder / f"{name}.json"
        place.run("visualize", "map", "-m", place.model, "-p", PROMPTS[3], "-a", " west", "-q", "-o", path, *engine)
        return json.loads(path.read_text())
    found.same(*place.both(picture), "visualize map")


def check_evaluate(place, found):
    tasks = {"nq": "NQ-open.dev.jsonl", "truthfulqa-mc": "TruthfulQA.csv", "known-facts": "known_1000.json", "sweep nq": "NQ-open.dev.jsonl",
             "sweep truthfulqa-mc": "TruthfulQA.csv"}
    for task, data in tasks.items():
        if not (place.data / data).exists():
            continue
        layer = ["--info_layers", place.context[1]] if task.startswith("sweep") else ["--info_layer", place.context[1]]
        command = ["evaluate", *task.split(), "-m", place.model, "--data-path", place.data / data, "-q", "--limit", place.limit, *layer,
                   *place.context[2:]]

        def run(name, engine):
            path = place.folder / f"{name}.{task.replace(' ', '_')}.jsonl"
            place.run(*command, "--output-path", path, *engine)
            return read_lines(path)
        found.same(*place.both(run), task)
        # A run of one engine is not gone on with by another, nor by the same with another cache.
        begun = place.folder / f"other.{task.replace(' ', '_')}.jsonl"
        before = files_of(begun)
        place.fails(1, ["'engine' was {\"", "and is now \"own\""], *command, "--output-path", begun, "--resume")
        place.fails(1, ["'engine/cache_type_k' was \"f32\" and is now \"f16\""], *command, "--output-path", begun, "--resume", *EXACT[:2], *EXACT[4:])
        if files_of(begun) != before:
            stop("a run that was refused has changed", begun)
    questions = place.folder / "questions.jsonl"
    questions.write_text("".join(json.dumps({"question_id": i, "text": text}) + "\n" for i, text in enumerate(PROMPTS)))

    def chat(name, engine):
        path = place.folder / f"{name}.chat.jsonl"
        place.run("evaluate", "chat", "-m", place.model, "--model-id", "vicuna", "--question-file", questions, "--answer-file", path, "-n", 12,
                  "-q", *engine)
        return path.read_bytes().decode()
    found.same(*place.both(chat), "chat")


def check_refusals(place):
    model = ["-m", place.model, "-p", "x", "-n", 1]
    for option in (["-ngl", 5], ["--num-gpus", 1], ["--max_gpu_memory", 4], ["-ts", "1,1"], ["--rpc", "localhost:1"],
                   ["-fa", "on"]):
        name = {"-ngl": "--n-gpu-layers", "-ts": "--tensor-split", "-fa": "--flash-attn"}.get(option[0], option[0])
        place.fails(2, [f"{name}: needs --engine llama.cpp"], "generate", *model, *option)
    place.fails(2, ["--arithmetic fast: is for our own engine"], "generate", *model, "--engine", "llama.cpp", "--arithmetic", "fast")
    for option in (["-ngl", "-1"], ["-ngl", "many"], ["-ts", "0,0"], ["-ts", "x"], ["--num-gpus", 0], ["-ctv", "q9"], ["-fa", "auto"]):
        place.fails(2, ["expected" if option[0] != "-ctv" else "q9"], "generate", *model, "--engine", "llama.cpp", *option)
    place.fails(2, ["--engine: expected own|llama.cpp, got other"], "generate", *model, "--engine", "other")
    place.fails(2, ["--student_engine: needs --decoding_mode contrastive"], "generate", *model, "--student_engine", "own")
    place.fails(1, ["layer", "99"], "generate", *model, *EXACT, "--decoding_mode", "activation", "--info_layer", 99)
    place.fails(1, [str(place.folder), "is a folder", "GGUF"], "generate", "-m", place.folder, "-p", "x", *EXACT)
    place.fails(1, ["not there.gguf"], "generate", "-m", place.folder / "not there.gguf", "-p", "x", *EXACT)
    place.fails(1, ["expected a context of 1..", "got 10000000"], "generate", *model, *EXACT, "-c", 10000000)
    broken = place.folder / "broken.gguf"
    broken.write_bytes(pathlib.Path(place.model).read_bytes()[:-5000])
    place.fails(1, ["broken.gguf"], "generate", "-m", broken, "-p", "x", *EXACT)
    with socket.socket() as nobody:  # has the port, and does not listen
        nobody.bind(("127.0.0.1", 0))
        done = place.call("generate", *model, *EXACT, "--rpc", f"localhost:{nobody.getsockname()[1]}")
        rpc = "built without it" not in done.stderr
        if done.returncode != 1 or done.stderr.count("\n") != 1 or "--rpc: " not in done.stderr:
            stop("--rpc without a server:", done.returncode, done.stderr)
    # The engine's file and its libraries are looked for when it is asked for.
    alone = place.folder / "alone"
    alone.mkdir()
    shutil.copy2(place.bin / "generate", alone)
    command = [alone / "generate", *model, "-q"]
    for given, code, words in ((["--engine", "own"], 0, []), (EXACT, 2, ["built without llama.cpp", "get_llama_cpp.sh"])):
        done = subprocess.run(list(map(str, [*command, *given])), capture_output=True, text=True)
        if done.returncode != code or not all(word in done.stderr for word in words):
            stop("without the engine's file:", done.returncode, done.stderr)
    (alone / "llama_cpp_engine.so").write_bytes(b"no library")
    done = subprocess.run(list(map(str, [*command, *EXACT])), capture_output=True, text=True)
    if done.returncode != 1 or done.stderr.count("\n") != 1 or "--engine llama.cpp: " not in done.stderr:
        stop("with a file that is no library:", done.returncode, done.stderr)
    return rpc


def check_without_libraries(place, libraries):
    """llama.cpp's own have gone from where they were at build time: to the copies, whose search path is another one."""
    gone = place.folder / "gone"
    gone.mkdir()
    for name in ("generate", "llama_cpp_engine.so", "llama_cpp"):
        content = (place.bin / name).read_bytes()
        if name != "generate" and libraries.encode() not in content:
            print(f"{name} finds llama.cpp without a path of its own: not tried without its libraries")
            return
        (gone / name).write_bytes(content.replace(libraries.encode(), b"/" + b"x" * (len(libraries.encode()) - 1)))
        (gone / name).chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    for command, code in ((["generate", "-m", place.model, "-p", "x", *EXACT], 1), (["llama_cpp", place.model, "x"], 127)):
        done = subprocess.run([str(gone / command[0]), *map(str, command[1:])], capture_output=True, text=True, env=environment)
        said = "--engine llama.cpp: " if command[0] == "generate" else "error while loading shared libraries: "
        if done.returncode != code or done.stderr.count("\n") != 1 or said not in done.stderr or "libllama.so" not in done.stderr:
            stop("without llama.cpp's libraries:", done.args, done.returncode, done.stderr)


def check_servers(place, found, program):
    """Two servers of this machine, which llama.cpp takes for two GPUs."""
    ports, servers = [], []
    try:
        for _ in range(2):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                ports.append(free.getsockname()[1])
            servers.append(subprocess.Popen([program, f"127.0.0.1:{ports[-1]}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        for port in ports:
            for _ in range(100):
                with socket.socket() as client:
                    if client.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
        rpc = ["--rpc", ",".join(f"127.0.0.1:{port}" for port in ports)]
        one_layer = ["--max_gpu_memory", str(150e3 / 2**30)]  # bytes: there is room for one layer, and none for two
        for more, layers in ([], 5), (["-ngl", "2"], 2), (["--num-gpus", "1"], 5), (["-ts", "3,1"], 5), (one_layer, 2):
            def run(name, engine):
                path = place.folder / f"{name}.rpc.jsonl"
                for file in files_of(path):
                    pathlib.Path(f"{path}{file}").unlink()
                more_of = [] if name == "own" else [*rpc, *more]
                place.run("evaluate", "known-facts", "-m", place.model, "--data-path", place.data / "known_1000.json", "-q", "--limit", 2,
                          "--info_layer", place.context[1], "--output-path", path, *engine, *more_of)
                return read_lines(path)
            found.same(*place.both(run), f"rpc {more}")
            engine = json.loads((place.folder / "other.rpc.jsonl.manifest.json").read_text())["engine"]
            if engine["gpu_layers"] != layers or len(engine["devices"]) != (1 if "--num-gpus" in more else 2):
                stop("on RPC servers", more, engine)
        place.fails(1, ["--num-gpus: expected 3 GPUs, and this llama.cpp sees 2"], "generate", "-m", place.model, "-p", "x", *EXACT, *rpc, "--num-gpus", 3)
        place.fails(1, ["--tensor-split: expected 3 GPUs"], "generate", "-m", place.model, "-p", "x", *EXACT, *rpc, "-ts", "1,1,1")
    finally:
        for server in servers:
            server.kill()
            server.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin")
    parser.add_argument("model")
    parser.add_argument("--data")
    parser.add_argument("--limit", default="4")
    parser.add_argument("--layer", default="3")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--final-norm", action="store_true")
    parser.add_argument("--rpc-server")
    parser.add_argument("--libraries", help="the folder of libllama.so: what runs without it is tried, too")
    arguments = parser.parse_args()
    found = Comparison()
    with tempfile.TemporaryDirectory() as name:
        place = Place(arguments, pathlib.Path(name))
        place.blocks = arguments.blocks
        if not arguments.data:
            write_data(name, 1)
        texts = check_generate(place, found)
        check_score_and_pictures(place, found)
        check_evaluate(place, found)
        rpc = check_refusals(place)
        if arguments.libraries:
            check_without_libraries(place, arguments.libraries)
        if rpc and arguments.rpc_server:
            check_servers(place, found, arguments.rpc_server)
        print(f"{texts} texts, scores, pictures, tasks and sweeps: all tokens are those of our own engine; {found.numbers} numbers, which "
              f"differ by at most {found.largest:.1e}; RPC {'tried' if rpc and arguments.rpc_server else 'is not built in'}")


if __name__ == "__main__":
    main()
