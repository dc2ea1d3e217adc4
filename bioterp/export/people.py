"""People × features for the tools of cohorts: PLINK and REGENIE files, a BIDS phenotype table, AnnData."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.export import stems
from bioterp.export.bids import label
from bioterp.export.var import best_rows
from bioterp.field import Field
from bioterp.store import provenance, writing_file

MISSING = "NA"
FORMATS = ("phenotypes", "bids", "h5ad")


def write_people(
    people: Field,
    columns: Sequence[int],
    out: Path,
    format: str,
    sheet: pd.DataFrame | None,
    table: pd.DataFrame | None,
) -> list[Path]:
    """One of FORMATS, as `export` asks for it; the sheet is brought into the people's order."""
    if people.rows.ndim != 0:
        raise InputError(f"{format!r} is of people: pool the codes to one row per person first (bioterp.pool)")
    if format not in FORMATS:
        raise InputError(f"people have no lattice, so no {format!r} can be written; wanted {', '.join(FORMATS)}")
    lines = None
    if sheet is not None:
        at = pd.Index(sheet.index.astype(str)).get_indexer(people.rows.items["item"].astype(str))
        if (at < 0).any():
            raise InputError(
                f"{int((at < 0).sum())} of {len(at)} people are not in the sheet; add them, or leave them out"
            )
        lines = sheet.iloc[at]
    if format == "phenotypes":
        return write_phenotypes(people, columns, out, lines)
    if format == "bids":
        return write_bids(people, columns, out, table)
    file = out if out.suffix == ".h5ad" else out / "people.h5ad"
    data = people_anndata(people, columns, lines, table)
    with writing_file(file) as beside:
        data.write_h5ad(beside)
    return [file]


def write_phenotypes(people: Field, columns: Sequence[int], out: Path, sheet: pd.DataFrame | None = None) -> list[Path]:
    """`features.pheno` (a phenotype per feature) and, with a sheet, `covariates.txt`, for PLINK 2 and REGENIE.

    Both read a header `FID IID …` and NA for missing (PLINK 2.0 manual, --pheno; REGENIE manual, --phenoFile). FID is
    the block where that is a family, i.e. holds several people, else the person. A feature that is the same for all is
    left out: REGENIE stops at it. sheet: lines in the people's order.
    """
    ids = _ids(people)
    x = _values(people, columns)
    names = np.array(stems(people, columns))
    varies = np.array([len(np.unique(column[np.isfinite(column)])) > 1 for column in x.T], bool)
    if not varies.any():
        raise InputError("no feature differs between people: there is no phenotype to write")
    frame = pd.DataFrame(x[:, varies], columns=list(names[varies]))
    files = [_table(pd.concat([ids, frame], axis=1), out / "features.pheno")]
    if sheet is not None:
        files.append(_table(pd.concat([ids, _coded(sheet.reset_index(drop=True))], axis=1), out / "covariates.txt"))
    return files


def write_bids(people: Field, columns: Sequence[int], out: Path, table: pd.DataFrame | None = None) -> list[Path]:
    """`phenotype/bioterp.tsv` with `participant_id`, and its data dictionary (BIDS: "Phenotypic data")."""
    who = people.rows.items["item"].astype(str)
    names = [f"sub-{label(one.removeprefix('sub-'))}" for one in who]
    if len(set(names)) < len(names):
        raise InputError("two people have the same BIDS label (letters and digits of their names); rename one")
    keys = stems(people, columns)
    frame = pd.DataFrame(_values(people, columns), columns=keys)
    frame.insert(0, "participant_id", names)
    known = None if table is None else best_rows(people, table).set_index("feature")
    key = next((name for name in ("verdict", "term") if known is not None and name in known), None)
    said = {} if known is None or key is None else (f"{key}: " + known[key].astype(str)).to_dict()
    about: dict[str, Any] = {
        "MeasurementToolMetadata": {
            "Description": f"bioterp: {_pool(people)} of features of {_source(people)} per person"
        }
    }
    for key, column in zip(keys, columns, strict=True):
        meant = f"; {said[column]}" if isinstance(said.get(column), str) else ""
        about[key] = {"Description": f"feature {column}{meant}", "Units": "raw code units"}
    file = out / "phenotype" / "bioterp.tsv"
    with writing_file(file) as beside:
        frame.to_csv(beside, sep="\t", index=False, na_rep="n/a")
    with writing_file(file.with_suffix(".json")) as beside:
        beside.write_text(json.dumps(about, indent=1))
    return [file, file.with_suffix(".json")]


