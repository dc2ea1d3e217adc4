"""eai-sparsify as it is measured."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import torch
from form import Peer
from shared import Size

os.environ.setdefault("SPARSIFY_DISABLE_TRITON", "1")  # CPU: its eager path


class Sparsify(Peer):
    """eai-sparsify 1.3.3. It trains only inside the hook of a model, so `step` does what Trainer.fit does there.

    Its defaults: signed descent without a schedule (momentum 0.95), no auxiliary loss. TopK only.
    """

    name = "sparsify"
    kinds = ("topk",)

    @staticmethod
    def default_lr(size: Size) -> float:
        return 5e-3 / math.sqrt(size.width / 2**14)

    def __init__(self, size: Size, kind: str, *, steps: int, batch: int, lr: float, seed: int, rows: np.ndarray):
        from schedulefree import ScheduleFreeWrapper
        from sparsify import SparseCoderConfig
        from sparsify.sign_sgd import SignSGD
        from sparsify.sparse_coder import SparseCoder

        torch.manual_seed(seed)
        config = SparseCoderConfig(num_latents=size.width, k=size.k)
        self.coder = SparseCoder(size.d, config, dtype=torch.float32)
        self.optimizer = ScheduleFreeWrapper(SignSGD(self.coder.parameters(), lr=lr), momentum=0.95)
        self.optimizer.train()
        self.fired = torch.zeros(size.width, dtype=torch.bool)
        self.done = 0

    def step(self, x: torch.Tensor) -> None:
        coder = self.coder
        if not self.done:
            coder.b_dec.data = x.mean(0)
        coder.set_decoder_norm_to_unit_norm()
        out = coder(x=x, y=x, dead_mask=None, total_variance=(x - x.mean(0)).pow(2).sum())
        self.fired[out.latent_indices.flatten()] = True
        out.fvu.backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.done += 1

    def finish(self) -> None:
        self.optimizer.eval()

    def encode(self, x: torch.Tensor) -> Any:
        out = self.coder.encode(x)
        return out.top_acts, out.top_indices

    def decode(self, codes: Any) -> Any:
        return self.coder.decode(*codes)

    def decoder(self) -> np.ndarray:
        return self.coder.W_dec.detach().numpy()
