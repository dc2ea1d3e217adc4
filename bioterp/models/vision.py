"""Two-dimensional vision transformers run slice by slice on a scan: DINOv2, DINOv3, SigLIP, ViT, Gemma 3's tower.

An array (channels, x, y, z) is a stack of images along z: rows run along x, columns along y. In the orientation asked
for, PLS, rows go from front to back and columns from the patient's right to left, which is how an axial slice lies on
a radiologist's screen. Cells are patches of one slice: p × p × 1 voxels. Class and register tokens have no cell.

Nothing is resized inside the model, so that coordinates stay true: `Scans` resamples (spacing) and crops (shape) to
whole patches. Towers were trained at one image size (896 for Gemma 3, 518 for RAD-DINO); at others their learned
positions are interpolated, as transformers does. All slices of an array go through the network together: give `Scans` a
window of few slices (and no halo along z, across which nothing is seen) where memory is short.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from bioterp.arrays import Array
from bioterp.doors import json_of
from bioterp.errors import InputError, missing_package
from bioterp.models.blocks import find_blocks
from bioterp.models.huggingface import _from, _quiet
from bioterp.models.known import KNOWN
from bioterp.models.volumes import VolumeModel
from bioterp.models.weights import read_weights, seeded

ORIENTATION = "PLS"
SLICES = 2  # the axis of an array along which slices are stacked
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# Parts of a tower that take no part in the hidden states of patches; a checkpoint may lack them.
UNUSED = ("mask_token", "head.", "pooler.")
PATCHES = re.compile(r"(|.*\.)embeddings\.patch_embed\w*(?:\.projection)?\.weight")
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class Tower:
    """A transformers class: its name, special tokens besides registers, mean and sd of pixels, and whether it
    interpolates positions only when asked."""

    network: str
    special: int
    pixels: tuple[tuple[float, ...], tuple[float, ...]]
    ask: bool = False


TOWERS = {
    "dinov2": Tower("Dinov2Model", 1, IMAGENET),
    "dinov2_with_registers": Tower("Dinov2WithRegistersModel", 1, IMAGENET),
    "dinov3_vit": Tower("DINOv3ViTModel", 1, IMAGENET),
    "siglip_vision_model": Tower("SiglipVisionModel", 0, HALF, ask=True),
    "vit": Tower("ViTModel", 1, HALF, ask=True),
}
# Two- or more-part models and the part that sees.
WHOLES = ("siglip", "gemma3")


class SliceModel(VolumeModel):
    """A tower over the slices of a volume. Arrays hold numbers from 0 to 1; one channel is shown three times.

    mean, sd: by which pixels are normalised before the first layer.
    """

    mean: tuple[float, ...]
    sd: tuple[float, ...]
    extra: dict[str, Any]

    def _check(self, array: Array) -> Array:
        array = np.asarray(array)
        if array.ndim == 4 and array.shape[0] == 1 and self.in_channels > 1:
            array = np.repeat(array, self.in_channels, 0)
        array = super()._check(array)
        if array.min() < -0.01 or array.max() > 1.01:
            raise InputError(
                f"{self.name} is shown images of numbers from 0 to 1, and got {array.min():g} to {array.max():g}; give "
                f"Scans intensity={self.wants['intensity']!r}"
            )
        return array

    def _call(self, inputs: dict[str, Tensor]) -> Callable[[], Any]:
        x = inputs["x"]
        mean, sd = (x.new_tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.sd))
        pixels = ((x - mean) / sd).to(next(self.module.parameters()).dtype)
        return lambda: self.module(pixel_values=pixels, **self.extra)


def load(
    name: str,
    source: str | Path,
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    revision: str | None = None,
) -> SliceModel:
    """The vision tower of a transformers folder or hub id; of Gemma 3 and SigLIP only the tower is read.

    weights: None for those of the folder, 'random' for the same architecture from `seed`, or a state dict file.

    Raises InputError for an architecture that is no vision tower, and for weights that do not fill it.
    """
    try:
        import transformers
    except ImportError as error:
        raise missing_package("transformers", "dna", f"the model {name}") from error
    where = {} if revision is None else {"revision": revision}
    with _quiet(transformers):
        config = _from(transformers.AutoConfig, name, source, **where)
    kind, vision = seen(config, name)
    tower = TOWERS[kind]
    own, random = _own(name, source, revision), weights is not None and str(weights) == "random"
    if random:
        network: nn.Module = seeded(seed, lambda: getattr(transformers, tower.network)(vision))
    else:
        found = own(INDEX, SINGLE, "pytorch_model.bin") if weights is None else [Path(weights)]
        files = [path for path in found if path.suffix != ".json"]
        with _quiet(transformers):
            what = str(source if weights is None else weights)
            network = _filled(getattr(transformers, tower.network), vision, files, what, seed)
    network.to(device=device, dtype=dtype)
    patch = vision.patch_size if isinstance(vision.patch_size, int) else tuple(vision.patch_size)
    sides = (patch, patch, 1) if isinstance(patch, int) else (*patch, 1)
    registers = int(getattr(vision, "num_register_tokens", 0) or 0)
    about = {"architecture": tower.network, "config": json.loads(vision.to_json_string())}
    for key in ("_name_or_path", "transformers_version", "dtype", "torch_dtype"):
        about["config"].pop(key, None)
    about["mean"], about["sd"] = pixels(own, tower)
    model = SliceModel(
        name,
        network,
        find_blocks(network),
        about=about,
        in_channels=int(vision.num_channels),
        wants=wants(name),
        tokens=sides,
        prefix=tower.special + registers,
        slices=SLICES,
    )
    model.mean, model.sd = about["mean"], about["sd"]
    model.extra = {"interpolate_pos_encoding": True} if tower.ask else {}
    return model


def seen(config: Any, name: str) -> tuple[str, Any]:
    """(architecture, configuration) of what sees in a model. InputError where nothing known does."""
    kind = str(getattr(config, "model_type", ""))
    vision = config.vision_config if kind in WHOLES else config
    kind = str(vision.model_type) if kind in WHOLES else kind
    if kind not in TOWERS:
        raise InputError(
            f"{name} is a '{kind}', and the vision towers that run slice by slice are {', '.join([*TOWERS, *WHOLES])}; "
            "load another network with package.module:factory, slices=2 and tokens=(p, p, 1)"
        )
    return kind, vision


def wants(name: str) -> dict[str, Any]:
    """What to give `Scans`: the known row's, found by the end of the name; else PLS and percentiles."""
    last = Path(name).name.lower()
    row = next((row for key, row in KNOWN.items() if row.loader == "vision" and key.lower().endswith(last)), None)
    if row is not None and row.wants:
        return dict(row.wants)
    return {"orientation": ORIENTATION, "intensity": {"percentile": [0.5, 99.5]}}


