"""Fifteen small scans of thirteen people with planted blobs, masks on lattices of their own, and a run.yaml on them.

What is true is said in mm (`World`): images and masks are two samplings of it, and neither is made from the other.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

RADIUS = 6.4  # mm of a blob; the finer cells have sides of 4 mm, the coarser of 8
BRIGHT, DARK = 3, 1  # blobs of each kind in a head
# subject, split, orientation, spacing and shape of the file, degrees of tilt
SCANS = (
    ("p01", "train", "RAS", (2.1, 2.4, 2.9), (25, 23, 17), 0),
    ("p01", "train", "LIA", (2.0, 2.2, 2.6), (26, 22, 21), 0),
    ("p02", "train", "SPL", (3.0, 1.9, 2.3), (16, 30, 23), 0),
    ("p03", "train", "PSR", (2.5, 2.5, 2.5), (23, 19, 21), 0),
    ("p04", "train", "LPS", (1.8, 2.0, 3.3), (28, 29, 15), 0),
    ("p05", "valid", "RSA", (2.2, 2.7, 2.0), (24, 18, 28), 0),
    ("p06", "valid", "AIL", (2.3, 2.6, 2.1), (24, 20, 25), 0),
    ("p07", "test", "LAS", (2.4, 2.1, 2.2), (22, 27, 22), 0),
    ("p07", "test", "IRP", (2.7, 2.0, 2.8), (18, 26, 20), 0),
    ("p08", "test", "RPI", (2.0, 3.1, 1.7), (27, 18, 27), 9),
    ("p09", "test", "ASR", (2.6, 2.3, 1.9), (22, 21, 27), 0),
    ("p10", "test", "RAI", (1.9, 2.3, 2.4), (28, 24, 19), 0),
    ("p11", "test", "LSP", (2.2, 1.7, 3.2), (24, 28, 18), 0),
    ("p12", "test", "PIR", (2.8, 2.4, 2.0), (20, 20, 26), 0),
    ("p13", "test", "LPS", (2.3, 2.3, 3.0), (23, 25, 16), 0),  # the DICOM series
)
DICOM = len(SCANS) - 1
NAMES = tuple(f"{one[0]}-{i:02d}" for i, one in enumerate(SCANS))
TEST = tuple(name for name, one in zip(NAMES, SCANS, strict=True) if one[1] == "test")
MANUFACTURERS = ("ACME", "Borg & Sons")


@dataclass(frozen=True)
class World:
    """One head in mm: its middle, its half axes, the middles of its bright and dark blobs."""

    middle: np.ndarray
    half: np.ndarray
    bright: np.ndarray
    dark: np.ndarray

    def brightness(self, points: np.ndarray) -> np.ndarray:
        """(…, 3) mm → what a scanner would measure there: 0 in air, else 80 to 240."""
        values = 130 + 9 * np.sin(points[..., 0] / 7) + 6 * np.cos(points[..., 2] / 5)
        values = np.where(near(points, self.bright), 240, np.where(near(points, self.dark), 60, values))
        return np.where(self.inside(points), values, 0)

    def kind(self, points: np.ndarray) -> np.ndarray:
        """(…, 3) mm → 1 in a bright blob, 2 in a dark one, else 0."""
        return np.where(near(points, self.bright), 1, np.where(near(points, self.dark), 2, 0))

    def inside(self, points: np.ndarray) -> np.ndarray:
        return (((points - self.middle) / self.half) ** 2).sum(-1) <= 1


def near(points: np.ndarray, middles: np.ndarray) -> np.ndarray:
    return (np.linalg.norm(points[..., None, :] - middles, axis=-1) <= RADIUS).any(-1)


def world(number: int) -> World:
    """The head of a scan: blobs are the subject's, where it lay in the scanner is the scan's own."""
    rng = np.random.default_rng([7, int(SCANS[number][0][1:])])
    half = rng.uniform((21.5, 23.5, 20.5), (23.5, 25.5, 22.5))
    places: list[np.ndarray] = []
    while len(places) < BRIGHT + DARK:
        at = rng.uniform(-1, 1, 3) * (half - RADIUS - 1)
        apart = all(np.linalg.norm(at - other) > 2 * RADIUS + 2 for other in places)
        if apart and ((at / (half - RADIUS - 1)) ** 2).sum() <= 1:
            places.append(at)
    middle = np.random.default_rng([11, number]).uniform(-35, 35, 3)
    return World(middle, half, np.array(places[:BRIGHT]) + middle, np.array(places[BRIGHT:]) + middle)


def affine_of(orientation: str, spacing: Any, shape: Any, middle: np.ndarray, degrees: float = 0) -> np.ndarray:
    """Voxel centres → mm RAS+, the box of voxels about `middle`, turned about an axis of no importance."""
    made = np.eye(4)
    made[:3, :3] = 0
    for axis, (along, sign) in enumerate(nibabel.orientations.axcodes2ornt(orientation)):
        made[int(along), axis] = sign * spacing[axis]
    turn = np.radians(degrees)
    about = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    made[:3, :3] = about @ made[:3, :3]
    made[:3, 3] = middle - made[:3, :3] @ ((np.array(shape) - 1) / 2)
    return made


def centres(shape: Any, affine: np.ndarray) -> np.ndarray:
    """(x, y, z, 3) mm of all voxels."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def native(number: int) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape and affine of a scan's file."""
    _, _, orientation, spacing, shape, degrees = SCANS[number]
    return shape, affine_of(orientation, spacing, shape, world(number).middle, degrees)


