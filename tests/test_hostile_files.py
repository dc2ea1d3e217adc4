"""What hostile files ask for, one by one: room, time, names, other people's ids; and how a cap is raised."""

from __future__ import annotations

import gzip
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless

from bioterp import cli, doors, limits, progress, store
from bioterp.adapters.dna import DNA
from bioterp.adapters.people import read_people
from bioterp.annotations import label
from bioterp.annotations.bigwig import BigWig
from bioterp.annotations.features import choose
from bioterp.annotations.label_tables import names_inside, read_names
from bioterp.annotations.reading import read
from bioterp.errors import InputError, StoreError, masked, one_line, shown
from bioterp.field import Field
from bioterp.genotypes import VCF
from bioterp.imaging import open_volume
from bioterp.imaging.dicom_packed import size_of
from bioterp.models.bundle import read_bundle
from bioterp.rows import Rows
from bioterp.sequence import Sequences
from tests.conftest import write_fasta
from tests.imaging import series


def refusal(call: object, *arguments: object) -> str:
    with pytest.raises((InputError, StoreError)) as caught:
        call(*arguments)  # type: ignore[operator]
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1_500
    return str(caught.value)


# ---------------------------------------------------------------------- caps


@pytest.mark.parametrize(("told", "most"), [("7", 7), ("3k", 3_000), ("2M", 2_000_000), (" 5 GB ", 5_000_000_000)])
def test_a_cap_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch, told: str, most: int) -> None:
    monkeypatch.setenv("BIOTERP_MAX_LINE", told)
    assert limits.most("LINE") == most


@pytest.mark.parametrize("told", ["", "many", "-1", "1e9", "²", "9" * 40])
def test_a_cap_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("BIOTERP_MAX_LINE", told)
    assert "BIOTERP_MAX_LINE is a number" in refusal(limits.most, "LINE")


def test_every_cap_is_in_the_notes_on_security() -> None:
    text = (Path(__file__).parent.parent / "docs" / "security.md").read_text()
    for name, limit in limits.LIMITS.items():
        line = next((row for row in text.splitlines() if row.startswith(f"| `{name}`")), "")
        assert f"| {limit.most:,} |" in line and limit.of in line, name


def test_a_gzip_bomb_is_stopped_and_the_cap_can_be_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIOTERP_MAX_EXPANDED", "100k")
    path = tmp_path / "a.fa.gz"
    path.write_bytes(gzip.compress(b">c\n" + b"ACGT" * 50_021))
    assert "BIOTERP_MAX_RATIO" in refusal(Sequences, path)
    monkeypatch.setenv("BIOTERP_MAX_RATIO", "2k")
    assert Sequences(path).contigs["c"].length == 200_084


def test_a_line_that_is_long_enough_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.gff"
    line = "c\tx\tgene\t1\t9\t.\t+\t.\tID=" + "a" * 3_001 + "\n"
    path.write_text(line)
    monkeypatch.setenv("BIOTERP_MAX_LINE", str(len(line)))
    assert len(read(path).table) == 1
    monkeypatch.setenv("BIOTERP_MAX_LINE", str(len(line) - 1))
    assert "line 1 is longer" in refusal(read, path)


@pytest.mark.parametrize(
    ("cap", "name", "content"),
    [
        ("ATTRIBUTES", "a.gff", "c\tx\tgene\t1\t9\t.\t+\t.\t" + "k=v;" * 51),
        ("ATTRIBUTES", "a.gff", "c\tx\tgene\t1\t9\t.\t+\t.\tParent=" + "a," * 51),
        ("ATTRIBUTES", "a.bed", "c\t0\t99\tn\t0\t+\t0\t9\t0\t51\t" + "1," * 51 + "\t" + "0," * 51),
        ("ATTRIBUTES", "a.vcf", "#CHROM\nc\t3\t.\tA\tG\t.\t.\t" + "k=v;" * 51),
        ("RECORDS", "a.gff", "c\tx\tgene\t1\t9\t.\t+\t.\t\n" * 52),
        ("RECORDS", "a.bed", "c\t1\t9\n" * 52),
        ("RECORDS", "a.vcf", "#CHROM\n" + "c\t3\t.\tA\tG\t.\t.\t.\n" * 52),
    ],
)
def test_more_than_a_record_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cap: str, name: str, content: str
) -> None:
    monkeypatch.setenv(f"BIOTERP_MAX_{cap}", "50")
    (tmp_path / name).write_text(content)
    assert f"BIOTERP_MAX_{cap}" in refusal(read, tmp_path / name)


