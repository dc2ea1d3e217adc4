"""Files that are read, and the folder that is written: there, unlocked, of this run."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bioterp import locks, store
from bioterp.activate import about_layer
from bioterp.check.finding import OK, PROBLEM, Finding, problem
from bioterp.errors import StoreError
from bioterp.opening import path_problems
from bioterp.records import Run


def paths(run: Run) -> Iterator[Finding]:
    """Every file that is absent, and an output folder that is somebody else's, locked, or littered."""
    for error in path_problems(run):
        yield problem(error, "run")
    for name, spec in run.labels.items():
        for key in ("within", "sequence"):
            path = getattr(spec, key)
            if isinstance(path, Path) and not path.is_file():
                yield Finding(PROBLEM, f"labels.{name}", f"there is no file {path} ({key})", "mend the path")
    if not run.out.is_dir():
        return
    owner = _locked(run.out / locks.NAME)
    if owner is not None:
        yield Finding(PROBLEM, "out", f"{run.out.name} is in use by {owner}", "wait for it, or give this run another")
    left = [path for path in run.out.rglob(".*") if store.LEFT.fullmatch(path.name)]
    if left:
        held = sum(file.stat().st_size for one in left for file in [one, *one.rglob("*")] if file.is_file())
        what = f"{len(left)} leftovers of killed writers ({held / 1e6:.0f} MB)"
        yield Finding(OK, "out", what, "the run removes them")


def _locked(path: Path) -> str | None:
    """Who holds the lock of a result folder; nothing is written, and no lock is kept."""
    if not path.is_file():
        return None
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return locks.owner(handle)
    except OSError:  # a file system without locks: the run says so
        return None
    finally:
        os.close(handle)
    return None


def earlier(run: Run, source: Any, model: Any) -> Iterator[Finding]:
    """What an earlier run left in the folder: taken up, or refused because it was made with other settings."""
    if not run.out.is_dir():
        return
    whole: list[str] = []
    parts: list[str] = []
    for layer in run.layers:
        folder = run.out / "activations" / f"layer={layer}"
        try:
            kept = [store.read_json(one).get("recipe", {}) for one in _records(folder)]
        except (StoreError, OSError) as error:
            yield problem(error, "out")
            continue
        if not kept:
            continue
        wanted = {**about_layer(model, layer, source, run.dtype), "source": source.recipe}
        wanted = json.loads(json.dumps(wanted))
        other = sorted({key for theirs in kept for key in wanted if theirs.get(key) != wanted[key]})
        if other:
            detail = [one for theirs in kept[:1] for one in _differ(theirs.get("source"), wanted["source"])]
            what = f"activations of layer {layer} there were made with other settings ({', '.join(detail or other)})"
            remedy = f"give another folder, or delete {folder.parent.name}/{folder.name} and rows/ there"
            yield Finding(PROBLEM, "out", what, remedy)
        else:
            (whole if (folder / "meta.json").is_file() else parts).append(str(layer))
    if whole:
        yield Finding(OK, "out", f"activations of the layers {', '.join(whole)} are there and are taken as they are")
    if parts:
        yield Finding(OK, "out", f"activations of the layers {', '.join(parts)} are there in part", "the run goes on")


def _records(folder: Path) -> list[Path]:
    """The records of a stored Field: of the whole, or of its first shard where it was not finished."""
    if (folder / "meta.json").is_file():
        return [folder / "meta.json"]
    return sorted(folder.glob("shard=*/meta.json"))[:1]


def _differ(theirs: Any, ours: Any) -> list[str]:
    if not isinstance(theirs, dict) or not isinstance(ours, dict):
        return []
    return [f"source.{key}" for key in sorted({*theirs, *ours}) if theirs.get(key) != ours.get(key)]
