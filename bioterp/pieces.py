"""The stages piece by piece: what is looked at first, one part, one layer, one seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bioterp import store
from bioterp.dictionary import Dictionary
from bioterp.errors import InputError, nearest
from bioterp.field import Field
from bioterp.planning import Layer
from bioterp.stages import Stages


class Pieces(Stages):
    """The stages of a run, with what picks a piece of one."""

    def look(self) -> list[Field]:
        """The rows of every lattice, after all that can be refused before the model runs."""
        self.check_splits()
        self.look_at_people()
        self.fresh = True
        return self.lattices()

    def look_at_people(self) -> None:
        """Raise for a sheet of people that cannot serve."""
        if self.run.cohort is not None:
            from bioterp import outcomes  # statistics of cohorts take a second to load

            outcomes.look(self.run, self.source)

    def dictionaries(self, encode: bool) -> Iterator[tuple[Layer, int, Dictionary, Any]]:
        """(layer, seed, dictionary, codes or None) of every layer and seed."""
        self.check_splits()
        for group in self._groups(False):
            for layer, acts in self._fields(group, False).items():
                if layer in self.run.layers:
                    for seed in self.run.dictionary.seeds:
                        sae = self.fitted(acts, layer, seed)
                        yield layer, seed, sae, self.codes(acts, sae, layer, seed) if encode else None
            self._drop(group, False)

    def part(self, random: bool, layer: str | None, part: tuple[int, int] | None) -> dict[Layer, Field]:
        """One part of the activations of all layers, or one; what was whole with it."""
        self.fresh = random  # nobody has looked at those weights before
        return self.activate(random, None if layer is None else [self.layer(layer)], part)

    def drop(self, random: bool, layer: str) -> Path:
        """Give back the disk of a layer's activations."""
        folder = self.out / self.folder(random) / f"layer={self.layer(layer)}"
        store.discard(folder)
        return folder

    def chosen(self, layer: str | None, seed: int | None, random: bool) -> Iterator[tuple[Layer, int, Field]]:
        """(layer, seed, activations) of the dictionaries that are meant: None means all; of random weights the first.

        Activations are run when somebody reads them and they are not there.
        """
        every = self.run.layers if layer is None else [self.layer(layer)]
        seeds = [self.run.dictionary.seeds[0] if seed is None else seed] if random else self.run.dictionary.seeds
        if seed is not None and seed not in seeds:
            raise InputError(f"the run has no seed {seed}; dictionary.seeds: {seeds}")
        for one in every:
            acts = self._fields([one], random)[one]
            for at in seeds if seed is None else [seed]:
                yield one, at, acts

    def layer(self, given: str) -> Layer:
        """The layer of the run that a word means; InputError for none of it."""
        known = self.layers()
        found = [layer for layer in known if str(layer) == given]
        if not found:
            raise InputError(f"the run has no layer {given!r}; {nearest(given, list(map(str, known)))}")
        return found[0]
