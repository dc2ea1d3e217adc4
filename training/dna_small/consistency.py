"""What should not matter and does a little: the strand that is read, and the precision of the arithmetic."""

from __future__ import annotations

from typing import Any

import corpus
import numpy as np
from scoring import LENGTH, Scorer, summary

RESAMPLES, SEED = 2000, 0
"""Of the bootstrap over blocks."""


def reverse_complement(scorer: Scorer, blocks: list[corpus.Stretch]) -> dict[str, Any]:
    """Total log-likelihood of windows of LENGTH bases and of their reverse complements, each read from its own start.

    By the chain rule either total is minus the log of the joint probability of the same molecule, but for the first
    base read, which has no prediction: a perfect model would give the same twice. Every second window of a block, so
    that none overlap. Correlation interval: percentiles over resampled blocks.
    """
    forward, reverse = (
        np.stack([np.nansum(scorer.windows(block, strand)[::2], axis=1) for block in blocks]) for strand in "+-"
    )
    rng = np.random.default_rng(SEED)
    draws = rng.integers(len(blocks), size=(RESAMPLES, len(blocks)))
    resampled = [np.corrcoef(forward[some].ravel(), reverse[some].ravel())[0, 1] for some in draws]
    apart = forward - reverse
    per_base = LENGTH - 1
    strands = {strand: [scorer.bits(block, strand) for block in blocks] for strand in "+-"}
    # A halo is lacking at one end of a block or at the other: only bases that both strands score are compared.
    difference = [a - b for a, b in zip(strands["+"], strands["-"], strict=True)]
    return {
        "blocks": len(blocks),
        "windows": int(forward.size),
        "bases_per_window": per_base,
        "correlation": round(float(np.corrcoef(forward.ravel(), reverse.ravel())[0, 1]), 4),
        "correlation_interval_95": [round(float(p), 4) for p in np.percentile(resampled, [2.5, 97.5])],
        "mean_absolute_difference_bits_per_window": round(float(np.abs(apart).mean()), 2),
        "mean_absolute_difference_bits_per_base": round(float(np.abs(apart).mean()) / per_base, 4),
        "standard_deviation_between_windows_bits_per_window": round(float(forward.std(ddof=1)), 2),
        "forward": summary([a + 0 * d for a, d in zip(strands["+"], difference, strict=True)]),
        "reverse": summary([b + 0 * d for b, d in zip(strands["-"], difference, strict=True)]),
        "forward_minus_reverse": summary(difference),
    }


def precision(full: Scorer, low: Scorer, blocks: list[corpus.Stretch]) -> dict[str, Any]:
    """Change in bits per base when the model runs in a lower precision, paired by block, and its size at a base."""
    change = [low.bits(block) - full.bits(block) for block in blocks]
    every = np.concatenate(change)
    every = np.abs(every[np.isfinite(every)])
    return {
        "blocks": len(blocks),
        "bases_scored": len(every),
        "change": summary(change, places=6),
        "mean_absolute_change_at_a_base": round(float(every.mean()), 4),
        "largest_change_at_a_base": round(float(every.max()), 3),
    }
