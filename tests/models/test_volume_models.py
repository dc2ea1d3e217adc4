"""Volume models on MONAI's own architectures, tiny and random: where cells are, and what a run gives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from zoo_volumes import VOLUMES, Volume, plant

from bioterp.errors import InputError
from bioterp.models import load_model
from bioterp.models.drift import drift
from bioterp.models.volumes import VolumeModel


@pytest.fixture(scope="module")
def load() -> Callable[[str], Any]:
    made: dict[str, Any] = {}

    def get(kind: str) -> Any:
        if kind not in made:
            made[kind] = load_model(f"monai:{kind}", weights="random", arguments=VOLUMES[kind].arguments)
        return made[kind]

    return get


@pytest.fixture(params=list(VOLUMES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def truth(kind: str) -> Volume:
    return VOLUMES[kind]


@pytest.fixture
def model(kind: str, load: Callable[[str], Any]) -> Any:
    return load(kind)


def noise(truth: Volume, seed: int = 0, shape: Any = None) -> np.ndarray:
    size = (truth.channels, *(shape or truth.shape))
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


# -- where cells are ---------------------------------------------------------------------------------------------


def test_blocks_and_lattices_are_those_of_the_architecture(model, truth):
    assert model.modality == "volume"
    assert model.layers == tuple(truth.layers)
    assert model.multiple == truth.multiple
    assert model.in_channels == truth.channels
    batch = model.prepare([noise(truth)])
    for i, (name, stride) in enumerate(truth.layers.items()):
        assert model.stride(i) == model.stride(name) == stride
        (grid,) = model.lattice(batch, i)
        assert grid.shape == tuple(n // s for n, s in zip(truth.shape, stride, strict=True))
        # The last cell's far corner is the array's: cells tile it.
        assert grid.index_to_world(np.array([grid.shape])).tolist() == [list(map(float, truth.shape))]
        assert grid.centers[0].tolist() == [s / 2 for s in stride]
    (whole,) = batch.cells
    assert whole.shape == truth.shape


def test_a_bump_changes_most_the_cell_it_lies_in(kind, truth):
    """Every axis has another size, so that a transposed or reversed axis, or another order of cells, is found."""
    model = load_model(f"monai:{kind}", weights="random", arguments=truth.arguments)
    plant(model.module)
    random = np.random.default_rng(1)
    calm = np.zeros((truth.channels, *truth.shape), np.float32)
    before = model.run(model.prepare([calm]), list(truth.layers))
    for layer, stride in truth.layers.items():
        side = [max(s, truth.grain) for s in stride]
        lattice = [n // s for n, s in zip(truth.shape, side, strict=True)]
        cell = tuple(int(random.integers(n)) for n in lattice)
        bump = calm.copy()
        x, y, z = (slice(c * s, (c + 1) * s) for c, s in zip(cell, side, strict=True))
        bump[:, x, y, z] = 2.5
        after = model.run(model.prepare([bump]), [layer])[layer]
        change = (after - before[layer]).norm(dim=-1).numpy()
        # Cells of a layer in C order, and means of them where it is coarser than its cells.
        inner = [m // s for m, s in zip(side, stride, strict=True)]
        boxes = change.reshape([n for pair in zip(lattice, inner, strict=True) for n in pair]).mean((1, 3, 5))
        assert np.unravel_index(boxes.argmax(), boxes.shape) == cell, layer


def test_where_cells_look_is_measured():
    """By hand: three taps at stride two look half a voxel low, twice that one and a half; patches do not."""
    network = nn.Sequential(
        nn.Conv3d(1, 2, 3, stride=2, padding=1), nn.Conv3d(2, 3, 3, stride=(2, 2, 1), padding=1), nn.AvgPool3d(2)
    )
    for module in list(network)[:2]:
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
    model = VolumeModel("low", network, ["0", "1", "2"], multiple=(8, 8, 4))
    flat = np.ones((1, 48, 56, 60), np.float32)
    for layer, stride, shift in ((0, (2, 2, 2), [-0.5] * 3), (1, (4, 4, 2), [-1.5, -1.5, -0.5])):
        assert model.stride(layer) == stride
        np.testing.assert_allclose(drift(model, layer, flat, 5), [shift] * 5, atol=1e-5)
    np.testing.assert_allclose(drift(model, 2, flat, 3), [[-1.5, -1.5, -0.5]] * 3, atol=1e-5)  # pooling adds nothing
    patches = VolumeModel("even", nn.Sequential(nn.Conv3d(1, 2, 4, stride=4)), ["0"], multiple=4)
    nn.init.ones_(patches.module[0].weight)
    np.testing.assert_allclose(drift(patches, 0, flat, 2), np.zeros((2, 3)), atol=1e-5)
    assert not any(module._forward_hooks for module in network.modules())


def test_a_lattice_can_be_put_where_cells_look():
    network = nn.Sequential(nn.Conv3d(1, 2, 3, stride=(4, 2, 1), padding=1))
    batch = VolumeModel("a", network, ["0"], multiple=4).prepare([np.zeros((1, 8, 12, 4), np.float32)])
    (middle,) = VolumeModel("a", network, ["0"], multiple=4).lattice(batch, 0)
    (corner,) = VolumeModel("a", network, ["0"], multiple=4, anchor="corner").lattice(batch, 0)
    assert middle.centers[0].tolist() == [2, 1, 0.5]
    assert corner.centers[0].tolist() == [0.5, 0.5, 0.5]
    assert corner.shape == middle.shape == (2, 6, 4)
    assert (corner.centers - middle.centers).std(0).max() == 0
    with pytest.raises(InputError, match="wanted 'middle' or 'corner'"):
        VolumeModel("a", network, ["0"], anchor="edge")


# -- a run -------------------------------------------------------------------------------------------------------


def bare(model: Any, array: np.ndarray, layer: str) -> torch.Tensor:
    """What a module returns in a plain forward, by a hook of the test's own."""
    kept: list[Any] = []
    handle = model.module.get_submodule(layer).register_forward_hook(lambda _m, _i, out: kept.append(out))
    try:
        with torch.no_grad():
            model.module(torch.from_numpy(array)[None])
    finally:
        handle.remove()
    return kept[0]


