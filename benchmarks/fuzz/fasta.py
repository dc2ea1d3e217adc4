"""FASTA and GenBank: `bioterp.sequence.Sequences`."""

import atheris

with atheris.instrument_imports(include=["bioterp"]):
    from bioterp.sequence import Sequences
from common import fuzz

GENBANK = b"""LOCUS       c                         12 bp    DNA     circular BCT 01-JAN-2020
ACCESSION   c
VERSION     c.1
FEATURES             Location/Qualifiers
     CDS             join(10..12,1..3)
                     /gene="a"
ORIGIN
        1 acgtacgtac gt
//
"""


def door(path):  # type: ignore[no-untyped-def]
    for name, contig in (found := Sequences(path)).contigs.items():
        found.read(name, -3, contig.length + 3)


if __name__ == "__main__":
    fuzz(door, {"a.fa": b">c x\nACGTNRYacgu\nACG\n>d\n--ACG\n", "a.gb": GENBANK, "b.fa": b">c\r\nAC\r\n\r\n>d y\r\nA"})
