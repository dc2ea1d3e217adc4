"""What lies in two splits at once: copied or reverse-complemented sequence, or one scan (`same_scans`).

Sequence is told by its 21-mers, each taken with its reverse complement as one. Every block keeps those whose hash
falls below a limit (FracMinHash: Irber et al. 2022; Hera, Pierce-Ward & Koslicki 2023), and the share of a block's
k-mers that another block holds too is its containment there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
import pandas as pd

from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.same_scans import same_scans
from bioterp.sequence import MASKED, reverse_complement

K = 21
MOST, LEAST = 2_000_000, 500  # hashes kept in all; in a block of middling size at least
REFUSED = 0.6  # yeast in blocks of 50 kb has 0.53, 21-mers of a copy of 98 % identity 0.65
NOTED = 0.05  # smaller containments are what any genome holds
_COLUMNS = ["block", "split", "other", "other_split", "containment", "anywhere"]


def shared_sequence(source: Any, k: int = K) -> pd.DataFrame:
    """Blocks of which NOTED or more of the k-mers lie in other splits too, on either strand; most first.

    source: `bioterp.DNA`. Columns: block, split, other and other_split (the block of another split that holds most of
    it), containment (fraction of the block's k-mers that this one holds), anywhere (fraction that any block of another
    split holds: of a copy that lies across two blocks, either holds a part).
    """
    blocks, hashes, own = _sketches(source, k)
    split = np.asarray(pd.factorize(blocks["split"])[0], np.int64)
    size, best, other, any_ = _contained(hashes, own, split)
    share = any_ / np.maximum(size, 1)
    told = np.flatnonzero((share >= NOTED) & (other >= 0))
    told = told[np.argsort(-share[told], kind="stable")]
    name, part = blocks["block"].to_numpy(object), blocks["split"].to_numpy(object)
    values = [
        name[told],
        part[told],
        name[other[told]],
        part[other[told]],
        (best / np.maximum(size, 1))[told],
        share[told],
    ]
    return pd.DataFrame(dict(zip(_COLUMNS, values, strict=True)))


def keep_together(source: Any, share: float = REFUSED) -> int:
    """Put blocks that share sequence into one split, before anything is read, and say how many were moved.

    source: `bioterp.DNA`. A block of which `share` or more of the 21-mers lie in other groups joins that which holds
    most of them, until there is none; a group goes where its first block goes. So an inverted repeat, or a gene family,
    is kept whole, and no split is refused for it. Raises InputError for other sources.
    """
    if not hasattr(source, "sequences"):
        raise InputError("together is of one genome's windows (kind: dna); people are kept together by `family`")
    blocks, hashes, own = _sketches(source, K)
    group = np.arange(len(blocks), dtype=np.int64)
    number = pd.Series(group, index=blocks["block"])
    contig = source.items.drop_duplicates("block").groupby("contig")["block"].agg(list)
    for one, two in _equal_contigs(source):  # some are too short for a k-mer
        if len(contig[one]) == len(contig[two]) == 1:
            _join(group, number[contig[one][0]], number[contig[two][0]])
    while True:
        size, _, other, anywhere = _contained(hashes, own, group)
        close = np.flatnonzero((anywhere >= share * np.maximum(size, 1)) & (other >= 0) & (size > 0))
        if not len(close):
            break
        for at in close.tolist():
            _join(group, at, int(other[at]))
    name = blocks["block"].to_numpy(object)
    first = {block: name[at] for block, at in zip(name, group, strict=True)}  # a group's number is its first block's
    splits = blocks.set_index("block")["split"]
    before = source.items["split"]
    source.items = source.items.assign(split=source.items["block"].map(first).map(splits))
    source.recipe["together"] = share
    return int(source.items["block"][source.items["split"] != before].nunique())


def _join(group: Array, one: int, two: int) -> None:
    """Two blocks' groups become one, of the smaller number."""
    low, high = sorted((int(group[one]), int(group[two])))
    group[group == high] = low


