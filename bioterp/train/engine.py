"""One dictionary in training: the step.

Inputs are centred and scaled to unit mean square; decoder rows keep unit length, with the gradient along them removed.
The loss is the fraction of variance unexplained, so that neither batch size nor units set its scale. Features that have
not fired for a while reconstruct what the others left over (the auxiliary loss of Gao et al. 2024, whose gradient here
reaches their encoder rows too).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from bioterp.arrays import Array
from bioterp.train import kernels
from bioterp.train.crew import Crew
from bioterp.train.moments import Moments
from bioterp.train.products import Parts, product
from bioterp.train.recipe import Recipe, Sizes
from bioterp.train.selection import SELECTIONS, BatchTopK, RowTopK, stack
from bioterp.train.world import World

TILE = 1 << 23  # pre-activations of a tile: 1,024 rows of 8,192; smaller ones cost the product 3 to 12 %
PIECES, FEATURES = 64, 128  # the features are done in at most so many pieces, of at least so many


class Engine:
    """sizes, recipe; `into`: mean and scale of what is read, `out`: of what a transcoder predicts."""

    def __init__(
        self,
        sizes: Sizes,
        recipe: Recipe,
        seed: int,
        into: Moments,
        crew: Crew,
        world: World | None = None,
        out: Moments | None = None,
    ):
        self.sizes, self.recipe, self.seed, self.crew, self.world = sizes, recipe, seed, crew, world or World()
        self.into, self.out = into, out or into
        m, rng = sizes.width, np.random.default_rng(seed)
        decoder = rng.standard_normal((m, sizes.d_out), np.float32)
        self.decoder = decoder / np.linalg.norm(decoder, axis=1, keepdims=True)
        self.encoder = self.decoder.copy() if not sizes.transcoder else _unit(rng, m, sizes.d_in)
        self.b_enc, self.b_out = np.zeros(m, np.float32), np.zeros(sizes.d_out, np.float32)
        self.skip = np.zeros((sizes.d_out, sizes.d_in) if sizes.skip else (0, sizes.d_in), np.float32)
        self.moments = [np.zeros_like(a) for a in self._weights for _ in range(2)]
        self.silent = np.zeros(m, np.int64)  # rows since each feature last fired
        self.done = 0
        none = np.zeros(0, np.float32)
        self._none = np.zeros(m + 1, np.int64), np.zeros(0, np.int32), none, none  # no pairs, sorted by feature
        self._slopes = none
        self.selection, self.evenly = SELECTIONS[sizes.kind](sizes.k), RowTopK(sizes.k)
        self.cuts = np.array(sizes.cuts, np.int32)
        self.group = np.searchsorted(self.cuts, np.arange(m), side="right").astype(np.int32)

    @property
    def _weights(self) -> list[Array]:
        return [self.encoder, self.decoder, self.b_enc, self.b_out, self.skip]

    def start(self, x: Array, y: Array | None = None) -> None:
        """Scale the tied encoder so that the first reconstruction has about the right length."""
        at, _, target, weight = self._scaled(x, y)
        code, column, indptr = self._select(at)[0]
        made = np.zeros((1, *target.shape), np.float32)
        nowhere, whole, pull = np.zeros_like(target), self.cuts[-1:], np.empty_like(code)
        kernels.rebuild(indptr, column, code, self.decoder, nowhere, weight, whole, made, pull)
        both = np.array([np.vdot(made[0], target), np.vdot(made[0], made[0])], np.float64)
        along, squares = self.world.sum(both)
        self.encoder *= np.float32(min(max(along / max(squares, 1e-12), 0.05), 1.0))

    def step(self, x: Array, y: Array | None = None) -> float:
        """One step of Adam on (b, d_in) rows in model units; y (b, d_out): what a transcoder is to predict.

        b: this process' share of the batch. Returns the fraction of the batch's variance that was unexplained.
        """
        at, total, target, weight = self._scaled(x, y)
        dead = self._dead()
        pairs, spare = self._select(at, dead)
        slopes = self._room(len(self.cuts) + (len(dead) > 0), *target.shape)
        main, errors = self._rebuild(pairs, target, weight, self.cuts, slopes[: len(self.cuts)])
        aux, left = self._none, np.zeros((0, 0), np.float32)
        if len(dead):
            left = slopes[len(self.cuts) - 1] * np.float32(-len(self.cuts))
            aux, _ = self._rebuild(spare, left, np.ones(len(x), np.float32), self.cuts[-1:], slopes[-1:])
        sums = self.world.sum(np.array([total, errors, len(x), np.vdot(left, left)], np.float64))
        by_aux = 2 * self.recipe.aux / max(sums[3], 1e-12) if len(dead) else 0.0
        self._learn(at, main, aux, slopes, 2 / max(sums[0], 1e-12), by_aux)
        fired = self.world.sum(np.diff(main[0])) > 0
        self.silent += int(sums[2])
        self.silent[fired] = 0
        self.done += 1
        return float(sums[1] / max(sums[0], 1e-12))

    def limit(self, x: Array) -> float:
        """The threshold, in scaled units, at which the mean number of active features of these rows is k."""
        best = BatchTopK(self.sizes.k)
        at = np.empty((len(x), self.sizes.d_in), np.float32)
        bias = np.zeros_like(at[0]) if self.sizes.transcoder else self.b_out
        x = np.ascontiguousarray(x, np.float32)
        kernels.scaled(x, self.into.mean, self.into.scale, bias, math.inf, at, np.empty(len(x), np.float32))
        self._select(at, selection=best)
        return best.limit

    # ------------------------------------------------------------------ the parts of a step

    def _dead(self) -> Array:
        """The features that are helped: silent for too long, and, of more than a share of all, for longest."""
        last = self.sizes.width - self.recipe.at_once(self.sizes.width)
        longest = np.partition(self.silent, last)[last]
        return np.flatnonzero((self.silent > self.recipe.patience) & (self.silent >= longest))

    @property
    def _selection(self) -> Any:
        return self.evenly if self.done < self.recipe.even * self.recipe.steps else self.selection

    def _room(self, *shape: int) -> Array:
        """Room for slopes, kept from step to step: fresh pages cost more than what is written to them."""
        size = math.prod(shape)
        if len(self._slopes) < size:
            self._slopes = np.empty(size, np.float32)
        return self._slopes[:size].reshape(shape)

    def _scaled(self, x: Array, y: Array | None) -> tuple[Array, float, Array, Array]:
        """What the encoder reads, the sum of squares to be explained, what is to be made, and the weight of rows."""
        x = np.ascontiguousarray(x, np.float32)
        cap, weight = self.recipe.cap, np.empty(len(x), np.float32)
        none = np.zeros(self.sizes.d_in, np.float32)
        at = np.empty_like(x)
        long = cap * math.sqrt(self.sizes.d_out)
        if y is None:
            total = kernels.scaled(x, self.into.mean, self.into.scale, self.b_out, long, at, weight)
            return at, total, at, weight
        kernels.scaled(x, self.into.mean, self.into.scale, none, math.inf, at, weight)
        target = np.empty((len(x), self.sizes.d_out), np.float32)
        y = np.ascontiguousarray(y, np.float32)
        total = kernels.scaled(y, self.out.mean, self.out.scale, self.b_out, long, target, weight)
        if self.sizes.skip:
            target -= at @ self.skip.T
        return at, total, target, weight

    def _tiles(self, rows: int) -> list[tuple[int, int]]:
        size = min(max(64, TILE // self.sizes.width), max(64, -(-rows // 4)))
        return [(lo, min(lo + size, rows)) for lo in range(0, rows, size)]

    def _select(self, at: Array, dead: Array | None = None, selection: Any = None) -> tuple[Parts, Parts]:
        """The active pairs, and those of the dead features' own loss."""
        dense = product(self.recipe.selection, self.encoder, self.b_enc)
        few = 0 if dead is None else min(2 * self.sizes.k, len(dead))
        spare: dict[int, Parts] = {}

        def tile(ends: tuple[int, int], pick: Any) -> Parts:
            room = self.crew.buffer(ends[1] - ends[0], self.sizes.width)
            seen = dense.near(at[ends[0] : ends[1]], room)
            if dead is not None and few and ends[0] not in spare:
                code, column, indptr = seen.among(dead).top(few)
                spare[ends[0]] = code, dead[column].astype(np.int32), indptr
            parts: Parts = pick(seen)
            return parts

        tiles = self._tiles(len(at))
        parts = (selection or self._selection).run(
            lambda pick: self.crew.map(lambda ends: tile(ends, pick), tiles), len(at), self.world
        )
        return parts, stack([spare[lo] for lo, _ in tiles]) if few else parts

    def _rebuild(self, pairs: Parts, target: Array, weight: Array, cuts: Array, slopes: Array) -> tuple[Any, float]:
        """Fill `slopes`; the pairs sorted by feature, and the weighted square error of the whole reconstruction."""
        code, column, indptr = pairs
        pull = np.empty_like(code)

        def tile(ends: tuple[int, int]) -> float:
            lo, hi = ends
            begin, own = indptr[lo : hi + 1], (target[lo:hi], weight[lo:hi], cuts, slopes[:, lo:hi])
            error: float = kernels.rebuild(begin, column, code, self.decoder, *own, pull)
            return error

        error = math.fsum(self.crew.map(tile, self._tiles(len(target))))
        return kernels.by_feature(indptr, column, code, pull, self.sizes.width), error

    def _learn(self, at: Array, main: Any, aux: Any, slopes: Array, by: float, by_aux: float) -> None:
        """Gradients, and Adam: at once in one process, with a sum over processes between them in several."""
        edges = np.linspace(0, self.sizes.width, min(PIECES, -(-self.sizes.width // FEATURES)) + 1).astype(int)
        pieces = [(i, lo, hi) for i, (lo, hi) in enumerate(pairwise(edges))]
        shared = np.zeros((len(pieces), self.sizes.d_in), np.float32)
        adam = self.recipe.adam(self.done)
        group = self.group
        data: Any = main, aux, slopes, group, np.float32(by), np.float32(by_aux), at
        moments = tuple(self.moments[:6])
        weights: Any = self.encoder, self.decoder, self.b_enc
        to_out = slopes[0].sum(0, dtype=np.float64).astype(np.float32) * np.float32(by)
        to_skip = np.float32(by) * (slopes[0].T @ at) if self.sizes.skip else self.skip
        if self.world.size == 1:
            self.crew.map(lambda p: kernels.learn(p[1], p[2], *data, *weights, moments, adam, shared[p[0]]), pieces)
        else:
            grads = [np.empty_like(w) for w in weights]
            self.crew.map(lambda p: kernels.gradients(p[1], p[2], *data, self.encoder, *grads, shared[p[0]]), pieces)
            for grad in (*grads, shared, to_out, *([to_skip] if self.sizes.skip else [])):
                self.world.sum(grad)
            self.crew.map(lambda p: kernels.update(p[1], p[2], adam, *weights, moments, *grads), pieces)
        if not self.sizes.transcoder:  # what the decoder adds is what the encoder's input was less by
            to_out -= shared.sum(0, dtype=np.float64).astype(np.float32)
        kernels.move(self.b_out, to_out, self.moments[6], self.moments[7], adam)
        if self.sizes.skip:
            flat = [a.reshape(-1) for a in (self.skip, to_skip, self.moments[8], self.moments[9])]
            kernels.move(*flat, adam)

    # ------------------------------------------------------------------ keeping it

    def state(self) -> dict[str, Array]:
        """Everything that changes, by name; arrays are the engine's own."""
        names = ("encoder", "decoder", "b_enc", "b_out", "skip")
        held = dict(zip(names, self._weights, strict=True))
        for i, name in enumerate(names):
            held |= {f"{name}.first": self.moments[2 * i], f"{name}.second": self.moments[2 * i + 1]}
        return {**held, "silent": self.silent, "done": np.array([self.done]), "limit": np.array([self._limit])}

    def restore(self, state: dict[str, Array]) -> None:
        """Go on from `state`: the same steps then give the same bits."""
        for name, array in self.state().items():
            if name in ("done", "limit"):
                continue
            array[...] = state[name]
        self.done = int(state["done"][0])
        if hasattr(self.selection, "limit"):
            self.selection.limit = float(state["limit"][0])

    @property
    def _limit(self) -> float:
        return getattr(self.selection, "limit", 0.0)


def _unit(rng: np.random.Generator, m: int, d: int) -> Array:
    rows = rng.standard_normal((m, d), np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
