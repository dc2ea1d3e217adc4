"""MeshNets: read from the two forms brainchop publishes, with the arithmetic checked by an independent one."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy import ndimage

from bioterp.errors import InputError
from bioterp.models import meshnet, tfjs

DILATIONS = (1, 3, 2)
CHANNELS = (1, 4, 3, 2)


def random_state(seed: int = 5) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for i in range(3):
        kernel = 3 if i < 2 else 1
        shape = (CHANNELS[i + 1], CHANNELS[i], kernel, kernel, kernel)
        state[f"model.{2 * i}.weight"] = torch.randn(shape, generator=generator) / 3
        state[f"model.{2 * i}.bias"] = torch.randn(CHANNELS[i + 1], generator=generator) / 5
    return state


def layer(i: int, **changes: object) -> dict[str, object]:
    kernel = 3 if i < 2 else 1
    told = {"in_channels": CHANNELS[i], "out_channels": CHANNELS[i + 1], "kernel_size": kernel, "stride": 1}
    dilation = DILATIONS[i] if i < 2 else 1
    return {**told, "padding": dilation * (kernel - 1) // 2, "dilation": dilation, **changes}


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    about = {"header": "tiny", "bnorm": False, "elu": True, "layers": [layer(i) for i in range(3)]}
    (tmp_path / "net" / "model.json").write_text(json.dumps(about))
    save_file(random_state(), tmp_path / "net" / "model.safetensors")
    return tmp_path / "net"


@pytest.fixture()
def script(tmp_path: Path) -> Path:
    """The same network as TensorFlow.js keeps it: kernels (x, y, z, in, out), two shards."""
    place = tmp_path / "script"
    place.mkdir()
    layers = [{"class_name": "InputLayer", "config": {"name": "in", "batch_input_shape": [None, 9, 9, 9, 1]}}]
    weights, data, before = [], b"", "in"
    for i in range(3):
        kernel, dilation = (3, DILATIONS[i]) if i < 2 else (1, 1)
        config = {"name": f"c{i}", "filters": CHANNELS[i + 1], "kernel_size": [kernel] * 3, "strides": [1, 1, 1]}
        config |= {"dilation_rate": [dilation] * 3, "padding": "same", "data_format": "channels_last"}
        config |= {"activation": "linear", "use_bias": True}
        layers.append({"class_name": "Conv3D", "config": config, "inbound_nodes": [[[before, 0, 0, {}]]]})
        before = f"c{i}"
        if i < 2:
            config = {"name": f"a{i}", "activation": "elu"}
            layers.append({"class_name": "Activation", "config": config, "inbound_nodes": [[[before, 0, 0, {}]]]})
            before = f"a{i}"
        for ending, own in (("kernel", "weight"), ("bias", "bias")):
            tensor = random_state()[f"model.{2 * i}.{own}"].numpy()
            tensor = np.moveaxis(tensor, (0, 1), (4, 3)) if own == "weight" else tensor
            weights.append({"name": f"c{i}/{ending}", "shape": list(tensor.shape), "dtype": "float32"})
            data += np.ascontiguousarray(tensor, "<f4").tobytes()
    (place / "one.bin").write_bytes(data[:1001])
    (place / "two.bin").write_bytes(data[1001:])
    about = {
        "format": "layers-model",
        "modelTopology": {"model_config": {"config": {"layers": layers}}},
        "weightsManifest": [{"paths": ["one.bin", "two.bin"], "weights": weights}],
    }
    (place / "model.json").write_text(json.dumps(about))
    (place / "colormap.json").write_text(json.dumps({"labels": ["a", "b", "c"]}))
    (place / "colormap2.json").write_text(json.dumps({"labels": ["nothing", "organ"]}))
    return place


def by_scipy(x: np.ndarray, state: dict[str, torch.Tensor], depth: int) -> np.ndarray:
    """The first `depth` convolutions with their activations, summed kernel by kernel; no torch in it."""
    found = x[0]
    values = found[None]
    for i in range(depth):
        kernel, bias = (state[f"model.{2 * i}.{key}"].numpy().astype(np.float64) for key in ("weight", "bias"))
        step = DILATIONS[i] if i < 2 else 1
        out = np.zeros((len(bias), *found.shape))
        for o in range(len(bias)):
            for c in range(len(values)):
                wide = np.zeros([step * (n - 1) + 1 for n in kernel[o, c].shape])
                wide[::step, ::step, ::step] = kernel[o, c]
                out[o] += ndimage.correlate(values[c], wide, mode="constant")
            out[o] += bias[o]
        values = np.where(out > 0, out, np.expm1(np.minimum(out, 0))) if i < 2 else out
    return values


@pytest.mark.parametrize("form", ["folder", "script"])
def test_values_are_those_of_the_definition(form, folder, script):
    model = meshnet.load("net", folder if form == "folder" else script)
    x = np.random.default_rng(1).random((1, 7, 9, 8)).astype(np.float32)
    found = model.run(model.prepare([x]), [0, 1, "output"])
    for key, depth in ((0, 1), (1, 2), ("output", 3)):
        truth = by_scipy(x, random_state(), depth)
        np.testing.assert_allclose(found[key][0].numpy(), truth.reshape(len(truth), -1).T, atol=2e-5)
    assert [model.width(i) for i in (0, 1, "output")] == [4, 3, 2]
    assert model.stride(1) == (1, 1, 1)
    assert model.modality == "volume"


def test_both_forms_are_one_network(folder, script):
    one, other = meshnet.load("net", folder), meshnet.load("net", script)
    assert one.hash == other.hash
    assert (one.outputs, other.outputs) == ((), ("nothing", "organ"))  # the colour map of three names has one too many
    frame = {"orientation": "LIA", "spacing": (1.0, 1.0, 1.0), "shape": (256, 256, 256)}
    assert one.wants == {**frame, "intensity": "minmax"}


def test_a_file_tells_its_quantiles(script):
    about = json.loads((script / "model.json").read_text())
    about["_comment"] = "Normalize the data for this model with min = 5% quantile, max = 95% quantile"
    (script / "model.json").write_text(json.dumps(about))
    assert meshnet.load("net", script).wants["intensity"] == {"percentile": [5.0, 95.0]}


def test_by_name_with_the_weights_beside_their_description(folder):
    named = meshnet.load("meshnet", weights=folder / "model.safetensors")
    assert named.hash == meshnet.load("net", folder).hash == meshnet.load("meshnet", weights=folder).hash
    drawn = meshnet.load("meshnet", weights="random", seed=3)
    assert len(drawn.layers) == 9
    assert drawn.outputs == ("background", "white matter", "grey matter")
    assert drawn.hash == meshnet.load("meshnet/model5_gw_ae", weights="random", seed=3).hash
    assert drawn.hash != meshnet.load("meshnet", weights="random", seed=4).hash
    assert meshnet.load("meshnet/model18cls", weights="random").width("output") == 18


def test_reach_is_that_of_the_dilations(folder):
    """A voxel reaches as far as the kernels' dilations add up to, along every axis, and no further."""
    model = meshnet.load("net", folder)
    x = np.zeros((1, 13, 15, 14), np.float32)
    y = x.copy()
    y[0, 6, 7, 5] = 1
    first, second = (model.run(model.prepare([a]), [1])[1][0].reshape(13, 15, 14, 3) for a in (x, y))
    changed = np.argwhere((first != second).any(-1).numpy())
    assert changed.min(0).tolist() == [2, 3, 1]
    assert changed.max(0).tolist() == [10, 11, 9]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bnorm": True}, "batch normalisation"),
        ({"layers": [layer(0), layer(1, stride=2)]}, "does not keep every voxel"),
        ({"layers": [layer(0), layer(1, padding=1)]}, "does not keep every voxel"),
        ({"layers": [layer(0), layer(2)]}, "make no chain"),
        ({"layers": [{"in_channels": 1}]}, "does not tell 'out_channels'"),
        ({"layers": []}, "tells 0 layers"),
        ({"layers": [layer(0, out_channels=6), layer(1, in_channels=6), layer(2)]}, "does not fit the network"),
        ({"elu": False}, None),
    ],
)
def test_another_architecture_is_told(folder, change, told):
    about = json.loads((folder / "model.json").read_text()) | change
    (folder / "model.json").write_text(json.dumps(about))
    if told is None:
        assert meshnet.load("net", folder).hash  # another activation is another model, and runs
        return
    with pytest.raises(InputError, match=told):
        meshnet.load("net", folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda about: about["weightsManifest"][0]["paths"].__setitem__(0, "../one.bin"), "wanted a file beside it"),
        (lambda about: about["weightsManifest"][0]["paths"].__setitem__(0, "three.bin"), "is not there"),
        (lambda about: about["weightsManifest"][0]["paths"].pop(), "the shards hold 1001 bytes"),
        (lambda about: about["weightsManifest"][0]["weights"][0].update(dtype="uint8"), "wanted float32"),
        (lambda about: about["weightsManifest"][0]["weights"].pop(), "the shards hold"),
        (lambda about: _layers(about)[1]["config"].update(padding="valid"), "'same' padding"),
        (lambda about: _layers(about)[2].update(class_name="BatchNormalization"), "is a BatchNormalization"),
        (lambda about: _layers(about)[2]["config"].update(activation="tanh"), "activations"),
        (lambda about: _layers(about)[3].update(inbound_nodes=[[["in", 0, 0, {}]]]), "wanted a chain"),
        (lambda about: about.update(modelTopology={}), "not a TensorFlow.js layers model"),
    ],
)
def test_another_script_is_told(script, change, told):
    about = json.loads((script / "model.json").read_text())
    change(about)
    (script / "model.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=told):
        meshnet.load("net", script)


def _layers(about):
    return about["modelTopology"]["model_config"]["config"]["layers"]


def test_what_is_missing_is_told(tmp_path, folder):
    with pytest.raises(InputError, match="has no weights in bioterp; give weights="):
        meshnet.load("meshnet")
    with pytest.raises(InputError, match="did you mean 'model18cls'"):
        meshnet.load("meshnet/model18clss", weights="random")
    with pytest.raises(InputError, match=r"has no model\.json"):
        meshnet.load("net", tmp_path)
    with pytest.raises(InputError, match="there is no weights file or folder"):
        meshnet.load("meshnet", weights=tmp_path / "none.pth")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="has no weights; wanted one of"):
        meshnet.load("net", folder)


