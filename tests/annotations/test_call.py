"""Genes called on bare sequence: planted genes, their binding sites and genetic code, and what is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from label_rows import positions, tiled

from bioterp.annotations import call_genes, label
from bioterp.annotations.call_cds import choose_code, density
from bioterp.annotations.call_rbs import locate
from bioterp.annotations.codes import read_sequence
from bioterp.annotations.features import table_of
from bioterp.errors import InputError
from bioterp.grid import Space

PAIR = dict(zip("ACGT", "TGCA", strict=True))
SPACER, SITE = "TTAACAT", "AGGAGG"  # 7 bp between site and start codon


def turned(bases: str) -> str:
    return "".join(PAIR[base] for base in reversed(bases))


def planted(rng: np.random.Generator, genes: int = 40, trp: str = "TGG", stop: str = "TAA") -> tuple[str, list]:
    """A genome of genes with strong binding sites, every third on the minus strand; (start, end, strand) of each."""
    # TTA, CTA, TAC, and codons in T before others in AA or TA: they close the five other frames in code 4 too.
    codons = np.array(
        ["GCG", "CTG", "GAA", "AAA", "GGC", "ATT", "CGT", "ACT", "GAT", "AAT", "CAG", "TTA", "CTA", "TAC", trp]
    )
    odds = np.array([10, 8, 9, 8, 8, 7, 7, 7, 7, 6, 6, 6, 4, 7, 4.0])
    text, places = "", []
    for i in range(genes):
        text += "".join(rng.choice(list("ACT"), 120 + i))
        body = "ATG" + "".join(rng.choice(codons, 230 + 3 * i, p=odds / odds.sum())) + stop
        whole = SITE + SPACER + body
        if i % 3:
            places.append((len(text) + len(SITE + SPACER), len(text) + len(whole), "+"))
            text += whole
        else:
            places.append((len(text), len(text) + len(body), "-"))
            text += turned(whole)
    return text + "ATCATTCATACT" * 20, places


@pytest.mark.parametrize(
    ("upstream", "motif", "spacer", "found"),
    [
        ("CCCCCCCCAGGAGGCCCCCCC", "AGGAGG", "5-10bp", (7, "AGGAGG")),
        ("CCCCCCCCAGGAGGCCCCCCC", "AGGAGG", "11-12bp", None),  # elsewhere than Prodigal says
        ("CCAGGAGGCCCCCCCCCCCCC", "AGGAG(G)/GGAGG", "13-15bp", (13, "AGGAGG")),  # the longest of three nested ones
        ("CCCCCCCCCCCCCGAGGCCCC", "AGGA/GGAG/GAGG", "3-4bp", (4, "GAGG")),
        ("CCCCCCCGGTGGCCCCCCCCC", "GGxGG", "5-10bp", (9, "GGTGG")),
        ("CCCCCCCGGAGGCCCCCCCCC", "GGxGG", "5-10bp", None),  # x is a base that differs
        ("CCCCCAGGTGGCCCCCCCCCC", "AGxAGG/AGGxGG", "5-10bp", (10, "AGGTGG")),
        ("CCCCGGACCCCGAGCCCCCCC", "GGA/GAG/AGG", "11-12bp", None),
        ("CCCCGGACCCCGAGCCCCCCC", "GGA/GAG/AGG", "5-10bp", (7, "GAG")),
        ("CCCCCCCCGGAGAGCCCCCCC", "GGA/GAG/AGG", "5-10bp", None),  # three places, and nothing to tell them apart
        ("AGGACCCCCC", "AGGA", "5-10bp", (6, "AGGA")),  # a contig begins here
        ("", "AGGA", "5-10bp", None),
        ("CCCCGGAGCGGAGCCCCCCCC", "GGAG", "8bp", (8, "GGAG")),  # bases and place, where Prodigal learnt them
        ("CCCCCCCCCGGACCCCCCCCC", "GGAG", "8bp", None),
        ("CCCCCCAATCCCCCCCCCCCC", "AAT", "12bp", None),  # learnt by Prodigal, but no known binding site
        ("CCCCCCCCCCCCCCCCCCCCC", "", "", None),
        ("CCCCCCCCCCCCCCCCCCCCC", None, None, None),
    ],
)
def test_a_binding_site_is_placed_where_there_is_one_place(upstream, motif, spacer, found) -> None:
    assert locate(upstream, motif, spacer) == found


def test_planted_genes_and_their_binding_sites_on_both_strands(write) -> None:
    pytest.importorskip("pyrodigal")
    genome, places = planted(np.random.default_rng(5), genes=100)  # from about 60 on it trusts Shine-Dalgarno sites
    called = call_genes(write("g.fa", f">c one\n{genome}\n"), rrna=False)
    assert called.attrs["transl_table"] == (11,)
    sites = {
        (start - 13, start - 7, strand) if strand == "+" else (end + 7, end + 13, strand)
        for start, end, strand in places
    }
    kinds = {kind: called[called["type"] == kind] for kind in ("CDS", "RBS")}
    found = {kind: set(t[["start", "end", "strand"]].itertuples(index=False, name=None)) for kind, t in kinds.items()}
    assert len(sites & found["RBS"]) >= 95 and len(set(places) & found["CDS"]) >= 95
    for start, end, strand, motif in kinds["RBS"][["start", "end", "strand", "rbs_motif"]].itertuples(index=False):
        assert (genome[start:end] if strand == "+" else turned(genome[start:end])) == motif
    mine = kinds["CDS"].set_index(["start", "end", "strand"])
    whole = mine.loc[sorted(set(places) & found["CDS"])]
    assert set(whole["start_codon"]) == {"ATG"} and set(whole["stop_codon"]) == {"TAA"}
    assert (whole["score"] > 20).all() and whole["confidence"].between(99, 100).all()
    field = label(tiled(Space("c", "bp", len(genome)), 4096), called)
    assert {"RBS", "RBS@antisense", "start_codon", "stop_codon", "CDS"} <= set(field.columns["name"])
    for strand in "+-":
        lit = {(s, e) for s, e, d in found["RBS"] if d == strand}
        assert positions(field, "RBS", strand) == sorted(p for s, e in lit for p in range(s, e))


def test_a_gene_cut_by_the_contigs_end_has_no_codon_there(write) -> None:
    pytest.importorskip("pyrodigal")
    genome, places = planted(np.random.default_rng(6))
    (_, end, _), (start, *_) = places[0], places[-2]
    part = genome[end - 500 : start + 400]  # the first gene lacks its stop (it is on −), the last one too (on +)
    assert (places[0][2], places[-2][2]) == ("-", "+")
    called = call_genes(write("g.fa", f">c\n{part}\n"), rrna=False)
    cds = called[called["type"] == "CDS"].sort_values("start")
    assert cds["stop_codon"].iloc[0] == "" and cds["stop_codon"].iloc[-1] == ""
    assert (cds["start_codon"] != "").all() and (cds["stop_codon"].iloc[1:-1] == "TAA").all()


@pytest.mark.parametrize(("trp", "stop", "code"), [("TGG", "TAA", 11), ("TGG", "TGA", 11), ("TGA", "TAG", 4)])
def test_the_genetic_code_is_read_from_the_sequence(write, trp, stop, code) -> None:
    pytest.importorskip("pyrodigal")
    genome, places = planted(np.random.default_rng(7), trp=trp, stop=stop)
    fasta = write("g.fa", f">c\n{genome}\n")
    called = call_genes(fasta, rrna=False)
    assert called.attrs["transl_table"] == (code,)
    cds = called[called["type"] == "CDS"]
    assert len(set(places) & set(cds[["start", "end", "strand"]].itertuples(index=False, name=None))) >= 36
    assert cds["attributes"].str.contains(f"transl_table={code}").all()
    other = call_genes(fasta, table=15 - code, rrna=False)  # the user's word stands
    assert other.attrs["transl_table"] == (15 - code,)


def test_the_code_is_4_only_where_that_is_clearly_denser() -> None:
    assert choose_code({11: 0.77, 4: 0.95}) == 4  # M. genitalium
    assert choose_code({11: 0.88, 4: 0.87}) == 11  # E. coli
    assert choose_code({11: 0.83, 4: 0.87}) == 11  # a gain of 0.04
    assert choose_code({11: 0.50, 4: 0.59}) == 11  # A. thaliana: neither is dense
    assert choose_code({4: 0.1}) == 4


def test_coding_density_counts_a_base_once() -> None:
    class Gene:
        def __init__(self, begin: int, end: int) -> None:
            self.begin, self.end = begin, end  # 1-based, inclusive, as Prodigal has them

    genes = {"a": [Gene(11, 20), Gene(1, 5), Gene(13, 16), Gene(19, 24)], "b": []}
    assert density({"a": "N" * 30, "b": "N" * 10}, genes) == (5 + 14) / 40


@pytest.mark.needs_shared
def test_the_genetic_code_of_real_genomes(genomics, write) -> None:
    pytest.importorskip("pyrodigal")
    codes = {
        "bacteria/mycoplasma_genitalium_g37.fa.gz": (4,),
        "phage/lambda_NC_001416.gb.gz": (11,),
        "organelle/arabidopsis_chloroplast_NC_000932.gb.gz": (11,),
    }
    for name, expected in codes.items():
        called = call_genes(genomics / name, rrna=False)
        assert called.attrs["transl_table"] == expected, name
        assert len(called) > 40
    yeast = read_sequence(genomics / "eukaryote/scerevisiae_R64-1-1.fa.gz")["I"][:60_000]  # not bacterial: no crash
    assert call_genes(write("y.fa", f">I\n{yeast}\n"), rrna=False).attrs["transl_table"] == (11,)


def test_nothing_to_call_is_an_empty_table(write) -> None:
    pytest.importorskip("pyrodigal")
    called = call_genes(write("g.fa", ">c\n" + "TTAATTAATTAA" * 10 + "\n"), rrna=False)
    assert len(called) == 0 and called.attrs["transl_table"] == ()
    assert {"start_codon", "rbs_motif", "score", "confidence"} <= set(called.columns)


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
    with pytest.raises(InputError, match=r"pyrodigal.*bioterp\[call\]"):
        call_genes(fine)
    monkeypatch.undo()
    pytest.importorskip("pyrodigal")
    monkeypatch.setitem(sys.modules, "pybarrnap", None)
    with pytest.raises(InputError, match=r"pybarrnap.*bioterp\[call\]"):
        call_genes(fine)


def test_a_table_without_genes_says_so() -> None:
    table = table_of({"contig": [], "start": [], "end": []})
    table.attrs.update(contigs={"c": 200}, called=True)
    with pytest.raises(InputError, match="no gene was called on 'c'"):
        label(tiled(Space("c", "bp", 200), 37), table)
