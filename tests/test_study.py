"""A run from end to end on a planted genome: what it leaves, what it does again, and that nothing kills it for good."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bioterp as bt
from bioterp import config, tables
from bioterp.errors import InputError, StoreError
from bioterp.field import Field
from bioterp.models.base import Model
from bioterp.records import BASELINES
from bioterp.study import Study
from tests.conftest import write_fasta
from tests.faulty import Warm
from tests.planted import genome, leftovers, same_tables, snapshot, tables_of, write_gff, write_run

ROOT = Path(__file__).resolve().parent.parent
CHEAP = {"baselines": [], "analyses": ["detection"]}
SEEDS = {"dictionary.seeds": [0, 3], "analyses": ["detection"]}


def execute(file: Path) -> None:
    Study(config.load(file)).execute()


def analyse(file: Path) -> None:
    """All but exports and report: every table."""
    Study(config.load(file)).analyse_all()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Path:
    """The folder of one finished run with every baseline; tests read it, or copy what they change."""
    folder = tmp_path_factory.mktemp("whole")
    execute(write_run(folder, tiny_model_folder, exports=["tsv", "h5ad", "bigwig"], export_features=4))
    return folder


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one at every forward pass of any model."""
    calls: list[int] = []
    real = Model.run

    def counted(self, batch, layers, *args, **options):
        calls.append(len(batch))
        return real(self, batch, layers, *args, **options)

    monkeypatch.setattr(Model, "run", counted)
    return calls


# ---------------------------------------------------------------------- what a run leaves


def test_every_table_of_every_representation(whole: Path) -> None:
    found = tables_of(whole / "results")
    wanted = {"detection", "enrichment", "adjusted", "features", "blocks", "layers", "comparison"}
    wanted |= {"replication", "discoveries", "loci", "motifs", "headline"}
    assert set(found) == wanted | {"dictionaries", "density", "stability"}
    for name, frame in found.items():
        pd.testing.assert_frame_equal(tables.conform(name, frame), frame)
        assert [c.name for c in tables.columns(name)] == list(frame.columns)
    wanted = {"dictionary", *BASELINES, "composition"}
    detection = found["detection"]
    scored = detection[detection["f1"].notna()]
    assert set(scored["representation"]) == set(found["enrichment"]["representation"]) == wanted
    assert set(scored["split"]) <= {"test", "cross-fitted"} and scored["q"].between(0, 1).all()
    assert set(found["features"]["representation"]) == {"dictionary"} and len(found["features"]) == 41
    # GC-rich third positions were planted: GC content or a k-mer must find CDS better than chance.
    best = scored[(scored["representation"] == "composition") & (scored["term"] == "CDS")]
    assert (best["f1"] - best["f1_null"]).max() > 0.1


def test_labels_are_the_planted_genes(whole: Path) -> None:
    (folder,) = (whole / "results" / "labels").glob("rows=*")
    truth = Field.open(folder / "genes")
    item, start, _ = truth.rows.cells()
    grids = list(truth.rows.grids())
    place = pd.DataFrame({"contig": [g.space.name for g in grids], "strand": [g.strand for g in grids]})
    term = truth.read()
    column = truth.column("CDS")
    painted = np.zeros(len(truth), bool)
    for one, lo, hi in zip(term.term, term.start, term.stop, strict=True):
        if one == column:
            painted[lo:hi] = True
    cells = place.iloc[item].reset_index(drop=True).assign(start=start)
    expected = np.zeros(len(truth), bool)
    for contig, lo, hi, strand in genome()[1].itertuples(index=False):
        inside = (cells["contig"] == contig) & (cells["strand"] == strand) & cells["start"].between(lo, hi - 1)
        expected |= inside.to_numpy()
    assert expected.any() and np.array_equal(painted, expected)


