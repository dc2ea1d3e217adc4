"""NIfTI and MGZ: every orientation from a planted world, real files against nibabel, malformed ones in one sentence."""

from __future__ import annotations

import gzip
import itertools
import re
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bioterp.errors import InputError
from bioterp.imaging import Volume, open_volume

SPACING, ORIGIN, SIZE = (1.5, 2.25, 3.1), (-20.3, 14.9, 41.0), (4, 5, 6)
# Where header fields lie in a NIfTI-1 file (nifti1.h).
DIM, DATATYPE, PIXDIM, VOX_OFFSET, SLOPE, UNITS = 40, 70, 76, 108, 112, 123
QFORM_CODE, SFORM_CODE, QUATERN, SROW = 252, 254, 256, 280


def world(x, y, z):
    """A value for every place; no two axes and no two directions of an axis look alike."""
    return 3.0 * x - 5.5 * y + 7.25 * z + 0.031 * x * y - 0.012 * y * z


def anatomy() -> np.ndarray:
    """The planted world on a lattice whose axes run right, anterior, superior."""
    x, y, z = (ORIGIN[a] + SPACING[a] * np.arange(SIZE[a]) for a in range(3))
    return world(x[:, None, None], y[None, :, None], z[None, None, :])


def at_voxels(volume: Volume) -> np.ndarray:
    """The planted world where the volume says its voxels are, one voxel at a time."""
    out = np.empty(volume.shape)
    for index in np.ndindex(volume.shape):
        x, y, z, _ = volume.affine @ [*index, 1]
        out[index] = world(x, y, z)
    return out


def small(path: Path, values: np.ndarray | None = None, kind=nib.Nifti1Image, affine=None) -> Path:
    """A valid image, by nibabel; by default 4 × 5 × 6 int16 on a lattice of 2, 3 and 4 mm."""
    values = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6) if values is None else values
    nib.save(kind(values, np.diag([2.0, 3.0, 4.0, 1.0]) if affine is None else affine), path)
    return path


def edit(path: Path, *changes: tuple[int, str, tuple]) -> Path:
    """The file with header fields overwritten: (offset, struct format, values)."""
    content = bytearray(path.read_bytes())
    for offset, form, values in changes:
        struct.pack_into("<" + form, content, offset, *values)
    path.write_bytes(content)
    return path


def refusal(path: Path, **options) -> str:
    with pytest.raises(InputError) as caught:
        volume = open_volume(path, **options)
        volume.read(0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
def test_all_48_orientations(tmp_path: Path, order: tuple[int, int, int]) -> None:
    for number, signs in enumerate(itertools.product((1, -1), repeat=3)):
        # The file's axis i runs along world axis order[i], backwards where its sign is −1.
        stored = anatomy().transpose(order)
        affine = np.zeros((4, 4))
        affine[:3, 3], affine[3, 3] = ORIGIN, 1
        for axis, (along, sign) in enumerate(zip(order, signs, strict=True)):
            affine[along, axis] = sign * SPACING[along]
            if sign < 0:
                stored = np.flip(stored, axis)
                affine[along, 3] = ORIGIN[along] + SPACING[along] * (SIZE[along] - 1)
        path = tmp_path / f"{number}.nii{'.gz' if number % 2 else ''}"
        kind = nib.Nifti2Image if number % 3 == 0 else nib.Nifti1Image
        nib.save(kind(stored.astype("<f4" if number % 4 else ">f4"), affine), path)
        volume = open_volume(path)
        read = volume.read()
        assert volume.shape == stored.shape and read.dtype == np.float32
        np.testing.assert_allclose(read, at_voxels(volume), rtol=0, atol=2e-4)


def test_oblique_qform_alone(tmp_path: Path) -> None:
    angle = 0.37
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * [1.25, 2.0, 3.5], [7, -11, 13]
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.float32), None)
    image.set_qform(affine, 1)
    image.set_sform(None, 0)
    nib.save(image, tmp_path / "q.nii")
    volume = open_volume(tmp_path / "q.nii")
    assert volume.codes == (0, 1)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-5)


