"""Activations others computed: read row for row, put where they belong, and refused when they cannot be right."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from bioterp.errors import AlignmentError, InputError, StoreError
from bioterp.field import Field
from bioterp.importing import import_activations
from bioterp.rows import split_of

N, WIDTH = 230, 6


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(11).normal(size=(N, WIDTH)).astype(np.float32)


def windows():
    """Two windows of single bases, one per strand; the rows of '-' run downwards."""
    return pd.DataFrame({"contig": "c1", "start": [10, 60], "end": [140, 160], "strand": ["+", "-"], "step": 1})


def bases():
    """The same, row by row, by hand."""
    return [(p, p + 1, "+") for p in range(10, 140)] + [(p, p + 1, "-") for p in range(159, 59, -1)]


def placed(field):
    """start, end, strand of every row."""
    item, start, end = field.rows.cells()
    strands = np.array([grid.strand for grid in field.rows.grids()])[item]
    return list(zip(start.tolist(), end.tolist(), strands.tolist(), strict=True))


# ------------------------------------------------------------------ formats, as their tools write them


def npy(folder, x):
    np.save(folder / "a.npy", x)
    return folder / "a.npy", {}


def npy_items(folder, x):
    np.save(folder / "a.npy", x.reshape(23, 10, WIDTH))
    return folder, {}


def npy_files(folder, x):
    for name, part in (("b.npy", x[:7]), ("a.npy", x[7:])):
        np.save(folder / name, part)
    return [folder / "b.npy", folder / "a.npy"], {}


def tensors(folder, x):
    tensor = torch.from_numpy(x)
    safetensors.torch.save_file({"blocks.20": tensor, "blocks.2": tensor * 2}, folder / "a.safetensors")
    return folder / "a.safetensors", {"tensor": "blocks.20"}


def interplm_layer(folder, x):
    """scripts/extract_embeddings.py: layer_<l>/shard_<i>/activations.pt with metadata.yaml."""
    edges = [0, *range(21, 221, 20), N]  # twelve shards: shard_10 comes after shard_9
    for i, (lo, hi) in enumerate(pairwise(edges)):
        shard = folder / f"layer_4/shard_{i}"
        shard.mkdir(parents=True)
        torch.save(torch.from_numpy(x[lo:hi].copy()), shard / "activations.pt")
        told = f"d_model: {WIDTH}\ndtype: float32\nlayer: 4\nmodel: esm2\ntotal_tokens: {hi - lo}\n"
        (shard / "metadata.yaml").write_text(told)
    return folder / "layer_4", {}


def interplm_embeddings(folder, x):
    """scripts/embed_annotations.py: shard_<i>/embeddings.pt."""
    for i, (lo, hi) in enumerate([(0, 100), (100, N)]):
        (folder / f"shard_{i}").mkdir()
        held = {"embeddings": torch.from_numpy(x[lo:hi].copy()), "boundaries": [(0, hi - lo)], "protein_ids": ["P1"]}
        torch.save(held, folder / f"shard_{i}" / "embeddings.pt")
    return folder, {}


def bionemo_store(folder, x):
    """sae.ActivationStore: shard_%05d.parquet of dim_i columns, and metadata.json."""
    for i, lo in enumerate(range(0, N, 90)):
        part = x[lo : lo + 90]
        table = pd.DataFrame({f"dim_{k}": part[:, k] for k in range(WIDTH)})
        table.to_parquet(folder / f"shard_{i:05d}.parquet", row_group_size=41)
    told = {"n_samples": N, "hidden_dim": WIDTH, "n_shards": 3, "shard_size": 90, "model_name": "evo2", "layer": 20}
    (folder / "metadata.json").write_text(json.dumps(told))
    return folder, {}


def bionemo_predictions(folder, x):
    """predict_evo2 --embedding-layer: padded batches whose sequences are numbered by seq_idx, ranks out of order."""
    lengths = [130, 60, 40]
    edges = np.cumsum([0, *lengths])
    rows = [torch.from_numpy(x[edges[i] : edges[i + 1]].copy()) for i in range(3)]
    for rank, mine in enumerate([[2, 0], [1]]):
        hidden = torch.full((len(mine), 137, WIDTH), float("nan"))  # what is in the padding must not matter
        mask = torch.zeros(len(mine), 137, dtype=torch.int64)
        for k, i in enumerate(mine):
            hidden[k, : lengths[i]], mask[k, : lengths[i]] = rows[i], 1
        held = {"hidden_embeddings": hidden, "pad_mask": mask, "seq_idx": torch.tensor(mine), "tokens": mask}
        torch.save(held, folder / f"predictions__rank_{rank}__dp_rank_{rank}.pt")
    return folder, {}


FORMATS = [npy, npy_items, npy_files, tensors, interplm_layer, interplm_embeddings, bionemo_store, bionemo_predictions]


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("make", FORMATS)
def test_every_format_gives_the_rows_in_order(make, stored, values, tmp_path):
    (tmp_path / "in").mkdir()
    path, options = make(tmp_path / "in", values)
    out = tmp_path / "out" if stored else None
    field = import_activations(path, windows(), out=out, block=50, **options)
    np.testing.assert_array_equal(field.values, values)
    np.testing.assert_array_equal(field.data.read(88, 137), values[88:137])
    assert placed(field) == bases()
    assert field.kind == "activation" and field.about["imported"] in ("npy", "safetensors", "interplm", "bionemo")
    if make is bionemo_store:
        assert field.about["model"] == "evo2" and field.about["layer"] == 20
    if stored:
        assert Field.open(out).rows.id == import_activations(path, windows(), block=50, **options).rows.id


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_is_kept_as_it_is(dtype, values, tmp_path):
    tensor = torch.from_numpy(values).to(dtype)
    torch.save(tensor, tmp_path / "a.pt")
    field = import_activations(tmp_path / "a.pt", windows(), out=tmp_path / "out")
    np.testing.assert_array_equal(field.values, tensor.float().numpy())
    size = (tmp_path / "out" / "shard=00000" / "arrays.safetensors").stat().st_size
    assert (size > N * WIDTH * 4) == (dtype == torch.float32)


# ------------------------------------------------------------------ coordinates


@pytest.mark.parametrize("suffix", ["tsv", "csv", "parquet", "tsv.gz"])
def test_coordinate_files(suffix, values, tmp_path):
    np.save(tmp_path / "a.npy", values)
    table = windows().rename(columns={"contig": "#chrom"})
    file = tmp_path / f"w.{suffix}"
    if suffix == "parquet":
        table.to_parquet(file)
    else:
        table.to_csv(file, sep="," if suffix == "csv" else "\t", index=False)
    assert placed(import_activations(tmp_path / "a.npy", file)) == bases()


def test_one_line_per_row_with_tokens_gaps_and_items(tmp_path):
    x = np.arange(24, dtype=np.float32).reshape(8, 3)
    np.save(tmp_path / "a.npy", x)
    table = pd.DataFrame(
        {
            "contig": ["a"] * 5 + ["b"] * 3,
            "start": [0, 6, 12, 18, 18, 40, 34, 20],
            "end": [6, 12, 18, 18, 19, 46, 40, 30],
            "strand": ["+"] * 5 + ["-"] * 3,
            "sample": ["p"] * 5 + ["q"] * 3,
            "item": ["one"] * 5 + ["two"] * 3,
        }
    )
    field = import_activations(tmp_path / "a.npy", table, lengths={"a": 70}, circular=["b"])
    assert field.rows.items[["item", "sample", "block"]].values.tolist() == [["one", "p", "a:0"], ["two", "q", "b:0"]]
    assert [t[:2] for t in placed(field)] == list(zip(table["start"], table["end"], strict=True))
    assert [(s.name, s.length, s.circular) for s in field.rows.spaces] == [("a", 70, False), ("b", None, True)]


def test_blocks_and_splits_are_those_of_the_rest_of_bioterp(values, tmp_path):
    np.save(tmp_path / "a.npy", values)
    field = import_activations(tmp_path / "a.npy", windows(), block=50, seed=9)
    for grid, line in zip(field.rows.grids(), field.rows.items.itertuples(), strict=True):
        numbers = {int(middle) // 50 for middle in grid.centers.ravel()}
        assert {line.block} == {f"c1:{number}" for number in numbers}, "an item lies in one block"
        assert line.split == split_of(line.block, 9)
    told = windows().assign(block=["x", "y"], split=["test", "train"], item=["i", "i"])
    given = import_activations(tmp_path / "a.npy", told)
    told = [["i", "imported", "x", "test", "+"], ["i/1", "imported", "y", "train", "-"]]
    assert given.rows.items.values.tolist() == told


def test_the_last_step_may_be_short():
    from bioterp.importing.coordinates import read_coordinates, rows_of

    table = pd.DataFrame({"contig": "c", "start": [0, 20], "end": [10, 33], "strand": ["+", "-"], "step": [4, 6]})
    rows = rows_of(read_coordinates(table), 6, 1000, 0, "s", {}, frozenset())
    _, start, end = rows.cells()
    assert list(zip(start.tolist(), end.tolist(), strict=True)) == [
        (0, 4),
        (4, 8),
        (8, 10),
        (27, 33),
        (21, 27),
        (20, 21),
    ]


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("out", [None, "out"])
def test_what_is_not_finite_is_named(bad, out, values, tmp_path):
    spoilt = values.copy()
    spoilt[119, 4] = bad
    np.save(tmp_path / "one.npy", spoilt[:100])
    np.save(tmp_path / "two.npy", spoilt[100:])
    with pytest.raises(InputError, match=r"two\.npy holds .* at row 19, column 4"):
        import_activations([tmp_path / "one.npy", tmp_path / "two.npy"], windows(), out=out and tmp_path / out)
    assert not (tmp_path / "out" / "meta.json").exists()


def test_a_double_too_large_for_float32_is_named(values, tmp_path):
    spoilt = values.astype(np.float64)
    spoilt[3, 2] = 1e300
    np.save(tmp_path / "a.npy", spoilt)
    with np.errstate(over="ignore"), pytest.raises(InputError, match="row 3, column 2"):
        import_activations(tmp_path / "a.npy", windows())


def without(column):
    return windows().drop(columns=column)


COORDINATES = [
    (windows()[:1], "make 130"),
    (without("step"), "230 rows and the coordinate table has 2 lines"),
    (without("contig"), "no column 'contig'"),
    (windows().assign(start=[10, 200]), "line 2: c1:200-160"),
    (windows().assign(strand=["+", "x"]), "line 2"),
    (windows().assign(start=["ten", 60]), "start is 'ten'; wanted a whole number"),
    (windows().assign(start=[10.5, 60]), "whole number"),
    (windows().assign(contig=["c1", None]), "line 2: contig is missing"),
    (windows().assign(step=[0, 1]), "line 1"),
    (windows().assign(split=["train", "tset"]), "split 'tset'"),
    (windows().assign(block="b", split=["train", "test"]), "a block is never divided"),
    (windows()[:0], "no lines"),
]


@pytest.mark.parametrize(("table", "message"), COORDINATES)
def test_coordinates_that_cannot_be_used(table, message, values, tmp_path):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(InputError, match=message):
        import_activations(tmp_path / "a.npy", table)


def test_places_outside_the_contig_or_twice(values, tmp_path):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(InputError, match="outside the contig"):
        import_activations(tmp_path / "a.npy", windows(), lengths={"c1": 150})
    sizes = tmp_path / "g.fai"
    sizes.write_text("c1\t160\t4\t60\t61\n")
    assert import_activations(tmp_path / "a.npy", windows(), lengths=sizes).rows.spaces[0].length == 160
    with pytest.raises(AlignmentError, match="tile"):
        import_activations(tmp_path / "a.npy", windows().assign(strand="+"))
    rows = pd.DataFrame({"contig": "c", "start": np.arange(N), "end": np.arange(N) + 2, "item": "i"})
    with pytest.raises(AlignmentError, match="behind or over the row before"):
        import_activations(tmp_path / "a.npy", rows)
    with pytest.raises(InputError, match="circular contig 'c2' has no rows"):
        import_activations(tmp_path / "a.npy", windows(), circular=["c2"])


def test_files_that_are_something_else(values, tmp_path):
    def refused(path, message, **options):
        with pytest.raises(InputError, match=message):
            import_activations(path, windows(), **options)

    np.save(tmp_path / "o.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    refused(tmp_path / "o.npy", "not a plain .npy array")
    np.save(tmp_path / "flat.npy", values.ravel())
    refused(tmp_path / "flat.npy", r"wanted \(rows, channels\)")
    np.save(tmp_path / "text.npy", np.full((N, 2), "a"))
    refused(tmp_path / "text.npy", "wanted numbers")
    refused(tmp_path / "gone.npy", "there is no file")
    refused(tmp_path / "gone.xyz", "there is no file")
    (tmp_path / "odd.xyz").write_text("?")
    refused(tmp_path / "odd.xyz", "say format=")
    refused(tmp_path / "flat.npy", "did you mean 'npy'", format="npyy")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "flat.npy").read_bytes()[:200])
    refused(tmp_path / "cut.npy", "not a plain")
    (tmp_path / "a.safetensors").write_bytes(b"\x00" * 5)
    refused(tmp_path / "a.safetensors", "safetensors")
    path, _ = tensors(tmp_path, values)
    refused(path, "say which with tensor=")
    refused(path, "did you mean 'blocks.2", tensor="blocks.22")
    np.save(tmp_path / "wide.npy", np.zeros((N, WIDTH + 1), np.float32))
    np.save(tmp_path / "good.npy", values)
    refused([tmp_path / "good.npy", tmp_path / "wide.npy"], "7 channels where")
    pd.DataFrame({"x": [1.0]}).to_parquet(tmp_path / "p.parquet")
    refused(tmp_path / "p.parquet", "no columns dim_0")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds none of")


class Evil:
    def __reduce__(self):
        return (print, ("unpickled",))


def test_nothing_is_unpickled(tmp_path, capsys):
    torch.save({"embeddings": Evil()}, tmp_path / "a.pt")
    with pytest.raises(InputError, match="plain tensors"):
        import_activations(tmp_path / "a.pt", windows())
    assert "unpickled" not in capsys.readouterr().out


def test_interplm_metadata_that_disagrees(values, tmp_path):
    path, _ = interplm_layer(tmp_path, values)
    (path / "shard_3" / "metadata.yaml").write_text("total_tokens: 999\n")
    with pytest.raises(InputError, match="its metadata says 999"):
        import_activations(path, windows())


def test_resume_and_change(values, tmp_path, monkeypatch):
    monkeypatch.setattr("bioterp.importing.ROWS_PER_SHARD", 30)
    np.save(tmp_path / "a.npy", values)
    first = import_activations(tmp_path / "a.npy", windows(), out=tmp_path / "f", block=20)
    shards = sorted((tmp_path / "f").glob("shard=*"))
    assert len(shards) > 3
    shutil.rmtree(shards[1])
    (tmp_path / "f" / "meta.json").unlink()
    times = {s: (s / "meta.json").stat().st_mtime_ns for s in shards if s != shards[1]}
    again = import_activations(tmp_path / "a.npy", windows(), out=tmp_path / "f", block=20)
    np.testing.assert_array_equal(again.values, values)
    assert again.rows.id == first.rows.id
    assert all((s / "meta.json").stat().st_mtime_ns == t for s, t in times.items())
    np.save(tmp_path / "a.npy", values + 1)
    with pytest.raises(StoreError, match="files"):
        import_activations(tmp_path / "a.npy", windows(), out=tmp_path / "f", block=20)


@pytest.mark.parametrize("block", [0, -5, 2.5, True])
def test_blocks_are_at_least_a_base(tmp_path, values, block):
    path, _ = npy(tmp_path, values)
    with pytest.raises(InputError, match=f"block={block} cannot be used"):
        import_activations(path, windows(), block=block)


@pytest.mark.parametrize("content", [b"garbage", b"", b"PK\x03\x04 no archive", b"\x93NUMPY\x01\x00"])
def test_a_garbage_npy_never_advises_to_unpickle(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npy is not a plain \.npy array of numbers") as error:
        import_activations(tmp_path / "a.npy", windows())
    assert "pickle" not in str(error.value)


def test_the_strand_is_a_column_where_it_is_told(tmp_path, values):
    path, _ = npy(tmp_path, values)
    assert import_activations(path, windows()).rows.items["strand"].tolist() == ["+", "-"]
    for table in (windows().drop(columns="strand"), windows().assign(strand=".")):
        table["contig"] = ["c1", "c2"]
        assert "strand" not in import_activations(path, table).rows.items.columns


def test_what_is_wrong_with_a_line_is_told_without_numpy(tmp_path, values):
    path, _ = npy(tmp_path, values)
    for start, message in ((np.nan, "line 1: start is missing"), (1e30, "line 1: start is '1e[+]30'; wanted a whole")):
        with pytest.raises(InputError, match=message):
            import_activations(path, windows().assign(start=[start, 60]))
    with pytest.raises(InputError, match="c1:-3-127, before the contig's first base;"):
        import_activations(path, windows().assign(start=[-3, 60], end=[127, 160]))
