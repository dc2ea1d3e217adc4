"""The command line on scans: every verb works; bad input ends in one sentence, status 2 and nothing half-written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from bioterp import cli
from tests.conftest import random_dna
from tests.planted import snapshot, tables_of, write_fasta, write_gff
from tests.scan_studies import DICOM, MODEL, NAMES, WANTS, tree, write_sheet, write_study
from tests.test_cli import VERBS, done, refused, whole

FEW = (0, 2, 5, 7, DICOM)  # two to learn from, one to choose by, two to test on
SMALL: dict[str, Any] = {"baselines": [], "analyses": ["detection"], "layers": [0], "dictionary.tokens": "9k"}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scans, masks, sheet, weights and run.yaml; copied by each test."""
    folder = tmp_path_factory.mktemp("clean")
    write_study(folder, FEW, **SMALL)
    return folder


@pytest.fixture
def study(clean: Path, tmp_path: Path) -> Path:
    shutil.copytree(clean, tmp_path / "study")
    return tmp_path / "study"


def table(study: Path) -> pd.DataFrame:
    return pd.read_csv(study / "scans.tsv", sep="\t")


# ---------------------------------------------------------------------- verbs


def test_every_stage_alone(study: Path, capfd) -> None:
    changes = {**SMALL, "layers": [0, 1], "exports": ["tsv", "nifti", "h5ad"], "export_features": 2}
    file = str(write_study(study, **changes))
    out = study / "results"
    said, _ = done(capfd, "activations", file, "--quiet")
    assert "layer 0: Field(activation, " in said and "layer 1: Field(activation, " in said
    assert (
        "× 6 columns" in said and "× 10 columns" in said and {p.name for p in out.iterdir()} == {".lock", "activations"}
    )
    said, _ = done(capfd, "label", file, "--quiet")
    assert said.count("bright") == said.count("dark") == 2  # once per lattice
    assert {p.name for p in out.iterdir()} == {".lock", "activations", "labels", "rows"}
    assert {p.name for p in (out / "rows").iterdir()} == {"cells=2x2x2", "cells=4x4x4"}
    said, _ = done(capfd, "fit", file, "--quiet")
    assert said.startswith("layer 0 seed 0: fvu ") and "layer 1 seed 0: fvu " in said and not list(out.rglob("codes"))
    said, _ = done(capfd, "encode", file, "--quiet")
    assert "layer 0 seed 0: Field(code, " in said and "× 17 columns" in said
    said, _ = done(capfd, "analyse", file, "--quiet")
    assert "bright" in said and "detection" in tables_of(out) and not (out / "exports").exists()
    done(capfd, "export", file, "--quiet")
    assert (out / "exports" / "codes.h5ad").is_file() and list(out.glob("exports/maps/sub-*/*.nii.gz"))
    assert not (out / "report.html").exists()
    done(capfd, "report", file, "--quiet")
    assert (out / "report.html").stat().st_size > 1_000 and (out / "run.json").is_file()
    before = snapshot(out / "tables")
    said, progress = done(capfd, "run", file)
    assert "report.html" in said and "writing the report" in progress and snapshot(out / "tables") == before
    assert whole(out)


def test_check(study: Path, capfd) -> None:
    file = write_study(study, **SMALL)
    said, errors = done(capfd, "check", str(file), "--quiet")
    assert "problem" not in said and errors == "" and not (study / "results").exists()
    for word in ("source: 5 scans, 5 arrays", "blocks.0", "labels.blobs: masks of 5 of 5 scans", "disk: "):
        assert word in said, word
    assert "splits: few blocks in valid (1)" in said
    lines = table(study)
    (study / f"{NAMES[7]}.nii.gz").write_bytes(b"not an image at all")
    lines.loc[0, "mask"] = "gone.nii.gz"
    lines["split"] = "train"
    write_sheet(study, lines)
    assert cli.main(["check", str(file), "--quiet"]) == 2
    said = capfd.readouterr().out
    assert f"warning  source: {NAMES[7]} is left out: {NAMES[7]}.nii.gz" in said and str(study) not in said
    assert f"no mask for 1 scans, such as {NAMES[0]}" in said
    assert "problem  splits: no block fell into valid" in said and "problem  splits: no block fell into test" in said


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("models", ("bioterp/scan-small", "RAS", "1 × 1 × 1", "zscore", "monai:SwinUNETR")),
        ("annotations", ("NIfTI", "DICOM SEG")),
        ("analyses", ("detection", "candidates")),
        ("formats", ("nifti", "h5ad", "maps")),
    ],
)
def test_list(what: str, words: tuple[str, ...], capfd) -> None:
    said, errors = done(capfd, "list", what)
    missing = [word for word in words if word not in said]
    assert not missing and errors == ""


