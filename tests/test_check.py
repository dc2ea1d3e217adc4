"""`bioterp check`: every planted defect is found, in one go; what is fine is said to be; nothing is written."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bioterp import cli, config, store
from bioterp.check import Finding, cohort, labels, material, models, place, status, versions
from bioterp.check.finding import of_text
from bioterp.records import Cohort as Asked
from tests.conftest import ROOT
from tests.planted import genome, snapshot, write_gff, write_run


def told(found, level: str | None = None) -> list[str]:
    return [one.line for one in found if level is None or one.level == level]


def has(lines: list[str], *parts: str) -> bool:
    return any(all(part in line for part in parts) for line in lines)


# ---------------------------------------------------------------------- a run of sequences


def test_a_clean_run_has_no_problem_and_its_instances_are_counted(tmp_path: Path, tiny_model_folder: Path, capfd):
    file = write_run(tmp_path, tiny_model_folder, **{"labels.genes.terms": ["CDS", "stop_codon"]})
    before = snapshot(tmp_path)
    assert cli.main(["check", str(file), "--json", "--strict", "--quiet"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert said["status"] == 0 and snapshot(tmp_path) == before
    assert {one["level"] for one in said["findings"]} == {"ok"}
    assert all(one["where"] and one["what"] for one in said["findings"])
    assert {"versions", "model", "source", "splits", "disk"} <= {one["where"] for one in said["findings"]}
    # Counted anew: a gene belongs to the split of the block of 310 bp its middle lies in.
    from bioterp.rows import split_of

    genes = genome()[1]
    middle = (genes["start"] + genes["end"]) // 2
    splits = [split_of(f"{c}:{m // 310}", 0) for c, m in zip(genes["contig"], middle, strict=True)]
    last = pd.Series(np.where(genes["strand"] == "+", genes["end"] - 3, genes["start"])) + 1
    splits += [split_of(f"{c}:{m // 310}", 0) for c, m in zip(genes["contig"], last, strict=True)]
    test = splits.count("test")
    line = f"{len(splits) - test} instances of 2 terms in train and valid, {test} in test"
    assert any(one["where"] == "labels.genes" and one["what"] == line for one in said["findings"])


def test_every_defect_of_a_run_is_listed_at_once(tmp_path: Path, tiny_model_folder: Path, capfd):
    genes = genome()[1]
    write_gff(tmp_path / "genes.gff", genes[genes["contig"] == "one"], {"one": 6_699})
    few = pd.DataFrame([("one", 99, 161, "+")], columns=list(genes))
    write_gff(tmp_path / "few.gff", few, {"one": 6_700, "two": 2_900})
    write_gff(tmp_path / "far.gff", few.assign(start=6_650, end=6_990), {})
    write_gff(tmp_path / "other.gff", few.assign(contig="chrI"), {"chrI": 6_700})
    whole = pd.DataFrame([("one", 3, 6_690, "+"), ("two", 2, 2_880, "-")], columns=list(genes))
    write_gff(tmp_path / "whole.gff", whole, {})
    import pyBigWig

    for name, length in (("good.bw", 6_700), ("longer.bw", 6_707)):
        with pyBigWig.open(str(tmp_path / name), "w") as file:
            file.addHeader([("one", length), ("two", 2_900)])
            file.addEntries(["one"], [5], ends=[55], values=[1.5])
    (tmp_path / "broken.bw").write_bytes(b"\x26\xfc\x8f\x88 and no more")
    (tmp_path / "outside.bed").write_text("chrX\t5\t70\n")
    (tmp_path / "inside.bed").write_text("one\t0\t1000\none\t500\t1920\n")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "thesis.txt").write_text("mine")
    (tmp_path / "results" / ".rows.partial-abcdefgh").write_text("half")
    changes = {
        "labels": {
            "genes": {"path": "genes.gff"},
            "gone": {"path": "gone.gff"},
            "few": {"path": "few.gff"},
            "far": {"path": "far.gff"},
            "other": {"path": "other.gff"},
            "whole": {"path": "whole.gff", "types": ["gene"]},
            "within": {"path": "genes.gff", "within": "gone.bed"},
            "outside": {"path": "few.gff", "within": "outside.bed"},
            "inside": {"path": "few.gff", "within": "inside.bed"},
            "misspelt": {"path": "genes.gff", "terms": ["CSD"]},
            "good": {"path": "good.bw"},
            "longer": {"path": "longer.bw"},
            "broken": {"path": "broken.bw"},
        },
        "source.window": 200,
        "source.blocks": "contig",
        "layers": [9, 1, 8],
        "analyses": ["detection", "correlation"],
    }
    file = write_run(tmp_path, tiny_model_folder, **changes)
    lock = os.open(tmp_path / "results" / ".lock", os.O_RDWR | os.O_CREAT)
    os.write(lock, json.dumps({"pid": 4711, "host": "elsewhere", "since": "noon"}).encode())
    fcntl.flock(lock, fcntl.LOCK_EX)
    before = snapshot(tmp_path)
    assert cli.main(["check", str(file), "--quiet"]) == 2
    assert snapshot(tmp_path) == before
    os.close(lock)
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == len(set(lines))
    problems = [line for line in lines if line.startswith("problem")]
    for parts in (
        ("labels.gone: ", "gone.gff does not exist"),
        ("labels.far: ", "ends at 6990, past the end of 'one' (6700 bp)"),
        ("labels.other: ", "names none of the sequence's contigs"),
        ("labels.within: ", "gone.bed (within)"),
        ("labels.outside: ", "within speaks of chrX, and of no contig of the source"),
        ("labels.misspelt: ", "gives no term 'CSD'; did you mean 'CDS'"),
        ("labels.longer: ", "gives one 6707 bp, the sequence has 6700 bp", "another assembly"),
        ("labels.broken: ", "broken.bw cannot be read as bigWig"),
        ("splits: no block fell into ",),
        ("got layer 9", "layers 0 to 2"),
        ("got layer 8",),
        ("out: ", "thesis.txt"),
        ("out: results is in use by process 4711 on elsewhere",),
    ):
        assert has(problems, *parts), parts
    warnings = [line for line in lines if line.startswith("warning")]
    for parts in (
        ("labels.genes: ", "says nothing of 'two'"),
        ("labels.genes: ", f"on {2_900 / 9_600:.0%} of the bases nothing is known"),
        ("labels.genes: ", "gives one 6699 bp, the sequence has 6700 bp"),
        ("labels.few: ", "too few instances", "CDS (1)"),
        ("labels.whole: ", "gene (100%)", "active everywhere"),
        ("splits: few blocks in ",),
    ):
        assert has(warnings, *parts), parts
    assert has(lines, "labels.inside: labels are known on 20% of the bases")
    assert has(lines, "out: 1 leftovers of killed writers") and has(lines, "labels.good: numbers for 50 bases")
    file.write_text(file.read_text().replace("layers:", "lairs:"))
    assert cli.main(["check", str(file), "--json"]) == 2
    said = json.loads(capfd.readouterr().out)["findings"]
    assert len(said) == 1 and said[0]["where"] == "run.yaml" and "did you mean 'layers'" in said[0]["remedy"]


def test_activations_of_other_settings_are_told_before_they_are_refused(tmp_path: Path, tiny_model: object) -> None:
    from bioterp.activate import about_layer

    run = SimpleNamespace(out=tmp_path / "results", layers=[0, 1, 2], dtype=None)
    source = SimpleNamespace(recipe={"kind": "dna", "window": 89})
    made = {**about_layer(tiny_model, 1, source), "source": {"kind": "dna", "window": 90}, "shard_items": 7}
    same = {**about_layer(tiny_model, 2, source), "source": source.recipe, "shard_items": 7}
    store.write(run.out / "activations" / "layer=1" / "shard=00000", meta={"recipe": made})
    store.write(run.out / "activations" / "layer=2" / "shard=00000", meta={"recipe": same})
    lines = list(place.earlier(run, source, tiny_model))
    assert has(told(lines, "problem"), "activations of layer 1", "source.window")
    assert has(told(lines, "ok"), "layers 2 are there in part") and len(lines) == 2


def test_share_of_bases_and_blocks_of_terms() -> None:
    rng = np.random.default_rng(5)
    start = rng.integers(0, 900, 31)
    table = pd.DataFrame({"contig": "c", "start": start, "end": start + rng.integers(1, 70, 31)})
    table["term"] = pd.Categorical(np.where(np.arange(31) % 3 == 0, "a", "b"), ["a", "b", "never"])
    places = [(0, 130, "k", "train"), (130, 400, "l", "test"), (520, 700, "m", "valid")]
    items = pd.DataFrame(places, columns=["start", "end", "block", "split"]).assign(contig="c")
    source = SimpleNamespace(items=pd.concat([items, items]), spaces={"c": SimpleNamespace(length=None)})
    found = labels.counted(table, source)
    read = np.zeros(1_000, bool)
    for lo, hi, _, _ in places:
        read[lo:hi] = True
    for term in ("a", "b"):
        mine, painted = table[table["term"] == term], np.zeros(1_000, bool)
        for lo, hi in zip(mine["start"], mine["end"], strict=True):
            painted[lo:hi] = True
        assert found.loc[term, "share"] == pytest.approx((painted & read).sum() / read.sum())
        middles = ((mine["start"] + mine["end"]) // 2).tolist()
        of = [[b for lo, hi, b, _ in places if lo <= m < hi] for m in middles]
        flat = [b for one in of for b in one]
        assert found.loc[term, "test"] == flat.count("l") and found.loc[term, "blocks"] == len(set(flat))
        assert found.loc[term, "select"] == len(flat) - flat.count("l")
    assert found.loc["never"].tolist() == [0, 0, 0, 0]


# ---------------------------------------------------------------------- scans


def scans(tmp_path: Path):
    """A source of four scans, one of thick slices, one without orientation, and masks of all kinds."""
    import nibabel

    lines = []
    for i, spacing in enumerate(((1.0, 1.0, 1.0), (1.0, 1.0, 4.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0))):
        affine = np.diag([*spacing, 1.0])
        image = nibabel.Nifti1Image(np.random.default_rng(i).normal(0, 1, (12, 13, 14)).astype(np.float32), affine)
        nibabel.save(image, tmp_path / f"s{i}.nii")
        moved = affine.copy()
        moved[:3, 3] = {0: 0, 1: 500, 2: 3, 3: 0}[i]
        nibabel.save(nibabel.Nifti1Image(np.zeros((12, 13, 14), np.uint8), moved), tmp_path / f"m{i}.nii")
        lines.append({"scan": f"s{i}", "subject": f"p{min(i, 2)}", "path": f"s{i}.nii", "mask": f"m{i}.nii"})
    (tmp_path / "m3.nii").write_bytes(b"no image")
    pd.DataFrame(lines).to_csv(tmp_path / "scans.tsv", sep="\t", index=False)
    source = {"kind": "scans", "items": "scans.tsv", "spacing": 1, "orientation": "LPS"}
    labels = {"here": {"column": "mask"}, "none": {"column": "path"}}
    tree = {"out": "out", "source": source, "model": "monai:UNet", "layers": [0], "labels": labels}
    return config.parse(tree, tmp_path)


def test_scans_against_the_model_and_masks_against_their_scans(tmp_path: Path) -> None:
    run = scans(tmp_path)
    walk = material.findings(run, SimpleNamespace(wants={"orientation": "RAS", "spacing": [2.0, 2.0, 2.0]}))
    lines: list[Finding] = []
    try:
        while True:
            lines.append(next(walk))
    except StopIteration as end:
        source = end.value
    warned = told(lines, "warning")
    assert has(warned, "source.spacing: 1, and the model was trained with 2 × 2 × 2")
    assert has(warned, "source.orientation: LPS, and the model was trained with RAS")
    assert has(warned, "source.spacing: 1 scans have voxels 2 times as large", "s1: 4 mm")
    assert has(told(lines, "ok"), "4 scans are of 3 subjects")
    seen = list(labels.findings(run, source))
    warned = told(seen, "warning")
    assert has(warned, "labels.here: 1 masks lie where their scans are not: s1 (500…512")
    assert has(warned, "labels.here: 1 masks cannot be read: s3 (m3.nii")
    assert has(warned, "labels.here: 1 masks have their image's shape and another affine, such as that of s2")
    assert not has(told(seen, "problem"), "no scan with a mask")
    part = source.items["split"]
    source.items["split"] = ["test", *part.iloc[1:].where(part.iloc[1:] != "test", "train")]
    (tmp_path / "m0.nii").unlink()
    again = told(labels.findings(run, source), "problem")
    assert again == [again[0]] and has(again, "labels.here: no scan with a mask lies in test")
    assert not has(warned, "labels.none") and has(told(seen, "ok"), "labels.none: masks of 4 of 4 scans")


# ---------------------------------------------------------------------- people


def people(tmp_path: Path, sheet: pd.DataFrame, ids: list[str], **asked: object) -> list[Finding]:
    sheet.to_csv(tmp_path / "people.tsv", sep="\t", index=False)
    source = SimpleNamespace(items=pd.DataFrame({"sample": ids}))
    block = Asked(tmp_path / "people.tsv", **{"outcome": "case", **asked})
    return list(cohort.findings(SimpleNamespace(cohort=block, source=None), source))


def test_every_defect_of_a_sheet_is_listed(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    n = 47
    ids = [f"p{i}" for i in range(n)]
    sheet = pd.DataFrame({"sample": ids, "case": rng.integers(0, 2, n), "same": 1.5, "age": rng.normal(50, 9, n)})
    sheet["months"], sheet["site"] = 12 * sheet["age"] - 3, rng.integers(1, 5, n)
    sheet["batch"] = sheet["case"] + 3.0
    sheet["group"], sheet["height"] = np.where(np.arange(n) < 40, "a", "b"), rng.normal(170, 8, n)
    sheet.loc[[3, 4, 5], "age"] = np.nan
    sheet.loc[[3, 4, 5], "months"] = np.nan
    clean = people(tmp_path, sheet, ids, covariates=["age"])
    assert told(clean, "problem") == [] and len(told(clean, "warning")) == 1
    assert has(told(clean, "warning"), "age is missing for 3 of 47 people")
    found = people(
        tmp_path, sheet.iloc[2:], ["stranger", *ids[:-1]], outcome=["case", "csae", "same"],
        covariates=["age", "months", "same", "hieght"], confounders=["site", "batch", "centre"], groups="group",
    )  # fmt: skip
    problems, warned = told(found, "problem"), told(found, "warning")
    assert has(problems, "no column 'csae' (outcome)", "'case'")
    assert has(problems, "no column 'hieght' (covariates)") and has(problems, "no column 'centre' (confounders)")
    assert has(problems, "'same' is named as outcome and among the covariates", "one of them only")
    found = people(
        tmp_path, sheet.iloc[2:], ["stranger", *ids[:-1]], outcome=["case", "same"],
        covariates=["age", "months"], confounders=["site", "batch"], groups="group",
    )  # fmt: skip
    problems, warned = told(found, "problem"), told(found, "warning")
    assert not has([one.line for one in found], "stranger")  # who somebody is stays where it was
    assert has(problems, "cohort.outcome: everybody has the same same (1.5)") and len(problems) == 1
    assert has(warned, "3 people are not in people.tsv")
    assert has(warned, "1 people are only in people.tsv")
    assert has(warned, "months is already told by age")
    assert has(warned, "cohort.confounders: site has 4 whole numbers", "categorical: [site]")
    assert has(warned, "site, batch explain 100% of the variance of case")
    assert has(warned, "cohort.groups: groups with fewer than 10 people per class of case: b")
    constant = people(tmp_path, sheet, ids, covariates=["same"])
    assert has(told(constant, "warning"), "cohort.covariates: same is the same for everybody")
    small = people(tmp_path, sheet.iloc[:5], ids[:5], covariates=["site", "batch", "height"], categorical=["site"])
    assert has(told(small, "problem"), "5 people have all covariates")
    assert has(told(small, "warning"), "people in its smaller class, and verdicts want 10")
    twice = people(tmp_path, pd.concat([sheet, sheet.iloc[:1]]), ids)
    assert has(told(twice, "problem"), "an id more than once") and len(twice) == 1


# ---------------------------------------------------------------------- model, versions, words


def test_what_is_known_of_a_model_that_is_not_here(tmp_path: Path, monkeypatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *a, **k: None)

    def of(name: str, **more: object) -> list[Finding]:
        made = SimpleNamespace(name=name, weights=None, revision=None, trust_remote_code=False)
        return list(models.findings(SimpleNamespace(model=SimpleNamespace(**{**vars(made), **more}), layers=[1])))

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    seen = of("InstaDeepAI/nucleotide-transformer-v2-100m-multi-species", revision="abc")
    assert has(told(seen, "problem"), "brings its own code", "trust_remote_code: true")
    assert has(told(seen, "warning"), "CC-BY-NC-SA-4.0, which forbids commercial use")
    assert has(told(seen, "warning"), "is not on this machine", "hf download", "--revision abc")
    assert has(told(of("google/medsiglip-448"), "warning"), "terms must be accepted")
    assert has(told(of("InstaDeepAI/nucleotide-transformer-500m-human-ref2"), "problem"), "did you mean 'InstaDeepAI")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert has(told(of("microsoft/rad-dino"), "problem"), "HF_HUB_OFFLINE forbids")
    assert has(told(of("evo2_7b"), "problem"), "evo2") and has(told(of("evo2_7b"), "warning"), "was not opened")


def test_versions_are_those_of_the_constraints_and_old_ones_are_told(monkeypatch) -> None:
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    assert {name: pinned.get(name) for name in versions.TESTED if name in pinned} == {
        name: version for name, version in versions.TESTED.items() if name in pinned
    }
    assert set(versions.TESTED) - set(pinned) <= {"pyBigWig"} or "pyBigWig" in pinned
    have = {**versions.TESTED, "torch": "2.2.9+cu121", "pandas": "3.0.1", "numba": "0.70.0"}
    monkeypatch.setattr(versions, "installed", have.get)
    found = list(versions.findings(SimpleNamespace()))
    assert has(told(found, "problem"), "torch 2.2.9+cu121 is older than 2.3", "pip install -U torch")
    assert has(told(found, "warning"), "2 libraries", "numba 0.70.0 (tested 0.68.1), pandas 3.0.1 (tested 2.3.3)")


def test_exit_status_and_words() -> None:
    fine, bad, worse = (Finding(level, "x", "y") for level in ("ok", "warning", "problem"))
    assert [status([fine], strict) for strict in (False, True)] == [0, 0]
    assert [status([fine, bad], strict) for strict in (False, True)] == [0, 1]
    assert status([bad, worse]) == status([worse], True) == 2
    one = of_text("problem", "labels.genes: there is no such file; mend it; or not", "elsewhere")
    assert (one.where, one.what, one.remedy) == ("labels.genes", "there is no such file", "mend it; or not")
    assert of_text("ok", "plain words", "there").line == "there: plain words"
