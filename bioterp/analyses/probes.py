"""One run of probing: which rows are fitted on, what is scored on which, as rows with numbers for names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bioterp.analyses import crossfit
from bioterp.analyses.alignment import changes, guarded, need_split, part_where, sides_of
from bioterp.analyses.drawing import Drawn, draw, gather
from bioterp.analyses.parts import Part, Term, term_on
from bioterp.analyses.probe_fits import ALL, Probe, fit_probes
from bioterp.analyses.probe_scores import HELD, Scored, areas, score, scores, shares
from bioterp.arrays import Array
from bioterp.field import Field
from bioterp.rows import SPLITS
from bioterp.values import Intervals

TEST, CROSS = "test", "cross-fitted"
BYTES = 256_000_000  # of dense sampled rows of train


@dataclass(frozen=True)
class Options:
    """The keywords of `probing`; folds = 0 turns cross-fitting off."""

    ks: tuple[int, ...]
    curve: tuple[int, ...]
    sample: int
    min_instances: int
    min_test: int
    folds: int
    seed: int


class Probes:
    """One run of probing: `on_test` and `across_folds` fill lines, blocks and curves."""

    def __init__(self, values: Field, labels: Intervals, options: Options):
        self.values, self.labels, self.options = values, labels, options
        rows = values.rows
        self.side = sides_of(rows)
        need_split(rows, ("valid",), "settle penalties on")
        self.split = rows.items["split"].map({name: i for i, name in enumerate(SPLITS)}).fillna(-1).to_numpy(np.int64)
        self.code, names = pd.factorize(rows.items["block"])
        self.names = np.asarray(names, object)
        self.width = values.shape[1]
        self.sample = min(options.sample, max(1024, BYTES // (4 * self.width))) if _dense(values) else options.sample
        self.n_instances = crossfit.instances_in(labels, *changes(rows.offsets, self.side), 2)
        few = self.n_instances[1] < max(options.min_test, options.min_instances)
        few &= options.folds > 0
        self.ordinary, self.rare = np.flatnonzero(~few).tolist(), np.flatnonzero(few).tolist()
        self.lines: list[dict[str, Any]] = []
        self.blocks: list[dict[str, Any]] = []
        self.curves: list[dict[str, Any]] = []

    # ------------------------------------------------------------------ terms with enough in test

    def on_test(self) -> None:
        """Fit on train, settle on valid, score on test."""
        if not self.ordinary:
            return
        most = np.array([self.sample, self.sample // 2, 0])
        drawn = self._draw(self.split, most)
        train, valid = (drawn.take(drawn.group == g) for g in (0, 1))
        x, x_valid = self._read(train), self._read(valid)
        probes = fit_probes(x, train, x_valid, valid, self.ordinary, self.options.ks)
        part = part_where(self.values.rows, self.split == 2, self.code)
        of_rows = part.of_rows()
        for probe, values, term in self._scored(probes, part):
            found = None if term is None else score(values, values > probe.cutoff, term, of_rows)
            self._line(probe, found, TEST, *probe.notes)
        if self.options.curve:
            self._curve(x, train, x_valid, valid, part)

    def _scored(self, probes: Sequence[Probe], part: Part) -> Iterator[tuple[Probe, Array, Term | None]]:
        """(probe, its scores, the term) of each; without a term where nothing was fitted."""
        fitted = [probe for probe in probes if probe.fitted]
        yield from ((probe, np.zeros(0), None) for probe in probes if not probe.fitted)
        number, term = -1, None
        for some, found in self._scores(part, fitted):
            for j, i in enumerate(some):
                if fitted[i].term != number:
                    number = fitted[i].term
                    term = term_on(part, self.labels, number)
                yield fitted[i], np.ascontiguousarray(found[:, j]), term

    def _curve(self, x: Any, train: Drawn, x_valid: Any, valid: Drawn, part: Part) -> None:
        """Probes on ever more blocks of train, in the order of their names' hashes."""
        names = sorted(np.unique(train.block).tolist(), key=lambda b: crossfit.digest(str(self.names[b])))
        for count in [*(2**i for i in range(20) if 2**i < len(names)), len(names)]:
            own = np.flatnonzero(np.isin(train.block, names[:count]))
            probes = fit_probes(x[own], train.take(own), x_valid, valid, self.ordinary, self.options.curve)
            for probe, values, term in self._scored(probes, part):
                ap, auroc = (np.nan, np.nan) if term is None else areas(values, term)
                told = {"term": probe.term, "k": probe.k, "n_train_blocks": count, "ap": ap, "auroc": auroc}
                told |= {"n_rows": probe.n_rows, "n_positive": probe.n_positive, "note": "; ".join(probe.notes)}
                self.curves.append(told)

    # ------------------------------------------------------------------ terms with few

    def across_folds(self) -> None:
        """Every fold of blocks scored by probes of the others; the labels are cut at folds from here on."""
        rows, n, ks = self.values.rows, self.options.folds, self.options.ks
        if not self.rare:
            return
        group = crossfit.folds_of(rows.items["block"].tolist(), self.side, n)
        between = changes(rows.offsets, group)
        self.labels = crossfit.at_home(self.labels, np.array(self.rare), *between)
        held = crossfit.instances_in(self.labels, *between, n)
        ready = []
        for t in self.rare:
            total, least = int(held[:, t].sum()), 2 * self.options.min_instances
            if total >= least and (held[:, t] > 0).sum() >= 2:
                ready.append(t)
                continue
            why = f"{total} instances in all, at least {least} needed" if total < least else "all lie in one fold"
            for k in ks:
                self._line(Probe(t, k), None, CROSS, f"not scored: {why}", instances=total)
        if not ready:
            return
        drawn = self._draw(group, np.full(n, self.sample // (2 * n)))  # n fits, and all positives are in
        x = self._read(drawn)
        probes = [_without(x, drawn, fold, n, ready, ks) for fold in range(n)]
        part = part_where(rows, group >= 0, self.code)
        of_rows, of_fold = part.of_rows(), part_where(rows, group >= 0, group).of_rows()
        most = max(1, HELD // (4 * len(part) * len(ks)))
        for first in range(0, len(ready), most):
            some = ready[first : first + most]
            found = np.full((len(part), len(some) * len(ks)), np.nan, np.float32)
            for fold in range(n):
                own = np.flatnonzero(of_fold == fold)
                mine = [p for p in probes[fold] if p.fitted and p.term in some]
                place = [some.index(p.term) * len(ks) + ks.index(p.k) for p in mine]
                fold_part = part_where(rows, group == fold, self.code)
                for at, values in self._scores(fold_part, mine):
                    for j, i in enumerate(at):
                        found[own, place[i]] = values[:, j]
            for i, t in enumerate(some):
                term = term_on(part, self.labels, t)
                for j, k in enumerate(ks):
                    mine = [next(p for p in fold if (p.term, p.k) == (t, k)) for fold in probes]
                    self._pool(mine, found[:, i * len(ks) + j], term, of_rows, of_fold, int(held[:, t].sum()))

    def _pool(self, mine: list[Probe], raw: Array, term: Term, of_rows: Array, of_fold: Array, total: int) -> None:
        """One line of the folds' probes of a term, whose scores are pooled as ranks within folds."""
        pooled, active = np.full(len(raw), 0.5), np.zeros(len(raw), bool)
        unfit = [probe for probe in mine if not probe.fitted]
        for fold, probe in enumerate(mine):
            own = np.flatnonzero((of_fold == fold) & term.known)
            if probe.fitted:
                pooled[own] = shares(raw[own])
                active[own] = raw[own] > probe.cutoff
        t = mine[0].term
        notes = [f"cross-fitted over {len(mine)} folds: {self.n_instances[1, t]} instances in test"]
        notes += [note for probe in mine for note in probe.notes if probe.fitted]
        notes += [f"no probe for {len(unfit)} folds, whose cells all rank alike"] * bool(unfit)
        most = max(mine, key=lambda p: (p.fitted, np.nan_to_num(p.ap_valid, nan=-1.0)))
        found = score(pooled, active, term, of_rows) if most.fitted else None
        self._line(most, found, CROSS, *notes, instances=total)

    # ------------------------------------------------------------------

    def _read(self, drawn: Drawn) -> Any:
        with guarded(self.values):
            return gather(self.values.read, drawn.row)

    def _scores(self, part: Part, probes: Sequence[Probe]) -> Iterator[tuple[list[int], Array]]:
        with guarded(self.values):
            yield from scores(self.values.read, part, probes, self.width)

    def _draw(self, group: Array, most: Array) -> Drawn:
        return draw(self.labels, self.values.rows.offsets, group, self.code, most, self.options.seed)

    def _line(self, probe: Probe, found: Scored | str | None, split: str, *notes: str, instances: int = -1) -> None:
        t = probe.term
        line: dict[str, Any] = {"term": t, "k": probe.k, "penalty": probe.penalty, "ap_valid": probe.ap_valid}
        line |= {"n_rows": probe.n_rows, "n_positive": probe.n_positive, "n_cells": 0, "n_blocks": 0, "split": split}
        line |= {"n_instances": instances if instances >= 0 else int(self.n_instances[1, t]), "features": None}
        if probe.fitted and probe.k != ALL:
            line["features"] = ",".join(map(str, probe.columns.tolist()))
        said = [*notes, found] if isinstance(found, str) else list(notes)
        if isinstance(found, Scored):
            line |= {"ap": found.ap_value, "ap_lo": found.ap.lo, "ap_hi": found.ap.hi, "above": found.above}
            line |= {"auroc": found.auroc_value, "auroc_lo": found.auroc.lo, "auroc_hi": found.auroc.hi}
            line |= {"n_cells": int(found.positives.sum()), "n_blocks": len(found.blocks)}
            line |= {"prevalence": float(found.positives.sum() / found.known.sum())}
            said.append(found.ap.reason)
            for b, ap, auroc, p, n in zip(
                found.blocks, found.ap_without, found.auroc_without, found.positives, found.known, strict=True
            ):
                told = {"term": t, "k": probe.k, "block": self.names[b], "ap_without": ap, "auroc_without": auroc}
                self.blocks.append({**told, "positives": int(p), "known": int(n), "split": split})
        self.lines.append(line | {"note": "; ".join(dict.fromkeys(note for note in said if note))})


def _without(x: Any, drawn: Drawn, fold: int, n: int, terms: list[int], ks: tuple[int, ...]) -> list[Probe]:
    """Probes for one fold: fitted on all others but the next, which settles them."""
    following = (fold + 1) % n
    at, then = (
        np.flatnonzero((drawn.group != fold) & (drawn.group != following)),
        np.flatnonzero(drawn.group == following),
    )
    return fit_probes(x[at], drawn.take(at), x[then], drawn.take(then), terms, ks)


def _dense(values: Field) -> bool:
    return not hasattr(values.read(0, min(1, len(values))), "indptr")
