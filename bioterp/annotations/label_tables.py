"""What label values mean: tables `value → name` in the forms tools write them.

    FreeSurferColorLUT.txt, .ctbl    `17  Left-Hippocampus  220 216 20 0`
    ITK-SNAP descriptions            `1  255 0 0  1 1 1  "label one"`
    .tsv, .csv                       columns index/value/roi_index … and name/label/roi_name … (BIDS dseg.tsv, MUSE)
    .json                            {"1": "anterior"}, {"anterior": 1}, MSD and nnU-Net dataset.json
    .py, .py.txt                     TotalSegmentator's class_map; `file#task` picks one of several maps (JSON too)
    inside a NIfTI                   the label table of TotalSegmentator and Connectome Workbench (Caret extension)

The value 0 and names such as `background` are no terms.
"""

from __future__ import annotations

import ast
import math
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bioterp import limits
from bioterp.doors import json_of, text_of
from bioterp.errors import InputError, nearest, one_line, shown

VALUES = ("index", "value", "roi_index", "label_value", "labelvalue", "number", "key", "id", "no", "code", "label")
NAMES = ("name", "roi_name", "label_name", "labelname", "structure", "region", "roi", "title", "class", "label")
SIZES = (348, 540)  # of the headers of NIfTI-1 and NIfTI-2
LONGEST, DIGITS = 4_096, 18  # characters of a line, of a number
BACKGROUND = ("background", "unknown", "clear label", "")


def read_names(source: str | Path | Mapping[Any, Any] | None) -> dict[int, str]:
    """{value: name}, without background; {} for None. Raises InputError with what a table should look like."""
    if source is None:
        return {}
    if isinstance(source, Mapping):
        return _mapping(source, "names=")
    text, _, pick = str(source).partition("#")
    path = Path(text)
    if not path.is_file():
        raise InputError(f"there is no label table {path} (names= takes a file or a mapping such as {{1: 'anterior'}})")
    if path.name.lower().endswith((".nii", ".nii.gz")):
        found = names_inside(path)
        if not found:
            raise InputError(f"{path} has no label table in its header")
        return found
    kind = path.name.lower()
    if kind.endswith(".json"):
        return _tree(json_of(path), pick, path)
    words = text_of(path, "NAMES")
    if kind.endswith((".py", ".py.txt")):
        return _tree(_literal(words, path), pick, path)
    if kind.endswith((".csv", ".tsv")):
        return _table(words, path)
    found = _lines(words)
    return found if found else _table(words, path)