def test_the_report_stands_alone_and_tells_no_folder(whole: Path) -> None:
    out = whole / "results"
    page = (out / "report.html").read_text()
    assert not re.findall(r"""(?:src|href|action)\s*=\s*["']?\s*(?!data:|#)[^"'\s>]+""", page)
    assert not re.findall(r"(?:https?:)?//[\w.-]+\.\w{2,}", re.sub(r"http://www\.w3\.org/\S+", "", page))
    assert "<script" not in page and "CDS" in page
    told = (out / "run.json").read_text()
    for text in (page, told):
        assert str(whole) not in text and "tiny-llama" in text
        assert not re.search(r"(?:/tmp/|/home/|/root/|/Users/|/work/)", text)
    assert b"/tmp/" not in (out / "exports" / "codes.h5ad").read_bytes()


def test_run_json_says_what_was_run(whole: Path) -> None:
    told = json.loads((whole / "results" / "run.json").read_text())
    assert told["config"]["dictionary"]["seeds"] == [0] and told["config"]["dictionary"]["k"] == 3
    assert told["config"]["source"]["window"] == 89 and told["config"]["layers"] == [1]
    assert re.fullmatch(r"[0-9a-f]{64}", told["sequence"]["sha256"]) and told["sequence"]["block_bp"] == 310
    quality = {one["representation"]: one for one in told["quality"]}
    assert set(quality) == {"dictionary", "random-weights"}
    hashes = {one["model_hash"] for one in quality.values()}
    assert len(hashes) == 2 and all(hashes)  # random weights are another model
    assert 0 < quality["dictionary"]["fvu"] < 1 and set(told["splits"]) == {"train", "valid", "test"}
    assert told["rows"] == 2 * (6_700 + 2_900)
    assert {"numpy", "torch"} <= set(told["versions"])


def test_exports_are_there(whole: Path) -> None:
    import anndata

    exports = whole / "results" / "exports"
    assert {p.name for p in exports.glob("*.minus.bw")} and len(list(exports.glob("*.bw"))) == 8
    assert anndata.read_h5ad(exports / "codes.h5ad").n_obs > 0
    assert not leftovers(whole)


# ---------------------------------------------------------------------- the same again, and changes


def test_the_same_run_elsewhere_gives_the_same_tables(whole: Path, tmp_path: Path, tiny_model_folder: Path) -> None:
    analyse(write_run(tmp_path, tiny_model_folder))
    same_tables(whole / "results", tmp_path / "results")


def test_again_runs_no_model(tmp_path: Path, tiny_model_folder: Path, forwards: list[int]) -> None:
    file = write_run(tmp_path, tiny_model_folder, baselines=["neurons", "random-weights"])
    analyse(file)
    first = len(forwards)
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "results").glob("*/**/arrays.safetensors")}
    before = snapshot(tmp_path / "results" / "tables")
    analyse(file)
    # A layer's width is found by one small forward per loaded model (56 bases); the source itself is not run again.
    again = forwards[first:]
    assert first > 4 and again == [1] * len(again) and len(again) <= 2
    assert snapshot(tmp_path / "results" / "tables") == before
    assert {p: p.stat().st_mtime_ns for p in made} == made


def test_another_k_fits_anew_and_runs_no_model(tmp_path: Path, tiny_model_folder: Path, forwards: list[int]) -> None:
    # Without fidelity, which splices every new dictionary into the model.
    chosen = {"baselines": ["pca", "random-directions", "random-weights"], "analyses": ["detection", "enrichment"]}
    analyse(write_run(tmp_path / "a", tiny_model_folder, **chosen))
    first = len(forwards)
    analyse(write_run(tmp_path / "a", tiny_model_folder, **chosen, **{"dictionary.k": 5}))
    assert all(size == 1 for size in forwards[first:]) and len(forwards) - first <= 2
    # Nothing of k = 3 may be left in what is told: the tables are those of a run that never knew it.
    analyse(write_run(tmp_path / "b", tiny_model_folder, **chosen, **{"dictionary.k": 5}))
    same_tables(tmp_path / "a" / "results", tmp_path / "b" / "results")
    assert {p.name for p in (tmp_path / "a/results/dictionaries").iterdir()} >= {"topk-41-k3", "topk-41-k5"}


