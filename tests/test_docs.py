"""The pages: their code runs, those made from code are current, and the site builds without a warning or a network."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import bioterp
from tests import pages
from tests.conftest import ROOT

APART = ("README.md", "docs/extending.md")  # run by test_readme.py on stand-ins, and by test_plugins.py

SLOW = ("docs/tutorial-dna.md", "docs/tutorial-scans.md", "docs/reproducibility.md")  # whole runs


@pytest.mark.parametrize("page", pages.PAGES)
def test_a_page_can_be_read(page: str) -> None:
    for block in pages.blocks(page):
        pages.read(block)


def whole(page: str) -> object:
    return pytest.param(page, marks=pytest.mark.slow) if page in SLOW else page


@pytest.mark.parametrize("page", [whole(page) for page in pages.PAGES if page not in APART])
def test_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if all(block.reason or block.language == "text" for block in pages.blocks(page)):
        return  # nothing to run; what it holds was read
    monkeypatch.chdir(tmp_path)
    pages.run(page, tmp_path)


def test_blocks_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The premise of the rest: what is run, what is only read, and what would be refused."""
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    fence = "`" * 3
    page = [
        f'{fence}python title="one.py"', "x = 3", fence, f"{fence}python", "import one", "y = one.x", fence, "text",
        "<!-- not run: it is large -->", f"{fence}bash", "bioterp run \\", "  far.yaml # c", fence,
    ]  # fmt: skip
    (tmp_path / "p.md").write_text("\n".join(page))
    (tmp_path / "Makefile").write_text("docs:\n")
    first, second, third = pages.blocks("p.md")
    assert (first.title, second.line, third.reason) == ("one.py", 4, "it is large")
    assert list(pages.commands(third)) == [["bioterp", "run", "far.yaml"]]
    monkeypatch.syspath_prepend(tmp_path)
    assert pages.run("p.md", tmp_path)["y"] == 3  # and the third block was not run: there is no such file
    for wrong in ("import bioterp as bt\nbt.detecion()", "import bioterp as bt\nbt.fit(acts, widht=3)", "x ="):
        with pytest.raises((AssertionError, SyntaxError)):
            pages.read(pages.Block("p.md", 1, "python", "", wrong, "why"))
    for language, wrong in (("bash", "bioterp rum x"), ("bash", "make everything"), ("", "x"), ("yaml", "layer: 3")):
        with pytest.raises((AssertionError, bioterp.InputError)):
            pages.read(pages.Block("p.md", 1, language, "", wrong, "why"))


@pytest.mark.parametrize("page", ["formats.md", "python-api.md"])
def test_made_pages_are_current(page: str) -> None:
    script = {"formats.md": "make_formats.py", "python-api.md": "make_api.py"}[page]
    made = runpy.run_path(str(ROOT / "docs" / script))["text"]()
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == made, f"run: python docs/{script}"


def test_every_public_name_has_its_place() -> None:
    """Once each, under a theme, with a line of its own."""
    made = runpy.run_path(str(ROOT / "docs" / "make_api.py"))
    placed = [name for _, names in made["THEMES"].values() for name in names]
    assert sorted(placed) == sorted(set(bioterp.__all__) - {"__version__"}), "put the name under a theme of make_api.py"
    assert all(len(made["line"](name)) > 10 for name in placed)


def test_the_site_builds_and_fetches_nothing(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="the site is built with mkdocs-material (extra 'docs')")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    told = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert told.returncode == 0, told.stdout + told.stderr
    built = sorted((tmp_path / "site").glob("*.html"))
    assert {page.stem for page in built} >= {Path(page).stem for page in pages.PAGES} - {"README"}
    for page in built:
        loaded = re.findall(r"""<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=["']?(\S+?)["'\s>]""", page.read_text())
        assert loaded and not [one for one in loaded if re.match(r"(https?:)?//", one)], page.name
