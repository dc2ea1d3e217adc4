"""The table of known models of scans: what a row says can be given to `Scans` and to `load_model`."""

from __future__ import annotations

import re

import pytest

from bioterp.adapters.volume import Scans
from bioterp.errors import InputError
from bioterp.imaging.frames import parse_orientation
from bioterp.imaging.intensity import normalise, parse_recipe
from bioterp.models import known_models, load_model

ROWS = [row for row in known_models().values() if row.modality == "volume"]
NAMED = {row.name: row for row in ROWS}


def test_every_family_asked_for_is_there():
    words = " ".join(f"{row.name} {row.title}" for row in ROWS)
    for family in ("CT-FM", "Merlin", "BrainIAC", "3DINO", "CT-CLIP", "MedGemma 1.5", "RAD-DINO", "DINOv2", "DINOv3"):
        assert family in words
    for family in ("Swin UNETR", "self-supervised", "BTCV", "bioterp/scan-small", "MeshNet"):
        assert family in words


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_is_whole(row):
    for told in (row.title, row.layer, row.source, row.licence, row.run_here, row.tokeniser, row.context):
        assert told.isprintable()
        assert told
    assert set(row.wants) <= {"orientation", "spacing", "intensity", "shape", "multiple"}
    parse_recipe(row.wants["intensity"])
    if "orientation" in row.wants:
        parse_orientation(row.wants["orientation"])
    else:
        assert re.search("orientation.*not verified", row.source)
    if "orientation" not in row.wants or "spacing" not in row.wants:
        assert re.search("not verified|resized|not trained on scans|not on slices", row.source)
    # What was not run is not said to have been.
    if row.weights == "hub" or row.loader == "factory":
        assert row.run_here.startswith(("not run here", "weights not run here", "run here on its own example"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_scans_take_what_a_row_wants(row, tmp_path):
    import nibabel as nib
    import numpy as np

    image = np.random.default_rng(0).normal(size=(9, 11, 10)).astype(np.float32) * 300
    nib.save(nib.Nifti1Image(image, np.diag([2.0, 1.5, 1.0, 1.0])), tmp_path / "a.nii.gz")
    (tmp_path / "s.tsv").write_text(f"scan\tpath\na\t{tmp_path / 'a.nii.gz'}\n")
    wants = {key: value for key, value in row.wants.items() if key != "shape"}  # 256³ voxels would take a while
    source = Scans(tmp_path / "s.tsv", **wants)
    array, _ = source.volume("a")
    assert array.ndim == 4
    assert source.channels == len(array)
    Scans(tmp_path / "s.tsv", **row.wants)


def test_windows_of_medgemma_are_its_notebooks():
    """Red wide, green soft tissue, blue brain; 0 at the lower end of each, 1 at the upper."""
    import numpy as np

    wants = NAMED["google/medgemma-1.5-4b-it"].wants
    shown = normalise(np.array([[[-2000.0, 0.0, 40.0, 80.0, 215.0, 1024.0]]]), wants["intensity"])[:, 0, 0]
    np.testing.assert_allclose(shown[0], [0, 0.5, 1064 / 2048, 1104 / 2048, 1239 / 2048, 1], atol=1e-6)
    np.testing.assert_allclose(shown[1], [0, 135 / 350, 0.5, 215 / 350, 1, 1], atol=1e-6)
    np.testing.assert_allclose(shown[2], [0, 0, 0.5, 1, 1, 1], atol=1e-6)


@pytest.mark.parametrize("name", ["meshnet/model5_gw_ae", "meshnet/model18cls"])
def test_a_meshnet_row_is_what_is_loaded(name):
    model, row = load_model(name, weights="random"), NAMED[name]
    assert (len(model.layers), model.width(-1), model.modality) == (row.layers, row.width, row.modality)
    assert {key: list(v) if isinstance(v, tuple) else v for key, v in model.wants.items()} == row.wants


def test_a_published_encoder_wants_what_its_row_says():
    name = "project-lighter/ct_fm_feature_extractor"
    model = load_model(name, weights="random", arguments={"init_filters": 8})
    assert model.wants == NAMED[name].wants
    assert len(model.layers) == NAMED[name].layers
    assert [model.stride(i)[0] for i in range(5)] == [1, 2, 4, 8, 16]


TINY = {
    "monai:SwinUNETR": {"feature_size": 12, "depths": [2, 2, 2, 2], "num_heads": [1, 1, 2, 2]},
    "monai:SwinTransformer": {"embed_dim": 12, "num_heads": [1, 1, 2, 2]},
    "monai:ViT": {"hidden_size": 24, "mlp_dim": 20, "num_heads": 2, "img_size": [32, 48, 16]},
}


@pytest.mark.parametrize("name", TINY)
def test_a_monai_row_builds_that_many_blocks(name):
    row = NAMED[name]
    model = load_model(name, weights="random", arguments={**row.arguments, **TINY[name]})
    assert len(model.layers) == row.layers
    if "multiple" in row.wants:
        assert set(model.multiple) == {row.wants["multiple"]}
    assert model.stride(row.layers // 3) != (0, 0, 0)


def test_the_list_tells_what_to_ask_scans_for():
    from bioterp.listing import text

    told = text("models")
    lines = told.split("\n")
    ct = lines.index(next(line for line in lines if line.startswith("project-lighter/ct_fm_feature_extractor")))
    assert re.search(r"SPL +3 × 1 × 1 +window -1024 to 2048 ", lines[ct])
    assert "CT-FM" in lines[ct + 1]
    assert "not run here" in lines[ct + 2]
    assert "spacing of pretraining not verified" in lines[ct + 3]
    assert "minmax" in told
    assert "window -1000 to 1000 → -1 to 1" in told
    assert all(len(line) < 330 for line in lines)


def test_a_name_almost_right_is_told():
    with pytest.raises(InputError, match="did you mean 'model5_gw_ae'"):
        load_model("meshnet/model5_gw", weights="random")
