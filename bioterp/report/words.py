"""What the report calls things, by what was read: a sequence in bp, or scans in mm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from bioterp.field import Field
from bioterp.rows import Rows

PERMUTED = (
    "Chance is the mean F1 when the activity in each scan is held against the labels of another subject, the two scans "
    "centred on each other: a feature that only knows where such anatomy usually lies is at chance. q corrects the p "
    "of that null over the pairs that were chosen (Benjamini–Hochberg)."
)
AGAINST = " (the mean F1 against other subjects' labels)"
OTHERS = "0 is the mean F1 of that very feature against other subjects' labels."
FREE = "0 is the F1 of a feature that fires as often, but wherever it likes."
UNTESTED = "Chance is the F1 of a feature that fires as often, but wherever it likes; no p was worked out."


@dataclass(frozen=True)
class Words:
    """The wording of a study; the defaults are those of a sequence."""

    scans: bool = False
    held: str = "blocks"
    axis: str = "F1 on test blocks, above chance (the mean F1 of circular shifts)"
    zero: str = "0 is the mean F1 of circular shifts of that very feature."
    chance: str = (
        "Chance is the mean F1 when the feature's activity is shifted around the sequence; q corrects the p of that "
        "null over the pairs that were chosen (Benjamini–Hochberg)."
    )
    intervals: str = "Intervals leave out one block at a time (jackknife, 95 %)."
    more: tuple[str, ...] = ()
    by_model: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(
        cls, codes: Field | None, truth: Field | None, about: Mapping[str, Any], detection: pd.DataFrame | None = None
    ) -> Words:
        rows = codes.rows if codes is not None else truth.rows if truth is not None else None
        by_model = labelled_by_model(truth)
        if not (rows.ndim == 3 if rows is not None else _says_scans(about)):
            return cls(by_model=by_model)
        permuted = detection is not None and "q" in detection.columns and bool(detection["q"].notna().any())
        cell = (
            "A cell is what one row of numbers of the model stands for: {}. Pictures and scores know no finer detail."
        )
        more = (cell.format(cell_size(rows)),) if rows is not None and len(rows.items) else ()
        axis, zero = (AGAINST, OTHERS) if permuted else ("", FREE)
        return cls(
            scans=True,
            held="scans",
            axis=f"F1 on test scans, above chance{axis}",
            zero=zero,
            chance=PERMUTED if permuted else UNTESTED,
            intervals=f"Intervals leave out one block{_meaning(rows)} at a time (jackknife, 95 %).",
            more=more,
            by_model=by_model,
        )

    def agreement(self, term: Any) -> bool:
        """True where a term was labelled by a model: a score is then agreement, not truth."""
        return str(term) in self.by_model


def labelled_by_model(truth: Field | None) -> frozenset[str]:
    """The terms whose labels a model made, by the column `made_by` of the labels or by what is said of them all."""
    if truth is None:
        return frozenset()
    names = truth.columns["name"].astype(str)
    if "made_by" in truth.columns.columns:
        return frozenset(names[truth.columns["made_by"].astype(str) == "model"])
    return frozenset(names) if truth.about.get("made_by") == "model" else frozenset()


def cell_size(rows: Rows) -> str:
    """'8 × 8 × 8 mm', or the range over scans where they differ; sides in the order right–left, front–back, up–down."""
    steps = rows.affines[:, :3, :3]
    lengths = np.linalg.norm(steps, axis=1)  # (items, index axes)
    # The index axis that runs most along each axis of the world.
    along = np.abs(steps / lengths[:, None, :]).argmax(2)
    sides = np.take_along_axis(lengths, along, 1)
    low, high = sides.min(0), sides.max(0)
    parts = [f"{a:.3g}" if b - a < 0.005 * b else f"{a:.3g}–{b:.3g}" for a, b in zip(low, high, strict=True)]
    return " × ".join(parts) + " mm"


def _says_scans(about: Mapping[str, Any]) -> bool:
    config = about.get("config")
    source = config.get("source") if isinstance(config, Mapping) else None
    kind = source.get("kind") if isinstance(source, Mapping) else None
    return "scans" in (kind, about.get("kind")) or about.get("modality") == "volume"


def _meaning(rows: Rows | None) -> str:
    """' (a subject)' where that is what blocks are."""
    if rows is None or "subject" not in rows.items.columns:
        return ""
    return " (a subject)" if rows.items.groupby("subject")["block"].nunique().max() == 1 == rows.items.groupby(
        "block")["subject"].nunique().max() else ""  # fmt: skip
