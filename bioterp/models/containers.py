"""What a weights file is, by its content and not by its name, and why one that could run code is refused."""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
from pathlib import Path

from safetensors import SafetensorError

from bioterp import limits
from bioterp.errors import InputError

SMALL = 64 << 20  # bytes that any checkpoint may unpack to
# What torch and safetensors fail with on a file that is damaged, cut off, or holds what may not be run.
BROKEN = (
    SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError,
    AttributeError, OverflowError, OSError, AssertionError, MemoryError, struct.error, NotImplementedError,
    zipfile.BadZipFile, ImportError,
)  # fmt: skip
UNSAFE = re.compile(r"(?:GLOBAL|class|function)\s+([A-Za-z_][\w.]*)")


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors does: eight bytes of length, then JSON of that length."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return 2 <= size <= path.stat().st_size - 8 and file.read(1) == b"{"


def check_container(path: Path) -> None:
    """InputError for a safetensors header that is too large, and for a zip of torch's that unpacks to far more."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
    if is_safetensors(path):
        said = int.from_bytes(head, "little")
        limits.check("TENSORS", said, f"{path} has a header of {said:,} bytes")
    if head[:4] != b"PK\3\4":
        return
    unpacked = sum(entry.file_size for entry in _packed(path))
    if unpacked > max(SMALL, limits.most("UNPACKED") * size):
        raise limits.more("UNPACKED", f"{path} has {size:,} bytes and unpacks to {unpacked:,}")


def refusal(path: Path, error: Exception) -> InputError:
    """One sentence for a checkpoint that is not read: what is in it, and what to do.

    Only where it is something pickled, that could run code, is unpickling it elsewhere a way out.
    """
    size, found = path.stat().st_size, UNSAFE.search(str(error))
    with path.open("rb") as file:
        head = file.read(2)
    if not size:
        return InputError(f"{path} is empty: it is damaged or was never written; copy or download it again")
    if not found and head not in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        kind = "safetensors file" if isinstance(error, SafetensorError) else "file of safetensors or torch.save"
        return InputError(
            f"{path} is no {kind}, or is damaged or cut off ({size:,} bytes): copy or download it again, or save the "
            "tensors with safetensors.torch.save_file"
        )
    inside = _packed(path) if head == b"PK" else []
    if inside and all(entry.filename.endswith(".npy") for entry in inside):
        return InputError(
            f"{path} holds NumPy arrays (.npz), not torch's tensors: save them, as torch tensors under the same names, "
            "with safetensors.torch.save_file"
        )
    held = f"more than tensors ('{found[1]}')" if found else "more than tensors, or is damaged"
    return InputError(
        f"{path} holds {held}, and is not opened because unpickling it could run code; where you trust the file, load "
        "it with torch.load(…, weights_only=False) apart from this program, and save its state dict with "
        "safetensors.torch.save_file"
    )


def _packed(path: Path) -> list[zipfile.ZipInfo]:
    """What a zip holds; nothing where it is damaged: torch says what is wrong with it."""
    try:
        with zipfile.ZipFile(path) as packed:
            return packed.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, OSError):
        return []
