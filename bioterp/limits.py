"""How much a file may ask of this machine before it is refused: every cap, its reason, and how to raise it.

Files come from strangers. A header can claim terabytes, a gzip file unpack to a thousand times its size, a line never
end. Each cap lies well above what real files hold; who has a larger one says so in the environment:

    BIOTERP_MAX_VOXELS=4G bioterp run run.yaml          (K, M and G are thousands, millions, billions)

`more(name, what)` is the error of a file that asks for more. docs/security.md lists the caps.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from bioterp.errors import InputError

PREFIX = "BIOTERP_MAX_"
TRUST = "BIOTERP_TRUST_REMOTE_CODE"  # 1 where the user lets run files name code to run; --trust-remote-code sets it
TIMES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True)
class Limit:
    """most: how many are read. of: of what. why: what real files hold, and what more would cost."""

    most: int
    of: str
    why: str


LIMITS = {
    "LINE": Limit(16 << 20, "bytes in a line", "annotation lines have kilobytes; each is held whole"),
    "CALLS": Limit(256 << 20, "bytes in a line of genotypes", "a million people with depths have 30 MB"),
    "PEOPLE": Limit(5_000_000, "columns of a VCF", "the largest cohorts have a million people"),
    "ATTRIBUTES": Limit(20_000, "attributes and values on a line", "records of NCBI and Ensembl have tens"),
    "RECORDS": Limit(20_000_000, "annotation records", "GENCODE has 3.4 million; each takes about 1 kB of memory"),
    "CONTIGS": Limit(5_000_000, "sequences in a file", "each takes about 0.5 kB of memory"),
    "EXPANDED": Limit(256 << 20, "bytes out of a small gzip file", "below this the ratio is not looked at"),
    "RATIO": Limit(200, "bytes out of each byte of a gzip file", "sequences give 4, annotation 30, genotypes 100"),
    "TABLE": Limit(1 << 30, "bytes in a table", "a sheet of half a million people has 0.2 GB; it is held whole"),
    "COLUMNS": Limit(50_000, "columns of a table", "biobank sheets have 30,000; each costs about 2 kB"),
    "CELLS": Limit(100_000_000, "cells of a table", "each takes 8 bytes and more, whatever is in it"),
    "SETTINGS": Limit(64 << 20, "bytes of JSON", "the index of the largest model has 10 MB; it is held whole"),
    "RUNFILE": Limit(256 << 10, "bytes of YAML", "run files have kilobytes"),
    "NODES": Limit(100_000, "values in YAML, aliases written out", "run files have hundreds"),
    "NAMES": Limit(16 << 20, "bytes of a label table", "tables of a thousand regions have 100 kB"),
    "VOXELS": Limit(1 << 29, "voxels of an image", "a whole-body CT has 0.3 billion; each takes 4 bytes, 4 times over"),
    "TENSORS": Limit(32 << 20, "bytes of a safetensors header", "a hundred thousand tensors take 10 MB"),
    "UNPACKED": Limit(4, "bytes out of each byte of a torch checkpoint", "torch.save does not compress"),
}


def most(name: str) -> int:
    """The cap of that name, from the environment or from here. InputError where the environment says no number."""
    told = os.environ.get(PREFIX + name)
    if told is None:
        return LIMITS[name].most
    match = re.fullmatch(r"\s*(\d{1,15})\s*([KMGT]?)B?\s*", told, re.IGNORECASE | re.ASCII)
    if not match:
        raise InputError(f"{PREFIX}{name} is a number such as 500M; got {told[:40]!r}")
    return int(match[1]) * TIMES[match[2].upper()]


def more(name: str, what: str) -> InputError:
    """The error for a file that asks for more: what came, how much is read, why, and how to raise it."""
    limit = LIMITS[name]
    return InputError(
        f"{what}; at most {most(name):,} {limit.of} are read ({limit.why}): if the file is right, set {PREFIX}{name}"
    )


def check(name: str, value: int, what: str) -> None:
    """InputError where the value is above the cap. what: the file, and what it says or holds."""
    if value > most(name):
        raise more(name, what)


def twice(names: Iterable[Hashable]) -> Any:
    """The first name that comes again, None where none does; in one pass, for a file may have millions."""
    seen: set[Hashable] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
