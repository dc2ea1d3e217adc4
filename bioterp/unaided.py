"""What can be told without any model: of a sequence its composition, of a scan its intensities and where a cell is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bioterp import baselines, scan_baselines
from bioterp.field import Field
from bioterp.planning import Representation


def unaided(
    names: Sequence[str], source: Any, lattices: Sequence[Field], truth: Callable[[Field], Field], root: Path
) -> Iterator[Representation]:
    """These baselines on every lattice of a run; truth(rows) gives the labels an atlas is made of."""
    for name in names:
        for rows in lattices:
            if name == "composition":
                layer = "sequence"
                recipe: list[Any] = [name, baselines.KMERS, baselines.GC_WINDOWS]
            else:
                layer = "cells=" + "x".join(f"{mm:.3g}" for mm in _spacing(rows))
                recipe = [name, rows.rows.id, rows.about.get("source")]
            if name == "position":
                recipe.append(truth(rows).about.get("recipe"))
            folder = root / name if name == "composition" else root / name / layer
            yield Representation(name, layer, 0, rows, folder, recipe, _maker(name, layer, source, rows, truth))


def _maker(name: str, layer: str, source: Any, rows: Field, truth: Callable[[Field], Field]) -> Callable[[], Field]:
    def make() -> Field:
        if name == "composition":
            codes = baselines.composition(source.sequences, rows.rows)
        elif name == "position":
            codes = scan_baselines.position(rows.rows, truth(rows))
        else:
            codes = scan_baselines.intensity(source, rows.rows)
        codes.about["layer"] = layer
        return codes

    return make


def _spacing(rows: Field) -> list[float]:
    """mm per cell along each axis, of the first item."""
    return [float(mm) for mm in np.linalg.norm(rows.rows.affines[0, :-1, :-1], axis=0)]
