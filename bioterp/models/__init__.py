"""Names → loaded models. Importing this loads neither torch nor transformers.

    model = load_model("bioterp/dna-small")                              shipped
    model = load_model("InstaDeepAI/nucleotide-transformer-v2-50m-multi-species")   hub id, fetched by transformers
    model = load_model("path/to/folder")                                 transformers folder
    model = load_model("openspliceai-400nt", weights="model_400nt.pt")   SpliceAI family
    model = load_model("package.module:factory", weights="net.safetensors", stride=1)
    model = load_model("evo2_7b")                                        through the evo2 package
    model = load_model("monai:SegResNet", weights="model.pt", arguments={"in_channels": 1})    also folders and bundles
    model = load_model("meshnet/model5_gw_ae", weights="path/to/folder")
    model = load_model("microsoft/rad-dino")                             a 2-D vision tower, slice by slice

What a model answers to is in `base.Model`; the known names are data in `known.py`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bioterp.doors import json_of
from bioterp.errors import InputError, nearest, shown
from bioterp.models.known import KNOWN, Known
from bioterp.processor import slow_in_bfloat16
from bioterp.progress import say

if TYPE_CHECKING:
    from bioterp.models.base import Model

__all__ = ["Known", "known_models", "load_model"]

REFERENCE = Path(__file__).parent / "reference"
SHIPPED = {"bioterp/dna-small": "dna_small", "bioterp/scan-small": "scan_small"}
CLOSE = 0.9  # difflib's ratio from which an unknown hub id is taken for a misspelt known name
DTYPES = ("float32", "float16", "bfloat16")
# model_type of transformers folders that are vision towers, or hold one (`vision.TOWERS`, readable without torch).
VISION = ("dinov2", "dinov2_with_registers", "dinov3_vit", "siglip_vision_model", "vit", "siglip", "gemma3")
VOLUMES = ("in_channels", "multiple", "size", "tokens", "prefix", "slices", "channels", "wants", "anchor")
FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
OPTIONS = {
    "evo2": ("context",),
    "splice": ("dtype", "flank"),
    "factory": ("dtype", "input", "stride", "channels", "outputs", "context", "arguments"),
    "volume factory": ("dtype", "blocks", "outputs", "arguments", *VOLUMES),
    "huggingface": ("dtype", "alphabet", "context"),
    "monai": ("dtype", "arguments", "blocks", "outputs", "ignore", *VOLUMES),
    "vision": ("dtype",),
    "meshnet": ("dtype",),
}
# What options are that have one kind whatever the loader.
KINDS: dict[str, tuple[str, type | tuple[type, ...]]] = {
    **dict.fromkeys(("context", "flank", "stride", "in_channels"), ("a whole number", int)),
    **dict.fromkeys(("alphabet", "input"), ("text", str)),
    **dict.fromkeys(("arguments", "wants"), ("a mapping", Mapping)),
    **dict.fromkeys(("outputs", "blocks", "ignore"), ("a list", (list, tuple))),
}


def known_models() -> dict[str, Known]:
    """Name → what is known of the model: modality, loader, layers, width, context, licence, what was run here."""
    return dict(KNOWN)


def load_model(
    name: str,
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    device: str = "cpu",
    dtype: Any = None,
    trust_remote_code: bool = False,
    revision: str | None = None,
    **options: Any,
) -> Model:
    """A model by name.

    name: a known name, a hub id, a folder (transformers, `config.json` with "monai", MONAI bundle, MeshNet),
        `openspliceai[-400nt]`, `pangolin`, `evo2_…`, `monai:Network`, `meshnet[/…]`, or `package.module:factory`.
    weights: None for the model's own, the path of a state dict (.safetensors, or .pt/.pth without code), or
        'random': the same architecture drawn from `seed`.
    dtype: 'float32', 'float16', 'bfloat16' or a torch dtype; None keeps the checkpoint's.
    trust_remote_code: run the code a repository or bundle brings; a hub id then needs `revision`.
    options: of the loader: `alphabet`, `context` (transformers), `flank` (splice), `input`, `stride`, `channels`,
        `outputs`, `context`, `arguments` (factory); `modality='volume'` makes a factory or a hub id a model of scans,
        which takes `in_channels`, `multiple`, `size`, `tokens`, `prefix`, `slices`, `channels`, `wants`, `anchor`
        (`volumes.VolumeModel`) and `blocks`, as `monai:` does, with `arguments` and `ignore` besides.

    Raises InputError for a name, weights, or an option that cannot be used. torch's random state is kept.
    """
    loader, source = loader_of(name)
    modality = options.pop("modality", None)
    if loader == "factory" and name in KNOWN:
        modality = modality or KNOWN[name].modality
        options = {"arguments": dict(KNOWN[name].arguments), "wants": dict(KNOWN[name].wants), **options}
    if modality is not None:
        loader = _of_modality(loader, modality, name)
    if dtype is not None:
        options["dtype"] = _dtype(dtype)
        if str(options["dtype"]) == "torch.bfloat16" and device == "cpu" and slow_in_bfloat16():
            say(f"this processor is slower in bfloat16 than in float32: {name} takes less time with dtype: float32")
    _only(options, OPTIONS[loader], name)
    common: dict[str, Any] = {"weights": weights, "seed": seed, "device": device}
    if loader == "evo2":
        from bioterp.models import evo2

        return evo2.load(name, source, weights=weights, **options)
    if loader == "splice":
        from bioterp.models import splice

        return splice.load(name, **common, **options)
    if loader in ("factory", "volume factory"):
        from bioterp.models import factory

        load = factory.load if loader == "factory" else factory.load_volume
        return load(name, **common, **options)
    if loader == "monai":
        from bioterp.models import monai

        return monai.load(name, source, revision=revision, trust_remote_code=trust_remote_code, **common, **options)
    if loader == "meshnet":
        from bioterp.models import meshnet

        return meshnet.load(name, source, **common, **options)
    if loader == "vision":
        from bioterp.models import vision

        return vision.load(name, source, revision=revision, **common, **options)
    from bioterp.models import huggingface

    trust: dict[str, Any] = {"trust_remote_code": trust_remote_code, "revision": revision}
    try:
        return huggingface.load(name, source, **trust, **common, **options)
    except InputError as error:
        meant = meant_by(name)
        if meant is None or Path(name).is_dir():
            raise
        raise InputError(f"{error}; did you mean {meant!r}?") from error


def runs_code(name: str) -> bool:
    """Whether a name is a factory of one's own, package.module:factory: importing and calling it runs its code."""
    return (
        name not in KNOWN
        and not Path(name).is_dir()
        and not name.startswith("monai:")
        and bool(FACTORY.fullmatch(name))
    )


