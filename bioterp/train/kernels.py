"""The sparse half of a training step (kernels; see arrays only).

A step has one dense product, the encoder's. All that follows touches only the active (row, feature) pairs: the
reconstruction is a sum of k decoder rows, and the gradients of a feature's two weight rows are sums over the rows of
the batch it fired in. Pairs are sorted by feature, so that those two rows stay in the cache while they are summed and,
at once, moved by Adam: no gradient is ever stored.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from bioterp.arrays import Array
from bioterp.train.prefetch import fetch

EPS = np.float32(1e-8)
AHEAD = 2  # pairs

# numpy's error model: with Python's every division is asked whether it is by 0, number by number, and Adam takes 2.6
# times as long.
_quick: Any = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
_exact: Any = numba.njit(cache=True, nogil=True)


@_quick  # type: ignore[untyped-decorator]
def scaled(x: Array, mean: Array, scale: float, bias: Array, cap: float, out: Array, weight: Array) -> float:
    """out ← (x − mean)/scale − bias, row by row; returns Σ weight·((x − mean)/scale)².

    Rows longer than `cap` (of the scaled x) count less, weight (cap/‖x‖)²: a few huge rows must not be the whole loss.
    """
    total = 0.0
    inverse = np.float32(1 / scale)
    for r in range(x.shape[0]):
        row, to = x[r], out[r]
        squares = np.float32(0)
        for c in range(row.size):
            v = (row[c] - mean[c]) * inverse
            squares += v * v
            to[c] = v - bias[c]
        weight[r] = 1.0 if squares <= cap * cap else cap * cap / squares
        total += weight[r] * squares
    return total


@_quick  # type: ignore[untyped-decorator]
def rebuild(
    indptr: Array,
    column: Array,
    code: Array,
    decoder: Array,
    target: Array,
    weight: Array,
    cuts: Array,
    out: Array,
    pull: Array,
) -> float:
    """out[p, row] ← Σ_{q ≥ p} weight·(x̂_q − target)/len(cuts), x̂_q from the features below cuts[q] (columns increase).

    One cut: the error of the reconstruction. Several (Matryoshka): the slope for a feature that takes part in the
    reconstructions from p on. pull ← of every pair, the slope along its decoder row. Returns the weighted square error
    of the last, whole reconstruction.
    """
    cutsn, d = cuts.size, target.shape[1]
    share = np.float32(1 / cutsn)
    near = np.empty((cutsn, d), np.float32)  # written once: adding up in the far rows of `out` took four times as long
    last = 0.0
    for r in range(target.shape[0]):
        at, end = indptr[r], indptr[r + 1]
        squares = np.float32(0)
        for p in range(cutsn):
            to, before = near[p], near[max(p - 1, 0)]
            if p == 0:
                for c in range(d):
                    to[c] = -target[r, c]
            else:
                for c in range(d):
                    to[c] = before[c]
            while at < end and column[at] < cuts[p]:
                fetch(decoder, column[min(at + AHEAD, end - 1)])
                source, v = decoder[column[at]], code[at]
                for c in range(d):
                    to[c] += v * source[c]
                at += 1
        for c in range(d):
            squares += to[c] * to[c]
        last += weight[r] * squares
        times = weight[r] * share
        for p in range(cutsn - 1, -1, -1):
            to, after, put = near[p], near[min(p + 1, cutsn - 1)], out[p, r]
            for c in range(d):
                to[c] *= times
            if p < cutsn - 1:
                for c in range(d):
                    to[c] += after[c]
            for c in range(d):
                put[c] = to[c]
        p = 0
        for i in range(indptr[r], end):  # once more while the decoder rows are near
            while column[i] >= cuts[p]:
                p += 1
            to, source = near[p], decoder[column[i]]
            along = np.float32(0)
            for c in range(d):
                along += to[c] * source[c]
            pull[i] = along
    return last


@_exact  # type: ignore[untyped-decorator]
def by_feature(indptr: Array, column: Array, code: Array, pull: Array, width: int) -> tuple[Array, ...]:
    """CSR pairs → (starts (width + 1,), rows, codes, pulls) sorted by feature, rows increasing within one."""
    starts = np.zeros(width + 1, np.int64)
    for i in range(indptr[0], indptr[-1]):
        starts[column[i] + 1] += 1
    for j in range(width):
        starts[j + 1] += starts[j]
    at = starts[:-1].copy()
    n = starts[-1]
    rows, codes, pulls = np.empty(n, np.int32), np.empty(n, np.float32), np.empty(n, np.float32)
    for r in range(indptr.size - 1):
        for i in range(indptr[r], indptr[r + 1]):
            j = column[i]
            rows[at[j]], codes[at[j]], pulls[at[j]] = r, code[i], pull[i]
            at[j] += 1
    return starts, rows, codes, pulls


@_quick  # type: ignore[untyped-decorator]
def gather(j: int, pairs: Any, slope: Array, by: Any, x: Array, to_encoder: Array, to_decoder: Array) -> Any:
    """Add the gradients that the pairs of feature j give its two rows; returns that of its bias."""
    starts, rows, codes, pulls = pairs
    to_bias = np.float32(0)
    end = rows.size - 1
    for i in range(starts[j], starts[j + 1]):
        ahead = rows[min(i + AHEAD, end)]
        fetch(slope, ahead)
        fetch(x, ahead)
        s, source = slope[rows[i]], x[rows[i]]
        pull, times = pulls[i] * by, codes[i] * by
        to_bias += pull
        for c in range(s.size):
            to_decoder[c] += times * s[c]
        for c in range(source.size):
            to_encoder[c] += pull * source[c]
    return to_bias


@_quick  # type: ignore[untyped-decorator]
def gradients(
    lo: int,
    hi: int,
    main: Any,
    aux: Any,
    slopes: Array,
    group: Array,
    by: Any,
    by_aux: Any,
    x: Array,
    encoder: Array,
    to_encoder: Array,
    to_decoder: Array,
    to_bias: Array,
    shared: Array,
) -> None:
    """Store the gradients of features lo:hi; shared (d_in,) ← Σ bias gradient · encoder row, for what x is less by."""
    shared[:] = 0
    last = slopes[slopes.shape[0] - 1]
    for j in range(lo, hi):
        to_encoder[j] = 0
        to_decoder[j] = 0
        own = gather(j, main, slopes[group[j]], by, x, to_encoder[j], to_decoder[j])
        row = encoder[j]
        for c in range(row.size):
            shared[c] += own * row[c]
        to_bias[j] = own + gather(j, aux, last, by_aux, x, to_encoder[j], to_decoder[j])


@_quick  # type: ignore[untyped-decorator]
def move(p: Array, g: Array, first: Array, second: Array, adam: Array) -> None:
    """One Adam step of a row (Kingma and Ba 2015).

    adam: float32 (rate with the first moment's correction, the second's correction, β1, β2).
    """
    rate, unbias, keep1, keep2 = adam[0], adam[1], adam[2], adam[3]
    new1, new2 = np.float32(1) - keep1, np.float32(1) - keep2
    for c in range(p.size):
        first[c] = keep1 * first[c] + new1 * g[c]
        second[c] = keep2 * second[c] + new2 * g[c] * g[c]
        p[c] -= rate * first[c] / (np.sqrt(second[c]) * unbias + EPS)


@_quick  # type: ignore[untyped-decorator]
def turn(row: Array, g: Array) -> None:
    """Take away the part of a gradient that would only change the length of a row of unit length."""
    dot = np.float32(0)
    for c in range(row.size):
        dot += row[c] * g[c]
    for c in range(row.size):
        g[c] -= dot * row[c]


@_quick  # type: ignore[untyped-decorator]
def unit(row: Array) -> None:
    """Bring a row to length one."""
    squares = np.float32(0)
    for c in range(row.size):
        squares += row[c] * row[c]
    by = np.float32(1) / np.sqrt(max(squares, np.float32(1e-24)))
    for c in range(row.size):
        row[c] *= by


@_quick  # type: ignore[untyped-decorator]
def update(
    lo: int,
    hi: int,
    adam: Array,
    encoder: Array,
    decoder: Array,
    bias: Array,
    moments: Any,
    to_encoder: Array,
    to_decoder: Array,
    to_bias: Array,
) -> None:
    """Move features lo:hi by stored gradients (those summed over processes)."""
    for j in range(lo, hi):
        turn(decoder[j], to_decoder[j])
        move(encoder[j], to_encoder[j], moments[0][j], moments[1][j], adam)
        move(decoder[j], to_decoder[j], moments[2][j], moments[3][j], adam)
        move(bias[j : j + 1], to_bias[j : j + 1], moments[4][j : j + 1], moments[5][j : j + 1], adam)
        unit(decoder[j])


@_quick  # type: ignore[untyped-decorator]
def learn(
    lo: int,
    hi: int,
    main: Any,
    aux: Any,
    slopes: Array,
    group: Array,
    by: Any,
    by_aux: Any,
    x: Array,
    encoder: Array,
    decoder: Array,
    bias: Array,
    moments: Any,
    adam: Array,
    shared: Array,
) -> None:
    """`gradients` and `update` of features lo:hi in one go: nothing is stored between."""
    shared[:] = 0
    last = slopes[slopes.shape[0] - 1]
    to_encoder = np.empty(encoder.shape[1], np.float32)
    to_decoder = np.empty(decoder.shape[1], np.float32)
    to_bias = np.empty(1, np.float32)
    for j in range(lo, hi):
        to_encoder[:] = 0
        to_decoder[:] = 0
        own = gather(j, main, slopes[group[j]], by, x, to_encoder, to_decoder)
        row = encoder[j]
        for c in range(row.size):
            shared[c] += own * row[c]
        to_bias[0] = own + gather(j, aux, last, by_aux, x, to_encoder, to_decoder)
        turn(decoder[j], to_decoder)
        move(encoder[j], to_encoder, moments[0][j], moments[1][j], adam)
        move(decoder[j], to_decoder, moments[2][j], moments[3][j], adam)
        move(bias[j : j + 1], to_bias, moments[4][j : j + 1], moments[5][j : j + 1], adam)
        unit(decoder[j])
