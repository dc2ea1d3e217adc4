"""Called genes against an annotation, counted by hand, and on the genomes of the shared data."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from bioterp.annotations import agreement, call_genes
from bioterp.errors import InputError

REFERENCE = """
    ##sequence-region c 1 20000
    c s CDS 101 400 . + 0 ID=a
    c s CDS 131 400 . + 0 ID=a2
    c s CDS 501 800 . - 0 ID=b
    c s CDS 901 1000 . + 0 ID=slip
    c s CDS 1000 1200 . + 0 ID=slip
    c s CDS 1301 1345 . + 0 ID=short
    c s CDS 1401 1700 . + 0 ID=dead;pseudo=true
    c s pseudogene 1801 2400 . - . ID=relic
    c s CDS 2501 2800 . + 0 ID=missed
    c s CDS 2901 3130 . + 0 ID=cut;partial=true;end_range=3130,.
    c s rRNA 5001 6540 . + . ID=r1;product=16S ribosomal RNA
    c s rRNA 6901 9800 . + . ID=r2;product=23S ribosomal RNA
    c s rRNA 9901 10020 . + . ID=r3;product=5S ribosomal RNA
    c s rRNA 10101 11640 . + . ID=r4;Name=rrsB
    c s rRNA 12001 14900 . + . ID=r5;Name=rrlB
    c s rRNA 15001 15120 . + . ID=r6
    c s rRNA 17001 18540 . - . ID=r7;Name=SSU_rRNA_bacteria
    other s CDS 1 300 . + 0 ID=elsewhere
