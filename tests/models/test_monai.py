"""MONAI networks by name, from folders and from bundles; what is read, and what must not be run."""

from __future__ import annotations

import importlib
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from zoo_volumes import VOLUMES

from bioterp.errors import InputError
from bioterp.models import load_model
from bioterp.models.monai import build

ENCODER = {"in_channels": 1, "init_filters": 3, "blocks_down": [1, 2, 1]}
SEGRESNET = {"in_channels": 2, "out_channels": 3, "init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}


def network(kind: str = "SegResEncoder", **arguments: Any) -> torch.nn.Module:
    """Built by MONAI itself, with weights that are not those of its construction."""
    nets = importlib.import_module("monai.networks.nets")
    inner = {"SegResEncoder": "segresnet_ds", "SwinTransformer": "swin_unetr"}
    place = importlib.import_module(f"monai.networks.nets.{inner[kind]}") if kind in inner else nets
    made = getattr(place, kind)(**arguments)
    generator = torch.Generator().manual_seed(8)
    for parameter in made.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return made.eval()


def folder_of(path: Path, made: torch.nn.Module, **config: Any) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"monai": "SegResEncoder", "arguments": ENCODER, **config}))
    save_file(made.state_dict(), path / "model.safetensors")
    return path


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


# -- folders -----------------------------------------------------------------------------------------------------


def test_a_folder_of_ours(tmp_path):
    made = network(**ENCODER)
    wants = {"orientation": "RAS", "spacing": [1, 1, 1], "intensity": "zscore"}
    blocks = ["layers.1.blocks.1", "layers.2.blocks.0"]
    folder = folder_of(tmp_path / "scan", made, wants=wants, blocks=blocks)
    model = load_model(str(folder))
    assert model.layers == tuple(blocks)
    assert model.wants == {**wants, "multiple": 4}
    array = noise(1, 12, 8, 20)
    with torch.no_grad():
        levels = made(torch.from_numpy(array)[None])
    found = model.run(model.prepare([array]), [1, "layers.1.blocks"])
    torch.testing.assert_close(found["layers.1.blocks"][0].T.reshape(levels[1][0].shape), levels[1][0])
    torch.testing.assert_close(found[1][0].T.reshape(levels[2][0].shape), levels[2][0])
    assert load_model(str(folder)).hash == model.hash
    random = load_model(str(folder), weights="random", seed=3)
    assert random.hash != model.hash
    assert random.hash == load_model(str(folder), weights="random", seed=3).hash
    assert load_model(str(folder), dtype="bfloat16").run(model.prepare([array]), [0])[0].dtype == torch.bfloat16


def test_a_folder_that_is_wrong_is_told(tmp_path):
    folder = folder_of(tmp_path / "a", network(**ENCODER), want={})
    with pytest.raises(InputError, match=r"unknown key 'want'; did you mean 'wants'"):
        load_model(str(folder))
    folder = folder_of(tmp_path / "b", network(**ENCODER), blocks=["layers.7.blocks"])
    with pytest.raises(InputError, match=r"has no layer 'layers.7.blocks'"):
        load_model(str(folder))
    folder = folder_of(tmp_path / "c", network(**{**ENCODER, "init_filters": 4}))
    with pytest.raises(InputError, match="of another shape"):
        load_model(str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="needs weights="):
        load_model(str(folder))


# -- names and arguments -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("monai:SegResNot", {}, "did you mean 'SegResNet'"),
        ("monai:SegResNet", {"init_filter": 8}, "no argument 'init_filter'; did you mean 'init_filters'"),
        ("monai:SegResNet", {"init_filters": 7}, "could not be built"),
        ("monai:SegResNet", {"spatial_dims": 2}, "give slices=2 to run it slice by slice"),
        ("monai:SwinUNETR", {"in_channels": 1, "out_channels": 2, "feature_size": 13}, "divisible by 12"),
    ],
)
def test_what_monai_does_not_have_is_told(name, arguments, told):
    with pytest.raises(InputError, match=told):
        load_model(name, weights="random", arguments=arguments)


def test_weights_are_asked_for_and_options_checked():
    with pytest.raises(InputError, match="needs weights="):
        load_model("monai:SegResNet", arguments=SEGRESNET)
    with pytest.raises(InputError, match="no option 'stride'"):
        load_model("monai:SegResNet", weights="random", stride=2)
    with pytest.raises(InputError, match="cannot be loaded with modality='dna'"):
        load_model("monai:SegResNet", weights="random", modality="dna")
    with pytest.raises(InputError, match="multiple=0 is not a number of voxels"):
        load_model("monai:SegResNet", weights="random", multiple=0)


