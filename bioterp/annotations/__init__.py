"""Ground truth on given rows: `label`, `spans`, `join`, `call_genes`, `agreement` (knows no model).

    truth = label(acts.rows, "ecoli.gff.gz")                           every type and derived term, both strands
    truth = label(acts.rows, "x.vcf.gz", by="CLNSIG")                  a term per ClinVar significance
    truth = label(acts.rows, "x.gff3.gz", terms=["donor", "acceptor"], within=spans("x.gff3.gz"))
    truth = label(acts.rows, "scans.tsv", names={1: "anterior", 2: "posterior"})    masks, column `label` of the sheet
    truth = label(acts.rows, {"scan-1": "grey.nii.gz"}, density=True)  a map, as numbers
    truth = label(acts.rows, "people.tsv", columns=["sex", "site"])    what a sheet says of the items

A term is positive, negative or unknown on each row; unknown is never negative. docs: `terms.py` lists the
derived terms, `paint.py` says when a cell is positive, `coding.py` what `CDS` means in each format; of scans
`masks.py` says when a cell is positive and `label_tables.py` which tables of names are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from bioterp.field import Field
from bioterp.rows import Rows

__all__ = ["agreement", "call_genes", "join", "label", "spans"]

Source: TypeAlias = str | Path | pd.DataFrame | Mapping[str, Any]


@dataclass(frozen=True)
class Annotation:
    """What a plug-in that reads an annotation says of itself: its name, the terms it gives, the ends of its files."""

    name: str
    gives: str
    endings: tuple[str, ...]


@dataclass(frozen=True)
class Plugged:
    """A reader that was plugged in: its word, record, function (path → table) and the hash of its text."""

    name: str
    about: Annotation
    read: Callable[[Path], pd.DataFrame]
    code: str


PLUGGED: dict[str, Plugged] = {}  # ending → reader, by `bioterp.plugins`


def label(
    rows: Rows,
    source: Source,
    *,
    terms: Sequence[str] | None = None,
    types: Sequence[str] | None = None,
    attributes: Mapping[str, Any] | None = None,
    exclude: Mapping[str, Any] | None = None,
    having: str | None = None,
    by: str | None = None,
    strand: str = "separate",
    upstream: int = 50,
    within: str | Path | pd.DataFrame | Mapping[str, Any] | None = None,
    contigs: Mapping[str, str] | None = None,
    sequence: str | Path | Mapping[str, str] | None = None,
    code: int | None = None,
    name: str | None = None,
    column: str | None = None,
    names: str | Path | Mapping[Any, str] | None = None,
    density: bool = False,
    threshold: float | None = None,
    unknown: Sequence[int] = (),
    outside: str = "unknown",
    min_voxels: int = 1,
    connectivity: int = 26,
    made_by: str = "person",
    columns: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    key: str | None = None,
) -> Field:
    """Annotation on rows, as a label Field.

    Three kinds of labels, each with keywords of its own (others are refused): annotations of sequences (`types` to
    `code`), label volumes of scans (`column` to `made_by`), and columns of a sheet (`columns`, `categorical`, `key`).

    Parameters
    ----------
    rows: rows along contigs in bp, three-dimensional rows of scans in mm, or (with columns of a sheet) any. Label all
        rows of a study at once: which columns there are follows from the records on the rows' contigs or scans.
    source: of sequences a GFF3, GTF, BED3 to BED12, GenBank, VCF, BCF or bigWig file (plain or .gz, known by ending or
        content); {'+': file, '-': file} for a pair of bigWigs; the table of `call_genes`, or a DataFrame
        with contig, start, end (0-based half-open) and if it has them strand, type, id, parent, phase ….
    terms: the columns wanted, raw or derived; default all there are.
    types: raw feature types that become terms; derived terms stay where all they are made of is named
        ('CDS' gives codon positions and codons, 'exon' introns and splice sites, 'gene' upstream, intergenic).
    attributes, exclude: {attribute: value or values} to keep and to drop; children follow their parents.
        For VCF these are INFO fields, `class`, `FILTER`; {'CLNSIG': 'Pathogenic'}.
    having: only records of this type, what they are in and what else that holds: 'CDS' leaves coding
        transcripts, their exons and their genes (the splice sites of non-coding isoforms go).
    by: an attribute whose values become the types (VCF INFO field, GFF biotype, BED name).
    strand: 'separate': stranded terms give `term` on rows of their strand and `term@antisense` on the
        other (where rows of both are present); 'sense': only the first; 'ignore': on both alike.
    upstream: bp 5' of each gene that are the term `upstream`; 0 for none.
    within: where labels are known: a file, a table (contig, start, end, strand), or the keywords of
        `spans` on this source, {'exclude': {'truncated': 1}}. Elsewhere, and on the other strand of
        stranded regions, they are unknown.
    contigs: {name in the sequence: name in the annotation} where they differ.
    sequence, code: FASTA file or {contig: bases} to check codons (and REF of a VCF) with, and the NCBI genetic code
        of CDS without `transl_table` (1; 4 for Mycoplasma). Start and stop codons that are none are then left out.
    name: what the source is called in `columns`; the term of a file without types (BED, VCF, bigWig, a map).
    column: the sheet's column of label files; default 'label'.
    names: what values mean: a label table (FreeSurfer LUT, ITK-SNAP, TSV/CSV, JSON, `class_map.py#total`) or
        {1: 'anterior'}; else the table inside the file, else label_1 …. Values of one name are one term.
    density, threshold: the files are maps: density=True gives means over cells, threshold=0.5 the term `name` where
        voxels have at least that; also what a fractional DICOM SEG is taken with.
    unknown: values of voxels about which nothing is known; negative values always are.
    outside: 'unknown', or 'negative' where masks are cropped to what they show (DICOM SEG without empty frames).
    min_voxels, connectivity: components of fewer voxels are unknown, not instances; 6, 18 or 26 neighbours.
    made_by: 'person', or 'model' where labels are another model's output: then scores say agreement, not truth.
    columns, categorical, key: of a sheet the columns wanted, columns of numbers that are codes, that of sample names.

    Returns
    -------
    Field of kind 'label' on `rows`. `columns`: name, strand ('sense', 'antisense', 'both'), source,
    n_instances (of scans also made_by). Values: `Intervals`, or for bigWig, maps and measures dense numbers with NaN
    for unknown. `about['warnings']`: contigs on one side only, lengths that differ, codons or REF alleles that look
    wrong; scans without a label or with one that lies elsewhere, components smaller than a cell.

    Raises
    ------
    InputError: a file that is absent, damaged or malformed (with its line), of another assembly (features
        past a contig's end) or with other contig names (the likely fix is named), a type or term not there; values
        that are no whole numbers, no scan with a label, a keyword of another kind of labels.
    """
    given = {name: value for name, value in locals().items() if name not in ("rows", "source")}
    from bioterp.annotations import codes, labelling, options, reading
    from bioterp.annotations import contigs as spelling
    from bioterp.annotations.terms import terms_of

    sheet = columns is not None or rows.ndim == 0
    options.refuse(given, label.__kwdefaults__ or {}, rows.ndim, sheet)
    if sheet:
        from bioterp.annotations.records import label_records

        return label_records(rows, source, columns=columns, categorical=categorical, key=key, name=name)
    if rows.ndim == 3:
        return labelling.label_scans(
            rows, source, density=density, column=column or "label", names=names, terms=terms, threshold=threshold,
            unknown=unknown, outside=outside, min_voxels=min_voxels, connectivity=connectivity,
            made_by=made_by, name=name,
        )  # fmt: skip
    tracks = reading.signals(source)
    if tracks:
        from bioterp.annotations.signals import label_signal

        return label_signal(rows, tracks, contigs=contigs, name=name)
    keep = {space.name for space in rows.spaces} | {str(v) for v in (contigs or {}).values()}
    features = spelling.rename(reading.read(source, keep=keep, name=name, by=by), contigs)
    known, absent, warnings = spelling.match(features, rows.spaces)
    bases = codes.read_sequence(sequence) if sequence is not None else None
    if bases is not None and features.kind == "vcf":
        from bioterp.annotations.variants import check_reference

        warnings = warnings + check_reference(features, bases)
    table, said = terms_of(
        features, known, terms=terms, types=types, attributes=attributes, exclude=exclude,
        having=having, upstream=upstream, sequence=bases, code=code,
    )  # fmt: skip
    regions = reading.regions(within, source, contigs) if within is not None else None
    about = {"source": features.path, "format": features.kind, "warnings": warnings + said}
    title = name or Path(features.path).name
    return labelling.label_intervals(
        rows, table, known, absent, strand=strand, within=regions, source=title, about=about
    )


def spans(
    source: Source,
    *,
    having: str | None = "CDS",
    types: Sequence[str] | None = None,
    attributes: Mapping[str, Any] | None = None,
    exclude: Mapping[str, Any] | None = None,
    contigs: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Whole extents of transcripts (or other records), a table that `within=` takes.

    having: only records with a child of this type, so the default gives transcripts with CDS; None for all
    records of `types`. attributes, exclude, contigs: as in `label`. Returns contig, start, end (0-based
    half-open, bp), strand, type, id, name, one line per record. Raises InputError when nothing is left.
    """
    from bioterp.annotations.reading import spans_of

    return spans_of(source, having=having, types=types, attributes=attributes, exclude=exclude, contigs=contigs)


def join(fields: Sequence[Field]) -> Field:
    """The columns of several label Fields on the same rows, side by side.

    A name that comes twice is prefixed with its source from the second on. Intervals join with intervals,
    numbers (bigWig) with numbers. Raises AlignmentError when rows differ, InputError for a mixture.
    """
    from bioterp.annotations.labelling import join_fields

    return join_fields(fields)


def call_genes(path: str | Path, table: int | None = None, rrna: bool = True) -> pd.DataFrame:
    """CDS, ribosome binding sites (RBS) and rRNA of a bare FASTA, a table `label` takes; needs the extra 'call'.

    table: genetic code 4 or 11; None detects it. The table also holds start and stop codons, RBS motif and spacer,
    score and confidence of each CDS. Columns, rules and errors: `bioterp.annotations.call.call_genes`.
    """
    from bioterp.annotations.call import call_genes as call

    return call(path, table, rrna)


def agreement(
    called: Source, reference: Source, *, contigs: Mapping[str, str] | None = None, shortest: int = 90
) -> pd.DataFrame:
    """Sensitivity and precision of called genes against an annotation, a line per type and way of matching.

    Columns: type, match, counted, n_reference, n_called, n_shared, sensitivity, precision. What matches and what
    counts, the options and the errors: `bioterp.annotations.agree.agreement`.
    """
    from bioterp.annotations.agree import agreement as compare

    return compare(called, reference, contigs=contigs, shortest=shortest)
