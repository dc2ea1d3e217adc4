"""Tables of label values in the forms tools write them."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

from bioterp.annotations.label_tables import names_inside, read_names
from bioterp.errors import InputError

WANTED = {4: "Left-Lateral-Ventricle", 17: "Left-Hippocampus"}


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        (
            "FreeSurferColorLUT.txt",
            "#$Id: FreeSurferColorLUT.txt$\n\n#No. Label Name:   R   G   B   A\n\n0   Unknown   0   0   0   0\n"
            "4   Left-Lateral-Ventricle   120 18  134 0\n17  Left-Hippocampus  220 216 20  0\n",
            WANTED,
        ),
        (
            "snap.label",
            "################\n# ITK-SnAP Label Description File\n################\n"
            '    0     0    0    0        0  0  0    "Clear Label"\n'
            '    4   255    0    0        1  1  1    "front part"\n'
            '   12     0  255    0     0.50  1  0    "back (2)"\n',
            {4: "front part", 12: "back (2)"},
        ),
        ("slicer.ctbl", "# Color table file\n0 background 0 0 0 0\n4 left_lung 172 138 115 255\n", {4: "left_lung"}),
        ("plain.txt", "4 Left-Lateral-Ventricle\n17 Left-Hippocampus\n", WANTED),
        ("plain.lut", "1\tCA1 of 3\n2\tsubiculum\n", {1: "CA1 of 3", 2: "subiculum"}),
        (
            "dseg.tsv",
            "index\tname\tabbreviation\tcolor\n0\tbackground\tBG\t#000\n1\tGrey Matter\tGM\t#f53\n2\tWhite\tWM\t#2f8\n",
            {1: "Grey Matter", 2: "White"},
        ),
        (
            "muse.csv",
            'ROI_INDEX,ROI_NAME,SIDE\n4,"3rd Ventricle",B\n47,Right Hippocampus,R\n',
            {4: "3rd Ventricle", 47: "Right Hippocampus"},
        ),
        ("label.csv", "label,structure\n3,amygdala\n9.0,insula\n", {3: "amygdala", 9: "insula"}),
        ("bare.csv", "3,amygdala\n9,insula\n", {3: "amygdala", 9: "insula"}),
        ("odd.csv", "name;value\namygdala;3\ninsula;9\n", {3: "amygdala", 9: "insula"}),
        (
            "dataset.json",
            json.dumps({"name": "Task04", "labels": {"0": "background", "1": "Anterior", "2": "Posterior"}}),
            {1: "Anterior", 2: "Posterior"},
        ),
        (
            "nnunet.json",
            json.dumps({"labels": {"background": 0, "whole": [1, 2], "edema": 3}, "channel_names": {"0": "T1"}}),
            {1: "whole", 2: "whole", 3: "edema"},
        ),
        ("classes.json", json.dumps({"5": "liver"}), {5: "liver"}),
        ("one.json", json.dumps({"total": {"5": "liver", "1": "spleen"}}), {5: "liver", 1: "spleen"}),
        (
            "class_map.py.txt",
            "# a note\nclass_map = {\n    # old\n    'total': {1: 'spleen', 5: 'liver'},\n}\nother = 3\n",
            {1: "spleen", 5: "liver"},
        ),
    ],
)
def test_forms(write, name, text, wanted) -> None:
    assert read_names(write(name, text)) == wanted


def test_a_mapping_and_nothing() -> None:
    assert read_names(None) == {}
    assert read_names({1: "a", "2": "b", 0: "background"}) == {1: "a", 2: "b"}
    assert read_names({"a": 1, "b": np.int64(2).item()}) == {1: "a", 2: "b"}


def test_one_of_several_maps(write) -> None:
    path = write("maps.json", json.dumps({"total": {"1": "spleen"}, "body": {"1": "trunk"}}))
    assert read_names(f"{path}#body") == {1: "trunk"}
    with pytest.raises(InputError, match=r"holds 2 maps; pick one as maps.json#total"):
        read_names(path)
    with pytest.raises(InputError, match="no map 'bodi'; did you mean 'body'"):
        read_names(f"{path}#bodi")


def test_python_text_is_not_executed(write, tmp_path) -> None:
    gone = tmp_path / "touched"
    path = write("evil.py", f"class_map = {{1: __import__('pathlib').Path({str(gone)!r}).touch()}}\n")
    with pytest.raises(InputError, match="no mapping"):
        read_names(path)
    assert not gone.exists()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("volumes.csv", "MRID,702,701,600\nIXI012,1.5,2.5,3.5\n", "no label table: wanted a column of values"),
        ("twice.csv", "index,name\n3,a\n3,b\n", "value 3 has two names, 'a' and 'b'"),
        ("word.csv", "index,name\nthree,a\n", "line 2.*no whole number"),
        ("empty.csv", "", "is empty"),
        ("bad.json", "{", "is not JSON"),
        ("list.json", "[1, 2]", "no mapping"),
        ("both.json", '{"a": 1, "b": 1}', "two names"),
        ("deep.json", '{"1": 2.5}', "from a whole number to a name"),
        ("bad.py", "class_map = {", "not Python text"),
    ],
)
def test_what_is_refused(write, name, text, words) -> None:
    with pytest.raises(InputError, match=words):
        read_names(write(name, text))


def test_absent_and_binary_files_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="there is no label table"):
        read_names(tmp_path / "none.txt")
    (tmp_path / "a.txt").write_bytes(bytes(range(128, 256)))
    with pytest.raises(InputError, match="is not UTF-8 text"):
        read_names(tmp_path / "a.txt")


def test_the_table_inside_a_nifti(tmp_path) -> None:
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><CaretExtension><VolumeInformation Index="0"><LabelTable>\n'
        '<Label Key="0" Red="0"><![CDATA[???]]></Label><Label Key="3" Red="1.0"><![CDATA[heart &amp; co]]></Label>'
        '<Label Key="8" Red="1.0"><![CDATA[lung]]></Label></LabelTable></VolumeInformation></CaretExtension>\n  '
    )
    for code in (0, 30):
        image = nibabel.Nifti1Image(np.zeros((2, 3, 4), np.uint8), np.eye(4))
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(code, text.encode()))
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"nothing"))
        image.to_filename(tmp_path / "a.nii.gz")
        assert names_inside(tmp_path / "a.nii.gz") == {3: "heart &amp; co", 8: "lung"}
    assert read_names(tmp_path / "a.nii.gz") == {3: "heart &amp; co", 8: "lung"}
    nibabel.Nifti1Image(np.zeros((2, 3, 4), np.uint8), np.eye(4)).to_filename(tmp_path / "b.nii.gz")
    assert names_inside(tmp_path / "b.nii.gz") == {}
    with pytest.raises(InputError, match="no label table in its header"):
        read_names(tmp_path / "b.nii.gz")


@pytest.mark.needs_shared
def test_real_class_maps(genomics) -> None:
    path = genomics.parent / "imaging/totalseg/class_map.py.txt"
    total = read_names(f"{path}#total")
    assert len(total) == 117
    assert total[5] == "liver"
    inside = names_inside(path.parent / "example_seg.nii.gz")
    assert inside == total
    with pytest.raises(InputError, match="no label table"):
        read_names(genomics.parent / "imaging/ixi_t1_2mm/IXI_dlmuse.csv")
