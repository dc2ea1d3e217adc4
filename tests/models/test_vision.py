"""Vision towers over slices: real architectures of transformers, tiny and random, saved to folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bioterp.errors import InputError
from bioterp.models import vision

LAYERS, WIDTH = 3, 24
VIT = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 2}
SIGLIP = {**VIT, "intermediate_size": 37, "image_size": 28, "patch_size": 7}


def dinov2() -> Any:
    from transformers import Dinov2Config, Dinov2Model

    return Dinov2Model(Dinov2Config(**VIT, mlp_ratio=2, image_size=30, patch_size=6))


def dinov2_with_registers() -> Any:
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    return Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**VIT, mlp_ratio=2, image_size=30, patch_size=5))


def dinov3() -> Any:
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    config = DINOv3ViTConfig(**VIT, intermediate_size=37, image_size=32, patch_size=4, num_register_tokens=3)
    return DINOv3ViTModel(config)


def siglip() -> Any:
    from transformers import SiglipConfig, SiglipModel

    text = {**VIT, "intermediate_size": 20, "vocab_size": 33, "max_position_embeddings": 9, "projection_size": WIDTH}
    return SiglipModel(SiglipConfig(vision_config=SIGLIP, text_config=text))


def siglip_vision() -> Any:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    return SiglipVisionModel(SiglipVisionConfig(**SIGLIP))


def gemma3() -> Any:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = {"hidden_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    text |= {"intermediate_size": 16, "vocab_size": 50, "head_dim": 10}
    tokens = {"mm_tokens_per_image": 4, "image_token_index": 49, "boi_token_index": 48, "eoi_token_index": 47}
    config = Gemma3Config(text_config=text, vision_config={**SIGLIP, "vision_use_head": False}, **tokens)
    return Gemma3ForConditionalGeneration(config)


def vit() -> Any:
    from transformers import ViTConfig, ViTModel

    return ViTModel(ViTConfig(**VIT, intermediate_size=37, image_size=24, patch_size=8))


# kind → (network, voxels of a patch, special tokens in front)
KINDS: dict[str, tuple[Callable[[], Any], int, int]] = {
    "dinov2": (dinov2, 6, 1),
    "dinov2-registers": (dinov2_with_registers, 5, 5),
    "dinov3": (dinov3, 4, 4),
    "siglip": (siglip, 7, 0),
    "siglip-vision": (siglip_vision, 7, 0),
    "gemma3": (gemma3, 7, 0),
    "vit": (vit, 8, 1),
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root, made = tmp_path_factory.mktemp("towers"), {}

    def folder(kind: str) -> Path:
        if kind not in made:
            with torch.random.fork_rng():
                torch.manual_seed(7)
                network = KINDS[kind][0]()
                for parameter in network.parameters():  # positions and weights of the size trained ones have
                    if parameter.dim() > 1:
                        torch.nn.init.normal_(parameter, std=0.2)
                network.save_pretrained(root / kind)
            made[kind] = root / kind
        return made[kind]

    return folder


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def tower_of(network: Any) -> Any:
    for path in ("vision_model", "model.vision_tower"):
        try:
            return network.get_submodule(path)
        except AttributeError:
            continue
    return network


def array(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def test_a_patch_is_the_cell_of_the_voxels_in_it(kind, folders):
    """All sides differ. The token that changes most is the one holding the voxel, and no other slice changes."""
    _, p, _ = KINDS[kind]
    model = vision.load(kind, folders(kind))
    shape = (3 * p, 5 * p, 4)
    assert len(model.layers) == LAYERS
    assert model.stride(0) == (p, p, 1)
    batch = model.prepare([array((1, *shape))])
    (grid,) = model.lattice(batch, 1)
    assert grid.shape == (3, 5, 4)
    plain = model.run(batch, [0])[0]
    assert plain.shape == (1, 60, WIDTH)
    for voxel in ((0, 0, 0), (p - 1, p, 2), (3 * p - 1, 2 * p + 1, 1), (p, 5 * p - 1, 3), (2 * p, 0, 0)):
        changed = array((1, *shape))
        changed[(0, *voxel)] = 1 - changed[(0, *voxel)].round()
        far = (model.run(model.prepare([changed]), [0])[0] - plain)[0].norm(dim=1).reshape(3, 5, 4)
        expected = (voxel[0] // p, voxel[1] // p, voxel[2])
        assert np.unravel_index(int(far.argmax()), (3, 5, 4)) == expected
        assert int(far.argmax()) == grid.locate(np.array(voxel, float) + 0.5)[0]
        others = [z for z in range(4) if z != voxel[2]]
        assert not far[:, :, others].any()


def test_values_are_those_transformers_gives_each_slice(kind, folders):
    """Slice by slice, by hand: rows along x, columns along y; patches in the order of rows; pixels normalised."""
    build, p, prefix = KINDS[kind]
    model = vision.load(kind, folders(kind))
    x = array((3, 4 * p, 3 * p, 2), 3)
    batch = model.prepare([x])
    found = model.run(batch, [1, "output"])
    network = type(build()).from_pretrained(folders(kind)).eval()
    tower = tower_of(network)
    mean, sd = (0.5, 0.5) if prefix == 0 or kind == "vit" else vision.IMAGENET
    mean, sd = np.broadcast_to(mean, 3).reshape(3, 1, 1), np.broadcast_to(sd, 3).reshape(3, 1, 1)
    ask = {"interpolate_pos_encoding": True} if prefix == 0 or kind == "vit" else {}
    for z in range(2):
        image = torch.from_numpy(((x[..., z] - mean) / sd).astype(np.float32))[None]
        with torch.no_grad():
            out = tower(pixel_values=image, output_hidden_states=True, **ask)
        for layer, truth in ((1, out.hidden_states[2]), ("output", out.last_hidden_state)):
            ours = found[layer][0].reshape(4, 3, 2, WIDTH)[:, :, z].reshape(12, WIDTH)
            torch.testing.assert_close(ours, truth[0, prefix:], atol=2e-5, rtol=1e-4)


def test_one_channel_is_shown_three_times(folders):
    model = vision.load("dinov2", folders("dinov2"))
    one = array((1, 12, 18, 2))
    both = [model.run(model.prepare([x]), [0])[0] for x in (one, np.repeat(one, 3, 0))]
    assert torch.equal(*both)
    with pytest.raises(InputError, match="takes 3 channels, and got an array of 2"):
        model.prepare([np.repeat(one, 2, 0)])


def test_an_edit_leaves_special_tokens_and_other_slices(folders):
    model = vision.load("dinov3", folders("dinov3"))
    batch = model.prepare([array((1, 8, 12, 3)), array((1, 8, 12, 3), 5)])
    plain = model.run(batch, [0, 2])
    assert torch.equal(model.run(batch, [2], edit={0: lambda values: values.clone()})[2], plain[2])

    def third_slice(values: torch.Tensor) -> torch.Tensor:
        cells = values.clone().reshape(2, 2, 3, 3, WIDTH)
        cells[0, :, :, 2] += 1
        return cells.reshape(values.shape)

    changed = (model.run(batch, [2], edit={0: third_slice})[2] != plain[2]).any(-1).reshape(2, 2, 3, 3)
    assert changed[0, :, :, 2].all()
    assert not changed[1].any()
    assert not changed[0, :, :, :2].any()


def test_the_orientation_lies_as_on_a_screen():
    """PLS by nibabel: a mark at the patient's right, front and top is in the first row and column, and last slice."""
    marked = np.zeros((5, 7, 4))
    marked[4, 6, 3] = 1  # right, anterior, superior in RAS
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(vision.ORIENTATION)
    )
    shown = nib.orientations.apply_orientation(marked, turn)
    assert shown.shape == (7, 5, 4)
    assert np.argwhere(shown).tolist() == [[0, 0, 3]]
    assert vision.SLICES == 2


