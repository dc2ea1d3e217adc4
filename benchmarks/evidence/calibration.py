"""How often independent pairs pass, by what others do and by what bioterp does; and how often intervals hold.

    python benchmarks/evidence/calibration.py type1 --case stationary --repeats 300 --out results.tsv
    python benchmarks/evidence/calibration.py coverage --repeats 300
    python benchmarks/evidence/calibration.py table results.tsv

type1: every repeat makes, for each kind of feature and each kind of term, a contig with both strands, laid out anew and
independently, and scores the pair on the test blocks. Cases: `stationary`; `apart`, where feature and term each follow
isochores of their own; `shared`, where both follow the same isochores but, given these, nothing else: marginally they
do meet more often than by chance, and a null that is to be valid here must hold the regions fixed; `tandem`, where
both lie mostly in one stretch, as of rDNA, and are independent given it.
coverage: intervals of F1 above chance of a feature that has learnt its term, against the value in a genome without end.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import processes
import scipy.stats
from nulls import NAMES, block_counts, p_values

from bioterp.analyses.bootstrap import bootstrap
from bioterp.analyses.comparison import above_chance
from bioterp.analyses.jackknife import jackknife

CASES = ("stationary", "apart", "shared", "tandem")
LEVELS = (0.05, 0.01, 0.001)
SET = 60  # pairs that one BH runs over


def pair(rng: np.random.Generator, case: str, feature: str, term: str) -> tuple[np.ndarray, np.ndarray]:
    """An independent feature and term on the test rows of a contig."""
    rows = processes.test_blocks(rng)
    first = second = None
    if case == "tandem":
        first = second = processes.tandem(rng, processes.CONTIG)
    elif case != "stationary":
        first = processes.isochores(rng, processes.CONTIG)
        second = first if case == "shared" else processes.isochores(rng, processes.CONTIG)
    active = processes.runs(rng, processes.CONTIG, processes.FEATURES[feature], first)
    positive = processes.runs(rng, processes.CONTIG, processes.TERMS[term], second)
    return active[:, rows], positive[:, rows]


def type1(case: str, repeats: int, seed: int, out: Path) -> None:
    """Append one line per pair to `out` as they come, so that a run that is stopped is not lost."""
    rng = np.random.default_rng([seed, CASES.index(case)])
    with open(out, "a") as file:
        if file.tell() == 0:
            print("case", "feature", "term", *NAMES, "cpu_s", sep="\t", file=file)
        for _ in range(repeats):
            for feature in processes.FEATURES:
                for term in processes.TERMS:
                    began = time.process_time()
                    found = p_values(rng, *pair(rng, case, feature, term), processes.BLOCK)
                    print(case, feature, term, *found.values(), time.process_time() - began, sep="\t", file=file)
            file.flush()


def table(path: Path) -> None:
    """Shares that pass, with Monte-Carlo standard errors, and what BH over sets of pairs makes of them."""
    found = pd.read_csv(path, sep="\t")
    for case, own in found.groupby("case", sort=False):
        n = len(own)
        print(f"\n**{case}**, n = {n} pairs, BH over {n // SET} sets of {SET}\n")
        print(
            "| null |", " | ".join(f"p ≤ {level:g}" for level in LEVELS), "| sets with a false discovery | worst kind |"
        )
        print("| --- |" + " ---: |" * (len(LEVELS) + 1) + " --- |")
        for name, words in NAMES.items():
            p = own[name].to_numpy()
            shares = [f"{(p <= a).mean():.4f} ± {error(own, p <= a, a):.4f}" for a in LEVELS]
            sets = p[: n // SET * SET].reshape(-1, SET)
            any_found = [bool((scipy.stats.false_discovery_control(one) <= 0.05).any()) for one in sets]
            found_in = f"{np.mean(any_found):.3f} ± {np.sqrt(0.05 * 0.95 / len(sets)):.3f}"
            kinds = (own[name] <= 0.05).groupby([own["feature"], own["term"]]).mean()
            worst = f"{' × '.join(kinds.idxmax())}: {kinds.max():.3f} (n = {n // len(kinds)})"
            print(f"| {words} | {' | '.join(shares)} | {found_in} | {worst} |")
    print(f"\nCPU seconds a pair: {found['cpu_s'].median():.3f}")


def error(own: pd.DataFrame, passed: np.ndarray, level: float) -> float:
    """Standard error of a share: that of the nominal rate; where pairs share pieces of annotation, over the pieces."""
    if "piece" not in own or own["piece"].nunique() < 5:
        return float(np.sqrt(level * (1 - level) / len(own)))
    by = pd.Series(passed, own.index).groupby(own["piece"]).mean()
    return float(by.std() / np.sqrt(len(by)))


def learnt(rng: np.random.Generator, kind: processes.Kind, blocks: int) -> list[np.ndarray]:
    """Counts by block of a feature that fires in much of a term, more in some blocks, and elsewhere at times."""
    size = blocks * processes.BLOCK
    term = processes.runs(rng, size, kind)
    hit = np.repeat(rng.beta(6.0, 2.0, (1, blocks)), processes.BLOCK, 1)
    active = (term & (rng.random(term.shape) < hit)) | processes.runs(rng, size, processes.Kind(30, kind.share / 4))
    return block_counts(active, term, processes.BLOCK)


def coverage(repeats: int, seed: int) -> None:
    """The share of worlds whose interval holds the truth, by number of blocks and kind of term."""
    print("| term | blocks | jackknife, t | bootstrap, BCa | no interval | mean width, jackknife | bootstrap |")
    print("| --- |" + " ---: |" * 6)
    for t, name in enumerate(("genes", "exons", "sites")):
        kind = processes.TERMS[name]
        rng = np.random.default_rng([seed, 77, t])
        endless = np.sum([[c.sum() for c in learnt(rng, kind, 400)] for _ in range(12)], 0)
        truth = float(above_chance(*endless))
        for blocks in (5, 8, 12, 20, 40):
            held, widths, none = {"jackknife": [], "bootstrap": []}, {"jackknife": [], "bootstrap": []}, 0
            for _ in range(repeats):
                counts = learnt(rng, kind, blocks)
                value = float(above_chance(*[c.sum() for c in counts]))
                both = {
                    "jackknife": jackknife(above_chance, counts, value, counts[2], -1.0, 1.0),
                    "bootstrap": bootstrap(above_chance, counts, np.zeros(blocks), counts[2], -1.0, 1.0, draws=999),
                }
                if any(np.isnan(s.lo) for s in both.values()):
                    none += 1
                    continue
                for way, spread in both.items():
                    held[way].append(spread.lo <= truth <= spread.hi)
                    widths[way].append(spread.hi - spread.lo)
            shown = [f"{np.mean(h):.3f}" if h else "–" for h in held.values()]
            wide = [f"{np.mean(w):.3f}" if w else "–" for w in widths.values()]
            print(f"| {name} | {blocks} | {' | '.join(shown)} | {none} | {' | '.join(wide)} |", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("type1", "coverage", "table"))
    parser.add_argument("path", nargs="?", type=Path)
    parser.add_argument("--case", choices=CASES, default="stationary")
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("calibration.tsv"))
    given = parser.parse_args()
    if given.what == "type1":
        type1(given.case, given.repeats, given.seed, given.out)
    elif given.what == "table":
        table(given.path or given.out)
    else:
        coverage(given.repeats, given.seed)


if __name__ == "__main__":
    main()
