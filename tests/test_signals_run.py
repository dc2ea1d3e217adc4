"""A run with a bigWig among its labels: its table, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyBigWig
import pytest

from bioterp import config
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.study import Study
from tests.planted import CONTIGS, genome, tables_of, write_run

CHANGES = {"baselines": [], "dictionary.tokens": "3k", "labels.gc": {"path": "gc.bw"}}


def write_gc(path: Path) -> dict[str, np.ndarray]:
    """The GC content of 9 bases around each base."""
    found = {}
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(CONTIGS.items()))
        for name, text in genome()[0].items():
            strong = np.isin(list(text), ["G", "C"]).astype(float)
            found[name] = np.convolve(strong, np.ones(9) / 9, "same").astype(np.float32)
            file.addEntries(name, 0, values=[float(v) for v in found[name]], span=1, step=1)
    return found


def test_a_run_correlates_features_with_a_signal_beside_its_genes(tmp_path: Path, tiny_model_folder: Path) -> None:
    signal = write_gc(tmp_path / "gc.bw")
    file = write_run(tmp_path, tiny_model_folder, analyses=["detection", "correlation"], **CHANGES)
    Study(config.load(file)).execute()
    found = tables_of(tmp_path / "results")
    assert set(found["correlation"]["term"]) == {"gc"} and "gc" not in set(found["detection"]["term"])
    (folder,) = (tmp_path / "results/dictionaries").rglob("codes")
    codes = Field.open(folder)
    rows = codes.rows
    item, start, _ = rows.cells()
    place = [rows.spaces[code].name for code in rows.space_code[item]]
    y = np.array([signal[name][int(at)] for name, at in zip(place, start, strict=True)])
    test, dense = rows.items["split"].to_numpy()[item] == "test", codes.read(0, len(codes)).toarray()
    assert "Signals: whose codes rise and fall" in (tmp_path / "results/report.html").read_text()
    table = found["correlation"]
    assert len(table) == 10 and table["p"].between(0, 1).all()
    for row in table.itertuples():
        assert row.pearson == pytest.approx(np.corrcoef(dense[test, row.feature], y[test])[0, 1], abs=1e-6)


def test_numbers_without_correlation_and_correlation_without_numbers_are_refused(
    tmp_path: Path, tiny_model_folder: Path
) -> None:
    write_gc(tmp_path / "gc.bw")
    with pytest.raises(InputError, match=r"labels\.gc: gc\.bw holds numbers, which only correlation takes"):
        Study(config.load(write_run(tmp_path, tiny_model_folder, analyses=["detection"], **CHANGES)))
    changes = {**CHANGES, "labels.gc": None}
    with pytest.raises(InputError, match="correlation needs labels that are numbers"):
        Study(config.load(write_run(tmp_path, tiny_model_folder, analyses=["correlation"], **changes)))
