"""GFF3 and GTF: read, and painted onto rows with every term."""

import atheris

with atheris.instrument_imports(include=["bioterp"]):
    from bioterp.annotations import bed, coding, contigs, exons, features, intervals, label, paint, reading, terms  # noqa: F401
from common import fuzz
from rows import door

GFF = b"""##gff-version 3
##sequence-region c 1 120
c\ts\tregion\t1\t120\t.\t+\t.\tID=c;Is_circular=true
c\ts\tgene\t1\t60\t.\t+\t.\tID=g;Name=a;biotype=protein_coding
c\ts\tmRNA\t1\t60\t.\t+\t.\tID=m;Parent=g
c\ts\texon\t1\t30\t.\t+\t.\tParent=m
c\ts\texon\t40\t60\t.\t+\t.\tParent=m
c\ts\tCDS\t4\t30\t.\t+\t0\tID=p;Parent=m;transl_table=11
c\ts\tCDS\t40\t57\t.\t+\t2\tID=p;Parent=m
##FASTA
"""
GTF = b"""c\ts\tgene\t1\t60\t.\t-\t.\tgene_id "g"; gene_name "a";
c\ts\ttranscript\t1\t60\t.\t-\t.\tgene_id "g"; transcript_id "t";
c\ts\texon\t1\t60\t.\t-\t.\tgene_id "g"; transcript_id "t"; exon_number 1;
c\ts\tCDS\t10\t40\t.\t-\t0\tgene_id "g"; transcript_id "t";
c\ts\tstop_codon\t7\t9\t.\t-\t0\tgene_id "g"; transcript_id "t";
"""

if __name__ == "__main__":
    fuzz(door, {"a.gff3": GFF, "b.gtf": GTF})
