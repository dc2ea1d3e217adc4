"""How each feature lies to others: of other seeds, of its own dictionary, and to itself on the other strand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.alignment import guarded
from bioterp.analyses.blocks import BATCH, as_csr, stream
from bioterp.analyses.cofiring import Cofiring
from bioterp.analyses.directions import twins
from bioterp.analyses.fidelity import Coder
from bioterp.analyses.stability import FOUND
from bioterp.analyses.strands import Strands, pairs_of
from bioterp.arrays import Array
from bioterp.errors import AlignmentError
from bioterp.field import Field

ABOUT = Analysis(
    name="relations",
    question="Does another seed find this feature, does another say the same, does it fire alike on both strands?",
    needs=("codes", "their dictionary", "optionally those of other seeds"),
    limits=(
        "Stability is of decoder rows alone. Features are one cluster when a chain of pairs joins them, so the ends of "
        "a long chain may differ. That a feature stays on one strand is also what noise does: read it beside stability."
    ),
    reference=(
        "Paulo & Belrose 2025 (features over seeds); Bricken et al. 2023 and Chanin et al. 2024 (splitting and "
        "absorption: why one discovery counts once); strand share: a Dice coefficient, less chance as in Cohen 1960"
    ),
)


def relations(codes: Field, coder: Coder, others: Sequence[Coder] = ()) -> pd.DataFrame:
    """One line per feature, in one pass over all rows.

    codes: Field (rows, m) ≥ 0; coder: the dictionary they are of; others: those of other seeds, on the same layer.

    stability: the largest cosine of the feature's decoder row to any of another seed's, the mean over the others;
    n_same: seeds, its own among them, where that cosine is ≥ 0.7; n_seeds: of so many. cluster: the smallest number of
    the features it is one with (decoder cosine ≥ 0.5 and Jaccard of active cells ≥ 0.3, chained), −1 when never active.
    strand_share, strand_chance, strand: `strands` says how they are made; null where rows are not of two strands.

    Raises InputError for codes that are NaN, infinite or negative; AlignmentError when dictionaries do not fit.
    """
    m = codes.shape[1]
    if len(coder.decoder) != m:
        raise AlignmentError(f"these codes have {m} features and the dictionary {len(coder.decoder)}; give their own")
    for other in others:
        if other.decoder.shape[1] != coder.decoder.shape[1]:
            width = other.decoder.shape[1], coder.decoder.shape[1]
            raise AlignmentError(f"a dictionary of {width[0]} channels cannot be held against one of {width[1]}")
    cofiring = Cofiring.of(coder.decoder)
    strands = Strands.of(codes.rows, m)
    with guarded(codes):
        for lo, hi, block in stream(codes.read, batches_of(codes)):
            csr = block if isinstance(block, tuple) else as_csr(block, lo)
            cofiring.add(*csr)
            if strands is not None:
                strands.add(lo, hi, *csr)
    cluster = cofiring.clusters()
    size = np.bincount(cluster[cluster >= 0], minlength=m)
    frame = pd.DataFrame(
        {
            "feature": np.arange(m),
            **_over_seeds(coder, others),
            "cluster": cluster,
            "cluster_size": np.where(cluster >= 0, size[cluster], 0),
            **(strands.columns() if strands is not None else dict.fromkeys(("strand_share", "strand_chance"), np.nan)),
        }
    )
    frame["strand"] = strands.words() if strands is not None else None
    return frame.assign(**tables.subject(codes.about))


def _over_seeds(coder: Coder, others: Sequence[Coder]) -> dict[str, Array]:
    m = len(coder.decoder)
    cosine = np.array([twins(coder.decoder, other.decoder)[1] for other in others]).reshape(len(others), m)
    mean = cosine.mean(0, dtype=np.float64) if len(others) else np.full(m, np.nan)
    return {"stability": mean, "n_same": 1 + (cosine >= FOUND).sum(0), "n_seeds": np.full(m, 1 + len(others))}


def batches_of(codes: Field, size: int = BATCH) -> Array:
    """Edges of batches of about `size` rows that divide no item, nor the two strands of one place."""
    rows = codes.rows
    whole = np.ones(len(rows.items) + 1, bool)
    if rows.ndim == 1:
        whole[pairs_of(rows) + 1] = False
    ends = rows.offsets[whole]
    chosen = [0]
    for end in ends.tolist():
        if end - chosen[-1] >= size:
            chosen.append(end)
    if chosen[-1] < len(rows):
        chosen.append(len(rows))
    return np.array(chosen, np.int64)
