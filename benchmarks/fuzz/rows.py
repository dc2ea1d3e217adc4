"""Rows that annotations of a tiny contig are painted on, for the fuzzers of GFF, BED and VCF."""

import zlib
from pathlib import Path

import pandas as pd

from bioterp.annotations import label, reading
from bioterp.grid import Grid, Space
from bioterp.rows import Rows


def rows() -> Rows:
    """Both strands of a contig `c` of 120 bp, cells of 3 bp."""
    space = Space("c", "bp", 120)
    grids = [Grid(space, (40,), [[3, 0], [0, 1]]), Grid(space, (40,), [[-3, 120], [0, 1]])]
    items = [("c+", "c", "c:0", "train"), ("c-", "c", "c:0", "train")]
    return Rows.from_grids(pd.DataFrame(items, columns=["item", "sample", "block", "split"]), grids)


ROWS = rows()
PAINTED = 4  # one in so many inputs is painted too, which takes ten times as long as reading


def door(path: Path) -> None:
    """Read an annotation, and paint some."""
    reading.read(path)
    if zlib.crc32(path.read_bytes()) % PAINTED == 0:
        label(ROWS, path)
