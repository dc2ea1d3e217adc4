"""Alleles applied to a reference: which bases a haplotype has, and where each of them lies on the reference.

An allele is an edit: reference bases [start, end) give way to other bases, after what REF and ALT share at their ends
is trimmed (first at the left as far as the last base, then at the right, so that an indel keeps the place its file
gives it). Of an edit of n reference and m other bases the first min(n, m) lie base on base; of the rest, inserted bases
are cells without width at `end`, and deleted ones a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bioterp.arrays import Array
from bioterp.sequence import MASKED, to_codes


@dataclass(frozen=True)
class Edit:
    """Reference bases [start, end), 0-based, replaced by `codes` (uint8)."""

    start: int
    end: int
    codes: Array

    def moved(self, by: int) -> Edit:
        """The same a turn further along a circle."""
        return Edit(self.start + by, self.end + by, self.codes) if by else self


def edit_of(start: int, ref: str, alt: str) -> Edit | None:
    """The edit of an ALT allele that is spelt out; None where it changes nothing."""
    ref, alt = ref.upper(), alt.upper()
    if ref == alt:
        return None
    left = 0
    while left < min(len(ref), len(alt)) and ref[left] == alt[left]:
        left += 1
    ref, alt = ref[left:], alt[left:]
    right = 0
    while right < min(len(ref), len(alt)) and ref[-1 - right] == alt[-1 - right]:
        right += 1
    begin = start + left
    return Edit(begin, begin + len(ref) - right, to_codes(alt[: len(alt) - right]))


def masked(start: int, end: int) -> Edit:
    """Bases of which nothing is known."""
    return Edit(start, end, np.full(end - start, MASKED, np.uint8))


def clash(one: Edit, other: Edit) -> bool:
    """Whether two edits cannot both be: their bases overlap, both insert at one place, or one inserts in the other."""
    if one.start == one.end and other.start == other.end:
        return one.start == other.start
    for point, span in ((one, other), (other, one)):
        if point.start == point.end:
            return span.start < point.start < span.end
    return max(one.start, other.start) < min(one.end, other.end)


def settle(edits: Sequence[Edit], edit: Array, haplotype: Array) -> Array:
    """(k,) bool: which pairs (edit, haplotype) stand where some of a haplotype clash.

    edits are in the order of their file, and the earlier one stands, as in `bcftools consensus`. So what a haplotype is
    does not hang on the window it is read in.
    """
    start = np.array([one.start for one in edits], np.int64)[edit]
    end = np.array([one.end for one in edits], np.int64)[edit]
    order = np.lexsort((end, start, haplotype))
    s, e, h = start[order], end[order], haplotype[order]
    # Sorted by start, any clash shows between neighbours too.
    same_place = (s[1:] == s[:-1]) & (s[1:] == e[1:]) & (s[:-1] == e[:-1])
    near = (h[1:] == h[:-1]) & ((s[1:] < e[:-1]) | same_place)
    stand = np.ones(len(edit), bool)
    for one in np.unique(h[1:][near]):
        mine = np.flatnonzero(haplotype == one)
        taken: list[Edit] = []
        for at in mine[np.argsort(edit[mine], kind="stable")]:
            wanted = edits[edit[at]]
            if any(clash(wanted, other) for other in taken):
                stand[at] = False
            else:
                taken.append(wanted)
    return stand


def trim(where: Array, core: tuple[int, int], most: int) -> slice:
    """Which of the cells (n, 2) to keep, so that insertions do not make an array longer than `most`.

    The core is kept whole; what is too much is taken from the outer ends of both halos, in proportion to them.
    """
    middle = where.sum(1)
    left, right = int((middle < 2 * core[0]).sum()), int((middle >= 2 * core[1]).sum())
    excess = min(max(len(where) - most, 0), left + right)
    off = round(excess * left / (left + right)) if excess else 0
    return slice(off, len(where) - (excess - off))


def spell(bases: Callable[[int, int], Array], first: int, last: int, edits: Sequence[Edit]) -> tuple[Array, Array]:
    """A haplotype between the reference coordinates first and last: codes (n,) uint8 and bounds (n, 2) int64.

    bases(lo, hi) gives reference codes; edits do not clash, and may reach past both ends. A cell is here when its
    middle is in [first, last), so that windows side by side share no base and lose none: what is inserted at `first` is
    here.
    """
    ordered = sorted(edits, key=lambda one: (one.start, one.end))
    low = min([first, *(one.start for one in ordered)])
    high = max([last, *(one.end for one in ordered)])
    reference = bases(low, high)
    codes: list[Array] = []
    bounds: list[Array] = []
    at = low

    def keep(start: int, end: int, new: Array) -> None:
        both = np.minimum(len(new), end - start)
        begin = np.r_[np.arange(start, start + both), np.full(len(new) - both, end)]
        codes.append(new)
        bounds.append(np.stack([begin, begin + (np.arange(len(new)) < both)], 1))

    for one in ordered:
        keep(at, one.start, reference[at - low : one.start - low])
        keep(one.start, one.end, one.codes)
        at = one.end
    keep(at, high, reference[at - low :])
    where = np.concatenate(bounds)
    inside = (where.sum(1) >= 2 * first) & (where.sum(1) < 2 * last)
    return np.concatenate(codes)[inside].astype(np.uint8), where[inside]
