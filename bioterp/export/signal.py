"""A value per base: bigWig and bedGraph, one file per feature and strand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from bioterp.arrays import Array
from bioterp.errors import InputError, missing_package
from bioterp.export import safe, stems
from bioterp.export.tracks import AT_ONCE, STRANDS, CoordinateOrder, merged
from bioterp.field import Field
from bioterp.store import writing_file

SUFFIX = {"bigwig": "bw", "bedgraph": "bedgraph"}

# What a writer takes: contig, start (n,), end (n,), values (n,)
Write = Callable[[str, Array, Array, Array], None]


def write_signal(field: Field, columns: Sequence[int], folder: Path, format: str) -> list[Path]:
    """Write `feature_12.plus.bw` and its like; with several samples, `feature_12.<sample>.plus.bw`.

    Raises InputError when a bigWig is wanted and a contig's length is unknown.
    """
    order = CoordinateOrder(field.rows)
    lengths = order.lengths()
    unknown = [name for name, length in lengths.items() if length is None]
    if format == "bigwig" and unknown:
        raise InputError(
            f"a bigWig needs the length of every contig and that of {unknown[0]!r} is unknown: give lengths= when "
            "importing activations, or export as bedgraph"
        )
    sizes = [(name, length) for name, length in lengths.items() if length is not None]
    tracks = order.tracks()
    several = len({sample for sample, _ in tracks}) > 1
    names = stems(field, columns)
    written = []
    for sample, strand in tracks:
        middle = f".{safe(sample)}" if several else ""
        for at in range(0, len(columns), AT_ONCE):
            some = columns[at : at + AT_ONCE]
            files = [folder / f"{name}{middle}.{STRANDS[strand]}.{SUFFIX[format]}" for name in names[at : at + AT_ONCE]]
            with ExitStack() as stack:
                opened = [stack.enter_context(_open(file, format, sizes)) for file in files]
                for batch in order.batches(field, some, sample, strand):
                    for k, write in enumerate(opened):
                        write(batch.contig, *merged(batch.start, batch.end, batch.values[:, k]))
            written += files
    return written


@contextmanager
def _open(file: Path, format: str, sizes: list[tuple[str, int]]) -> Iterator[Write]:
    with writing_file(file) as beside, _bigwig(beside, sizes) if format == "bigwig" else _bedgraph(beside) as write:
        yield write


@contextmanager
def _bigwig(path: Path, sizes: list[tuple[str, int]]) -> Iterator[Write]:
    try:
        import pyBigWig
    except ImportError:
        raise missing_package("pyBigWig", "dna", "writing a bigWig") from None
    file = pyBigWig.open(str(path), "w")
    try:
        file.addHeader(sizes)

        def write(contig: str, start: Array, end: Array, values: Array) -> None:
            if len(start):
                file.addEntries(np.full(len(start), contig), start, ends=end, values=values.astype(np.float64))

        yield write
    finally:
        file.close()


@contextmanager
def _bedgraph(path: Path) -> Iterator[Write]:
    with open(path, "w") as handle:

        def write(contig: str, start: Array, end: Array, values: Array) -> None:
            # numpy writes a float32 with the fewest digits that give it back.
            lines = zip(start.tolist(), end.tolist(), values.astype(str).tolist(), strict=True)
            handle.writelines(f"{contig}\t{a}\t{b}\t{v}\n" for a, b, v in lines)

        yield write
