"""The small scan model: what is shipped, and the scripts that train and judge it."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from bioterp.models import load_model
from tests.conftest import ROOT, SHARED

TRAINING = ROOT / "training" / "scan_small"
LISTED = json.loads((TRAINING / "data.json").read_text())["sources"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports a file of training/scan_small, and forgets them all afterwards: their names are common words."""
    monkeypatch.syspath_prepend(str(TRAINING))
    own = {path.stem for path in TRAINING.glob("*.py")}
    kept = {name: sys.modules.pop(name) for name in own & set(sys.modules)}
    yield importlib.import_module
    for name in own & set(sys.modules):
        del sys.modules[name]
    sys.modules.update(kept)


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model("bioterp/scan-small")


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# -- what is shipped ---------------------------------------------------------------------------------------------


def test_each_layer_has_the_stride_and_width_of_its_level(model) -> None:
    assert model.modality == "volume"
    # One block at the finest level, two at each of the other three; channels double as voxels halve.
    for layer, level in enumerate([0, 1, 1, 2, 2, 3, 3]):
        assert model.stride(layer) == (2**level,) * 3
        assert model.width(layer) == 16 * 2**level
    assert model.wants == {"orientation": "RAS", "spacing": [1, 1, 1], "intensity": "zscore", "multiple": 8}


def test_a_feature_sees_only_its_receptive_field(model) -> None:
    # By hand: 1 + 2 for the first convolution, + 4 for the block's two, + 2 for the strided one, then per block at
    # stride 2 two convolutions of 2 × 2: 25 voxels for layer 2, so a voxel 13 or more away cannot matter.
    whole = noise(1, 64, 16, 24)
    other = whole.copy()
    other[:, 40:] += 3 * noise(1, 24, 16, 24, seed=1)
    first, second = (model.run(model.prepare([array]), [2])[2].reshape(32, 8, 12, 32) for array in (whole, other))
    near = (40 - 12) // 2
    assert torch.equal(first[: near - 1], second[: near - 1])
    assert not torch.allclose(first[near + 1], second[near + 1])


def test_features_move_with_the_picture(model) -> None:
    # Nothing tells a cell where it is: away from the edges, a scan moved by 8 voxels has features moved by 4 cells.
    scene = noise(1, 72, 48, 40)
    here, there = (
        model.run(model.prepare([np.ascontiguousarray(scene[:, low : low + 64])]), [2])[2].reshape(32, 24, 20, 32)
        for low in (0, 8)
    )
    edge = 8  # cells: more than half the receptive field
    assert torch.allclose(here[4 + edge : -edge], there[edge : -edge - 4], atol=1e-5)


# -- the data list -----------------------------------------------------------------------------------------------


