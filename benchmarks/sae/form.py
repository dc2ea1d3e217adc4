"""The one form in which trainers are measured, and what can be done with codes in any form.

An engine has

    Engine(size, kind, steps=, batch=, lr=, seed=, rows=)     rows: training rows, for those that estimate a scale
    step(x)         one optimisation step on (b, d) float32 rows in model units
    finish()        from the training form to the one that is deployed
    encode(x)       codes in the library's own form: dense (b, m), or (values, indices) both (b, k), or CSR
    decode(codes)   (b, d) reconstructions in model units
    decoder()       (m, d) array
    level(t)        deploy with threshold t (not TopK)

and class attributes name, kinds, and default_lr(size). Where a default is a number of steps that a run of 10^6 tokens
does not have, the class says what stands for it. `sparse` turns any form of codes into CSR parts.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from shared import KINDS, Size

NESTED = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)  # Matryoshka: widths of the prefixes, as fractions


def sparse(codes: Any) -> tuple[Any, ...]:
    """Codes in a library's own form → values, indices and row pointers; pairs of equal length per row stay two."""
    if isinstance(codes, tuple):
        return codes
    if isinstance(codes, torch.Tensor):
        if codes.is_sparse:
            codes = codes.to_dense()
        at = codes.nonzero()  # half the time of to_sparse_csr
        ends = torch.bincount(at[:, 0], minlength=len(codes)).cumsum(0)
        return codes[at[:, 0], at[:, 1]], at[:, 1], torch.nn.functional.pad(ends, (1, 0))
    return codes.data, codes.indices, codes.indptr


def active(codes: Any, width: int) -> np.ndarray:
    """(m,) how many rows each latent is active in."""
    parts = sparse(codes)
    values, indices = (torch.as_tensor(part).flatten() for part in parts[:2])
    return torch.bincount(indices[values > 0].long(), minlength=width).numpy()


class Peer:
    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = KINDS

    @staticmethod
    def default_lr(size: Size) -> float:
        raise NotImplementedError

    def level(self, threshold: float) -> None:
        raise NotImplementedError
