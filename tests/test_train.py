"""Fitting: a planted dictionary recovered, the deployed L0, transcoders, determinism, several at once, processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from bioterp.dictionary import Dictionary
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.train import fit, fit_many
from tests.test_dictionary import people

D, M, K = 32, 40, 4
REPOSITORY = Path(__file__).parents[1]


def planted(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Activations made of 3 of 40 known directions, about a large mean, with a little noise."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((M, D))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    codes = np.zeros((n, M))
    for row in codes:
        row[rng.choice(M, 3, replace=False)] = rng.uniform(1, 3, 3)
    mean = rng.standard_normal(D) * 5
    return (codes @ directions + mean + 0.02 * rng.standard_normal((n, D))).astype(np.float32), directions


def weights(d: Dictionary) -> list[np.ndarray]:
    return [d.encoder, d.decoder, d.b_enc, d.b_dec]


@pytest.mark.parametrize(("kind", "least"), [("topk", 0.97), ("batchtopk", 0.97), ("matryoshka", 0.9)])
def test_recovers_a_planted_dictionary(kind: str, least: float) -> None:
    x, directions = planted(7_733)
    x, held = x[:6_000], x[6_000:]
    d = fit(people(x), width=64, k=3, kind=kind, tokens=400_000, batch=256, seed=2)
    cosine = (directions @ d.decoder.T).max(1)
    assert np.median(cosine) > least and (cosine > 0.9).mean() > 0.8
    quality = d.quality(people(held))
    assert quality["fvu"] < 0.1
    assert quality["l0"] == pytest.approx(3, rel=0.02)


def test_inner_dictionaries_of_a_matryoshka_do_by_themselves() -> None:
    """The first eighth of its features explains far more than the first eighth of a BatchTopK dictionary."""
    x, _ = planted(6_011)
    first = {}
    for kind in ("batchtopk", "matryoshka"):
        d = fit(people(x), width=64, k=3, kind=kind, tokens=200_000, batch=256)
        codes = d.encode_array(x).toarray()
        codes[:, 8:] = 0
        first[kind] = float(np.square(x - d.decode_array(codes)).sum() / np.square(x - x.mean(0)).sum())
    assert first["matryoshka"] < first["batchtopk"] - 0.1


@pytest.mark.parametrize("skip", [False, True])
def test_a_transcoder_predicts_the_other_layer(skip: bool) -> None:
    """y is a linear map of the planted codes, at another place and size; held-out rows are predicted from x alone."""
    x, _ = planted(7_733)
    rng = np.random.default_rng(3)
    y = (7 * np.tanh(x @ rng.standard_normal((D, 21)) * 0.05) + 40).astype(np.float32)
    made = fit(people(x[:6_000]), target=people(y[:6_000]), skip=skip, width=64, k=3, tokens=300_000, batch=256)
    held, wanted = x[6_000:], y[6_000:]
    rebuilt = made.decode_array(made.encode_array(held), held)
    assert np.square(rebuilt - wanted).sum() < 0.2 * np.square(wanted - wanted.mean(0)).sum()
    assert (made.skip is not None) == skip


def test_same_seed_same_weights_and_torch_state_kept() -> None:
    x, _ = planted(900)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    a, b, c = (fit(people(x), width=M, k=K, tokens=9_000, batch=100, seed=s) for s in (1, 1, 2))
    assert a.id == b.id and a.id != c.id
    assert torch.equal(state, torch.get_rng_state()) and torch.get_num_threads() == threads
    np.testing.assert_allclose(np.linalg.norm(a.decoder, axis=1), 1, rtol=1e-5)


def test_several_in_one_pass_are_those_made_alone() -> None:
    x, _ = planted(1_303)
    wanted = [
        {"width": 40, "k": 4, "seed": 0},
        {"width": 40, "k": 4, "seed": 5},
        {"width": 56, "k": 3, "seed": 0, "kind": "batchtopk", "lr": 1e-3},
    ]
    together = fit_many(people(x), wanted, tokens=20_000, batch=128)
    alone = [fit(people(x), **one, tokens=20_000, batch=128) for one in wanted]
    assert [d.id for d in together] == [d.id for d in alone]
    assert [d.about for d in together] == [d.about for d in alone]


def test_long_rows_neither_set_the_scale_nor_rule_the_features() -> None:
    """15 rows of 6,000 are spikes in one direction: what was planted is still found, and their share is told."""
    x, directions = planted(6_000)
    x[np.random.default_rng(1).choice(len(x), 15, replace=False)] += 2_000 * np.eye(D, dtype=np.float32)[3]
    d = fit(people(x), width=64, k=3, tokens=400_000, batch=256)
    assert d.about["long_rows"] == pytest.approx(15 / 6_000)
    assert np.median((directions @ d.decoder.T).max(1)) > 0.97


@pytest.mark.parametrize("kind", ["topk", "batchtopk", "matryoshka"])
def test_a_spike_in_some_rows_changes_no_other_rows_code(kind: str) -> None:
    x, _ = planted(4_000)
    d = fit(people(x), width=64, k=3, kind=kind, tokens=60_000, batch=256)
    window = x[1_000:1_600].copy()
    before = d.encode_array(window).toarray() > 0
    spiked = np.arange(100, 115)
    window[spiked] *= 50
    after = d.encode_array(window).toarray() > 0
    others = np.setdiff1d(np.arange(600), spiked)
    union = (before[others] | after[others]).sum()
    assert (before[others] & after[others]).sum() / union == 1.0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"k": 0}, "k must lie"),
        ({"k": 40}, "k must lie"),
        ({"kind": "jump"}, "kind is one of"),
        ({"skip": True}, "skip"),
    ],
)
def test_bad_options(options: dict, expected: str) -> None:
    x, _ = planted(50)
    with pytest.raises(InputError, match=expected):
        fit(people(x), **{"width": M, "k": K, "tokens": 100, **options})


def test_useless_activations_are_refused() -> None:
    with pytest.raises(InputError, match="do not vary"):
        fit(people(np.ones((60, D), np.float32)), width=M, k=K, tokens=100)
    x, _ = planted(50)
    x[7, 3] = np.nan
    with pytest.raises(InputError, match="NaN"):
        fit(people(x), width=M, k=K, tokens=100)


SCRIPT = """
import sys
import bioterp as bt
from bioterp.train import resume
from bioterp.train.world import world
resume.EVERY = 0.2
folder, steps, out, keep = sys.argv[1:5]
acts = bt.Field.open(folder)
how = {'kind': sys.argv[5], 'tokens': int(steps) * 128, 'batch': 128, 'lr': 2e-3}
made = bt.fit(acts, width=56, k=3, threads=1, keep=keep or None, **how)
if world().is_first:
    made.save(out)
