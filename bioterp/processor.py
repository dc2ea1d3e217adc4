"""What this processor does well: measured, for a name in a list says little of a machine nobody has seen."""

from __future__ import annotations

import functools
import time
from typing import Any

# What libraries ask for how many threads they may hold, when they are loaded.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@functools.cache
def slow_in_bfloat16() -> bool:
    """Whether products in bfloat16 take longer here than in float32: without AVX512-BF16, AMX or the like they do."""
    import torch

    took = {}
    for kind in (torch.float32, torch.bfloat16):
        a: Any = torch.ones(256, 256, dtype=kind)
        torch.mm(a, a)
        begun = time.perf_counter()
        for _ in range(3):
            torch.mm(a, a)
        took[kind] = time.perf_counter() - begun
    return took[torch.bfloat16] > took[torch.float32]
