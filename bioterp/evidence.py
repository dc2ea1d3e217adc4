"""What a run finds out about its features beyond single dictionaries: over seeds, places, letters, the atlas."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bioterp import __version__, tables
from bioterp.dictionary import Dictionary
from bioterp.field import Field
from bioterp.known import of_codes, over_seeds, text_of
from bioterp.pieces import Pieces
from bioterp.planning import Layer, Representation
from bioterp.progress import say
from bioterp.stages import Frames

RELATIONS = "relations"  # filled into the table of features, and no table of its own


class Evidence(Pieces):
    """The stages, with what is made of codes, decoders and detection together."""

    def known(self, one: Representation, truth: Field, frames: Frames) -> Frames:
        """Relations, loci and motifs of a dictionary's features, while its codes are there."""
        spec = self.run.dictionary
        acts, layer = one.rows, one.layer
        seeds = [seed for seed in spec.seeds if seed != one.seed]
        recipe = ["known", one.recipe, [self._recipe(acts, seed) for seed in seeds]]
        recipe += [frames["detection"].to_csv(), __version__, *tables.code()]

        def make() -> Frames:
            coder, *others = (self.fitted(acts, layer, seed) for seed in (one.seed, *seeds))
            say(f"relations and places of the features of layer {layer}, seed {one.seed}")
            with self._timed("known"):
                return of_codes(one.make(), truth, coder, others, frames, text_of(self.source))

        return self._stored_tables(one.folder / "known", recipe, make)

    def over_seeds(self, joined: Frames) -> Frames:
        """The joined tables, with those that need all seeds."""
        cells = {str(layer): len(self.rows(layer)) for layer in self.layers()}
        made = over_seeds(joined, lambda layer, seed: self.dictionary_of(layer, seed).decoder, cells)
        return {name: table for name, table in (joined | made).items() if name != RELATIONS}

    def dictionary_of(self, layer: Layer, seed: int) -> Dictionary:
        """A dictionary that was fitted in this run."""
        return Dictionary.load(self._folder(layer, seed, False) / "dictionary")

    def export_atlas(self, codes: Field, joined: Frames) -> Path:
        """exports/atlas.h5ad of the features of the codes that are shown."""
        from bioterp.atlas import atlas, write_atlas

        about = codes.about
        mine = {name: _of(joined[name], about) for name in ("features", "detection")}
        coder = self.dictionary_of(str(about["layer"]), int(about["seed"]))
        say("exporting the atlas of features")
        made = atlas(mine["features"], mine["detection"], coder, codes)
        return write_atlas(made, self.out / "exports" / "atlas.h5ad")


def _of(table: pd.DataFrame, about: dict[str, object]) -> pd.DataFrame:
    """The lines of a table that are of these codes."""
    same = (table["layer"] == str(about["layer"])) & (table["seed"] == about["seed"])
    return table[same & (table["dictionary"] == about["dictionary"])]
