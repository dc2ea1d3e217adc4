"""The verbs of single stages: of a whole run, or, with words that pick a piece, of one job among several.

A whole stage has the folder for itself. A piece shares it with the other jobs of the run.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bioterp import locks
from bioterp.errors import InputError, nearest
from bioterp.processor import THREADS


@dataclass(frozen=True)
class Verb:
    """name, one line of help, what it adds to its parser, and what it does (returns the exit status)."""

    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], Any]
    run: Callable[[argparse.Namespace], int]


# ---------------------------------------------------------------------- what a stage is asked

PICKS = ("layer", "seed", "shard", "only", "random_weights", "mark")
Words = argparse.Namespace


def stage(name: str, help: str, run: Callable[[Words], int]) -> Verb:
    """A verb that takes a run file and nothing else."""
    return Verb(name, help, lambda parser: parser.add_argument("config", help="a run.yaml") and None, run)


def _piecewise(
    name: str, help: str, picks: tuple[str, ...], work: Callable[[Any, Words], int], light: bool = True
) -> Verb:
    """A verb that makes all of a stage, or with any of `picks` one piece, beside other processes.

    light: it needs no analysis, so that none is loaded.
    """

    def arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("config", help="a run.yaml")
        parser.add_argument("--cores", type=int, default=None, metavar="N", help="threads (default: all)")
        if "layer" in picks:
            parser.add_argument("--layer", default=None, help="this layer alone")
        if "seed" in picks:
            parser.add_argument("--seed", type=int, default=None, help="this dictionary alone")
        if "shard" in picks:
            parser.add_argument("--shard", default=None, metavar="I/N", help="the I-th of N parts alone, from 0")
        if "only" in picks:
            parser.add_argument("--only", default=None, metavar="NAME", help="this alone")
        if "random" in picks:
            parser.add_argument("--random-weights", action="store_true", help="of the model with random weights")
        parser.add_argument("--mark", type=Path, default=None, help=argparse.SUPPRESS)

    def run(given: Words) -> int:
        from bioterp import config

        threads(given.cores)
        whole = not any(getattr(given, one, None) not in (None, False) for one in PICKS)
        if light:
            from bioterp.pieces import Pieces as Made
        else:
            from bioterp.jobs import Jobs as Made
        made = Made(
            config.load(given.config), not whole, given.cores
        )  # looks before anything, the lock too, is written
        with locks.held(made.out, shared=not whole):
            return marked(given, lambda: work(made, given))

    return Verb(name, help, arguments, run)


def marked(given: Words, work: Callable[[], int]) -> int:
    """The status of a job, whose mark is taken away while it is at work."""
    if given.mark is None:
        return work()
    from bioterp import marks

    marks.begin(given.mark)
    status = work()
    marks.end(given.mark)
    return status


def threads(cores: int | None) -> None:
    """Keep to so many threads; called before numpy and torch are loaded."""
    if cores is not None:
        if cores < 1:
            raise InputError(f"--cores must be at least 1; got {cores}")
        for name in THREADS:
            os.environ[name] = str(cores)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(cores)


def summary(joined: dict[str, Any]) -> None:
    """Per term: the best dictionary feature on held-out blocks beside the best of every baseline."""
    from bioterp import summary as printed

    if "readout" in joined:
        printed.print_readout(joined["readout"])
    if "detection" in joined:
        printed.print_detection(joined["detection"])
    if "layers" in joined:
        printed.print_layers(joined["layers"])
        printed.print_comparison(joined["comparison"])
    if "adjusted" in joined:
        printed.print_adjusted(joined["adjusted"], joined["detection"])
    if "correlation" in joined:
        printed.print_correlation(joined["correlation"])
    if "probe_comparison" in joined:
        printed.print_probes(joined["probe_comparison"], joined["probing"])
    if "dictionaries" in joined:
        printed.print_dictionaries(joined["dictionaries"], joined.get("stability"))


# ---------------------------------------------------------------------- stages


def _rows(study: Any, given: Words) -> int:
    for rows in study.look():
        print(f"{len(rows):,} rows in {rows.path}")
    return 0


def _activations(study: Any, given: Words) -> int:
    if not study.job:
        made = study.activate()
    else:
        made = study.part(given.random_weights, given.layer, None if given.shard is None else _part(given.shard))
    for layer, field in made.items():
        print(f"layer {layer}: {field} in {field.path}")
    return 0


def _part(text: str) -> tuple[int, int]:
    """'2/8' → (2, 8)."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not int(match[1]) < int(match[2]):
        raise InputError(f"--shard is the number of a part, from 0, and of how many, such as 0/4; got {text!r}")
    return int(match[1]), int(match[2])


