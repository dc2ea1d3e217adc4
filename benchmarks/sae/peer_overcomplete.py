"""overcomplete as it is measured."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

import numpy as np
import torch
from form import Peer
from shared import Size


class Overcomplete(Peer):
    """overcomplete 0.3.0: the body of train_sae, with the mean squared error of its README and its re-animation term.

    Its BatchTopK counts over the whole batch: top_k is k times the batch.
    """

    name = "overcomplete"
    kinds = ("topk", "batchtopk")
    revive = 1e-3

    @staticmethod
    def default_lr(size: Size) -> float:
        return 5e-4

    def __init__(self, size: Size, kind: str, *, steps: int, batch: int, lr: float, seed: int, rows: np.ndarray):
        if (
            "overcomplete" not in sys.modules
        ):  # its __init__ would load vision models and plots, which nothing here uses
            found = importlib.util.find_spec("overcomplete")
            package = types.ModuleType("overcomplete")
            package.__path__ = list(found.submodule_search_locations or []) if found else []
            sys.modules["overcomplete"] = package
        from overcomplete.sae.batchtopk_sae import BatchTopKSAE
        from overcomplete.sae.topk_sae import TopKSAE
        from overcomplete.sae.trackers import DeadCodeTracker

        torch.manual_seed(seed)
        made, top = (TopKSAE, size.k) if kind == "topk" else (BatchTopKSAE, size.k * batch)
        self.sae = made(size.d, nb_concepts=size.width, top_k=top)
        self.sae.train()
        self.optimizer = torch.optim.Adam(self.sae.parameters(), lr=lr)
        self.tracker = DeadCodeTracker(size.width, "cpu")

    def step(self, x: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        pre, codes, rebuilt = self.sae(x)
        asleep = ((codes > 0).sum(0) == 0).float().detach()
        loss = (x - rebuilt).square().mean() - self.revive * (pre * asleep).mean()
        self.tracker.update(codes)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.sae.parameters(), 1.0)
        self.optimizer.step()

    def finish(self) -> None:
        with torch.no_grad():  # eval() keeps the dictionary it has just computed, graph and all
            self.sae.eval()

    def encode(self, x: torch.Tensor) -> Any:
        return self.sae.encode(x)[1]

    def decode(self, codes: Any) -> Any:
        return self.sae.decode(codes)

    def decoder(self) -> np.ndarray:
        return self.sae.get_dictionary().detach().numpy()

    def level(self, threshold: float) -> None:
        self.sae.running_threshold = torch.tensor(threshold)