def test_a_moved_gene_changes_the_tables(tmp_path: Path, tiny_model_folder: Path, forwards: list[int]) -> None:
    """As many instances as before, elsewhere: the stored tables must not be taken for the new ones."""
    analyse(write_run(tmp_path / "a", tiny_model_folder, **CHEAP))
    first = len(forwards)
    sequences, genes = genome()
    sizes = {name: len(text) for name, text in sequences.items()}
    moved = genes.assign(start=genes["start"] - 11, end=genes["end"] - 11)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir(exist_ok=True)
        write_gff(tmp_path / folder / "genes.gff", moved, sizes)
    before = tables_of(tmp_path / "a" / "results")["detection"]
    analyse(write_run(tmp_path / "a", tiny_model_folder, **CHEAP))
    assert all(size == 1 for size in forwards[first:])
    after = tables_of(tmp_path / "a" / "results")["detection"]
    assert not before.equals(after)
    analyse(write_run(tmp_path / "b", tiny_model_folder, **CHEAP))
    same_tables(tmp_path / "a" / "results", tmp_path / "b" / "results")


def test_short_of_disk_the_tables_are_the_same(tmp_path: Path, tiny_model_folder: Path, forwards: list[int]) -> None:
    changes = {"layers": [0, 1, 2], "baselines": ["neurons", "random-directions", "random-weights"], **SEEDS}
    analyse(write_run(tmp_path / "a", tiny_model_folder, **changes))
    rows, width = 2 * (6_700 + 2_900), bt.load_model(str(tiny_model_folder), alphabet="ACGTN").width(0)
    # Room for two of three layers, by what a user would reckon: rows × channels × 4 bytes, codes, an eighth to spare.
    disk = round((2.2 * rows * width * 4 + 2 * rows * (8 * 3 + 8)) * 8 / 7)
    file = write_run(tmp_path / "b", tiny_model_folder, **changes, disk=disk)
    analyse(file)
    same_tables(tmp_path / "a" / "results", tmp_path / "b" / "results")
    results = tmp_path / "b" / "results"
    assert not list(results.glob("activations*/layer=*")) and not leftovers(results)
    assert len(list(results.glob("dictionaries/**/codes"))) == 1  # those to show
    assert len(list((tmp_path / "a" / "results").glob("activations*/layer=*"))) == 6
    first = len(forwards)
    analyse(file)
    assert all(size == 1 for size in forwards[first:])  # nothing is run again for want of what was dropped
    with pytest.raises(InputError, match="disk: the activations of layer 2 take"):
        analyse(write_run(tmp_path / "b", tiny_model_folder, **changes, disk=1_000))


def test_another_window_is_refused(tmp_path: Path, tiny_model_folder: Path) -> None:
    analyse(write_run(tmp_path, tiny_model_folder, **CHEAP))
    before = snapshot(tmp_path / "results")
    file = write_run(tmp_path, tiny_model_folder, **CHEAP, **{"source.window": 83})
    with pytest.raises(StoreError, match=r"made with other settings \(they differ in .*source.*choose another output"):
        analyse(file)
    assert snapshot(tmp_path / "results") == before


def test_two_sources_of_labels_two_seeds_and_a_readout(tmp_path: Path, tiny_model_folder: Path) -> None:
    write_run(tmp_path, tiny_model_folder)
    (tmp_path / "islands.bed").write_text("".join(f"one\t{lo}\t{lo + 43}\n" for lo in range(90, 6_600, 270)))
    file = write_run(
        tmp_path,
        tiny_model_folder,
        **{"labels.islands": "islands.bed", "dictionary.seeds": [0, 4], "dictionary.kind": "batchtopk"},
        baselines=[],
        layers=[0, 2],
        analyses=["detection", "readout"],
    )
    analyse(file)
    found = tables_of(tmp_path / "results")
    scored = found["detection"][found["detection"]["f1"].notna()]
    assert set(zip(scored["layer"], scored["seed"], strict=True)) == {("0", 0), ("0", 4), ("2", 0), ("2", 4)}
    assert {"CDS", "islands"} <= set(scored["term"]) and "islands" in set(found["readout"]["term"])
    assert set(found["readout"]["layer"]) == {"output"} and "enrichment" not in found


