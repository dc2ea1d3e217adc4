"""The estimate: what it counts against counts made otherwise, its arithmetic, the fit of coefficients, its pages."""

from __future__ import annotations

import dataclasses
import json
import math
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from bioterp import cli, config, cost
from bioterp.check import takes
from bioterp.cost import law, scale, sizes
from bioterp.cost.estimate import measured
from bioterp.cost.machine import Speed, speed
from bioterp.opening import open_source
from tests.conftest import ROOT
from tests.planted import write_run

SIZE = cost.Size(
    "dna", 5_300, 7e9, 9e9, 71_000, (4_100, 4_100), (24, 40), 4, 41, 3, 2, 9_001, 13, 0.21,
    ("detection", "fidelity"), ("neurons", "pca", "random-directions", "random-weights", "composition"), ("tsv",),
)  # fmt: skip


def linear(tokens: int, module: nn.Module) -> int:
    return sum(
        2 * tokens * one.in_features * one.out_features for one in module.modules() if isinstance(one, nn.Linear)
    )


def test_arithmetic_of_a_transformer_is_counted_without_doing_it(tiny_model, monkeypatch) -> None:
    tokens, items = 61, 3
    arrays = [np.random.default_rng(i).integers(0, 4, tokens).astype(np.uint8) for i in range(items)]
    batch = tiny_model.prepare(arrays)
    tiny_model.width(2)
    own = [linear(tokens * items, block) for block in tiny_model.module.model.layers]
    heads, each = 2, 12
    attention = 2 * 2 * items * heads * tokens * tokens * each  # q k, then weights times v
    for layer in (0, 1):
        expected = sum(own[: layer + 1]) + attention * (layer + 1)
        assert sizes.counted(tiny_model, batch, [layer]) == pytest.approx(expected, rel=0.02)
    real = {name: p.detach().clone() for name, p in tiny_model.module.named_parameters()}
    assert all(torch.equal(p, real[name]) for name, p in tiny_model.module.named_parameters())
    # A network that cannot be run without values is taken by its weights.
    monkeypatch.setattr(tiny_model, "run", lambda *a: (_ for _ in ()).throw(RuntimeError("a kernel of its own")))
    assert sizes.counted(tiny_model, batch, [0]) == 2 * sum(p.numel() for p in real.values()) * tokens * items


def test_arithmetic_of_a_convolution() -> None:
    module = nn.Sequential(nn.Conv3d(1, 5, 3, padding=1), nn.Conv3d(5, 7, 2, stride=2))
    model = SimpleNamespace(module=module)
    x = torch.zeros(2, 1, 6, 8, 10)
    model.run = lambda batch, layers: {layers[0]: module(x)}
    expected = 2 * 2 * (6 * 8 * 10 * 27 * 5 + 3 * 4 * 5 * 8 * 5 * 7)
    assert sizes.counted(model, SimpleNamespace(cells=[]), [0]) == expected


def test_size_of_a_run_is_what_its_source_gives(tmp_path: Path, tiny_model_folder: Path, tiny_model) -> None:
    run = config.load(write_run(tmp_path, tiny_model_folder, layers=[0, 2], **{"dictionary.seeds": [4, 5, 6]}))
    source = open_source(run, lambda: tiny_model)
    size = cost.size_of(run, source, tiny_model, 13)
    arrays = [(item, array) for item, array, _ in source]
    assert size.cells == sum(array.size for _, array in arrays)
    assert size.rows == (sum(int(item.core[1][0] - item.core[0][0]) for item, _ in arrays),) * 2
    assert (size.channels, size.seeds, size.tokens, size.columns, size.value) == ((24, 24), 3, 9_000, 13, 4)
    assert size.weights == sum(4 * p.numel() for p in tiny_model.module.parameters())


def test_amounts_are_those_of_loops_over_what_a_run_does() -> None:
    made = law.work(SIZE)
    fits = [(layer, seed) for layer in range(2) for seed in ("a", "b", "random weights")]
    learning = sum(SIZE.tokens * SIZE.k * SIZE.channels[layer] for layer, _ in fits)
    assert made["fit"]["token x k x channel"] == learning
    assert made["fit"]["product"] == sum(2 * SIZE.tokens * 41 * SIZE.channels[layer] for layer, _ in fits)
    coded = [*fits, *((layer, "random directions") for layer in range(2))]
    assert made["codes"]["codes"] == sum(SIZE.rows[layer] * SIZE.k for layer, _ in coded)
    assert made["codes"]["product"] == sum(2 * SIZE.rows[at] * 41 * SIZE.channels[at] for at, _ in coded)
    assert made["analyses dictionary"]["row x column"] == sum(SIZE.rows[at] * 13 for at in (0, 0, 1, 1))
    dense = sum(SIZE.rows[at] * 2 * SIZE.channels[at] for at in (0, 1) for _ in ("neurons", "pca"))
    assert made["analyses dense baselines"]["values"] == dense
    bare = dataclasses.replace(SIZE, baselines=(), analyses=("fidelity",))
    assert set(law.work(bare)) == {"start", "labels.dna", "activations.dna", "fit", "codes", "quality", "pages"}
    brought = dataclasses.replace(SIZE, tokens=0)
    assert "fit" not in law.work(brought)


