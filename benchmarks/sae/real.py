"""Activations of real data to train on: the two reference models, which bioterp ships, on a genome and on scans.

    python benchmarks/sae/real.py [--folder FOLDER] [--shared SHARED] [--size ecoli …]

ecoli: layer 3 of bioterp/dna-small on both strands of the first 160 kb of E. coli K-12, in blocks of 5 kb; the rows of
train blocks, and those of test blocks as held out. hippocampus: layer 2 of bioterp/scan-small (cells of 2 mm) on the
first 60 scans of the Medical Segmentation Decathlon's Task04; 45 to train on, 15 held out. SHARED (or $BIOTERP_SHARED)
holds data/genomics/bacteria and data/imaging/msd_hippocampus. 65,536 held-out rows at most, drawn by a fixed seed.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
from shared import REAL, default_folder

# isort: split
from common import genomics, imaging

PART, BLOCK = 160_000, "5kb"
SCANS, TRAINED = 60, 45
HELD = 65_536


def ecoli(folder: Path, shared: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """(train rows, held-out rows) of the genome."""
    import bioterp as bt
    from bioterp.sequence import Sequences

    fasta = genomics(shared and shared / "data/genomics") / "bacteria/ecoli_k12_mg1655.fna.gz"
    part = folder / "part.bed"
    folder.mkdir(parents=True, exist_ok=True)
    part.write_text(f"{next(iter(Sequences(fasta).contigs))}\t0\t{PART}\n")
    source = bt.DNA(fasta, window=767, halo=[256, 0], blocks=BLOCK, regions=part)
    acts = bt.activations(source, bt.load_model("bioterp/dna-small"), layers=[3], out=folder)[3]
    return rows_of(acts.split("train")), rows_of(acts.split("test"))


def hippocampus(folder: Path, shared: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """(train rows, held-out rows) of the scans."""
    import bioterp as bt

    images = imaging(shared and shared / "data/imaging") / "msd_hippocampus/images"
    paths = sorted(images.glob("*.nii.gz"))[:SCANS]
    folder.mkdir(parents=True, exist_ok=True)
    sheet = folder / "scans.tsv"
    lines = [f"{path.name.removesuffix('.nii.gz')}\t{path.resolve()}" for path in paths]
    sheet.write_text("\n".join(["scan\tpath", *lines]) + "\n")
    model = bt.load_model("bioterp/scan-small")
    acts = bt.activations(bt.Scans(sheet, **model.wants), model, layers=[2], out=folder)[2]
    rows, cut = rows_of(acts), int(acts.rows.offsets[TRAINED])
    return rows[:cut], rows[cut:]


def rows_of(acts: Any) -> np.ndarray:
    return np.concatenate([np.asarray(read, np.float32) for _, _, read in acts.batches(8_192)])


def make(folder: Path, name: str, shared: Path | None = None) -> None:
    """Write the train and held-out rows of one of REAL; what is there already stays."""
    done = folder / f"held-{name}.npy"
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    made = {"ecoli": ecoli, "hippocampus": hippocampus}[name]
    train, held = made(folder / f"acts-{name}", shared)
    if len(held) > HELD:
        held = held[np.sort(np.random.default_rng(0).permutation(len(held))[:HELD])]
    for path, rows in ((folder / f"train-{name}.npy", train), (done, held)):
        beside = path.with_name(f"{path.stem}-{os.getpid()}.npy")
        np.save(beside, rows)
        beside.replace(path)
    print(f"{name}: {len(train):,} rows of {train.shape[1]} channels to train on, {len(held):,} held out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=default_folder())
    parser.add_argument("--shared", type=Path)
    parser.add_argument("--size", action="append", choices=REAL, help="default: all")
    options = parser.parse_args()
    for name in options.size or REAL:
        make(options.folder / "data", name, options.shared)


if __name__ == "__main__":
    main()
