"""Tokens per second of a training step on a GPU: ours, by Triton and by plain torch, beside a dense torch step.

    python benchmarks/sae/on_gpu.py [--size 512] [--kind topk …] [--batch 4096] [--rounds 30] [--cpu]

On the same GPU, in one process, in turn: A B C A B C. The rows are planted (sparse sums of directions, and noise) and
come from the host's memory, as in `fit`; `step_device` has them on the GPU before. `dense` is what a straightforward
trainer does: autograd through top-k and two dense products, torch's fused Adam. `product` is the encoder's product
alone in f32, the least a step can take that has one dense product. A JSON line each, with every round. Nothing has been
measured with this yet: it was written where there is no GPU. --cpu shows only that it runs, on few rows.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from shared import KINDS, SIZES, Size, machine

# isort: split
import numpy as np
import torch

from bioterp.train import torch_kernels
from bioterp.train.crew import Crew
from bioterp.train.cuda import CudaEngine
from bioterp.train.moments import moments
from bioterp.train.recipe import Sizes, recipe

WARM = 5
STEPS = 1_000  # length of the schedules; only their first steps are made


def planted(size: Size, count: int) -> np.ndarray:
    """(count, d) float32: sums of k random unit directions each, a little noise, and a mean."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((size.width, size.d), np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rows = 0.02 * rng.standard_normal((count, size.d), np.float32) + rng.standard_normal(size.d).astype(np.float32)
    for _ in range(size.k):
        rows += rng.exponential(size=(count, 1)).astype(np.float32) * directions[rng.integers(size.width, size=count)]
    return np.asarray(rows, np.float32)


class Dense:
    """A TopK autoencoder as one would write it in an afternoon."""

    def __init__(self, size: Size, device: torch.device) -> None:
        self.k, m, d = size.k, size.width, size.d
        decoder = torch.nn.functional.normalize(torch.randn(m, d, device=device))
        self.all = [decoder.clone(), decoder, torch.zeros(m, device=device), torch.zeros(d, device=device)]
        for one in self.all:
            one.requires_grad_()
        self.adam = torch.optim.Adam(self.all, lr=1e-3, fused=True)

    def step(self, x: torch.Tensor) -> float:
        encoder, decoder, b_enc, b_out = self.all
        with torch.enable_grad():
            best = ((x - b_out) @ encoder.T + b_enc).topk(self.k, dim=1)
            codes = torch.zeros(len(x), len(encoder), device=x.device).scatter(1, best.indices, best.values.relu())
            loss = (codes @ decoder + b_out - x).square().mean()
            self.adam.zero_grad()
            loss.backward()
        decoder.grad -= (decoder.grad * decoder).sum(1, keepdim=True) * decoder
        self.adam.step()
        decoder /= decoder.norm(dim=1, keepdim=True)
        return float(loss.detach())


def timed(call: Callable[[], Any], device: torch.device) -> float:
    """Wall seconds, from an idle device to an idle device."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    began = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="512")
    parser.add_argument("--kind", choices=KINDS, action="append", help="default: all")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    if not (torch.cuda.is_available() or options.cpu):
        sys.exit("there is no GPU here: nothing was measured; --cpu shows that the script runs")
    device = torch.device("cpu" if options.cpu else "cuda")
    size, batch = SIZES[options.size], options.batch
    rows = planted(size, 8 * batch)
    batches = [rows[lo : lo + batch] for lo in range(0, len(rows), batch)]
    there = [torch.from_numpy(one).to(device) for one in batches]
    steps: dict[str, Callable[[int], Any]] = {}
    with Crew(1) as crew, torch.no_grad():
        for kind in options.kind or KINDS:
            sizes = Sizes(size.d, size.d, size.width, size.k, kind)
            how = recipe(sizes, STEPS * batch, batch)
            for name, kernels in (("best road", None), ("torch road", torch_kernels)):
                engine = CudaEngine(sizes, how, 0, moments(rows), crew, device=device, kernels=kernels)
                engine.start(batches[0])
                name = f"{kind} {engine.kernels.NAME if kernels is None else 'torch, asked for'}"
                steps[f"{name} step"] = lambda i, one=engine: one.step(batches[i])
                steps[f"{name} step_device"] = lambda i, one=engine: one.step(there[i])
        dense, weights = Dense(size, device), torch.randn(size.width, size.d, device=device)
        steps["dense step_device"] = lambda i: dense.step(there[i])
        steps["product step_device"] = lambda i: there[i] @ weights.T
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for r in range(options.rounds + WARM):
            for name, step in steps.items():
                seconds[name].append(timed(functools.partial(step, r % len(there)), device))
    card = torch.cuda.get_device_name() if device.type == "cuda" else machine()
    for name, every in seconds.items():
        rate = batch / statistics.median(every[WARM:])
        about = {"size": options.size, "batch": batch, "device": card, "torch": torch.__version__, "what": name}
        print(
            json.dumps({**about, "rows_per_s": round(rate), "seconds": [round(s, 6) for s in every[WARM:]]}), flush=True
        )


if __name__ == "__main__":
    main()
