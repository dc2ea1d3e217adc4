"""Quality at equal tokens: every engine on the same 1,024,000 rows in the same order, peers tuned.

    python benchmarks/sae/quality.py [--folder FOLDER] [--size 128] [--engine sparsify …] [--kind topk] [--plan tune]

Plans, one cell after another (a cell is size, engine, kind, batch, lr, seed; finished ones are skipped, so that the
command can be stopped and given again):

    tune    batch {512, 1,024, 4,096} × three learning rates (the library's default times FACTORS), seed 0; while the
            best lies at an end, one further out; then √3 to both sides; then seeds 1 and 2 of the best
    near    at a size too dear for that: batch and multiple of the default that won at d = 128 (with --wide also √3 to
            both sides, and further out while the best lies at an end)
    own     bioterp as it comes: its own batch and learning rate, seeds 0, 1, 2
    one     the single cell given by --batch, --factor and --seed

Best: lowest FVU. For thresholded kinds that is `fvu_at_k`, measured with the threshold that gives L0 = k on training
rows, as a library's own threshold may be far from it (`fvu`, `l0`: as deployed). The held-out rows choose, in the
peers' favour. MMCS: mean over true features of the largest cosine with a decoder row; also weighted by their frequency.
Dead: latents active in none of the held-out rows (`dead`: 65,536 rows; `silent`: the first 16,384).
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from data import TRAIN, Acts, load
from measures import at_k, matched, rebuilt
from ours import OURS
from peers import PEERS
from shared import EVERY, KINDS, TOKENS, Results, batches, default_folder, one_thread

ENGINES = {**OURS, **PEERS}
BATCHES = (4_096, 1_024, 512)  # the quick ones first
FACTORS = {"sparsify": (1 / 3, 1, 3), "bioterp": (1 / 3, 1, 3)}  # defaults made for short runs
OTHERS = (1, 3, 10)  # of libraries whose defaults are for 10^8 tokens and more
SEEDS = (0, 1, 2)
FINE = math.sqrt(3)


def measure(acts: Acts, cell: dict[str, Any], tokens: int) -> dict[str, Any]:
    """Train one cell and say how good it is."""
    size, kind = EVERY[cell["size"]], cell["kind"]
    steps = tokens // cell["batch"]
    told = {name: cell[name] for name in ("batch", "lr", "seed")}
    engine = ENGINES[cell["engine"]](size, kind, steps=steps, rows=acts.train, **told)
    stream, cpu, wall = batches(acts.train, cell["batch"], cell["seed"]), 0.0, time.perf_counter()
    for _ in range(steps):
        x = next(stream)
        before = time.process_time()
        engine.step(x)
        cpu += time.process_time() - before
    told = {"tokens": steps * cell["batch"], "cpu": cpu, "wall": time.perf_counter() - wall}
    engine.finish()
    with torch.no_grad():
        told |= {**rebuilt(engine, size, acts.held), **matched(engine.decoder(), acts)}
        if kind != "topk":
            at_k(engine, size, acts.train)
            told |= {f"{name}_at_k": value for name, value in rebuilt(engine, size, acts.held).items()}
    rounded = {name: float(f"{value:.5g}") if math.isfinite(value) else None for name, value in told.items()}
    return {**cell, **rounded, "load": round(os.getloadavg()[0], 1)}


class Study:
    """The cells of one size, run when they are not there yet."""

    def __init__(self, folder: Path, name: str, tokens: int) -> None:
        self.folder, self.name, self.tokens, self.acts = folder, name, tokens, None
        self.results = Results(folder / "quality.jsonl")

    def run(self, engine: str, kind: str, batch: int, factor: float, seed: int) -> dict[str, Any]:
        lr = float(f"{ENGINES[engine].default_lr(EVERY[self.name]) * factor:.4g}")
        cell = {"size": self.name, "engine": engine, "kind": kind, "batch": batch, "lr": lr, "seed": seed}
        asked = {**cell, "asked": self.tokens}
        there = self.results.find(**asked)
        if there:
            return there[0]
        self.acts = self.acts or load(self.folder / "data", self.name)
        one = {**measure(self.acts, cell, self.tokens), "factor": factor, "asked": self.tokens}
        self.results.add(one)
        words = " ".join(
            f"{name} {one[name]}" for name in ("fvu", "l0", "dead", "mmcs", "mmcs_weighted", "cpu") if name in one
        )
        extra = f" at k: {one['fvu_at_k']}" if "fvu_at_k" in one else ""
        print(f"d {self.name} {engine} {kind} batch {batch} lr {lr:.2g} seed {seed}: {words}{extra}", flush=True)
        return one

    def own(self, engine: str, kind: str, seed: int) -> None:
        size = EVERY[self.name]
        self.run(engine, kind, ENGINES[engine].default_batch(self.tokens, TRAIN, size.width / size.k), 1.0, seed)

    def tune(self, engine: str, kind: str, quick: bool) -> None:
        factors = FACTORS.get(engine, OTHERS)
        ran = [self.run(engine, kind, batch, factor, 0) for factor in factors for batch in BATCHES]
        best = self._out(ran, 3)
        if not quick:
            ran += [self._beside(best, best["factor"] * by) for by in (FINE, 1 / FINE)]
            best = min(ran, key=score)
        for seed in SEEDS[1:]:
            self.run(engine, kind, best["batch"], best["factor"], seed)

    def near(self, engine: str, kind: str, wide: bool, seeds: int) -> None:
        small = self.results.find(size="128", engine=engine, kind=kind, seed=0, asked=self.tokens)
        if not small:
            print(f"{engine} {kind} has not been tuned at d = 128: left out", flush=True)
            return
        best = min(small, key=score)
        best = self.run(engine, kind, best["batch"], best["factor"], 0)
        if wide:
            best = self._out([best, *(self._beside(best, best["factor"] * by) for by in (FINE, 1 / FINE))], FINE)
        for seed in SEEDS[1:seeds]:
            self.run(engine, kind, best["batch"], best["factor"], seed)

    def _beside(self, one: dict[str, Any], factor: float) -> dict[str, Any]:
        return self.run(one["engine"], one["kind"], one["batch"], factor, 0)

    def _out(self, ran: list[dict[str, Any]], by: float) -> dict[str, Any]:
        """The best cell, after two more rates at most where it has the highest or the lowest of its batch."""
        for _ in range(2):
            best = min(ran, key=score)
            tried = sorted(one["factor"] for one in ran if one["batch"] == best["batch"])
            if best["factor"] == tried[-1]:
                ran.append(self._beside(best, best["factor"] * by))
            elif best["factor"] == tried[0]:
                ran.append(self._beside(best, best["factor"] / by))
            else:
                break
        return min(ran, key=score)


def score(one: dict[str, Any]) -> float:
    """What tuning makes small; a diverged run is the worst."""
    found = one.get("fvu_at_k", one["fvu"])
    return math.inf if found is None else found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=default_folder())
    parser.add_argument("--size", default="128", choices=EVERY)
    parser.add_argument("--plan", default="tune", choices=("tune", "near", "own", "one"))
    parser.add_argument("--engine", action="append", choices=ENGINES, help="default: every peer, or bioterp for `own`")
    parser.add_argument("--kind", action="append", choices=KINDS, help="default: topk and batchtopk")
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--quick", action="store_true", help="tune without the fine steps")
    parser.add_argument("--wide", action="store_true")
    parser.add_argument("--seeds", type=int, default=1, help="of `near`")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--factor", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    one_thread()
    study = Study(options.folder, options.size, options.tokens)
    for name in options.engine or (OURS if options.plan == "own" else PEERS):
        for kind in options.kind or ("topk", "batchtopk"):
            if kind not in ENGINES[name].kinds:
                continue
            if options.plan == "tune":
                study.tune(name, kind, options.quick)
            elif options.plan == "near":
                study.near(name, kind, options.wide, options.seeds)
            elif options.plan == "own":
                for seed in SEEDS:
                    study.own(name, kind, seed)
            else:
                study.run(name, kind, options.batch or 1_024, options.factor, options.seed)


if __name__ == "__main__":
    main()
