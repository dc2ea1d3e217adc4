"""How well holes are filled, and how well a linear probe reads the parts of the hippocampus, beside baselines.

    python training/scan_small/evaluate.py --data IMAGING --model bioterp/models/reference/scan_small \
        --out training/scan_small/evaluation.json

Everything is fitted on the blocks the model was trained on, chosen on the valid blocks, and told of the test blocks,
which neither saw. Means and intervals (95 %, Student's t) are over test blocks; differences are paired by block.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import baselines
import corpus
import holes
import model as scan
import numpy as np
import probes
import scoring
import torch
from baselines import Components, Fill
from corpus import Scan, Voxels
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file

SIGMAS = (0.7, 1.0, 1.5, 2.0, 3.0)
PATCH, PATCH_STEP, PATCH_ROWS = 16, 8, 4_000
PATCH_COMPONENTS = (128, 256, 512)
BOX = (36, 52, 36)
BOX_COMPONENTS = (16, 32, 64)
PROBED = (1, 2, 3)
"""Levels probed; level i has a stride of 2**i mm."""

MOST_MOVED = 8
"""Voxels cut off an end of a scan, at most, for the probe of moved scans."""

MODEL, WITH_POSITION = "model", "model and position"
TWO = ("train", "test")


def shipped(folder: Path, decoder: Path) -> scan.MaskedAutoencoder:
    """The exported encoder with the decoder it was trained with."""
    model = scan.MaskedAutoencoder(json.loads((folder / "config.json").read_text())["arguments"], 0)
    model.encoder.load_state_dict(load_file(folder / "model.safetensors"))
    model.decoder.load_state_dict(load_file(decoder))
    return model.eval()


def settled(encoder: torch.nn.Module, scans: Sequence[Voxels]) -> torch.nn.Module:
    """Random weights, with the statistics of training scans in their batch norms, as a trained network has them."""
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.momentum = None  # the plain mean over all it is shown
            module.reset_running_stats()
    encoder.train()
    with torch.no_grad():
        for voxels in scans:
            encoder(torch.from_numpy(corpus.padded(voxels)[0])[None, None])
    return encoder.eval()


class Evaluation:
    """The scans, the model, and one with random weights."""

    def __init__(self, data: Path, folder: Path, here: Path) -> None:
        self.data = data
        self.model = shipped(folder, here / "decoder.safetensors")
        sources = [corpus.checked_split(source) for source in corpus.read_sources(here / "data.json")]
        scans = [corpus.read_scan(data, source) for source in sources if source.split != "train" or source.weight]
        small = [one for one in scans if one.source.group == "hippocampus"]
        self.small = {split: [s for s in small if s.source.split == split] for split in ("train", "valid", "test")}
        self.heads = [one for one in scans if one.source.group != "hippocampus"]
        arguments = json.loads((folder / "config.json").read_text())["arguments"]
        self.random = settled(scan.build_encoder(arguments, seed=1), [one.voxels for one in self.small["train"]])
        self._patches: dict[str, Components] = {}
        self._levels: dict[tuple[bool, str], list[Voxels]] = {}

    # -- filling holes ------------------------------------------------------------------------------------------

    def offers(self, train: list[Voxels], valid: list[Voxels], side: int, whole: bool) -> dict[str, tuple[str, Fill]]:
        """Name → which of its kind was best on valid scans, and the way of filling."""
        near = {f"sigma {sigma:g}": baselines.neighbours(sigma) for sigma in SIGMAS}
        group = "whole" if whole else "crops"
        if group not in self._patches:
            rows = baselines.patch_rows(train, PATCH, PATCH_ROWS)
            self._patches[group] = baselines.components(rows, max(PATCH_COMPONENTS))
        patch = self._patches[group]
        sizes = PATCH_COMPONENTS if whole else PATCH_COMPONENTS[:2]  # a head's crop is large, and takes long
        pca = {f"{k} components": baselines.patches(patch.first(k), PATCH, PATCH_STEP) for k in sizes}
        kinds = {"mean of visible neighbours": near, "PCA of patches": pca}
        if whole:
            kinds["PCA of whole crops"] = {
                f"{k} components": baselines.whole_crops(train, BOX, k) for k in BOX_COMPONENTS
            }
        chosen = {name: holes.best(kind, valid, side) for name, kind in kinds.items()}
        found = {name: (pick, kinds[name][pick]) for name, pick in chosen.items()}
        if whole:
            found["mean image"] = ("", baselines.mean_image(train))
        return {MODEL: ("", holes.filled(self.model)), "0, the scan's mean": ("", holes.zero), **found}

    def hippocampus_holes(self, side: int) -> dict[str, Any]:
        """Mean squared error by test block of every way of filling."""
        voxels = {split: [one.voxels for one in scans] for split, scans in self.small.items()}
        offers = self.offers(voxels["train"], voxels["valid"][::8], side, whole=True)
        blocks = np.array([one.source.block for one in self.small["test"]])
        rows: dict[str, list[float]] = {}
        for name, (_, fill) in offers.items():
            pairs = np.array(holes.errors(fill, voxels["test"], side))
            sums = [pairs[blocks == block].sum(0) for block in np.unique(blocks)]
            rows[name] = [float(total / n) for total, n in sums]
        found = scoring.compared(rows, MODEL)
        for name, (pick, _) in offers.items():
            found[name]["chosen_on_valid"] = pick
        return {"scans": len(blocks), "ways": found}

    def head_holes(self, side: int) -> dict[str, Any]:
        """The same on crops of the heads kept out; what is chosen and fitted is so on the heads trained on."""
        cut = {split: holes.head_crops([one for one in self.heads if one.source.split == split]) for split in TWO}
        train = [crop for crops in cut["train"].values() for crop in crops]
        offers = self.offers(train, train[:: len(train) // 12], side, whole=False)
        return {
            head: {name: round(holes.mse(fill, crops, side), 4) for name, (_, fill) in offers.items()}
            for head, crops in cut["test"].items()
        }

    # -- probes -------------------------------------------------------------------------------------------------

    def levels(self, one: Scan, trained: bool) -> list[Voxels]:
        """The levels of a scan, kept from one part of the evaluation to the next; the finest is not."""
        key = trained, one.source.name
        if key not in self._levels:
            encoder = self.model.encoder if trained else self.random
            self._levels[key] = [np.empty(0, np.float32), *scoring.levels(encoder, one.voxels)[1:]]
        return self._levels[key]

    def cells(
        self, split: str, level: int, moved: bool = False
    ) -> tuple[dict[str, Any], NDArray[np.int64], NDArray[Any], int]:
        """(columns by representation, classes, blocks, cells not asked) over the scans of a split.

        moved: with up to MOST_MOVED voxels cut off one end of each axis, so that the middle is elsewhere.
        """
        parts: dict[str, list[Any]] = {}
        classes, blocks, unasked = [], [], 0
        rng = np.random.default_rng(level)
        for one in self.small[split]:
            labels = corpus.read_labels(self.data, one.source)
            if moved:
                inside = _cut_off(labels.shape, rng)
                labels = labels[inside]
                source = replace(one.source, name=f"{one.source.name} moved")
                one = Scan(source, np.ascontiguousarray(one.voxels[inside]), None)
            found = probes.cell_classes(labels, 2**level)
            asked = found >= 0
            unasked += int((~asked).sum())
            if split != "test":  # as many as a probe takes, before the columns are made
                keep = probes.MOST_CELLS / max(len(self.small[split]) * asked.sum(), 1)
                asked &= rng.random(asked.shape) < keep
            columns = {
                MODEL: self.levels(one, trained=True)[level],
                "random weights": self.levels(one, trained=False)[level],
                "intensity": probes.surroundings(one.voxels, 2**level),
                "position": probes.positions(one.voxels.shape, 2**level),
            }
            for name, values in columns.items():
                parts.setdefault(name, []).append(values[asked])
            classes.append(found[asked])
            blocks.append(np.full(int(asked.sum()), one.source.block))
        joined = {name: np.concatenate(values) for name, values in parts.items()}
        return joined, np.concatenate(classes), np.concatenate(blocks), unasked

    def probe(self, level: int, moved: bool = False) -> dict[str, Any]:
        """Scores on test blocks of a probe on each representation of the cells of a level."""
        train, train_classes, _, _ = self.cells("train", level)
        test, classes, blocks, unasked = self.cells("test", level, moved)
        some = np.random.default_rng(0).permutation(len(train_classes))[:6_000]
        width = train[MODEL].shape[1]
        patch = baselines.components(train["intensity"][some], min(width, train["intensity"].shape[1]))
        for part in (train, test):
            part["intensity"] = (part["intensity"] - patch.mean) @ patch.basis
            for name in ("intensity", MODEL):
                part[f"{name} and position"] = np.concatenate([part[name], part["position"]], axis=1)
        scores = {}
        for name, columns in train.items():
            fitted = probes.Probe(columns, train_classes)
            scores[name] = probes.by_block(fitted, test[name], classes, blocks)
        measures = list(scores[MODEL])
        return {
            "stride_mm": 2**level,
            "width": width,
            "train_cells": len(train_classes),
            "test_cells": {name: int((classes == i).sum()) for i, name in enumerate(probes.CLASSES)},
            "test_cells_not_asked": unasked,
            "measures": {
                key: scoring.compared({name: found[key] for name, found in scores.items()}, MODEL, WITH_POSITION)
                for key in measures
            },
        }

    # -- speed --------------------------------------------------------------------------------------------------

    def speed(self) -> dict[str, Any]:
        """Seconds of a forward, all levels: of CPU time, since the machine is shared."""
        whole = next(one for one in self.heads if one.source.group == "mni152").voxels
        found = {}
        for name, voxels, times in (("mni152_1mm", whole, 1), ("hippocampus_crop", self.small["test"][0].voxels, 9)):
            scoring.levels(self.model.encoder, voxels[:32, :32, :32])
            start = time.process_time()
            for _ in range(times):
                scoring.levels(self.model.encoder, voxels)
            found[name] = {"shape": list(voxels.shape), "seconds": round((time.process_time() - start) / times, 3)}
        return {"threads": torch.get_num_threads(), **found}


def _cut_off(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[slice, ...]:
    """What is left of a scan after a few voxels of one end of each axis are gone."""
    lows = [(int(rng.integers(MOST_MOVED + 1)), bool(rng.integers(2))) for _ in shape]
    return tuple(slice(n, None) if first else slice(0, side - n) for side, (n, first) in zip(shape, lows, strict=True))


def parts(evaluation: Evaluation) -> dict[str, Callable[[], Any]]:
    """Name of a part of evaluation.json → what makes it."""
    found: dict[str, Callable[[], Any]] = {"speed": evaluation.speed}
    for side in (4, 8):
        found[f"holes_{side}"] = partial(evaluation.hippocampus_holes, side)
        found[f"head_holes_{side}"] = partial(evaluation.head_holes, side)
    for level in PROBED:
        found[f"probe_stride_{2**level}"] = partial(evaluation.probe, level)
    found["probe_stride_4_moved"] = partial(evaluation.probe, 2, moved=True)
    return found


def about(folder: Path) -> dict[str, str]:
    """The weights' hash, and how far their run had come, as export wrote it beside them."""
    path = folder / "model.safetensors"
    with safe_open(path, "pt") as file:
        note = {key: value for key, value in file.metadata().items() if key != "format"}
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), **note}


def main() -> None:
    """Command line."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the imaging data folder (read only)")
    parser.add_argument("--model", type=Path, required=True, help="the exported folder")
    parser.add_argument("--out", type=Path, required=True, help="the JSON; parts of the same weights are kept")
    parser.add_argument("--parts", nargs="*", help="all those not yet there, when none is named")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found: dict[str, Any] = {"model": about(given.model)}
    if given.out.exists() and (was := json.loads(given.out.read_text())).get("model") == found["model"]:
        found = was
    for name, part in parts(Evaluation(given.data, given.model, here)).items():
        if name in given.parts if given.parts else name not in found:
            start = time.monotonic()
            found[name] = part()
            print(f"{name}  {time.monotonic() - start:.0f} s  {json.dumps(found[name])}", flush=True)
            scan.write_json(given.out, found)


if __name__ == "__main__":
    main()
