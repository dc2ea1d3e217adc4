"""What a label's recipe remembers: the content of every file it hangs on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest

from bioterp.config import parse
from bioterp.errors import InputError
from bioterp.grid import Grid, Space
from bioterp.opening import check_paths, masks
from bioterp.records import Label
from bioterp.rows import Rows


@pytest.fixture
def rows() -> Rows:
    items = pd.DataFrame({"item": ["a", "b"], "sample": ["a", "b"], "block": ["a", "b"], "split": ["train", "test"]})
    return Rows.from_grids(items, [Grid(Space(name, "mm"), (3, 4, 5), np.eye(4)) for name in "ab"])


def mask(path: Path, value: int) -> None:
    kind = nibabel.Nifti1Pair if path.suffix == ".hdr" else nibabel.Nifti1Image
    path.parent.mkdir(exist_ok=True)
    nibabel.save(kind(np.full((3, 4, 5), value, np.uint8), np.eye(4)), path)


def told(spec: Label, rows: Rows, source: Any = None) -> str:
    return json.dumps(masks(spec, source, rows))


@pytest.mark.parametrize("file", ["a.nii.gz", "a.hdr", "organs/liver.nii.gz"])
def test_a_mask_edited_behind_a_sheet_is_another(tmp_path: Path, rows: Rows, file: str) -> None:
    """A sheet of its own (path:) names the masks; so may the scans' sheet (column:). A folder holds one per organ."""
    mask(tmp_path / file, 1)
    named = file.split("/")[0]
    (tmp_path / "masks.tsv").write_text(f"scan\tlesion\na\t{named}\n")

    class Sheet:
        def files(self, column: str) -> dict[str, Path]:
            return {"a": tmp_path / named}

    own, scans = Label(path=tmp_path / "masks.tsv", column="lesion"), Label(column="lesion")
    before = told(own, rows), told(scans, rows, Sheet())
    assert (told(own, rows), told(scans, rows, Sheet())) == before
    mask(tmp_path / file, 2)
    assert told(own, rows) != before[0] and told(scans, rows, Sheet()) != before[1]


def test_a_long_table_of_names_in_the_run_file_is_no_path(rows: Rows, tmp_path: Path) -> None:
    class Sheet:
        def files(self, column: str) -> dict[str, Path]:
            return {}

    names = {value: f"structure number {value}" for value in range(1, 60)}
    assert masks(Label(column="seg", options={"names": names}), Sheet(), rows) == []
    (tmp_path / "names.json").write_text('{"1": "liver"}')
    spec = Label(column="seg", options={"names": Path(f"{tmp_path}/names.json#total")})
    before = told(spec, rows, Sheet())
    (tmp_path / "names.json").write_text('{"1": "spleen"}')
    assert told(spec, rows, Sheet()) != before != "[]"


def test_numbers_are_refused_before_the_model_runs(tmp_path: Path) -> None:
    (tmp_path / "scans.tsv").write_text("scan\tpath\n")
    tree: dict[str, Any] = {"out": "o", "source": {"kind": "scans", "items": "scans.tsv"}, "layers": [0]}
    tree |= {"model": "bioterp/scan-small", "labels": {"grey": {"column": "grey", "density": True}}}
    with pytest.raises(InputError, match="grey: density gives numbers, which only correlation takes"):
        check_paths(parse(tree, tmp_path))
    tree["analyses"] = ["detection", "correlation"]
    check_paths(parse(tree, tmp_path))
    tree["labels"]["grey"]["threshold"] = 0.5
    with pytest.raises(InputError, match="correlation needs labels that are numbers"):
        check_paths(parse(tree, tmp_path))
    del tree["analyses"]
    tree["labels"]["grey"]["threshold"] = 0.5
    check_paths(parse(tree, tmp_path))
