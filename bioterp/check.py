"""What can be known before an hour is spent: paths, names, splits, labels, model, disk."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Generator, Iterator
from typing import Any

from bioterp.adapters.dna import parse_halo
from bioterp.config import Label, Run
from bioterp.errors import BioterpError
from bioterp.opening import check_paths, open_model, open_source
from bioterp.planning import Layer, groups, room_for_activations

Finding = tuple[str, str]  # ('ok' | 'warning' | 'problem', one line)


def findings(run: Run) -> Iterator[Finding]:
    """One finding per thing looked at; a problem means that the run would fail."""
    source = yield from _source(run)
    model = yield from _model(run)
    try:
        check_paths(run)
    except BioterpError as error:
        yield "problem", str(error)
    for name, spec in run.labels.items():
        if spec.call is not None:
            yield from _importable("pyrodigal", "call", f"labels.{name}: call")
        elif source is not None and spec.path is not None and spec.path.is_file():
            yield from _annotation(name, spec, source)
    if not run.labels:
        yield "problem", "labels names no annotation; give labels: {genes: annotation.gff.gz}"
    if "bigwig" in run.exports:
        yield from _importable("pyBigWig", "dna", "exports: bigwig")
    if source is not None and model is not None:
        yield from _disk(run, source, model)


def _source(run: Run) -> Generator[Finding, None, Any]:
    try:
        source = open_source(run)
    except BioterpError as error:
        yield "problem", f"source: {error}"
        return None
    total = sum(c.length for c in source.contigs.values())
    yield (
        "ok",
        f"source: {len(source.contigs)} contigs, {total:,} bp, {len(source):,} windows, blocks of {source.block:,} bp",
    )
    blocks = source.items.groupby("split")["block"].nunique()
    for split in ("train", "valid", "test"):
        count = int(blocks.get(split, 0))
        if count == 0:
            yield "problem", f"splits: no block fell into {split}; use smaller blocks (source.blocks) or another seed"
        elif count < 5:
            yield "warning", f"splits: few blocks in {split} ({count}); intervals will be wide"
    return source


def _model(run: Run) -> Generator[Finding, None, Any]:
    try:
        model = open_model(run)
        names = [model.resolve(layer) for layer in run.layers]
    except BioterpError as error:
        yield "problem", f"model: {error}"
        return None
    yield "ok", f"model: {model.name}, {len(names)} layers ({', '.join(names)})"
    try:
        model.check_length(run.source.window + sum(parse_halo(run.source.halo)))
    except BioterpError as error:
        yield "problem", f"model: {error} (window + halo)"
    return model


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
    bases = int((source.items["end"] - source.items["start"]).sum())
    itemsize = 4 if (run.dtype or model.dtype) == "float32" else 2
    size: dict[Layer, int] = {layer: bases * model.width(layer) * itemsize for layer in run.layers}
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
    line = f"disk: at most {need / 1e9:.1f} GB needed (one cell per base), {free / 1e9:.1f} GB free{said}"
    yield ("problem", line + "; choose another out") if need > free else ("ok", line)


def _importable(package: str, extra: str, what: str) -> Iterator[Finding]:
    try:
        importlib.import_module(package)
    except ImportError:
        yield "problem", f"{what} needs the package {package!r}: pip install 'bioterp[{extra}]'"
