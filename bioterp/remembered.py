"""A model as the jobs of a run know it: what was told of it once is read from a file, the rest loads it.

Loading a large model takes minutes, and most jobs only ask how many channels a layer has and which hash its weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bioterp import store
from bioterp.errors import InputError, StoreError

PLAIN = ("modality", "dtype", "hash", "outputs", "wants")  # told as they are; lists and mappings stay such
OF_LAYERS = ("width", "cell_shape", "resolve")  # functions of a layer


class Remembered:
    """Has the attributes of a model. told: what `facts` wrote; load: gives the model itself, once it is asked more."""

    def __init__(self, name: str, told: dict[str, Any], load: Callable[[], Any]):
        self.name, self._told, self._load = name, told, load
        self._model: Any = None
        for name in told["plain"]:
            setattr(self, name, told["plain"][name])

    @classmethod
    def of(
        cls, place: Path, name: str, about: Any, layers: list[int | str], load: Callable[[], Any], fresh: bool
    ) -> Any:
        """The model as `place` tells it; loaded, and told there, when it does not or `fresh` is wanted.

        about: plain JSON of what the run file says of the model, by which another model's file is known. name: the
        model's, which may be a folder and is not written.
        """
        if not fresh:
            told = _read(place)
            if told.get("about") == store.digest(about) and set(map(str, layers)) <= set(told["layers"]):
                return cls(name, told, load)
        model = load()
        with store.writing_file(place) as beside:
            beside.write_text(json.dumps(facts(model, layers) | {"about": store.digest(about)}))
        return model

    def width(self, layer: int | str) -> int:
        """Channels of a layer."""
        return int(self._of("width", layer))

    def cell_shape(self, layer: int | str) -> tuple[int, ...]:
        """Array cells per cell of a layer."""
        return tuple(self._of("cell_shape", layer))

    def resolve(self, layer: int | str) -> str:
        """The module's full name of a layer."""
        return str(self._of("resolve", layer))

    def _of(self, what: str, layer: int | str) -> Any:
        known = self._told["layers"].get(str(layer))
        return getattr(self.whole(), what)(layer) if known is None else known[what]

    def whole(self) -> Any:
        """The model itself. InputError when it is no longer the one that was told of."""
        if self._model is None:
            self._model = self._load()
            if self._model.hash != self.hash:
                raise InputError(
                    f"the model {self.name} has other weights than when this run began; run the same command again"
                )
        return self._model

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # before __init__, or no part of a model
            raise AttributeError(name)
        return getattr(self.whole(), name)


def _read(place: Path) -> dict[str, Any]:
    """What a file tells; nothing where there is none, or one that is damaged, which is then written anew."""
    try:
        return store.read_json(place)
    except StoreError:
        return {}


def facts(model: Any, layers: list[int | str]) -> dict[str, Any]:
    """What is told of a model, as plain JSON."""
    plain = {name: getattr(model, name) for name in PLAIN if hasattr(model, name)}
    of_layers = {str(layer): {what: getattr(model, what)(layer) for what in OF_LAYERS} for layer in layers}
    return {"plain": plain, "layers": of_layers}
