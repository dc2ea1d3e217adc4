"""dictionary_learning as it is measured."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from form import NESTED, Peer
from shared import Size


class DictionaryLearning(Peer):
    """dictionary_learning 0.1.0: TopKTrainer, BatchTopKTrainer and MatryoshkaBatchTopKTrainer, `update`.

    Of the library's numbers of steps warm-up (1,000) is 5 % here, the threshold's start (1,000) 10 %; decay begins at
    80 %, as in the library's own training script.
    """

    name = "dictionary_learning"

    @staticmethod
    def default_lr(size: Size) -> float:
        return 2e-4 / math.sqrt(size.width / 2**14)

    def __init__(self, size: Size, kind: str, *, steps: int, batch: int, lr: float, seed: int, rows: np.ndarray):
        from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
        from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer
        from dictionary_learning.trainers.top_k import TopKTrainer

        trainers = {"topk": TopKTrainer, "batchtopk": BatchTopKTrainer, "matryoshka": MatryoshkaBatchTopKTrainer}
        told: dict[str, Any] = {"warmup_steps": max(1, steps // 20), "threshold_start_step": steps // 10}
        told |= {"decay_start": int(0.8 * steps), "layer": 0, "lm_name": "none", "device": "cpu"}
        if kind == "matryoshka":
            told["group_fractions"] = [float(f) for f in np.diff((0, *NESTED))]
        self.trainer = trainers[kind](
            steps=steps, activation_dim=size.d, dict_size=size.width, k=size.k, lr=lr, seed=seed, **told
        )
        self.done = 0

    def step(self, x: torch.Tensor) -> None:
        self.trainer.update(self.done, x)
        self.done += 1

    def finish(self) -> None:
        pass

    def encode(self, x: torch.Tensor) -> Any:
        return self.trainer.ae.encode(x)

    def decode(self, codes: Any) -> Any:
        return self.trainer.ae.decode(codes)

    def decoder(self) -> np.ndarray:
        ae = self.trainer.ae
        return (ae.W_dec if hasattr(ae, "W_dec") else ae.decoder.weight.T).detach().numpy()

    def level(self, threshold: float) -> None:
        self.trainer.ae.threshold.fill_(threshold)
