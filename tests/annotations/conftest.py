"""Hand-written annotation files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def write(tmp_path: Path):
    def _write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode())
        return path

    return _write


@pytest.fixture
def gff(write):
    """A GFF3 from blank-separated columns."""

    def _gff(text: str, name: str = "a.gff3") -> Path:
        lines = ["##gff-version 3"]
        for line in text.strip().splitlines():
            line = line.strip()
            lines.append(line if line.startswith("#") else "\t".join(line.split(None, 8)))
        return write(name, "\n".join(lines) + "\n")

    return _gff


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)
