"""The tables of one representation at a time, while other processes make the others."""

from __future__ import annotations

from pathlib import Path

from bioterp import store
from bioterp.errors import InputError, nearest
from bioterp.planning import Representation, Together
from bioterp.study import Study

KNOWN = "known"  # of the dictionaries of a layer: relations, loci, motifs


class Jobs(Study):
    """A study, table by table. What one needs and nobody has made yet, it makes."""

    def analyse_only(
        self, what: str, layer: str | None = None, seed: int | None = None, random: bool = False
    ) -> list[Path]:
        """Folders of the tables of one representation (and layer, and seed), of `known`, fidelity or people."""
        if layer is not None:
            self.layer(layer)
        name = {"readout": "model", KNOWN: "dictionary"}.get(what, what)
        made = []
        names = set()
        for one in self._representations((random or what == "random-weights",)):
            names.add({"model": "readout"}.get(one.name, one.name))
            own = isinstance(one, Together) or seed is None or one.seed == seed
            if one.name != name or not own or layer not in (None, str(one.layer)):
                continue
            if isinstance(one, Together):
                self._stored_tables(one.folder, one.recipe, one.make)
            else:
                self._analyse_one(one, what)
            made.append(one.folder)
        if not made:
            raise InputError(f"this run has no {what!r} to analyse there; {nearest(what, [*sorted(names), KNOWN])}")
        return made

    def _analyse_one(self, one: Representation, what: str) -> None:
        rows = next(rows for rows in self.lattices() if rows.rows.id == one.rows.rows.id)
        truth = self.truth_or_rows(rows)
        frames = self.tabled(one, truth)
        if what == KNOWN:
            self.known(one, truth, frames)
        if one.stored is not None and one.quality is None:  # codes nobody reads again
            store.discard(one.stored)
