"""Which scans there are: a sample sheet, a BIDS folder, or a plain folder of images or DICOM series → one table.

    scan     unique id; names the scan in every result (never taken from a patient's name or number)
    subject  who was scanned; the scan itself where nothing is said
    path     the image, absolute
    block, split, t (frame of a 4-D image), and every other column as given

A scan whose file is not there is left out with the reason and the others go on. Headers are not opened here.
"""

from __future__ import annotations

import io
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bioterp import limits
from bioterp.doors import whole
from bioterp.errors import InputError, nearest, one_line, shown

IMAGES = (".nii", ".nii.gz", ".mgz", ".mgh", ".hdr")
MISSING = ["", "n/a", "N/A", "NA", "NaN", "nan"]
TEXT = ("scan", "subject", "path", "block", "split")
SHEET = "scans.tsv"
ENTITY = re.compile(r"(?:^|_)([a-z]+)-([a-zA-Z0-9+]+)")
LONGEST = 128
# What no folder may be called somewhere: separators, and what Windows refuses or takes for a device.
NO_NAME = '/\\:<>"|?*'
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*[ .]", re.IGNORECASE)


@dataclass(frozen=True)
class Sheet:
    """frame: one row per scan. left_out: scan, path, reason. folder: where relative names in other columns start."""

    frame: Any
    left_out: Any
    folder: Path


def read_sheet(source: Any, *, suffix: str | None = None) -> Sheet:
    """The scans of a sheet (.tsv, .csv), a folder, a single image, or a DataFrame with the columns of a sheet.

    suffix: in a BIDS folder, which images to take ("T1w", "bold", …); needed where there are several kinds.
    A folder is read as: its scans.tsv if it has one, BIDS when it has sub-… folders, else its images, else its DICOM
    series. Raises InputError, in one sentence, when nothing usable is named.
    """
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        return _finish(source.copy(), Path.cwd(), "the table")
    path = Path(source).expanduser().absolute()
    if path.is_dir():
        if (path / SHEET).is_file():
            return _finish(read_table(path / SHEET), path, str(path / SHEET))
        if any(child.is_dir() for child in path.glob("sub-*")):
            from bioterp.imaging.bids import bids_folder

            frame, left = bids_folder(path, suffix)
            return _finish(frame, path, str(path), left)
        frame, left = _plain(path)
        return _finish(frame, path, str(path), left)
    if not path.exists():
        raise InputError(f"there is no sample sheet or folder {path}")
    if path.name.lower().endswith((".tsv", ".csv", ".txt")):
        return _finish(read_table(path), path.parent, str(path))
    return _finish(pd.DataFrame({"path": [str(path)]}), path.parent, str(path))


def read_table(path: Path) -> Any:
    """A table of text cells, plain or gzipped, tabs or (.csv) commas; InputError for what is none, or too large."""
    import pandas as pd

    mark = "," if path.name.lower().removesuffix(".gz").endswith(".csv") else "\t"
    try:
        text = whole(path, "TABLE").decode("utf-8-sig")
        _check_cells(path, text, mark)
        frame = pd.read_csv(
            io.StringIO(text), sep=mark, dtype=str, keep_default_na=False, skipinitialspace=True, index_col=False,
            header=None,
        )  # fmt: skip
    except InputError:
        raise
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; save it as a tab-separated UTF-8 file") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, OverflowError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} is not a readable table ({one_line(error)}); wanted a header line and one line per scan"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({one_line(error.strerror or error)})") from None
    # The header is taken as a row, because pandas silently renames a column that comes twice.
    names = [str(name).strip() for name in frame.iloc[0]]
    _once(names, str(path))
    frame = frame.iloc[1:].reset_index(drop=True)
    frame.columns = pd.Index(names)
    return frame.map(lambda cell: cell.strip() if isinstance(cell, str) else cell)


def _check_cells(path: Path, text: str, mark: str) -> None:
    """InputError for more columns, or more cells, than a table may have; counted before any is made."""
    end = text.find("\n")
    columns = text.count(mark, 0, len(text) if end < 0 else end) + 1
    limits.check("COLUMNS", columns, f"{path} has {columns:,} columns")
    cells = columns * (text.count("\n") + 1)
    limits.check("CELLS", cells, f"{path} has {columns:,} columns and so many lines that it makes {cells:,} cells")


def _finish(frame: Any, folder: Path, what: str, left: list[tuple[str, str, str]] | None = None) -> Sheet:
    """Checked and typed: ids, paths, frames; scans without a file set aside."""
    import pandas as pd

    frame = frame.reset_index(drop=True)
    frame.columns = columns = [str(name) for name in frame.columns]
    _once(columns, what)
    if "path" not in columns:
        if "image" not in columns:
            raise InputError(
                f"{what} has no column 'path' or 'image' that names the images "
                f"(its columns: {', '.join(one_line(name, 60) for name in columns[:12])}); "
                + (nearest("path", columns) if len(columns) > 1 else "add one")
            )
        frame = frame.rename(columns={"image": "path"})
    elif "image" in columns:
        raise InputError(f"{what} has both a column 'path' and a column 'image'; keep one")
    if not len(frame):
        raise InputError(f"{what} lists no scans; add one line per scan" + _some(left or []))
    for name in frame.columns:
        frame[name] = _typed(frame[name], name in TEXT)
    given = frame["path"]
    frame["path"] = [None if pd.isna(name) else Path(os.path.normpath(folder / str(name))) for name in given]
    if "scan" not in frame:
        frame.insert(
            0, "scan", [f"row {i + 1}" if path is None else _stem(path) for i, path in enumerate(frame["path"])]
        )
    _check_ids(frame, what)
    if "subject" not in frame:
        frame["subject"] = frame["scan"]
    frame["subject"] = frame["subject"].where(frame["subject"].notna(), frame["scan"])
    if "t" in frame:
        frame["t"] = _times(frame, what)
    left_out = list(left or [])
    keep = []
    for scan, path in zip(frame["scan"], frame["path"], strict=True):
        reason = _absent(path)
        keep.append(reason is None)
        if reason is not None:
            left_out.append((scan, "" if path is None else str(path), reason))
    if not any(keep):
        raise InputError(f"{what}: none of its {len(keep)} scans can be read{_some(left_out)}")
    frame = frame[keep].reset_index(drop=True)
    _check_images(frame, what)
    first = [name for name in ("scan", "subject", "path", "block", "split", "t") if name in frame]
    frame = frame[first + [name for name in frame.columns if name not in first]]
    return Sheet(frame, pd.DataFrame(left_out, columns=["scan", "path", "reason"]), folder)


