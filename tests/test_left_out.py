"""What a run says of scans it could not use is the same when it is resumed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bioterp import config
from bioterp.check import findings
from bioterp.study import Study
from tests.scan_studies import NAMES, write_scan, write_sheet, write_study


def test_a_resumed_run_knows_whose_voxels_could_not_be_read(tmp_path: Path) -> None:
    """Reading is over when a run is resumed; the count of the report and the reasons stay, and name no folder."""
    file = write_study(tmp_path, (0, 2, 3, 5), baselines=[], analyses=["detection"], layers=[0])
    image = tmp_path / write_scan(tmp_path, 2)
    image.write_bytes(image.read_bytes()[:-90])  # the header is whole
    first = Study(config.load(file))
    held = set(first.rows().rows.items["sample"])
    told = pd.read_csv(tmp_path / "results" / "left_out.tsv", sep="\t")
    assert NAMES[2] not in held and len(held) == 3
    assert told["scan"].tolist() == [NAMES[2]] and not told["reason"].str.contains(str(tmp_path)).any()
    again = Study(config.load(file))
    assert again.source.described()["left_out"] == 0  # nothing was read yet
    again.rows()
    assert again.source.described() == first.source.described() and first.source.described()["left_out"] == 1
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "results" / "left_out.tsv", sep="\t"), told)
    assert again.source.left_out["reason"].tolist() == told["reason"].tolist()


def test_check_says_when_scans_of_one_person_fall_into_several_splits(tmp_path: Path) -> None:
    """A person that is learnt from and tested on is a problem, whatever blocks were asked for."""
    file = write_study(tmp_path, (0, 2, 3, 5, 7, 9), **{"source.blocks": "scan"})
    sheet = pd.read_csv(tmp_path / "scans.tsv", sep="\t").drop(columns=["block", "split"])
    said = {}
    for name, subjects in (("apart", sheet["scan"]), ("one", "somebody")):
        write_sheet(tmp_path, sheet.assign(subject=subjects))
        said[name] = [one.line for one in findings(config.load(file)) if one.level == "problem"]
    assert not any("several" in text for text in said["apart"])
    assert any("scans of one subject (such as somebody) fall into several" in text for text in said["one"])
