"""From a Run to what it names: its files checked and told by their content, its source and model opened."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bioterp import adapters, store
from bioterp.errors import BioterpError, InputError, StoreError, nearest, shown
from bioterp.leakage import REFUSED, keep_together
from bioterp.limits import TRUST
from bioterp.progress import say
from bioterp.records import HaplotypeSource, Label, Run, ScanSource
from bioterp.rows import Rows


def check_trust(run: Run) -> None:
    """InputError where a run file would have code run that nobody but the file vouches for.

    A run file may come from a stranger: what it says of trust counts only with --trust-remote-code, which sets TRUST
    for this process and those it starts.
    """
    from bioterp.models import runs_code

    if os.environ.get(TRUST) == "1":
        return
    name, asks = run.model.name, run.model.trust_remote_code
    if asks or runs_code(name):
        brings = f"model.trust_remote_code would run the code {shown(name)} brings"
        what = brings if asks else f"model.name {shown(name)} is Python code, which would be run"
        raise InputError(
            f"{what}, and run files are not trusted with that: read the code, then run again with --trust-remote-code "
            f"(in Python set {TRUST}=1)"
        )


def check_paths(run: Run) -> None:
    """Raise unless every annotation is there and `out` is free, or holds an earlier run."""
    for error in path_problems(run):
        raise error


def path_problems(run: Run) -> Iterator[BioterpError]:
    """Every file that is absent, labels that no analysis takes, an `out` that cannot be, one after the other."""
    try:
        check_trust(run)
    except InputError as error:
        yield error
    for given in _of_cohort(run):
        if not given.is_file():
            yield InputError(f"cohort: there is no file {given}")
    apart = isinstance(run.source, HaplotypeSource) or run.source.kind in adapters.PLUGGED
    for path in _read_from(run) if apart else []:
        if path is not None and not path.is_file():
            yield InputError(f"source: there is no file {path}")
    if "correlation" in run.analyses and not any(spec.numbers for spec in run.labels.values()):
        yield InputError(
            "analyses: correlation needs labels that are numbers, e.g. labels: {coverage: coverage.bw}; "
            "leave it out, or give some"
        )
    for name, spec in run.labels.items():
        if spec.numbers and "correlation" not in run.analyses:
            density, what = bool(spec.options.get("density")), spec.path.name if spec.path is not None else ""
            yield InputError(
                f"labels.{name}: {'density gives' if density else what + ' holds'} numbers, which only correlation "
                f"takes; add it to analyses{', or give a threshold' if density else ', or leave these numbers out'}"
            )
        if spec.path is not None and not spec.path.is_file():
            what = "is a folder" if spec.path.is_dir() else "does not exist"
            yield InputError(f"labels.{name}: the annotation file {spec.path} {what}")
    yield from _place_problems(run)


def _place_problems(run: Run) -> Iterator[BioterpError]:
    place = next(folder for folder in (run.out, *run.out.resolve().parents) if folder.exists())
    if not place.is_dir():
        yield InputError(f"out: {place} is a file; give a folder")
        return
    if not os.access(place, os.W_OK):
        yield InputError(f"out: {place} cannot be written; give another folder")
    inputs = [*_read_from(run), *(spec.path for spec in run.labels.values())]
    own = {path.name for path in inputs if path is not None and path.parent.resolve() == run.out.resolve()}
    held = {path.name for path in run.out.iterdir() if path.name[0] != "."} - own if run.out.is_dir() else set()
    if held and not held & {"activations", "labels", "dictionaries", "rows", "jobs", "run.json", "run.yaml"}:
        yield StoreError(
            f"out: {run.out} holds files that are no run of bioterp (such as {min(held)!r}); give a new folder"
        )


def _of_cohort(run: Run) -> list[Path]:
    """The files a cohort is read from."""
    asked = run.cohort
    if asked is None:
        return []
    pcs = asked.pcs
    vcf = [] if pcs is None else pcs.vcf if isinstance(pcs.vcf, list) else [pcs.vcf]
    found = [asked.samples, asked.regions, *vcf, pcs.path if pcs is not None else None]
    return [path for path in found if path is not None]


def _read_from(run: Run) -> list[Path | None]:
    """The files the source, and the cohort, are read from."""
    people: list[Path | None] = [*_of_cohort(run)]
    if isinstance(run.source, ScanSource):
        return [run.source.items, *people]
    if isinstance(run.source, HaplotypeSource):
        vcf = run.source.vcf if isinstance(run.source.vcf, list) else [run.source.vcf]
        return [*vcf, run.source.reference, run.source.regions, run.source.samples, *people]
    if run.source.kind in adapters.PLUGGED:
        return [value for value in vars(run.source).values() if isinstance(value, Path)]
    return [run.source.fasta, run.source.regions, *people]


def open_source(run: Run, model: Callable[[], Any]) -> Any:
    """The adapter a run reads from. model() is asked how it wants scans, where the run does not say."""
    given = {one.name: getattr(run.source, one.name) for one in dataclasses.fields(run.source)}
    for apart in ("kind", "duplicates", "shards", "together"):
        given.pop(apart, None)
    if run.source.kind in adapters.PLUGGED:
        return adapters.PLUGGED[run.source.kind](seed=run.seed, **given)
    if isinstance(run.source, ScanSource):
        from bioterp.adapters.volume import Scans

        said = {key: value for key, value in given.items() if value is not None}
        wants = getattr(model(), "wants", {})
        for key in wants:  # from the run file, or from a folder that somebody else wrote
            if key not in inspect.signature(Scans).parameters:
                raise InputError(f"unknown key {key!r} in what the model wants; {nearest(key, given)}")
        return Scans(said.pop("items"), seed=run.seed, **{**wants, **said})
    if isinstance(run.source, HaplotypeSource):
        from bioterp.adapters.haplotypes import Haplotypes

        if given["samples"] is None and run.cohort is not None:
            given["samples"] = run.cohort.samples
        return Haplotypes(given.pop("vcf"), given.pop("reference"), seed=run.seed, **given)
    from bioterp.adapters.dna import DNA

    source = DNA(given.pop("fasta"), seed=run.seed, **given)
    if run.source.together:
        moved = keep_together(source, min(run.source.duplicates, REFUSED))
        say(f"splits: {moved} block{'s' * (moved != 1)} moved into the split of a block they share sequence with")
    return source


def open_model(run: Run, random: bool = False) -> Any:
    """The model of a run, or the same architecture with random weights."""
    from bioterp.models import load_model

    check_trust(run)
    spec = run.model
    weights: str | Path | None = spec.weights
    if random or (spec.weights is not None and spec.weights.name == "random" and not spec.weights.exists()):
        weights = "random"
    trust: dict[str, Any] = {"revision": spec.revision, "trust_remote_code": spec.trust_remote_code}
    return load_model(spec.name, weights=weights, **trust, **spec.options)


def content(value: Any) -> Any:
    """What a recipe remembers of a value: of a file its hash, so that an edited file is another; a folder's files."""
    if not isinstance(value, Path):
        return value
    if value.is_dir():
        return [[one.name, store.file_sha256(one)] for one in sorted(value.rglob("*")) if one.is_file()]
    if value.name.lower().endswith(".hdr"):  # the header of a pair, whose voxels are elsewhere
        pair = [one for one in (value, value.with_suffix(".img"), value.with_suffix(".img.gz")) if one.is_file()]
        return [store.file_sha256(one) for one in pair] or value
    return store.file_sha256(value) if value.is_file() else value


def masks(spec: Label, source: Any, rows: Rows) -> list[Any]:
    """What the masks a label's sheet names, and the table of their names, are: by content."""
    names = spec.options.get("names")
    found = [content(Path(str(names).partition("#")[0]))] if isinstance(names, str | Path) else []
    files: dict[str, Any] = {}
    if spec.column is not None and spec.path is None:
        files = source.files(spec.column)
    elif spec.path is not None and rows.ndim == 3 and "columns" not in spec.options:
        from bioterp.annotations.scan_sources import resolve

        files, _ = resolve(rows, spec.path, spec.column or "label")
    if not files:
        return found
    return [*found, spec.column, store.digest([[scan, content(file)] for scan, file in files.items()])]
