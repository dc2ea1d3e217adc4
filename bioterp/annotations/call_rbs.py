"""Where the ribosome binding site lies that Prodigal names but does not place.

Prodigal gives a class of motif and a range of spacers ('GGAG/GAGG', '5-10bp'), not a coordinate. The bases before the
start codon are searched for that class within that range. One place is the binding site; two that tie are none, for
nothing says which of them Prodigal scored. Where it learnt motifs of its own (genomes that use Shine-Dalgarno sites
little, and short ones), it gives the bases and their spacer ('GGAG', '8bp').
"""

from __future__ import annotations

import re

# Prodigal's classes: pieces of AGGAGG, which pairs with the 3' end of 16S rRNA (Shine & Dalgarno 1974, doi
# 10.1073/pnas.71.4.1342), exact ones and ones with a single different base inside ('x', 'MM').
PIECES = {
    "GGA/GAG/AGG": "GGA GAG AGG",
    "3Base/5BMM": "GGA GAG AGG AG[^G]AG GG[^A]GG",
    "4Base/6BMM": "AGGA GGAG GAGG AG[^G]AGG AGG[^A]GG",
    "AGxAG": "AG[^G]AG",
    "GGxGG": "GG[^A]GG",
    "AGGAG(G)/GGAGG": "AGGAGG AGGAG GGAGG",
    "AGGA/GGAG/GAGG": "AGGA GGAG GAGG",
    "AGGA": "AGGA",
    "GGAG/GAGG": "GGAG GAGG",
    "AGxAGG/AGGxGG": "AG[^G]AGG AGG[^A]GG",
    "AGGAG/GGAGG": "AGGAG GGAGG",
    "AGGAG": "AGGAG",
    "GGAGG": "GGAGG",
    "AGGAGG": "AGGAGG",
}
REACH = 21  # bp before the start codon that hold every site: the longest spacer (15) and the longest motif (6)


def locate(upstream: str, motif: str | None, spacer: str | None) -> tuple[int, str] | None:
    """(bp between site and start codon, the site's bases), or None where there is no single place.

    upstream: at least REACH bases 5'→3' that end right before the start codon, fewer at a contig's end.
    motif, spacer: Prodigal's class and its range, or bases and their spacer. Bases without any of GGA, GAG, AGG
    ('AAT', '10bp') pair with no 16S rRNA and are no binding site that is known: None.
    """
    if not motif or not spacer:
        return None
    low, *high = (int(bound) for bound in spacer.removesuffix("bp").split("-"))
    if motif not in PIECES and not re.search("GGA|GAG|AGG", motif):
        return None
    found = set()
    for piece in PIECES.get(motif, motif).split():
        for hit in re.finditer(f"(?=({piece}))", upstream):
            start, end = hit.span(1)
            if low <= len(upstream) - end <= (high or [low])[0]:
                found.add((start, end))
    longest = {site for site in found if not any(_inside(site, other) for other in found)}
    if len(longest) != 1:
        return None
    start, end = longest.pop()
    return len(upstream) - end, upstream[start:end]


def _inside(site: tuple[int, int], other: tuple[int, int]) -> bool:
    return site != other and other[0] <= site[0] and site[1] <= other[1]
