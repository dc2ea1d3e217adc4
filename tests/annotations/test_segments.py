"""DICOM segmentations, against their frames as pydicom reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from scan_rows import affine_of, like, scan_rows, states

from bioterp.annotations import label
from bioterp.annotations.segments import is_segmentation, read_segments
from bioterp.errors import InputError

pytestmark = pytest.mark.needs_shared


@pytest.fixture(scope="module")
def folder(genomics) -> Path:
    found = genomics.parent / "imaging/dicom/highdicom"
    if not found.is_dir():
        pytest.skip("real imaging data are not here")
    return found


def by_frames(path: Path) -> dict[int, np.ndarray]:
    """{segment number: (k, 3) centres in mm RAS+ of its voxels}, by the position and orientation of each frame."""
    seg = pydicom.dcmread(path)
    pixels = seg.pixel_array
    shared = seg.SharedFunctionalGroupsSequence[0]
    right, down = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    rows, columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    found: dict[int, list[np.ndarray]] = {}
    for frame, plane in zip(seg.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        corner = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        row, column = np.nonzero(plane)
        lps = corner + column[:, None] * columns * right + row[:, None] * rows * down
        number = int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        found.setdefault(number, []).append(lps * [-1, -1, 1])
    return {number: np.concatenate(parts) for number, parts in found.items()}


@pytest.mark.parametrize("name", ["binary", "binary_overlap"])
def test_segments_lie_where_their_frames_say(folder, name) -> None:
    path = folder / f"seg_image_ct_{name}.dcm"
    wanted = by_frames(path)
    labels = read_segments(path)
    # Cells along the patient's axes, one per voxel, between the slices' own middles: nothing of the file's own order.
    spacing = np.array([0.488281, 0.488281, 1.25])
    points = np.concatenate(list(wanted.values()))
    low, high = points.min(0) - spacing * 2.5, points.max(0) + spacing * 2.5
    shape = tuple(int(n) for n in np.rint((high - low) / spacing))
    rows = scan_rows(("ct", shape, affine_of(np.eye(3), spacing, low)))
    field = label(rows, path)
    assert field.columns["name"].tolist() == [labels.names[n] for n in sorted(wanted)]
    for number, places in wanted.items():
        flat = np.unique(rows.grid(0).locate(places))
        assert np.flatnonzero(states(field, labels.names[number]) == 1).tolist() == flat.tolist()


def test_overlapping_segments_are_both_there(folder) -> None:
    path = folder / "seg_image_ct_binary_overlap.dcm"
    wanted = {
        n: {tuple(p) for p in np.rint(places * 1e4).astype(int).tolist()} for n, places in by_frames(path).items()
    }
    assert wanted[1] & wanted[2]
    labels = read_segments(path)
    assert len(labels.layers) == 2
    field = label(like("ct", labels.layers[0].shape, labels.affine), path)
    both = (states(field, "first segment") == 1) & (states(field, "second segment") == 1)
    assert both.sum() == len(wanted[1] & wanted[2])


def test_a_slice_without_a_frame_is_background_and_beyond_the_frames_nothing_is_known(folder) -> None:
    labels = read_segments(folder / "seg_image_ct_binary_overlap.dcm")
    depth = labels.layers[0].shape[0]
    held = np.stack(labels.layers).any((0, 2, 3))
    assert held.sum() == 4 < depth  # the frames of four slices, between −99.5 and 105.5 mm
    grown = labels.affine.copy()
    grown[:3, 3] -= 2 * grown[:3, 0]
    rows = like("ct", (depth + 4, *labels.layers[0].shape[1:]), grown)
    planes = states(label(rows, folder / "seg_image_ct_binary_overlap.dcm"), "first segment").reshape(depth + 4, -1)
    assert (planes[[0, 1, -2, -1]] == -1).all()
    assert (planes[2:-2][~held] == 0).all()
    planes = label(rows, folder / "seg_image_ct_binary_overlap.dcm", outside="negative")
    assert (states(planes, "first segment") >= 0).all()


def test_a_fractional_segmentation_needs_a_threshold(folder) -> None:
    path = folder / "seg_image_ct_true_fractional.dcm"
    with pytest.raises(InputError, match=r"fractional segmentation .*threshold=0.5"):
        read_segments(path)
    seg = pydicom.dcmread(path)
    share = seg.pixel_array / float(seg.MaximumFractionalValue)
    assert 0 < (share >= 0.5).sum() < (share > 0).sum()
    half, some = (read_segments(path, threshold=t) for t in (0.5, 0.2))
    rows = like("ct", half.layers[0].shape, half.affine)
    field = label(rows, path, threshold=0.5)
    assert (states(field, "first segment") == 1).sum() == (share >= 0.5).sum()
    assert np.stack(some.layers).sum() == (share >= 0.2).sum()
    assert any("fractional: voxels of 0.5 and more" in w for w in field.about["warnings"])


def test_what_is_a_segmentation(folder, tmp_path) -> None:
    assert is_segmentation(folder / "seg_image_ct_binary.dcm")
    assert not is_segmentation(folder / "ct_image.dcm")
    assert not is_segmentation(folder)
    (tmp_path / "short").write_bytes(b"x")
    assert not is_segmentation(tmp_path / "short")
    torn = tmp_path / "torn.dcm"
    torn.write_bytes((folder / "seg_image_ct_binary.dcm").read_bytes()[:1700])
    if is_segmentation(torn):
        with pytest.raises((InputError, FileNotFoundError)):
            read_segments(torn)
