"""Genotypes of a contig as edits of haplotypes: who differs from the reference, and where.

Only what differs is kept, so memory grows with variant alleles and not with people × records. A person has as many
haplotypes as most of their calls in a window say (one on mtDNA, one on a man's X, two in its pseudoautosomal ends); a
call of another number is brought to it, and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bioterp.adapters.alleles import Edit, edit_of, masked, settle
from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.genotypes import FIXED, MISSING, VCF, Genotype, Record
from bioterp.sequence import MASKED, to_codes

UNPHASED = ("refuse", "first", "mask")
UNKNOWN = ("reference", "mask")
NONE = -1


@dataclass(frozen=True)
class Rules:
    """missing: 'reference' or 'mask'. unphased: 'refuse', 'first' or 'mask'. ploidy: None = as the calls say."""

    missing: str = "reference"
    unphased: str = "refuse"
    ploidy: int | None = None


@dataclass
class Tally:
    """What was met on the way; every count is of genotypes unless it says otherwise."""

    records: int = 0
    compared: int = 0
    mismatches: list[Record] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)  # symbolic alleles by name, in carriers' alleles
    missing: int = 0
    unphased: int = 0
    mixed: int = 0  # two alleles where one haplotype is
    doubled: int = 0  # one allele where two haplotypes are
    overlapping: int = 0
    example: str = ""

    def told(self) -> dict[str, object]:
        """Plain JSON."""
        named = ("records", "missing", "unphased", "mixed", "doubled", "overlapping")
        return {
            **{name: getattr(self, name) for name in named},
            "ref_mismatches": len(self.mismatches),
            "skipped": dict(sorted(self.skipped.items())),
        }


@dataclass(frozen=True)
class Changes:
    """edits, by start; pairs (edit, haplotype), by edit; ploidy (windows, people). Haplotype 2p + h is person p's."""

    edits: list[Edit]
    edit: Array
    haplotype: Array
    ploidy: Array


def read_changes(
    vcf: VCF,
    contig: str,
    people: Sequence[int],
    spans: Sequence[tuple[int, int]],
    cores: Array,
    length: int,
    bases: Callable[[int, int], Array],
    rules: Rules,
    tally: Tally,
) -> Changes:
    """The changes of the people at these columns of a VCF on one of its contigs.

    spans: what of the contig is wanted. cores: (windows, 2) sorted disjoint. bases(lo, hi): reference codes of the
    contig, `length` long. Records whose REF is not the reference are left out and put into the tally.
    """
    edits: list[Edit] = []
    calls: list[tuple[int, Genotype, Array, tuple[int, ...], int]] = []  # window, genotype, people, edits, mask
    balance = np.zeros((len(cores) + 1, len(people)), np.int32)  # diploid less haploid calls; the last row is of all
    for record in vcf.records(people, {contig: spans}):
        tally.records += 1
        if record.end > length:
            raise InputError(
                f"{vcf.path}: {contig}:{record.start + 1} lies past the reference's end ({length:,}): another assembly"
            )
        if not _agrees(record, bases, tally):
            continue
        window = _window(cores, record.start)
        kinds = np.array([_kind(genotype, record, vcf) for genotype in record.genotypes], np.int32)
        balance[[window, -1] if window >= 0 else [-1]] += kinds[record.calls]
        own = _edits(record, edits)
        mask = NONE
        for number in np.unique(record.calls):
            genotype = record.genotypes[number]
            if not any(genotype.alleles):
                continue
            who = np.flatnonzero(record.calls == number)
            tally.skipped.update({name: len(who) for a in genotype.alleles if a > 0 and (name := _unspelt(record, a))})
            if mask == NONE and rules.missing == "mask" and MISSING in genotype.alleles:
                mask = _add(edits, masked(record.start, record.end))
            if mask == NONE and rules.unphased == "mask" and genotype.mixed:
                mask = _add(edits, masked(record.start, record.end))
            calls.append((window, genotype, who, tuple(own[max(a, 0)] for a in genotype.alleles), mask))
            if not tally.example and genotype.mixed and not genotype.phased:
                # By column: a person's id does not go into messages.
                tally.example = f"column {FIXED + people[who[0]] + 1} at {contig}:{record.start + 1}"
    ploidy = _ploidy(balance, rules.ploidy)
    edit, haplotype = _expand(calls, ploidy, rules, tally)
    if len(edit):
        stand = settle(edits, edit, haplotype)
        tally.overlapping += int((~stand).sum())
        edit, haplotype = edit[stand], haplotype[stand]
    return _sorted(edits, edit, haplotype, ploidy[:-1])


def refuse_unphased(name: str, tally: Tally, rules: Rules) -> None:
    """InputError where haplotypes are not known for sure and no rule says how to take them."""
    if rules.unphased != "refuse" or not (tally.unphased or tally.mixed):
        return
    what = (
        f"{tally.unphased:,} heterozygous genotypes without phase"
        if tally.unphased
        else f"{tally.mixed:,} genotypes of two alleles where a person has one haplotype (heteroplasmy)"
    )
    raise InputError(
        f"{name} holds {what} (such as {tally.example}), so that no haplotype is known for sure: phase them, or say "
        "unphased='first' (alleles as written) or unphased='mask' (N there)"
    )