def meant_by(name: str) -> str | None:
    """The known model whose name is all but this one; None for a known name and for one like none."""
    if name in KNOWN or name in SHIPPED:
        return None
    close = difflib.get_close_matches(name, [*KNOWN, *SHIPPED], n=1, cutoff=CLOSE)
    return close[0] if close else None


def loader_of(name: str) -> tuple[str, str]:
    """(loader, what it loads) of a name; InputError with the names like it when there is none."""
    if name in SHIPPED:
        folder = REFERENCE / SHIPPED[name]
        if not (folder / "model.safetensors").is_file():
            raise InputError(f"{name} is not part of this installation; reinstall bioterp from its wheel")
        return _of_folder(folder), str(folder)
    if Path(name).is_dir():
        return _of_folder(Path(name)), name
    if name in KNOWN:
        return KNOWN[name].loader, name.rpartition("/")[2] if KNOWN[name].loader == "evo2" else name
    if re.fullmatch(r"(openspliceai(-(80|400|2000|10000)nt)?|pangolin)", name):
        return "splice", name
    if re.fullmatch(r"monai:\w+", name):
        return "monai", name
    if re.fullmatch(r"meshnet(/\w+)?", name):
        return "meshnet", name
    if FACTORY.fullmatch(name):
        return "factory", name
    if name.startswith("bioterp/"):  # shipped with the package: the hub has none of them
        raise InputError(f"there is no model {name!r} in this installation; {nearest(name, SHIPPED)}")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).parent.is_dir():
        return "huggingface", name
    raise InputError(
        f"{name!r} is not a known model, a transformers folder, a hub id (owner/name) or a package.module:factory; "
        f"{nearest(name, KNOWN)}"
    )


def _of_folder(folder: Path) -> str:
    """The loader of a folder, by the files in it."""
    if (folder / "configs").is_dir():
        return "monai"
    if not (folder / "config.json").is_file():
        if (folder / "model.json").is_file():
            return "meshnet"
        raise InputError(
            f"the folder {folder} has no config.json; wanted a transformers folder, one with a MONAI network (config."
            "json, or a bundle's configs/), or a MeshNet (model.json)"
        )
    config = json_of(folder / "config.json")
    if not isinstance(config, dict):
        raise InputError(f"{folder / 'config.json'} holds a {type(config).__name__}; wanted an object")
    if "monai" in config:
        return "monai"
    if config.get("model_type") in VISION:
        return "vision"
    return "huggingface"


def _of_modality(loader: str, modality: str, name: str) -> str:
    """The loader for a modality the user asks for, where the name alone does not tell."""
    both = {"factory": "volume factory", "huggingface": "vision"}
    if modality == "volume" and loader in both:
        return both[loader]
    if modality != ("volume" if loader in ("monai", "vision", "meshnet") else "dna"):
        raise InputError(f"{name} cannot be loaded with modality={modality!r}; wanted 'dna' or 'volume', as it reads")
    return loader


def _dtype(dtype: Any) -> Any:
    """A torch dtype from its name; torch is imported here and not at the top."""
    import torch

    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in DTYPES:
        raise InputError(f"dtype={dtype!r} is not known; wanted {', '.join(DTYPES)}")
    return getattr(torch, dtype)


def _only(options: dict[str, Any], allowed: tuple[str, ...], name: str) -> None:
    for option in options:
        if option not in allowed:
            raise InputError(f"{name} takes no option {option!r}; {nearest(option, allowed)}")
        what, kind = KINDS.get(option, ("", object))
        if options[option] is not None and not (isinstance(options[option], kind) and options[option] is not True):
            raise InputError(f"{name}: the option {option} is {what}; got {shown(options[option])}")