def test_an_estimate_adds_up_and_follows_the_machine() -> None:
    per = {
        "speed": 5e9,
        "time": {"activations.dna": {"product": 1e-9, "values": 1e-5}, "fit": {"once": 3.0}},
        "memory": {"start": {"once": 100.0}, "fit": {"once": 50.0}, "codes": {"rows": 0.001}},
        "disk": {"activations": {"value bytes": 1.0}, "dictionaries": {"codes": 8.0}},
    }
    made = cost.estimate(SIZE, Speed(10e9, 2.5e9, 4), per)
    values = 4_100 * 24 + 4_100 * 40
    forward = 7e9 * 1e-9 / 2 + values * 1e-5 * 2  # products twice as fast, the rest half as fast
    took = {stage.name: stage.seconds for stage in made.stages}
    assert took["activations.dna"] == took["activations-random-weights.dna"] == pytest.approx(forward)
    assert took["fit"] == pytest.approx(3.0 * 2 * 3 * 2) and made.seconds == pytest.approx(2 * forward + took["fit"])
    assert made.memory == 150.0
    assert made.kept == pytest.approx(2 * values * 4 + 2 * 4_100 * (3 + 1) * 2 * 8)
    assert made.peak == made.kept + 4_100 * (3 + 1) * 8
    known = cost.estimate(SIZE, Speed(10e9, 2.5e9, 4), per, forward=77.0)
    assert {s.name: s.seconds for s in known.stages}["activations.dna"] == pytest.approx(77.0 + values * 1e-5 * 2)


def test_a_machine_is_told_by_a_product() -> None:
    before = torch.get_num_threads()
    told = speed(0.02)
    assert torch.get_num_threads() == told.threads == before and told.one > 1e8 and 1e8 < told.product < 1e15


