"""Real networks of scans, from the shared data folder: what they are known to do, by nibabel and scipy alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage

from bioterp.errors import InputError
from bioterp.models import containers, hippodeep, load_model, meshnet, tfjs
from bioterp.models.weights import read_weights

ROOT = Path(__file__).resolve().parents[2]
IMAGING = Path(os.environ.get("BIOTERP_SHARED", ROOT.parent / "shared")) / "data" / "imaging"
MNI = "mni152/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
pytestmark = [
    pytest.mark.needs_shared,
    pytest.mark.skipif(not IMAGING.is_dir(), reason="real imaging data are not here (set BIOTERP_SHARED)"),
]


def turned(image: Any, letters: str) -> np.ndarray:
    """An image's voxels in another orientation, by nibabel."""
    wanted = nib.orientations.axcodes2ornt(letters)
    own = nib.orientations.io_orientation(image.affine)
    change = nib.orientations.ornt_transform(own, wanted)
    return nib.orientations.apply_orientation(np.asarray(image.dataobj, np.float32), change)


def mni(kind: str, letters: str = "LIA") -> np.ndarray:
    return turned(nib.load(IMAGING / MNI.format(kind)), letters)


def as_brainchop(name: str) -> Path:
    return IMAGING / "models" / "brainchop_tfjs" / name


@pytest.fixture(scope="module")
def crop() -> np.ndarray:
    """(1, 44, 48, 46) of the MNI152 T1 around the left lateral ventricle, LIA, 0–1."""
    image = mni("t1")
    image = (image - image.min()) / (image.max() - image.min())
    return np.ascontiguousarray(image[None, 60:104, 70:118, 80:126])


@pytest.mark.parametrize("name", ["model5_gw_ae", "model18cls"])
def test_both_published_forms_are_one_network(name, crop):
    torch_form = IMAGING / "models" / "brainchop_pth" / name
    one, other = load_model(str(torch_form)), load_model(str(as_brainchop(name)))
    for (key, a), (_, b) in zip(
        sorted(one.module.state_dict().items()), sorted(other.module.state_dict().items()), strict=True
    ):
        assert torch.equal(a, b), key
    batch = one.prepare([crop])
    assert torch.equal(one.run(batch, [4])[4], other.run(batch, [4])[4])


@pytest.mark.parametrize(
    ("name", "width", "outputs", "intensity"),
    [
        ("model5_gw_ae", 5, ("background", "White Matter", "Grey Matter"), "minmax"),
        ("model20chan3cls", 20, ("background", "White Matter", "Grey Matter"), {"percentile": [5.0, 95.0]}),
        ("model18cls", 21, 18, "minmax"),
        ("model30chan18cls", 30, 18, "minmax"),
    ],
)
def test_published_meshnets_are_read_from_their_scripts(name, width, outputs, intensity, crop):
    model = load_model(str(as_brainchop(name)))
    assert len(model.layers) == 9
    assert model.wants["orientation"] == "LIA"
    assert model.wants["intensity"] == intensity
    assert model.outputs == outputs or len(model.outputs) == outputs
    manifest = json.loads((as_brainchop(name) / "model.json").read_text())["weightsManifest"]
    assert sum(p.numel() for p in model.module.parameters()) == sum(
        int(np.prod(w["shape"])) for group in manifest for w in group["weights"]
    )
    found = model.run(model.prepare([crop]), [0, "output"])
    assert found[0].shape == (1, 44 * 48 * 46, width)
    classes = found["output"].argmax(-1)
    assert len(classes.unique()) > 2  # it sees tissues apart


