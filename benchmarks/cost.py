"""The cost model of `bioterp check`: measured on small runs, fitted, held against larger ones it has not seen.

    python benchmarks/cost.py measure POINTS.jsonl [--only NAME …]   # runs what the file lacks
    python benchmarks/cost.py fit POINTS.jsonl --out measured.json  # coefficients, without what is held out
    python benchmarks/cost.py report POINTS.jsonl --per measured.json

A point is a whole run in a process of its own: CPU seconds and peak of anonymous memory (RssAnon, polled every 20 ms)
of every stage, bytes by folder at the end. Coefficients are non-negative and minimise squared errors relative to the
geometric mean of measured and fitted.
Data: M. genitalium and hippocampus crops of the shared folder (BIOTERP_SHARED).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from common import genomics, imaging, machine, row, tiny_llama

BLOCK = 1_536  # bp: two windows
HELD = ("genome", "longer", "sixty")
# What the run file of a point says besides. Sizes differ in everything, so that every coefficient has something to hang
# on. tiny: channels of a random Llama of two blocks in place of the shipped model.
POINTS: dict[str, dict[str, Any]] = {
    "short": {"bases": 20_000, "layers": [1], "dictionary": {"width": 512, "k": 16, "tokens": 40_000}},
    "wide": {"bases": 30_000, "layers": [0], "dictionary": {"width": 1024, "k": 32, "tokens": 25_000}},
    "two": {"bases": 15_000, "layers": [0, 1], "dictionary": {"width": 384, "k": 8, "tokens": 30_000, "seeds": [0, 1]}},
    "narrow": {"tiny": 64, "bases": 90_000, "layers": [1], "dictionary": {"width": 768, "k": 12, "tokens": 90_000}},
    "long": {"tiny": 48, "bases": 240_000, "layers": [0], "dictionary": {"width": 320, "k": 10, "tokens": 50_000}},
    "flat": {"tiny": 96, "bases": 50_000, "layers": [0, 1], "dictionary": {"width": 256, "k": 24, "tokens": 60_000}},
    "eight": {"scans": 8, "layers": [4], "dictionary": {"width": 512, "k": 8, "tokens": 60_000}},
    "twelve": {"scans": 12, "layers": [2, 4], "dictionary": {"width": 256, "k": 6, "tokens": 50_000, "seeds": [0, 1]}},
    "twenty": {"scans": 20, "layers": [4, 6], "dictionary": {"width": 384, "k": 12, "tokens": 40_000}},
    "longer": {"bases": 100_000, "layers": [1], "dictionary": {"width": 640, "k": 20, "tokens": 120_000}},
    "genome": {"tiny": 80, "bases": 580_076, "layers": [1], "dictionary": {"width": 512, "k": 16, "tokens": 300_000}},
    "sixty": {"scans": 60, "layers": [2, 4, 6], "dictionary": {"width": 512, "k": 8, "tokens": 100_000}},
}


def run_file(name: str, folder: Path) -> Path:
    """The run file of a point, with what it reads."""
    told = dict(POINTS[name])
    bases, scans, tiny = told.pop("bases", 0), told.pop("scans", 0), told.pop("tiny", 0)
    tree: dict[str, Any] = {"out": "results", **told}
    if bases:
        shared = genomics(None) / "bacteria"
        fasta = str(shared / "mycoplasma_genitalium_g37.fa.gz")
        cut = {"window": 768, "halo": 128, "strands": "+", "blocks": BLOCK, "regions": "part.bed", "duplicates": 2.0}
        tree["source"] = {"kind": "dna", "fasta": fasta, **cut}
        tree["labels"] = {"genes": {"path": str(shared / "mycoplasma_genitalium_g37.gff3.gz")}}
        tree["model"] = {"name": "bioterp/dna-small"}
        if tiny:
            tree["model"] = {"name": tiny_llama(folder / "model", tiny, 2, 1024), "alphabet": "ACGTN"}
        contig = _contig(fasta)
        (folder / "part.bed").write_text(f"{contig}\t0\t{bases}\n")
        tree["seed"] = _seed([f"{contig}:{i}" for i in range(-(-bases // BLOCK))])
    else:
        shared = imaging(None) / "msd_hippocampus"
        images = sorted((shared / "images").glob("*.nii.gz"))[:scans]
        lines = ["scan\tpath\tlabel\tblock"]
        for i, path in enumerate(images):
            stem = path.name.removesuffix(".nii.gz")
            lines.append(f"{stem}\t{path}\t{shared / 'labels' / path.name}\t{i}")
        tree["seed"] = _seed([str(i) for i in range(len(images))])
        (folder / "scans.tsv").write_text("\n".join(lines) + "\n")
        tree["source"] = {"kind": "scans", "items": "scans.tsv"}
        tree["labels"] = {"parts": {"column": "label", "names": {1: "anterior", 2: "posterior"}}}
        tree["model"] = {"name": "bioterp/scan-small"}
    import yaml

    (folder / "run.yaml").write_text(yaml.safe_dump(tree))
    return folder / "run.yaml"


def _seed(blocks: list[str]) -> int:
    """The first seed that splits few blocks about as it splits many."""
    from bioterp.rows import split_of

    def share(seed: int, split: str) -> float:
        return [split_of(block, seed) for block in blocks].count(split) / len(blocks)

    return next(s for s in range(1_000) if all(0.14 < share(s, split) < 0.26 for split in ("valid", "test")))


def _contig(fasta: str) -> str:
    from bioterp.sequence import Sequences

    return next(iter(Sequences(Path(fasta)).contigs))


class Watch:
    """CPU seconds and the peak of anonymous memory by stage, those of inner stages apart."""

    def __init__(self) -> None:
        self.stack, self.cpu, self.peak = ["start"], defaultdict(float), defaultdict(float)
        self.mark, self.done = time.process_time(), False
        self.cpu["start"] = self.mark
        threading.Thread(target=self._poll, daemon=True).start()

    def _poll(self) -> None:
        status = Path("/proc/self/status")
        while not self.done:
            found = re.search(r"RssAnon:\s+(\d+)", status.read_text())
            name = self.stack[-1]
            self.peak[name] = max(self.peak[name], int(found[1]) * 1024 if found else 0)
            time.sleep(0.02)

    def turn(self) -> None:
        now = time.process_time()
        self.cpu[self.stack[-1]] += now - self.mark
        self.mark = now

    @contextmanager
    def timed(self, name: str):
        self.turn()
        self.stack.append(name)
        print(name, f"{now:.1f}" if (now := time.process_time()) else "", file=sys.stderr, flush=True)
        try:
            yield
        finally:
            self.turn()
            self.stack.pop()


def point(name: str) -> dict[str, Any]:
    """Run a point in this process: its size, the machine, and what every stage took."""
    watch = Watch()
    from bioterp import config, cost
    from bioterp.cost import machine as speeds
    from bioterp.study import Study

    with tempfile.TemporaryDirectory(prefix="bioterp-cost-") as temporary:
        file = run_file(name, Path(temporary))
        run = config.load(file)
        fast = speeds.speed()
        study = Study(run)
        model = study._model(False)
        model.hash  # noqa: B018 (computed once, at start-up)
        study._timed = watch.timed  # type: ignore[method-assign]
        watch.turn()
        watch.stack[0] = "pages"
        study.execute()
        watch.turn()
        watch.done = True
        truth = study.truth(study.rows())
        size = cost.size_of(run, study.source, model, len(truth.columns))
        held = defaultdict(int)
        for path in run.out.rglob("*"):
            if path.is_file():
                held[path.relative_to(run.out).parts[0]] += path.stat().st_size
    after = speeds.speed()
    rate = max(fast.product, after.product)
    told = {"name": name, "size": vars(size), "speed": rate, "cpu": dict(watch.cpu), "memory": dict(watch.peak)}
    return {**told, "disk": dict(held), "machine": machine(), "date": str(date.today())}


# ---------------------------------------------------------------------- points by stage of the law


def stages(told: dict[str, Any]) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """(seconds, bytes of memory, bytes of disk) of a point by the names of `bioterp.cost.law`."""
    modality = told["size"]["modality"]
    seconds, memory, disk = defaultdict(float), defaultdict(float), defaultdict(float)
    for name, took in told["cpu"].items():
        seconds[_stage(name, modality)] += took
    for name, peak in told["memory"].items():
        memory[_stage(name, modality)] = max(memory[_stage(name, modality)], peak)
    for name, held in told["disk"].items():
        known = {"activations": name, "activations-random-weights": name, "dictionaries": name}
        disk[known.get(name) or ("labels and rows" if name in ("labels", "rows") else "pages")] += held
    return dict(seconds), dict(memory), dict(disk)


def _stage(name: str, modality: str) -> str:
    first, _, rest = name.partition(" ")
    if first.startswith("activations"):
        return f"{first}.{modality}"
    if first in ("rows", "labels"):
        return f"labels.{modality}"
    if first == "analyses":
        if rest in ("random-weights", "random-directions"):
            return "analyses sparse baselines"
        if rest in ("neurons", "pca"):
            return "analyses dense baselines"
        return "analyses dictionary" if rest == "dictionary" else f"analyses source baselines.{modality}"
    return {"exports": "pages"}.get(first, first)


def fit(points: list[dict[str, Any]], held: tuple[str, ...] = HELD) -> dict[str, Any]:
    """Non-negative coefficients of every stage from the points that are not held out."""
    import numpy as np
    from scipy.optimize import nnls

    from bioterp.cost import law
    from bioterp.cost.estimate import shelf
    from bioterp.cost.sizes import Size

    mine = [one for one in points if one["name"] not in held]
    speed = max(float(one["speed"]) for one in mine)  # what is lower is a neighbour's doing: they share the machine
    lines: dict[str, dict[str, list[tuple[dict[str, float], float]]]] = {
        k: defaultdict(list) for k in ("time", "memory", "disk")
    }
    for one in mine:
        size = Size(**one["size"])
        seconds, memory, disk = stages(one)
        base = memory["start"]
        for name, amounts in law.work(size).items():
            lines["time"][shelf(name)].append((dict(amounts), seconds.get(name, 0.0)))
        lines["memory"]["start"].append((dict(law.work(size)["start"]), base))
        for name, amounts in law.memory(size).items():
            lines["memory"][shelf(name)].append((dict(amounts), max(memory.get(name, 0.0) - base, 0.0)))
        for name, amounts in law.disk(size).items():
            lines["disk"][shelf(name)].append((dict(amounts), disk.get(name, 0.0)))
    made: dict[str, Any] = {
        "machine": re.sub(r", load averages.*", "", mine[0]["machine"]), "date": mine[0]["date"], "speed": speed,
        "points": len(mine),
    }  # fmt: skip
    for kind, by_stage in lines.items():
        made[kind] = {}
        for stage, told in by_stage.items():
            names = sorted({name for amounts, _ in told for name in amounts})
            x = np.array([[amounts.get(name, 0.0) for name in names] for amounts, _ in told])
            y = np.array([took for _, took in told])
            found, least = np.zeros(len(names)), 0.02 * max(y.max(), 1e-9)
            for turn in range(6):
                # Errors relative to the measured alone would favour coefficients that are too small.
                other = np.maximum(x @ found, least) if turn else np.maximum(y, least)
                weight = 1 / np.sqrt(np.maximum(y, least) * other)
                scale = np.maximum(np.abs(x * weight[:, None]).max(0), 1e-30)
                found = nnls(x * weight[:, None] / scale, y * weight)[0] / scale
            made[kind][stage] = {n: float(f"{c:.4g}") for n, c in zip(names, found, strict=True) if c > 0}
    return made


def report(points: list[dict[str, Any]], per: dict[str, Any]) -> None:
    """Predicted over measured, stage by stage of what was held out, and in all of every point."""
    from bioterp.cost.estimate import estimate
    from bioterp.cost.machine import Speed
    from bioterp.cost.sizes import Size

    row(
        "point",
        "held out",
        "CPU s",
        "predicted / measured",
        "peak MiB",
        "predicted / measured",
        "disk MB",
        "predicted / measured",
    )
    row(*["---"] * 8)
    stagewise = []
    for one in points:
        seconds, memory, disk = stages(one)
        made = estimate(Size(**one["size"]), Speed(per["speed"], per["speed"], 1), per)
        total, peak, kept = sum(seconds.values()), max(memory.values()), sum(disk.values())
        ratios = [f"{made.seconds / total:.2f}", f"{made.memory / peak:.2f}", f"{made.kept / kept:.2f}"]
        cells = [f"{total:.0f}", ratios[0], f"{peak / 2**20:.0f}", ratios[1], f"{kept / 1e6:.0f}", ratios[2]]
        row(one["name"], "yes" if one["name"] in HELD else "no", *cells)
        for stage in made.stages if one["name"] in HELD else ():
            took, held = seconds.get(stage.name, 0.0), memory.get(stage.name, 0.0)
            stagewise.append((one["name"], stage.name, took, stage.seconds, held, stage.memory))
    print()
    row("point", "stage", "CPU s", "predicted", "peak MiB", "predicted")
    row(*["---"] * 6)
    for name, stage, took, said, peak, told in stagewise:
        row(name, stage, f"{took:.1f}", f"{said:.1f}", f"{peak / 2**20:.0f}", f"{told / 2**20:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["measure", "fit", "report", "point"])
    parser.add_argument("points")
    parser.add_argument("--only", nargs="*", default=list(POINTS))
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--per", type=Path, default=None)
    parser.add_argument("--all", action="store_true", help="fit: hold nothing out, as for the coefficients that ship")
    options = parser.parse_args()
    if options.what == "point":
        print(json.dumps(point(options.points)))
        return
    file = Path(options.points)
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    have = list({one["name"]: one for one in lines}.values())  # a point that was measured again counts once
    if options.what == "measure":
        for name in options.only:
            if name not in {one["name"] for one in have}:
                command = [sys.executable, __file__, "point", name]
                made = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1]
                with file.open("a") as out:
                    out.write(made + "\n")
                print(name, f"{sum(json.loads(made)['cpu'].values()):.0f} CPU s", flush=True)
    elif options.what == "fit":
        text = json.dumps(fit(have, () if options.all else HELD), indent=1) + "\n"
        options.out.write_text(text) if options.out else print(text)
    else:
        report(have, json.loads(options.per.read_text()) if options.per else {})


if __name__ == "__main__":
    main()
