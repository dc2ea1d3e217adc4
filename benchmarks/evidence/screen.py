"""The screen of all pairs: 8,192 features and 60 tracks of made-up codes.

    python benchmarks/evidence/screen.py                 # test is a fifth of 2 million cells, as in a run
    python benchmarks/evidence/screen.py --all           # all 2 million cells are turned, on one strand or on two
    python benchmarks/evidence/screen.py --exact 40      # how far z is from that of all shifts counted, for 40 pairs

Only the transforms and products are timed; `screen()` counts first (see counting.py).
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import scipy.fft
from common import row  # sets one thread before numpy is loaded
from made import Made, made

from bioterp.analyses.shifts import Ring, Side, correlate
from bioterp.analyses.spectra import BATCH, Spectra
from bioterp.arrays import Array


def lines(mask: Array, strands: int, size: int) -> Array:
    """(rows,) bool → (strands, size): the second strand is the second half of the rows."""
    ring = np.zeros((strands, size), bool)
    for own, part in zip(ring, np.array_split(mask, strands), strict=True):
        own[: len(part)] = part
    return ring


def screened(data: Made, rows: int, strands: int, exact: int) -> None:
    codes = data.codes[:rows].tocsc()
    codes.data[:] = codes.data > 1  # one threshold, at which three quarters of the cells stay active
    codes.eliminate_zeros()
    size = int(scipy.fft.next_fast_len(-(-rows // strands)))
    ring = Ring(size, np.zeros(0, np.int32), np.zeros(0, np.int8), strands, np.array([0, size]))
    begin, wall = time.process_time(), time.perf_counter()
    terms = [lines(data.labels.mask(t)[0][:rows], strands, size) for t in range(data.labels.columns)]
    spectra = Spectra(ring, terms)
    m = codes.shape[1]
    variance = np.zeros((m, len(terms)))
    for first in range(0, m, BATCH):
        some = range(first, min(first + BATCH, m))
        features = np.zeros((len(some), strands, size), bool)
        for k, f in enumerate(some):
            mask = np.zeros(rows, bool)
            mask[codes.indices[codes.indptr[f] : codes.indptr[f + 1]]] = True
            features[k] = lines(mask, strands, size)
        variance[some] = spectra.variances(features)
    cpu, wall = time.process_time() - begin, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    row(f"{rows:,}", strands, f"{variance.size:,}", f"{cpu:.0f}", f"{wall:.0f}", f"{peak:.1f}")
    rng, worst = np.random.default_rng(1), 0.0
    for _ in range(exact):
        f, t = int(rng.integers(m)), int(rng.integers(len(terms)))
        mask = np.zeros(rows, bool)
        mask[codes.indices[codes.indptr[f] : codes.indptr[f + 1]]] = True
        counts = correlate(Side(lines(mask, strands, size)), Side(terms[t]))
        sd = counts.std()
        worst = max(worst, abs(np.sqrt(variance[f, t]) / sd - 1) if sd else 0)
    if exact:
        print(f"\nlargest relative error of the standard deviation, {exact} pairs: {worst:.1e}\n", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--exact", type=int, default=20)
    asked = parser.parse_args()
    made_up = made()
    row("cells", "strands", "pairs", "CPU s", "wall s", "peak, GiB")
    row("---:", "---:", "---:", "---:", "---:", "---:")
    for count in (1, 2):
        screened(made_up, made_up.rows if asked.all else made_up.rows // 5, count, asked.exact)
