"""Where a training runs, and by which kernels: Triton's where they can be had and are right, plain torch otherwise."""

from __future__ import annotations

import functools
import warnings
from types import ModuleType

import numpy as np
import torch

from bioterp.errors import InputError
from bioterp.progress import say
from bioterp.train import torch_kernels
from bioterp.train.device_pairs import Pairs, by_feature, edges

CLOSE = 1e-4  # of the largest number: how far two roads may be apart by rounding


def place(device: str | torch.device | None) -> torch.device:
    """The device of a word: 'cpu' (also None), 'cuda' (this process' GPU), 'cuda:1'.

    Raises InputError when it is another word or not there.
    """
    word = str(device or "cpu")
    kind, _, number = word.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise InputError(f"device is 'cpu', 'cuda' or 'cuda:' and a number; got {word!r}")
    if kind == "cpu":
        return torch.device("cpu")
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= there:
        why = "" if torch.version.cuda else f" (torch {torch.__version__} was built without CUDA)"
        raise InputError(f"device {word!r} was asked for and {there} CUDA devices are here{why}; use device='cpu'")
    return torch.device("cuda", int(number) if number else torch.cuda.current_device())


@functools.cache
def road(device: torch.device, d_in: int, d_out: int, nested: int) -> ModuleType:
    """The kernels for these widths and so many nested reconstructions; where CUDA must do without Triton's, it says so.

    Once per process and question. Triton's are compiled, and compared with plain torch, before they are trusted.
    """
    if device.type != "cuda":
        return torch_kernels
    try:
        from bioterp.train import triton_kernels

        away = disagreement(triton_kernels, device, d_in, d_out, nested)
    except Exception as error:  # noqa: BLE001 - whatever a compiler, its driver or their absence may raise
        why = f"cannot be used ({type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]})"
    else:
        if away <= CLOSE:
            return triton_kernels
        why = f"give other numbers than plain torch here (by {away:.1e})"
    said = f"Triton's kernels {why}: training goes on with plain torch operations on {device}, which are slower"
    say(said)
    warnings.warn(said, RuntimeWarning, stacklevel=4)
    return torch_kernels


def disagreement(one: ModuleType, device: torch.device, d_in: int, d_out: int, nested: int) -> float:
    """The largest difference between `one` and plain torch on a few planted pairs, over the largest number."""
    b, m, rng = 13, 29, np.random.default_rng(0)

    def some(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal(shape, np.float32)).to(device)

    row, column = (torch.from_numpy(at).to(device) for at in np.nonzero(rng.random((b, m)) < 0.4))
    pairs = Pairs(some(len(row)).abs(), column, row)
    cuts = [m * (p + 1) // nested for p in range(nested)]
    bounds = edges(pairs, b, cuts)
    group = torch.searchsorted(torch.tensor(cuts, device=device), torch.arange(m, device=device), right=True)
    decoder, target, weight, x, rows = some(m, d_out), some(b, d_out), some(b).abs(), some(b, d_in), some(m, d_in)
    moments = [some(m, d_in), some(m, d_in).abs(), some(m, d_out), some(m, d_out).abs()]
    by, adam = torch.ones((), device=device), np.array([0.1, 1.1, 0.9, 0.99], np.float32)
    found = []
    for kernels in (torch_kernels, one):
        slopes = torch.full((nested, b, d_out), torch.nan, device=device)
        errors = kernels.rebuild(pairs, bounds, decoder, target, weight, cuts, slopes)
        ordered = by_feature(pairs, None, group, b, by, by)
        flat = slopes.flatten(0, 1)
        dots = kernels.dots(ordered, flat, decoder)
        sums = kernels.gather(ordered.starts, ordered.row, dots, x)
        left, right, (m1, v1, m2, v2) = rows.clone(), decoder.clone(), (a.clone() for a in moments)
        kernels.learn(ordered.starts, ordered.row, dots, x, left, m1, v1, adam)
        kernels.learn(ordered.starts, ordered.slope, ordered.code, flat, right, m2, v2, adam, unit=True)
        found.append([slopes, errors, dots, sums, left, right, m1, v1, m2, v2])
    apart = [float((a - b).abs().max() / a.abs().max()) for a, b in zip(*found, strict=True)]
    return max(apart) if all(map(np.isfinite, apart)) else float("inf")
