"""3-D scans as arrays on the lattice a model wants: whole, or as tiles with halos.

A scan is opened by its header when the source is made, and read when its turn comes; one is held at a time. It is
turned to the model's orientation, brought to its spacing, its intensities are normalised over the whole scan, and
only then is it cut. Tiles of a scan do not overlap: a voxel is in one core, and the halo around it gives no rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bioterp import store
from bioterp.adapters import Item
from bioterp.adapters.named import contents, names_files, without_folders
from bioterp.adapters.tiles import Tile, fit, flat, parse_three, tiles_of
from bioterp.arrays import Array
from bioterp.errors import InputError, nearest
from bioterp.grid import Grid, Space
from bioterp.imaging import Volume, open_volume
from bioterp.imaging.frames import Lattice, bring, extent, letters_of, parse_orientation, target
from bioterp.imaging.intensity import channels as channels_of
from bioterp.imaging.intensity import normalise, padding, parse_recipe
from bioterp.imaging.sheet import read_sheet
from bioterp.rows import SPLITS, split_of

OWN = ("scan", "subject", "path", "block", "split", "t")  # columns of the sheet that say what a scan is


@dataclass(frozen=True)
class Scan:
    """One scan of the sheet: its files as opened, where they lie, and the lattice the model is shown."""

    name: str
    volumes: tuple[Volume, ...]
    frame: int | None
    wanted: Lattice
    seen: tuple[Array, Array]  # low and high voxel of the wanted lattice between which the scan has any
    record: dict[str, Any]


class Scans:
    """Scans as a source of arrays.

    items: a sheet (TSV or CSV with the columns scan, path and, if wanted, subject, block, split, t and covariates), a
        BIDS folder, a folder of images or DICOM series, or a DataFrame like the sheet.
    orientation: three letters, the directions in which the array's axes grow ('RAS', 'LIA', 'SPL').
    spacing: mm along these axes (one number or three); None keeps each scan's own.
    intensity: a recipe, see `bioterp.imaging.intensity`.
    oblique: 'straighten' lays oblique scans on the world's axes, 'keep' only flips and permutes theirs.
    shape: voxels per axis to crop or pad to, around the middle. multiple: what array sizes must be multiples of.
    window: voxels per axis of a tile's core; None: whole scans. halo: voxels of context around it, multiples too.
    blocks: the unit that is never divided between splits: 'subject' (the sheet's `block` where it has one), 'scan', or
        cubes of a scan, such as '48mm', when there are too few subjects.
    channels: columns of the sheet that name one image each (path, flair …); by default path alone.
    suffix: which images of a BIDS folder ('T1w'). assume_ras: take a file without orientation for RAS.

    Iterating yields (Item, array, Grid): (c, x, y, z) float32, halo included, Grid of its voxels in mm RAS+; the core
    is in voxels of the array. Scans that cannot be used are in `left_out` (scan, path, reason); the others go on.
    Raises InputError when none is left, and for options that make no sense.
    """

    modality = "volume"
    modality_word = "scans"

    def __init__(
        self,
        items: Any,
        *,
        orientation: str = "RAS",
        spacing: float | Sequence[float] | None = None,
        intensity: str | dict[str, Any] = "zscore",
        oblique: str = "straighten",
        shape: Sequence[int] | None = None,
        multiple: int | Sequence[int] = 1,
        window: int | Sequence[int] | None = None,
        halo: int | Sequence[int] = 0,
        blocks: str = "subject",
        channels: Sequence[str] | None = None,
        suffix: str | None = None,
        assume_ras: bool = False,
        seed: int = 0,
    ):
        parse_orientation(orientation)
        parse_recipe(intensity)
        if oblique not in ("straighten", "keep"):
            raise InputError(f"oblique is 'straighten' or 'keep'; got {oblique!r}")
        self.orientation, self.intensity, self.oblique = orientation.upper(), intensity, oblique
        self.spacing = None if spacing is None else parse_three(spacing, "spacing", float)
        self.shape = None if shape is None else parse_three(shape, "shape", int)
        self.multiple = parse_three(multiple, "multiple", int)
        self.window = None if window is None else parse_three(window, "window", int)
        self.halo = parse_three(halo, "halo", int, least=0)
        if self.window is None and blocks in ("subject", "scan") and any(self.halo):
            raise InputError(f"halo is context around tiles, and whole scans have none: give window too; got {halo!r}")
        self.blocks, self.seed, self.assume_ras = blocks, int(seed), assume_ras
        self.image_columns = list(channels) if channels else ["path"]
        sheet = read_sheet(items, suffix=suffix)
        self.sheet, self.folder = sheet.frame, sheet.folder
        self.file_columns = [name for name in self.sheet.columns if names_files(self.sheet[name])]
        self._left_out = {row["scan"]: row for row in sheet.left_out.to_dict("records")}
        self.scans = {scan.name: scan for scan in self._open()}
        if not self.scans:
            reasons = "; ".join(str(row["reason"]) for row in list(self._left_out.values())[:2])
            raise InputError(f"none of the {len(self._left_out)} scans can be used: {reasons}")
        self.tiles: list[tuple[str, Tile]] = []
        self.items = self._plan()
        self._held: tuple[str, Array, dict[str, Any]] | None = None
        self.recipe: dict[str, Any] = {
            "kind": "scans",
            "files": store.digest([[name, *contents(s.volumes, s.frame)] for name, s in self.scans.items()]),
            "scans": store.digest(self.items.to_csv(index=False)),  # covariates and facts too: tables tell them
            **{key: getattr(self, key) for key in ("orientation", "spacing", "intensity", "oblique", "shape")},
            **{key: getattr(self, key) for key in ("multiple", "window", "halo", "blocks", "seed")},
        }

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[tuple[Item, Array, Grid]]:
        return self.read(0, len(self))

    def __repr__(self) -> str:
        return (
            f"Scans({len(self.scans)} scans, {len(self):,} arrays, {self.orientation}, {len(self.left_out)} left out)"
        )

    @property
    def left_out(self) -> pd.DataFrame:
        """scan, path, reason: what could not be used; grows when pixels turn out to be unreadable."""
        return pd.DataFrame(list(self._left_out.values()), columns=["scan", "path", "reason"])

    @property
    def channels(self) -> int:
        """Channels of the arrays."""
        return len(self.image_columns) * channels_of(self.intensity)

    @property
    def blocks_told(self) -> str:
        """What the blocks are, for a message."""
        return {"subject": "one per subject, or the sheet's", "scan": "one per scan"}.get(self.blocks, self.blocks)

    @property
    def name(self) -> str:
        """What was read, for a title."""
        many = self.described()["scans"]
        return f"{many} scan{'s' * (many != 1)}"

    def described(self) -> dict[str, Any]:
        """What a report says of the source."""
        shown = ("orientation", "spacing", "intensity", "window", "halo", "blocks")
        counts = {"scans": sum(scan not in self._left_out for scan in self.scans)}
        return {**counts, "left_out": len(self._left_out), **{key: getattr(self, key) for key in shown}}

    @property
    def cells(self) -> int:
        """Voxels of all cores."""
        return sum(math.prod(tile.size) for _, tile in self.tiles)

    @property
    def item_cells(self) -> int:
        """Voxels of the largest core."""
        return max(math.prod(tile.size) for _, tile in self.tiles)

    def read(self, lo: int, hi: int) -> Iterator[tuple[Item, Array, Grid]]:
        """Items lo:hi. Tiles of a single value (air) give none; scans that cannot be read are left out."""
        for (name, tile), record in zip(self.tiles[lo:hi], self.items.iloc[lo:hi].to_dict("records"), strict=True):
            if name in self._left_out:
                continue
            try:
                image, measured = self._image(name)
            except InputError as error:
                self._leave_out(name, [volume.path for volume in self.scans[name].volumes], error)
                continue
            array, core = tile.cut(image, [padding(self.intensity, one) for one in image])
            if not tile.whole and flat(array, core):
                continue
            grid = self._grid(name, array.shape[1:], np.subtract(tile.start, tile.before))
            yield Item({**record, **measured}, core), array, grid

    def files(self, column: str) -> dict[str, Path]:
        """{scan: file} of a column of the sheet that names one for some of its scans; InputError without it."""
        if column not in self.sheet:
            raise InputError(f"the sheet has no column {column!r}; {nearest(column, self.sheet.columns)}")
        told = self.sheet.set_index("scan")[column].dropna()
        return {str(scan): self.folder / str(file).strip() for scan, file in told.items() if str(file).strip()}

    def volume(self, scan: str) -> tuple[Array, Grid]:
        """A whole scan as the model is shown it: (c, x, y, z) float32 and the Grid of its voxels."""
        if scan not in self.scans:
            raise InputError(f"there is no scan {scan!r} among the {len(self.scans)} of this source")
        image, _ = self._image(scan)
        return image, self._grid(scan, image.shape[1:], np.zeros(3))

    def recall(self, left_out: pd.DataFrame) -> None:
        """Scan and reason of what an earlier run found unreadable."""
        for scan, reason in zip(left_out["scan"], left_out["reason"], strict=True):
            if scan in self.scans and scan not in self._left_out:
                self._leave_out(scan, [volume.path for volume in self.scans[scan].volumes], InputError(reason))

    # ------------------------------------------------------------------ opening and planning

    def _open(self) -> Iterator[Scan]:
        for row in self.sheet.to_dict("records"):
            try:
                yield self._scan(row)
            except InputError as error:
                self._leave_out(row["scan"], [self.folder / str(row.get(one)) for one in self.image_columns], error)

    def _scan(self, row: dict[str, Any]) -> Scan:
        absent = [column for column in self.image_columns if not isinstance(row.get(column), (str, Path))]
        if absent:
            raise InputError(f"the sheet names no image in the column {absent[0]!r}")
        files = [self.folder / str(row[column]) for column in self.image_columns]
        volumes = tuple(open_volume(file, assume_ras=self.assume_ras) for file in files)
        first = volumes[0]
        frame = None if row.get("t") is None or pd.isna(row["t"]) else int(row["t"])
        for volume in volumes:
            volume.check_frame(frame)
        own = Lattice(first.shape, first.affine)
        wanted = target(own, self.orientation, self.spacing, self.oblique == "straighten")
        if self.shape is not None:
            wanted = fit(wanted, self.shape)
        native = {
            "shape": list(first.shape),
            "affine": first.affine.tolist(),
            "sform_code": first.codes[0],
            "qform_code": first.codes[1],
        }
        private = {*OWN, *self.file_columns, *self.image_columns}
        record = {key: value for key, value in row.items() if key not in private}
        record |= {key: value for key, value in first.facts.items() if key not in record}
        record |= {"stored_orientation": letters_of(first.affine), "native": json.dumps(native)}
        return Scan(row["scan"], volumes, frame, wanted, extent(own, wanted), record)

    def _plan(self) -> pd.DataFrame:
        """One line per array: tiles in C order within a scan, scans in the order of the sheet."""
        lines = []
        of_scan = self.sheet.set_index("scan")
        for name, scan in self.scans.items():
            row = of_scan.loc[name]
            spacing = np.linalg.norm(scan.wanted.affine[:3, :3], axis=0)
            cuts = self.window, self.halo, self.multiple, self.blocks
            for tile in tiles_of(scan.wanted.shape, scan.seen, spacing, *cuts):
                given = row["subject"] if pd.isna(row.get("block")) else row["block"]
                block = {"scan": name}.get(self.blocks) or tile.block_in(name) or given
                item = name if tile.whole else f"{name}:{','.join(map(str, tile.start))}"
                split = row.get("split")
                split = split_of(str(block), self.seed) if split is None or pd.isna(split) else str(split)
                if split not in SPLITS:
                    raise InputError(f"scan {name}: the split {split!r} is not known; wanted {', '.join(SPLITS)}")
                key = {"item": item, "sample": name, "block": str(block), "split": split, "subject": row["subject"]}
                lines.append({**key, **scan.record})
                self.tiles.append((name, tile))
        plan = pd.DataFrame(lines)
        for unit in ("block", "subject") if self.blocks == "subject" else ("block",):
            where = plan.groupby(unit)["split"].nunique()
            if (where > 1).any():
                raise InputError(f"{unit} {where.idxmax()!r} lies in several splits; a {unit} may be in one only")
        return plan

    def _leave_out(self, name: str, files: Sequence[Path], error: Exception) -> None:
        self._left_out[name] = {"scan": name, "path": str(files[0]), "reason": without_folders(str(error), files)}

    def _grid(self, name: str, shape: Sequence[int], start: Array) -> Grid:
        shift = np.eye(4)
        shift[:3, 3] = start
        return Grid.from_centers(Space(name, "mm"), shape, self.scans[name].wanted.affine @ shift)

    # ------------------------------------------------------------------ voxels

    def _image(self, name: str) -> tuple[Array, dict[str, Any]]:
        """(c, x, y, z) of a whole scan, normalised, and what was measured on its voxels as they were stored."""
        if self._held is None or self._held[0] != name:
            self._held = None  # the last one goes before the next one comes
            scan = self.scans[name]
            parts, measured = [], dict[str, Any]()
            for i, volume in enumerate(scan.volumes):
                raw = volume.read(scan.frame)
                finite = np.isfinite(raw)
                if not finite.any():
                    raise InputError(f"{volume.path.name} holds no finite voxel; wanted an image")
                if not finite.all():
                    raw = np.where(finite, raw, raw[finite].min())  # interpolation would spread one NaN to many
                if i == 0:
                    low, middle, high = np.percentile(raw, [1, 50, 99])
                    measured = {"p01": float(low), "p50": float(middle), "p99": float(high), "max": float(raw.max())}
                    measured["not_finite"] = int(finite.size - np.count_nonzero(finite))
                own = Lattice(volume.shape, volume.affine)
                parts.append(normalise(bring(raw, own, scan.wanted), self.intensity, scan.seen))
            self._held = name, np.concatenate(parts), measured
        return self._held[1], self._held[2]
