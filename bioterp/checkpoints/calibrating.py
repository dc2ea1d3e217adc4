"""The threshold of a dictionary trained with a batch top-k, from the activations it will be used on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch

from bioterp.arrays import Array
from bioterp.dictionary import Dictionary
from bioterp.errors import AlignmentError, InputError
from bioterp.field import Field

BLOCK = 1_024  # rows whose pre-activations are held at once: 128 MB of 32,768 features
BLOCKS = 16  # at least, so that a sample is of the whole field


def calibrate(dictionary: Dictionary, acts: Field, k: int | None = None, rows: int = 65_536) -> Dictionary:
    """The same dictionary with one threshold, above which rows of `acts` have k codes on average.

    Every row then has codes of its own, whatever its neighbours: a batch top-k lets a few strong rows silence the rest.
    acts: rows to calibrate on, best those of the split 'train'; at most `rows` of them, spread evenly.
    """
    k = k or dictionary.k or dictionary.about.get("k")
    if not k or k < 1:
        raise InputError("how many codes should a row have? The dictionary does not say; pass k=…")
    if acts.shape[1] != dictionary.inputs:
        raise AlignmentError(
            f"this Dictionary reads {dictionary.inputs} channels; the activations have {acts.shape[1]}"
        )
    if k > dictionary.width:
        raise InputError(f"k={k} is more than the {dictionary.width} features there are")
    n = min(rows, len(acts))
    if n == 0:
        raise InputError("there are no rows to calibrate on")
    keep = n * int(k) + 1  # the last one is the largest that stays silent
    largest, bar, seen = np.empty(0, np.float32), np.float32(0), 0
    for x in spread(acts, n):
        with torch.no_grad():
            pre = dictionary.pre(torch.from_numpy(x)).numpy()
        largest = np.concatenate([largest, pre[pre > bar]])
        seen += len(x)
        if len(largest) > 4 * keep:
            largest = np.partition(largest, -keep)[-keep:]
            bar = largest[0]
    wanted = seen * int(k)
    if len(largest) > wanted:
        least, under = np.partition(largest, [-wanted - 1, -wanted])[[-wanted, -wanted - 1]]
        threshold = float(least + under) / 2 * dictionary.scale
    else:
        threshold = 0.0  # fewer are above 0 than were asked for: all of them stay
    about = {**dictionary.about, "k": int(k), "calibrated_on": seen}
    return replace(dictionary, activation="threshold", threshold=threshold, k=int(k), about=about)


def spread(acts: Field, rows: int) -> Iterator[Array]:
    """`rows` different rows of a field, in blocks spread evenly over it."""
    blocks = min(rows, max(BLOCKS, -(-rows // BLOCK)))
    cuts = [i * rows // blocks for i in range(blocks + 1)]
    for begin, end in pairwise(cuts):
        lo = begin * len(acts) // rows
        yield np.require(acts.read(lo, lo + end - begin), np.float32, ["C", "W"])