def test_arguments_of_older_versions_are_taken():
    swin = {**VOLUMES["SwinUNETR"].arguments, "img_size": 96}
    assert load_model("monai:SwinUNETR", weights="random", arguments=swin).multiple == (32, 32, 32)
    vit = {**VOLUMES["ViTAutoEnc"].arguments, "pos_embed": "conv"}
    assert load_model("monai:ViTAutoEnc", weights="random", arguments=vit).size == (24, 20, 28)


def test_a_two_dimensional_network_runs_slice_by_slice():
    flat = {**SEGRESNET, "spatial_dims": 2}
    model = load_model("monai:SegResNet", weights="random", arguments=flat, slices=1)
    assert model.multiple == (2, 1, 2)
    array = noise(2, 6, 5, 8)
    found = model.run(model.prepare([array]), [1, "output"])
    assert model.stride(1) == (2, 1, 2)
    with torch.no_grad():
        plane = model.module(torch.from_numpy(array[:, :, 3])[None])[0]
    torch.testing.assert_close(found["output"][0].reshape(6, 5, 8, 3)[:, 3].permute(2, 0, 1), plane)


def test_the_user_says_what_nobody_knows():
    arguments = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [3, 5, 7], "strides": [2, 2]}
    options = {"multiple": 4, "blocks": ["model.0", "model.1.submodule.0"], "wants": {"orientation": "LPS"}}
    model = load_model("monai:AttentionUnet", weights="random", arguments=arguments, **options)
    assert model.layers == ("model.0", "model.1.submodule.0")
    assert model.wants == {"orientation": "LPS", "multiple": 4}
    assert model.stride(1) == (2, 2, 2)
    assert model.run(model.prepare([noise(1, 8, 12, 4)]), [1])[1].shape == (1, 4 * 6 * 2, model.width(1))


# -- weights -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "net._orig_mod.", "model.network.module.", "encoder."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "network"])
def test_wrappers_and_prefixes_come_off(tmp_path, prefix, wrapper):
    made = network(**ENCODER)
    state: Any = {prefix + name: tensor for name, tensor in made.state_dict().items()}
    torch.save({wrapper: state, "epoch": 4} if wrapper else state, tmp_path / "a.pt")
    model = load_model("monai:SegResEncoder", weights=tmp_path / "a.pt", arguments=ENCODER)
    assert all(torch.equal(made.state_dict()[name], tensor) for name, tensor in model.module.state_dict().items())


def test_a_network_whose_own_names_begin_so_keeps_them(tmp_path):
    arguments = VOLUMES["UNet"].arguments  # its modules are all inside 'model.'
    made = network("UNet", **arguments)
    torch.save({f"module.{name}": tensor for name, tensor in made.state_dict().items()}, tmp_path / "a.pt")
    model = load_model("monai:UNet", weights=tmp_path / "a.pt", arguments=arguments)
    assert all(torch.equal(made.state_dict()[name], tensor) for name, tensor in model.module.state_dict().items())


def test_heads_of_training_are_left_out_when_named(tmp_path):
    state = {f"module.{name}": tensor for name, tensor in network(**ENCODER).state_dict().items()}
    state |= {"module.rotation_head.weight": torch.zeros(4, 2), "module.contrastive_head.weight": torch.zeros(5, 2)}
    torch.save(state, tmp_path / "a.pt")
    options: dict[str, Any] = {"weights": tmp_path / "a.pt", "arguments": ENCODER}
    with pytest.raises(InputError, match=r"2 left over \(such as 'rotation_head.weight'\).*in ignore=\["):
        load_model("monai:SegResEncoder", **options)
    with pytest.raises(InputError, match="1 left over"):
        load_model("monai:SegResEncoder", **options, ignore=["rotation_head"])
    load_model("monai:SegResEncoder", **options, ignore=["rotation_head", "contrastive_head"])


