"""A run as one tree of typed records, read from `run.yaml`.

Unknown keys are refused with the nearest known one; every value is checked for its type here, so that the
rest of the program never meets a string where it wants a number. Paths are relative to the file they stand in.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from pathlib import Path
from typing import Any

import yaml

from bioterp import doors
from bioterp.errors import InputError, nearest, shown
from bioterp.kinds import bounded, check_keywords, count, named, refusal, size
from bioterp.records import ANALYSES, BASELINES, CHOICES, OF_KIND, SOURCES, Dictionary, Label, Model, Run

FOLDER = r"[\w.+@=, -]{1,128}"
_SOURCE: Any = typing.get_type_hints(Run)["source"]  # of any kind: which one is told by `kind`


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which would let the second of two equal keys win silently, made to refuse it."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            name = getattr(key, "value", None)
            if isinstance(name, str) and name in seen:
                raise InputError(f"the key {shown(name)} stands twice in the run file (line {key.start_mark.line + 1})")
            seen.add(name if isinstance(name, str) else id(key))
        return super().construct_mapping(node, deep)


def load(path: str | Path) -> Run:
    """Read and check a run.yaml; raises InputError with the key in question."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no run file {path}; see the README for one to start from")
    return parse(doors.yaml_of(path, _Loader), path.parent)


def parse(tree: Any, base: Path) -> Run:
    """A nested mapping as a Run; relative paths count from `base`."""
    run: Run = _record(Run, tree, "", base)
    kind = run.source.kind
    if "analyses" not in tree:
        run = dataclasses.replace(run, analyses=list(ANALYSES[kind]))
    if "baselines" not in tree:
        run = dataclasses.replace(run, baselines=[*BASELINES, *OF_KIND[kind]])
    _check_kind(run)
    run = dataclasses.replace(run, dictionary=_dictionary(run.dictionary, tree.get("dictionary") or {}))
    tokens = run.dictionary.tokens
    if isinstance(tokens, str):
        run = dataclasses.replace(run, dictionary=dataclasses.replace(run.dictionary, tokens=count(tokens)))
    if isinstance(run.disk, str):
        run = dataclasses.replace(run, disk=size(run.disk))
    for name, label in run.labels.items():
        if (label.call is None) == (label.path is None and label.column is None):
            raise InputError(
                f"labels.{name} needs a path (an annotation file), call: genes, or a column (of the scans' sheet)"
            )
        _check_label(name, label)
        _check_folder(f"labels: the name {shown(name)}", name)
        if isinstance(label.options.get("names"), str):  # a path like any other, with what to pick behind a #
            label.options["names"] = _path(label.options["names"], f"labels.{name}.names", base)
    for layer in run.layers:
        _check_folder(f"layers: {shown(layer)}", str(layer))
    if not run.layers:
        raise InputError("layers names no layer; give block numbers or module names, e.g. layers: [2, 4]")
    if len(set(map(str, run.layers))) < len(run.layers):
        raise InputError(f"layers names a layer twice: {run.layers}")
    if run.dictionary.path is None and not 0 < run.dictionary.k < run.dictionary.width:
        raise InputError(
            f"dictionary.k must lie between 1 and width − 1; got k {run.dictionary.k}, width {run.dictionary.width}"
        )
    if min(run.export_features, run.dictionary.batch or 1, getattr(run.source, "shards", 1)) < 1:
        raise InputError("export_features, dictionary.batch and source.shards are counts of at least 1")
    tokens, lr = run.dictionary.tokens, run.dictionary.lr
    if (isinstance(tokens, int) and tokens < 1) or (lr is not None and lr <= 0):
        raise InputError(f"dictionary.tokens and dictionary.lr are above 0; got {tokens} and {lr}")
    if min(run.seed, *run.dictionary.seeds, 0) < 0:
        raise InputError(f"seeds are 0 or more; got {min(run.seed, *run.dictionary.seeds)}")
    if not run.dictionary.seeds:
        raise InputError("dictionary.seeds names no seed; give at least one, e.g. seeds: [0]")
    folder = _path(run.model.name, "model.name", base)
    if (folder / "config.json").is_file():
        run = dataclasses.replace(run, model=dataclasses.replace(run.model, name=str(folder)))
    return run


