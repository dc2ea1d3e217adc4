"""Planted truth: what is found, what is found wrongly, and what decoys do, seed by seed.

    python benchmarks/evidence/planted.py codes --seeds 60 --out planted.tsv
    python benchmarks/evidence/planted.py table planted.tsv

codes: a genome with isochores, genes and sites is written as FASTA and GFF3, read and labelled by bioterp, and codes
are laid on its rows. Six features follow a site each: active in 0.8 of the cells of 85 % of its instances, and
elsewhere as often as makes precision about 0.7. GC, codon-phase and strand decoys follow what sites merely lie in.

A *false discovery* is a pair with q ≤ 0.05 whose two sides were drawn independently of each other. Pairs that depend
on each other through a decoy (GC, phase, the other strand) are associated, so they are no false discoveries of a test
of association; they are counted apart, as decoys called.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import scipy.sparse
from genomes import FOLLOWED, Genome, rows_of
from scoring import interplm, tally

import bioterp as bt
from bioterp.field import Field


def planted_codes(rng: np.random.Generator, here: Genome, rows: object) -> tuple[Field, dict[int, str]]:
    """Codes on the rows of a genome, and what each column follows: a term, a decoy's name, or nothing ('')."""
    columns: list[np.ndarray] = []
    follows: dict[int, str] = {}

    def add(mask: np.ndarray, what: str) -> None:
        follows[len(columns)] = what
        level = np.where(mask, 0.5 + rng.gamma(2.0, 1.0, mask.shape), 0).astype(np.float32)
        columns.append(level)

    for term in FOLLOWED:
        own = here.masks[term]
        stray = here.runs(rng, 12, own.mean() * 0.3)
        add((own & here.by_instance(rng, term, 0.85) & (rng.random(own.shape) < 0.8)) | stray, term)
    add(here.gc_high & (rng.random(here.gc_high.shape) < 0.6), "gc")
    add(here.masks["CDS.phase0"] & (rng.random(here.gc_high.shape) < 0.6), "phase")
    add(here.masks["stranded"][::-1] & (rng.random(here.gc_high.shape) < 0.8), "strand")
    add(rng.random(here.gc_high.shape) < 0.6, "")  # fires everywhere
    for run, share in ((4, 0.003), (15, 0.01), (60, 0.02), (250, 0.08)):
        for _ in range(10):
            add(here.runs(rng, run, share), "")
    order = here.order(rows)
    dense = np.stack([c.reshape(-1)[order] for c in columns], 1)
    about = {"dictionary": "planted", "seed": 0, "representation": "dictionary", "layer": "0"}
    return Field(rows, scipy.sparse.csr_matrix(dense), kind="code", about=about), follows


def codes_seed(seed: int, folder: Path) -> dict[str, float]:
    """One genome with planted codes: what detection, headline and InterPLM's rule say of it."""
    rng = np.random.default_rng([seed, 6])
    here = Genome.make(rng, folder)
    source = bt.DNA(here.fasta, window=1_500, halo=0, blocks=1_500, seed=seed)
    rows = rows_of(source)
    truth = bt.label(rows, here.gff, strand="sense")
    codes, follows = planted_codes(rng, here, rows)
    return tally(codes, truth, follows, source) | interplm(codes, follows, here)


def main() -> None:
    """Read the command line; every seed is written as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("codes", "table"))
    parser.add_argument("path", nargs="?", type=Path)
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("planted.tsv"))
    given = parser.parse_args()
    if given.what == "table":
        found = pd.read_csv(given.path or given.out, sep="\t").drop(columns="seed_of_world")
        n = found.notna().sum()
        shown = pd.DataFrame({"mean": found.mean(), "se": found.std() / np.sqrt(n), "n": n, "max": found.max()})
        print(shown.round(4).to_string())
        return
    for seed in range(given.first, given.first + given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            line = pd.DataFrame([{"seed_of_world": seed, **codes_seed(seed, Path(folder))}])
        line.to_csv(given.out, sep="\t", index=False, mode="a", header=not given.out.exists())


if __name__ == "__main__":
    main()
