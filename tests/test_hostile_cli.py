"""Files from strangers through the command line: one sentence each, status 2, nothing run or written, bounded memory.

All cases share one process, forked from that of the tests, whose address space may grow by ROOM.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import multiprocessing
import os
import pickle
import resource
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bioterp import cli
from tests.conftest import random_dna, write_fasta

ROOM = 2 << 30  # bytes, libraries and models included


def run_all(cases: Path, told: Path) -> None:
    """In a process of its own: every command line of a file, and what became of it."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + ROOM, mapped + ROOM))
    found = {}
    for name, words in json.loads(cases.read_text()).items():
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            status = cli.main([*words, "--quiet"])
        found[name] = [status, said.getvalue()]
    told.write_text(json.dumps(found))


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def nifti_header(*shape: int) -> bytes:
    """A NIfTI-1 header that claims float64 voxels, 1 mm, RAS; by the format's own offsets."""
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<2h", head, 70, 64, 64)  # datatype, bitpix
    struct.pack_into("<8f", head, 76, *[1.0] * 8)
    struct.pack_into("<f", head, 108, 352.0)
    struct.pack_into("<h", head, 254, 1)  # sform_code
    for axis in range(3):
        struct.pack_into("<f", head, 280 + 16 * axis + 4 * axis, 1.0)
    head[344:348] = b"n+1\0"
    return bytes(head)


def members(path: Path, piece: bytes, times: int) -> Path:
    """A gzip file of many members, so that a bomb is made without packing it all."""
    path.write_bytes(gzip.compress(piece, 9) * times)
    return path


def run_of(folder: Path, name: str, **changes: Any) -> str:
    tree: dict[str, Any] = {
        "out": f"out-{name}",
        "source": {"kind": "dna", "fasta": "good.fa", "window": 512, "blocks": 1_000},
        "model": {"name": "bioterp/dna-small"},
        "layers": [1],
        "dictionary": {"width": 37, "k": 3, "tokens": 1_000},
        "labels": {"genes": {"path": "good.gff"}},
        "analyses": ["detection"],
        "baselines": [],
    }
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(tree | changes))
    return str(file)


