"""Files of activations that other tools write, opened row by row.

    npy          (rows, channels), or (items, cells, channels)
    safetensors  one named tensor per file
    interplm     layer_<l>/shard_<i>/activations.pt: a tensor (tokens, channels) with metadata.yaml beside it, or
                 embeddings.pt: {'embeddings', 'boundaries', 'protein_ids'}
    bionemo      metadata.json and shard_<iiiii>.parquet with columns dim_0 … (the SAE recipes' ActivationStore),
                 or predict_evo2's predictions__*.pt: {'hidden_embeddings' (b, s, c), 'pad_mask', 'seq_idx'}

torch files are read with weights_only=True and mapped, never unpickled. InterPLM can shuffle tokens while
extracting and does not record it; BioNeMo's multi-rank stores follow the order of the ranks: the coordinate
table must be in the order of the file. Sequences of predict_evo2 are put in the order of `seq_idx`.
"""

from __future__ import annotations

import re
import tokenize
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bioterp.arrays import Array, BFloat16, read_safetensors
from bioterp.doors import json_of, yaml_of
from bioterp.errors import InputError, StoreError, nearest, one_line
from bioterp.values import Dense, Values

FORMATS = {
    "npy": "NumPy arrays (.npy)",
    "safetensors": "a named tensor of .safetensors files",
    "interplm": "InterPLM's shard_*/activations.pt or embeddings.pt",
    "bionemo": "BioNeMo's shard_*.parquet store, or predict_evo2's predictions__*.pt",
}
# What NumPy makes of a damaged .npy, whose header it reads as Python's words.
NO_ARRAY = (
    ValueError, EOFError, OverflowError, MemoryError, SyntaxError, TypeError, KeyError, RecursionError,
    tokenize.TokenError, zipfile.BadZipFile,
)  # fmt: skip
PATTERNS = {
    "bionemo": ("shard_*.parquet", "**/predictions__*.pt"),
    "interplm": ("shard_*/activations.pt", "shard_*/embeddings.pt", "shard_*.pt"),
    "safetensors": ("*.safetensors",),
    "npy": ("*.npy",),
}


@dataclass(frozen=True)
class Shard:
    """Rows of one file: dtype is the storage type that keeps them exactly; `first` is the file row of row 0."""

    file: Path
    format: str
    values: Values
    dtype: str = "float32"
    first: int = 0
    order: int = 0
    about: dict[str, Any] = field(default_factory=dict)


def open_shards(path: str | Path | Sequence[str | Path], format: str | None, tensor: str | None) -> list[Shard]:
    """The shards of a file, a folder or a list of files, in row order. Raises InputError."""
    if format is not None and format not in FORMATS:
        raise InputError(f"there is no activation format {format!r}; {nearest(format, FORMATS)}")
    files, format = _files(path, format)
    shards = [shard for file in files for shard in _open(file, format, tensor)]
    # Stable: only predict_evo2's sequences carry an order of their own.
    shards.sort(key=lambda shard: shard.order)
    if not any(shard.values.shape[0] for shard in shards):
        raise InputError(f"{files[0]} holds no rows")
    return shards


def _files(path: str | Path | Sequence[str | Path], format: str | None) -> tuple[list[Path], str]:
    if not isinstance(path, str | Path):
        files = [Path(file) for file in path]
        if not files:
            raise InputError("the list of activation files is empty")
        return files, format or _format_of(files[0])
    path = Path(path)
    if path.is_file():
        return [path], format or _format_of(path)
    if not path.is_dir():
        raise InputError(f"there is no file or folder {path}")
    for name in [format] if format else PATTERNS:
        for pattern in PATTERNS[name]:
            files = sorted(path.glob(pattern), key=_natural)
            if files:
                return files, name
    wanted = ", ".join(pattern for name in ([format] if format else PATTERNS) for pattern in PATTERNS[name])
    raise InputError(f"{path} holds none of {wanted}")


def _format_of(file: Path) -> str:
    by_suffix = {".npy": "npy", ".safetensors": "safetensors", ".pt": "interplm", ".pth": "interplm"}
    if file.name.startswith("predictions__") or file.suffix == ".parquet":
        return "bionemo"
    if file.suffix not in by_suffix:
        raise InputError(f"the format of {file} is not told by its name; say format= ({', '.join(FORMATS)})")
    return by_suffix[file.suffix]


