"""Which layers lie on disk together: all of them once, no group too large, as few and as cheap as can be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bioterp.errors import InputError
from bioterp.planning import by_depth, groups, room_for_activations


def test_layers_from_shallow_to_deep() -> None:
    assert by_depth(["output", 4, -1, 0, "model.norm", -2]) == [0, 4, -2, -1, "output", "model.norm"]


def cost(plan: list[list[int]]) -> int:
    """Blocks of the model that are run: each group down to its deepest."""
    return sum(max(group) + 1 for group in plan)


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7])
@pytest.mark.parametrize("room", [10, 27, 41, 1_000])
def test_no_plan_of_as_many_groups_is_cheaper(count: int, room: int) -> None:
    size = dict.fromkeys(range(count), 10)
    plan = groups(list(range(count)), size, room)
    assert sorted(itertools.chain(*plan)) == list(range(count))
    assert all(sum(size[layer] for layer in group) <= room for group in plan)
    # Every way to put layers into boxes of this room, tried.
    boxes = len(plan)
    best = min(
        cost([np.flatnonzero(np.array(way) == box).tolist() for box in range(boxes) if box in way])
        for way in itertools.product(range(boxes), repeat=count)
        if max(way.count(box) for box in range(boxes)) * 10 <= room
    )
    assert cost(plan) == best and len(plan) == -(-count // (room // 10))


def test_a_layer_that_does_not_fit_is_said() -> None:
    with pytest.raises(InputError, match="layer 1 take 3 GB, and 2 GB are left"):
        groups([0, 1], {0: 10**9, 1: 3 * 10**9}, 2e9)


def test_no_limit_is_one_group() -> None:
    assert groups([3, 1], {1: 10**15, 3: 10**15}, room_for_activations(None, 10**9, 32)) == [[1, 3]]
    assert room_for_activations(8e9, 10**6, 31) == 7e9 - 2 * 10**6 * 256