def pixels(own: Callable[..., list[Path]], tower: Tower) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of pixels: of the folder's processor, or those of the architecture."""
    for path in own("preprocessor_config.json"):
        told = json_of(path)
        if not isinstance(told, dict):
            raise InputError(f"{path} holds a {type(told).__name__}; wanted an object")
        if isinstance(told.get("image_mean"), list) and isinstance(told.get("image_std"), list):
            return tuple(map(float, told["image_mean"])), tuple(map(float, told["image_std"]))
    return tower.pixels


def _own(name: str, source: str | Path, revision: str | None) -> Callable[..., list[Path]]:
    """A function that finds the first of some files of a folder or a hub repository, and the shards an index names."""

    def local(file: str) -> Path | None:
        return Path(source) / file if (Path(source) / file).is_file() else None

    def fetched(file: str) -> Path | None:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            return Path(hf_hub_download(str(source), file, revision=revision))
        except EntryNotFoundError:
            return None
        except Exception as error:  # no network, no such repository, not allowed: told, and the cause kept
            raise InputError(f"{file} of {name} could not be fetched ({type(error).__name__}: {error})") from error

    get = local if Path(source).is_dir() else fetched

    def find(*files: str) -> list[Path]:
        path = next((path for path in map(get, files) if path is not None), None)
        if path is None or path.name != INDEX:
            return [] if path is None else [path]
        told = json_of(path)
        listed = told.get("weight_map") if isinstance(told, dict) else None
        if not isinstance(listed, dict) or not all(isinstance(s, str) and Path(s).name == s for s in listed.values()):
            raise InputError(f"{path} lists no shards beside it; fetch it again")
        shards = sorted({shard for key, shard in listed.items() if _visual(key)})
        return [path, *(shard for shard in map(get, shards) if shard is not None)]

    return find


def _visual(key: str) -> bool:
    """Whether a tensor may belong to a tower: the shards that hold language only are not fetched."""
    return not key.startswith(("language_model.", "model.language_model.", "text_model.", "lm_head"))


def _filled(kind: Any, vision: Any, files: Iterable[Path], what: str, seed: int) -> nn.Module:
    """A tower with its tensors, wherever in a checkpoint they lie; older names for them are transformers' to turn."""
    held: dict[str, Tensor] = {}
    for path in files:
        held |= _tensors(path)
    starts = [found[1] for found in map(PATCHES.fullmatch, held) if found]
    if len(starts) != 1:
        raise InputError(
            f"{what} holds {len(starts)} tensors that make patches, by which a tower is told; give a folder of the "
            "architecture its config.json names, with safetensors"
        )
    state = {key.removeprefix(starts[0]): tensor for key, tensor in held.items() if key.startswith(starts[0])}
    kept = next(tensor for key, tensor in held.items() if PATCHES.fullmatch(key)).dtype
    given: dict[str, Any] = {"config": vision, "state_dict": state, "output_loading_info": True, "dtype": kept}
    # Seeded: a part that checkpoints may lack (a pooler) must not make two loads differ.
    network, told = seeded(seed, lambda: _from(kind, what, None, **given))
    missing = sorted(key for key in told["missing_keys"] if not any(part in key for part in UNUSED))
    if missing:
        raise InputError(
            f"{what} lacks {len(missing)} tensors of the tower (such as '{missing[0]}'); give weights of this "
            "architecture"
        )
    tower: nn.Module = network
    return tower


def _tensors(path: Path) -> Mapping[str, Tensor]:
    """Tensors that may belong to a tower; of safetensors only these are read."""
    if path.suffix != ".safetensors" or not path.is_file():
        return {key: value for key, value in read_weights(path).items() if _visual(key)}
    try:
        with safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys() if _visual(key)}  # noqa: SIM118
    except Exception as error:  # what safetensors raises is not documented; the cause is kept
        raise InputError(f"{path} is damaged or no safetensors file ({error}); fetch it again") from error
