"""A result folder, checked: every file against the hash it was written with, and who made it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bioterp import store
from bioterp.errors import InputError, StoreError

Finding = tuple[str, str]  # ('ok' | 'warning' | 'problem', one line)
RECORD = "run.json"
FINISHED = ("tables", "exports")  # folders whose files run.json lists with their hashes


def hashes(out: Path) -> dict[str, str]:
    """{file: SHA-256} of what a finished run hands out, names relative to its folder."""
    found = [p for name in FINISHED for p in sorted((out / name).rglob("*")) if _ours(p)]
    found += [p for p in (out / "report.html", out / "layers.png", out / "left_out.tsv") if p.is_file()]
    return {path.relative_to(out).as_posix(): store.file_sha256(path) for path in found}


def _ours(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


def findings(out: str | Path) -> Iterator[Finding]:
    """One finding per stored folder and listed file; a problem is a file that is not what was written.

    Raises InputError for a folder that holds no result.
    """
    out = Path(out)
    records = sorted(out.rglob("meta.json")) if out.is_dir() else []
    if not records and not (out / RECORD).is_file():
        raise InputError(f"{out} holds no result of bioterp; give the folder a run wrote into (its out:)")
    yield from _provenance(out)
    held = 0
    for record in records:
        try:
            stored = store.read(record.parent, check=True)
            held += len(stored.meta.get("sha256", {}))
            strange = sorted({p.name for p in record.parent.iterdir() if _ours(p)} - _known(stored))
            if strange:
                yield "warning", f"{_name(out, record.parent)}: {strange[0]} was not written by bioterp"
        except (StoreError, ValueError, OSError) as error:
            yield "problem", f"{_name(out, record.parent)}: {_plain(error, out)}"
    yield "ok", f"{len(records)} stored folders, {held} files re-hashed"
    left = [p for p in out.rglob(".*") if store.LEFT.fullmatch(p.name)]
    if left:
        yield "warning", f"{len(left)} leftovers of killed writers; the next run removes them"


def _known(stored: store.Stored) -> set[str]:
    return {"meta.json", *stored.meta.get("sha256", {}), *(["columns.parquet"] if "shards" in stored.meta else [])}


def _name(out: Path, folder: Path) -> str:
    return folder.relative_to(out).as_posix() or "."


def _plain(error: Exception, out: Path) -> str:
    return str(error).replace(f"{out}/", "")


def _provenance(out: Path) -> Iterator[Finding]:
    """Who made the result, and whether what it hands out is as it was written."""
    path = out / RECORD
    if not path.is_file():
        yield "warning", f"there is no {RECORD}: the run has not ended; the same command goes on"
        return
    try:
        told: dict[str, Any] = store.read_json(path)
    except StoreError as error:
        yield "problem", _plain(error, out)
        return
    versions = told.get("versions") or {}
    made = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield "ok", f"made {told.get('time', 'at an unknown time')} with {made or 'unknown versions'}"
    command = told.get("command")
    if isinstance(command, list):
        yield "ok", f"command: {' '.join(map(str, command))}"
    config = told.get("config")
    if isinstance(config, dict):
        seeds = (config.get("dictionary") or {}).get("seeds")
        model = (config.get("model") or {}).get("name")
        yield "ok", f"model {model}, seeds {seeds}, config {store.digest(config)}"
    files = told.get("files")
    if not isinstance(files, dict):
        yield "warning", f"{RECORD} lists no hashes of tables and exports: it is of an older bioterp"
        return
    wrong = 0
    for name, sha in files.items():
        inside = not Path(name).is_absolute() and ".." not in Path(name).parts
        if not inside or not (out / name).is_file():
            wrong += 1
            yield "problem", f"{name} is gone; run the same command again"
        elif store.file_sha256(out / name) != sha:
            wrong += 1
            yield "problem", f"{name} is not what the run wrote (its hash changed); delete it and run again"
    yield "ok", f"{len(files) - wrong} of {len(files)} tables, exports and pages are what the run wrote"


def record(out: Path, about: dict[str, Any]) -> None:
    """Write run.json: what is told, and the hashes of what the run hands out."""
    with store.writing_file(out / RECORD) as beside:
        beside.write_text(json.dumps(about | {"files": hashes(out)}, indent=1, default=str))
