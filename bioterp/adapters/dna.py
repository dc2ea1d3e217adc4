"""DNA sequences as windows with halos.

Every contig is cut into blocks, the unit that is never divided between splits, and every block into windows. A
window is read with a halo of context on both sides that gives no rows. Windows at a contig's end are moved, not
padded, so that nearly all arrays have one length; a contig shorter than a window is taken whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bioterp import store
from bioterp.adapters import Item
from bioterp.arrays import Array
from bioterp.doors import text_lines
from bioterp.errors import InputError, shown
from bioterp.grid import Grid, Space
from bioterp.rows import SPLITS, split_of
from bioterp.sequence import MASKED, Sequences, reverse_complement

STRANDS = {"both": "+-", "+": "+", "-": "-", "regions": "+-"}
AUTO_BLOCKS = (50_000, 20_000, 10_000, 5_000, 2_000, 1_000, 500, 200)


class DNA:
    """A FASTA or GenBank file as a source of windows.

    path: FASTA (plain, gzip, bgzip) or GenBank. window: bp. halo: bp of context on both sides, or [before, after] in
    reading direction: a model that reads left to right makes nothing of what comes after. strands: 'both', '+', '-', or
    'regions' (the strand of each BED line). blocks: bp ('50kb', 20000), 'contig', or None: 50 kb, or the largest
    smaller size that gives every split at least two blocks. regions: a BED file; only its (merged) intervals are
    read. contigs: names to keep. circular: True, or names of circular contigs (GenBank says so itself). seed: of the
    split.

    Iterating yields (Item, array, Grid): uint8 codes A0 C1 G2 T3 masked 4, halo included, the minus strand
    reverse-complemented on a Grid with step −1. Raises InputError for input that cannot be used.
    """

    modality = "dna"
    modality_word = "sequence"

    def __init__(
        self,
        path: str | Path,
        *,
        window: int = 2048,
        halo: int | Sequence[int] = 512,
        strands: str = "both",
        blocks: str | int | None = None,
        regions: str | Path | None = None,
        contigs: list[str] | None = None,
        circular: bool | list[str] | None = None,
        sample: str | None = None,
        seed: int = 0,
    ):
        before, after = parse_halo(halo)
        if window < 1:
            raise InputError(f"window must be ≥ 1 bp; got {window}")
        if strands not in STRANDS:
            raise InputError(f"strands is one of {', '.join(STRANDS)}; got {strands!r}")
        if strands == "regions" and regions is None:
            raise InputError("strands: regions needs a BED file in `regions`")
        self.path = Path(path)
        self.window, self.halo, self.strands, self.seed = int(window), (before, after), strands, int(seed)
        self.sequences = Sequences(self.path)
        if circular:
            self.sequences.with_circular(circular)
        known = self.sequences.contigs
        absent = [name for name in contigs or [] if name not in known]
        if absent:
            raise InputError(f"{self.path} has no contig {absent[0]!r}; it has {', '.join(list(known)[:8])}")
        self.contigs = {name: known[name] for name in (contigs or known)}
        self.sample = sample or self.path.name.split(".")[0]
        self.spaces = {c.name: Space(c.name, "bp", c.length, c.circular) for c in self.contigs.values()}
        self._regions = self._read_regions(Path(regions)) if regions is not None else None
        self.block = self._choose_block(blocks)
        self.items = self._plan()
        self.recipe: dict[str, Any] = {
            "kind": "dna",
            "sha256": store.file_sha256(self.path),
            "window": self.window,
            "halo": before if before == after else [before, after],
            "strands": strands,
            "block": self.block,
            "regions": store.file_sha256(Path(regions)) if regions is not None else None,
            "contigs": contigs,
            "circular": [c.name for c in self.contigs.values() if c.circular],
            "sample": self.sample,
            "seed": self.seed,
        }

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[tuple[Item, Array, Grid]]:
        return self.read(0, len(self))

    @property
    def blocks_told(self) -> str:
        """What the blocks are, for a message."""
        return f"{self.block:,} bp"

    @property
    def name(self) -> str:
        """What was read, for a title."""
        return self.path.name

    def described(self) -> dict[str, Any]:
        """What a report says of the source."""
        return {"file": self.path.name, "sha256": self.recipe["sha256"], "block_bp": self.block}

    @property
    def cells(self) -> int:
        """Bases of all cores."""
        return int((self.items["end"] - self.items["start"]).sum())

    @property
    def item_cells(self) -> int:
        """Bases of a core, at most."""
        return self.window

    def read(self, lo: int, hi: int) -> Iterator[tuple[Item, Array, Grid]]:
        """Items lo:hi; windows in which every base is masked give none."""
        for record in self.items.iloc[lo:hi].to_dict("records"):
            start, end, strand = record["start"], record["end"], record["strand"]
            first, last = self._reach(record["contig"], start, end, strand)
            array = self.sequences.read(record["contig"], first, last)
            if (array[start - first : end - first] == MASKED).all():
                continue
            if strand == "-":
                array = reverse_complement(array)
            grid = Grid.line(self.spaces[record["contig"]], first, last, strand)
            yield Item(record, (np.array([start]), np.array([end])), array == MASKED), array, grid

    def letters(self, contig: str, start: int, end: int, strand: str) -> Array:
        """(end − start,) uint8 of a place in reading direction; 4 past the end of a linear contig, as for an N."""
        codes = self.sequences.read(contig, start, end)
        return reverse_complement(codes) if strand == "-" else codes

    def _reach(self, contig: str, start: int, end: int, strand: str) -> tuple[int, int]:
        """The bases to read for a core: always window + halo of them, where the contig has as many."""
        length = self.contigs[contig].length
        left, right = self.halo if strand == "+" else self.halo[::-1]
        total = min(self.window + left + right, length)
        if self.contigs[contig].circular:
            room = length - (end - start)  # a circle shorter than window and halo is shared out between the sides
            first = start - (left if left + right <= room else room * left // (left + right))
        else:
            first = min(max(0, start - left), length - total)
        return first, first + total

    def _choose_block(self, blocks: str | int | None) -> int:
        if blocks == "contig":
            return max(c.length for c in self.contigs.values())
        if blocks is not None:
            return parse_bp(blocks)
        for size in AUTO_BLOCKS:
            splits = [split_of(name, self.seed) for name in self._blocks(size, most=500)]
            if all(splits.count(split) >= 2 for split in SPLITS):
                return size
        return AUTO_BLOCKS[-1]

    def _blocks(self, size: int, most: int) -> list[str]:
        """The first blocks of this size that hold something wanted."""
        found: dict[str, None] = {}
        for contig in self.contigs.values():
            for lo, hi, _ in self._wanted(contig.name, contig.length):
                for number in range(lo // size, -(-hi // size)):
                    found[f"{contig.name}:{number}"] = None
                    if len(found) == most:
                        return list(found)
        return list(found)

    def __repr__(self) -> str:
        bases = sum(contig.length for contig in self.contigs.values())
        return (
            f"DNA({self.path.name}: {len(self.contigs)} contigs, {bases:,} bp, {len(self):,} windows of {self.window})"
        )

    def _plan(self) -> pd.DataFrame:
        """One line per item, in genomic order, each window on its strands one after the other."""
        columns: dict[str, list[Any]] = {name: [] for name in ("contig", "start", "end", "strand", "block")}
        for contig in self.contigs.values():
            for lo, hi, strand in self._wanted(contig.name, contig.length):
                for number in range(lo // self.block, -(-hi // self.block)):
                    left, right = max(lo, number * self.block), min(hi, (number + 1) * self.block)
                    for start in range(left, right, self.window):
                        for one in strand:
                            columns["contig"].append(contig.name)
                            columns["start"].append(start)
                            columns["end"].append(min(start + self.window, right))
                            columns["strand"].append(one)
                            columns["block"].append(f"{contig.name}:{number}")
        if not columns["start"]:
            raise InputError(f"the regions leave nothing of {self.path} to read")
        plan = pd.DataFrame(columns)
        place = plan["contig"] + ":" + plan["start"].astype(str) + "-" + plan["end"].astype(str) + plan["strand"]
        splits = {block: split_of(block, self.seed) for block in plan["block"].unique()}
        plan.insert(0, "item", place)
        plan.insert(1, "sample", self.sample)
        plan.insert(3, "split", plan["block"].map(splits))
        return plan

    def _wanted(self, contig: str, length: int) -> list[tuple[int, int, str]]:
        if self._regions is None:
            return [(0, length, STRANDS[self.strands])]
        return self._regions.get(contig, [])

    def _read_regions(self, path: Path) -> dict[str, list[tuple[int, int, str]]]:
        found: dict[tuple[str, str], list[tuple[int, int]]] = {}
        if not path.is_file():
            raise InputError(f"there is no BED file {path}")
        for number, line in text_lines(path):
            words = line.split("\t", 7)
            header = len(words) < 3 and line.split(None, 1)[:1] in (["track"], ["browser"])
            if not line.strip() or line.startswith("#") or header:
                continue
            try:
                contig, start, end = words[0], int(words[1]), int(words[2])
            except (IndexError, ValueError):
                raise InputError(f"{path} line {number} is not BED (contig, start, end separated by tabs)") from None
            if contig not in self.contigs:
                raise InputError(f"{path} line {number}: {self.path} has no contig {shown(contig)}")
            if not 0 <= start < end <= self.contigs[contig].length:
                raise InputError(
                    f"{path} line {number}: {start}–{end} is not inside {contig!r} "
                    f"(0–{self.contigs[contig].length}); is it another assembly?"
                )
            strand = words[5] if self.strands == "regions" and len(words) > 5 else STRANDS[self.strands]
            for one in "+-" if strand not in ("+", "-") else strand:
                found.setdefault((contig, one), []).append((start, end))
        merged: dict[str, list[tuple[int, int, str]]] = {}
        for (contig, strand), spans in found.items():
            merged.setdefault(contig, []).extend((lo, hi, strand) for lo, hi in _merge(spans))
        if self.strands == "both":  # the same intervals on both strands: keep the strands of a window together
            merged = {contig: [(lo, hi, "+-") for lo, hi, s in spans if s == "+"] for contig, spans in merged.items()}
        return {contig: sorted(spans) for contig, spans in merged.items()}


def parse_halo(halo: int | Sequence[int]) -> tuple[int, int]:
    """bp of context before and after a core in reading direction, from one number or two."""
    both = list(halo) if isinstance(halo, Sequence) and not isinstance(halo, str) else [halo, halo]
    whole = all(isinstance(side, int | np.integer) and not isinstance(side, bool) and side >= 0 for side in both)
    if len(both) != 2 or not whole:
        raise InputError(f"halo is a number of bp ≥ 0, or [before, after] in reading direction; got {halo!r}")
    return int(both[0]), int(both[1])


def _merge(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[list[int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return [(lo, hi) for lo, hi in merged]


def parse_bp(text: str | int) -> int:
    """'50kb', '2Mb', '300', 300 → bp."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(kb|mb|bp)?\s*", str(text), re.IGNORECASE)
    size = round(float(match[1]) * {"kb": 1e3, "mb": 1e6}.get((match[2] or "").lower(), 1)) if match else 0
    if size < 1:
        raise InputError(f"blocks is a length such as '50kb' or 20000, or 'contig'; got {text!r}")
    return size
