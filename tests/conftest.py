"""What the tests share: where real data lie, and how to ask for them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("BIOTERP_SHARED", ROOT.parent / "shared")) / "data"


@pytest.fixture(scope="session")
def genomics() -> Path:
    """The folder of real genomes, annotations and weights; the test is skipped where it is absent."""
    if not (SHARED / "genomics").is_dir():
        pytest.skip("real genomics data are not here (set BIOTERP_SHARED to the folder that holds data/)")
    return SHARED / "genomics"
