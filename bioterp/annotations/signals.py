"""bigWig to a dense numeric label Field.

The value of a cell is the mean of the bases that have one; a cell without any is NaN, which is unknown
and not zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from bioterp.annotations import contigs as names
from bioterp.annotations.bigwig import BigWig
from bioterp.annotations.features import Contig, Features, table_of
from bioterp.annotations.lattice import Lattice
from bioterp.arrays import Array
from bioterp.field import Field
from bioterp.rows import Rows


def label_signal(
    rows: Rows, paths: Mapping[str, Path], *, contigs: Mapping[str, str] | None = None, name: str | None = None
) -> Field:
    """One column of numbers. paths: {'.': file} for both strands, or {'+': …, '-': …} by strand of the rows."""
    values = np.full((len(rows), 1), np.nan, np.float32)
    lattice = Lattice(rows)
    warnings: list[str] = []
    for strand, path in paths.items():
        with BigWig(path) as file:
            sizes = {contig: Contig(length) for contig, length in file.contigs.items()}
            features = names.rename(
                Features(table_of({"contig": [], "start": [], "end": []}), sizes, "bigwig", str(path)), contigs
            )
            known, absent, said = names.match(features, rows.spaces)
            warnings.extend(said)
            theirs = {str(k): str(v) for k, v in (contigs or {}).items()}
            for i in range(len(rows.items)):
                space = rows.spaces[rows.space_code[i]]
                if space.name in absent or (strand != "." and (strand == "-") != bool(lattice.minus[i])):
                    continue
                size = sizes[theirs.get(space.name, space.name)].length or 0
                about = known[space.name]
                cells = _item(file, theirs.get(space.name, space.name), size, about, lattice, i)
                turned = cells[::-1] if lattice.minus[i] else cells
                values[rows.offsets[i] : rows.offsets[i + 1], 0] = turned
    title = name or next(iter(paths.values())).name.split(".")[0]
    source = ", ".join(str(p) for p in paths.values())
    column = {"name": title, "strand": "both" if "." in paths else "sense", "source": source, "n_instances": 0}
    return Field(rows, values, pd.DataFrame([column]), "label", {"source": source, "warnings": warnings})


def _item(file: BigWig, contig: str, size: int, about: Contig, lattice: Lattice, i: int) -> Array:
    """Means of item i's cells in coordinate order."""
    if not lattice.cells[i]:
        return np.zeros(0, np.float32)
    low, high = int(np.floor(lattice.low[i])), int(np.ceil(lattice.high[i]))
    bases = _bases(file, contig, low, high, size, about)
    have = np.isfinite(bases)
    total = np.concatenate([[0.0], np.cumsum(np.where(have, bases, 0.0))])
    count = np.concatenate([[0], np.cumsum(have)])
    start, end = lattice.bounds_of(np.full(lattice.cells[i], i), np.arange(lattice.cells[i]))
    a, b = np.floor(start - low).astype(np.int64), np.ceil(end - low).astype(np.int64)
    n = count[b] - count[a]
    return np.where(n > 0, (total[b] - total[a]) / np.maximum(n, 1), np.nan).astype(np.float32)


def _bases(file: BigWig, contig: str, low: int, high: int, size: int, about: Contig) -> Array:
    """Per-base values of [low, high), around the origin of a circle; NaN past a linear end."""
    out = np.full(high - low, np.nan)
    at = low
    while at < high:
        turn = at // size * size if about.circular and size else 0
        a = at - turn
        b = min(high - turn, size)
        if a < 0:  # before a linear contig's first base
            at = 0
            continue
        if a >= size:
            break
        out[at - low : at - low + b - a] = file.values(contig, a, b)
        at += b - a
    return out
