"""Do the annotation and the rows speak of the same contigs? Names, lengths, circles."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from bioterp.annotations.features import Contig, Features
from bioterp.errors import InputError, nearest
from bioterp.grid import Space
from bioterp.sequence import plain_name


def rename(features: Features, contigs: Mapping[str, str] | None) -> Features:
    """Contigs renamed; `contigs` is {name in the sequence: name in the annotation}."""
    if not contigs:
        return features
    back = {str(theirs): str(ours) for ours, theirs in contigs.items()}
    gone = [name for name in back if name not in features.contigs]
    if gone:
        raise InputError(
            f"contigs= speaks of {gone[0]!r}, which {features.path} does not; {nearest(gone[0], features.contigs)} "
            "(wanted {name in the sequence: name in the annotation})"
        )
    table = features.table.assign(contig=features.table["contig"].map(lambda c: back.get(c, c)))
    known = {back.get(name, name): about for name, about in features.contigs.items()}
    return Features(table, known, features.kind, features.path)


def guess(features: Features, spaces: Sequence[Space]) -> dict[str, str]:
    """{name in the sequence: name in the annotation} that the names, aliases or lengths suggest."""
    found: dict[str, str] = {}
    for space in spaces:
        for name, about in features.contigs.items():
            aliases = {plain_name(a) for a in (name, *about.aliases)}
            if plain_name(space.name) in aliases or (space.length is not None and about.length == space.length):
                found[space.name] = name
                break
    if not found and len(features.contigs) == 1 and len(spaces) == 1:
        found = {spaces[0].name: next(iter(features.contigs))}
    return found


def match(features: Features, spaces: Sequence[Space]) -> tuple[dict[str, Contig], list[str], list[str]]:
    """What is known of each of the rows' contigs, those without any word in the annotation, and warnings.

    Raises InputError when the annotation speaks of none of them, or has features past a linear contig's
    end: it is then of another assembly, or coordinates are shifted.
    """
    theirs, ours = list(features.contigs), [space.name for space in spaces]
    common = set(theirs) & set(ours)
    suggestion = {k: v for k, v in guess(features, spaces).items() if k not in common}
    shown = dict(list(suggestion.items())[:3])
    hint = (
        f"; the names differ: pass contigs={shown} (in run.yaml: contigs: {json.dumps(shown)}), "
        "{name in the sequence: name in the annotation}"
        if suggestion
        else ""
    )
    if not theirs:
        raise InputError(f"{features.path} holds no record and names no contig; is it the right file?")
    if not common:
        raise InputError(f"{features.path} names none of the sequence's contigs: the annotation says {few(theirs)}, "
                         f"the sequence {few(ours)}{hint or '; are they of the same assembly?'}")  # fmt: skip
    warnings = []
    absent = [name for name in ours if name not in common]
    if absent:
        warnings.append(f"{features.path} says nothing of {few(absent)}: labels there are unknown, not negative{hint}")
    extra = [name for name in theirs if name not in common]
    if extra:
        warnings.append(f"{features.path} also annotates {few(extra)}, which the rows do not have")
    known: dict[str, Contig] = {}
    for space in spaces:
        said = features.contigs.get(space.name, Contig())
        known[space.name] = Contig(space.length or said.length, space.circular or said.circular, said.aliases)
        if space.length and said.length and space.length != said.length:
            warnings.append(f"{features.path} gives {space.name} {said.length} bp, the sequence has {space.length} bp")
    check_ends(features, known)
    return known, absent, warnings


def check_ends(features: Features, contigs: Mapping[str, Contig]) -> None:
    """Raise InputError for features past a contig's end; on a circle they may go once around."""
    table = features.table
    length = table["contig"].map({name: c.length for name, c in contigs.items() if c.length}).to_numpy(np.float64)
    circular = table["contig"].map({name: c.circular for name, c in contigs.items()}).fillna(False).to_numpy(bool)
    past = np.where(circular, (table["end"] > 2 * length) | (table["start"] >= length), table["end"] > length)
    if past.any():
        first = table[past].iloc[0]
        size = contigs[first["contig"]].length
        where = f"line {first['line']}: " if first["line"] else ""
        name = f" {first['name']!r}" if first["name"] else ""
        others = f", as do {int(past.sum()) - 1} more" if past.sum() > 1 else ""
        raise InputError(
            f"{features.path}, {where}{first['type']}{name} ends at {first['end']}, past the end of "
            f"{first['contig']!r} ({size} bp){others}: the annotation is of another "
            "assembly, or the contig is circular and neither the sequence nor the annotation says so"
        )


def few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(repr(n) for n in names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
