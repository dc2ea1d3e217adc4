"""Writes docs/formats.md from the declared columns and the records of run.yaml; a test holds it current."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path

from bioterp import records, tables

HEAD = """# Formats

Made from the declarations in the code by `python docs/make_formats.py`.

Coordinates are 0-based and half-open in bp, or mm RAS+. Features are 0-based columns of the codes. A cell is active
when its code is greater than the threshold, in raw code units. NaN is null. Parquet files carry `schema_version` in
their metadata, TSV files in a JSON file beside them.

A result folder:

    activations/layer=…/shard=…            Field(activation): arrays.safetensors, items.parquet, meta.json
    activations-random-weights/layer=…     the same network with random weights
    labels/rows=<id>/<name>/               Field(label): runs of rows with instance numbers
    dictionaries/<name>/layer=…/seed=…/    dictionary, codes, tables
    tables/                                the tables below, joined over layers, seeds and baselines
    exports/                               bigWig, bedGraph, BED9 per feature and strand; codes.h5ad; atlas.h5ad;
                                           maps/: NIfTI per feature and scan on its own grid, as BIDS derivatives
    left_out.tsv                           scans that could not be used, and why
    report.html  run.json                  the report; configuration, versions, hashes, seconds per stage
"""
RECORDS = (
    ("run.yaml", records.Run),
    ("source (kind: dna)", records.DNASource),
    ("source (kind: scans)", records.ScanSource),
    ("source (kind: haplotypes)", records.HaplotypeSource),
    ("model", records.Model),
    ("dictionary", records.Dictionary),
    ("labels.<name>", records.Label),
    ("cohort", records.Cohort),
    ("cohort.pcs", records.PCs),
)


def text() -> str:
    """The whole page."""
    parts = [HEAD, "\n## Keys of run.yaml\n"]
    for where, record in RECORDS:
        parts.append(f"\n### {where}\n\n{(record.__doc__ or '').strip()}\n\n| key | type | default |\n|---|---|---|\n")
        hints = typing.get_type_hints(record)
        parts += [
            f"| `{one.name}` | {_type(hints[one.name])} | {_default(one)} |\n" for one in dataclasses.fields(record)
        ]
    parts.append("\n## Tables\n")
    for name in tables.TABLES:
        parts.append(f"\n### {name}\n\n| column | type | unit | meaning |\n|---|---|---|---|\n")
        parts += [f"| `{c.name}` | {c.dtype} | {c.unit} | {c.meaning} |\n" for c in tables.columns(name)]
    return "".join(parts)


def _type(hint: object) -> str:
    plain = getattr(hint, "__name__", "") if isinstance(hint, type) else str(hint)
    for long, short in (
        ("pathlib.Path", "path"),
        ("pathlib._local.Path", "path"),
        ("bioterp.records.", ""),
        ("typing.", ""),
    ):
        plain = plain.replace(long, short)
    return plain.replace("|", "or").replace("Path", "path")


def _default(one: dataclasses.Field[typing.Any]) -> str:
    if one.default is not dataclasses.MISSING:
        return f"`{one.default}`"
    if one.default_factory is not dataclasses.MISSING:
        made = one.default_factory()
        return "see below" if dataclasses.is_dataclass(made) else f"`{made}`"
    return "required"


if __name__ == "__main__":
    Path(__file__).with_name("formats.md").write_text(text())
