"""Derived terms on small hand-written annotations."""

from __future__ import annotations

import pandas as pd
import pytest
from label_rows import one_split, positions, tiled

from bioterp.annotations import join, label, spans
from bioterp.errors import AlignmentError, InputError
from bioterp.grid import Space

GENES = """
##sequence-region c 1 200
c . gene 11 100 . + . ID=g1;Name=abc;biotype=protein_coding
c . mRNA 11 100 . + . ID=t1;Parent=g1
c . exon 11 30 . + . Parent=t1
c . exon 51 70 . + . Parent=t1
c . exon 91 100 . + . Parent=t1
c . CDS 21 30 . + 0 ID=p1;Parent=t1
c . CDS 51 70 . + 2 ID=p1;Parent=t1
c . CDS 91 96 . + 0 ID=p1;Parent=t1
c . gene 121 180 . - . ID=g2;biotype=lncRNA
c . lnc_RNA 121 180 . - . ID=t2;Parent=g2
c . exon 121 130 . - . Parent=t2
c . exon 161 180 . - . Parent=t2
"""


@pytest.fixture
def rows():
    return one_split(tiled(Space("c", "bp", 200), 37))


def test_a_spliced_gene(rows, gff) -> None:
    field = label(rows, gff(GENES), upstream=5)
    coding = [*range(20, 30), *range(50, 70), *range(90, 96)]
    assert positions(field, "CDS") == coding
    assert positions(field, "CDS@antisense", "-") == coding
    assert positions(field, "CDS", "-") == []
    for i in range(3):
        assert positions(field, f"CDS.phase{i}") == coding[i::3]
    assert positions(field, "start_codon") == coding[:3]
    assert positions(field, "stop_codon") == coding[-3:]
    assert positions(field, "five_prime_UTR") == list(range(10, 20))
    assert positions(field, "three_prime_UTR") == list(range(96, 100))
    assert positions(field, "intron") == [*range(30, 50), *range(70, 90)]
    assert positions(field, "intron", "-") == list(range(130, 160))
    assert positions(field, "donor") == [29, 69]
    assert positions(field, "acceptor") == [50, 90]
    assert positions(field, "donor", "-") == [160]
    assert positions(field, "acceptor", "-") == [129]
    assert positions(field, "exon_start") == [10, 50, 90]
    assert positions(field, "exon_end", "-") == [120, 160]
    assert positions(field, "upstream") == [5, 6, 7, 8, 9]
    assert positions(field, "upstream", "-") == [180, 181, 182, 183, 184]
    for strand in "+-":
        assert positions(field, "intergenic", strand) == [*range(10), *range(100, 120), *range(180, 200)]
    row = field.columns.set_index("name").loc["donor"]
    assert (row["strand"], row["n_instances"], row["source"]) == ("sense", 2 + 1, "a.gff3")
    assert field.kind == "label" and field.about["warnings"] == []


def test_codons_split_by_introns_come_in_pieces(rows, gff) -> None:
    field = label(rows, gff("""
        c . mRNA 11 120 . - . ID=t
        c . exon 11 30 . - . Parent=t
        c . exon 61 81 . - . Parent=t
        c . exon 101 120 . - . Parent=t
        c . CDS 30 30 . - 1 ID=p;Parent=t
        c . CDS 61 81 . - 1 ID=p;Parent=t
        c . CDS 101 102 . - 0 ID=p;Parent=t
    """))  # fmt: skip
    assert positions(field, "start_codon", "-") == [80, 100, 101]
    assert positions(field, "stop_codon", "-") == [29, 60, 61]


@pytest.mark.parametrize(("gap", "count"), [(1, 0), (14, 0), (15, 1), (16, 1)])
def test_a_short_gap_is_a_frameshift_and_no_intron(rows, gff, gap: int, count: int) -> None:
    start = 41 + gap
    field = label(rows, gff(f"""
        c . mRNA 11 100 . + . ID=t
        c . exon 11 40 . + . Parent=t
        c . exon {start} 100 . + . Parent=t
    """))  # fmt: skip
    names = field.columns["name"].tolist()
    assert ("intron" in names) == bool(count)
    assert len(positions(field, "exon_start")) == 1 + count


