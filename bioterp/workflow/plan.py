"""From a run file to the jobs of a workflow: what each needs, and exactly what of the run file it hangs on.

A job that is done leaves a mark, `out/jobs/<rule>/<piece>/<hash>`; the hash is of what the job hangs on. So a job is to
be done again when that changes, when a file it reads or a job it needs is newer, and never else: whatever records the
scheduler keeps, or has lost. Neither torch nor pandas is loaded here, for every job of a cluster reads this anew.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bioterp import __version__, config
from bioterp.records import OF_KIND, DNASource, HaplotypeSource, Run, ScanSource, asked

PLAIN = ("neurons", "pca", "random-directions")  # baselines made of a layer's activations
PLUGINS = "BIOTERP_PLUGINS"  # files that `--plugin` named, for the jobs to know them too
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


class Plan:
    """The jobs of a run by name, in an order in which each comes after those it needs.

    run: a run as `config.load` gives it. base: the folder its paths are told from, so that a study that is moved is
    the same study.
    """

    def __init__(self, run: Run, base: Path):
        self.run, self.base = run, base
        self.jobs: dict[str, Job] = {}
        for job in _jobs(run, self._plain):
            self.jobs[job.name] = job

    @classmethod
    def load(cls, file: str | Path) -> Plan:
        """The plan of a run file. Raises InputError as `config.load` does."""
        path = Path(file).resolve()
        if os.environ.get(PLUGINS):
            from bioterp import plugins

            plugins.plug_all()
        return cls(config.load(path), path.parent)

    def at(self, name: str) -> str:
        """A file below `out`, from here when that is here or below, else from the root."""
        told = os.path.relpath(self.run.out / name)
        return str(self.run.out.resolve() / name) if told.startswith("..") else told

    def _plain(self, value: Any) -> Any:
        """Records and paths as plain JSON."""
        if isinstance(value, Path):
            return os.path.relpath(value, self.base)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {one.name: self._plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
        if isinstance(value, dict):
            return {str(key): self._plain(one) for key, one in value.items()}
        return [self._plain(one) for one in value] if isinstance(value, list | tuple) else value

    # ------------------------------------------------------------------ what a Snakefile asks

    def of(self, rule: str, wildcards: Any) -> Job:
        """The job of a rule and its wildcards."""
        return self.jobs[f"{rule}/{wildcards.piece}"]

    def pattern(self, rule: str) -> str:
        """The marks of a rule's jobs, with wildcards."""
        return f"{self.at('jobs')}/{rule}/{{piece}}/{{mark}}"

    def done(self, job: Job) -> str:
        return self.at(job.mark)

    def needed(self, job: Job) -> list[str]:
        """Marks of the jobs it needs, and files it reads."""
        return [*(self.done(self.jobs[name]) for name in job.needs), *map(str, job.files)]

    def inputs(self, rule: str) -> Callable[[Any], list[str]]:
        """A function of wildcards: what the job needs."""
        return lambda wildcards: self.needed(self.of(rule, wildcards))

    def words(self, rule: str) -> Callable[[Any], str]:
        """A function of wildcards: the words of the verb, for a shell."""
        return lambda wildcards: shlex.join(self.of(rule, wildcards).words)

    def hangs_on(self, rule: str) -> Callable[[Any], str]:
        """A function of wildcards: the part of the run file that the job hangs on, as JSON."""
        return lambda wildcards: self.of(rule, wildcards).told

    @property
    def last(self) -> Job:
        """The job that needs all others."""
        return self.jobs["finish/all"]

    @property
    def results(self) -> list[str]:
        """Files of the result that every such run leaves, for other rules to need."""
        names = ["report.html", "run.json"]
        if self.run.labels and "detection" in self.run.analyses:
            names += ["tables/detection.tsv", "tables/features.tsv"]
        if self.run.cohort is not None:
            names += ["tables/association.tsv"]
        return [self.at(name) for name in names]


def _jobs(run: Run, plain: Callable[[Any], Any]) -> Iterator[Job]:
    """Every job, each after those it needs."""
    source, model = _source(run, plain), plain(run.model)
    if Path(run.model.name).is_dir():
        model["name"] = plain(Path(run.model.name))
    read = (*_files_of_source(run), *_files_of_model(run))
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
    files = () if brought is None else tuple(brought.values()) if isinstance(brought, dict) else (brought,)
    fits, analysed = [], []
    for seed in seeds:
        piece, own = f"{weights}/{at}/seed={seed}", (*pick, "--seed", str(seed), *_random(weights))
        fits.append(Job("fit", piece, own, {"dictionary": fitting}, acts, files if weights == OWN else ()))
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
            yield Job("people", at, pick, about, (codes.name,), tuple(_files_of_cohort(run)))
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
    return Job("analyse", f"{what}/{at}", ("--only", what, *pick), about, needs, _plugins())


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
    files = (*(path for path in given if isinstance(path, Path) and path.exists()), *_plugins())
    about = {"label": plain(spec), "version": __version__}
    return Job("label", quote(name, safe=""), ("--only", name), about, (rows.name,), files)


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


def _files_of_source(run: Run) -> list[Path]:
    """What the source is read from, scans of a sheet included."""
    source = run.source
    if isinstance(source, ScanSource):
        return [source.items, *_scans(source.items)]
    if isinstance(source, HaplotypeSource):
        vcf = source.vcf if isinstance(source.vcf, list) else [source.vcf]
        samples = source.samples or (run.cohort.samples if run.cohort is not None else None)
        return [path for path in (*vcf, source.reference, source.regions, samples) if path is not None]
    if isinstance(source, DNASource):
        return [path for path in (source.fasta, source.regions) if path is not None]
    return [*(value for value in vars(source).values() if isinstance(value, Path)), *_plugins()]


def _plugins() -> tuple[Path, ...]:
    """The user's own plug-ins, which what they make hangs on."""
    return tuple(Path(one) for one in os.environ.get(PLUGINS, "").split(os.pathsep) if one)


@functools.cache
def _scans(sheet: Path) -> list[Path]:
    """The files in the column `path` of a sheet, those that are there; folders of DICOM series are not looked into."""
    if not sheet.is_file():
        return []
    lines = sheet.read_text(encoding="utf-8", errors="replace").splitlines()
    head = lines[0].split("\t") if lines else []
    if "path" not in head:
        return []
    at = head.index("path")
    named = [line.split("\t")[at].strip() for line in lines[1:] if line.count("\t") >= at]
    return [path for path in (sheet.parent / name for name in named if name) if path.is_file()]


def _files_of_model(run: Run) -> list[Path]:
    folder = Path(run.model.name)
    held = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    weights = run.model.weights
    return [*held, *([weights] if weights is not None and weights.is_file() else [])]


def _files_of_cohort(run: Run) -> Iterator[Path]:
    asked_of = run.cohort
    if asked_of is None:
        return
    pcs = asked_of.pcs
    vcf = [] if pcs is None else pcs.vcf if isinstance(pcs.vcf, list) else [pcs.vcf]
    for path in (asked_of.samples, asked_of.regions, *vcf, pcs.path if pcs is not None else None):
        if path is not None:
            yield path
