"""How means over blocks are told, and running the encoder on a whole scan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import corpus
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from torch import nn

Floats = NDArray[np.float64]


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Mean over blocks, and its 95 % interval from Student's t; None with fewer than three blocks.

    {"mean", "interval_95", "blocks"}
    """
    some = np.asarray(values, float)
    half = None
    if len(some) > 2:
        half = float(student.ppf(0.975, len(some) - 1)) * float(some.std(ddof=1)) / math.sqrt(len(some))
    mean = float(some.mean())
    interval = None if half is None else [round(mean - half, 4), round(mean + half, 4)]
    return {"mean": round(mean, 4), "interval_95": interval, "blocks": len(some)}


def compared(rows: dict[str, list[float]], *ours: str) -> dict[str, Any]:
    """Each row's summary, and each of our rows minus it, paired by block."""
    found = {name: summary(values) for name, values in rows.items()}
    for name, values in rows.items():
        for our in ours:
            if name not in ours:
                key = f"{our.replace(' ', '_')}_minus_this"
                found[name][key] = summary(np.subtract(rows[our], values).tolist())
    return found


@torch.no_grad()
def levels(encoder: nn.Module, voxels: corpus.Voxels) -> list[corpus.Voxels]:
    """What the encoder makes of a whole scan: for each level its cells that lie wholly within it, (x, y, z, c)."""
    given, _ = corpus.padded(voxels)
    outs = encoder(torch.from_numpy(given)[None, None])
    found = []
    for level, out in enumerate(outs):
        x, y, z = (n // 2**level for n in voxels.shape)
        found.append(out[0, :, :x, :y, :z].permute(1, 2, 3, 0).float().numpy())
    return found
