"""One question per file: an array kernel, a score, a table.

An analysis is a module with a function of its own name and a record `ABOUT`; its file name is the word of
the command line, of `run.yaml` and of its table (those of `fidelity` are `dictionaries` and `density`; `probing` leaves
`probe_blocks` and `curves` besides). Kernels (`counting`, `shifts` …) see arrays only.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bioterp.declared import Column
from bioterp.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from bioterp.field import Field

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
    columns: tuple[Column, ...] = ()  # of a plug-in's table; ours are declared in one place


@dataclass(frozen=True)
class Plugged:
    """An analysis that was plugged in: its record, its function (codes, truth, found) → table, the hash of its text."""

    about: Analysis
    function: Callable[..., Any]
    code: str


PLUGGED: dict[str, Plugged] = {}  # word → analysis, by `bioterp.plugins`


def plugged(name: str, codes: Field, truth: Field, found: pd.DataFrame | None) -> pd.DataFrame:
    """The table of a plugged-in analysis, led by what was tested. found: detection's table, if there is one."""
    frame = PLUGGED[name].function(codes, truth, found)
    if not hasattr(frame, "columns"):
        raise InputError(
            f"the analysis {name} gave {type(frame).__name__}; wanted a DataFrame of the columns it declares"
        )
    from bioterp import tables  # pandas with it: who only asks for names waits for nothing

    lead = tables.subject(codes.about)
    return tables.conform(name, frame.assign(**{key: value for key, value in lead.items() if key not in frame.columns}))


def about(name: str) -> Analysis:
    """The record of an analysis, by its file name."""
    if name in PLUGGED:
        return PLUGGED[name].about
    record: Analysis = _module(name).ABOUT
    return record


def load(name: str) -> Callable[..., Any]:
    """The function of an analysis, by its file name."""
    if name in PLUGGED:
        return PLUGGED[name].function
    function: Callable[..., Any] = getattr(_module(name), name)
    return function


def _module(name: str) -> Any:
    if name not in NAMES:
        raise InputError(f"there is no analysis {name!r}; {nearest(name, [*NAMES, *PLUGGED])}")
    return importlib.import_module(f"{__name__}.{name}")
