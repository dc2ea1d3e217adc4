"""A run as jobs: what a change makes them do again, that they leave what the run in one process leaves, and where."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("snakemake", reason="the extra 'workflow' is not installed")

from bioterp import cli, workflow
from bioterp.errors import BioterpError
from bioterp.workflow.plan import Plan
from tests.planted import leftovers, same_tables, write_run

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
LAYERS = ("layer=1", "layer=2")
ALL: dict[str, Any] = {
    "layers": [1, 2],
    "dictionary.seeds": [0, 3],
    "source.shards": 2,
    "labels.more": {"path": "more.gff"},
    "baselines": ["neurons", "random-directions", "random-weights", "composition"],
}


def described(folder: Path, model: Path, **changes: Any) -> Path:
    """A run file with two annotations."""
    file = write_run(folder, model, **{**ALL, **changes})
    if not (folder / "more.gff").exists():
        shutil.copy(folder / "genes.gff", folder / "more.gff")
    return file


def pretend(file: Path, at: int = 1_700_000_000) -> None:
    """Leave what a finished run leaves for Snakemake to see: marks, each later than those it needs, and results."""
    plan = Plan.load(file)
    for path in [f for job in plan.jobs.values() for f in job.files]:
        os.utime(path, (at, at))
    made = [plan.run.out / job.mark for job in plan.jobs.values()]
    made += [plan.run.out / "report.html", plan.run.out / "run.json"]
    made += [plan.run.out / "tables" / f"{name}.tsv" for name in ("detection", "features")]
    for i, path in enumerate(made):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (at + 1 + i, at + 1 + i))


def dry(capfd: pytest.CaptureFixture[str], file: Path, *words: str) -> tuple[set[str], str]:
    """The jobs a dry run shows, as rule/piece, and all it says."""
    capfd.readouterr()
    assert cli.main(["run", str(file), "--jobs", "2", "--dry-run", *words]) == 0
    out, err = capfd.readouterr()
    text = out + err
    found = set()
    for rule, rest in re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", text, re.MULTILINE):
        piece = re.search(r"wildcards: piece=(\S+), mark=", rest)
        found.add(f"{rule}/{piece[1]}" if piece else rule)
    return found - {"bioterp"}, text


def each(pattern: str, **values: tuple[Any, ...]) -> set[str]:
    """The names a pattern gives, for all layers (and seeds, if asked)."""
    return {pattern.format(layer=one, seed=seed) for one in LAYERS for seed in values.get("seed", (None,))}


ANALYSES = {"analyse/composition/all"}
ANALYSES |= each("analyse/neurons/{layer}") | each("analyse/random-directions/{layer}")
ANALYSES |= each("analyse/random-weights/{layer}") | each("analyse/dictionary/{layer}/seed={seed}", seed=(0, 3))
KNOWN, FIDELITY = each("known/{layer}"), each("fidelity/own/{layer}") | each("fidelity/random/{layer}")
FITS = each("fit/own/{layer}/seed={seed}", seed=(0, 3)) | each("fit/random/{layer}/seed=0")
CODES = each("encode/own/{layer}/seed={seed}", seed=(0, 3))
PASSES = {f"activations/{weights}/shard={i}" for weights in ("own", "random") for i in (0, 1)}
EVERYTHING = (
    {"rows/all", "label/genes", "label/more"} | PASSES | FITS | CODES | ANALYSES | KNOWN | FIDELITY | {"finish"}
)
NEW = each("fit/own/{layer}/seed=5") | each("encode/own/{layer}/seed=5") | each("analyse/dictionary/{layer}/seed=5")


@pytest.mark.parametrize(
    ("change", "again"),
    [
        pytest.param({}, set(), id="nothing"),
        pytest.param(
            {"dictionary.k": 4},
            FITS | CODES | KNOWN | FIDELITY | {"finish"} | (ANALYSES - {"analyse/composition/all"})
            - each("analyse/neurons/{layer}"),
            id="k: what is fitted, and what hangs on that",
        ),
        pytest.param(
            {"labels.genes": {"path": "other.gff"}},
            {"label/genes", "finish"} | ANALYSES | KNOWN,
            id="the path of a label: it, and the tables it is in",
        ),
        pytest.param(
            {"dictionary.seeds": [0, 3, 5]},
            NEW | KNOWN | each("fidelity/own/{layer}") | {"finish"},
            id="one more seed: its own jobs, and what compares seeds",
        ),
        pytest.param(
            {"adjust": ["gc"]},
            each("analyse/dictionary/{layer}/seed={seed}", seed=(0, 3)) | KNOWN | {"finish"},
            id="what the adjusted analysis holds fixed",
        ),
        pytest.param({"exports": ["tsv", "bed"]}, {"finish"}, id="exports"),
        pytest.param(
            {"baselines": [*ALL["baselines"], "pca"]}, each("analyse/pca/{layer}") | {"finish"}, id="one more baseline"
        ),
        pytest.param({"source.window": 83}, EVERYTHING - {"label/genes", "label/more"}, id="the window"),
    ],
)  # fmt: skip
def test_a_change_makes_again_what_hangs_on_it(
    change: dict[str, Any], again: set[str], tmp_path: Path, tiny_model_folder: Path, capfd
) -> None:
    pretend(described(tmp_path, tiny_model_folder))
    shutil.copy(tmp_path / "genes.gff", tmp_path / "other.gff")
    os.utime(tmp_path / "other.gff", (1_600_000_000,) * 2)
    file = described(tmp_path, tiny_model_folder, **change)
    found, _ = dry(capfd, file)
    # Labels lie on rows: when those are made anew, so are they, though what they hang on themselves is unchanged.
    assert found == again | ({"label/genes", "label/more"} if "rows/all" in again else set())


def test_an_edited_file_makes_again_what_reads_it(tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    file = described(tmp_path, tiny_model_folder)
    pretend(file)
    (tmp_path / "more.gff").touch()
    assert dry(capfd, file)[0] == {"label/more", "finish"} | ANALYSES | KNOWN
    (tmp_path / "genome.fa").touch()
    assert dry(capfd, file)[0] == EVERYTHING


def test_marks_of_earlier_words_do_not_count_again(tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    """Back to an earlier k: its marks went when the other was fitted, so nothing of the other passes for it."""
    file = described(tmp_path, tiny_model_folder)
    pretend(file)
    other = described(tmp_path, tiny_model_folder, **{"dictionary.k": 4})
    changed = Plan.load(other).jobs["fit/own/layer=1/seed=3"]
    from bioterp import marks

    marks.begin(tmp_path / "results" / changed.mark)
    marks.end(tmp_path / "results" / changed.mark)
    file = described(tmp_path, tiny_model_folder)
    found, _ = dry(capfd, file)
    wanted = {"fit/own/layer=1/seed=3", "encode/own/layer=1/seed=3", "analyse/dictionary/layer=1/seed=3"}
    assert found == wanted | {"known/layer=1", "fidelity/own/layer=1", "finish"}


def test_short_of_disk_layers_go_one_after_the_other(tmp_path: Path, tiny_model_folder: Path) -> None:
    jobs = Plan.load(described(tmp_path, tiny_model_folder, disk="1GB")).jobs
    assert {name for name in jobs if name.startswith("drop/")} == each("drop/own/{layer}") | each("drop/random/{layer}")
    assert jobs["activations/own/layer=2/shard=1"].needs == ("drop/own/layer=1",)
    assert jobs["activations/random/layer=1/shard=0"].needs == ("drop/own/layer=2",)
    readers = {"analyse/neurons/layer=2", "encode/own/layer=2/seed=3", "fidelity/own/layer=2"}
    assert readers <= set(jobs["drop/own/layer=2"].needs)


def test_on_slurm_the_dry_run_shows_resources(tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    file = described(tmp_path, tiny_model_folder)
    words = ("--executor", "slurm", "--", "--set-resources", "fit:mem_mb=32100", "--config", "gpus=1")
    found, text = dry(capfd, file, *words)
    assert found == EVERYTHING
    fit = re.search(r"rule fit:\n(?:    .*\n)*?    resources: (.*)\n", text)
    label = re.search(r"rule label:\n(?:    .*\n)*?    resources: (.*)\n", text)
    assert fit and "mem_mb=32100" in fit[1] and "gpu=1" in fit[1] and "runtime=" in fit[1]
    assert label and "mem_mb=8000" in label[1] and "gpu" not in label[1]
    assert not (tmp_path / "results").exists()


def test_a_dry_run_here_lists_the_pieces(tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    file = described(tmp_path, tiny_model_folder)
    assert cli.main(["run", str(file), "--dry-run"]) == 0
    said = dict(line.split(maxsplit=1) for line in capfd.readouterr().out.splitlines())
    assert set(said) == EVERYTHING - {"finish"} | {"finish/all"} and set(said.values()) == {"to do"}
    assert not (tmp_path / "results").exists()


def test_what_cannot_be_done_is_one_sentence(tmp_path: Path, tiny_model_folder: Path, capfd, monkeypatch) -> None:
    file = str(described(tmp_path, tiny_model_folder))
    monkeypatch.setitem(sys.modules, "snakemake.cli", None)
    assert cli.main(["run", file, "--jobs", "2"]) == 2
    assert capfd.readouterr().err == (
        "bioterp: a run in jobs needs the package snakemake: pip install 'bioterp[workflow]'\n"
    )
    for words, said in (
        (["run", file, "--jobs", "0"], "--jobs must be at least 1; got 0"),
        (["fit", file, "--layer", "7"], "the run has no layer '7'"),
        (["fit", file, "--seed", "9"], "the run has no seed 9; dictionary.seeds: [0, 3]"),
        (["activations", file, "--shard", "2/2"], "--shard is the number of a part"),
        (["label", file, "--only", "gens"], "labels has no 'gens'; did you mean 'genes'?"),
        (["rows", file, "--mark", str(tmp_path / "precious")], "--mark is for workflows"),
    ):
        assert cli.main([*words, "--quiet"]) == 2, words
        assert said in capfd.readouterr().err, words


# ---------------------------------------------------------------------- what the jobs leave

FEW: dict[str, Any] = {
    "source.shards": 3,
    "dictionary.seeds": [0, 3],
    "baselines": ["neurons", "random-directions", "random-weights", "composition"],
    "exports": ["tsv", "bed"],
    "export_features": 3,
}


def one_by_one(file: Path, order: Callable[[list[Any]], list[Any]] = list) -> None:
    """Every job of a run file through its verb, in this process."""
    plan = Plan.load(file)
    for job in order(list(plan.jobs.values())):
        verb = {"known": "analyse", "fidelity": "analyse", "people": "analyse", "finish": "run"}.get(job.rule, job.rule)
        only = ["--only", job.rule] if job.rule in ("known", "fidelity", "people") else []
        words = [verb, str(file), *only, *job.words, "--cores", "1", "--mark", str(plan.run.out / job.mark), "--quiet"]
        assert cli.main(words) == 0, words


@pytest.mark.slow
def test_jobs_leave_what_the_run_here_leaves(tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    here, jobs = (write_run(tmp_path / name, tiny_model_folder, **FEW) for name in ("here", "jobs"))
    assert cli.main(["run", str(here), "--cores", "1", "--quiet"]) == 0
    one_by_one(jobs)
    same_tables(tmp_path / "here/results", tmp_path / "jobs/results")
    made = [
        {p.name: p.read_bytes() for p in (tmp_path / one / "results/exports").glob("*.bed*")}
        for one in ("here", "jobs")
    ]
    assert made[0] == made[1] and made[0]
    capfd.readouterr()
    assert cli.main(["run", str(here), "--dry-run"]) == 0
    *said, note = capfd.readouterr().out.splitlines()
    assert len(said) > 20 and all(line.endswith("  there") for line in said) and "looked at again" in note
    shards = {p.name for p in (tmp_path / "jobs/results/activations/layer=1").glob("shard=*")}
    assert shards == {"shard=00000", "shard=00001", "shard=00002"} and not leftovers(tmp_path / "jobs")
    # Snakemake sees that all is done.
    capfd.readouterr()
    assert dry(capfd, jobs)[0] == set()


@pytest.mark.slow
def test_what_nobody_made_is_made_by_who_needs_it(tmp_path: Path, tiny_model_folder: Path) -> None:
    """A late piece first: what it needs and nobody made, it makes. Activations go once nobody reads them."""
    small = {"baselines": [], "analyses": ["detection"], "source.shards": 2}
    here = write_run(tmp_path / "here", tiny_model_folder, **small)
    jobs = write_run(tmp_path / "jobs", tiny_model_folder, **small, disk="1GB")
    assert cli.main(["run", str(here), "--cores", "1", "--quiet"]) == 0
    one_by_one(jobs, lambda every: sorted(every, key=lambda job: job.rule != "known"))
    same_tables(tmp_path / "here/results", tmp_path / "jobs/results")
    assert not (tmp_path / "jobs/results/activations/layer=1").exists()


def test_others_at_work_are_waited_for_and_a_whole_run_is_refused(tmp_path: Path, tiny_model_folder: Path, capfd):
    from bioterp import locks

    file = str(write_run(tmp_path, tiny_model_folder, baselines=[], analyses=["detection"]))
    with locks.held(tmp_path / "results", shared=True):
        assert cli.main(["rows", file, "--mark", str(tmp_path / "results/jobs/rows/all/0123456789ab"), "--quiet"]) == 0
        assert cli.main(["run", file, "--quiet"]) == 2
        assert "in use by process" in capfd.readouterr().err
    with locks.held(tmp_path / "results", name=workflow.LOCK):
        assert cli.main(["run", file, "--jobs", "1", "--quiet"]) == 2
        assert "in use by process" in capfd.readouterr().err


# ---------------------------------------------------------------------- through Snakemake

TINY: dict[str, Any] = {"source.shards": 2, "baselines": [], "analyses": ["detection"]}


def shell(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    made = subprocess.run(words, capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT, timeout=500)
    assert made.returncode == 0, made.stdout[-2_000:] + made.stderr[-6_000:]
    return made


def snakefile() -> str:
    """What `bioterp workflow` prints."""
    return shell(sys.executable, "-m", "bioterp.cli", "workflow", cwd=ROOT).stdout.strip()


@pytest.mark.slow
def test_a_run_through_snakemake(tmp_path: Path, tiny_model_folder: Path) -> None:
    here, jobs = (write_run(tmp_path / name, tiny_model_folder, **TINY) for name in ("here", "jobs"))
    assert cli.main(["run", str(here), "--cores", "1", "--quiet"]) == 0
    shell(sys.executable, "-m", "bioterp.cli", "run", str(jobs), "--jobs", "2", cwd=tmp_path)  # which start warm
    same_tables(tmp_path / "here/results", tmp_path / "jobs/results")
    assert (tmp_path / "jobs/results/report.html").is_file() and not leftovers(tmp_path / "jobs")
    words = ["-s", snakefile(), "--config", "run=run.yaml", "--cores", "2", "--dry-run"]
    again = shell(sys.executable, "-m", "snakemake", *words, cwd=jobs.parent)
    assert "Nothing to be done" in again.stdout + again.stderr


@pytest.mark.slow
def test_jobs_that_are_submitted_really_run(tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    """A stand-in for a cluster: a command that is given each job's script, notes it and starts it."""
    file = write_run(tmp_path, tiny_model_folder, **TINY)
    submit = tmp_path / "submit"
    submit.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/queue\nfor last; do :; done\nsh "$last" > {tmp_path}/log 2>&1 &\necho $!\n'
    )
    submit.chmod(submit.stat().st_mode | stat.S_IXUSR)
    words = ["run", str(file), "--executor", "cluster-generic", "--jobs", "2", "--"]
    words += ["--cluster-generic-submit-cmd", f"{submit} --mem={{resources.mem_mb}} --time={{resources.runtime}}"]
    shell(sys.executable, "-m", "bioterp.cli", *words, "--until", "label", cwd=tmp_path)
    queue = (tmp_path / "queue").read_text().splitlines()
    assert len(queue) == 2 and all("--mem=8000 --time=120" in line for line in queue)
    assert list((tmp_path / "results/labels").glob("rows=*/genes/meta.json"))
    assert dry(capfd, file)[0] == {
        "activations/own/shard=0", "activations/own/shard=1", "fit/own/layer=1/seed=0", "encode/own/layer=1/seed=0",
        "analyse/dictionary/layer=1/seed=0", "known/layer=1", "finish",
    }  # fmt: skip


