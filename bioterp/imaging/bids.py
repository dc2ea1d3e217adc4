"""A BIDS folder: its images of one kind, named by their entities, with the columns of participants.tsv."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bioterp import limits
from bioterp.errors import InputError, nearest, one_line
from bioterp.imaging.sheet import ENTITY, read_table

OURS = ("scan", "subject", "path", "image", "session", "t")
PEOPLE = "participants.tsv"


def bids_folder(folder: Path, suffix: str | None) -> tuple[Any, list[tuple[str, str, str]]]:
    """Rows scan, subject, session, path and the participants' columns; and who was left out, with the reason."""
    import pandas as pd

    left: list[tuple[str, str, str]] = []
    found: dict[str, list[tuple[str, str, str | None, Path]]] = {}
    for path in sorted((*folder.glob("sub-*/*/*"), *folder.glob("sub-*/ses-*/*/*"))):
        image = re.fullmatch(r"(sub-.+)_([a-zA-Z0-9]+)\.nii(\.gz)?", path.name)
        if image is None:
            continue
        subject, entities = path.relative_to(folder).parts[0], dict(ENTITY.findall(image[1]))
        scan = f"{image[1]}_{image[2]}"
        if f"sub-{entities.get('sub')}" != subject:
            left.append((scan, str(path), f"its name does not belong to the folder {subject}"))
            continue
        found.setdefault(image[2], []).append((scan, subject, entities.get("ses"), path))
    if not found:
        raise InputError(f"the BIDS folder {folder} holds no images named sub-…_….nii or .nii.gz; check the dataset")
    if suffix is None:
        if len(found) > 1:
            kinds = ", ".join(f"{name} ({len(images)})" for name, images in sorted(found.items()))
            raise InputError(f"the BIDS folder {folder} holds several kinds of images: {kinds}; choose one with suffix")
        suffix = next(iter(found))
    if suffix not in found:
        raise InputError(f"the BIDS folder {folder} holds no {suffix!r} images; {nearest(suffix, found)}")
    scans = found[suffix]
    both = limits.twice(scan for scan, *_ in scans)
    if both is not None:
        raise InputError(f"the BIDS folder {folder} holds {both} twice (.nii and .nii.gz?); remove one")
    frame = pd.DataFrame(
        {"scan": [s[0] for s in scans], "subject": [s[1] for s in scans], "path": [str(s[3]) for s in scans]}
    )
    if any(s[2] for s in scans):
        frame["session"] = [None if s[2] is None else f"ses-{s[2]}" for s in scans]
    if not (folder / PEOPLE).is_file():
        return frame, left
    people = _people(folder / PEOPLE)
    # In a dataset of several sites or readers participants.tsv may itself say block or split: kept under their names.
    joined = frame.merge(people, how="left", left_on="subject", right_index=True)
    here = set(frame["subject"])
    without = [person for person in people.index if person not in here]
    return joined, left + [(person, "", f"no {suffix} image") for person in without]


def _people(path: Path) -> Any:
    """participants.tsv with sub-… as its index; columns that would clash with a sheet's own get a suffix."""
    people = read_table(path)
    if "participant_id" not in people:
        raise InputError(
            f"{path} has no column 'participant_id', which BIDS asks for; {nearest('participant_id', people)}"
        )
    names = [name if name.startswith("sub-") else f"sub-{name}" for name in people.pop("participant_id")]
    twice = limits.twice(names)
    if twice is not None:
        raise InputError(f"{path} lists {one_line(twice, 60)} twice; keep one line per participant")
    people.index = names
    return people.rename(columns={name: f"{name}_participants" for name in people.columns if name in OURS})
