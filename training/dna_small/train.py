"""Train the small DNA model. Started again with the same ``--out``, it goes on from its last checkpoint.

    python training/dna_small/train.py --data GENOMICS --config training/dna_small/config.json --out RUN

The budget is wall time, so the schedule runs on the share of the budget spent: on a slower machine the same
script takes fewer steps, yet still warms up, trains on longer and longer windows, and decays to nothing at
the end.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import corpus
import model as dna
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM

IGNORE = -100
LOG2E = math.log2(math.e)


def autocast() -> AbstractContextManager[Any]:
    """bfloat16 products with fp32 weights: three times the speed on a CPU that has the instruction."""
    return torch.autocast("cpu", dtype=torch.bfloat16)


def loss_of(model: LlamaForCausalLM, tokens: Tensor) -> Tensor:
    """Mean loss in nats per base over the next bases that are known. ``tokens``: (windows, length) int64."""
    targets = tokens[:, 1:].masked_fill(tokens[:, 1:] >= corpus.N, IGNORE)
    # The last column is read too, only so that the length stays a round number.
    logits = model(input_ids=tokens, use_cache=False).logits[:, :-1]
    return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORE)


def optimisers(model: LlamaForCausalLM, config: dict[str, Any]) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for the embedding, the head and the norms."""
    inside = [p for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name]
    rest = [p for name, p in model.named_parameters() if not (p.ndim == 2 and ".layers." in name)]
    return [torch.optim.Muon(inside, **config["muon"]), torch.optim.AdamW(rest, **config["adamw"])]


def pace(share: float, config: dict[str, Any]) -> float:
    """Learning rate over its peak at this ``share`` (0 to 1) of the budget: up, flat, down to zero."""
    up: float = share / config["warmup"] + 0.02
    down: float = (1.0 - share) / (1.0 - config["decay_from"])
    return max(0.0, min(1.0, up, down))


def window_length(share: float, config: dict[str, Any]) -> int:
    """Bases per window at this point. Short ones first: codons are learnt there, and attention is cheap."""
    return int(max((start, length) for start, length in config["lengths"] if share >= start)[1])


class Run:
    """A training run in its folder: weights, optimiser state, clock and log."""

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.step = 0
        self.seconds = 0.0
        self.tokens = 0
        self.model = dna.build(config["model"], config["seed"])
        self.optimisers = optimisers(self.model, config)
        self.peaks = [optimiser.param_groups[0]["lr"] for optimiser in self.optimisers]
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "checkpoint.pt").exists():
            self._load()

    @property
    def share(self) -> float:
        """Share of the time budget already spent."""
        return float(self.seconds / (60.0 * self.config["budget_minutes"]))

    def save(self) -> None:
        """Checkpoint, written beside and moved."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "tokens": self.tokens,
            "config": json.dumps(self.config, sort_keys=True),
            "model": self.model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
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
        self.step, self.seconds, self.tokens = state["step"], state["seconds"], state["tokens"]
        self.model.load_state_dict(state["model"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)

    def log(self, kind: str, length: int, bits: float) -> None:
        """One line of the loss curve: bits per base, over training windows or held-out ones."""
        table = self.folder / "loss.tsv"
        if not table.exists():
            table.write_text("step\tseconds\ttokens\tlength\tkind\tbits_per_base\n")
        with table.open("a") as lines:
            lines.write(f"{self.step}\t{self.seconds:.0f}\t{self.tokens}\t{length}\t{kind}\t{bits:.4f}\n")
        print(
            f"step {self.step}  {self.seconds / 60:.1f} min  {self.tokens / 1e6:.2f} Mb  {kind} {bits:.4f}",
            flush=True,
        )


def validation_windows(held: list[corpus.Stretch], length: int, count: int) -> Tensor:
    """``count`` windows spread evenly over the held-out blocks, always the same: (count, length) int64."""
    fit = [stretch.bases for stretch in held if len(stretch.bases) >= length]
    starts = np.random.default_rng(0).integers(0, [len(fit[i % len(fit)]) - length + 1 for i in range(count)])
    rows = [fit[i % len(fit)][start : start + length] for i, start in enumerate(starts)]
    return torch.from_numpy(np.stack(rows).astype(np.int64))


@torch.no_grad()
def validate(loss: Callable[[Tensor], Tensor], windows: Tensor, per_batch: int) -> float:
    """Mean bits per base over the validation windows."""
    with autocast():
        return float(np.mean([float(loss(batch)) for batch in torch.split(windows, per_batch)])) * LOG2E


def train(config: dict[str, Any], data: Path, data_list: Path, folder: Path) -> None:
    """Run until the budget is spent."""
    torch.set_num_threads(config["threads"])
    stretches: dict[str, list[corpus.Stretch]] = {}
    held: list[corpus.Stretch] = []
    sources = corpus.read_sources(data_list)
    for source in sources:
        genome = corpus.read_genome(data / source.path, source.sha256)
        stretches[source.name], kept = corpus.split(source.name, genome, config["held_out_share"], config["seed"])
        held += kept
    sampler = corpus.Sampler(stretches, {source.name: source.weight for source in sources}, config["seed"])

    run = Run(config, folder)

    def plain(tokens: Tensor) -> Tensor:
        return loss_of(run.model, tokens)

    loss = torch.compile(plain, dynamic=False) if config["compile"] else plain
    last_saved = last_validated = run.seconds
    mean = 0.0
    counted = 0
    clock = time.monotonic()
    while run.share < 1.0:
        length = window_length(run.share, config)
        per_batch = config["tokens_per_step"] // length
        tokens = torch.from_numpy(sampler.batch(run.step, per_batch, length).astype(np.int64))
        with autocast():
            value = loss(tokens)
        torch.autograd.backward(value)
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), config["clip"])
        for optimiser, peak in zip(run.optimisers, run.peaks, strict=True):
            optimiser.param_groups[0]["lr"] = peak * pace(run.share, config)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        run.step += 1
        run.tokens += tokens.numel()
        now = time.monotonic()
        run.seconds += now - clock
        clock = now
        mean += float(value.detach()) * LOG2E
        counted += 1
        if run.step % config["log_every"] == 0:
            run.log("train", length, mean / counted)
            mean, counted = 0.0, 0
        if run.seconds - last_validated > 60 * config["validate_every_minutes"]:
            run.log("held_out", length, validate(loss, validation_windows(held, length, 4 * per_batch), per_batch))
            last_validated = run.seconds
        if run.seconds - last_saved > 60 * config["save_every_minutes"]:
            run.save()
            last_saved = run.seconds
    run.save()
    print(f"done: {run.step} steps, {run.tokens} tokens, {run.seconds / 60:.1f} minutes", flush=True)


def main() -> None:
    """Command line."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the genomics data folder (read only)")
    parser.add_argument("--data-list", type=Path, default=here / "data.json")
    parser.add_argument("--config", type=Path, default=here / "config.json")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run: checkpoint and loss.tsv")
    given = parser.parse_args()
    train(json.loads(given.config.read_text()), given.data, given.data_list, given.out)


if __name__ == "__main__":
    main()