REAL = [
    "messy/nibabel/anatomical.nii", "messy/nibabel/example4d.nii.gz", "messy/nibabel/example_nifti2.nii.gz",
    "messy/nibabel/reoriented_anat_moved.nii", "messy/nibabel/standard.nii.gz", "messy/nibabel/test.mgz",
    "messy/bids/AIR.nii.gz", "messy/bids/big_header.nii.gz",
    "messy/bids/valid_headers__sub-01__anat__sub-01_T1w.nii.gz",
    "totalseg/example_ct_sm.nii.gz", "messy/msd_hippocampus_118_image_without_label.nii.gz",
]  # fmt: skip


@pytest.mark.needs_shared
@pytest.mark.parametrize("name", REAL)
def test_real_files_as_nibabel_reads_them(imaging: Path, name: str) -> None:
    theirs = nib.load(imaging / name)
    ours = open_volume(imaging / name)
    values = np.asarray(theirs.get_fdata()).reshape(*theirs.shape[:3], -1)
    assert ours.shape == theirs.shape[:3] and ours.frames == values.shape[3]
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-6)
    for frame in range(ours.frames):
        np.testing.assert_array_equal(ours.read(frame), values[..., frame].astype(np.float32))


@pytest.mark.needs_shared
def test_axes_of_files_that_name_them(imaging: Path) -> None:
    for codes in ("AIR", "RAS", "SPL"):
        assert "".join(nib.aff2axcodes(open_volume(imaging / f"messy/bids/{codes}.nii.gz").affine)) == codes
    assert nib.aff2axcodes(open_volume(imaging / "messy/nibabel/anatomical.nii").affine) == ("L", "A", "S")


def test_mgz_and_its_orientation(tmp_path: Path) -> None:
    affine = np.array([[-2.0, 0, 0, 30], [0, 0, 3, -40], [0, -5, 0, 50], [0, 0, 0, 1]])
    path = small(tmp_path / "a.mgz", None, nib.MGHImage, affine)
    volume = open_volume(path)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-4)
    np.testing.assert_array_equal(volume.read(), np.arange(120, dtype=np.float32).reshape(4, 5, 6))
    unpacked = tmp_path / "b.mgh"
    unpacked.write_bytes(gzip.decompress(path.read_bytes()))
    assert open_volume(unpacked).codes == (1, 1)
    content = bytearray(unpacked.read_bytes())
    content[28:30] = b"\0\0"  # goodRASFlag
    unpacked.write_bytes(content)
    assert "does not say its orientation" in refusal(unpacked)
    assumed = open_volume(unpacked, assume_ras=True)
    assert assumed.codes == (0, 0)
    np.testing.assert_array_equal(assumed.affine, np.eye(4))  # without the flag the spacing is not said either: 1 mm


def test_sform_goes_before_qform_and_the_difference_is_told(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), None)
    image.set_qform(np.diag([2.0, 3.0, 4.0, 1.0]), 1)
    shifted = np.diag([2.0, 3.0, 4.0, 1.0])
    shifted[0, 3] = 3.1
    image.set_sform(shifted, 2)
    nib.save(image, tmp_path / "a.nii")
    volume = open_volume(tmp_path / "a.nii")
    assert volume.codes == (2, 1) and volume.notes == ("qform and sform differ by up to 3.1 mm; the sform is used",)
    np.testing.assert_allclose(volume.affine, shifted, atol=1e-6)
    image.set_sform(np.diag([2.0, 3.0, 4.0, 1.0]), 2)
    nib.save(image, tmp_path / "b.nii")
    assert open_volume(tmp_path / "b.nii").notes == ()


