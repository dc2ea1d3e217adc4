"""Is this a dictionary of these activations? A dictionary on the wrong variant of its model fails without a word."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from bioterp.checkpoints.calibrating import spread
from bioterp.dictionary import Dictionary
from bioterp.errors import AlignmentError
from bioterp.field import Field

CROWD = 10  # times the expected L0 that is too many
DEAD = 0.5  # of features: more is too many …
FIRINGS = 10  # … once there were rows enough for each to fire this often


def inspect(dictionary: Dictionary, acts: Field, targets: Field | None = None, rows: int = 16_384) -> pd.DataFrame:
    """One line: how a dictionary does on activations, and a warning when that is not how a working one does.

    targets: what a transcoder's outputs are compared with, on the same rows; rows: how many are looked at, evenly
        spread.

    Columns: dictionary, model, layer, rows, l0 (codes per row), l0_expected (its k; NaN when unknown), fvu (squared
    error over variance), l2 (length of the error over length of the activations), dead (fraction of features never
    active), working, warning (empty, or what is wrong in one sentence; it is also raised as a UserWarning).
    """
    if targets is not None:
        acts.check_same_rows(targets)
    wanted = acts if targets is None else targets
    compare = wanted.shape[1] == dictionary.decoder.shape[1] and (targets is not None or not transcodes(dictionary))
    if targets is not None and not compare:
        raise AlignmentError(
            f"this Dictionary writes {dictionary.decoder.shape[1]} channels; the targets have {targets.shape[1]}"
        )
    measured = measure(dictionary, acts, wanted if compare else None, min(rows, len(acts)))
    problems = wrong(dictionary, measured)
    found, here = (
        {name: word(about.get(name)) for name in ("model", "layer")} for about in (dictionary.about, acts.about)
    )
    odd = [
        f"it is of {name} {told!r} and these are of {here[name]!r}"
        for name, told in found.items()
        if told and here[name] and told != here[name]
    ]
    warning = ""
    if problems:
        hint = (
            "; " + ", ".join(odd) if odd else "; check the model, its precision, the layer and the scale of the inputs"
        )
        warning = f"this is not a working dictionary of these activations: {', '.join(problems)}{hint}"
        warnings.warn(warning, UserWarning, stacklevel=2)
    name = dictionary.about.get("dictionary") or dictionary.id
    line: dict[str, Any] = {"dictionary": str(name), **found, **measured}
    return pd.DataFrame([{**line, "working": not problems, "warning": warning}])


def word(value: Any) -> str:
    """A model or layer as `about` names it."""
    value = value.get("name") if isinstance(value, dict) else value
    return "" if value is None else str(value)


def transcodes(dictionary: Dictionary) -> bool:
    """Whether it writes something else than it reads."""
    told = str(dictionary.about.get("kind", ""))
    return "transcoder" in told or dictionary.skip is not None or dictionary.decoder.shape[1] != dictionary.inputs


def measure(dictionary: Dictionary, acts: Field, wanted: Field | None, rows: int) -> dict[str, float]:
    ever = np.zeros(dictionary.width, bool)
    active = seen = 0
    squares = lengths = 0.0
    total = np.zeros(0 if wanted is None else wanted.shape[1])
    outputs = [] if wanted is None or wanted is acts else [wanted]
    for blocks in zip(spread(acts, rows), *(spread(field, rows) for field in outputs), strict=True):
        x = blocks[0]
        codes = scipy.sparse.csr_matrix(dictionary.encode_array(x))
        active += int((codes.data != 0).sum())
        ever[codes.indices[codes.data != 0]] = True
        seen += len(x)
        if wanted is not None:
            y = blocks[-1].astype(np.float64)
            squares += float(np.square(y - dictionary.decode_array(codes, x)).sum())
            lengths += float(np.square(y).sum())
            total += y.sum(0)
    variance = lengths - float(np.square(total).sum()) / max(seen, 1)
    known = wanted is not None
    squares = squares if math.isfinite(squares) else math.inf
    expected = dictionary.k or dictionary.about.get("k")
    return {
        "rows": seen,
        "l0": active / max(seen, 1),
        "l0_expected": float(expected) if expected else math.nan,
        "fvu": squares / max(variance, 1e-30) if known else math.nan,
        "l2": math.sqrt(squares / max(lengths, 1e-30)) if known else math.nan,
        "dead": float(1 - ever.mean()),
    }


def wrong(dictionary: Dictionary, measured: dict[str, float]) -> list[str]:
    """What no working dictionary does, each in a clause."""
    l0, expected, fvu, dead = (measured[name] for name in ("l0", "l0_expected", "fvu", "dead"))
    problems = []
    if l0 == 0:
        problems.append("no feature is ever active")
    elif l0 > CROWD * expected:
        problems.append(f"{l0:.0f} features are active per row where {expected:.0f} are expected")
    if fvu >= 1:  # NaN, where nothing was compared, is not
        problems.append(f"its reconstruction is worse than the mean of the rows (FVU {fvu:.3g})")
    # With few rows most features of a wide dictionary have had no chance to fire.
    chances = measured["rows"] * (expected if expected == expected else l0) / dictionary.width
    if dead > DEAD and chances >= FIRINGS:
        problems.append(f"{dead:.0%} of its features are never active")
    return problems
