"""Names → loaded models. Importing this loads neither torch nor transformers.

    model = load_model("bioterp/dna-small")                              shipped
    model = load_model("InstaDeepAI/nucleotide-transformer-v2-50m-multi-species")   hub id, fetched by transformers
    model = load_model("path/to/folder")                                 transformers folder
    model = load_model("openspliceai-400nt", weights="model_400nt.pt")   SpliceAI family
    model = load_model("package.module:factory", weights="net.safetensors", stride=1)
    model = load_model("evo2_7b")                                        through the evo2 package

What a model answers to is in `base.Model`; the known names are data in `known.py`.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bioterp.errors import InputError, nearest
from bioterp.models.known import KNOWN, Known

if TYPE_CHECKING:
    from bioterp.models.base import Model

__all__ = ["Known", "known_models", "load_model"]

REFERENCE = Path(__file__).parent / "reference"
SHIPPED = {"bioterp/dna-small": "dna_small"}
CLOSE = 0.9  # difflib's ratio from which an unknown hub id is taken for a misspelt known name
DTYPES = ("float32", "float16", "bfloat16")


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

    name: a known name, a hub id, a transformers folder, `openspliceai[-400nt]`, `pangolin`, `evo2_…`, or
        `package.module:factory`.
    weights: None for the model's own, the path of a state dict (.safetensors, or .pt/.pth without code), or
        'random': the same architecture drawn from `seed`.
    dtype: 'float32', 'float16', 'bfloat16' or a torch dtype; None keeps the checkpoint's.
    trust_remote_code: run the code a repository brings; a hub id then needs `revision`.
    options: of the loader: `alphabet`, `context` (transformers), `flank` (splice), `input`, `stride`, `channels`,
        `outputs`, `context`, `arguments` (factory).

    Raises InputError for a name, weights, or an option that cannot be used. torch's random state is kept.
    """
    loader, source = _loader(name)
    if dtype is not None:
        options["dtype"] = _dtype(dtype)
    if loader == "evo2":
        from bioterp.models import evo2

        _only(options, ("context",), name)
        return evo2.load(name, source, weights=weights, **options)
    if loader == "splice":
        from bioterp.models import splice

        _only(options, ("dtype", "flank"), name)
        return splice.load(name, weights, seed=seed, device=device, **options)
    if loader == "factory":
        from bioterp.models import factory

        allowed = ("dtype", "input", "stride", "channels", "outputs", "context", "arguments")
        _only(options, allowed, name)
        return factory.load(name, weights, seed=seed, device=device, **options)
    from bioterp.models import huggingface

    _only(options, ("dtype", "alphabet", "context"), name)
    try:
        return huggingface.load(
            name,
            source,
            weights=weights,
            seed=seed,
            device=device,
            trust_remote_code=trust_remote_code,
            revision=revision,
            **options,
        )
    except InputError as error:
        meant = _meant(name)
        if meant is None or Path(name).is_dir():
            raise
        raise InputError(f"{error}; did you mean {meant!r}?") from error


def _meant(name: str) -> str | None:
    """The known model whose name is all but this one; None for a known name and for one like none."""
    if name in KNOWN or name in SHIPPED:
        return None
    close = difflib.get_close_matches(name, [*KNOWN, *SHIPPED], n=1, cutoff=CLOSE)
    return close[0] if close else None


def _loader(name: str) -> tuple[str, str]:
    """(loader, what it loads) of a name; InputError with the names like it when there is none."""
    if name in SHIPPED:
        folder = REFERENCE / SHIPPED[name]
        if not (folder / "model.safetensors").is_file():
            raise InputError(f"{name} is not part of this installation; reinstall bioterp from its wheel")
        return "huggingface", str(folder)
    if Path(name).is_dir():
        if not (Path(name) / "config.json").is_file():
            raise InputError(f"the folder {name} has no config.json; wanted a transformers folder")
        return "huggingface", name
    if name in KNOWN:
        return KNOWN[name].loader, name.rpartition("/")[2] if KNOWN[name].loader == "evo2" else name
    if re.fullmatch(r"(openspliceai(-(80|400|2000|10000)nt)?|pangolin)", name):
        return "splice", name
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        return "factory", name
    if name.startswith("bioterp/"):  # shipped with the package: the hub has none of them
        raise InputError(f"there is no model {name!r} in this installation; {nearest(name, SHIPPED)}")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).parent.is_dir():
        return "huggingface", name
    raise InputError(
        f"{name!r} is not a known model, a transformers folder, a hub id (owner/name) or a package.module:factory; "
        f"{nearest(name, KNOWN)}"
    )


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
