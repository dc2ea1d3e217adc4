"""What `bioterp demo` runs: a study on data that ships with the dependencies, from a run file it leaves behind."""

from __future__ import annotations

from pathlib import Path

from bioterp.store import writing_file


def quoted(path: Path) -> str:
    """A path as YAML reads it back, whatever it holds."""
    return "'" + str(path).replace("'", "''") + "'"


def write(path: Path, text: str) -> None:
    """Write a text file; one that says the same already is left alone."""
    if not path.exists() or path.read_text() != text:
        with writing_file(path) as beside:
            beside.write_text(text)
