"""Fitting a Dictionary.

TopK (Gao et al. 2024) and BatchTopK (Bussmann et al. 2024) sparse autoencoders. The only dense product of a step is
the encoder's; decoder and both weight gradients go through the k active codes per row. Inputs are centred and scaled to
unit mean square; decoder rows keep unit norm, with the gradient along them removed. Features that have not fired for a
while reconstruct the residual (the auxiliary loss of Gao et al.) through the same sparse gradients, which reach the
encoder too. A BatchTopK dictionary is deployed with one threshold, calibrated on a pass over the data with the final
weights.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from bioterp.dictionary import Dictionary
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.progress import track

KINDS = ("topk", "batchtopk")
CHUNK = 2_048  # consecutive rows read at once
BUFFER = 1 << 18  # rows mixed in memory
AUX = 1 / 32
# torch says once per process that CSR is "in beta"; the two products used here are tested against dense ones.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
CALIBRATION = 65_536


def fit(
    acts: Field,
    *,
    width: int,
    k: int,
    seed: int = 0,
    kind: str = "topk",
    tokens: int | None = None,
    batch: int = 1_024,
    lr: float | None = None,
    threads: int | None = None,
) -> Dictionary:
    """Fit a sparse autoencoder to the rows of a Field.

    acts: (n, d) activations, usually `acts.split('train')`. width: number of features. k: active features per row (its
    mean for BatchTopK). tokens: rows seen in all (default: once through, at least 500k, at most 2M; rows come again
    when there are fewer). lr: peak learning rate of Adam (default by width). The same seed gives the same weights on
    the same machine and thread count; torch's own random state is left alone. Raises InputError for impossible sizes
    and NaN.
    """
    n, d = acts.shape
    if kind not in KINDS:
        raise InputError(f"kind is one of {', '.join(KINDS)}; got {kind!r}")
    if not 0 < k < width:
        raise InputError(f"k must lie between 1 and width − 1; got k {k}, width {width}")
    if n < 2:
        raise InputError(f"a dictionary needs rows to learn from; got {n}")
    tokens = tokens or min(max(n, 500_000), 2_000_000)
    batch = min(batch, n)
    steps = max(1, tokens // batch)
    mean, scale = moments(acts, seed)
    trainer = Trainer(d, width, k, kind, steps, lr or 4e-3 / math.sqrt(width / 1024), seed)
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            stream = batches(acts, batch, seed)
            for step in track(range(steps), f"fit {kind} {width}/{k} seed {seed}", steps):
                x = (torch.from_numpy(next(stream)) - mean) / scale
                if step == 0:
                    trainer.start(x)
                trainer.step(x)
            sizes = {"width": width, "k": k, "kind": kind, "tokens": steps * batch, "seed": seed}
            gamma = float(mean.norm() / (scale * math.sqrt(d)))
            about = {**acts.about, **sizes, "representation": "dictionary", "gamma": gamma}
            threshold = (
                trainer.calibrate(_sample(acts, CALIBRATION, seed + 1), mean, scale) if kind == "batchtopk" else None
            )
    finally:
        torch.set_num_threads(before)
    encoder, decoder, b_enc, b_dec = (p.detach().numpy().copy() for p in trainer.parameters)
    made: dict[str, Any] = {"k": k} if kind == "topk" else {"activation": "threshold", "threshold": threshold}
    return Dictionary(encoder, decoder, b_enc, b_dec, mean.numpy(), scale, about=about, **made)


def moments(acts: Field, seed: int, rows: int = 262_144) -> tuple[torch.Tensor, float]:
    """Mean (d,) of a sample of rows, and the root mean square of what is left when it is taken away."""
    x = torch.from_numpy(_sample(acts, rows, seed))
    if not torch.isfinite(x).all():
        raise InputError(
            "the activations hold NaN or infinite values; find them with bioterp.activations or import again"
        )
    mean = x.mean(0, dtype=torch.float64).float()
    scale = float((x - mean).square().mean(dtype=torch.float64).sqrt())
    if scale == 0:
        raise InputError("the activations do not vary: every row is the same; there is nothing to learn")
    return mean, scale


def _sample(acts: Field, rows: int, seed: int) -> Any:
    """About `rows` rows, read as chunks spread at random."""
    return np.concatenate([acts.read(lo, hi) for lo, hi in _chunks(len(acts), seed)[: max(1, rows // CHUNK)]])


def _chunks(n: int, seed: int) -> list[tuple[int, int]]:
    order = np.random.default_rng(seed).permutation(-(-n // CHUNK))
    return [(int(c) * CHUNK, min((int(c) + 1) * CHUNK, n)) for c in order]


def batches(acts: Field, size: int, seed: int) -> Iterator[Any]:
    """Shuffled (size, d) float32 batches without end; at most BUFFER rows are in memory at a time."""
    epoch = 0
    left = np.zeros((0, acts.shape[1]), np.float32)
    while True:
        chunks = _chunks(len(acts), seed + 7919 * epoch)
        per = max(1, BUFFER // CHUNK)
        for at in range(0, len(chunks), per):
            rows = np.concatenate([left, *(acts.read(lo, hi) for lo, hi in chunks[at : at + per])])
            np.random.default_rng([seed, epoch, at]).shuffle(rows)
            whole = len(rows) // size * size
            for lo in range(0, whole, size):
                yield rows[lo : lo + size]
            left = rows[whole:]
        epoch += 1


class Trainer:
    """One SAE in training. Inputs are centred and scaled (batch, d) float32; run under torch.no_grad."""

    def __init__(self, d: int, width: int, k: int, kind: str, steps: int, lr: float, seed: int):
        generator = torch.Generator().manual_seed(seed)
        self.decoder = torch.nn.functional.normalize(torch.randn(width, d, generator=generator), dim=1)
        self.encoder = self.decoder.clone()
        self.b_enc, self.b_dec = torch.zeros(width), torch.zeros(d)
        self.k, self.kind, self.steps, self.lr, self.done = k, kind, steps, lr, 0
        self.parameters = [self.encoder, self.decoder, self.b_enc, self.b_dec]
        self.optimizer = torch.optim.Adam(
            [p.requires_grad_() for p in self.parameters], lr=lr, betas=(0.9, 0.999), fused=True
        )
        self.silent = torch.zeros(width, dtype=torch.long)  # rows since each feature last fired
        self.patience = max(50_000, width * 20)

    def start(self, x: torch.Tensor) -> None:
        """Scale the tied encoder so that the first reconstruction has about the right length."""
        value, index = self._choose(x)
        made = self._decode(value, index, len(x))
        gain = float((made * x).sum() / made.square().sum().clamp_min(1e-12))
        self.encoder.mul_(min(max(gain, 0.05), 1.0))

    def step(self, x: torch.Tensor) -> float:
        """One Adam step; returns the fraction of variance unexplained in the batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * min(1.0, (self.done + 1) / 50, 5 * (1 - self.done / self.steps))
        row, index, value = self._pairs(x)
        error = self._decode(value, index, len(x), row) + self.b_dec - x
        total = x.square().sum().clamp_min(1e-12)
        slope = error * (2 / total)  # the gradient of FVU: neither batch size nor units set its scale
        self._gradients(x, slope, row, index, value, fresh=True)
        fired = torch.zeros_like(self.silent, dtype=torch.bool)
        fired[index] = True
        self.silent += len(x)
        self.silent[fired] = 0
        dead = (self.silent > self.patience).nonzero()[:, 0]
        if len(dead):
            self._revive(x, -error, dead)
        turn = self.decoder.grad
        if turn is not None:  # only what turns a decoder row is of use: its length is fixed
            turn -= (turn * self.decoder).sum(1, keepdim=True) * self.decoder
        self.optimizer.step()
        self.decoder.copy_(torch.nn.functional.normalize(self.decoder, dim=1))
        self.done += 1
        return float(error.square().sum() / total)

    def calibrate(self, x: Any, mean: torch.Tensor, scale: float) -> float:
        """The threshold (raw code units) at which the mean number of active features on these rows is k."""
        best: list[torch.Tensor] = []
        most = min(8 * self.k, len(self.b_enc))
        for lo in range(0, len(x), 8192):
            rows = (torch.from_numpy(x[lo : lo + 8192]) - mean) / scale
            best.append(self._pre(rows).topk(most, dim=1).values.flatten())
        values = torch.cat(best).sort(descending=True).values
        at = min(self.k * len(x), len(values) - 1)
        return float(values[at].clamp_min(0)) * scale

    def _pre(self, x: torch.Tensor) -> torch.Tensor:
        return torch.addmm(self.b_enc, x - self.b_dec, self.encoder.T)

    def _choose(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value, index = self._pre(x).topk(self.k, dim=1)
        return value.clamp_min(0).flatten(), index.flatten()

    def _pairs(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Active (row, feature, code) triples, sorted by row."""
        if self.kind == "topk":
            value, index = self._choose(x)
            row = torch.arange(len(x)).repeat_interleave(self.k)
            return row, index, value
        pre = self._pre(x)
        # Flat top-(k·batch). Nearly all of it lies within a row's own top 4k, which is far less to sort.
        most = min(4 * self.k, pre.shape[1])
        value, index = pre.topk(most, dim=1)
        limit = value.flatten().topk(self.k * len(x)).values[-1]
        if (value[:, -1] > limit).any():  # some row has more: take the exact road
            value, index = pre, torch.arange(pre.shape[1]).expand_as(pre)
            limit = value.flatten().topk(self.k * len(x)).values[-1]
        keep = (value >= limit) & (value > 0)
        return keep.nonzero()[:, 0], index[keep], value[keep]

    def _decode(
        self, value: torch.Tensor, index: torch.Tensor, n: int, row: torch.Tensor | None = None
    ) -> torch.Tensor:
        counts = torch.full((n,), self.k) if row is None else torch.bincount(row, minlength=n)
        crow = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
        codes = torch.sparse_csr_tensor(crow, index, value, (n, len(self.b_enc)), check_invariants=False)
        return codes @ self.decoder

    def _gradients(
        self,
        x: torch.Tensor,
        slope: torch.Tensor,
        row: torch.Tensor,
        index: torch.Tensor,
        value: torch.Tensor,
        fresh: bool,
    ) -> None:
        """Set or add the gradients of Σ slope·x̂ through the active pairs."""
        order = index.argsort(stable=True)
        row, index, value = row[order], index[order], value[order]
        code_slope = (slope[row] * self.decoder[index]).sum(1)
        crow = torch.cat([torch.zeros(1, dtype=torch.long), torch.bincount(index, minlength=len(self.b_enc)).cumsum(0)])
        shape = (len(self.b_enc), len(x))
        by_code = torch.sparse_csr_tensor(crow, row, value, shape, check_invariants=False)
        by_slope = torch.sparse_csr_tensor(crow, row, code_slope, shape, check_invariants=False)
        to_bias = torch.zeros_like(self.b_enc).index_add_(0, index, code_slope)
        grads = [by_slope @ (x - self.b_dec), by_code @ slope, to_bias, slope.sum(0) - to_bias @ self.encoder]
        for parameter, gradient in zip(self.parameters, grads, strict=True):
            if fresh or parameter.grad is None:
                parameter.grad = gradient
            else:
                parameter.grad += gradient

    def _revive(self, x: torch.Tensor, residual: torch.Tensor, dead: torch.Tensor) -> None:
        """The auxiliary loss: the best dead features of each row reconstruct what the living ones left over."""
        k = min(self.k * 2, len(dead))
        pre = torch.addmm(self.b_enc[dead], x - self.b_dec, self.encoder[dead].T)
        value, at = pre.topk(k, dim=1)
        value = value.clamp_min(0).flatten()
        index = dead[at.flatten()]
        row = torch.arange(len(x)).repeat_interleave(k)
        error = self._decode(value, index, len(x), row) - residual
        slope = error * (2 * AUX / residual.square().sum().clamp_min(1e-12))
        keep = value > 0
        self._gradients(x, slope, row[keep], index[keep], value[keep], fresh=False)
        # The auxiliary loss is the dead features' own: it must not move the shared decoder bias.
        if self.b_dec.grad is not None:
            self.b_dec.grad -= slope.sum(0)