"""


def train(
    tmp: Path, folder: Path, steps: int, out: str, processes: int = 1, keep: str = "", kind: str = "topk"
) -> list:
    """Processes that train together, begun."""
    script = tmp / "script.py"
    script.write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun = []
    for rank in range(processes):
        told = {
            "RANK": rank,
            "WORLD_SIZE": processes,
            "LOCAL_RANK": rank,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
        env |= {name: str(value) for name, value in told.items()} if processes > 1 else {}
        command = [sys.executable, script, folder, str(steps), tmp / out, keep, kind]
        begun.append(subprocess.Popen(list(map(str, command)), env=env, stderr=subprocess.PIPE, text=True))
    return begun


def ended(begun: list) -> None:
    for process in begun:
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error


@pytest.fixture()
def stored(tmp_path: Path) -> Path:
    people(planted(3_001)[0]).save(tmp_path / "acts")
    return tmp_path / "acts"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["topk", pytest.param("batchtopk", marks=pytest.mark.stress)])
def test_two_processes_learn_what_one_does(kind: str, stored: Path, tmp_path: Path) -> None:
    for steps in (20, 600):
        for processes in (1, 2):
            ended(train(tmp_path, stored, steps, f"{steps}-{processes}", processes, kind=kind))
    one, two = (Dictionary.load(tmp_path / f"20-{n}") for n in (1, 2))
    for a, b in zip(weights(one), weights(two), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    fvu = [Dictionary.load(tmp_path / f"600-{n}").quality(Field.open(stored))["fvu"] for n in (1, 2)]
    assert fvu[1] == pytest.approx(fvu[0], rel=0.005)


@pytest.mark.slow
def test_killed_the_same_command_makes_the_same_weights(stored: Path, tmp_path: Path) -> None:
    steps, keep = 15_000, tmp_path / "keep"
    begun = train(tmp_path, stored, steps, "killed", keep=str(keep))[0]
    deadline = time.monotonic() + 240
    while not list(keep.glob("*/step=*/meta.json")):
        assert begun.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1.0)
    begun.send_signal(signal.SIGKILL)
    begun.wait()
    kept = max(int(path.parent.name.split("=")[1]) for path in keep.glob("*/step=*/meta.json"))
    assert 0 < kept < steps
    ended(train(tmp_path, stored, steps, "killed", keep=str(keep)))
    ended(train(tmp_path, stored, steps, "whole"))
    assert Dictionary.load(tmp_path / "killed").id == Dictionary.load(tmp_path / "whole").id
    assert not list(keep.glob("*/step=*"))
