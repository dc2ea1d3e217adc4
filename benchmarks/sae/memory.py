"""Peak memory of training and of encoding, one process per engine.

    python benchmarks/sae/memory.py [--folder FOLDER] [--size 512] [--batch 4096] [--kind topk]

What a process holds after importing the library, a first tiny dictionary (so that everything compiled or loaded late is
there) and 16,384 rows of data is its base. The peak of resident memory is then set back (/proc/self/clear_refs), and
read again after a new dictionary has made two steps, and after it has encoded one batch: parameters, gradients, both
moments and all temporaries are in the difference. ru_maxrss would not do: it is inherited through fork.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data import make
from form import sparse
from ours import OURS
from peers import PEERS
from shared import KINDS, SIZES, Results, Size, default_folder, machine, one_thread

ENGINES = {**OURS, **PEERS}
LEFT_OUT = ("sae-lens, scaled", "sae-lens, whitened")
ROWS = 16_384
TINY = Size(16, 64, 4)


def held(what: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process, MiB."""
    found = re.search(rf"{what}:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def child(folder: Path, name: str, engine: str, kind: str, batch: int) -> None:
    """The process of one engine."""
    one_thread()
    rows = np.array(np.load(folder / "data" / f"held-{name}.npy", mmap_mode="r")[:ROWS])
    tiny = np.random.default_rng(0).standard_normal((4_096, TINY.d), dtype=np.float32)
    for size, x, b in ((TINY, tiny, 256), (SIZES[name], rows, batch)):
        base = held("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        lr = ENGINES[engine].default_lr(size)
        one = ENGINES[engine](size, kind, steps=100, batch=b, lr=lr, seed=0, rows=x)
        for at in range(2):
            one.step(torch.from_numpy(x[at * b : (at + 1) * b]))
        told = {"base": base, "training": held("VmHWM") - base}
        if kind == "topk":  # two steps give no threshold that would mean anything
            told["encoding"] = encoding(one, torch.from_numpy(x[:b]))
        del one
    print(json.dumps({what: round(value, 1) for what, value in told.items()}))


def encoding(one: Any, x: torch.Tensor) -> float:
    """What encoding takes beside the dictionary and its training state, MiB."""
    one.finish()
    Path("/proc/self/clear_refs").write_text("5")
    before = held("VmRSS")
    with torch.no_grad():
        parts = sparse(one.encode(x))
    peak = held("VmHWM") - before
    del parts
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=default_folder())
    parser.add_argument("--size", default="512", choices=SIZES)
    parser.add_argument("--batch", type=int, default=4_096)
    parser.add_argument("--kind", action="append", choices=KINDS, help="default: topk and batchtopk")
    parser.add_argument("--engine", action="append", choices=ENGINES)
    parser.add_argument("--again", action="store_true", help="also what is in memory.jsonl already")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.folder, options.size, options.engine[0], options.kind[0], options.batch)
        return
    make(options.folder / "data", options.size)
    results = Results(options.folder / "memory.jsonl")
    for kind in options.kind or ("topk", "batchtopk"):
        for engine in options.engine or [name for name in ENGINES if name not in LEFT_OUT]:
            cell = {"size": options.size, "kind": kind, "engine": engine, "batch": options.batch}
            if kind not in ENGINES[engine].kinds or (results.find(**cell) and not options.again):
                continue
            command = [sys.executable, __file__, "--child", "--folder", str(options.folder), "--engine", engine]
            command += ["--size", options.size, "--kind", kind, "--batch", str(options.batch)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            told = json.loads(done.stdout.splitlines()[-1])
            results.add({**cell, **told, "machine": machine()})
            print(f"{engine} {kind}: {told}", flush=True)


if __name__ == "__main__":
    main()
