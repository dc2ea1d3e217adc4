"""Planes of a DICOM series → one lattice: sorted along their normal, LPS turned into RAS, everything uneven refused.

Slices are put in order by position, never by file name, instance number or SliceThickness. Their distance is
measured from positions and must be even within EVEN (1 % of the distance).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.imaging import check_affine
from bioterp.imaging.dicom_header import Plane

EVEN = 1e-2  # of the slice distance: steps, sideways shifts
SAME = 1e-3  # directions (cosines) and pixel spacing (relative) of one series
FEWEST = 3  # with fewer, a missing or displaced slice cannot be noticed
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def lattice(path: Path, planes: list[Plane]) -> tuple[Array, list[int]]:
    """The affine (voxel centres → mm RAS+; x along rows, y along columns, z along the normal) and the planes' order."""
    directions = np.array([plane.orientation for plane in planes])
    spacing = np.array([plane.spacing for plane in planes])
    turned = np.abs(directions - directions[0]).max(1) > SAME
    if turned.any():
        raise InputError(
            f"{path} mixes {1 + len(np.unique(directions[turned].round(2), axis=0))} orientations in one series "
            f"({int(turned.sum())} of {len(planes)} slices lie otherwise than the first); export each as its own series"
        )
    if (np.abs(spacing / np.where(spacing[0] > 0, spacing[0], 1) - 1) > SAME).any() or not (spacing > 0).all():
        raise InputError(
            f"{path}: its pixel spacing is zero or differs between slices; export each part as its own series"
        )
    row, column = directions[0, :3], directions[0, 3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if abs(lengths[0] - 1) > 0.01 or abs(lengths[1] - 1) > 0.01 or abs(row @ column) > 0.01:
        raise InputError(f"{path}: the directions of its rows and columns are not at right angles; fetch it again")
    row, column = row / lengths[0], column / lengths[1]
    if len(planes) < FEWEST:
        have = "one slice" if len(planes) == 1 else f"{len(planes)} slices"
        raise InputError(
            f"{path} holds {have} and a volume needs at least {FEWEST}; give the folder with the whole series"
        )
    positions = np.array([plane.position for plane in planes])
    normal = np.cross(row, column)
    height = positions @ normal
    order = [int(i) for i in np.argsort(height, kind="stable")]
    step = _step(path, positions[order], height[order], normal)
    lps = np.stack([row * spacing[0, 1], column * spacing[0, 0], step], 1)
    affine = np.eye(4)
    affine[:3, :3] = LPS_TO_RAS @ lps
    affine[:3, 3] = LPS_TO_RAS @ positions[order[0]]
    return check_affine(path, affine, "its geometry"), order


def _step(path: Path, positions: Array, height: Array, normal: Array) -> Array:
    """(3,) from one plane to the next; InputError when the planes are not even, or shifted against each other."""
    steps = np.diff(height)
    usual = float(np.median(steps))
    many = len(height)
    if height[-1] - height[0] < 1e-3:
        raise InputError(
            f"{path}: its {many} slices all lie at the same place (0 mm apart): a time series or monitoring scan, no "
            "volume; give another series"
        )
    if (steps < 1e-3).any():
        places = 1 + int((steps >= 1e-3).sum())
        raise InputError(
            f"{path}: {many} slices lie at {places} places (several time points, echoes or copies in one series); "
            "export each as its own series, or as a 4-D NIfTI"
        )
    if (np.abs(steps - usual) > EVEN * usual).any():
        low, high = steps.min(), steps.max()
        gaps = round(float(high / usual)) - 1
        lost = "one slice seems" if gaps == 1 else f"{gaps} slices seem"
        why = f": {lost} to be missing" if gaps >= 1 and abs(high / usual - gaps - 1) < 0.05 else ""
        raise InputError(
            f"{path}: its slices are unevenly spaced ({low:.3g} to {high:.3g} mm apart, {usual:.3g} mm mostly){why}; "
            "fetch the missing slices, or resample the series to even slices first"
        )
    step = np.asarray((positions[-1] - positions[0]) / (many - 1))
    sideways = step - (step @ normal) * normal
    if np.linalg.norm(sideways) > EVEN * usual:
        tilt = np.degrees(np.arctan2(np.linalg.norm(sideways), usual))
        raise InputError(
            f"{path}: its slices are sheared by {tilt:.1f}° (gantry tilt); correct the tilt while converting to NIfTI "
            "(dcm2niix does)"
        )
    if np.abs(positions - (positions[0] + np.arange(many)[:, None] * step)).max() > max(EVEN * usual, 1e-3):
        raise InputError(f"{path}: its slices are shifted sideways against each other; give the original series")
    return step
