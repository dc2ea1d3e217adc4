"""The built wheel: what is in it, and that it works where the repository cannot be seen."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.planted import leftovers, tables_of, write_run

ROOT = Path(__file__).resolve().parent.parent
MOST_MB = 30

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the working tree, built from a copy so that no build folder is left in it."""
    copy, out = tmp_path_factory.mktemp("tree") / "bioterp", tmp_path_factory.mktemp("dist")
    hidden = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "build", "dist", "*.egg-info")
    copy.mkdir()
    for name in ("bioterp", "tests", "training", "benchmarks", "docs"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=hidden)
    for file in ROOT.glob("*"):
        if file.is_file():
            shutil.copy(file, copy)
    if importlib.util.find_spec("build") is not None:
        command = ["build", "--wheel", "--no-isolation", "--outdir", str(out), str(copy)]
    else:
        command = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(copy)]
    made = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stdout[-2_000:] + made.stderr[-2_000:]
    (file,) = out.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel in it, and nothing else."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-warn-script-location"]
    told = subprocess.run([*pip, "--target", str(target), str(wheel)], capture_output=True, text=True, timeout=300)
    assert told.returncode == 0, told.stderr
    return target


def apart(installed: Path, cwd: Path, code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run code that sees the wheel and the dependencies, but not the repository.

    -I: no PYTHONPATH, no current folder; -S: no site, hence no .pth file that could lead to the checkout.
    """
    packages = [path for path in sys.path if path.rstrip("/").endswith(("site-packages", "dist-packages"))]
    head = f"import sys; sys.path[:0] = [{str(installed)!r}]; sys.path += {packages!r}; "
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment |= {"NUMBA_CACHE_DIR": str(cwd / "numba")}
    command = [sys.executable, "-I", "-S", "-c", head + code, *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=500)


def test_what_is_inside(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert archive.testzip() is None
        tops = {name.split("/")[0] for name in names}
        (about,) = (top for top in tops if top.endswith(".dist-info"))
        assert tops == {"bioterp", about}
        metadata = archive.read(f"{about}/METADATA").decode()
        scripts = archive.read(f"{about}/entry_points.txt").decode()
    code = {str(p.relative_to(ROOT)) for p in (ROOT / "bioterp").rglob("*.py")}
    assert len(code) > 40 and code <= names
    assert {"bioterp/py.typed", "bioterp/workflow/Snakefile"} <= names and any(
        name.endswith("licenses/LICENSE") for name in names
    )
    reference = {str(p.relative_to(ROOT)) for p in (ROOT / "bioterp/models/reference").rglob("*") if p.is_file()}
    assert {"config.json", "model.safetensors"} <= {Path(name).name for name in reference} and reference <= names
    assert not [n for n in names if "__pycache__" in n or n.startswith(("tests/", "training/", "benchmarks/"))]
    assert "bioterp = bioterp.cli:main" in scripts and "[console_scripts]" in scripts
    assert "Requires-Python: >=3.11" in metadata and "Requires-Dist: torch" in metadata
    assert "License-Expression: BSD-3-Clause" in metadata and "Provides-Extra: demo" in metadata
    assert wheel.stat().st_size <= MOST_MB * 2**20


def test_the_repository_cannot_be_seen(installed: Path, tmp_path: Path) -> None:
    """The premise of the other tests: without the wheel there is no bioterp at all."""
    told = apart(tmp_path / "empty", tmp_path, "import bioterp")
    assert told.returncode != 0 and "No module named 'bioterp'" in told.stderr
    assert "No module named 'tests'" in apart(installed, tmp_path, "import bioterp, tests").stderr


def test_it_imports_from_the_wheel_and_loads_its_model(installed: Path, tmp_path: Path) -> None:
    code = """
import json, importlib.metadata, numpy as np
import bioterp
names = [bioterp.__file__] + [type(getattr(bioterp, name)).__name__ for name in bioterp.__all__]
model = bioterp.load_model("bioterp/dna-small")
batch = model.prepare([np.arange(203, dtype=np.uint8) % 4])
told = {
    "file": bioterp.__file__,
    "version": [bioterp.__version__, importlib.metadata.version("bioterp")],
    "model": [model.name, len(model.layers), list(model.run(batch, [0])[0].shape)],
}
(entry,) = [e for e in importlib.metadata.distribution("bioterp").entry_points if e.name == "bioterp"]
told["status"] = entry.load()(["list", "models"])
print(json.dumps(told))
"""
    told = apart(installed, tmp_path, code.strip())
    assert told.returncode == 0, told.stderr
    *listing, last = told.stdout.splitlines()
    found = json.loads(last)
    assert Path(found["file"]).is_relative_to(installed) and found["version"][0] == found["version"][1]
    assert found["model"][0] == "bioterp/dna-small" and found["model"][2][:2] == [1, 203] and found["model"][1] > 1
    assert found["status"] == 0 and any("bioterp/dna-small" in line for line in listing)


def test_the_demo_finds_its_genome_and_model(installed: Path, tmp_path: Path) -> None:
    pytest.importorskip("pybarrnap")
    code = """
from pathlib import Path
import sys
from bioterp import check, opening
from bioterp.demo import dna
run = dna.config(Path("demo"))
model = opening.open_model(run)
source = opening.open_source(run, lambda: model)
model.check_length(run.source.window + sum(run.source.halo))
print([model.resolve(layer) for layer in run.layers], len(source), run.source.fasta.name)
print([one.line for one in check.findings(run) if one.level == "problem"])
"""
    told = apart(installed, tmp_path, code.strip())
    assert told.returncode == 0, told.stderr
    first, problems = told.stdout.splitlines()
    assert first.endswith("bacteria.fna") and problems == "[]"


def test_a_run_from_the_wheel(installed: Path, tmp_path: Path, tiny_model_folder: Path) -> None:
    """Every stage, so that no module, style sheet or table is missing."""
    file = write_run(tmp_path, tiny_model_folder, exports=["tsv", "bed", "h5ad"], export_features=2)
    code = "from bioterp import cli; sys.exit(cli.main(sys.argv[1:]))"
    told = apart(installed, tmp_path, code, "run", str(file), "--quiet")
    assert told.returncode == 0, told.stderr
    assert set(tables_of(tmp_path / "results")) == {
        "detection",
        "enrichment",
        "headline",
        "features",
        "blocks",
        "layers",
        "comparison",
        "dictionaries",
        "density",
        "stability",
        "adjusted",
        "motifs",
        "replication",
        "discoveries",
        "loci",
    }
    assert (tmp_path / "results" / "report.html").stat().st_size > 10_000 and not leftovers(tmp_path)
    versions = json.loads((tmp_path / "results" / "run.json").read_text())["versions"]
    assert versions["bioterp"] != "unknown"
