"""An adapter, an annotation or an analysis of the user's, in one file: `plug("purity.py")`.

The file holds a record named ABOUT and a function or class of the file's own name, which is then the word of run files:

    purity.py       ABOUT = Analysis(…)      purity(codes, truth, found) → DataFrame    analyses: [purity]
    narrowpeak.py   ABOUT = Annotation(…)    narrowpeak(path) → DataFrame               labels: {a: x.narrowPeak}
    oligos.py       ABOUT = Adapter(…)       oligos(path, …, seed) → a source           source: {kind: oligos, …}

A plug-in is code and is run, so a run file cannot name one: files are given on the command line (`--plugin`), in Python
(`bioterp.plug`), or in the environment (BIOTERP_PLUGINS), through which the jobs of a run inherit them. What is made
with a plug-in hangs on its text: an edited file makes its tables anew.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import os
import sys
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from bioterp import adapters, analyses, records, tables
from bioterp.annotations import PLUGGED as READERS
from bioterp.annotations import Annotation
from bioterp.annotations import Plugged as Reader
from bioterp.errors import InputError, nearest
from bioterp.store import file_sha256

VARIABLE = "BIOTERP_PLUGINS"
_known: dict[str, tuple[Path, str]] = {}  # word → file and hash


def plug(path: str | Path) -> str:
    """Make the plug-in in a file known, and return its word. Plugged again, an edited file replaces what it was.

    Raises InputError for a file that is absent or cannot be imported, lacks its record or its function, or takes a
    word that bioterp or another file has.
    """
    path = Path(path).resolve()
    name = path.stem
    if not path.is_file() or path.suffix != ".py":
        raise InputError(f"there is no plug-in {path}; give a Python file")
    if not name.isidentifier():
        raise InputError(f"a plug-in's word is its file's name without .py; {name!r} is none, name it like_this.py")
    sha = file_sha256(path)
    if name in _known and _known[name] == (path, sha):
        return name
    if name in _known and _known[name][0] != path:
        raise InputError(f"two plug-ins are named {name!r}: {_known[name][0]} and {path}; rename one")
    kinds: dict[type, Callable[[str, Any, Any, str], None]] = {
        analyses.Analysis: _analysis,
        Annotation: _annotation,
        adapters.Adapter: _adapter,
    }
    module = _imported(path)
    about, made = getattr(module, "ABOUT", None), getattr(module, name, None)
    if type(about) not in kinds:
        raise InputError(f"{path} needs a record ABOUT: an Analysis, an Annotation or an Adapter")
    if not callable(made):
        raise InputError(f"{path} needs a function or class named {name}, like the file")
    if name in _known:
        unplug(name)
    kinds[type(about)](name, about, made, sha)
    _known[name] = (path, sha)
    return name


def plug_all(files: Iterable[str] = ()) -> None:
    """The plug-ins of a command line and of the environment, which jobs started from here will have too."""
    every = [
        *filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)),
        *(str(Path(one).resolve()) for one in files),
    ]
    for file in every:
        plug(file)
    if every:
        os.environ[VARIABLE] = os.pathsep.join(dict.fromkeys(every))


def unplug(name: str) -> None:
    """Forget a plug-in."""
    if name not in _known:
        raise InputError(f"no plug-in {name!r} is known; {nearest(name, _known)}")
    del _known[name]
    for held in (
        analyses.PLUGGED,
        tables.PLUGGED,
        adapters.PLUGGED,
        records.SOURCES,
        records.ANALYSES,
        records.OF_KIND,
    ):
        held.pop(name, None)  # type: ignore[attr-defined]
    for ending in [one for one, reader in READERS.items() if reader.name == name]:
        del READERS[ending]
    for key in ("analyses", "source.kind"):
        records.CHOICES[key] = tuple(one for one in records.CHOICES[key] if one != name)


def told() -> dict[str, str]:
    """{word: hash} of the plug-ins that are known, for run.json."""
    return {name: sha for name, (_, sha) in _known.items()}


def _imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bioterp_plugin_{path.stem}", path)
    assert spec is not None and spec.loader is not None  # of a file that ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and type hints look there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise InputError(f"the plug-in {path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _analysis(name: str, about: analyses.Analysis, made: Callable[..., Any], sha: str) -> None:
    if name in tables.TABLES or name in records.CHOICES["analyses"] or name in analyses.NAMES:
        raise InputError(f"bioterp has an analysis or table {name!r} itself; rename the plug-in")
    if not about.columns:
        raise InputError(f"the analysis {name} declares no columns; give ABOUT columns=(Column(…), …)")
    lead = (*tables.SUBJECT, *tables.LAYER)
    twice = {one.name for one in about.columns} & {one.name for one in lead}
    if twice:
        raise InputError(f"the analysis {name} declares the column {min(twice)!r}, which every table begins with")
    wrong = [one for one in about.columns if one.dtype not in ("float64", "int32", "bool", "string")]
    if wrong:
        raise InputError(
            f"the column {wrong[0].name!r} of {name} is float64, int32, bool or string; got {wrong[0].dtype!r}"
        )
    tables.PLUGGED[name] = (*lead, *about.columns)
    analyses.PLUGGED[name] = analyses.Plugged(about, made, sha)
    records.CHOICES["analyses"] += (name,)


def _annotation(name: str, about: Annotation, made: Callable[..., Any], sha: str) -> None:
    endings = [one.lower() for one in about.endings]
    if not endings or not all(one.startswith(".") and len(one) > 1 for one in endings):
        raise InputError(f"the annotation {name} names no ending; give ABOUT endings=('.narrowpeak',)")
    for ending in endings:
        READERS[ending] = Reader(name, about, made, sha)


def _adapter(name: str, about: adapters.Adapter, made: Callable[..., Any], sha: str) -> None:
    if name in records.SOURCES:
        raise InputError(f"bioterp has a source.kind {name!r} itself; rename the plug-in")
    called = made.__init__ if isinstance(made, type) else made  # type: ignore[misc]
    hints = typing.get_type_hints(called)
    asked = [one for one in inspect.signature(made).parameters.values() if one.name != "seed"]
    fields: list[Any] = [("kind", str)]
    for one in sorted(asked, key=lambda one: one.default is not one.empty):
        plain = one.default if one.default is not one.empty else dataclasses.MISSING
        fields.append((one.name, hints.get(one.name, Any), dataclasses.field(default=plain)))
    records.SOURCES[name] = dataclasses.make_dataclass(f"{name}_source", fields, frozen=True)
    records.ANALYSES[name] = ("detection", "enrichment", "fidelity")
    records.OF_KIND[name] = ()
    records.CHOICES["source.kind"] += (name,)

    def opened(**given: Any) -> Any:
        source = made(**given)
        source.recipe = {**source.recipe, "kind": name, "plugin": sha}
        return source

    adapters.PLUGGED[name] = opened
