"""Gene calling refuses what it cannot use, and says what is missing."""

from __future__ import annotations

import sys

import pytest
from label_rows import tiled

from bioterp.annotations import call_genes, label
from bioterp.annotations.features import table_of
from bioterp.errors import InputError
from bioterp.grid import Space


def test_what_cannot_be_called(write, monkeypatch) -> None:
    with pytest.raises(InputError, match="no sequence file"):
        call_genes("nowhere.fa")
    with pytest.raises(InputError, match="no bases"):
        call_genes(write("a.fa", ">x\n"))
    with pytest.raises(InputError, match="neither FASTA"):
        call_genes(write("b.fa", "ACGT\n"))
    fine = write("c.fa", ">x\n" + "ACGT" * 30)
    with pytest.raises(InputError, match="got table=2"):
        call_genes(fine, table=2)
    monkeypatch.setitem(sys.modules, "pyrodigal", None)
    with pytest.raises(InputError, match=r"bioterp\[demo\]"):
        call_genes(fine)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "pybarrnap", None)
    with pytest.raises(InputError, match=r"pybarrnap.*bioterp\[demo\]"):
        call_genes(fine)


def test_a_table_without_genes_says_so() -> None:
    table = table_of({"contig": [], "start": [], "end": []})
    table.attrs.update(contigs={"c": 200}, called=True)
    with pytest.raises(InputError, match="no gene was called on 'c'"):
        label(tiled(Space("c", "bp", 200), 37), table)
