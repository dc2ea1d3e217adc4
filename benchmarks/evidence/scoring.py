"""What of a table is true, what is false, and what a decoy; InterPLM's rule on the same codes beside it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from genomes import FOLLOWED, Genome

import bioterp as bt
from bioterp.field import Field

THRESHOLDS = (0.0, 0.15, 0.5, 0.6, 0.8)  # of the feature's largest value, as InterPLM has them
Q = 0.05
CODING = ("CDS", "gene", "codon", "upstream", "intergenic", "phase_sites", "start", "stop")


def relation(follows: str, term: str) -> str:
    """'true', 'null' or 'decoy' for a feature that follows `follows` ('' nothing) and a term."""
    bare = term.split("@")[0]
    if follows == term:
        return "true"
    if not follows:
        return "null"
    if follows == "gc":
        return "decoy" if bare == "gc_sites" else "null"
    if follows == "phase":
        return "decoy" if bare.startswith(CODING) else "null"
    return "decoy" if bare == ("stranded" if follows == "strand" else follows) else "null"


def tally(codes: Field, truth: Field, follows: dict[int, str], source: bt.DNA | None = None) -> dict[str, float]:
    """Detection at q ≤ 0.05, by what each pair is; the claims of `headline`; and, of a source, what `adjusted` leaves.

    A pair is *kept* when detection calls it and its odds within strata of GC and codon phase are above 0 ('holds').
    """
    detected = bt.detect(codes, truth, per_term=5, folds=None, threads=1)
    table = detected.table
    tested = table[table["p"].notna()]
    kind = np.array([relation(follows[f], t) for f, t in zip(tested.feature, tested.term, strict=True)])
    called = (tested["q"] <= Q).to_numpy()
    null, true = kind == "null", kind == "true"
    false = int((called & null).sum())
    discoveries = int((called & (null | true)).sum())
    found = {t for t in FOLLOWED if (called & true & (tested["term"] == t)).any()}
    told: dict[str, float] = {
        "tests": len(tested),
        "null_tests": int(null.sum()),
        "null_p05": float((tested["p"].to_numpy()[null] <= 0.05).mean()) if null.any() else np.nan,
        "null_p0025": float((tested["p"].to_numpy()[null] <= 0.0025).mean()) if null.any() else np.nan,
        "discoveries": discoveries,
        "false": false,
        "false_of_genes": int((called & null & tested["term"].str.startswith(CODING).to_numpy()).sum()),
        "fdp": false / max(discoveries, 1),
        "power": len(found) / len(FOLLOWED),
        "f1_true": float(tested["f1"].to_numpy()[called & true].mean()) if found else np.nan,
    }
    holds = False if source is None else verdicts_of(codes, truth, tested, source) == "holds"
    kept = called & holds
    pairs_of = {"false": null, "true": true}
    told |= {f"kept_{name}": float((kept & own).sum()) for name, own in pairs_of.items()}
    told["kept_fdp"] = told["kept_false"] / max(told["kept_false"] + told["kept_true"], 1)
    told["kept_power"] = len(set(tested["term"][kept & true])) / len(FOLLOWED)
    claims = bt.headline(codes, truth, table, detected.blocks).set_index("term")
    for name in FOLLOWED:
        told.setdefault("headline_true", 0.0)
        told["headline_true"] += bool(claims.loc[name, "q_local"] <= Q) / len(FOLLOWED)
    for decoy, term in (("gc", "gc_sites"), ("phase", "phase_sites"), ("strand", "stranded")):
        pairs = (tested["term"] == term) & (kind == "decoy")
        told[f"{decoy}_called"] = float((called & pairs).any())
        told[f"{decoy}_kept"] = float((kept & pairs).any())
        # Only where the decoy is the term's best pair does the null within blocks speak of it.
        best = claims.loc[term]
        mine = bool(((tested["feature"] == best["feature"]) & pairs).any())
        told[f"{decoy}_called_in_blocks"] = float(best["p_local"] <= 0.05) if mine else np.nan
    return told


def verdicts_of(codes: Field, truth: Field, tested: pd.DataFrame, source: bt.DNA) -> np.ndarray:
    """(pairs,) the verdict of `adjusted` on each pair, among cells alike in GC and codon phase."""
    beside = bt.covariates(codes.rows, ["gc", "phase"], source=source, truth=truth)
    table = bt.adjusted(codes, truth, beside, tested)
    main = table[table["main"].astype(bool)].set_index(["feature", "term"])["verdict"]
    return main.reindex(pd.MultiIndex.from_frame(tested[["feature", "term"]])).fillna("").to_numpy(str)


def best_of_five(codes: Field, truth: Field) -> np.ndarray:
    """(features, terms) InterPLM's F1 on test: precision of cells, recall of instances, the best of five thresholds."""
    split = codes.rows.items["split"].to_numpy()
    test = np.repeat(split == "test", np.diff(codes.rows.offsets))
    dense = codes.read().toarray()
    largest, dense = np.maximum(dense.max(0), 1e-9), dense[test]
    labels, lit = truth.read(), [np.nonzero(dense > threshold * largest) for threshold in THRESHOLDS]
    best = np.zeros((dense.shape[1], labels.columns))
    for t in range(labels.columns):
        runs = labels.runs(t)
        number = np.zeros(len(test), np.int64)
        for i, a, b in zip(runs.instance.tolist(), runs.start.tolist(), runs.stop.tolist(), strict=True):
            number[a:b] = max(i, 0)
        number = number[test]
        many = len(np.unique(number[number > 0]))
        if not many:
            continue
        for row, feature in lit:
            inside = number[row] > 0
            fired = np.bincount(feature, minlength=len(best))
            precision = np.bincount(feature[inside], minlength=len(best)) / np.maximum(fired, 1)
            met = np.unique(np.stack([feature[inside], number[row[inside]]]), axis=1)[0]
            recall = np.bincount(met, minlength=len(best)) / many
            best[:, t] = np.maximum(best[:, t], 2 * precision * recall / np.maximum(precision + recall, 1e-12))
    return best


