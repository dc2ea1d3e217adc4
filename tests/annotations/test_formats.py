"""Each format, hand-written; and what is wrong with a file, said in one sentence."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest
from label_rows import one_split, positions, tiled

from bioterp.annotations import label
from bioterp.annotations.reading import read
from bioterp.errors import InputError
from bioterp.grid import Grid, Space
from bioterp.rows import Rows
from bioterp.sequence import Sequences


@pytest.fixture
def rows():
    return one_split(tiled(Space("c", "bp", 200), 37))


def test_bed3_bed6_and_typed_names(rows, write) -> None:
    three = label(rows, write("peaks.v1.bed", "track name=x\nc\t3\t9\r\nc\t20\t22\r\n"))
    assert three.columns["name"].tolist() == ["peaks"]
    assert positions(three, "peaks") == positions(three, "peaks", "-") == [3, 4, 5, 6, 7, 8, 20, 21]
    six = label(rows, write("b.bed", "c\t3\t9\tn\t0\t-\nc\t20\t22\tm\t0\t+\n"), name="site")
    assert positions(six, "site") == [20, 21] and positions(six, "site@antisense") == [3, 4, 5, 6, 7, 8]
    typed = label(rows, write("r.bed", "c\t3\t9\tCTCF|1\t0\t.\nc\t20\t22\tEnhancer|2\t0\t.\n"))
    assert typed.columns["name"].tolist() == ["CTCF", "Enhancer"]
    assert typed.values.instances["name"].tolist() == ["1", "2"]
    by = label(rows, write("q.bed", "c 3 9 up\nc 20 22 down\n"), by="name")
    assert by.columns["name"].tolist() == ["down", "up"]


def test_bed12_has_exons_and_cds(rows, write) -> None:
    line = "c\t10\t100\tt\t0\t-\t15\t92\t0\t3\t10,20,10,\t0,30,80,\n"
    field = label(rows, write("t.bed", line))
    assert positions(field, "exon", "-") == [*range(10, 20), *range(40, 60), *range(90, 100)]
    assert positions(field, "CDS", "-") == [*range(15, 20), *range(40, 60), 90, 91]
    assert positions(field, "start_codon", "-") == [59, 90, 91]
    assert positions(field, "stop_codon", "-") == [15, 16, 17]
    assert positions(field, "three_prime_UTR", "-") == list(range(10, 15))
    assert positions(field, "donor", "-") == [40, 90]


GENBANK = """LOCUS       TINY                     120 bp    DNA     circular BCT 01-JAN-2000
DEFINITION  x.
ACCESSION   TINY
VERSION     TINY.2
KEYWORDS    .
SOURCE      .
  ORGANISM  .
FEATURES             Location/Qualifiers
     source          1..120
     gene            complement(join(111..120,1..5))
                     /gene="over"
     CDS             complement(join(111..120,1..5))
                     /gene="over"
                     /transl_table=11
     gene            <20..49
                     /gene="cut"
     CDS             <20..49
                     /gene="cut"
                     /codon_start=2
     mRNA            join(60..70,90..100)
                     /gene="cut2"
     CDS             join(62..70,90..95)
                     /gene="cut2"
     mystery         58
ORIGIN
        1 acgtacgtac gtacgtacgt acgtacgtac gtacgtacgt acgtacgtac gtacgtacgt
       61 acgtacgtac gtacgtacgt acgtacgtac gtacgtacgt acgtacgtac gtacgtacgt
