"""How a scan is cut: cores that tile it, halos around them, and blocks they lie in."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.imaging.frames import Lattice

Three = tuple[int, int, int]


@dataclass(frozen=True)
class Tile:
    """start and size (3,) of the core in voxels of the scan; before and after: voxels read around it.

    Of these, those beyond the scan are padding. cube: which block of its scan it lies in, () when the scan has one.
    """

    start: Three
    size: Three
    before: Three
    after: Three
    cube: tuple[int, ...] = ()
    whole: bool = False

    @property
    def array_shape(self) -> Three:
        """Voxels of the array along each axis, halo and padding included."""
        return _three(np.add(np.add(self.before, self.size), self.after))

    def block_in(self, scan: str) -> str | None:
        return f"{scan}:{','.join(map(str, self.cube))}" if self.cube else None

    def cut(self, image: Array, fill: Sequence[float]) -> tuple[Array, tuple[Array, Array]]:
        """(c, x, y, z) of a scan → the tile's array, padded where the scan ends, and its core in voxels of it.

        fill: of each channel, what it is padded with.
        """
        low = np.subtract(self.start, self.before)
        high = np.add(np.add(self.start, self.size), self.after)
        extent = np.array(image.shape[1:])
        inside = tuple(slice(int(a), int(b)) for a, b in zip(np.maximum(low, 0), np.minimum(high, extent), strict=True))
        array = image[(slice(None), *inside)]
        short = np.maximum(-low, 0), np.maximum(high - extent, 0)
        if any(side.any() for side in short):
            around = list(zip(*(side.tolist() for side in short), strict=True))
            array = np.stack([np.pad(one, around, constant_values=f) for one, f in zip(array, fill, strict=True)])
        core = np.array(self.before, float), np.add(self.before, self.size).astype(float)
        return np.ascontiguousarray(array), core


def tiles_of(
    shape: Three,
    seen: tuple[Array, Array],
    spacing: Array,
    window: Three | None,
    halo: Three,
    multiple: Three,
    blocks: str,
) -> Iterator[Tile]:
    """The tiles of a scan of this shape (voxels) and spacing (mm), in C order of blocks and of starts.

    seen: low and high voxel between which there is a scan, which padding to a shape lies outside of.
    """
    cube = cube_of(blocks, spacing, multiple)
    if window is None and cube is None:
        low, high = np.maximum(seen[0], 0), np.minimum(seen[1], shape)
        after = np.array([-n % m for n, m in zip(shape, multiple, strict=True)]) + shape - high
        yield Tile(_three(low), _three(high - low), _three(low), _three(after), (), True)
        return
    core = window or cube
    assert core is not None
    for name, sizes in (("window", core), ("halo", halo)):
        if any(n % m for n, m in zip(sizes, multiple, strict=True)):
            raise InputError(f"{name} {list(sizes)} must be multiples of {list(multiple)} voxels along each axis")
    for at in itertools.product(*(range(0, n, c) for n, c in zip(shape, cube or shape, strict=True))):
        end = np.minimum(np.add(at, cube or shape), shape)
        number = tuple(a // c for a, c in zip(at, cube, strict=True)) if cube else ()
        for start in itertools.product(*(range(a, int(e), w) for a, e, w in zip(at, end, core, strict=True))):
            size = np.minimum(np.add(start, core), end) - start
            if (start + size <= seen[0]).any() or (start >= seen[1]).any():
                continue
            after = np.subtract(core, size) + np.array(halo)  # all arrays have one size: what is short is padded
            yield Tile(_three(start), _three(size), halo, _three(after), number)


def cube_of(blocks: str, spacing: Array, multiple: Three) -> Three | None:
    """Voxels per axis of the blocks a scan is divided into, whole multiples; None when a scan is in one block."""
    if blocks in ("subject", "scan"):
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*mm\s*", str(blocks))
    if not match or float(match[1]) <= 0:
        raise InputError(f"blocks is 'subject', 'scan', or cubes of a scan such as '48mm'; got {blocks!r}")
    return _three([max(round(float(match[1]) / s / m), 1) * m for s, m in zip(spacing, multiple, strict=True)])


def fit(lattice: Lattice, shape: Three) -> Lattice:
    """The lattice cropped or padded to a shape around its middle; an odd voxel goes to the high end."""
    move = np.eye(4)
    move[:3, 3] = [
        (own - wanted) // 2 if own >= wanted else -((wanted - own) // 2)
        for own, wanted in zip(lattice.shape, shape, strict=True)
    ]
    return Lattice(shape, lattice.affine @ move)


def parse_three(value: Any, name: str, kind: Any, least: float = 1) -> Any:
    """One number or three → three, each at least `least` (spacings: above 0)."""
    both = list(value) if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) else [value] * 3
    number = all(isinstance(one, int | float | np.number) and not isinstance(one, bool) for one in both)
    fine = number and len(both) == 3 and all(np.isfinite(one) and kind(one) == one for one in both)
    if not fine or any(one <= 0 if kind is float else one < least for one in both):
        what = "mm above 0" if kind is float else f"voxels, whole numbers of at least {least:g}"
        raise InputError(f"{name} is one number or three ({what}); got {value!r}")
    return tuple(kind(one) for one in both)


def _three(values: Any) -> Three:
    x, y, z = (int(one) for one in values)
    return x, y, z


def flat(array: Array, core: tuple[Array, Array]) -> bool:
    """Whether all voxels of a core are the same."""
    inside = array[(slice(None), *(slice(int(a), int(b)) for a, b in zip(*core, strict=True)))]
    return bool((inside == inside.reshape(len(inside), -1)[:, :1].reshape(-1, 1, 1, 1)).all())