def people_anndata(
    people: Field,
    columns: Sequence[int],
    sheet: pd.DataFrame | None = None,
    table: pd.DataFrame | None = None,
    tables: Mapping[str, pd.DataFrame] | None = None,
) -> Any:
    """AnnData of people (obs: the sheet, text as categories) × features (var: what a table says); tables go to uns."""
    import anndata

    var = people.columns.iloc[list(columns)].reset_index(drop=True).assign(feature=np.asarray(columns, np.int32))
    if table is not None:
        var = var.merge(best_rows(people, table), on="feature", how="left", suffixes=("_column", ""))
    var.index = pd.Index(stems(people, columns))
    obs = people.rows.items[["sample", "block", "split"]].astype(str).reset_index(drop=True)
    if sheet is not None:
        lines = sheet.reset_index(drop=True)
        obs = pd.concat([obs, lines[[c for c in lines.columns if c not in obs.columns]]], axis=1)
    obs.index = pd.Index(people.rows.items["item"].astype(str).to_numpy())
    data = anndata.AnnData(
        scipy.sparse.csr_matrix(_values(people, columns)), obs=_held(obs, True), var=_held(var, False)
    )
    data.uns["bioterp"] = {
        "X": f"{_pool(people)} per person",
        "rows": people.rows.id,
        "about": json.dumps(people.about, default=str),
        "made_by": json.dumps(provenance()),
    }
    for name, one in (tables or {}).items():
        plain = _held(one.reset_index(drop=True), False)
        plain.index = plain.index.astype(str)
        data.uns[name] = plain
    return data


def _ids(people: Field) -> pd.DataFrame:
    """FID and IID; blanks would shift every column of the files."""
    items = people.rows.items
    iid, block = items["item"].astype(str), items["block"].astype(str)
    family = block.where(block.map(block.value_counts()) > 1, iid)
    ids = pd.DataFrame({"FID": family.to_numpy(), "IID": iid.to_numpy()})
    for name in ("FID", "IID"):
        bad = ids[name][ids[name].str.contains(r"\s") | (ids[name] == "") | (ids[name] == "0")]
        if len(bad):
            raise InputError(f"PLINK takes no {name} {bad.iloc[0]!r}: names without blanks, and not 0, are wanted")
    return ids


def _values(people: Field, columns: Sequence[int]) -> Array:
    values = people.values
    kept = values[:, list(columns)]
    return np.asarray(kept.toarray() if hasattr(kept, "toarray") else kept, np.float32)


def _coded(lines: pd.DataFrame) -> pd.DataFrame:
    """Text without blanks, so that a name stays one column."""
    made = {}
    for name in lines.columns:
        column = lines[name]
        if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            text = column.astype(object).where(column.notna(), MISSING).astype(str).str.strip()
            column = text.str.replace(r"\s+", "_", regex=True).replace("", MISSING)
        made["_".join(str(name).split())] = column.to_numpy()
    return pd.DataFrame(made)


def _table(frame: pd.DataFrame, file: Path) -> Path:
    with writing_file(file) as beside:
        frame.to_csv(beside, sep="\t", index=False, na_rep=MISSING, float_format="%.9g")
    return file


def _held(frame: pd.DataFrame, categories: bool) -> pd.DataFrame:
    """Columns HDF5 can hold; text as categories where asked, as scanpy's groups must be."""
    made = {}
    for name in frame.columns:
        column = frame[name]
        if column.dtype.kind == "O" or isinstance(column.dtype, pd.StringDtype):
            column = column.where(column.notna(), "").astype(str).astype("category" if categories else object)
        made[str(name).replace("/", "_")] = column
    return pd.DataFrame(made, index=frame.index)


def _pool(people: Field) -> str:
    return " and ".join(people.about.get("pooled") or ["value"])


def _source(people: Field) -> str:
    return " ".join(str(people.about[key]) for key in ("dictionary", "layer") if people.about.get(key)) or "a model"
