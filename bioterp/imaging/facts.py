"""How an image was acquired, by allow-list: from DICOM elements, or from the BIDS JSON sidecar beside a NIfTI.

Only the elements named here are ever looked at: scanner settings, never who, when or where. Names of persons,
dates, institutions, stations, serial numbers, descriptions and protocol names cannot get out: they are not asked for.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

Facts = dict[str, str | float | None]

TEXT, NUMBER, CODES = "text", "number", "codes"
# fact → how it is read, its DICOM element, its BIDS keys (the first that is there).
ALLOWED: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "manufacturer": (TEXT, "Manufacturer", ("Manufacturer",)),
    "scanner": (TEXT, "ManufacturerModelName", ("ManufacturersModelName",)),
    "field_strength": (NUMBER, "MagneticFieldStrength", ("MagneticFieldStrength",)),
    "kernel": (TEXT, "ConvolutionKernel", ("ConvolutionKernel",)),
    "slice_thickness": (NUMBER, "SliceThickness", ("SliceThickness",)),
    "slice_spacing": (NUMBER, "", ("SpacingBetweenSlices",)),  # DICOM: from positions
    "sequence": (CODES, "ScanningSequence", ("PulseSequenceType", "ScanningSequence")),
    "modality": (CODES, "Modality", ("Modality",)),
}
ELEMENTS = tuple(element for _, element, _ in ALLOWED.values() if element)
LONGEST = 64
SIDECAR_MOST = 4 << 20
GAUSS = 100.0  # a field strength above this is in gauss (old scanners), not tesla


def clean(how: str, value: Any) -> str | float | None:
    """A number, or one short printable line; None for anything else."""
    if value is None or isinstance(value, dict | bool | bytes):
        return None
    if how == NUMBER:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None
    parts = value if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue" else [value]
    words = ["".join(c for c in str(part) if c.isprintable()).strip() for part in parts]
    return " ".join(word for word in words if word)[:LONGEST] or None


def from_dicom(get: Any) -> Facts:
    """Facts from `get(keyword)`, the value of an element or None."""
    found = {fact: clean(how, get(element)) for fact, (how, element, _) in ALLOWED.items() if element}
    return _tidy(found)


def from_sidecar(path: Path) -> tuple[Facts, list[str]]:
    """Facts from `scan.json` beside `scan.nii.gz`, and notes; empty when there is none. No inheritance from above."""
    name = path.name
    for end in (".gz", ".nii", ".hdr", ".img", ".mgz", ".mgh"):
        name = name[: -len(end)] if name.lower().endswith(end) else name
    sidecar = path.with_name(name + ".json")
    try:
        if not sidecar.is_file() or sidecar.stat().st_size > SIDECAR_MOST:
            return {}, []
        said = json.loads(sidecar.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}, [f"the sidecar {sidecar.name} is not readable as JSON and was left aside"]
    if not isinstance(said, dict):
        return {}, [f"the sidecar {sidecar.name} is no JSON object and was left aside"]
    found: Facts = {}
    for fact, (how, _, keys) in ALLOWED.items():
        values = [clean(how, said.get(key)) for key in keys]
        found[fact] = next((value for value in values if value is not None), None)
    return _tidy(found), []


def _tidy(found: Facts) -> Facts:
    facts: Facts = {fact: value for fact, value in found.items() if value is not None}
    field = facts.get("field_strength")
    if isinstance(field, float) and field > GAUSS:
        facts["field_strength"] = field / 10_000
    return facts
