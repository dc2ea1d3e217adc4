"""One measurement over seeds: a line each on standard error, all as TSV if asked, mean and range as markdown."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd


def over_seeds(
    measure: Callable[[int], dict[str, float]], seeds: Iterable[int], title: str, out: Path | None = None
) -> None:
    """Measure, write and print; the title says what of."""
    began, lines = time.process_time(), []
    for seed in seeds:
        lines.append({"seed_of_cohort": seed, **measure(seed)})
        print(f"seed {seed}: { {key: float(value) for key, value in lines[-1].items()} }", file=sys.stderr, flush=True)
    found = pd.DataFrame(lines)
    if out is not None:
        found.to_csv(out, sep="\t", index=False)
    first, took = lines[0]["seed_of_cohort"], time.process_time() - began
    print(f"\n**{title}**, {len(lines)} seeds from {first}, {took:.0f} CPU s\n")
    print("| | mean | lowest | highest |\n| --- | ---: | ---: | ---: |")
    for key, column in found.drop(columns="seed_of_cohort").items():
        print(f"| {key} | {column.mean():.3f} | {column.min():.3f} | {column.max():.3f} |", flush=True)
