"""`bioterp list`: what is known, as text. Reads pure data; loads no model library."""

from __future__ import annotations

from typing import Any


def text(what: str) -> str:
    """One line per known thing of a kind: models, annotations, analyses, formats."""
    return {"models": _models, "annotations": _annotations, "analyses": _analyses, "formats": _formats}[what]()


def _columns(rows: list[dict[str, Any]]) -> str:
    names = list(rows[0])
    cells = [names, *[[str(row[name]) for name in names] for row in rows]]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def _models() -> str:
    from bioterp.models import known_models

    models = [vars(model).copy() for model in known_models().values()]
    more = [
        f"      {model.pop('loader')} loader; weights: {model.pop('weights')}; "
        + ("needs trust_remote_code and a revision; " if model.pop("code") else "")
        + model.pop("run_here")
        for model in models
    ]
    head, *lines = _columns(models).split("\n")
    return "\n".join([head, *(f"{line}\n{rest}" for line, rest in zip(lines, more, strict=True))])


def _annotations() -> str:
    return _columns(
        [
            {"format": "GFF3", "gives": "a term per feature type, and derived terms"},
            {"format": "GTF", "gives": "the same; CDS and stop codon joined"},
            {"format": "GenBank", "gives": "the same; topology and codon_start honoured"},
            {"format": "BED3–12", "gives": "one term per name or file"},
            {"format": "VCF/BCF", "gives": "records as points, INFO filters"},
            {"format": "bigWig", "gives": "numbers"},
            {"format": "call: genes", "gives": "CDS and rRNA called on the sequence itself (extra 'demo')"},
        ]
    )


def _analyses() -> str:
    from bioterp.analyses import NAMES, about

    return _columns([{"name": name, "question": about(name).question} for name in NAMES])


def _formats() -> str:
    return _columns(
        [
            {"format": "tsv, parquet", "of": "tables"},
            {"format": "bigwig, bedgraph, bed", "of": "features along the genome, one file per strand"},
            {"format": "h5ad", "of": "features by block or region, for scanpy"},
        ]
    )
