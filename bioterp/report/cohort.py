"""The pages on people: verdicts in plain words, what adjusting changed, groups, confounders, audit and marker."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from bioterp.report import Findings, page
from bioterp.report.page import Html, join, tag

MOST = 12  # features shown of a verdict; the table holds all
SMALL = 5  # people: smaller cells are not told
ORDER = ("biomarker", "unresolved", "confounder")
MEANS = {
    "biomarker": "follows the outcome beyond every declared confounder, alike in all groups",
    "unresolved": "follows the outcome, but not every condition holds, or outcome and confounders cannot be told apart",
    "confounder": "follows the outcome only through a declared confounder",
}


def cohort(found: Findings) -> Html:
    """Everything about people, outcome by outcome; nothing where no cohort was analysed."""
    table = found.tables.get("association")
    if table is None or not len(table):
        return Html("")
    parts = [tag("h2", "People: candidate biomarkers and confounders")]
    outcomes = found.tables["outcomes"]
    for (layer, outcome), mine in table.groupby(["layer", "outcome"], sort=False):
        told = outcomes[(outcomes["layer"] == layer) & (outcomes["outcome"] == outcome)].iloc[0]
        title = f"{outcome}" + (f", layer {layer}" if table["layer"].nunique() > 1 else "")
        parts += [tag("h3", title), tag("p", _lead(told))]
        parts += [tag("p", told["note"], class_="note")] if isinstance(told["note"], str) and told["note"] else []
        parts += [*_verdicts(mine), *_pictures(found, mine, layer, outcome)]
    parts += [*_audit(found), *_marker(found)]
    note = (
        "Nothing here is of a single person, and groups of fewer than 5 people are not told apart. Adjusting helps "
        "against confounders that were declared and measured, and against no other."
    )
    return join([*parts, tag("p", note, class_="note")])


def lead(found: Findings) -> str:
    """The report's first line where people were asked about and no term."""
    table = found.tables["association"]
    told = [f"{int((table['verdict'] == v).sum()):,} {v}" for v in ORDER]
    outcomes = ", ".join(dict.fromkeys(table["outcome"].astype(str)))
    return f"Of {len(table):,} features asked about {outcomes}: {', '.join(told)}."


def people(count: float) -> str:
    """A number of people, small ones not told."""
    return f"{int(count):,}" if count >= SMALL or count <= 0 else f"fewer than {SMALL}"


def _lead(told: pd.Series) -> str:
    cases = f", {people(told['n_cases'])} of them cases ({told['classes']})" if told["kind"] == "binary" else ""
    said = f"{people(told['n'])} people{cases}; {int(told['n_features']):,} features tested. "
    if pd.notna(told["explained"]):
        said += f"The declared confounders alone explain {100 * told['explained']:.0f} % of the outcome"
        said += "." if told["identified"] else ": the two cannot be told apart, and every verdict is “unresolved”."
    if pd.notna(told["lambda_naive"]):
        said += f" Inflation of the test statistics: λ {told['lambda_naive']:.2f} before adjusting"
        said += f", {told['lambda_adjusted']:.2f} after." if pd.notna(told["lambda_adjusted"]) else "."
    if told["n_called"] > 0:
        said += f" {int(told['n_called']):,} features are called (adjusted q ≤ 0.05), in {int(told['n_sets']):,} "
        said += "sets that go together (r² ≥ 0.5): a set is one finding." if told["n_sets"] > 1 else "set."
    return said


def sentence(row: pd.Series) -> str:
    """One feature in plain words."""
    more = "more" if row["beta_adjusted"] > 0 else "less"
    q = f"q {row['q_adjusted']:.1g}" if pd.notna(row["q_adjusted"]) else "not tested"
    said = f"feature {row['feature']}: {more} active with the outcome (adjusted {q}"
    if pd.notna(row["se_adjusted"]) and row["se_adjusted"] > 0:
        said += f", {abs(row['beta_adjusted'] / row['se_adjusted']):.1f} standard errors"
    said += ")"
    if row["verdict"] == "confounder":
        return f"{said}; before adjusting q {row['q']:.1g}; goes with {row['flagged'] or 'no declared confounder'}"
    if row["verdict"] == "unresolved":
        said += f"; fails: {row['failed_clause']}"
    if isinstance(row["flagged"], str) and row["flagged"]:
        said += f"; also goes with {row['flagged']}"
    if pd.notna(row["gain"]):
        said += f"; held-out gain {100 * row['gain']:.1f} %"
    return said


def _verdicts(mine: pd.DataFrame) -> Iterable[Html]:
    counts = mine["verdict"].value_counts()
    head = [f"{int(counts.get(v, 0)):,} {v}" for v in (*ORDER, "none")]
    yield tag("p", "Verdicts: " + ", ".join(head) + ".")
    for verdict in ORDER:
        own = mine[mine["verdict"] == verdict]
        if not len(own):
            continue
        by = "p_adjusted" if verdict != "confounder" else "p"
        own = own.sort_values(by, kind="stable")
        yield tag("p", tag("strong", verdict), f": {MEANS[verdict]}.")
        lines = [sentence(row) for _, row in own.head(MOST).iterrows()]
        more = [f"… and {len(own) - MOST:,} more in the table"] if len(own) > MOST else []
        yield page.bullets([*lines, *more])


