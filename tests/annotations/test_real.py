"""Real annotations on real genomes, against the sequence itself and against published structure."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from label_rows import one_split, positions, tiled

from bioterp.annotations import call_genes, label, spans
from bioterp.annotations.codes import bases_of, read_sequence
from bioterp.annotations.coding import segments
from bioterp.annotations.reading import read
from bioterp.annotations.terms import terms_of
from bioterp.grid import Space

pytestmark = pytest.mark.needs_shared


def cut(table: pd.DataFrame, sequence: dict[str, str]) -> list[str]:
    """The bases of each interval, 5'→3' on its strand; all contigs read as circles."""
    lines = table[["contig", "start", "end", "strand"]].to_numpy()
    return [bases_of(sequence[c], s, e, d, True) for c, s, e, d in lines]


def instances(field, name: str) -> pd.DataFrame:
    table = field.values.instances
    return table[table["term"] == field.column(name)]


def proteins(path, fasta) -> list[tuple[dict, str]]:
    """(first segment, coding bases 5'→3') of each CDS of an annotation."""
    features, sequence = read(path), read_sequence(fasta)
    cds = segments(features)
    cds = cds.assign(bases=cut(cds, sequence))
    whole = cds.groupby("group", sort=False)["bases"].agg("".join).tolist()
    return list(zip(cds[cds["offset"] == 0].to_dict("records"), whole, strict=True))


def translate(bases: str, code: int) -> str:
    from Bio.Seq import Seq

    return str(Seq(bases).translate(table=code))


@pytest.fixture(scope="module")
def ecoli(genomics):
    """Label on every base of both strands: 9.3 million rows."""
    rows = tiled(Space("NC_000913.3", "bp", 4_641_652, circular=True), 2048)
    begin = time.perf_counter()
    field = label(rows, genomics / "bacteria/ecoli_k12_mg1655.gff.gz")
    seconds = time.perf_counter() - begin
    return field, seconds, read_sequence(genomics / "bacteria/ecoli_k12_mg1655.fna.gz")


@pytest.mark.slow
def test_ecoli_start_codons_phases_and_speed(ecoli) -> None:
    field, seconds, sequence = ecoli
    assert seconds < 60  # a guard against per-row Python; 6 s here
    starts, stops = instances(field, "start_codon"), instances(field, "stop_codon")
    codons, ends = Counter(cut(starts, sequence)), Counter(cut(stops, sequence))
    assert len(starts) > 4200
    assert sum(codons[c] for c in ("ATG", "GTG", "TTG")) / len(starts) > 0.99
    assert sum(ends[c] for c in ("TAA", "TAG", "TGA")) / len(stops) > 0.999
    # The rows themselves, not the table: bases under CDS.phase0..2 in the '+' rows of single-phase places.
    _, low, _ = field.rows.cells(0, 400_000)
    phase = np.stack([field.read(0, 400_000).mask(field.column(f"CDS.phase{i}"))[0] for i in range(3)])
    coding = field.read(0, 400_000).mask(field.column("CDS"))[0]
    assert (phase.any(0) == coding).all()
    assert (phase.sum(0) == 1).sum() / coding.sum() > 0.99
    text = np.frombuffer(sequence["NC_000913.3"][:400_000].encode(), "S1")
    gc = [np.isin(text[low[phase[i]]], [b"G", b"C"]).mean() for i in range(3)]
    assert gc[0] > gc[1] + 0.1  # first codon positions are GC-rich and second ones poor, in every bacterium


@pytest.mark.slow
def test_ecoli_cds_translate_cleanly(genomics) -> None:
    base = genomics / "bacteria"
    clean = total = 0
    found = proteins(base / "ecoli_k12_mg1655.gff.gz", base / "ecoli_k12_mg1655.fna.gz")
    for first, bases in found:
        if "pseudo=true" in first["attributes"] or "transl_except" in first["attributes"]:
            continue
        total += 1
        amino = translate(bases, 11)
        clean += len(bases) % 3 == 0 and amino.endswith("*") and "*" not in amino[:-1]
    assert total > 4200
    assert clean / total > 0.999
    prfb = [bases for first, bases in found if "gene=prfB;" in first["attributes"]]
    assert len(prfb) == 1 and "*" not in translate(prfb[0], 11)[:-1]  # one protein over the frameshift


@pytest.mark.slow
def test_genbank_and_gff_of_ecoli_agree(genomics) -> None:
    tables = {}
    for name in ("ecoli_k12_mg1655.gbff.gz", "ecoli_k12_mg1655.gff.gz"):
        features = read(genomics / "bacteria" / name)
        made = terms_of(features, features.contigs, terms=["CDS", "start_codon", "stop_codon", "tRNA", "rRNA"])[0]
        groups = made.groupby("term", observed=True)
        tables[name] = {t: set(map(tuple, g[["start", "end", "strand"]].to_numpy())) for t, g in groups}
    one, two = tables.values()
    for term in two:
        assert len(one[term] & two[term]) / len(one[term] | two[term]) > 0.99, term


def test_genetic_code_four(genomics) -> None:
    base = genomics / "bacteria"
    four = eleven = total = 0
    for _, bases in proteins(base / "mycoplasma_genitalium_g37.gff3.gz", base / "mycoplasma_genitalium_g37.fa.gz"):
        total += 1
        four += "*" not in translate(bases, 4)[:-1]
        eleven += "*" not in translate(bases, 11)[:-1]
    assert total == 476 and four / total > 0.99 and eleven / total < 0.5
    sequence = read_sequence(base / "mycoplasma_genitalium_g37.fa.gz")
    (name,) = sequence
    rows = one_split(tiled(Space(name, "bp", len(sequence[name]), circular=True), 4096, strands="+"))
    path = base / "mycoplasma_genitalium_g37.gff3.gz"
    right = label(rows, path, sequence=sequence, code=4, terms=["CDS"])
    wrong = label(rows, path, sequence=sequence, code=11, terms=["CDS"])
    assert right.about["warnings"] == [] and "code=4" in wrong.about["warnings"][0]


def test_phix174_genes_overlap(genomics) -> None:
    rows = one_split(tiled(Space("NC_001422.1", "bp", 5386, circular=True), 1000))
    field = label(rows, genomics / "phage/phix174_NC_001422.gb.gz")
    coding = positions(field, "CDS")
    frames = [set(positions(field, f"CDS.phase{i}")) for i in range(3)]
    assert frames[0] | frames[1] | frames[2] == set(coding)
    assert len(frames[0] & frames[1]) + len(frames[0] & frames[2]) + len(frames[1] & frames[2]) > 500
    genes = instances(field, "CDS").set_index("name")
    replication = genes.loc["rf replication, viral strand synthesis protein"]
    assert (replication["start"], replication["end"]) == (3980, 5386 + 136)  # over the origin
    runs = field.values.runs(field.column("CDS"))
    mine = runs.instance == replication["instance"]
    assert (runs.stop[mine] - runs.start[mine]).sum() == 5386 - 3980 + 136


def test_mitochondrial_d_loop_goes_past_the_origin(genomics) -> None:
    rows = one_split(tiled(Space("NC_012920.1", "bp", 16_569, circular=True), 2048))
    field = label(rows, genomics / "mito/NC_012920.1.gff3.gz")
    assert positions(field, "D_loop", "-") == [*range(576), *range(16_023, 16_569)]
    assert instances(field, "D_loop")[["start", "end", "strand"]].to_numpy().tolist() == [[16_023, 17_145, "-"]]
    # CDS that end in T or TA get their stop by polyadenylation and have none in the DNA.
    ends = instances(field, "stop_codon")
    assert len(ends) < 13
    assert set(cut(ends, read_sequence(genomics / "mito/NC_012920.1.fa.gz"))) <= {"TAA", "TAG", "AGA", "AGG"}


@pytest.mark.slow
def test_yeast_gtf_cds_end_with_their_stop_codon(genomics) -> None:
    base = genomics / "eukaryote"
    clean = total = 0
    for first, bases in proteins(base / "scerevisiae_R64-1-1.96.gtf.gz", base / "scerevisiae_R64-1-1.fa.gz"):
        if first["contig"] == "Mito":
            continue
        total += 1
        amino = translate(bases, 1)
        clean += amino.endswith("*") and "*" not in amino[:-1]
    assert total > 6000 and clean / total > 0.99
    features = read(base / "scerevisiae_R64-1-1.96.gtf.gz")
    made = terms_of(features, features.contigs, terms=["intron", "donor"])[0]
    introns = made[made["term"] == "intron"]
    assert (introns["end"] - introns["start"]).min() > 15  # the Ty frameshifts are gone
    assert 250 < len(introns) < 450
    gt = [bases[:2] for bases in cut(introns, read_sequence(base / "scerevisiae_R64-1-1.fa.gz"))]
    assert gt.count("GT") / len(gt) > 0.7


def test_derived_utrs_are_those_of_the_file(genomics) -> None:
    features = read(genomics / "eukaryote/arabidopsis_1pct.gff3.gz")
    made = terms_of(features, features.contigs, terms=["five_prime_UTR", "three_prime_UTR", "intron"])[0]
    for name in ("five_prime_UTR", "three_prime_UTR"):
        mine = made[made["term"] == name]
        theirs = features.table[features.table["type"] == name]
        keys = ["contig", "start", "end", "strand"]
        assert set(map(tuple, mine[keys].to_numpy())) == set(map(tuple, theirs[keys].to_numpy()))
    assert len(made[made["term"] == "intron"]) < 3000  # not the 19,124 of RNA-seq


def test_openspliceai_truth_on_chr21(genomics) -> None:
    """157,215 nt of coding transcripts' own strand with 39 donors and 37 acceptors."""
    path = genomics / "human/chr21_25-26M.ensembl.gff3.gz"
    rows = one_split(tiled(Space("chr21_25000001_26000000", "bp", 1_000_000), 5000))
    whole = {"truncated": "1"}
    field = label(
        rows, path, terms=["donor", "acceptor"], having="CDS", exclude=whole, within=spans(path, exclude=whole)
    )
    donor, known = field.values.mask(field.column("donor"))
    acceptor, also = field.values.mask(field.column("acceptor"))
    assert (int(known.sum()), int(also.sum()), int(donor.sum()), int(acceptor.sum())) == (157_215, 157_215, 39, 37)
    told = instances(field, "donor")
    plus = told["strand"] == "+"
    start, end = told["end"].where(plus, told["start"] - 2), (told["end"] + 2).where(plus, told["start"])
    after = told.assign(start=start, end=end)  # the first two bases of the intron
    assert cut(after, read_sequence(genomics / "human/chr21_25-26M.fa.gz")).count("GT") >= 37


