"""CDS records to codon positions, start and stop codons.

`CDS` always means the coding bases *with* the stop codon, as GFF3, GenBank and BED12 have it. GTF leaves
the stop codon out and writes it as `stop_codon` records: these are joined to the CDS of their transcript.
A GTF without any `stop_codon` record is left as it is, for nobody can tell which way it was written.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from bioterp.annotations.features import Features, values_of
from bioterp.arrays import Array

GENE = re.compile(r"^(gene|pseudogene|.*_gene)$")


def is_gene(types: pd.Series) -> Array:
    """True for gene-level types: gene, pseudogene, ncRNA_gene, lincRNA_gene …"""
    known = {t: bool(GENE.match(t)) for t in types.unique()}
    return np.asarray(types.map(known).to_numpy(bool))


def by_parent(table: pd.DataFrame, types: set[str]) -> pd.DataFrame:
    """Records of these types, one line per parent ('' where there is none), `parent` split up."""
    found = table[table["type"].isin(types)].assign(at=lambda t: t.index)
    return found.assign(parent=found["parent"].str.split(",")).explode("parent").reset_index(drop=True)


def segments(features: Features) -> pd.DataFrame:
    """CDS segments in transcription order, one line per segment and transcript.

    Columns of the table, and `group` (the protein's number), `offset` (coding bases before this segment),
    `total` (of the group), `frame` (codon position 0..2 of the segment's first base in transcription
    direction), `last` (its last segment), `no_start`, `no_stop` (the group's end is not a codon).
    """
    table = features.table
    cds = by_parent(table, {"CDS"})
    if features.kind == "gtf":
        cds = with_stops(cds, by_parent(table, {"stop_codon"}))
    if not len(cds):
        return cds.assign(group=0, offset=0, total=0, frame=0, last=False, no_start=False, no_stop=False)
    # Records of a transcript are one protein whatever their ids; below a gene the id tells proteins apart.
    genes = set(zip(table.loc[is_gene(table["type"]), "contig"], table.loc[is_gene(table["type"]), "id"], strict=True))
    below_gene = [key in genes for key in zip(cds["contig"], cds["parent"], strict=True)]
    own = cds["id"].where(cds["id"] != "", "line " + cds["at"].astype(str))
    key = cds["parent"].where((cds["parent"] != "") & ~np.array(below_gene), cds["parent"] + "\t" + own)
    cds["group"] = pd.factorize(cds["contig"] + "\t" + key)[0]
    minus = (cds["strand"] == "-").to_numpy()
    # Trans-spliced: no order by coordinate, so the file's own order stands.
    mixed = cds.groupby("group")["strand"].transform("nunique").to_numpy() > 1
    order = np.where(minus, -cds["end"], cds["start"])
    order = np.where(mixed, cds["at"], order)
    order = np.where(cds["part"] >= 0, cds["part"], order)
    cds = cds.iloc[np.lexsort((order, cds["group"]))].reset_index(drop=True)
    length = (cds["end"] - cds["start"]).to_numpy()
    group = cds["group"].to_numpy()
    first = np.r_[True, group[1:] != group[:-1]]
    before = np.cumsum(length) - length
    head = np.flatnonzero(first)[np.cumsum(first) - 1]
    cds["offset"] = before - before[head]
    cds["total"] = cds.groupby("group")["end"].transform("sum") - cds.groupby("group")["start"].transform("sum")
    skip = np.maximum(cds["phase"].to_numpy()[head], 0)
    phase = np.where(cds["phase"] >= 0, cds["phase"], (skip - cds["offset"]) % 3)
    cds["frame"] = (-phase) % 3
    cds["last"] = np.r_[first[1:], True]
    open_start, open_stop = _open_ends(cds)
    cds["no_start"] = (open_start | (skip != 0))[head]
    tail = np.flatnonzero(cds["last"])[np.cumsum(first) - 1]
    # In frame at the end, by the last segment's own phase: this survives programmed frameshifts.
    broken = (length - phase) % 3 != 0
    cds["no_stop"] = (broken | open_stop)[tail] | open_stop[head]
    return cds


def with_stops(cds: pd.DataFrame, stops: pd.DataFrame) -> pd.DataFrame:
    """GTF: CDS with the stop codon's bases; an abutting piece lengthens its segment, another is its own."""
    if not len(stops) or not len(cds):
        return cds
    keys = ["contig", "strand", "parent"]
    pieces = stops.merge(cds[[*keys, "start", "end"]], on=keys, suffixes=("", "_cds"), how="inner")
    pieces["held"] = (pieces["start"] >= pieces["start_cds"]) & (pieces["end"] <= pieces["end_cds"])
    held = set(pieces.loc[pieces["held"], "at"])  # written both ways: nothing to add
    pieces = pieces[~pieces["at"].isin(held)]
    touch = ((pieces["strand"] != "-") & (pieces["start"] == pieces["end_cds"])) | (
        (pieces["strand"] == "-") & (pieces["end"] == pieces["start_cds"])
    )
    grown = pieces[touch]
    low = dict(zip(zip(grown["parent"], grown["end"], strict=True), grown["start"], strict=True))
    high = dict(zip(zip(grown["parent"], grown["start"], strict=True), grown["end"], strict=True))
    start = [
        low.get((p, s), s) if d == "-" else s
        for p, s, d in zip(cds["parent"], cds["start"], cds["strand"], strict=True)
    ]
    end = [
        high.get((p, e), e) if d != "-" else e for p, e, d in zip(cds["parent"], cds["end"], cds["strand"], strict=True)
    ]
    cds = cds.assign(start=start, end=end)
    used = held | set(grown["at"])
    coding = set(zip(cds["contig"], cds["parent"], strict=True))
    apart = [
        a not in used and k in coding
        for a, k in zip(stops["at"], zip(stops["contig"], stops["parent"], strict=True), strict=True)
    ]
    return pd.concat([cds, stops[np.array(apart, bool)].assign(type="CDS")], ignore_index=True)


def _open_ends(cds: pd.DataFrame) -> tuple[Array, Array]:
    """(start, stop) are not to be trusted: partial, truncated or pseudo records, Ensembl's NF tags."""

    def flag(key: str) -> Array:
        return np.array([bool(v) and v[0].lower() not in ("false", "0", "no") for v in values_of(cds, key)], bool)

    both = flag("truncated") | flag("pseudo") | flag("pseudogene")
    low, high = flag("start_range"), flag("end_range")
    both |= flag("partial") & ~low & ~high
    minus = (cds["strand"] == "-").to_numpy()
    tags = values_of(cds, "tag")
    start = np.array([bool({"cds_start_NF", "mRNA_start_NF"} & set(t)) for t in tags], bool)
    stop = np.array([bool({"cds_end_NF", "mRNA_end_NF"} & set(t)) for t in tags], bool)
    return both | start | np.where(minus, high, low), both | stop | np.where(minus, low, high)


def codon(cds: pd.DataFrame, which: str) -> pd.DataFrame:
    """The pieces (one, or more when an intron splits it) of each group's 'start' or 'stop' codon."""
    length = (cds["end"] - cds["start"]).to_numpy()
    offset, total = cds["offset"].to_numpy(), cds["total"].to_numpy()
    minus = (cds["strand"] == "-").to_numpy()
    if which == "start":
        size = np.where(cds["no_start"] | (total < 3), 0, np.clip(3 - offset, 0, length))
        at_start = ~minus
    else:
        size = np.where(
            cds["no_stop"] | (total < 3), 0, np.clip(offset + length - (total - 3), 0, np.minimum(length, 3))
        )
        at_start = minus
    start = np.where(at_start, cds["start"], cds["end"] - size)
    return cds.assign(start=start, end=start + size, phase=-1)[size > 0]
