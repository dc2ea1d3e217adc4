"""DICOM: a multi-frame file and single files, header and pixels."""

import io

import atheris

with atheris.instrument_imports(include=["bioterp", "pydicom.filereader", "pydicom.dataset", "pydicom.values"]):
    import pydicom  # noqa: F401

    from bioterp.imaging import dicom, dicom_header, dicom_lattice, dicom_series, open_volume  # noqa: F401
import numpy as np
from common import fuzz
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

FRAMES = 3


def enhanced(syntax):  # type: ignore[no-untyped-def]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4.1", "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax is RLELossless else syntax
    one = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID, one.SOPInstanceUID, one.SeriesInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3", "1.2.4"
    one.Modality, one.PatientID, one.NumberOfFrames, one.Rows, one.Columns = "MR", "x", FRAMES, 4, 5
    one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 0
    one.BitsAllocated, one.BitsStored, one.HighBit = 16, 12, 11
    one.SharedFunctionalGroupsSequence = Sequence([Dataset()])
    shared = one.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([Dataset()]), Sequence([Dataset()])
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence[0].PixelSpacing = [1, 1]
    one.PerFrameFunctionalGroupsSequence = Sequence([Dataset() for _ in range(FRAMES)])
    for k, frame in enumerate(one.PerFrameFunctionalGroupsSequence):
        frame.PlanePositionSequence = Sequence([Dataset()])
        frame.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 2 * k]
    one.PixelData = np.arange(FRAMES * 20, dtype="<u2").tobytes()
    if syntax is RLELossless:
        one.compress(RLELossless)
    handle = io.BytesIO()
    one.save_as(handle, enforce_file_format=True)
    return handle.getvalue()


if __name__ == "__main__":
    seeds = {"a.dcm": enhanced(ExplicitVRLittleEndian), "b.dcm": enhanced(ImplicitVRLittleEndian)}
    fuzz(lambda path: open_volume(path).read(), {**seeds, "c.dcm": enhanced(RLELossless)})
