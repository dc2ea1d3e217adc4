"""Sequences against Biopython and hand-written files; every malformed file gives one sentence."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from Bio import SeqIO
from Bio.Seq import Seq
from hypothesis import given
from hypothesis import strategies as st

from bioterp.errors import InputError
from bioterp.sequence import Sequences, reverse_complement, to_text
from tests.conftest import random_dna, write_fasta


def test_reads_what_biopython_reads(tmp_path: Path) -> None:
    path = write_fasta(tmp_path / "a.fa", one=random_dna(317, 1), two=random_dna(1009, 2).lower())
    ours = Sequences(path)
    for record in SeqIO.parse(path, "fasta"):
        contig = ours.contigs[record.id]
        assert to_text(ours.read(record.id, 0, contig.length)) == str(record.seq).upper()
        assert to_text(ours.read(record.id, 100, 217)) == str(record.seq[100:217]).upper()


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_line_endings_and_compression(tmp_path: Path, ending: str, packed: bool) -> None:
    letters = random_dna(151, 3)
    text = f">c x{ending}{letters[:70]}{ending}{letters[70:140]}{ending}{ending}{letters[140:]}".encode()
    path = tmp_path / ("c.fa.gz" if packed else "c.fa")
    path.write_bytes(gzip.compress(text) if packed else text)
    ours = Sequences(path)
    assert list(ours.contigs) == ["c"] and to_text(ours.read("c", 0, 151)) == letters


def test_a_whole_chromosome_on_one_line(tmp_path: Path) -> None:
    letters = random_dna(2_300_017, 4)  # longer than the pieces lines are read in
    (tmp_path / "c.fa").write_text(f">c\n{letters}\n>d\nACGT\n")
    ours = Sequences(tmp_path / "c.fa")
    assert to_text(ours.read("c", 1_048_570, 1_048_590)) == letters[1_048_570:1_048_590]
    assert ours.contigs["c"].length == len(letters) and to_text(ours.read("d", 0, 4)) == "ACGT"


def test_ambiguity_is_masked_and_rna_read(tmp_path: Path) -> None:
    ours = Sequences(write_fasta(tmp_path / "a.fa", c="ACGURYSWKMBDHVN-acgt"))
    assert to_text(ours.read("c", 0, 20)) == "ACGTNNNNNNNNNNNNACGT"


def test_circular_reading_wraps_and_linear_is_masked(tmp_path: Path) -> None:
    path = write_fasta(tmp_path / "a.fa", c="ACGTTGCA")
    ours = Sequences(path)
    assert to_text(ours.read("c", -2, 10)) == "NNACGTTGCANN"
    ours.with_circular(["c"])
    assert to_text(ours.read("c", -2, 10)) == "CAACGTTGCAAC"
    with pytest.raises(InputError, match="no contig 'z'"):
        ours.with_circular(["z"])


def test_genbank_and_its_topology(genomics: Path) -> None:
    path = genomics / "plasmid" / "yersinia_pPCP1_NC_005816.gb.gz"
    ours = Sequences(path)
    with gzip.open(path, "rt") as handle:
        record = SeqIO.read(handle, "genbank")
    contig = ours.contigs[record.id]
    assert contig.circular and to_text(ours.read(record.id, 0, contig.length)) == str(record.seq)


@given(st.text("ACGTNacgt", min_size=1, max_size=90))
def test_reverse_complement_is_biopythons(letters: str) -> None:
    codes = np.array(["ACGTN".index(letter) for letter in letters.upper()], np.uint8)
    assert to_text(reverse_complement(codes)) == str(Seq(letters.upper()).reverse_complement())


BAD = {
    "empty": ("", "holds no sequence"),
    "only a name": (">c\n", "no bases"),
    "twice": (">c\nACGT\n>c\nAC\n", "names the contig 'c' twice"),
    "protein": (">p\nMKLVELIPQ\n", "looks like protein"),
    "digits": (">p\nACGT1\n", "is not DNA"),
    "no header": ("ACGT\n", "neither FASTA"),
    "no name": (">\nACGT\n", "without a name"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_give_one_sentence(tmp_path: Path, case: str) -> None:
    text, expected = BAD[case]
    path = tmp_path / "bad.fa"
    path.write_text(text)
    with pytest.raises(InputError, match=expected) as caught:
        Sequences(path)
    assert "\n" not in str(caught.value)


def test_truncated_gzip(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as handle:
        handle.write(f">c\n{random_dna(5000)}\n".encode())
    (tmp_path / "c.fa.gz").write_bytes(packed.getvalue()[:700])
    with pytest.raises(InputError, match="damaged gzip"):
        Sequences(tmp_path / "c.fa.gz")


def test_never_writes_beside_the_input(tmp_path: Path) -> None:
    path = write_fasta(tmp_path / "in" / "a.fa" if (tmp_path / "in").mkdir() is None else tmp_path, c="ACGT")
    path.parent.chmod(0o555)
    try:
        Sequences(path)
        assert [p.name for p in path.parent.iterdir()] == ["a.fa"]
    finally:
        path.parent.chmod(0o755)
