"""What is written for other tools says exactly what the field says."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from bioterp import tables
from bioterp.errors import AlignmentError, InputError
from bioterp.export import FORMATS, export, safe
from bioterp.export.tracks import CoordinateOrder
from bioterp.field import Field
from bioterp.grid import Grid, Space
from bioterp.rows import Rows, split_of
from bioterp.values import Intervals

pyBigWig = pytest.importorskip("pyBigWig")

WIDTH = 17
BIG, RING = Space("chr10", "bp", 5003), Space("chr2", "bp", 401, circular=True)


def make_rows(shuffled=True):
    """Two contigs on both strands: windows in random order, a gap, 6-mers, insertions, a ring's overhang."""
    grids, names = [], []
    for strand in "+-":
        for lo in range(0, 4000, 97):
            if lo not in (97, 970):  # gaps
                grids.append(Grid.line(BIG, lo, min(lo + 97, 4000), strand))
                names.append((f"w{lo}{strand}", f"chr10:{lo // 1000}"))
        cells = [[-6, 4420], [0, 1]] if strand == "-" else [[6, 4300], [0, 1]]
        grids.append(Grid(BIG, (20,), cells))
        names.append((f"k{strand}", "chr10:k"))
        bounds = [[4500, 4503], [4503, 4503], [4503, 4510], [4530, 4531]]
        grids.append(Grid(BIG, (4,), bounds=bounds[:: -1 if strand == "-" else 1], step=-1 if strand == "-" else 1))
        names.append((f"b{strand}", "chr10:b"))
        grids.append(Grid.line(RING, 30, 350, strand))
        names.append((f"r{strand}", "chr2:0"))
    wrapped = [Grid.line(RING, 350, 420), Grid(RING, (7,), [[-10, 420], [0, 1]])]  # 420 is base 19 again
    grids += wrapped
    names += [("o+", "chr2:1"), ("o-", "chr2:1")]
    order = np.random.default_rng(8).permutation(len(grids)) if shuffled else range(len(grids))
    table = pd.DataFrame([{"item": names[i][0], "sample": "s", "block": names[i][1]} for i in order])
    table["split"] = [split_of(block, 3) for block in table["block"]]
    return Rows.from_grids(table, [grids[i] for i in order])


@pytest.fixture(scope="module")
def codes():
    rows = make_rows()
    values = scipy.sparse.random(len(rows), WIDTH, 0.2, "csr", np.float32, random_state=5)
    values.data *= 7
    values = values.tolil()
    values[:, 16] = 0  # a dead feature
    return Field(rows, values.tocsr(), kind="code", about={"layer": 4, "representation": "dictionary"})


def painted(field, column, contig, strand):
    """(length,) value per base, NaN where no row lies: cell by cell, base by base."""
    space = next(s for s in field.rows.spaces if s.name == contig)
    track = np.full(space.length, np.nan, np.float32)
    values = field.values[:, [column]].toarray().ravel()
    row = 0
    for grid in field.rows.grids():
        for lo, hi in grid.bounds.tolist():
            if grid.space.name == contig and grid.strand == strand:
                for base in range(lo, hi):
                    track[base % space.length] = values[row]
            row += 1
    return track


@pytest.mark.parametrize("batch", [65_536, 37])
def test_bigwig_read_back_equals_codes(codes, tmp_path, monkeypatch, batch):
    plain = CoordinateOrder.batches
    monkeypatch.setattr(CoordinateOrder, "batches", lambda self, *a, **k: plain(self, *a, **{**k, "size": batch}))
    files = export(codes, pd.Series([12, 3, 12, 16]), tmp_path / "top")
    assert {file.name for file in files} == {f"feature_{f}.{s}.bw" for f in (12, 3, 16) for s in ("plus", "minus")}
    for feature in (12, 3, 16):
        for strand, word in (("+", "plus"), ("-", "minus")):
            with pyBigWig.open(str(tmp_path / "top" / f"feature_{feature}.{word}.bw")) as track:
                assert track.chroms() == {"chr10": 5003, "chr2": 401}
                for contig, length in track.chroms().items():
                    got = track.values(contig, 0, length, numpy=True)
                    np.testing.assert_array_equal(got, painted(codes, feature, contig, strand))
    assert not [entry for entry in (tmp_path / "top").iterdir() if entry.name.startswith(".")]