def _agrees(record: Record, bases: Callable[[int, int], Array], tally: Tally) -> bool:
    """Whether REF is what the reference has; an N on either side agrees with all."""
    ours, theirs = bases(record.start, record.end), to_codes(record.ref)
    told = (ours < MASKED) & (theirs < MASKED)
    tally.compared += bool(told.any())
    if (ours[told] == theirs[told]).all():
        return True
    tally.mismatches.append(record)
    return False


def _window(cores: Array, at: int) -> int:
    """The window whose core holds a position; −1 where none does."""
    i = int(np.searchsorted(cores[:, 0], at, side="right")) - 1
    return i if i >= 0 and at < cores[i, 1] else -1


def _kind(genotype: Genotype, record: Record, vcf: VCF) -> int:
    """+1 for a diploid call, −1 for a haploid one, 0 for one that is missing and says nothing."""
    n = len(genotype.alleles)
    if n > 2:
        raise InputError(
            f"{vcf.path}: {record.contig}:{record.start + 1} has a genotype of {n} alleles; people have one or two"
        )
    return 0 if set(genotype.alleles) == {MISSING} else 1 if n == 2 else -1


def _unspelt(record: Record, allele: int) -> str:
    """The name of an allele whose bases are not written; '' for one that is spelt out."""
    alt = record.alts[allele - 1]
    if alt == "*":
        return "*"
    if "[" in alt or "]" in alt or alt.startswith(".") or alt.endswith("."):
        return "breakend"
    return alt if alt.startswith("<") else ""


def _edits(record: Record, edits: list[Edit]) -> list[int]:
    """Per allele, REF first, the number of its edit; NONE for what changes nothing or is not spelt out."""
    found = [NONE]
    for allele, alt in enumerate(record.alts, 1):
        made = None if _unspelt(record, allele) else edit_of(record.start, record.ref, alt)
        found.append(NONE if made is None else _add(edits, made))
    return found


def _add(edits: list[Edit], edit: Edit) -> int:
    edits.append(edit)
    return len(edits) - 1


def _ploidy(balance: Array, given: int | None) -> Array:
    """(windows + 1, people) int8: as most calls of the window say, else of the contig, else 2."""
    if given is not None:
        return np.full(balance.shape, given, np.int8)
    sign = np.where(balance != 0, np.sign(balance), np.sign(balance[-1]))
    return np.where(sign < 0, 1, 2).astype(np.int8)


def _expand(
    calls: list[tuple[int, Genotype, Array, tuple[int, ...], int]], ploidy: Array, rules: Rules, tally: Tally
) -> tuple[Array, Array]:
    """Pairs (edit, haplotype). A person with one haplotype has it in both places: a window beside it may have two."""
    pairs: list[tuple[Array, Array]] = []

    def put(people: Array, slots: tuple[int, ...], edit: int) -> None:
        for slot in slots if edit >= 0 and len(people) else ():
            pairs.append((np.full(len(people), edit, np.int32), (2 * people + slot).astype(np.int32)))

    for window, genotype, who, own, mask in calls:
        two = ploidy[window, who] == 2
        # What is missing is the reference, or N over the whole REF.
        hidden = mask if rules.missing == "mask" else NONE
        known = [hidden if a == MISSING else edit for a, edit in zip(genotype.alleles, own, strict=True)]
        first, last = known[0], known[-1]
        tally.missing += len(who) * (MISSING in genotype.alleles)
        if len(genotype.alleles) == 1 or not genotype.mixed:
            put(who, (0, 1), first)
            tally.doubled += int(two.sum()) if len(genotype.alleles) == 1 else 0
            continue
        tally.mixed += int((~two).sum())
        tally.unphased += 0 if genotype.phased else int(two.sum())
        if genotype.phased:
            put(who[two], (0,), first)
            put(who[two], (1,), last)
        unclear = who[~two] if genotype.phased else who
        if rules.unphased == "mask":
            put(unclear, (0, 1), mask)
        elif rules.unphased == "first":
            one = unclear[ploidy[window, unclear] == 1]
            both = unclear[ploidy[window, unclear] == 2]
            put(one, (0, 1), first)
            put(both, (0,), first)
            put(both, (1,), last)
    if not pairs:
        return np.zeros(0, np.int32), np.zeros(0, np.int32)
    edit, haplotype = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return edit, haplotype


def _sorted(edits: list[Edit], edit: Array, haplotype: Array, ploidy: Array) -> Changes:
    order = sorted(range(len(edits)), key=lambda i: (edits[i].start, edits[i].end))
    place = np.empty(len(edits), np.int32)
    place[order] = np.arange(len(edits))
    edit = place[edit] if len(edits) else edit
    by = np.lexsort((haplotype, edit))
    return Changes([edits[i] for i in order], edit[by].astype(np.int32), haplotype[by].astype(np.int32), ploidy)
