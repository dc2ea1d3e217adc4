"""How good a trained dictionary is: reconstruction, activity, and how well it holds the true directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from data import Acts
from form import active, sparse
from shared import Size

ROWS = 4_096  # encoded at a time
CALIBRATION = 16_384  # rows for a threshold
EARLY = 16_384  # rows of `silent`


def at_k(engine: Any, size: Size, rows: np.ndarray) -> None:
    """Deploy with the threshold at which k latents are active per row on average."""
    engine.level(0.0)
    kept = []
    for lo in range(0, CALIBRATION, ROWS):
        values = torch.as_tensor(sparse(engine.encode(torch.from_numpy(rows[lo : lo + ROWS])))[0])
        most = min(len(values), 8 * size.k * ROWS)
        kept.append(values.topk(most, sorted=False).values.numpy())
    every = np.sort(np.concatenate(kept))[::-1]
    engine.level(float(every[min(size.k * CALIBRATION, len(every) - 1)]))


def rebuilt(engine: Any, size: Size, held: np.ndarray) -> dict[str, float]:
    """FVU (about the held-out mean), L0, dead."""
    error = total = 0.0
    mean = held.mean(0, dtype=np.float64).astype(np.float32)
    times, early = np.zeros(size.width, np.int64), np.zeros(size.width, np.int64)
    for lo in range(0, len(held), ROWS):
        x = torch.from_numpy(held[lo : lo + ROWS])
        codes = engine.encode(x)
        error += float((engine.decode(codes) - x).double().square().sum())
        total += float((x - torch.from_numpy(mean)).double().square().sum())
        times += active(codes, size.width)
        if lo + ROWS <= EARLY:
            early = times.copy()
    told = {"fvu": error / total, "l0": times.sum() / len(held), "dead": np.mean(times == 0)}
    return {**{name: float(value) for name, value in told.items()}, "silent": float(np.mean(early == 0))}


def matched(decoder: np.ndarray, acts: Acts) -> dict[str, float]:
    """How well the true directions are found, where they are known."""
    if not len(acts.truth):
        return {}
    rows = torch.nn.functional.normalize(torch.from_numpy(np.array(decoder, np.float32)), dim=1)
    best = np.concatenate([(torch.from_numpy(t) @ rows.T).amax(1).numpy() for t in np.array_split(acts.truth, 8)])
    weighted = float((best * acts.frequency).sum() / acts.frequency.sum())
    return {"mmcs": float(best.mean()), "mmcs_weighted": weighted, "found": float(np.mean(best > 0.9))}