def test_bedgraph_says_the_same(codes, tmp_path):
    file = next(f for f in export(codes, 5, tmp_path, "bedgraph") if "minus" in f.name)
    table = pd.read_csv(file, sep="\t", names=["contig", "start", "end", "value"], dtype={"value": np.float32})
    for contig in ("chr10", "chr2"):
        wanted = painted(codes, 5, contig, "-")
        got = np.full(len(wanted), np.nan, np.float32)
        for line in table[table["contig"] == contig].itertuples():
            assert np.isnan(got[line.start : line.end]).all()
            got[line.start : line.end] = line.value
        np.testing.assert_array_equal(got, wanted)
    assert table.equals(table.sort_values(["contig", "start"], kind="stable"))


def runs_above(track, cut):
    """Stretches of bases above the cut, walked base by base: (start, end, maximum)."""
    found, begun = [], None
    for at, value in enumerate([*track, np.nan]):
        if value > cut and begun is None:
            begun = at
        elif not value > cut and begun is not None:
            found.append((begun, at, max(track[begun:at])))
            begun = None
    return found


@pytest.mark.parametrize("batch", [65_536, 41])
def test_bed_stretches_scores_and_order(codes, tmp_path, monkeypatch, batch):
    plain = CoordinateOrder.batches
    monkeypatch.setattr(CoordinateOrder, "batches", lambda self, *a, **k: plain(self, *a, **{**k, "size": batch}))
    (file,) = export(codes, [9], tmp_path, "bed", threshold=1.25)
    names = ["contig", "start", "end", "name", "score", "strand", "thick", "thicker", "rgb"]
    table = pd.read_csv(file, sep="\t", names=names)
    top = codes.values[:, [9]].max()
    wanted = []
    for contig in ("chr10", "chr2"):
        for strand in "+-":
            stretches = runs_above(painted(codes, 9, contig, strand), 1.25)
            wanted += [(contig, lo, hi, round(1000 * float(peak) / float(top)), strand) for lo, hi, peak in stretches]
    got = list(table[["contig", "start", "end", "score", "strand"]].itertuples(index=False, name=None))
    assert sorted(got) == sorted(wanted) and len(got) > 50
    assert [line[:2] for line in got] == sorted(line[:2] for line in got)
    assert table["score"].max() == 1000 and set(table["rgb"]) == {"0,114,178", "213,94,0"}
    assert (table["thick"] == table["start"]).all() and (table["name"] == "feature_9").all()


def test_bedtools_opens_bed_and_bedgraph(codes, tmp_path):
    if shutil.which("bedtools") is None:
        pytest.skip("bedtools is not installed")
    bed = export(codes, [9], tmp_path, "bed")[0]
    graph = export(codes, [9], tmp_path, "bedgraph")[0]
    done = subprocess.run(
        ["bedtools", "intersect", "-sorted", "-a", bed, "-b", graph, "-wa"], capture_output=True, text=True, check=True
    )
    assert done.stderr == "" and len(done.stdout.splitlines()) >= len(bed.read_text().splitlines())


def test_bioframe_opens_bed(codes, tmp_path):
    bioframe = pytest.importorskip("bioframe")
    table = bioframe.read_table(str(export(codes, [9], tmp_path, "bed")[0]), schema="bed9")
    assert len(bioframe.merge(table)) <= len(table) and bioframe.core.checks.is_bedframe(table)


def detection():
    line = {"dictionary": "d", "seed": 0, "representation": "dictionary", "layer": "4", "split": "test", "note": ""}
    pairs = [(9, "tRNA", 0.4, 0.5, 1.25), (9, "CDS", 0.9, 0.3, 3.5), (2, "rRNA", 0.7, 0.7, 2.5)]
    rows = [line | dict(zip(("feature", "term", "f1", "f1_select", "threshold"), p, strict=True)) for p in pairs]
    rows.append(rows[0] | {"representation": "neurons", "threshold": 99.0, "f1_select": 0.99})
    return pd.DataFrame(rows)


def test_thresholds_come_from_the_features_best_term_on_the_selection_blocks(codes, tmp_path):
    told = export(codes, [9, 2, 5], tmp_path / "told", "bed", table=detection())
    given = export(codes, [9, 2, 5], tmp_path / "given", "bed", threshold=[1.25, 2.5, 0])
    named = export(codes, [9, 2, 5], tmp_path / "named", "bed", threshold={2: 2.5, 9: 1.25})
    for a, b, c in zip(told, given, named, strict=True):
        assert a.read_text() == b.read_text() == c.read_text() != ""
    with pytest.raises(InputError, match="2 thresholds for 3 features"):
        export(codes, [9, 2, 5], tmp_path, "bed", threshold=[1, 2])