//
"""


def test_genbank(write) -> None:
    rows = one_split(tiled(Space("TINY.2", "bp", 120, circular=True), 37))
    field = label(rows, write("t.gb", GENBANK))
    over = [*range(5), *range(110, 120)]
    assert positions(field, "gene", "-") == over
    assert positions(field, "start_codon", "-") == [2, 3, 4]
    assert positions(field, "stop_codon", "-") == [110, 111, 112]
    assert positions(field, "CDS.phase0", "-") == sorted([4, 1, 118, 115, 112])
    # codon_start=2 and a fuzzy start: the frame is shifted and there is no start codon.
    assert positions(field, "CDS.phase0") == [*range(20, 49, 3), *[*range(61, 70), *range(89, 95)][::3]]
    assert positions(field, "start_codon") == [61, 62, 63]
    assert positions(field, "intron") == list(range(70, 89))
    assert positions(field, "five_prime_UTR") == [59, 60]
    assert positions(field, "mystery") == [57]
    assert "source" not in field.columns["name"].tolist()
    packed = write("u.gbk.gz", "")
    packed.write_bytes(gzip.compress(GENBANK.encode()))
    assert positions(label(rows, packed), "gene", "-") == over


VCF = """##fileformat=VCFv4.2
##contig=<ID=c,length=200>
##contig=<ID=d>
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO
c\t4\trs1\tA\tG\t.\tPASS\tCLNSIG=Pathogenic;AF=0.1;DB
c\t9\t.\tAT\tA\t.\tPASS\tCLNSIG=Benign|Likely_benign
c\t21\t.\tA\tATTT\t.\tq10\t.
c\t31\t.\tA\t<DEL>\t.\tPASS\tEND=40
"""


def test_vcf_points_spans_and_info(rows, write) -> None:
    path = write("v.vcf", VCF)
    field = label(rows, path)
    assert positions(field, "variant") == [3, 8, 9, 20, *range(30, 40)]
    assert field.columns["strand"].tolist() == ["both"]
    assert positions(label(rows, path, attributes={"CLNSIG": "Pathogenic"}), "variant", "-") == [3]
    assert positions(label(rows, path, attributes={"DB": True}), "variant") == [3]
    assert positions(label(rows, path, attributes={"FILTER": "q10"}), "variant") == [20]
    assert positions(label(rows, path, by="class"), "deletion") == [8, 9]
    by = label(rows, path, by="CLNSIG")
    assert by.columns["name"].tolist() == ["Benign", "Likely_benign", "Pathogenic"]


def test_bcf_is_read_without_an_index(rows, write, tmp_path) -> None:
    pysam = pytest.importorskip("pysam")
    with pysam.VariantFile(str(tmp_path / "v.bcf"), "wb", header=pysam.VariantHeader()) as out:
        out.header.contigs.add("c", 200)
        record = out.new_record(contig="c", start=3, alleles=("A", "G"))
        out.write(record)
    assert positions(label(rows, tmp_path / "v.bcf"), "variant") == [3]
    assert [p.name for p in tmp_path.iterdir()] == ["v.bcf"]


def test_content_tells_the_format_and_nothing_is_written_beside(rows, write, tmp_path) -> None:
    texts = {
        "a": "c\t.\tgene\t4\t9\t.\t+\t.\tID=x\r\n",
        "b": "c\t3\t9\n",
        "c": VCF,
        "d": 'c\ts\tgene\t4\t9\t.\t+\t.\tgene_id "x"; gene_name "n";\n',
    }
    kinds = {}
    for name, text in texts.items():
        path = write(name, "")
        path.write_bytes(gzip.compress(text.encode()))
        kinds[name] = read(path).kind
    assert kinds == {"a": "gff3", "b": "bed", "c": "vcf", "d": "gtf"}
    tmp_path.chmod(0o555)
    try:
        assert positions(label(rows, tmp_path / "a"), "gene") == [3, 4, 5, 6, 7, 8]
    finally:
        tmp_path.chmod(0o755)


def test_a_data_frame_is_a_source(rows) -> None:
    table = pd.DataFrame({"contig": ["c", "c"], "start": [3, 11], "end": [6, 13], "strand": ["+", "-"], "type": "hit"})
    assert positions(label(rows, table), "hit") == [3, 4, 5]
    with pytest.raises(InputError, match="lacks end"):
        label(rows, table.drop(columns="end"))
    with pytest.raises(InputError, match="from 9 to 6"):
        label(rows, table.assign(start=9))
    with pytest.raises(InputError, match="strand 'x'"):
        label(rows, table.assign(strand="x"))


def test_bigwig_is_numbers_and_nan_is_unknown(tmp_path) -> None:
    big = pytest.importorskip("pyBigWig")
    paths = {"+": tmp_path / "s.plus.bw", "-": tmp_path / "s.minus.bw"}
    values = {"+": np.arange(100, dtype=float), "-": 500 - np.arange(100, dtype=float)}
    for strand, path in paths.items():
        with big.open(str(path), "w") as file:
            file.addHeader([("c", 120)])
            file.addEntries("c", 0, values=values[strand].tolist(), span=1, step=1)
    space = Space("c", "bp", 120)
    grids = [Grid(space, (9,), [[6, 60], [0, 1]]), Grid.line(space, 0, 60, "-"), Grid.line(space, 10, 30)]
    grids.append(Grid(space, (3,), bounds=[[40, 41], [41, 41], [50, 54]]))
    items = pd.DataFrame({"item": list("abde"), "sample": "s", "block": "x", "split": "train"})
    rows = Rows.from_grids(items, grids)
    one = label(rows, paths["+"]).values[:, 0]
    np.testing.assert_allclose(one[:9], [62.5, 68.5, 74.5, 80.5, 86.5, 92.5, 97.5, np.nan, np.nan])
    np.testing.assert_allclose(one[9:69], np.arange(60)[::-1])
    np.testing.assert_allclose(one[89:], [40, np.nan, 51.5])
    pair = label(rows, {k: str(v) for k, v in paths.items()}, name="signal")
    np.testing.assert_allclose(pair.values[9:69, 0], 500 - np.arange(60)[::-1])
    np.testing.assert_allclose(pair.values[69:89, 0], np.arange(10, 30))
    assert pair.columns.loc[0, ["name", "strand"]].tolist() == ["signal", "sense"]
    circle = Rows.from_grids(items[:1], [Grid.line(Space("c", "bp", 120, circular=True), 110, 130)])
    around = label(circle, paths["+"]).values[:, 0]
    np.testing.assert_allclose(around, [*[np.nan] * 10, *range(10)])


GOOD = "c\t.\tgene\t4\t9\t.\t+\t.\tID=x"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.gff3", f"{GOOD}\nc\t.\tgene\t9\t4\t.\t+\t.\tID=y", r"a.gff3, line 2: start 9 > end 4"),
        (
            "a.gff3",
            f"{GOOD}\nc . gene 4 9 . + . ID=x",
            r"line 2: 1 columns; GFF3 and GTF have 9; columns are separated by tabs",
        ),
        ("a.gff3", "c\t.\tgene\tx\t9\t.\t+\t.\tID=x", r"line 1: start 'x' and end '9' are not whole numbers"),
        ("a.gff3", "c\t.\tgene\t0\t9\t.\t+\t.\tID=x", r"line 1: start 0 lies before the first base"),
        ("a.gff3", "c\t.\tgene\t1\t9\t.\tp\t.\tID=x", r"line 1: strand 'p'"),
        ("a.gff3", "c\t.\tCDS\t1\t9\t.\t+\t3\tID=x", r"line 1: phase '3'"),
        ("a.gff3", "##gff-version 3\n", r"holds no feature"),
        ("a.gff3", "", r"is empty"),
        ("a.gff3", "c\t.\tgene\t4\t209\t.\t+\t.\tID=x", r"gene 'x' ends at 209, past the end of 'c' \(200 bp\)"),
        ("a.gff3", "chrC\t.\tgene\t4\t9\t.\t+\t.\tID=x", r"says 'chrC', the sequence 'c'.*contigs=\{'c': 'chrC'\}"),
        ("a.bed", "c\t9\t4\n", r"a.bed, line 1: start 9 > end 4"),
        ("a.bed", "c\t1\n", r"line 1: 2 columns; BED has at least 3"),
        ("a.bed", "c\t1\t2\nc\t1\t2\tx\n", r"line 2: 4 columns where the lines before have 3"),
        ("a.vcf", "c\t1\t.\tA\tC\t.\t.\t.\n", r"line 1: a record before the line '#CHROM'"),
        ("a.vcf", "#CHROM\tPOS\nc\t1\n", r"line 2: 2 columns; VCF has at least 8"),
        ("a.gb", "nonsense\n", r"no GenBank record"),
        ("a.bw", "nonsense\n", r"cannot be read as bigWig"),
        ("a.txt", "nonsense\n", r"in no format this knows"),
        ("a.gff3.gz", "not packed at all", r"line 1: 1 columns"),
    ],
)
def test_a_bad_file_is_one_sentence(rows, write, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        label(rows, write(name, text))
    assert "\n" not in str(error.value)


def test_a_cut_or_binary_file_is_named(rows, write) -> None:
    cut = write("cut.gff.gz", "")
    cut.write_bytes(gzip.compress((GOOD + "\n").encode() * 50_000)[:-30])
    with pytest.raises(InputError, match="ends early or is damaged"):
        label(rows, cut)
    binary = write("b.gff", "")
    binary.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="not text"):
        label(rows, binary)
    with pytest.raises(InputError, match=r"no annotation file .*did you mean 'b.gff'"):
        label(rows, binary.parent / "bb.gff")
    with pytest.raises(InputError, match="is a folder"):
        label(rows, binary.parent)


def test_contigs_on_one_side_only(gff) -> None:
    items, grids = [], []
    for name in ("1", "2", "3"):
        items.append((name, "s", name, "train"))
        grids.append(Grid.line(Space(name, "bp", 50), 0, 50))
    rows = Rows.from_grids(pd.DataFrame(items, columns=["item", "sample", "block", "split"]), grids)
    path = gff("##sequence-region 2 1 50\n1 . gene 4 9 . + . ID=x\n9 . gene 4 9 . + . ID=y")
    field = label(rows, path, terms=["gene"])
    positive, known = field.values.mask(0)
    assert np.flatnonzero(positive).tolist() == [3, 4, 5, 6, 7, 8]
    assert known.reshape(3, 50).all(1).tolist() == [True, True, False]
    assert not known.reshape(3, 50)[2].any()
    assert "says nothing of '3': labels there are unknown" in field.about["warnings"][0]
    assert "also annotates '9'" in field.about["warnings"][1]
    renamed = label(rows, path, terms=["gene"], contigs={"3": "9"})
    assert np.flatnonzero(renamed.values.mask(0)[0]).tolist() == [*range(3, 9), *range(103, 109)]
    with pytest.raises(InputError, match="contigs= speaks of 'x'"):
        label(rows, path, contigs={"1": "x"})


def test_past_the_origin_of_a_circle_but_not_of_a_line(gff) -> None:
    path = gff("c . D_loop 181 230 . - .")
    with pytest.raises(InputError, match="or the contig is circular and neither"):
        label(one_split(tiled(Space("c", "bp", 200), 37)), path)
    told = gff(
        "##sequence-region c 1 200\nc . region 1 200 . + . ID=c;Is_circular=true\nc . D_loop 181 230 . - .", "d.gff3"
    )
    for space, file in ((Space("c", "bp", 200, True), path), (Space("c", "bp", 200), told)):
        field = label(one_split(tiled(space, 37)), file)
        assert positions(field, "D_loop", "-") == [*range(30), *range(180, 200)]
        assert field.columns["n_instances"].iloc[0] == 1
        assert not any(n.startswith("region") for n in field.columns["name"])


HEAD = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
HUGE = "9" * 20


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.bed", f"c\t1\t{HUGE}\n", "line 1: end 9+ is longer than any contig"),
        ("a.bed", f"c\t1\t9\tn\t0\t+\t0\t{HUGE}\t0\t1\t8\t0\n", "line 1: thick or block coordinate 9+ is longer"),
        ("a.bed", "c\t1\t9\tn\t0\t+\t0\t9\t0\t2\t1,1\t-5,0\n", "blockStarts cannot be negative"),
        ("a.gff3", f"c\t.\tgene\t1\t{HUGE}\t.\t+\t.\tID=x", "line 1: end 9+ is longer than any contig"),
        ("a.gff3", f"##sequence-region c 1 {HUGE}\n{GOOD}", "line 1: length 9+ is longer than any contig"),
        ("a.gff3", f"##sequence-region c 1 \u00b2\n{GOOD}", "line 1: .*wanted '##sequence-region name start end'"),
        ("a.vcf", f"{HEAD}c\t{HUGE}\t.\tA\tC\t.\t.\t.\n", "line 3: POS 9+ is longer than any contig"),
        ("a.vcf", f"{HEAD}c\t\u00b2\t.\tA\tC\t.\t.\t.\n", "line 3: POS '\u00b2' is not a whole number"),
        ("a.vcf", f"{HEAD}c\t4\t.\tA\t<DEL>\t.\t.\tEND={HUGE}\n", "line 3: END 9+ is longer than any contig"),
        ("a.vcf", f"##contig=<ID=c,length={HUGE}>\n{HEAD}", "line 1: length 9+ is longer than any contig"),
        ("a.vcf", f"{HEAD}c\t4\t.\t\tC\t.\t.\t.\n", "line 3: REF '' is empty"),
        ("a.vcf", HEAD, "a.vcf holds no record"),
        ("a.bed", "c\t190\t209\n", r"a ends at 209, past the end of 'c' \(200 bp\): the annotation"),
        ("a.txt", "c\t\u00b2\t9\n", "in no format this knows"),
    ],
)
def test_numbers_that_are_none_and_records_that_are_not_there(rows, write, name, text, message) -> None:
    with pytest.raises(InputError, match=message) as error:
        label(rows, write(name, text))
    assert "\n" not in str(error.value) and "more:" not in str(error.value)


@pytest.mark.parametrize("odd", [1e20, float("nan"), 10**25, 3.5, "x"])
def test_a_table_with_odd_coordinates(rows, odd) -> None:
    table = pd.DataFrame({"contig": ["c", "c"], "start": [3, 11], "end": pd.Series([6, odd], dtype=object)})
    with pytest.raises(InputError, match="line 1 of the table of features has the end"):
        label(rows, table)


CUT = {
    "no ORIGIN": (GENBANK[: GENBANK.index("ORIGIN")], "is damaged or cut off: Premature end"),
    "no ORIGIN, closed": (GENBANK[: GENBANK.index("ORIGIN")] + "//\n", "is damaged or cut off: Premature end"),
    "in the features": (GENBANK[: GENBANK.index("/codon_start") + 5], "is damaged or cut off: Premature end"),
    "in a key": (GENBANK[: GENBANK.index("mRNA") + 4], "is damaged or cut off: "),
    "in the header": (GENBANK[: GENBANK.index("KEYWORDS")], "is damaged or cut off: "),
    "in the bases": (
        GENBANK[: GENBANK.index("61 acgt") + 30],
        "record 'TINY.2' says 120 bp and holds 85: it is cut off",
    ),
    "before //": (GENBANK[: GENBANK.index("//")], "record 'TINY.2' has no closing //"),
    "unclosed join": (GENBANK.replace("62..70,90..95)", "62..70"), "Problem with 'CDS' feature: join"),
    "another length": (GENBANK.replace("120 bp", "480 bp"), "says 480 bp and holds 120: it is cut off"),
    "too many bases": (GENBANK.replace("120 bp", " 60 bp"), "says 60 bp and holds 120: it is damaged"),
}


@pytest.mark.parametrize("case", CUT)
def test_a_cut_genbank_is_one_sentence(write, recwarn, case: str) -> None:
    text, message = CUT[case]
    path = write("t.gb", text)
    for reader in (read, Sequences):
        with pytest.raises(InputError, match=message) as error:
            reader(path)
        assert "t.gb" in str(error.value) and "fetch it again" in str(error.value) and "\n" not in str(error.value)
    assert not [w for w in recwarn.list if w.category.__name__.startswith("Biopython")]


def test_a_genbank_cut_anywhere_is_refused(write) -> None:
    for length in range(60, len(GENBANK) - 1, 7):
        path = write("t.gb", GENBANK[:length])
        for reader in (read, Sequences):
            with pytest.raises(InputError, match="fetch it again"):
                reader(path)


def test_names_that_differ_are_told_for_the_run_file_too(rows, write) -> None:
    with pytest.raises(InputError) as error:
        label(rows, write("a.bed", "chrC\t4\t9\n"))
    assert """pass contigs={'c': 'chrC'} (in run.yaml: contigs: {"c": "chrC"})""" in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mystery         58", "mystery         20.25..x", r"location of mystery in .*'TINY.2' .*'20.25..x'"),
        ("mystery         58", "mystery         70..60", r"location of mystery in .*'70..60'.*correct it"),
        ("CDS             <20..49", "CDS             <20...49", r"location of CDS 'cut' in record"),
        ("/codon_start=2", "/codon_start=x", r"CDS 'cut' has codon_start='x'"),
    ],
)
def test_no_feature_of_a_genbank_is_dropped(write, recwarn, old: str, new: str, message: str) -> None:
    text = GENBANK.replace(old, new).replace("circular", "linear  ")
    with pytest.raises(InputError, match=message):
        read(write("t.gb", text))
    assert not [w for w in recwarn.list if w.category.__name__.startswith("Biopython")]


def test_a_reference_of_another_assembly(rows, write) -> None:
    bases = "ACGT" * 50
    lines = [f"c\t{at + 1}\t.\t{bases[at]}\tN\t.\t.\t.\n" for at in range(20)]
    assert label(rows, write("a.vcf", HEAD + "".join(lines)), sequence={"c": bases}).about["warnings"] == []
    lines[3] = "c\t4\t.\tA\tN\t.\t.\t.\n"
    said = label(rows, write("a.vcf", HEAD + "".join(lines)), sequence={"c": bases}).about["warnings"]
    assert said == ["1 of 20 REF alleles differ from the sequence (c:4 has T, not A): another assembly?"]
    lines = [line.replace("\tC\tN", "\tG\tN") for line in lines]
    with pytest.raises(InputError, match=r"a\.vcf: 6 of 20 REF alleles differ"):
        label(rows, write("a.vcf", HEAD + "".join(lines)), sequence={"c": bases})