def test_frameshifted_cds_is_one_protein(rows, gff) -> None:
    """prfB skips a base: phases go on in the second part, and there is one start and one stop."""
    field = label(rows, gff("""
        c . gene 11 100 . + . ID=g
        c . CDS 11 34 . + 0 ID=p;Parent=g
        c . CDS 36 65 . + 0 ID=p;Parent=g
        c . CDS 71 100 . + 0 ID=other;Parent=g
    """))  # fmt: skip
    coding = [*range(10, 34), *range(35, 65)]
    assert set(coding[::3]) | set(range(70, 100, 3)) == set(positions(field, "CDS.phase0"))
    assert positions(field, "start_codon") == [10, 11, 12, 70, 71, 72]
    assert positions(field, "stop_codon") == [62, 63, 64, 97, 98, 99]
    assert "intron" not in field.columns["name"].tolist()


@pytest.mark.parametrize("flag", ["partial=true", "truncated=1", "pseudo=true"])
def test_no_codon_where_the_cds_is_cut(rows, gff, flag: str) -> None:
    field = label(rows, gff(f"c . CDS 11 40 . + 0 ID=p;{flag}\nc . CDS 51 80 . + 0 ID=q"))
    assert positions(field, "start_codon") == [50, 51, 52]
    assert positions(field, "stop_codon") == [77, 78, 79]


def test_a_cds_that_is_no_multiple_of_three_has_no_stop(rows, gff) -> None:
    """Vertebrate mitochondria: 'TAA stop codon is completed by the addition of 3' A residues'."""
    field = label(rows, gff("c . CDS 11 41 . + 0 ID=p\nc . CDS 51 80 . + 0 ID=q"))
    assert positions(field, "start_codon") == [10, 11, 12, 50, 51, 52]
    assert positions(field, "stop_codon") == [77, 78, 79]


def test_gtf_cds_gets_its_stop_codon(rows, gff) -> None:
    gtf = gff("""
        c s gene 11 100 . + . gene_id "g"; gene_biotype "protein_coding";
        c s transcript 11 100 . + . gene_id "g"; transcript_id "t";
        c s exon 11 40 . + . gene_id "g"; transcript_id "t";
        c s exon 61 100 . + . gene_id "g"; transcript_id "t";
        c s CDS 22 39 . + 0 gene_id "g"; transcript_id "t";
        c s start_codon 22 24 . + 0 gene_id "g"; transcript_id "t";
        c s stop_codon 40 40 . + 0 gene_id "g"; transcript_id "t";
        c s stop_codon 61 62 . + 2 gene_id "g"; transcript_id "t";
    """, "a.gtf")  # fmt: skip
    field = label(rows, gtf)
    coding = [*range(21, 40), 60, 61]
    assert positions(field, "CDS") == coding
    assert positions(field, "stop_codon") == [39, 60, 61]
    assert positions(field, "three_prime_UTR") == list(range(62, 100))

    assert positions(field, "CDS.phase0") == coding[::3]


def test_gtf_without_stop_codons_is_completed_from_the_sequence(rows, gff) -> None:
    text = 'c s CDS 11 19 . + 0 gene_id "g"; transcript_id "t";\nc s CDS 72 80 . - 0 gene_id "h"; transcript_id "u";'
    gtf = gff(text, "b.gtf")
    bases = list("C" * 200)
    bases[10:22] = "ATGCCCAAATAA"
    bases[68:80] = "TTAGGGGGGCAT"  # reverse complement: ATG CCC CCC TAA
    assert "stop_codon" not in label(rows, gtf).columns["name"].tolist()
    field = label(rows, gtf, sequence={"c": "".join(bases)})
    assert positions(field, "CDS") == list(range(10, 22))
    assert "stop_codon" not in field.columns["name"].tolist() or positions(field, "stop_codon") == [19, 20, 21]
    assert positions(field, "CDS", "-") == list(range(68, 80))