def test_the_law_is_fitted_to_what_was_planted(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    bench = runpy.run_path(str(ROOT / "benchmarks" / "cost.py"))
    rng = np.random.default_rng(3)
    planted: dict[str, dict[str, dict[str, float]]] = {"time": {}, "memory": {}, "disk": {}}
    points = []
    for i in range(9):
        n, d, m = int(rng.integers(2_000, 90_000)), int(rng.integers(16, 300)), int(rng.integers(64, 900))
        size = dataclasses.replace(
            SIZE, rows=(n,), channels=(d,), features=m, k=int(rng.integers(2, 40)), seeds=int(rng.integers(1, 4)),
            flops=float(rng.uniform(1e9, 9e11)), cells=int(1.3 * n), columns=int(rng.integers(2, 40)),
        )  # fmt: skip
        one = {
            "name": f"p{i}",
            "size": vars(size),
            "speed": 4e10,
            "machine": "a machine, load averages 1",
            "date": "today",
        }
        every = {
            "time": law.work(size),
            "memory": {"start": law.work(size)["start"], **law.memory(size)},
            "disk": law.disk(size),
        }
        for kind, stages in every.items():
            for stage, amounts in stages.items():
                shelf = stage.replace("-random-weights", "")
                per = planted[kind].setdefault(
                    shelf, {a: float(rng.uniform(1, 9)) / (1 + v) for a, v in amounts.items()}
                )
                value = sum(per[a] * v for a, v in amounts.items())
                key = {"time": "cpu", "memory": "memory", "disk": "disk"}[kind]
                base = one["memory"]["start"] if kind == "memory" and stage != "start" else 0.0
                one.setdefault(key, {})[NAMES.get(stage, stage)] = value + base
        points.append(one)
    made = bench["fit"](points)
    assert made["speed"] == 4e10 and made["machine"] == "a machine" and made["points"] == 9
    for one in points:
        size = cost.Size(**one["size"])
        told = cost.estimate(size, Speed(4e10, 4e10, 1), made)
        assert told.seconds == pytest.approx(sum(one["cpu"].values()), rel=0.01)
        assert told.kept == pytest.approx(sum(one["disk"].values()), rel=0.01)
        assert told.memory == pytest.approx(max(one["memory"].values()), rel=0.01)


# What the stages of the law are called where they are timed.
NAMES = {
    "labels.dna": "labels", "activations.dna": "activations",
    "activations-random-weights.dna": "activations-random-weights",
    "fit": "fit topk layer 1", "codes": "codes topk layer 1", "analyses sparse baselines": "analyses random-weights",
    "analyses dense baselines": "analyses pca", "analyses source baselines.dna": "analyses composition",
    "quality": "quality topk", "labels and rows": "rows",
}  # fmt: skip


# ---------------------------------------------------------------------- what ships, and what is said of it


def test_what_ships_predicts_the_disk_of_a_field(tmp_path: Path, tiny_model_folder: Path, tiny_model) -> None:
    from bioterp import activations

    run = config.load(write_run(tmp_path, tiny_model_folder, layers=[1], baselines=[]))
    source = open_source(run, lambda: tiny_model)
    activations(source, tiny_model, [1], tmp_path / "made")
    made = sum(path.stat().st_size for path in (tmp_path / "made").rglob("*") if path.is_file())
    told = cost.estimate(cost.size_of(run, source, tiny_model, 4), Speed(1e10, 1e10, 1))
    assert told.disk["activations"] == pytest.approx(made, rel=0.15)
    assert told.memory > 1e8 and told.seconds > 1 and all(stage.seconds >= 0 for stage in told.stages)


def test_check_says_what_a_run_takes_and_measures_when_asked(tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    file = write_run(tmp_path, tiny_model_folder)
    assert cli.main(["check", str(file), "--json", "--measure", "--quiet"]) == 0
    found = json.loads(capfd.readouterr().out)["findings"]
    lines = {one["where"]: one for one in found}
    assert {"time", "memory", "disk"} <= set(lines)
    data = next(one["data"] for one in found if one["data"])
    assert data["seconds"] == pytest.approx(sum(stage["seconds"] for stage in data["stages"]))
    assert data["memory"] == max(stage["memory"] for stage in data["stages"])
    assert data["disk"] == pytest.approx(sum(data["folders"].values())) and data["measured"]["points"] >= 5
    assert any(one["where"] == "time" and "bases or voxels a second" in one["what"] for one in found)


def test_too_little_memory_and_disk_are_told(monkeypatch, tmp_path: Path, tiny_model_folder: Path, tiny_model) -> None:
    run = config.load(write_run(tmp_path, tiny_model_folder))
    source = open_source(run, lambda: tiny_model)
    monkeypatch.setattr(takes, "available", lambda: 2e7)
    monkeypatch.setattr(takes.shutil, "disk_usage", lambda place: SimpleNamespace(free=3_000))
    found = {one.where: one for one in takes.findings(run, source, tiny_model, 9, False)}
    assert found["memory"].level == "warning" and "20.0 MB free" in found["memory"].what
    assert found["disk"].level == "problem" and "3 kB free" in found["disk"].what
    tight = dataclasses.replace(run, disk=1_000)
    found = {one.where: one for one in takes.findings(tight, source, tiny_model, 9, False)}
    assert found["disk"].level == "problem" and "the activations of layer 1 take" in found["disk"].what


def test_the_page_of_scale_is_current_and_its_figures_are_those_of_a_slate() -> None:
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert page == runpy.run_path(str(ROOT / "docs" / "make_scale.py"))["text"](), "run: python docs/make_scale.py"
    table = scale.figures().set_index(["study", "stage"])
    forward = table.loc[("a human genome, 7B model", "model, one pass")]
    bases = 2 * 2.94e9 * 10_240 / 8_192
    hours = bases * 2 * 7e9 * 26 / 32 / (989e12 * 0.35) / 3_600
    assert forward["1 GPU"] == pytest.approx(hours, rel=1e-6) and forward["64 GPU"] == pytest.approx(
        hours / 64, rel=1e-6
    )
    kept = scale.room().set_index(["study", "what"])["TB"]
    assert kept[("a human genome, 7B model", "activations on disk")] == pytest.approx(2 * 2.94e9 * 4_096 * 2 / 1e12)
    assert kept[("50,000 scans", "codes on disk")] == pytest.approx(50_000 * 17_000 * (32 * 8 + 8) / 1e12)
    windows = 35e6 / 512
    carriers = kept[("100,000 exomes, 7B model", "carriers, one number a haplotype and window in memory")]
    assert carriers == pytest.approx(windows * 200_000 * 4 / 1e12)
    half = scale.figures(utilisation=0.175).set_index(["study", "stage"])
    assert half.loc[forward.name, "8 GPU"] == pytest.approx(2 * forward["8 GPU"])
    assert all(math.isfinite(v) and v >= 0 for v in table.to_numpy().ravel()) and measured()["points"] >= 5
    assert "scale.md" in (ROOT / "mkdocs.yml").read_text() and sys.version_info >= (3, 11)
