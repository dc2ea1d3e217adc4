"""Train the small scan model. Started again with the same ``--out``, it goes on from its last checkpoint.

    python training/scan_small/train.py --data IMAGING --config training/scan_small/config.json --out RUN

A masked autoencoder: cubes of a crop are hidden, and the loss is the squared error on what was hidden. The budget
is wall time, so the schedule runs on the share of the budget spent: on a slower machine the same script takes fewer
steps, yet still warms up, goes on to larger crops, and decays to nothing at the end.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import corpus
import model as scan
import numpy as np
import torch
from torch import Tensor

VALIDATION_CROPS = 48
VALIDATION_SIDE = 32
VALIDATION_SHARE = 0.6


def autocast() -> AbstractContextManager[Any]:
    """bfloat16 products with fp32 weights: 1.6 times the speed on a CPU that has the instruction."""
    return torch.autocast("cpu", dtype=torch.bfloat16)


def loss_of(model: scan.MaskedAutoencoder, voxels: Tensor, hidden: Tensor, scored: Tensor) -> Tensor:
    """Mean squared error over the voxels that were hidden and are real."""
    wrong = (model(voxels, hidden) - voxels).square()
    return (wrong * scored).sum() / scored.sum().clamp(min=1)


def pace(share: float, config: dict[str, Any]) -> float:
    """Learning rate over its peak at this ``share`` (0 to 1) of the budget: up, flat, down to zero."""
    up: float = share / config["warmup"] + 0.02
    down: float = (1.0 - share) / (1.0 - config["decay_from"])
    return max(0.0, min(1.0, up, down))


def crop_side(share: float, config: dict[str, Any]) -> int:
    """Voxels along a crop at this point. Small ones first: more of them, and more different ones, per minute."""
    return int(max((start, side) for start, side in config["crops"] if share >= start)[1])


class Run:
    """A training run in its folder: weights, optimiser state, clock and log."""

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.step = 0
        self.seconds = 0.0
        self.model = scan.MaskedAutoencoder(config["model"], config["seed"])
        self.model.to(memory_format=torch.channels_last_3d)
        plain = [p for p in self.model.parameters() if p.ndim == 1]  # norms and biases are not decayed
        rest = [p for p in self.model.parameters() if p.ndim > 1]
        groups = [{"params": rest}, {"params": plain, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, **config["adamw"])
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "checkpoint.pt").exists():
            self._load()
        self._trim_log()

    @property
    def share(self) -> float:
        """Share of the time budget already spent."""
        return float(self.seconds / (60.0 * self.config["budget_minutes"]))

    def save(self) -> None:
        """Checkpoint, written beside and moved: a run killed at any time finds a whole one."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "config": json.dumps(self.config, sort_keys=True),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        beside = self.folder / "checkpoint.pt.part"
        torch.save(state, beside)
        beside.replace(self.folder / "checkpoint.pt")

    def _load(self) -> None:
        state = torch.load(self.folder / "checkpoint.pt", weights_only=True)
        was = json.loads(state["config"])["model"]
        if was != self.config["model"]:
            raise ValueError(
                f"{self.folder} holds a model of shape {was}, not {self.config['model']}; use another --out"
            )
        self.step, self.seconds = state["step"], state["seconds"]
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])

    def _trim_log(self) -> None:
        """Drop lines written after the checkpoint gone on from: those steps are taken again."""
        table = self.folder / "loss.tsv"
        if not table.exists():
            table.write_text("step\tseconds\tside\tkind\tmse\n")
            return
        head, *lines = table.read_text().splitlines()
        kept = [line for line in lines if line.count("\t") == 4 and int(line.split("\t")[0]) <= self.step]
        beside = table.with_name("loss.tsv.part")
        beside.write_text("\n".join([head, *kept]) + "\n")
        beside.replace(table)

    def log(self, kind: str, side: int, mse: float) -> None:
        """One line of the loss curve: mean squared error on hidden voxels of training crops or held-out ones."""
        with (self.folder / "loss.tsv").open("a") as lines:
            lines.write(f"{self.step}\t{self.seconds:.0f}\t{side}\t{kind}\t{mse:.4f}\n")
        print(f"step {self.step}  {self.seconds / 60:.1f} min  side {side}  {kind} {mse:.4f}", flush=True)


