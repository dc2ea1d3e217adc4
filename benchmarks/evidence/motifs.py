"""Planted motifs through the whole road: letters, model, dictionary, match. What is found, and what is found wrongly.

    python benchmarks/evidence/motifs.py reader --seeds 60 --out motifs.tsv      a network with known kernels
    python benchmarks/evidence/motifs.py dna-small --seeds 8 --out motifs.tsv    the shipped model, block 3
    python benchmarks/evidence/planted.py table motifs.tsv

What a feature reads is asked of the model, on another genome with the same motifs, 300 of each: every instance is
written over with letters of its place, and if a feature is then above its threshold in fewer of the cells (paired t
over instances above 3) it reads the motif. A call of a motif's term by such a feature is *true*; by any other feature,
or of a term that was laid without regard to letters, it is *false*. `gc_sites` and `phase_sites` are decoys: what reads
GC or codons goes with them, and should not after adjusting for these. Terms of genes are tested too, counted nowhere.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pandas as pd
from motif_genomes import BLOCK, DECOYS, FAMILIES, GHOSTS, LENGTH, MotifGenome
from scoring import THRESHOLDS, Q, best_of_five, verdicts_of

import bioterp as bt
from bioterp.dictionary import Dictionary
from bioterp.field import Field

READS = 3.0  # paired t above which a feature reads a motif
SIZES = {"reader": (160, 10, 300_000), "dna-small": (512, 16, 400_000)}  # features, k, rows seen
READ_BY = {"reader": {"window": 1_000, "halo": 72}, "dna-small": {"window": 1_000, "halo": [256, 0]}}
LAYER = {"reader": 0, "dna-small": 3}


def load(what: str, here: MotifGenome) -> object:
    """The model by its name in the table."""
    if what == "dna-small":
        return bt.load_model("bioterp/dna-small")
    return bt.load_model("reading:reader", weights="random", arguments={"motifs": here.motifs})


def activations_of(what: str, path: Path, model: object, seed: int, strands: str = "both") -> Field:
    """Activations of a genome, beside it."""
    source = bt.DNA(path, blocks=BLOCK, seed=seed, strands=strands, **READ_BY[what])
    return bt.activations(source, model, layers=[LAYER[what]], out=path.with_suffix(".acts"))[LAYER[what]]


def inside(codes: Field, spans: np.ndarray) -> np.ndarray:
    """(instances, cells, features) the codes in each instance."""
    item, start, _ = codes.rows.cells()
    place = np.full(2 * LENGTH, -1)
    place[(codes.rows.affines[item, 0, 0] < 0) * LENGTH + start] = np.arange(len(codes))
    cells = place[spans[:, [0]] * LENGTH + spans[:, [1]] + np.arange(spans[0, 2] - spans[0, 1])]
    return codes.read().toarray()[cells]


class Reads:
    """Which feature reads which motif above which threshold: asked of a genome with the motifs, and without them."""

    def __init__(self, what: str, model: object, sae: Dictionary, there: MotifGenome):
        both = [sae.encode(activations_of(what, path, model, 0, "+")) for path in (there.fasta, there.without)]
        self.inside = {name: [inside(codes, there.spans[name]) for codes in both] for name in FAMILIES}
        self.largest = both[0].read().max(0).toarray()[0]

    def __call__(self, feature: int, family: str, threshold: float) -> bool:
        with_, without = ((codes[:, :, feature] > threshold).sum(1) for codes in self.inside[family])
        change = with_ - without
        return bool(change.mean() > max(READS * change.std(ddof=1) / np.sqrt(len(change)), 0))

    def at_any(self, feature: int, family: str) -> bool:
        """At any of InterPLM's thresholds."""
        return any(self(feature, family, share * self.largest[feature]) for share in THRESHOLDS)


def one_seed(what: str, seed: int, folder: Path) -> dict[str, float]:
    """One genome from letters to calls."""
    here = MotifGenome.make(np.random.default_rng([seed, 16]), folder)
    model = load(what, here)
    acts = activations_of(what, here.fasta, model, seed)
    width, k, tokens = SIZES[what]
    sae = bt.fit(acts.split("train"), width=width, k=k, seed=seed, tokens=tokens, threads=1)
    codes = sae.encode(acts)
    there = MotifGenome.make(np.random.default_rng([seed, 61]), folder / "there", here.motifs)
    source = bt.DNA(here.fasta, blocks=BLOCK, seed=seed, **READ_BY[what])
    truth = bt.label(acts.rows, here.gff, strand="sense")
    return {"seed_of_world": seed} | told(codes, truth, source, Reads(what, model, sae, there))


def kind_of(term: str, reads: bool) -> str:
    """'true', 'null', 'decoy' or '' (terms of genes) for a pair."""
    if term in FAMILIES:
        return "true" if reads else "null"
    return "null" if term in GHOSTS else "decoy" if term in DECOYS else ""


def told(codes: Field, truth: Field, source: bt.DNA, reads: Reads) -> dict[str, float]:
    """Detection's calls, those that stand within strata of GC and codon phase, and InterPLM's, by what they are."""
    table = bt.detection(codes, truth, per_term=5, folds=None, threads=1)
    tested = table[table["p"].notna()].reset_index(drop=True)
    pairs = zip(tested["feature"], tested["term"], tested["threshold"], strict=True)
    kind = np.array([kind_of(t, t in FAMILIES and reads(f, t, above)) for f, t, above in pairs])
    called = (tested["q"] <= Q).to_numpy()
    holds = verdicts_of(codes, truth, tested, source) == "holds"
    names = truth.columns["name"].to_numpy()
    by_rule = [(int(f), str(names[t])) for f, t in np.argwhere(best_of_five(codes, truth) > 0.5)]
    of_rule = np.array([kind_of(t, t in FAMILIES and reads.at_any(f, t)) for f, t in by_rule], str)
    term_of_rule = np.array([t for _, t in by_rule], str)
    p, term = tested["p"].to_numpy()[kind == "null"], tested["term"].to_numpy()
    found: dict[str, float] = {
        "null_tests": len(p),
        "null_p05": float((p <= 0.05).mean()),
        "ghost_p05": float((tested["p"].to_numpy()[np.isin(term, GHOSTS)] <= 0.05).mean()),
        "f1_best": float(tested[called & (kind == "true")].groupby("term")["f1"].max().mean()),
    }
    ways = {
        "": (called, kind, term),
        "kept_": (called & holds, kind, term),
        "interplm_": (np.ones(len(by_rule), bool), of_rule, term_of_rule),
    }
    for way, (call, of, named) in ways.items():
        false, true = int((call & (of == "null")).sum()), int((call & (of == "true")).sum())
        families = set(named[call & (of == "true")])
        found |= {f"{way}false": false, f"{way}true": true, f"{way}fdp": false / max(false + true, 1)}
        found[f"{way}power"] = len(families) / len(FAMILIES)
        found |= {f"{way}{decoy}": float((call & (named == decoy)).any()) for decoy in DECOYS}
    return found


def main() -> None:
    """Every seed is written as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(SIZES))
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("motifs.tsv"))
    given = parser.parse_args()
    for seed in range(given.first, given.first + given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            line = pd.DataFrame([one_seed(given.what, seed, Path(folder))])
        line.to_csv(given.out, sep="\t", index=False, mode="a", header=not given.out.exists())


if __name__ == "__main__":
    main()
