"""Small cohorts for the tests of people."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bioterp.field import Field
from bioterp.rows import Rows


def field_of(values, blocks=None, names=None) -> Field:
    """A lattice-free Field with one row per person: s0, s1 …"""
    n = len(values)
    samples = [f"s{i}" for i in range(n)] if names is None else list(names)
    items = pd.DataFrame({"item": samples, "sample": samples, "block": samples if blocks is None else blocks})
    about = {"dictionary": "sae", "seed": 3, "representation": "dictionary", "layer": "4"}
    return Field(Rows.free(items.assign(split="train")), np.asarray(values, np.float32), kind="code", about=about)


def world(n=211, m=17, seed=0):
    """Three ancestries that shift outcome and the features 0 to 4; feature 0 is causal. (Field, sheet)."""
    rng = np.random.default_rng(seed)
    ancestry = rng.integers(0, 3, n)
    x = rng.normal(size=(n, m)).astype(np.float32)
    x[:, :5] += 0.6 * ancestry[:, None]
    age = rng.normal(52, 9, n)
    y = 0.8 * x[:, 0] + 1.1 * ancestry + 0.03 * age + rng.normal(size=n)
    sheet = pd.DataFrame(
        {
            "age": age,
            "sex": rng.choice(["f", "m"], n),
            "ancestry": np.array(["AFR", "EAS", "EUR"])[ancestry],
            "site": rng.choice(["Leeds", "Oslo", "Turin", "Vienna"], n),
            "height": y,
            "case": np.where(y + rng.normal(size=n) > np.median(y), "case", "control"),
        },
        index=[f"s{i}" for i in range(n)],
    )
    return field_of(x), sheet
