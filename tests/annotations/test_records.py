"""Columns of a sheet on the rows of its samples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scan_rows import affine_of, scan_rows, states

from bioterp.annotations import label
from bioterp.errors import InputError
from bioterp.rows import Rows

SHEET = (
    "sample\tage\tsex\tsite\tcase\tscanner\tempty\n"
    "007\t31.5\tF\tGuys\t1\t1\t\nb\t\tM\tHH\t0\t2\tn/a\nc\t44\tF\tIOP\tNA\t3\t\nx\t60\tM\tHH\t1\t3\t\n"
)


@pytest.fixture
def people() -> Rows:
    names = ["c", "007", "b", "d"]
    items = pd.DataFrame({"item": names, "sample": names, "block": names, "split": "train"})
    return Rows.free(items)


def test_categories_are_terms(write, people) -> None:
    field = label(people, write("people.tsv", SHEET))
    assert field.columns["name"].tolist() == ["sex=F", "sex=M", "site=Guys", "site=HH", "site=IOP", "case"]
    wanted = {
        "sex=F": [1, 1, 0, -1], "sex=M": [0, 0, 1, -1], "site=Guys": [0, 1, 0, -1], "site=HH": [0, 0, 1, -1],
        "site=IOP": [1, 0, 0, -1], "case": [-1, 1, 0, -1],
    }  # fmt: skip
    assert {name: states(field, name).tolist() for name in wanted} == wanted
    assert field.columns["n_instances"].tolist() == [2, 1, 1, 1, 1, 1]
    assert field.about["warnings"][0].startswith("1 of the rows' samples are not in")
    assert any("'empty' tells nothing" in w for w in field.about["warnings"])


def test_numbers_are_numbers(write, people) -> None:
    field = label(people, write("people.tsv", SHEET), columns=["age", "scanner"])
    np.testing.assert_array_equal(field.values, [[44, 3], [31.5, 1], [np.nan, 2], [np.nan, np.nan]])
    coded = label(people, write("people.tsv", SHEET), columns=["scanner"], categorical=["scanner"])
    assert coded.columns["name"].tolist() == ["scanner=1", "scanner=2", "scanner=3"]
    assert states(coded, "scanner=3").tolist() == [1, 0, 0, -1]


def test_every_cell_of_a_scan_has_its_scans_label() -> None:
    cells = [("a", (2, 1, 2)), ("b", (3, 1, 1)), ("a", (1, 1, 5))]
    rows = scan_rows(
        *((s, shape, affine_of(np.eye(3), (1, 1, 1), (0, 0, 0))) for s, shape in cells), subject=["p", "q", "p"]
    )
    table = pd.DataFrame({"scan": ["a", "b"], "sex": ["F", "M"], "age": [20, 30]})
    field = label(rows, table, columns=["sex"])
    assert states(field, "sex=F").tolist() == [1] * 4 + [0] * 3 + [1] * 5
    told = field.values.instances
    assert told[told["term"] == 0][["start", "end"]].to_numpy().tolist() == [[0, 4], [7, 12]]
    assert label(rows, table, columns=["age"]).values[:, 0].tolist() == [20] * 4 + [30] * 3 + [20] * 5
    by_person = pd.DataFrame({"subject": ["q", "p"], "dose": [0.5, 1.5]})
    assert label(rows, by_person, columns=["dose"]).values[:, 0].tolist() == [1.5] * 4 + [0.5] * 3 + [1.5] * 5


def test_yes_and_no_and_words(people) -> None:
    for yes, no in (("yes", "No"), ("TRUE", "false"), ("1.0", "0.0"), (True, False), (1, 0)):
        table = pd.DataFrame({"id": ["c", "007", "b"], "case": [yes, no, yes]})
        field = label(people, table, columns=["case"])
        assert field.columns["name"].tolist() == ["case"]
        assert states(field, "case").tolist() == [1, 0, 1, -1]


def test_columns_of_many_words_are_left_out_unless_named(people) -> None:
    table = pd.DataFrame(
        {"sample": [f"s{i}" for i in range(60)], "note": [f"n{i}" for i in range(60)], "x": ["u", "v"] * 30}
    )
    rows = Rows.free(pd.DataFrame({"item": table["sample"], "sample": table["sample"], "block": "b", "split": "test"}))
    field = label(rows, table)
    assert field.columns["name"].tolist() == ["x=u", "x=v"]
    assert "'note' has 60 different values" in field.about["warnings"][0]
    assert label(rows, table, columns=["note"]).shape == (60, 60)


def test_what_is_refused(write, people, tmp_path) -> None:
    path = write("people.tsv", SHEET)
    for source, options, words in (
        (path, {"columns": ["age", "sex"]}, "'age' holds numbers and 'sex' categories"),
        (path, {"columns": ["agee"]}, "no column 'agee'.*did you mean 'age'"),
        (path, {"key": "person"}, "no column 'person'"),
        (path, {"columns": ["age"], "threshold": 0.5}, "threshold= is for scans; columns of a sheet take"),
        (tmp_path / "none.tsv", {}, "there is no sheet"),
        (pd.DataFrame({"sample": ["q"], "sex": ["F"]}), {}, "knows none of the 4 samples"),
        (pd.DataFrame({"name": ["c"], "sex": ["F"]}), {}, "of sample names; pass key="),
        (pd.DataFrame({"sample": ["c", "c"], "sex": ["F", "M"]}), {}, "two lines for 'a' .line 3."),
        (pd.DataFrame({"sample": ["c"], "age": [3.5]}), {}, "no column of categories"),
    ):
        with pytest.raises(InputError, match=words):
            label(people, source, **options)
