"""`report.html`: what was run, what the features mean, and how sure we are, on one page.

The file stands alone: styles inline, pictures as data: URIs, no scripts, no links out; every text is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bioterp.arrays import Array
from bioterp.errors import InputError, nearest
from bioterp.field import Field
from bioterp.grid import Grid
from bioterp.report.words import Words
from bioterp.store import provenance, writing_file

MOST_SENTENCES = 12
MOST_PROFILES = 6
MOST_TRACKS = 8
REACH = 100
# Scan id → (c, x, y, z) array as the model was shown it, and the Grid of its voxels.
Images = Callable[[str], tuple[Array, Grid]]


@dataclass(frozen=True)
class Findings:
    """What every section reads; `best` is one line per term and representation, `mine` the subject's."""

    tables: Mapping[str, pd.DataFrame]
    codes: Field | None
    truth: Field | None
    about: Mapping[str, Any]
    detection: pd.DataFrame
    best: pd.DataFrame
    mine: pd.DataFrame
    words: Words
    images: Images | None = None


def report(
    out: str | Path,
    *,
    tables: Mapping[str, pd.DataFrame],
    codes: Field | None = None,
    truth: Field | None = None,
    sequence_name: str | None = None,
    about: Mapping[str, Any] | None = None,
    locus: str | tuple[str, int, int] | None = None,
    images: Images | None = None,
) -> Path:
    """Write `report.html` and return its path; whatever is missing is said in the text instead.

    Parameters
    ----------
    out: a folder (the file is `report.html` in it) or a name ending in .html.
    tables: results by name; `detection`, `layers`, `comparison`, `headline`, `adjusted`, `correlation`, `features`,
        `readout`, `candidates`, `dictionaries`, `stability`, `probing`, `probe_comparison`, `discoveries`, `loci` and
        `motifs` are shown. Baselines are further representations of `detection`; without `comparison` they are compared
        by its scores alone.
    codes, truth: codes and labels on the same rows, for the pictures along the sequence or in the scans. Labels whose
        `about` says made_by = 'model' (or a column `made_by` of theirs, term by term) are spoken of as agreement.
    sequence_name: what was read, for the title.
    about: what was run: model, layer, dictionary, rows, splits, seeds, versions …; `quality` holds FVU, L0
        and dead share, as one record, a list of records, or {name: record}.
    locus: 'contig:start-end' (0-based, half-open) or (contig, start, end) to picture; None = chosen.
    images: for scans, a function that gives a scan id's array (c, x, y, z), as the model was shown it, and the Grid of
        its voxels (`Scans.volume`); it is asked for a few scans, each once. Without it there are no pictures of scans.

    Raises
    ------
    InputError: a locus that cannot be read or lies on no contig of the codes, or is asked of scans.
    AlignmentError: codes and truth are not on the same rows.
    """
    from bioterp.report import (
        adjustment,
        batches,
        carrying,
        claims,
        cohort,
        known,
        page,
        probes,
        sections,
        signals,
        versus,
    )
    from bioterp.report.best import best_per_term, subject_of, terms_of

    if codes is not None and truth is not None:
        codes.check_same_rows(truth)
    place = read_locus(locus, codes)
    detection = tables.get("detection", pd.DataFrame(columns=["term", "representation", "f1"]))
    best = best_per_term(detection)
    mine = best[best["representation"] == subject_of(best)]
    mine = mine.set_index("term").reindex([term for term in terms_of(best) if term in set(mine["term"])]).reset_index()
    told = dict(about or {})
    told.setdefault("versions", provenance()["versions"])
    name = sequence_name or _name_in(told)
    words = Words.of(codes, truth, told, detection)
    found = Findings(tables, codes, truth, told, detection, best, mine, words, images)
    bare = not len(detection) and len(tables.get("association", ())) > 0  # people were asked about, and no term
    title = f"What the features mean: {name}" if name else "What the features mean"
    # Where people were asked about and no term, what is said of terms is left out.
    matches = [
        sections.in_words(found),
        carrying.layers(found),
        versus.baselines(found),
        probes.probes(found),
        known.evidence(found),
        claims.claims(found),
    ]
    matches += [adjustment.adjustment(found), signals.signals(found)]
    pictures = [*_pictures(found, place), known.letters(found), known.unknown(found)]
    matches, pictures = ([], []) if bare else (matches, pictures)
    body = page.join(
        [
            page.tag("h1", title),
            page.tag("p", cohort.lead(found) if bare else sections.lead(found), class_="lead"),
            sections.what_was_run(found),
            *matches,
            batches.batches(found),
            cohort.cohort(found),
            sections.readout(found),
            *pictures,
            sections.quality(found),
            sections.how_to_read(found),
        ]
    )
    file = Path(out) if Path(out).suffix == ".html" else Path(out) / "report.html"
    with writing_file(file) as beside:
        beside.write_text(page.document(title, body), encoding="utf-8")
    return file


def _pictures(found: Findings, place: tuple[str, int, int] | None) -> list[str]:
    """Along the sequence, or through the scans."""
    if not found.words.scans:
        from bioterp.report import pictures

        return [pictures.profiles(found), pictures.locus(found, place)]
    from bioterp.report import patches, slices

    gathered = slices.gathered(found)
    return [slices.section(found, gathered), patches.section(found, gathered)]


def _name_in(about: Mapping[str, Any]) -> str:
    """What was read, where `about` tells it."""
    sequence = about.get("sequence", about.get("scans", {}))
    return str(sequence.get("file", "") if isinstance(sequence, Mapping) else sequence)


def read_locus(locus: str | tuple[str, int, int] | None, codes: Field | None) -> tuple[str, int, int] | None:
    """The place asked for, checked against the contigs of the codes."""
    if locus is None:
        return None
    try:
        if isinstance(locus, str):
            contig, _, span = locus.rpartition(":")
            first, last = (int(part.replace(",", "")) for part in span.split("-"))
        else:
            contig, first, last = str(locus[0]), int(locus[1]), int(locus[2])
    except (ValueError, TypeError, IndexError):
        wanted = "contig:start-end, e.g. NC_000913.3:1000-5000"
        raise InputError(f"the locus {locus!r} cannot be read; wanted {wanted}") from None
    if not 0 <= first < last or last - first > 200_000:
        raise InputError(f"the locus {locus!r} must be 1 to 200,000 bp long, with 0 ≤ start < end")
    if codes is not None and codes.rows.ndim == 3:
        raise InputError(f"the locus {locus!r} is a place on a sequence; these rows are scans, leave it out")
    if codes is not None and contig not in {space.name for space in codes.rows.spaces}:
        raise InputError(f"there is no contig {contig!r}; {nearest(contig, [s.name for s in codes.rows.spaces])}")
    return contig, first, last


def densities(found: Findings) -> Array | None:
    """(m,) share of cells each feature is active on: from the table of features, or counted from the codes."""
    table = found.tables.get("features")
    if table is not None and "density" in table.columns:
        if "representation" in table.columns and len(found.mine):
            table = table[table["representation"] == found.mine["representation"].iloc[0]]
        return np.asarray(table["density"], float)
    if found.codes is None or not len(found.codes):
        return None
    active = np.zeros(found.codes.shape[1])
    for _, _, block in found.codes.batches():
        active += np.asarray((block > 0).sum(axis=0)).ravel()
    return active / len(found.codes)
