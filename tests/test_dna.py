"""The DNA adapter: cores tile, arrays spell the sequence they are said to, splits never share a locus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from Bio.Seq import Seq

from bioterp.adapters.dna import DNA, parse_bp
from bioterp.errors import InputError
from bioterp.rows import split_of
from bioterp.sequence import to_text
from tests.conftest import random_dna, write_fasta

LETTERS = {"long": random_dna(1_237, 1), "short": random_dna(53, 2)}


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    return write_fasta(tmp_path / "a.fa", **LETTERS)


@pytest.mark.parametrize("strands", ["both", "+", "-"])
def test_cores_cover_every_base_once(fasta: Path, strands: str) -> None:
    source = DNA(fasta, window=97, halo=31, strands=strands, blocks=300)
    seen = {(c, s): np.zeros(len(LETTERS[c]), int) for c in LETTERS for s in "+-"}
    for item, _, _ in source:
        record = item.record
        seen[record["contig"], record["strand"]][record["start"] : record["end"]] += 1
    for (_, strand), counts in seen.items():
        assert (counts == (strands in ("both", strand))).all()


@pytest.mark.parametrize("circular", [False, True])
def test_arrays_spell_the_sequence_their_grid_names(fasta: Path, circular: bool) -> None:
    source = DNA(fasta, window=97, halo=31, blocks=300, circular=circular)
    assert len(source) == len(source.items)
    for item, array, grid in source:
        letters = LETTERS[item.record["contig"]]
        bases = grid.bounds[:, 0]
        plus = "".join(letters[b % len(letters)] for b in np.sort(bases))
        wanted = plus if item.record["strand"] == "+" else str(Seq(plus).reverse_complement())
        assert to_text(array) == wanted
        assert circular or (bases.min() >= 0 and bases.max() < len(letters))
        assert bases.min() <= item.record["start"] and bases.max() + 1 >= item.record["end"]
        if len(letters) > 97 + 62:
            assert len(array) == 97 + 62


@pytest.mark.parametrize("circular", [False, True])
def test_a_halo_on_one_side_lies_before_the_core_in_reading_direction(fasta: Path, circular: bool) -> None:
    source = DNA(fasta, window=97, halo=[31, 5], blocks=300, circular=circular, contigs=["long"])
    inner = 0
    for item, array, grid in source:
        record, bases = item.record, grid.bounds[:, 0]
        assert len(array) == 97 + 31 + 5
        wanted = {"+": (31, 5), "-": (5, 31)}[record["strand"]]
        left, right = record["start"] - bases.min(), bases.max() + 1 - record["end"]
        if record["start"] >= 31 and record["end"] + 31 + 97 <= 1_237 and record["end"] - record["start"] == 97:
            assert (left, right) == wanted
            inner += 1
    assert inner > 10


def test_one_number_is_both_sides(fasta: Path) -> None:
    one, two = DNA(fasta, window=97, halo=31, blocks=300), DNA(fasta, window=97, halo=(31, 31), blocks=300)
    assert one.recipe == two.recipe
    assert all(a[2].affine.tolist() == b[2].affine.tolist() for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("halo", [-1, [3], [1, -2], "20", [1, 2, 3], 2.5, True])
def test_halos_that_are_none(fasta: Path, halo) -> None:
    with pytest.raises(InputError, match="halo is a number of bp"):
        DNA(fasta, halo=halo)


def test_windows_lie_inside_blocks_and_blocks_inside_splits(fasta: Path) -> None:
    source = DNA(fasta, window=97, halo=31, blocks=300, seed=5)
    items = source.items
    assert (items["start"] // 300 == (items["end"] - 1) // 300).all()
    assert (items["block"] == items["contig"] + ":" + (items["start"] // 300).astype(str)).all()
    assert (items["split"] == [split_of(block, 5) for block in items["block"]]).all()


def test_split_shares() -> None:
    splits = [split_of(f"c:{i}", 3) for i in range(20_000)]
    shares = [splits.count(name) / len(splits) for name in ("train", "valid", "test")]
    assert np.allclose(shares, [0.6, 0.2, 0.2], atol=0.011)  # three binomial standard errors


def test_blocks_shrink_until_every_split_has_two(fasta: Path) -> None:
    source = DNA(fasta)
    assert source.items.groupby("split")["block"].nunique().reindex(["train", "valid", "test"]).min() >= 2 or (
        source.block == 200
    )


def test_blocks_are_sized_by_what_is_read(tmp_path: Path) -> None:
    path = write_fasta(tmp_path / "long.fa", c=random_dna(2_000_003, 3))
    (tmp_path / "r.bed").write_text("c\t1000000\t1030000\n")
    assert DNA(path).block == 50_000
    part = DNA(path, regions=tmp_path / "r.bed")
    assert part.block < 50_000 and part.items.groupby("split")["block"].nunique().min() >= 2


def test_regions_are_merged_and_keep_their_strand(fasta: Path, tmp_path: Path) -> None:
    bed = tmp_path / "r.bed"
    bed.write_text("long\t100\t220\ta\t0\t+\nlong\t200\t260\tb\t0\t+\nlong\t700\t731\tc\t0\t-\n")
    items = DNA(fasta, window=50, halo=7, blocks=300, strands="regions", regions=bed).items
    plus = items[items["strand"] == "+"]
    assert (plus["start"].min(), plus["end"].max(), (plus["end"] - plus["start"]).sum()) == (100, 260, 160)
    minus = items[items["strand"] == "-"]
    assert (minus["start"].tolist(), minus["end"].tolist()) == ([700], [731])


def test_masked_windows_give_no_item(tmp_path: Path) -> None:
    source = DNA(write_fasta(tmp_path / "n.fa", c="ACGTACGTAC" + "N" * 20 + "ACGTT"), window=10, halo=2, blocks=35)
    assert [item.record["item"] for item, _, _ in source if item.record["strand"] == "+"] == ["c:0-10+", "c:30-35+"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"window": 0}, "window must be"),
        ({"strands": "plus"}, "strands is one of"),
        ({"contigs": ["lon"]}, "no contig 'lon'"),
        ({"blocks": "fifty"}, "blocks is a length"),
        ({"strands": "regions"}, "needs a BED file"),
    ],
)
def test_bad_options(fasta: Path, options: dict, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        DNA(fasta, **options)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("long\t5\t9999", "another assembly"),
        ("lung\t5\t9", "no contig 'lung'"),
        ("long 5 9", "not BED"),
        ("long\t9\t5", "not inside"),
    ],
)
def test_bad_regions(fasta: Path, tmp_path: Path, line: str, expected: str) -> None:
    (tmp_path / "r.bed").write_text(line + "\n")
    with pytest.raises(InputError, match=expected):
        DNA(fasta, regions=tmp_path / "r.bed")


def test_lengths() -> None:
    assert [parse_bp(x) for x in ("50kb", "1.5 Mb", 300, "20bp")] == [50_000, 1_500_000, 300, 20]


def test_a_contig_may_be_called_track(tmp_path: Path) -> None:
    fasta = write_fasta(tmp_path / "t.fa", track1=random_dna(90, 3), browser=random_dna(80, 4))
    bed = tmp_path / "t.bed"
    bed.write_text("track name=x\nbrowser position y\n# no\ntrack1\t5\t25\nbrowser\t0\t7\n")
    assert set(DNA(fasta, window=50, halo=3, regions=bed).items["contig"]) == {"track1", "browser"}
