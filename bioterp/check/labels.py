"""Labels against the source: contigs, lengths, coverage, instances in each split; masks and where they lie."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bioterp.arrays import Array
from bioterp.check.finding import OK, PROBLEM, WARNING, Finding, of_text, problem, some
from bioterp.check.masks import masks
from bioterp.errors import BioterpError, InputError
from bioterp.records import Label, Run

LEAST, LEAST_TEST = 2, 20  # instances detection wants on either side; of fewer in test a term is cross-fitted
EVERYWHERE = 0.98  # a term on this share of all bases is found by any feature that fires everywhere
CALLED = 22  # columns that called genes give on both strands


def findings(run: Run, source: Any) -> Generator[Finding, None, int]:
    """Every label of the run against what it is to be painted on; returns how many columns they will have."""
    columns = 0
    if not run.labels and run.cohort is None:
        yield Finding(PROBLEM, "labels", "labels names no annotation", "give labels: {genes: annotation.gff.gz}")
    for name, spec in run.labels.items():
        try:
            if spec.column is not None or run.source.kind == "scans":
                columns += yield from masks(name, spec, source)
            elif spec.path is not None and spec.path.is_file():
                dna, scored = getattr(source, "dna", source), "detection" in run.analyses
                columns += yield from _annotation(name, spec, dna, scored)
            elif spec.call is not None:
                columns += CALLED
        except BioterpError as error:
            yield problem(error, f"labels.{name}")
    return columns


def packages(run: Run) -> Iterator[Finding]:
    """What labels and exports need besides."""
    for name, spec in run.labels.items():
        if spec.call is not None:
            yield from importable("pyrodigal", "call", f"labels.{name}", "call")
    if "bigwig" in run.exports:
        yield from importable("pyBigWig", "dna", "exports", "bigwig")
    if "nifti" in run.exports:
        yield from importable("nibabel", "imaging", "exports", "nifti")


def importable(package: str, extra: str, where: str, what: str) -> Iterator[Finding]:
    try:
        importlib.import_module(package)
    except ImportError:
        yield Finding(PROBLEM, where, f"{what} needs the package {package!r}", f"pip install 'bioterp[{extra}]'")


# ---------------------------------------------------------------------- along sequences


def _annotation(name: str, spec: Label, source: Any, scored: bool) -> Generator[Finding, None, int]:
    """Whether an annotation speaks of the source's contigs and stays within them, and what of it lies where.

    Returns how many columns it will have.
    """
    from bioterp.annotations import contigs, reading
    from bioterp.annotations.terms import terms_of

    where, options, path = f"labels.{name}", dict(spec.options), spec.path
    assert path is not None
    spaces, other = list(source.spaces.values()), options.get("contigs")
    tracks = reading.signals(path)
    if tracks:
        yield from _signal(where, tracks["."], source, other)
        return 0
    keep = {space.name for space in spaces} | {str(theirs) for theirs in (other or {}).values()}
    features = reading.read(path, keep=keep, name=options.get("name"), by=options.get("by"))
    features = contigs.rename(features, other)
    known, absent, warnings = contigs.match(features, spaces)
    yield Finding(OK, where, f"{len(features.table):,} records on contigs of the source")
    for line in warnings:
        yield of_text(WARNING, line.replace(f"{path.parent}/", ""), where)
    if absent:
        gone = sum(space.length or 0 for space in spaces if space.name in absent)
        share = gone / max(sum(space.length or 0 for space in spaces), 1)
        yield Finding(
            WARNING, where, f"on {share:.0%} of the bases nothing is known", "leave those contigs out (source.contigs)"
        )
    if spec.within is not None:
        yield from _within(where, reading.regions(spec.within, path, other), spaces)
    asked = {key: options[key] for key in ("terms", "types", "attributes", "exclude", "having") if key in options}
    table, _ = terms_of(features, known, **asked, upstream=options.get("upstream", 50))
    if scored:
        yield from _instances(where, table, source)
    twice = source.items["strand"].nunique() > 1 and options.get("strand", "separate") == "separate"
    stranded = table.assign(has=table["strand"] != ".").groupby("term", observed=False)["has"].any()
    return int(len(stranded) + stranded.sum() * twice)


def _within(where: str, regions: pd.DataFrame, spaces: list[Any]) -> Iterator[Finding]:
    """Where labels are known: on contigs of the source, and on how much of it."""
    sizes = {space.name: space.length or 0 for space in spaces}
    mine = regions[regions["contig"].isin(sizes)]
    if not len(mine):
        first = regions["contig"].iloc[0] if len(regions) else "no contig at all"
        remedy = "give regions of the sequence that is read"
        yield Finding(PROBLEM, where, f"within speaks of {first}, and of no contig of the source", remedy)
        return
    past = mine[mine["end"] > mine["contig"].map(sizes)]
    if len(past):
        one = past.iloc[0]
        what = f"within has {len(past)} regions past the end of their contig, such as {one['contig']}:{one['end']}"
        yield Finding(WARNING, where, what, "is it of the same assembly?")
    known = 0
    for _, own in mine.groupby("contig"):
        low, high = _merged(own["start"].to_numpy(), own["end"].to_numpy())
        known += int((high - low).sum())
    yield Finding(OK, where, f"labels are known on {known / max(sum(sizes.values()), 1):.0%} of the bases (within)")


def _instances(where: str, table: pd.DataFrame, source: Any) -> Iterator[Finding]:
    """How many instances of every term lie in each split, by their midpoints, and how much a term covers."""
    told = counted(table, source)
    bare = told.index[told[["select", "test"]].sum(axis=1) == 0].tolist()
    if len(bare) == len(told):
        yield Finding(PROBLEM, where, "none of its records lies in what is read", "is it of the same regions?")
        return
    if bare:
        what = f"no instance of {some(bare)} lies in what is read"
        yield Finding(WARNING, where, what, "name the terms that are wanted (terms)")
    total = told["select"] + told["test"]
    rare = (told["test"] < LEAST_TEST) & (total > 0)
    lost = (rare & ((total < 2 * LEAST) | (told["blocks"] < 2))) | (~rare & (told["select"] < LEAST) & (total > 0))
    crossed = told.index[rare & ~lost].tolist()
    if lost.any():
        names = [f"{one} ({int(total[one])})" for one in told.index[lost]]
        yield Finding(
            WARNING,
            where,
            f"{len(names)} terms have too few instances in too few blocks to be scored: {some(names)}",
            "use smaller blocks (source.blocks), or leave them out (terms)",
        )
    if crossed:
        names = [f"{one} ({int(told['test'][one])})" for one in crossed]
        what = f"{len(names)} terms have fewer than {LEAST_TEST} instances in test and are cross-fitted: {some(names)}"
        yield Finding(OK, where, what)
    wide = [f"{one} ({share:.0%})" for one, share in told["share"].items() if share >= EVERYWHERE]
    if wide:
        what = f"{some(wide)} of the bases are one term, which any feature that is active everywhere finds"
        yield Finding(WARNING, where, what, "read F1 above chance only, or leave it out (terms)")
    split = f"{int(told['select'].sum()):,} instances of {len(told)} terms in train and valid"
    yield Finding(OK, where, f"{split}, {int(told['test'].sum()):,} in test")


def counted(table: pd.DataFrame, source: Any) -> pd.DataFrame:
    """By term: instances with their midpoint in what is read (select: train, valid; test), blocks, share of bases."""
    items = source.items.drop_duplicates(["contig", "start"]).sort_values(["contig", "start"], kind="stable")
    bases = max(int((items["end"] - items["start"]).sum()), 1)
    terms = table["term"].cat.categories
    made = pd.DataFrame(0, index=pd.Index(terms, name="term"), columns=["select", "test", "blocks"])
    made["share"] = 0.0
    parts = []
    for contig, own in table.groupby("contig", observed=True):
        mine = items[items["contig"] == contig]
        if not len(mine):
            continue
        length = source.spaces[contig].length or np.iinfo(np.int64).max
        middle = ((own["start"].to_numpy() + own["end"].to_numpy()) // 2) % length
        at = np.searchsorted(mine["start"].to_numpy(), middle, side="right") - 1
        inside = (at >= 0) & (middle < mine["end"].to_numpy()[at])
        facts = mine.iloc[at[inside]][["block", "split"]].reset_index(drop=True)
        parts.append(facts.assign(term=own["term"].to_numpy(object)[inside]))
        for term, spans in own.groupby("term", observed=True):
            made.loc[term, "share"] += _covered(spans, mine) / bases
    if not parts:
        return made
    every = pd.concat(parts, ignore_index=True)
    for column, chosen in (("test", every["split"] == "test"), ("select", every["split"] != "test")):
        made[column] = every[chosen]["term"].value_counts().reindex(terms, fill_value=0).to_numpy()
    made["blocks"] = every.groupby("term")["block"].nunique().reindex(terms, fill_value=0).to_numpy()
    return made


def _covered(spans: pd.DataFrame, items: pd.DataFrame) -> int:
    """Bases of the items that any of these spans holds, on whichever strand."""
    low, high = _merged(spans["start"].to_numpy(), spans["end"].to_numpy())
    total = np.concatenate([[0], np.cumsum(high - low)])

    def below(x: Array) -> Array:  # bases of the spans that lie left of x
        at = np.searchsorted(low, x, side="right")
        return total[at] - np.maximum(0, np.where(at > 0, high[np.maximum(at - 1, 0)] - x, 0))

    return int((below(items["end"].to_numpy()) - below(items["start"].to_numpy())).sum())


def _merged(start: Array, end: Array) -> tuple[Array, Array]:
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(end[order])
    first = np.append(True, start[1:] > reach[:-1])
    return start[first], reach[np.append(np.flatnonzero(first)[1:] - 1, len(reach) - 1)]


def _signal(where: str, path: Path, source: Any, other: Any) -> Iterator[Finding]:
    """A bigWig's contigs and lengths against the source's."""
    from bioterp.annotations import contigs
    from bioterp.annotations.features import Contig, Features, table_of

    if importlib.util.find_spec("pyBigWig") is None:
        yield from importable("pyBigWig", "dna", where, "bigWig")
        return
    import pyBigWig

    try:
        file = pyBigWig.open(str(path))
    except (RuntimeError, OSError):
        file = None
    if file is None or not file.isBigWig():
        raise InputError(f"{path.name} cannot be read as bigWig; is it whole?")
    sizes = {contig: Contig(int(length)) for contig, length in file.chroms().items()}
    held = int(file.header().get("nBasesCovered", 0))
    file.close()
    features = Features(table_of({"contig": [], "start": [], "end": []}), sizes, "bigwig", path.name)
    _, _, warnings = contigs.match(contigs.rename(features, other), list(source.spaces.values()))
    for line in warnings:
        level = PROBLEM if " bp, the sequence has " in line else WARNING
        yield of_text(level, line + ("; it is of another assembly" if level == PROBLEM else ""), where)
    what = f"numbers for {held:,} bases on {len(sizes)} contigs"
    yield Finding(OK if held else WARNING, where, what, "" if held else "it is empty: leave it out")
