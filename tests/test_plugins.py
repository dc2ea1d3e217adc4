"""Plug-ins: the page that adds one of each is run, and what it left counted again; what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bioterp import Field, InputError, analyses, cli, label, plugins, records, tables
from bioterp.grid import Grid, Space
from bioterp.rows import Rows
from tests import pages
from tests.planted import tables_of

ANALYSIS = """
from bioterp.analyses import Analysis
from bioterp.declared import Column
import pandas as pd
ABOUT = Analysis("{name}", "how many?", ("codes",), "none", "none", ({columns}))
def {name}(codes, truth, found):
    return {gives}
"""
COLUMN = 'Column("n", "int32", "rows", "rows"),'


@pytest.fixture(autouse=True)
def as_found(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plug-ins of a test are forgotten, here and in the environment; and forgetting leaves what was there before."""
    monkeypatch.setenv(plugins.VARIABLE, "")
    before = {name: dict(held) for name, held in places().items()}
    yield
    for name in list(plugins.told()):
        plugins.unplug(name)
    assert {name: dict(held) for name, held in places().items()} == before


def places() -> dict[str, dict]:
    held = {"analyses": analyses.PLUGGED, "tables": tables.PLUGGED, "readers": plugins.READERS}
    return held | {name: getattr(records, name) for name in ("SOURCES", "ANALYSES", "OF_KIND", "CHOICES")}


def write(
    folder: Path, name: str = "size", columns: str = COLUMN, gives: str = "pd.DataFrame({'n': [len(codes)]})"
) -> Path:
    file = folder / f"{name}.py"
    file.write_text(ANALYSIS.format(name=name, columns=columns, gives=gives))
    return file


@pytest.mark.slow
def test_one_of_each_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """docs/extending.md as it stands: the rows, the labels and the table are counted again from the files it wrote."""
    monkeypatch.chdir(tmp_path)
    pages.run("docs/extending.md", tmp_path)
    made, out = tables_of(tmp_path / "results"), tmp_path / "results"
    (labels,) = [Field.open(path.parent) for path in out.glob("labels/*/sites/meta.json")]
    peaks = pd.read_csv("sites.narrowPeak", sep="\t", header=None, comment="#")
    mask, known = labels.values.mask(labels.column("peak"))
    assert mask.sum() == (peaks[2] - peaks[1]).sum() and known.all()
    library = pd.read_csv("library.tsv", sep="\t")
    assert len(labels) == library["sequence"].str.len().sum()
    assert (labels.rows.items.groupby("block").size() == 4).all()  # a site, and never half of one
    found = made["detection"].set_index("representation").loc["dictionary"]
    best = found[found["term"] == "peak"].iloc[0]
    assert best["q"] < 0.05 and best["f1"] > best["f1_null"] + 0.1
    spread = made["breadth"]
    assert set(spread["representation"]) == {"dictionary", "neurons"} and list(spread.columns[:5]) == [
        "dictionary", "seed", "representation", "layer", "feature",
    ]  # fmt: skip
    codes = Field.open(next(out.glob("dictionaries/topk-96-k6/layer=1/seed=0/codes/meta.json")).parent)
    fires = np.asarray(codes.values.todense()) > 0
    of_row = np.repeat(codes.rows.items["block"].to_numpy(), np.diff(codes.rows.offsets))
    mine = spread[spread["representation"] == "dictionary"].set_index("feature")
    for feature in np.argsort(-fires.sum(0))[[0, 20, 70]]:
        counts = pd.Series(of_row[fires[:, feature]]).value_counts()
        assert mine["blocks"][feature] == len(counts)
        shares = counts / counts.sum()
        assert mine["even_blocks"][feature] == pytest.approx(np.prod(shares**-shares))
    told = json.loads((out / "run.json").read_text())
    assert set(told["plugins"]) == {"oligos", "narrowpeak", "breadth"}
    again_and_edited(tmp_path, capsys)


def again_and_edited(folder: Path, capsys: pytest.CaptureFixture) -> None:
    """With an edited file its table is made anew; a child process would be given the same files."""
    named = os.environ[plugins.VARIABLE].split(os.pathsep)
    assert [Path(one).name for one in named] == ["oligos.py", "narrowpeak.py", "breadth.py"]
    file = folder / "breadth.py"
    file.write_text(file.read_text().replace('"blocks": (count > 0).sum(0)', '"blocks": 7 + (count > 0).sum(0)'))
    assert cli.main(["analyse", "run.yaml", "--quiet"]) == 0
    after = tables_of(folder / "results")["breadth"]
    assert after["blocks"].min() >= 7
    assert cli.main(["list", "analyses"]) == 0 and "how evenly?" in capsys.readouterr().out


