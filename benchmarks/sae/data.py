"""Synthetic activations whose dictionary is known, so that a trained one can be compared with the truth.

    python benchmarks/sae/data.py [--folder FOLDER] [--size 128 --size 512 --size 1024]

    x = mean + Σ c_j D_j + noise

D_j: as many random unit directions as latents are trained. They come in groups of 16 that occur together: a row draws
max(1, Poisson(k/2)) groups by a power law (exponent 0.7) and from each 1 + Poisson(1) members by Zipf's law, so that k
are drawn on average (a little fewer are distinct). c_j: the feature's own size (log-normal, σ 0.25) times Gamma(4)/4.
Noise is white, with 1 % of the signal's variance; the mean is as long as the signal is on average, as activations of
real networks are not centred. 200,000 rows to train on, 65,536 held out.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import real
import scipy.sparse
from shared import REAL, SIZES, Size, default_folder

SEED = 20_261_120  # of the data; those of training are others
TRAIN, HELD, BLOCK = 200_000, 65_536, 8_192
GROUP, POWER, NOISE, MEAN = 16, 0.7, 0.01, 1.0


@dataclass(frozen=True)
class Acts:
    """train, held (n, d) float32 in model units; truth (m, d) unit rows, none for real ones; frequency (m,) of each."""

    train: np.ndarray
    held: np.ndarray
    truth: np.ndarray
    frequency: np.ndarray


class Law:
    """The random directions, sizes and probabilities of one size; draws rows from them."""

    def __init__(self, size: Size, rng: np.random.Generator) -> None:
        self.rng, self.k = rng, size.k
        directions = rng.standard_normal((size.width, size.d))
        self.truth = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)
        groups = size.width // GROUP
        self.of_group = _normed(rng.permutation(np.arange(1, groups + 1) ** -POWER))
        self.of_member = _normed(1 / np.arange(1, GROUP + 1))
        self.size = np.exp(rng.normal(0, 0.25, size.width))
        signal = self.codes(BLOCK) @ self.truth
        self.noise = float(np.sqrt(NOISE * signal.var(0).sum() / size.d))
        mean = rng.standard_normal(size.d)
        self.mean = (mean * (MEAN * np.linalg.norm(signal, axis=1).mean() / np.linalg.norm(mean))).astype(np.float32)

    def codes(self, rows: int) -> Any:
        """(rows, m) CSR of true coefficients; a feature drawn twice counts with the sum."""
        drawn = np.maximum(self.rng.poisson(self.k / 2, rows), 1)
        row = np.repeat(np.arange(rows), drawn)
        group = self.rng.choice(len(self.of_group), len(row), p=self.of_group)
        members = 1 + self.rng.poisson(1.0, len(row))
        row, group = np.repeat(row, members), np.repeat(group, members)
        feature = group * GROUP + self.rng.choice(GROUP, len(row), p=self.of_member)
        value = self.size[feature] * self.rng.gamma(4.0, 0.25, len(row))
        made = scipy.sparse.coo_matrix((value.astype(np.float32), (row, feature)), (rows, len(self.size)))
        return made.tocsr()

    def rows(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """(count, d) activations, and in how many of them each feature is active (m,)."""
        codes = self.codes(count)
        noise = self.noise * self.rng.standard_normal((count, len(self.mean)), dtype=np.float32)
        return codes @ self.truth + self.mean + noise, np.bincount(codes.indices, minlength=len(self.size))


def _normed(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum()


def make(folder: Path, name: str) -> None:
    """Write train, held and truth of a size; what is there already stays."""
    done = folder / f"truth-{name}.npz"
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    size = SIZES[name]
    law = Law(size, np.random.default_rng([SEED, size.d]))
    times = np.zeros(size.width)
    for part, count in (("train", TRAIN), ("held", HELD)):
        beside = folder / f"{part}-{name}-{os.getpid()}.npy"  # two processes may make the same data: the same bytes
        out = np.lib.format.open_memmap(beside, "w+", np.float32, (count, size.d))
        for lo in range(0, count, BLOCK):
            hi = min(lo + BLOCK, count)
            out[lo:hi], active = law.rows(hi - lo)
            if part == "train":
                times += active
        out.flush()
        beside.replace(folder / f"{part}-{name}.npy")
    beside = folder / f"truth-{name}-{os.getpid()}.npz"
    np.savez(beside, truth=law.truth, frequency=(times / TRAIN).astype(np.float32))
    beside.replace(done)
    print(f"d {size.d}: {times.sum() / TRAIN:.2f} true features per row, {np.mean(times == 0):.2%} of them never")


def load(folder: Path, name: str) -> Acts:
    """Read what `make` wrote, for real activations that of real.py; makes it first."""
    if name in REAL:
        real.make(folder, name)
        train, held = (np.load(folder / f"{part}-{name}.npy") for part in ("train", "held"))
        return Acts(train, held, np.zeros((0, train.shape[1]), np.float32), np.zeros(0, np.float32))
    make(folder, name)
    truth = np.load(folder / f"truth-{name}.npz")
    train, held = (np.load(folder / f"{part}-{name}.npy") for part in ("train", "held"))
    return Acts(train, held, truth["truth"], truth["frequency"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=default_folder())
    parser.add_argument("--size", action="append", choices=SIZES, help="default: all")
    options = parser.parse_args()
    for name in options.size or SIZES:
        make(options.folder / "data", name)


if __name__ == "__main__":
    main()
