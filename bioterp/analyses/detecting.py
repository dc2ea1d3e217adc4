"""One run of detection: which terms are rare, what is chosen, how it does, as rows with numbers for names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bioterp import tables
from bioterp.analyses import crossfit, scoring
from bioterp.analyses.alignment import (
    changes,
    count_binned,
    exchange_of,
    guarded,
    part_where,
    ring_of,
    sides_of,
    subjects_in,
)
from bioterp.analyses.choosing import Chosen, choose, test_of
from bioterp.analyses.counting import Counts
from bioterp.analyses.heldout import Figures, Pairs, Scored, score
from bioterp.analyses.parts import Part, Table
from bioterp.analyses.permuting import LEAST, MOST, Exchange
from bioterp.analyses.shifts import Ring
from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.placing import Places, places_of
from bioterp.tables import NO_FEATURE
from bioterp.values import Intervals

TEST, CROSS = "test", "cross-fitted"
NULLS = {"shift": 1, "permutation": 3}  # the axes that rows must have for each
RESULT = [c.name for c in (*tables.FEATURE, *tables.TERM, *tables.DETECTION, *tables.NOTE)]
RESULT = [name for name in RESULT if name not in ("q", "q_by", "q_local", "n_tests")]
_COUNTS = ["tp", "fp", "positives", "known"]
BLOCK = ["feature", "term", "block", *_COUNTS, "split"]


@dataclass(frozen=True)
class Options:
    """What is scored, checked; folds = 0 turns cross-fitting off."""

    per_term: int
    per_feature: bool
    min_instances: int
    min_test: int
    folds: int
    objective: str
    null: str | None

    def __post_init__(self) -> None:
        if self.objective not in ("f1", "excess"):
            raise InputError(f"objective is 'f1' or 'excess'; got {self.objective!r}")
        if self.null not in (*NULLS, None):
            raise InputError(f"null is 'auto', 'shift', 'permutation' or None; got {self.null!r}")
        if self.per_term < 0 or self.min_instances < 1:
            raise InputError(
                f"per_term must be ≥ 0 and min_instances ≥ 1; got {self.per_term} and {self.min_instances}"
            )
        if self.folds < 0 or self.folds == 1:
            raise InputError(f"folds must be 2 or more, or None for no cross-fitting; got {self.folds}")


class Detecting:
    """Counts codes with labels and chooses pairs when it is made; `rows` scores them."""

    def __init__(self, codes: Field, labels: Intervals, options: Options, threads: int):
        self.codes, self.options, self.threads = codes, options, threads
        rows = codes.rows
        self.side = sides_of(rows)
        self.code, names = pd.factorize(rows.items["block"])
        self.names = np.asarray(names, object)
        self.n_instances = crossfit.instances_in(labels, *changes(rows.offsets, self.side), 2)
        self.rare, self.left_out = np.zeros(0, np.int64), list[tuple[int, int, str]]()
        self.ordinary, self.group, self.labels = np.arange(labels.columns), self.side, labels
        self.least_test = max(options.min_test, options.min_instances)
        if options.folds:
            self._set_rare_apart()
        counts, edges, self.means = count_binned(codes, self.labels, threads, group=self.group)
        self.counts: Counts = counts
        o = options
        self.chosen: Chosen = choose(
            counts, edges, self.ordinary, self.n_instances, o.per_term, o.per_feature, o.min_instances, o.objective
        )
        self.choices = [crossfit.choose_without_each(counts, edges, t, o.objective) for t in self.rare.tolist()]

    def _set_rare_apart(self) -> None:
        """Find the terms of few test instances; those with enough in all are given folds."""
        few = self.n_instances[1] < self.least_test
        rows, terms = self.codes.rows, np.flatnonzero(few)
        group = crossfit.folds_of(rows.items["block"].tolist(), self.side, self.options.folds)
        between = changes(rows.offsets, group)
        labels = crossfit.at_home(self.labels, terms, *between)
        held = crossfit.instances_in(labels, *between, self.options.folds)
        rare = []
        for t in terms.tolist():
            total, where, least = int(held[:, t].sum()), int((held[:, t] > 0).sum()), 2 * self.options.min_instances
            if total < least:
                self.left_out.append((NO_FEATURE, t, f"not scored: {total} instances in all, at least {least} needed"))
            elif where < 2:
                self.left_out.append((NO_FEATURE, t, f"not scored: all {total} instances lie in one fold"))
            else:
                rare.append(t)
        self.rare, self.ordinary = np.array(rare, np.int64), np.flatnonzero(~few)
        if rare:
            self.group, self.labels = group, labels

    def rows(self) -> tuple[list[list[Any]], list[tuple[Any, ...]], int]:
        """Rows of the detection table (RESULT), rows of the table of blocks (BLOCK), and how many shifts test has."""
        chosen, counts, test = self.chosen, self.counts, test_of(self.counts)
        best = self._best()
        found: list[list[Any]] = []
        blocks: list[tuple[Any, ...]] = []
        scored: list[dict[int, Scored]] = [{} for _ in self.choices]
        shifts, why = dict[int, int](), dict[int, str]()
        for fold in np.flatnonzero(counts.n_rows).tolist():
            own = crossfit.pairs_in(self.choices, fold)
            if fold != test and not len(own):
                continue
            part = part_where(self.codes.rows, self.group == fold, self.code)
            moves, why[fold] = self._moves(part, "test" if fold == test else "a fold")
            shifts[fold] = 0 if moves is None else moves.size
            ahead = len(chosen.feature) if fold == test else 0
            pairs = _both(chosen, own) if ahead else own
            curves: dict[int, tuple[Array, ...]] = {}
            # Best pairs of test, and all that folds have chosen, are asked whether regions alone would explain them.
            locally = (best if ahead else set()) | set(range(ahead, len(pairs)))
            for s, each in self._score(part, moves, pairs, fold, locally):
                if s >= ahead:
                    scored[s - ahead][fold] = each
                    continue
                found.append(self._test_row(s, each, curves, shifts[test], why[test]))
                if s in best:
                    blocks += self._blocks(int(chosen.feature[s]), int(chosen.term[s]), each.table, TEST)
        for choices, by_fold in zip(self.choices, scored, strict=True):
            table = crossfit.pooled([each.table for each in by_fold.values()], len(self.names))
            told = "" if any(shifts.values()) else next(iter(why.values()))
            found.append(self._cross_row(choices, by_fold, table, sum(shifts.values()), told))
            if len(choices.made):
                blocks += self._blocks(choices.favourite(), choices.term, table, CROSS)
        empty = chosen.left_out + self.left_out
        found += [self._row({"feature": f, "term": t}, TEST, shifts[test], note, why[test]) for f, t, note in empty]
        return found, blocks, shifts[test]

    def _moves(self, part: Part, where: str) -> tuple[Ring | Exchange | None, str]:
        """What the null of a part is made of, and what is to be said of it: without one, why there is no p."""
        null, rows = self.options.null, self.codes.rows
        if null is None:
            return None, ""
        if rows.ndim != NULLS[null]:
            axes = "one" if null == "shift" else "three"
            return None, f"no p: the {null} null needs {axes}-dimensional rows"
        if null == "shift":
            return ring_of(rows, part), ""
        subjects = subjects_in(rows, part)
        if subjects < LEAST:
            few = "one subject" if subjects == 1 else f"{subjects} subjects"
            return None, f"no p: {few} in {where}, at least {LEAST} needed"
        exchange = exchange_of(rows, part, self._places)
        said = [f"the null permutes {MOST} of the {subjects} subjects in {where}"] if exchange.partial else []
        said += [] if exchange.aligned else ["p is approximate: the cells of these scans differ in size"]
        return exchange, "; ".join(said)

    @cached_property
    def _places(self) -> Places:
        return places_of(self.codes.rows)

    def _score(
        self, part: Part, moves: Ring | Exchange | None, pairs: Pairs, fold: int, locally: set[int]
    ) -> Iterator[tuple[int, Scored]]:
        with guarded(self.codes):
            read, total = self.codes.read, self.counts.total[fold]
            yield from score(read, self.labels, part, moves, pairs, total, self.threads, locally)

    def _best(self) -> set[int]:
        """Per term the chosen pair that is furthest above chance where it was chosen."""
        above = self.chosen.f1 - self.chosen.chance
        own = (np.flatnonzero(self.chosen.term == t) for t in np.unique(self.chosen.term))
        return {int(pairs[above[pairs].argmax()]) for pairs in own}

    def _test_row(self, s: int, each: Scored, curves: dict[int, tuple[Array, ...]], shifts: int, why: str) -> list[Any]:
        chosen, f, t = self.chosen, int(self.chosen.feature[s]), int(self.chosen.term[s])
        if t not in curves:
            pair = scoring.of_term(self.counts, test_of(self.counts), t)
            curves.clear()  # pairs come term by term
            both = scoring.mutual_information(pair), scoring.contrast(pair, self.means)
            curves[t] = scoring.auroc(pair), scoring.average_precision(pair), *both
        figures, null = Figures.of(each.table), each.null
        told = {
            **figures.columns,
            "feature": f,
            "term": t,
            "threshold": float(chosen.threshold[s]),
            "f1_null": null.mean if null else float(scoring.ratio(2 * each.expected[0], each.expected[1])),
            "f1_select": float(chosen.f1[s]),
            "f1_select_null": float(chosen.chance[s]),
            "instance_recall_null": each.recall_null,
            "auroc": float(curves[t][0][f]),
            "ap": float(curves[t][1][f]),
            "mutual_information": float(curves[t][2][f]),
            "contrast": float(curves[t][3][f]),
            "z": null.z if null else np.nan,
            "p": null.p if null else np.nan,
            "f1_local": scoring.ratio(2 * each.local.expected[0], each.local.expected[1]) if each.local else np.nan,
            "p_local": each.local.p if each.local else np.nan,
        }
        notes = [chosen.notes.get(f, ""), *figures.notes(each.table, "test")]
        notes += ["never above the threshold on test"] * (not each.fired) + [why]
        return self._row(told, TEST, shifts, *notes)

    def _cross_row(
        self, choices: crossfit.Choices, by_fold: dict[int, Scored], table: Table, shifts: int, why: str
    ) -> list[Any]:
        t, folds = choices.term, sorted(by_fold)
        if not len(choices.made):
            note = f"no feature is above chance on the other folds, for any of {len(folds)} folds"
            return self._row({"feature": NO_FEATURE, "term": t}, CROSS, shifts, note)
        figures, feature, of_folds = Figures.of(table), choices.favourite(), list(by_fold.values())
        f1_null, recall_null = crossfit.chance(of_folds)
        few = f"{self.n_instances[1, t]} instances in test, fewer than {self.least_test}"
        told = {
            **figures.columns,
            "feature": feature,
            "term": t,
            "threshold": float(np.median(choices.threshold[choices.feature == feature])),
            "f1_null": f1_null,
            "f1_select": float(choices.f1[choices.made].mean()),
            "f1_select_null": float(choices.chance[choices.made].mean()),
            "instance_recall_null": recall_null,
            "p": crossfit.combined(of_folds),
            **dict(zip(("f1_local", "p_local"), crossfit.locally(of_folds), strict=True)),
        }
        notes = [crossfit.told(choices, folds, few), *figures.notes(table, "scored"), why]
        return self._row(told, CROSS, shifts, *notes)

    def _row(self, told: dict[str, Any], split: str, shifts: int, *notes: str) -> list[Any]:
        """A row of what is told; where nothing was scored, with how much there would have been to score."""
        whole = {"n_cells": 0, "n_instances": 0, "n_blocks": 0, "n_shifts": shifts, "split": split}
        if told["term"] >= 0 and "f1" not in told:
            test = test_of(self.counts)
            whole["n_cells"] = int(self.counts.n_positive[test, told["term"]])
            whole["n_instances"] = int(self.n_instances[1, told["term"]])
        whole |= {"note": "; ".join(note for note in notes if note), **told}
        if "f1" in told:
            whole["f1_normalised"] = float(scoring.ratio(told["f1"] - told["f1_null"], 1 - told["f1_null"]))
        return [whole.get(name, np.nan) for name in RESULT]

    def _blocks(self, feature: int, term: int, table: Table, split: str) -> list[tuple[Any, ...]]:
        counts = [getattr(table, name) for name in _COUNTS]
        held = np.flatnonzero(table.known)
        return [(feature, term, self.names[b], *(int(c[b]) for c in counts), split) for b in held]


def _both(chosen: Chosen, own: Pairs) -> Pairs:
    names = ("feature", "term", "edge", "threshold")
    return Pairs(*(np.concatenate([getattr(chosen, name), getattr(own, name)]) for name in names))
