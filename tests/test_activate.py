"""Activations: each row is what the model says of that base, halos and masked bases give no rows, resuming is exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import bioterp as bt
from bioterp.activate import cells
from bioterp.adapters.dna import DNA
from bioterp.errors import InputError, StoreError
from bioterp.field import Field
from tests.conftest import random_dna, write_fasta


@pytest.fixture
def source(tmp_path: Path) -> DNA:
    letters = random_dna(411, 7)
    return DNA(
        write_fasta(tmp_path / "a.fa", c=letters[:200] + "N" + letters[201:], d=random_dna(37, 8)),
        window=43,
        halo=19,
        blocks=130,
    )


def test_rows_are_the_models_answer_at_that_base(source: DNA, tiny_model, tmp_path: Path) -> None:
    fields = bt.activations(source, tiny_model, layers=[0, -1], out=tmp_path / "acts")
    from transformers import LlamaModel

    network: LlamaModel = tiny_model.module.model
    at = 0
    rows = fields[0].rows
    item_of, start, end = rows.cells()
    for number, (item, array, grid) in enumerate(source):
        # transformers' own hidden states, window by window: index 1 is the output of block 0.
        with torch.no_grad():
            states = network(torch.from_numpy(array.astype(np.int64))[None], output_hidden_states=True, use_cache=False)
        own = states.hidden_states[1][0].numpy()
        cells = np.flatnonzero(item_of == number)
        for row in cells:
            position = int(grid.locate(start[row])[0])
            assert end[row] == start[row] + 1 and array[position] < 4
            assert item.record["start"] <= start[row] < item.record["end"]
            np.testing.assert_allclose(fields[0].read(row, row + 1)[0], own[position], rtol=1e-4, atol=1e-5)
        unmasked = (source.sequences.read(item.record["contig"], item.record["start"], item.record["end"]) < 4).sum()
        assert len(cells) == unmasked
        at += len(cells)
    assert at == len(rows) == 2 * (411 - 1 + 37)


def test_cells_are_the_rows_without_running_the_model(source: DNA, tiny_model, tmp_path: Path, monkeypatch) -> None:
    wanted = bt.activations(source, tiny_model, layers=[0], out=tmp_path / "acts")[0].rows
    monkeypatch.setattr(type(tiny_model), "run", lambda *_: pytest.fail("the model ran"))
    told = cells(source, tiny_model, 0, tmp_path / "rows")
    assert told.shape == (len(wanted), 0) and told.rows.id == wanted.id
    assert told.rows.items.equals(wanted.items)
    assert cells(source, tiny_model, 0, tmp_path / "rows").rows.id == wanted.id  # and again, from the disk


def test_batching_does_not_change_values(source: DNA, tiny_model, tmp_path: Path) -> None:
    one = bt.activations(source, tiny_model, [1], tmp_path / "one", batch_cells=1)[1]
    many = bt.activations(source, tiny_model, [1], tmp_path / "many", batch_cells=5_000)[1]
    assert one.rows.id == many.rows.id
    np.testing.assert_allclose(one.values, many.values, rtol=1e-4, atol=1e-5)


def test_resumes_only_what_is_missing(source: DNA, tiny_model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bioterp.activate.SHARD_BYTES", 24 * 4 * 43 * 3)  # three items a shard
    whole = bt.activations(source, tiny_model, [1], tmp_path / "whole")[1]
    calls = []
    real = tiny_model.run

    def interrupted(batch, layers, **options):
        calls.append(len(batch))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(batch, layers, **options)

    monkeypatch.setattr(tiny_model, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bt.activations(source, tiny_model, [1], tmp_path / "cut")
    done = len(list((tmp_path / "cut").glob("layer=1/shard=*")))
    assert 0 < done < len(list((tmp_path / "whole").glob("layer=1/shard=*")))
    again = bt.activations(source, tiny_model, [1], tmp_path / "cut")[1]
    assert np.array_equal(again.values, whole.values) and again.rows.id == whole.rows.id
    before = len(calls)
    bt.activations(source, tiny_model, [1], tmp_path / "cut")
    assert len(calls) == before  # nothing left to do


def test_other_settings_are_refused(source: DNA, tiny_model, tmp_path: Path) -> None:
    bt.activations(source, tiny_model, [1], tmp_path / "acts")
    other = DNA(source.path, window=41, halo=19, blocks=130)
    with pytest.raises(StoreError, match="other settings"):
        bt.activations(other, tiny_model, [1], tmp_path / "acts")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite_is_named(source: DNA, tiny_model, tmp_path: Path, value: float) -> None:
    # edit the model's weights themselves: the embedding of G at one channel
    with torch.no_grad():
        tiny_model.module.model.embed_tokens.weight[2, 5] = value
    with pytest.raises(InputError, match=r"layer 1 .* in item c:0-43\+, cell \[\d+, \d+\], channel"):
        bt.activations(source, tiny_model, [1], tmp_path / "acts")
    assert not list(tmp_path.glob("acts/layer=1/shard*"))


def test_narrow_types(source: DNA, tiny_model, tmp_path: Path) -> None:
    full = bt.activations(source, tiny_model, [1], tmp_path / "full")[1]
    half = bt.activations(source, tiny_model, [1], tmp_path / "half", dtype="bfloat16")[1]
    wanted = torch.from_numpy(full.values).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(half.values, wanted)
    with torch.no_grad():
        tiny_model.module.model.layers[1].mlp.down_proj.weight.mul_(1e7)
    with pytest.raises(InputError, match="does not fit float16"):
        bt.activations(source, tiny_model, [1], tmp_path / "over", dtype="float16")


def test_the_model_is_left_as_found(source: DNA, tiny_model, tmp_path: Path) -> None:
    before = {k: v.clone() for k, v in tiny_model.module.state_dict().items()}
    state = torch.get_rng_state()
    bt.activations(source, tiny_model, [0, 2], tmp_path / "acts")
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in tiny_model.module.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in tiny_model.module.modules())


def test_reopened_field_is_the_same(source: DNA, tiny_model, tmp_path: Path) -> None:
    made = bt.activations(source, tiny_model, [2], tmp_path / "acts")[2]
    found = Field.open(tmp_path / "acts" / "layer=2")
    assert found.rows.id == made.rows.id and np.array_equal(found.values, made.values)


def test_context_and_layers_are_checked_before_work(source: DNA, tiny_model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="layers"):
        bt.activations(source, tiny_model, [], tmp_path / "acts")
    with pytest.raises(InputError, match="layers"):
        bt.activations(source, tiny_model, [7], tmp_path / "acts")
    wide = DNA(source.path, window=120, halo=19)
    with pytest.raises(InputError, match="at most 128"):
        bt.activations(wide, tiny_model, [1], tmp_path / "acts")
