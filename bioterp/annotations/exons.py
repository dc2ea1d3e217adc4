"""Exons of transcripts to introns, splice sites, exon edges and untranslated regions.

An intron is a gap of at least `MIN_INTRON` bp between consecutive exons of one transcript. The shortest
spliceosomal introns known are 15 nt (Stentor; 18 to 21 in nucleomorphs); shorter gaps in annotations
are programmed frameshifts (1 bp in yeast Ty and in E. coli prfB) or corrections of the reference's own
frameshifts (Ensembl, RefSeq: 1 to about 10 bp), where nothing is spliced. Exons with such a gap between
them count as one when edges are taken.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from bioterp.annotations.coding import by_parent
from bioterp.annotations.features import Features, values_of

MIN_INTRON = 15
EXONS = {"exon", "pseudogenic_exon", "noncoding_exon", "coding_exon"}
KEYS = ["contig", "parent", "strand"]


def blocks(features: Features, cds: pd.DataFrame) -> pd.DataFrame:
    """Exons of each transcript, gaps below MIN_INTRON closed, in coordinate order.

    A transcript without exon records (GenBank, many prokaryotic files) lends its CDS segments, marked
    `coding`: they give introns but no exon edges. Pseudogenes, ribosomal slippage and trans-splicing are
    left out there: their gaps are insertions, decay, frameshifts, or nothing at all.
    """
    exons = by_parent(features.table, EXONS)
    exons = exons[exons["parent"] != ""].assign(coding=False)
    have = set(zip(exons["contig"], exons["parent"], strict=True))
    if len(cds):
        lone = np.array([key not in have for key in zip(cds["contig"], cds["parent"], strict=True)], bool)
        for key in ("pseudo", "pseudogene", "ribosomal_slippage", "trans_splicing", "exception"):
            lone &= np.array([not v for v in values_of(cds, key)], bool)
        own = cds["contig"] + "\tCDS " + cds["group"].astype(str)
        exons = pd.concat([exons, cds.assign(parent=own, coding=True)[lone]], ignore_index=True)
    if not len(exons):
        return exons.assign(key=0)
    key = pd.factorize(pd.MultiIndex.from_frame(exons[KEYS]))[0]
    order = np.lexsort((exons["end"], exons["start"], key))
    exons, key = exons.iloc[order], key[order]
    start, end = exons["start"].to_numpy(), exons["end"].to_numpy()
    fresh = np.r_[True, (key[1:] != key[:-1]) | (start[1:] - end[:-1] >= MIN_INTRON)]
    at = np.flatnonzero(fresh)
    merged = exons.iloc[at].assign(key=key[at])
    return merged.assign(end=np.maximum.reduceat(end, at)).reset_index(drop=True)


def introns(exons: pd.DataFrame) -> pd.DataFrame:
    """The gaps between consecutive blocks of a transcript."""
    if not len(exons):
        return exons
    key = exons["key"].to_numpy()
    at = np.flatnonzero((key[1:] == key[:-1]) & (exons["start"].to_numpy()[1:] > exons["end"].to_numpy()[:-1]))
    left = exons.iloc[at]
    return left.assign(start=left["end"], end=exons["start"].to_numpy()[at + 1])


def splice_sites(gaps: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(donor, acceptor): the last exonic base before each intron and the first after it, in transcript direction."""
    gaps = gaps[gaps["strand"].isin(["+", "-"])]
    left, right = (
        gaps.assign(start=gaps["start"] - 1, end=gaps["start"]),
        gaps.assign(start=gaps["end"], end=gaps["end"] + 1),
    )
    plus = gaps["strand"] == "+"
    return pd.concat([left[plus], right[~plus]]), pd.concat([right[plus], left[~plus]])


def edges(exons: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(exon_start, exon_end): first and last base of each exon in transcript direction."""
    exons = exons[exons["strand"].isin(["+", "-"]) & ~exons["coding"].astype(bool)] if len(exons) else exons
    low, high = exons.assign(end=exons["start"] + 1), exons.assign(start=exons["end"] - 1)
    plus = exons["strand"] == "+"
    return pd.concat([low[plus], high[~plus]]), pd.concat([high[plus], low[~plus]])


def untranslated(features: Features, cds: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Exon minus CDS of each coding transcript with exons; a transcript without these keeps the file's records."""
    names = ("five_prime_UTR", "three_prime_UTR")
    written = by_parent(features.table, set(names))
    exons = by_parent(features.table, EXONS)
    hull = cds[cds["parent"] != ""].groupby(KEYS, as_index=False).agg(low=("start", "min"), high=("end", "max"))
    joined = exons[exons["parent"] != ""].merge(hull, on=KEYS)
    joined = joined[joined["strand"].isin(["+", "-"])]
    low = joined.assign(end=np.minimum(joined["end"], joined["low"]))
    high = joined.assign(start=np.maximum(joined["start"], joined["high"]))
    plus = joined["strand"] == "+"
    derived = [pd.concat([low[plus], high[~plus]]), pd.concat([high[plus], low[~plus]])]
    done = set(zip(joined["contig"], joined["parent"], strict=True))
    left = np.array([key not in done for key in zip(written["contig"], written["parent"], strict=True)], bool)
    found = {}
    for name, made in zip(names, derived, strict=True):
        kept = written[(written["type"] == name) & left]
        found[name] = pd.concat([made[made["end"] > made["start"]], kept], ignore_index=True)
    return found