def told(source: Any, refused: float = REFUSED) -> Iterator[tuple[str, str]]:
    """('problem' | 'warning', one line) for what lies in two splits of a source at once.

    refused: the share of a block's k-mers in other splits from which on it is a problem; above 1 never.
    """
    if source.modality == "volume":
        many = source.items.groupby("subject")["split"].nunique()
        if source.blocks == "scan" and (many > 1).any():
            yield (
                "problem",
                f"splits: scans of one subject (such as {many.idxmax()}) fall into several; give blocks: subject, or "
                "mend the sheet's column subject if they are of different people",
            )
        for one, other in same_scans(source):
            yield "problem", f"splits: {one} and {other} are one scan in two splits; take one of them from the sheet"
        return
    source = getattr(source, "dna", source)  # of people's sequences the reference they are laid on
    if not hasattr(source, "sequences"):
        yield (
            "warning",
            "splits: this source is not looked through for sequence in two splits; its blocks are its own affair",
        )
        return
    for one, other in same_contigs(source) if refused <= 1 and "together" not in source.recipe else ():
        yield (
            "problem",
            f"splits: contigs {one} and {other} are the same sequence, or each other's reverse complement, in several "
            "splits; leave one out (source.contigs), or keep copies in one split (source.together: true)",
        )
    found = shared_sequence(source)
    for refuse in (True, False):
        some = found[(found["anywhere"] >= refused) == refuse]
        if not len(some):
            continue
        top, many = some.iloc[0], len(some)
        line = (
            f"splits: {many} block{'s' * (many > 1)} share{'s' * (many == 1)} sequence with other splits: of "
            f"{top['block']} ({top['split']}) {top['anywhere']:.0%} of the {K}-mers, {top['containment']:.0%} in "
            f"{top['other']} ({top['other_split']}) alone"
        )
        if refuse:
            line += (
                f"; {refused:.0%} is refused: keep such blocks in one split (source.together: true), give larger "
                "blocks (source.blocks), leave copies out (source.regions), or accept them (source.duplicates: 2)"
            )
        yield ("problem" if refuse else "warning"), line


def _sketches(source: Any, k: int) -> tuple[pd.DataFrame, Array, Array]:
    """Blocks (block, split), hashes that are kept of their sequence, and the number of the block each is of."""
    blocks, pieces = _pieces(source.items)
    total = int((pieces["end"] - pieces["start"]).sum())
    middling = float((pieces["end"] - pieces["start"]).groupby(pieces["block"]).sum().median())
    share_kept = min(1.0, max(MOST / max(total, 1), LEAST / max(middling, 1)))
    limit: Any = np.uint64(min(int(share_kept * 2**64), 2**64 - 1))
    kept, owner = [], []
    for piece in pieces.itertuples():
        codes = source.sequences.read(piece.contig, int(piece.start), int(piece.end))
        found = np.unique(sketch(np.ascontiguousarray(codes), k, limit))
        kept.append(found)
        owner.append(np.full(len(found), piece.number, np.int32))
    return blocks, np.concatenate([np.zeros(0, np.uint64), *kept]), np.concatenate([np.zeros(0, np.int32), *owner])


