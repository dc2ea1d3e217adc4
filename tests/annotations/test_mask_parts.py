"""Components of many labels at once against scipy, one label after the other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bioterp.annotations import mask_parts


@pytest.mark.parametrize(("connectivity", "rank"), [(6, 1), (18, 2), (26, 3)])
@pytest.mark.parametrize("density", [0.2, 0.5, 0.9])
def test_components_against_scipy(rng, connectivity, rank, density) -> None:
    codes = np.where(rng.random((11, 13, 9)) < density, rng.integers(1, 4, (11, 13, 9)), 0).astype(np.int32)
    codes[rng.random(codes.shape) < 0.05] = -1
    parts, table = mask_parts.components(codes, connectivity, base=100)
    assert (parts[codes <= 0] == codes[codes <= 0]).all()
    structure = ndimage.generate_binary_structure(3, rank)
    number = 100
    for code in (1, 2, 3):
        wanted, count = ndimage.label(codes == code, structure)  # numbered by first voxel in C order
        first = [np.flatnonzero(wanted.ravel() == i + 1)[0] for i in range(count)]
        assert first == sorted(first)
        for i in range(count):
            number += 1
            mine = wanted == i + 1
            assert (parts[mine] == number).all()
            line = table.iloc[number - 101]
            assert (line["term"], line["within"], line["voxels"]) == (code - 1, i + 1, mine.sum())
            assert line[["i", "j", "k"]].tolist() == pytest.approx(ndimage.center_of_mass(mine))
    assert len(table) == number - 100


def test_a_spiral_is_one_component() -> None:
    """A thin snake, whose ends meet provisional numbers again and again."""
    codes = np.zeros((9, 9, 3), np.int32)
    for x in range(0, 9, 2):
        codes[x, :, 1] = 5
        codes[min(x + 1, 8), 8 if x % 4 == 0 else 0, 1] = 5
    parts, table = mask_parts.components(codes, 6)
    assert table[["term", "within", "voxels"]].to_numpy().tolist() == [[4, 1, int((codes > 0).sum())]]
    assert set(np.unique(parts)) == {0, 1}


def test_nothing_and_one_voxel() -> None:
    parts, table = mask_parts.components(np.zeros((2, 3, 4), np.int32), 26)
    assert not parts.any()
    assert len(table) == 0
    parts, table = mask_parts.components(np.full((1, 1, 1), 3, np.int32), 26)
    assert table[["term", "within", "voxels", "i"]].to_numpy().tolist() == [[2, 1, 1, 0]]


def test_distinct_and_recode_in_planes(rng) -> None:
    for values in ([-5, 0, 3, 40], [-2, 0, 7, 3_000_000]):
        array = rng.choice(values, (2200, 50, 41)).astype(np.int32)  # more than one stretch of planes
        assert mask_parts.distinct(array).tolist() == sorted(set(values))
        told = np.array([9, 0, 4, 2], np.int32)
        again = mask_parts.recode(array, np.array(values), told)
        for value, new in zip(values, told, strict=True):
            assert (again[array == value] == new).all()