def test_what_is_wrong_with_the_config_is_said_before_work(tmp_path: Path, tiny_model_folder: Path, forwards) -> None:
    for change, said in (
        ({"labels.genes": {"path": "gone.gff"}}, "labels.genes: the annotation file .*gone.gff does not exist"),
        ({"labels.genes": {"path": "genes.gff", "tpyes": ["CDS"]}}, "'tpyes' in labels.genes; did you mean 'types'"),
        ({"dictionary.seeds": []}, "dictionary.seeds names no seed"),
        ({"out": "genome.fa"}, "genome.fa is a file; give a folder"),
    ):
        with pytest.raises(InputError, match=said):
            analyse(write_run(tmp_path, tiny_model_folder, **change))
    assert not forwards and not (tmp_path / "results").exists()


def test_a_model_folder_beside_the_run_file(tmp_path: Path, tiny_model_folder: Path, monkeypatch) -> None:
    (tmp_path / "net").symlink_to(tiny_model_folder)
    file = write_run(tmp_path, "net", **CHEAP)
    monkeypatch.chdir("/")
    assert set(Study(config.load(file)).activate()) == {1}


# ---------------------------------------------------------------------- activations made elsewhere


def test_bring_your_own_activations(tmp_path: Path) -> None:
    """Channel 5 is raised on the planted islands: fit → encode → label → detection must find it."""
    rng = np.random.default_rng(17)
    length, width = 7_300, 13
    starts = np.arange(60, length - 60, 130)
    inside = np.zeros(length, bool)
    for lo in starts:
        inside[lo : lo + 21] = True
    values = rng.normal(0, 0.3, (length, width)).astype(np.float32)
    values[:, 5] += 4.0 * inside
    np.save(tmp_path / "acts.npy", values)
    windows = pd.DataFrame({"contig": "chr9", "start": [0], "end": [length], "strand": ["+"], "step": 1})
    (tmp_path / "islands.bed").write_text("".join(f"chr9\t{lo}\t{lo + 21}\n" for lo in starts))
    rows = pd.concat([windows.assign(start=lo, end=min(lo + 365, length)) for lo in range(0, length, 365)])
    acts = bt.import_activations(tmp_path / "acts.npy", rows, out=tmp_path / "field", block=365)
    sae = bt.fit(acts.split("train"), width=29, k=2, tokens=60_000, batch=311)
    codes = sae.encode(acts, out=tmp_path / "codes")
    truth = bt.label(acts.rows, tmp_path / "islands.bed")
    found = bt.detection(codes, truth)
    best = found[(found["term"] == "islands") & found["f1"].notna()].iloc[0]
    assert best["f1"] > 0.9 > 0.5 > best["f1_null"] and best["q"] < 0.05
    assert np.argmax(np.abs(sae.decoder[int(best["feature"])])) == 5


# ---------------------------------------------------------------------- kill -9

# Stages at whose first trace the process is killed; a temporary name means in the middle of writing.
MARKS = (
    "results/activations/layer=1/.*.partial-*",
    "results/labels/rows=*/*/.*.partial-*",
    "results/dictionaries/*/layer=1/seed=0/.dictionary.partial-*",
    "results/dictionaries/*/layer=1/.tables.partial-*",
    "results/tables/detection.tsv",
    "results/run.json",
)


