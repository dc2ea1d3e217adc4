"""Write data.json: every scan used, its SHA-256, licence, block, split and weight.

    python training/scan_small/list_data.py --data IMAGING

Run once, by whoever changes the choice of data; training and evaluation only read the list it made.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import corpus

from bioterp.rows import split_of

HIPPOCAMPUS_SHARE = 0.6
HEADS = {
    "ixi_t1_2mm/nifti/IXI*_ds.nii.gz": ("ixi", "CC BY-SA 3.0", 0.06),
    "mrisnapshot/Scan1/Scan1_T1.nii.gz": ("mrisnapshot", "MIT", 0.08),
    "brainchop/t1_crop.nii.gz": ("brainchop", "MIT", 0.08),
    "mni152/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz": ("mni152", "ICBM, permissive", 0.0),
}
"""Whole heads: group, licence, and the share of the training crops of each scan."""

KEPT_OUT = ("IXI033", "IXI034", "mni_icbm152")
"""Heads never trained on, by the beginning of their names."""


def row(data: Path, path: Path, group: str, licence: str, block: str, split: str, weight: float) -> dict[str, Any]:
    """One line of the list."""
    name = path.name.removesuffix(".nii.gz")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    weight = round(weight, 6) if split == "train" else 0.0
    inside = str(path.relative_to(data))
    found = {"name": name, "path": inside, "sha256": digest, "group": group, "block": block, "split": split}
    return {**found, "weight": weight}


def rows(data: Path) -> list[dict[str, Any]]:
    """All lines: hippocampus scans first, then heads."""
    small = sorted((data / "msd_hippocampus" / "images").glob("*.nii.gz"))
    blocks = {path: corpus.block_of(path.name.removesuffix(".nii.gz")) for path in small}
    splits = {path: split_of(blocks[path], 0) for path in small}
    each = HIPPOCAMPUS_SHARE / sum(split == "train" for split in splits.values())
    found = [row(data, p, "hippocampus", "CC BY-SA 4.0", blocks[p], splits[p], each) for p in small]
    for pattern, (group, licence, weight) in HEADS.items():
        for path in sorted(data.glob(pattern)):
            split = "test" if path.name.startswith(KEPT_OUT) else "train"
            found.append(row(data, path, group, licence, path.name.split("-")[0].split(".")[0], split, weight))
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the imaging data folder (read only)")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("data.json"))
    given = parser.parse_args()
    licences = {"hippocampus": "CC BY-SA 4.0", **{group: licence for group, licence, _ in HEADS.values()}}
    note = (
        "Paths are relative to the imaging data folder given on the command line. weight: share of training crops. "
        "Hippocampus blocks are 20 consecutive numbers, split by bioterp.rows.split_of(block, 0)."
    )
    lines = ",\n    ".join(json.dumps(one) for one in rows(given.data))
    head = f'  "note": {json.dumps(note)},\n  "licences": {json.dumps(licences)},'
    text = f'{{\n{head}\n  "sources": [\n    {lines}\n  ]\n}}\n'
    given.out.write_text(text)


if __name__ == "__main__":
    main()