def interplm(codes: Field, follows: dict[int, str], here: Genome) -> dict[str, float]:
    """InterPLM's rule: largest of five F1 on the test rows (precision of cells, recall of instances) above 0.5."""
    order, split = here.order(codes.rows), codes.rows.items["split"].to_numpy()
    test = np.repeat(split == "test", np.diff(codes.rows.offsets))
    values = codes.read(0, len(codes.rows))
    dense = np.asarray(values.todense() if hasattr(values, "todense") else values, np.float32)
    place, shape = order[test], here.gc_high.shape
    positive = np.stack([mask.reshape(-1)[place] for mask in here.masks.values()])
    seen = np.zeros(shape, bool)
    seen.reshape(-1)[place] = True
    inside = {term: seen[cells].any(1) for term, cells in here.cells.items()}
    best = np.zeros((dense.shape[1], len(positive)))
    for f in range(dense.shape[1]):
        scaled = dense[test, f] / max(float(dense[:, f].max()), 1e-9)
        for threshold in THRESHOLDS:
            fired = np.flatnonzero(scaled > threshold)
            if not len(fired):
                continue
            tp = positive[:, fired].sum(1)
            precision, recall = tp / len(fired), tp / np.maximum(positive.sum(1), 1)
            lit = np.zeros(shape, bool)
            lit.reshape(-1)[place[fired]] = True
            for t, term in enumerate(here.masks):
                if term in inside and inside[term].any():
                    recall[t] = lit[here.cells[term]].any(1)[inside[term]].mean()
            best[f] = np.maximum(best[f], 2 * precision * recall / np.maximum(precision + recall, 1e-12))
    names = list(here.masks)
    called = [(names[t], relation(follows[f], names[t])) for f, t in np.argwhere(best > 0.5)]
    kinds = [kind for _, kind in called]
    false, true = kinds.count("null"), kinds.count("true")
    return {
        "interplm_false": false,
        "interplm_fdp": false / max(false + true, 1),
        "interplm_power": len({term for term, kind in called if kind == "true"}) / len(FOLLOWED),
        "interplm_decoys": kinds.count("decoy"),
    }
