"""What the run reads: whether it opens, how it falls into splits, whether the model can read what it gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from bioterp import leakage
from bioterp.adapters import PLUGGED
from bioterp.adapters.dna import parse_halo
from bioterp.check.finding import OK, PROBLEM, WARNING, Finding, of_text, problem, some
from bioterp.errors import BioterpError, masked
from bioterp.opening import open_source
from bioterp.records import DNASource, HaplotypeSource, Run, ScanSource
from bioterp.rows import SPLITS

COARSE = 2.0  # a scan whose voxels are this many times as large as what the model sees is mostly interpolated
FEW_BLOCKS = 5  # with fewer, intervals from left-out blocks are wide


def findings(run: Run, model: Any) -> Generator[Finding, None, Any]:
    """The source, opened (for a model that did not open, as the run file alone says), or None."""
    try:
        source = open_source(run, lambda: model if model is not None else SimpleNamespace())
    except BioterpError as error:
        yield problem(error, "source")
        return None
    if run.source.kind == "dna":
        total, many = sum(c.length for c in source.contigs.values()), len(source.contigs)
        told = f"{many} contigs, {total:,} bp, {len(source):,} windows, blocks of {source.block:,} bp"
        yield Finding(OK, "source", told)
    elif run.source.kind == "haplotypes":
        yield of_text(OK, f"source: {source.told()}", "source")
        for reason, people in source.unmatched.groupby("reason"):
            what = f"{len(people)} people are {reason}, a name such as {masked(people['sample'].iloc[0])}"
            yield Finding(WARNING, "source", what, "they are not analysed: see that both files spell ids alike")
    elif run.source.kind in PLUGGED:
        yield Finding(OK, "source", f"{len(source):,} items, blocks: {source.blocks_told}")
    else:
        told = f"{len(source.scans)} scans, {len(source):,} arrays, blocks: {source.blocks_told}"
        yield Finding(OK, "source", told)
        for line in source.left_out.itertuples():
            yield Finding(WARNING, "source", f"{line.scan} is left out: {line.reason}")
        yield from _scans(run, source, getattr(model, "wants", {}))
    blocks = source.items.groupby("split")["block"].nunique()
    for split in SPLITS:
        count = int(blocks.get(split, 0))
        if count == 0:
            what, remedy = f"no block fell into {split}", "use smaller blocks (source.blocks) or another seed"
            yield Finding(PROBLEM, "splits", what, remedy)
        elif count < FEW_BLOCKS:
            what = f"few blocks in {split} ({count})"
            yield Finding(WARNING, "splits", what, "intervals will be wide: smaller blocks, or more scans, narrow them")
    yield Finding(OK, "splits", ", ".join(f"{int(blocks.get(split, 0))} blocks in {split}" for split in SPLITS))
    for level, line in leakage.told(source, getattr(run.source, "duplicates", leakage.REFUSED)):
        yield of_text(level, line, "splits")
    return source


def fits(run: Run, source: Any, model: Any) -> Iterator[Finding]:
    """Whether the model can be run on the arrays the source will give."""
    if model.modality != source.modality:
        yield Finding(
            PROBLEM,
            "model",
            f"{model.name} reads {model.modality}, the source gives {source.modality}",
            "choose a model of scans for scans, and one of sequences for sequences",
        )
        return
    channels = getattr(model, "in_channels", None), getattr(source, "channels", None)
    if None not in channels and channels[0] != channels[1]:
        yield Finding(
            PROBLEM,
            "model",
            f"{model.name} takes arrays of {channels[0]} channels, the source gives {channels[1]}",
            "name as many images in source.channels as it takes",
        )
        return
    try:
        if isinstance(run.source, DNASource | HaplotypeSource):
            model.check_length(run.source.window + sum(parse_halo(run.source.halo)))
        elif model.modality == "dna":
            model.check_length(source.item_cells)
        else:
            for shape in sorted({tuple(tile.array_shape) for _, tile in source.tiles}):
                model.check_shape(shape)
    except BioterpError as error:
        yield problem(f"{error} (window + halo)", "model")


# ---------------------------------------------------------------------- scans


def _scans(run: Run, source: Any, wants: dict[str, Any]) -> Iterator[Finding]:
    """How the scans lie, against what the model was trained with."""
    assert isinstance(run.source, ScanSource)
    for key in ("orientation", "spacing", "intensity"):
        given, wanted = getattr(run.source, key), wants.get(key)
        if given is not None and wanted is not None and not _same(given, wanted):
            yield Finding(
                WARNING,
                f"source.{key}",
                f"{_told(given)}, and the model was trained with {_told(wanted)}",
                f"leave source.{key} out to take the model's",
            )
    coarse: list[tuple[float, str]] = []
    notes: Counter[str] = Counter()
    example: dict[str, str] = {}
    for name, scan in source.scans.items():
        own = np.sort(np.linalg.norm(scan.volumes[0].affine[:3, :3], axis=0))
        seen = np.sort(np.linalg.norm(scan.wanted.affine[:3, :3], axis=0))
        if source.spacing is not None and (own / seen).max() >= COARSE:
            coarse.append((float(own.max()), name))
        for volume in scan.volumes:
            for note in {*volume.notes, *_header(volume.codes)}:
                notes[note] += 1
                example.setdefault(note, name)
    if coarse:
        worst, name = max(coarse)
        yield Finding(
            WARNING,
            "source.spacing",
            f"{len(coarse)} scans have voxels {COARSE:g} times as large as what the model sees, or more ({name}: "
            f"{worst:.3g} mm)",
            "what lies between their slices is interpolated: leave them out, or give a larger spacing",
        )
    for note, many in notes.most_common():
        yield of_text(WARNING, f"source: {many} scans, such as {example[note]}: {note}", "source")
    frames = sum(scan.frame is not None for scan in source.scans.values())
    if frames:
        yield Finding(OK, "source", f"{frames} scans are frames of 4-D images (column t)")
    subjects = source.items["subject"].nunique()
    if subjects < len(source.scans):
        yield Finding(OK, "source", f"{len(source.scans)} scans are of {subjects} subjects, whose splits they share")


def _header(codes: tuple[int, int]) -> Iterator[str]:
    if codes == (0, 0):
        yield "its header does not say how it lies (sform and qform code 0), and RAS is assumed; mend the header"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.upper() == other.upper()
    try:
        return bool(np.allclose(np.broadcast_to(np.asarray(one, float), 3), np.asarray(other, float)))
    except (TypeError, ValueError):
        return bool(one == other)


def _told(value: Any) -> str:
    if isinstance(value, int | float):
        return f"{value:g}"
    return " × ".join(f"{one:g}" for one in value) if isinstance(value, list | tuple) else some([str(value)])