def test_a_first_layer_is_what_scipy_makes_of_it(crop):
    folder = as_brainchop("model5_gw_ae")
    kept = tfjs.tensors(json.loads((folder / "model.json").read_text()), folder)
    kernel, bias = kept["21/kernel"].numpy().astype(np.float64), kept["21/bias"].numpy()
    model = load_model(str(folder))
    found = model.run(model.prepare([crop]), [0])[0][0].reshape(44, 48, 46, 5).numpy()
    for channel in range(5):
        truth = ndimage.correlate(crop[0].astype(np.float64), kernel[..., 0, channel], mode="constant") + bias[channel]
        np.testing.assert_allclose(found[..., channel], np.maximum(truth, 0), atol=1e-5)


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def segmented(letters: str, name: str, scaled: np.ndarray) -> dict[str, float]:
    """Dice of white and grey matter on the whole MNI152, in 256³ as brainchop conforms it."""
    model = load_model(str(as_brainchop(name)))
    sides = [(256 - n) // 2 for n in scaled.shape]
    around = [(a, 256 - n - a) for a, n in zip(sides, scaled.shape, strict=True)]
    whole = np.pad(scaled, around)[None].astype(np.float32)
    with torch.no_grad():
        scores = model.module(torch.from_numpy(whole)[None])[0]
    inner = tuple(slice(a, a + n) for a, n in zip(sides, scaled.shape, strict=True))
    classes = scores.argmax(0).numpy()[inner]
    maps = {kind: mni(kind, letters) for kind in ("wm", "gm")}
    return {kind: dice(classes == i, maps[kind] > 0.5 * maps[kind].max()) for i, kind in ((1, "wm"), (2, "gm"))}


@pytest.mark.slow
@pytest.mark.parametrize(("letters", "white", "grey"), [("LIA", 0.870, 0.823), ("RAS", 0.863, 0.797)])
def test_tissues_of_the_mni152_and_that_orientation_matters(letters, white, grey):
    image = mni("t1", letters)
    found = segmented(letters, "model5_gw_ae", (image - image.min()) / (image.max() - image.min()))
    assert found["wm"] == pytest.approx(white, abs=0.004)
    assert found["gm"] == pytest.approx(grey, abs=0.004)


@pytest.mark.slow
def test_tissues_through_scans_are_those_by_hand(tmp_path):
    """The same Dice when `Scans` brings the file to what the model wants."""
    from bioterp.adapters.volume import Scans

    model = load_model(str(IMAGING / "models" / "brainchop_pth" / "model5_gw_ae"))
    sheet = tmp_path / "scans.tsv"
    sheet.write_text(f"scan\tpath\nmni\t{IMAGING / MNI.format('t1')}\n")
    image, grid = Scans(sheet, **model.wants).volume("mni")
    assert image.shape == (1, 256, 256, 256)
    with torch.no_grad():
        classes = model.module(torch.from_numpy(image)[None])[0].argmax(0).numpy()
    for i, kind, expected in ((1, "wm", 0.870), (2, "gm", 0.823)):
        truth = nib.load(IMAGING / MNI.format(kind))
        # Where each voxel of the truth's own array lies among the model's cells, through millimetres.
        inside = np.asarray(truth.dataobj, np.float32)
        index = np.argwhere(np.ones(inside.shape, bool))
        cells = grid.locate(nib.affines.apply_affine(truth.affine, index))
        found = np.where(cells >= 0, classes.reshape(-1)[np.maximum(cells, 0)], 0).reshape(inside.shape)
        assert dice(found == i, inside > 0.5 * inside.max()) == pytest.approx(expected, abs=0.006)


def test_hippodeep_finds_the_brain_of_its_example():
    """1.44 L within the skull of its own example scan (measured with its own program)."""
    image = nib.load(IMAGING / "models" / "hippodeep" / "example_brain_t1.nii.gz")
    voxels = turned(image, "LAS")
    voxels = (voxels - voxels.mean()) / voxels.std()
    # The first and last voxels of 64 lie on the first and last of the scan.
    at = np.meshgrid(*[np.arange(64) * (n - 1) / 63 for n in voxels.shape], indexing="ij")
    small = ndimage.map_coordinates(voxels, at, order=1).astype(np.float32)[None]
    model = load_model(
        "bioterp.models.hippodeep:head",
        modality="volume",
        weights=str(IMAGING / "models" / "hippodeep" / "params_head_00075_00000.pt"),
        multiple=8,
        blocks=hippodeep.BLOCKS,
        outputs=hippodeep.OUTPUTS,
        wants=hippodeep.WANTS,
        channels="first",
    )
    assert [model.stride(i)[0] for i in range(7)] == [1, 2, 4, 8, 4, 2, 1]
    brain = model.run(model.prepare([small]), ["output"])["output"][0, :, 0].numpy()
    back = np.meshgrid(*[np.arange(n) * 63 / (n - 1) for n in voxels.shape], indexing="ij")
    whole = ndimage.map_coordinates(brain.reshape(64, 64, 64), back, order=1)
    litres = (whole > 0.5).sum() * abs(np.linalg.det(image.affine)) / 1e6
    assert litres == pytest.approx(1.440, rel=0.01)


def test_hippodeep_state_dicts_are_read():
    for name, tensors in (("params_head_00075_00000", 65), ("paramsaffineta_00079_00000", 18), ("hippodeep", 42)):
        assert len(read_weights(IMAGING / "models" / "hippodeep" / f"{name}.pt")) == tensors


@pytest.mark.parametrize("name", ["patches_epoch_5", "whole_images_epoch_5"])
def test_a_checkpoint_with_more_than_tensors_is_refused(name):
    path = IMAGING / "models" / "torchio_unet" / f"{name}.pth"
    with pytest.raises(InputError, match="unpickling it could run code") as told:
        read_weights(path)
    sentence = str(told.value)
    assert "'numpy.core.multiarray._reconstruct'" in sentence
    assert "save_file" in sentence
    assert sentence.isprintable()  # one line, and none of the colours torch puts into its own


def test_safetensors_are_told_by_their_content():
    assert containers.is_safetensors(IMAGING / "models" / "brainchop_pth" / "model18cls" / "model.pth")
    for path in ("hippodeep/hippodeep.pt", "torchio_unet/patches_epoch_5.pth", "brainchop_tfjs/model18cls/model.json"):
        assert not containers.is_safetensors(IMAGING / "models" / path)


def test_by_name_with_a_folder_of_weights():
    model = load_model("meshnet/model5_gw_ae", weights=str(IMAGING / "models" / "brainchop_pth" / "model5_gw_ae"))
    assert model.hash == load_model(str(as_brainchop("model5_gw_ae"))).hash
    assert model.outputs == meshnet.TISSUE