def test_without_orientation_only_on_request(tmp_path: Path) -> None:
    path = edit(small(tmp_path / "a.nii"), (QFORM_CODE, "hh", (0, 0)))
    assert "does not say its orientation" in refusal(path)
    volume = open_volume(path, assume_ras=True)
    assert volume.codes == (0, 0) and "was assumed" in volume.notes[0]
    np.testing.assert_array_equal(volume.affine, np.diag([2.0, 3.0, 4.0, 1.0]))


@pytest.mark.parametrize(
    ("slope", "inter", "expected"),
    [(2.5, -7.0, (2.5, -7.0)), (0.0, 5.0, (1, 0)), (np.nan, 3.0, (1, 0)), (-1.0, 0.0, (-1, 0)), (1.0, 4.0, (1, 4))],
)
def test_slope_and_intercept(tmp_path: Path, slope: float, inter: float, expected: tuple[float, float]) -> None:
    path = edit(small(tmp_path / "a.nii"), (SLOPE, "ff", (slope, inter)))
    stored = np.arange(120).reshape(4, 5, 6)
    np.testing.assert_array_equal(open_volume(path).read(), (stored * expected[0] + expected[1]).astype(np.float32))


@pytest.mark.parametrize(("code", "scale"), [(1, 1000.0), (2, 1.0), (3, 0.001), (0, 1.0)])
def test_units_become_mm(tmp_path: Path, code: int, scale: float) -> None:
    in_header = np.array([2.0, 3.0, 4.0]) / scale
    path = edit(small(tmp_path / "a.nii", None, affine=np.diag([*in_header, 1])), (UNITS, "B", (code,)))
    volume = open_volume(path)
    np.testing.assert_allclose(np.diag(volume.affine), [2, 3, 4, 1], rtol=1e-6)
    assert bool(volume.notes) == (scale != 1)


def test_pairs_by_either_name(tmp_path: Path) -> None:
    small(tmp_path / "p.img", kind=nib.Nifti1Pair)
    for name in ("p.img", "p.hdr"):
        np.testing.assert_array_equal(open_volume(tmp_path / name).read().ravel(), np.arange(120))
    (tmp_path / "p.img").unlink()
    assert "p.img, which is not here" in refusal(tmp_path / "p.hdr")