@pytest.mark.slow
def test_a_rule_of_the_users_own(tmp_path: Path, tiny_model_folder: Path) -> None:
    file = described(tmp_path, tiny_model_folder)
    pretend(file)
    (tmp_path / "results/tables/detection.tsv").write_text("feature\tterm\n3\tCDS\n4\ttRNA\n")
    os.utime(tmp_path / "results/tables/detection.tsv", (1_700_000_900,) * 2)
    (tmp_path / "Snakefile").write_text(
        "from bioterp.workflow import SNAKEFILE\n"
        "include: SNAKEFILE\n\n"
        "rule mine:\n"
        "    input: 'results/tables/detection.tsv'\n"
        "    output: 'mine.txt'\n"
        f"    shell: '{sys.executable} -m bioterp.cli list formats > {{output}} && grep CDS {{input}} >> {{output}}'\n"
    )
    shell(
        sys.executable, "-m", "snakemake", "mine.txt", "--config", "run=run.yaml", "--cores", "1", cwd=tmp_path
    )  # fmt: skip
    said = (tmp_path / "mine.txt").read_text()
    assert "bigwig" in said.lower() and said.endswith("3\tCDS\n")


@pytest.mark.slow
def test_a_job_that_fails_is_said(tmp_path: Path, tiny_model_folder: Path) -> None:
    file = write_run(tmp_path, tiny_model_folder, **{**TINY, "layers": [17]})
    made = subprocess.run(
        [sys.executable, "-m", "bioterp.cli", "run", str(file), "--jobs", "2"],
        capture_output=True, text=True, env=ENVIRONMENT, timeout=300,
    )  # fmt: skip
    assert made.returncode == 2 and "17" in made.stderr
    assert made.stderr.rstrip().splitlines()[-1].startswith("bioterp: not all jobs were done")
    assert issubclass(BioterpError, Exception)
