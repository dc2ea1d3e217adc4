"""What a run has to analyse, and in which order, so that it stays within the disk it was given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bioterp.errors import InputError
from bioterp.field import Field

Layer = int | str
PEOPLE = "people"  # what is of single people lies in this folder
OF_PEOPLE = ("association", "effects", "outcomes", "qq", "confounding", "audit", "marker")


@dataclass(frozen=True)
class Representation:
    """One set of codes: what it is, on which rows, where its tables go, what they hang on, and how the codes are made.

    rows: any Field of these rows; it is not read.
    recipe: plain JSON; as long as it is the same, stored tables are taken as they are and `make` is not called.
    stored: the folder `make` writes codes to, if it does. quality: what is known of the dictionary once it is fitted.
    """

    name: str
    layer: Layer
    seed: int
    rows: Field
    folder: Path
    recipe: Any
    make: Callable[[], Field]
    stored: Path | None = None
    quality: Callable[[], dict[str, Any]] | None = None


@dataclass(frozen=True)
class Together:
    """Tables of all dictionaries of a layer at once: where they are kept, what they hang on, how they are made."""

    name: str
    layer: Layer
    folder: Path
    recipe: Any
    make: Callable[[], dict[str, Any]]


def by_depth(layers: Sequence[Layer]) -> list[Layer]:
    """Block numbers from shallow to deep (−1 is the last), then named modules, of which the depth is not known."""
    numbers = sorted((layer for layer in layers if isinstance(layer, int)), key=lambda layer: (layer < 0, layer))
    return [*numbers, *(layer for layer in layers if not isinstance(layer, int))]


def groups(layers: Sequence[Layer], size: Mapping[Layer, int], room: float) -> list[list[Layer]]:
    """Layers, shallow to deep, in as few groups as `room` bytes allow; size: bytes of each layer's activations.

    Each group is one pass through the model down to its deepest layer. Filled from the deepest layer upwards, the
    group that is not full holds the shallow layers, whose pass is the cheapest. Raises InputError when a layer
    alone is too large.
    """
    made: list[list[Layer]] = []
    for layer in reversed(by_depth(layers)):
        if size[layer] > room:
            raise InputError(
                f"disk: the activations of layer {layer} take {size[layer] / 1e9:.2g} GB, and "
                f"{max(room, 0) / 1e9:.2g} GB are left for them; give more, store bfloat16 (dtype), "
                "or read fewer bases (source.regions)"
            )
        if made and sum(size[one] for one in made[-1]) + size[layer] <= room:
            made[-1].insert(0, layer)
        else:
            made.append([layer])
    return made[::-1]


def room_for_activations(disk: float | None, rows: int, k: int) -> float:
    """Bytes left for activations: `disk` less the codes of two dictionaries (the one at work and the one to show).

    A code takes 8 bytes, a row another 8; an eighth of the disk is kept for labels, tables and exports.
    """
    return math.inf if disk is None else disk * 7 / 8 - 2 * rows * (8 * k + 8)
