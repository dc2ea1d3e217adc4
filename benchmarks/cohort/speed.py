"""What associations cost: 10,000 people × 16,384 features × 12 covariates × 3 outcomes.

    python benchmarks/cohort/speed.py [--people 10000] [--features 16384] [--threads 2]

One residualisation: the matrix in float64 less its projection on the covariates, by two BLAS products, block by block.
Linear association: naive and adjusted effects, t and p of every feature with three numeric outcomes, nothing else.
"""

from __future__ import annotations

import argparse
import os
import resource
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=16_384)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    import numpy as np
    import pandas as pd

    import bioterp as bt
    from bioterp.analyses.cohort import nulls
    from bioterp.analyses.cohort.sums import BATCH, Sums

    n, m, rng = options.people, options.features, np.random.default_rng(0)
    values = rng.standard_normal((n, m), dtype=np.float32)
    ids = [f"P{i}" for i in range(n)]
    items = pd.DataFrame({"item": ids, "sample": ids, "block": ids, "split": "train"})
    people = bt.Field(bt.Rows.free(items), values, kind="activation", about={})
    group = rng.integers(0, 4, n)
    sheet = pd.DataFrame({f"c{k}": rng.normal(size=n) for k in range(9)}, index=ids)
    sheet["ancestry"] = np.array(list("ABCD"))[group]
    for k in range(3):
        sheet[f"y{k}"] = values[:, k] * 0.1 + 0.3 * group + rng.normal(size=n)
    sheet["case"] = (sheet["y0"] > sheet["y0"].median()).astype(int)
    design = np.column_stack(
        [np.ones(n), sheet[[f"c{k}" for k in range(9)]], pd.get_dummies(sheet["ancestry"]).iloc[:, 1:]]
    )
    who = np.ones(n, bool)

    def residualise() -> None:
        q = np.linalg.qr(design)[0]
        along = np.zeros((q.shape[1], m))
        for lo in range(0, n, BATCH):
            along += q[lo : lo + BATCH].T @ values[lo : lo + BATCH].astype(np.float64)
        for lo in range(0, n, BATCH):
            block = values[lo : lo + BATCH].astype(np.float64)
            block -= q[lo : lo + BATCH] @ along

    def linear() -> None:
        sums = Sums(n)
        asked = []
        for columns in (design[:, :6], design):
            basis = nulls.basis_of(columns, who)
            asked += [nulls.linear(basis, sheet[f"y{k}"].to_numpy()) for k in range(3)]
        for null in asked:
            nulls.ask(sums, null)
        sums.run(people.read, m, who)
        for null in asked:
            nulls.effects(sums, null)

    def everything(outcomes: list[str]) -> None:
        named = [f"c{k}" for k in range(9)]
        bt.associate(
            people,
            sheet,
            outcome=outcomes,
            covariates=named[:5],
            confounders=[*named[5:], "ancestry"],
            groups="ancestry",
        )

    jobs = {
        "one residualisation": residualise,
        "linear association": linear,
        "everything, 3 numeric outcomes": lambda: everything(["y0", "y1", "y2"]),
        "everything, 1 binary and 2 numeric": lambda: everything(["case", "y1", "y2"]),
    }
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for turn in range(options.repeats):
        for name, job in jobs.items():
            if name.startswith("everything") and turn:
                continue
            wall, cpu = time.perf_counter(), time.process_time()
            job()
            spent[name].append((time.process_time() - cpu, time.perf_counter() - wall))
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(f"{name}: {spent[name][-1][0]:.2f} CPU s, {spent[name][-1][1]:.2f} s, peak {most:.2f} GB", flush=True)
    base, ours = (np.median([cpu for cpu, _ in spent[name]]) for name in list(jobs)[:2])
    print(f"linear association / one residualisation: {ours / base:.2f} (median CPU s of {options.repeats})")


if __name__ == "__main__":
    main()
