"""What can be known before an hour is spent: paths, names, splits, labels, model, disk."""

from __future__ import annotations

import importlib
import math
import shutil
from collections.abc import Generator, Iterator
from typing import Any

from bioterp import leakage, outcomes
from bioterp.adapters.dna import parse_halo
from bioterp.brought import Brought
from bioterp.errors import BioterpError
from bioterp.opening import check_paths, open_model, open_source
from bioterp.planning import Layer, groups, room_for_activations
from bioterp.records import DNASource, HaplotypeSource, Label, Run

Finding = tuple[str, str]  # ('ok' | 'warning' | 'problem', one line)


def findings(run: Run) -> Iterator[Finding]:
    """One finding per thing looked at; a problem means that the run would fail."""
    model = yield from _model(run)
    source = (yield from _source(run, model)) if model is not None or run.source.kind == "dna" else None
    if source is not None and model is not None:
        yield from _fits(run, source, model)
    if run.dictionary.path is not None and model is not None:
        try:
            brought = Brought(run)
            run = brought.settled()
            made = [brought.check(layer, model.width(layer)) for layer in run.layers]
        except BioterpError as error:
            yield "problem", f"dictionary: {error}"
            return
        yield "ok", f"dictionary: {', '.join(map(repr, made))}"
    try:
        check_paths(run)
    except BioterpError as error:
        yield "problem", str(error)
    for name, spec in run.labels.items():
        if spec.call is not None:
            yield from _importable("pyrodigal", "call", f"labels.{name}: call")
        elif source is not None and spec.path is not None and spec.path.is_file():
            yield from _annotation(name, spec, source) if run.source.kind != "scans" else ()
        elif source is not None and spec.column is not None:
            yield from _column(name, spec.column, source)
    if run.cohort is not None and source is not None:
        try:
            outcomes.look(run, source)
        except BioterpError as error:
            yield "problem", f"cohort: {error}"
    if not run.labels and run.cohort is None:
        yield "problem", "labels names no annotation; give labels: {genes: annotation.gff.gz}"
    if "bigwig" in run.exports:
        yield from _importable("pyBigWig", "dna", "exports: bigwig")
    if "nifti" in run.exports:
        yield from _importable("nibabel", "imaging", "exports: nifti")
    if source is not None and model is not None:
        try:
            yield from _disk(run, source, model)
        except BioterpError as error:  # a layer without a lattice of its own
            yield "problem", f"layers: {error}"


def _source(run: Run, model: Any) -> Generator[Finding, None, Any]:
    try:
        source = open_source(run, lambda: model)
    except BioterpError as error:
        yield "problem", f"source: {error}"
        return None
    if run.source.kind == "dna":
        total, many = sum(c.length for c in source.contigs.values()), len(source.contigs)
        yield "ok", f"source: {many} contigs, {total:,} bp, {len(source):,} windows, blocks of {source.block:,} bp"
    elif run.source.kind == "haplotypes":
        yield "ok", f"source: {source.told()}"
        for line in source.unmatched.groupby("reason").size().items():
            yield "warning", f"source: {line[1]} people are {line[0]}"
    else:
        yield "ok", f"source: {len(source.scans)} scans, {len(source):,} arrays, blocks: {source.blocks_told}"
        for line in source.left_out.itertuples():
            yield "warning", f"source: {line.scan} is left out: {line.reason}"
    blocks = source.items.groupby("split")["block"].nunique()
    for split in ("train", "valid", "test"):
        count = int(blocks.get(split, 0))
        if count == 0:
            yield "problem", f"splits: no block fell into {split}; use smaller blocks (source.blocks) or another seed"
        elif count < 5:
            yield "warning", f"splits: few blocks in {split} ({count}); intervals will be wide"
    yield from leakage.told(source, getattr(run.source, "duplicates", leakage.REFUSED))
    return source


def _model(run: Run) -> Generator[Finding, None, Any]:
    try:
        model = open_model(run)
        names = [model.resolve(layer) for layer in run.layers]
    except BioterpError as error:
        yield "problem", f"model: {error}"
        return None
    yield "ok", f"model: {model.name}, {len(names)} layers ({', '.join(names)})"
    return model