def test_demo_words(capfd) -> None:
    assert "there is no demo 'scans'; did you mean 'scan'" in refused(capfd, "demo", "scans")
    assert "demo scan takes no genome" in refused(capfd, "demo", "scan", "genome.fa")


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_of_someone_else_is_left_alone(verb: str, study: Path, capfd) -> None:
    mine = study / "results"
    mine.mkdir()
    (mine / "thesis.tex").write_text("\\documentclass{article}")
    before = snapshot(study)
    assert "holds files that are no run of bioterp" in refused(capfd, verb, str(study / "run.yaml"))
    assert snapshot(study) == before


# ---------------------------------------------------------------------- the sheet


def sheet_of(case: str, study: Path) -> str:
    """Spoil the sheet; what must be said."""
    file, lines = study / "scans.tsv", table(study)
    if case == "no sheet":
        file.unlink()
        return "there is no sample sheet or folder"
    if case == "empty file":
        file.write_text("")
        return "is not a readable table"
    if case == "header only":
        write_sheet(study, lines.iloc[:0])
        return "lists no scans"
    if case == "duplicate ids":
        lines.loc[1, "scan"] = lines.loc[0, "scan"]
        write_sheet(study, lines)
        return f"names the scan '{NAMES[0]}' twice"
    if case == "one image twice":
        lines.loc[1, "path"] = lines.loc[0, "path"]
        write_sheet(study, lines)
        return "lists the same image as the scans"
    if case == "no path column":
        write_sheet(study, lines.rename(columns={"path": "pth"}))
        return "has no column 'path' or 'image'"
    if case == "column twice":
        file.write_text(file.read_text().replace("age", "mask", 1))
        return "has the column 'mask' twice"
    if case == "no scan there":
        for name in lines["path"]:
            one = study / name
            shutil.rmtree(one) if one.is_dir() else one.unlink()
        return "none of its 5 scans can be read"
    if case == "all scans broken":
        for name in lines["path"]:
            one = study / name
            for part in one.iterdir() if one.is_dir() else [one]:
                part.write_bytes(b"\x1f\x8b broken")
        return "none of the 5 scans can be used"
    if case == "a person in two splits":
        lines["subject"] = "p00"
        write_sheet(study, lines)
        return "lies in several splits"
    if case == "an unknown split":
        lines.loc[2, "split"] = "validation"
        write_sheet(study, lines)
        return "the split 'validation' is not known; wanted train, valid, test"
    if case == "one split only":
        lines["split"] = "train"
        write_sheet(study, lines)
        return "fell into the split 'valid'"
    if case == "an id that leaves its folder":
        lines.loc[1, "scan"] = "../../etc"
        write_sheet(study, lines)
        return "cannot name a folder"
    assert case == "a binary sheet"
    file.write_bytes(b"\xff\xfe\x00\x01" * 9)
    return "is not UTF-8 text"


SHEETS = (
    "no sheet", "empty file", "header only", "duplicate ids", "one image twice", "no path column", "column twice",
    "no scan there", "all scans broken", "a person in two splits", "an unknown split", "one split only",
    "an id that leaves its folder", "a binary sheet",
)  # fmt: skip


@pytest.mark.parametrize("case", SHEETS)
def test_bad_sheets(case: str, study: Path, capfd) -> None:
    said = sheet_of(case, study)
    before = snapshot(study)
    assert said in refused(capfd, "run", str(study / "run.yaml"))
    assert snapshot(study) == before  # nothing written anywhere, beside the scans least of all
    assert cli.main(["check", str(study / "run.yaml"), "--quiet"]) == 2
    told = capfd.readouterr()
    assert "problem" in told.out and "Traceback" not in told.out + told.err
    assert (said if case != "one split only" else "no block fell into valid") in told.out


