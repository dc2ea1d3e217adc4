"""Gene calling refuses what it cannot use, and says what is missing."""

from __future__ import annotations

import sys

import pytest

from bioterp.annotations import call_genes
from bioterp.errors import InputError


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
