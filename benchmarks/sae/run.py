"""Everything of this folder with one command: an environment with the peers and bioterp, data, measurements, tables.

    python benchmarks/sae/run.py [--folder FOLDER] [--full] [--only speed …]

Needs Python 3.11 or later and a package index, nothing else. FOLDER (default: $SAE_BENCH, or results/sae) takes the
environment (2.3 GB), the data (1.7 GB), JSON lines and tables.md. It can be stopped at any time and given again: every
measured cell is a line that is kept and not made again. One thread. What matters most comes first:

    data       synthetic rows; rows of real activations (real.py), left out where $BIOTERP_SHARED has no data
    quality    d = 128: bioterp, then the peers' TopK tuned; real activations, the peers at their best of d = 128;
               d = 512: bioterp, sparsify
    speed      d = 512, TopK, batches of 4,096 and 1,024
    memory     d = 512
    batches    d = 128: the peers' BatchTopK and Matryoshka, tuned

That takes some four hours of one core, of which the first is the quality of TopK and the last two are `batches`; the
tuning tries three batches and three rates (further out while the best lies at an end). With --full some 14 hours:
finer rates, every case of speed, sparsify tuned at d = 512 too and the dense peers there, near their best of d = 128,
three seeds.

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
KINDS = [word for kind in ("topk", "batchtopk", "matryoshka") for word in ("--kind", kind)]
REAL = {"ecoli": "data/genomics/bacteria", "hippocampus": "data/imaging/msd_hippocampus"}
TUNED = ("dictionary_learning", "sparsify", "overcomplete", "sae-lens", "sae-lens, scaled", "sae-lens, whitened")
DENSE = ("dictionary_learning", "sae-lens", "sae-lens, whitened", "overcomplete")

Command = list[str]


def plans(full: bool) -> dict[str, list[Command]]:
    """Stage → scripts with their arguments, in the order in which they run."""
    peers, fine = ["--plan", "near"], [] if full else ["--quick"]
    tune = ["quality.py", "--size", "128", "--plan", "tune", *fine]
    own = ["quality.py", "--plan", "own", "--engine", "bioterp"]
    quality: list[Command] = [
        [*own, "--size", "128", *KINDS],
        *([*tune, "--kind", "topk", "--engine", name] for name in TUNED),
        *([*own, "--size", name, *KINDS] for name in REAL),
        *(["quality.py", "--size", name, *peers, "--seeds", "3", "--kind", "topk"] for name in REAL),
        [*own, "--size", "512", "--kind", "topk"],
        ["quality.py", "--size", "512", *peers, "--engine", "sparsify"],
    ]
    batches: list[Command] = [[*tune, "--kind", "batchtopk", "--kind", "matryoshka"]]
    if full:
        dense = [word for name in DENSE for word in ("--engine", name)]
        batches += [
            ["quality.py", "--size", "128", "--plan", "own"],  # with selection in bfloat16, too
            ["quality.py", "--size", "512", "--plan", "own"],
            ["quality.py", "--size", "512", "--plan", "tune", "--engine", "sparsify"],
            ["quality.py", "--size", "512", *peers, "--wide", "--seeds", "3", *dense],
        ]
    speed = [] if full else ["--case", "512:topk:4096", "--case", "512:topk:1024", "--rounds", "3"]
    return {
        "data": [["data.py"]],
        "quality": quality,
        "speed": [["speed.py", *speed]],
        "memory": [["memory.py"]],
        "batches": batches,
    }


def plan(full: bool) -> dict[str, list[Command]]:
    """`plans`, without real activations where their data are not at hand."""
    shared = Path(os.environ.get("BIOTERP_SHARED", HERE.parent.parent.parent / "shared"))
    missing = [name for name, folder in REAL.items() if not (shared / folder).is_dir()]
    for name in missing:
        print(f"— {name} is left out: {shared / REAL[name]} is not there (set BIOTERP_SHARED)", flush=True)
    return {
        stage: [command for command in commands if not set(missing) & set(command)]
        for stage, commands in plans(full).items()
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
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", action="append", choices=[*plans(False), "tables"])
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    python = environment(folder)
    for stage, commands in plan(options.full).items():
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
