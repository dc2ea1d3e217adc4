"""What a feature may be called once association and confounding are known: the verdicts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bioterp import tables
from bioterp.analyses.cohort import deciding
from bioterp.analyses.cohort.deciding import Evidence
from bioterp.arrays import Array
from bioterp.errors import InputError


def verdicts(association: pd.DataFrame, confounding: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    """The table `association` with verdict, failed_clause and flagged filled.

    association, outcomes: of `associate`; confounding: of the declared confounders, whose flags count for every
    outcome. A verdict is one of `deciding.VERDICTS`, of untested features and outcomes too. Raises InputError for an
    outcome that the table `outcomes` lacks.
    """
    flagged = _flags(association, confounding)
    verdict, clause = np.full(len(association), "", object), np.full(len(association), "", object)
    for name in association["outcome"].unique():
        line = outcomes[outcomes["outcome"] == name]
        if len(line) != 1:
            raise InputError(f"the table 'outcomes' has {len(line)} rows for the outcome {name!r}; one is wanted")
        own = (association["outcome"] == name).to_numpy()
        rows = association[own]
        verdict[own], clause[own] = deciding.decide(
            Evidence(
                _of(rows, "q"),
                _of(rows, "q_adjusted"),
                _of(rows, "same_sign"),
                _of(rows, "p_heterogeneity"),
                _of(rows, "transfer"),
                _of(rows, "gain"),
                flagged[own] != "",
                _of(rows, "n_groups"),
                bool(line["n_groups"].iloc[0] > 1),
                bool(line["identified"].iloc[0]),
                bool(line["sized"].iloc[0]),
            )
        )
    made = association.assign(verdict=verdict, failed_clause=clause, flagged=flagged)
    return tables.conform("association", made)


def _of(rows: pd.DataFrame, name: str) -> Array:
    return np.asarray(rows[name].to_numpy(np.float64))


def _flags(association: pd.DataFrame, confounding: pd.DataFrame) -> Array:
    """The names of the confounders that flag each row's feature, '' for none."""
    raised = confounding[confounding["flag"]].drop_duplicates(["feature", "confounder"])
    names = raised.groupby("feature", sort=False)["confounder"].agg(", ".join)
    return np.asarray(association["feature"].map(names).fillna("").to_numpy(object))