def test_no_block_of_hippocampus_scans_is_in_two_splits_and_only_train_is_trained_on() -> None:
    def share(block: str) -> float:  # DESIGN: split 60/20/20 by blake2(block, seed)
        return int.from_bytes(hashlib.blake2b(f"0:{block}".encode(), digest_size=8).digest(), "big") / 2**64

    for row in LISTED:
        if row["group"] == "hippocampus":
            number = int(row["name"].removeprefix("hippocampus_"))
            wanted = "train" if share(row["block"]) < 0.6 else "valid" if share(row["block"]) < 0.8 else "test"
            assert (row["block"], row["split"]) == (str(number // 20), wanted)
        assert (row["weight"] > 0) == (row["split"] == "train")
    assert math.isclose(sum(row["weight"] for row in LISTED), 1, abs_tol=1e-3)


def test_the_demo_scan_and_two_people_are_kept_out() -> None:
    heads = {row["name"]: row["split"] for row in LISTED if row["group"] != "hippocampus"}
    assert [split for name, split in heads.items() if name.startswith("mni")] == ["test"]
    assert sum(split == "test" for name, split in heads.items() if name.startswith("IXI")) == 2


@pytest.fixture(scope="module")
def scans_folder() -> Any:
    if not (SHARED / "imaging").is_dir():
        pytest.skip("real imaging data are not here (set BIOTERP_SHARED to the folder that holds data/)")
    return SHARED / "imaging"


@pytest.mark.needs_shared
def test_the_list_hashes_to_the_files(scans_folder) -> None:
    for row in LISTED[::29]:
        assert hashlib.sha256((scans_folder / row["path"]).read_bytes()).hexdigest() == row["sha256"]


@pytest.mark.needs_shared
def test_the_shipped_model_fills_holes_of_a_scan_it_never_saw_better_than_what_is_around_them(
    script, scans_folder
) -> None:
    evaluate, corpus, baselines, holes = (script(n) for n in ("evaluate", "corpus", "baselines", "holes"))
    folder = ROOT / "bioterp" / "models" / "reference" / "scan_small"
    net = evaluate.shipped(folder, TRAINING / "decoder.safetensors")
    source = next(s for s in corpus.read_sources(TRAINING / "data.json") if s.split == "valid")
    voxels = corpus.read_scan(scans_folder, source).voxels
    assert voxels.mean() == pytest.approx(0, abs=0.01)
    found = {name: holes.mse(fill, [voxels], 8) for name, fill in
             (("model", holes.filled(net)), ("near", baselines.neighbours(1.0)), ("zero", holes.zero))}  # fmt: skip
    assert found["model"] < 0.8 * found["near"] < 0.8 * found["zero"]
    labels = corpus.read_labels(scans_folder, source)
    assert labels.shape == voxels.shape
    assert set(np.unique(labels)) == {0, 1, 2}


# -- crops, holes and cells --------------------------------------------------------------------------------------


def test_a_cut_beyond_the_scan_is_zero_there_and_says_so(script) -> None:
    scan = np.arange(1, 61, dtype=np.float32).reshape(3, 4, 5)
    crop, real = script("corpus").cut(scan, (-1, 2, 3), (3, 4, 5))
    assert real.sum() == 2 * 2 * 2
    assert (crop[~real] == 0).all()
    assert crop[1, 0, 0] == scan[0, 2, 3]
    assert crop[2, 1, 1] == scan[1, 3, 4]
    assert not script("corpus").cut(scan, (9, 0, 0), (2, 2, 2))[1].any()


def test_cubes_hide_whole_cubes_and_the_share_asked_for(script) -> None:
    hidden = script("corpus").cubes((20, 12, 16), 4, 0.6, np.random.default_rng(5))
    by_cube = hidden.reshape(5, 4, 3, 4, 4, 4).mean((1, 3, 5))
    assert set(np.unique(by_cube)) == {0, 1}
    assert by_cube.sum() == round(0.6 * 5 * 3 * 4)
    ragged = script("corpus").cubes((11, 13, 10), 8, 0.5, np.random.default_rng(5))
    assert ragged.shape == (11, 13, 10)


def test_a_step_draws_the_same_crops_whoever_asks(script) -> None:
    corpus = script("corpus")
    config = {**json.loads((TRAINING / "config.json").read_text()), "seed": 3}
    scans = []
    for i, (group, places) in enumerate([("hippocampus", None), ("ixi", np.array([[3, 9, 30], [20, 2, 5]], np.int16))]):
        source = corpus.Source(f"scan_{i}", "", "", group, "0", "train", 0.5)
        scans.append(corpus.Scan(source, 2 + noise(25, 33, 41, seed=i), places))
    first, again, later = (corpus.Sampler(scans, config).batch(step, 6, 32) for step in (7, 7, 8))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], later[0])
    voxels, hidden, scored = first
    assert voxels.shape == hidden.shape == scored.shape == (6, 1, 32, 32, 32)
    assert not (scored & ~hidden).any()
    assert not scored[voxels == 0].any()  # beyond the scan there is nothing to ask for