def test_what_a_scan_must_be_is_told(folders):
    model = vision.load("dinov2", folders("dinov2"))
    assert model.wants == {"orientation": "PLS", "intensity": {"percentile": [0.5, 99.5]}, "multiple": [6, 6, 1]}
    with pytest.raises(InputError, match=r"multiples of \[6, 6, 1\] voxels, and got one of 12 × 17 × 2"):
        model.prepare([array((1, 12, 17, 2))])
    with pytest.raises(InputError, match=r"numbers from 0 to 1, and got .*; give Scans intensity="):
        model.prepare([array((1, 12, 18, 2)) * 1000 - 400])


def test_pixels_are_normalised_as_the_folder_says(folders, tmp_path):
    folder = shutil.copytree(folders("dinov2"), tmp_path / "rad")
    told = {"image_mean": [0.53, 0.54, 0.55], "image_std": [0.26, 0.27, 0.28]}
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    model, plain = vision.load("rad", folder), vision.load("rad", folders("dinov2"))
    assert (model.mean, model.sd) == ((0.53, 0.54, 0.55), (0.26, 0.27, 0.28))
    assert model.hash != plain.hash
    x = array((3, 6, 6, 1))
    rescaled = (x - np.reshape([0.53, 0.54, 0.55], (3, 1, 1, 1))) / np.reshape([0.26, 0.27, 0.28], (3, 1, 1, 1))
    mean, sd = (np.reshape(values, (3, 1, 1, 1)) for values in vision.IMAGENET)
    shown = (rescaled * sd + mean).astype(np.float32)
    inputs = plain._inputs(torch.from_numpy(shown)[None])
    with torch.no_grad():
        theirs = plain._call(inputs)()[0]
        ours = model._call(model._inputs(torch.from_numpy(x)[None]))()[0]
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def test_medgemma_is_told_its_windows(folders, tmp_path):
    folder = shutil.copytree(folders("gemma3"), tmp_path / "medgemma-1.5-4b-it")
    wants = vision.load(str(folder), folder).wants
    assert wants["intensity"] == {"windows": [[-1024, 1024], [-135, 215], [0, 80]]}
    assert wants["orientation"] == "PLS"
    assert vision.load("gemma", folders("gemma3")).wants["intensity"] == {"percentile": [0.5, 99.5]}