def test_h5ad_numbers_by_hand_and_scanpy(codes, tmp_path):
    sc = pytest.importorskip("scanpy")
    (file,) = export(codes, None, tmp_path, "h5ad", table=detection())
    data = sc.read_h5ad(file)
    assert data.shape == (codes.rows.items["block"].nunique(), WIDTH)
    values, blocks, sizes = codes.values.toarray(), [], []
    for i, grid in enumerate(codes.rows.grids()):
        blocks += [codes.rows.items["block"][i]] * grid.size
        sizes += [hi - lo for lo, hi in grid.bounds.tolist()]
    blocks, sizes = np.array(blocks), np.array(sizes, float)[:, None]
    for name in ("chr10:0", "chr10:k", "chr10:b", "chr2:1"):
        mine = blocks == name
        row, weight = data[name], sizes[mine] / sizes[mine].sum()
        np.testing.assert_allclose(row.X.toarray()[0], (values[mine] * weight).sum(0), rtol=1e-5)
        np.testing.assert_array_equal(row.layers["max"].toarray()[0], values[mine].max(0))
        active = ((values[mine] > 0) * weight).sum(0)
        np.testing.assert_allclose(row.layers["fraction_active"].toarray()[0], active, rtol=1e-5)
        assert row.obs["n_cells"].iloc[0] == mine.sum() and row.obs["split"].iloc[0] == split_of(name, 3)
    assert data.var.loc["feature_9", "term"] == "tRNA" and np.isnan(data.var.loc["feature_4", "f1"])
    assert data.uns["bioterp"]["rows"] == codes.rows.id
    data.obs["half"] = pd.Categorical(np.where(np.arange(data.n_obs) % 2, "odd", "even"))
    sc.tl.rank_genes_groups(data, "half", method="t-test")
    assert data.uns["rank_genes_groups"]["names"].dtype.names == ("even", "odd")


def test_h5ad_of_regions_weighs_overlap_and_minds_strand(codes, tmp_path):
    bed = tmp_path / "r.bed"
    bed.write_text("track name=x\nchr10\t90\t205\tone\t0\t+\nchr2\t5\t33\ttwo\t0\t.\nchr10\t4303\t4311\tthree\t0\t-\n")
    import anndata

    data = anndata.read_h5ad(export(codes, [1, 7], tmp_path / "named.h5ad", "h5ad", regions=bed)[0])
    assert data.obs_names.tolist() == ["one", "two", "three"]
    places = [("one", "chr10", 90, 205, "+"), ("two", "chr2", 5, 33, "+-"), ("three", "chr10", 4303, 4311, "-")]
    for name, contig, lo, hi, strands in places:
        for k, feature in enumerate((1, 7)):
            bases = np.concatenate([painted(codes, feature, contig, s)[lo:hi] for s in strands])
            np.testing.assert_allclose(data[name].X.toarray()[0, k], np.nanmean(bases), rtol=1e-5)
            assert data[name].layers["max"].toarray()[0, k] == np.nanmax(bases)
    with pytest.raises(InputError, match="start < end"):
        export(codes, [1], tmp_path, "h5ad", regions=pd.DataFrame({"contig": ["a"], "start": [5], "end": [5]}))


def test_dense_activations_and_scans_become_h5ad(tmp_path):
    import anndata

    scan = Space("scan", "mm")
    items = pd.DataFrame({"item": ["a", "b"], "sample": ["p", "q"], "block": ["p", "q"], "split": ["train", "test"]})
    items["site"] = ["x", "y"]
    grids = [Grid.from_centers(scan, (2, 3, 5), np.diag([1, 1, 2, 1])), Grid.from_centers(scan, (1, 7, 2), np.eye(4))]
    values = np.random.default_rng(0).normal(size=(44, 4)).astype(np.float32)
    field = Field(Rows.from_grids(items, grids), values, ["w", "x", "y/z", "y_z"])
    data = anndata.read_h5ad(export(field, None, tmp_path, "h5ad")[0])
    np.testing.assert_allclose(data.X.toarray(), [values[:30].mean(0), values[30:].mean(0)], rtol=1e-4)
    np.testing.assert_array_equal(data.layers["max"].toarray(), [values[:30].max(0), values[30:].max(0)])
    assert data.obs["site"].tolist() == ["x", "y"] and data.var_names.tolist() == ["w", "x", "y_z_2", "y_z_3"]
    with pytest.raises(InputError, match="3 axes"):
        export(field, ["w"], tmp_path)


