"""Where along a genome codes differ between people, and which variant brings a feature what it varies by."""

from __future__ import annotations

import gzip
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse

import bioterp as bt

REACH = 64  # bases after a variant that are looked at: as much as the context before a window


class Places:
    """Codes of the items, by where their cells lie and who carries them."""

    def __init__(self, codes: bt.Field, carriers: pd.DataFrame, people: list[str], length: int):
        rows = codes.rows
        self.codes = scipy.sparse.csr_matrix(codes.values)
        self.length = length
        bounds = [rows.grid(i).bounds for i in range(len(rows.items))]
        self.first = np.array([b[:, 0].min() if len(b) else length for b in bounds])
        self.last = np.array([b[:, 1].max() if len(b) else 0 for b in bounds])
        self.cell = np.minimum(np.concatenate([b[:, 0] for b in bounds]), length - 1)
        self.offsets = rows.offsets
        self.item = np.repeat(np.arange(len(bounds)), np.diff(rows.offsets))
        item = pd.Index(rows.items["item"]).get_indexer(carriers["item"])
        who = pd.Index(people).get_indexer(carriers["sample"])
        use = (item >= 0) & (who >= 0)
        self.has = scipy.sparse.csr_matrix((np.ones(use.sum()), (item[use], who[use])), (len(bounds), len(people)))

    def weights(self, those: np.ndarray, others: np.ndarray) -> np.ndarray:
        """(items,) share of those who carry it minus share of the others; both (people,) bool."""
        return np.asarray(self.has @ (those / those.sum() - others / others.sum()))

    def track(self, weights: np.ndarray, codes: scipy.sparse.csr_matrix) -> np.ndarray:
        """(length, columns of `codes`) what those have more of than the others, base by base."""
        at = scipy.sparse.csr_matrix(
            (weights[self.item], (self.cell, np.arange(len(self.cell)))), (self.length, len(self.cell))
        )
        return np.asarray((at @ codes).toarray(), np.float32)

    def near(self, pos: int, weights: np.ndarray) -> np.ndarray:
        """(features,) the same, summed over the bases from `pos` to REACH after it."""
        total = np.zeros(self.codes.shape[1])
        for i in np.flatnonzero((self.first < pos + REACH) & (self.last > pos) & (weights != 0)):
            lo, hi = self.offsets[i], self.offsets[i + 1]
            cells = lo + np.flatnonzero((self.cell[lo:hi] >= pos) & (self.cell[lo:hi] < pos + REACH))
            total += weights[i] * np.asarray(self.codes[cells].sum(0)).ravel()
        return total


def brought(places: Places, variants: pd.DataFrame, doses: np.ndarray) -> np.ndarray:
    """(variants, features) variance that each variant brings to a feature's sum over the genome, by the cells after it.

    It takes the codes in those cells of people with the variant and of people without; neighbours in linkage share it.
    """
    made = np.zeros((len(variants), places.codes.shape[1]))
    for k, pos in enumerate(variants["pos"]):
        those, others = doses[:, k] == 1, doses[:, k] == 0
        share = those.sum() / (those.sum() + others.sum())
        made[k] = places.near(int(pos), places.weights(those, others)) ** 2 * share * (1 - share)
    return made


def phylotree(path: Path) -> pd.DataFrame:
    """Substitutions that define haplogroups: pos (0-based), alt, haplogroups; deletions and insertions are left out."""
    found: dict[tuple[int, str], list[str]] = {}
    with gzip.open(path) as handle:
        for haplogroup in ET.parse(handle).iter("haplogroup"):
            for poly in haplogroup.findall("details/poly"):
                told = re.fullmatch(r"(\d+)([ACGT])!*", (poly.text or "").strip())
                if told:
                    found.setdefault((int(told[1]) - 1, told[2]), []).append(haplogroup.get("name") or "")
    lines = [(pos, alt, names) for (pos, alt), names in found.items()]
    return pd.DataFrame(lines, columns=["pos", "alt", "haplogroups"])
