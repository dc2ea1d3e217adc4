"""Bits of every base under the shipped model, on either strand, and how means of them are told."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import corpus
import numpy as np
import torch
from baselines import HALO
from markov import Floats
from scipy.stats import t as student
from transformers import PreTrainedModel

LENGTH = 1024
"""Bases of a window: the length trained."""

PER_BATCH = 2
"""Windows of a forward pass; more are not faster on one CPU thread."""


def starts(bases: int) -> list[int]:
    """Where the windows of a stretch begin. They overlap by HALO; the last is pulled back to end with the stretch."""
    return [min(start, bases - LENGTH) for start in range(0, bases - HALO, LENGTH - HALO)]


@torch.no_grad()
def window_bits(model: PreTrainedModel, windows: corpus.Bases) -> Floats:
    """Bits of each base given those before it in its own window: like ``windows`` (n, bases), NaN at the first
    base and at N.
    """
    tokens = torch.from_numpy(windows.astype(np.int64))
    out = np.full(windows.shape, np.nan)
    for i in range(0, len(tokens), PER_BATCH):
        some = tokens[i : i + PER_BATCH]
        logp = model(input_ids=some, use_cache=False).logits[:, :-1].float().log_softmax(-1)
        out[i : i + PER_BATCH, 1:] = -logp.gather(-1, some[:, 1:, None])[..., 0].double().numpy() / math.log(2)
    out[windows >= corpus.N] = np.nan
    return out


class Scorer:
    """The model on stretches. What it has scored is kept in ``cache``, so that a broken run goes on."""

    def __init__(self, model: PreTrainedModel, name: str, cache: Path) -> None:
        """``name`` says which weights in which precision, for the cache's file names."""
        self._model, self._name, self._cache = model, name, cache

    def windows(self, stretch: corpus.Stretch, strand: str = "+") -> Floats:
        """(windows, LENGTH) bits in the direction read. '-' reads the reverse complements of the same windows."""
        place = (stretch.source, stretch.contig, stretch.start, len(stretch.bases), strand)
        key = hashlib.blake2b(repr((self._name, place)).encode(), digest_size=16).hexdigest()
        path = self._cache / f"{key}.npy"
        if not path.exists():
            rows = np.stack([stretch.bases[start : start + LENGTH] for start in starts(len(stretch.bases))])
            found = window_bits(self._model, rows if strand == "+" else corpus.reverse_complement(rows))
            with path.with_suffix(".part").open("wb") as file:
                np.save(file, found)
            path.with_suffix(".part").replace(path)
        return np.asarray(np.load(path), dtype=np.float64)

    def bits(self, stretch: corpus.Stretch, strand: str = "+") -> Floats:
        """Bits of every base with at least HALO bases before it in the direction read: (bases,), NaN elsewhere.

        Always in forward coordinates. A base is scored once, by the first window that reaches it.
        """
        out = np.full(len(stretch.bases), np.nan)
        for start, row in zip(starts(len(stretch.bases)), self.windows(stretch, strand), strict=True):
            row[:HALO] = np.nan
            here = out[start : start + LENGTH]
            here[:] = np.where(np.isnan(here), row if strand == "+" else row[::-1], here)
        return out


def summary(per_block: list[Floats], places: int = 4) -> dict[str, Any]:
    """Mean over all scored bases; its standard error and 95 % interval (t) from the blocks' means, None for a
    single block. Rounded to ``places``.
    """
    means = np.array([np.nanmean(block) for block in per_block])
    mean = float(np.average(means, weights=[np.sum(~np.isnan(block)) for block in per_block]))
    if len(means) == 1:
        return {"bits_per_base": round(mean, places), "standard_error": None, "interval_95": None}
    return told(mean, float(means.std(ddof=1)) / math.sqrt(len(means)), len(means), places)


def pooled(totals: Floats, bases: Floats) -> dict[str, Any]:
    """Mean bits over the bases of units that hold very different numbers of them: ``totals`` bits and ``bases``
    per unit. The standard error is that of a ratio of sums over units.
    """
    totals, bases = totals[bases > 0], bases[bases > 0]
    mean, units = float(totals.sum() / bases.sum()), len(bases)
    left = totals - mean * bases
    return told(mean, math.sqrt(float(left @ left) * units / (units - 1)) / float(bases.sum()), units)


def told(mean: float, error: float, units: int, places: int = 4) -> dict[str, Any]:
    """A mean with its standard error and the 95 % interval of Student's t over ``units``."""
    reach = float(student.ppf(0.975, units - 1)) * error
    return {
        "bits_per_base": round(mean, places),
        "standard_error": round(error, places),
        "interval_95": [round(mean - reach, places), round(mean + reach, places)],
    }
