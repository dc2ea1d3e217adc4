"""Covariates of rows against plain reading of the letters, the genes and the lattice."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bioterp.adapters.dna import DNA
from bioterp.background import check_names, covariates, usual
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.grid import Grid
from bioterp.rows import Rows
from bioterp.values import Intervals
from tests.conftest import random_dna, write_fasta

LETTERS = {"c": random_dna(400, 5), "d": "ACGTNGC" * 20}
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def rows_of(source, cell=1):
    records, grids = [], []
    for item, _, grid in source:
        line = Grid.line(grid.space, item.record["start"], item.record["end"], item.record["strand"])
        records.append(item.record)
        grids.append(line if cell == 1 else line.coarsen(cell))
    return Rows.from_grids(pd.DataFrame(records), grids)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    file = write_fasta(tmp_path_factory.mktemp("bases") / "a.fa", **LETTERS)
    return DNA(file, window=30, halo=0, blocks=90)


@pytest.fixture(scope="module")
def rows(source):
    return rows_of(source)


def oriented(rows, row):
    """The letters of a row's contig in its own direction, and where the row is in them."""
    item, start, end = rows.cells(row, row + 1)
    grid = rows.grid(int(item[0]))
    text, middle = LETTERS[grid.space.name], (int(start[0]) + int(end[0])) // 2
    if grid.strand == "-":
        return text.translate(COMPLEMENT)[::-1], len(text) - 1 - middle
    return text, middle


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_kmers_are_spelled_as_letters_are(source, rows, k):
    values = covariates(rows, [f"kmer:{k}"], source=source).read()[:, 0]
    for row in range(0, len(rows), 5):
        text, at = oriented(rows, row)
        lo = at - (k - 1) // 2
        word = text[lo : lo + k] if lo >= 0 else ""
        number = values[row]
        if len(word) < k or "N" in word:
            assert np.isnan(number)
        else:
            spelled = "".join("ACGT"[int(number) // 4 ** (k - 1 - j) % 4] for j in range(k))
            assert spelled == word


@pytest.mark.parametrize("window", [33, 129])
def test_gc_is_the_share_of_known_bases_around(source, rows, window):
    field = covariates(rows, [f"gc:{window}"], source=source.sequences)
    values = field.read()[:, 0]
    for row in range(0, len(rows), 7):
        text, at = oriented(rows, row)
        around = [letter for letter in text[max(at - window // 2, 0) : at + window // 2 + 1] if letter != "N"]
        assert values[row] == pytest.approx(sum(letter in "GC" for letter in around) / len(around), abs=1e-6)
    pieces = np.concatenate([block for _, _, block in field.batches(47)])
    np.testing.assert_array_equal(pieces[:, 0], values)


def test_cells_of_several_bases_are_told_by_their_middle(source):
    coarse = rows_of(source, cell=5)
    values = covariates(coarse, ["kmer"], source=source).read()[:, 0]
    assert covariates(coarse, ["kmer"], source=source).columns["name"].tolist() == ["kmer:3"]
    for row in range(0, len(coarse), 3):
        text, at = oriented(coarse, row)
        word = text[at - 1 : at + 2] if at else ""
        if len(word) == 3 and "N" not in word:
            assert values[row] == sum("ACGT".index(letter) * 4 ** (2 - j) for j, letter in enumerate(word))


def labelled(rows, genes, terms=("CDS", "CDS.phase0", "CDS.phase1", "CDS.phase2")):
    """Phases of genes (contig, start, end, strand) on both strands, with @antisense columns, base by base."""
    item, start, _ = rows.cells()
    contig = np.array([space.name for space in rows.spaces])[rows.space_code[item]]
    strand = np.where(rows.affines[item, 0, 0] < 0, "-", "+")
    names = [f"{term}{side}" for side in ("", "@antisense") for term in terms]
    runs, table = [], []
    for number, (where, lo, hi, sense) in enumerate(genes, 1):
        for row in np.flatnonzero((contig == where) & (start >= lo) & (start < hi)):
            phase = (start[row] - lo) % 3 if sense == "+" else (hi - 1 - start[row]) % 3
            side = 0 if strand[row] == sense else len(terms)
            runs += [(side, number, row, row + 1), (side + 1 + phase, number, row, row + 1)]
        table.append({"term": 0, "instance": number, "contig": where, "start": lo, "end": hi, "strand": sense})
    runs.append((1, -1, 3, 5))  # two rows whose phase is unknown
    labels = Intervals.of(*zip(*runs, strict=True), len(rows), len(names), pd.DataFrame(table))
    return Field(rows, labels, names, "label"), contig, strand, start


GENES = [("c", 20, 83, "+"), ("c", 70, 130, "+"), ("c", 200, 290, "-"), ("c", 260, 320, "+"), ("d", 10, 70, "-")]


def test_phase_tells_the_codon_positions_of_both_strands(rows):
    truth, contig, strand, start = labelled(rows, GENES)
    values = covariates(rows, ["phase"], truth=truth).read()[:, 0]
    assert np.isnan(values[3:5]).all() and np.isfinite(np.delete(values, [3, 4])).all()
    for row in range(7, len(rows)):
        bits = set()
        for where, lo, hi, sense in GENES:
            if contig[row] == where and lo <= start[row] < hi:
                phase = (start[row] - lo) % 3 if sense == "+" else (hi - 1 - start[row]) % 3
                bits.add(int(phase) + 3 * (strand[row] != sense))
        assert values[row] == sum(2**bit for bit in bits)
    assert len(set(values[np.isfinite(values)])) > 8  # overlapping genes make classes of their own


def test_distance_to_an_edge_is_to_the_nearest_end_on_the_strand(rows):
    truth, contig, strand, start = labelled(rows, GENES)
    values = covariates(rows, ["edge:CDS"], truth=truth).read()[:, 0]
    for row in range(0, len(rows), 3):
        own = [end for where, lo, hi, s in GENES for end in (lo, hi) if where == contig[row] and s == strand[row]]
        expected = min((abs(start[row] + 0.5 - end) for end in own), default=1e9)
        assert values[row] == pytest.approx(expected)


def test_scans_are_told_by_place_and_brightness():
    """The corners of a lattice lie at ± (1 − 1/cells); the brightness is that of the voxels of the cell."""

    class Source:
        def volume(self, scan):
            array = np.arange(6 * 4 * 8, dtype=np.float32).reshape(1, 6, 4, 8)
            return array, Grid.from_centers(space, array.shape[1:], np.diag([2.0, 2, 2, 1]))

    from bioterp.grid import Space

    space = Space("s", "mm")
    voxels = Source().volume("s")[1]
    cells = voxels.coarsen(2)
    items = pd.DataFrame({"item": ["s"], "sample": ["s"], "block": ["s"], "split": ["train"]})
    rows = Rows.from_grids(items, [cells])
    assert usual(rows) == ["position", "intensity"]
    field = covariates(rows, source=Source())
    assert field.columns["covariate"].tolist() == ["position"] * 3 + ["intensity"]
    values = field.read().reshape(3, 2, 4, 4)
    np.testing.assert_allclose(values[:, 0, 0, 0], [-2 / 3, 0, 2 / 3], atol=1e-6)
    np.testing.assert_allclose(values[0, :, 0, 1], [-1 / 2, 1 / 2], atol=1e-6)
    np.testing.assert_allclose(values[0, 0, :, 2], [-3 / 4, -1 / 4, 1 / 4, 3 / 4], atol=1e-6)
    array = Source().volume("s")[0][0]
    mean = array.reshape(3, 2, 2, 2, 4, 2).mean((1, 3, 5))
    # Counted from the darkest cell of train scans, so that only differences are told.
    np.testing.assert_allclose(np.diff(values[..., 3].ravel()), np.diff(mean.ravel()), atol=1e-4)


def test_what_is_not_known_is_refused(source, rows):
    with pytest.raises(InputError, match="did you mean 'phase'"):
        check_names(["phas"], "dna")
    with pytest.raises(InputError, match="no covariate 'gc' of scans"):
        check_names(["gc"], "scans")
    for name in ("gc:many", "kmer:9", "gc:0", "edge", "phase:1"):
        with pytest.raises(InputError, match=name.partition(":")[0]):
            check_names([name], "dna")
    bare = Field(rows, Intervals.of([0], [1], [2], [9], len(rows), 1), ["gene"], "label")
    with pytest.raises(InputError, match=r"needs the terms CDS\.phase0"):
        covariates(rows, ["phase"], truth=bare)
    with pytest.raises(InputError, match="told by labels, and none were given"):
        covariates(rows, ["phase"])
    with pytest.raises(InputError, match="read from the source"):
        covariates(rows, ["gc"])
    with pytest.raises(InputError, match="named twice"):
        covariates(rows, ["gc", "gc"], source=source)
    assert usual(rows, bare) == ["gc"] and usual(rows, labelled(rows, GENES)[0]) == ["gc", "phase"]
