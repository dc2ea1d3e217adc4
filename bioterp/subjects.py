"""What a run has to analyse, group by group of layers: dictionaries, what they must beat, people."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from bioterp import __version__, baselines, tables
from bioterp.evidence import Evidence
from bioterp.field import Field
from bioterp.planning import PEOPLE, Layer, Representation, Together
from bioterp.progress import say
from bioterp.quality import quality_report
from bioterp.records import OF_KIND
from bioterp.stages import Frames
from bioterp.unaided import unaided

FIDELITY = "fidelity"  # an analysis with tables of its own, of a layer and not of one set of codes


class Subjects(Evidence):
    """The stages, with the representations they are asked for."""

    def _representations(self, weights: tuple[bool, ...] | None = None) -> Iterator[Representation | Together]:
        """What to analyse, group by group: dictionaries, then what they must beat.

        weights: of the model with its own weights (False) or random ones (True); by default of what the run asks for.
        """
        root = self.out / "dictionaries"
        every = (False, True) if "random-weights" in self.run.baselines else (False,)
        for random in every if weights is None else weights:
            for group in self._groups(random):
                fields = self._fields(group, random)
                if not random and "readout" in self.run.analyses and "output" in fields:
                    yield self._readout(fields["output"])
                for layer, acts in fields.items():
                    if layer in self.run.layers:
                        for seed in self.run.dictionary.seeds if not random else self.run.dictionary.seeds[:1]:
                            yield self._dictionary(acts, layer, seed, random)
                        if FIDELITY in self.run.analyses:
                            yield self._fidelity(acts, layer, random)
                        if not random and self.run.cohort is not None:
                            yield self._people(acts, layer)
                        if not random and self.run.labels:
                            yield from self._baselines(acts, layer)
                self._drop(group, random)
            self._models.pop(random)
        chosen = [name for name in OF_KIND[self.run.source.kind] if name in self.run.baselines]
        yield from unaided(chosen, self.source, self.lattices(), self.truth, root)

    def _readout(self, outputs: Field) -> Representation:
        outputs.about |= {"dictionary": outputs.about["model"], "representation": "model"}
        folder, recipe = self.out / "readout", ["model", outputs.about]
        return Representation("model", "output", 0, outputs, folder, recipe, lambda: outputs)

    def _dictionary(self, acts: Field, layer: Layer, seed: int, random: bool) -> Representation:
        name, folder = "random-weights" if random else "dictionary", self._folder(layer, seed, random)

        def make() -> Field:
            return self.codes(acts, self.fitted(acts, layer, seed, random), layer, seed, random)

        def quality() -> dict[str, Any]:
            return self.fitted(acts, layer, seed, random).about

        recipe = [name, self._recipe(acts, seed)]
        return Representation(name, layer, seed, acts, folder, recipe, make, folder / "codes", quality)

    def _fidelity(self, acts: Field, layer: Layer, random: bool) -> Together:
        """The quality report of a layer's dictionaries, while its activations are there."""
        seeds = self.run.dictionary.seeds if not random else self.run.dictionary.seeds[:1]
        folder = self._folder(layer, seeds[0], random)

        def make() -> Frames:
            first, *others = (self.fitted(acts, layer, seed, random) for seed in seeds)
            say(f"quality of {folder.parent.parent.name} of layer {layer}")
            with self._timed(f"quality {folder.parent.parent.name}"):
                return quality_report(first, acts, self._loaded(random), self.source, others)

        recipe = [FIDELITY, [self._recipe(acts, seed) for seed in seeds], __version__, *tables.code()]
        return Together(FIDELITY, layer, folder.parent / FIDELITY, recipe, make)

    def _people(self, acts: Field, layer: Layer) -> Together:
        """What a layer's first dictionary tells of people."""
        from bioterp import outcomes

        assert self.run.cohort is not None
        seed = self.run.dictionary.seeds[0]
        recipe = ["people", self._recipe(acts, seed), outcomes.depends_on(self.run.cohort), self.run.seed]

        def make() -> Frames:
            codes = self.codes(acts, self.fitted(acts, layer, seed), layer, seed)
            say(f"people, layer {layer}")
            with self._timed("people"):
                return outcomes.analyse(self.run, self.source, codes, acts, layer)

        folder = self._folder(layer, seed, False).parent / PEOPLE
        return Together(PEOPLE, layer, folder, [*recipe, __version__, *tables.code()], make)

    def _baselines(self, acts: Field, layer: Layer) -> Iterator[Representation]:
        spec, root = self.run.dictionary, self.out / "dictionaries"
        plain = {"neurons": baselines.neurons, "pca": baselines.pca}
        for name, make in plain.items():
            if name in self.run.baselines:
                codes = functools.partial(lambda make: make(acts).encode(acts), make)
                yield Representation(name, layer, 0, acts, root / name / f"layer={layer}", [name, acts.about], codes)
        if "random-directions" in self.run.baselines:
            folder = root / "random-directions" / f"layer={layer}"

            def random() -> Field:
                made = baselines.random_directions(acts, spec.width, spec.k, spec.seeds[0])
                with self._timed("codes random-directions"):
                    return made.encode(acts, out=folder / "codes")

            recipe = ["random-directions", acts.about, spec.width, spec.k, spec.seeds[0]]
            yield Representation(
                "random-directions", layer, spec.seeds[0], acts, folder, recipe, random, folder / "codes"
            )
