"""Rows straight from the model are those that would have been stored, bit for bit and in any order."""

from __future__ import annotations

import threading
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch

import bioterp as bt
from bioterp import streaming
from bioterp.adapters.dna import DNA
from bioterp.errors import InputError
from bioterp.train.batches import Batches, sample
from tests.conftest import random_dna, write_fasta


@pytest.fixture
def source(tmp_path: Path) -> DNA:
    """Several contigs (one short, one masked in part and by whole windows), blocks of all splits."""
    letters = random_dna(911, 7)
    return DNA(
        write_fasta(
            tmp_path / "a.fa",
            c=letters[:200] + "N" + letters[201:430] + "N" * 97 + letters[527:],
            d=random_dna(37, 8),
            e=random_dna(331, 9),
        ),
        window=43,
        halo=19,
        blocks=130,
    )


@pytest.mark.parametrize(("batch_cells", "shard"), [(1, 64 << 20), (300, 24 * 4 * 43 * 5), (5_000, 64 << 20)])
@pytest.mark.parametrize("split", ["train", "valid", None])
def test_rows_are_those_of_the_stored_activations(
    source: DNA, tiny_model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_cells: int, shard: int, split: str
) -> None:
    monkeypatch.setattr("bioterp.activate.SHARD_BYTES", shard)  # batches do not cross shards
    monkeypatch.setattr(streaming, "CHUNK_ROWS", 150)
    whole = bt.activations(source, tiny_model, [1], tmp_path / "acts", dtype="float32", batch_cells=batch_cells)[1]
    stored = whole if split is None else whole.split(split)
    rows = bt.stream(source, tiny_model, 1, split=split, batch_cells=batch_cells)
    assert rows.shape == stored.shape and len(rows) == len(stored) and rows.width == 24
    assert rows.id == stored.rows.id and rows.about == stored.about
    values = stored.values
    np.testing.assert_array_equal(rows.read(np.arange(len(rows.sizes))), values)
    starts = np.cumsum(rows.sizes) - rows.sizes
    order = np.random.default_rng(0).permutation(len(rows.sizes))[: 3 if batch_cells > 1 else None]
    wanted = np.concatenate([values[starts[c] : starts[c] + rows.sizes[c]] for c in order])
    np.testing.assert_array_equal(rows.read(order), wanted)
    if batch_cells == 1:
        assert len(rows.sizes) > 3 and rows.sizes.max() <= 150
    assert rows.read(np.zeros(0, np.int64)).shape == (0, 24)


def test_batches_of_it_are_its_rows(source: DNA, tiny_model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "CHUNK_ROWS", 60)
    stored = bt.activations(source, tiny_model, [2], tmp_path / "acts", batch_cells=300)[2].split("train").values
    rows = bt.stream(source, tiny_model, 2, batch_cells=300)
    size = len(stored) // 7
    torch.manual_seed(3)
    state = torch.get_rng_state()
    with Batches(rows, size, seed=1, buffer=3 * size, steps=7) as batches:
        seen = np.concatenate([next(batches) for _ in range(7)])
    known = {row.tobytes() for row in stored}
    assert len({row.tobytes() for row in seen}) > 0.9 * len(seen)
    assert all(row.tobytes() in known for row in seen)
    assert abs(seen.mean() - stored.mean()) < 0.01
    assert sample(rows, 100, seed=0).shape == (100, 24)
    assert torch.equal(state, torch.get_rng_state())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in tiny_model.module.modules())


def test_counting_and_other_splits_cost_no_forward(source: DNA, tiny_model, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_model.width(1)
    ran: list[int] = []
    real = tiny_model.run

    def run(batch, layers, **options):
        ran.append(len(batch))
        return real(batch, layers, **options)

    monkeypatch.setattr(tiny_model, "run", run)
    rows = bt.stream(source, tiny_model, 1, batch_cells=1)
    assert not ran
    rows.read(np.arange(len(rows.sizes)))
    given = [item.record["split"] for item, _, _ in source]
    assert sum(ran) == given.count("train") < len(given)  # a batch of one item has nothing of another split


def test_one_forward_at_a_time(source: DNA, tiny_model, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = bt.stream(source, tiny_model, 1)
    inside, most = [0], [0]
    real = tiny_model.run

    def run(*given, **options):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        try:
            return real(*given, **options)
        finally:
            inside[0] -= 1

    monkeypatch.setattr(tiny_model, "run", run)
    threads = [threading.Thread(target=rows.read, args=(np.arange(len(rows.sizes)),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_tiles_of_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three axes, coarse cells, halos, and tiles of air that the source does not give."""
    rng = np.random.default_rng(0)
    lines = []
    for i, shape in enumerate([(16, 24, 13), (21, 12, 17), (9, 30, 11), (14, 15, 16)]):
        image = rng.standard_normal(shape).astype(np.float32)
        image[:8, :8, :8] = 0  # a tile of nothing
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), tmp_path / f"s{i}.nii.gz")
        lines.append(
            {"scan": f"s{i}", "path": f"s{i}.nii.gz", "subject": f"p{i}", "split": "train" if i % 2 else "test"}
        )
    pd.DataFrame(lines).to_csv(tmp_path / "scans.tsv", sep="\t", index=False)
    source = bt.Scans(tmp_path / "scans.tsv", intensity="none", window=8, halo=4, multiple=4)
    arguments = {"in_channels": 1, "init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}
    model = bt.load_model("monai:SegResNet", weights="random", arguments=arguments, multiple=4)
    monkeypatch.setattr(streaming, "CHUNK_ROWS", 40)
    layer = "down_layers.1"
    stored = bt.activations(source, model, [layer], tmp_path / "acts", batch_cells=9_000)[layer].split("train")
    rows = bt.stream(source, model, layer, batch_cells=9_000)
    assert rows.id == stored.rows.id and rows.rows.ndim == 3 and len(rows.sizes) > 2
    order = np.arange(len(rows.sizes))[::-1]
    parts = np.split(stored.values, np.cumsum(rows.sizes)[:-1])
    np.testing.assert_array_equal(rows.read(order), np.concatenate(parts[::-1]))


def test_what_cannot_be_streamed(source: DNA, tiny_model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no split 'trian'"):
        bt.stream(source, tiny_model, 1, split="trian")
    with pytest.raises(InputError, match="layers 0 to 2"):
        bt.stream(source, tiny_model, 7)
    one = DNA(source.path, window=43, halo=19, blocks="contig", contigs=["d"])
    absent = next(split for split in ("valid", "test", "train") if split not in set(one.items["split"]))
    with pytest.raises(InputError, match=f"of the split '{absent}' gives a row"):
        bt.stream(one, tiny_model, 1, split=absent)
    with torch.no_grad():
        tiny_model.module.model.embed_tokens.weight[2, 5] = float("nan")
    rows = bt.stream(source, tiny_model, 1)
    with pytest.raises(InputError, match=r"layer 1 .* in item c:.*, channel"):
        next(Batches(rows, 10, seed=0))
