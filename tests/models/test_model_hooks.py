"""Hooks on networks that are odd."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from bioterp.errors import InputError
from bioterp.models.blocks import find_blocks
from bioterp.models.hooks import first_tensor, run_hooked, with_first_tensor
from bioterp.models.layouts import ConvLayout, TokenLayout


class Odd(nn.Module):
    """One module used twice, one never."""

    def __init__(self):
        super().__init__()
        self.once, self.twice, self.never = (nn.Linear(3, 3) for _ in range(3))
        self.late_steps = 0

    def forward(self, x):
        x = self.twice(self.twice(self.once(x)))
        self.late_steps += 1
        return x


def layout(items=2, tokens=4):
    return TokenLayout([np.arange(tokens)] * items, [tokens] * items, tokens)


def test_a_module_that_runs_twice_or_never_is_refused():
    net = Odd()
    x = torch.ones(2, 4, 3)
    for name, told in (("twice", "more than once"), ("never", "did not run")):
        with pytest.raises(InputError, match=told):
            run_hooked(net, lambda: net(x), layout(), [name], {})
        assert not any(m._forward_hooks for m in net.modules())


def test_early_stops_after_the_last_asked_module():
    net = Odd()
    x = torch.ones(2, 4, 3)
    found = run_hooked(net, lambda: net(x), layout(), ["once"], {}, early=True)
    assert net.late_steps == 0
    assert torch.equal(found["once"], net.once(x))


def test_the_shape_a_module_returns_is_checked():
    net = Odd()
    for shape in ((2, 5, 3), (2, 3), (3, 4, 3)):
        with pytest.raises(InputError, match="one vector per token"):
            run_hooked(net, lambda shape=shape: net(torch.ones(shape)), layout(), ["once"], {})


def test_first_tensor_and_back():
    class Pair(NamedTuple):
        hidden: torch.Tensor
        rest: int

    a, b = torch.zeros(2), torch.ones(2)
    for output in (a, (a, 1), [a, None], Pair(a, 2), OrderedDict(loss=None, logits=a, cache=7)):
        assert first_tensor(output, "x") is a
        changed = with_first_tensor(output, b)
        assert type(changed) is type(output)
        assert first_tensor(changed, "x") is b
        assert first_tensor(output, "x") is a
    for output in (None, (None, a), {}, ()):
        with pytest.raises(InputError, match="no hidden state"):
            first_tensor(output, "x")


def test_tokens_without_padding_in_one_row():
    """DNABERT-2 keeps (tokens of all items, channels); items of 5 and 3 tokens, special ones at both ends."""
    kind = TokenLayout([np.array([1, 2, 3]), np.array([1])], [5, 3], 5)
    hidden = torch.arange(16.0).reshape(8, 2)
    values = kind.unpack(hidden, "x")
    assert values[..., 0].tolist() == [[2, 4, 6], [12, 0, 0]]
    assert torch.equal(kind.pack(values, hidden, "x"), hidden)
    zeros = kind.pack(torch.zeros_like(values), hidden, "x")
    assert zeros.any(1).tolist() == [True, False, False, False, True, True, False, True]


def test_special_tokens_in_the_middle_are_kept_aside():
    kind = TokenLayout([np.array([0, 2, 3]), np.array([1, 2])], [4, 4], 4)
    hidden = torch.arange(8.0).reshape(2, 4, 1)
    values = kind.unpack(hidden, "x")
    assert values[..., 0].tolist() == [[0, 2, 3], [5, 6, 0]]
    packed = kind.pack(values + 100, hidden, "x")[..., 0]
    assert packed.tolist() == [[100, 1, 102, 103], [4, 105, 106, 7]]


def test_positions_and_channels_that_cannot_be_told_apart_are_refused():
    kind = ConvLayout([6, 6], 6)
    with pytest.raises(InputError, match="channels='first' or 'last'"):
        kind.unpack(torch.ones(2, 6, 6), "x")
    square = torch.arange(72.0).reshape(2, 6, 6)
    first = ConvLayout([6, 6], 6, channels="first").unpack(square, "x")
    last = ConvLayout([6, 6], 6, channels="last").unpack(square, "x")
    assert torch.equal(first, square.transpose(1, 2))
    assert torch.equal(last, square)


def test_blocks_are_the_longest_outermost_list():
    def block(experts):
        return nn.ModuleDict({"experts": nn.ModuleList(nn.Linear(2, 2) for _ in range(experts))})

    net = nn.ModuleDict(
        {"layers": nn.ModuleList(block(9) for _ in range(3)), "heads": nn.ModuleList([nn.Linear(2, 2)])}
    )
    assert find_blocks(net) == ["layers.0", "layers.1", "layers.2"]
    assert find_blocks(nn.Sequential(nn.Linear(1, 1), nn.ReLU())) == ["0", "1"]
    assert find_blocks(nn.Linear(1, 1)) == []
