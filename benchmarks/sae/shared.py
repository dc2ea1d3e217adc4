"""What the files of this folder share: sizes, words for the machine, batches, a file of results that only grows."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import machine, row, spread, steady_allocator  # before torch: it asks for one thread

# isort: split
import numpy as np
import torch

__all__ = ["EVERY", "KINDS", "REAL", "SIZES", "TOKENS", "Results", "Size", "batches", "machine", "row", "spread"]
__all__ += ["default_folder", "one_thread", "steady_allocator"]

KINDS = ("topk", "batchtopk", "matryoshka")
TOKENS = 1_024_000  # 250 batches of 4,096, 1,000 of 1,024, 2,000 of 512


@dataclass(frozen=True)
class Size:
    """d: channels; width: latents, and true features of synthetic rows; k: active latents per row."""

    d: int
    width: int
    k: int


SIZES = {"128": Size(128, 1_024, 12), "512": Size(512, 8_192, 32), "1024": Size(1_024, 8_192, 32)}
REAL = {"ecoli": Size(256, 1_024, 16), "hippocampus": Size(32, 512, 8)}  # real.py makes their rows
EVERY = {**SIZES, **REAL}


def one_thread() -> None:
    torch.set_num_threads(1)


def default_folder() -> Path:
    """Where data and results go: $SAE_BENCH, or results/sae in the working directory."""
    return Path(os.environ.get("SAE_BENCH", "results/sae"))


def batches(rows: np.ndarray, size: int, seed: int) -> Iterator[torch.Tensor]:
    """(size, d) batches without end, each epoch in a new order: the same for every engine of one seed and size."""
    rng = np.random.default_rng([seed, size])
    while True:
        order = rng.permutation(len(rows))
        for lo in range(0, len(rows) - size + 1, size):
            yield torch.from_numpy(rows[order[lo : lo + size]])


class Results:
    """A JSONL file of finished cells. A cell is a dict of what was asked; what is there is not run again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows: list[dict[str, Any]] = []
        for line in lines:
            try:
                self.rows.append(json.loads(line))
            except json.JSONDecodeError:  # a process was stopped while it wrote its last line
                continue

    def find(self, **cell: Any) -> list[dict[str, Any]]:
        return [one for one in self.rows if all(one.get(name) == value for name, value in cell.items())]

    def add(self, one: dict[str, Any]) -> None:
        self.rows.append(one)
        torn = self.path.exists() and self.path.stat().st_size > 0 and not self.path.read_bytes().endswith(b"\n")
        with self.path.open("a") as file:
            file.write(("\n" if torn else "") + json.dumps(one) + "\n")