@pytest.mark.stress
@pytest.mark.slow
def test_kill_9_at_any_moment(tmp_path: Path, tiny_model_folder: Path, warm: Warm) -> None:
    settings = {"baselines": ["neurons", "random-weights"], "exports": ["tsv", "h5ad"], "export_features": 3}
    settings |= {"labels.genes.terms": ["CDS", "intergenic"]}
    reference, cut = tmp_path / "reference", tmp_path / "cut"
    write_run(reference, tiny_model_folder, **settings)
    warm.run(reference)  # the first child compiles what numba has not cached yet
    write_run(tmp_path / "timed", tiny_model_folder, **settings)
    killed, seconds = warm.run(tmp_path / "timed")
    assert not killed
    same_tables(reference / "results", tmp_path / "timed" / "results")
    kills = planned = 0
    moments = [(seconds * share, "") for share in np.random.default_rng(29).uniform(0.02, 0.8, 6)]
    for number, (first, second) in enumerate([(0, 1), (2, 3), (4, 5)]):
        folder = cut / str(number)
        write_run(folder, tiny_model_folder, **settings)
        # At a random moment, in the midst of two stages, and at a random moment of what is then left.
        for limit, mark in (moments[first], (300.0, MARKS[first]), (300.0, MARKS[second]), moments[second]):
            planned += 1
            kills += warm.run(folder, limit, mark)[0]
            for meta in (folder / "results").rglob("meta.json"):  # what has its name is whole
                if not unfinished(meta):
                    assert all((meta.parent / name).is_file() for name in json.loads(meta.read_text())["sha256"])
            for file in (folder / "results").glob("tables/*.parquet"):
                pd.read_parquet(file)
        assert not warm.run(folder)[0]
        same_tables(reference / "results", folder / "results")
        assert not leftovers(folder / "results")
        assert set(snapshot(folder / "results")) == set(snapshot(reference / "results"))
    assert kills >= 6, f"only {kills} of {planned} runs were still alive when the signal came"


def unfinished(path: Path) -> bool:
    return any(".partial-" in part or ".old-" in part or part == ".index" for part in path.parts)


@pytest.mark.stress
@pytest.mark.slow
def test_one_run_killed_again_and_again(tmp_path: Path, tiny_model_folder: Path, warm: Warm) -> None:
    """The same folder, killed each time a little later, and with another annotation half-way."""
    settings = {"baselines": ["pca"], "exports": ["tsv"], "labels.genes.terms": ["CDS", "start_codon"]}
    write_run(tmp_path / "calm", tiny_model_folder, **settings)
    _, seconds = warm.run(tmp_path / "calm")
    write_run(tmp_path / "cut", tiny_model_folder, **settings)
    sequences, genes = genome()
    sizes = {name: len(text) for name, text in sequences.items()}
    write_gff(tmp_path / "cut/genes.gff", genes.iloc[:-3], sizes)
    kills = 0
    for turn, share in enumerate((0.2, 0.3, 0.45, 0.6, 0.25, 0.4, 0.55)):
        if turn == 4:
            write_gff(tmp_path / "cut/genes.gff", genes, sizes)
        kills += warm.run(tmp_path / "cut", share * seconds)[0]
    assert kills >= 3
    assert not warm.run(tmp_path / "cut")[0]
    same_tables(tmp_path / "calm" / "results", tmp_path / "cut" / "results")
    assert not leftovers(tmp_path / "cut" / "results")


@pytest.mark.parametrize("after", [0, 6, 13, *(pytest.param(n, marks=pytest.mark.stress) for n in (1, 3, 9))])
def test_killed_while_an_old_label_is_taken_away(after: int, tmp_path: Path, tiny_model_folder, monkeypatch) -> None:
    """A stop in the midst of deleting a folder must not leave a part of it under its name."""
    analyse(write_run(tmp_path, tiny_model_folder, **CHEAP))
    changed = {**CHEAP, "labels.genes.types": ["CDS"], "dictionary.lr": 0.003}
    file = write_run(tmp_path, tiny_model_folder, **changed)
    count = 0
    real = os.unlink

    def stopping(*args, **options):
        nonlocal count
        count += 1
        if count > after:
            raise KeyboardInterrupt
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", stopping)
        with pytest.raises(KeyboardInterrupt):
            analyse(file)
    analyse(file)
    analyse(write_run(tmp_path / "calm", tiny_model_folder, **changed))
    same_tables(tmp_path / "results", tmp_path / "calm" / "results")
    assert not leftovers(tmp_path / "results")


