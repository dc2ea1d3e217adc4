"""The quality report of dictionaries: what they lose, of the activations and of the model, and whether seeds agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bioterp import store, tables
from bioterp.adapters import Source
from bioterp.analyses.fidelity import ROWS, fidelity
from bioterp.analyses.sampling import groups_of, some_items
from bioterp.analyses.stability import stability
from bioterp.arrays import Array
from bioterp.checkpoints.inspecting import transcodes
from bioterp.dictionary import Dictionary
from bioterp.errors import AlignmentError, InputError
from bioterp.field import Field

# Held-out cells the model is run over for every replacement: a 64th of all rows, between these. Three seeds and two
# anchors on three layers, and one seed with random weights, then take a quarter of the time the activations took.
SHARE, FEWEST, CELLS = 64, 1 << 12, 1 << 16
LEAST, MOST = 8, 200_000  # items at least, for the sake of the interval, unless they hold more cells than that


def quality_report(
    sae: Dictionary,
    acts: Field,
    model: Any = None,
    source: Source | None = None,
    others: Sequence[Dictionary] = (),
    *,
    split: str | None = "test",
    rows: int = ROWS,
    cells: int | None = None,
) -> dict[str, pd.DataFrame]:
    """How good dictionaries of a layer are, without any label: three tables.

    sae: a Dictionary of the activations `acts` (all of them: `split` picks the rows that count, None = all).
    model, source: what the activations were made with; both given, the reconstruction is put in place of the layer's
        activations and the model's loss and outputs are compared. others: dictionaries of the same activations,
        usually of other seeds. rows, cells: about how many held-out rows are read, and cells the model is run over
        (None: 4,096 to 65,536, by the size of `acts`); whole items, drawn by a fixed seed.

    Returns {'dictionaries': a line per dictionary: FVU, L0, dead, γ, cosines, loss recovered against mean- and
    zero-ablation, KL …; 'density': how often features fire, as histograms; 'stability': a line per pair of
    dictionaries}. docs/formats.md has every column. Raises InputError when the split has no rows, or model and source
    are not those of `acts`.
    """
    every = [sae, *others]
    found = [fidelity(acts, one, split=split, rows=rows, rebuilds=not transcodes(one)) for one in every]
    lines = pd.concat([one.table for one in found], ignore_index=True)
    if (model is None) != (source is None):
        raise InputError("to splice a dictionary into its model, give both model and source, or neither")
    if model is None or source is None:
        lines = _noted(lines, "not spliced into the model: no model and source were given")
    else:
        cells = cells or min(max(len(acts) // SHARE, FEWEST), CELLS)
        lines = _spliced(lines, every, acts, model, source, split, cells, found[0].mean)
    return {
        "dictionaries": tables.conform("dictionaries", lines),
        "density": pd.concat([one.density for one in found], ignore_index=True),
        "stability": stability(every),
    }


def layer_of(acts: Field) -> int | str:
    """The layer activations are of, as a model takes it: a field says it in letters."""
    told = str(acts.about.get("layer", ""))
    return int(told) if told.removeprefix("-").isdecimal() else told


def _noted(lines: pd.DataFrame, note: str) -> pd.DataFrame:
    return lines.assign(note=[_joined(old, note) for old in lines["note"]])


def _spliced(
    lines: pd.DataFrame,
    every: Sequence[Dictionary],
    acts: Field,
    model: Any,
    source: Source,
    split: str | None,
    cells: int,
    mean: Array,
) -> pd.DataFrame:
    """The table with the columns that need the model; a note where it gives none."""
    from bioterp.models.base import OUTPUT
    from bioterp.quality.splicing import splice

    _check(acts, model, source)
    fit = {i: one for i, one in enumerate(every) if not transcodes(one)}
    try:
        model.width(OUTPUT)
    except InputError as error:
        return _noted(lines, f"not spliced into the model, whose outputs cannot be read: {error}")
    mean_cells = len(acts) / max(len(acts.rows.items), 1)
    items = some_items(acts.rows, split, cells, min(LEAST, round(MOST / max(mean_cells, 1))))
    block, groups = groups_of(acts.rows, items)
    where = {str(name): i for i, name in enumerate(source.items["item"])}
    names = acts.rows.items["item"].astype(str).to_numpy()[items]
    if not set(names) <= set(where):
        raise AlignmentError("the source does not give the items of these activations; give the one they are of")
    numbers = np.array([where[name] for name in names])
    order = np.argsort(numbers)
    at, of = numbers[order].tolist(), block[order]
    found = splice(model, layer_of(acts), source, at, of, groups, fit, mean.astype(np.float32))
    made = [_line(found, i) if i in fit else {} for i in range(len(every))]
    for i, line in enumerate(made):
        for name, value in line.items():
            if name != "note":
                lines.loc[i, name] = value
    notes = ["not spliced into the model: it writes something else than it reads"] * len(every)
    notes = [line.get("note", note) for line, note in zip(made, notes, strict=True)]
    return lines.assign(note=[_joined(old, new) for old, new in zip(lines["note"], notes, strict=True)])


def _joined(*notes: Any) -> str | None:
    """Notes one after the other, each once."""
    held = [part for note in notes if isinstance(note, str) and note for part in note.split("; ")]
    return "; ".join(dict.fromkeys(held)) or None


def _check(acts: Field, model: Any, source: Source) -> None:
    """Refuse a model or a source that these activations are not of."""
    told = acts.about.get("model_hash")
    if told is not None and told != model.hash:
        raise InputError(
            f"these activations were made with other weights than those of {model.name}; give the model they are of"
        )
    told = acts.about.get("source")
    if told is not None and told != store.digest(source.recipe):
        raise InputError("these activations were read from another source; give the one they are of")
    if not acts.about.get("layer"):
        raise InputError("these activations do not say which layer they are of; set acts.about['layer']")


def _line(found: Any, name: Any) -> dict[str, Any]:
    """The columns that splicing fills, of one dictionary."""
    from bioterp.quality import outcomes
    from bioterp.quality.splicing import MEAN, ZERO

    n = int(found.cells.sum())
    if n == 0:
        return {"note": "not spliced into the model: none of its output cells lies in the sampled items"}
    mine, to_mean, to_zero = (found.outcomes[one] for one in (name, MEAN, ZERO))
    line: dict[str, Any] = {"n_spliced": n}
    if found.kind == outcomes.VALUES:
        whole = found.variance
        for column, one in (("change", mine), ("change_mean", to_mean), ("change_zero", to_zero)):
            line[column] = float(one.change.sum()) / whole if whole > 0 else math.nan
        return {**line, "note": "no loss and no KL: the model's outputs are no distribution, so their change is given"}
    for column, one in (("kl", mine), ("kl_mean", to_mean), ("kl_zero", to_zero)):
        line[column] = float(one.divergence.sum()) / n
    if found.kind != outcomes.NEXT:
        return {**line, "note": "no loss is defined for this model; KL is of its outputs"}
    line |= {"loss": outcomes.LOSS, "loss_clean": float(found.clean.sum()) / n}
    notes = []
    for column, one in (("loss_spliced", mine), ("loss_mean", to_mean), ("loss_zero", to_zero)):
        line[column] = float(one.loss.sum()) / n
    for anchor in (MEAN, ZERO):
        value, interval, reason = found.recovered(name, anchor)
        line |= {f"recovered_{anchor}": value}
        line |= {f"recovered_{anchor}_lo": interval.lo, f"recovered_{anchor}_hi": interval.hi}
        notes.append(reason)
    return {**line, "note": _joined(*notes)}
