"""What is written where a feature fires most: letters of the aligned places, against the background."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import scipy.stats

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.layers import OF
from bioterp.arrays import Array
from bioterp.errors import InputError

ABOUT = Analysis(
    name="motifs",
    question="Which letters stand where a feature fires most?",
    needs=("a table of loci", "a function that gives the letters of a place"),
    limits=(
        "Places are aligned by their strongest cell, nothing is moved to fit: a motif at varying distances is blurred. "
        "Places that agree with a stronger one in 90 % of their letters are copies (repeats, paralogues) and count "
        "once. The chance line is for letters drawn one by one; genes have codons, and pass it more easily."
    ),
    reference=(
        "Schneider et al. 1986 (information, small samples); Schneider & Stephens 1990 (logos); relative entropy to "
        "the background as in WebLogo (Crooks et al. 2004)"
    ),
)
BEFORE, AFTER = 30, 10  # letters around the strongest cell, in reading direction
COPY = 0.9  # share of equal letters from which two places are copies of one another
LEAST = 5  # places below which there is nothing to align
LEVEL = 0.01  # of the chance line, over all positions together
LETTERS = "ACGT"
# (contig, start, end, strand) → (end − start,) uint8 in reading direction: A 0, C 1, G 2, T 3, else unknown.
Letters = Callable[[str, int, int, str], Array]


def motifs(
    loci: pd.DataFrame, letters: Letters, background: Array, *, before: int = BEFORE, after: int = AFTER
) -> pd.DataFrame:
    """The table of motifs: per feature of a table of loci a line for every position around the strongest cells.

    letters: gives the bases of a place, 4 where there is none; background: (4,) shares of A, C, G, T. Features with
    fewer than 5 different places have no lines. Raises InputError for a background that is no distribution of four
    letters.
    """
    shares = np.asarray(background, np.float64)
    if shares.shape != (4,) or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise InputError(f"the background is four shares above 0 that add up to 1; got {shares.tolist()}")
    keys = [*OF, "layer", "feature"]
    parts = []
    for key, group in loci.groupby(keys, sort=False, dropna=False):
        group = group.sort_values("rank", kind="stable")
        windows = np.array(
            [window(letters, place, before, after) for place in group.itertuples(index=False)], np.uint8
        ).reshape(len(group), before + 1 + after)
        kept = distinct(windows)
        if len(kept) < LEAST:
            continue
        made = information(windows[kept], shares)
        made.insert(0, "position", np.arange(-before, after + 1))
        own = dict(zip(keys, key, strict=True))
        parts.append(made.assign(n_places=len(kept), n_copies=len(windows) - len(kept), **own))
    declared = [column.name for column in tables.columns("motifs")]
    return tables.conform("motifs", pd.concat(parts) if parts else pd.DataFrame(columns=declared))


def window(letters: Letters, place: object, before: int, after: int) -> Array:
    """Letters around the strongest cell of a line of the table of loci, in reading direction."""
    peak, strand = int(place.peak), str(place.strand)  # type: ignore[attr-defined]
    left, right = (before, after) if strand == "+" else (after, before)
    return letters(str(place.contig), peak - left, peak + right + 1, strand)  # type: ignore[attr-defined]


def distinct(windows: Array, copy: float = COPY) -> Array:
    """Positions of the windows (n, w), strongest first, that are no copy of one kept before."""
    kept: list[int] = []
    for at, own in enumerate(windows):
        same = (windows[kept] == own).mean(1) if kept else np.zeros(0)
        if (own < 4).mean() > 0.5 and not (same >= copy).any():
            kept.append(at)
    return np.array(kept, np.int64)


def information(windows: Array, background: Array) -> pd.DataFrame:
    """Per position: shares a, c, g, t; bits of relative entropy, less what so few letters give by chance; chance line.

    windows (n, w) codes; a position without letters has no shares and no bits.
    """
    count = np.stack([(windows == letter).sum(0) for letter in range(4)], 1).astype(np.float64)
    n = count.sum(1)
    share = np.divide(count, n[:, None], out=np.full_like(count, np.nan), where=n[:, None] > 0)
    ratio = np.where(share > 0, share, 1) / background
    bits = np.where(share > 0, share * np.log2(ratio), 0).sum(1)
    few = 3 / (2 * math.log(2) * np.maximum(n, 1))
    # 2 n ln 2 · bits is χ² with three degrees of freedom when letters are those of the background.
    line = scipy.stats.chi2.isf(LEVEL / max(len(n), 1), 3) / (2 * math.log(2) * np.maximum(n, 1)) - few
    made = pd.DataFrame(share, columns=["a", "c", "g", "t"])
    bits, line = (np.where(n > 0, np.maximum(v, 0), np.nan) for v in (bits - few, line))
    return made.assign(bits=bits, bits_chance=line)


def consensus(motif: pd.DataFrame) -> str:
    """The letters of the positions above their chance line, e.g. 'TATAAT'; '.' between them, lower case below half."""
    above = (motif["bits"] > motif["bits_chance"]).to_numpy()
    if not above.any():
        return ""
    first, last = np.flatnonzero(above)[[0, -1]]
    share = motif[["a", "c", "g", "t"]].to_numpy(float)
    told = []
    for at in range(first, last + 1):
        top = int(np.nanargmax(share[at])) if above[at] else -1
        told.append("." if top < 0 else LETTERS[top] if share[at, top] >= 0.5 else LETTERS[top].lower())
    return "".join(told)
