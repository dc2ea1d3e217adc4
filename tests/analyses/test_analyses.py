"""Every analysis: a file, a function of its name, a record; and an import that costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bioterp import analyses
from bioterp.errors import InputError


@pytest.mark.parametrize("name", analyses.NAMES)
def test_record_and_function(name):
    record = analyses.about(name)
    assert record.name == name and record.question.endswith("?") and record.needs and record.limits and record.reference
    assert analyses.load(name).__name__ == name


def test_a_wrong_name_is_met_with_the_near_ones():
    with pytest.raises(InputError, match="did you mean 'detection'"):
        analyses.load("detecton")


def test_importing_the_shelf_loads_no_numbers():
    code = "import sys, bioterp.analyses; print([m for m in ('numba', 'scipy', 'numpy', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
