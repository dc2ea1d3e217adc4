"""Maps of numbers on rows of scans."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from scan_rows import affine_of, like, save, scan_rows, spin, states

from bioterp.annotations import label
from bioterp.errors import InputError


def test_means_over_aligned_cells(rng, tmp_path) -> None:
    volume = rng.normal(size=(6, 8, 4)).astype(np.float32)
    affine = affine_of(spin(10, 20, 30), (1, 2, 1.5), (3, 4, 5))
    path = save(tmp_path / "grey.nii.gz", volume, affine)
    field = label(like("s", volume.shape, affine, stride=2), path, density=True)
    wanted = volume.reshape(3, 2, 4, 2, 2, 2).mean((1, 3, 5)).ravel()
    np.testing.assert_allclose(field.values[:, 0], wanted, atol=1e-6)
    assert field.columns["name"].tolist() == ["grey"]
    assert field.kind == "label"


def test_outside_and_without_a_value_is_unknown() -> None:
    volume = np.full((4, 2, 2), 3.0, np.float32)
    volume[2] = np.nan
    rows = like("s", (8, 2, 2), np.eye(4))
    found = label(rows, {"s": (volume, np.eye(4))}, density=True, name="x").values[:, 0].reshape(8, 2, 2)[:, 0, 1]
    np.testing.assert_array_equal(found, [3, 3, np.nan, 3, *[np.nan] * 4])


def test_half_of_a_cell_is_enough() -> None:
    volume = np.arange(1, 5, dtype=np.float32).reshape(4, 1, 1)
    rows = scan_rows(("s", (3, 1, 1), affine_of(np.eye(3), (2, 1, 1), (-1.5, -0.5, -0.5))))
    found = label(rows, {"s": (volume, np.eye(4))}, density=True).values[:, 0]
    assert found.tolist() == [1.0, 2.5, 4.0]  # the first and the last have half of their volume outside
    rows = scan_rows(
        ("s", (1, 1, 1), affine_of(np.eye(3), (3, 1, 1), (-2.5, -0.5, -0.5))),
        ("t", (1, 1, 1), affine_of(np.eye(3), (1, 1, 1), (-0.5, -0.5, -0.5))),
    )
    field = label(rows, {"s": (volume, np.eye(4)), "t": (volume, np.eye(4))}, density=True)
    assert np.isnan(field.values[0, 0])
    assert field.about["warnings"] == ["scan 's' is unknown: its map lies beside it or has no value in it"]


def test_a_threshold_makes_a_term(tmp_path) -> None:
    volume = np.zeros((4, 3, 5), np.float32)
    volume[0], volume[1], volume[2] = 0.5, 0.49, np.nan
    path = save(tmp_path / "p.nii", volume, np.eye(4))
    field = label(like("s", volume.shape, np.eye(4)), path, threshold=0.5, name="grey")
    assert states(field, "grey").reshape(4, 3, 5)[:, 1, 2].tolist() == [1, 0, -1, 0]
    assert field.values.instances["voxels"].tolist() == [15]


def test_scans_without_a_map_and_none_at_all(tmp_path) -> None:
    cells = ((2, 3, 4), affine_of(np.eye(3), (1, 1, 1), (-0.5, -0.5, -0.5)))
    one = (np.ones((2, 3, 4)), np.eye(4))
    field = label(scan_rows(("a", *cells), ("b", *cells)), {"a": one}, density=True)
    assert np.isfinite(field.values[:24]).all()
    assert np.isnan(field.values[24:]).all()
    assert field.about["warnings"] == ["scan 'b' is unknown: it has no map"]
    with pytest.raises(InputError, match="no scan of the rows has a value"):
        label(scan_rows(("a", *cells)), {"a": tmp_path / "none.nii"}, density=True)
    with pytest.raises(InputError, match="names= is for terms"):
        label(scan_rows(("a", *cells)), {"a": one}, density=True, names={1: "x"})


@pytest.mark.needs_shared
def test_grey_matter_of_the_template(genomics) -> None:
    path = genomics.parent / "imaging/mni152/mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz"
    image = nibabel.load(path)
    field = label(like("mni", image.shape, image.affine, stride=4), path, density=True)
    array = np.asarray(image.dataobj)[:196, :232, :188]
    wanted = array.reshape(49, 4, 58, 4, 47, 4).mean((1, 3, 5)).ravel()
    np.testing.assert_allclose(field.values[:, 0], wanted, atol=1e-3)
