"""A line of the table of features as a plain sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

COUNTS = {3: "three", 4: "four", 5: "five"}
STRANDS = {"both": "fires alike on both strands", "one": "stays on one strand", "mixed": "differs between the strands"}

# What is left of a match where covariates are held fixed; no null of shifts knows what follows codon phase or GC.
WITHIN = {
    "holds": "holds within strata of {}",
    "explained": "nothing of it left within strata of {}",
    "reversed": "turned round within strata of {}",
    "open": "open within strata of {}",
    "determined": "a term that {} tell by themselves",
}


def says(line: Mapping[str, Any]) -> str:
    """What a feature does, how well that is known, and what it shares with others; never more than the numbers show.

    line: a record of the table of features; what is null in it is left unsaid.
    """
    if bool(line["dead"]):
        return "never fires on these rows"
    parts = _match(line) if line["n_terms"] else _no_match(line)
    seeds = int(line["n_seeds"])
    if seeds > 1:
        same = int(line["n_same"])
        every = "both" if seeds == 2 else f"all {COUNTS.get(seeds, str(seeds))}"
        parts.append(f"{every} seeds" if same == seeds else f"{same} of {seeds} seeds")
    if int(line["cluster_size"]) > 1:
        parts.append(f"one of {int(line['cluster_size'])} that fire together")
    return ", ".join(parts)


def _match(line: Mapping[str, Any]) -> list[str]:
    """The best term: it may not be the one of those shown beyond chance, which is then said."""
    others = int(line["n_terms"]) - 1
    if not _beyond(line):
        terms = int(line["n_terms"])
        return [
            f"beyond chance on {terms} term{'s' if terms > 1 else ''} (q ≤ 0.05), but not on its own choice, "
            f"{line['best_term']}: F1 {line['best_f1']:.2f}"
        ]
    head = f"fires on {line['best_term']}: "
    parts = []
    if _known(line, "best_recall"):
        parts.append(f"{line['best_recall']:.2f} of instances")
        if _known(line, "best_recall_null"):
            parts[0] += f" (chance {line['best_recall_null']:.2f})"
    if _known(line, "best_precision"):
        parts.append(f"precision {line['best_precision']:.2f}")
    parts.append(_f1(line))
    if _known(line, "best_f1_null"):
        parts.append(f"null {line['best_f1_null']:.2f}")
    parts.append(f"q {_small(line['best_q'])}")
    parts[0] = head + parts[0]
    if line.get("adjusted") in WITHIN:
        parts.append(WITHIN[str(line["adjusted"])].format(line["adjusted_for"]))
    if others > 0:
        parts.append(f"{others} more term{'s' if others > 1 else ''} beyond chance")
    return parts


def _no_match(line: Mapping[str, Any]) -> list[str]:
    parts = ["no term beyond chance"]
    if _known(line, "best_f1") and line["best_term"]:
        tried = f"best tried {line['best_term']}: {_f1(line)}"
        tried += f", null {line['best_f1_null']:.2f}" if _known(line, "best_f1_null") else ""
        parts[0] += f" ({tried}" + (f", q {_small(line['best_q'])})" if _known(line, "best_q") else ", not tested)")
    parts.append(f"active on {_share(float(line['density']))} of cells")
    if line.get("strand") in STRANDS:
        parts.append(STRANDS[str(line["strand"])])
    return parts


def _f1(line: Mapping[str, Any]) -> str:
    ends = _known(line, "best_f1_lo") and _known(line, "best_f1_hi")
    interval = f" [{line['best_f1_lo']:.2f}, {line['best_f1_hi']:.2f}]" if ends else ""
    return f"F1 {line['best_f1']:.2f}{interval}"


def _beyond(line: Mapping[str, Any]) -> bool:
    chance = line["best_f1_null"] if _known(line, "best_f1_null") else 0.0
    return _known(line, "best_q") and line["best_q"] <= 0.05 and line["best_f1"] > chance


def _small(value: float) -> str:
    """0.034 as 0.034, 0.00002 as 2e-5."""
    mantissa, _, exponent = f"{value:.2g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def _share(value: float) -> str:
    return f"{value:.1%}" if value >= 0.001 else f"{_small(value * 100)} %".replace(" %", "%")


def _known(line: Mapping[str, Any], name: str) -> bool:
    return name in line and line[name] is not None and bool(pd.notna(line[name]))
