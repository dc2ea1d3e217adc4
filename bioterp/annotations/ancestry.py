"""Principal components of genotypes: where people come from, as numbers to adjust for.

The method is that of Patterson, Price & Reich (2006), with the pruning of neighbours that is usual before it: SNVs with
two alleles, frequent enough, called in nearly all; of neighbours in linkage one; each centred and divided by √(2p(1 −
p)); a missing call at the mean. The (people, people) product is summed over variants as they are read, and its
eigenvectors are exact.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.linalg

from bioterp import limits
from bioterp.arrays import Array
from bioterp.doors import text_lines
from bioterp.errors import InputError, masked, one_line
from bioterp.genotypes import MISSING, VCF, Record
from bioterp.progress import say, track
from bioterp.sequence import plain_name

BATCH = 1_024  # variants of a product
MOST_PEOPLE = 30_000  # (people, people) float64 is 7 GB then


def genotype_pcs(
    vcfs: str | Path | Sequence[str | Path],
    n: int = 10,
    *,
    target: Any = None,
    exclude: Iterable[str] = (),
    samples: Iterable[str] | None = None,
    maf: float = 0.01,
    missing: float = 0.05,
    r2: float = 0.2,
    window: int = 1_000_000,
) -> pd.DataFrame:
    """(people, n): PC1 … PCn, unit vectors, indexed by id, for `read_cohort(pcs=…)`.

    vcfs: VCF or BCF, one or many; people are those in all of them. target: the source of the study, or names of its
    contigs: components of what is studied would adjust the cause away, so a VCF with records there is refused. exclude:
    contigs to pass over. maf: the least frequency of the rarer allele. missing: the most missing calls of a variant.
    r2: a variant is left out when it is in more linkage than this with one kept within `window` bp before it.

    `attrs` tell eigenvalues, the share of variance of each, how many variants were used and why others were not. Signs
    are such that the largest entry of a component is positive. InputError for too few variants or people.
    """
    files = [VCF(one) for one in ([vcfs] if isinstance(vcfs, str | Path) else list(vcfs))]
    if not files:
        raise InputError("genotype_pcs needs a VCF; got an empty list")
    people = _people(files, samples)
    if not 1 <= n < len(people):
        raise InputError(f"n is a count of components below the number of people ({len(people)}); got {n}")
    if len(people) > MOST_PEOPLE:
        raise InputError(
            f"{len(people):,} people need a product of {8e-9 * len(people) ** 2:.0f} GB; make components with PLINK 2 "
            "(--pca approx) and read them with read_pcs"
        )
    aim, passed = _contigs(target), {plain_name(name) for name in exclude}
    product = np.zeros((len(people), len(people)))
    told: Counter[str] = Counter()
    batch: list[Array] = []
    for vcf in track(files, "genotypes", len(files)):
        place = {name: i for i, name in enumerate(vcf.samples)}
        for row in _kept(vcf, [place[name] for name in people], aim, passed, (maf, missing, r2, window), told):
            batch.append(row)
            if len(batch) == BATCH:
                _add(product, batch)
    _add(product, batch)
    if told["used"] <= n:
        reasons = ", ".join(f"{count} {why}" for why, count in told.items() if why != "used")
        raise InputError(
            f"{told['used']} variants are too few for {n} components ({reasons or 'the VCFs hold no record'})"
        )
    values, vectors = scipy.linalg.eigh(product / told["used"], subset_by_index=[len(people) - n, len(people) - 1])
    values, vectors = values[::-1], vectors[:, ::-1]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(n)])
    say(f"{told['used']:,} variants for {n} components of {len(people):,} people")
    pcs = pd.DataFrame(vectors, pd.Index(people, name="sample"), [f"PC{i + 1}" for i in range(n)])
    share = values / np.trace(product) * told["used"]
    pcs.attrs |= {"eigenvalues": values.tolist(), "variance": share.tolist(), "variants": dict(told)}
    return pcs


def _people(files: list[VCF], samples: Iterable[str] | None) -> list[str]:
    wanted = None if samples is None else {str(one) for one in samples}
    others = [set(vcf.samples) for vcf in files[1:]]
    found = [
        one for one in files[0].samples if all(one in other for other in others) and (wanted is None or one in wanted)
    ]
    if len(found) < 3:
        asked = "" if wanted is None else f" and among the {len(wanted)} asked for"
        raise InputError(f"{len(found)} people are in all {len(files)} VCFs{asked}; components need at least 3")
    return found


def _contigs(target: Any) -> set[str]:
    """Names of the contigs of a source, or as given."""
    if target is None:
        return set()
    names = getattr(target, "spaces", target)
    return {plain_name(str(name)) for name in ([names] if isinstance(names, str) else names)}


def _kept(
    vcf: VCF,
    people: list[int],
    aim: set[str],
    passed: set[str],
    rule: tuple[float, float, float, int],
    told: Counter[str],
) -> Iterator[Array]:
    """Standardised dosages (people,) float32 of the variants that are used."""
    maf, missing, r2, window = rule
    recent: deque[tuple[int, Array]] = deque()
    contig = ""
    for record in vcf.records(people):
        name = plain_name(record.contig)
        if name in passed:
            told["on excluded contigs"] += 1
            continue
        if name in aim:
            raise InputError(
                f"{vcf.path.name} has records on {record.contig!r}, which is what is studied: components from it would "
                "adjust the effect away; give contigs off the target, or exclude it"
            )
        if record.contig != contig:
            contig = record.contig
            recent.clear()
        if len(record.alts) != 1 or len(record.ref) != 1 or record.alts[0].upper() not in ("A", "C", "G", "T"):
            told["not a SNV of two alleles"] += 1
            continue
        dose = dosage(record)
        here = np.isfinite(dose)
        if here.mean() < 1 - missing or not here.any():
            told["missing too often"] += 1
            continue
        p = float(dose[here].mean()) / 2
        if min(p, 1 - p) < maf or p in (0.0, 1.0):
            told["too rare"] += 1
            continue
        row = (np.where(here, dose - 2 * p, 0) / np.sqrt(2 * p * (1 - p))).astype(np.float32)
        while recent and record.start - recent[0][0] > window:
            recent.popleft()
        unit = row / max(float(np.linalg.norm(row)), 1e-12)
        if recent and max(float(unit @ other) ** 2 for _, other in recent) > r2:
            told["in linkage with another"] += 1
            continue
        recent.append((record.start, unit))
        told["used"] += 1
        yield row


def dosage(record: Record) -> Array:
    """(people,) float64 copies of the first ALT allele on a scale of 0 to 2, NaN where a call is not whole."""
    table = np.array([
        np.nan if MISSING in one.alleles else 2 * sum(a == 1 for a in one.alleles) / len(one.alleles)
        for one in record.genotypes
    ])  # fmt: skip
    return table[record.calls]


def _add(product: Array, batch: list[Array]) -> None:
    if batch:
        z = np.stack(batch).astype(np.float64)
        product += z.T @ z
        batch.clear()


def read_pcs(path: str | Path, n: int | None = None) -> pd.DataFrame:
    """Components another tool made: a PLINK .eigenvec (1.9 without a header, or 2), or a REGENIE covariate file.

    Indexed by IID; the columns after FID and IID, in order, the first n. InputError for another layout or an id that
    comes twice.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path} of components")
    most, cells, lines = limits.most("COLUMNS"), 0, list[list[str]]()
    for number, line in text_lines(path):
        words = line.split(None, most)
        cells += len(words)
        limits.check("COLUMNS", len(words), f"{path}, line {number} has more than {most:,} columns")
        limits.check("CELLS", cells, f"{path} has {cells:,} cells by line {number}")
        lines += [words] if words else []
    if not lines or len({len(words) for words in lines}) > 1 or len(lines[0]) < 3:
        raise InputError(
            f"{path} is no table of components: it has no lines, or lines of different numbers of columns, or of "
            "fewer than three"
        )
    head = [word.lstrip("#") for word in lines[0]]
    if "IID" in head:
        names, lines = head, lines[1:]
    else:
        names = ["FID", "IID", *(f"PC{i + 1}" for i in range(len(head) - 2))]
    table = pd.DataFrame(lines, columns=names).drop(columns=["FID", "SID"], errors="ignore").set_index("IID")
    if table.index.has_duplicates:
        raise InputError(f"{path} has a person twice, {masked(table.index[table.index.duplicated()][0])}")
    if n is not None and n > table.shape[1]:
        raise InputError(f"{path} holds {table.shape[1]} components, not {n}")
    try:
        numbers = table.iloc[:, :n].replace({"NA": np.nan, "nan": np.nan, "-9": np.nan}).astype(np.float64)
    except ValueError as error:
        raise InputError(f"{path}: components are numbers ({one_line(error)})") from None
    return numbers.rename_axis("sample")
