"""Between a module's output and (item, cell, channel): `unpack` and `pack`, pure inverses.

A layout belongs to one forward (one `Part` of a batch). `unpack` copies the hidden states of cells out, in
order, zero where an item has no cell; `pack` puts them back and leaves everything that is no cell (special
tokens, padding, flanks) as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from bioterp.arrays import Array
from bioterp.errors import InputError

Back = Callable[[Tensor], Tensor]


class Layout:
    """Where the cells of each item lie along the position axis of a hidden state.

    positions: one increasing integer array per item, the positions of its cells.
    """

    def __init__(self, positions: Sequence[Array]):
        self.items = len(positions)
        self.counts = [len(p) for p in positions]
        self.cells = max(self.counts)
        item = np.repeat(np.arange(self.items), self.counts)
        cell = np.concatenate([np.arange(n) for n in self.counts])
        self._item = torch.from_numpy(item)
        self._position = torch.from_numpy(np.concatenate(positions).astype(np.int64))
        self._target = torch.from_numpy(item * self.cells + cell)
        start = int(positions[0][0]) if self.counts[0] else 0
        even = np.arange(start, start + self.cells)
        # The common case, a window of tokens between special tokens, is one slice.
        self._slice = start if all(np.array_equal(p, even) for p in positions) else None

    def unpack(self, hidden: Tensor, name: str) -> Tensor:
        """A module's hidden state → a fresh (items, cells, channels), zero past an item's own cells."""
        rows, _ = self._open(hidden, name)
        if rows.dim() == 3 and self._slice is not None:
            return rows[:, self._slice : self._slice + self.cells].clone(memory_format=torch.contiguous_format)
        flat, source = self._flat(rows)
        out = flat.new_zeros(self.items * self.cells, flat.shape[1])
        out[self._target.to(flat.device)] = flat[source]
        return out.view(self.items, self.cells, -1)

    def pack(self, values: Tensor, hidden: Tensor, name: str) -> Tensor:
        """(items, cells, channels) → the hidden state with its cells replaced, in the shape it had."""
        rows, back = self._open(hidden, name)
        flat, source = self._flat(rows)
        out = flat.clone()
        out[source] = values.reshape(-1, values.shape[-1])[self._target.to(flat.device)].to(flat.dtype)
        return back(out.view(rows.shape))

    def _open(self, hidden: Tensor, name: str) -> tuple[Tensor, Back]:
        """Hidden state → (items, positions, channels), or (valid positions, channels); and the way back."""
        raise NotImplementedError

    def _flat(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(positions of all items, channels), and where in it the cells are."""
        source = self._item * rows.shape[1] + self._position
        return rows.reshape(-1, rows.shape[-1]), source.to(rows.device)


class TokenLayout(Layout):
    """Hidden states of a token model: (items, tokens, channels), or (tokens that are not padding, channels).

    tokens: the padded number of tokens; lengths: the number of tokens of each item, special ones included.
    """

    def __init__(self, positions: Sequence[Array], lengths: Sequence[int], tokens: int):
        super().__init__(positions)
        self.tokens = tokens
        self.real = int(sum(lengths))
        starts = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64))
        self._unpadded = starts[self._item] + self._position

    def _open(self, hidden: Tensor, name: str) -> tuple[Tensor, Back]:
        if hidden.dim() == 3 and hidden.shape[:2] == (self.items, self.tokens):
            return hidden, lambda rows: rows
        # DNABERT-2 and other flash-attention code keep the tokens of a batch in one row without padding.
        if hidden.dim() == 2 and hidden.shape[0] == self.real:
            return hidden, lambda rows: rows
        raise InputError(
            f"the module '{name}' returns shape {tuple(hidden.shape)} for {self.items} items of {self.tokens} tokens; "
            "wanted (items, tokens, channels): its cells cannot be told, so choose a module with one vector per token"
        )

    def _flat(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        if rows.dim() == 2:
            return rows, self._unpadded.to(rows.device)
        return super()._flat(rows)


class ConvLayout(Layout):
    """Hidden states of a convolutional net: (items, channels, positions), or positions before channels.

    counts: cells per item; length: bases per item as the network receives them, flanks and padding included;
    flank: padding at the left that is no cell; stride: bases per cell; channels: 'first', 'last' or None
    (told from the shape).
    """

    def __init__(
        self, counts: Sequence[int], length: int, flank: int = 0, stride: int = 1, channels: str | None = None
    ):
        super().__init__([np.arange(n) for n in counts])
        self.length, self.flank, self.stride, self.channels = length, flank, stride, channels

    def _open(self, hidden: Tensor, name: str) -> tuple[Tensor, Back]:
        if hidden.dim() != 3 or hidden.shape[0] != self.items:
            raise self._refusal(hidden, name)
        axes = [axis for axis in (2, 1) if self._offset(hidden.shape[axis]) is not None]
        if self.channels is not None:
            axes = [axis for axis in axes if axis == (2 if self.channels == "first" else 1)]
        if not axes:
            raise self._refusal(hidden, name)
        if len(axes) == 2:
            raise InputError(
                f"the module '{name}' returns shape {tuple(hidden.shape)}, in which positions and channels cannot be "
                "told apart; give load_model the option channels='first' or 'last'"
            )
        start = self._offset(hidden.shape[axes[0]]) or 0
        rows = hidden if axes[0] == 1 else hidden.transpose(1, 2)
        end = start + self.cells

        def back(inner: Tensor) -> Tensor:
            whole = torch.cat([rows[:, :start], inner, rows[:, end:]], 1)
            return whole if axes[0] == 1 else whole.transpose(1, 2).contiguous()

        return rows[:, start:end], back

    def _offset(self, n: int) -> int | None:
        """The first cell on an axis of n positions; None when the axis is not one of positions."""
        if n * self.stride == self.length:
            return self.flank
        return 0 if self.flank and n == self.cells else None

    def _refusal(self, hidden: Tensor, name: str) -> InputError:
        shape = tuple(hidden.shape)
        for n in reversed(shape[1:]) if hidden.dim() == 3 else ():
            stride, rest = divmod(self.length, n)
            if n > 1 and not rest and stride != self.stride:
                return InputError(
                    f"the module '{name}' returns shape {shape} for {self.length} bases, and cells of {self.stride} bp "
                    f"were expected; if its cells are {stride} bp, load the model with stride={stride}"
                )
        return InputError(
            f"the module '{name}' returns shape {shape} for {self.items} items of {self.length} bases, and a lattice "
            f"of {self.stride} bp cells does not fit it; choose a module whose length divides the input's"
        )
