"""The feature table every reader gives back, its attributes and its filters.

One line per record (a split CDS is several lines that share an `id`), coordinates 0-based half-open in bp:

    contig, start, end, strand ('+', '-', '.'), type, id, parent (ids, comma-joined), name,
    phase (0, 1, 2; −1 = none), part (order in transcription; −1 = by coordinate), source, line, attributes

`attributes` is the record's own text (GFF3 `key=value;…`, GTF `key "value"; …`, VCF INFO); it is only
searched when a filter asks, because a parsed dictionary per line of a human annotation costs gigabytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd

from bioterp.errors import InputError, nearest

LONGEST = 1 << 38  # bp; a coordinate past this is a mistake, and past 2^63 no table can hold it
TEXT = {"contig": "", "strand": ".", "type": "", "id": "", "parent": "", "name": "", "source": "", "attributes": ""}
NUMBERS = {"start": 0, "end": 0, "phase": -1, "part": -1, "line": 0}
COLUMNS = (
    "contig", "start", "end", "strand", "type", "id", "parent", "name", "phase", "part", "source", "line", "attributes",
)  # fmt: skip


@dataclass(frozen=True)
class Contig:
    """What an annotation declares of a contig: length in bp, whether it is a circle, its other names."""

    length: int | None = None
    circular: bool = False
    aliases: tuple[str, ...] = ()


@dataclass
class Features:
    """A feature table, the contigs its file declares or mentions, and where it came from.

    kind: 'gff3', 'gtf', 'bed', 'genbank', 'vcf', 'table', or 'called' for the table of `call_genes`.
    """

    table: pd.DataFrame
    contigs: dict[str, Contig] = field(default_factory=dict)
    kind: str = "table"
    path: str = "the table"

    def with_table(self, table: pd.DataFrame) -> Features:
        return Features(table, self.contigs, self.kind, self.path)


def table_of(columns: Mapping[str, Any]) -> pd.DataFrame:
    """A feature table from its known columns; what is absent is filled with 'none', what is extra is kept."""
    frame = pd.DataFrame(dict(columns))
    for name, default in TEXT.items():
        frame[name] = frame[name].fillna(default).astype(str).astype(object) if name in frame else default
    for name, number in NUMBERS.items():
        frame[name] = frame[name].fillna(number).astype(np.int64) if name in frame else np.int64(number)
    return frame[[*COLUMNS, *(c for c in frame.columns if c not in COLUMNS)]]


def from_table(table: pd.DataFrame) -> Features:
    """A user's or `call_genes`' DataFrame with contig, start, end (0-based half-open) and what else it has."""
    missing = [c for c in ("contig", "start", "end") if c not in table.columns]
    if missing:
        raise InputError(f"a table of features needs the columns contig, start and end; it lacks {', '.join(missing)}")
    for column in ("start", "end"):
        numbers = pd.to_numeric(table[column], errors="coerce").astype(np.float64)
        wrong = np.flatnonzero(~(np.abs(numbers) <= LONGEST) | (numbers % 1 != 0))
        if len(wrong):
            odd = str(table[column].iloc[wrong[0]])[:40]
            raise InputError(
                f"line {wrong[0]} of the table of features has the {column} {odd}; wanted a whole number of bp "
                f"up to {LONGEST}"
            )
    frame = table_of({c: table[c].reset_index(drop=True) for c in table.columns})
    if "type" not in table.columns:
        frame["type"] = "feature"
    wrong = np.flatnonzero((frame["start"] > frame["end"]) | (frame["start"] < 0))
    if len(wrong):
        line = frame.iloc[int(wrong[0])]
        raise InputError(f"line {wrong[0]} of the table of features runs from {line['start']} to {line['end']}; "
                         "wanted 0 ≤ start ≤ end (0-based half-open)")  # fmt: skip
    odd = ~frame["strand"].isin(["+", "-", "."])
    if odd.any():
        raise InputError(
            f"strand {frame.loc[odd, 'strand'].iloc[0]!r} in the table of features; wanted '+', '-' or '.'"
        )
    contigs = {str(c): Contig() for c in frame["contig"].unique()}
    for name, length in table.attrs.get("contigs", {}).items():
        contigs[name] = Contig(int(length))
    return Features(frame, contigs, "called" if table.attrs.get("called") else "table")


def values_of(table: pd.DataFrame, key: str) -> list[list[str]]:
    """Each record's values of one attribute; [] where it has none. A flag (VCF `DB`) has the value 'true'."""
    if key in table.columns and key not in ("attributes", "parent"):
        return [[] if v is None or v != v or v == "" else [str(v)] for v in table[key].tolist()]
    name = re.escape(key)
    pattern = re.compile(rf'(?:^|;)\s*{name}(?:\s*=\s*([^;]*)|\s+"([^"]*)"|\s+([^;"]+)|\s*(?=;|$))')
    found = []
    for text in table["attributes"].tolist():
        hits: list[str] = []
        if key in text:
            for eq, quoted, bare in pattern.findall(text):
                # GFF3 escapes the commas that belong to a value, so splitting comes before decoding.
                parts = eq.split(",") if eq else [quoted or bare.strip() or "true"]
                hits.extend(unquote(p.strip().strip('"')) for p in parts)
        found.append(hits)
    return found