def scans(items: str) -> dict[str, Any]:
    labels = {"brain": {"column": "label"}}
    return {"source": {"kind": "scans", "items": items}, "model": {"name": "bioterp/scan-small"}, "labels": labels}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, set[str]]:
    """{case: [status, what stderr said]}, the folder, and the files that were there before."""
    top = tmp_path_factory.mktemp("top")
    work = top / "a" / "b"
    work.mkdir(parents=True)
    write_fasta(work / "good.fa", c=random_dna(6_007, 3))
    (work / "good.gff").write_text("c\tx\tCDS\t10\t99\t.\t+\t0\tID=a\n")
    cases: dict[str, list[str]] = {}

    def case(name: str, verb: str, **changes: Any) -> None:
        cases[name] = [verb, run_of(work, name, **changes)]

    (top / "x<script>.nii.gz").write_bytes(gzip.compress(nifti_header(7, 8, 9) + bytes(7 * 8 * 9 * 8)))
    (work / "name.tsv").write_text("path\tlabel\n../../x<script>.nii.gz\t../../x<script>.nii.gz\n")
    (work / "id.tsv").write_text("scan\tpath\n../../x<script>\t../../x<script>.nii.gz\n")
    case("name", "activations", **scans("name.tsv"))
    case("id", "activations", **scans("id.tsv"))
    (work / "huge.nii").write_bytes(nifti_header(32_767, 32_767, 32_767))
    (work / "huge.tsv").write_text("scan\tpath\nhuge\thuge.nii\n")
    case("huge", "activations", **scans("huge.tsv"))
    # Voxels for 16 MB, behind a header that asks for 0.8 GB, which a gzip file of this size could hold.
    bomb = members(work / "bomb.nii.gz", bytes(1 << 24), 1)
    padding = gzip.compress(b"", 9)[:10] + b"\3\0" + bytes(8)  # an empty member
    bomb.write_bytes(gzip.compress(nifti_header(1_000, 1_000, 97)) + bomb.read_bytes() + padding * 36_000)
    (work / "bomb.tsv").write_text("scan\tpath\nbomb\tbomb.nii.gz\n")
    case("bomb scan", "activations", **scans("bomb.tsv"))
    torch.save({"state": Payload(work / "ran-zip")}, work / "payload.pt")
    (work / "payload.ckpt").write_bytes(pickle.dumps(Payload(work / "ran-pickle"), 2))
    case("payload", "activations", model={"name": "openspliceai-80nt", "weights": "payload.pt"})
    case("old payload", "activations", model={"name": "openspliceai-80nt", "weights": "payload.ckpt"})
    case("dictionary payload", "check", dictionary={"path": "payload.pt"}, layers=[1])
    with zipfile.ZipFile(work / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("packed/data.pkl", pickle.dumps({}, 2))
        with packed.open("packed/data/0", "w") as entry:
            for _ in range(90):
                entry.write(bytes(1 << 20))
    case("packed checkpoint", "activations", model={"name": "openspliceai-80nt", "weights": "packed.pt"})
    many = ";".join(f"k{i}=v" for i in range(10**6))
    (work / "many.gff").write_text(f"c\tx\tgene\t1\t90\t.\t+\t.\t{many}\n")
    case("attributes", "label", labels={"genes": {"path": "many.gff"}})
    (work / "endless.gff").write_bytes(b"#" + b"x" * (17 << 20))
    case("endless line", "label", labels={"genes": {"path": "endless.gff"}})
    bomb = members(work / "bomb.fa.gz", b"A" * (1 << 24), 17)
    bomb.write_bytes(gzip.compress(b">c\n") + bomb.read_bytes())
    case("bomb sequence", "activations", source={"kind": "dna", "fasta": "bomb.fa.gz"})
    members(work / "bomb.gff.gz", (b"#" + b"x" * ((1 << 20) - 2) + b"\n") * 16, 17)
    case("bomb annotation", "label", labels={"genes": {"path": "bomb.gff.gz"}})
    (work / "wide.tsv").write_text("\t".join(map(str, range(10**6))) + "\n")
    case("wide table", "activations", **scans("wide.tsv"))
    laughs = ["a0: &a0 [x, x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    (work / "laughs.yaml").write_text("\n".join(laughs))
    cases["laughs"] = ["run", str(work / "laughs.yaml")]
    (work / "deep.yaml").write_text("[" * 5_000)
    cases["deep"] = ["check", str(work / "deep.yaml")]
    shell = {"name": "os:mkdir", "weights": "random", "arguments": {"path": str(work / "ran-factory")}}
    case("factory", "activations", model=shell)
    case("remote", "activations", model={"name": "a/b", "trust_remote_code": True, "revision": "0" * 40})
    case("label name", "label", labels={"../../x": {"path": "good.gff"}})
    case("layer name", "activations", layers=["../../x"])
    case("zero byte", "activations", source={"kind": "dna", "fasta": "a\0b"})
    before = {str(path.relative_to(top)) for path in top.rglob("*")}
    file = top / "cases.json"
    file.write_text(json.dumps(cases))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work)
        for name in ("BIOTERP_TRUST_REMOTE_CODE", *(name for name in os.environ if name.startswith("BIOTERP_MAX"))):
            patch.delenv(name, raising=False)
        child = multiprocessing.get_context("fork").Process(target=run_all, args=(file, top / "told.json"))
        child.start()
        child.join(240)
    assert child.exitcode == 0
    return json.loads((top / "told.json").read_text()), top, before


EXPECTED = {
    "name": "the scan id 'x<script>' cannot name a folder",
    "id": "the scan id '../../x<script>' cannot name a folder",
    "huge": "32767 × 32767 × 32767 voxels",
    "bomb scan": "bomb.nii.gz is cut off or damaged",
    "payload": "not opened because unpickling it could run code",
    "old payload": "not opened because unpickling it could run code",
    "packed checkpoint": "BIOTERP_MAX_UNPACKED",
    "attributes": "999,999 attributes",
    "endless line": "BIOTERP_MAX_LINE",
    "bomb sequence": "BIOTERP_MAX_RATIO",
    "bomb annotation": "BIOTERP_MAX_RATIO",
    "wide table": "has 1,000,000 columns",
    "laughs": "BIOTERP_MAX_NODES",
    "deep": "nested deeper",
    "factory": "--trust-remote-code",
    "remote": "--trust-remote-code",
    "label name": "cannot name a folder",
    "layer name": "cannot name a folder",
    "zero byte": "zero byte",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_hostile_file_is_one_sentence(told: Any, name: str) -> None:
    status, said = told[0][name]
    assert status == 2 and EXPECTED[name] in said, said
    assert said.startswith("bioterp: ") and said.count("\n") == 1 and len(said) < 1_700


def test_a_payload_among_the_findings_of_check(told: Any) -> None:
    assert told[0]["dictionary payload"][0] == 2


def test_nothing_ran_and_nothing_was_written_outside(told: Any) -> None:
    """New are only result folders, beside their run files."""
    _, top, before = told
    new = {str(path.relative_to(top)) for path in top.rglob("*")} - before - {"cases.json", "told.json"}
    assert {name for name in new if not name.startswith("a/b/out-")} == set()
