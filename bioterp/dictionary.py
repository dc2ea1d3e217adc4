"""`Dictionary`: a frozen, small, callable sparse autoencoder, or a baseline in its form.

With x an activation in model units, μ the mean and s the scale of the data it was fitted on,

    pre  = E · ((x − μ)/s − b_dec) + b_enc          codes = s · act(pre)          x̂ = μ + s · b_dec + codes · D

so codes carry model units and, with unit-norm decoder rows, a code is the length of its feature's contribution.
`act` is one of: 'topk' (the k largest positive), 'threshold' (those above θ, JumpReLU: BatchTopK dictionaries are
deployed this way, Bussmann et al. 2024), 'relu', or 'batchtopk' (θ not known yet: `bioterp.calibrate` finds it). A
feature's code depends on its own cell alone.

Dictionaries of other tools may also have `b_out` (what is added instead of μ + s · b_dec: a transcoder's, or a decoder
bias that the encoder does not subtract), `skip` (x̂ += x · skipᵀ) and `norm` (N(x − μ) in place of x − μ, and x̂ brought
back by the same row's numbers; codes are then in normalised units). The last two decode only beside the activations.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import torch

from bioterp import store
from bioterp.arrays import Array
from bioterp.computed import Computed, shards
from bioterp.errors import AlignmentError, InputError, StoreError
from bioterp.field import Field, FieldWriter
from bioterp.halved import Halves
from bioterp.progress import track
from bioterp.rownorm import RowNorm
from bioterp.topk import above, top_k

ACTIVATIONS = ("topk", "threshold", "relu", "batchtopk")
BATCH = 8_192
FEW = 16  # rows below which a product is made with others beside them
SLICE = 4_096  # rows whose sparse codes are picked at a time,
TILE = 1 << 23  # or fewer: those of so many pre-activations (32 MB), which stay where they are for the next


@dataclass(frozen=True, repr=False)
class Dictionary:
    """encoder (m, d_in), decoder (m, d_out), b_enc (m,), b_dec (d_in,), mean (d_in,), scale; float32.

    activation with k ('topk') or threshold ('threshold', scalar or (m,), in raw code units); about: plain JSON that
    names model, layer, seed, and how well it did. b_out (d_out,), skip (d_out, d_in), norm: see above.
    """

    encoder: Array
    decoder: Array
    b_enc: Array
    b_dec: Array
    mean: Array
    scale: float = 1.0
    activation: str = "topk"
    k: int | None = None
    threshold: Array | float | None = None
    about: dict[str, Any] = field(default_factory=dict)
    b_out: Array | None = None
    skip: Array | None = None
    norm: RowNorm | None = None

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise InputError(
                f"the activation of a Dictionary is one of {', '.join(ACTIVATIONS)}; got {self.activation!r}"
            )
        m, d = self.encoder.shape
        out = (d,) if self.b_out is None else self.b_out.shape
        shapes = {(self.b_enc.shape, (m,)), (self.mean.shape, (d,)), (self.b_dec.shape, (d,))}
        if self.skip is not None:
            shapes.add((self.skip.shape, (*out, d)))
        if self.decoder.shape != (m, *out) or any(came != wanted for came, wanted in shapes):
            raise InputError(
                f"encoder {self.encoder.shape}, decoder {self.decoder.shape} and biases do not fit together"
            )
        if self.norm is not None and self.norm.undone and (np.any(self.mean) or self.scale != 1):
            raise InputError("a Dictionary that normalises each row by itself has neither a mean nor a scale")
        if (self.activation == "topk" and not self.k) or (self.activation == "threshold" and self.threshold is None):
            raise InputError(
                f"a {self.activation} Dictionary needs its {'k' if self.activation == 'topk' else 'threshold'}"
            )

    def __repr__(self) -> str:
        kind = {"topk": f"top {self.k}", "batchtopk": "not calibrated"}.get(self.activation, self.activation)
        return f"Dictionary({self.inputs} channels → {self.width} features, {kind}, {self.id})"

    @property
    def width(self) -> int:
        return int(self.encoder.shape[0])

    @property
    def inputs(self) -> int:
        return int(self.encoder.shape[1])

    def pre(self, x: torch.Tensor) -> torch.Tensor:
        """(n, d_in) activations → (n, m) pre-activations in scaled units."""
        return self._pre(self._normed(x))

    def encode_array(self, x: Array | torch.Tensor, selection: str = "float32") -> Any:
        """(n, d_in) activations in model units → codes (n, m): CSR, or a dense array for 'relu'.

        selection: 'bfloat16' finds the same codes from a product in bfloat16, which some processors make in half the
        time; of no effect where every code is wanted ('relu').
        """
        if selection not in ("float32", "bfloat16"):
            raise InputError(f"selection is one of float32, bfloat16; got {selection!r}")
        # A memory-mapped array is read-only, which torch does not like: require gives a writable copy of those alone.
        held = x if isinstance(x, torch.Tensor) else torch.from_numpy(np.require(x, np.float32, ["C", "W"]))
        batch = held.float()
        if batch.shape[1] != self.inputs:
            raise AlignmentError(f"this Dictionary reads {self.inputs} channels; the activations have {batch.shape[1]}")
        if self.activation == "batchtopk":
            raise InputError(
                "this Dictionary was trained with a batch top-k and holds no threshold, so a row has no codes of its "
                f"own; find one on your activations: bioterp.calibrate(dictionary, acts, k={self.k or '…'})"
            )
        with torch.no_grad():
            batch = self._normed(batch)
            if self.activation == "relu":
                return self._relu(batch)
            size = max(FEW, min(SLICE, TILE // self.width))
            room = torch.empty(max(FEW, min(size, len(batch))) if selection == "float32" else 0, self.width)
            sparse = functools.partial(self._sparse, room=room) if selection == "float32" else self._refined
            pieces = [sparse(batch[at : at + size]) for at in range(0, max(len(batch), 1), size)]
        return pieces[0] if len(pieces) == 1 else scipy.sparse.vstack(pieces, format="csr")

    def _normed(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.norm is None else self.norm.into(x - torch.from_numpy(np.asarray(self.mean, np.float32)))

    def _pre(self, batch: torch.Tensor) -> torch.Tensor:
        encoder, bias, _, _ = self._tensors()
        return self._product(batch, encoder).add_(bias)

    def _product(self, batch: torch.Tensor, encoder: torch.Tensor, room: torch.Tensor | None = None) -> torch.Tensor:
        """batch · encoderᵀ, made in `room` (FEW rows or more) where given.

        Few rows are multiplied by other kernels, with other last bits: they get company.
        """
        missing = FEW - len(batch) if len(batch) < FEW else 0
        rows = torch.nn.functional.pad(batch, (0, 0, 0, missing)) if missing else batch
        return torch.mm(rows, encoder.T, out=None if room is None else room[: len(rows)])[: len(batch)]

    def _sparse(self, batch: torch.Tensor, room: torch.Tensor) -> scipy.sparse.csr_matrix:
        encoder, bias, _, _ = self._tensors()
        made = self._product(batch, encoder, room).numpy(), bias.numpy()
        if self.activation == "topk":
            parts = top_k(*made, min(int(self.k or 1), self.width), self.scale)
        else:
            limit = self._limit()
            own = np.ascontiguousarray(np.broadcast_to(limit, self.width)) if limit.ndim else limit
            parts = above(*made, own, self.scale)
        return self._csr(len(batch), parts)

    def _limit(self) -> Any:
        """The threshold, scalar or (m,) float32, in scaled units."""
        return np.asarray(self.threshold, np.float32) / np.float32(self.scale)

    def _refined(self, batch: torch.Tensor) -> scipy.sparse.csr_matrix:
        """As `_sparse`, from a product in bfloat16. Its error grows with the rows, so they are centred first."""
        halves = self.__dict__.get("_halves")
        if halves is None:
            halves = self.__dict__["_halves"] = Halves(self.encoder, self.b_enc)
        centred = self.mean if self.norm is None else np.zeros_like(self.mean)  # `norm` has taken it away
        rows = np.asarray((batch.numpy() - centred) / np.float32(self.scale) - self.b_dec, np.float32)
        k = min(int(self.k or 1), self.width) if self.activation == "topk" else None
        limit = 0.0 if k is not None else self._limit()
        return self._csr(len(batch), halves.encoded(rows, k, limit, self.scale))

    def _csr(self, rows: int, parts: tuple[Array, Array, Array]) -> scipy.sparse.csr_matrix:
        matrix = scipy.sparse.csr_matrix((rows, self.width), dtype=np.float32)
        # Set directly: the constructor would check, and copy, what was just made.
        matrix.data, matrix.indices, matrix.indptr = parts
        return matrix

    def _relu(self, batch: torch.Tensor) -> Array:
        """Dense codes. Directions that come both ways are multiplied once, channels themselves not at all."""
        encoder, bias, half, channels = self._tensors()
        if not half:
            return (self._pre(batch).clamp_min_(0) * self.scale).numpy()
        own = bias[:half]
        pre = batch.numpy() + own.numpy() if channels else self._product(batch, encoder[:half]).add_(own).numpy()
        codes = np.empty((len(batch), 2 * half), np.float32)
        np.maximum(pre, 0, out=codes[:, :half])
        np.maximum(np.negative(pre, out=pre), 0, out=codes[:, half:])
        return codes if self.scale == 1 else np.multiply(codes, np.float32(self.scale), out=codes)

    @property
    def beside(self) -> bool:
        """Whether codes decode only beside the activations they are of."""
        return self.skip is not None or (self.norm is not None and self.norm.undone)

    def decode_array(self, codes: Any, x: Array | None = None) -> Array:
        """Codes (n, m), dense or CSR → (n, d_out) reconstructions in model units; x: the activations they are of."""
        offset = self.scale * self.b_dec + self.mean if self.b_out is None else self.b_out
        rebuilt = np.asarray(codes @ self.decoder + offset, np.float32)
        if not self.beside:
            return rebuilt
        if x is None:
            raise InputError(
                "a reconstruction by this Dictionary needs the activations that the codes are of: give them"
            )
        if self.norm is not None:
            rebuilt = self.norm.back(rebuilt, np.asarray(x, np.float32))
        return np.asarray(rebuilt if self.skip is None else rebuilt + x @ self.skip.T, np.float32)

    def encode(
        self, acts: Field, out: str | Path | None = None, name: str | None = None, selection: str = "float32"
    ) -> Field:
        """Field(activation) → Field(code) on the same rows; selection as for `encode_array`.

        With `out` the codes are stored there, shard by shard (an interrupted call resumes); without, they are
        computed anew each time they are read, and nothing is held in memory.
        """
        if acts.shape[1] != self.inputs:
            raise AlignmentError(f"this Dictionary reads {self.inputs} channels; the activations have {acts.shape[1]}")
        about = {**acts.about, **self.about, "dictionary": name or self.about.get("dictionary", self.id)}
        columns = pd.DataFrame({"name": [str(i) for i in range(self.width)]})
        made = functools.partial(self.encode_array, selection=selection)
        if out is None:
            return Field(acts.rows, Computed((acts.data,), made, self.width), columns, "code", about)
        recipe = {"dictionary": self.id, "rows": acts.rows.id, "of": acts.about}
        writer = FieldWriter(out, columns, "code", recipe, about)
        pieces = shards(acts.rows)
        for shard, (first, last) in enumerate(track(pieces, f"codes of {about['dictionary']}", len(pieces))):
            if not writer.done(shard):
                part = acts.take(np.arange(first, last))
                codes = [made(block) for _, _, block in part.batches(BATCH)]
                whole = scipy.sparse.vstack([scipy.sparse.csr_matrix(c) for c in codes], format="csr")
                writer.write(shard, part.rows, whole)
        return writer.finish(len(pieces))

    def decode(self, codes: Field, acts: Field | None = None) -> Field:
        """Field(code) → Field(activation) of reconstructions, computed when read; acts: wanted where `beside`."""
        if acts is not None:
            codes.check_same_rows(acts)
        bases = (codes.data,) if acts is None else (codes.data, acts.data)
        width = int(self.decoder.shape[1])
        values = Computed(bases, self.decode_array, width)
        return Field(codes.rows, values, [str(i) for i in range(width)], "activation", codes.about)

    def quality(self, acts: Field, rows: int = 200_000) -> dict[str, float]:
        """FVU (1 − explained variance, about the mean of these rows), L0, and the fraction of features never active."""
        squares = total = active = 0.0
        ever = np.zeros(self.width, bool)
        n = min(rows, len(acts))
        step = max(1, len(acts) // max(1, n // BATCH))
        blocks = [acts.read(lo, min(lo + min(BATCH, step), len(acts))) for lo in range(0, len(acts), step)]
        mean = sum(b.sum(0, dtype=np.float64) for b in blocks) / sum(len(b) for b in blocks)
        seen = 0
        for x in blocks:
            codes = scipy.sparse.csr_matrix(self.encode_array(x))
            squares += float(np.square(x - self.decode_array(codes, x), dtype=np.float64).sum())
            total += float(np.square(x - mean).sum())
            active += codes.nnz
            ever[np.unique(codes.indices)] = True
            seen += len(x)
        return {
            "fvu": squares / max(total, 1e-30),
            "l0": active / seen,
            "dead": float(1 - ever.mean()),
            "rows": float(seen),
        }

    @property
    def id(self) -> str:
        """A hash of the weights."""
        limit = np.asarray(0.0 if self.threshold is None else self.threshold, np.float32)
        parts = [self.encoder, self.decoder, self.b_enc, self.b_dec, self.mean, limit]
        parts += [p for p in (self.b_out, self.skip) if p is not None]
        sums = [hashlib.blake2b(np.ascontiguousarray(p).tobytes(), digest_size=8).hexdigest() for p in parts]
        norm = [] if self.norm is None else [self.norm.kind, self.norm.eps]
        return store.digest([*sums, self.scale, self.activation, self.k, *norm])[:12]

    def save(self, path: str | Path) -> Path:
        """Write to a folder (safetensors and JSON)."""
        names = ("encoder", "decoder", "b_enc", "b_dec", "mean", "b_out", "skip")
        held = {name: getattr(self, name) for name in names}
        arrays: dict[str, Array] = {name: np.asarray(a, np.float32) for name, a in held.items() if a is not None}
        if self.threshold is not None:
            arrays["threshold"] = np.asarray(self.threshold, np.float64).reshape(-1)
        meta = {"type": "dictionary", **{name: getattr(self, name) for name in ("scale", "activation", "k", "about")}}
        if self.norm is not None:
            meta["norm"] = [self.norm.kind, self.norm.eps]
        store.write(path, arrays, meta=meta)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Dictionary:
        """Read a folder written by `save`."""
        stored = store.read(path)
        if stored.meta.get("type") != "dictionary":
            raise StoreError(f"{path} is not a Dictionary")
        with store.damaged(Path(path)):
            arrays: dict[str, Any] = {name: np.array(stored.array(name)) for name in stored.arrays}
            limits = arrays.pop("threshold", None)
            threshold = float(limits[0]) if limits is not None and limits.size == 1 else limits
            meta = stored.meta
            return cls(
                **arrays,
                threshold=threshold,
                norm=RowNorm(*meta["norm"]) if "norm" in meta else None,
                **{name: meta[name] for name in ("scale", "activation", "k", "about")},
            )

    def _tensors(self) -> tuple[torch.Tensor, torch.Tensor, int, bool]:
        """Encoder and bias with centring and scaling folded in: pre = x · Eᵀ/s + bias.

        Then half the width when the second half of the rows is the first, negated (0 when not), and whether
        the first half is the channels themselves.
        """
        cached = self.__dict__.get("_folded")
        if cached is None:
            encoder = self.encoder if self.scale == 1 else self.encoder / np.float32(self.scale)
            centred = self.mean if self.norm is None else np.zeros_like(self.mean)  # `norm` has taken it away
            bias = self.b_enc - encoder @ centred - self.encoder @ self.b_dec
            half = self.width // 2
            ways = encoder[:half], bias[:half]
            mirrored = self.width == 2 * half and all(
                np.array_equal(one, -other) for one, other in zip(ways, (encoder[half:], bias[half:]), strict=True)
            )
            half = half if mirrored else 0
            channels = half == self.inputs and np.array_equal(encoder[:half], np.eye(half, dtype=np.float32))
            folded = torch.from_numpy(np.ascontiguousarray(encoder)), torch.from_numpy(np.asarray(bias, np.float32))
            cached = *folded, half, channels
            self.__dict__["_folded"] = cached  # frozen for its users; this is a cache of a pure function
        return cached