def _pieces(items: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Blocks (block, split) and their stretches of sequence (number of the block, contig, start, end) of any strand."""
    spans = items[["block", "split", "contig", "start", "end"]].drop_duplicates(["block", "contig", "start", "end"])
    spans = spans.sort_values(["block", "contig", "start"], kind="stable")
    same = (spans[["block", "contig"]] == spans[["block", "contig"]].shift()).all(axis=1)
    new = ~(same & (spans["start"] == spans["end"].shift()))
    run = new.cumsum()
    held = spans.groupby(run).agg(block=("block", "first"), contig=("contig", "first"), start=("start", "first"))
    held["end"] = spans.groupby(run)["end"].last()
    blocks = spans.drop_duplicates("block")[["block", "split"]].reset_index(drop=True)
    number = pd.Series(np.arange(len(blocks)), index=blocks["block"])
    return blocks, held.assign(number=held["block"].map(number)).reset_index(drop=True)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def sketch(codes: Array, k: int, limit: int) -> Array:
    """Hashes ≤ limit of the canonical k-mers (k ≤ 31) of base codes; k-mers with a masked base have none."""
    mask = (np.uint64(1) << np.uint64(2 * k)) - np.uint64(1)
    shift = np.uint64(2 * (k - 1))
    forward, backward, whole = np.uint64(0), np.uint64(0), 0
    found, many = np.empty(max(codes.size - k + 1, 0), np.uint64), 0
    for i in range(codes.size):
        if codes[i] >= MASKED:
            whole = 0
            continue
        base = np.uint64(codes[i])
        forward = ((forward << np.uint64(2)) | base) & mask
        backward = (backward >> np.uint64(2)) | ((np.uint64(3) - base) << shift)
        whole += 1
        if whole >= k:
            h = min(forward, backward) + np.uint64(0x9E3779B97F4A7C15)
            h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            h ^= h >> np.uint64(31)
            if h <= limit:
                found[many] = h
                many += 1
    return found[:many]


def _contained(hashes: Array, own: Array, split: Array) -> tuple[Array, Array, Array, Array]:
    """Of each block: distinct hashes, most of them in one block of another split, which (−1: none), and in any."""
    blocks = len(split)
    order = np.lexsort((own, hashes))
    hashes, own = hashes[order], own[order]
    keep = np.append(True, (hashes[1:] != hashes[:-1]) | (own[1:] != own[:-1])) if len(own) else np.zeros(0, bool)
    hashes, own = hashes[keep], own[keep]
    new = np.append(True, hashes[1:] != hashes[:-1]) if len(own) else np.zeros(0, bool)
    group = np.cumsum(new) - 1
    begin = np.append(np.flatnonzero(new), len(own)).astype(np.int64)
    by_block = np.argsort(own, kind="stable")
    ends = np.searchsorted(own[by_block], np.arange(blocks + 1))
    best, other, any_ = np.zeros(blocks, np.int64), np.full(blocks, -1, np.int64), np.zeros(blocks, np.int64)
    _partners(own, group.astype(np.int64), begin, by_block, ends, split, best, other, any_)
    return np.diff(ends), best, other, any_


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _partners(
    own: Array,
    group: Array,
    begin: Array,
    by_block: Array,
    ends: Array,
    split: Array,
    best: Array,
    other: Array,
    any_: Array,
) -> None:
    """Counts, block by block, the hashes it shares with every block of another split."""
    blocks = split.size
    count, touched = np.zeros(blocks, np.int64), np.empty(blocks, np.int64)
    for b in range(blocks):
        many = 0
        for at in range(ends[b], ends[b + 1]):
            g, met = group[by_block[at]], False
            for j in range(begin[g], begin[g + 1]):
                o = own[j]
                if split[o] != split[b]:
                    if count[o] == 0:
                        touched[many] = o
                        many += 1
                    count[o] += 1
                    met = True
            any_[b] += met
        for t in range(many):
            o = touched[t]
            if count[o] > best[b]:
                best[b], other[b] = count[o], o
            count[o] = 0


def same_contigs(source: Any) -> Iterator[tuple[str, str]]:
    """Pairs of contigs of one sequence, or of each other's reverse complement, whose blocks lie in several splits."""
    splits = source.items.groupby("contig")["split"].agg(set)
    for one, other in _equal_contigs(source):
        if len(splits[one] | splits[other]) > 1:
            yield one, other


def _equal_contigs(source: Any) -> Iterator[tuple[str, str]]:
    """Each contig that is read, and the first of its sequence or of the reverse complement."""
    read = set(source.items["contig"])
    seen: dict[bytes, str] = {}
    for name, contig in source.contigs.items():
        if name not in read:
            continue
        codes = np.asarray(source.sequences.read(name, 0, contig.length))
        if (codes == MASKED).all():
            continue
        both = [hashlib.blake2b(one.tobytes(), digest_size=16).digest() for one in (codes, reverse_complement(codes))]
        first = seen.setdefault(min(both), name)
        if first != name:
            yield first, name
