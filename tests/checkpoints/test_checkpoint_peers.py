"""Checkpoints written by the libraries themselves, and bioterp's read back by them.

The libraries need other versions of shared packages than bioterp's own environment has: give the Python of an
environment that holds them, BIOTERP_PEERS=/path/to/venv/bin/python. Without one the tests of a library are skipped; the
layouts themselves are tested by hand in test_checkpoint_layouts.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

import bioterp as bt
from bioterp import checkpoints

WRITER = Path(__file__).with_name("peers.py")
FORMATS = {"sae_lens": "saelens", "dictionary_learning": "dictionary_learning", "sparsify": "sparsify"}
PYTHON = os.environ.get("BIOTERP_PEERS", sys.executable)


@cache
def lacking(library: str) -> str:
    """Why a library cannot be used here; empty when it can."""
    look = f"import importlib.util as u; raise SystemExit(u.find_spec({library!r}) is None)"
    if not Path(PYTHON).exists() or subprocess.run([PYTHON, "-c", look], check=False).returncode:
        return f"{library} is not in {PYTHON} (BIOTERP_PEERS names the Python of an environment that has it)"
    return ""


def run(library: str, folder: Path) -> None:
    done = subprocess.run([PYTHON, str(WRITER), library, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]


@pytest.mark.slow
@pytest.mark.parametrize("library", FORMATS)
def test_what_a_library_wrote_reads_alike_and_what_bioterp_wrote_it_reads(library: str, tmp_path: Path) -> None:
    if why := lacking(library):
        pytest.skip(why)
    run(library, tmp_path)
    cases = sorted(tmp_path.iterdir())
    assert len(cases) >= 3
    for folder in cases:
        oracle = np.load(folder / "oracle.npz")
        path = folder / "layers.2" if library == "sparsify" else folder
        dictionary = bt.load_dictionary(path)
        assert dictionary.about["format"] == FORMATS[library] and dictionary.about["model"] == "tiny"
        codes = dictionary.encode_array(oracle["x"])
        dense = codes.toarray() if scipy.sparse.issparse(codes) else codes
        close(dense, oracle["codes"], folder.name)
        close(dictionary.decode_array(codes, oracle["x"]), oracle["rebuilt"], folder.name)
        checkpoints.save(dictionary, folder / "ours", FORMATS[library])
    run(f"{library}_back", tmp_path)
    for folder in cases:
        theirs, oracle = np.load(folder / "theirs.npz"), np.load(folder / "oracle.npz")
        for name in theirs:
            close(theirs[name], oracle[name], f"{folder.name} read back")


def close(found: np.ndarray, wanted: np.ndarray, what: str) -> None:
    """To 1e-5 of the largest value, and active in the same places."""
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max(), what
    assert not np.any((found != 0) != (wanted != 0)) or "rebuilt" in what, what
