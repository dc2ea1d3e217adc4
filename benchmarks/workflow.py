"""M. genitalium as jobs through Snakemake against the run in one process: wall time, CPU time, and the same tables.

    python benchmarks/workflow.py --genome mycoplasma_genitalium_g37.fa.gz --genes mycoplasma_genitalium_g37.gff3.gz

Prints one line per way: seconds of wall and of CPU (children included), Snakemake's own start-up (a dry run of a
finished study, which reads the plan and finds nothing to do), jobs, and whether the tables are the same to the byte.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

SEEDS = [0, 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genome", required=True)
    parser.add_argument("--genes", required=True)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--strands", default="both", choices=["both", "+", "-"])
    parser.add_argument("--layers", type=int, nargs="+", default=[3])
    parser.add_argument("--keep", default=None, help="folder for the two results (default: a temporary one)")
    parser.add_argument("--only", choices=["here", "jobs"], default=None, help="one of the two ways")
    asked = parser.parse_args()
    folder = Path(asked.keep or tempfile.mkdtemp(prefix="bioterp-workflow-"))
    told = {"machine": platform.machine(), "cpus": os.cpu_count(), "cores": asked.cores, "load": os.getloadavg()[0]}
    print(json.dumps(told))
    ways = {
        "here": ["--cores", str(asked.cores)],
        "jobs": ["--jobs", str(asked.cores), "--quiet"],
    }
    for way, words in ways.items():
        if asked.only in (None, way):
            file = study(folder / way, asked)
            wall, cpu = timed(["run", str(file), *words])
            print(
                json.dumps({"way": way, "wall_s": round(wall, 1), "cpu_s": round(cpu, 1), "load": os.getloadavg()[0]})
            )
    if asked.only != "here":
        wall, cpu = timed(["run", str(folder / "jobs" / "run.yaml"), *ways["jobs"], "--dry-run"])
        marks = len(list((folder / "jobs/results/jobs").rglob("*"))) - 2
        print(json.dumps({"way": "start-up", "wall_s": round(wall, 1), "cpu_s": round(cpu, 1), "files": marks}))
    if all((folder / way / "results/tables").is_dir() for way in ways):
        print(json.dumps({"same": compare(folder / "here/results/tables", folder / "jobs/results/tables")}))
    if asked.keep is None:
        shutil.rmtree(folder)


def study(folder: Path, asked: argparse.Namespace) -> Path:
    """The run file of the study; results of an earlier benchmark go."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tree = {
        "out": "results",
        "source": {
            "kind": "dna",
            "fasta": str(Path(asked.genome).resolve()),
            "window": 767,
            "halo": [256, 0],
            "strands": asked.strands,
            "blocks": "20kb",
            "shards": asked.shards,
        },
        "model": {"name": "bioterp/dna-small"},
        "layers": asked.layers,
        "dtype": "bfloat16",
        "dictionary": {"kind": "topk", "width": 1024, "k": 16, "tokens": "1M", "seeds": SEEDS},
        "labels": {"genes": {"path": str(Path(asked.genes).resolve())}},
        "exports": ["tsv", "bigwig"],
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    return folder / "run.yaml"


def timed(words: list[str]) -> tuple[float, float]:
    """Seconds of wall and of CPU of a command with all its children."""
    before, begun = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "bioterp.cli", *words], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - begun, cpu


def compare(one: Path, other: Path) -> dict[str, object]:
    """Tables that are on both sides, and those of them that differ in a byte."""
    names = sorted({p.name for p in one.glob("*.tsv")} | {p.name for p in other.glob("*.tsv")})
    differ = [n for n in names if not same(one / n, other / n)]
    return {"tables": len(names), "differ": differ}


def same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()


if __name__ == "__main__":
    main()