"""


def called() -> pd.DataFrame:
    genes = [
        (100, 400, "+"), (530, 800, "-"), (500, 770, "-"), (999, 1200, "+"), (1400, 1700, "+"), (1900, 2200, "-"),
        (2000, 2300, "+"), (3300, 3600, "+"), (5000, 5300, "-"),
    ]  # fmt: skip
    rrna = [
        (5010, 6530, "16S_rRNA"), (6900, 9700, "23S_rRNA"), (9905, 10_015, "5S_rRNA"), (10_110, 11_630, "16S_rRNA"),
        (13_600, 14_900, "23S_rRNA"), (15_000, 15_120, "5S_rRNA"), (19_000, 19_110, "5S_rRNA"),
    ]  # fmt: skip
    lines = [("c", s, e, d, "CDS", "", 0, f"g{i}") for i, (s, e, d) in enumerate(genes)]
    lines += [("c", s, e, "+", "rRNA", name, -1, f"r{i}") for i, (s, e, name) in enumerate(rrna)]
    lines += [("plasmid", 0, 300, "+", "CDS", "", 0, "p")]
    return pd.DataFrame(lines, columns=["contig", "start", "end", "strand", "type", "name", "phase", "id"])


def test_agreement_counted_by_hand(gff) -> None:
    found = agreement(called(), gff(REFERENCE))
    counts = found.set_index(["type", "match", "counted"])[["n_reference", "n_called", "n_shared"]]
    expected = {
        # a and a2 share a stop; dead and cut have none. Called, with their stop: a, b, slip.
        ("CDS", "stop", "all"): (5, 9, 3),
        # a, a2, b, slip, short, missed; of the calls a and the second one on b (its stop, its start) are exact.
        ("CDS", "start and stop", "all"): (6, 9, 1),
        # without `short`; without the calls on `dead` and, on its strand, `relic`
        ("CDS", "stop", "callable"): (4, 7, 3),
        ("CDS", "start and stop", "callable"): (5, 7, 1),
        ("16S rRNA", "overlap", "all"): (3, 2, 2),
        ("23S rRNA", "overlap", "all"): (2, 2, 1),  # the second call covers less than half
        ("5S rRNA", "overlap", "all"): (2, 3, 2),  # one by its length alone
        ("rRNA operon", "every gene", "all"): (2, 1, 1),  # the second 23S begins 1,970 bp behind its 16S
    }
    assert {key: tuple(line) for key, line in zip(counts.index, counts.to_numpy().tolist(), strict=True)} == expected
    first = found.iloc[0]
    assert math.isclose(first["sensitivity"], 0.6) and math.isclose(first["precision"], 1 / 3)


def test_an_annotation_agrees_with_itself(gff) -> None:
    path = gff(REFERENCE)
    found = agreement(path, path)
    assert (found["sensitivity"] == 1).all() and (found["precision"] == 1).all()
    swapped = agreement(path, called())
    assert swapped["n_shared"].tolist()[:2] == [3, 1]


def test_a_gene_over_the_origin_of_a_circle_is_one_gene(gff) -> None:
    around = gff("""
        ##sequence-region c 1 1000
        c s region 1 1000 . + . ID=c;Is_circular=true
        c s CDS 901 1200 . + 0 ID=a
        c s CDS 801 1049 . - 0 ID=b
    """)
    cut = pd.DataFrame(
        [
            ("c", 0, 200, "+", "CDS", 2, "start_range=.,1", "x"),
            ("c", 800, 1000, "-", "CDS", 2, "end_range=1000,.", "y"),
        ],
        columns=["contig", "start", "end", "strand", "type", "phase", "attributes", "id"],
    )
    found = agreement(cut, around)
    assert found["n_reference"].tolist()[:2] == [2, 2]
    assert found["n_shared"].tolist()[:2] == [2, 0]  # both stops are there, both starts are cut off


def test_nothing_to_divide_by_and_nothing_in_common(gff) -> None:
    genes = called()
    no_rrna = agreement(genes[genes["type"] == "CDS"], gff("c s CDS 2501 2800 . + 0 ID=only"))
    assert no_rrna["type"].unique().tolist() == ["CDS"]
    assert no_rrna["sensitivity"].tolist() == [0, 0, 0, 0]
    none = agreement(genes, gff("c s rRNA 5001 6540 . + . ID=r1;product=16S ribosomal RNA", "r.gff3"))
    assert none["sensitivity"].isna().tolist() == [True] * 4 + [False, True, True, True]
    with pytest.raises(InputError, match=r"'c', 'plasmid'.*'chr'.*contigs="):
        agreement(genes, gff("chr s CDS 2501 2800 . + 0 ID=only", "n.gff3"))
    named = agreement(
        genes[genes["type"] == "CDS"], gff("chr s CDS 101 400 . + 0 ID=only", "m.gff3"), contigs={"c": "chr"}
    )
    assert named["n_shared"].tolist() == [1, 1, 1, 1]


def test_a_contig_without_a_call_is_missed_not_left_out(gff) -> None:
    genes = called()
    genes.attrs.update(contigs={"c": 20_000, "plasmid": 3000, "other": 900}, called=True)
    found = agreement(genes, gff(REFERENCE))
    assert found["n_reference"].tolist()[:4] == [6, 7, 5, 6]
    assert found["n_called"].tolist()[:4] == [9, 9, 7, 7]
    nothing = genes[genes["type"] == "none"]
    nothing.attrs.update(genes.attrs)
    found = agreement(nothing, gff(REFERENCE))
    assert found["n_called"].eq(0).all() and found["sensitivity"].eq(0).all() and found["precision"].isna().all()


@pytest.mark.slow
@pytest.mark.needs_shared
@pytest.mark.parametrize(
    ("fasta", "annotation", "sensitivity", "precision", "rrna"),
    [
        ("ecoli_k12_mg1655.fna.gz", "ecoli_k12_mg1655.gff.gz", 0.97, 0.95, (7, 7, 8, 7)),
        ("staphylococcus_aureus_502A.fa.gz", "staphylococcus_aureus_502A.gff3.gz", 0.97, 0.95, (6, 6, 7, 6)),
        ("bacillus_subtilis_best7003.fa.gz", "bacillus_subtilis_best7003.gff3.gz", 0.97, 0.95, (10, 10, 10, 10)),
        # Its annotation has 476 CDS and no pseudogene: 13 of the 54 other calls are pieces of the MgPa repeats.
        ("mycoplasma_genitalium_g37.fa.gz", "mycoplasma_genitalium_g37.gff3.gz", 0.97, 0.88, (1, 1, 1, 1)),
    ],
)
def test_agreement_on_whole_genomes(genomics, fasta, annotation, sensitivity, precision, rrna) -> None:
    pytest.importorskip("pyrodigal")
    pytest.importorskip("pybarrnap")
    genes = call_genes(genomics / "bacteria" / fasta)
    assert genes.attrs["transl_table"] == ((4,) if "mycoplasma" in fasta else (11,))
    found = agreement(genes, genomics / "bacteria" / annotation).set_index(["type", "match", "counted"])
    line = found.loc[("CDS", "stop", "callable")]
    assert line["sensitivity"] >= sensitivity and line["precision"] >= precision
    every = found.loc[("CDS", "stop", "all")]
    assert every["sensitivity"] >= 0.96 and every["precision"] >= precision
    assert tuple(found["n_shared"].iloc[4:]) == rrna
    cds, sites = (genes[genes["type"] == kind] for kind in ("CDS", "RBS"))
    ranged = cds[cds["rbs_spacer"].str.contains("-") & cds["rbs_motif"].str.contains("G")]
    assert len(sites) >= 0.94 * len(ranged)  # the others have two places that tie