def test_codons_are_checked_with_the_right_genetic_code(rows, gff) -> None:
    bases = list("C" * 200)
    bases[10:25] = "ATGTGATGACCCTAA"  # TGA inside: tryptophan in code 4
    bases[50:59] = "ATGCCCTGA"  # a stop in code 11, none in code 4
    path = gff("c . CDS 11 25 . + 0 ID=p\nc . CDS 51 59 . + 0 ID=q")
    sequence = {"c": "".join(bases)}
    four, eleven = (label(rows, path, sequence=sequence, code=code) for code in (4, 11))
    assert positions(four, "stop_codon") == [22, 23, 24]
    assert four.about["warnings"] == []
    assert positions(eleven, "stop_codon") == [22, 23, 24, 56, 57, 58]
    assert "code=4" in eleven.about["warnings"][0]
    own = gff("c . CDS 11 25 . + 0 ID=p;transl_table=4\nc . CDS 51 59 . + 0 ID=q;transl_table=11", "o.gff3")
    told = label(rows, own, sequence=sequence)
    assert positions(told, "stop_codon") == [22, 23, 24, 56, 57, 58]
    assert told.about["warnings"] == []
    with pytest.raises(InputError, match="no genetic code 7"):
        label(rows, path, sequence=sequence, code=7)


def test_loose_introns_are_evidence_and_not_annotation(rows, gff) -> None:
    field = label(rows, gff(GENES + "c RNASeq intron 35 45 . + . Name=x"))
    assert positions(field, "intron") == [*range(30, 50), *range(70, 90)]
    assert positions(field, "intron.RNASeq") == list(range(34, 45))


def test_identical_intervals_of_two_transcripts_are_one_instance(rows, gff) -> None:
    field = label(rows, gff("""
        c . mRNA 11 100 . + . ID=t1
        c . mRNA 11 90 . + . ID=t2
        c . exon 11 40 . + . Parent=t1,t2
        c . exon 61 100 . + . Parent=t1
        c . exon 61 90 . + . Parent=t2
    """))  # fmt: skip
    counts = field.columns.set_index("name")["n_instances"]
    assert counts["exon"] == 3 and counts["donor"] == 1 and counts["intron"] == 1 and counts["mRNA"] == 2


def test_types_terms_and_filters(rows, gff) -> None:
    path = gff(GENES)
    only = label(rows, path, types=["CDS"]).columns["name"].tolist()
    assert {n.split("@")[0] for n in only} == {
        "CDS",
        "CDS.phase0",
        "CDS.phase1",
        "CDS.phase2",
        "start_codon",
        "stop_codon",
    }
    assert label(rows, path, terms=["donor"], strand="sense").columns["name"].tolist() == ["donor"]
    coding = label(rows, path, attributes={"biotype": "protein_coding"})
    assert positions(coding, "exon", "-") == []
    assert positions(coding, "donor") == [29, 69]
    # A gene the filter drops is still no place between genes.
    assert positions(coding, "intergenic") == [*range(10), *range(100, 120), *range(180, 200)]
    without = label(rows, path, exclude={"biotype": "protein_coding"})
    assert "CDS" not in without.columns["name"].tolist()
    assert positions(without, "exon", "-") == [*range(120, 130), *range(160, 180)]
    having = label(rows, path, having="CDS")
    assert positions(having, "exon", "-") == [] and positions(having, "gene") == list(range(10, 100))
    with pytest.raises(InputError, match="did you mean 'donor'"):
        label(rows, path, terms=["donors"])
    with pytest.raises(InputError, match="no feature of type 'cds'"):
        label(rows, path, types=["cds"])
    with pytest.raises(InputError, match="attribute 'bio_type'"):
        label(rows, path, attributes={"bio_type": "protein_coding"})


