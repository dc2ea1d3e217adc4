"""What this processor does well."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

# What libraries ask for how many threads they may hold, when they are loaded.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@functools.cache
def slow_in_bfloat16() -> bool:
    """Whether products in bfloat16 take longer here than in float32: without AVX512-BF16, AMX or the like they do.

    Measured, for a name in a list says little of a machine nobody has seen.
    """
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


@functools.cache
def numpy_multiplies_faster() -> bool:
    """Whether numpy's library makes float32 products in less time than torch's, Intel's: on AMD without AVX-512.

    There it was measured (docs/decisions.md). Not measured anew each time, for the two differ in the last bits, and a
    training that is given again must come to the same weights.
    """
    told = Path("/proc/cpuinfo")
    if not told.exists():
        return False
    words = set(told.read_text(encoding="utf-8", errors="replace").split())
    return {"AuthenticAMD", "avx2"} <= words and "avx512f" not in words
