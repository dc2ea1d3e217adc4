"""Whether the model is here, whose it is, whether it opens; and whether brought dictionaries fit its layers."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

from bioterp import models
from bioterp.brought import Brought
from bioterp.check.finding import OK, PROBLEM, WARNING, Finding, problem
from bioterp.errors import BioterpError
from bioterp.models.known import KNOWN
from bioterp.opening import open_model
from bioterp.records import Run

WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth")
_UNFREE = re.compile(r"\bNC\b|non-?commercial|research only", re.IGNORECASE)


def findings(run: Run) -> Generator[Finding, None, Any]:
    """The model, opened, or None. Nothing is fetched for it: one that is not on this machine stays closed."""
    name = run.model.name
    yield from _licence(name)
    try:
        loader, source = models.loader_of(name)
    except BioterpError as error:
        yield problem(error, "model")
        return None
    if loader in ("huggingface", "vision") and not Path(source).is_dir():
        folder = yield from _cached(run, source)
        if folder is None:
            return None
        run = dataclasses.replace(run, model=dataclasses.replace(run.model, name=str(folder), revision=None))
    if loader == "evo2":
        yield from _evo2(name)
        return None
    try:
        model = open_model(run)
    except BioterpError as error:
        yield problem(error, "model")
        return None
    names = []
    for layer in run.layers:
        try:
            names.append(model.resolve(layer))
        except BioterpError as error:
            yield problem(error, "model")
    if len(names) < len(run.layers):
        return None
    yield Finding(OK, "model", f"{name}, {len(names)} layers ({', '.join(names)})")
    return model


def layers(run: Run, model: Any) -> Generator[Finding, None, bool]:
    """Whether every layer has a lattice and a width: they are found on a few cells."""
    fine = True
    for layer in run.layers:
        try:
            model.width(layer)
            model.cell_shape(layer)
        except BioterpError as error:
            fine = False
            yield problem(error, "layers")
    return fine


def dictionaries(run: Run, model: Any) -> Generator[Finding, None, Run]:
    """The dictionaries a run brings along; returns the run with what their files say."""
    if run.dictionary.path is None:
        return run
    try:
        brought = Brought(run)
    except BioterpError as error:
        yield problem(error, "dictionary")
        return run
    fits = True
    for layer in run.layers:
        try:
            yield Finding(OK, "dictionary", f"layer {layer}: {brought.check(layer, model.width(layer))!r}")
        except BioterpError as error:
            fits = False
            yield problem(error, "dictionary")
    try:
        return brought.settled() if fits else run
    except BioterpError as error:
        yield problem(error, "dictionary")
    return run


def _licence(name: str) -> Generator[Finding, None, None]:
    known = KNOWN.get(name)
    if known is None:
        return
    if _UNFREE.search(known.licence.replace("_", "-")):
        yield Finding(
            WARNING,
            "model",
            f"{name} is under {known.licence}, which forbids commercial use",
            "see that your use is allowed before results are passed on",
        )
    elif known.licence not in ("", "?"):
        yield Finding(OK, "model", f"licence {known.licence}")


def _cached(run: Run, source: str) -> Generator[Finding, None, Path | None]:
    """The snapshot of a hub model on this machine, if it holds weights."""
    from huggingface_hub import try_to_load_from_cache

    name, known = run.model.name, KNOWN.get(run.model.name)
    if known is not None and known.code and not run.model.trust_remote_code:
        yield Finding(
            PROBLEM,
            "model",
            f"{name} brings its own code",
            "read it, then give trust_remote_code: true and the revision you have read",
        )
    found = try_to_load_from_cache(source, "config.json", revision=run.model.revision)
    folder = Path(found).parent if isinstance(found, str) else None
    if folder is not None and (any(any(folder.glob(end)) for end in WEIGHTS) or run.model.weights is not None):
        yield Finding(OK, "model", f"{name} is in the cache of the hub")
        return folder
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")
    meant = models.meant_by(name)
    gated = " (its terms must be accepted there first)" if known is not None and "gated" in known.licence else ""
    at = f" --revision {run.model.revision}" if run.model.revision else ""
    yield Finding(
        PROBLEM if offline or meant else WARNING,
        "model",
        f"{name} is not on this machine" + (", and HF_HUB_OFFLINE forbids to fetch it" if offline else ""),
        f"did you mean {meant!r}?"
        if meant
        else f"fetch it before the run, with `hf download {source}{at}`{gated}; its layers were not looked at",
    )
    return None


def _evo2(name: str) -> Generator[Finding, None, None]:
    """Evo 2 takes minutes to open: only what it needs is looked for."""
    import torch

    if importlib.util.find_spec("evo2") is None:
        yield Finding(PROBLEM, "model", f"{name} needs the package evo2", "pip install evo2")
    if not torch.cuda.is_available():
        yield Finding(PROBLEM, "model", f"{name} needs an NVIDIA GPU, and none is here", "run it where there is one")
    yield Finding(WARNING, "model", f"{name} was not opened", "its layers and their widths were not looked at")
