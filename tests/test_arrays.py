"""Pages of memory-mapped arrays are given back, and nothing is lost by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bioterp.arrays import BFloat16, give_back, taken


def test_a_private_map_keeps_what_was_written_to_it(tmp_path: Path) -> None:
    """Mode 'c' is copy-on-write: its changed pages exist nowhere else, and dropping them would lose them."""
    np.save(tmp_path / "a.npy", np.arange(5000, dtype=np.float32))
    private = np.load(tmp_path / "a.npy", mmap_mode="c")
    private[17:4000] = -3
    give_back(private)
    assert (private[17:4000] == -3).all() and private[16] == 16 and private[4000] == 4000


@pytest.mark.parametrize("wrap", [lambda a: a, lambda a: BFloat16(a.view(np.uint16))])
def test_a_shared_map_reads_the_same_again(tmp_path: Path, wrap) -> None:  # type: ignore[no-untyped-def]
    values = np.random.default_rng(2).standard_normal(7000).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    held = wrap(mapped)
    first = np.array(taken(held[:100]))
    give_back(held)
    assert np.array_equal(np.array(taken(held[:100])), first, equal_nan=True) and np.array_equal(mapped, values)
