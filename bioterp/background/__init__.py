"""What a match could follow instead of its term: numbers and classes per row, to be adjusted for.

    gc, gc:N        GC share of the N bases (129) around the cell
    kmer, kmer:K    the K bases (3; 1 to 5) the cell is centred on, in its own reading direction
    phase           codon phases of the cell on its own and the other strand, as the labels' CDS.phase terms have them
    edge:TERM       bp to the nearest end of an instance of TERM on the cell's strand
    position        where the cell is within its scan, along three axes
    intensity       how bright the image is in the cell

Values are worked out when read. They know no feature; `phase` and `edge` know labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bioterp.arrays import Array
from bioterp.errors import InputError, nearest
from bioterp.field import Field
from bioterp.rows import Rows
from bioterp.values import Values

OF_SEQUENCES = ("gc", "kmer", "phase", "edge")
OF_SCANS = ("position", "intensity")
PHASES = tuple(f"CDS.phase{i}{side}" for side in ("", "@antisense") for i in range(3))


class Covariate(NamedTuple):
    """One covariate: its columns as (name, kind 'number' or 'class', bins), and the container of their values.

    bins: into how many quantile bins of train rows an analysis that stratifies cuts a number; 0 for a class.
    """

    columns: list[tuple[str, str, int]]
    values: Values


def covariates(
    rows: Rows, names: Sequence[str] | None = None, *, source: Any = None, truth: Field | None = None
) -> Field:
    """Field(label) of numbers (rows, columns), NaN where unknown.

    source: what the rows were read from (`DNA`, `Scans`); truth: interval labels on the same rows, for phase and edge.
    names=None: what `usual` gives. Its columns tell name, covariate (which of `names`), kind and bins. Raises
    InputError for a name that is not known, or not known of such rows, and for labels that lack what is asked of them.
    """
    wanted = usual(rows, truth) if names is None else list(names)
    if not wanted:
        raise InputError("there is nothing to adjust for: name at least one covariate, e.g. gc")
    if len(set(wanted)) < len(wanted):
        raise InputError(f"a covariate is named twice: {', '.join(wanted)}")
    made = [_make(name, rows, source, truth) for name in wanted]
    lines = [(*column, name) for name, one in zip(wanted, made, strict=True) for column in one.columns]
    columns = pd.DataFrame(lines, columns=["name", "kind", "bins", "covariate"])
    return Field(rows, Beside(rows, [one.values for one in made]), columns, "label", {"covariates": wanted})


def usual(rows: Rows, truth: Field | None = None) -> list[str]:
    """What is adjusted for unless something else is asked: GC and, where labels tell it, codon phase; of scans both."""
    if rows.ndim == 3:
        return list(OF_SCANS)
    told = truth is not None and PHASES[0] in set(truth.columns["name"].astype(str))
    return ["gc", "phase"] if told else ["gc"]


def check_names(names: Sequence[str], kind: str) -> None:
    """Raise InputError for a name that no covariate of sources of this kind ('dna', 'scans') has."""
    for name in names:
        _parsed(name, 3 if kind == "scans" else 1)


def _parsed(name: str, ndim: int) -> tuple[str, str]:
    word, _, rest = name.partition(":")
    known = OF_SCANS if ndim == 3 else OF_SEQUENCES
    if word not in known:
        of = "scans" if ndim == 3 else "sequences"
        raise InputError(f"there is no covariate {name!r} of {of}; {nearest(word, known)}")
    if word in ("gc", "kmer") and rest:
        low, high = (1, 100_001) if word == "gc" else (1, 5)
        if not rest.isdecimal() or not low <= int(rest) <= high:
            raise InputError(f"covariate {name!r}: after the colon stands a number of bases from {low} to {high}")
    if word == "edge" and not rest:
        raise InputError("covariate 'edge' needs the term whose ends are meant, e.g. edge:CDS")
    if word in ("phase", *OF_SCANS) and rest:
        raise InputError(f"covariate {word!r} takes nothing after a colon; got {name!r}")
    return word, rest


def _make(name: str, rows: Rows, source: Any, truth: Field | None) -> Covariate:
    word, rest = _parsed(name, rows.ndim)
    if word in ("phase", "edge"):
        from bioterp.background import labelled

        if truth is None:
            raise InputError(f"covariate {name!r} is told by labels, and none were given")
        if truth.rows.id != rows.id:
            raise InputError(f"covariate {name!r}: the labels lie on other rows; label these rows")
        return labelled.phase(rows, truth) if word == "phase" else labelled.edge(rows, truth, rest)
    if source is None:
        raise InputError(f"covariate {name!r} is read from the source of the rows, and none was given")
    if word in OF_SCANS:
        from bioterp.background import scans

        return scans.position(rows) if word == "position" else scans.intensity(rows, source)
    from bioterp.background import bases

    return bases.gc(rows, source, int(rest or 129)) if word == "gc" else bases.kmer(rows, source, int(rest or 3))


class Beside:
    """Containers of the same rows, column beside column."""

    def __init__(self, rows: Rows, parts: Sequence[Values]):
        self.parts = parts
        self.shape = len(rows), sum(part.shape[1] for part in parts)

    def read(self, lo: int, hi: int) -> Array:
        pieces = [np.asarray(part.read(lo, hi), np.float32).reshape(hi - lo, -1) for part in self.parts]
        return np.concatenate(pieces, axis=1)