def _natural(file: Path) -> list[Any]:
    """shard_2 before shard_10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", str(file))]


def _open(file: Path, format: str, tensor: str | None) -> list[Shard]:
    if not file.is_file():
        raise InputError(f"there is no file {file}")
    if format == "npy":
        return [Shard(file, format, *_dense(file, _npy(file)))]
    if format == "safetensors":
        return [Shard(file, format, *_dense(file, _named(file, tensor)))]
    if file.suffix == ".parquet":
        told = _metadata(file.parent / "metadata.json")
        kept = {new: told[old] for old, new in (("model_name", "model"), ("layer", "layer")) if old in told}
        values = ParquetRows(file)
        if told.get("hidden_dim", values.shape[1]) != values.shape[1]:
            raise InputError(f"{file} has {values.shape[1]} columns dim_*, its metadata.json says {told['hidden_dim']}")
        return [Shard(file, format, values, values.dtype, about=kept)]
    return _torch(file, format)


def _npy(file: Path) -> Array:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error}") from None
    except NO_ARRAY:  # NumPy's own message advises to unpickle the file
        raise InputError(
            f"{file} is not a plain .npy array of numbers: it is damaged, cut off or of another format"
        ) from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{file} holds several arrays; save one with np.save")
    return array


def _named(file: Path, tensor: str | None) -> Array | BFloat16:
    try:
        arrays = read_safetensors(file)
    except (StoreError, OSError) as error:
        raise InputError(str(error)) from None
    if tensor is None and len(arrays) == 1:
        tensor = next(iter(arrays))
    if tensor is None:
        raise InputError(f"{file} holds {len(arrays)} tensors; say which with tensor= ({nearest('', arrays)})")
    if tensor not in arrays:
        raise InputError(f"{file} has no tensor {tensor!r}; {nearest(tensor, arrays)}")
    return arrays[tensor]


def _torch(file: Path, format: str) -> list[Shard]:
    import torch

    from bioterp.models.containers import BROKEN, check_container

    check_container(file)
    try:
        held = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except BROKEN as error:
        raise InputError(f"{file} cannot be read as a torch file of plain tensors: {one_line(error)}") from None
    if isinstance(held, dict) and "hidden_embeddings" in held:
        return _predictions(file, held)
    if isinstance(held, dict):
        held = held.get("embeddings")
    if not isinstance(held, torch.Tensor):
        raise InputError(f"{file} holds neither a tensor nor 'embeddings' nor 'hidden_embeddings'")
    told = _metadata(file.with_name("metadata.yaml")) or _metadata(file.with_name("metadata.json"))
    values, dtype = _dense(file, _bits(held))
    if told.get("total_tokens", values.shape[0]) != values.shape[0]:
        raise InputError(f"{file} has {values.shape[0]} rows, its metadata says {told['total_tokens']}")
    return [Shard(file, format, values, dtype, about={k: told[k] for k in ("model", "layer") if k in told})]


def _predictions(file: Path, held: dict[str, Any]) -> list[Shard]:
    """One shard per sequence, without its padding."""
    hidden, mask = held["hidden_embeddings"], held.get("pad_mask")
    if hidden.ndim != 3:
        raise InputError(f"{file}: hidden_embeddings must be (batch, tokens, channels), got {tuple(hidden.shape)}")
    order = held["seq_idx"].flatten().tolist() if "seq_idx" in held else [0] * len(hidden)
    shards, first = [], 0
    for sequence, number in zip(range(len(hidden)), order, strict=True):
        rows = hidden[sequence]
        if mask is not None:
            keep = mask[sequence].bool()
            n = int(keep.sum())
            # Padding follows the sequence: a slice stays mapped, a mask would copy.
            rows = rows[:n] if bool(keep[:n].all()) else rows[keep]
        values, dtype = _dense(file, _bits(rows))
        shards.append(Shard(file, "bionemo", values, dtype, first, int(number)))
        first += values.shape[0]
    return shards


def _bits(tensor: Any) -> Array | BFloat16:
    import torch

    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return BFloat16(tensor.view(torch.int16).numpy().view(np.uint16))
    array: Array = tensor.numpy()
    return array


def _dense(file: Path, array: Array | BFloat16) -> tuple[Dense, str]:
    """(rows, channels) and the type to store it in; (items, cells, channels) is laid out row after row."""
    bits = array.bits if isinstance(array, BFloat16) else array
    if bits.ndim == 3:
        bits = bits.reshape(-1, bits.shape[2])
    if bits.ndim != 2 or not bits.shape[1]:
        raise InputError(f"{file} holds an array of shape {bits.shape}; wanted (rows, channels)")
    if isinstance(array, BFloat16):
        return Dense(BFloat16(bits)), "bfloat16"
    if bits.dtype.kind not in "fiu":
        raise InputError(f"{file} holds {bits.dtype} values; wanted numbers")
    return Dense(bits), "float16" if bits.dtype == np.float16 else "float32"


def _metadata(file: Path) -> dict[str, Any]:
    """What a tool wrote beside its shards; {} when it wrote nothing."""
    if not file.is_file():
        return {}
    told = json_of(file) if file.suffix == ".json" else yaml_of(file)
    return told if isinstance(told, dict) else {}


class ParquetRows:
    """A Parquet file of columns dim_0 … dim_{c−1}, read by row groups."""

    def __init__(self, file: Path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.file = file
        try:
            opened: Any = pq.ParquetFile(file)  # type: ignore[no-untyped-call]
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{file} is not a Parquet file: {error}") from None
        self._parquet = opened
        names = self._parquet.schema_arrow.names
        width = sum(bool(re.fullmatch(r"dim_\d+", name)) for name in names)
        self.names = [f"dim_{i}" for i in range(width)]
        if not width or not set(self.names) <= set(names):
            raise InputError(f"{file} has no columns dim_0, dim_1 …: it is not a BioNeMo activation store")
        self.dtype = "float16" if pa.types.is_float16(self._parquet.schema_arrow.field("dim_0").type) else "float32"
        sizes = [self._parquet.metadata.row_group(i).num_rows for i in range(self._parquet.num_row_groups)]
        self._edges = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)

    @property
    def shape(self) -> tuple[int, int]:
        return int(self._edges[-1]), len(self.names)

    def read(self, lo: int, hi: int) -> Array:
        first = int(np.searchsorted(self._edges, lo, side="right")) - 1
        last = max(int(np.searchsorted(self._edges, hi, side="left")), first)
        groups = list(range(first, min(last, len(self._edges) - 1)))
        if not groups or hi <= lo:
            return np.zeros((0, len(self.names)), np.float32)
        table = self._parquet.read_row_groups(groups, columns=self.names)
        block = np.empty((hi - lo, len(self.names)), np.float32)
        cut = slice(lo - int(self._edges[first]), hi - int(self._edges[first]))
        for i, name in enumerate(self.names):
            block[:, i] = table.column(name).to_numpy()[cut]
        return block
