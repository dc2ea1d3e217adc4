"""One question per file: an array kernel, a score, a table.

An analysis is a module with a function of its own name and a record `ABOUT`; its file name is the word of
the command line, of `run.yaml` and of its table (those of `fidelity` are `dictionaries` and `density`; `probing` leaves
`probe_blocks` and `curves` besides). Kernels (`counting`, `shifts` …) see arrays only.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bioterp.errors import InputError, nearest

NAMES = (
    "detection", "enrichment", "features", "readout", "layers", "comparison", "candidates", "fidelity", "stability",
    "screen", "correlation",
    "audit", "marker",
    "relations", "replication", "discoveries", "described", "loci", "motifs",
    "association", "confounding",
    "adjusted",
    "probing", "probe_comparison", "headline",
)  # fmt: skip


@dataclass(frozen=True)
class Analysis:
    """What an analysis answers, what it needs, where it must not be trusted, and whose idea it is."""

    name: str
    question: str
    needs: tuple[str, ...]
    limits: str
    reference: str


def about(name: str) -> Analysis:
    """The record of an analysis, by its file name."""
    record: Analysis = _module(name).ABOUT
    return record


def load(name: str) -> Callable[..., Any]:
    """The function of an analysis, by its file name."""
    function: Callable[..., Any] = getattr(_module(name), name)
    return function


def _module(name: str) -> Any:
    if name not in NAMES:
        raise InputError(f"there is no analysis {name!r}; {nearest(name, NAMES)}")
    return importlib.import_module(f"{__name__}.{name}")