def test_a_kernel_is_turned(script):
    about = json.loads((script / "model.json").read_text())
    kernel = tfjs.tensors(about, script)["c1/kernel"]
    assert tfjs.torch_kernel(kernel)[2, 3, 0, 1, 2] == kernel[0, 1, 2, 3, 2]


def test_a_spot_in_a_file_is_the_cell_at_its_millimetres(folder, tmp_path):
    """A file in RAS, shown in LIA: the voxel that changes most is where the spot is in space."""
    from bioterp.adapters.volume import Scans

    affine = np.array([[1.0, 0, 0, -9], [0, 1.0, 0, 4], [0, 0, 1.0, 20], [0, 0, 0, 1]])
    plain = np.random.default_rng(2).uniform(0.3, 0.6, (11, 9, 13)).astype(np.float32)
    plain[0, 0, :2] = 0, 1  # the least and the largest, so that both files are scaled alike
    spot = (3, 7, 10)
    changed = plain.copy()
    changed[spot] = 0.95
    lines = ["scan\tpath"]
    for name, voxels in (("plain", plain), ("changed", changed)):
        nib.save(nib.Nifti1Image(voxels, affine), tmp_path / f"{name}.nii.gz")
        lines.append(f"{name}\t{tmp_path / name}.nii.gz")
    (tmp_path / "scans.tsv").write_text("\n".join(lines) + "\n")
    model = meshnet.load("net", folder)
    state = {key: torch.zeros_like(value) for key, value in model.module.state_dict().items()}
    state["model.0.weight"][:, 0, 1, 1, 1] = 1  # the first layer is its own voxel, so that the place is exact
    model.module.load_state_dict(state)
    small = {**model.wants, "shape": (12, 16, 10)}  # what is wanted but for the 256³
    read = {item.record["sample"]: (array, grid) for item, array, grid in Scans(tmp_path / "scans.tsv", **small)}
    batch = model.prepare([read["plain"][0], read["changed"][0]])
    assert batch.cells[0].shape == (12, 16, 10)
    one, other = model.run(batch, [0])[0]
    cells = read["changed"][1].compose(model.lattice(batch, 0)[1])
    changed_cells = (one - other).abs().sum(1).nonzero()[:, 0].tolist()
    assert changed_cells == cells.locate(nib.affines.apply_affine(affine, spot)).tolist()