def first_of(table: pd.DataFrame, key: str, default: str = "") -> list[str]:
    """Each record's first value of one attribute."""
    return [values[0] if values else default for values in values_of(table, key)]


def wanted_values(wanted: Any) -> set[str]:
    """A filter's value or values as text; True and False as annotation files write them."""
    many = wanted if isinstance(wanted, Iterable) and not isinstance(wanted, str | bytes) else [wanted]
    return {str(v).lower() if isinstance(v, bool) else str(v) for v in many}


def choose(
    table: pd.DataFrame,
    attributes: Mapping[str, Any] | None = None,
    exclude: Mapping[str, Any] | None = None,
    having: str | None = None,
) -> pd.DataFrame:
    """The records that pass the attribute filters, with their parents.

    A record without the attribute takes its parent's, and its grandparent's after that: so
    `{'biotype': 'protein_coding'}` keeps the exons of such transcripts though exons carry no biotype.
    `exclude` drops a record when it or anything above it matches. A child of several parents stays for
    those that stay, and `parent` is cut to them. A file in which no record has a filter's attribute is
    an InputError, because the filter is then most likely misspelt.
    """
    for key, value in {**(attributes or {})}.items():
        table = _filter(table, key, wanted_values(value), keep=True)
    for key, value in {**(exclude or {})}.items():
        table = _filter(table, key, wanted_values(value), keep=False)
    return table if having is None else _having(table, having)


def _having(table: pd.DataFrame, type_: str) -> pd.DataFrame:
    """Records of a type, their direct parents with all children of these, and everything above."""
    if type_ not in set(table["type"]):
        raise InputError(
            f"no record is of the type {type_!r} that having= asks for; {nearest(type_, set(table['type']))}"
        )
    of_type = (table["type"] == type_).to_numpy()
    parents = [[(c, p) for p in text.split(",") if p] for c, text in zip(table["contig"], table["parent"], strict=True)]
    own = list(zip(table["contig"], table["id"], strict=True))
    near = {key for i in np.flatnonzero(of_type) for key in parents[i]}
    above, todo = set(near), set(near)
    while todo:
        todo = {key for mine, up in zip(own, parents, strict=True) if mine in todo for key in up} - above
        above |= todo
    stay = of_type | np.array([mine in above for mine in own], bool)
    stay |= np.array([not near.isdisjoint(up) for up in parents], bool)
    cut = [",".join(p for c, p in up if (c, p) in above or not near) for up in parents]
    return table.assign(parent=cut)[stay].reset_index(drop=True)


def _filter(table: pd.DataFrame, key: str, wanted: set[str], keep: bool) -> pd.DataFrame:
    if not len(table):
        return table
    own = values_of(table, key)
    if keep and not any(own):
        raise InputError(f"no record has the attribute {key!r} a filter asks for; see what the file's records carry")
    contigs, ids = table["contig"].tolist(), table["id"].tolist()
    parents = [text.split(",") if text else [] for text in table["parent"].tolist()]
    first: dict[tuple[str, str], int] = {}
    for i, (contig, name) in enumerate(zip(contigs, ids, strict=True)):
        if name:
            first.setdefault((contig, name), i)
    known: dict[int, bool | None] = {}

    def above(i: int) -> list[int]:
        return [first[contigs[i], p] for p in parents[i] if (contigs[i], p) in first]

    def verdict(top: int) -> bool | None:
        """True: matches; False: does not; None: neither it nor anything above says. Parents first, however many."""
        todo, begun = [top], set[int]()
        while todo:
            i = todo[-1]
            hit = not wanted.isdisjoint(own[i]) if own[i] else None
            asks = hit is None or (not keep and not hit)
            if i not in known:
                known[i] = None  # a record that is its own ancestor ends here
                begun.add(i)
                todo += [j for j in above(i) if j not in known] if asks else []
                if todo[-1] != i:
                    continue
            todo.pop()
            if i in begun:
                begun.discard(i)
                told = [known[j] for j in above(i)] if asks else []
                said = [v for v in told if v is not None]
                # Kept for any parent that is kept; excluded only when every parent is.
                known[i] = (any(said) if keep else len(said) == len(told) and all(said)) if said else hit
        return known[top]

    stay = np.zeros(len(table), bool)
    trimmed = table["parent"].tolist()
    for i in range(len(table)):
        stay[i] = (verdict(i) is True) if keep else (verdict(i) is not True)
        if stay[i] and len(parents[i]) > 1:
            gone = not keep
            trimmed[i] = ",".join(
                p for p in parents[i] if (contigs[i], p) not in first or verdict(first[contigs[i], p]) is not gone
            )
    return table.assign(parent=trimmed)[stay].reset_index(drop=True)
