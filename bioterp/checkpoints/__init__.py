"""Dictionaries of other tools: read into a `Dictionary`, and written for them where they have the form.

    sae   = bt.load_dictionary("sae-layer26-mixed-expansion_8-k_64.pt", model="evo2_7b_262k", layer="blocks.26")
    sae   = bt.calibrate(sae, acts.split("train"))         # only where the file holds no threshold
    print(bt.inspect(sae, acts.split("valid")).T)          # is it a dictionary of *these* activations?

One module per format: `matches` tells whether a file is of it, by what is in it; `read`; where there is one, `write`.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from bioterp import store
from bioterp.checkpoints import (
    bionemo,
    dictionary_learning,
    evo2,
    interplm,
    interprot,
    openai,
    saelens,
    sparsify,
)
from bioterp.checkpoints.building import Asked
from bioterp.checkpoints.calibrating import calibrate
from bioterp.checkpoints.inspecting import inspect
from bioterp.checkpoints.reading import Opened, open_checkpoint
from bioterp.dictionary import Dictionary
from bioterp.errors import BioterpError, InputError, nearest, one_line
from bioterp.models.containers import BROKEN

__all__ = ["FORMATS", "calibrate", "inspect", "load_dictionary", "save"]

FORMATS: dict[str, ModuleType] = {
    module.NAME: module
    for module in (saelens, dictionary_learning, interplm, sparsify, evo2, interprot, bionemo, openai)
}
WRITTEN = {"saelens": saelens.write, "dictionary_learning": dictionary_learning.write, "sparsify": sparsify.write}
OWN = "bioterp"


def load_dictionary(
    path: str | Path,
    *,
    format: str | None = None,
    model: str | None = None,
    layer: str | int | None = None,
    k: int | None = None,
    kind: str | None = None,
    threshold: float | None = None,
    input_scale: float | None = None,
    rescaled: bool = False,
) -> Dictionary:
    """A dictionary from a file or folder of bioterp or of another tool.

    Parameters
    ----------
    path: a weights file, or the folder it lies in with its settings.
    format: one of `FORMATS` or 'bioterp'; None = told by what is in the file.
    model, layer: what its activations come from, where the file does not say; else they replace the file's word.
    k: features a row keeps, where the file does not say.
    kind: 'topk' or 'batchtopk', where a file may be either.
    threshold: of a batch top-k that holds none, in its own units; or find one with `calibrate`.
    input_scale: what inputs are multiplied by, where the file says that there is such a number (SAELens).
    rescaled: divide each feature by its largest activation, where the file holds those (InterPLM).

    Raises
    ------
    InputError: no such file; not a dictionary; of several formats; cut off, of another shape than it says, or holding
        more than tensors and plain values (nothing in it is ever run); or without model, layer or k.
    """
    given = Path(path)
    asked = Asked(model, layer, k, kind, threshold, input_scale, rescaled)
    if format == OWN or (format is None and (given / "meta.json").is_file()):
        if asked != Asked():
            raise InputError(f"{given} is of bioterp and says all of itself; leave the other options out")
        return Dictionary.load(given)
    if format is not None and format not in FORMATS:
        raise InputError(f"there is no format {format!r}; {nearest(format, [*FORMATS, OWN])}")
    opened = open_checkpoint(given)
    name = recognised(opened) if format is None else format
    if rescaled and name != interplm.NAME:
        raise InputError(f"{opened.path} is of {name}, which holds no factors to rescale by; leave rescaled=True out")
    try:
        dictionary: Dictionary = FORMATS[name].read(opened, asked)
    except BioterpError:
        raise
    except BROKEN as error:
        raise InputError(f"{opened.path} is not a whole {name} checkpoint: {one_line(error)}") from error
    return dictionary


def recognised(opened: Opened) -> str:
    """The one format whose names the file has."""
    found = [name for name, module in FORMATS.items() if module.matches(opened)]
    if not found:
        held = sorted(opened.keys)
        raise InputError(
            f"{opened.path} is no dictionary of {', '.join(FORMATS)}: it holds {len(held)} tensors"
            + (f" ({one_line(', '.join(held[:8]))}{', …' if len(held) > 8 else ''})" if held else "")
        )
    if len(found) > 1:
        choice = " or ".join(f"format={name!r}" for name in found)
        raise InputError(f"{opened.path} may be of {' or '.join(found)}, which read it differently; pass {choice}")
    return found[0]


def save(dictionary: Dictionary, folder: str | Path, format: str = OWN) -> Path:
    """Write a dictionary for another tool: `format` is 'bioterp', 'saelens', 'dictionary_learning' or 'sparsify'.

    Codes stay in model units. Raises InputError where the tool has no such dictionary.
    """
    folder = Path(folder)
    if format == OWN:
        return dictionary.save(folder)
    if format not in WRITTEN:
        raise InputError(f"dictionaries are not written as {format!r}; {nearest(format, [*WRITTEN, OWN])}")
    with store.writing_folder(folder) as beside:
        WRITTEN[format](dictionary, beside)
    return folder
