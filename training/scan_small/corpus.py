"""Reading the training scans as the model is shown them, and drawing crops and masks from them.

A scan is a float32 array (x, y, z) as `bioterp.Scans` shows it: orientation RAS, 1 mm, z-scored over its voxels that
are not 0. Outside a scan is 0, the scan's mean.

The hippocampus scans have no subject key and hold both hemispheres of many people, neighbours in number: a block is
20 consecutive numbers, and `bioterp`'s own rule says whether it is for training.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bioterp.adapters.volume import Scans
from bioterp.imaging import intensity
from bioterp.rows import split_of

Voxels = NDArray[np.float32]
Cubes = NDArray[np.bool_]

SHOWN: dict[str, Any] = {"orientation": "RAS", "spacing": 1.0, "intensity": "zscore"}
"""How scans are shown to the model; config.json's `wants` says the same."""

PER_BLOCK = 20
"""Consecutive hippocampus scans in a block."""

PLACES = 200_000
"""Places inside a head, drawn once, on which crops are centred."""


@dataclass(frozen=True)
class Source:
    """One line of the data list: a file, what it must hash to, its use, and its share of the training crops."""

    name: str
    path: str
    sha256: str
    group: str
    block: str
    split: str
    weight: float


@dataclass(frozen=True)
class Scan:
    """A scan as the model is shown it. `places`: (n, 3) centres for crops; None, where any place will do."""

    source: Source
    voxels: Voxels
    places: NDArray[np.int16] | None


def block_of(name: str) -> str:
    """The block of a hippocampus scan: 'hippocampus_127' → '6'."""
    return str(int(name.rpartition("_")[2]) // PER_BLOCK)


def read_sources(data_list: Path) -> list[Source]:
    """The data list, in file order."""
    return [Source(**row) for row in json.loads(data_list.read_text())["sources"]]


def checked_split(source: Source) -> Source:
    """The source, if its split is the one that bioterp's rule gives a hippocampus scan of its block."""
    if source.group == "hippocampus" and source.split != split_of(block_of(source.name), 0):
        raise ValueError(f"{source.name} is listed under {source.split}, and its block is not; write data.json again")
    return source


def read_scan(data: Path, source: Source) -> Scan:
    """A scan of the data list, as `bioterp.Scans` shows it; refuses a file that is not the listed one."""
    path = data / source.path
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != source.sha256:
        raise ValueError(f"{path.name} hashes to {found}; the data list wants {source.sha256}. Fetch that version.")
    sheet = pd.DataFrame({"scan": [source.name], "path": [str(path.resolve())]})
    array, _ = Scans(sheet, **SHOWN).volume(source.name)
    voxels = np.ascontiguousarray(array[0])
    places = None
    if source.group != "hippocampus":
        inside = np.argwhere(voxels > intensity.otsu(voxels))
        chosen = np.random.default_rng(0).choice(len(inside), min(PLACES, len(inside)), replace=False)
        places = inside[chosen].astype(np.int16)
    return Scan(source, voxels, places)


def read_labels(data: Path, source: Source) -> NDArray[np.int16]:
    """The labels beside a hippocampus scan: 0, 1 = anterior, 2 = posterior. They lie as the scan does, RAS at 1 mm."""
    image = nibabel.load(data / source.path.replace("/images/", "/labels/"))
    if "".join(nibabel.aff2axcodes(image.affine)) != "RAS" or not np.allclose(image.header.get_zooms(), 1):
        raise ValueError(f"the labels of {source.name} are not RAS at 1 mm, and are read as they lie")
    return np.rint(np.asarray(image.dataobj)).astype(np.int16)


def cut(voxels: Voxels, low: Iterable[int], shape: tuple[int, ...]) -> tuple[Voxels, Cubes]:
    """A box of a scan from `low`, which may be outside it: the voxels (0 outside), and which of them are real."""
    crop, real = np.zeros(shape, np.float32), np.zeros(shape, bool)
    here, there = [], []
    for start, side, n in zip(low, shape, voxels.shape, strict=True):
        a = min(max(start, 0), n)
        b = min(max(start + side, a), n)
        here.append(slice(a - start, b - start))
        there.append(slice(a, b))
    crop[tuple(here)], real[tuple(here)] = voxels[tuple(there)], True
    return crop, real


def padded(voxels: Voxels, multiple: int = 8) -> tuple[Voxels, Cubes]:
    """A whole scan with every side brought up to a multiple by zeros at its end, and which voxels are real."""
    pairs = [(0, -n % multiple) for n in voxels.shape]
    return np.pad(voxels, pairs), np.pad(np.ones(voxels.shape, bool), pairs)


def cubes(shape: tuple[int, ...], side: int, share: float, rng: np.random.Generator) -> Cubes:
    """True where hidden: cubes of `side` voxels on a lattice, `share` of them chosen at random."""
    counts = [math.ceil(n / side) for n in shape]
    hidden = np.zeros(math.prod(counts), bool)
    hidden[rng.permutation(len(hidden))[: round(share * len(hidden))]] = True
    for_each = hidden.reshape(counts)
    for axis in range(3):
        for_each = for_each.repeat(side, axis)
    return for_each[tuple(slice(n) for n in shape)]


class Sampler:
    """Draws training crops. What a step draws depends on (seed, step) only, so a resumed run sees the same."""

    def __init__(self, scans: list[Scan], config: dict[str, Any]) -> None:
        self._scans, self._config = scans, config
        share = np.array([scan.source.weight for scan in scans], dtype=np.float64)
        self._share = share / share.sum()

    def batch(self, step: int, crops: int, side: int) -> tuple[Voxels, Cubes, Cubes]:
        """`crops` cubes of `side` voxels: (crops, 1, side, side, side) of voxels, of hidden ones, of scored ones."""
        rng = np.random.default_rng((self._config["seed"], step))
        drawn = [self._crop(i, side, rng) for i in rng.choice(len(self._scans), crops, p=self._share)]
        whole = np.stack([crop for crop, _ in drawn])[:, None]
        real = np.stack([real for _, real in drawn])[:, None]
        hidden = np.stack([self._hidden(side, rng) for _ in drawn])[:, None]
        return whole, hidden, hidden & real

    def _hidden(self, side: int, rng: np.random.Generator) -> Cubes:
        cube = int(rng.choice(self._config["cubes"]))
        return cubes((side,) * 3, cube, rng.uniform(*self._config["masked_share"]), rng)

    def _crop(self, index: int, side: int, rng: np.random.Generator) -> tuple[Voxels, Cubes]:
        scan, config = self._scans[index], self._config
        if scan.places is None:  # anywhere in a small scan, or the small scan anywhere in the crop
            low = [int(rng.integers(min(0, n - side), max(0, n - side) + 1)) for n in scan.voxels.shape]
        else:
            low = [int(c) - side // 2 for c in scan.places[rng.integers(len(scan.places))]]
        crop, real = cut(scan.voxels, low, (side,) * 3)
        own = scan.places is not None and rng.random() < config["own_zscore"]
        if own and crop[real].std() > 0:  # as a small scan of this place would have been scaled
            crop = np.where(real, (crop - crop[real].mean()) / crop[real].std(), 0).astype(np.float32)
        gain, shift = math.exp(rng.uniform(*np.log(config["gain"]))), rng.uniform(-1, 1) * config["shift"]
        crop = np.where(real, crop * np.float32(gain) + np.float32(shift), np.float32(0))
        if rng.random() < config["mirror"]:
            crop, real = crop[::-1], real[::-1]
        return crop, real
