"""Copies across splits: planted in genomes and sheets, told by k-mers as sets of letters."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from Bio.Seq import Seq

from bioterp import config
from bioterp.adapters.dna import DNA
from bioterp.check import findings
from bioterp.errors import InputError
from bioterp.leakage import keep_together, same_contigs, shared_sequence, sketch, told
from bioterp.same_scans import same_scans
from bioterp.study import Study
from tests.conftest import random_dna, write_fasta
from tests.planted import write_run

BLOCK = 1_300


def source_of(folder, splits="", **letters):
    """A genome in blocks of 1,300 bp; splits: one letter per block, in order, in place of the hashed ones."""
    source = DNA(write_fasta(folder / "g.fa", **letters), window=500, halo=0, blocks=BLOCK)
    if splits:
        order = dict(zip(dict.fromkeys(source.items["block"]), splits, strict=True))
        names = {"t": "train", "v": "valid", "e": "test"}
        source.items["split"] = source.items["block"].map(order).map(names)
    return source


def reverse(text):
    return str(Seq(text).reverse_complement())


def kmers(text, k=21):
    words = {text[i : i + k] for i in range(len(text) - k + 1)}
    return {min(word, reverse(word)) for word in words if "N" not in word}


def test_containment_is_that_of_sets_of_words(tmp_path):
    """A copy of 700 bp, another turned round, and what lies between them, against Python's sets."""
    one, two = random_dna(2 * BLOCK, 1), list(random_dna(2 * BLOCK, 2))
    two[200:900] = one[100:800]
    two[1500:1900] = reverse(one[1400:1800])
    two[1000:1003] = "NNN"
    source = source_of(tmp_path, "tvee", a=one, b="".join(two))
    found = shared_sequence(source).set_index("block")
    text = {"a:0": one[:BLOCK], "a:1": one[BLOCK:], "b:0": "".join(two[:BLOCK]), "b:1": "".join(two[BLOCK:])}
    words = {name: kmers(letters) for name, letters in text.items()}
    split = {"a:0": "train", "a:1": "valid", "b:0": "test", "b:1": "test"}
    assert set(found.index) == set(text)
    for name, own in words.items():
        others = {other: len(own & words[other]) / len(own) for other in words if split[other] != split[name]}
        line = found.loc[name]
        assert (
            line["containment"] == pytest.approx(max(others.values())) and others[line["other"]] == line["containment"]
        )
        union = set().union(*(words[other] for other in others))
        assert line["anywhere"] == pytest.approx(len(own & union) / len(own))


def test_hashes_do_not_know_the_strand():
    codes = np.frombuffer(random_dna(4001, 7).encode(), np.uint8)
    codes = np.searchsorted(np.frombuffer(b"ACGT", np.uint8), codes).astype(np.uint8)
    most = np.uint64(2**64 - 1)
    for k in (5, 21, 31):
        here, there = sketch(codes, k, most), sketch((3 - codes)[::-1].copy(), k, most)
        assert len(here) == 4001 - k + 1 and (np.sort(here) == np.sort(there)).all()
    some = sketch(codes, 21, np.uint64(2**62))
    assert 0.2 < len(some) / 3981 < 0.3 and set(some) <= set(sketch(codes, 21, most))


def test_near_copies_are_problems_and_smaller_ones_warnings(tmp_path):
    rng = np.random.default_rng(5)
    base = random_dna(BLOCK, 3)
    near = np.array(list(base))
    change = rng.choice(BLOCK, 13, replace=False)  # 99 % identity
    near[change] = [{"A": "C", "C": "G", "G": "T", "T": "A"}[letter] for letter in near[change]]
    half = base[:500] + random_dna(800, 11)
    refused = list(told(source_of(tmp_path, "te", a=base, b=reverse("".join(near)))))
    assert [kind for kind, _ in refused] == ["problem"] and "source.duplicates" in refused[0][1]
    assert "a:0" in refused[0][1] and "b:0" in refused[0][1] and "(train)" in refused[0][1]
    assert [kind for kind, _ in told(source_of(tmp_path, "te", a=base, b=half))] == ["warning"]
    assert [kind for kind, _ in told(source_of(tmp_path, "te", a=base, b="".join(near)), 2)] == ["warning"]
    assert not list(told(source_of(tmp_path, "tt", a=base, b=base)))  # in one split copies are no matter
    assert not list(told(source_of(tmp_path, "te", a=base, b=random_dna(BLOCK, 4))))


def test_a_copy_across_two_blocks_is_found(tmp_path):
    """Half of the copied block in either of two: neither holds 60 %, both together do."""
    base = random_dna(BLOCK, 8)
    wide = random_dna(650, 9) + base + random_dna(650, 10)
    found = shared_sequence(source_of(tmp_path, "tee", a=base, b=wide)).set_index("block").loc["a:0"]
    assert found["containment"] < 0.55 and found["anywhere"] > 0.95
    assert next(told(source_of(tmp_path, "tee", a=base, b=wide)))[0] == "problem"


