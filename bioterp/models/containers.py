"""What a weights file is, by its content and not by its name, and why one that could run code is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

from bioterp.errors import InputError

HEADER_LIMIT = 100 << 20  # safetensors' own limit of its header
UNSAFE = re.compile(r"(?:GLOBAL|class|function)\s+([A-Za-z_][\w.]*)")


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors does: eight bytes of length, then that many of JSON."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 2 <= size <= min(HEADER_LIMIT, path.stat().st_size - 8):
            return False
        try:
            return isinstance(json.loads(file.read(size)), dict)
        except ValueError:
            return False


def refusal(path: Path, error: Exception) -> InputError:
    """One sentence for a checkpoint torch does not read with weights_only=True: what is in it, and what to do."""
    found = UNSAFE.search(str(error))
    held = f"more than tensors ('{found[1]}')" if found else "more than tensors, or is damaged"
    return InputError(
        f"{path} holds {held}, and is not opened because unpickling it could run code; where you trust the file, load "
        "it with torch.load(…, weights_only=False) apart from this program, and save its state dict with "
        "safetensors.torch.save_file"
    )
