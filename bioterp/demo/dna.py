"""`bioterp demo dna`: a real genome, genes called on the spot, the reference model, a sweep of its layers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bioterp.adapters.dna import AUTO_BLOCKS
from bioterp.config import load
from bioterp.demo import quoted, write
from bioterp.errors import InputError, missing_package
from bioterp.progress import say
from bioterp.records import Run
from bioterp.sequence import Sequences

PART = 400_000  # bp of the genome's start: what two cores do in less than ten minutes
BLOCKS = 40  # blocks to have at least, so that every split gets several

RUN = """\
# The run this demo makes. Edit it and start it again with `bioterp run`, in another `out`.
out: .
source:
  kind: dna
  fasta: {fasta}
  window: 767              # with the halo 1,023 bases: the model's window of attention less one
  halo: [256, 0]           # context before, none after: the model reads left to right
  blocks: {block}            # the unit that is never divided between train, valid and test
{regions}model: {{name: bioterp/dna-small}}
layers: [1, 3, 5]          # a sweep: which layer carries which term
dictionary: {{kind: topk, width: 1024, k: 16, tokens: {tokens}, seeds: [0, 1, 2]}}
dtype: bfloat16            # how activations are stored
labels:
  genes: {{call: genes}}     # or an annotation: {{path: genome.gff.gz}}
exports: [tsv, parquet, bigwig, h5ad]
{disk}"""


def run(out: Path, fasta: Path | None = None, whole: bool = False) -> dict[str, pd.DataFrame]:
    """The whole road on a bare genome; by default the E. coli K-12 genome that pybarrnap carries as example data.

    Reads the first PART bases, or everything; both strands. The run file is left in `out` as run.yaml.
    """
    from bioterp.study import Study

    return Study(config(out, fasta, whole)).execute()


def config(out: Path, fasta: Path | None = None, whole: bool = False) -> Run:
    """The run the demo makes; it lies in `out` as run.yaml, and the part that is read as part.bed."""
    fasta = (fasta or example()).resolve()
    contigs = Sequences(fasta).contigs.values()
    part, left = [], sum(contig.length for contig in contigs) if whole else PART
    for contig in contigs:
        part.append((contig.name, min(contig.length, left)))
        left -= part[-1][1]
        if left <= 0:
            break
    total = sum(length for _, length in part)
    if total == 0:
        raise InputError(f"{fasta} holds no bases")
    say(f"{fasta.name}: {total:,} bases of {len(part)} contigs, both strands")
    every = total == sum(contig.length for contig in contigs)
    text = RUN.format(
        fasta=quoted(fasta),
        block=next((size for size in AUTO_BLOCKS if size * BLOCKS <= total), AUTO_BLOCKS[-1]),
        regions="" if every else "  regions: part.bed        # the part that is read\n",
        tokens="1M" if whole else "400k",
        disk="disk: 25GB                 # activations and codes are dropped once their tables are made\n"
        if whole
        else "",
    )
    if not every:
        write(out / "part.bed", "".join(f"{name}\t0\t{length}\n" for name, length in part))
    write(out / "run.yaml", text)
    return load(out / "run.yaml")


def example() -> Path:
    """The E. coli K-12 genome among pybarrnap's documented example data."""
    try:
        from pybarrnap.utils import load_example_fasta_file
    except ImportError:
        raise missing_package("pybarrnap", "demo", "the demo's genome") from None
    return Path(load_example_fasta_file("bacteria.fna"))
