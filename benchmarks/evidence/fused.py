"""What counting adds to encoding when codes are made as they are read and never stored.

    python benchmarks/evidence/fused.py [--rows 2000000] [--channels 128] [--width 4096]

*Encoding*: every row through the dictionary once, nothing kept. *Counting*: `count_codes` on such codes, which encodes
a sample of train for the edges and then every row, with the labels of counting.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
import torch
from common import row  # sets one thread before numpy is loaded
from made import INSTANCES, ROWS, made

from bioterp.analyses.alignment import count_codes
from bioterp.arrays import Array
from bioterp.dictionary import Dictionary
from bioterp.field import Field
from bioterp.grid import Grid, Space
from bioterp.rows import Rows

BLOCK = 10_000


@dataclass(frozen=True)
class Repeated:
    """Rows of a smaller array over and over: as many activations as are wanted in the memory of a few."""

    array: Array
    rows: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.array.shape[1]

    def read(self, lo: int, hi: int) -> Array:
        return np.take(self.array, np.arange(lo, hi), axis=0, mode="wrap")


def blocks(rows: int) -> Rows:
    """One contig in blocks, of which three of five are train, one valid, one test."""
    cuts = np.append(np.arange(0, rows, BLOCK), rows)
    names = [f"c:{at}" for at in cuts[:-1]]
    split = [("train", "train", "train", "valid", "test")[i % 5] for i in range(len(names))]
    items = pd.DataFrame({"item": names, "sample": "s", "block": names, "split": split})
    space = Space("c", "bp", rows)
    grids = [Grid.line(space, int(a), int(b), "+") for a, b in pairwise(cuts)]
    return Rows.from_grids(items, grids)


def main(rows: int, channels: int, width: int, k: int = 32) -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(3)
    encoder = rng.standard_normal((width, channels)).astype(np.float32)
    nothing = np.zeros(channels, np.float32)
    dictionary = Dictionary(encoder, encoder.copy(), np.zeros(width, np.float32), nothing, nothing, 1.0, "topk", k)
    acts = Field(blocks(rows), Repeated(rng.standard_normal((65_537, channels)).astype(np.float32), rows))
    codes, labels = dictionary.encode(acts), made(rows, 64, 2, instances=INSTANCES * rows // ROWS).labels
    codes.read(0, 8_192)
    small = Field(blocks(BLOCK * 6), Repeated(np.ones((7, channels), np.float32), BLOCK * 6))
    count_codes(dictionary.encode(small), made(BLOCK * 6, 64, 2, instances=600).labels, threads=1)  # compiles
    begin = time.process_time()
    for _ in codes.batches(8_192):
        pass
    encoding = time.process_time() - begin
    begin = time.process_time()
    count_codes(codes, labels, threads=1)
    counting = time.process_time() - begin
    row("rows", "channels", "features", "encoding, CPU s", "encoding and counting, CPU s", "added")
    row("---:", "---:", "---:", "---:", "---:", "---:")
    row(f"{rows:,}", channels, width, f"{encoding:.1f}", f"{counting:.1f}", f"{counting / encoding - 1:.0%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--width", type=int, default=4_096)
    asked = parser.parse_args()
    main(asked.rows, asked.channels, asked.width)
