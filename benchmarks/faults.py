"""Stop, starve and spoil runs at random, and count how many end with other tables than an undisturbed one.

    python benchmarks/faults.py [--trials 30] [--kills 10] [--seed 0]

The study is small: a planted genome of 9.6 kb, a random model of three blocks, a dictionary with tables, exports and a
report. A trial puts seven faults into one folder in a random order (tests/faulty.py tells them), each followed by the
same command, in processes forked from a warm one; then every table must be, byte for byte, that of the calm run, and no
temporary name may be left. A kill stops a process that was started cold, at a random moment, with all it started.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.conftest import tiny_llama  # noqa: E402
from tests.faulty import FAULTS, Warm, trial  # noqa: E402
from tests.planted import leftovers, same_tables, write_run  # noqa: E402

SETTINGS = {"baselines": ["neurons", "random-weights"], "exports": ["tsv", "h5ad"], "export_features": 3}
SETTINGS |= {"labels.genes.terms": ["CDS", "intergenic"], "dictionary.seeds": [0, 3]}


def same(calm: Path, other: Path) -> None:
    same_tables(calm / "results", other / "results")
    assert not leftovers(other / "results")


def trials(folder: Path, model: Path, count: int, rng: np.random.Generator) -> Counter[str]:
    """Faults by kind and outcome; stops with an error at the first table that is another."""
    warm, found = Warm(), Counter[str]()
    write_run(folder / "calm", model, **SETTINGS)
    warm.attempt(folder / "calm")  # compiles what numba has not cached
    write_run(folder / "again", model, **SETTINGS)
    calm = warm.attempt(folder / "again")
    same(folder / "calm", folder / "again")
    largest = max(path.stat().st_size for path in (folder / "calm/results").rglob("*") if path.is_file())
    print(f"calm: {calm.changes} changes of names, {calm.seconds:.1f} s", flush=True)
    for number in range(count):
        place = folder / f"trial-{number}"
        write_run(place, model, **SETTINGS)
        kinds = tuple(str(kind) for kind in rng.permutation(FAULTS))
        told = trial(warm, place, calm, largest, rng, kinds)
        same(folder / "calm", place)
        for line in told:
            kind, *rest = line.split(" ")
            result = (
                "killed"
                if "killed" in rest
                else "refused"
                if "bioterp:" in rest
                else "ended"
                if "ended" in rest
                else "spoilt"
            )
            found[f"{kind}: {result}"] += 1
        print(f"trial {number}: the same tables after {'; '.join(told)}", flush=True)
    warm.close()
    return found


def kills(folder: Path, model: Path, count: int, rng: np.random.Generator) -> int:
    """How many of `count` cold runs were alive when the signal came; the runs that follow end with the same tables."""
    command = [sys.executable, "-m", "bioterp.cli", "run", "run.yaml", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    write_run(folder / "calm", model, **SETTINGS)
    begun = time.perf_counter()
    subprocess.run(command, cwd=folder / "calm", env=environment, check=True, stdout=subprocess.DEVNULL)
    took, hit, place = time.perf_counter() - begun, 0, folder / "killed"
    write_run(place, model, **SETTINGS)
    for number in range(count):
        if number % 5 == 0:  # a fresh folder, so that early stages are hit too
            place = folder / f"killed-{number}"
            write_run(place, model, **SETTINGS)
        running = subprocess.Popen(
            command, cwd=place, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
        )
        try:
            running.wait(took * rng.uniform(0.2, 0.95))
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            hit += 1
        running.wait()
        if number % 5 == 4 or number == count - 1:
            subprocess.run(command, cwd=place, env=environment, check=True, stdout=subprocess.DEVNULL)
            same(folder / "calm", place)
    return hit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=30, help="of seven faults each")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = tiny_llama(folder / "model")
        if options.trials:
            found = trials(folder / "trials", model, options.trials, rng)
            print(f"{sum(found.values())} faults in {options.trials} folders, no table another")
            for name, count in sorted(found.items()):
                print(f"  {name:<20} {count}")
        if options.kills:
            hit = kills(folder / "kills", model, options.kills, rng)
            print(f"{hit} of {options.kills} cold runs killed, no table another")


if __name__ == "__main__":
    main()
