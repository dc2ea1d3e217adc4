"""The Markdown tables of benchmarks/RESULTS.md from the JSON lines of speed.py, memory.py and quality.py.

    python benchmarks/sae/tables.py [--folder FOLDER]

'median (lowest–highest)' over rounds or seeds. Ratios and fractions of the product are taken within each round.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from quality import score
from shared import EVERY, KINDS, REAL, SIZES, Results, default_folder, row, spread

OURS = "bioterp"
PRODUCTS = ("f32", "f32, numpy", "bf16")
PEAKS = ("base", "training", "encoding")


def speed(folder: Path) -> None:
    lines = Results(folder / "speed.jsonl").rows
    cases = dict.fromkeys((one["size"], one["kind"], one["batch"], one["steady"]) for one in lines)
    for name, kind, batch, steady in cases:
        engines: dict[str, dict[str, Any]] = {}
        for one in lines:  # of a case measured again, the last
            if (one["size"], one["kind"], one["batch"], one["steady"]) == (name, kind, batch, steady):
                engines[one["engine"]] = one
        one, size = next(iter(engines.values())), SIZES[name]
        allocator = ", malloc keeping its pages" if steady else ""
        print(f"\n**d = {size.d}, {size.width:,} latents, k = {size.k}, {kind}, batch {batch:,}**{allocator}", end="")
        print(f"; n = {one['rounds']}, load average {one['load']}; {one['machine']}\n")
        row("", "rows / CPU s", "f32 product / step", "bioterp ×", "encoding, rows / CPU s", "bioterp ×")
        row("---", "---:", "---:", "---:", "---:", "---:")
        for engine, told in engines.items():
            cells = [rates(told, "step"), ratio(engines, "f32", engine, "step"), ratio(engines, engine, OURS, "step")]
            cells += [rates(told, "encode"), ratio(engines, engine, OURS, "encode")]
            row(f"*product in {engine}*" if engine in PRODUCTS else engine, *cells)


def rates(told: dict[str, Any], what: str) -> str:
    """Rows per CPU second."""
    values = [told["batch"] / s for s in told[f"{what}_cpu"]]
    return thousands(values) if values else "–"


def thousands(values: list[float]) -> str:
    ordered = sorted(values)
    return f"{ordered[len(ordered) // 2]:,.0f} ({ordered[0]:,.0f}–{ordered[-1]:,.0f})"


def ratio(engines: dict[str, dict[str, Any]], upper: str, lower: str, what: str) -> str:
    """Seconds of `upper` over seconds of `lower`, round by round."""
    if upper not in engines or lower not in engines or upper == lower:
        return "–"
    pairs = list(zip(engines[upper][f"{what}_cpu"], engines[lower][f"{what}_cpu"], strict=False))
    return spread([a / b for a, b in pairs]) if pairs else "–"


def memory(folder: Path) -> None:
    lines = {(o["size"], o["batch"], o["kind"], o["engine"]): o for o in Results(folder / "memory.jsonl").rows}
    for name, batch in dict.fromkeys(key[:2] for key in lines):
        size = SIZES[name]
        print(f"\n**Peak memory above the base, MiB**; d = {size.d}, {size.width:,} latents, batch {batch:,}\n")
        row("", "kind", "base", "training", "encoding one batch")
        row("---", "---", "---:", "---:", "---:")
        for key, one in lines.items():
            if key[:2] == (name, batch):
                row(one["engine"], one["kind"], *(f"{one[what]:,.0f}" if what in one else "–" for what in PEAKS))


def best(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All seeds of the cell that is best with seed 0."""
    first = [one for one in lines if one["seed"] == 0]
    if not first:
        return []
    chosen = min(first, key=score)
    return [one for one in lines if (one["batch"], one["lr"]) == (chosen["batch"], chosen["lr"])]


def quality(folder: Path) -> None:
    lines = Results(folder / "quality.jsonl").rows
    for name in EVERY:
        for kind in KINDS:
            mine = [one for one in lines if (one["size"], one["kind"]) == (name, kind)]
            groups = [(e, t, [o for o in mine if (o["engine"], o["asked"]) == (e, t)]) for e, t in _asked(mine)]
            if groups:
                _quality(name, kind, groups)


def _asked(lines: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return list(dict.fromkeys((one["engine"], one["asked"]) for one in lines))


def _quality(name: str, kind: str, groups: list[tuple[str, int, list[dict[str, Any]]]]) -> None:
    size, own = EVERY[name], kind != "topk"
    if name in REAL:
        print("\nPeers: the batch and the multiple of their default rate that won at d = 128.")
    elif name != "128":
        print(
            "\nDense peers: the batch and the multiple of their default rate that won at d = 128; sparsify: tuned here."
        )
    where = f"{name}, d = {size.d}" if name in REAL else f"d = {size.d}"
    told = f"{where}, {size.width:,} latents, k = {size.k}, {kind}"
    print(f"\n**Quality: {told}**; median (lowest–highest) of seeds\n")
    heads = [
        "",
        "rows seen",
        "batch",
        "lr (× default)",
        "cells tried",
        "seeds",
        "FVU",
        *(["FVU at L0 = k"] if own else []),
    ]
    row(*heads, "MMCS", "by frequency", "dead, %", "L0", "train CPU s")
    row("---", *("---:" for _ in range(len(heads) + 4)))
    for engine, tokens, lines in groups:
        runs = best(lines)
        if not runs:
            continue
        tried = len({(one["batch"], one["lr"]) for one in lines})
        rate = f"{runs[0]['lr']:.2g} ({runs[0]['factor']:.2g})"
        cells = [f"{tokens:,}", f"{runs[0]['batch']:,}", rate, tried, len(runs), of(runs, "fvu", 4)]
        cells += [of(runs, "fvu_at_k", 4)] if own else []
        cells += [of(runs, "mmcs", 3), of(runs, "mmcs_weighted", 3), of(runs, "dead", 2, 100), of(runs, "l0", 2)]
        row(engine, *cells, of(runs, "cpu", 0))


def of(runs: list[dict[str, Any]], what: str, digits: int, times: float = 1) -> str:
    """One number, or its spread; '–' for what diverged."""
    values = [one[what] * times for one in runs if one.get(what) is not None]
    if not values:
        return "–"
    return spread(values, digits) if len(values) > 1 else f"{values[0]:.{digits}f}"


def tuning(folder: Path) -> None:
    """Every cell of seed 0: what the choice was made from."""
    lines = [one for one in Results(folder / "quality.jsonl").rows if one["seed"] == 0]
    print("\n**Every cell tried, seed 0**: FVU (thresholded kinds: at L0 = k)\n")
    row("d", "", "kind", "batch", "lr (× default): FVU")
    row("---:", "---", "---", "---:", "---")
    for key in dict.fromkeys((one["size"], one["engine"], one["kind"]) for one in lines):
        mine = [one for one in lines if (one["size"], one["engine"], one["kind"]) == key]
        for batch in sorted({one["batch"] for one in mine}):
            cells = sorted((one for one in mine if one["batch"] == batch), key=lambda one: float(one["lr"]))
            told = [f"{one['lr']:.2g} ({one['factor']:.2g}): {score(one):.4f}" for one in cells]
            row(*key, f"{batch:,}", "; ".join(told))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=default_folder())
    folder = parser.parse_args().folder
    for one in (speed, memory, quality, tuning):
        one(folder)


if __name__ == "__main__":
    main()
