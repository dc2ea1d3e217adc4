"""The p of one pair by each of the ways there are: what others do, and what bioterp does."""

from __future__ import annotations

import numpy as np
import scipy.fft
import scipy.stats

from bioterp.analyses.bootstrap import resampled
from bioterp.analyses.comparison import above_chance
from bioterp.analyses.local_shifts import local_null
from bioterp.analyses.shifts import Side, f1_null

NAMES = {
    "fisher": "Fisher, per base",
    "permutation": "token permutation (999)",
    "z": "circular shift, normal",
    "shift": "circular shift, exact",
    "local": "shift within blocks (9,999)",
    "bootstrap": "block bootstrap (1,999)",
}


def padded(masks: np.ndarray) -> np.ndarray:
    """(2, n) with empty slots at the end up to a length that transforms fast, as a ring has them."""
    n = masks.shape[1]
    return np.pad(masks, ((0, 0), (0, scipy.fft.next_fast_len(n) - n)))


def p_values(rng: np.random.Generator, feature: np.ndarray, term: np.ndarray, block: int) -> dict[str, float]:
    """feature, term (2, n) bool of the test rows, n a multiple of `block`; one-sided, larger F1 is more extreme."""
    tp, active, positives, known = int((feature & term).sum()), int(feature.sum()), int(term.sum()), feature.size
    n = feature.shape[1]
    edges = np.arange(0, n + 1, block)
    hidden = padded(np.zeros_like(term))
    hidden[:, n:] = True
    sides = Side(padded(feature)), Side(padded(term)), Side(hidden)
    ours = f1_null(*sides)
    found = {"fisher": float(scipy.stats.hypergeom.sf(tp - 1, known, positives, active))}
    drawn = rng.hypergeometric(positives, known - positives, active, 999) if active else np.zeros(999)
    found["permutation"] = float((1 + (drawn >= tp).sum()) / 1_000)
    found["z"] = float(scipy.stats.norm.sf(ours.z))
    found["shift"] = ours.p
    found["local"] = local_null(*sides, edges).p
    found["bootstrap"] = bootstrap_p(feature, term, block)
    return {name: 1.0 if np.isnan(p) else p for name, p in found.items()}


def block_counts(feature: np.ndarray, term: np.ndarray, block: int) -> list[np.ndarray]:
    """TP, FP, positives and known cells of each block."""
    masks = feature & term, feature & ~term, term, np.ones_like(term)
    return [mask.reshape(2, -1, block).sum((0, 2)).astype(np.float64) for mask in masks]


def bootstrap_p(feature: np.ndarray, term: np.ndarray, block: int) -> float:
    """The share of draws of blocks in which F1 is not above its closed-form chance."""
    counts = block_counts(feature, term, block)
    times = resampled(np.zeros(len(counts[0]), np.int64))
    drawn = above_chance(*[times @ c for c in counts])
    return float((1 + (drawn <= 0).sum()) / (len(drawn) + 1))