# ---------------------------------------------------------------------- what a result hangs on


@pytest.mark.parametrize("change", ["halo", "sequence"])
def test_deleting_the_rows_brings_no_old_table_back(change: str, tmp_path: Path, tiny_model_folder: Path) -> None:
    """What a refused run is told to do must not end in yesterday's numbers."""
    again = {"source.halo": 5} if change == "halo" else {}
    analyse(write_run(tmp_path / "a", tiny_model_folder, **CHEAP))
    old = tables_of(tmp_path / "a" / "results")["detection"]
    if change == "sequence":
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_fasta(tmp_path / folder / "genome.fa", **{name: text[::-1] for name, text in genome()[0].items()})
    with pytest.raises(StoreError, match="made with other settings"):
        analyse(write_run(tmp_path / "a", tiny_model_folder, **CHEAP, **again))
    for folder in ("rows", "activations"):
        shutil.rmtree(tmp_path / "a" / "results" / folder)
    analyse(write_run(tmp_path / "a", tiny_model_folder, **CHEAP, **again))
    analyse(write_run(tmp_path / "b", tiny_model_folder, **CHEAP, **again))
    same_tables(tmp_path / "a" / "results", tmp_path / "b" / "results")
    assert not old.equals(tables_of(tmp_path / "b" / "results")["detection"])


def test_another_stored_type_is_noticed_when_activations_are_gone(tmp_path: Path, tiny_model_folder: Path) -> None:
    changes = {**CHEAP, "baselines": ["neurons"], "disk": "1GB"}
    analyse(write_run(tmp_path / "a", tiny_model_folder, **changes, dtype="float32"))
    for folder in ("a", "b"):
        analyse(write_run(tmp_path / folder, tiny_model_folder, **changes, dtype="bfloat16", layers=[1, 2]))
    same_tables(tmp_path / "a" / "results", tmp_path / "b" / "results")


def test_a_wider_layer_joins_a_finished_run(tmp_path: Path, tiny_model_folder: Path, forwards: list[int]) -> None:
    analyse(write_run(tmp_path, tiny_model_folder, **CHEAP))
    before = tables_of(tmp_path / "results")["detection"]
    analyse(write_run(tmp_path, tiny_model_folder, **CHEAP, layers=[1, "model.layers.0.mlp.gate_proj"]))
    after = tables_of(tmp_path / "results")["detection"]
    assert set(after["layer"]) == {"1", "model.layers.0.mlp.gate_proj"}
    pd.testing.assert_frame_equal(after[after["layer"] == "1"].reset_index(drop=True), before)


def test_tables_and_tracks_of_other_settings_do_not_stay(tmp_path: Path, tiny_model_folder: Path) -> None:
    bed = {"exports": ["tsv", "bed"], "export_features": 2}
    execute(write_run(tmp_path, tiny_model_folder, baselines=[], analyses=["detection", "enrichment"], **bed))
    first = {p.name for p in (tmp_path / "results" / "exports").glob("*.bed*")}
    mine = tmp_path / "results" / "exports" / "feature_999.mine.bed"
    mine.write_text("kept\n")
    execute(write_run(tmp_path, tiny_model_folder, **CHEAP, **bed, **{"dictionary.seeds": [5]}))
    assert "enrichment" not in tables_of(tmp_path / "results") and mine.exists()
    there = {p.name for p in (tmp_path / "results" / "exports").glob("*.bed*")} - {mine.name}
    assert len(there) == len(first) == 2
