"""BED9: the stretches where a feature is active, with strand, score and colour."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.export import safe, stems
from bioterp.export.tracks import AT_ONCE, STRANDS, CoordinateOrder
from bioterp.export.var import best_rows
from bioterp.field import Field
from bioterp.store import writing_file

# Okabe–Ito blue and vermillion: told apart by everyone.
COLOUR = {"+": "0,114,178", "-": "213,94,0"}


def cuts_of(
    field: Field,
    columns: Sequence[int],
    table: pd.DataFrame | None,
    threshold: float | Sequence[float] | dict[int, float] | None,
) -> Array:
    """(k,) threshold per column: given, else that of the feature's best term in `table`, else 0 (any activity)."""
    if isinstance(threshold, dict):
        return np.array([float(threshold.get(column, 0)) for column in columns])
    if threshold is not None:
        given = np.atleast_1d(np.asarray(threshold, np.float64))
        if len(given) not in (1, len(columns)):
            raise InputError(f"got {len(given)} thresholds for {len(columns)} features; give one, or one each")
        return np.full(len(columns), given)
    if table is None:
        return np.zeros(len(columns))
    if "threshold" not in table.columns:
        raise InputError("the table has no column 'threshold'; give a detection table, or threshold=")
    best = best_rows(field, table).set_index("feature")["threshold"]
    return np.asarray(best.reindex(list(columns)).fillna(0), np.float64)


def write_bed(field: Field, columns: Sequence[int], folder: Path, cuts: Array) -> list[Path]:
    """One BED9 per feature (and sample), sorted; score 1000 is the feature's maximum.

    Two passes: the maxima first, then the stretches, which are spooled per strand and merged, so that neither
    the genome nor a feature that fires often has to fit in memory.
    """
    order = CoordinateOrder(field.rows)
    tracks = order.tracks()
    top = np.zeros(len(columns))
    for sample, strand in tracks:
        for batch in order.batches(field, columns, sample, strand):
            top = np.fmax(top, np.nan_to_num(batch.values, nan=0.0).max(0))
    names = stems(field, columns)
    samples = sorted({sample for sample, _ in tracks})
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for sample in samples:
        middle = f".{safe(sample)}" if len(samples) > 1 else ""
        for at in range(0, len(columns), AT_ONCE):
            some = slice(at, at + AT_ONCE)
            files = [folder / f"{name}{middle}.bed" for name in names[some]]
            with TemporaryDirectory(prefix=".partial-", dir=folder) as spool:
                spools: list[list[Path]] = [[] for _ in files]
                for strand in [strand for other, strand in tracks if other == sample]:
                    made = [Path(spool) / f"{k}.{STRANDS[strand]}" for k in range(len(files))]
                    stretches = _stretches(order, field, columns[some], cuts[some], sample, strand)
                    _spool(stretches, made, strand, names[some], top[some])
                    for held, path in zip(spools, made, strict=True):
                        held.append(path)
                for file, held in zip(files, spools, strict=True):
                    _merge(held, file)
            written += files
    return written


# column, contig, start, end, maximum
Stretch = tuple[int, str, int, int, float]


def _stretches(
    order: CoordinateOrder, field: Field, columns: Sequence[int], cuts: Array, sample: str, strand: str
) -> Iterator[Stretch]:
    """The stretches of touching cells above the threshold, of each column in rising order."""
    last: dict[int, Stretch] = {}  # may go on over the edge between two batches
    for batch in order.batches(field, columns, sample, strand):
        for k, cut in enumerate(cuts):
            value = batch.values[:, k]
            on = np.flatnonzero(value > cut)
            if not len(on):
                continue
            start, end = batch.start[on], batch.end[on]
            first = np.flatnonzero(np.concatenate([[True], start[1:] != end[:-1]]))
            stop = end[np.append(first[1:] - 1, len(on) - 1)]
            peak = np.maximum.reduceat(value[on], first)
            for lo, hi, most in zip(start[first].tolist(), stop.tolist(), peak.tolist(), strict=True):
                before = last.get(k)
                if before is not None and before[1] == batch.contig and before[3] == lo:
                    last[k] = (k, batch.contig, before[2], hi, max(before[4], most))
                    continue
                if before is not None:
                    yield before
                last[k] = (k, batch.contig, lo, hi, most)
    yield from last.values()


def _spool(stretches: Iterator[Stretch], files: Sequence[Path], strand: str, names: Sequence[str], top: Array) -> None:
    with ExitStack() as stack:
        handles = [stack.enter_context(open(file, "w")) for file in files]
        for k, contig, start, end, peak in stretches:
            score = round(1000 * peak / top[k]) if top[k] > 0 else 0
            fields = (contig, start, end, names[k], score, strand, start, end, COLOUR[strand])
            handles[k].write("\t".join(map(str, fields)) + "\n")


def _merge(spools: Sequence[Path], file: Path) -> None:
    """The strands of a feature in one sorted file."""
    with ExitStack() as stack:
        beside = stack.enter_context(writing_file(file))
        handles = [stack.enter_context(open(spool)) for spool in spools]
        with open(beside, "w") as out:
            out.writelines(heapq.merge(*handles, key=_place))


def _place(line: str) -> tuple[str, int]:
    contig, start, _ = line.split("\t", 2)
    return contig, int(start)
