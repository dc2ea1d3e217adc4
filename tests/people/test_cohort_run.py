"""A cohort through a run file: two ancestries, one causal variant, a tiny model; tables, pages, exports, `apply`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from bioterp.cli import main
from tests.conftest import random_dna, write_fasta
from tests.people.village import write_vcf
from tests.planted import tables_of

PEOPLE, LENGTH = 173, 3_011
CAUSE = 1_203  # 1-based POS


def _world(folder: Path, seed: int = 0, people: int = PEOPLE) -> None:
    """ref.fa, people.vcf and people.tsv: variants that differ between two ancestries, and one with an effect."""
    draw = np.random.default_rng(seed)
    letters = random_dna(LENGTH, 3)
    write_fasta(folder / "ref.fa", c1=letters)
    south = draw.random(people) < 0.5
    names = [f"NA{seed}{i:04d}" for i in range(people)]
    variants = []
    dose = np.zeros(people)
    for k, pos in enumerate([151, 407, 655, 911, CAUSE, 1_507, 1_801, 2_203, 2_607, 2_859]):
        share = np.where(south, 0.8, 0.1) if k in (1, 6) else np.full(people, 0.4)
        calls = (draw.random((people, 2)) < share[:, None]).astype(int)
        if pos == CAUSE:
            dose = calls.sum(1)
        ref = letters[pos - 1]
        variants.append((pos, ref, "ACGT"[("ACGT".index(ref) + 2) % 4], [f"{a}|{b}" for a, b in calls]))
    write_vcf(folder / "people.vcf", "c1", LENGTH, names, variants)
    risk = 2.2 * (dose - 0.8) + 1.5 * (south - 0.5) + draw.logistic(size=people) / 2
    sheet = pd.DataFrame({"sample": names, "case": np.where(risk > 0, "yes", "no"), "age": draw.normal(55, 9, people)})
    sheet["ancestry"] = np.where(south, "south", "north")
    sheet.to_csv(folder / "people.tsv", sep="\t", index=False)


def _run(folder: Path, model: Path, **change: object) -> Path:
    config = {
        "out": "results",
        "source": {"kind": "haplotypes", "vcf": "people.vcf", "reference": "ref.fa", "window": 91, "halo": 16},
        "model": {"name": str(model), "options": {"alphabet": "ACGTN"}},
        "layers": [1],
        "dictionary": {"width": 48, "k": 4, "tokens": 20_000},
        "analyses": ["fidelity"],
        "baselines": [],
        "cohort": {
            "samples": "people.tsv", "outcome": "case", "covariates": ["age"], "confounders": ["ancestry"],
            "groups": "ancestry", "pool": "mean",
        },
        "exports": ["tsv", "phenotypes", "bids", "h5ad"],
        **change,
    }  # fmt: skip
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    _world(folder)
    assert main(["run", str(_run(folder, tiny_model_folder)), "--quiet"]) == 0
    return folder


def test_every_table_is_there_and_every_feature_has_a_verdict(done: Path) -> None:
    tables = done / "results" / "tables"
    for name in ("association", "effects", "outcomes", "qq", "confounding", "audit", "marker"):
        assert len(tables_of(done / "results")[name])
        assert (tables / f"{name}.parquet").is_file() and (tables / f"{name}.tsv").is_file()
    found = pd.read_parquet(tables / "association.parquet")
    assert len(found) == 48 and found["verdict"].isin(["biomarker", "unresolved", "confounder", "none"]).all()
    audit = pd.read_parquet(tables / "audit.parquet")
    assert set(audit["representation"]) >= {"codes", "activations", "confounders", "codes + confounders"}


def test_nobody_is_named_in_report_record_or_tables(done: Path) -> None:
    out = done / "results"
    for path in [out / "report.html", out / "run.json", *(out / "tables").glob("*.tsv")]:
        assert "NA00" not in path.read_text(), path.name
    page = (out / "report.html").read_text()
    assert "candidate biomarkers and confounders" in page and "Content-Security-Policy" in page


def test_exports_are_of_people(done: Path) -> None:
    import anndata

    place = done / "results" / "exports" / "people" / "layer=1"
    read = pd.read_csv(place / "features.pheno", sep="\t")
    assert len(read) == PEOPLE and read.columns[:2].tolist() == ["FID", "IID"]
    assert len(anndata.read_h5ad(place / "people.h5ad")) == PEOPLE
    told = json.loads((place / "phenotype" / "bioterp.json").read_text())
    assert any("verdict:" in str(one) for one in told.values())


def test_the_same_command_makes_nothing_anew_and_verify_is_content(done: Path, capsys) -> None:
    before = tables_of(done / "results")
    assert main(["run", str(done / "run.yaml"), "--quiet"]) == 0
    for name, frame in tables_of(done / "results").items():
        pd.testing.assert_frame_equal(frame, before[name], check_exact=True)
    assert main(["verify", str(done / "results")]) == 0
    assert "problem" not in capsys.readouterr().out


def test_a_kept_marker_on_its_own_people(done: Path, capsys) -> None:
    people = done / "results" / "people" / "layer=1"
    out = done / "p.tsv"
    words = [
        "apply",
        str(people / "marker.case.json"),
        str(people / "codes"),
        str(done / "people.tsv"),
        "--out",
        str(out),
    ]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"{PEOPLE} people" in said and "AUROC" in said and "NA00" not in said
    assert pd.read_csv(out, sep="\t")["probability"].between(0, 1).all()


def test_check_is_content_with_people_and_no_labels(tmp_path: Path, tiny_model_folder: Path, capsys) -> None:
    _world(tmp_path, people=31)
    path = _run(tmp_path, tiny_model_folder, dictionary={"width": 8, "k": 2})
    main(["check", str(path), "--quiet"])
    assert "labels" not in capsys.readouterr().out
    sheet = pd.read_csv(tmp_path / "people.tsv", sep="\t")
    sheet.drop(columns="case").to_csv(tmp_path / "people.tsv", sep="\t", index=False)
    assert main(["check", str(path), "--quiet"]) == 2
    assert "cohort: people.tsv has no column 'case'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cohort": {"samples": "nobody.tsv", "outcome": "case"}}, "no file"),
        ({"cohort": {"samples": "people.tsv", "outcome": "caes"}}, "did you mean 'case'"),
        ({"cohort": None, "exports": ["bids"]}, "'bids' is of people"),
    ],
)
def test_what_a_run_file_may_say_wrong(
    tmp_path: Path, tiny_model_folder: Path, change: dict, said: str, capsys: pytest.CaptureFixture
) -> None:
    _world(tmp_path, people=31)
    assert main(["run", str(_run(tmp_path, tiny_model_folder, **change)), "--quiet"]) == 2
    assert said in capsys.readouterr().err
