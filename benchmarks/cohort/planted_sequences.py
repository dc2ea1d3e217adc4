"""Planted cohorts of sequences: genotypes, haplotype windows, model, dictionary, person, verdicts, beside the truth.

    python benchmarks/cohort/planted_sequences.py [--seeds 5] [--people 450] [--h2 0.4]
        [--demography drift | out-of-africa] [--model reader | dna-small] [--out FILE]

A column is one feature in one window of 200 bases, averaged over it and over a person's two haplotypes. What it reads
is asked of the genotypes, which its values follow without noise: the share of its variance that the window's motif
variant alone explains, beside its two other variants. Kinds of columns:

    causal      reads the causal variant of its window (1 % or more)
    linked      reads it less than that, but goes with it (r² ≥ 0.02 within ancestries): neither true nor false
    tagging     reads a variant that differs most between ancestries and causes nothing
    ordinary    everything else

A call of a tagging or ordinary column is false. Power is of variants: one of their columns is called.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "evidence"))

import numpy as np
import pandas as pd
from over_seeds import over_seeds

import bioterp as bt
from bioterp.annotations.ancestry import genotype_pcs
from bioterp.field import Field
from bioterp.simulate import Plan
from bioterp.simulate.sequences import CAUSAL, WINDOW, WINDOWS, Planted, sequences

READS, LINKED = 0.01, 0.02
HALO = {"reader": 72, "dna-small": [128, 0]}
LAYER = {"reader": 0, "dna-small": 3}
SIZES = {"reader": (160, 10, 300_000), "dna-small": (512, 16, 300_000)}
PCS = 5


def people_of(here: Planted, what: str, seed: int, folder: Path) -> Field:
    """One row per person, a column per feature and window that varies among people."""
    source = bt.Haplotypes(
        here.vcf, here.reference, window=WINDOW, halo=HALO[what], strands="+", blocks=WINDOW, contigs=["target"],
        seed=seed,
    )  # fmt: skip
    if what == "reader":
        model = bt.load_model("reading:reader", weights="random", arguments={"motifs": here.motifs})
    else:
        model = bt.load_model("bioterp/dna-small")
    acts = bt.activations(source, model, layers=[LAYER[what]], out=folder / "acts")[LAYER[what]]
    width, k, tokens = SIZES[what]
    sae = bt.fit(acts.split("train"), width=width, k=k, seed=seed, tokens=tokens, threads=1)
    pooled = bt.pool(sae.encode(acts), source, "mean", here.windows)
    values = np.asarray(pooled.values)
    varies = np.flatnonzero(values.std(0) > 1e-6)
    columns = pooled.columns.iloc[varies].reset_index(drop=True)
    return Field(pooled.rows, values[:, varies], columns, pooled.kind, pooled.about)


def explained(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(columns,) share of the variance of y (people, columns) that x (people, variants) explains, with a constant."""
    design = np.column_stack([np.ones(len(x)), x])
    rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return 1 - rest.var(0) / y.var(0)


def kinds(people: Field, here: Planted) -> tuple[np.ndarray, np.ndarray]:
    """(columns,) the kind of each column, and its window."""
    order = here.sheet.index.get_indexer(people.rows.items["item"].astype(str))
    dosage = here.dosage[order].astype(float)
    ancestry = here.sheet["ancestry"].to_numpy()[order]
    window = people.columns["region"].astype(str).str[1:].astype(int).to_numpy()
    values, kind = np.asarray(people.values, np.float64), np.full(len(window), "ordinary", object)
    for w in np.unique(window):
        own = np.flatnonzero(window == w)
        y, x = values[:, own], dosage[:, w]
        alone = explained(y, x) - explained(y, x[:, 1:])
        reads = alone >= READS
        if here.kind[w] == "causal":
            inside = pd.DataFrame(np.column_stack([y, x[:, 0]])).groupby(ancestry).transform(lambda v: v - v.mean())
            y_in, x_in = inside.to_numpy()[:, :-1], inside.to_numpy()[:, [-1]]
            linked = explained(y_in, x_in) >= LINKED
            kind[own] = np.where(reads, "causal", np.where(linked | (alone >= READS / 10), "linked", "ordinary"))
        elif here.kind[w] == "tagging":
            kind[own] = np.where(reads, "tagging", "ordinary")
    return kind.astype(str), window


def measure(given: argparse.Namespace, seed: int) -> dict[str, float]:
    """Shares of each kind of column, of one cohort."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = Plan(people=given.people, h2=given.h2, demography=given.demography, binary=given.binary)
        here = sequences(folder, plan, seed=seed)
        people = people_of(here, given.model, seed, folder)
        pcs = genotype_pcs(here.elsewhere, PCS, target=["target"])
    sheet = here.sheet.join(pcs)
    confounders = ["ancestry", "site", *pcs.columns]
    made = bt.associate(
        people,
        sheet,
        outcome="outcome",
        covariates=["age", "sex"],
        confounders=confounders,
        groups="ancestry",
        seed=seed,
    )
    table, line = made.table.set_index("feature"), made.outcomes.iloc[0]
    kind, window = kinds(people, here)
    table = table.loc[np.arange(len(kind))]
    naive, called = (table["q"] <= 0.05).to_numpy(), (table["q_adjusted"] <= 0.05).to_numpy()
    marker, flagged = (table["verdict"] == "biomarker").to_numpy(), (table["flagged"] != "").to_numpy()
    causal, tagging = kind == "causal", kind == "tagging"
    false = ~np.isin(kind, ["causal", "linked"])
    heads = np.unique(table["set"][called & (table["set"] >= 0).to_numpy()])
    readable = len(np.unique(window[causal]))
    return {
        "columns": len(kind),
        "causal_columns": causal.sum(),
        "readable_causes": readable / CAUSAL,
        "lambda_naive": line["lambda_naive"],
        "lambda_adjusted": line["lambda_adjusted"],
        "naive_calls_tagging": naive[tagging].mean(),
        "adjusted_calls_tagging": called[tagging].mean(),
        "naive_calls_ordinary": naive[kind == "ordinary"].mean(),
        "adjusted_calls_ordinary": called[kind == "ordinary"].mean(),
        "naive_fdp": (naive & false).sum() / max(naive.sum(), 1),
        "adjusted_fdp": (called & false).sum() / max(called.sum(), 1),
        "biomarker_fdp": (marker & false).sum() / max(marker.sum(), 1),
        "sets": len(heads),
        "sets_fdp": false[heads].sum() / max(len(heads), 1),
        "windows_falsely_called": len(np.unique(window[called & false])) / (WINDOWS - CAUSAL),
        "power": len(np.unique(window[called & causal])) / CAUSAL,
        "causes_with_biomarker": len(np.unique(window[marker & causal])) / CAUSAL,
        "biomarkers": marker.sum(),
        "biomarkers_tagging": (marker & tagging).sum(),
        "linked_called": (called & (kind == "linked")).sum(),
        "flags_tagging": flagged[tagging].mean(),
        "flags_causal": flagged[causal].mean(),
        "confounder_verdict_tagging": (table["verdict"] == "confounder").to_numpy()[tagging].mean(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--people", type=int, default=450)
    parser.add_argument("--h2", type=float, default=0.4)
    parser.add_argument("--binary", action="store_true")
    parser.add_argument("--demography", default="drift", choices=("drift", "out-of-africa"))
    parser.add_argument("--model", default="reader", choices=tuple(SIZES))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    title = f"{given.model}, {given.demography}, h² {given.h2}, {given.people} people"
    over_seeds(partial(measure, given), range(given.first, given.first + given.seeds), title, given.out)


if __name__ == "__main__":
    main()