def _once(names: list[str], what: str) -> None:
    twice = limits.twice(names)
    if twice is not None:
        raise InputError(f"{what} has the column {shown(twice)} twice; give each column its own name")


def _typed(column: Any, text: bool) -> Any:
    """n/a and empty cells become missing; a column of numbers becomes numbers, except where it names something."""
    import pandas as pd

    column = column.where(~column.isin(MISSING), None)
    if text:
        # An id read as a number by pandas (7.0 for 7) names the same thing as its text.
        return column.map(
            lambda v: None if pd.isna(v) else str(int(v)) if isinstance(v, float) and v == int(v) else str(v)
        )
    try:
        return pd.to_numeric(column) if column.notna().any() else column
    except (ValueError, TypeError):
        return column


def _check_ids(frame: Any, what: str) -> None:
    import pandas as pd

    for name in ("scan", "subject"):
        for value in frame.get(name, ()):
            if pd.isna(value):
                if name == "scan":
                    raise InputError(
                        f"{what} has a line without a scan id; give every scan one, or leave out the column 'scan'"
                    )
                continue
            bad = next((c for c in value if c in NO_NAME or not c.isprintable()), ".." if ".." in value else "")
            if bad or value in ("", ".") or len(value) > LONGEST or RESERVED.fullmatch(value):
                raise InputError(
                    f"{what}: the {name} id {value[:40]!r} cannot name a folder"
                    f"{f' (it has {bad!r})' if bad else ''}; use letters, digits, '-' and '_'"
                )
    twice = frame["scan"][frame["scan"].duplicated()]
    if len(twice):
        raise InputError(f"{what} names the scan {twice.iloc[0]!r} twice; give each line its own id in a column 'scan'")


def _check_images(frame: Any, what: str) -> None:
    key = ["path", "t"] if "t" in frame else ["path"]
    twice = frame[frame.duplicated(key, keep=False)]
    if len(twice):
        raise InputError(
            f"{what} lists the same image as the scans {twice['scan'].iloc[0]!r} and {twice['scan'].iloc[1]!r} "
            f"({twice['path'].iloc[0].name}); it would count twice, and could stand in two splits: keep one line"
        )


def _times(frame: Any, what: str) -> Any:
    import pandas as pd

    times = pd.to_numeric(frame["t"], errors="coerce")
    wrong = frame["t"].notna() & (times.isna() | (times < 0) | (times % 1 != 0))
    if wrong.any():
        raise InputError(
            f"{what}: column 't' holds {frame['t'][wrong].iloc[0]!r} and a frame number (0, 1, …) was wanted"
        )
    return times.astype("Int64")


def _absent(path: Path | None) -> str | None:
    if path is None:
        return "no path is given"
    try:
        if path.is_dir():
            return None
        if path.is_symlink() and not path.exists():
            return "the link's content is not here (datalad get)"
        if not path.is_file():
            return "there is no such file"
        return "the file is empty" if path.stat().st_size == 0 else None
    except (OSError, ValueError) as error:
        return f"cannot be read ({type(error).__name__})"


def _plain(folder: Path) -> tuple[Any, list[tuple[str, str, str]]]:
    """The images directly in a folder, or else the DICOM series anywhere below it."""
    import pandas as pd

    def images(where: list[Path]) -> list[Path]:
        return sorted(
            p for p in where if p.name.lower().endswith(IMAGES) and not p.name.startswith(".") and not p.is_dir()
        )

    found = images(list(folder.iterdir()))
    if found:
        return pd.DataFrame({"path": [str(path) for path in found]}), []
    from bioterp.imaging.dicom_rows import dicom_rows

    rows, left, others = dicom_rows(folder)
    if rows:
        return pd.DataFrame(rows), left
    deeper = sorted({path.parent.relative_to(folder).as_posix() for path in images(list(folder.rglob("*")))})
    hint = (
        f"its sub-folders {', '.join(deeper[:5])} do: give one of them, or a sheet" if deeper
        else f"{others}; give a folder of images or DICOM series, a BIDS folder, or a sheet"
    )  # fmt: skip
    raise InputError(f"the folder {folder} holds no image (.nii, .nii.gz, .mgz, .hdr) and no DICOM series; {hint}")


def _stem(path: Path) -> str:
    name = path.name
    for end in sorted((*IMAGES, ".img", ".img.gz", ".hdr.gz", ".dcm"), key=len, reverse=True):
        if name.lower().endswith(end) and len(name) > len(end):
            return name[: -len(end)]
    return name


def _some(left: list[tuple[str, str, str]]) -> str:
    if not left:
        return ""
    scan, path, reason = left[0]
    what = f"{scan}: {path + ': ' if path else ''}{reason}{'; …' if len(left) > 1 else ''}"
    return f" ({what}); check the paths, which start from the sheet's folder"
