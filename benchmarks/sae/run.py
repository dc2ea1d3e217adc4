"""Everything of this folder with one command: an environment with the peers and bioterp, data, measurements, tables.

    python benchmarks/sae/run.py [--folder FOLDER] [--quick] [--only speed …]

Needs Python 3.11 or later and a package index, nothing else. FOLDER (default: $SAE_BENCH, or results/sae) takes the
environment (2.3 GB), the data (1.7 GB), JSON lines and tables.md. It can be stopped at any time and given again: what
is there is not made again. One thread. In full it takes some 14 hours of one core, most of them for the dense peers at
d = 512; --quick (two hours) tunes at d = 128 without the fine steps and, at d = 512, runs sparsify and bioterp alone.

The peers want versions of other packages that exclude each other (dictionary_learning: nnsight < 0.4), and what they
need of those is little. So requirements.txt names every package with a version that works, installed without asking
after dependencies.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TORCH = "torch==2.13.0"
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
DENSE = ("dictionary_learning", "sae-lens", "sae-lens, whitened", "overcomplete")

Command = list[str]


def plans(quick: bool) -> dict[str, list[Command]]:
    """Stage → scripts with their arguments, in the order in which they run."""
    dense = [word for name in DENSE for word in ("--engine", name)]
    tune = ["quality.py", "--size", "128", "--plan", "tune"]
    small: list[Command] = [["quality.py", "--size", size, "--plan", "own"] for size in ("128", "512")]
    few = ["quality.py", "--size", "512", "--plan", "near", "--engine", "sparsify"]
    every: list[Command] = [
        ["quality.py", "--size", "512", "--plan", "tune", "--engine", "sparsify"],
        ["quality.py", "--size", "512", "--plan", "near", "--wide", "--seeds", "3", *dense],
    ]
    speed = ["--case", "512:topk:4096", "--case", "512:topk:1024", "--rounds", "3"]
    return {
        "data": [["data.py"]],
        "memory": [["memory.py"]],
        "speed": [["speed.py", *(speed if quick else [])]],
        "quality": [[*tune, *(["--quick"] if quick else [])], *small, *([few] if quick else every)],
    }


def environment(folder: Path) -> Path:
    """The Python of an environment with everything in it; made when it is not there, or requirements.txt is newer."""
    python, ready, wanted = folder / "venv/bin/python", folder / "venv/.ready", HERE / "requirements.txt"
    if ready.exists() and ready.stat().st_mtime >= wanted.stat().st_mtime:
        return python
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, TORCH, "setuptools>=77", "wheel"], check=True)
    subprocess.run([*pip, "--no-deps", "-r", str(wanted)], check=True)
    root = str(HERE.parent.parent)
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--editable", root], check=True)
    ready.touch()
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("SAE_BENCH", "results/sae")))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", choices=("data", "memory", "speed", "quality", "tables"))
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    python = environment(folder)
    for stage, commands in plans(options.quick).items():
        if options.only and stage not in options.only:
            continue
        for name, *arguments in commands:
            print(f"— {stage}: {name} {' '.join(arguments)}", flush=True)
            command = [str(python), "-W", "ignore", str(HERE / name), "--folder", str(folder), *arguments]
            subprocess.run(command, check=True, env={**os.environ, **ONE_THREAD})
    command = [str(python), "-W", "ignore", str(HERE / "tables.py"), "--folder", str(folder)]
    tables = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    (folder / "tables.md").write_text(tables)
    print(tables)


if __name__ == "__main__":
    main()
