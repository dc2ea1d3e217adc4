"""Every parser as a door, with a small valid file for it: what hostile input is made of.

A door takes the path of a file and reads all of it; it returns, or raises an error of bioterp's own.
"""

from __future__ import annotations

import io
import json
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from safetensors.numpy import save as save_tensors

from bioterp.adapters.people import read_people
from bioterp.analyses.formula import Marker
from bioterp.annotations.ancestry import read_pcs
from bioterp.annotations.cohort import read_cohort
from bioterp.annotations.label_tables import names_inside, read_names
from bioterp.annotations.reading import read
from bioterp.arrays import float32, read_safetensors
from bioterp.checkpoints import load_dictionary
from bioterp.config import load
from bioterp.doors import json_of
from bioterp.genotypes import VCF
from bioterp.imaging import open_volume
from bioterp.imaging.sheet import read_sheet
from bioterp.importing.coordinates import read_lengths
from bioterp.importing.shards import open_shards
from bioterp.models.tfjs import chain, tensors
from bioterp.models.weights import read_weights
from bioterp.sequence import Sequences
from tests.imaging import series

GFF = b"""##gff-version 3
##sequence-region c 1 120
c\ts\tregion\t1\t120\t.\t+\t.\tID=c;Is_circular=true
c\ts\tgene\t1\t60\t.\t+\t.\tID=g;Name=a%2Cb;biotype=protein_coding
c\ts\tmRNA\t1\t60\t.\t+\t.\tID=m;Parent=g
c\ts\tCDS\t4\t30\t.\t-\t0\tID=p;Parent=m
"""
GTF = b"""c\ts\ttranscript\t1\t60\t.\t-\t.\tgene_id "g"; transcript_id "t";
c\ts\tCDS\t10\t40\t.\t-\t0\tgene_id "g"; transcript_id "t";
"""
CALLS = b"""##fileformat=VCFv4.3
##contig=<ID=c,length=120>
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tp1\tp2
c\t3\trs1\tA\tG,T\t30\tPASS\tCLNSIG=Benign\tGT:DP\t0|1:3\t2/.:4
c\t20\t.\tA\t<DEL>\t.\tq\tEND=40;SVTYPE=DEL\tGT\t0/0\t1|1
"""
GENBANK = b"""LOCUS       c                         12 bp    DNA     circular BCT 01-JAN-2020
VERSION     c.1
FEATURES             Location/Qualifiers
     CDS             join(10..12,1..3)
                     /gene="a"
ORIGIN
        1 acgtacgtac gt
//
"""
RUN = b"""out: o
source: {kind: dna, fasta: a.fa, window: 512}
model: {name: bioterp/dna-small}
layers: [1, 2]
dictionary: {width: 40, k: 3, tokens: 2M, seeds: [0, 1]}
labels: {genes: {path: a.gff}}
exports: [tsv]
"""
SCANS = b"scan\tpath\tage\tsplit\na\ta.nii\t3\ttrain\nb\tb.nii\tn/a\ttest\n"
PEOPLE = b"sample\tcase\tage\tsite\nA\t1\t3.5\tx\nB\t0\t4\ty\nC\t1\t5\tx\n"
CARET = b'<CaretExtension><LabelTable><Label Key="1">a</Label></LabelTable></CaretExtension>'
VOXELS = np.arange(24).reshape(2, 3, 4)
SAE = {"W_enc": (3, 5), "W_dec": (5, 3), "b_enc": (5,), "b_dec": (3,)}


@dataclass(frozen=True)
class Door:
    """file: the name, by whose ending it is told. text: whether gzipped content is read as well."""

    file: str
    valid: bytes
    read: Callable[[Path], Any]
    text: bool = False


def image(kind: Any, dtype: str, extension: bytes = b"") -> bytes:
    made = kind(VOXELS.astype(dtype), np.diag([1, 1.5, 2, 1]))
    if extension:
        made.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, extension))
    handle = io.BytesIO()
    made.to_file_map({"image": nibabel.FileHolder(fileobj=handle)})
    return handle.getvalue()


def dicom(syntax: Any) -> bytes:
    planes = series.slices(np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), 3)
    with tempfile.TemporaryDirectory() as folder:
        return series.save(series.enhanced(planes, [2, 0, 1]), Path(folder) / "a", syntax).read_bytes()


def checkpoint(**options: Any) -> bytes:
    handle = io.BytesIO()
    torch.save({"a": torch.ones(2, 3), "b": torch.zeros(5)}, handle, **options)
    return handle.getvalue()


def numpy_file() -> bytes:
    handle = io.BytesIO()
    np.save(handle, np.ones((7, 3), np.float32))
    return handle.getvalue()


def letters(path: Path) -> None:
    found = Sequences(path)
    for name, contig in found.contigs.items():
        found.read(name, -3, contig.length + 3)