def test_the_loss_is_of_hidden_real_voxels_and_what_is_hidden_is_not_seen(script) -> None:
    train, small = script("train"), script("model")
    arguments = {"init_filters": 4, "blocks_down": [1, 1, 1, 1], "norm": "batch"}
    net = small.MaskedAutoencoder(arguments, seed=1).eval()
    voxels = torch.from_numpy(noise(2, 1, 16, 16, 24))
    hidden = torch.zeros_like(voxels, dtype=torch.bool)
    hidden[:, :, 4:8, 8:12, 16:20] = True
    changed = voxels.masked_fill(hidden, 9.0)
    assert torch.equal(net(voxels, hidden), net(changed, hidden))
    scored = hidden.clone()
    scored[1] = False
    with torch.no_grad():
        by_hand = [(float(a) - float(b)) ** 2 for a, b in zip(net(voxels, hidden)[0, 0, 4:8, 8:12, 16:20].flatten(),
                   voxels[0, 0, 4:8, 8:12, 16:20].flatten(), strict=True)]  # fmt: skip
        assert float(train.loss_of(net, voxels, hidden, scored)) == pytest.approx(np.mean(by_hand), rel=1e-5)


def test_a_killed_run_goes_on_from_its_checkpoint(script, tmp_path) -> None:
    train = script("train")
    config = json.loads((TRAINING / "config.json").read_text())
    config["model"] = {**config["model"], "init_filters": 4, "blocks_down": [1, 1]}
    run = train.Run(config, tmp_path)
    run.step, run.seconds = 20, 61.0
    run.log("train", 32, 0.5)
    run.save()
    run.step = 40
    run.log("train", 32, 0.4)  # after the checkpoint: these steps will be taken again
    (tmp_path / "checkpoint.pt.part").write_bytes(b"half a file")
    resumed = train.Run(config, tmp_path)
    assert (resumed.step, resumed.seconds) == (20, 61.0)
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name])
    lines = (tmp_path / "loss.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["step", "20"]
    with pytest.raises(ValueError, match="use another --out"):
        train.Run({**config, "model": {**config["model"], "init_filters": 8}}, tmp_path)


def test_an_export_is_read_by_load_model(script, tmp_path) -> None:
    small = script("model")
    config = json.loads((TRAINING / "config.json").read_text())
    config["model"] = {**config["model"], "init_filters": 6, "blocks_down": [1, 3]}
    encoder = small.build_encoder(config["model"], seed=2).eval()
    small.export(encoder, {**config, "wants": {"multiple": 2}}, tmp_path, {"steps": "5"})
    loaded = load_model(str(tmp_path))
    array = noise(1, 16, 24, 18)
    with torch.no_grad():
        fine, coarse = encoder(torch.from_numpy(array)[None])
    found = loaded.run(loaded.prepare([array]), [0, 3])
    assert torch.allclose(found[0], fine.flatten(2).transpose(1, 2), atol=1e-6)
    assert torch.allclose(found[3], coarse.flatten(2).transpose(1, 2), atol=1e-6)


# -- baselines ---------------------------------------------------------------------------------------------------


def test_laying_middle_on_middle_and_back_gives_the_scan_back(script) -> None:
    baselines = script("baselines")
    for shape, box in (((7, 10, 9), (12, 11, 14)), ((8, 9, 10), (13, 13, 10))):
        scan = 1 + noise(*shape) ** 2
        laid, real = baselines.centred(scan, box)
        back, covered = baselines.centred(laid, shape)
        assert covered.all()
        assert np.array_equal(back, scan)
        assert real.sum() == scan.size
        # Within half a voxel of the middle.
        ends = [(place.min(), side - 1 - place.max()) for place, side in zip(np.nonzero(real), box, strict=True)]
        assert all(abs(before - after) <= 1 for before, after in ends)


def test_the_mean_image_is_the_mean_of_what_is_there(script) -> None:
    small, large = np.full((4, 6, 8), 3.0, np.float32), np.full((8, 6, 8), 1.0, np.float32)
    fill = script("baselines").mean_image([small, large])
    mean = fill(large, np.ones(large.shape, bool))
    assert (mean[2:6] == 2).all()
    assert (mean[:2] == 1).all()
    assert (mean[6:] == 1).all()


def test_visible_neighbours_fill_a_hole_in_a_constant_scan_exactly(script) -> None:
    hidden = script("corpus").cubes((12, 16, 20), 4, 0.5, np.random.default_rng(1))
    shown = np.where(hidden, np.float32(0), np.float32(5))
    assert np.allclose(script("baselines").neighbours(1.5)(shown, hidden)[hidden], 5, atol=1e-3)


def test_components_fill_holes_as_the_gaussian_they_stand_for(script) -> None:
    baselines = script("baselines")
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((400, 3)) @ rng.standard_normal((3, 11)) * 2 + rng.standard_normal((400, 11)) / 4 + 1
    found = baselines.components(rows.astype(np.float32), 3)
    covariance = found.basis @ np.diag(found.variance - found.noise) @ found.basis.T + found.noise * np.eye(11)
    known = np.array([1, 0, 1, 1, 0, 1, 1, 0, 1, 0, 1], bool)
    values = rows[0].astype(np.float32)
    # Conditional mean of a Gaussian, from its covariance.
    from_known = np.linalg.solve(covariance[np.ix_(known, known)], (values - found.mean)[known])
    wanted = found.mean[~known] + covariance[np.ix_(~known, known)] @ from_known
    assert np.allclose(found.conditional_mean(values, known)[~known], wanted, atol=1e-3)
    # The covariance it stands for is that of the rows, but for what three components cannot say.
    assert np.allclose(np.trace(covariance), np.trace(np.cov(rows.T, bias=True)), rtol=1e-3)
    wide = baselines.components(rows[:8].astype(np.float32), 3)  # fewer rows than columns: by the other product
    assert np.allclose(wide.basis.T @ wide.basis, np.eye(3), atol=1e-4)
    other = np.linalg.svd(rows[:8] - rows[:8].mean(0))[1][:3] ** 2 / 8
    assert np.allclose(wide.variance, other, rtol=1e-3)


def test_patches_of_planted_components_fill_holes_and_do_not_look_at_them(script) -> None:
    baselines, corpus = script("baselines"), script("corpus")
    x, y, z = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in (18, 20, 17)), indexing="ij")
    scans = [a * x + b * y - a * b * z for a, b in np.random.default_rng(2).standard_normal((9, 2)).astype(np.float32)]
    model = baselines.components(baselines.patch_rows(scans[1:], 8, 300), 5)
    fill = baselines.patches(model, 8, 4)
    hidden = corpus.cubes(scans[0].shape, 4, 0.5, np.random.default_rng(3))
    guess = fill(np.where(hidden, np.float32(0), scans[0]), hidden)
    assert np.abs(guess - scans[0])[hidden].max() < 0.05 * np.abs(scans[0]).max()
    assert np.array_equal(guess, fill(np.where(hidden, np.float32(77), scans[0]), hidden))


