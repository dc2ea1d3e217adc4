"""BED3 to BED12: read, and painted onto rows."""

import atheris

with atheris.instrument_imports(include=["bioterp"]):
    from bioterp.annotations import bed, coding, contigs, exons, features, intervals, label, paint, reading, terms  # noqa: F401
from common import fuzz
from rows import door

BED = b"track name=x\nc\t0\t10\ta|1\t0\t+\nc\t20\t30\ta|2\t5\t-\n"
BED12 = b"c\t0\t60\tt\t0\t+\t6\t50\t0,0,0\t2\t20,30\t0,30\nc\t3\t9\tu\t0\t-\t3\t3\t0\t1\t6,\t0,\n"

if __name__ == "__main__":
    fuzz(door, {"a.bed": BED, "b.bed": BED12, "c.bed": b"c 1 2\nc 5 9\n"})
