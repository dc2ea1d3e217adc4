"""What each feature is like before any label: how often and how strongly it fires."""

from __future__ import annotations

import numba
import numpy as np
import pandas as pd

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.alignment import guarded
from bioterp.analyses.blocks import BATCH, Block
from bioterp.analyses.edges import sample_active
from bioterp.arrays import Array
from bioterp.field import Field

ABOUT = Analysis(
    name="features",
    question="How often and how strongly does each feature fire, and which term is it best at?",
    needs=("codes", "optionally a detection table of the same codes"),
    limits="p999 is exact up to 512–8,192 non-zero codes per feature (fewer when there are many), sampled past that.",
    reference="Vitter 1985 for sampling a stream; here by hash, so that batches cannot change it",
)


def features(codes: Field, found: pd.DataFrame | None = None) -> pd.DataFrame:
    """The features table: one row per feature, on all rows, in one pass.

    codes: Field (rows, m), ≥ 0; found: a detection table of the same codes, whose best pair of each feature,
    by F1 above chance where it was *chosen*, fills best_term, best_f1 and best_q. The columns after those are null:
    `described` fills them. Raises InputError for codes
    that are NaN, infinite or negative.
    """
    n, m = codes.shape
    count, total, largest = np.zeros(m, np.int64), np.zeros(m), np.zeros(m, np.float32)

    def tally(block: Block) -> None:
        if isinstance(block, tuple):
            _moments(block[1], block[2], count, total, largest)
        else:
            _moments_dense(block, count, total, largest)

    with guarded(codes):
        values, filled = sample_active(codes.read, np.array([[0, n]]), m, BATCH, tally=tally)
    p999 = [np.quantile(v[:k], 0.999) if k else np.nan for v, k in zip(values, filled, strict=True)]
    fired = count > 0
    frame = pd.DataFrame(
        {
            "feature": np.arange(m),
            "density": count / max(n, 1),
            "mean_active": np.divide(total, count, out=np.full(m, np.nan), where=fired),
            "max": largest.astype(np.float64),
            "p999": p999,
            "dead": ~fired,
        }
    )
    frame = frame.join(_best(found), on="feature")
    frame = frame.assign(**tables.subject(codes.about)).assign(**_LATER, unknown=False)
    return tables.conform("features", frame)


# Filled by `described`, which needs more than one table.
_LATER: dict[str, object] = {
    **dict.fromkeys(
        ("best_f1_null", "best_f1_lo", "best_f1_hi", "best_precision", "best_recall", "best_recall_null", "enrichment",
         "enrichment_lo", "enrichment_hi", "stability", "strand_share", "strand_chance"), np.nan),
    **dict.fromkeys(("n_terms", "n_seeds", "n_same", "cluster_size"), 0), "cluster": -1,
    **dict.fromkeys(("adjusted", "adjusted_for", "strand", "says")),
}  # fmt: skip


def _best(found: pd.DataFrame | None) -> pd.DataFrame:
    names = {"term": "best_term", "f1": "best_f1", "q": "best_q"}
    if found is None:
        return pd.DataFrame(columns=list(names.values()), index=pd.Index([], dtype="int64"))
    scored = found[(found["feature"] >= 0) & found["f1"].notna()]
    excess = scored["f1_select"] - scored["f1_select_null"]
    scored = scored.assign(excess=excess).sort_values("excess", ascending=False, kind="stable")
    return scored.drop_duplicates("feature").set_index("feature")[list(names)].rename(columns=names)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _moments(indices: Array, data: Array, count: Array, total: Array, largest: Array) -> None:
    for j in range(indices.size):
        f = indices[j]
        count[f] += 1
        total[f] += data[j]
        largest[f] = max(largest[f], data[j])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _moments_dense(block: Array, count: Array, total: Array, largest: Array) -> None:
    for r in range(block.shape[0]):
        for f in range(block.shape[1]):
            count[f] += block[r, f] > 0
            total[f] += block[r, f]
            largest[f] = max(largest[f], block[r, f])