def test_yaml_that_goes_round_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: &a [1, *a]\n")
    assert "alias within what it stands for" in refusal(doors.yaml_of, tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("a: &a [1, 2]\nb: [*a, *a]\n")
    assert doors.yaml_of(tmp_path / "b.yaml") == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


def test_references_of_a_bundle_that_multiply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIOTERP_MAX_NODES", "3k")
    config: dict[str, object] = {"network_def": {"_target_": "UNet", "a": "@x0"}, "x13": 1}
    for i in range(13):
        config[f"x{i}"] = [f"@x{i + 1}"] * 4
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "inference.json").write_text(json.dumps(config))
    assert "BIOTERP_MAX_NODES" in refusal(read_bundle, tmp_path)


def test_a_table_of_one_value_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes of Parquet that stand for two million cells."""
    pd.DataFrame({"a": np.zeros(2_000_003, np.int8)}).to_parquet(tmp_path / "a.parquet")
    assert len(doors.parquet_of(tmp_path / "a.parquet")) == 2_000_003
    monkeypatch.setenv("BIOTERP_MAX_CELLS", "1M")
    assert "2,000,003 cells" in refusal(doors.parquet_of, tmp_path / "a.parquet")


@pytest.mark.parametrize("reader", [Sequences, read, open_volume, doors.json_of])
def test_a_pipe_is_not_waited_for(tmp_path: Path, reader: object) -> None:
    os.mkfifo(tmp_path / "a.gff")
    refusal(reader, tmp_path / "a.gff")


# ---------------------------------------------------------------------- images


def planes() -> list[object]:
    return list(series.slices(np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), 3))


def test_a_deflated_dicom_that_unpacks_to_more_than_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = series.save(series.enhanced(planes(), [0, 2, 1]), tmp_path / "a.dcm")
    raw = path.read_bytes()
    meta = 144 + struct.unpack_from("<I", raw, 140)[0]  # 128 + 4 + the length of group 2
    head = bytearray(raw[:meta])
    old = b"1.2.840.10008.1.2.1\0"
    new = DeflatedExplicitVRLittleEndian.encode()
    at = head.index(old)
    struct.pack_into("<H", head, at - 2, len(new))
    head[at : at + len(old)] = new
    struct.pack_into("<I", head, 140, len(head) - 144)
    pack = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    (tmp_path / "b.dcm").write_bytes(bytes(head) + pack.compress(raw[meta:]) + pack.flush())
    np.testing.assert_array_equal(open_volume(tmp_path / "b.dcm").read(), open_volume(path).read())
    pack = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    (tmp_path / "b.dcm").write_bytes(bytes(head) + pack.compress(raw[meta:] + bytes(900_000)) + pack.flush())
    monkeypatch.setenv("BIOTERP_MAX_VOXELS", "200k")
    assert "unpacks to more than 800,000 bytes" in refusal(open_volume, tmp_path / "b.dcm")


def codestream(rows: int, columns: int, components: int = 1) -> bytes:
    """The beginning of JPEG 2000: SOC, SIZ (ISO/IEC 15444-1, table A.9)."""
    siz = struct.pack(">HIIIIIIIIH", 0, columns, rows, 0, 0, columns, rows, 0, 0, components)
    return b"\xff\x4f\xff\x51" + struct.pack(">H", len(siz) + 2) + siz


def jpeg(marker: int, rows: int, columns: int) -> bytes:
    """A JPEG frame header behind a comment (ISO/IEC 10918-1, B.2.2)."""
    frame = struct.pack(">BHHB", 8, rows, columns, 1) + bytes(3)
    return b"\xff\xd8\xff\xfe\0\x05abc\xff" + bytes([marker]) + struct.pack(">H", len(frame) + 2) + frame


@pytest.mark.parametrize(
    ("stream", "size"),
    [
        (codestream(5, 7), (5, 7, 1)),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + struct.pack(">I4s", 8, b"jp2c") + codestream(9, 4, 3), (9, 4, 3)),
        (jpeg(0xC3, 11, 6), (11, 6, 1)),
        (jpeg(0xF7, 13, 3), (13, 3, 1)),
        (b"\xff\xd8", None),
        (codestream(5, 7)[:20], None),
        (b"\1\0\0\0" + bytes(60), None),
    ],
)
def test_the_size_a_compressed_frame_says(stream: bytes, size: object) -> None:
    assert size_of(stream) == size


def test_a_compressed_frame_may_not_be_larger_than_its_header_says(tmp_path: Path) -> None:
    for k, one in enumerate(planes()):
        one.PixelData = encapsulate([codestream(65_535, 65_535) + bytes(9)])  # type: ignore[attr-defined]
        one["PixelData"].is_undefined_length = True  # type: ignore[index]
        series.save(one, tmp_path / "s" / str(k), JPEG2000Lossless)  # type: ignore[arg-type]
    volume = open_volume(tmp_path / "s")
    assert "65535 × 65535 × 1 and the file says 5 × 7 × 1" in refusal(volume.read)


def test_a_table_of_names_within_a_scan_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An extension that says it is 2 GB long is none; entities that multiply are not resolved."""
    head = bytearray(544)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<f", head, 108, 2.0**31)
    head[348] = 1
    good = b'<LabelTable><Label Key="3">a</Label></LabelTable>'
    struct.pack_into("<2i", head, 352, 8 + len(good), 0)
    head[360 : 360 + len(good)] = good
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(bytes(head)))
    assert names_inside(path) == {3: "a"}
    struct.pack_into("<i", head, 352, 2**31 - 16)
    path.write_bytes(gzip.compress(bytes(head)))
    assert names_inside(path) == {}
    evil = b'<!DOCTYPE x [<!ENTITY a "b">]>' + good.replace(b"a<", b"&a;<")
    struct.pack_into("<i", head, 352, 8 + len(evil))
    head[360 : 360 + len(evil)] = evil
    path.write_bytes(gzip.compress(bytes(head)))
    assert names_inside(path) == {}


