"""Result folders that are what was written, damaged ones that are named, and one run at a time in a folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bioterp import locks, store, verify
from bioterp.errors import InputError, StoreError


def _result(out: Path) -> Path:
    """What a run leaves, made by the store alone."""
    store.write(
        out / "dictionaries" / "x" / "dictionary", {"w": np.arange(35, dtype=np.float32)}, meta={"kind": "topk"}
    )
    (out / "tables").mkdir()
    (out / "tables" / "detection.tsv").write_text("feature\tterm\n3\ttRNA\n")
    (out / "report.html").write_text("<p>report</p>")
    config = {"model": {"name": "bioterp/dna-small"}, "dictionary": {"seeds": [0, 3]}}
    verify.record(out, {"config": config, **store.provenance()})
    return out


def _told(out: Path, level: str) -> list[str]:
    return [line for found, line in verify.findings(out) if found == level]


def test_a_whole_result_is_whole_and_says_who_made_it(tmp_path: Path) -> None:
    out = _result(tmp_path / "r")
    assert not _told(out, "problem") and not _told(out, "warning")
    said = "\n".join(_told(out, "ok"))
    assert "bioterp/dna-small" in said and "seeds [0, 3]" in said and "2 of 2 tables" in said


@pytest.mark.parametrize("where", ["dictionaries/x/dictionary/arrays.safetensors", "tables/detection.tsv"])
def test_one_flipped_bit_is_found(tmp_path: Path, where: str) -> None:
    out = _result(tmp_path / "r")
    data = bytearray((out / where).read_bytes())
    data[-1] ^= 4
    (out / where).write_bytes(bytes(data))
    (problem,) = _told(out, "problem")
    assert Path(where).name.split(".")[0] in problem or "x/dictionary" in problem
    assert str(tmp_path) not in problem


def test_lost_and_strange_files_are_named(tmp_path: Path) -> None:
    out = _result(tmp_path / "r")
    (out / "report.html").unlink()
    (out / "dictionaries" / "x" / "dictionary" / "notes.txt").write_text("mine")
    (out / "dictionaries" / "x" / "dictionary" / "meta.json").write_text("{")
    problems = "\n".join(_told(out, "problem"))
    assert "report.html is gone" in problems and "x/dictionary" in problems and "JSON" in problems


def test_a_record_may_not_point_outside(tmp_path: Path) -> None:
    out = _result(tmp_path / "r")
    (tmp_path / "secret").write_text("s")
    told = json.loads((out / "run.json").read_text())
    told["files"] = {"../secret": store.file_sha256(tmp_path / "secret")}
    (out / "run.json").write_text(json.dumps(told))
    assert _told(out, "problem") == ["../secret is gone; run the same command again"]


def test_a_folder_without_results(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no result"):
        list(verify.findings(tmp_path))


HOLD = """
import sys, time
from bioterp import locks
with locks.held(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_whose_the_folder_is_and_a_kill_frees_it(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None and owner.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=f"in use by process {owner.pid} on "), locks.held(tmp_path):
            pass
    finally:
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
    begun = time.monotonic()
    with locks.held(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert time.monotonic() - begun < 1


def test_the_lock_is_given_back_on_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError), locks.held(tmp_path):
        raise ValueError
    with locks.held(tmp_path):
        pass


def test_a_run_that_made_nothing_leaves_nothing(tmp_path: Path) -> None:
    with locks.held(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    with locks.held(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine").is_dir()
