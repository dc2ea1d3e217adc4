"""`bioterp list`: what is known, as text. Reads pure data; loads no model library."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bioterp.models import Known


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

    rows = list(known_models().values())
    dna = [row for row in rows if row.modality == "dna"]
    scans = [row for row in rows if row.modality == "volume"]
    note = "?: told by none of the sources that were read, or each scan's own"
    return "\n".join([_table(dna, _dna, _dna_more), "", _table(scans, _scan, _scan_more), note])


def _table(rows: list[Known], cells: Callable[[Known], dict[str, Any]], more: Callable[[Known], list[str]]) -> str:
    """One line of columns per model, and below it what does not fit in a column."""
    head, *lines = _columns([cells(row) for row in rows]).split("\n")
    told = [[line, *(f"      {text}" for text in more(row))] for line, row in zip(lines, rows, strict=True)]
    return "\n".join([head, *(line for group in told for line in group)])


def _dna(row: Known) -> dict[str, Any]:
    names = ("name", "modality", "layers", "width", "context", "tokeniser", "licence")
    return {name: getattr(row, name) for name in names}


def _dna_more(row: Known) -> list[str]:
    code = "needs trust_remote_code and a revision; " if row.code else ""
    return [f"{row.loader} loader; weights: {row.weights}; {code}{row.run_here}"]


def _scan(row: Known) -> dict[str, Any]:
    wants = row.wants
    return {
        "name": row.name,
        "modality": row.modality,
        "layers": row.layers,
        "width": row.width,
        "orientation": wants.get("orientation", "?"),
        "spacing (mm)": " × ".join(f"{mm:g}" for mm in wants["spacing"]) if "spacing" in wants else "?",
        "intensity": _recipe(wants.get("intensity", "?")),
        "cell": row.tokeniser,
        "licence": row.licence,
    }


def _recipe(recipe: Any) -> str:
    """'minmax', 'percentile 2–98', 'window −1024–1024 to −1–1': a recipe in one short word or line."""
    if isinstance(recipe, str):
        return recipe
    kind, value = next(item for item in recipe.items() if item[0] != "to")
    if not isinstance(value, list):
        return f"{kind} {value}"
    pairs = value if kind == "windows" else [value]
    told = ", ".join(f"{low:g} to {high:g}" for low, high in pairs)
    low, high = recipe.get("to", (0, 1))
    return f"{kind} {told}" + (f" → {low:g} to {high:g}" if (low, high) != (0, 1) else "")


def _scan_more(row: Known) -> list[str]:
    asked = " (modality='volume')" if row.loader == "factory" else ""
    return [
        f"{row.title}; arrays: {row.context}; layer to look at first: {row.layer}",
        f"{row.loader} loader{asked}; weights: {row.weights}; {row.run_here}",
        f"from: {row.source}",
    ]


def _annotations() -> str:
    from bioterp.annotations import PLUGGED

    plugged = [{"format": ending, "gives": reader.about.gives} for ending, reader in PLUGGED.items()]
    return _columns(
        [
            {"format": "GFF3", "gives": "a term per feature type, and derived terms"},
            {"format": "GTF", "gives": "the same; CDS and stop codon joined"},
            {"format": "GenBank", "gives": "the same; topology and codon_start honoured"},
            {"format": "BED3–12", "gives": "one term per name or file"},
            {"format": "VCF/BCF", "gives": "records as points, INFO filters"},
            {"format": "bigWig", "gives": "numbers"},
            {"format": "call: genes", "gives": "CDS and rRNA called on the sequence itself (extra 'demo')"},
            {"format": "NIfTI, MGZ", "gives": "a term per value of a mask, or one where a map passes `threshold`"},
            {"format": "DICOM SEG", "gives": "a term per segment; overlapping ones too"},
            {"format": "column: of a sheet", "gives": "the masks of each scan, whatever lattice they lie on"},
            *plugged,
        ]
    )


def _analyses() -> str:
    from bioterp.analyses import NAMES, PLUGGED, about

    return _columns([{"name": name, "question": about(name).question} for name in (*NAMES, *PLUGGED)])


def _formats() -> str:
    return _columns(
        [
            {"format": "tsv, parquet", "of": "tables"},
            {"format": "bigwig, bedgraph, bed", "of": "features along the genome, one file per strand"},
            {"format": "nifti", "of": "features as maps on each scan's own grid, BIDS derivatives"},
            {"format": "h5ad", "of": "features by block or region, for scanpy"},
            {"format": "atlas", "of": "features with terms, stability, UMAP and graphs, for scanpy (run files only)"},
        ]
    )
