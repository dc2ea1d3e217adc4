"""A bigWig read in a process of its own, for libBigWig trusts its file: `python -P bigwig_child.py FILE BYTES`.

Asked with lines "contig<TAB>start<TAB>end" on standard input, answers (end − start,) float64 values. First it says its
contigs, as JSON. A damaged file may end this process, and no other; BYTES is how much memory it may take.
"""

import json
import pathlib
import resource
import sys


def main() -> None:
    import numpy  # noqa: F401 - taken into the limit below
    import pyBigWig

    if pathlib.Path("/proc/self/statm").exists():  # elsewhere what is mapped already is not told so simply
        with open("/proc/self/statm") as told:
            most = int(sys.argv[2]) + int(told.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = sys.stdout.buffer
    file = pyBigWig.open(sys.argv[1])
    if not file.isBigWig():
        raise SystemExit(3)
    out.write(json.dumps(file.chroms()).encode() + b"\n")
    out.flush()
    for line in sys.stdin:
        contig, start, end = line.rstrip("\n").split("\t")
        out.write(file.values(contig, int(start), int(end), numpy=True).astype("<f8").tobytes())
        out.flush()


if __name__ == "__main__":
    main()
