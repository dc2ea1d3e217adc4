"""A frozen marker: a formula in the units of the codes, kept as JSON, applied to other people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bioterp import store
from bioterp.analyses.people import Column, beside
from bioterp.arrays import Array
from bioterp.doors import json_of
from bioterp.errors import InputError, StoreError
from bioterp.field import Field

VERSION = 1


@dataclass(frozen=True)
class Coded:
    """How a covariate becomes numbers: its levels (the first is the reference), or none for a number."""

    name: str
    levels: tuple[str, ...]


def coded(column: Column) -> Coded:
    """The coding of a covariate, as it was met."""
    if column.kind == "numbers":
        return Coded(column.name, ())
    if column.kind == "binary":
        return Coded(column.name, ("", *column.levels))  # whatever is not this level is the reference
    return Coded(column.name, column.levels)


def design_of(plan: Sequence[Coded], lines: pd.DataFrame) -> Array:
    """(n, 1 + c) intercept and covariates. Raises InputError for a level that the fit has not seen."""
    columns = [np.ones(len(lines))]
    for one in plan:
        if one.name not in lines.columns:
            raise InputError(f"the marker needs the covariate {one.name!r}, and the sheet has no such column")
        if not one.levels:
            columns.append(pd.to_numeric(lines[one.name], errors="coerce").to_numpy(float))
            continue
        text = lines[one.name].astype(str).str.strip().to_numpy(str)
        if one.levels[0]:
            strange = np.setdiff1d(text, one.levels)
            if len(strange):
                raise InputError(
                    f"{one.name!r} is {strange[0]!r} for some people; the marker knows {', '.join(one.levels)}"
                )
        columns += [(text == level).astype(float) for level in one.levels[1:]]
    return np.stack(columns, 1)


@dataclass(frozen=True)
class Marker:
    """logit P(case) = intercept + Σ covariates + Σ weight × code, the codes pooled as they were in the fit.

    columns: the names of the pooled codes; features: their positions; weights per unit of code; dictionary: what the
    codes were made with (name, layer, seed, how they were pooled), which codes of another cohort must be of, too.
    """

    outcome: str
    case: str
    covariates: tuple[Coded, ...]
    intercept: float
    covariate_weights: tuple[float, ...]
    columns: tuple[str, ...]
    features: tuple[int, ...]
    weights: tuple[float, ...]
    dictionary: dict[str, Any]
    n: int
    n_cases: int

    @classmethod
    def of(cls, codes: Field, outcome: str, case: str, plan: Sequence[Coded], own: Any, n: int, cases: int) -> Marker:
        """From what a fit chose (features, mean, sd, coefficients on standardised codes), in units of the codes."""
        features, mean, sd, beta = own
        k = len(beta) - len(features)
        weights = beta[k:] / sd
        names = codes.columns["name"].astype(str).to_numpy()[features]
        return cls(
            outcome, case, tuple(plan), float(beta[0] - (weights * mean).sum()), tuple(map(float, beta[1:k])),
            tuple(names), tuple(int(f) for f in features), tuple(map(float, weights)), _source(codes), n, cases,
        )  # fmt: skip

    @property
    def formula(self) -> str:
        """For people: one line."""
        terms = [f"{self.intercept:+.3g}"]
        names = [f"{c.name}={v}" if v else c.name for c in self.covariates for v in (c.levels[1:] or ("",))]
        terms += [f"{w:+.3g}·{n}" for w, n in zip(self.covariate_weights, names, strict=True)]
        terms += [f"{w:+.3g}·code[{n}]" for w, n in zip(self.weights, self.columns, strict=True)]
        return f"logit P({self.outcome}={self.case}) = {' '.join(terms)}"

    def __call__(self, codes: Field, sheet: pd.DataFrame) -> pd.Series:
        """The probability of each person, indexed by item; NaN where a covariate is unknown.

        Raises InputError when the codes are of another dictionary, or lack a column.
        """
        mine, theirs = self.dictionary, _source(codes)
        differ = sorted(key for key in mine if mine[key] != theirs.get(key))
        if differ:
            raise InputError(
                f"the marker is of codes made otherwise ({', '.join(differ)} differ): encode the new cohort with the "
                "same dictionary and pool it in the same way"
            )
        at = [codes.column(name) for name in self.columns]
        values = codes.values
        x = np.asarray((values[:, at].toarray() if hasattr(values, "toarray") else values[:, at]), np.float64)
        design = design_of(self.covariates, beside(codes, sheet))
        beta = np.array([self.intercept, *self.covariate_weights])
        z = design @ beta + x @ np.array(self.weights, float).reshape(-1)
        p = 1 / (1 + np.exp(-np.clip(z, -30, 30)))
        return pd.Series(np.where(np.isfinite(z), p, np.nan), codes.rows.items["item"].astype(str), name=self.outcome)

    def save(self, path: str | Path) -> Path:
        """Write as JSON, whole or not at all."""
        with store.writing_file(Path(path)) as beside_it:
            beside_it.write_text(json.dumps({"marker": VERSION, **asdict(self)}, indent=1))
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Marker:
        """Raises StoreError for a file that is no marker."""
        try:
            told = json_of(Path(path))
            if told.pop("marker") != VERSION:
                raise StoreError(f"{Path(path).name} is a marker of another version; this bioterp reads {VERSION}")
            told["covariates"] = tuple(Coded(c["name"], tuple(c["levels"])) for c in told["covariates"])
            made: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in told.items()}
            return cls(**made)
        except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
            raise StoreError(f"{Path(path).name} is no marker written by bioterp ({error})") from None


def _source(codes: Field) -> dict[str, Any]:
    """What codes of another cohort must share."""
    return {key: codes.about.get(key) for key in ("dictionary", "layer", "seed", "pooled", "regions", "haplotypes")}
