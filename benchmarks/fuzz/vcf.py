"""VCF: sites painted onto rows, and everybody's genotypes."""

import atheris

with atheris.instrument_imports(include=["bioterp"]):
    from bioterp.annotations import contigs, features, intervals, paint, reading, terms, variants  # noqa: F401
    from bioterp.errors import BioterpError
    from bioterp.genotypes import VCF
from common import fuzz
from rows import door as painted

TEXT = b"""##fileformat=VCFv4.3
##contig=<ID=c,length=120>
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tp1\tp2
c\t3\trs1\tA\tG,T\t30\tPASS\tCLNSIG=Benign;DB\tGT:DP\t0|1:3\t2/.:4
c\t9\t.\tACG\tA\t.\t.\tEND=11\tGT\t1\t.
c\t20\t.\tA\t<DEL>\t.\tq\tEND=40;SVTYPE=DEL\tGT\t0/0\t1|1
"""


def door(path):  # type: ignore[no-untyped-def]
    try:
        for record in VCF(path).records():
            assert record.calls.shape == (len(VCF(path).samples),) and record.start >= 0
    except BioterpError:
        pass
    painted(path)


if __name__ == "__main__":
    fuzz(door, {"a.vcf": TEXT})
