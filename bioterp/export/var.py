"""One line per feature out of the tables an analysis gives."""

from __future__ import annotations

import pandas as pd

from bioterp.errors import InputError
from bioterp.field import Field


def best_rows(field: Field, table: pd.DataFrame) -> pd.DataFrame:
    """At most one line per feature of this field: where a table has several terms, the one with the best F1
    on the part pairs were chosen on (`f1_select`), or else the best `f1`.

    A table may hold other representations (baselines), dictionaries, seeds and layers, whose feature
    numbers mean something else: only lines that match what the field says of itself are kept.
    """
    if "feature" not in table.columns:
        raise InputError(f"a table of features needs a column 'feature'; it has {', '.join(map(str, table.columns))}")
    mine = table
    if "representation" in mine.columns:
        mine = mine[mine["representation"].astype(str) == str(field.about.get("representation", "dictionary"))]
    for key in ("dictionary", "seed", "layer"):
        if key in mine.columns and mine[key].nunique() > 1 and not isinstance(field.about.get(key), dict | None):
            mine = mine[mine[key].astype(str) == str(field.about[key])]
    mine = mine[mine["feature"].notna()]
    by = next((name for name in ("f1_select", "f1") if name in mine.columns), None)
    if by is not None:
        mine = mine.sort_values(by, ascending=False, kind="stable", na_position="last")
        mine = mine.drop_duplicates("feature")
    if mine["feature"].duplicated().any():
        twice = int(mine.loc[mine["feature"].duplicated(), "feature"].iloc[0])
        raise InputError(f"the table has several lines for feature {twice} and no f1 to choose by; give one line each")
    return mine.astype({"feature": int}).sort_values("feature").reset_index(drop=True)
