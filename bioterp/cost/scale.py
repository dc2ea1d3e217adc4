"""The design at sizes nobody here has run: a human genome through a 7B model, 50,000 scans, 100,000 exomes.

Arithmetic on stated assumptions and on the coefficients that ship (`measured.json`), so that whoever doubts one can
change it: `figures(machine=Machine(utilisation=0.2))`. What is a floor, and not a forecast, is called one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from bioterp.cost import law
from bioterp.cost.estimate import applied, measured, seconds, shelf
from bioterp.cost.machine import Speed
from bioterp.cost.sizes import Size

GPUS = (1, 8, 64)
HOUR = 3_600.0


@dataclass(frozen=True)
class Machine:
    """Of one GPU and what stands beside it. The first three are the vendor's figures of an H200.

    peak: bfloat16 products, FLOP/s. memory, bandwidth: of the GPU, bytes, bytes/s. utilisation: of the peak that
    inference of long windows with hooks keeps; an assumption. cores: CPU cores per GPU, each as fast as the one
    measured.json is of. write: bytes/s to disk per GPU, an assumption; shared: bytes/s of one file system for all.
    """

    peak: float = 989e12
    memory: float = 141e9
    bandwidth: float = 4.8e12
    utilisation: float = 0.35
    cores: int = 16
    write: float = 2e9
    shared: float = 4e10


@dataclass(frozen=True)
class Case:
    """A study: its Size; what its reading costs in CPU seconds; what it holds in one process, by name, in bytes."""

    name: str
    size: Size
    reading: float
    held: dict[str, float] = field(default_factory=dict)


ANALYSES, BASELINES = ("detection", "enrichment"), ("random-directions",)


def genome() -> Case:
    """One human genome: 2.94 Gb that are known, both strands, windows of 8,192 bp with 2,048 before them; Evo 2 7B,
    block 26 of 32, 4,096 channels kept in bfloat16; 32,768 features, k 64, fitted on 1 billion cells; 60 terms."""
    rows = int(2 * 2.94e9)
    cells = int(rows * (8192 + 2048) / 8192)
    whole = 2 * 7e9 * cells
    size = Size(
        "dna", cells, whole * 26 / 32, whole, int(14e9), (rows,), (4096,), 2, 32_768, 64, 1, 1_000_000_000, 60, 0.2,
        ANALYSES, BASELINES, (),
    )  # fmt: skip
    return Case(
        "a human genome, 7B model",
        size,
        0.0,
        {"labels": _labels(size), "shift spectrum of a pair on chromosome 1": 2 * 2.49e8 * 0.2 * 16},
    )


def scans() -> Case:
    """50,000 T1 scans of 8.7 M voxels at 1 mm; an encoder of 2 TFLOP a scan whose cells are 8 mm, 17,000 of them, of
    512 channels in float32; 8,192 features, k 32; 100 terms. Reading, turning and normalising a scan: 0.6 CPU s
    (measured once, MNI152 at 1 mm)."""
    many, voxels, cells = 50_000, 8_700_000, 17_000
    size = Size(
        "volume", many * voxels, many * 2e12, None, int(4e8), (many * cells,), (512,), 4, 8_192, 32, 1, 200_000_000,
        100, 0.2, ANALYSES, BASELINES, (),
    )  # fmt: skip
    held = {"labels": _labels(size), "headers opened by every process (s)": many * 0.005}
    return Case("50,000 scans", size, many * 0.6, held)


def exomes() -> Case:
    """100,000 exomes: 35 Mb of targets, windows of 512 bp with 256 before them, both strands; about 100 distinct
    sequences of a window among 200,000 haplotypes (one variant every 5 bp, most of them in one person); the model,
    layer and dictionary of the genome. 2e7 calls of a VCF are read in a CPU second (an assumption)."""
    people, targets, window, distinct = 100_000, 35e6, 512, 100
    windows = targets / window * 2
    rows = int(windows * distinct * window)
    cells = int(rows * (window + 256) / window)
    whole = 2 * 7e9 * cells
    size = Size(
        "dna", cells, whole * 26 / 32, whole, int(14e9), (rows,), (4096,), 2, 32_768, 64, 1, 1_000_000_000, 60, 0.2,
        ANALYSES, BASELINES, (),
    )  # fmt: skip
    records = targets / 5
    calls = records * people
    held = {
        "carriers, one number a haplotype and window": windows / 2 * 2 * people * 4,
        "edits, 0.3 kB each": records * 300,
        "people x features": people * 32_768 * 4.0,
    }
    return Case("100,000 exomes, 7B model", size, calls / 2e7, held)


def _labels(size: Size) -> float:
    """Bytes of memory that painting all labels in one process takes, by the measured coefficients."""
    name = f"labels.{size.modality}"
    return applied(measured()["memory"].get(name, {}), law.memory(size)[name])


CASES = (genome, scans, exomes)


def hours(case: Case, machine: Machine, gpus: int) -> dict[str, float]:
    """{stage: hours} on so many GPUs, each with its cores and its share of the disks."""
    size, rate = case.size, machine.peak * machine.utilisation * gpus
    rows, d, m = size.rows[0], size.channels[0], size.features
    write = min(machine.write * gpus, machine.shared)
    one = Speed(measured()["speed"], measured()["speed"], 1)
    work, cores = law.work(size), machine.cores * gpus
    # 16 rows of weights, moments and gradients are moved per active pair of a step; 8 GPUs share a fit at most.
    few = min(gpus, 8)
    learn = size.tokens * (2.0 * m * d / (machine.peak * machine.utilisation) + size.k * d * 16 * 4 / machine.bandwidth)
    made = {
        "reading (CPU)": case.reading / cores,
        "model, one pass": size.flops / rate,
        "fit": learn / few,
        "encode": 2.0 * rows * m * d / rate,
        "activations to disk, if they are kept": rows * d * size.value / write,
        "codes to disk": rows * (size.k * 8 + 8) / write,
    }
    cpu = [name for name in work if name.startswith(("labels", "analyses", "known"))]
    took = sum(seconds(measured()["time"].get(shelf(name), {}), work[name], measured()["speed"], one) for name in cpu)
    made["labels, detection, relations (CPU)"] = took / cores
    return {name: value / HOUR for name, value in made.items()}


def figures(machine: Machine | None = None, **changes: Any) -> pd.DataFrame:
    """case, stage, hours on 1, 8 and 64 GPUs; changes: fields of Machine."""
    machine = replace(machine or Machine(), **changes)
    lines = []
    for case in (make() for make in CASES):
        by = {gpus: hours(case, machine, gpus) for gpus in GPUS}
        for stage in by[1]:
            lines.append({"study": case.name, "stage": stage, **{f"{n} GPU": by[n][stage] for n in GPUS}})
    return pd.DataFrame(lines)


def room() -> pd.DataFrame:
    """case, what, TB: what lies on disk, and what one process would hold if the whole were one shard."""
    lines = []
    for case in (make() for make in CASES):
        size = case.size
        rows, d = size.rows[0], size.channels[0]
        kept = {
            "activations on disk": rows * d * size.value / 1e12,
            "codes on disk": rows * (size.k * 8 + 8) / 1e12,
            "counts of one shard in memory": size.features * size.columns * 64 * 2 * 8 / 1e12,
            **{f"{name} in memory": value / 1e12 for name, value in case.held.items() if not name.endswith("(s)")},
        }
        lines += [{"study": case.name, "what": what, "TB": value} for what, value in kept.items()]
    return pd.DataFrame(lines)
