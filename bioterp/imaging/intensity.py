"""Recipes that bring a scan's numbers into the range a model was trained on.

none                                     as they are
zscore                                   mean 0, sd 1 over the voxels that are not 0 (air of a skull-stripped scan)
{zscore: all | otsu | 120.5}             over all voxels, those above Otsu's threshold, or those above a number
minmax                                   the scan's least → 0, its largest → 1
{percentile: [2, 98]}                    these percentiles → 0 and 1, clipped
{window: [-1024, 1024], to: [0, 1]}      a window of CT numbers (HU), clipped; `to` is [0, 1] by default
{windows: [[-1024, 1024], [-135, 215], [0, 80]]}   one channel per window
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bioterp.arrays import Array
from bioterp.errors import InputError, nearest

ROUNDING = 1e-6
KINDS = ("none", "zscore", "minmax", "percentile", "window", "windows")
Recipe = str | dict[str, Any]


def parse_recipe(recipe: Recipe) -> dict[str, Any]:
    """A recipe as {kind: argument, …}, checked."""
    whole: dict[str, Any] = {recipe: None} if isinstance(recipe, str) else dict(recipe)
    to = whole.pop("to", None)
    if len(whole) != 1 or next(iter(whole)) not in KINDS:
        asked = next(iter(whole), "nothing")
        raise InputError(f"intensity: {asked!r} is no recipe; {nearest(str(asked), KINDS)}")
    kind, value = next(iter(whole.items()))
    if kind == "percentile" and not _pair(value, 0, 100):
        raise InputError(f"intensity: percentile takes two numbers between 0 and 100, such as [2, 98]; got {value!r}")
    if kind == "window" and not _pair(value):
        raise InputError(f"intensity: window takes two numbers, such as [-1024, 1024]; got {value!r}")
    if kind == "windows" and not (isinstance(value, (list, tuple)) and value and all(_pair(one) for one in value)):
        raise InputError(f"intensity: windows takes a list of pairs, such as [[-1024, 1024], [0, 80]]; got {value!r}")
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "zscore" and value not in (None, "nonzero", "all", "otsu") and not number:
        raise InputError(f"intensity: zscore is over nonzero, all, otsu or a number's upper side; got {value!r}")
    if to is not None and (kind not in ("window", "windows") or not _pair(to)):
        raise InputError(f"intensity: to is a pair such as [-1, 1] beside window or windows; got {to!r} with {kind}")
    return {"kind": kind, "value": value, "to": tuple(to) if to is not None else (0.0, 1.0)}


def channels(recipe: Recipe) -> int:
    """How many channels a recipe makes of one image."""
    parsed = parse_recipe(recipe)
    return len(parsed["value"]) if parsed["kind"] == "windows" else 1


def padding(recipe: Recipe, array: Array) -> float:
    """What stands for 'nothing is known here' in a normalised array: the mean for z-scores, else its least."""
    return 0.0 if parse_recipe(recipe)["kind"] == "zscore" else float(array.min())


def normalise(array: Array, recipe: Recipe, seen: tuple[Array, Array] | None = None) -> Array:
    """(x, y, z) → (c, x, y, z) float32. Voxels that are not finite take no part in the statistics and become the least.

    seen: low and high voxel of the box that is the scan. What was added around it to reach a shape takes no part in
    z-scores, and becomes the least; percentiles are of the whole shape (as brainchop has it, after conforming).
    Raises InputError when there is nothing to scale by: no finite voxel, or all of them equal.
    """
    parsed = parse_recipe(recipe)
    kind, value, (low_to, high_to) = parsed["kind"], parsed["value"], parsed["to"]
    box = tuple(slice(int(a), int(b)) for a, b in zip(*seen, strict=True)) if seen is not None else ()
    if kind == "zscore" and np.shape(array[box]) != np.shape(array):
        inside = normalise(array[box], recipe)
        whole = np.full((1, *np.shape(array)), inside.min(), np.float32)
        whole[(slice(None), *box)] = inside
        return whole
    image = np.array(array, np.float32)
    finite = np.isfinite(image)
    if not finite.all():
        if not finite.any():
            raise InputError("the scan holds no finite voxel; wanted an image")
        image[~finite] = image[finite].min()
    if kind == "none":
        return image[None]
    if kind in ("window", "windows"):
        pairs = [value] if kind == "window" else value
        parts = [np.clip((image - lo) / (hi - lo), 0, 1) * (high_to - low_to) + low_to for lo, hi in pairs]
        return np.stack(parts).astype(np.float32)
    if kind == "zscore":
        inside = image[_foreground(image, finite, value)]
        if not inside.size:
            raise InputError(f"intensity: no voxel is left to take a mean of (zscore over {value or 'nonzero'})")
        mean, sd = float(inside.mean(dtype=np.float64)), float(inside.std(dtype=np.float64))
        if sd == 0:
            raise InputError(f"every voxel has the value {mean:g}; wanted an image with something in it")
        return ((image - np.float32(mean)) / np.float32(sd))[None]
    low, high = _range(image, finite, kind, value)
    if high <= low:
        raise InputError(f"the scan's range is empty ({low:g} to {high:g}); wanted an image with something in it")
    scaled = (image - np.float32(low)) / np.float32(high - low)
    return (np.clip(scaled, 0, 1) if kind == "percentile" else scaled)[None]


def _range(image: Array, finite: Array, kind: str, value: Any) -> tuple[float, float]:
    if kind == "minmax":
        return float(image.min()), float(image.max())
    low, high = np.percentile(image[finite], value)
    return float(low), float(high)


def _foreground(image: Array, finite: Array, value: Any) -> Array:
    if value in (None, "nonzero"):
        size = np.abs(image)  # interpolated air is 0 but for rounding, which must not decide what is counted
        return np.asarray(finite & (size > ROUNDING * size.max()))
    if value == "all":
        return finite
    threshold = otsu(image[finite]) if value == "otsu" else float(value)
    return np.asarray(finite & (image > threshold))


def otsu(values: Array, bins: int = 256) -> float:
    """The threshold with the largest variance between the two sides of it (Otsu 1979)."""
    counts, edges = np.histogram(values, bins)
    centers = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(float)
    above = counts.sum() - below
    total = np.cumsum(counts * centers)
    gap = total[-1] * below - total[:-1] * counts.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num(gap**2 / (below * above))
    best = between >= between.max() * (1 - 1e-9)  # in an empty stretch between two heaps all are as good: its middle
    return float(edges[1:-1][best].mean())


def _pair(value: Any, low: float = -np.inf, high: float = np.inf) -> bool:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return False
    numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in value)
    return numbers and low <= value[0] < value[1] <= high
