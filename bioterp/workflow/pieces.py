"""The pieces of a run, as calls of verbs: what each hangs on and needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bioterp import __version__
from bioterp.records import OF_KIND, HaplotypeSource, Run, asked
from bioterp.workflow import files

PLAIN = ("neurons", "pca", "random-directions")  # baselines made of a layer's activations
OWN, RANDOM = "own", "random"  # the model with its own weights, or with random ones


@dataclass(frozen=True)
class Job:
    """One call of a verb: which piece it makes, the words for that, what it hangs on, which jobs and files it needs."""

    rule: str
    piece: str
    words: tuple[str, ...] = ()
    hangs_on: Any = None
    needs: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.rule}/{self.piece}"

    @property
    def told(self) -> str:
        """What it hangs on, as JSON."""
        return json.dumps(self.hangs_on, sort_keys=True, default=str)

    @property
    def mark(self) -> str:
        """The file that says it is done, below `out`."""
        return f"jobs/{self.name}/{hashlib.blake2b(self.told.encode(), digest_size=6).hexdigest()}"


def jobs(run: Run, plain: Callable[[Any], Any]) -> Iterator[Job]:
    """Every job, each after those it needs."""
    source, model = _source(run, plain), plain(run.model)
    if Path(run.model.name).is_dir():
        model["name"] = plain(Path(run.model.name))
    read = (*files.of_source(run), *files.of_model(run))
    rows = Job("rows", "all", (), {"source": source, "model": model, "seed": run.seed}, (), read)
    yield rows
    labels = [_label(run, name, plain, rows) for name in run.labels]
    yield from labels
    truth = tuple(job.name for job in labels)
    shards = getattr(run.source, "shards", 1)
    ends: list[Job] = []
    passes: tuple[str, ...] = ()
    before: tuple[str, ...] = (rows.name,)  # what activations wait for: short of disk, for those before them to go
    for weights in (OWN, RANDOM) if "random-weights" in run.baselines else (OWN,):
        layers = [*(["output"] if _reads_outputs(run, weights) else []), *run.layers]
        for group in [layers] if run.disk is None else [[layer] for layer in layers]:
            about = {"source": source, "model": model, "seed": run.seed, "layers": group, "dtype": run.dtype}
            parts = [
                _part(weights, group if run.disk is not None else None, i, shards, about, before, read)
                for i in range(shards)
            ]
            yield from parts
            acts = tuple(job.name for job in parts)
            passes += acts
            made = list(_of_group(run, weights, group, acts, truth, plain))
            yield from made
            ends += made
            if run.disk is not None:
                pick = ("--layer", str(group[0]), *_random(weights))
                readers = tuple(job.name for job in made if job.rule != "known")
                gone = Job("drop", f"{weights}/{_at(group[0])}", pick, None, (*acts, *readers))
                yield gone
                ends.append(gone)
                before = (gone.name,)
    for name in OF_KIND.get(run.source.kind, ()):
        if name in run.baselines:
            ends.append(_analyse(run, name, "all", (), (rows.name, *truth)))
            yield ends[-1]
    whole = {key: value for key, value in plain(run).items() if key != "out"}
    before = (rows.name, *truth, *passes, *(job.name for job in ends))  # all: what lacks its mark is then made first
    yield Job("finish", "all", (), {"run": whole, "version": __version__}, before)


def _of_group(
    run: Run, weights: str, group: Sequence[Any], acts: tuple[str, ...], truth: tuple[str, ...], plain: Any
) -> Iterator[Job]:
    """What is made of the activations of some layers."""
    for layer in group:
        if layer == "output" and _reads_outputs(run, weights):
            yield _analyse(run, "readout", "all", (), (*acts, *truth))
        if layer in run.layers:
            yield from _of_layer(run, weights, layer, acts, truth, plain)


def _of_layer(
    run: Run, weights: str, layer: Any, acts: tuple[str, ...], truth: tuple[str, ...], plain: Any
) -> Iterator[Job]:
    at, pick = _at(layer), ("--layer", str(layer))
    seeds = run.dictionary.seeds if run.dictionary.path is None else [0]
    seeds = seeds[:1] if weights == RANDOM else seeds
    fitting = {k: v for k, v in plain(run.dictionary).items() if k != "seeds"}
    brought = run.dictionary.path
    theirs = () if brought is None else tuple(brought.values()) if isinstance(brought, dict) else (brought,)
    fits, analysed = [], []
    for seed in seeds:
        piece, own = f"{weights}/{at}/seed={seed}", (*pick, "--seed", str(seed), *_random(weights))
        fits.append(Job("fit", piece, own, {"dictionary": fitting}, acts, theirs if weights == OWN else ()))
        yield fits[-1]
        if weights == RANDOM:
            yield _analyse(run, "random-weights", at, pick, (fits[-1].name, *truth))
            continue
        codes = Job("encode", piece, own, None, (fits[-1].name,))
        yield codes
        first = {"curve": seed == seeds[0]} if "probing" in run.analyses else {}
        words = (*pick, "--seed", str(seed))
        analysed.append(_analyse(run, "dictionary", f"{at}/seed={seed}", words, (codes.name, *truth), first))
        yield analysed[-1]
        if run.cohort is not None and seed == seeds[0]:
            about = {"cohort": plain(run.cohort), "seed": run.seed, "dictionary": seed, "version": __version__}
            yield Job("people", at, pick, about, (codes.name,), tuple(files.of_cohort(run)))
    across = {"seeds": seeds, "version": __version__}  # these tables hold one seed against the others
    if "fidelity" in run.analyses:
        needs = tuple(job.name for job in fits)
        yield Job("fidelity", f"{weights}/{at}", (*pick, *_random(weights)), across, needs)
    if analysed and truth and "detection" in run.analyses:
        yield Job("known", at, pick, across, tuple(job.name for job in analysed))
    for name in PLAIN if weights == OWN and truth else ():
        if name in run.baselines:
            sizes = {"width": run.dictionary.width, "k": run.dictionary.k, "seed": seeds[0]}
            yield _analyse(run, name, at, pick, (*acts, *truth), sizes if name == "random-directions" else {})


def _analyse(
    run: Run, what: str, at: str, pick: tuple[str, ...], needs: tuple[str, ...], more: dict[str, Any] | None = None
) -> Job:
    """The tables of one representation."""
    about = {**asked(run, "model" if what == "readout" else what), "version": __version__, **(more or {})}
    return Job("analyse", f"{what}/{at}", ("--only", what, *pick), about, needs, files.plugins())


def _part(
    weights: str, group: Any, i: int, n: int, about: Any, before: tuple[str, ...], files: tuple[Path, ...]
) -> Job:
    """One part of the activations of all layers, or of a group of one."""
    layer = () if group is None else ("--layer", str(group[0]))
    piece = "/".join([weights, *([] if group is None else [_at(group[0])]), f"shard={i}"])
    words = ("--shard", f"{i}/{n}", *layer, *_random(weights))
    return Job("activations", piece, words, about | {"shards": n, "weights": weights}, before, files)


def _label(run: Run, name: str, plain: Callable[[Any], Any], rows: Job) -> Job:
    spec = run.labels[name]
    given = [spec.path, spec.within, spec.sequence]
    read = (*(path for path in given if isinstance(path, Path) and path.exists()), *files.plugins())
    about = {"label": plain(spec), "version": __version__}
    return Job("label", quote(name, safe=""), ("--only", name), about, (rows.name,), read)


def _at(layer: Any) -> str:
    return f"layer={quote(str(layer), safe='')}"


def _random(weights: str) -> tuple[str, ...]:
    return ("--random-weights",) if weights == RANDOM else ()


def _reads_outputs(run: Run, weights: str) -> bool:
    return weights == OWN and "readout" in run.analyses


def _source(run: Run, plain: Callable[[Any], Any]) -> dict[str, Any]:
    made = {key: value for key, value in plain(run.source).items() if key != "shards"}
    if isinstance(run.source, HaplotypeSource) and run.source.samples is None and run.cohort is not None:
        made["samples"] = plain(run.cohort.samples)
    return made