def _pictures(found: Findings, mine: pd.DataFrame, layer: object, outcome: object) -> Iterable[Html]:
    from bioterp.report import people_figures as draw

    tested = mine[mine["p_adjusted"].notna()]
    if not len(tested):
        return
    yield page.figure(
        draw.manhattan(tested),
        "Every feature's adjusted p",
        "Every feature: −log₁₀ of its p after adjusting, coloured by verdict; hollow marks: before adjusting, of "
        "features called confounders. The line is the largest p with adjusted q ≤ 0.05.",
    )
    qq = found.tables.get("qq")
    if qq is not None and len(own := _of(qq, layer, outcome)):
        yield page.figure(
            draw.qq(own), "QQ plot", "p of all features against what chance would give, before and after adjusting."
        )
    effects = found.tables.get("effects")
    if effects is not None and len(own := _of(effects, layer, outcome)):
        top = tested.sort_values("p_adjusted", kind="stable")["feature"].head(6)
        shown = own[own["feature"].isin(top) & (own["n"] >= SMALL)]
        if len(shown):
            told = "Effects by group, adjusted, with 95 % intervals; the six features with the smallest p."
            yield page.figure(draw.forest(shown, list(top)), "Effects by group", told)
    flags = found.tables.get("confounding")
    if flags is not None and len(own := _of(flags, layer, outcome)):
        named = mine[mine["verdict"].isin(ORDER)].sort_values("p", kind="stable")["feature"].head(30)
        if len(named) and len(shown := own[own["feature"].isin(named)]):
            told = "Share of each feature's variance that a confounder explains (held out); a dot marks a flag."
            yield page.figure(draw.confounders(shown, list(named)), "Features by confounder", told)


def _of(table: pd.DataFrame, layer: object, outcome: object) -> pd.DataFrame:
    return table[(table["layer"] == layer) & (table["outcome"] == outcome)]


def paragraph(audit: pd.DataFrame) -> str:
    """The audit of the codes (or what there is) in one paragraph."""
    linear = audit[(audit["probe"] == "linear") & (audit["part"] == "all") & audit["score"].notna()]
    if not len(linear):
        return "Too few people to audit."
    name = "codes" if "codes" in set(linear["representation"]) else str(linear["representation"].iloc[0])

    def told(representation: str, treatment: str, role: str) -> pd.DataFrame:
        return linear[
            (linear["representation"] == representation) & (linear["treatment"] == treatment) & (linear["role"] == role)
        ]

    skill, sheet = told(name, "none", "outcome"), told("confounders", "none", "outcome")
    leak, left = told(name, "none", "confounder"), told(name, "leace", "confounder")
    kept = told(name, "leace", "outcome")
    said = ""
    if len(skill):
        row = skill.iloc[0]
        said = f"A linear probe of the {name} reads {row['target']} with {row['metric']} {_score(row)}"
        said += f"; the confounders alone reach {_score(sheet.iloc[0])}." if len(sheet) else "."
    if len(leak):
        worst = leak.loc[(leak["score"] - leak["chance"]).idxmax()]
        said += f" Of the confounders {worst['target']} is read best ({worst['metric']} {_score(worst)})."
    if len(left) and len(kept):
        most = left.loc[(left["score"] - left["chance"]).idxmax()]
        said += (
            f" After linear erasure of the confounders at most {most['score']:.2f} is left of them ({most['target']}), "
            f"and {kept.iloc[0]['metric']} {_score(kept.iloc[0])} of the outcome."
        )
    return said.strip()


def _score(row: pd.Series) -> str:
    if pd.isna(row["lo"]):
        return f"{row['score']:.2f}"
    return f"{row['score']:.2f} [{row['lo']:.2f}, {row['hi']:.2f}]"


def _audit(found: Findings) -> Iterable[Html]:
    table = found.tables.get("audit")
    if table is None or not len(table):
        return
    from bioterp.report import people_figures as draw

    yield tag("h3", "How much of the skill is who the sample is")
    for layer, mine in table.groupby("layer", sort=False):
        lead = f"Layer {layer}. " if table["layer"].nunique() > 1 else ""
        yield tag("p", lead + paragraph(mine))
        if (mine["role"] == "confounder").any() and mine["score"].notna().any():
            told = "Utility kept against leakage left: right is more of the confounder, up is more of the outcome."
            yield page.figure(draw.tradeoff(mine), "Utility against leakage", told)
        parts = mine[(mine["role"] == "outcome") & (mine["probe"] == "linear") & mine["score"].notna()]
        parts = parts[parts["treatment"].isin(["none", "leace", "combat", "ablated"]) & (parts["n"] >= SMALL)]
        lines = [
            [str(r["representation"]), str(r["treatment"]), str(r["part"]), people(r["n"]), str(r["metric"]), _score(r)]
            for _, r in parts.iterrows()
        ]
        yield page.details(
            "Every part and treatment", page.table(["Read from", "After", "People", "n", "", "Outcome"], lines)
        )


def _marker(found: Findings) -> Iterable[Html]:
    table = found.tables.get("marker")
    if table is None or not len(table):
        return
    yield tag("h3", "A marker of few features")
    yield tag("p", "Judged on people neither its features nor its weights were chosen on (nested cross-validation).")
    lines = []
    for _, row in table.iterrows():
        gap = "–"
        if pd.notna(row["difference"]):
            gap = f"{row['difference']:+.2f} [{row['difference_lo']:+.2f}, {row['difference_hi']:+.2f}]"
        auroc = f"{row['auroc']:.2f} [{row['auroc_lo']:.2f}, {row['auroc_hi']:.2f}]"
        slope = f"{row['calibration_slope']:.2f}" if np.isfinite(row["calibration_slope"]) else "–"
        lines.append([str(row["model"]), str(row["layer"]), people(row["n"]), auroc, gap, f"{row['brier']:.3f}", slope])
    head = ["Model", "Layer", "People", "AUROC", "Marker less this", "Brier", "Calibration slope"]
    yield page.table(head, lines)
    for note in dict.fromkeys(n for n in table["note"] if isinstance(n, str) and n):
        yield tag("p", note, class_="note")