@pytest.mark.slow
def test_genes_called_on_the_spot(genomics, tmp_path) -> None:
    pytest.importorskip("pyrodigal")
    pytest.importorskip("pybarrnap")
    sequence = read_sequence(genomics / "bacteria/ecoli_k12_mg1655.fna.gz")["NC_000913.3"][:300_000]
    fasta = tmp_path / "part.fa"
    fasta.write_text(f">part some words\r\n{sequence}\r\n")
    called = call_genes(fasta)
    rows = tiled(Space("part", "bp", 300_000), 2048)
    field = label(rows, called)
    assert {"CDS", "rRNA", "start_codon", "stop_codon", "CDS.phase0", "intergenic"} <= set(field.columns["name"])
    truth = read(genomics / "bacteria/ecoli_k12_mg1655.gff.gz")
    stops = terms_of(truth, truth.contigs, terms=["stop_codon"])[0]
    theirs = {(s, d) for s, e, d in stops[["start", "end", "strand"]].to_numpy() if e < 299_000}
    mine = instances(field, "stop_codon")
    ours = set(zip(mine["start"], mine["strand"], strict=True))
    assert len(ours & theirs) / len(theirs) > 0.93 and len(ours & theirs) / len(ours) > 0.9
    short = tmp_path / "short.fa"
    short.write_text(f">s\n{sequence[:9000]}\n")
    assert len(call_genes(short, rrna=False)) > 3  # Prodigal's ready models
