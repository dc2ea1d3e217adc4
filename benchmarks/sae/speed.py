"""Speed of one optimisation step and of encoding, every engine in one process, in turn: A B C A B C.

    python benchmarks/sae/speed.py [--folder FOLDER] [--case 512:topk:4096 …] [--engine sparsify …] [--rounds 7]

A case is size:kind:batch. In each round every engine makes one step on the same batch, and the encoder's product alone
is timed beside them, in f32 (torch's, and numpy's, which may be another library) and bf16, into memory that is there
already: the least that one step of a sparse trainer can take, as its backward needs no dense product. CPU seconds at
one thread are what compares on a busy machine; wall seconds are kept too. The first rounds warm up and are not counted.
Then, for TopK, each engine's deployed form encodes the same held-out rows to sparse codes: CSR parts, or the (values,
indices) a library makes itself. One JSON line per case and engine holds every round, so that spreads and ratios within
a round can be had from it.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data import load
from form import sparse
from ours import OURS
from peers import PEERS
from shared import SIZES, Results, batches, default_folder, machine, one_thread, steady_allocator

ENGINES = {**OURS, **PEERS}
CASES = ("512:topk:4096", "512:topk:1024", "512:topk:512", "512:batchtopk:4096", "512:matryoshka:4096")
CASES += ("1024:topk:4096", "128:topk:4096", "128:topk:512")
LEFT_OUT = ("sae-lens, scaled", "sae-lens, whitened")  # the same steps as sae-lens
WARM = 2
STEPS = 1_000  # length of the schedules; only their first steps are made


class Times:
    """CPU and wall seconds of every round, by name."""

    def __init__(self) -> None:
        self.cpu: dict[str, list[float]] = {}
        self.wall: dict[str, list[float]] = {}

    def time(self, name: str, call: Callable[[], Any]) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        made = call()
        self.cpu.setdefault(name, []).append(time.process_time() - cpu)
        self.wall.setdefault(name, []).append(time.perf_counter() - wall)
        return made

    def told(self, name: str, what: str) -> dict[str, list[float]]:
        kept = {"cpu": self.cpu, "wall": self.wall}
        return {f"{what}_{kind}": [round(s, 5) for s in by.get(name, [])[WARM:]] for kind, by in kept.items()}


class Products:
    """The encoder's product alone, x (b, d) times (d, m); by numpy, too."""

    names = ("f32", "f32, numpy", "bf16")

    def __init__(self, batch: int, d: int, width: int) -> None:
        weights = torch.randn(width, d)
        self.weights = {"f32": weights, "bf16": weights.bfloat16()}
        self.out = {name: torch.zeros(batch, width, dtype=w.dtype) for name, w in self.weights.items()}

    def time(self, times: Times, x: torch.Tensor) -> None:
        for name, weights in self.weights.items():
            rows, out = x.to(weights.dtype), self.out[name]
            times.time(name, lambda a=rows, b=weights.T, c=out: torch.mm(a, b, out=c))
        rows, weights, out = (one.numpy() for one in (x, self.weights["f32"], self.out["f32"]))
        times.time("f32, numpy", lambda: np.dot(rows, weights.T, out=out))


def case(folder: Path, name: str, kind: str, batch: int, engines: list[str], rounds: int) -> list[dict[str, Any]]:
    """One line per engine and one per product."""
    size, acts = SIZES[name], load(folder / "data", name)
    running = {
        e: ENGINES[e](size, kind, steps=STEPS, batch=batch, lr=ENGINES[e].default_lr(size), seed=0, rows=acts.train)
        for e in engines
        if kind in ENGINES[e].kinds
    }
    products, stream = Products(batch, size.d, size.width), batches(acts.train, batch, 0)
    steps, encoding = Times(), Times()
    for _ in range(rounds + WARM):
        x = next(stream)
        for e, engine in running.items():
            steps.time(e, lambda one=engine, rows=x: one.step(rows))
        products.time(steps, x)
    if kind == "topk":
        for engine in running.values():
            engine.finish()
        with torch.no_grad():
            for r in range(rounds + WARM):
                x = torch.from_numpy(acts.held[r * batch : (r + 1) * batch])
                for e, engine in running.items():
                    encoding.time(e, lambda one=engine, rows=x: sparse(one.encode(rows)))
                products.time(encoding, x)
    about = {"size": name, "kind": kind, "batch": batch, "rounds": rounds, "load": round(os.getloadavg()[0], 1)}
    names = [*running, *products.names]
    return [{**about, "engine": e, **steps.told(e, "step"), **encoding.told(e, "encode")} for e in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=default_folder())
    parser.add_argument("--case", action="append", help=f"size:kind:batch; default: {' '.join(CASES)}")
    parser.add_argument("--engine", action="append", choices=ENGINES, help="default: all")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steady", action="store_true", help="a malloc that keeps its pages, for every engine")
    parser.add_argument("--again", action="store_true", help="also cases that are in speed.jsonl already")
    options = parser.parse_args()
    if options.steady:
        steady_allocator()
    one_thread()
    engines = options.engine or [name for name in ENGINES if name not in LEFT_OUT]
    results = Results(options.folder / "speed.jsonl")
    for word in options.case or CASES:
        name, kind, batch = word.split(":")
        asked = {"size": name, "kind": kind, "batch": int(batch), "steady": options.steady}
        if results.find(**asked) and not options.again:
            continue
        for one in case(options.folder, name, kind, int(batch), engines, options.rounds):
            results.add({**one, "steady": options.steady, "machine": machine()})
            print(
                f"{word} {one['engine']}: {batch_rate(one, 'step')}, encoding {batch_rate(one, 'encode')}", flush=True
            )
        gc.collect()


def batch_rate(one: dict[str, Any], what: str) -> str:
    """Rows per CPU second, by the median round."""
    seconds = sorted(one[f"{what}_cpu"])
    return f"{one['batch'] / seconds[len(seconds) // 2]:,.0f} rows/s" if seconds else "not timed"


if __name__ == "__main__":
    main()
