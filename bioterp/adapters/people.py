"""Who is in a cohort: ids, blocks and splits of people, from a VCF's columns and a sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from bioterp.errors import InputError, masked
from bioterp.imaging.sheet import read_table
from bioterp.rows import SPLITS, split_of

IDS = ("sample", "person", "subject", "id", "IID")
BLOCKS = ("block", "family", "FID")

Samples: TypeAlias = str | Path | pd.DataFrame | Sequence[str] | None


def read_people(samples: Samples, known: Sequence[str], seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The people to read, and those who are in one file only (sample, reason).

    samples: a sheet (TSV, CSV or DataFrame with a column sample; block or family says who may not be divided; split,
    where given, is kept), a list of ids, or None: all of the VCF. known: the VCF's ids. Gives item, sample, block,
    split and the sheet's other columns, a line per person in the VCF's order. The split is drawn by block.

    InputError for an id that comes twice, a block in several splits, and where no id is in both.
    """
    table, title = _table(samples, known)
    key = next((name for name in IDS if name in table.columns), None)
    if key is None:
        raise InputError(f"{title} has no column {', '.join(IDS[:-1])} or {IDS[-1]} of people's ids")
    ids = table[key].astype(str).str.strip()
    twice = ids[ids.duplicated()]
    if len(twice):
        raise InputError(
            f"{title} has two lines for one person (line {int(ids.duplicated().argmax()) + 2}; {len(twice)} such in "
            "all); wanted one per person"
        )
    told = set(ids)
    both = [one for one in known if one in told]
    if not both:  # forms of names: a person's id does not go into messages
        raise InputError(
            f"{title} and the VCF have no person in common: names such as {', '.join(map(masked, ids[:3]))} against "
            f"{', '.join(map(masked, list(known)[:3]))} (a for letters, 9 for digits)"
        )
    here = set(both)
    absent = [(one, f"not in the VCF, only in {title}") for one in ids if one not in here]
    absent += (
        [(one, f"not in {title}, only in the VCF") for one in known if one not in here] if samples is not None else []
    )
    sheet = table.assign(**{key: ids}).set_index(key).loc[both].reset_index()
    block = next((sheet[name] for name in BLOCKS if name in sheet.columns), sheet[key])
    block = block.where(block.notna() & (block.astype(str) != ""), sheet[key]).astype(str)
    drawn = block.map(lambda name: split_of(name, seed))
    split = sheet["split"].where(sheet["split"].notna() & (sheet["split"] != ""), drawn) if "split" in sheet else drawn
    wrong = split[~split.isin(SPLITS)]
    if len(wrong):
        raise InputError(f"{title}: the split {wrong.iloc[0]!r} is not known; wanted {', '.join(SPLITS)}")
    spread = split.groupby(block).nunique()
    if (spread > 1).any():
        raise InputError(f"{title}: block {spread.idxmax()!r} lies in several splits; a block may be in one only")
    own = pd.DataFrame({"item": sheet[key], "sample": sheet[key], "block": block, "split": split})
    rest = sheet.drop(columns=[name for name in (key, *own.columns) if name in sheet.columns])
    return pd.concat([own, rest], axis=1), pd.DataFrame(absent, columns=["sample", "reason"])


def _table(samples: Any, known: Sequence[str]) -> tuple[pd.DataFrame, str]:
    if samples is None:
        return pd.DataFrame({"sample": list(known)}), "the VCF"
    if isinstance(samples, pd.DataFrame):
        return (
            samples if any(name in samples.columns for name in IDS) else samples.rename_axis("sample").reset_index()
        ), "the sheet"
    if isinstance(samples, str | Path):
        path = Path(samples)
        if not path.is_file():
            raise InputError(f"there is no sheet {path} (samples)")
        return read_table(path), path.name
    return pd.DataFrame({"sample": [str(one) for one in samples]}), "samples"