def features(path: Path) -> list[Any]:
    return read(path).table.drop(columns="line").to_numpy(str).tolist()


def voxels(path: Path) -> None:
    names_inside(path)
    volume = open_volume(path, assume_ras=True)
    volume.read(None if volume.frames == 1 else volume.frames - 1)


def people(path: Path) -> None:
    read_people(path, ["A", "B", "D"], 0)
    read_cohort(["A", "B", "C"], path, outcome="case", covariates=["age"], confounders=["site"])


def network(path: Path) -> None:
    told = json_of(path)
    chain(told, path)
    tensors(told, path.parent)


LAYERS = [
    {"class_name": "InputLayer", "config": {"name": "i", "batch_input_shape": [None, 9, 9, 9, 1]}, "inbound_nodes": []},
    {
        "class_name": "Conv3D",
        "config": {
            "name": "c", "padding": "same", "strides": [1, 1, 1], "kernel_size": [3, 3, 3], "dilation_rate": [1, 1, 1],
            "data_format": "channels_last", "use_bias": True, "filters": 2, "activation": "linear",
        },
        "inbound_nodes": [[["i", 0, 0, {}]]],
    },
]  # fmt: skip
TFJS = {
    "modelTopology": {"model_config": {"config": {"layers": LAYERS}}},
    "weightsManifest": [{"paths": [], "weights": []}],
}
RNG = np.random.default_rng(0)
TENSORS = save_tensors({name: RNG.normal(size=shape).astype(np.float32) for name, shape in SAE.items()})
NII, NII2, MGH = nibabel.Nifti1Image, nibabel.Nifti2Image, nibabel.MGHImage
DOORS = {
    "fasta": Door("a.fa", b">c x\nACGTNRYacgu\nACG\n>d\n--ACG\n", letters, True),
    "genbank": Door("a.gb", GENBANK, letters, True),
    "gff": Door("a.gff3", GFF, features, True),
    "gtf": Door("a.gtf", GTF, features, True),
    "bed": Door("a.bed", b"track name=x\nc\t0\t10\ta|1\t0\t+\nc\t20\t30\ta|2\t5\t-\n", features, True),
    "bed12": Door("b.bed", b"c\t0\t60\tt\t0\t+\t6\t50\t0,0,0\t2\t20,30\t0,30\n", features, True),
    "features of genbank": Door("a.gbk", GENBANK, features, True),
    "sites": Door("a.vcf", CALLS, features, True),
    "calls": Door("a.vcf", CALLS, lambda path: [r.calls.tolist() for r in VCF(path).records()], True),
    "nifti": Door("a.nii", image(NII, "<i2", CARET), voxels),
    "nifti2": Door("a.nii", image(NII2, "<f4"), lambda path: open_volume(path).read_labels()),
    "mgh": Door("a.mgh", image(MGH, "f4"), voxels),
    "dicom": Door("a.dcm", dicom(ExplicitVRLittleEndian), voxels),
    "implicit dicom": Door("a.dcm", dicom(ImplicitVRLittleEndian), voxels),
    "safetensors": Door("a.safetensors", TENSORS, lambda path: [float32(a) for a in read_safetensors(path).values()]),
    "dictionary": Door("a.safetensors", TENSORS, lambda path: load_dictionary(path, model="m", layer=1, k=2)),
    "checkpoint": Door("a.pt", checkpoint(), read_weights),
    "old checkpoint": Door("a.pt", checkpoint(_use_new_zipfile_serialization=False), read_weights),
    "pickle": Door("a.ckpt", pickle.dumps({"a": [1, 2]}, 2), read_weights),
    "npy": Door("a.npy", numpy_file(), lambda path: open_shards(path, None, None)),
    "shard of torch": Door("a.pt", checkpoint(), lambda path: open_shards(path, None, None)),
    "run file": Door("run.yaml", RUN, load),
    "scans": Door("scans.tsv", SCANS, read_sheet),
    "people": Door("people.tsv", PEOPLE, people, True),
    "components": Door("a.eigenvec", b"#FID\tIID\tPC1\tPC2\na\tA\t0.1\t0.2\nb\tB\t0.3\tNA\n", read_pcs, True),
    "lengths": Door("a.sizes", b"c\t120\nd\t7\n", read_lengths, True),
    "colour table": Door("a.txt", b"# x\n17  Left-Hippocampus  220 216 20 0\n", read_names),
    "label table": Door("a.tsv", b"index\tname\n1\ta\n2\tb\n", read_names),
    "label json": Door("a.json", b'{"labels": {"a": 1, "b": [2, 3]}}', read_names),
    "label python": Door("a.py", b'm = {1: "a", 2: "b"}\n', read_names),
    "layers model": Door("model.json", json.dumps(TFJS).encode(), network),
    "marker": Door("a.json", json.dumps({"marker": 1, "covariates": []}).encode(), Marker.load),
}
