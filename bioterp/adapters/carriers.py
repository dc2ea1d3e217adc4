"""Whose haplotypes the items are: the table that takes what was read of distinct windows back to people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bioterp.arrays import Array
from bioterp.errors import InputError

COLUMNS = ("sample", "haplotype", "item", "weight")


@dataclass(frozen=True)
class Carriers:
    """One line per person, haplotype and window, held as numbers.

    samples, items: the names `sample` and `item` (int32) point to. haplotype: 0 or 1. weight: 1 / the person's number
    of haplotypes there, so that weights of a person and window sum to 1.
    """

    samples: tuple[str, ...]
    items: tuple[str, ...]
    sample: Array
    haplotype: Array
    item: Array
    weight: Array

    @classmethod
    def of(cls, samples: Sequence[str], items: Sequence[str], carried: Sequence[tuple[Array, Array]]) -> Carriers:
        """From (haplotypes, weights) per item; haplotype 2p + h is person p's."""
        item = np.repeat(np.arange(len(items), dtype=np.int32), [len(who) for who, _ in carried])
        who = np.concatenate([who for who, _ in carried]) if carried else np.zeros(0, np.int64)
        weight = np.concatenate([weight for _, weight in carried]) if carried else np.zeros(0)
        return cls(
            tuple(samples), tuple(items), (who // 2).astype(np.int32), (who % 2).astype(np.int8), item,
            weight.astype(np.float32),
        )  # fmt: skip

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> Carriers:
        """From a table with sample, haplotype, item and weight."""
        missing = [name for name in COLUMNS if name not in table.columns]
        if missing:
            raise InputError(f"a table of carriers lacks the columns {missing}; wanted {', '.join(COLUMNS)}")
        sample, samples = pd.factorize(table["sample"].astype(str))
        item, items = pd.factorize(table["item"].astype(str))
        numbers = (
            np.asarray(table["haplotype"], np.int8),
            item.astype(np.int32),
            np.asarray(table["weight"], np.float32),
        )
        return cls(tuple(samples), tuple(items), sample.astype(np.int32), *numbers)

    def table(self) -> pd.DataFrame:
        """sample, haplotype, item, weight; for export."""
        return pd.DataFrame(
            {
                "sample": np.array(self.samples, object)[self.sample],
                "haplotype": self.haplotype.astype(np.int32),
                "item": np.array(self.items, object)[self.item],
                "weight": self.weight.astype(np.float64),
            }
        )

    def __len__(self) -> int:
        return len(self.item)