@pytest.mark.parametrize("start", ["vision_tower.vision_model.", "model.vision_tower.vision_model.", "vision_model."])
def test_a_tower_is_found_where_a_checkpoint_keeps_it(start, folders, tmp_path):
    """Older and newer files of Gemma 3 and SigLIP differ in what stands before the tower's names."""
    folder = shutil.copytree(folders("gemma3"), tmp_path / "gemma")
    held = load_file(folder / "model.safetensors")
    seen = {k.partition("vision_tower.")[2]: v for k, v in held.items() if "vision_tower." in k}
    save_file({start + key: value for key, value in seen.items()}, folder / "model.safetensors", {"format": "pt"})
    assert vision.load("g", folder).hash == vision.load("g", folders("gemma3")).hash


def test_shards_of_language_are_not_opened(folders, tmp_path):
    folder = shutil.copytree(folders("gemma3"), tmp_path / "gemma")
    held = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    place = {key: "a.safetensors" if "vision_tower" in key else "b.safetensors" for key in held}
    save_file({key: value for key, value in held.items() if place[key][0] == "a"}, folder / "a.safetensors")
    (folder / "b.safetensors").write_bytes(b"not one")
    place = {k: v for k, v in place.items() if v[0] == "a" or k.startswith("language_model.")}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": place}))
    assert vision.load("g", folder).hash == vision.load("g", folders("gemma3")).hash


