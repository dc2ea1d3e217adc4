"""What this run will take on this machine: time by stage, memory, disk; and whether there is as much."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from bioterp import cost
from bioterp.activate import BATCH_CELLS, forward_batches
from bioterp.check.finding import OK, PROBLEM, WARNING, Finding, problem
from bioterp.cost.estimate import measured
from bioterp.cost.machine import Speed, speed
from bioterp.errors import BioterpError
from bioterp.planning import Layer, groups, room_for_activations
from bioterp.records import Run

LONG, SHOWN = 60.0, 4  # seconds under which a stage is not named; how many stages are


def findings(run: Run, source: Any, model: Any, columns: int, measure: bool) -> Iterator[Finding]:
    """Time, memory and disk of the run; columns: of its labels. measure: run the model on a batch to know its pace."""
    size = cost.size_of(run, source, model, columns)
    fast = speed()
    forward = None
    if measure:
        forward = size.cells * (yield from _pace(run, source, model))
    made = cost.estimate(size, fast, forward=forward)
    yield _time(run, made, fast, measure)
    have = available()
    most = _plain(max(made.stages, key=lambda stage: stage.memory).name)
    what = f"at most {_bytes(made.memory)} (in {most}), {_bytes(have)} free"
    short = made.memory > have
    remedy = "fewer terms, fewer or smaller layers, or a larger machine" if short else ""
    yield Finding(WARNING if short else OK, "memory", what, remedy)
    yield from _disk(run, made, size)


def _time(run: Run, made: cost.Estimate, fast: Speed, measured_here: bool) -> Finding:
    """One line with the stages that take longest; all of them as data."""
    longest = sorted(made.stages, key=lambda stage: -stage.seconds)
    shown = [s for s in longest if s.seconds > min(LONG, made.seconds / 20)][:SHOWN]
    told = ", ".join(f"{_plain(stage.name)} {_seconds(stage.seconds)}" for stage in shown)
    pace = (
        "the model's pace measured here" if measured_here else f"a product makes {fast.product / 1e9:.0f} GFLOP/s here"
    )
    people = "; what is asked of people is not in it" if run.cohort is not None else ""
    data = {
        "seconds": made.seconds, "memory": made.memory, "disk": made.kept, "disk_peak": made.peak,
        "stages": [{**vars(stage), "name": _plain(stage.name)} for stage in made.stages],
        "folders": dict(made.disk), "threads": fast.threads,
        "measured": {key: measured()[key] for key in ("machine", "date", "points")},
    }  # fmt: skip
    what = f"about {_seconds(made.seconds)} ({pace}, threads: {fast.threads}): {told}{people}"
    return Finding(OK, "time", what, data=data)


def _pace(run: Run, source: Any, model: Any) -> Any:
    """Seconds per array cell of the model on the first batch of the source, which is run."""
    batch = next(forward_batches(islice(source.read(0, len(source)), 64), BATCH_CELLS))
    arrays = [array for _, array, _ in batch]
    ready = model.prepare(arrays)
    model.run(ready, run.layers)  # the first is a whole one, and warms caches
    begun = time.perf_counter()
    model.run(ready, run.layers)
    took = time.perf_counter() - begun
    cells = sum(array.size // (array.shape[0] if array.ndim > 1 else 1) for array in arrays)
    yield Finding(
        OK, "time", f"{model.name} reads {cells / took:,.0f} bases or voxels a second, down to the last layer"
    )
    return took / cells


def _disk(run: Run, made: cost.Estimate, size: cost.Size) -> Iterator[Finding]:
    """What the run will keep, or, under `disk`, at most hold, against what is free."""
    need, said = made.peak, ""
    if run.disk is not None:
        each: dict[Layer, int] = {
            layer: rows * channels * size.value
            for layer, rows, channels in zip(run.layers, size.rows, size.channels, strict=True)
        }
        try:
            plan = groups(list(run.layers), each, room_for_activations(float(run.disk), max(size.rows), size.k))
        except BioterpError as error:
            yield problem(error, "disk")
            return
        if need > float(run.disk):
            need = float(run.disk)
            said = f"; layers go through the model in {len(plan)} group{'s' * (len(plan) > 1)}: {plan}"
    place = run.out
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    line = f"at most {_bytes(need)} needed, {_bytes(free)} free{said}"
    remedy = "choose another out, or give disk: so that layers take turns" if need > free else ""
    yield Finding(PROBLEM if need > free else OK, "disk", line, remedy)


def available() -> float:
    """Bytes of memory a process can still have."""
    told = Path("/proc/meminfo")
    for line in told.read_text(encoding="ascii").splitlines() if told.is_file() else ():
        if line.startswith("MemAvailable:"):
            return float(line.split()[1]) * 1024
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _plain(stage: str) -> str:
    """A stage as run.json calls it, without the modality its coefficients are of."""
    return stage.partition(".")[0]


def _bytes(n: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n >= 0.95 * size:
            return f"{n / size:.1f} {unit}"
    return f"{n / 1e3:.0f} kB"


def _seconds(s: float) -> str:
    if s < 100:
        return f"{s:.0f} s"
    return f"{s / 60:.0f} min" if s < 6_000 else f"{s / 3_600:.0f} h" if s < 172_800 else f"{s / 86_400:.0f} days"