def save(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nibabel.save(image, path)
    return path


def write_scan(folder: Path, number: int) -> str:
    """The image of a scan, and its sidecar; the name that a sheet gives it."""
    shape, affine = native(number)
    values = world(number).brightness(centres(shape, affine))
    values = values + np.random.default_rng([13, number]).normal(0, 3, shape) * (values > 0)
    values = np.clip(np.rint(values), 0, None).astype(np.int16)
    if number == DICOM:
        write_dicom(folder / NAMES[number], values, affine)
        return NAMES[number]
    save(folder / f"{NAMES[number]}.nii.gz", values, affine)
    told = {"Manufacturer": MANUFACTURERS[int(SCANS[number][0][1:]) % 2], "MagneticFieldStrength": 3.0}
    (folder / f"{NAMES[number]}.json").write_text(json.dumps(told | {"PatientName": "Zaphod"}))
    return f"{NAMES[number]}.nii.gz"


def write_mask(path: Path, number: int, truth: World | None = None) -> Path:
    """The blobs on a lattice that has nothing to do with the image's: finer, turned, and a little larger."""
    truth = truth or world(number)
    orientation = ("ASL", "RPS", "IAR", "LAI")[number % 4]
    spacing, shape = (1.4, 1.7, 1.5), (47, 40, 43)
    affine = affine_of(orientation, spacing, shape, truth.middle + np.array([0.4, -0.7, 0.9]), 5.0 * (number % 3))
    return save(path, truth.kind(centres(shape, affine)).astype(np.uint8), affine)


def write_dicom(folder: Path, values: np.ndarray, affine: np.ndarray) -> None:
    """A series of CT-like slices by the standard's equation (C.7.6.2); axes run to columns, rows and slices."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    flip = np.diag([-1.0, -1, 1])  # RAS → LPS
    steps = flip @ affine[:3, :3]
    length = np.linalg.norm(steps, axis=0)
    series = generate_uid(entropy_srcs=["a series of the tests"])
    for k in range(values.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = "1.2.840.10008.5.1.4.1.1.4", ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["a slice of the tests", str(k)])
        one = FileDataset(str(folder / f"{k}.dcm"), {}, file_meta=meta, preamble=b"\0" * 128)
        one.SOPClassUID, one.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        one.SeriesInstanceUID, one.StudyInstanceUID, one.SeriesNumber = series, "1.2.3", "4"
        one.Modality, one.Manufacturer, one.PatientName, one.PatientID = "MR", MANUFACTURERS[1], "Zaphod", "42"
        one.Rows, one.Columns, one.SamplesPerPixel = values.shape[1], values.shape[0], 1
        one.PhotometricInterpretation, one.PixelRepresentation = "MONOCHROME2", 1
        one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
        one.PixelSpacing = [float(length[1]), float(length[0])]  # between rows, between columns
        one.ImageOrientationPatient = [*(steps[:, 0] / length[0]), *(steps[:, 1] / length[1])]
        place = flip @ affine[:3, 3] + steps[:, 2] * k
        one.ImagePositionPatient = [round(float(v), 6) for v in place]
        one.InstanceNumber, one.SliceThickness = str(k + 1), float(length[2])
        one.PixelData = np.ascontiguousarray(values[:, :, k].T).astype("<i2").tobytes()
        one.save_as(folder / f"{values.shape[2] - k:02d}.dcm", enforce_file_format=True)


# ---------------------------------------------------------------------- the model


class Tiny(nn.Module):
    """Two blocks of stride two: halves of 6 and of 10 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Conv3d(1, 6, 2, stride=2), nn.Conv3d(6, 10, 2, stride=2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = torch.relu(block(x))
        return x


def tiny() -> nn.Module:
    """What `model: {name: tests.scan_studies:tiny}` calls."""
    return Tiny()


def write_weights(path: Path) -> Path:
    """Known weights: channel 0 of the first block is the mean of 8 voxels, 1 its negative, the others mixtures."""
    network = Tiny()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for block in network.blocks:
            mix = torch.randn(block.weight.shape[:2], generator=generator) * 0.5
            mix[0, 0], mix[1, 0] = 1, -1
            block.weight[:] = (mix / 8)[..., None, None, None]
            block.bias.zero_()
        network.blocks[0].bias[2:] = torch.linspace(-0.4, 0.3, 4)
    save_file(network.state_dict(), path)
    return path


# ---------------------------------------------------------------------- the run

WANTS = {"orientation": "RAS", "spacing": [2.0, 2.0, 2.0], "intensity": "zscore"}
os.environ.setdefault("BIOTERP_TRUST_REMOTE_CODE", "1")  # the factory above is ours
MODEL = {"name": "tests.scan_studies:tiny", "weights": "tiny.safetensors", "modality": "volume", "multiple": 4}


def tree(**changes: Any) -> dict[str, Any]:
    """The run file as a mapping; `changes` by dotted key; None takes a key away."""
    made: dict[str, Any] = {
        "out": "results",
        "source": {"kind": "scans", "items": "scans.tsv"},
        "model": {**MODEL, "wants": WANTS},
        "layers": [0, 1],
        "dictionary": {"width": 17, "k": 2, "tokens": "60k", "batch": 512, "seeds": [0]},
        "labels": {"blobs": {"column": "mask", "names": {1: "bright", 2: "dark"}}},
    }
    for key, value in changes.items():
        place = made
        *above, last = key.split(".")
        for word in above:
            place = place.setdefault(word, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return made


def write_sheet(folder: Path, frame: pd.DataFrame) -> Path:
    frame.to_csv(folder / "scans.tsv", sep="\t", index=False)
    return folder / "scans.tsv"


def sheet(paths: dict[int, str]) -> pd.DataFrame:
    """The sample sheet of some scans; masks by their names."""
    lines = []
    for number, path in paths.items():
        subject, split = SCANS[number][:2]
        line = {"scan": NAMES[number], "subject": subject, "path": path, "mask": f"mask-{number:02d}.nii.gz"}
        lines.append(line | {"block": f"family-{subject}", "split": split, "age": 30 + int(subject[1:])})
    return pd.DataFrame(lines)


def write_study(folder: Path, numbers: Any = None, **changes: Any) -> Path:
    """Scans, masks, sheet, weights and run.yaml in a folder; what is there already is kept, but for run.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "scans.tsv").exists():
        numbers = range(len(SCANS)) if numbers is None else numbers
        paths = {number: write_scan(folder, number) for number in numbers}
        for number in paths:
            write_mask(folder / f"mask-{number:02d}.nii.gz", number)
        write_weights(folder / "tiny.safetensors")
        write_sheet(folder, sheet(paths))
    (folder / "run.yaml").write_text(yaml.safe_dump(tree(**changes), sort_keys=False))
    return folder / "run.yaml"
