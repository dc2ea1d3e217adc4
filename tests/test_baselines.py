"""Baselines on rows with known answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from Bio.Seq import Seq

from bioterp import baselines
from bioterp.adapters.dna import DNA
from bioterp.field import Field
from bioterp.grid import Grid
from bioterp.rows import Rows
from tests.conftest import random_dna, write_fasta


def rows_of(source: DNA, cell: int = 1) -> Rows:
    records, grids = [], []
    for item, _, grid in source:
        line = Grid.line(grid.space, item.record["start"], item.record["end"], item.record["strand"])
        records.append(item.record)
        grids.append(line if cell == 1 else line.coarsen(cell))
    return Rows.from_grids(pd.DataFrame(records), grids)


@pytest.fixture
def source(tmp_path: Path) -> DNA:
    return DNA(write_fasta(tmp_path / "a.fa", c=random_dna(300, 9), d="ACGTN" * 18), window=30, halo=0, blocks=90)


def test_composition_spells_the_kmers_around_each_base(source: DNA) -> None:
    rows = rows_of(source)
    field = baselines.composition(source.sequences, rows)
    names = field.columns["name"].to_numpy()
    letters = {"c": random_dna(300, 9), "d": "ACGTN" * 18}
    item_of, start, _ = rows.cells()
    whole = field.values.tocsr()
    for row in range(0, len(rows), 7):
        grid = rows.grid(int(item_of[row]))
        text, at = letters[grid.space.name], int(start[row])
        if grid.strand == "-":
            text, at = str(Seq(text).reverse_complement()), len(text) - 1 - at
        found = {n for n in names[whole[row].indices] if n.isalpha()}
        wanted = {text[at - (k - 1) // 2 : at - (k - 1) // 2 + k] for k in (1, 2, 3, 4) if at - (k - 1) // 2 >= 0}
        wanted = {w for w in wanted if "N" not in w and w in set(names)}
        assert {w for w in wanted if at + 4 <= len(text)} <= found and len(found) <= 4
        around = text[max(0, at - 16) : at + 17].replace("N", "")
        value = whole[row, list(names).index("GC33")]
        assert value == pytest.approx(sum(base in "GC" for base in around) / len(around), abs=1e-6)


def test_composition_of_coarse_cells_is_a_share(source: DNA) -> None:
    fine, coarse = rows_of(source), rows_of(source, cell=5)
    letters = baselines.composition(source.sequences, fine).values[:, :4].toarray()
    share = baselines.composition(source.sequences, coarse).values[:, :4].toarray()
    np.testing.assert_allclose(share, letters.reshape(-1, 5, 4).mean(1), atol=1e-6)


def test_composition_reads_the_same_in_pieces(source: DNA) -> None:
    field = baselines.composition(source.sequences, rows_of(source))
    pieces = np.concatenate([block.toarray() for _, _, block in field.batches(47)])
    np.testing.assert_array_equal(pieces, field.values.toarray())


@pytest.fixture
def acts(source: DNA) -> Field:
    rows = rows_of(source)
    rng = np.random.default_rng(1)
    return Field(rows, (rng.standard_normal((len(rows), 6)) @ rng.standard_normal((6, 6)) + 4).astype(np.float32))


@pytest.mark.parametrize("make", [baselines.neurons, baselines.pca])
def test_linear_baselines_lose_nothing(acts: Field, make) -> None:
    d = make(acts)
    codes = d.encode_array(acts.values)
    assert (codes >= 0).all() and codes.shape[1] == 12
    np.testing.assert_allclose(d.decode_array(codes), acts.values, atol=1e-3)


def test_neurons_are_the_channels(acts: Field) -> None:
    codes = baselines.neurons(acts).encode_array(acts.values)
    signed = codes[:, :6] - codes[:, 6:]
    for channel in range(6):
        assert np.corrcoef(signed[:, channel], acts.values[:, channel])[0, 1] > 0.9999


def test_first_component_has_the_most_variance(acts: Field) -> None:
    codes = baselines.pca(acts).encode_array(acts.values)
    variances = (codes[:, :6] - codes[:, 6:]).var(0)
    assert (np.diff(variances) < 0).all()
    assert variances[0] == pytest.approx(np.linalg.eigvalsh(np.cov(acts.values.T))[-1], rel=0.2)


def test_random_directions_are_as_sparse_as_asked(acts: Field) -> None:
    codes = baselines.random_directions(acts, width=31, k=4, seed=3).encode_array(acts.values)
    assert codes.shape[1] == 31 and codes.getnnz(1).max() == 4


def test_composition_of_a_window_without_cells(source: DNA) -> None:
    """A window of which every token covers an N has an item and no row: the rows around it stay where they were."""
    whole = rows_of(source)
    grids = list(whole.grids())
    middle = len(grids) // 2
    empty = [*grids[:middle], Grid(grids[middle].space, (0,), bounds=np.zeros((0, 2))), *grids[middle + 1 :]]
    rows = Rows.from_grids(whole.items, empty)
    lo, hi = int(whole.offsets[middle]), int(whole.offsets[middle + 1])
    wanted = baselines.composition(source.sequences, whole).values.toarray()
    found = baselines.composition(source.sequences, rows)
    assert hi > lo and np.array_equal(found.values.toarray(), np.delete(wanted, np.s_[lo:hi], 0))
    assert np.array_equal(found.read(lo - 2, lo + 2).toarray(), np.delete(wanted, np.s_[lo:hi], 0)[lo - 2 : lo + 2])
