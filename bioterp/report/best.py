"""What the detection table says, term by term and in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

# What a representation is called in the report, in the order shown. The first one present is the subject.
REPRESENTATIONS = {
    "dictionary": "dictionary feature",
    "sae": "dictionary feature",
    "neurons": "raw neuron",
    "pca": "principal component",
    "random-directions": "random direction",
    "random": "random direction",
    "random-weights": "random-weights model",
    "composition": "composition (k-mers, GC)",
    "intensity": "intensity of the image",
    "position": "position in the scan",
}
SHORT = {
    "dictionary": "this",
    "sae": "this",
    "neurons": "neuron",
    "pca": "PCA",
    "random-directions": "rand. dir.",
    "random": "rand. dir.",
    "random-weights": "rand. w.",
    "composition": "k-mer GC",
    "intensity": "intens.",
    "position": "position",
}
MOST_NAMED = 12
SUBJECTS = ("dictionary", "sae")
CROSS = "cross-fitted"
PARTS = ("test", CROSS)  # blocks that took no part in the choice they score


@dataclass(frozen=True)
class Comparison:
    """The subject's best feature per term against one baseline's best, on the same test rows."""

    baseline: str
    terms: int
    wins: list[str]
    losses: list[str]
    clear_wins: int
    clear_losses: int
    intervals: bool


def name_of(representation: str) -> str:
    return REPRESENTATIONS.get(representation, representation)


def best_per_term(detection: pd.DataFrame) -> pd.DataFrame:
    """One line per term and representation: the feature that was best where features are chosen.

    The choice is by F1 above chance on train and valid; the numbers shown are those of test, or cross-fitted ones.
    Only a table without those columns is searched by its own test scores, which `chosen_on_test` then tells the
    reader. Of several seeds the first is shown.
    """
    table = detection[detection["f1"].notna()] if "f1" in detection.columns else detection.iloc[:0]
    if "split" in table.columns and table["split"].isin(PARTS).any():
        table = _whole(table[table["split"].isin(PARTS)])
    if not len(table):
        return table
    table = _first_seed(table)
    order = excess(table, "f1" if chosen_on_test(table) else "f1_select")
    table = table.assign(_order=order.fillna(-1)).sort_values("_order", ascending=False, kind="stable")
    return table.drop_duplicates(["term", "representation"]).drop(columns="_order").reset_index(drop=True)


def _whole(table: pd.DataFrame) -> pd.DataFrame:
    """A term that was cross-fitted had too few instances on test: those rows are left out."""
    crossed = table["split"] == CROSS
    keys = [name for name in ("dictionary", "seed", "representation", "layer", "term") if name in table.columns]
    other = crossed.groupby([table[name] for name in keys], dropna=False).transform("any")
    return table[crossed | ~other]


def _first_seed(table: pd.DataFrame) -> pd.DataFrame:
    """Of several seeds the first one with a score: the best of three draws would be no fair match for a baseline."""
    if "seed" not in table.columns:
        return table
    order = {seed: rank for rank, seed in enumerate(dict.fromkeys(table["seed"]))}
    rank = table["seed"].map(order)
    return table[rank == rank.groupby([table["representation"], table["term"]], dropna=False).transform("min")]


def is_crossed(line: pd.Series) -> bool:
    """True when every block was scored by a choice made without it, for there were too few test instances."""
    return bool(line.get("split") == CROSS)


def chosen_on_test(detection: pd.DataFrame) -> bool:
    """True when the table does not say how features did where they were chosen."""
    return "f1_select" not in detection.columns or bool(detection["f1_select"].isna().all())


def subject_of(best: pd.DataFrame) -> str | None:
    """The representation the report is about: the dictionary, or whatever there is."""
    present = list(dict.fromkeys(best["representation"])) if len(best) else []
    return next((name for name in SUBJECTS if name in present), present[0] if present else None)


def order_of(best: pd.DataFrame) -> list[str]:
    """The representations present, subject first, baselines in their usual order, unknown ones last."""
    present = set(best["representation"])
    subject = subject_of(best)
    known = [name for name in REPRESENTATIONS if name in present and name != subject]
    return [*([subject] if subject else []), *known, *sorted(present - set(known) - {subject})]


def terms_of(best: pd.DataFrame) -> list[str]:
    """Terms by how far the subject's feature is above chance; terms only baselines found come last."""
    mine = best[best["representation"] == subject_of(best)]
    rank = dict(zip(mine["term"], excess(mine), strict=True))
    return sorted(best["term"].unique(), key=lambda term: (-rank.get(term, -1.0), term))


def excess(table: pd.DataFrame, score: str = "f1") -> pd.Series:
    """F1 minus its chance level: a feature that fires everywhere has a high F1 on a term that covers much."""
    null = f"{score}_null"
    return table[score] - table[null].fillna(0) if null in table.columns else table[score]


def shown(table: pd.DataFrame) -> pd.Series:
    """True where detection shows the feature beyond chance (q ≤ 0.05), or where no q was worked out."""
    return table["q"].isna() | (table["q"] <= 0.05) if "q" in table.columns else pd.Series(True, table.index)


def shares_regions(table: pd.DataFrame) -> pd.Series:
    """True where a feature beyond chance is not so once turned within its blocks: both may only share regions."""
    if not {"q", "q_local"} <= set(table.columns):
        return pd.Series(False, table.index)
    return (table["q"] <= 0.05) & (table["q_local"] > 0.05)