def tensors(*arrays: Any) -> list[Tensor]:
    """Arrays as tensors that share their memory."""
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


def validation(held: list[corpus.Scan]) -> list[Tensor]:
    """Crops of the held-out scans, their middles, always the same: voxels, hidden, scored."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(VALIDATION_CROPS):
        voxels = held[i % len(held)].voxels
        low = [(n - VALIDATION_SIDE) // 2 for n in voxels.shape]
        crop, real = corpus.cut(voxels, low, (VALIDATION_SIDE,) * 3)
        hidden = corpus.cubes(crop.shape, (4, 8)[i % 2], VALIDATION_SHARE, rng)
        rows.append((crop[None], hidden[None], (hidden & real)[None]))
    return tensors(*(np.stack(column) for column in zip(*rows, strict=True)))


@torch.no_grad()
def validate(model: scan.MaskedAutoencoder, crops: list[Tensor]) -> float:
    """Mean squared error on the hidden voxels of held-out crops."""
    model.eval()
    with autocast():
        found = [float(loss_of(model, *part)) for part in zip(*(t.split(8) for t in crops), strict=True)]
    model.train()
    return float(np.mean(found))


def train(config: dict[str, Any], data: Path, data_list: Path, folder: Path) -> None:
    """Run until the budget is spent."""
    torch.set_num_threads(config["threads"])
    sources = [corpus.checked_split(source) for source in corpus.read_sources(data_list)]
    scans = [corpus.read_scan(data, source) for source in sources if source.split == "train"]
    held = [corpus.read_scan(data, source) for source in sources if source.split == "valid"]
    sampler, crops = corpus.Sampler(scans, config), validation(held)
    run = Run(config, folder)
    peak = config["adamw"]["lr"]
    last_saved = last_validated = run.seconds
    mean, counted = 0.0, 0
    clock = time.monotonic()
    while run.share < 1.0:
        side = crop_side(run.share, config)
        voxels, hidden, scored = tensors(*sampler.batch(run.step, max(config["voxels_per_step"] // side**3, 1), side))
        with autocast():
            value = loss_of(run.model, voxels, hidden, scored)
        torch.autograd.backward(value)
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), config["clip"])
        for group in run.optimiser.param_groups:
            group["lr"] = peak * pace(run.share, config)
        run.optimiser.step()
        run.optimiser.zero_grad(set_to_none=True)
        run.step += 1
        now = time.monotonic()
        run.seconds += now - clock
        clock = now
        mean += float(value.detach())
        counted += 1
        if run.step % config["log_every"] == 0:
            run.log("train", side, mean / counted)
            mean, counted = 0.0, 0
        if run.seconds - last_validated > 60 * config["validate_every_minutes"]:
            run.log("held_out", VALIDATION_SIDE, validate(run.model, crops))
            last_validated = run.seconds
        if run.seconds - last_saved > 60 * config["save_every_minutes"]:
            run.save()
            last_saved = run.seconds
    run.log("held_out", VALIDATION_SIDE, validate(run.model, crops))
    run.save()
    print(f"done: {run.step} steps, {run.seconds / 60:.1f} minutes", flush=True)


def main() -> None:
    """Command line."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the imaging data folder (read only)")
    parser.add_argument("--data-list", type=Path, default=here / "data.json")
    parser.add_argument("--config", type=Path, default=here / "config.json")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run: checkpoint and loss.tsv")
    given = parser.parse_args()
    train(json.loads(given.config.read_text()), given.data, given.data_list, given.out)


if __name__ == "__main__":
    main()