def _path(text: str, where: str, base: Path) -> Path:
    """A path of the run file, relative ones from where it lies."""
    if "\0" in text:
        raise InputError(f"{where} holds a zero byte, which no path has; got {shown(text)}")
    try:
        return base / Path(text).expanduser()
    except RuntimeError:
        raise InputError(f"{where} begins with the home folder of somebody who is not here: {shown(text)}") from None


def _check_folder(what: str, name: str) -> None:
    """Refuse a name that becomes a folder below `out`, and a word of jobs, and could lead out of either."""
    if not re.fullmatch(FOLDER, name) or ".." in name or name.strip(". ") != name:
        raise InputError(f"{what} cannot name a folder; use letters, digits, and . _ + - = @ within")


def _check_kind(run: Run) -> None:
    """Refuse what belongs to another kind of source."""
    kind = run.source.kind
    for other, names in OF_KIND.items():
        for name in names if other != kind else ():
            if name in run.baselines:
                raise InputError(
                    f"baselines: {name!r} is for source.kind {other}; for {kind}: {', '.join(OF_KIND[kind])}"
                )
    people = [name for name in ("phenotypes", "bids") if name in run.exports]
    if people and run.cohort is None:
        raise InputError(f"exports: {people[0]!r} is of people; give the block cohort")
    if "detection" not in run.analyses:
        of_people = ("h5ad", "phenotypes", "bids") if run.cohort is not None else ()
        needs = [name for name in run.exports if name not in ("tsv", "parquet", *of_people)]
        made = [name for name in ("enrichment", "adjusted") if name in run.analyses]
        if made or needs:
            what = f"analyses: {made[0]!r}" if made else f"exports: {needs[0]!r}"
            raise InputError(f"{what} is made of what detection finds; put detection among the analyses")
    if run.cohort is not None and kind == "dna":
        raise InputError("cohort: a source of kind dna is one genome; people come from kind haplotypes or scans")
    pcs = run.cohort.pcs if run.cohort is not None else None
    if pcs is not None and (pcs.vcf is None) == (pcs.path is None):
        raise InputError("cohort.pcs needs vcf (genotypes off the target) or path (of a .eigenvec or covariate file)")
    if pcs is not None and pcs.n < 1:
        raise InputError(f"cohort.pcs.n is a count of at least 1; got {pcs.n}")
    if not run.analyses:
        raise InputError("analyses names none; give at least one, e.g. analyses: [detection]")
    if run.adjust is not None:
        from bioterp.background import check_names

        check_names(run.adjust, kind)
        if not run.adjust:
            raise InputError("adjust names nothing; name a covariate, e.g. adjust: [gc], or leave adjust out")
    if "probing" in run.analyses and "neurons" not in run.baselines:
        raise InputError("analyses: 'probing' holds codes against raw activations; put neurons among the baselines")
    if "candidates" in run.analyses and kind != "scans":
        raise InputError("analyses: 'candidates' is for source.kind scans")
    foreign = ("bigwig", "bedgraph", "bed") if kind == "scans" else ("nifti",)
    wrong = [name for name in run.exports if name in foreign]
    if wrong:
        raise InputError(f"exports: {wrong[0]!r} cannot hold what a source of kind {kind} gives; leave it out")
    for name, label in run.labels.items():
        if (label.call is not None and kind != "dna") or (label.column is not None and kind != "scans"):
            raise InputError(f"labels.{name}: {'call' if label.call else 'column'} is not for source.kind {kind}")
        for key in ("within", "sequence") if kind == "scans" else ():
            if getattr(label, key) is not None:
                raise InputError(f"labels.{name}: {key} is not for source.kind scans")


def _dictionary(spec: Dictionary, tree: dict[str, Any]) -> Dictionary:
    """Refuse what does not go together; of one that is brought along, k is 0 until its file is read."""
    fitting = [one.name for one in dataclasses.fields(Dictionary) if one.name not in ("path", "options")]
    reading = ["format", "threshold", "input_scale", "rescaled"]
    if spec.path is None:
        for key in spec.options:
            why = "it goes with dictionary.path" if key in reading else nearest(key, ["path", *fitting])
            raise InputError(f"unknown key {key!r} in dictionary; {why}")
        return spec
    for key in spec.options:
        if key not in reading:
            raise InputError(f"unknown key {key!r} in dictionary; {nearest(key, ['path', 'k', *reading])}")
    for key in tree:
        if key in fitting and key != "k":
            raise InputError(f"dictionary.path names one that is there: nothing is fitted, so leave {key} out")
    if "k" in tree and spec.k < 1:
        raise InputError(f"dictionary.k is a number of features, 1 or more; got {spec.k}")
    return dataclasses.replace(spec, k=spec.k if "k" in tree else 0, width=0)


