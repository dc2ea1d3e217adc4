"""Filling holes in scans, by the network or otherwise, and how wrong it is."""

from __future__ import annotations

from collections.abc import Sequence

import corpus
import model as scan
import numpy as np
import torch
from baselines import Fill
from corpus import Cubes, Scan, Voxels

SHARE = 0.6
"""Of the cubes of a scan, how many are hidden."""

HEAD_CROPS, HEAD_SIDE = 8, 40


def filled(model: scan.MaskedAutoencoder) -> Fill:
    """The network as a way of filling holes."""

    def fill(voxels: Voxels, hidden: Cubes) -> Voxels:
        given, _ = corpus.padded(voxels)
        gone, _ = corpus.padded(hidden.astype(np.float32))
        with torch.no_grad():
            out = model(torch.from_numpy(given)[None, None], torch.from_numpy(gone.astype(bool))[None, None])
        return out[0, 0].numpy()[tuple(slice(n) for n in voxels.shape)]

    return fill


def zero(voxels: Voxels, hidden: Cubes) -> Voxels:
    """The scan's mean everywhere."""
    return np.zeros_like(voxels)


def errors(fill: Fill, scans: Sequence[Voxels], side: int) -> list[tuple[float, int]]:
    """Summed squared error on hidden voxels, and their number, of each scan. The same holes for every way."""
    found = []
    for i, voxels in enumerate(scans):
        hidden = corpus.cubes(voxels.shape, side, SHARE, np.random.default_rng((7, side, i)))
        shown = np.where(hidden, np.float32(0), voxels)  # nobody is given what is hidden
        wrong = (fill(shown, hidden) - voxels)[hidden].astype(np.float64)
        found.append((float(wrong @ wrong), len(wrong)))
    return found


def mse(fill: Fill, scans: Sequence[Voxels], side: int) -> float:
    """Mean squared error over all hidden voxels of some scans."""
    pairs = errors(fill, scans, side)
    return sum(total for total, _ in pairs) / sum(n for _, n in pairs)


def best(offered: dict[str, Fill], scans: Sequence[Voxels], side: int) -> str:
    """The name of the best of several, on scans that are not reported."""
    return min(offered, key=lambda name: mse(offered[name], scans, side))


def head_crops(heads: Sequence[Scan]) -> dict[str, list[Voxels]]:
    """Crops centred inside each head."""
    found = {}
    for one in heads:
        assert one.places is not None
        chosen = np.random.default_rng(3).choice(len(one.places), HEAD_CROPS, replace=False)
        lows = one.places[chosen].astype(int) - HEAD_SIDE // 2
        found[one.source.name] = [corpus.cut(one.voxels, low, (HEAD_SIDE,) * 3)[0] for low in lows.tolist()]
    return found
