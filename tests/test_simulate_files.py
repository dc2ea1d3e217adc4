"""Simulated sequences and scans: what is written is what was planted, and a run file opens it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bioterp as bt
from bioterp import cli, config
from bioterp.errors import InputError
from bioterp.simulate import Plan
from bioterp.simulate.scans import Person, scans
from bioterp.simulate.sequences import WINDOW, sequences

PEOPLE = 47


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequences")
    return folder, sequences(folder, Plan(people=PEOPLE, h2=0.7), seed=5)


def test_people_carry_the_alleles_that_are_planted(planted):
    """Letters of every haplotype, read by the adapter, against the dosages of the motif's variant."""
    folder, made = planted
    truth = pd.read_csv(folder / "truth.tsv", sep="\t", keep_default_na=False)
    assert truth["kind"].value_counts().to_dict() == {"ordinary": 55, "tagging": 20, "causal": 5}
    assert ((truth["effect"] != 0) == (truth["kind"] == "causal")).all()
    run = config.load(folder / "run.yaml")
    assert run.cohort.groups == "ancestry" and run.source.window == WINDOW
    source = bt.Haplotypes(
        folder / "target.vcf", folder / "reference.fa", window=WINDOW, halo=0, strands="+", blocks=WINDOW,
        contigs=["target"],
    )  # fmt: skip
    count = pd.DataFrame(0, index=made.sheet.index, columns=range(len(truth)))
    letter = {}
    for item, array, grid in source:
        w = int(grid.bounds[:, 0].min()) // WINDOW
        at = int(truth["position"][w]) - w * WINDOW
        letter[item.record["item"]] = w, "ACGT"[array[at]]
    carriers = source.carriers
    for sample, item in zip(carriers.sample, carriers.item, strict=True):
        w, base = letter[str(carriers.items[item])]
        count.loc[str(carriers.samples[sample]), w] += base == truth["alt"][w]
    assert np.array_equal(count.to_numpy(), made.dosage[:, :, 0])
    reference = "".join((folder / "reference.fa").read_text().split(">target\n")[1].split(">")[0].split())
    for w, (position, ref, motif) in enumerate(zip(truth["position"], truth["ref"], truth["motif"], strict=True)):
        assert reference[position] == ref and motif in reference[w * WINDOW : (w + 1) * WINDOW]
        assert motif in reference[position - len(motif) : position + len(motif)]


def test_the_causes_explain_h2_and_the_environment_differs(planted):
    _, made = planted
    causes = made.dosage[:, made.kind == "causal", 0].astype(float)
    effect = made.truth.loc[made.truth["kind"] == "causal", "effect"].to_numpy()
    inside = pd.Series(causes @ effect).groupby(made.sheet["ancestry"].to_numpy()).transform(lambda v: v - v.mean())
    each = causes - pd.DataFrame(causes).groupby(made.sheet["ancestry"].to_numpy()).transform("mean").to_numpy()
    assert (each.std(0) * np.abs(effect)) ** 2 == pytest.approx(0.7 / 5)
    assert inside.std() > 0.4
    means = made.sheet.groupby("ancestry")["outcome"].mean()
    assert means.max() - means.min() > 0.5


def test_scans_show_severity_and_their_scanner(tmp_path):
    sheet = scans(tmp_path, Plan(people=31, binary=True), seed=2)
    assert set(sheet["outcome"]) == {"case", "control"} and set(sheet["scanner"]) == {"a", "b", "c"}
    run = config.load(tmp_path / "run.yaml")
    listed = bt.Scans(run.source.items)
    assert len(listed) == 31 and next(iter(listed))[1].shape == (1, 24, 24, 24)
    truth = pd.read_csv(tmp_path / "truth.tsv", sep="\t")
    assert truth["sample"].tolist() == sheet.index.tolist()
    one = Person(0.0, 0.0, 0.0, 0, 8)
    middle = np.s_[6:18, 6:18, 6:18]

    def dark(person):
        return int((person.drawn()[middle] < 0.4).sum())

    low, high = dark(one.but(severity=-2.0)), dark(one.but(severity=2.0))
    assert high > 1.5 * dark(one) and dark(one) > 1.2 * low
    assert dark(one.but(age=2.0)) > dark(one)
    noise = [one.but(scanner=k).drawn()[:3, :3, :3].std() for k in range(3)]
    assert noise == sorted(noise) and noise[2] > 1.5 * noise[0]
    assert np.array_equal(one.drawn(), one.but(severity=0.0).drawn())


def test_the_command_writes_them_and_refuses_too_few(tmp_path, capsys):
    assert cli.main(["simulate", "scans", "--out", str(tmp_path / "s"), "--people", "30", "--seed", "4"]) == 0
    assert "bioterp run" in capsys.readouterr().out and len(list((tmp_path / "s" / "scans").iterdir())) == 30
    with pytest.raises(InputError, match="needs 30 people or more; got 12"):
        sequences(tmp_path / "no", Plan(people=12))
    assert not (tmp_path / "no").exists()
