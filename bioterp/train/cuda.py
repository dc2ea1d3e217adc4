"""One dictionary in training on a GPU: `engine.py`'s step, its arrays on the device from beginning to end.

The dense product, top-k and sort are torch's; what follows touches only the active pairs, by Triton's kernels or, where
those cannot be had, plain torch (`roads.py`, which says so). Both sum in a fixed order: a machine gives the same bits
every time. They are not the bits of the CPU, whose sums are in another order. Made and compared with `Engine` on CPU
tensors (the Triton kernels in its interpreter): no GPU was at hand, and neither CUDA nor NCCL has been run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from operator import methodcaller
from types import ModuleType
from typing import Any

import numpy as np
import torch

from bioterp.arrays import Array
from bioterp.train import torch_kernels
from bioterp.train.crew import Crew
from bioterp.train.device_pairs import Pairs, Sorted, batch_best, best, by_feature, counts, edges, stack
from bioterp.train.engine import Engine
from bioterp.train.moments import Moments
from bioterp.train.recipe import Recipe, Sizes
from bioterp.train.roads import place, road
from bioterp.train.torch_kernels import scaled
from bioterp.train.world import World

TILE = 1 << 26  # pre-activations that are held at once: 256 MB

Tensor = torch.Tensor


class CudaEngine:
    """As `Engine`, whose words hold here too; `device`: 'cuda', 'cuda:1', 'cpu' (for tests: slow); kernels: see roads.

    `held`: the tensors of the state, by name. The weights are read as numpy copies, and set by `restore` alone; a state
    is the same for both engines, so that a training can go on with the other.
    """

    def __init__(
        self,
        sizes: Sizes,
        recipe: Recipe,
        seed: int,
        into: Moments,
        crew: Crew,
        world: World | None = None,
        out: Moments | None = None,
        *,
        device: str | torch.device = "cuda",
        kernels: ModuleType | None = None,
    ):
        self.sizes, self.recipe, self.seed, self.world = sizes, recipe, seed, world or World()
        self.into, self.out, self.done, self._limit = into, out or into, 0, 0.0
        self.device, self.cuts = place(device), sizes.cuts
        begun = Engine(sizes, recipe, seed, into, crew, self.world, out)
        self.held = {name: torch.from_numpy(array).to(self.device) for name, array in begun.state().items()}
        del self.held["done"], self.held["limit"]  # these two are counted here
        self.group = torch.from_numpy(begun.group).to(self.device, torch.int64)
        self.centres = [self._sent(m.mean) for m in (self.into, self.out)]
        self.kernels = kernels or road(self.device, sizes.d_in, sizes.d_out, len(self.cuts))

    encoder, decoder, b_enc, b_out, skip = (
        property(methodcaller("_read", name)) for name in ("encoder", "decoder", "b_enc", "b_out", "skip")
    )

    def start(self, x: Array | Tensor, y: Array | Tensor | None = None) -> None:
        """`Engine.start`."""
        at, _, target, weight = self._scaled(x, y)
        made = torch.empty_like(target)[None]
        self._rebuild(self._select(at)[0], torch.zeros_like(target), weight, self.cuts[-1:], made)
        both = torch.stack([made[0] * target, made[0].square()]).sum((1, 2), dtype=torch.float64)
        along, squares = self.world.sum(both).tolist()
        self.held["encoder"] *= min(max(along / max(squares, 1e-12), 0.05), 1.0)

    def step(self, x: Array | Tensor, y: Array | Tensor | None = None) -> float:
        """`Engine.step`; x, y: numpy, or tensors that lie on the device already."""
        at, total, target, weight = self._scaled(x, y)
        silent, nested, b = self.held["silent"], len(self.cuts), len(at)
        longest = silent.topk(self.recipe.at_once(self.sizes.width)).values[-1]
        dead = ((silent > self.recipe.patience) & (silent >= longest)).nonzero().flatten()
        main, spare = self._select(at, dead)
        slopes = at.new_empty(nested + (spare is not None), *target.shape)
        errors = self._rebuild(main, target, weight, self.cuts, slopes[:nested])
        by_aux = torch.zeros_like(total)
        if spare is not None:
            left = slopes[nested - 1] * -float(nested)
            self._rebuild(spare, left, torch.ones_like(weight), self.cuts[-1:], slopes[nested:])
            squares = self.world.sum(left.square().sum(dtype=torch.float64))
            by_aux = 2 * self.recipe.aux / squares.clamp_min(1e-12)
        sums = self.world.sum(torch.stack([total, errors.sum(dtype=torch.float64), torch.full_like(total, b)]))
        by = (2 / sums[0].clamp_min(1e-12)).float()
        pairs = by_feature(main, spare, self.group, b, by, by_aux.float())
        self._learn(at, pairs, slopes, by)
        silent += sums[2].long()
        silent.masked_fill_(self.world.sum(counts(pairs.main, pairs.starts)) > 0, 0)
        self.done += 1
        return float(sums[1] / sums[0].clamp_min(1e-12))

    def limit(self, x: Array | Tensor) -> float:
        """The threshold, in scaled units, at which the mean number of active features of these rows is k."""
        bias = None if self.sizes.transcoder else self.held["b_out"]
        at, _, _ = scaled(self._sent(x), self.centres[0], self.into.scale, bias, math.inf)
        return batch_best(lambda: self._tiles(at), self.sizes.k, len(at), 0.0, self.world)[1]

    # ------------------------------------------------------------------ the parts of a step

    def _sent(self, x: Array | Tensor) -> Tensor:
        rows = x if isinstance(x, Tensor) else torch.from_numpy(np.ascontiguousarray(x, np.float32))
        if self.device.type == "cuda" and not rows.is_cuda:
            rows = rows.pin_memory()
        return rows.to(self.device, torch.float32, non_blocking=True).contiguous()

    def _scaled(self, x: Array | Tensor, y: Array | Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`Engine._scaled`."""
        rows, long = self._sent(x), self.recipe.cap * math.sqrt(self.sizes.d_out)
        if y is None:
            at, weight, total = scaled(rows, self.centres[0], self.into.scale, self.held["b_out"], long)
            return at, total, at, weight
        at, _, _ = scaled(rows, self.centres[0], self.into.scale, None, math.inf)
        target, weight, total = scaled(self._sent(y), self.centres[1], self.out.scale, self.held["b_out"], long)
        if self.sizes.skip:
            target -= at @ self.held["skip"].T
        return at, total, target, weight

    def _tiles(self, at: Tensor) -> Iterator[tuple[int, Tensor]]:
        size = max(64, TILE // self.sizes.width)
        for lo in range(0, len(at), size):
            yield lo, torch.addmm(self.held["b_enc"], at[lo : lo + size], self.held["encoder"].T)

    def _select(self, at: Tensor, dead: Tensor | None = None) -> tuple[Pairs, Pairs | None]:
        """The active pairs, and those of the dead features' own loss, if any are dead."""
        few = 0 if dead is None else min(2 * self.sizes.k, len(dead))
        spare: dict[int, Pairs] = {}

        def tiles() -> Iterator[tuple[int, Tensor]]:
            for lo, pre in self._tiles(at):
                if dead is not None and few and lo not in spare:
                    own = best(pre[:, dead], few, lo)
                    spare[lo] = own._replace(column=dead[own.column])
                yield lo, pre

        if self.sizes.kind == "topk" or self.done < self.recipe.even * self.recipe.steps:
            pairs = stack([best(pre, self.sizes.k, lo) for lo, pre in tiles()])
        else:
            pairs, self._limit = batch_best(tiles, self.sizes.k, len(at), self._limit, self.world)
        return pairs, stack([spare[lo] for lo in sorted(spare)]) if few else None

    def _rebuild(self, pairs: Pairs, target: Tensor, weight: Tensor, cuts: list[int], out: Tensor) -> Tensor:
        """Fill `out` with slopes; (b,) the weighted square errors of the whole reconstruction."""
        bounds = edges(pairs, len(target), cuts)
        errors: Tensor = self.kernels.rebuild(pairs, bounds, self.held["decoder"], target, weight, cuts, out)
        for p in range(len(cuts) - 2, -1, -1):
            out[p] += out[p + 1]
        return errors

    def _learn(self, at: Tensor, pairs: Sorted, slopes: Tensor, by: Tensor) -> None:
        """Gradients, and Adam: at once in one process, with a sum over processes between them in several."""
        held, kernels, adam, flat = self.held, self.kernels, self.recipe.adam(self.done), slopes.flatten(0, 1)
        live = (pairs.code > 0) * pairs.by
        dots, codes = kernels.dots(pairs, flat, held["decoder"]) * live, pairs.code * pairs.by
        both = torch.stack([dots * pairs.main, dots], 1)
        each = torch.arange(len(dots), device=at.device)
        own, to_bias = kernels.gather(pairs.starts, each, torch.ones_like(dots), both).T
        shared = own @ held["encoder"]  # before it moves
        to_out = (slopes[0].sum(0, dtype=torch.float64) * by).float()
        work: Any = ("encoder", pairs.row, dots, at, False), ("decoder", pairs.slope, codes, flat, True)
        grads = {"b_enc": to_bias.contiguous(), "b_out": to_out}
        if self.sizes.skip:
            grads["skip"] = by * (slopes[0].T @ at)
        if self.world.size > 1:
            grads |= {name: kernels.gather(pairs.starts, *how[:3]) for name, *how in work}
            for grad in (*grads.values(), shared):
                self.world.sum(grad)
        if not self.sizes.transcoder:  # what the decoder adds is what the encoder's input was less by
            to_out -= shared
        for name, index, times, table, unit in work:
            if name not in grads:
                moved = held[name], held[f"{name}.first"], held[f"{name}.second"]
                kernels.learn(pairs.starts, index, times, table, *moved, adam, unit)
        for name, grad in grads.items():
            moments = held[f"{name}.first"], held[f"{name}.second"]
            torch_kernels.move(held[name], grad, *moments, adam, unit=name == "decoder")

    def _read(self, name: str) -> Array:
        return np.array(self.held[name].cpu().numpy())

    def state(self) -> dict[str, Array]:
        """Everything that changes, by name, as `Engine.state`; copies."""
        read = {name: self._read(name) for name in self.held}
        return {**read, "done": np.array([self.done]), "limit": np.array([self._limit])}

    def restore(self, state: dict[str, Array]) -> None:
        """Go on from `state`: the same steps then give the same bits."""
        for name, tensor in self.held.items():
            tensor.copy_(torch.from_numpy(np.array(state[name])))
        self.done, self._limit = int(state["done"][0]), float(state["limit"][0])
