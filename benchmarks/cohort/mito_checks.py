"""What `mito.py` found, against what is known: haplogroups, the variant behind the trait, where people come from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mito_people import GROUP, TRAIT, r2_with
from mito_places import Places, brought

import bioterp as bt

STRONGEST, NEAR, DIFFERENT, PERMUTATIONS = 100, 16, 0.1, 20


def cost(
    data: Path, out: Path, options: dict[str, Any], layer: int, sample: int, told: dict[str, Any]
) -> dict[str, Any]:
    """CPU seconds of the activations of distinct windows against those of everybody's, measured on a sample."""
    model = bt.load_model("bioterp/dna-small")
    begun = time.process_time()
    source = bt.Haplotypes(**options)
    planning = time.process_time() - begun
    ids = source.people["item"].tolist()
    chosen = ids[:: len(ids) // sample][:sample]

    def naive(people: list[str], name: str) -> float:
        own = bt.Haplotypes(**options, samples=people, distinct=False)
        begun = time.process_time()
        bt.activations(own, model, [layer], out / "naive" / name)
        return (time.process_time() - begun) / len(people)

    naive(ids[:1], "warm")  # the first forwards find out widths
    each = naive(chosen, f"sample{time.time_ns()}")
    share = told["distinct_windows"] / told["windows"]
    goal = share * each * told["people"]
    return {
        "naive_each": each, "naive_all": each * told["people"], "share": share, "goal": goal, "planning": planning,
        "activations": told["activations_cpu"], "over": told["activations_cpu"] / goal - 1,
    }  # fmt: skip


def haplogroups(
    places: Places, people: bt.Field, labels: pd.Series, confounding: pd.DataFrame, variants: pd.DataFrame,
    doses: np.ndarray, tree: pd.DataFrame,
) -> tuple[dict[str, Any], pd.DataFrame]:  # fmt: skip
    """Do the features that follow ancestry differ, along the mtDNA, where haplogroups of that ancestry are defined?

    labels, doses: of the people in `places`, in its order. For each of the strongest flagged features: the group whose
    mean is farthest from the others', the base at which its codes differ most between them in that direction, and
    whether a substitution that defines a haplogroup, and whose frequency differs by 10 points or more between the same
    people, lies at most NEAR bases before. By chance: any base; and the base found when labels are permuted.
    """
    flagged = confounding[(confounding["confounder"] == GROUP) & confounding["flag"]]
    top = flagged.sort_values("r2_held_out", ascending=False).drop_duplicates("feature").head(STRONGEST)
    features = top["feature"].to_numpy()
    x = np.asarray(people.values, float)[:, features]
    codes = places.codes[:, features].tocsc()
    defining = variants.merge(tree, on=["pos", "alt"], how="left")["haplogroups"].notna().to_numpy()
    groups = sorted(labels.unique())
    near: dict[str, np.ndarray] = {}
    for g in groups:
        own = (labels == g).to_numpy()
        apart = np.abs(np.nanmean(doses[own], axis=0) - np.nanmean(doses[~own], axis=0)) >= DIFFERENT
        near[g] = np.zeros(places.length, bool)
        for pos in variants["pos"][apart & defining]:
            near[g][np.arange(pos, pos + NEAR + 1) % places.length] = True

    def found(these: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """(features,) the group of each, and the base at which it differs most."""
        means = np.stack([x[(these == g).to_numpy()].mean(0) - x[(these != g).to_numpy()].mean(0) for g in groups])
        best = np.abs(means).argmax(0)
        at = np.zeros(len(features), int)
        for k, g in enumerate(groups):
            own = (these == g).to_numpy()
            mine = np.flatnonzero(best == k)
            if len(mine):
                track = places.track(places.weights(own, ~own), codes[:, mine].tocsr()) * np.sign(means[k, mine])
                at[mine] = track.argmax(0)
        return np.array(groups)[best], at

    group, at = found(labels)
    hit = np.array([near[g][pos] for g, pos in zip(group, at, strict=True)])
    draw, permuted = np.random.default_rng(0), []
    for _ in range(PERMUTATIONS):
        _, other = found(pd.Series(draw.permutation(labels.to_numpy()), labels.index))
        permuted.append(np.mean([near[g][pos] for g, pos in zip(group, other, strict=True)]))
    lines = pd.DataFrame({"feature": features, "r2": top["r2_held_out"].to_numpy(), "group": group, "base": at + 1})
    lines["defining"] = [
        _before(pos, g, labels, variants, doses, tree) if h else "" for pos, g, h in zip(at, group, hit, strict=True)
    ]
    told = {
        "flagged": int(flagged["feature"].nunique()), "looked_at": len(features), "hit": float(hit.mean()),
        "any_base": float(np.mean([near[g].mean() for g in group])), "permuted": float(np.mean(permuted)),
        "permuted_most": float(np.max(permuted)), "bases": len(set(at)),
        "groups": pd.Series(group).value_counts().to_dict(),
    }  # fmt: skip
    return told, lines.assign(hit=hit)


def _before(pos: int, g: str, labels: pd.Series, variants: pd.DataFrame, doses: np.ndarray, tree: pd.DataFrame) -> str:
    """The defining substitution at most NEAR bases before whose frequency differs most, and its haplogroups."""
    own = (labels == g).to_numpy()
    near = np.flatnonzero((variants["pos"] <= pos) & (variants["pos"] >= pos - NEAR))
    best, words = 0.0, ""
    for k in near:
        line = variants.iloc[k]
        match = tree[(tree["pos"] == line["pos"]) & (tree["alt"] == line["alt"])]
        mine, rest = np.nanmean(doses[own, k]), np.nanmean(doses[~own, k])
        if len(match) and abs(mine - rest) > best:
            best = abs(mine - rest)
            names = match["haplogroups"].iloc[0]
            words = f"{line['ref']}{line['pos'] + 1}{line['alt']} {mine:.2f}/{rest:.2f} {','.join(names[:4])}"
    return words


def resolved(
    places: Places, table: pd.DataFrame, variants: pd.DataFrame, doses: np.ndarray, truth: dict[str, Any]
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Which variant the associated features vary by, and how linked it is with the one behind the trait."""
    share = np.nanmean(doses, axis=0)
    common = np.flatnonzero((np.minimum(share, 1 - share) >= 0.01) & (variants["ref"].str.len() == 1))
    own, lines = variants.iloc[common].reset_index(drop=True), doses[:, common]
    cause = np.flatnonzero((own["pos"] == truth["pos"]) & (own["alt"] == truth["variant"][-1]))[0]
    linked = r2_with(lines, lines[:, cause])
    parts = brought(places, own, lines)
    best = parts.argmax(0)
    named = [_named(own, k) for k in range(len(own))]
    ranked = table.sort_values("p_adjusted", kind="stable")
    shown = ranked[["feature", "p", "p_adjusted", "q_adjusted", "gain", "verdict", "failed_clause", "flagged"]].copy()
    shown["variant"] = [named[best[f]] for f in shown["feature"]]
    shown["r2"] = linked[best[shown["feature"]]]
    whole = parts.sum(0)
    shown["share"] = (parts.max(0) / np.where(whole > 0, whole, np.nan))[shown["feature"]]
    right = (shown["r2"] >= 0.9) & shown["share"].notna()
    short = ["variant", "r2", "p_adjusted", "share"]
    named_by = shown[shown["share"] >= 0.5]  # one variant brings them more than all others
    markers, called = shown["verdict"] == "biomarker", shown["q_adjusted"] <= 0.05
    return {
        "variants": len(own), "naive_called": int((table["q"] <= 0.05).sum()), "adjusted_called": int(called.sum()),
        "biomarkers": int(markers.sum()), "biomarkers_right": int((markers & right).sum()),
        "called_right": int((called & right).sum()), "all_right": int(right.sum()), "features": len(shown),
        "first_right": int(np.flatnonzero(right.to_numpy())[0]) + 1 if right.any() else 0,
        "verdicts": table["verdict"].value_counts().to_dict(),
        "of_one_variant": len(named_by), "first_of_one_variant": named_by.head(5)[short].to_dict("records"),
    }, shown  # fmt: skip


def by_window(
    codes: bt.Field,
    source: Any,
    sheet: pd.DataFrame,
    window: int,
    length: int,
    variants: pd.DataFrame,
    doses: np.ndarray,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """The association of the trait with features window by window: columns that 1 % of people or more differ in.

    doses: of the people of the sheet who have a trait, in its order. Each of the best columns is told by the variant it
    goes with most (r² over people).
    """
    contig = next(iter(source.spaces))
    starts = np.arange(0, length, window)
    bed = pd.DataFrame({"contig": contig, "start": starts, "end": np.minimum(starts + window, length)})
    bed["name"] = [f"{s + 1}-{e}" for s, e in zip(bed["start"], bed["end"], strict=True)]
    pooled = bt.pool(codes, source, "mean", bed)
    x = np.asarray(pooled.values)
    middle = np.nanmedian(x, axis=0)
    varies = np.isfinite(x).all(0) & ((np.abs(x - middle) > 1e-6).mean(0) >= 0.01)
    kept = bt.Field(pooled.rows, x[:, varies], pooled.columns[varies].reset_index(drop=True), pooled.kind, pooled.about)
    table = bt.associate(kept, sheet, outcome=TRAIT, confounders=[GROUP], groups=GROUP).table
    best = table.sort_values("p_adjusted", kind="stable").head(STRONGEST).reset_index(drop=True)
    own = pd.Index(pooled.rows.items["item"]).get_indexer(sheet.index[sheet[TRAIT].notna()])
    best["column"] = kept.columns["name"].to_numpy()[best["feature"]]
    best["window"] = best["column"].str.split("@").str[-1]
    with_it = [r2_with(doses, np.asarray(kept.values)[own, f].astype(float)) for f in best["feature"]]
    best["variant"] = [_named(variants, int(np.nanargmax(r2))) for r2 in with_it]
    best["r2_variant"] = [float(np.nanmax(r2)) for r2 in with_it]
    told = {"columns": kept.shape[1], "called": int((table["q_adjusted"] <= 0.05).sum()), "windows": len(bed)}
    return told | {"verdicts": table["verdict"].value_counts().to_dict()}, best


def by_variant(variants: pd.DataFrame, doses: np.ndarray, sheet: pd.DataFrame, cause: str) -> pd.DataFrame:
    """What the variants themselves show, those of 1 % or more: as far as anything can be resolved with these people."""
    share = np.nanmean(doses, axis=0)
    common = np.flatnonzero(np.minimum(share, 1 - share) >= 0.01)
    known = sheet[sheet[TRAIT].notna()]
    names = known.index.astype(str)
    items = pd.DataFrame({"item": names, "sample": names, "block": names, "split": "train"})
    x = np.where(np.isfinite(doses), doses, share)[:, common].astype(np.float32)
    named = [_named(variants, k) for k in common]
    field = bt.Field(bt.Rows.free(items), x, named, "code", {})
    table = bt.associate(field, known, outcome=TRAIT, confounders=[GROUP], groups=GROUP).table
    table["variant"] = np.array(named, object)[table["feature"]]
    table["r2_cause"] = r2_with(doses[:, common], doses[:, common][:, named.index(cause)])[table["feature"]]
    return table.sort_values("p_adjusted", kind="stable")[["variant", "p", "p_adjusted", "r2_cause", "verdict"]]


def _named(variants: pd.DataFrame, k: int) -> str:
    line = variants.iloc[k]
    return f"{line['ref']}{line['pos'] + 1}{line['alt']}"


def components(data: Path, people: bt.Field, sheet: pd.DataFrame, ids: list[str]) -> dict[str, Any]:
    """Super-population from off-target components, each person left out in turn; the trait adjusted for them."""
    files = sorted((data / "variation" / "1kg_phase3_subset").glob("*.vcf.gz"))
    pcs = bt.genotype_pcs(files, 10, target=["MT"], samples=ids)
    labels = sheet[GROUP].reindex(pcs.index)
    own = labels.notna().to_numpy()
    x, y = pcs.to_numpy()[own], labels[own].to_numpy()
    away = ((x[:, None, :5] - x[None, :, :5]) ** 2).sum(-1)
    np.fill_diagonal(away, np.inf)
    nearest = np.argsort(away, axis=1)[:, :5]
    told = np.array([pd.Series(y[row]).value_counts().index[0] for row in nearest])
    here = np.flatnonzero(people.rows.items["item"].isin(pcs.index[own]))
    few = people.take(here)
    joined = sheet.join(pcs)
    made: dict[str, Any] = {
        "people": len(pcs), "labelled": int(own.sum()), "variants": pcs.attrs["variants"],
        "left_out_right": float((told == y).mean()),
    }  # fmt: skip
    for name, confounders in {"panel": [GROUP], "pcs": list(pcs.columns)}.items():
        found = bt.associate(few, joined, outcome=TRAIT, confounders=confounders, groups=GROUP)
        line = found.outcomes.iloc[0]
        best = found.table.sort_values("p_adjusted", kind="stable").iloc[0]
        made[name] = {
            "n": int(line["n"]), "explained": line["explained"], "lambda_naive": line["lambda_naive"],
            "lambda_adjusted": line["lambda_adjusted"], "best": int(best["feature"]), "p_best": best["p_adjusted"],
            "called": int((found.table["q_adjusted"] <= 0.05).sum()),
            "verdicts": found.table["verdict"].value_counts().to_dict(),
        }  # fmt: skip
    return made
