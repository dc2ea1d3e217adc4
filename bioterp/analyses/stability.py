"""Do dictionaries that began elsewhere end at the same directions?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from bioterp import tables
from bioterp.analyses import Analysis
from bioterp.analyses.directions import ASSIGNED, MOST, assigned, expected_assigned, expected_greedy, greedy
from bioterp.analyses.fidelity import Coder, subject

ABOUT = Analysis(
    name="stability",
    question="Which share of a dictionary's directions does another seed find too?",
    needs=("two or more dictionaries of the same layer, fitted from different seeds",),
    limits=(
        "Cosines of decoder rows, dead features included. The random level is that of directions drawn evenly, which "
        "is where training begins; directions of anisotropic data are nearer to each other even when nothing is shared."
    ),
    reference="Paulo & Belrose 2025; Fel et al. 2025 (stability of dictionaries); Crouse 2016 for the assignment",
)
FOUND = 0.7  # cosine from which a direction counts as found again


def stability(coders: Sequence[Coder]) -> pd.DataFrame:
    """The table of stability: a row for every pair of dictionaries of one layer, the earlier one first.

    Greedy: of each direction the largest cosine to any of the other's, the mean over both ways. Assigned: the
    one-to-one matching of the largest sum, where both have at most 4,096 features. Beside each the level of random
    dictionaries of the same sizes. Fewer than two dictionaries give an empty table.
    """
    lines = [_pair(one, other) for one, other in combinations(coders, 2)]
    names = [column.name for column in tables.columns("stability")]
    return tables.conform("stability", pd.DataFrame(lines, columns=names))


def _pair(one: Coder, other: Coder) -> dict[str, object]:
    (m, d), n = one.decoder.shape, len(other.decoder)
    line = {**subject(one), "other_seed": subject(other)["seed"], "n_features": m, "other_features": n, "note": None}
    nothing = ("greedy", "greedy_random", "assigned", "assigned_random", "found_again")
    if other.decoder.shape[1] != d:
        note = f"not compared: {d} and {other.decoder.shape[1]} channels"
        return {**line, **dict.fromkeys(nothing, np.nan), "note": note}
    there, back = greedy(one.decoder, other.decoder), greedy(other.decoder, one.decoder)
    line |= {
        "greedy": (float(there.mean()) + float(back.mean())) / 2,
        "greedy_random": (expected_greedy(n, d) + expected_greedy(m, d)) / 2,
        "assigned": np.nan,
        "assigned_random": np.nan,
    }
    if max(m, n) <= ASSIGNED:
        matched = assigned(one.decoder, other.decoder)
        line |= {"assigned": float(matched.mean()), "assigned_random": expected_assigned(m, n, d)}
        return {**line, "found_again": float((matched >= FOUND).mean())}
    note = f"not matched one to one: more than {ASSIGNED:,} features"
    note += f"; {MOST:,} of them were compared with all others" if max(m, n) > MOST else ""
    return {**line, "found_again": float((there >= FOUND).mean()), "note": note}
