"""Real scans: is the way a scan was stored flagged as batch, and what do codes of shapes tell beyond their size?

    python benchmarks/cohort/scans.py --data FOLDER --out FOLDER [--only hippocampus | adrenal]

FOLDER of data holds msd_hippocampus/ and adrenalmnist3d/. Hippocampus: 180 crops through bioterp/scan-small, codes of
layer 4 pooled to scans, `bioterp.confounding` on the three intensity regimes of cases.tsv, and on these permuted; with
the model's z-scores and with voxels scaled to the scan's largest. Adrenal: 1,584 shapes at half resolution, official
split; logistic regression on voxel count alone, and on count and pooled codes, penalty chosen on the validation
shapes; the gain with a paired bootstrap of the test shapes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import nibabel
from common import machine  # threads are set before torch loads
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

import bioterp as bt
from bioterp import progress

LAYER, WIDTH, K, PERMUTATIONS, RESAMPLES = 4, 512, 8, 20, 2_000
PENALTIES = 10.0 ** np.arange(-6, 1)


def pooled(sheet: pd.DataFrame, out: Path, ways: list[str], **change: Any) -> bt.Field:
    """Codes of a dictionary fitted on the train scans, a row per scan."""
    model = bt.load_model("bioterp/scan-small")
    source = bt.Scans(sheet, **{**model.wants, **change})
    acts = bt.activations(source, model, [LAYER], out / "activations")[LAYER]
    sae = bt.fit(acts.split("train"), width=WIDTH, k=K, seed=0, tokens=500_000)
    return bt.pool(sae.encode(acts, out / "codes"), how=ways)


def flags(people: bt.Field, regime: pd.Series) -> tuple[int, float]:
    """Features flagged for the regime, and the largest held-out R²."""
    table = bt.confounding(people, regime.to_frame("regime"), candidates=["regime"])
    return int(table["flag"].sum()), float(table["r2_held_out"].max())


def hippocampus(data: Path, out: Path) -> dict[str, Any]:
    folder = data / "msd_hippocampus"
    cases = pd.read_csv(folder / "cases.tsv", sep="\t")
    names = cases["file"].str.removesuffix(".nii.gz")
    blocks = (names.str.extract(r"(\d+)")[0].astype(int) // 20).astype(str)
    files = [str(folder / "images" / one) for one in cases["file"]]
    sheet = pd.DataFrame({"scan": names, "path": files, "block": blocks})
    told: dict[str, Any] = {"scans": len(sheet), "regimes": cases["regime"].value_counts().to_dict()}
    for name, change in {"z-scores": {}, "largest = 1": {"intensity": "minmax"}}.items():
        people = pooled(sheet, out / f"hippocampus-{len(change)}", ["mean"], **change)
        key = people.rows.items["item"].astype(str)
        regime = pd.Series(cases["regime"].to_numpy(), index=names.to_numpy()).loc[key]
        found, best = flags(people, regime)
        draw = np.random.default_rng(0)
        chance = [flags(people, pd.Series(draw.permutation(regime), regime.index))[0] for _ in range(PERMUTATIONS)]
        told[name] = {"features": people.shape[1], "flagged": found, "best_r2": best, "permuted": chance}
        print(name, told[name], flush=True)
    return told


def shapes(data: Path, out: Path) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """A sheet of NIfTI files of the shapes at half resolution, their labels, and voxel counts at full resolution."""
    stored = np.load(data / "adrenalmnist3d" / "adrenalmnist3d_64.npz")
    lines, labels, counts = [], [], []
    (out / "shapes").mkdir(parents=True, exist_ok=True)
    for part, split in (("train", "train"), ("val", "valid"), ("test", "test")):
        for i, image in enumerate(stored[f"{part}_images"]):
            solid = image > 0
            half = solid.reshape(32, 2, 32, 2, 32, 2).mean((1, 3, 5), dtype=np.float32)
            name, path = f"{part}{i:04d}", out / "shapes" / f"{part}{i:04d}.nii"
            if not path.exists():
                nibabel.save(nibabel.Nifti1Image(half, np.eye(4)), path)
            lines.append({"scan": name, "path": str(path), "block": name, "split": split})
            counts.append(int(solid.sum()))
        labels += stored[f"{part}_labels"].ravel().tolist()
    return pd.DataFrame(lines), np.array(labels), np.array(counts, float)


def adrenal(data: Path, out: Path) -> dict[str, Any]:
    sheet, y, counts = shapes(data, out)
    people = pooled(sheet, out / "adrenal", ["mean", "max"], intensity={"zscore": "all"})
    at = pd.Index(people.rows.items["item"].astype(str)).get_indexer(sheet["scan"])
    codes = np.nan_to_num(np.asarray(people.values, float)[at])
    size = np.log(counts)[:, None]
    split = sheet["split"].to_numpy()
    scores = {"size": size, "codes": codes, "size and codes": np.hstack([size, codes])}
    told: dict[str, Any] = {"shapes": len(y), "positive": float(y.mean()), "columns": codes.shape[1]}
    told["count_alone"] = float(roc_auc_score(y[split == "test"], counts[split == "test"]))
    p = {}
    for name, x in scores.items():
        p[name], told[f"penalty of {name}"] = probed(x, y, split)
    test = y[split == "test"]
    draw = np.random.default_rng(0)
    drawn = [i for i in draw.integers(len(test), size=(RESAMPLES, len(test))) if 0 < test[i].mean() < 1]
    for name in p:
        told[name] = [
            roc_auc_score(test, p[name]),
            *np.percentile([roc_auc_score(test[i], p[name][i]) for i in drawn], [2.5, 97.5]),
        ]
        gain = [roc_auc_score(test[i], p[name][i]) - roc_auc_score(test[i], p["size"][i]) for i in drawn]
        told[f"{name} − size"] = [told[name][0] - told["size"][0], *np.percentile(gain, [2.5, 97.5])]
    return told


def probed(x: np.ndarray, y: np.ndarray, split: np.ndarray) -> tuple[np.ndarray, float]:
    """Scores of the test shapes by a ridge logistic regression of the train shapes, penalty by the validation ones."""
    scaled = StandardScaler().fit(x[split == "train"]).transform(x)
    best = (-1.0, 0.0, np.zeros(0))
    for c in PENALTIES:
        made = LogisticRegression(C=c, max_iter=2_000).fit(scaled[split == "train"], y[split == "train"])
        valid = roc_auc_score(y[split == "valid"], made.decision_function(scaled[split == "valid"]))
        if valid > best[0]:
            best = (valid, float(c), made.decision_function(scaled[split == "test"]))
    return best[2], best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=("hippocampus", "adrenal"))
    given = parser.parse_args()
    progress.show(True)
    print(machine(), flush=True)
    data, out = given.data.resolve(), given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    for name, work in {"hippocampus": hippocampus, "adrenal": adrenal}.items():
        if given.only in (None, name):
            told = work(data, out)
            print(name, json.dumps(told, default=str), flush=True)
            (out / f"{name}.json").write_text(json.dumps(told, indent=1, default=str))


if __name__ == "__main__":
    main()