def test_names_of_older_versions(tmp_path):
    arguments = VOLUMES["ViT"].arguments
    made = network("ViT", **arguments)
    old = {name: tensor for name, tensor in made.state_dict().items() if "norm_cross_attn" not in name}
    old |= {f"blocks.{i}.cross_attn.to_q.weight": torch.zeros(24, 24) for i in range(2)}
    torch.save(old, tmp_path / "vit.pt")
    model = load_model("monai:ViT", weights=tmp_path / "vit.pt", arguments=arguments)
    array = noise(1, 16, 20, 42)
    with torch.no_grad():
        _, hidden = made(torch.from_numpy(array)[None])
    torch.testing.assert_close(model.run(model.prepare([array]), [1])[1][0], hidden[1][0, 1:])
    swin = {"in_chans": 1, "embed_dim": 12, "window_size": [2, 2, 2], "patch_size": [2, 2, 2]}
    swin |= {"depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2]}
    made = network("SwinTransformer", **swin)
    old = {f"module.{name.replace('linear', 'fc')}": tensor for name, tensor in made.state_dict().items()}
    assert any("fc1" in name for name in old)
    torch.save(old, tmp_path / "swin.pt")
    model = load_model("monai:SwinTransformer", weights=tmp_path / "swin.pt", arguments=swin)
    assert [model.stride(i)[0] for i in range(4)] == [2, 4, 8, 16]


class Payload:
    """Unpickling it writes a file."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_malicious_weights_are_refused_and_not_executed(tmp_path, form):
    ran, bad = tmp_path / "ran", tmp_path / "model.pt"
    if form == "pickle":
        bad.write_bytes(pickle.dumps({"a": Payload(ran)}))
    else:
        torch.save({"state_dict": {"a": Payload(ran)}}, bad, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(InputError, match="is not opened because unpickling it could run code"):
        load_model("monai:SegResNet", weights=bad, arguments=SEGRESNET)
    folder = bundle(tmp_path / "bundle", {"network_def": {"_target_": "SegResNet", **SEGRESNET}})
    bad.rename(folder / "models" / "model.pt")
    with pytest.raises(InputError, match="is not opened because unpickling it could run code"):
        load_model(str(folder))
    assert not ran.exists()


# -- bundles -----------------------------------------------------------------------------------------------------


def bundle(folder: Path, config: dict[str, Any], made: torch.nn.Module | None = None, form: str = "json") -> Path:
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    text = json.dumps(config) if form == "json" else importlib.import_module("yaml").safe_dump(config)
    (folder / "configs" / f"inference.{form}").write_text(text)
    if made is not None:
        torch.save({"model": made.state_dict()}, folder / "models" / "model.pt")
    return folder


@pytest.mark.parametrize("form", ["json", "yaml"])
@pytest.mark.parametrize(
    "target", ["SegResNet", "monai.networks.nets.SegResNet", "monai.networks.nets.segresnet.SegResNet"]
)
def test_a_bundle_is_read_and_nothing_of_it_is_run(tmp_path, form, target):
    ran = tmp_path / "ran"
    made = network("SegResNet", **SEGRESNET)
    config = {
        "imports": ["$import os"],
        "filters": {"down": [1, 1], "first": 8},
        "device": f"$open({str(ran)!r}, 'w')",  # code, but not in what describes the network
        "network_def": {"_target_": target, **SEGRESNET, "init_filters": "@filters#first", "_desc_": "a network"}
        | {"blocks_down": "@filters::down"},
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
                {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 2.0]},
                {"_target_": "ScaleIntensityRanged", "a_min": -175, "a_max": 250, "b_min": 0, "b_max": 1, "clip": True},
            ],
        },
    }
    model = load_model(str(bundle(tmp_path / "b", config, made, form)))
    assert not ran.exists()
    assert model.layers == ("down_layers.0", "down_layers.1", "up_layers.0")
    assert model.wants == {
        "orientation": "RAS",
        "spacing": [1.5, 1.5, 2.0],
        "intensity": {"window": [-175, 250], "to": [0, 1]},
        "multiple": 2,
    }
    array = noise(2, 6, 8, 10)
    with torch.no_grad():
        plain = made(torch.from_numpy(array)[None])[0]
    found = model.run(model.prepare([array]), ["output"])["output"]
    torch.testing.assert_close(found[0].T.reshape(plain.shape), plain)


@pytest.mark.parametrize(
    "definition",
    [
        {"_target_": "SegResNet", "in_channels": "$CODE"},
        {"_target_": "SegResNet", "in_channels": "@count"},
        {"_target_": "SegResNet", "blocks_down": [1, "$CODE"]},
        {"_target_": "SegResNet", "in_channels": "%other.json#n"},
        {"_target_": "SegResNet", "act": {"_target_": "os.system", "command": "true"}},
        {"_target_": "os.system", "command": "true"},
        {"_target_": "scripts.own.Network"},
        "$CODE",
    ],
)
def test_code_in_a_bundle_is_refused(tmp_path, definition):
    ran = tmp_path / "ran"
    code = f"open({str(ran)!r}, 'w') and 2"
    config = json.loads(
        json.dumps({"network_def": definition, "count": "$CODE"}).replace("CODE", code.replace('"', "'"))
    )
    folder = bundle(tmp_path / "b", config, network("SegResNet", **SEGRESNET))
    with pytest.raises(InputError, match="not run unless you trust it"):
        load_model(str(folder))
    assert not ran.exists()


def test_a_bundle_that_is_trusted_runs_its_code(tmp_path):
    definition = {"_target_": "SegResNet", **SEGRESNET, "in_channels": "$1 + 1"}
    made = network("SegResNet", **SEGRESNET)
    folder = bundle(tmp_path / "b", {"network_def": definition}, made)
    with pytest.raises(InputError, match=r"network_def#in_channels by code \('\$1 \+ 1'\)"):
        load_model(str(folder))
    model = load_model(str(folder), trust_remote_code=True)
    assert model.in_channels == 2
    assert model.multiple == (2, 2, 2)
    assert all(torch.equal(made.state_dict()[name], tensor) for name, tensor in model.module.state_dict().items())


def test_bundles_that_are_wrong_are_told(tmp_path):
    with pytest.raises(InputError, match="refers to @nowhere, which is not there"):
        load_model(str(bundle(tmp_path / "a", {"network_def": {"_target_": "SegResNet", "act": "@nowhere"}})))
    with pytest.raises(InputError, match="go round in a circle"):
        load_model(str(bundle(tmp_path / "b", {"network_def": {"_target_": "SegResNet", "act": "@x"}, "x": "@x"})))
    with pytest.raises(InputError, match="has no network_def"):
        load_model(str(bundle(tmp_path / "c", {"device": "cpu"})))
    (tmp_path / "c" / "configs" / "inference.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        load_model(str(tmp_path / "c"))
    whole = bundle(tmp_path / "d", {"network_def": {"_target_": "SegResNet", **SEGRESNET}})
    with pytest.raises(InputError, match="needs weights="):
        load_model(str(whole))
    assert load_model(str(whole), weights="random").in_channels == 2


# -- factories ---------------------------------------------------------------------------------------------------

OWN = """
import torch
from torch import nn


class Steps(nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.stem = nn.Conv3d(3, width, 2, stride=2)
        self.levels = nn.ModuleList([nn.Conv3d(width, width, 1), nn.Conv3d(width, 5, (1, 3, 1), stride=(1, 3, 1))])

    def forward(self, x):
        x = self.stem(x)
        for level in self.levels:
            x = torch.relu(level(x))
        return x
"""


def test_a_factory_of_volumes(tmp_path, monkeypatch):
    (tmp_path / "bioterp_tiny_volumes.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    options: dict[str, Any] = {"modality": "volume", "in_channels": 3, "multiple": (2, 6, 2), "weights": "random"}
    name = "bioterp_tiny_volumes:Steps"
    model = load_model(name, **options, arguments={"width": 7}, outputs=["a", "b", "c", "d", "e"])
    assert model.modality == "volume"
    assert model.layers == ("levels.0", "levels.1")
    assert [model.stride(layer) for layer in (0, 1, "output")] == [(2, 2, 2), (2, 6, 2), (2, 6, 2)]
    assert model.width("stem") == 7
    batch = model.prepare([noise(3, 4, 12, 10), noise(3, 6, 12, 2)])
    found = model.run(batch, [1])[1]
    assert [grid.shape for grid in model.lattice(batch, 1)] == [(2, 2, 5), (3, 2, 1)]
    assert found.shape == (2, 20, 5)
    torch.save(model.module.state_dict(), tmp_path / "w.pt")
    again = load_model(name, **{**options, "weights": tmp_path / "w.pt"}, arguments={"width": 7}, blocks=["stem"])
    assert again.layers == ("stem",)
    assert torch.equal(again.run(batch, ["levels.1"])["levels.1"], found)
    with pytest.raises(InputError, match="no option 'input'"):
        load_model(name, **options, input="codes")
    with pytest.raises(InputError, match="no option 'multiple'"):
        load_model(name, weights="random", multiple=2)
    with pytest.raises(InputError, match="cannot be loaded with modality='sound'"):
        load_model(name, weights="random", modality="sound")
    wrong = load_model(name, **{**options, "in_channels": 2})
    with pytest.raises(InputError, match=r"failed on an array of 2 × .* give load_model in_channels="):
        wrong.stride(0)


def test_listing_models_loads_neither_torch_nor_monai():
    code = (
        "import sys, bioterp.models as m; m.known_models();"
        "sys.exit(any(x in sys.modules for x in ('torch', 'monai', 'transformers', 'yaml')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_published_network_of_a_name_is_its_known_row(monkeypatch):
    from bioterp.models import known_models, monai

    built: list[Any] = []

    def build(kind: str, arguments: Any) -> torch.nn.Module:
        built.append((kind, arguments))
        return network("ViT", **VOLUMES["ViT"].arguments)

    monkeypatch.setattr(monai, "build", build)
    row = known_models()["monai:ViT"]
    model = load_model("monai:ViT", weights="random")
    assert built == [("ViT", row.arguments)]
    assert row.wants.items() <= model.wants.items()
    own = load_model("monai:ViT", weights="random", arguments=VOLUMES["ViT"].arguments)
    assert built[1:] == [("ViT", VOLUMES["ViT"].arguments)]
    assert own.wants == {"multiple": [8, 4, 6]}


def test_a_network_fetches_no_weights_of_its_own() -> None:
    with pytest.raises(InputError, match=r"would fetch weights \(pretrained=True\)"):
        build("DenseNet121", {"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "pretrained": True})