def test_nobody_is_shown_what_is_hidden_and_all_are_asked_for_the_same(script) -> None:
    holes = script("holes")
    scan = 2 + noise(17, 12, 22) ** 2  # nowhere 0
    shown = []

    def look(voxels: np.ndarray, hidden: np.ndarray) -> np.ndarray:
        shown.append((voxels.copy(), hidden.copy()))
        return voxels

    ((wrong, count),) = holes.errors(look, [scan], 4)
    voxels, hidden = shown[0]
    assert (voxels[hidden] == 0).all()
    assert np.array_equal(voxels[~hidden], scan[~hidden])
    assert count == hidden.sum()
    assert wrong == pytest.approx(sum(float(v) ** 2 for v in scan[hidden]), rel=1e-5)
    holes.errors(look, [scan], 4)
    assert np.array_equal(shown[0][1], shown[1][1])


def test_random_weights_get_the_statistics_of_what_they_are_shown(script) -> None:
    evaluate, small = script("evaluate"), script("model")
    encoder = small.build_encoder({"init_filters": 5, "blocks_down": [1, 1], "norm": "batch"}, seed=8)
    scans = [noise(16, 8, 24, seed=i) * (1 + i) for i in range(3)]
    with torch.no_grad():
        first = [encoder.conv_init(torch.from_numpy(scan)[None, None]) for scan in scans]
    evaluate.settled(encoder, scans)
    norm = encoder.layers[0]["blocks"][0].norm1
    assert not encoder.training
    assert torch.allclose(norm.running_mean, torch.stack([f.mean((0, 2, 3, 4)) for f in first]).mean(0), atol=1e-6)