def test_a_table_saved_by_a_spreadsheet(study: Path, capfd) -> None:
    """Commas, a byte-order mark, carriage returns, spaces after commas and quoted cells."""
    text = table(study).to_csv(index=False, quoting=1).replace(",", ", ").replace("\n", "\r\n")
    (study / "scans.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    for name, items in (("a", "scans.tsv"), ("b", "scans.csv")):
        write_study(study, **SMALL, out=name, **{"source.items": items})
        done(capfd, "label", str(study / "run.yaml"), "--quiet")
    made = [next((study / name / "labels").glob("rows=*")).name for name in "ab"]
    assert made[0] == made[1]


# ---------------------------------------------------------------------- the run file


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source.item": "x"}, "unknown key 'item' in source; did you mean 'items'"),
        ({"source.windwo": 8}, "unknown key 'windwo' in source; did you mean 'window'"),
        ({"source.kind": "scan"}, "source.kind: 'scan' is not known; did you mean 'scans'"),
        ({"source.kind": None}, "source lacks the key 'kind'; one of dna, scans"),
        ({"source.items": None}, "lacks the key 'items'"),
        ({"source.fasta": "genome.fa"}, "unknown key 'fasta' in source"),
        ({"source.window": 10}, "must be multiples of [4, 4, 4] voxels"),
        ({"source.window": 8, "source.halo": 3}, "must be multiples of [4, 4, 4] voxels"),
        ({"source.window": 0}, "window is one number or three"),
        ({"source.window": "wide"}, "source.window must be a whole number or a list"),
        ({"source.spacing": [1, 2]}, "spacing is one number or three"),
        ({"source.orientation": "RAX"}, "three letters"),
        ({"source.intensity": "zscroe"}, "did you mean 'zscore'"),
        ({"source.oblique": "turn"}, "source.oblique: 'turn' is not known"),
        ({"source.blocks": "patient"}, "blocks is 'subject', 'scan', or cubes"),
        ({"source.channels": ["path", "flair"]}, "flair"),
        ({"exports": ["tsv", "bigwig"]}, "exports: 'bigwig' cannot hold what a source of kind scans gives"),
        ({"exports": ["bed"]}, "exports: 'bed' cannot hold"),
        (
            {"baselines": ["composition"]},
            "baselines: 'composition' is for source.kind dna; for scans: position",
        ),
        ({"analyses": ["candidate"]}, "analyses: 'candidate' is not known; did you mean 'candidates'"),
        ({"labels.blobs.column": "msak"}, "the sheet has no column 'msak'; did you mean 'mask'"),
        ({"labels.blobs": {"column": "age"}}, "its label file 31 is not there"),
        ({"labels.blobs": {"call": "genes"}}, "labels.blobs: call is not for source.kind scans"),
        ({"labels.blobs": {"path": "gone.nii.gz"}}, "gone.nii.gz does not exist"),
        ({"labels.blobs": {}}, "labels.blobs needs a path"),
        ({"labels.blobs.naems": {1: "x"}}, "unknown key 'naems' in labels.blobs; did you mean 'names'"),
        ({"labels.blobs.upstream": 5}, "upstream"),
        ({"labels.blobs.code": 11}, "code"),
        ({"labels.blobs.within": "regions.bed"}, "labels.blobs: within is not for source.kind scans"),
        ({"labels.blobs.sequence": "genome.fa"}, "labels.blobs: sequence is not for source.kind scans"),
        (
            {"labels.blobs": {"column": "mask", "density": True}},
            "labels.blobs: density gives numbers, which only correlation",
        ),
        ({"labels.blobs.outside": "maybe"}, "outside is 'unknown' or 'negative'"),
        ({"labels.blobs.names": "gone.tsv"}, "gone.tsv"),
        ({"labels.blobs.terms": ["brihgt"]}, "no label volume has a voxel of the term 'brihgt'; did you mean 'bright'"),
        ({"labels": {}}, "labels names no annotation"),
        ({"layers": [2]}, "layers 0 to 1"),
        ({"layers": ["block.0"]}, "blocks.0"),
        ({"model.name": "bioterp/scan-smal"}, "scan-small"),
        ({"model.name": "tests.scan_studies:tine"}, "has no factory 'tine'; did you mean 'tiny'"),
        ({"model.weights": "gone.safetensors"}, "gone.safetensors"),
        ({"model.modality": "image"}, "cannot be loaded with modality='image'"),
        ({"model.in_channels": 2}, "channel"),
        ({"model.multiple": 3}, "multiple"),
        ({"model.wants": {"orientaton": "RAS"}}, "unknown key 'orientaton' in what the model wants; did you mean"),
        ({"disk": "1KB"}, "disk: the activations of layer 0 take"),
    ],
)
def test_what_a_run_file_may_say_wrong(change: dict, said: str, study: Path, capfd) -> None:
    (study / "run.yaml").write_text(yaml.safe_dump(tree(**{**SMALL, **change}), sort_keys=False))
    line = refused(capfd, "run", str(study / "run.yaml"))
    assert said in line and len(line) < 500, line
    assert not (study / "results" / "tables").exists() and not list((study / "results").glob("activations/**/shard=*"))
    assert whole(study / "results")


