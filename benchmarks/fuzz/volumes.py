"""NIfTI-1, NIfTI-2 and MGH: header, voxels, labels, and the table of names inside."""

import io
from contextlib import suppress

import atheris

with atheris.instrument_imports(include=["bioterp", "nibabel.nifti1", "nibabel.nifti2"]):
    from bioterp.annotations.label_tables import names_inside
    from bioterp.errors import BioterpError
    from bioterp.imaging import facts, files, nifti, open_volume  # noqa: F401
import nibabel
import numpy as np
from common import fuzz

VOXELS = np.arange(24).reshape(2, 3, 4)


def seed(kind, dtype, table=False):  # type: ignore[no-untyped-def]
    image = kind(VOXELS.astype(dtype), np.diag([1, 1.5, 2, 1]))
    if table:
        text = b'<CaretExtension><LabelTable><Label Key="1">a</Label></LabelTable></CaretExtension>'
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, text))
    handle = io.BytesIO()
    image.to_file_map({"image": nibabel.FileHolder(fileobj=handle)})
    return handle.getvalue()


def door(path):  # type: ignore[no-untyped-def]
    for read in (lambda: names_inside(path), lambda: open_volume(path).read_labels()):
        with suppress(BioterpError):
            read()
    volume = open_volume(path, assume_ras=True)
    return volume.read(None if volume.frames == 1 else volume.frames - 1)


if __name__ == "__main__":
    one, two, mgh = nibabel.Nifti1Image, nibabel.Nifti2Image, nibabel.MGHImage
    seeds = {"a.nii": seed(one, "<i2"), "b.nii": seed(one, "u1", True), "c.nii": seed(two, "<f4")}
    fuzz(door, {**seeds, "d.nii": seed(mgh, "f4")})