def test_a_4d_image_needs_a_frame(tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(0, 900, (4, 5, 6, 7)).astype(np.int16)
    volume = open_volume(small(tmp_path / "a.nii.gz", values))
    assert volume.frames == 7
    for frame in (6, 0, 3):
        np.testing.assert_array_equal(volume.read(frame), values[..., frame])
    with pytest.raises(InputError, match=r"4-D with 7 frames.*column 't'"):
        volume.read()
    with pytest.raises(InputError, match="frames 0 to 6; frame 7"):
        volume.read(7)


def test_a_last_axis_of_one_is_3d_and_nan_is_kept(tmp_path: Path) -> None:
    values = np.ones((4, 5, 6, 1), np.float32)
    values[1, 2, 3] = np.nan
    read = open_volume(small(tmp_path / "a.nii", values)).read()
    assert read.shape == (4, 5, 6) and np.isnan(read).sum() == 1 and np.isnan(read[1, 2, 3])


def test_labels_are_exact_whole_numbers(tmp_path: Path) -> None:
    large = np.full((4, 5, 6), 2**24 + 1, np.int32)  # float32 would round it
    read = open_volume(small(tmp_path / "a.nii", large)).read_labels()
    assert read.dtype == np.int32 and (read == 2**24 + 1).all()
    floats = np.arange(120.0).reshape(4, 5, 6).astype(np.float32)
    read = open_volume(small(tmp_path / "b.nii", floats)).read_labels()
    assert read.dtype.kind == "i" and (read.ravel() == np.arange(120)).all()
    for wrong in (0.25, np.nan, np.inf):
        floats[2, 3, 4] = wrong
        with pytest.raises(InputError, match="is no label image: it holds the value"):
            open_volume(small(tmp_path / "c.nii", floats)).read_labels()


SROW_FLAT = (SROW, "12f", (2, 0, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0))
BAD = {
    "gigantic": ([(DIM, "4h", (3, 32767, 32767, 32767))], "140,7.* GB; at most 536,870,912 voxels"),
    "more than the file": ([(DIM, "4h", (3, 4, 5, 600))], "is cut off or damaged: (its header says|24,000 bytes)"),
    "one byte short": ([(VOX_OFFSET, "f", (353,))], "is cut off or damaged"),
    "voxels in the header": ([(VOX_OFFSET, "f", (100,))], "begin inside its header"),
    "zero size": ([(DIM, "4h", (3, 4, 0, 6))], "a 3-D image was wanted"),
    "negative size": ([(DIM, "4h", (3, 4, -5, 6))], "a 3-D image was wanted"),
    "one axis": ([(DIM, "2h", (1, 120))], "a 3-D image was wanted"),
    "no such rank": ([(DIM, "h", (99,))], "3-D image was wanted|damaged NIfTI header"),
    "vectors": ([(DIM, "6h", (5, 2, 5, 6, 1, 2))], "2 numbers per voxel"),
    "RGB": ([(DATATYPE, "2h", (128, 24))], r"colours \(RGB\)"),
    "complex": ([(DATATYPE, "2h", (32, 64))], "complex numbers"),
    "unknown type": ([(DATATYPE, "h", (12345,))], "damaged NIfTI header"),
    "Analyze": ([(344, "4s", (b"\0\0\0\0",))], "Analyze 7.5"),
    "flat sform": ([SROW_FLAT], "its sform gives voxels no volume"),
    "zero sform": ([(SROW, "12f", (0,) * 12)], "its sform gives voxels no volume"),
    "metres that are mm": ([(UNITS, "B", (1,))], r"makes voxels of 2e\+03 × 3e\+03 × 4e\+03 mm"),
    "undefined sform": ([(SROW, "f", (np.nan,))], "its sform gives voxels no volume"),
    "zero pixdim": ([(SFORM_CODE, "h", (0,)), (QFORM_CODE, "h", (1,)), (PIXDIM + 8, "f", (0,))], "no volume|pixdim"),
    "no rotation": ([(SFORM_CODE, "h", (0,)), (QFORM_CODE, "h", (1,)), (QUATERN, "3f", (2, 2, 2))], "qform is damaged"),
}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("case", BAD)
def test_damaged_headers_give_one_sentence(tmp_path: Path, case: str, packed: bool) -> None:
    changes, expected = BAD[case]
    path = edit(small(tmp_path / "a.nii"), *changes)
    if packed:
        path = tmp_path / "a.nii.gz"
        path.write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    assert re.search(expected, refusal(path))


def test_files_that_are_no_image(tmp_path: Path) -> None:
    whole = small(tmp_path / "whole.nii").read_bytes()
    packed = gzip.compress(whole)
    wrong_sum = packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]
    cases = {
        "empty.nii": (b"", "is empty"),
        "empty.nii.gz": (b"", "is empty"),
        "head.nii": (whole[:200], "cut off within its header"),
        "only.nii": (whole[:352], "is cut off or damaged"),
        "only.nii.gz": (gzip.compress(whole[:352]), "bytes of voxels were wanted, 0 are there"),
        "short.nii.gz": (gzip.compress(whole[:-3]), "240 bytes of voxels were wanted, 237 are there"),
        "cut.nii.gz": (packed[:-30], "cut off or damaged"),
        "sum.nii.gz": (wrong_sum, "CRC"),
        "fake.nii.gz": (b"\x1f\x8b" + b"x" * 700, "damaged gzip"),
        "a.nrrd": (b"NRRD0004\ntype: short\n", "it is an NRRD image"),
        "a.png": (b"\x89PNG\r\n\x1a\n" + b"\0" * 600, "it is a PNG picture"),
        "a.mnc": (b"\x89HDF\r\n\x1a\n" + b"\0" * 600, "MINC"),
        "annex.nii.gz": (b"/annex/objects/MD5E-s1--0.nii.gz\n", "pointer to a file that is not here"),
        "text.nii": (b"hello " * 200, "neither NIfTI, MGZ nor DICOM"),
        "a.mgh": (struct.pack(">7ihi", 1, 4, 5, 6, 1, 3, 0, 1, 0) + b"\0" * 700, "no volume|cut off"),
    }
    for name, (content, expected) in cases.items():
        (tmp_path / name).write_bytes(content)
        assert re.search(expected, refusal(tmp_path / name)), name
    assert "there is no image" in refusal(tmp_path / "nowhere.nii")
    (tmp_path / "link.nii").symlink_to(tmp_path / ".git" / "annex" / "x")
    assert "datalad get" in refusal(tmp_path / "link.nii")
    (tmp_path / "folder").mkdir()
    assert "holds no DICOM image" in refusal(tmp_path / "folder")