def _drop(study: Any, given: Words) -> int:
    if given.layer is None:
        raise InputError("drop gives back the disk of one layer's activations; say which: --layer 2")
    print(f"gone: {study.drop(given.random_weights, given.layer)}")
    return 0


def _label(study: Any, given: Words) -> int:
    for rows in study.lattices():
        if given.only is None:
            made = study.truth(rows)
        elif given.only in study.run.labels:
            made = study.labelled(rows, given.only)
        else:
            raise InputError(f"labels has no {given.only!r}; {nearest(given.only, study.run.labels)}")
        print(made.columns.to_string(index=False))
    return 0


def _fit(study: Any, given: Words) -> int:
    for layer, seed, sae, _ in _dictionaries(study, given, encode=False):
        quality = ", ".join(f"{name} {sae.about[name]:.4g}" for name in ("fvu", "l0", "dead"))
        print(f"layer {layer} seed {seed}: {quality}")
    return 0


def _encode(study: Any, given: Words) -> int:
    for layer, seed, _, codes in _dictionaries(study, given, encode=True):
        print(f"layer {layer} seed {seed}: {codes} in {codes.path}")
    return 0


def _dictionaries(study: Any, given: Words, encode: bool) -> Any:
    """(layer, seed, dictionary, codes or None) of all, or of those that are picked."""
    if not study.job:
        yield from study.dictionaries(encode)
        return
    random = given.random_weights
    for layer, seed, acts in study.chosen(given.layer, given.seed, random):
        sae = study.fitted(acts, layer, seed, random)
        yield layer, seed, sae, study.codes(acts, sae, layer, seed, random) if encode else None


def _analyse(study: Any, given: Words) -> int:
    if not study.job:
        summary(study.analyse_all().joined)
        print(f"tables: {study.out / 'tables'}")
        return 0
    if given.only is None:
        raise InputError("--layer, --seed and --random-weights say which one is meant by --only; give that too")
    for folder in study.analyse_only(given.only, given.layer, given.seed, given.random_weights):
        print(f"{given.only}: {folder}")
    return 0


def _export(study: Any, given: Words) -> int:
    study.export_all(study.analyse_all())
    print(f"exports: {study.out / 'exports'}")
    return 0


def _report(study: Any, given: Words) -> int:
    study.report_all(study.analyse_all())
    print(f"report: {study.out / 'report.html'}")
    return 0


STAGES = (
    _piecewise("rows", "stage: what the rows are, and all that can be refused before the model runs", (), _rows),
    _piecewise("activations", "stage: run the model over the source", ("shard", "layer", "random"), _activations),
    _piecewise("drop", "give back the disk that activations of a layer take", ("layer", "random"), _drop),
    _piecewise("label", "stage: paint the annotation onto the rows", ("only",), _label),
    _piecewise("fit", "stage: fit the dictionaries", ("layer", "seed", "random"), _fit),
    _piecewise("encode", "stage: codes of all rows", ("layer", "seed", "random"), _encode),
    _piecewise(
        "analyse", "stage: every table, baselines included", ("only", "layer", "seed", "random"), _analyse, False
    ),
    _piecewise("export", "stage: tracks and h5ad of the best features", (), _export, False),
    _piecewise("report", "stage: the HTML report", (), _report, False),
)
