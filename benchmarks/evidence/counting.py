"""One streaming pass of counts against products of sparse matrices (scipy), on the same made-up codes and tracks.

    python benchmarks/evidence/counting.py --repeats 5                 # both engines, alternating; one thread
    python benchmarks/evidence/counting.py --case cells                # ours at 0.5, 1, 2 and 4 million cells
    python benchmarks/evidence/counting.py --case threads              # ours with one and two threads, wall seconds
    python benchmarks/evidence/counting.py --case memory               # the peak of the process, ours alone

*Ours*: 32 bins for every feature, term and split, of cells and of instances; from them the AUROC and AP of every pair
and its F1 at 31 thresholds. *scipy*: at five thresholds, cells and instances above them, over all rows (no splits).
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import scipy.sparse
from common import row, spread, watched  # sets one thread before numpy is loaded
from made import FEATURES, TERMS, Made, made

from bioterp.analyses import scoring
from bioterp.analyses.blocks import BATCH, batch_rows
from bioterp.analyses.counting import Counts, count
from bioterp.analyses.edges import bin_edges, levels, sample_active, thinned
from bioterp.analyses.runs import plan
from bioterp.arrays import Array
from bioterp.values import Intervals

_LEVELS = np.append(0.0, levels())
RUNS = ("term", "instance", "start", "stop")
LEVELS = (0.0, 0.5, 0.8, 0.95, 0.99)  # the quantiles that scipy's five thresholds lie at


def edges_of(data: Made) -> Array:
    """Bin edges, learnt on the rows that are not test."""
    spans = np.stack([data.edges[:-1], data.edges[1:]], 1)[data.group == 0]
    return bin_edges(*sample_active(data.read, thinned(spans), data.codes.shape[1], BATCH, threads=1))


def ours(data: Made, bins: Array, threads: int) -> Counts:
    """The labels indexed, and the pass."""
    size = batch_rows(data.codes.nnz, *data.codes.shape)
    return count(data.read, bins, plan(data.labels, data.edges, data.group, 2, size), threads)


def scores(counts: Counts) -> tuple[Array, Array, Array]:
    """AUROC and AP (groups, terms, features), and the largest F1 over 31 thresholds."""
    shape = counts.positive.shape[:3]
    auroc, ap, f1 = (np.empty(shape) for _ in range(3))
    for g in range(shape[0]):
        for t in range(shape[1]):
            pair = scoring.of_term(counts, g, t)
            auroc[g, t], ap[g, t] = scoring.auroc(pair), scoring.average_precision(pair)
            f1[g, t] = np.nan_to_num(scoring.f1_curves(pair)[0]).max(1)
    return auroc, ap, f1


def products(data: Made, bins: Array) -> tuple[Array, Array]:
    """At five thresholds: cells and instances of each term above it, (thresholds, terms, features)."""
    labels, rows = data.labels, data.rows
    length = labels.stop - labels.start
    cells = np.repeat(labels.start, length) + np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    of = np.repeat(np.arange(len(length)), length)
    one = np.ones(len(cells), np.float32)
    instances = scipy.sparse.csr_matrix((one, (of, cells)), (len(length), rows))
    terms = scipy.sparse.csr_matrix((one, (labels.term[of], cells)), (labels.columns, rows))
    terms.data[:] = 1  # cells that two instances cover count once
    which = scipy.sparse.csr_matrix((np.ones(len(length), np.float32), (labels.term, np.arange(len(length)))))
    codes, found = data.codes, []
    for level in LEVELS:
        at = np.minimum(np.searchsorted(_LEVELS, level), bins.shape[1] - 1)
        active = codes.copy()
        active.data = (codes.data > bins[codes.indices, at]).astype(np.float32)
        active.eliminate_zeros()
        tp = (terms @ active).toarray()
        met = instances @ active
        met.data[:] = 1
        found.append((tp, (which @ met).toarray()))
    return np.stack([tp for tp, _ in found]), np.stack([hits for _, hits in found])


def timed(function: Callable[..., Any], *args: Any) -> tuple[float, float, Any]:
    """(CPU seconds, wall seconds, result)."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = function(*args)
    return time.process_time() - cpu, time.perf_counter() - wall, result


