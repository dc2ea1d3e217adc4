"""`bioterp demo dna`: a real genome, genes called on the spot, the reference model."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bioterp.config import Run, parse
from bioterp.errors import missing_package
from bioterp.progress import say
from bioterp.store import writing_file

PART = 400_000  # bp of the genome's start: what two cores do in less than ten minutes


def dna(out: Path) -> dict[str, pd.DataFrame]:
    """The E. coli K-12 genome that pybarrnap carries as example data: its first PART bases, both strands."""
    from bioterp.study import Study

    return Study(config(out)).execute()


def config(out: Path) -> Run:
    """The run the demo makes, as a Run; the genome's part is named by a BED file in `out`."""
    try:
        from pybarrnap.utils import load_example_fasta_file
    except ImportError:
        raise missing_package("pybarrnap", "demo", "the demo's genome") from None
    fasta = Path(load_example_fasta_file("bacteria.fna"))
    with open(fasta) as handle:
        contig = handle.readline()[1:].split()[0]
    regions = out / "part.bed"
    if not regions.exists():
        with writing_file(regions) as beside:
            beside.write_text(f"{contig}\t0\t{PART}\n")
    say(f"E. coli K-12 {contig}, bases 0 to {PART:,}, both strands")
    tree = {
        "out": str(out.resolve()),
        "source": {
            "kind": "dna",
            "fasta": str(fasta),
            "window": 770,
            "halo": 127,  # 1,024 bases a window, 13 windows a block
            "blocks": "10kb",
            "regions": str(regions.resolve()),
        },
        "model": "bioterp/dna-small",
        "layers": [2, 4],
        "dictionary": {"kind": "topk", "width": 1024, "k": 16, "tokens": "400k"},
        "dtype": "bfloat16",
        "labels": {"genes": {"call": "genes"}},
        "exports": ["tsv", "parquet", "bigwig", "h5ad"],
    }
    return parse(tree, Path())
