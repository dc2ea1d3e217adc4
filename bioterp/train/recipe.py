"""What is trained, and how: the sizes of a dictionary and the numbers of its training."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bioterp.arrays import Array
from bioterp.errors import InputError

KINDS = ("topk", "batchtopk", "matryoshka")
SELECTED = ("float32", "bfloat16")
NESTED = (16, 8, 4, 2, 1)  # a Matryoshka's inner dictionaries hold 1/16, 1/8 … of its features


@dataclass(frozen=True)
class Sizes:
    """d_in, d_out channels; width features, k of them active per row (its mean for the batch kinds).

    kind: 'topk' (Gao et al. 2024), 'batchtopk' (Bussmann et al. 2024), 'matryoshka' (BatchTopK whose first features
    must do by themselves, too: Bussmann et al. 2025). A transcoder predicts other activations than it reads; `skip`
    gives it a linear path beside the features (Paulo et al. 2025).
    """

    d_in: int
    d_out: int
    width: int
    k: int
    kind: str = "topk"
    transcoder: bool = False
    skip: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"kind is one of {', '.join(KINDS)}; got {self.kind!r}")
        if not 0 < self.k < self.width:
            raise InputError(f"k must lie between 1 and width − 1; got k {self.k}, width {self.width}")
        if self.skip and not self.transcoder:
            raise InputError("skip is a path from one layer to another: give the target of a transcoder with it")

    @property
    def cuts(self) -> list[int]:
        """Where the nested reconstructions end; one, the whole width, for the kinds that are not nested."""
        if self.kind != "matryoshka":
            return [self.width]
        return sorted({max(1, self.width // part) for part in NESTED})


@dataclass(frozen=True)
class Recipe:
    """steps of `batch` rows; lr: the peak rate of Adam.

    warm: steps to it; the last `cool` of all steps bring it down to 0. aux: weight of the loss that features silent
    for `patience` rows have of their own. helped: of all features, the share that may have it at once, those silent
    for longest (and their equals): it would drag off what is rare and right. even: the share of the steps in which the
    batch kinds, too, choose row by row: from the start they starve features whose values are small. cap: rows longer
    than this many times the typical row count less. selection: the product that decides which features are active;
    'bfloat16' decides the same.
    """

    batch: int
    steps: int
    lr: float
    warm: int = 50
    cool: float = 0.2
    aux: float = 1 / 32
    patience: int = 50_000
    helped: float = 0.1
    even: float = 0.9
    cap: float = 4.0
    beta1: float = 0.9
    beta2: float = 0.99
    selection: str = "float32"

    def __post_init__(self) -> None:
        if self.selection not in SELECTED:
            raise InputError(f"selection is one of {', '.join(SELECTED)}; got {self.selection!r}")

    def at_once(self, width: int) -> int:
        """How many features are helped at once."""
        return max(1, int(self.helped * width))

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.lr * min(1.0, (step + 1) / self.warm, (1 - step / self.steps) / self.cool)

    def adam(self, step: int) -> Array:
        """What `kernels.move` needs for a step: the rate over the first moment's correction, the second's, β1, β2."""
        rate = self.rate(step) / (1 - self.beta1 ** (step + 1))
        return np.array([rate, 1 / math.sqrt(1 - self.beta2 ** (step + 1)), self.beta1, self.beta2], np.float32)


def batch_size(tokens: int, rows: int, share: float, processes: int = 1) -> int:
    """Rows of a step: few when there are few tokens, for then the number of steps is what is short.

    share: width/k, in how many rows a feature of a fair share fires once; with fewer than about four firings a step
    features die.
    """
    batch = 512
    while batch < 4096 and batch < 4 * share:
        batch *= 2
    while batch < 4096 and tokens // batch > 8_000:
        batch *= 2
    batch = min(batch, rows)
    return max(processes, batch // processes * processes)


def recipe(sizes: Sizes, tokens: int, batch: int, lr: float | None = None, selection: str | None = None) -> Recipe:
    """The rule for `tokens` rows in all, `batch` in a step.

    A feature of a fair share fires every width/k rows; one that is silent for ten times as long needs help at once: ten
    thousand rows later, in a short run, it is lost. The rate falls with the cube root of the width: at twice as much a
    third of 8,192 features died (docs/decisions.md has the figures). Directions of few channels have larger entries,
    and bear larger steps: twice as large at 32.
    """
    steps = max(1, tokens // batch)
    few = min(2.0, max(1.0, math.sqrt(128 / sizes.d_in)))
    rate = lr or 3.4e-3 * min(1.0, 1024 / sizes.width) ** (1 / 3) * few
    patience = max(10 * sizes.width // sizes.k, batch)
    return Recipe(batch, steps, rate, patience=patience, selection=selection or "float32")
