"""What a cohort costs when each distinct window is run once, against everybody's windows; and pooling to people.

    python benchmarks/haplotypes.py [FOLDER] [--window 128] [--halo 64] [--layer 2] [--sample 4] [--span 4096-5120]
        [--keep FOLDER] [--count]

FOLDER holds mito/ (default: $BIOTERP_SHARED/data/genomics): 1,074 people's mtDNA (1000 Genomes phase 1) on rCRS,
through bioterp/dna-small, one strand. The naive way is measured on a sample of people, half before and half after the
other, with the same code (`distinct=False`), and scaled to all. CPU seconds of one thread. The goal: the whole cost
is at most (distinct / all windows) × naive + 10 %. --span: of the mtDNA only this. --count: only windows are counted,
at several sizes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import genomics, machine

import bioterp as bt
from bioterp import progress

SIZES = ((64, 64), (128, 64), (256, 128), (256, 256), (512, 128), (512, 256), (1024, 256), (2048, 512))


def cohort(folder: Path, window: int, halo: int, **options: Any) -> bt.Haplotypes:
    """Everybody, or some, in windows with context on the left: the model reads from left to right."""
    mito = folder / "mito"
    return bt.Haplotypes(
        mito / "1000G_phase1_chrMT_1074samples.vcf.gz", mito / "NC_012920.1.fa.gz", window=window, halo=[halo, 0],
        strands="+", blocks=2048, circular=True, unphased="mask", **options,
    )  # fmt: skip


def cpu(work: Any) -> tuple[Any, float]:
    begun = time.process_time()
    return work(), time.process_time() - begun


def count(folder: Path) -> None:
    print("| window + context | windows | distinct | share | Mb to run | Mb of everybody |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for window, halo in SIZES:
        made = cohort(folder, window, halo).counts
        everybody = 1074 * sum(min(window, 16_569 - s) + halo for s in range(0, 16_569, window)) / 1e6
        share = made["distinct_windows"] / made["windows"]
        print(row_of(window, halo, made, share, everybody))


def row_of(window: int, halo: int, made: dict[str, Any], share: float, everybody: float) -> str:
    size = f"| {window} + {halo} | {made['windows']:,} | {made['distinct_windows']:,} | {share:.3f} "
    return size + f"| {made['bases'] / 1e6:.2f} | {everybody:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--window", type=int, default=128)
    parser.add_argument("--halo", type=int, default=64)
    parser.add_argument("--layer", type=int, default=2)
    parser.add_argument("--sample", type=int, default=4)
    parser.add_argument("--span", default="")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--count", action="store_true")
    given = parser.parse_args()
    folder = genomics(given.folder)
    if given.count:
        count(folder)
        return
    progress.show(True)
    print(machine())
    model = bt.load_model("bioterp/dna-small")
    with tempfile.TemporaryDirectory() as scratch:
        keep, options = given.keep or Path(scratch), {}
        if given.span:
            (Path(scratch) / "span.bed").write_text("NC_012920.1\t" + given.span.replace("-", "\t") + "\n")
            options["regions"] = Path(scratch) / "span.bed"

        def naive(people: list[str], name: str) -> float:
            source = cohort(folder, given.window, given.halo, samples=people, distinct=False, **options)
            return cpu(lambda: bt.activations(source, model, [given.layer], Path(scratch) / name))[1] / len(people)

        everybody, planning = cpu(lambda: cohort(folder, given.window, given.halo, **options))
        ids = everybody.people["item"].tolist()
        chosen = ids[:: len(ids) // given.sample][: given.sample]
        naive(ids[:1], "warm")  # the first forwards find out widths
        before = naive(chosen[::2], "before")
        acts, running = cpu(lambda: bt.activations(everybody, model, [given.layer], keep / "acts")[given.layer])
        after = naive(chosen[1::2], "after")
        made = everybody.counts
        share, each = made["distinct_windows"] / made["windows"], (before + after) / 2
        goal = share * each * made["people"]
        whole = planning + running
        print(everybody.told())
        print(f"naive: {each:.2f} CPU s a person ({before:.2f} before, {after:.2f} after; {len(chosen)} people)")
        print(f"naive for all: {each * made['people']:,.0f} s; share of windows that are distinct: {share:.4f}")
        print(f"distinct: {planning:.1f} s planning + {running:.1f} s activations = {whole:.1f} s")
        over = [100 * (seconds / goal - 1) for seconds in (running, whole)]
        print(f"share × naive = {goal:.1f} s: {over[0]:+.1f} % activations, {over[1]:+.1f} % with planning")
        sys.stdout.flush()
        if given.span:
            return
        sae, fitting = cpu(lambda: bt.fit(acts.split("train"), width=1024, k=16, seed=0, tokens=300_000))
        codes, encoding = cpu(lambda: sae.encode(acts, keep / "codes"))
        people, pooling = cpu(lambda: bt.pool(codes, everybody, ["mean", "max", "top", "fraction"]))
        print(f"fit {fitting:.1f} s, encode {encoding:.1f} s, pool {pooling:.1f} s: {people}")
        print(sae.quality(acts.split("valid")))
        if given.keep:
            sae.save(keep / "dictionary")
            people.save(keep / "people")
            everybody.carriers.table().to_parquet(keep / "carriers.parquet")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