def compare(best: pd.DataFrame) -> list[Comparison]:
    """Wins and losses of the subject against every baseline; a tie counts as neither."""
    subject = subject_of(best)
    ours = best[best["representation"] == subject].set_index("term")
    found = []
    for baseline in order_of(best)[1:]:
        theirs = best[best["representation"] == baseline].set_index("term")
        both = [term for term in terms_of(best) if term in ours.index and term in theirs.index]
        own, other = excess(ours), excess(theirs)
        gap = {term: float(own[term] - other[term]) for term in both}
        found.append(
            Comparison(
                baseline,
                len(both),
                [term for term in both if gap[term] > 0],
                [term for term in both if gap[term] < 0],
                sum(_apart(ours.loc[term], theirs.loc[term]) for term in both),
                sum(_apart(theirs.loc[term], ours.loc[term]) for term in both),
                any(_known(ours.loc[term], "f1_lo") and _known(theirs.loc[term], "f1_lo") for term in both),
            )
        )
    return found


def _apart(high: pd.Series, low: pd.Series) -> bool:
    """True when the first's interval lies wholly above the second's, each less its chance level."""
    lo, hi = high.get("f1_lo", np.nan), low.get("f1_hi", np.nan)
    return bool(lo - _chance(high) > hi - _chance(low))


def _chance(line: pd.Series) -> float:
    return float(line["f1_null"]) if _known(line, "f1_null") else 0.0


def sentence(line: pd.Series, layered: bool = False, agreement: bool = False) -> str:
    """One plain sentence on a line of the detection table.

    layered = say which layer the feature is of; agreement = the term was labelled by a model, so nothing is found or
    recalled: two models agree.
    """
    kind = name_of(str(line["representation"])).capitalize()
    what = f"{kind} {int(line['feature'])}" if line["feature"] >= 0 else f"{kind}, chosen anew for every part,"
    what += f" of layer {line['layer']}" if layered else ""
    parts = []
    if _known(line, "instance_recall") and _known(line, "n_instances"):
        n = int(line["n_instances"])
        told = f"recalls {line['instance_recall']:.2f} of {n:,} instance{'' if n == 1 else 's'}"
        told = told.replace("recalls", "reaches") if agreement else told
        null = "instance_recall_null"
        parts.append(told + (f" (by chance {line[null]:.2f})" if _known(line, null) else ""))
    if _known(line, "precision"):
        inside = f"{line['precision']:.2f} of its active cells inside"
        parts.append(inside if agreement else f"precision {line['precision']:.2f}")
    interval = f" [{line['f1_lo']:.2f}, {line['f1_hi']:.2f}]" if _known(line, "f1_lo") and _known(line, "f1_hi") else ""
    parts.append(f"F1 {line['f1']:.2f}{interval}")
    if _known(line, "f1_null"):
        parts.append(f"chance {line['f1_null']:.2f}")
    if _known(line, "q"):
        parts.append(f"q {number(line['q'])}")
    if _known(line, "q_local"):
        parts.append(f"q within blocks {number(line['q_local'])}")
    if is_crossed(line):
        parts.append(CROSS)
    told = ", ".join(parts)
    if _known(line, "q") and line["q"] <= 0.05 and _known(line, "q_local") and line["q_local"] > 0.05:
        told += "; turned within its blocks it does about as well: both may only live in the same regions"
    beyond = not _known(line, "q") or line["q"] <= 0.05
    if agreement:
        verb = "agrees with" if beyond else "was chosen for, but is not shown to agree with,"
        return f"{what} {verb} {line['term']} (labelled by a model): {told}."
    verb = "fires on" if beyond else "was chosen for, but is not shown to fire on,"
    return f"{what} {verb} {line['term']}: {told}."


def verdict(comparison: Comparison, subject: str) -> str:
    """One plain sentence on wins and losses."""
    wins, losses = len(comparison.wins), len(comparison.losses)
    ties = comparison.terms - wins - losses
    apart = ["", ""]
    if comparison.intervals:
        counts = (comparison.clear_wins, comparison.clear_losses)
        apart = [f" ({count} with intervals apart)" if count else "" for count in counts]
    text = (
        f"Against the best {name_of(comparison.baseline)}, the best {name_of(subject)} is further above chance on "
        f"{wins} of {comparison.terms} terms{apart[0]} and less far on {losses}{apart[1]}"
    )
    text += f", and ties on {ties}." if ties else "."
    if losses:
        named = ", ".join(comparison.losses[:MOST_NAMED])
        text += f" It loses on {named}" + (f" and {losses - MOST_NAMED} more." if losses > MOST_NAMED else ".")
    return text


def number(value: float) -> str:
    """0.034 as 0.034, 0.00002 as 2e-05."""
    return f"{value:.2g}"


def two(value: float, sign: bool = False) -> str:
    """Two digits, a real minus, no '−0.00', a dash for nothing; sign = write the plus too."""
    if pd.isna(value):
        return "–"
    text = f"{value:+.2f}" if sign else f"{value:.2f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def _known(line: pd.Series, name: str) -> bool:
    return name in line.index and bool(pd.notna(line[name]))