@pytest.mark.needs_shared
def test_shared_messy_files(imaging: Path) -> None:
    messy = imaging / "messy"
    assert "is empty" in refusal(
        messy / "bids/broken_pet_example_2-pet_mri__sub-01__ses-01__anat__sub-01_ses-01_T1w.nii.gz"
    )
    assert "nifti1.img, which is not here" in refusal(messy / "nibabel/nifti1.hdr")
    with pytest.raises(InputError, match="2 frames"):
        open_volume(messy / "nibabel/example_nifti2.nii.gz").read()
    assert set(np.unique(open_volume(messy / "msd_hippocampus_010_label_without_image.nii.gz").read_labels())) == {
        0,
        1,
        2,
    }


def test_values_float32_cannot_hold(tmp_path: Path) -> None:
    values = np.full((4, 5, 6), 1e300)
    assert "do not fit float32" in refusal(small(tmp_path / "a.nii", values))


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    whole = small(tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(whole + b"\0" * 80_000_000, 6))
    tracemalloc.start()
    open_volume(tmp_path / "a.nii.gz").read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


@pytest.mark.parametrize("slope", [1.0, 0.5])
def test_reading_holds_no_second_copy(tmp_path: Path, slope: float) -> None:
    path = edit(small(tmp_path / "a.nii", np.ones((150, 160, 170), np.int16)), (SLOPE, "ff", (slope, 0)))
    volume = open_volume(path)
    tracemalloc.start()
    read = volume.read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read[149, 159, 169] == slope and peak < 1.7 * read.nbytes


def test_importing_loads_no_reader() -> None:
    code = (
        "import sys, bioterp.imaging; print([m for m in ('nibabel', 'pydicom', 'pandas', 'torch') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_missing_reader_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small(tmp_path / "a.nii")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    assert "pip install 'bioterp[imaging]'" in refusal(path)


def test_random_damage_never_escapes(tmp_path: Path) -> None:
    """Header bytes overwritten at random: either an image is read, or one sentence is raised."""
    rng = np.random.default_rng(21)
    for number, kind in enumerate((nib.Nifti1Image, nib.Nifti2Image, nib.MGHImage)):
        path = tmp_path / f"{number}.{'mgh' if kind is nib.MGHImage else 'nii'}"
        content = small(path, None, kind).read_bytes()
        for trial in range(300):
            spoilt = bytearray(content)
            for _ in range(1 + trial % 5):
                spoilt[rng.integers(4, 540)] = rng.integers(256)
            path.write_bytes(spoilt if trial % 2 else gzip.compress(spoilt, 1))
            try:
                volume = open_volume(path)
                assert np.isfinite(volume.affine).all() and np.linalg.det(volume.affine) != 0
                volume.read(0)
            except InputError as error:
                assert "\n" not in str(error)
