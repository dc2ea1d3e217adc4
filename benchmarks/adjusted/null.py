"""False positives and power of adjusted matching when feature and term follow the same confounder, and nothing else.

Each world is a stretch of blocks. Codon: feature and term live on third codon positions only, both in bursts of codons.
GC: both fire more where a slowly drifting GC is high, both in runs. They are independent given phase, or GC. Counted:
how often p ≤ 0.05 and ≤ 0.001 in N worlds, for the crude log odds (block jackknife), the Cochran–Mantel–Haenszel test
of cells (which takes cells for exchangeable), and ours (stratified score, block jackknife, t); then how often it finds
a feature that in addition fires on a tenth of the term's cells.

python benchmarks/adjusted/null.py [--worlds 1000] [--blocks 10 20 60]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import scipy.stats

from bioterp.analyses.adjusting import associate
from bioterp.analyses.strata import Layout, cuts_of, levels_of

CELLS = 1_500  # of a block


def bursts(rng: np.random.Generator, rate: np.ndarray, length: float) -> np.ndarray:
    """True in runs of mean `length` that begin with probability rate / length."""
    n = len(rate)
    start = np.flatnonzero(rng.random(n) < rate / length)
    depth = np.zeros(n + 1, np.int64)
    np.add.at(depth, start, 1)
    np.add.at(depth, np.minimum(start + rng.geometric(1 / length, len(start)), n), -1)
    return np.cumsum(depth[:-1]) > 0


def codon(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    phase = np.arange(n) % 3
    feature, term = (np.repeat(bursts(rng, np.full(n // 3, rate), length), 3) for rate, length in ((0.2, 6), (0.08, 4)))
    return (phase == 2) & feature, (phase == 2) & term, phase.astype(np.int64)


def gc(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    wave = np.convolve(rng.standard_normal(n + 400), np.ones(401) / np.sqrt(401), "valid")
    share = scipy.stats.norm.cdf(wave)
    stratum = levels_of(share.astype(np.float32), cuts_of(share.astype(np.float32), 20)).astype(np.int64)
    return bursts(rng, 0.3 * share**2, 5), bursts(rng, 0.1 * share**2, 12), stratum


def cmh(layout: Layout, a: np.ndarray, y: np.ndarray) -> float:
    """Two-sided p of the Cochran–Mantel–Haenszel test without continuity correction."""
    tp, act, pos, n = (layout.by_stratum(layout.count(one)) for one in (a & y, a, y, np.ones(len(a), bool)))
    variance = act * (n - act) * pos * (n - pos) / np.maximum(n**2 * (n - 1), 1)
    return float(scipy.stats.chi2.sf(((tp - act * pos / n).sum()) ** 2 / variance.sum(), 1))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--worlds", type=int, default=1000)
    parser.add_argument("--blocks", type=int, nargs="+", default=[10, 20, 60])
    told = parser.parse_args()
    print("world  blocks | p<=.05: crude  CMH  ours | p<=.001: CMH  ours | lo > 0 | power | log2 odds crude, ours")
    for make in (codon, gc):
        for blocks in told.blocks:
            begun, found = time.process_time(), []
            for seed in range(told.worlds):
                rng = np.random.default_rng(seed)
                a, y, stratum = make(rng, blocks * CELLS)
                block = np.arange(len(a)) // CELLS
                every = np.ones(len(a), bool)
                flat, layout = Layout.of(np.zeros(len(a), np.int64), block), Layout.of(stratum, block)
                crude, ours = (associate(to, *(to.count(m) for m in (a & y, a, y, every))) for to in (flat, layout))
                real = a | (y & (rng.random(len(a)) < 0.1))
                power = associate(layout, *(layout.count(m) for m in (real & y, real, y, every)))
                row = [crude.p, cmh(layout, a, y), ours.p, ours.odds.lo > 0, power.p <= 0.05]
                found.append([*row, crude.log2_odds, ours.log2_odds])
            x = np.array(found, float)
            low, least = (x[:, :3] <= 0.05).mean(0), (x[:, 1:3] <= 0.001).mean(0)
            line = f"{make.__name__:6} {blocks:6} |        {low[0]:.3f} {low[1]:.3f} {low[2]:.3f} | {least[0]:.3f} "
            line += f"{least[1]:.4f} | {x[:, 3].mean():.3f} | {x[:, 4].mean():.2f} | "
            print(
                line + f"{np.nanmean(x[:, 5]):.2f}, {np.nanmean(x[:, 6]):.3f} ({time.process_time() - begun:.0f} CPU s)"
            )


if __name__ == "__main__":
    main()
