"""Is the dictionary better than a probe on raw activations here? Term by term, as lines and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from bioterp.analyses.comparison import SUBJECT
from bioterp.analyses.probe_comparison import RAW
from bioterp.analyses.probe_fits import ALL
from bioterp.report import Findings, page
from bioterp.report.best import CROSS
from bioterp.report.page import Html, join, tag

HEAD = "Probes: is the dictionary better than a probe on raw activations?"


@dataclass(frozen=True)
class Answer:
    """One term at one layer: AP of the linear probe on raw activations and of the dictionary's by k, what the paired
    intervals say of each (win, loss, open, none), and the answer in words."""

    term: str
    layer: str
    instances: int
    crossed: bool
    prevalence: float
    raw: float
    codes: dict[int, float]
    results: dict[int, str]
    words: str


def answers(comparison: pd.DataFrame, probing: pd.DataFrame) -> list[Answer]:
    """Per term, in the order of the table: of the first seed, at the layer whose raw probe has the largest AP on valid.

    A layer chosen so favours the raw probe, if either. Terms that were scored on neither side are left out.
    """
    linear = comparison[(comparison["baseline"] == RAW) & (comparison["baseline_k"] == ALL)]
    linear = linear[linear["representation"] == SUBJECT]
    linear = linear[linear["seed"] == linear["seed"].iloc[0]] if len(linear) else linear
    raw = probing[(probing["representation"] == RAW) & (probing["k"] == ALL)]
    found = []
    for term, own in linear.groupby("term", sort=False):
        on_valid = raw[raw["term"] == term].set_index("layer")["ap_valid"]
        own = own.assign(_valid=own["layer"].map(on_valid).fillna(-1.0))
        own = own[own["layer"] == own.sort_values("_valid", ascending=False, kind="stable")["layer"].iloc[0]]
        if own[["ap", "baseline_ap"]].notna().any().any():
            found.append(_answer(str(term), own.set_index("k")))
    return found


def _answer(term: str, own: pd.DataFrame) -> Answer:
    ks = sorted(own.index, key=lambda k: (k == ALL, k))
    line = own.loc[ks[-1]]
    codes, results = {k: float(own.loc[k, "ap"]) for k in ks}, {k: str(own.loc[k, "result"]) for k in ks}
    first = {result: next((k for k in ks if results[k] == result), None) for result in ("win", "open", "loss")}
    raw = float(line["baseline_ap"])
    if first["win"] is not None:
        k = first["win"]
        words = f"yes, {_by(k)}: AP {codes[k]:.3f}, the raw probe {raw:.3f}"
    elif first["open"] is not None:
        k = first["open"]
        words = f"not told apart {_by(k)}: AP {codes[k]:.3f}, the raw probe {raw:.3f}"
    elif first["loss"] is not None:
        best = max((k for k in ks if results[k] == "loss"), key=lambda k: codes[k])
        words = f"no: the raw probe has AP {raw:.3f}, the best on codes {codes[best]:.3f} ({_by(best)})"
    else:
        words = f"open: no interval ({line['note']})" if line["note"] else "open: no interval"
    told = str(line["layer"]), int(line["n_instances"]), line["split"] == CROSS, float(line["prevalence"]), raw
    return Answer(term, *told, codes, results, words)


def _by(k: int) -> str:
    return "with all codes together" if k == ALL else "with one feature" if k == 1 else f"with {k} features"


def tally(found: list[Answer]) -> str:
    """'of 12 terms: …', the answer over all terms in one sentence."""
    better = [a.term for a in found if "win" in a.results.values()]
    worse = [a.term for a in found if set(a.results.values()) == {"loss"}]
    even = len(found) - len(better) - len(worse)
    single = sum(a.results.get(1) in ("win", "open") for a in found)
    text = f"Of {len(found)} terms, probes on the dictionary are better than the linear probe on raw activations on "
    text += f"{len(better)}{_named(better)}, worse however many features they use on {len(worse)}{_named(worse)}, and "
    return text + f"not told apart on {even}; one feature alone is as good or better on {single}."


def _named(terms: list[str]) -> str:
    more = f" and {len(terms) - 6} more" if len(terms) > 6 else ""
    return f" ({', '.join(terms[:6])}{more})" if terms else ""


def probes(found: Findings) -> Html:
    """The section; nothing when no probes were fitted."""
    comparison, probing = found.tables.get("probe_comparison"), found.tables.get("probing")
    if comparison is None or probing is None or not len(comparison):
        return Html("")
    lines = answers(comparison, probing)
    if not lines:
        return join([tag("h2", HEAD), tag("p", "No term was scored.", class_="note")])
    ks = list(lines[0].codes)
    head = ["Term", "Inst.", "Layer", "Chance", "Raw, linear"]
    head += ["All codes" if k == ALL else f"{k} feature{'s' if k > 1 else ''}" for k in ks]
    rows = [[*_cells(a), *[_cell(a, k) for k in ks], (a.words, "text")] for a in lines]
    note = (
        "AP (average precision) of logistic probes on held-out cells; chance is the share of positive cells. Raw, "
        "linear: all channels of the layer. Features are taken one after the other on train, penalties chosen on "
        "valid. Blue: better than the raw probe (paired 95 % block-jackknife interval of the difference wholly above "
        "0); orange: worse; plain: the interval holds 0, or there is none. The layer is the one whose raw probe did "
        "best on valid blocks, which favours the raw probe if either."
    )
    note += " * cross-fitted: too few instances in test blocks." if any(a.crossed for a in lines) else ""
    table = page.table([*head, "Is the dictionary better?"], rows, dense=True)
    return join([tag("h2", HEAD), tag("p", tally(lines)), table, tag("p", note, class_="note")])


def _cells(a: Answer) -> list[Any]:
    return [a.term, f"{a.instances:,}{'*' if a.crossed else ''}", a.layer, two(a.prevalence), two(a.raw)]


def _cell(a: Answer, k: int) -> Any:
    return two(a.codes.get(k, float("nan"))), a.results.get(k, "none")


def two(value: float) -> str:
    """Two digits that mean something, also of rare terms."""
    return "–" if pd.isna(value) else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"