def test_label_tables_in_python_are_read_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(f"m = {{1: __import__('os').mkdir({str(tmp_path / 'ran')!r})}}\n")
    refusal(read_names, path)
    path.write_text("m = {1: " + "(" * 9_000 + "2" + ")" * 9_000 + "}")
    assert "is not Python text" in refusal(read_names, path)
    assert not (tmp_path / "ran").exists()


# ---------------------------------------------------------------------- bigWig


@pytest.fixture(scope="module")
def bigwig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import pyBigWig

    path = tmp_path_factory.mktemp("bw") / "a.bw"
    file = pyBigWig.open(str(path), "w")
    file.addHeader([("c", 1_009), ("d", 211)])
    file.addEntries("c", [3, 40], values=[1.5, 2.5], span=7)
    file.close()
    return path


def test_a_bigwig_as_its_library_reads_it(bigwig: Path) -> None:
    with BigWig(bigwig) as file:
        assert file.contigs == {"c": 1_009, "d": 211}
        values = file.values("c", 0, 50)
    expected = np.full(50, np.nan)
    expected[3:10], expected[40:47] = 1.5, 2.5
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("at", [4, 8, 24, 40, 100, 376])
def test_a_damaged_bigwig_harms_no_other_process(bigwig: Path, tmp_path: Path, at: int) -> None:
    """Offsets and counts made huge: wherever its reader ends, here it is a refusal, or numbers."""
    raw = bytearray(bigwig.read_bytes())
    raw[at : at + 8] = b"\xff\xff\xff\x7f" * 2
    path = tmp_path / "b.bw"
    path.write_bytes(raw)
    try:
        with BigWig(path) as file:
            for contig, length in file.contigs.items():
                assert len(file.values(contig, 0, min(length, 100))) == min(length, 100)
    except InputError as error:
        assert "cannot be read as bigWig" in str(error)


# ---------------------------------------------------------------------- names


def test_nobody_is_named_in_messages(tmp_path: Path) -> None:
    head = "##fileformat=VCFv4.3\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t"
    (tmp_path / "a.vcf").write_text(head + "Zaphod07\tFord\tZaphod07\n")
    said = refusal(VCF, tmp_path / "a.vcf")
    assert "column 10" in said and "Zaphod" not in said and "Aaaaaa99" in said
    sheet = pd.DataFrame({"sample": ["Trillian-1"], "case": [1]})
    said = refusal(read_people, sheet, ["Zaphod07"], 0)
    assert "Zaphod" not in said and "Trillian" not in said and "Aaaaaaaa-9" in said


