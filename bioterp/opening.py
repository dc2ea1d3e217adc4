"""From a Run to what it names: its files checked, its source and model opened."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from bioterp.config import Run
from bioterp.errors import InputError, StoreError


def check_paths(run: Run) -> None:
    """Raise unless every annotation is there and `out` is free, or holds an earlier run."""
    for name, spec in run.labels.items():
        if spec.path is not None and spec.path.name.lower().endswith((".bw", ".bigwig")):
            raise InputError(f"labels.{name}: {spec.path.name} holds numbers, which no analysis of a run takes yet")
        if spec.path is not None and not spec.path.is_file():
            what = "is a folder" if spec.path.is_dir() else "does not exist"
            raise InputError(f"labels.{name}: the annotation file {spec.path} {what}")
    place = next(folder for folder in (run.out, *run.out.resolve().parents) if folder.exists())
    if not place.is_dir():
        raise InputError(f"out: {place} is a file; give a folder")
    if not os.access(place, os.W_OK):
        raise InputError(f"out: {place} cannot be written; give another folder")
    inputs = [run.source.fasta, run.source.regions, *(spec.path for spec in run.labels.values())]
    own = {path.name for path in inputs if path is not None and path.parent.resolve() == run.out.resolve()}
    held = {path.name for path in run.out.iterdir() if path.name[0] != "."} - own if run.out.is_dir() else set()
    if held and not held & {"activations", "labels", "dictionaries", "rows", "run.json", "run.yaml"}:
        raise StoreError(
            f"out: {run.out} holds files that are no run of bioterp (such as {min(held)!r}); give a new folder"
        )


def open_source(run: Run) -> Any:
    """The adapter a run reads from."""
    from bioterp.adapters.dna import DNA

    given = {one.name: getattr(run.source, one.name) for one in dataclasses.fields(run.source)}
    given.pop("kind")
    return DNA(given.pop("fasta"), seed=run.seed, **given)


def open_model(run: Run, random: bool = False) -> Any:
    """The model of a run, or the same architecture with random weights."""
    from bioterp.models import load_model

    spec = run.model
    weights: str | Path | None = spec.weights
    if random or (spec.weights is not None and spec.weights.name == "random" and not spec.weights.exists()):
        weights = "random"
    trust: dict[str, Any] = {"revision": spec.revision, "trust_remote_code": spec.trust_remote_code}
    return load_model(spec.name, weights=weights, **trust, **spec.options)