def _fits(run: Run, source: Any, model: Any) -> Iterator[Finding]:
    """Whether the model can be run on the arrays the source will give."""
    if model.modality != source.modality:
        yield "problem", f"model: {model.name} reads {model.modality}, the source gives {source.modality}"
        return
    channels = getattr(model, "in_channels", None), getattr(source, "channels", None)
    if None not in channels and channels[0] != channels[1]:
        yield "problem", f"model: {model.name} takes arrays of {channels[0]} channels, the source gives {channels[1]}"
        return
    try:
        if isinstance(run.source, DNASource | HaplotypeSource):
            model.check_length(run.source.window + sum(parse_halo(run.source.halo)))
        else:
            for shape in sorted({tuple(tile.array_shape) for _, tile in source.tiles}):
                model.check_shape(shape)
    except BioterpError as error:
        yield "problem", f"model: {error} (window + halo)"


def _column(name: str, column: str, source: Any) -> Iterator[Finding]:
    """Whether the masks a sheet names are there."""
    try:
        files = source.files(column)
    except BioterpError as error:
        yield "problem", f"labels.{name}: {error}"
        return
    absent = [scan for scan in source.scans if scan not in files or not files[scan].exists()]
    there = len(source.scans) - len(absent)
    if not there:
        said = f"such as {files[absent[0]].name!r}" if absent[0] in files else f"scan {absent[0]} has none"
        yield "problem", f"labels.{name}: no file that the column {column!r} names is there; {said}"
        return
    yield "ok", f"labels.{name}: masks of {there} of {len(source.scans)} scans"
    if absent:
        yield "warning", f"labels.{name}: no mask for {len(absent)} scans, such as {absent[0]}; they are not scored"


def _annotation(name: str, spec: Label, source: Any) -> Iterator[Finding]:
    """Whether an annotation speaks of the source's contigs, and stays within them."""
    from bioterp.annotations import contigs, reading

    try:
        if reading.signals(spec.path):
            return
        spaces, other = list(source.spaces.values()), spec.options.get("contigs")
        keep = {space.name for space in spaces} | {str(theirs) for theirs in (other or {}).values()}
        features = contigs.rename(reading.read(spec.path, keep=keep), other)
        _, _, warnings = contigs.match(features, spaces)
    except BioterpError as error:
        yield "problem", f"labels.{name}: {error}"
        return
    yield "ok", f"labels.{name}: {len(features.table):,} records on contigs of the source"
    for line in warnings:
        yield "warning", f"labels.{name}: {line}"


def _disk(run: Run, source: Any, model: Any) -> Iterator[Finding]:
    """What the run will keep, or, under `disk`, at most hold, against what is free (one cell per base)."""
    cells = {layer: source.cells // math.prod(model.cell_shape(layer)) for layer in run.layers}
    bases = max(cells.values())
    itemsize = 4 if (run.dtype or model.dtype) == "float32" else 2
    size: dict[Layer, int] = {layer: cells[layer] * model.width(layer) * itemsize for layer in run.layers}
    twice = 2 if "random-weights" in run.baselines else 1
    codes = bases * run.dictionary.k * 8 * len(run.layers) * (len(run.dictionary.seeds) + twice - 1)
    need, said = float(sum(size.values()) * twice + codes), ""
    if run.disk is not None:
        try:
            plan = groups(list(run.layers), size, room_for_activations(float(run.disk), bases, run.dictionary.k))
        except BioterpError as error:
            yield "problem", str(error)
            return
        if need > float(run.disk):
            need = float(run.disk)
            said = f"; layers go through the model in {len(plan)} group{'s' * (len(plan) > 1)}: {plan}"
    place = run.out
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    each = " (one cell per base)" if run.source.kind != "scans" else ""
    line = f"disk: at most {need / 1e9:.1f} GB needed{each}, {free / 1e9:.1f} GB free{said}"
    yield ("problem", line + "; choose another out") if need > free else ("ok", line)


def _importable(package: str, extra: str, what: str) -> Iterator[Finding]:
    try:
        importlib.import_module(package)
    except ImportError:
        yield "problem", f"{what} needs the package {package!r}: pip install 'bioterp[{extra}]'"