def test_a_run_of_sequences_may_not_speak_of_scans(study: Path, capfd) -> None:
    write_fasta(study / "genome.fa", one=random_dna(2_000, 7))
    write_gff(study / "genes.gff", pd.DataFrame([("one", 9, 99, "+")], columns=["c", "s", "e", "d"]), {"one": 2000})
    made = tree(**SMALL) | {"source": {"kind": "dna", "fasta": "genome.fa", "window": 64, "halo": 0, "blocks": 100}}
    for change, said in (
        ({"labels": {"genes": {"column": "mask"}}}, "labels.genes: column is not for source.kind dna"),
        ({"exports": ["nifti"]}, "exports: 'nifti' cannot hold what a source of kind dna gives"),
        ({"baselines": ["position"]}, "baselines: 'position' is for source.kind scans; for dna: composition"),
        ({"analyses": ["candidates"]}, "analyses: 'candidates' is for source.kind scans"),
        ({}, "reads volumes, arrays (channels, x, y, z) of numbers, and got an array of shape (64,)"),
    ):
        whole_tree = {**made, "labels": {"genes": {"path": "genes.gff"}}, **change}
        (study / "run.yaml").write_text(yaml.safe_dump(whole_tree))
        assert said in refused(capfd, "run", str(study / "run.yaml")), said
    assert "reads volume, the source gives dna" in refused(capfd, "activations", str(study / "run.yaml"))
    for verb in ("label", "fit"):
        assert "choose a source of its modality" in refused(capfd, verb, str(study / "run.yaml"))
    assert cli.main(["check", str(study / "run.yaml"), "--quiet"]) == 2
    assert "reads volume, the source gives dna" in capfd.readouterr().out


def test_a_model_of_sequences_is_refused_for_scans(study: Path, tiny_model_folder: Path, capfd) -> None:
    model = {"name": str(tiny_model_folder), "alphabet": "ACGTN"}
    write_study(study, **{**SMALL, "model": model})
    assert "reads dna, the source gives volume" in refused(capfd, "activations", str(study / "run.yaml"))
    for verb in ("run", "label", "fit"):
        assert "choose a source of its modality" in refused(capfd, verb, str(study / "run.yaml"))
    assert cli.main(["check", str(study / "run.yaml"), "--quiet"]) == 2
    assert "reads dna, the source gives volume" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model.in_channels": 2}, "takes arrays of 2 channels, the source gives 1"),
        ({"source.channels": ["path", "mask"]}, "takes arrays of 1 channels, the source gives 2"),
        ({"labels.blobs.column": "age"}, "no file that the column 'age' names is there; such as '31'"),
        ({"layers": [5]}, "layers 0 to 1"),
        ({"source.window": 10}, "must be multiples of"),
        ({"labels.blobs.column": "msak"}, "did you mean 'mask'"),
    ],
)
def test_check_knows_it_before(change: dict, said: str, study: Path, capfd) -> None:
    write_study(study, **{**SMALL, **change})
    before = snapshot(study)
    assert cli.main(["check", str(study / "run.yaml"), "--quiet"]) == 2
    told = capfd.readouterr()
    assert any(line.startswith("problem") and said in line for line in told.out.splitlines()) and told.err == ""
    assert snapshot(study) == before


def test_what_is_left_out_of_a_source_is_as_the_model_wants_it(study: Path, capfd) -> None:
    """`wants` of the model is a default; what the run file says comes first."""
    model = {**MODEL, "wants": {**WANTS, "spacing": [4.0, 4.0, 4.0]}}
    write_study(study, **SMALL, model=model, **{"source.orientation": "LPI"})
    done(capfd, "label", str(study / "run.yaml"), "--quiet")
    from bioterp.field import Field

    rows = Field.open(study / "results" / "rows" / "cells=2x2x2").rows
    steps = rows.affines[0][:3, :3].round(6).tolist()
    assert steps == [[-8, 0, 0], [0, -8, 0], [0, 0, -8]]