def test_a_run_gives_what_the_bare_network_gives(model, truth):
    array = noise(truth)
    found = model.run(model.prepare([array]), list(truth.layers))
    for layer, stride in truth.layers.items():
        hidden = bare(model, array, layer)
        lattice = [n // s for n, s in zip(truth.shape, stride, strict=True)]
        values = found[layer][0]
        assert values.shape == (math.prod(lattice), model.width(layer))
        for cell in ([0, 0, 0], [n - 1 for n in lattice], [n // 2 for n in lattice]):
            mine = values[(cell[0] * lattice[1] + cell[1]) * lattice[2] + cell[2]]
            if hidden.dim() == 3:  # tokens, behind a class token or not
                tokens = hidden[0, hidden.shape[1] - math.prod(lattice) :]
                theirs = tokens.reshape(*lattice, -1)[tuple(cell)]
            elif "blocks" in layer and "swin" in layer:
                theirs = hidden[0, cell[0], cell[1], cell[2]]
            else:
                theirs = hidden[0, :, cell[0], cell[1], cell[2]]
            torch.testing.assert_close(mine, theirs)


def test_the_output_of_the_network(model, truth):
    array = noise(truth)
    batch = model.prepare([array])
    if not truth.output:
        with pytest.raises(InputError, match=r"feature maps|one vector for a whole item"):
            model.run(batch, ["output"])
        return
    with torch.no_grad():
        plain = model.module(torch.from_numpy(array)[None])
    plain = plain[0] if isinstance(plain, tuple) else plain
    found = model.run(batch, ["output"])["output"]
    torch.testing.assert_close(found[0].T.reshape(plain[0].shape), plain[0])
    assert model.stride("output") == (1, 1, 1)


def test_a_cell_does_not_depend_on_the_batch(model, truth):
    arrays = [noise(truth, seed) for seed in (1, 2, 3)]
    if not truth.size:
        double = tuple(n + m for n, m in zip(truth.shape, truth.multiple, strict=True))
        arrays[1] = noise(truth, 4, double)
    layers = list(truth.layers)[:: max(1, len(truth.layers) // 3)]
    batch = model.prepare(arrays)
    together = model.run(batch, layers)
    for layer in layers:
        grids = model.lattice(batch, layer)
        assert together[layer].shape[:2] == (3, max(grid.size for grid in grids))
        for i, array in enumerate(arrays):
            alone = model.run(model.prepare([array]), [layer])[layer]
            n = grids[i].size
            assert alone.shape[1] == n
            torch.testing.assert_close(together[layer][i, :n], alone[0], atol=2e-4, rtol=2e-4)
            assert not together[layer][i, n:].any()


def test_edits_reach_what_follows_and_nothing_else_changes(model, truth):
    first, *_, last = truth.layers
    batch = model.prepare([noise(truth)])
    plain = model.run(batch, [first, last])
    same = model.run(batch, [first, last], edit={first: lambda values: values.clone()})
    for layer in plain:
        torch.testing.assert_close(same[layer], plain[layer], atol=1e-6, rtol=1e-6)
    changed = model.run(batch, [first, last], edit={first: lambda values: values * 0})
    assert not changed[first].any()
    assert not torch.allclose(changed[last], plain[last])
    # The lattice of the last layer keeps an edit of one cell where it is.
    only = model.run(batch, [last], edit={last: lambda values: values.index_fill(1, torch.tensor([5]), 7.0)})[last]
    assert (only[0, 5] == 7).all()
    others = [i for i in range(only.shape[1]) if i != 5]
    assert torch.equal(only[0, others], plain[last][0, others])


def test_gradients_reach_the_layer(load):
    model, truth = load("SegResNet"), VOLUMES["SegResNet"]
    found = model.run(model.prepare([noise(truth)]), ["down_layers.1", "output"], grad=True)
    (gradient,) = torch.autograd.grad(found["output"].square().sum(), found["down_layers.1"])
    assert gradient.shape == found["down_layers.1"].shape
    assert gradient.abs().sum() > 0
    with pytest.raises(InputError, match="different shapes one by one; with grad=True give one shape"):
        model.run(model.prepare([noise(truth), noise(truth, 1, (8, 12, 16))]), [0], grad=True)


def test_the_model_is_left_as_found(kind, truth):
    model = load_model(f"monai:{kind}", weights="random", arguments=truth.arguments)
    next(iter(model.module.children())).train()
    modes = [module.training for module in model.module.modules()]
    before = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    random = torch.get_rng_state()
    assert model.width(0) > 0  # the probe
    model.run(model.prepare([noise(truth)]), [0, -1], edit={0: lambda values: values + 1})
    assert [module.training for module in model.module.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in model.module.state_dict().items())
    assert not any(module._forward_hooks for module in model.module.modules())
    assert torch.equal(torch.get_rng_state(), random)


# -- refusals ----------------------------------------------------------------------------------------------------


def test_arrays_that_cannot_be_run_are_told(load):
    model = load("SegResNet")
    with pytest.raises(InputError, match=r"multiples of 4 voxels, and got one of 12 × 18 × 16; give Scans multiple=4"):
        model.prepare([np.zeros((2, 12, 18, 16), np.float32)])
    with pytest.raises(InputError, match=r"takes 2 channels, and got an array of 3"):
        model.prepare([np.zeros((3, 12, 20, 16), np.float32)])
    holed = np.zeros((2, 12, 20, 16), np.float32)
    holed[1, 3, 4, 5] = np.nan
    with pytest.raises(InputError, match="NaN in it"):
        model.prepare([holed])
    holed[1, 3, 4, 5] = -np.inf
    with pytest.raises(InputError, match="infinite values in it"):
        model.prepare([holed])
    for array in (np.zeros((12, 20), np.float32), np.zeros((12, 20, 16), np.float32), np.zeros(9, np.uint8)):
        with pytest.raises(InputError, match=r"reads volumes, arrays \(channels, x, y, z\)"):
            model.prepare([array])
    with pytest.raises(InputError, match="at least one array"):
        model.prepare([])
    with pytest.raises(InputError, match=r"of 24 × 20 × 28 voxels only, and got one of 20 × 20 × 28"):
        load("ViTAutoEnc").prepare([np.zeros((1, 20, 20, 28), np.float32)])
    model.check_length((12, 20, 16))
    with pytest.raises(InputError, match="multiples of 4"):
        model.check_length(10)


@pytest.mark.parametrize(
    ("kind", "layer", "told"),
    [
        ("SwinUNETR", "swinViT.layers1.0.blocks.0.attn", "first axis is not the items, so it works on windows"),
        ("SwinUNETR", "swinViT.layers1.0.blocks.0.attn.qkv", "choose the block around it"),
        ("SwinUNETR", "swinViT", "returns 5 feature maps"),
        ("SwinUNETR", "swinViT.layers2.0.blocks", "did not run"),
        ("SwinUNETR", "encoder1.layer.lrelu", "runs more than once"),
        ("SegResEncoder", "output", "returns 4 feature maps"),
        ("ViT", "classification_head", "one vector for a whole item"),
        ("ViTAutoEnc", "blocks.1.attn.drop_output", None),
    ],
)
def test_modules_without_a_lattice_are_told(load, kind, layer, told):
    model, truth = load(kind), VOLUMES[kind]
    if told is None:
        assert model.stride(layer) == (4, 4, 4)
        return
    with pytest.raises(InputError, match=told):
        model.stride(layer)
    with pytest.raises(InputError, match=told):
        model.run(model.prepare([noise(truth)]), [layer])


class Odd(nn.Module):
    """A network whose layer gives other lattices for arrays that are no multiples of four."""

    def __init__(self) -> None:
        super().__init__()
        self.halve = nn.Conv3d(1, 5, 3, stride=2, padding=1)
        self.pool = nn.AdaptiveAvgPool3d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.halve(x) * self.pool(x)


def test_a_multiple_nobody_told_is_found_out():
    model = VolumeModel("odd", Odd(), ["halve"])
    assert model.stride(0) == (2, 2, 2)
    assert model.wants == {}
    with pytest.raises(InputError, match=r"multiples"):
        model.run(model.prepare([np.zeros((1, 9, 12, 10), np.float32)]), [0])
    with pytest.raises(InputError, match="'pool' returns shape"):
        model.stride("pool")


def test_a_probe_the_network_refuses_is_told():
    model = VolumeModel("deep", nn.Sequential(nn.Conv3d(1, 2, 3), nn.Flatten(), nn.Linear(7, 3)), ["0"])
    with pytest.raises(InputError, match=r"failed on an array of 1 × 16 × 8 × 8 .* multiple= or size="):
        model.stride(0)


# -- slices ------------------------------------------------------------------------------------------------------


class Tiles(nn.Module):
    """A two-dimensional network: maps, then tokens behind two registers."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 6, (3, 2), stride=(3, 2))
        self.block = nn.Linear(6, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.dim() == 4
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        registers = tokens.new_zeros(len(x), 2, 6)
        out: torch.Tensor = self.block(torch.cat([registers, tokens], 1))
        return out


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_become_a_lattice(axis):
    torch.manual_seed(2)
    network = Tiles()
    plane = [i for i in range(3) if i != axis]
    patch = [1, 1, 1]
    patch[plane[0]], patch[plane[1]] = 3, 2
    model = VolumeModel("tiles", network, ["patch", "block"], tokens=patch, prefix=2, slices=axis)
    assert model.multiple == tuple(patch)
    shapes = [(12, 6, 18), (12, 6, 18), (6, 12, 6)]
    arrays = [
        np.random.default_rng(i).standard_normal((1, *shape)).astype(np.float32) for i, shape in enumerate(shapes)
    ]
    batch = model.prepare(arrays)
    found = model.run(batch, ["patch", "block", "output"])
    for layer, width in (("patch", 6), ("block", 7), ("output", 7)):
        assert model.stride(layer) == tuple(patch)
        assert model.width(layer) == width
        grids = model.lattice(batch, layer)
        for i, array in enumerate(arrays):
            lattice = [n // p for n, p in zip(shapes[i], patch, strict=True)]
            assert grids[i].shape == tuple(lattice)
            mine = found[layer][i, : grids[i].size].reshape(*lattice, width)
            for at in range(shapes[i][axis]):
                image = torch.from_numpy(np.take(array[0], at, axis))[None, None]
                with torch.no_grad():
                    maps = network.patch(image)[0].permute(1, 2, 0)
                    theirs = maps if layer == "patch" else network.block(maps)
                torch.testing.assert_close(mine.select(axis, at), theirs)
