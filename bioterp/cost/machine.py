"""How fast this machine multiplies, told by a matrix product of about a second: the unit of the cost model."""

from __future__ import annotations

import time
from dataclasses import dataclass

N = 1_024


@dataclass(frozen=True)
class Speed:
    """Floating-point operations per second of a float32 matrix product: on all threads a run has, and on one."""

    product: float
    one: float
    threads: int


def speed(seconds: float = 0.5) -> Speed:
    """The best of as many products as `seconds` hold, twice; torch's number of threads is as it was afterwards."""
    import torch

    threads = torch.get_num_threads()
    together = _rate(seconds)
    if threads == 1:
        return Speed(together, together, 1)
    torch.set_num_threads(1)
    try:
        return Speed(together, _rate(seconds), threads)
    finally:
        torch.set_num_threads(threads)


def _rate(seconds: float) -> float:
    import torch

    one = torch.full((N, N), 0.5)
    other = torch.full((N, N), 0.25)
    made = torch.empty_like(one)
    best, begun = float("inf"), time.perf_counter()
    while time.perf_counter() - begun < seconds or best == float("inf"):
        at = time.perf_counter()
        torch.mm(one, other, out=made)
        best = min(best, time.perf_counter() - at)
    return 2.0 * N**3 / best
