"""Do called genes agree with an annotation? CDS by their stop, and by start and stop; rRNA by overlap.

The stop is what tells whether a gene was found at all, because every start in its reading frame shares it (Hyatt et
al. 2010, doi 10.1186/1471-2105-11-119). Counted are CDS whose stop codon is there: not pseudogenes (`pseudo`), not CDS
cut by a contig's end; a CDS in pieces has its last piece's stop; CDS that share a stop are one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from bioterp.annotations import coding, reading
from bioterp.annotations import contigs as names
from bioterp.annotations.agree_rrna import compare_rrna
from bioterp.annotations.contigs import few
from bioterp.annotations.features import Features, values_of
from bioterp.errors import InputError

Place: TypeAlias = tuple[Any, ...]


def agreement(
    called: Any, reference: Any, *, contigs: Mapping[str, str] | None = None, shortest: int = 90
) -> pd.DataFrame:
    """Sensitivity and precision of called genes against an annotation, on the contigs both speak of.

    Parameters
    ----------
    called: the table of `call_genes`, or anything `label` reads. reference: likewise.
    contigs: {name in `called`: name in `reference`} where they differ.
    shortest: bp, stop codon included, from which on a CDS counts as callable (Prodigal calls none under 90).

    Returns
    -------
    A line per comparison, with the columns
    type: 'CDS', '16S rRNA', '23S rRNA', '5S rRNA', 'rRNA operon' (the last four where either side has rRNA).
    match: 'stop' (contig, strand and place of the stop codon are the same), 'start and stop', 'overlap' (of at
        least half of the longer gene, same strand and kind), 'every gene' (of the reference's operon).
    counted: 'all'; or 'callable': only CDS of `shortest` bp or more. Calls that share no stop with these are then
        neither right nor wrong where they share one with a shorter CDS, or lie on a pseudogene of the reference,
        on its strand.
    n_reference, n_called, n_shared; sensitivity = n_shared / n_reference, precision = n_shared / n_called (0 to
        1; NaN where there is nothing to divide by).

    Raises InputError when the two have no contig in common.
    """
    ours, theirs = reading.read(called), names.rename(reading.read(reference), contigs)
    # A contig without a call is called all the same; one the reference has no word of is not annotated.
    shared = set(ours.contigs) & set(theirs.table["contig"])
    if not shared:
        raise InputError(
            f"the called genes are on {few(sorted(ours.contigs))}, the reference's on "
            f"{few(sorted(set(theirs.table['contig'])))}; name them with contigs={{called: reference}}"
        )
    ours, theirs = _on(ours, shared), _on(theirs, shared)
    circles = {name: c.length for name, c in theirs.contigs.items() if c.circular and c.length}
    mine, told = cds_of(ours, circles), cds_of(theirs, circles)
    lines = _compare_cds(mine, told, "all")
    long = told[told["length"] >= shortest]
    aside = np.array(on_pseudogenes(mine, theirs), bool) | mine["stop"].isin(told["stop"]).to_numpy()
    counts = mine["stop"].isin(long["stop"]) | (~aside & (mine["length"] >= shortest))
    lines += _compare_cds(mine[counts], long, "callable")
    lines += compare_rrna(ours, theirs)
    table = pd.DataFrame(lines, columns=["type", "match", "counted", "n_reference", "n_called", "n_shared"])
    table["sensitivity"] = table["n_shared"] / table["n_reference"].where(table["n_reference"] > 0)
    table["precision"] = table["n_shared"] / table["n_called"].where(table["n_called"] > 0)
    return table


def cds_of(features: Features, circles: Mapping[str, int]) -> pd.DataFrame:
    """A line per CDS whose stop codon is there: contig, strand, low, high (bp), length (coding bp), stop, whole.

    stop: (contig, strand, coordinate behind the stop codon); whole: stop and coordinate of the first coding base, or
    None without a start codon. Coordinates of a circle (its bp in `circles`) are taken around it.
    """
    cds = coding.segments(features)
    first, last = cds[cds["offset"] == 0], cds[cds["last"]]
    lines = []
    for head, tail in zip(first.itertuples(index=False), last.itertuples(index=False), strict=True):
        if tail.no_stop:
            continue
        around = circles.get(tail.contig, 1 << 62)
        begin = (head.end if head.strand == "-" else head.start) % around
        stop = (tail.contig, tail.strand, (tail.start if tail.strand == "-" else tail.end) % around)
        low, high = min(head.start, tail.start), max(head.end, tail.end)
        lines.append((*stop[:2], low, high, tail.total, stop, None if head.no_start else (*stop, begin)))
    return pd.DataFrame(lines, columns=["contig", "strand", "low", "high", "length", "stop", "whole"])


def on_pseudogenes(cds: pd.DataFrame, reference: Features) -> list[bool]:
    """Which CDS overlap a pseudogene of the reference on its strand."""
    table = reference.table
    dead = table["type"].str.contains("pseudogene").to_numpy(bool)
    for key in ("pseudo", "pseudogene"):
        dead |= np.array([bool(v) and v[0].lower() not in ("false", "0", "no") for v in values_of(table, key)], bool)
    for key in ("biotype", "gene_biotype"):
        dead |= np.array([any(re.search("pseudogene", text) for text in v) for v in values_of(table, key)], bool)
    places = {key: part[["start", "end"]].to_numpy() for key, part in table[dead].groupby(["contig", "strand"])}
    none = np.empty((0, 2), np.int64)
    return [
        bool(np.any((places.get((c, d), none)[:, 0] < high) & (places.get((c, d), none)[:, 1] > low)))
        for c, d, low, high in cds[["contig", "strand", "low", "high"]].to_numpy()
    ]


def _compare_cds(mine: pd.DataFrame, told: pd.DataFrame, counted: str) -> list[Place]:
    lines = []
    for column, match in (("stop", "stop"), ("whole", "start and stop")):
        ours, theirs = set(mine[column].dropna()), set(told[column].dropna())
        lines.append(("CDS", match, counted, len(theirs), len(ours), len(ours & theirs)))
    return lines


def _on(features: Features, contigs: set[str]) -> Features:
    table = features.table
    return features.with_table(table[table["contig"].isin(contigs)].reset_index(drop=True))
