"""bioterp's trainer in the form of form.py. All that these benchmarks know of its insides is in this file."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse
import torch
from form import Peer
from shared import KINDS, TOKENS, Size

SAMPLE = 65_536  # rows for mean and scale, and for the threshold of the batch kinds


class Bioterp(Peer):
    """Engine.step; without `lr` and `batch` what `fit` itself would choose for so many tokens."""

    name = "bioterp"
    kinds = KINDS
    selection = "float32"

    @staticmethod
    def default_lr(size: Size) -> float:
        from bioterp.train.recipe import Sizes, recipe

        return recipe(Sizes(size.d, size.d, size.width, size.k), TOKENS, 1_024).lr

    @staticmethod
    def default_batch(tokens: int, rows: int, share: float) -> int:
        from bioterp.train.recipe import batch_size

        return batch_size(tokens, rows, share)

    def __init__(self, size: Size, kind: str, *, steps: int, batch: int, lr: float, seed: int, rows: np.ndarray):
        from bioterp.train.crew import Crew
        from bioterp.train.engine import Engine
        from bioterp.train.moments import moments
        from bioterp.train.recipe import Sizes, recipe

        sizes = Sizes(size.d, size.d, size.width, size.k, kind)
        picked = np.random.default_rng([seed, 2]).permutation(len(rows))[:SAMPLE]
        self.sample = rows[np.sort(picked)]
        how = recipe(sizes, steps * batch, batch, lr, self.selection)
        self.engine = Engine(sizes, how, seed, moments(self.sample), Crew(1))

    def step(self, x: torch.Tensor) -> None:
        rows = x.numpy()
        if self.engine.done == 0:
            self.engine.start(rows)
        self.engine.step(rows)

    def finish(self) -> None:
        from bioterp.train.finish import finished

        self.dictionary = finished(self.engine, {}, self.sample)

    def encode(self, x: torch.Tensor) -> scipy.sparse.csr_matrix:
        return self.dictionary.encode_array(x, self.selection)

    def decode(self, codes: Any) -> torch.Tensor:
        return torch.from_numpy(self.dictionary.decode_array(codes))

    def decoder(self) -> np.ndarray:
        return self.dictionary.decoder

    def level(self, threshold: float) -> None:
        self.dictionary = dataclasses.replace(self.dictionary, activation="threshold", threshold=threshold)


class Halved(Bioterp):
    """The same features found by a product in bfloat16."""

    name = "bioterp, bf16"
    selection = "bfloat16"


OURS = {one.name: one for one in (Bioterp, Halved)}