def test_weights_that_do_not_fill_the_tower_are_refused(folders, tmp_path):
    folder = shutil.copytree(folders("dinov2"), tmp_path / "d")
    held = load_file(folder / "model.safetensors")
    name = next(key for key in held if "layer.1" in key)
    save_file({key: value for key, value in held.items() if key != name}, folder / "model.safetensors")
    with pytest.raises(InputError, match="lacks 1 tensors of the tower"):
        vision.load("d", folder)
    save_file({"a": torch.zeros(2)}, folder / "model.safetensors")
    with pytest.raises(InputError, match="holds 0 tensors that make patches"):
        vision.load("d", folder)
    with pytest.raises(InputError, match="there is no weights file at"):
        vision.load("d", folder, weights=tmp_path / "none.safetensors")
    (folder / "model.safetensors").write_bytes(b"no tensors at all")
    with pytest.raises(InputError, match="is damaged or no safetensors file"):
        vision.load("d", folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InputError, match="is a 'bert', and the vision towers"):
        vision.load("d", folder)


def test_random_weights_are_seeded(kind, folders):
    rng = torch.get_rng_state()
    one, again, other = (vision.load("t", folders(kind), weights="random", seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), rng)
    assert one.hash == again.hash != other.hash != vision.load("t", folders(kind)).hash
    assert vision.load("t", folders(kind), dtype=torch.bfloat16).dtype == "bfloat16"


def test_a_hub_id_is_fetched_file_by_file(folders, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError
    from transformers import AutoConfig

    asked = []

    def fetch(repository: str, file: str, revision: str | None = None) -> str:
        asked.append((repository, file, revision))
        if not (folders("gemma3") / file).is_file():
            raise EntryNotFoundError.__new__(EntryNotFoundError, file)  # its own constructor wants a web response
        return str(folders("gemma3") / file)

    config = AutoConfig.from_pretrained(folders("gemma3"))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    monkeypatch.setattr(AutoConfig, "from_pretrained", lambda source, **where: config)
    model = vision.load("google/medgemma-1.5-4b-it", "google/medgemma-1.5-4b-it", revision="abc")
    assert model.hash == vision.load("g", folders("gemma3")).hash
    assert ("google/medgemma-1.5-4b-it", "model.safetensors", "abc") in asked
    assert "windows" in model.wants["intensity"]


def test_a_spot_in_a_file_is_in_the_cell_at_its_millimetres(folders, tmp_path):
    """From a file in LAS through `Scans` and back: the token that changes holds the spot's place."""
    from bioterp.adapters.volume import Scans

    affine = np.array([[-2.0, 0, 0, 31], [0, 1.5, 0, -40], [0, 0, 3, 12], [0, 0, 0, 1]])
    plain = np.random.default_rng(2).uniform(0.2, 0.8, (25, 31, 5)).astype(np.float32)
    spot = (17, 8, 3)
    changed = plain.copy()
    changed[spot] = 0.0 if plain[spot] > 0.5 else 1.0
    lines = ["scan\tpath"]
    for name, voxels in (("plain", plain), ("changed", changed)):
        nib.save(nib.Nifti1Image(voxels, affine), tmp_path / f"{name}.nii.gz")
        lines.append(f"{name}\t{tmp_path / name}.nii.gz")
    (tmp_path / "scans.tsv").write_text("\n".join(lines) + "\n")
    model = vision.load("siglip", folders("siglip"))
    source = Scans(tmp_path / "scans.tsv", **{**model.wants, "intensity": {"window": [0, 1]}})
    read = {item.record["sample"]: (array, grid) for item, array, grid in source}
    assert next(iter(read.values()))[0].shape[0] == 1
    batch = model.prepare([read["plain"][0], read["changed"][0]])
    one, other = model.run(batch, [0])[0]
    cells = read["changed"][1].compose(model.lattice(batch, 0)[1])
    place = nib.affines.apply_affine(affine, spot)
    assert int((one - other).norm(dim=1).argmax()) == cells.locate(place)[0]