def test_equal_contigs_are_found_though_short(tmp_path):
    letters = {f"p{i}": random_dna(60 + i, i) for i in range(6)}
    source = source_of(tmp_path, "tetettte", **letters, again=letters["p3"], turned=reverse(letters["p4"]))
    assert list(same_contigs(source)) == [("p3", "again"), ("p4", "turned")]
    assert not list(same_contigs(source_of(tmp_path, "ttt", a=letters["p1"], b=letters["p1"], c="N" * 40)))


def test_degenerate_genomes_have_nothing_to_share(tmp_path):
    assert not len(shared_sequence(source_of(tmp_path, "te", a="N" * 400, b="ACGTTGCA")))
    found = shared_sequence(source_of(tmp_path, "te", a="A" * 400, b="T" * 300))
    assert found["anywhere"].tolist() == [1, 1]


def test_run_and_check_refuse_a_genome_with_a_copied_contig(tmp_path, tiny_model_folder):
    file = write_run(tmp_path, tiny_model_folder)
    text = (tmp_path / "genome.fa").read_text()
    contig = text[text.index(">two") :].replace(">two", ">copy")
    (tmp_path / "genome.fa").write_text(text + contig)
    run = config.load(file)
    problems = [one.line for one in findings(run) if one.level == "problem"]
    assert any("contigs two and copy are the same sequence" in line for line in problems)
    with pytest.raises(InputError, match="two and copy"):
        Study(run).check_splits()
    file.write_text(file.read_text().replace("kind: dna", "kind: dna\n  duplicates: 2"))
    Study(config.load(file)).check_splits()


def test_what_shares_sequence_can_be_kept_together(tmp_path):
    """Copies, turned and across two blocks, and contigs shorter than a k-mer: one split each; nothing else moves."""
    base, tiny = random_dna(BLOCK, 8), "ACGTACGGTTAACC"
    wide = random_dna(650, 9) + reverse(base) + random_dna(650, 10)
    source = source_of(tmp_path, "teeetve", a=base, b=wide, c=tiny, d=random_dna(BLOCK, 4), e=tiny, f=reverse(base))
    assert [kind for kind, _ in told(source)].count("problem") == 3
    assert keep_together(source) == 3
    split = source.items.set_index("block")["split"].groupby("block").first()
    assert split["f:0"] == split["a:0"] == "train"  # the copy, turned
    assert sorted(split[["b:0", "b:1"]]) == ["test", "train"]  # one half of a copy is less than what is refused
    assert split["e:0"] == split["c:0"] == "test" and split["d:0"] == "train"
    assert not [line for kind, line in told(source) if kind == "problem"]
    assert source.recipe["together"] == 0.6 and keep_together(source) == 0
    with pytest.raises(InputError, match="one genome's windows"):
        keep_together(object())


def test_a_run_keeps_copies_together(tmp_path, tiny_model_folder):
    file = write_run(tmp_path, tiny_model_folder)
    text = (tmp_path / "genome.fa").read_text()
    (tmp_path / "genome.fa").write_text(text + text[text.index(">two") :].replace(">two", ">copy"))
    file.write_text(file.read_text().replace("kind: dna", "kind: dna\n  together: true"))
    study = Study(config.load(file))
    study.check_splits()
    split = study.source.items.set_index("block")["split"]
    two = [name for name in split.index.unique() if name.startswith("two:")]
    assert two and all((split[name] == split[name.replace("two", "copy")].iloc[0]).all() for name in two)
    assert not [one for one in findings(config.load(file)) if one.level == "problem"]


def test_one_scan_under_two_names_is_found_by_its_bytes(tmp_path):
    rng = np.random.default_rng(0)
    for name in "abcd":
        (tmp_path / f"{name}.nii").write_bytes(bytes(352) + rng.bytes(3_000_000))
    shutil.copy(tmp_path / "b.nii", tmp_path / "d.nii")
    like = bytearray((tmp_path / "a.nii").read_bytes())
    like[600_000] ^= 1  # differs from a in one byte, beyond what a quick look reads
    (tmp_path / "c.nii").write_bytes(like)

    def scans(**split):
        files = {n: SimpleNamespace(volumes=[SimpleNamespace(path=tmp_path / f"{n}.nii")], frame=None) for n in split}
        items = pd.DataFrame({"sample": list(split), "split": list(split.values())})
        return SimpleNamespace(scans=files, items=items)

    assert list(same_scans(scans(a="train", b="train", c="test", d="test"))) == [("b", "d")]
    assert not list(same_scans(scans(b="test", d="test", a="train")))
