"""Do a VCF and a reference speak of the same assembly? If not, the likely cause, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bioterp.arrays import Array
from bioterp.errors import InputError, nearest
from bioterp.genotypes import VCF, Record
from bioterp.sequence import MASKED, plain_name, to_codes

# Lengths that tell assemblies apart (UCSC hg19, hg38; NCBI NC_012920.1, NC_001807.4).
KNOWN = {
    249_250_621: "GRCh37 (hg19)", 243_199_373: "GRCh37 (hg19)", 198_022_430: "GRCh37 (hg19)",
    191_154_276: "GRCh37 (hg19)", 180_915_260: "GRCh37 (hg19)", 171_115_067: "GRCh37 (hg19)",
    159_138_663: "GRCh37 (hg19)", 155_270_560: "GRCh37 (hg19)", 146_364_022: "GRCh37 (hg19)",
    141_213_431: "GRCh37 (hg19)", 135_534_747: "GRCh37 (hg19)", 135_006_516: "GRCh37 (hg19)",
    133_851_895: "GRCh37 (hg19)", 115_169_878: "GRCh37 (hg19)", 107_349_540: "GRCh37 (hg19)",
    102_531_392: "GRCh37 (hg19)", 90_354_753: "GRCh37 (hg19)", 81_195_210: "GRCh37 (hg19)",
    78_077_248: "GRCh37 (hg19)", 63_025_520: "GRCh37 (hg19)", 59_128_983: "GRCh37 (hg19)",
    51_304_566: "GRCh37 (hg19)", 48_129_895: "GRCh37 (hg19)",
    248_956_422: "GRCh38 (hg38)", 242_193_529: "GRCh38 (hg38)", 198_295_559: "GRCh38 (hg38)",
    190_214_555: "GRCh38 (hg38)", 181_538_259: "GRCh38 (hg38)", 170_805_979: "GRCh38 (hg38)",
    159_345_973: "GRCh38 (hg38)", 156_040_895: "GRCh38 (hg38)", 145_138_636: "GRCh38 (hg38)",
    138_394_717: "GRCh38 (hg38)", 133_797_422: "GRCh38 (hg38)", 135_086_622: "GRCh38 (hg38)",
    133_275_309: "GRCh38 (hg38)", 114_364_328: "GRCh38 (hg38)", 107_043_718: "GRCh38 (hg38)",
    101_991_189: "GRCh38 (hg38)", 90_338_345: "GRCh38 (hg38)", 83_257_441: "GRCh38 (hg38)",
    80_373_285: "GRCh38 (hg38)", 58_617_616: "GRCh38 (hg38)", 64_444_167: "GRCh38 (hg38)",
    50_818_468: "GRCh38 (hg38)", 46_709_983: "GRCh38 (hg38)",
    16_569: "the revised Cambridge sequence (rCRS)", 16_571: "the Yoruba mtDNA of hg19 (NC_001807)",
}  # fmt: skip
SHIFTS = (-2, -1, 1, 2)
MOST_LOOKED_AT = 2_000


def name_in(vcf: VCF, contig: str, given: Mapping[str, str]) -> str | None:
    """What a VCF calls a contig of the reference: as told, by the same name, or by one that differs in custom only."""
    known = list(vcf.contigs)
    if contig in given:
        return str(given[contig])
    if contig in known or not known:  # old files name no contigs in their header
        return contig
    alike = [name for name in known if plain_name(name) == plain_name(contig)]
    return alike[0] if len(alike) == 1 else None


def no_contig_in_common(vcf: VCF, contigs: Sequence[str]) -> InputError:
    theirs = list(vcf.contigs)
    return InputError(
        f"{vcf.path.name} and the reference name no contig alike: it has {', '.join(map(repr, theirs[:4]))}, the "
        f"reference {', '.join(map(repr, contigs[:4]))}; if they are the same, say contigs={{{contigs[0]!r}: "
        f"{theirs[0]!r}}} ({nearest(contigs[0], theirs)})"
    )


def check_length(vcf: VCF, theirs: str, length: int) -> None:
    """InputError where the header gives a contig another length than the reference."""
    said = vcf.contigs.get(theirs)
    if said is None or said == length:
        return
    names = [f"{n:,} bp" + (f", {KNOWN[n]}" if n in KNOWN else "") for n in (said, length)]
    raise InputError(
        f"{vcf.path.name} is on another assembly than the reference: it says {theirs} has {names[0]}, the reference "
        f"has {names[1]}; give the reference it was called on, or lift it over"
    )


def check_mismatches(
    vcf: VCF, found: Sequence[Record], compared: int, limit: float, bases: Callable[[Record, int], Array]
) -> None:
    """InputError where too many REF alleles are not the reference's, with what would explain it.

    bases(record, shift): the reference codes under a record that is moved.
    """
    if not found or len(found) <= limit * compared:
        return
    first = found[0]
    raise InputError(
        f"{vcf.path.name}: {len(found)} of {compared} REF alleles are not the reference's (first: "
        f"{first.contig}:{first.start + 1} {first.ref[:20]}), more than {limit:.1%}: {_cause(vcf, found, bases)}"
    )


def _cause(vcf: VCF, found: Sequence[Record], bases: Callable[[Record, int], Array]) -> str:
    few = [record for record in found if len(record.ref) == 1][:MOST_LOOKED_AT]
    for shift in SHIFTS if few else ():
        if sum(_same(bases(record, shift), to_codes(record.ref)) for record in few) >= 0.9 * len(few):
            return f"its positions are {abs(shift)} too {'low' if shift > 0 else 'high'} for this reference"
    flipped = sum(_same(bases(record, 0), 3 - to_codes(record.ref)) for record in few)
    if few and flipped >= 0.9 * len(few):
        return "its alleles are those of the other strand"
    said = f" (its header says {vcf.said[0][:120]!r})" if vcf.said else ""
    return f"it was probably called on another assembly{said}; give the reference it was called on"


def _same(ours: Array, theirs: Array) -> bool:
    return bool(len(ours) == len(theirs) and (ours < MASKED).all() and (ours == theirs).all())