def _check_label(name: str, spec: Label) -> None:
    """Options of a label are keywords of `bioterp.label`, and of `call_genes` where genes are called."""
    from bioterp.annotations import call_genes, label, spans

    if isinstance(spec.within, dict):
        check_keywords([(spans, 1)], spec.within, f"labels.{name}.within")
    check_keywords([(label, 2), *([(call_genes, 1)] if spec.call is not None else [])], spec.options, f"labels.{name}")


def _record(kind: Any, tree: Any, where: str, base: Path) -> Any:
    if kind is Label and isinstance(tree, str):
        tree = {"path": tree}
    if kind is Model and isinstance(tree, str):
        tree = {"name": tree}
    if kind == _SOURCE:
        kind = _source_kind(tree)
    if not isinstance(tree, dict):
        raise InputError(f"{where or 'the run file'} must be a mapping of keys to values; got {shown(tree)}")
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in dataclasses.fields(kind)}
    given: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in tree.items():
        if key in known:
            given[key] = _value(hints[key], value, f"{where}.{key}" if where else key, base)
        elif "options" in known:
            rest[str(key)] = value  # passed on as keywords, and checked by whom they are for
        else:
            place = f"in {where}" if where else "in the run file"
            raise InputError(f"unknown key {shown(key)} {place}; {nearest(str(key)[:100], known)}")
    if rest:
        given["options"] = {**given.get("options", {}), **rest}
    required = (dataclasses.MISSING,) * 2
    for name, one in known.items():
        if name not in given and (one.default, one.default_factory) == required:
            raise InputError(f"{where or 'the run file'} lacks the key {name!r}")
    return kind(**given)


def _source_kind(tree: Any) -> Any:
    """The record of a source, by its kind."""
    named = tree.get("kind") if isinstance(tree, dict) else None
    if isinstance(tree, dict) and named is None:
        raise InputError(f"source lacks the key 'kind'; one of {', '.join(SOURCES)}")
    if isinstance(tree, dict) and (not isinstance(named, str) or named not in SOURCES):
        raise InputError(f"source.kind: {shown(named)} is not known; {nearest(str(named)[:100], SOURCES)}")
    return SOURCES.get(str(named), SOURCES["dna"])


def _value(kind: Any, value: Any, where: str, base: Path) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    choices = CHOICES.get(where)
    if choices:
        for one in value if isinstance(value, list) else [value]:
            if one is not None and one not in choices:
                raise InputError(f"{where}: {shown(one)} is not known; {nearest(str(one)[:100], choices)}")
    if kind == _SOURCE:
        return _record(kind, value, where, base)
    if origin in (typing.Union, types.UnionType):
        return _union(inner, value, where, base)
    if origin is list:
        if not isinstance(value, list):
            raise InputError(f"{where} must be a list, e.g. [a, b]; got {shown(value)}")
        return [_value(inner[0], one, where, base) for one in value]
    if origin is dict:
        if not isinstance(value, dict):
            raise InputError(f"{where} must be a mapping; got {shown(value)}")
        return {str(k): _value(inner[1], v, f"{where}.{k}", base) for k, v in value.items()}
    if dataclasses.is_dataclass(kind):
        return _record(kind, value, where, base)
    if kind is Any:
        return value
    if kind is Path and isinstance(value, str):
        return _path(value, where, base)
    number = isinstance(value, int | float) and not isinstance(value, bool) and bounded(value)
    if kind in (int, float) and number and isinstance(value, int if kind is int else int | float):
        return kind(value)
    if kind not in (int, float) and isinstance(value, kind):
        return value
    raise refusal(where, kind, value)


def _union(kinds: tuple[Any, ...], value: Any, where: str, base: Path) -> Any:
    if value is None and type(None) in kinds:
        return None
    wanted = [kind for kind in kinds if kind is not type(None)]
    if len(wanted) == 1:
        return _value(wanted[0], value, where, base)  # whose complaint names the key within
    for kind in wanted:
        try:
            return _value(kind, value, where, base)
        except InputError:
            continue
    raise InputError(f"{where} must be {' or '.join(named(kind) for kind in wanted)}; got {shown(value)}")
