"""A made-up study of many terms, layers, seeds and baselines: its detection table and its counts by block."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bioterp import tables

NAMES = (
    "CDS", "CDS.phase0", "CDS.phase1", "CDS.phase2", "CDS@antisense", "gene", "gene@antisense", "start_codon",
    "stop_codon", "exon", "tRNA", "tRNA@antisense", "rRNA", "ncRNA", "pseudogene", "mobile_genetic_element",
    "repeat_region", "sequence_feature", "origin_of_replication", "5'UTR", "promoter", "terminator", "operon",
    "regulatory.riboswitch", "a term whose name is much too long to be shown",
)  # fmt: skip
KINDS = {"dictionary": 1.0, "neurons": 0.7, "pca": 0.6, "random-directions": 0.5, "random-weights": 0.3}
FEW = ("rRNA", "origin_of_replication", "regulatory.riboswitch")


def study(terms=NAMES, layers=("0", "1", "2", "3", "4", "5"), seeds=(0, 1, 2), blocks=18, seed=0):
    """(detection, blocks), conformed. Terms of FEW are cross-fitted; 'origin_of_replication' was never scored."""
    rng = np.random.default_rng(seed)
    lines, parts = [], []
    strength = {t: rng.uniform(0, 1) ** 2 for t in terms}
    depth = {t: rng.uniform(0, len(layers)) for t in terms}
    world = {t: _term(rng, 0.004 + 0.4 * strength[t] ** 3, blocks * (5 if t in FEW else 1)) for t in terms}
    for kind, power in [*KINDS.items(), ("composition", 0.45)]:
        for layer in ("sequence",) if kind == "composition" else layers:
            for s in seeds if kind == "dictionary" else seeds[:1]:
                for t in terms:
                    own = _subject(kind, s, layer, t)
                    if t == "origin_of_replication":
                        bare = {"f1": np.nan, "n_instances": 1, "note": "not scored: 1 instance in test, at least 2"}
                        lines.append(own | bare | {"feature": -1})
                        continue
                    near = 1 if kind == "composition" else np.exp(-((float(layer) - depth[t]) ** 2) / 8)
                    hit = np.clip(power * (0.15 + 0.8 * strength[t]) * near + rng.normal(0, 0.015), 0, 0.98)
                    made, line = _pair(rng, own, *world[t], hit)
                    lines.append(line)
                    parts.append(made)
    detection = pd.DataFrame(lines)
    for column in tables.columns("detection"):
        if column.name not in detection:
            detection[column.name] = np.nan if column.dtype == "float64" else 0
    return tables.conform("detection", detection), tables.conform("blocks", pd.concat(parts, ignore_index=True))


def _term(rng, share, blocks):
    known = rng.integers(8_000, 10_000, blocks)
    return rng.binomial(known, share * rng.uniform(0.5, 1.5, blocks)), known


def _subject(kind, seed, layer, term):
    name = "topk-64-k4" if kind == "dictionary" else "topk-64-k4-random-weights" if kind == "random-weights" else kind
    about = {"dictionary": name, "seed": seed, "representation": kind, "layer": layer, "term": term, "note": ""}
    return about | {"split": "cross-fitted" if term in FEW else "test"}


def _pair(rng, own, positives, known, hit):
    tp = rng.binomial(positives, hit)
    fp = rng.binomial(known - positives, 0.3 * (1 - hit) * positives.sum() / known.sum())
    active, n, p = tp.sum() + fp.sum(), known.sum(), positives.sum()
    f1, null = 2 * tp.sum() / (active + p), 2 * active * p / n / (active + p)
    line = own | {"feature": int(rng.integers(64)), "f1": f1, "f1_null": null, "threshold": 0.5}
    line |= {"f1_select": f1 + rng.normal(0, 0.01), "f1_select_null": null, "f1_lo": f1 - 0.04, "f1_hi": f1 + 0.04}
    line |= {
        "n_instances": 17 if own["split"] == "cross-fitted" else int(p // 90) + 20,
        "q": 1e-4 if f1 > null else 0.4,
    }
    line |= {"precision": tp.sum() / max(active, 1), "recall": tp.sum() / max(p, 1), "instance_recall": hit}
    keys = {name: own[name] for name in ("dictionary", "seed", "representation", "layer", "term", "split")}
    made = pd.DataFrame({"block": [str(k) for k in range(len(known))], "tp": tp, "fp": fp})
    return made.assign(positives=positives, known=known, feature=line["feature"], **keys), line
