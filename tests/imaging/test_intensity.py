"""Recipes of intensity: what they do to known numbers, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from bioterp.errors import InputError
from bioterp.imaging.intensity import channels, normalise, otsu, padding

IMAGE = np.random.default_rng(3).gamma(2.0, 60.0, (9, 11, 13)).astype(np.float32)
IMAGE[:3] = 0  # air


def test_zscore_is_over_what_is_not_air() -> None:
    made = normalise(IMAGE, "zscore")
    assert made.shape == (1, 9, 11, 13) and made.dtype == np.float32
    inside = made[0][IMAGE != 0]
    assert abs(inside.mean()) < 1e-4 and abs(inside.std() - 1) < 1e-4 and padding("zscore", made) == 0
    scaled = normalise(IMAGE * 1000, "zscore")
    assert np.allclose(scaled, made, atol=1e-4)  # the scanner's scale is gone
    everywhere = normalise(IMAGE, {"zscore": "all"})
    assert abs(everywhere.mean()) < 1e-4 and not np.allclose(everywhere, made)


def test_ranges() -> None:
    made = normalise(IMAGE - 5, "minmax")[0]
    assert made.min() == 0 and made.max() == 1
    low, high = np.percentile(IMAGE, [2, 98])
    assert np.allclose(
        normalise(IMAGE, {"percentile": [2, 98]})[0], np.clip((IMAGE - low) / (high - low), 0, 1), atol=1e-6
    )
    ct = np.array([-2000, -1024, 0, 40, 80, 1024, 3000], np.float32).reshape(7, 1, 1)
    assert np.allclose(normalise(ct, {"window": [0, 80], "to": [-1, 1]}).ravel(), [-1, -1, -1, 0, 1, 1, 1])
    three = normalise(ct, {"windows": [[-1024, 1024], [-135, 215], [0, 80]]})
    assert three.shape == (3, 7, 1, 1) and channels({"windows": [[-1024, 1024], [-135, 215], [0, 80]]}) == 3
    assert np.allclose(three[2].ravel(), [0, 0, 0, 0.5, 1, 1, 1]) and padding({"window": [0, 80]}, three[2]) == 0


def test_voxels_that_are_no_number_take_no_part() -> None:
    holed = IMAGE.copy()
    holed[4, 5, 6], holed[5, 5, 5] = np.nan, np.inf
    made = normalise(holed, "minmax")[0]
    assert np.isfinite(made).all() and made[4, 5, 6] == 0 and made[5, 5, 5] == 0


def test_otsu_parts_two_heaps() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(10, 2, 4000), rng.normal(80, 9, 700)])
    assert 20 < otsu(values) < 60


@pytest.mark.parametrize(
    ("recipe", "what"),
    [
        ("zscores", "did you mean 'zscore'"),
        ({"percentile": [98, 2]}, "percentile takes two numbers"),
        ({"window": 40}, "window takes two numbers"),
        ({"windows": []}, "windows takes a list"),
        ({"zscore": "brain"}, "zscore is over"),
        ({"minmax": None, "to": [0, 1]}, "beside window"),
        ({"window": [0, 1], "minmax": None}, "is no recipe"),
    ],
)
def test_recipes_that_are_none(recipe: object, what: str) -> None:
    with pytest.raises(InputError, match=what):
        normalise(IMAGE, recipe)  # type: ignore[arg-type]


def test_images_with_nothing_in_them() -> None:
    with pytest.raises(InputError, match="every voxel"):
        normalise(np.full((3, 4, 5), 7.0), "zscore")
    with pytest.raises(InputError, match="range is empty"):
        normalise(np.full((3, 4, 5), 7.0), "minmax")
    with pytest.raises(InputError, match="no finite"):
        normalise(np.full((3, 4, 5), np.nan), "minmax")
