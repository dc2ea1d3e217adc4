"""Planted cohorts of scans: heads → scanner → model → dictionary → person → verdicts, beside the truth.

    python benchmarks/cohort/planted_scans.py [--seeds 3] [--people 150] [--h2 0.36] [--out FILE]

24³ voxels through bioterp/scan-small (block 2), a dictionary of 128 features fitted on train people, pooled to people
as mean and as mean of the largest 1 %. What a column reads is asked of the model: forty other people are drawn again,
with severity one standard deviation up and down, and on each scanner, all else the same. A column *reads* what changes
it (paired t beyond 4). Columns that read severity are true, all others false; `scanner` are those that read it alone.
A true column is *large* where one standard deviation of severity moves it by 0.3 of its own within a scanner.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import nibabel
import numpy as np
import pandas as pd
from over_seeds import over_seeds

import bioterp as bt
from bioterp.dictionary import Dictionary
from bioterp.field import Field
from bioterp.simulate.scans import Person, heads

LAYER, WIDTH, K, TOKENS, ASKED = 2, 128, 8, 200_000, 40
READS, LARGE = 4.0, 0.3  # paired t; change by one sd of severity in sd of the column within scanners


def activations_of(people: list[Person], names: list[str], model: object, folder: Path) -> Field:
    """Scans written, read and run."""
    folder.mkdir(parents=True)
    lines = []
    for name, person in zip(names, people, strict=True):
        path = folder / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(person.drawn(), np.eye(4)), path)
        lines.append({"scan": name, "path": str(path), "subject": name})
    source = bt.Scans(pd.DataFrame(lines), **model.wants)
    return bt.activations(source, model, [LAYER], folder / "acts")[LAYER]


def pooled(sae: Dictionary, acts: Field) -> Field:
    return bt.pool(sae.encode(acts), how=["mean", "top"])


def what_is_read(rng: np.random.Generator, sae: Dictionary, model: object, folder: Path) -> tuple[np.ndarray, ...]:
    """(columns,) mean change by severity from −1 to +1, its paired t, and the paired t of the scanner."""
    others, _ = heads(rng, ASKED, 0.0)
    drawn: dict[str, np.ndarray] = {}
    ways = {"low": {"severity": -1.0}, "high": {"severity": 1.0}}
    for scanner in (0, 1, 2):
        ways[f"on{scanner}"] = {"scanner": scanner}
    for way, change in ways.items():
        names = [f"{way}{i:02d}" for i in range(ASKED)]
        made = pooled(sae, activations_of([one.but(**change) for one in others], names, model, folder / way))
        order = pd.Index(made.rows.items["item"].astype(str)).get_indexer(names)
        drawn[way] = np.asarray(made.values, np.float64)[order]
    by_severity, t = _paired(drawn["high"] - drawn["low"])
    of_scanner = np.max([np.abs(_paired(drawn["on0"] - drawn[f"on{k}"])[1]) for k in (1, 2)], axis=0)
    return by_severity, t, of_scanner


def _paired(change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, error = change.mean(0), change.std(0, ddof=1) / np.sqrt(len(change))
    return mean, np.where(error > 1e-12, mean / np.maximum(error, 1e-12), 0)


def measure(given: argparse.Namespace, seed: int) -> dict[str, float]:
    """Shares of each kind of column, of one cohort."""
    rng, model = np.random.default_rng([seed, 33]), bt.load_model("bioterp/scan-small")
    people, sheet = heads(rng, given.people, given.h2)
    with tempfile.TemporaryDirectory() as name:
        acts = activations_of(people, sheet.index.tolist(), model, Path(name) / "people")
        sae = bt.fit(acts.split("train"), width=WIDTH, k=K, seed=seed, tokens=TOKENS, threads=1)
        codes = pooled(sae, acts)
        change, by_severity, by_scanner = what_is_read(rng, sae, model, Path(name))
    made = bt.associate(
        codes, sheet, outcome="outcome", covariates=["age", "sex"], confounders=["scanner"], groups="scanner", seed=seed
    )
    table, line = made.table.set_index("feature").loc[np.arange(codes.shape[1])], made.outcomes.iloc[0]
    values = pd.DataFrame(np.asarray(codes.values, np.float64))
    of = sheet.loc[codes.rows.items["item"].astype(str), "scanner"].to_numpy()
    spread = (values - values.groupby(of).transform("mean")).std(ddof=0).to_numpy()
    varies = spread > 1e-6
    true = (np.abs(by_severity) > READS) & varies
    large = true & (np.abs(change) / 2 > LARGE * spread)
    scanner = (by_scanner > READS) & ~true & varies
    false = ~true & varies
    naive, called = (table["q"] <= 0.05).to_numpy(), (table["q_adjusted"] <= 0.05).to_numpy()
    marker, flagged = (table["verdict"] == "biomarker").to_numpy(), (table["flagged"] != "").to_numpy()
    return {
        "columns": varies.sum(),
        "true": true.sum(),
        "true_and_large": large.sum(),
        "scanner": scanner.sum(),
        "lambda_naive": line["lambda_naive"],
        "lambda_adjusted": line["lambda_adjusted"],
        "naive_calls_scanner": naive[scanner].mean(),
        "adjusted_calls_scanner": called[scanner].mean(),
        "naive_fdp": (naive & false).sum() / max(naive.sum(), 1),
        "adjusted_fdp": (called & false).sum() / max(called.sum(), 1),
        "biomarker_fdp": (marker & false).sum() / max(marker.sum(), 1),
        "called": called.sum(),
        "power": called[true].mean(),
        "power_large": called[large].mean() if large.any() else np.nan,
        "biomarker_large": marker[large].mean() if large.any() else np.nan,
        "biomarkers": marker.sum(),
        "flags_scanner": flagged[scanner].mean(),
        "flags_true": flagged[true].mean(),
        "confounder_verdict_scanner": (table["verdict"] == "confounder").to_numpy()[scanner].mean(),
        "explained": line["explained"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--people", type=int, default=150)
    parser.add_argument("--h2", type=float, default=0.36)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    title = f"h² {given.h2}, {given.people} people"
    over_seeds(partial(measure, given), range(given.first, given.first + given.seeds), title, given.out)


if __name__ == "__main__":
    main()
