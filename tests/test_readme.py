"""The README: its first Python example runs as it stands, its run file parses, and its commands exist."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import yaml

from bioterp import cli, config, tables
from tests import pages
from tests.conftest import SHARED
from tests.planted import genome, write_gff

ROOT = Path(__file__).resolve().parent.parent
PART = 41_000


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return [block.code for block in pages.blocks("README.md") if block.language == language]


def stand_ins(folder: Path) -> None:
    """ecoli.fna.gz and ecoli.gff.gz: the start of the real ones where they are, else a planted genome."""
    real = SHARED / "genomics" / "bacteria"
    if real.is_dir():
        with gzip.open(real / "ecoli_k12_mg1655.fna.gz", "rt") as handle:
            head, *lines = handle.read(PART + PART // 20).splitlines()
        name, letters = head[1:].split()[0], "".join(lines)[:PART]
        with gzip.open(real / "ecoli_k12_mg1655.gff.gz", "rt") as handle:
            records = [line.rstrip("\n").split("\t") for line in handle if not line.startswith("#")]
        kept = [r for r in records if len(r) == 9 and r[2] != "region" and int(r[4]) <= PART]
        text = "\n".join(["##gff-version 3", *("\t".join(r) for r in kept)]) + "\n"
        (folder / "ecoli.gff.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    else:
        sequences, genes = genome({"NC_1.1": PART})
        ((name, letters),) = sequences.items()
        write_gff(folder / "ecoli.gff.gz", genes, {name: PART})
    assert len(letters) == PART
    body = "\n".join(letters[i : i + 80] for i in range(0, PART, 80))
    (folder / "ecoli.fna.gz").write_bytes(gzip.compress(f">{name} part\n{body}\n".encode(), mtime=0))


@pytest.mark.slow
def test_the_first_example_runs_unchanged(tmp_path: Path) -> None:
    found = blocks("python")
    assert found, "README.md has no python block"
    code = found[0]
    stand_ins(tmp_path)
    named = set(re.findall(r"""["']([\w.-]+\.(?:fna|fa|gff|gff3|bed)(?:\.gz)?)["']""", code))
    assert named <= {"ecoli.fna.gz", "ecoli.gff.gz"}, "the example names a file this test does not make"
    told = run_example(code, tmp_path)
    assert told.returncode == 0, told.stderr[-3_000:]
    assert "term" in told.stdout and "f1_null" in told.stdout
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    tracks = {p.name for p in (tmp_path / "run").rglob("*.bw")}
    assert any(".plus." in name for name in tracks) and any(".minus." in name for name in tracks)


@pytest.mark.slow
def test_the_example_of_scans_runs_unchanged(tmp_path: Path) -> None:
    """On made-up heads: the label is a ball of its own brightness, whose place differs from scan to scan."""
    code, rng = blocks("python")[1], np.random.default_rng(0)
    assert set(re.findall(r"""["']([\w.-]+\.(?:tsv|nii|nii\.gz))["']""", code)) == {"scans.tsv"}
    lines = ["scan\tpath\tlabel"]
    for i in range(30):
        shape = rng.integers(26, 34, 3)
        index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
        label = np.zeros(shape, np.uint8)
        for value in (1, 2):
            label[((index - rng.uniform(9, shape - 9)) ** 2).sum(-1) < 36] = value
        image = rng.normal(100, 10, shape) + 60 * (label == 1) - 50 * (label == 2)
        for folder, values in (("images", image.astype(np.float32)), ("labels", label)):
            (tmp_path / folder).mkdir(exist_ok=True)
            made = nibabel.Nifti1Image(values, np.eye(4))
            made.set_sform(np.eye(4), 1)
            nibabel.save(made, tmp_path / folder / f"s{i}.nii.gz")
        lines.append(f"s{i}\timages/s{i}.nii.gz\tlabels/s{i}.nii.gz")
    (tmp_path / "scans.tsv").write_text("\n".join(lines) + "\n")
    told = run_example(code, tmp_path)
    assert told.returncode == 0, told.stderr[-3_000:]
    assert "term" in told.stdout and "f1_null" in told.stdout
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert any((tmp_path / "run").rglob("*_map.nii.gz"))


def run_example(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "example.py").write_text(code)
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); exec(open('example.py').read())"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=580)


def test_the_run_files_parse(tmp_path: Path) -> None:
    (dna,) = (config.parse(yaml.safe_load(one), tmp_path) for one in blocks("yaml"))
    assert dna.source.fasta.name == "ecoli.fna.gz" and dna.labels and dna.layers


def test_the_commands_exist() -> None:
    shell = "\n".join(blocks("bash") + blocks("sh"))
    assert re.search(r"^make demo\b", shell, re.M) and re.search(r"^make test\b", shell, re.M)
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", shell, re.M):
        assert re.search(rf"^{target}:", makefile, re.M), target
    known = {verb.name for verb in cli.VERBS}
    assert set(re.findall(r"^bioterp (\w+)", shell, re.M)) <= known


def test_the_columns_the_example_prints_are_declared() -> None:
    code = "\n".join(blocks("python")[:1])
    shown = re.findall(r"found\[\[(.*?)\]\]", code)
    names = {name for text in shown for name in re.findall(r'"(\w+)"', text)}
    assert names <= {column.name for column in tables.columns("detection")}


def test_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").is_file() else ""
    absent = [link for link in re.findall(r"\]\((?!https?:)([^)#]+)", text) if not (ROOT / link).exists()]
    assert not absent, absent


def test_the_stand_in_without_shared_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted genome fits its own annotation, so that the example can run where no real data are."""
    monkeypatch.setattr("tests.test_readme.SHARED", tmp_path / "nowhere")
    stand_ins(tmp_path)
    with gzip.open(tmp_path / "ecoli.gff.gz", "rt") as handle:
        table = pd.read_csv(handle, sep="\t", comment="#", header=None)
    assert len(table) > 150 and table[4].max() <= PART and set(table[6]) == {"+", "-"}
