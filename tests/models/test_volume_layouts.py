"""Hidden states of every form, their cells, and the way back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from bioterp.errors import InputError
from bioterp.models.lattices import Frame, Geometry, VolumeLayout, candidates

VOXELS = (6, 10, 14)
LATTICE = (3, 5, 7)
TOKENS = Frame(tokens=(2, 2, 2), prefix=4)


def coded(*lattice: int, items: int = 2, width: int = 11) -> torch.Tensor:
    """(items, x, y, z, channels) in which a number says where it is: item, x, y, z and channel, two digits each."""
    axes = [torch.arange(n, dtype=torch.float64) for n in (items, *lattice, width)]
    grid = torch.meshgrid(*axes, indexing="ij")
    return sum(part * 100.0 ** (4 - i) for i, part in enumerate(grid))


def cells_of(values: torch.Tensor) -> list[list[list[int]]]:
    """What `coded` wrote, read back: (items, cells, 5) as lists."""
    whole = values.long()
    return torch.stack([whole // 100**k % 100 for k in (4, 3, 2, 1, 0)], -1)[:, :, 0].tolist()


def forms() -> dict[str, tuple[VolumeLayout, torch.Tensor, int]]:
    """name → (layout, hidden state, numbers in it that are no cell)."""
    maps = coded(*LATTICE)
    flat = maps.reshape(2, -1, 11)
    special = torch.full((2, 4, 11), -1.0, dtype=torch.float64)
    slices = {}
    for axis in range(3):
        lattice = [n if i == axis else n // 2 for i, n in enumerate(VOXELS)]
        whole = coded(*lattice)
        stacked = whole.movedim(1 + axis, 1).flatten(0, 1)  # (items · slices, a, b, channels)
        maker = {
            f"slices {axis}, first": (Frame(slices=axis, channels="first"), stacked.movedim(-1, 1), 0),
            f"slices {axis}, last": (Frame(slices=axis, channels="last"), stacked, 0),
        }
        tokens = tuple(1 if i == axis else 2 for i in range(3))
        behind = torch.cat([stacked.new_full((len(stacked), 3, 11), -1.0), stacked.flatten(1, 2)], 1)
        maker[f"slices {axis}, tokens"] = (Frame(tokens, 3, axis), behind, len(stacked) * 3 * 11)
        slices |= {name: (VolumeLayout(2, VOXELS, frame), hidden, n) for name, (frame, hidden, n) in maker.items()}
    return {
        "first": (VolumeLayout(2, VOXELS), maps.movedim(-1, 1).contiguous(), 0),
        "first, strided": (VolumeLayout(2, VOXELS), maps.movedim(-1, 1), 0),
        "last": (VolumeLayout(2, VOXELS), maps, 0),
        "tokens": (VolumeLayout(2, VOXELS, TOKENS), torch.cat([special, flat], 1), 2 * 4 * 11),
        "tokens, none special": (VolumeLayout(2, VOXELS, TOKENS), flat, 0),
        **slices,
    }


@pytest.fixture(params=list(forms()))
def form(request):
    return (request.param, *forms()[request.param])


def test_cells_are_in_c_order(form):
    name, layout, hidden, _ = form
    axis = int(name[7]) if name.startswith("slices") else None
    lattice = [n if i == axis else n // 2 for i, n in enumerate(VOXELS)]
    values = layout.unpack(hidden, "a")
    assert values.shape == (2, np.prod(lattice), 11)
    wanted = [[[item, *at, 0] for at in itertools.product(*map(range, lattice))] for item in range(2)]
    assert cells_of(values) == wanted
    assert torch.equal(values[0, 3] - values[0, 3, 0], torch.arange(11.0, dtype=torch.float64))


def test_pack_and_unpack_are_inverses(form):
    _, layout, hidden, special = form
    values = layout.unpack(hidden, "a")
    assert torch.equal(layout.pack(values, hidden, "a"), hidden)
    other = torch.randn_like(values)
    packed = layout.pack(other, hidden, "a")
    assert packed.shape == hidden.shape
    assert torch.equal(layout.unpack(packed, "a"), other)
    ones = layout.pack(torch.ones_like(values), torch.zeros_like(hidden), "a")
    assert ones.sum() == ones.numel() - special == values.numel()
    # What is no cell stays as it was.
    assert (packed == -1).sum() == special


def test_unpack_copies_and_pack_leaves_the_hidden_state(form):
    _, layout, hidden, _ = form
    kept = hidden.clone()
    values = layout.unpack(hidden, "a")
    values += 5
    layout.pack(values, hidden, "a")
    assert torch.equal(hidden, kept)
    one = VolumeLayout(1, (2, 1, 3), Frame(tokens=(1, 1, 1), prefix=1))
    tokens = torch.zeros(1, 7, 2)
    one.unpack(tokens, "a").add_(1)
    assert not tokens.any()


def test_types_and_gradients_pass(form):
    _, layout, hidden, _ = form
    half = layout.unpack(hidden.to(torch.bfloat16), "a")
    assert half.dtype == torch.bfloat16
    assert layout.pack(half.float(), hidden.to(torch.bfloat16), "a").dtype == torch.bfloat16
    leaf = hidden.clone().requires_grad_()
    values = layout.unpack(leaf, "a")
    (gradient,) = torch.autograd.grad(layout.pack(values * 2, leaf, "a").sum(), leaf)
    cells = (layout.pack(torch.ones_like(values), torch.zeros_like(hidden), "a") == 1).double()
    assert torch.equal(gradient, 1 + cells)  # special tokens pass once, cells twice


def test_a_shape_that_can_be_two_things_is_refused():
    hidden = torch.zeros(1, 4, 4, 4, 4)
    with pytest.raises(InputError, match="give load_model the option channels='first' or 'last'"):
        VolumeLayout(1, (8, 8, 8)).unpack(hidden, "a")
    for channels in ("first", "last"):
        layout = VolumeLayout(1, (8, 8, 8), Frame(channels=channels))
        assert layout.geometry(hidden, "a") == Geometry(channels, (2, 2, 2), 4)
    assert len(candidates((1, 4, 4, 4, 4), 1, (8, 8, 8), Frame())) == 2
    assert candidates((1, 4, 4, 4, 4), 1, (8, 8, 6), Frame()) == []


def test_what_is_known_tells_them_apart():
    known = {"a": Geometry("last", (2, 2, 2), 4)}
    layout = VolumeLayout(1, (8, 8, 8), known=known)
    assert layout.geometry(torch.zeros(1, 4, 4, 4, 4), "a") == known["a"]
    with pytest.raises(InputError, match="is not its lattice of 2 × 2 × 2 voxels per cell"):
        layout.geometry(torch.zeros(1, 2, 4, 4, 4), "a")


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((2, 9), "one vector for a whole item"),
        ((2, 105, 11), r"a sequence of 105 tokens on a lattice that is not known.*tokens=\(px, py, pz\)"),
        ((16, 8, 11), "works on windows, heads or slices"),
        ((2, 11, 3, 4, 7), "divided by whole numbers"),
        ((2, 11, 3, 5), "divided by whole numbers"),
        ((1, 11, 3, 5, 7), "first axis is not the items"),
    ],
)
def test_hidden_states_without_cells_are_told(shape, told):
    with pytest.raises(InputError, match=told) as error:
        VolumeLayout(2, VOXELS).unpack(torch.zeros(shape), "deep.block")
    assert "the module 'deep.block' returns shape" in str(error.value)
    assert "2 items of 6 × 10 × 14 voxels" in str(error.value)


def test_another_number_of_tokens_is_told():
    with pytest.raises(InputError, match="104 tokens, which are not the tokens of"):
        VolumeLayout(2, VOXELS, TOKENS).unpack(torch.zeros(2, 104, 11), "a")