def test_labels_and_several_samples(tmp_path):
    space = Space("c", "bp", 60)
    items = pd.DataFrame({"item": ["a", "b"], "sample": ["NA1", "NA/2"], "block": ["1", "2"], "split": "train"})
    rows = Rows.from_grids(items, [Grid.line(space, 3, 23), Grid.line(space, 5, 36)])
    labels = Intervals.of([0, 0], [1, -1], [2, 9], [6, 12], 51, 1)
    files = export(Field(rows, labels, ["CDS@antisense"], "label"), ["CDS@antisense"], tmp_path)
    assert sorted(file.name for file in files) == ["CDS@antisense.NA1.plus.bw", "CDS@antisense.NA_2.plus.bw"]
    with pyBigWig.open(str(tmp_path / "CDS@antisense.NA1.plus.bw")) as track:
        got = track.values("c", 0, 60, numpy=True)
    wanted = np.full(60, np.nan)
    wanted[3:23] = 0
    wanted[5:9] = 1
    wanted[12:15] = np.nan  # unknown is not negative
    np.testing.assert_array_equal(got, wanted)


def test_names_stay_in_the_folder(tmp_path):
    rows = Rows.from_grids(
        pd.DataFrame({"item": ["a"], "sample": "s", "block": "b", "split": "train"}), [Grid.line(BIG, 0, 9)]
    )
    names = ["../../etc/x", "/abs", "..", "a\\b:c", "x" * 300]
    files = export(Field(rows, np.ones((9, 5), np.float32), names), None, tmp_path / "out")
    assert {file.parent.resolve() for file in files} == {(tmp_path / "out").resolve()} and len(set(files)) == 5
    assert all(len(file.name) < 130 for file in files)
    assert safe("") == "unnamed" and "/" not in safe("a/b") and not safe("..").startswith(".")


def test_refusals(codes, tmp_path):
    with pytest.raises(InputError, match="did you mean 'bigwig'"):
        export(codes, [1], tmp_path, "bigwigs")
    with pytest.raises(InputError, match="features 0 to 16"):
        export(codes, [17], tmp_path)
    with pytest.raises(InputError, match="the list is empty"):
        export(codes, [], tmp_path)
    with pytest.raises(InputError, match="folder to write into"):
        export(codes, [1])
    with pytest.raises(InputError, match="no column 'z'"):
        export(codes, ["z"], tmp_path)
    items = pd.DataFrame({"item": ["a", "b"], "sample": "s", "block": "b", "split": "train"})
    endless = Rows.from_grids(items, [Grid.line(Space("u"), 0, 4), Grid.line(Space("u"), 4, 9)])
    field = Field(endless, np.ones((9, 1), np.float32), kind="code")
    with pytest.raises(InputError, match="length of every contig and that of 'u' is unknown"):
        export(field, None, tmp_path / "u")
    assert not (tmp_path / "u").exists()
    assert export(field, None, tmp_path, "bedgraph")[0].read_text() == "u\t0\t9\t1.0\n"
    twice = Rows.from_grids(items, [Grid.line(BIG, 0, 4), Grid.line(BIG, 3, 8)])
    with pytest.raises(AlignmentError, match="tile"):
        export(Field(twice, np.ones((9, 1), np.float32)), None, tmp_path)
    past = Rows.from_grids(items[:1], [Grid.line(BIG, 5000, 5009)])
    with pytest.raises(InputError, match="past the contig's 5003 bp"):
        export(Field(past, np.ones((9, 1), np.float32)), None, tmp_path)
    wide = Field(past, scipy.sparse.csr_matrix((9, 300), dtype=np.float32), kind="code")
    with pytest.raises(InputError, match="300 tracks"):
        export(wide, None, tmp_path)
    with pytest.raises(InputError, match="takes a table"):
        export(codes, None, tmp_path, "tsv")


@pytest.mark.parametrize("format", ["tsv", "parquet"])
def test_tables(tmp_path, format):
    names = [column.name for column in tables.columns("enrichment")]
    line = dict.fromkeys(names, 0) | {"term": "CDS", "log2_odds": 1.5, "dictionary": "d", "note": ""}
    line |= {"representation": "dictionary", "layer": "4"}
    frame = tables.conform("enrichment", pd.DataFrame([line]))
    (file,) = export(frame, out=tmp_path, format=format)
    assert file.name == f"enrichment.{format}" and tables.read(file)["log2_odds"].tolist() == [1.5]
    assert set(FORMATS) == {"bigwig", "bedgraph", "bed", "nifti", "h5ad", "tsv", "parquet", "phenotypes", "bids"}


def test_no_feature_is_not_exported(codes, tmp_path):
    """A table names -1 where no feature is meant: it is passed over, and is not the last column."""
    written = export(codes, [-1, 3, np.int64(-1)], tmp_path, format="bedgraph")
    assert {path.name.split(".")[0] for path in written} == {"feature_3"}
    with pytest.raises(InputError, match="the list is empty"):
        export(codes, [-1], tmp_path, format="bedgraph")
