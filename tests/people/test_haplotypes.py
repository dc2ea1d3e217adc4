"""People's sequences: spelt as a plain consensus spells them, in their place, and each distinct one once."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bioterp as bt
from bioterp.errors import InputError
from bioterp.sequence import to_text
from tests.conftest import random_dna, write_fasta
from tests.people.village import consensus, haplotype, village, write_vcf


def read_back(source: bt.Haplotypes, strand: str = "+") -> dict[tuple[str, int], tuple[str, list[tuple[int, int]]]]:
    """{(person, haplotype): its letters and their places}, glued from the cores of its items."""
    parts = {item.record["item"]: (item, array, grid) for item, array, grid in source}
    table = source.carriers.table().merge(source.items[["item", "start", "strand"]], on="item")
    found: dict[tuple[str, int], tuple[str, list[tuple[int, int]]]] = {}
    for who, lines in table[table["strand"] == strand].groupby(["sample", "haplotype"]):
        letters, where = "", []
        for name in lines.sort_values("start")["item"]:
            item, array, grid = parts[name]
            keep = (grid.centers[:, 0] >= item.core[0][0]) & (grid.centers[:, 0] < item.core[1][0])
            piece, bounds = to_text(array[keep]), [tuple(b) for b in grid.bounds[keep].tolist()]
            if strand == "-":
                piece, bounds = piece[::-1].translate(str.maketrans("ACGT", "TGCA")), bounds[::-1]
            letters, where = letters + piece, where + bounds
        found[who] = letters, where
    return found


@pytest.mark.parametrize("seed", [5, 6, 7])
@pytest.mark.parametrize("strand", ["+", "-"])
def test_every_haplotype_is_the_consensus_of_its_alleles(tmp_path: Path, seed: int, strand: str) -> None:
    letters, fasta, names, variants, vcf = village(tmp_path, seed)
    source = bt.Haplotypes(vcf, fasta, window=89, halo=[31, 7], blocks=300, strands=strand)
    found = read_back(source, strand)
    assert len(found) == 2 * len(names)
    for person, name in enumerate(names):
        for slot in (0, 1):
            spelt, where = consensus(letters, haplotype(variants, person, slot))
            # The last insertion may lie past the last base, outside every core.
            inside = [i for i, (lo, hi) in enumerate(where) if lo + hi < 2 * len(letters)]
            assert found[name, slot][0] == "".join(spelt[i] for i in inside)
            assert found[name, slot][1] == [where[i] for i in inside]


def test_the_halo_is_the_persons_own_and_distinct_items_differ(tmp_path: Path) -> None:
    letters, fasta, _, variants, vcf = village(tmp_path)
    source = bt.Haplotypes(vcf, fasta, window=89, halo=[31, 7], blocks=300, strands="+")
    spelt = {(p, s): consensus(letters, haplotype(variants, p, s)) for p in range(7) for s in (0, 1)}
    arrays = {item.record["item"]: (to_text(array), grid) for item, array, grid in source}
    for line in source.carriers.table().itertuples():
        row = source.items.set_index("item").loc[line.item]
        first, last = source.dna._reach("c1", row["start"], row["end"], "+")
        text, where = spelt[int(line.sample[1:]), line.haplotype]
        wanted = "".join(b for b, (lo, hi) in zip(text, where, strict=True) if 2 * first <= lo + hi < 2 * last)
        assert arrays[line.item][0] in wanted
        assert len(arrays[line.item][0]) == len(wanted) or len(wanted) > last - first == len(arrays[line.item][0])
    for _, lines in source.items.groupby(["start", "strand"]):
        told = [(arrays[name][0], arrays[name][1].bounds.tobytes()) for name in lines["item"]]
        assert len(set(told)) == len(told)


def test_carriers_of_a_person_weigh_one_in_every_window(tmp_path: Path) -> None:
    _, fasta, names, _, vcf = village(tmp_path)
    source = bt.Haplotypes(vcf, fasta, window=89, blocks=300)
    table = source.carriers.table().merge(source.items[["item", "start", "strand"]], on="item")
    weight = table.groupby(["sample", "start", "strand"])["weight"].sum()
    assert len(weight) == len(names) * len(source.windows) and np.allclose(weight, 1)
    assert source.items["haplotypes"].sum() == len(table)
    assert source.counts["distinct_windows"] <= source.counts["windows"] == len(table)


def tiny(folder: Path, lines, length: int = 61, contig: str = "c1", people=("A", "B", "C"), **options):
    letters = random_dna(length, 3)
    fasta = write_fasta(folder / "ref.fa", c1=letters)
    filled = [(pos, letters[pos - 1 : pos - 1 + n], alt, calls) for pos, n, alt, calls in lines]
    vcf = write_vcf(folder / "a.vcf", contig, length, people, filled)
    made = bt.Haplotypes(vcf, fasta, window=length, halo=0, strands="+", blocks="contig", **options)
    return letters, made


def told(source: bt.Haplotypes) -> dict[tuple[str, int], str]:
    return {who: letters for who, (letters, _) in read_back(source).items()}


def test_haploid_people_have_one_sequence_and_mixed_ploidy_is_by_window(tmp_path: Path) -> None:
    letters, source = tiny(tmp_path, [(5, 1, "<X>,N", ["0", "0|0", "0"]), (9, 2, "T", ["1", "0|1", "0"])])
    found = told(source)
    assert sorted(found) == [("A", 0), ("B", 0), ("B", 1), ("C", 0)]
    assert found["A", 0] == found["B", 1] == letters[:8] + "T" + letters[10:]
    assert found["B", 0] == found["C", 0] == letters
    assert source.carriers.table().groupby("sample")["weight"].sum().tolist() == [1, 1, 1]


def test_missing_is_the_reference_or_masked(tmp_path: Path) -> None:
    letters, source = tiny(tmp_path, [(7, 3, "T", [".|.", "./.", "0|1"])])
    assert told(source)["A", 0] == told(source)["B", 1] == letters and source.counts["missing"] == 2
    _, source = tiny(tmp_path, [(7, 3, "T", [".|.", "./.", "0|1"])], missing="mask")
    assert told(source)["A", 0] == letters[:6] + "NNN" + letters[9:]


def test_unphased_is_refused_unless_a_rule_is_given(tmp_path: Path) -> None:
    letters = random_dna(61, 3)
    alt = next(b for b in "ACGT" if b != letters[6])
    lines = [(7, 1, alt, ["0/1", "1/1", "0/0"])]
    with pytest.raises(
        InputError, match=r"1 heterozygous genotypes without phase .*column 10 at c1:7.*unphased='first'"
    ):
        tiny(tmp_path, lines)
    _, source = tiny(tmp_path, lines, unphased="first")
    changed = letters[:6] + alt + letters[7:]
    assert [told(source)[who] for who in (("A", 0), ("A", 1), ("B", 0), ("B", 1))] == [letters, *[changed] * 3]
    _, source = tiny(tmp_path, lines, unphased="mask")
    assert told(source)["A", 0] == told(source)["A", 1] == letters[:6] + "N" + letters[7:]
    with pytest.raises(InputError, match="two alleles where a person has one haplotype"):
        tiny(tmp_path, [(7, 1, alt, ["0/1", "1", "0"]), (9, 1, "<DEL>", ["0", "0", "0"]), (11, 1, "*", ["0"] * 3)])


def test_alleles_that_are_not_spelt_out_are_named_and_change_nothing(tmp_path: Path) -> None:
    lines = [(5, 1, "<DEL>,<CN0>", ["0|1", "1|2", "0|0"]), (8, 1, "*", ["1|1", "0|0", "0|0"])]
    letters, source = tiny(tmp_path, [*lines, (11, 1, "G[c1:30[", ["0|1", "0|0", "0|0"])])
    assert set(told(source).values()) == {letters}
    assert source.counts["skipped"] == {"*": 1, "<CN0>": 1, "<DEL>": 2, "breakend": 1}
    assert "2 calls of <DEL>" in source.told()


def test_of_overlapping_alleles_the_first_in_the_file_stands(tmp_path: Path) -> None:
    letters = random_dna(61, 3)
    alt = next(b for b in "ACGT" if b != letters[11])
    lines = [(10, 5, letters[9], ["1|0", "0|1", "1|1"]), (12, 1, alt, ["1|1", "0|0", "0|1"])]
    _, source = tiny(tmp_path, lines)
    gone, snv = letters[:10] + letters[14:], letters[:11] + alt + letters[12:]
    assert [told(source)["A", 0], told(source)["A", 1], told(source)["B", 0], told(source)["C", 1]] == [
        gone, snv, letters, gone,
    ]  # fmt: skip
    assert source.counts["overlapping"] == 2


def test_an_insertion_on_a_border_is_in_the_right_hand_window_only(tmp_path: Path) -> None:
    letters = random_dna(60, 3)
    fasta = write_fasta(tmp_path / "ref.fa", c1=letters)
    vcf = write_vcf(tmp_path / "a.vcf", "c1", 60, ["A"], [(30, letters[29], letters[29] + "GATTACA", ["0|1"])])
    source = bt.Haplotypes(vcf, fasta, window=30, halo=0, strands="+", blocks=30)
    lengths = {(r["start"], r["haplotypes"]): r["cells"] for r in source.items.to_dict("records")}
    assert lengths == {(0, 2): 30, (30, 1): 37} or sorted(source.items["cells"]) == [30, 30, 37]
    assert told(source)["A", 1] == letters[:30] + "GATTACA" + letters[30:]


def test_a_circle_reads_changed_bases_through_its_origin(tmp_path: Path) -> None:
    letters = random_dna(97, 4)
    fasta = write_fasta(tmp_path / "ref.fa", c1=letters)
    alt = next(b for b in "ACGT" if b != letters[94])
    vcf = write_vcf(
        tmp_path / "a.vcf", "c1", 97, ["A", "B"],
        [(3, letters[2], letters[2] + "TT", ["1", "0"]), (95, letters[94], alt, ["1", "0"])],
    )  # fmt: skip
    source = bt.Haplotypes(vcf, fasta, window=20, halo=[10, 6], strands="+", blocks=20, circular=True)
    own = letters[:3] + "TT" + letters[3:94] + alt + letters[95:]
    ends = {0: own[-9:] + own[:27], 80: own[73:] + own[:10]}  # the two bases inserted take room from both ends
    for item, array, grid in source:
        mine = source.carriers.table().query("item == @item.record['item'] and sample == 'A'")
        if item.record["start"] in ends and len(mine):
            assert to_text(array) == ends[item.record["start"]]
            assert np.array_equal(grid.locate([float(item.record["start"])]), [9])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("shifted", r"REF alleles are not the reference's .* positions are 1 too (low|high)"),
        ("other", r"REF alleles are not .* another assembly"),
        ("length", r"another assembly than the reference: it says c1 has 16,571 bp, the Yoruba mtDNA"),
        ("name", r"name no contig alike: it has '22', the reference 'c1'"),
        ("past", r"lies past the reference's end"),
    ],
)
def test_another_assembly_is_refused_with_its_likely_cause(tmp_path: Path, text: str, said: str) -> None:
    letters = random_dna(400, 9)
    fasta = write_fasta(tmp_path / "ref.fa", c1=letters)
    wrong = random_dna(500, 10)
    places = range(20, 380, 9)
    ref = {"shifted": lambda p: letters[p], "other": lambda p: wrong[p]}.get(text, lambda p: letters[p - 1])
    lines = [(p, ref(p), "T" if ref(p) != "T" else "A", ["0|1"]) for p in places]
    lines += [(450, "A", "C", ["0|1"])] if text == "past" else []
    size = {"length": 16_571, "past": None}.get(text, 400)
    vcf = write_vcf(tmp_path / "a.vcf", "22" if text == "name" else "c1", size, ["A"], lines)
    with pytest.raises(InputError, match=said):
        bt.Haplotypes(vcf, fasta, window=100, halo=0)


def test_few_mismatches_are_left_out_and_counted(tmp_path: Path) -> None:
    letters = random_dna(61, 3)
    wrong = next(b for b in "ACGT" if b != letters[29])
    fasta = write_fasta(tmp_path / "ref.fa", c1=letters)
    vcf = write_vcf(tmp_path / "a.vcf", "chr_c1", 61, ["A"], [(30, wrong, letters[29], ["0|1"])])
    with pytest.raises(InputError, match="1 of 1 REF"):
        bt.Haplotypes(vcf, fasta, window=61, halo=0)
    source = bt.Haplotypes(vcf, fasta, window=61, halo=0, mismatches=1.0)
    assert set(told(source).values()) == {letters} and source.counts["ref_mismatches"] == 1


def test_people_of_sheet_and_vcf(tmp_path: Path) -> None:
    _, fasta, names, _, vcf = village(tmp_path)
    sheet = tmp_path / "people.tsv"
    sheet.write_text(
        "sample\tfamily\tage\n"
        + "".join(f"{n}\tF{i // 2}\t{40 + i}\n" for i, n in enumerate(names[2:]))
        + "X9\tF8\t3\n"
    )
    source = bt.Haplotypes(vcf, fasta, window=200, samples=sheet)
    assert source.people["item"].tolist() == names[2:] and source.people["age"].tolist() == [
        str(40 + i) for i in range(5)
    ]
    assert source.people["block"].tolist() == ["F0", "F0", "F1", "F1", "F2"]
    assert source.people.groupby("block")["split"].nunique().max() == 1
    assert dict(zip(*source.unmatched.to_numpy().T, strict=True)) == {
        "X9": "not in the VCF, only in people.tsv", "P00": "not in people.tsv, only in the VCF",
        "P01": "not in people.tsv, only in the VCF",
    }  # fmt: skip
    assert set(source.carriers.samples) == set(names[2:])
    with pytest.raises(InputError, match="two lines for one person"):
        bt.Haplotypes(vcf, fasta, samples=["P03", "P04", "P03"])
    with pytest.raises(InputError, match="no person in common"):
        bt.Haplotypes(vcf, fasta, samples=["Q1"])
    with pytest.raises(InputError, match="several splits"):
        bt.Haplotypes(vcf, fasta, samples=pd.DataFrame({"sample": names[:2], "block": "F", "split": ["train", "test"]}))


def test_gzip_bcf_and_index_read_alike(tmp_path: Path) -> None:
    import pysam

    _, fasta, _, _, vcf = village(tmp_path)
    plain = bt.Haplotypes(vcf, fasta, window=89, blocks=300)
    packed = tmp_path / "b.vcf.gz"
    packed.write_bytes(gzip.compress(vcf.read_bytes()))
    pysam.tabix_compress(str(vcf), str(tmp_path / "c.vcf.gz"))
    pysam.tabix_index(str(tmp_path / "c.vcf.gz"), preset="vcf")
    with (
        pysam.VariantFile(str(vcf)) as file,
        pysam.VariantFile(str(tmp_path / "d.bcf"), "wb", header=file.header) as out,
    ):
        for record in file:
            out.write(record)
    bed = tmp_path / "r.bed"
    bed.write_text("c1\t100\t220\nc1\t500\t777\n")
    parts = bt.Haplotypes(vcf, fasta, window=89, blocks=300, regions=bed)
    assert 0 < parts.tally.records < plain.tally.records
    for other in (packed, tmp_path / "c.vcf.gz", tmp_path / "d.bcf"):
        pd.testing.assert_frame_equal(bt.Haplotypes(other, fasta, window=89, blocks=300).items, plain.items)
        again = bt.Haplotypes(other, fasta, window=89, blocks=300, regions=bed)
        pd.testing.assert_frame_equal(again.items, parts.items)
        assert again.tally.records == parts.tally.records
    whole = plain.items[plain.items["start"].isin(parts.items["start"])]
    assert set(whole["start"]) <= set(parts.items["start"])


def test_distinct_windows_run_once_give_everybody_what_they_would_have_got(tmp_path: Path, tiny_model) -> None:
    """Activations of shared windows are, bit for bit, those of each person's own window."""
    _, fasta, _, _, vcf = village(tmp_path, people=3, length=607, count=11)
    told = {}
    for distinct in (True, False):
        source = bt.Haplotypes(vcf, fasta, window=89, halo=[31, 7], blocks=300, strands="both", distinct=distinct)
        # One window per forward: how many run together changes the last bits of a product.
        acts = bt.activations(source, tiny_model, [1], tmp_path / f"acts-{distinct}", batch_cells=1)[1]
        place = {name: i for i, name in enumerate(acts.rows.items["item"])}
        items = source.items.set_index("item")
        for line in source.carriers.table().itertuples():
            at = place[line.item]
            row = items.loc[line.item]
            value = acts.read(int(acts.rows.offsets[at]), int(acts.rows.offsets[at + 1]))
            told.setdefault((line.sample, line.haplotype, row["start"], row["strand"]), []).append(
                (value.tobytes(), acts.rows.grid(at).bounds.tobytes())
            )
        counts = source.counts
    assert all(len(both) == 2 and both[0] == both[1] for both in told.values())
    assert counts["windows"] == counts["distinct_windows"] == len(told)
