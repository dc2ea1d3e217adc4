"""Bring your own activations: what another tool computed becomes a Field.

    acts = bt.import_activations("evo2_layer20/", "windows.tsv", lengths="ecoli.fna.fai")

Activations are rows × channels in .npy, safetensors, InterPLM or BioNeMo (Evo 2 SAE recipe) files; the coordinate
table says which bases each row stands for. Nothing is loaded whole, and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.field import Field, FieldWriter
from bioterp.importing.coordinates import read_coordinates, read_lengths, rows_of
from bioterp.importing.shards import FORMATS, Shard, open_shards
from bioterp.progress import track
from bioterp.store import digest
from bioterp.values import Parts, Selection

__all__ = ["FORMATS", "import_activations"]

ROWS_PER_SHARD = 1 << 18
# Read at once while looking for NaN: 2^24 numbers are 64 MB.
NUMBERS_AT_ONCE = 1 << 24


def import_activations(
    path: str | Path | Sequence[str | Path],
    coordinates: str | Path | pd.DataFrame,
    *,
    format: str | None = None,
    out: str | Path | None = None,
    tensor: str | None = None,
    block: int = 50_000,
    seed: int = 0,
    sample: str = "imported",
    lengths: str | Path | Mapping[str, int] | None = None,
    circular: Iterable[str] = (),
    about: Mapping[str, Any] | None = None,
) -> Field:
    """Activations computed elsewhere, with their coordinates, as a Field of kind 'activation'.

    Parameters
    ----------
    path: a file, a folder of shards, or a list of files in row order.
    coordinates: TSV, CSV, Parquet or DataFrame with contig, start, end (0-based, half-open) and, if known,
        strand, item, sample, block, split. One line per row of the activations, in their order; or, with a
        column `step`, one line per item whose rows follow each other every `step` bases (from the end
        downwards on the minus strand).
    format: one of `FORMATS`; None = told by the file names.
    out: a folder to store the Field in (resumes when interrupted); None = leave values where they are.
    tensor: which array of a safetensors file.
    block: bp per block where the table has no column `block`; seed: of the split by blake2 where it has no
        column `split`; sample: whose rows these are where it has no column `sample`.
    lengths: contig → bp, or a two-column file (.fai, chrom.sizes); bigWig export needs them.
    circular: names of circular contigs.
    about: where the activations came from (model, layer …), kept with the Field.

    Raises
    ------
    InputError: unreadable file, unknown format, wrong number of rows, NaN or infinity (file, row, column named).
    AlignmentError: two rows of a sample and strand cover the same base.
    """
    if isinstance(block, bool) or not isinstance(block, int | np.integer) or block < 1:
        raise InputError(f"block={block!r} cannot be used; wanted a whole number of bp, 1 or more")
    shards = open_shards(path, format, tensor)
    widths = {shard.values.shape[1] for shard in shards}
    if len(widths) > 1:
        odd = next(shard for shard in shards if shard.values.shape[1] != shards[0].values.shape[1])
        raise InputError(
            f"{odd.file} has {odd.values.shape[1]} channels where {shards[0].file} has {shards[0].values.shape[1]}"
        )
    values = Parts([shard.values for shard in shards])
    n, width = values.shape
    rows = rows_of(read_coordinates(coordinates), n, block, seed, sample, read_lengths(lengths), frozenset(circular))
    rows.check_tiling()
    told = {**shards[0].about, "imported": shards[0].format, **(about or {})}
    if out is None:
        _check_finite(shards)
        return Field(rows, values, kind="activation", about=told)
    recipe = {**told, "files": [_fingerprint(file) for file in dict.fromkeys(shard.file for shard in shards)]}
    recipe |= {"rows": rows.id, "tensor": tensor}
    columns = [str(i) for i in range(width)]
    writer = FieldWriter(out, columns, "activation", recipe, told, shards[0].dtype)
    pieces = _pieces(rows.offsets)
    for number, (first, last) in enumerate(track(pieces, "importing activations", len(pieces))):
        if writer.done(number):
            continue
        lo, hi = int(rows.offsets[first]), int(rows.offsets[last])
        cut = values.read(lo, hi) if hi > lo else np.zeros((0, width), np.float32)
        if not np.isfinite(cut).all():
            _check_finite(shards)  # says where
        writer.write(number, rows.take(np.arange(first, last)), cut)
    return writer.finish(len(pieces))


def _pieces(offsets: Array) -> list[tuple[int, int]]:
    """Ranges of items of about ROWS_PER_SHARD rows each."""
    found, first = [], 0
    for item in range(len(offsets) - 1):
        if offsets[item + 1] - offsets[first] >= ROWS_PER_SHARD or item == len(offsets) - 2:
            found.append((first, item + 1))
            first = item + 1
    return found


def _check_finite(shards: Sequence[Shard]) -> None:
    """Raise InputError at the first NaN or infinity, named by file, row and column."""
    for shard in shards:
        n, width = shard.values.shape
        size = max(1, NUMBERS_AT_ONCE // max(width, 1))
        for lo in range(0, n, size):
            cut = Selection(shard.values, np.array([[lo, min(lo + size, n)]])).read(0, min(size, n - lo))
            if not np.isfinite(cut).all():
                row, column = np.argwhere(~np.isfinite(cut))[0]
                raise InputError(
                    f"{shard.file} holds {cut[row, column]} at row {lo + row + shard.first}, column {column}; "
                    "activations must be finite: leave such rows out of the file and of the coordinate table"
                )


def _fingerprint(file: Path) -> dict[str, Any]:
    """Name, size, and a hash of the first and last MiB: enough to notice that a file was replaced."""
    size = file.stat().st_size
    with open(file, "rb") as handle:
        ends = handle.read(1 << 20)
        handle.seek(max(size - (1 << 20), 0))
        ends += handle.read(1 << 20)
    return {"name": file.name, "size": size, "ends": digest(hashlib.blake2b(ends, digest_size=16).hexdigest())}
