"""The files a run reads, for a scheduler to see when one was edited."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

from bioterp.records import DNASource, HaplotypeSource, Run, ScanSource

PLUGINS = "BIOTERP_PLUGINS"  # files that `--plugin` named, for the jobs to know them too


def of_source(run: Run) -> list[Path]:
    """What the source is read from, scans of a sheet included."""
    source = run.source
    if isinstance(source, ScanSource):
        return [source.items, *_scans(source.items)]
    if isinstance(source, HaplotypeSource):
        vcf = source.vcf if isinstance(source.vcf, list) else [source.vcf]
        samples = source.samples or (run.cohort.samples if run.cohort is not None else None)
        return [path for path in (*vcf, source.reference, source.regions, samples) if path is not None]
    if isinstance(source, DNASource):
        return [path for path in (source.fasta, source.regions) if path is not None]
    return [*(value for value in vars(source).values() if isinstance(value, Path)), *plugins()]


def plugins() -> tuple[Path, ...]:
    """The user's own plug-ins, which what they make hangs on."""
    return tuple(Path(one) for one in os.environ.get(PLUGINS, "").split(os.pathsep) if one)


@functools.cache
def _scans(sheet: Path) -> list[Path]:
    """The files in the column `path` of a sheet, those that are there; folders of DICOM series are not looked into."""
    if not sheet.is_file():
        return []
    lines = sheet.read_text(encoding="utf-8", errors="replace").splitlines()
    head = lines[0].split("\t") if lines else []
    if "path" not in head:
        return []
    at = head.index("path")
    named = [line.split("\t")[at].strip() for line in lines[1:] if line.count("\t") >= at]
    return [path for path in (sheet.parent / name for name in named if name) if path.is_file()]


def of_model(run: Run) -> list[Path]:
    """A model's folder and weights, where it has them here."""
    folder = Path(run.model.name)
    held = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    weights = run.model.weights
    return [*held, *([weights] if weights is not None and weights.is_file() else [])]


def of_cohort(run: Run) -> Iterator[Path]:
    """What is known of people."""
    asked_of = run.cohort
    if asked_of is None:
        return
    pcs = asked_of.pcs
    vcf = [] if pcs is None else pcs.vcf if isinstance(pcs.vcf, list) else [pcs.vcf]
    for path in (asked_of.samples, asked_of.regions, *vcf, pcs.path if pcs is not None else None):
        if path is not None:
            yield path
