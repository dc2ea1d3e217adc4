"""Which layer carries which term: chosen without test, told over seeds."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from bioterp import tables
from bioterp.analyses.layers import in_order, layers
from bioterp.errors import InputError


def row(kind, seed, layer, feature, term, f1, select, null=0.1, split="test", **more):
    line = {column.name: 0 for column in tables.columns("detection")}
    line |= {"dictionary": f"{kind}-7", "seed": seed, "representation": kind, "layer": layer, "feature": feature}
    line |= {"term": term, "f1": f1, "f1_null": null, "f1_select": select, "f1_select_null": 0.05, "split": split}
    return line | {"n_instances": 31, "note": ""} | more


def frame(*rows):
    return tables.conform("detection", pd.DataFrame(list(rows)))


def one(table, layer, term, kind="dictionary"):
    found = table[(table["layer"] == layer) & (table["term"] == term) & (table["representation"] == kind)]
    assert len(found) == 1
    return found.iloc[0]


def test_the_choice_is_by_selection_and_the_numbers_are_over_seeds():
    table = layers(
        frame(
            row("dictionary", 0, "2", 3, "gene", 0.50, 0.70),
            row("dictionary", 0, "2", 4, "gene", 0.90, 0.60),  # better on test only
            row("dictionary", 1, "2", 8, "gene", 0.80, 0.50),
            row("dictionary", 0, "10", 5, "gene", 0.99, 0.58),
            row("dictionary", 1, "10", 6, "gene", 0.95, 0.57),
            row("neurons", 0, "2", 1, "gene", 0.35, 0.35, null=0.3),
        )
    )
    mine = one(table, "2", "gene")
    assert (mine["n_seeds"], mine["seed"], mine["n_instances"]) == (2, -1, 31)
    told = mine[["f1", "f1_null", "above", "above_min", "above_max", "select"]].astype(float)
    np.testing.assert_allclose(told, [0.65, 0.1, 0.55, 0.4, 0.7, 0.55], rtol=0, atol=1e-15)
    # Layer 10 does better on test; layer 2 did better where layers are chosen.
    assert mine["best"] and not one(table, "10", "gene")["best"]
    assert one(table, "2", "gene", "neurons")["best"]
    assert table["layer"].tolist() == ["2", "10", "2"], "layers in the order of the model, baselines behind"
    assert table["note"].fillna("").eq("").all()


def test_what_fires_everywhere_is_not_chosen_for_its_raw_f1():
    wide = row("dictionary", 0, "1", 1, "gene", 0.9, 0.9, f1_select_null=0.88)
    table = layers(frame(wide, row("dictionary", 0, "1", 2, "gene", 0.4, 0.4)))
    assert one(table, "1", "gene")["f1"] == 0.4


def test_ties_are_not_broken_by_test():
    rows = [row("dictionary", 0, "3", f, "gene", v, 0.5) for f, v in ((9, 0.8), (2, 0.3))]
    rows.append(row("dictionary", 0, "1", 7, "gene", 0.2, 0.5))
    table = layers(frame(*rows))
    assert one(table, "3", "gene")["f1"] == 0.3 and one(table, "1", "gene")["best"]


def test_cross_fitted_rows_replace_the_small_test_part():
    table = layers(
        frame(
            row("dictionary", 0, "4", 3, "rRNA", 0.9, 0.9, n_instances=2),
            row("dictionary", 0, "4", 5, "rRNA", 0.6, 0.7, split="cross-fitted", n_instances=17),
            row("dictionary", 0, "4", 5, "gene", 0.6, 0.7),
        )
    )
    mine = one(table, "4", "rRNA")
    assert (mine["split"], mine["f1"], mine["n_instances"]) == ("cross-fitted", 0.6, 17)
    assert one(table, "4", "gene")["split"] == "test"


def test_what_was_not_scored_is_a_row_without_numbers():
    bare = {"f1": np.nan, "f1_null": np.nan, "f1_select": np.nan, "f1_select_null": np.nan}
    table = layers(
        frame(
            row("dictionary", 0, "1", -1, "site", 0, 0) | bare | {"note": "1 instance in test"},
            row("dictionary", 1, "1", -1, "site", 0, 0) | bare | {"note": "another"},
            row("dictionary", 0, "1", 4, "gene", 0.5, 0.5),
            row("dictionary", 1, "1", 4, "gene", 0.5, 0.5),
            row("dictionary", 0, "1", 4, "half", 0.5, 0.5),
            row("dictionary", 1, "1", -1, "half", 0, 0) | bare | {"note": "dead"},
            row("dictionary", 0, "1", 11, None, 0, 0) | bare | {"note": "dead: never active"},
        )
    )
    site = one(table, "1", "site")
    assert (
        math.isnan(site["above"]) and not site["best"] and (site["n_seeds"], site["note"]) == (0, "1 instance in test")
    )
    assert one(table, "1", "half")["note"] == "scored with 1 of 2 seeds"
    assert sorted(table["term"]) == ["gene", "half", "site"]
    nothing = layers(frame(row("dictionary", 0, "1", -1, "site", 0, 0) | bare))
    assert len(nothing) == 1 and not nothing["best"].any()
    assert layers(frame(row("dictionary", 0, "1", -1, None, 0, 0) | bare)).empty


def test_layers_are_counted_and_not_spelled():
    assert in_order(["11", "output", "2", "sequence", "0"]) == ["0", "2", "11", "output", "sequence"]


def test_missing_columns_are_named():
    with pytest.raises(InputError, match="f1_select_null"):
        layers(frame(row("dictionary", 0, "1", 1, "gene", 0.5, 0.5)).drop(columns="f1_select_null"))
