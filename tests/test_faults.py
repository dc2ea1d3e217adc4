"""Whatever stops or spoils a run, the same command ends with the same tables. benchmarks/faults.py does more of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bioterp import store
from bioterp.errors import Damaged
from tests.faulty import FAULTS, Warm, spoil, trial
from tests.planted import leftovers, same_tables, write_run
from tests.test_store import make

SETTINGS = {"baselines": ["neurons"], "exports": ["tsv"], "labels.genes.terms": ["CDS", "intergenic"]}


@pytest.mark.slow
def test_faults_of_every_kind(tmp_path: Path, tiny_model_folder: Path, warm: Warm) -> None:
    write_run(tmp_path / "calm", tiny_model_folder, **SETTINGS)
    calm = warm.attempt(tmp_path / "calm")
    assert calm.status == 0 and calm.changes > 50
    largest = max(path.stat().st_size for path in (tmp_path / "calm/results").rglob("*") if path.is_file())
    write_run(tmp_path / "hurt", tiny_model_folder, **SETTINGS)
    told = trial(warm, tmp_path / "hurt", calm, largest, np.random.default_rng(17), FAULTS)
    same_tables(tmp_path / "calm/results", tmp_path / "hurt/results")
    assert not leftovers(tmp_path / "hurt/results")
    assert any("killed" in line for line in told), told
    assert any("No space left" in line or "File too large" in line for line in told), told


@pytest.mark.parametrize("how", ["flip", "cut"])
def test_what_another_process_wrote_is_hashed_before_it_is_used(how: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for turn in range(12):
        make(tmp_path / f"{turn}", 300)
        store._sound.clear()  # as if another process had written it
        assert store.read(tmp_path / f"{turn}").arrays
        store._sound.clear()
        told = spoil(tmp_path / f"{turn}", rng, how)
        with pytest.raises(Damaged, match="damaged"):
            store.read(tmp_path / f"{turn}")
            pytest.fail(told)
