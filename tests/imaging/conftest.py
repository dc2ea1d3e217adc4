"""Where the real scans lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import SHARED


@pytest.fixture(scope="session")
def imaging() -> Path:
    """The folder of real scans, good and malformed; the test is skipped where it is absent."""
    if not (SHARED / "imaging").is_dir():
        pytest.skip("real imaging data are not here (set BIOTERP_SHARED to the folder that holds data/)")
    return SHARED / "imaging"
