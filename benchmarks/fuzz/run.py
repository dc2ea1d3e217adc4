"""Every fuzzer in turn, for a share of some CPU-minutes each, and what they found: a line per door.

    python benchmarks/fuzz/run.py --work /tmp/fuzz --minutes 35

Called again with the same folder it goes on from the corpus that is there; the table counts all calls.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

DOORS = ("fasta", "gff", "bed", "vcf", "volumes", "series", "tensors")
PIECE = 240  # seconds of one call, so that a door that hangs does not take the others' time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=35, help="CPU-minutes, all doors together; 0 only counts")
    asked = parser.parse_args()
    aim = {door: spent(asked.work / door) + asked.minutes * 60 / len(DOORS) for door in DOORS}
    while todo := [door for door in DOORS if spent(asked.work / door) < aim[door] - 5]:
        for door in todo:
            left = min(PIECE, aim[door] - spent(asked.work / door))
            words = [f"-max_total_time={max(int(left), 10)}", "-timeout=60", "-rss_limit_mb=3000"]
            program = [sys.executable, str(Path(__file__).with_name(f"{door}.py")), "--work", str(asked.work / door)]
            done = subprocess.run([*program, *words], capture_output=True, text=True)
            (asked.work / door / "last.log").write_text(done.stderr[-100_000:])
            if done.returncode:  # a hang, or memory: libFuzzer has written the input beside
                print(f"{door}: ended with {done.returncode}; see {asked.work / door / 'last.log'}", flush=True)
                aim[door] = 0
    print(
        "| door | CPU seconds | inputs | read | refused | edges | features | findings | slowest, s |\n"
        + "|---" * 9
        + "|"
    )
    for door in DOORS:
        print(line(asked.work / door, door))


def counts(folder: Path) -> list[dict[str, float]]:
    return [json.loads(file.read_text()) for file in folder.glob("counts-*.json")]


def spent(folder: Path) -> float:
    return sum(one["cpu_seconds"] for one in counts(folder))


def line(folder: Path, door: str) -> str:
    found = counts(folder)
    total = {name: sum(one[name] for one in found) for name in ("executions", "read", "refused")}
    log = (folder / "last.log").read_text() if (folder / "last.log").is_file() else ""
    seen = re.findall(r"cov: (\d+) ft: (\d+)", log) or [("–", "–")]
    numbers = " | ".join(f"{total[name]:,}" for name in total)
    slowest = max((one["slowest"] for one in found), default=0)
    kept = len(list((folder / "findings").glob("*.txt")))
    return f"| {door} | {spent(folder):,.0f} | {numbers} | {seen[-1][0]} | {seen[-1][1]} | {kept} | {slowest:.2f} |"


if __name__ == "__main__":
    main()
