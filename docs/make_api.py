"""Writes docs/python-api.md from the public names and their docstrings; a test holds it current and complete."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import bioterp

HEAD = """# Python names

Made from the docstrings by `python docs/make_api.py`. Everything here is `bioterp.<name>`; `import bioterp as bt` loads
nothing, and each name is imported when it is first used. Tables have the columns that [Formats](formats.md) declares.
"""
# theme → what it is about, and its names in the order of use
THEMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "Where data come from": (
        "A source gives arrays, each with the coordinates of its cells.",
        ("DNA", "Haplotypes", "Scans", "keep_together", "import_activations"),
    ),
    "Models and activations": (
        "A model runs over a source once for all layers.",
        ("load_model", "activations", "stream"),
    ),
    "Dictionaries": (
        "Sparse autoencoders: fitted here, or read from another tool's files, and what they are worth.",
        ("fit", "fit_many", "Dictionary", "load_dictionary", "calibrate", "inspect", "quality_report"),
    ),
    "Ground truth": (
        "What is known of each row, in the same coordinates.",
        ("label", "call_genes", "covariates", "read_cohort", "Cohort", "genotype_pcs", "read_pcs"),
    ),
    "Features against annotations": (
        "Chosen on one part, scored on another, beside their chance and their rivals.",
        (
            "detection", "detect", "enrichment", "adjusted", "headline", "screen", "correlation", "readout", "probing",
            "probe_comparison", "layers", "comparison",
        ),
    ),
    "Features by themselves": (
        "What fires where, with whom, and whether other seeds find it too.",
        ("features", "described", "relations", "replication", "discoveries", "loci", "motifs", "atlas", "candidates"),
    ),
    "Features against people": (
        "Outcomes, confounders, verdicts, and a marker to keep.",
        ("pool", "association", "associate", "confounding", "verdicts", "audit", "marker", "Marker"),
    ),
    "More than there is": ("A file of yours as one more adapter, annotation or analysis.", ("plug",)),
    "Out of bioterp": ("Tracks, maps, tables, a page.", ("export", "report")),
    "The four types and where they lie": (
        "A `Field` is values on `Rows`; every row has its cell on a `Grid`.",
        ("Field", "Rows", "Grid", "Space"),
    ),
    "Errors": (
        "What came, what was wanted, what to do: in one sentence.",
        ("BioterpError", "InputError", "AlignmentError", "StoreError"),
    ),
}  # fmt: skip


def text() -> str:
    """The whole page: per theme a table of one line per name, then each name's signature and docstring."""
    parts = [HEAD]
    for theme, (about, names) in THEMES.items():
        parts.append(f"\n## {theme}\n\n{about}\n\n| name | what it is |\n|---|---|\n")
        parts += [f"| [`{name}`](#{name.lower()}{'_1' if twin(name) else ''}) | {line(name)} |\n" for name in names]
    parts.append("\n## Each name\n")
    for _, names in THEMES.values():
        for name in names:
            doc = inspect.getdoc(getattr(bioterp, name))
            parts.append(f"\n### {name}\n\n```text\n{signature(name)}\n\n{doc}\n```\n")
    return "".join(parts)


def twin(name: str) -> bool:
    """Whether a heading of the same letters stands before: `Marker` after `marker`, `Dictionary` never."""
    order = [one for _, names in THEMES.values() for one in names]
    return name.lower() in [one.lower() for one in order[: order.index(name)]]


def line(name: str) -> str:
    """The first sentence or two of a docstring, in one line of a table."""
    first = (inspect.getdoc(getattr(bioterp, name)) or "").split("\n\n")[0]
    return " ".join(first.split()).replace("|", "\\|")


def signature(name: str) -> str:
    """How it is called: names and defaults, without types, which differ from Python to Python."""
    thing: Any = getattr(bioterp, name)
    if isinstance(thing, type) and issubclass(thing, Exception):
        return f"bioterp.{name}"
    shown: list[str] = []
    for one in inspect.signature(thing).parameters.values():
        if one.kind is one.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        star = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
        default = "" if one.default is one.empty else f"={one.default!r}"
        shown.append(f"{star}{one.name}{default}")
    return f"bioterp.{name}({', '.join(shown)})"


if __name__ == "__main__":
    Path(__file__).with_name("python-api.md").write_text(text())
