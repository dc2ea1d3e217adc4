"""Ribosomal RNA genes by pybarrnap: 5S, 16S and 23S of bacteria, by the profiles of Rfam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bioterp.errors import missing_package


def ribosomal(sequence: Mapping[str, str]) -> list[dict[str, Any]]:
    """A line per rRNA gene, both strands. Its ends are the profile's: a few bp within the gene's own."""
    try:
        from Bio.Seq import Seq
        from Bio.SeqRecord import SeqRecord
        from pybarrnap import Barrnap
    except ImportError:
        raise missing_package("pybarrnap", "call", "finding rRNA") from None
    # Records and not the path: pybarrnap knows neither bgzip nor line ends of other systems.
    records = [SeqRecord(Seq(bases), id=name, name=name, description="") for name, bases in sequence.items() if bases]
    result = Barrnap(records, kingdom="bac", quiet=True).run()
    found = []
    for line in result.get_gff_text().splitlines():
        if not line or line.startswith("#"):
            continue
        fields = line.split("\t")
        name = dict(p.split("=", 1) for p in fields[8].split(";") if "=" in p).get("Name", "rRNA")
        found.append({
            "contig": fields[0], "start": int(fields[3]) - 1, "end": int(fields[4]), "strand": fields[6],
            "type": "rRNA", "id": f"{fields[0]}_{name}_{fields[3]}", "name": name, "source": "pybarrnap",
            "attributes": fields[8],
        })  # fmt: skip
    return found