def against_scipy(repeats: int) -> None:
    data = made()
    ours(made(20_000), edges_of(data), 1)  # compiles
    bins, laps = edges_of(data), {name: [] for name in ("edges", "count", "scores", "scipy")}
    for _ in range(repeats):
        laps["edges"].append(timed(edges_of, data)[0])
        cpu, _, counts = timed(ours, data, bins, 1)
        laps["count"].append(cpu)
        laps["scores"].append(timed(scores, counts)[0])
        cpu, _, (tp, hits) = timed(products, data, bins)
        laps["scipy"].append(cpu)
        for k, level in enumerate(LEVELS):
            at = int(np.searchsorted(_LEVELS, level))
            same = (counts.positive[..., at + 1 :].sum((0, 3)) == tp[k]).all()
            near = np.abs(counts.instances[..., at + 1 :].sum((0, 3)) - hits[k].astype(int))
            print(f"<!-- level {level}: cells equal {same}, instances differ by at most {near.max()} -->")
    row("CPU seconds, one thread", "median (lowest–highest)")
    row("---", "---:")
    for name, values in laps.items():
        row(name, spread(values))
    ratio = statistics.median(laps["scipy"]) / statistics.median(laps["count"])
    print(f"\nscipy / count: {ratio:.2f}; n = {repeats}")


def by_cells(repeats: int) -> None:
    row("cells", "count, CPU s", "s per million")
    row("---:", "---:", "---:")
    ours(made(20_000), edges_of(made(20_000)), 1)
    for rows in (500_000, 1_000_000, 2_000_000, 4_000_000):
        data = made(rows, instances=266_000 * rows // 2_000_000)
        bins = edges_of(data)
        taken = [timed(ours, data, bins, 1)[0] for _ in range(repeats)]
        row(f"{rows:,}", spread(taken), f"{statistics.median(taken) / rows * 1e6:.2f}")


def by_threads(repeats: int) -> None:
    data = made()
    bins, laps = edges_of(data), {1: [], 2: []}
    ours(made(20_000), bins, 2)
    for _ in range(repeats):
        for threads, taken in laps.items():
            taken.append(timed(ours, data, bins, threads)[1])
    row("threads", "wall s")
    row("---:", "---:")
    for threads, taken in laps.items():
        row(threads, spread(taken))
    print(f"\ngain: {statistics.median(laps[1]) / statistics.median(laps[2]):.2f}; n = {repeats}")


def memory() -> None:
    """The peak of a process that reads stored codes, and what it holds before it counts."""
    data = made()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("data", "indices", "indptr"):
            np.save(Path(folder) / f"{name}.npy", getattr(data.codes, name))
        runs = {name: getattr(data.labels, name) for name in RUNS}
        np.savez(Path(folder) / "labels.npz", **runs, edges=data.edges, group=data.group)
        del data
        found = watched([sys.executable, __file__, "--inside", folder], "counting")
    row("MiB", "before", "peak resident", "peak anonymous")
    row("---", "---:", "---:", "---:")
    row("edges, count, scores", *(f"{found[name]:.0f}" for name in ("before", "resident", "anonymous")))


def inside(folder: Path) -> None:
    """What `memory` watches."""
    codes = scipy.sparse.csr_matrix((1, FEATURES), dtype=np.float32)
    codes.data, codes.indices, codes.indptr = (
        np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("data", "indices", "indptr")
    )
    rows, held = len(codes.indptr) - 1, np.load(folder / "labels.npz")
    codes._shape = (rows, FEATURES)
    data = Made(codes, Intervals(*(held[name] for name in RUNS), rows, TERMS), held["edges"], held["group"])
    before = resident()
    scores(ours(data, edges_of(data), 1))
    print(json.dumps({"before": before, "resident": resident()}))


def resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=["scipy", "cells", "threads", "memory"], default="scipy")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        inside(asked.inside)
    elif asked.case == "scipy":
        against_scipy(asked.repeats)
    elif asked.case == "cells":
        by_cells(asked.repeats)
    elif asked.case == "threads":
        by_threads(asked.repeats)
    else:
        memory()