def test_what_is_refused(tmp_path: Path) -> None:
    def refused(match: str, file: Path) -> None:
        with pytest.raises(InputError, match=match):
            plugins.plug(file)

    refused("no plug-in", tmp_path / "absent.py")
    refused("name it like_this", write(tmp_path, "a-b").rename(tmp_path / "c-d.py"))
    (tmp_path / "broken.py").write_text("1 / 0")
    refused("cannot be imported: ZeroDivisionError", tmp_path / "broken.py")
    (tmp_path / "bare.py").write_text("def bare(): ...")
    refused("needs a record ABOUT", tmp_path / "bare.py")
    refused("named other, like the file", write(tmp_path, "inner").rename(tmp_path / "other.py"))
    refused("bioterp has an analysis or table 'detection' itself", write(tmp_path, "detection"))
    refused("declares no columns", write(tmp_path, "empty", columns=""))
    refused("which every table begins with", write(tmp_path, "twice", columns='Column("seed", "int32", "", ""),'))
    refused("float64, int32, bool or string", write(tmp_path, "typed", columns='Column("n", "int64", "", ""),'))
    (tmp_path / "ending.py").write_text(
        "from bioterp.annotations import Annotation\n"
        "ABOUT = Annotation('ending', 'x', ('peak',))\ndef ending(path): ..."
    )
    refused("names no ending", tmp_path / "ending.py")
    (tmp_path / "scans.py").write_text(
        "from bioterp.adapters import Adapter\nABOUT = Adapter('scans', 'x')\nscans = dict"
    )
    refused("source.kind 'scans' itself", tmp_path / "scans.py")
    assert not plugins.told()


def test_two_files_of_one_name_and_an_edited_one(tmp_path: Path) -> None:
    (tmp_path / "apart").mkdir()
    assert plugins.plug(write(tmp_path)) == "size" and plugins.plug(tmp_path / "size.py") == "size"
    before = plugins.told()["size"]
    with pytest.raises(InputError, match="two plug-ins are named 'size'"):
        plugins.plug(write(tmp_path / "apart"))
    plugins.plug(write(tmp_path, gives="pd.DataFrame({'n': [3]})"))
    assert plugins.told()["size"] != before and records.CHOICES["analyses"].count("size") == 1
    with pytest.raises(InputError, match="no plug-in 'sise' is known; did you mean 'size'"):
        plugins.unplug("sise")


def test_a_table_must_hold_what_it_declares(tmp_path: Path) -> None:
    codes = Field(
        Rows.free(pd.DataFrame({"item": ["a"], "sample": ["a"], "block": ["a"], "split": ["test"]})), np.ones((1, 2))
    )
    for gives, match in (("pd.DataFrame({'m': [1]})", "needs the columns n"), ("3", "gave int")):
        plugins.plug(write(tmp_path, gives=gives))
        with pytest.raises(InputError, match=match):
            analyses.plugged("size", codes, codes, None)
    plugins.plug(write(tmp_path))
    assert list(analyses.plugged("size", codes, codes, None)["n"]) == [1]


def test_a_reader_is_known_by_its_ending(tmp_path: Path) -> None:
    (tmp_path / "hits.py").write_text(
        "import pandas as pd\nfrom bioterp.annotations import Annotation\n"
        "ABOUT = Annotation('hits', 'the term hit', ('.hits.txt',))\n"
        "def hits(path):\n    if path.stat().st_size == 0: return 3\n"
        "    return pd.DataFrame({'contig': ['c'], 'start': [4], 'end': [9], 'type': ['hit']})\n"
    )
    file = tmp_path / "X.hits.txt"
    file.write_text("whatever\n")
    items = pd.DataFrame({"item": ["c"], "sample": ["s"], "block": ["c"], "split": ["test"]})
    rows = Rows.from_grids(items, [Grid.line(Space("c", "bp", 23), 0, 23)])
    with pytest.raises(InputError, match="no format this knows"):
        label(rows, file)
    plugins.plug(tmp_path / "hits.py")
    mask, _ = label(rows, file).values.mask(0)
    assert np.flatnonzero(mask).tolist() == [4, 5, 6, 7, 8]
    file.write_text("")
    with pytest.raises(InputError, match="gave int; wanted a table"):
        label(rows, file)
    with pytest.raises(InputError, match="no annotation file"):
        label(rows, tmp_path / "absent.hits.txt")


def test_a_run_file_brings_no_code(tmp_path: Path) -> None:
    """Naming a file in the run file does not run it."""
    (tmp_path / "evil.py").write_text("open('ran', 'w')")
    (tmp_path / "run.yaml").write_text(
        "out: results\nsource: {kind: evil.py, fasta: g.fa}\nmodel: bioterp/dna-small\nlayers: [1]\n"
    )
    assert cli.main(["check", str(tmp_path / "run.yaml")]) == 2
    assert not (tmp_path / "ran").exists() and not Path("ran").exists()
