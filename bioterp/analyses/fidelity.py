"""Is a dictionary any good, before any label: what it loses, how often its features fire, how alike they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.directions import MOST, expected_nearest, held_in, nearest
from bioterp.analyses.reconstruction import Sums, density_bins
from bioterp.analyses.sampling import groups_of, some_items
from bioterp.arrays import Array
from bioterp.errors import AlignmentError
from bioterp.field import Field

ABOUT = Analysis(
    name="fidelity",
    question="How much of the activations, and of the model, survives the dictionary, and do seeds agree?",
    needs=("activations", "dictionaries of them", "optionally the model and its source, to splice them in"),
    limits=(
        "Of a sample of held-out rows, whose number is told. A feature that is dead there may fire elsewhere. Loss "
        "recovered depends on what ablation does: zeros take the mean away too, so that anchor flatters where rows lie "
        "far from the origin. That seeds agree says that the data ask for a direction, not what it means."
    ),
    reference=(
        "Bricken et al. 2023 and Gao et al. 2024 (loss recovered); Karvonen et al. 2025 (SAEBench); matching as in "
        "Paulo & Belrose 2025, one to one by Crouse 2016"
    ),
)
ROWS = 1 << 18  # held-out rows looked at
NEAR = 0.9  # |cosine| from which two features are near-duplicates
STEPS = 4  # bins of a decade
LOWEST = -6  # decade of the first bin
EDGES = np.concatenate([[0.0], 10.0 ** (np.arange(LOWEST * STEPS, 1) / STEPS)])
VALUES = 1 << 21  # of a batch of rows, 16 MB in float64
MANY = 0.25  # of the features dead: then it is told how much there is to be learnt
FEW, SHARE = 4_096, 0.99  # rows that this is told of, and of their variance

# Columns that splicing fills, null without it.
SPLICED = (
    "loss_clean", "loss_spliced", "loss_mean", "loss_zero", "recovered_mean", "recovered_mean_lo", "recovered_mean_hi",
    "recovered_zero", "recovered_zero_lo", "recovered_zero_hi", "kl", "kl_mean", "kl_zero", "change", "change_mean",
    "change_zero",
)  # fmt: skip


class Coder(Protocol):
    """What a Dictionary gives: codes of rows, rows of codes, the directions it writes."""

    @property
    def about(self) -> dict[str, Any]: ...

    @property
    def decoder(self) -> Array: ...

    @property
    def k(self) -> int | None: ...

    @property
    def id(self) -> str: ...

    def encode_array(self, x: Array) -> Any: ...

    def decode_array(self, codes: Any, x: Array | None = None) -> Array: ...


@dataclass(frozen=True)
class Fidelity:
    """A line of the table of dictionaries, its histogram, and the mean (d,) of the rows, to ablate to."""

    table: pd.DataFrame
    density: pd.DataFrame
    mean: Array


def fidelity(
    acts: Field, coder: Coder, *, split: str | None = "test", rows: int = ROWS, rebuilds: bool = True
) -> Fidelity:
    """What a dictionary does to held-out activations; nothing here needs the model.

    acts: dense Field (rows, d), all of it; split: the rows that count, None = all. rows: about how many are read,
    drawn by whole items. rebuilds: False for what writes something else than it reads (a transcoder): no FVU then.
    Columns that need the model are null. Raises InputError when the split has no rows.
    """
    sums, _ = summed(acts, coder, split, rows, rebuilds)
    interval = sums.fvu_spread()
    width = len(coder.decoder)
    cosine, pairs = nearest(coder.decoder, NEAR)
    at = dict(zip(("cosine_median", "cosine_p90", "cosine_p99"), np.quantile(cosine, [0.5, 0.9, 0.99]), strict=True))
    told = coder.k or coder.about.get("k")
    notes = [str(coder.about["warning"])] if coder.about.get("warning") else []
    notes += [] if rebuilds else ["no FVU: it writes something else than it reads"]
    notes += [interval.reason] if rebuilds and interval.reason else []
    notes += [_told(acts, split, sums.dead)] if sums.dead > MANY else []
    notes += [f"near-duplicates estimated from {MOST:,} of its features"] if width > MOST else []
    line = {
        **subject(coder),
        "split": split or "all",
        "n": sums.n,
        "n_blocks": int((sums.rows > 0).sum()),
        "width": width,
        "k": float(told) if told else math.nan,
        "gamma": sums.gamma,
        "fvu": sums.fvu,
        "fvu_lo": interval.lo,
        "fvu_hi": interval.hi,
        "l0": sums.l0,
        "dead": sums.dead,
        **at,
        "cosine_max": float(cosine.max(initial=0)),
        "cosine_random": expected_nearest(width, coder.decoder.shape[1]),
        "near_duplicates": round(pairs),
        "n_spliced": 0,
        "loss": None,
        **dict.fromkeys(SPLICED, math.nan),
        "note": "; ".join(notes) or None,
    }
    return Fidelity(tables.conform("dictionaries", pd.DataFrame([line])), _density(coder, sums, split), sums.mean)


def _told(acts: Field, split: str | None, dead: float) -> str:
    """What the rows hold, beside a large share of dead features: rows of few directions leave little to learn."""
    part = acts.take(some_items(acts.rows, split, FEW))
    rows = np.concatenate([np.asarray(read, np.float32) for _, _, read in part.batches(FEW)])
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), FEW)).astype(np.int64)]
    distinct, directions = held_in(rows, SHARE)
    return (
        f"{dead:.0%} of its features are active in no row looked at; of {len(rows):,} rows {distinct:,} differ, and "
        f"{directions} of {rows.shape[1]} directions hold {SHARE:.0%} of their variance"
    )


def subject(coder: Coder) -> dict[str, Any]:
    """The leading columns of its tables; a dictionary without a name is told by its weights."""
    return tables.subject({"representation": "dictionary", "dictionary": coder.id, **coder.about})


def summed(acts: Field, coder: Coder, split: str | None, rows: int, rebuilds: bool = True) -> tuple[Sums, Array]:
    """The sums of a sample of rows, and the items it is made of."""
    items = some_items(acts.rows, split, rows)
    part = acts.take(items)
    block, groups = groups_of(acts.rows, items)
    if rebuilds and coder.decoder.shape[1] != acts.shape[1]:
        raise AlignmentError(
            f"this dictionary writes {coder.decoder.shape[1]} channels; the activations have {acts.shape[1]}"
        )
    size = int(np.clip(VALUES // acts.shape[1], 256, 8_192))
    sums: Sums | None = None
    for lo, hi, read in part.batches(size):
        x = np.require(read, np.float32, ["C", "W"])
        sums = sums or Sums(groups, len(coder.decoder), x[0])
        item = np.searchsorted(part.rows.offsets, np.arange(lo, hi), side="right") - 1
        codes = coder.encode_array(x)
        sums.add(block[item], x, codes, coder.decode_array(codes, x) if rebuilds else None)
    assert sums is not None  # items without rows are left out, and none at all is refused
    return sums, items


def _density(coder: Coder, sums: Sums, split: str | None) -> pd.DataFrame:
    counts = density_bins(sums.fired, sums.n, EDGES)
    frame = pd.DataFrame({"lo": EDGES[:-1], "hi": EDGES[1:], "n_features": counts})
    dead = pd.DataFrame({"lo": [0.0], "hi": [0.0], "n_features": [int((sums.fired == 0).sum())]})
    frame = pd.concat([dead, frame], ignore_index=True)
    return tables.conform("density", frame.assign(**subject(coder), n=sums.n, split=split or "all"))
