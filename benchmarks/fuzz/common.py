"""What the fuzzers share: a door, its seeds, and where findings go; any error that is not bioterp's own is a finding.

    python benchmarks/fuzz/gff.py --work /tmp/fuzz/gff -max_total_time=240 -timeout=20 -rss_limit_mb=3000

Inputs are laid into a file, gzipped where their last byte is 1, and given to the door as a path. Findings do not stop
the run: the first input of each kind (exception and place) is kept in WORK/findings with its traceback, the corpus in
WORK/corpus, the counts in WORK/counts.json. A hang or memory beyond the limit stops it, as libFuzzer does.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import atheris

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
MOST = 1 << 16  # bytes of an input: headers and a few records; sizes are for the tests of limits


def fuzz(door: Callable[[Path], object], seeds: Mapping[str, bytes]) -> None:
    """Run libFuzzer over a door. seeds: file name → content; inputs are called as the first of them."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--work", type=Path, required=True)
    known, rest = parser.parse_known_args()
    from bioterp.errors import BioterpError

    corpus, findings = known.work / "corpus", known.work / "findings"
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for name, content in seeds.items():
        (corpus / f"seed-{name}").write_bytes(content + b"\0")
        (corpus / f"seed-{name}-gz").write_bytes(content + b"\1")
    file = Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp") / f"fuzz-{os.getpid()}-{next(iter(seeds))}"
    record = known.work / f"counts-{os.getpid()}.json"
    counts = {"executions": 0, "read": 0, "refused": 0, "findings": 0, "cpu_seconds": 0.0, "slowest": 0.0}

    def one(data: bytes) -> None:
        content = data[:-1]
        file.write_bytes(gzip.compress(content, 1) if data[-1:] == b"\1" else content)
        began = time.process_time()
        counts["executions"] += 1
        try:
            door(file)
            counts["read"] += 1
        except BioterpError as error:
            counts["refused"] += 1
            if "\n" in str(error) or "\0" in str(error) or len(str(error)) > 2_000:
                keep("message", data, repr(str(error))[:4_000])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            frames = traceback.extract_tb(error.__traceback__)
            place = next((f for f in reversed(frames) if "/bioterp/" in f.filename), frames[-1])
            keep(f"{type(error).__name__}-{Path(place.filename).stem}-{place.lineno}", data, traceback.format_exc())
        now = time.process_time()
        counts["slowest"] = max(counts["slowest"], now - began)
        if now - counts["cpu_seconds"] > 2:  # libFuzzer leaves without telling Python
            counts["cpu_seconds"] = now
            record.write_text(json.dumps(counts))

    def keep(kind: str, data: bytes, told: str) -> None:
        if not (findings / f"{kind}.txt").exists():
            counts["findings"] += 1
            (findings / f"{kind}.txt").write_text(told)
            (findings / f"{kind}.bin").write_bytes(data)
            print("FINDING", kind, hashlib.sha256(data).hexdigest()[:12], flush=True)

    atheris.Setup([sys.argv[0], f"-max_len={MOST}", "-print_final_stats=1", *rest, str(corpus)], one)
    atheris.Fuzz()
