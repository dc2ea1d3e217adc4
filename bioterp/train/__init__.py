"""Fitting a Dictionary.

TopK (Gao et al. 2024), BatchTopK (Bussmann et al. 2024) and Matryoshka BatchTopK (Bussmann et al. 2025) sparse
autoencoders, transcoders (Dunefsky et al. 2024) and skip transcoders (Paulo et al. 2025). `engine.py` says how a step
goes, `recipe.py` with which numbers. A dictionary of a batch kind is deployed with one threshold, calibrated on a pass
over rows of the training data with the final weights.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bioterp import store
from bioterp.dictionary import Dictionary
from bioterp.errors import InputError
from bioterp.field import Field
from bioterp.progress import track
from bioterp.train.batches import Batches, Chunks, FieldChunks, sample
from bioterp.train.crew import Crew
from bioterp.train.cuda import CudaEngine
from bioterp.train.engine import Engine
from bioterp.train.finish import finished
from bioterp.train.moments import moments
from bioterp.train.pairs import PairChunks
from bioterp.train.recipe import KINDS, Sizes, batch_size, recipe
from bioterp.train.resume import Keeper
from bioterp.train.roads import place
from bioterp.train.world import world

__all__ = ["KINDS", "fit", "fit_many"]
ORDER = 0  # the seed of the order of rows: that of a fit is for where its features begin
SAMPLE = 262_144  # rows for mean and scale
CALIBRATION = 65_536  # rows for the threshold


def fit(
    acts: Field | Any,
    *,
    width: int,
    k: int,
    seed: int = 0,
    kind: str = "topk",
    target: Field | None = None,
    skip: bool = False,
    tokens: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    selection: str = "float32",
    threads: int | None = None,
    keep: str | Path | None = None,
    device: str | None = None,
) -> Dictionary:
    """Fit a sparse autoencoder, or a transcoder, to the rows of a Field.

    acts: (n, d) activations, usually `acts.split('train')`, or `bioterp.stream(…)`, which runs the model as rows are
    wanted. width: number of features. k: active features per row (its mean for the batch kinds). kind: 'topk',
    'batchtopk' or 'matryoshka'. target: (n, d_out) activations of the same rows, which a transcoder predicts; skip:
    with a linear path beside its features. tokens: rows seen in all (default: once through, at least 500k, at most 2M;
    rows come again when there are fewer). batch, lr: rows of a step and peak learning rate of Adam (default:
    `recipe.py`). selection: 'bfloat16' finds the same active features from a product in bfloat16, which some processors
    make in half the time (of no effect on a GPU).
    keep: a folder for checkpoints; the same call after a kill goes on from the last. device: 'cpu' (default), 'cuda'
    (this process' GPU) or 'cuda:1', whose weights are not bit for bit those of the CPU.

    The same seed gives the same weights on the same machine, for any number of threads; torch's own random state is
    left alone. Under `torchrun` the processes share each batch. Raises InputError for impossible sizes and NaN.
    """
    wanted = {"width": width, "k": k, "seed": seed, "kind": kind, "skip": skip, "lr": lr, "selection": selection}
    return fit_many(
        acts, [wanted], target=target, tokens=tokens, batch=batch, threads=threads, keep=keep, device=device
    )[0]


def fit_many(
    acts: Field | Any,
    wanted: Sequence[Mapping[str, Any]],
    *,
    target: Field | None = None,
    tokens: int | None = None,
    batch: int | None = None,
    threads: int | None = None,
    keep: str | Path | None = None,
    device: str | None = None,
) -> list[Dictionary]:
    """Fit several dictionaries in one pass over the rows: other seeds, widths, k, kinds.

    wanted: for each the words of `fit` that are its own (width, k, seed, kind, skip, lr, selection). The rest is as for
    `fit`; each dictionary is, bit for bit, what `fit` alone would have made with the same batch (by default that of
    the one with the largest width / k).
    """
    chunks = _chunks(acts, target)
    n, d_in, d_out = int(chunks.sizes.sum()), int(acts.shape[1]), (target or acts).shape[1]
    sizes = [
        Sizes(d_in, d_out, one["width"], one["k"], one.get("kind") or "topk", target is not None, bool(one.get("skip")))
        for one in wanted
    ]
    if n < 2:
        raise InputError(f"a dictionary needs rows to learn from; got {n}")
    tokens = tokens or min(max(n, 500_000), 2_000_000)
    together = world()
    where = place(device)
    batch = (
        batch_size(tokens, n, max(size.width / size.k for size in sizes), together.size)
        if batch is None
        else min(batch, n)
    )
    recipes = [
        recipe(size, tokens, batch, one.get("lr"), one.get("selection"))
        for size, one in zip(sizes, wanted, strict=True)
    ]
    seeds = [int(one.get("seed") or 0) for one in wanted]
    rows = sample(chunks, SAMPLE, ORDER)
    into, out = moments(rows[:, :d_in]), (moments(rows[:, d_in:]) if target is not None else None)
    del rows
    digest = store.digest(
        [tokens, batch, seeds, list(map(repr, sizes)), list(map(repr, recipes)), acts.about, _id(acts), where.type]
    )
    with Crew(threads or os.cpu_count() or 1) as crew, torch.no_grad():
        make: Any = Engine if where.type == "cpu" else functools.partial(CudaEngine, device=where)
        engines = [
            make(size, how, seed, into, crew, together, out)
            for size, how, seed in zip(sizes, recipes, seeds, strict=True)
        ]
        keeper = Keeper(None if keep is None else Path(keep) / digest[:12], digest, together)
        with Batches(chunks, batch, ORDER, together, steps=recipes[0].steps) as batches:
            _train(engines, batches, d_in, keeper)
        held = sample(chunks, CALIBRATION, ORDER + 1) if any(size.kind != "topk" for size in sizes) else None
        return [finished(engine, acts.about, held) for engine in engines]


def _train(engines: Sequence[Engine | CudaEngine], batches: Batches, d_in: int, keeper: Keeper) -> None:
    """Step all engines on the same batches, from where the last checkpoint left them."""
    steps, first = engines[0].recipe.steps, 0
    kept = keeper.load()
    if kept is not None:
        first = kept[0]
        for engine, state in zip(engines, kept[1], strict=True):
            engine.restore(state)
    batches.seek(first)
    sizes = engines[0].sizes
    what = f"fit {sizes.kind} {sizes.width}/{sizes.k} seed {', '.join(str(e.seed) for e in engines)}"
    for step in track(range(first, steps), what, steps - first):
        rows = next(batches)
        x, y = (rows[:, :d_in], rows[:, d_in:]) if sizes.transcoder else (rows, None)
        for engine in engines:
            if step == 0:
                engine.start(x, y)
            engine.step(x, y)
        keeper.tick(step + 1, engines)
    keeper.done()


def _chunks(acts: Any, target: Field | None) -> Chunks:
    if target is None:
        return FieldChunks(acts) if isinstance(acts, Field) else acts
    if not isinstance(acts, Field):
        raise InputError("a transcoder is fitted to stored activations, of both layers; got rows that are streamed")
    acts.check_same_rows(target)
    return PairChunks(FieldChunks(acts), FieldChunks(target))


def _id(acts: Any) -> str:
    return str(acts.rows.id if isinstance(acts, Field) else acts.id)