def names_inside(path: Path) -> dict[int, str]:
    """The label table in a NIfTI's header, {} where there is none."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return {}
    for code, content in _extensions(path):
        if code not in (0, 30):  # 30 is Caret's own number; TotalSegmentator writes 0
            continue
        text = content.decode("utf-8", "replace").strip("\0 \n")
        if "<LabelTable>" not in text or "<!" in text.replace("<![CDATA[", ""):  # no entities: they multiply
            continue
        try:
            found = ElementTree.fromstring(text[: text.rfind(">") + 1])
        except ElementTree.ParseError:
            continue
        return _mapping({e.get("Key"): (e.text or "").strip() for e in found.iter("Label")}, str(path))
    return {}


def _extensions(path: Path) -> Iterator[tuple[int, bytes]]:
    """(code, content) of what lies between a NIfTI's header and its voxels; nothing where that is damaged or large.

    Read here, because a length there may claim gigabytes of a gzip file.
    """
    from bioterp.imaging.files import DAMAGED, opened

    try:
        with opened(path) as handle:
            head = handle.read(544)
            order = next((o for o in "<>" if len(head) == 544 and struct.unpack(o + "i", head[:4])[0] in SIZES), None)
            if order is None:
                return
            size = struct.unpack(order + "i", head[:4])[0]
            begin = (
                struct.unpack(order + "f", head[108:112]) if size == 348 else struct.unpack(order + "q", head[168:176])
            )
            end = min(int(begin[0]), size + 4 + limits.most("NAMES")) if math.isfinite(begin[0]) else 0
            handle.seek(size)
            block = handle.read(max(end - size, 0))
    except (*DAMAGED, OSError):
        return  # whoever reads the voxels says so
    at = 4
    while block[:1] not in (b"", b"\0") and at + 8 <= len(block):
        length, code = struct.unpack_from(order + "2i", block, at)
        if length < 8 or at + length > len(block):
            return
        yield code, block[at + 8 : at + length]
        at += length


def _mapping(tree: Mapping[Any, Any], where: str) -> dict[int, str]:
    """{value: name} from either direction; nnU-Net regions (name → several values) give several values one name."""
    found: dict[int, str] = {}
    for key, told in tree.items():
        number = _whole(key)
        if number is not None and isinstance(told, str) and _whole(told) is None:
            found[number] = told.strip()
            continue
        several = told if isinstance(told, list) else [told]
        numbers = [_whole(value) for value in several]
        if not isinstance(key, str) or None in numbers:
            raise InputError(
                f"{where}: a label table goes from a whole number to a name; got {shown(key)}: {shown(told)}"
            )
        for value in numbers:
            if value in found:
                raise InputError(f"{where}: the value {value} has two names, {shown(found[value])} and {shown(key)}")
            found[int(value or 0)] = key.strip()
    return {value: name for value, name in found.items() if value != 0 and name.lower() not in BACKGROUND}


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < 2**63 else None
    text = str(value).strip() if isinstance(value, str | float) else ""
    if len(text) > DIGITS:
        return None
    return int(text) if re.fullmatch(r"-?\d+", text) else int(float(text)) if re.fullmatch(r"-?\d+\.0+", text) else None


def _tree(tree: Any, pick: str, path: Path) -> dict[int, str]:
    """One map of a file that may hold several."""
    if isinstance(tree, Mapping) and isinstance(tree.get("labels"), Mapping) and not pick:
        tree = tree["labels"]
    maps = {str(k): v for k, v in tree.items() if isinstance(v, Mapping)} if isinstance(tree, Mapping) else {}
    if pick:
        if pick not in maps:
            raise InputError(f"{path} has no map {shown(pick)}; {nearest(pick, maps)}")
        tree = maps[pick]
    elif len(maps) == 1:
        tree = next(iter(maps.values()))
    elif maps:
        first = next(iter(maps))
        raise InputError(f"{path} holds {len(maps)} maps; pick one as {path.name}#{first} ({nearest('', maps)})")
    if not isinstance(tree, Mapping):
        raise InputError(f"{path} holds no mapping from values to names")
    return _mapping(tree, str(path))


def _literal(text: str, path: Path) -> Any:
    """The first mapping that is assigned in Python text, read as a literal: nothing is executed."""
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f"line {error.lineno}" if isinstance(error, SyntaxError) else one_line(error)
        raise InputError(f"{path} is not Python text: {where}") from None
    for statement in statements:
        value = getattr(statement, "value", None)
        if isinstance(value, ast.Dict):
            try:
                return ast.literal_eval(value)
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                continue
    raise InputError(f"{path} holds no mapping from values to names")


def _lines(text: str) -> dict[int, str]:
    """FreeSurfer, Slicer and ITK-SNAP lines, or plain `value name`; {} when the text is something else."""
    found: dict[int, str] = {}
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith(("#", "//")):
            continue
        if len(line) > LONGEST:  # the patterns below take longer than a line is long
            return {}
        snap = re.fullmatch(r'(\d+)(?:\s+[\d.]+){3,7}\s+"(.*)"', line)
        colour = re.fullmatch(r"(\d+)\s+(\S.*?)(?:\s+[\d.]+){3,4}", line)
        plain = re.fullmatch(r"(\d+)\s+([^\s,;\d].*)", line)
        match = snap or colour or plain
        if not match:
            return {}
        found[int(match[1])] = match[2].strip().strip('"')
    return _mapping(found, "the label table")


def _table(text: str, path: Path) -> dict[int, str]:
    """A table with a column of values and one of names; without a header, the first two columns."""
    import csv

    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path} is empty; a label table has a value and a name per line")
    mark = "\t" if "\t" in lines[0] else ";" if ";" in lines[0] and "," not in lines[0] else ","
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=mark)]
    except csv.Error as error:
        raise InputError(f"{path} is no label table ({one_line(error)})") from None
    head = [cell.lower().replace(" ", "_") for cell in rows[0]]
    value = next((head.index(name) for name in VALUES if name in head), None)
    name = next((head.index(n) for n in NAMES if n in head and head.index(n) != value), None)
    if value is None or name is None:
        if len(head) < 2 or _whole(head[0]) is None or _whole(head[1]) is not None:
            raise InputError(
                f"{path} is no label table: wanted a column of values (index, value …) and one of names (name …), got "
                f"{one_line(', '.join(rows[0][:6]))}"
            )
        value, name = 0, 1
    else:
        rows = rows[1:]
    found: dict[int, str] = {}
    for at, row in enumerate(rows, 2):
        number = _whole(row[value]) if len(row) > max(value, name) else None
        if number is None:
            raise InputError(f"{path}, line {at}: {shown(mark.join(row))} has no whole number in the column of values")
        if number in found and found[number] != row[name]:
            raise InputError(f"{path}: the value {number} has two names, {shown(found[number])} and {shown(row[name])}")
        found[number] = row[name]
    return _mapping(found, str(path))
