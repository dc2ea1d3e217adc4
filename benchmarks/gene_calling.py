"""How called genes agree with the annotation of each annotated bacterial genome.

    python benchmarks/gene_calling.py [FOLDER]

FOLDER holds bacteria/ (default: $BIOTERP_SHARED/data/genomics): every NAME.fa.gz or NAME.fna.gz there with a
NAME.gff.gz or NAME.gff3.gz beside it is called with `call_genes` (genetic code detected) and compared by `agreement`.
Seconds are wall seconds of the call, rRNA included. The second table says how long the CDS are whose stop is not found.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from pathlib import Path

import pandas as pd
from common import genomics, machine, row

from bioterp.annotations import agreement, call_genes, reading
from bioterp.annotations.agree import cds_of

LENGTHS = (0, 60, 90, 150, 300, 600)  # bp, stop codon included; Prodigal calls nothing under 90


def annotated(folder: Path) -> list[tuple[str, Path, Path]]:
    """(name, FASTA, annotation) of each genome that has both."""
    found = []
    for fasta in sorted([*folder.glob("*.fa.gz"), *folder.glob("*.fna.gz")]):
        name = fasta.name.rsplit(".", 2)[0]
        beside = [folder / f"{name}.{ending}" for ending in ("gff.gz", "gff3.gz")]
        found.extend((name, fasta, gff) for gff in beside if gff.exists())
    return found


def missed(genes: pd.DataFrame, gff: Path) -> list[str]:
    """'missed of all' per class of length, for the reference's distinct stops."""
    told = cds_of(reading.read(gff), {}).sort_values("length").drop_duplicates("stop", keep="last")
    lost = ~told["stop"].isin(set(cds_of(reading.read(genes), {})["stop"]))
    bounds = [*LENGTHS, float("inf")]
    classes = [told["length"].between(a, b, inclusive="left") for a, b in pairwise(bounds)]
    return [f"{int(lost[mine].sum())} of {int(mine.sum())}" for mine in classes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    folder = genomics(parser.parse_args().folder) / "bacteria"
    print(machine() + "\n")
    row("genome", "code", "s", "type", "match", "counted", "reference", "called", "shared", "sensitivity", "precision")
    row(*["---"] * 11)
    lost = {}
    for name, fasta, gff in annotated(folder):
        began = time.perf_counter()
        genes = call_genes(fasta)
        seconds = f"{time.perf_counter() - began:.1f}"
        code = ", ".join(map(str, genes.attrs["transl_table"]))
        for line in agreement(genes, gff).itertuples(index=False):
            *words, sensitivity, precision = line
            row(name, code, seconds, *words, f"{sensitivity:.4f}", f"{precision:.4f}")
        lost[name] = missed(genes, gff)
    print("\nCDS whose stop is not found, by length in bp\n")
    ends = [*(f"{a}–{b - 1}" for a, b in pairwise(LENGTHS)), f"{LENGTHS[-1]} and more"]
    row("genome", *ends)
    row(*["---"] * (len(ends) + 1))
    for name, cells in lost.items():
        row(name, *cells)


if __name__ == "__main__":
    main()