def test_by_makes_terms_of_an_attribute(rows, gff) -> None:
    field = label(rows, gff(GENES), by="biotype", terms=["lncRNA", "protein_coding"])
    assert positions(field, "lncRNA", "-") == list(range(120, 180))
    with pytest.raises(InputError, match="by="):
        label(rows, gff(GENES), by="nothing")


def test_a_shared_exon_stays_for_the_transcript_that_stays(rows, gff) -> None:
    path = gff("""
        c . mRNA 11 100 . + . ID=t1;tag=basic,other
        c . mRNA 11 130 . + . ID=t2;truncated=1
        c . exon 11 40 . + . Parent=t1,t2
        c . exon 61 100 . + . Parent=t1
        c . exon 71 130 . + . Parent=t2
    """)  # fmt: skip
    for kw in ({"exclude": {"truncated": 1}}, {"attributes": {"tag": "basic"}}):
        field = label(rows, path, **kw)
        assert positions(field, "acceptor") == [60]
        assert positions(field, "exon") == [*range(10, 40), *range(60, 100)]


def test_spans_as_within(rows, gff) -> None:
    path = gff(GENES)
    table = spans(path)
    assert table[["contig", "start", "end", "strand", "type"]].to_numpy().tolist() == [["c", 10, 100, "+", "mRNA"]]
    for within in (table, {"having": "CDS"}):
        field = label(rows, path, within=within)
        _, known = field.values.mask(field.column("donor"))
        item, start, _ = rows.cells()
        plus = rows.affines[item, 0, 0] > 0
        assert sorted(start[known].tolist()) == list(range(10, 100)) and plus[known].all()
    assert len(spans(path, having=None, types=["gene"])) == 2
    with pytest.raises(InputError, match="no feature of type 'tRNA'"):
        spans(path, having=None, types=["tRNA"])
    with pytest.raises(InputError, match="spans needs a type"):
        spans(path, having=None)


def test_join_puts_columns_side_by_side(rows, gff) -> None:
    one = label(rows, gff(GENES), terms=["gene", "CDS"])
    two = label(rows, gff("c . gene 3 7 . + .", "b.gff3"), terms=["gene"])
    both = join([one, two])
    assert both.columns["name"].tolist() == [
        "gene",
        "gene@antisense",
        "CDS",
        "CDS@antisense",
        "b:gene",
        "b:gene@antisense",
    ]
    assert positions(both, "b:gene") == [2, 3, 4, 5, 6]
    assert positions(both, "CDS") == positions(one, "CDS")
    told = both.values.instances
    assert told.loc[told["term"] == 4, "start"].tolist() == [2]
    assert both.split("train").shape == both.shape
    other = label(one_split(tiled(Space("c", "bp", 200), 41)), gff(GENES), terms=["gene"])
    with pytest.raises(AlignmentError):
        join([one, other])


def test_circular_intergenic_and_windows_go_around(gff) -> None:
    rows = one_split(tiled(Space("c", "bp", 100, circular=True), 30))
    field = label(rows, gff("c . gene 3 20 . + .\nc . gene 61 80 . - .\nc . gene 95 102 . + ."), upstream=10)
    assert positions(field, "gene") == [0, 1, *range(2, 20), *range(94, 100)]
    assert positions(field, "intergenic") == [*range(20, 60), *range(80, 94)]
    assert positions(field, "upstream") == [0, 1, *range(84, 100)]


def test_a_saved_field_reads_back(rows, gff, tmp_path) -> None:
    field = label(rows, gff(GENES))
    stored = field.save(tmp_path / "labels")
    assert positions(stored, "donor") == [29, 69]
    pd.testing.assert_frame_equal(stored.columns, field.columns)