def test_what_a_file_says_does_not_reach_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences in a name are shown, not sent; a long name is cut."""
    name = "run\x1b]0;evil\x07\n" + "x" * 150
    assert cli.main(["check", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said and "\x07" not in said and said.count("\n") == 1 and "\\x1b]0;evil" in said


def test_messages_are_a_line_that_can_be_shown(tmp_path: Path) -> None:
    """Found by the fuzzers: zero bytes for a contig and for a type, and a sequence longer than any number of bytes."""
    bed, gff, genbank = tmp_path / "a.bed", tmp_path / "a.gff3", tmp_path / "a.gb"
    bed.write_bytes(b"\0" * 127 + b"\t1\t1\n")
    gff.write_bytes(b"##gff-version 3\nc\ts\tregion" + b"\0" * 117 + b"\t1\t121\t.\t+\t.\tID=c;Is_circular=false\n")
    genbank.write_text("LOCUS       c1 " + "9" * 60 + " bp  \nORIGIN\n//\n")
    found = list(DNA(write_fasta(tmp_path / "c.fa", c="ACGT" * 30), window=60, halo=0, blocks=20))
    rows = Rows.from_grids(pd.DataFrame([item.record for item, _, _ in found]), [grid for *_, grid in found])
    for path in (bed, gff):
        with pytest.raises(InputError) as refused:
            label(rows, path)
        assert str(refused.value).isprintable() and len(str(refused.value)) <= 1_500
    with pytest.raises(InputError, match="damaged or cut off"):
        DNA(genbank)


def test_forms_of_names_and_values() -> None:
    assert masked("HG00096") == "'AA99999'" and len(masked("a" * 10**6)) < 40
    assert one_line("a\n\tb\x00.") == "a b\\x00" and len(one_line("x" * 10**7)) == 200
    nested: object = 1
    for _ in range(60):
        nested = [nested] * 9  # 9^60 numbers, were they written out
    assert len(shown(nested)) <= 60 and len(shown({"k": "v" * 10**6})) <= 60


# ---------------------------------------------------------------------- result folders of others


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": {"/etc/passwd": "0"}}, {"sha256": {"../a": "0"}}, {"sha256": 3}, {"schema_version": "x"},
        {"shards": None}, {"shards": -1}, {"about": {}, "kind": []}, {"rows": 4},
    ],
)  # fmt: skip
def test_the_record_of_a_stored_field_may_say_anything(tmp_path: Path, change: dict[str, object]) -> None:
    store.write(tmp_path / "f", tables={"columns": pd.DataFrame({"name": ["a"]})}, meta={"shards": 0, "rows": "x"})
    told = json.loads((tmp_path / "f" / "meta.json").read_text())
    (tmp_path / "f" / "meta.json").write_text(json.dumps(told | change))
    refusal(Field.open, tmp_path / "f")


def test_json_that_is_nested_for_ever(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text("[" * 100_000)
    assert "is not JSON" in refusal(store.read, tmp_path)
    assert "is not JSON" in refusal(doors.json_of, tmp_path / "meta.json")
    with open(tmp_path / "arrays.safetensors", "wb") as handle:
        handle.write((9).to_bytes(8, "little") + b"[" * 9)


def test_progress_says_no_more_than_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    progress.show(True)
    try:
        progress.say("labels.genes: contig 'a\x1b[2Jb\nc'")
        assert list(progress.track([3], "[bold]\x07")) == [3]
    finally:
        progress.show(False)
    assert capsys.readouterr().err == "labels.genes: contig 'a\\x1b[2Jb c'\n[bold]\\x07\n"


@pytest.mark.parametrize("backwards", [False, True])
def test_records_within_records_for_ever(tmp_path: Path, backwards: bool) -> None:
    """3,000 records each within the one before, whichever comes first in the file: what is said of the first holds."""
    lines = ["c\tx\tgene\t1\t9\t.\t+\t.\tID=g0;biotype=coding"]
    lines += [f"c\tx\tmRNA\t1\t9\t.\t+\t.\tID=g{i};Parent=g{i - 1}" for i in range(1, 3_001)]
    lines += ["c\tx\tgene\t1\t9\t.\t+\t.\tID=a;Parent=b", "c\tx\tmRNA\t1\t9\t.\t+\t.\tID=b;Parent=a"]  # a circle
    (tmp_path / "a.gff").write_text("\n".join(lines[::-1] if backwards else lines) + "\n")
    table = read(tmp_path / "a.gff").table
    assert len(choose(table, attributes={"biotype": "coding"})) == 3_001
    assert sorted(choose(table, exclude={"biotype": "coding"})["id"]) == ["a", "b"]