# -- probes ------------------------------------------------------------------------------------------------------


def test_cells_take_the_part_that_fills_half_of_them_and_the_touched_rest_is_not_asked(script) -> None:
    labels = np.zeros((5, 4, 6), np.int16)
    labels[0:2, 0:2, 0] = 1  # half of the first cell
    labels[0, 0, 2] = 2  # an eighth of the next
    labels[2:4, 2:4, 4:6] = 2
    found = script("probes").cell_classes(labels, 2)
    assert found.shape == (2, 2, 3)  # the fifth voxel along x is in no whole cell
    assert (found[0, 0, 0], found[0, 0, 1], found[1, 1, 2], found[1, 0, 0]) == (1, -1, 2, 0)


def test_surroundings_and_positions_belong_to_their_cells(script) -> None:
    probes = script("probes")
    scan = noise(9, 8, 10)
    around = probes.surroundings(scan, 2)
    assert around.shape == (4, 4, 5, 6**3)
    assert np.array_equal(around[1, 2, 3], scan[0:6, 2:8, 4:10].ravel())
    assert around[0, 0, 0].reshape(6, 6, 6)[:2].any() == False  # noqa: E712
    where = probes.positions(scan.shape, 2)
    assert where[1, 2, 3, :3].tolist() == [3 - 4.5, 5 - 4, 7 - 5]
    assert where[1, 2, 3, 3:6].tolist() == [1.5**2, 1, 2**2]


def test_a_probe_reads_a_planted_class_block_by_block(script) -> None:
    probes = script("probes")
    rng = np.random.default_rng(6)
    classes = rng.integers(0, 3, 900)
    rows = (np.eye(3)[classes] * 8 + rng.standard_normal((900, 3))).astype(np.float32)
    probe = probes.Probe(rows[:500], classes[:500])
    found = probes.by_block(probe, rows[500:], classes[500:], np.repeat(["b", "a"], 200))
    assert len(found["macro_f1"]) == 2
    assert min(found["macro_f1"]) > 0.98
    useless = probes.Probe(noise(500, 3), classes[:500]).score(rows[500:], classes[500:])
    assert useless["auroc_anterior"] < 0.9


def test_intervals_are_students_and_differences_are_paired(script) -> None:
    found = script("scoring").compared({"model": [1.0, 2.0, 4.0], "other": [0.5, 1.5, 3.5]}, "model")
    assert found["other"]["model_minus_this"] == {"mean": 0.5, "interval_95": [0.5, 0.5], "blocks": 3}
    # Student's t with 2 degrees of freedom at 97.5 %: 4.3027; the standard error is sd / √3.
    half = 4.3027 * np.std([1, 2, 4], ddof=1) / math.sqrt(3)
    assert found["model"]["interval_95"] == pytest.approx([7 / 3 - half, 7 / 3 + half], abs=1e-3)
    assert script("scoring").summary([1.0, 2.0])["interval_95"] is None
