"""What `bioterp.activations` costs over the bare forward of the same network on the same windows.

    python benchmarks/adapter_overhead.py [FOLDER] [--case dna-small --case tiny …] [--repeats 5]

FOLDER holds bacteria/ and models/ (default: $BIOTERP_SHARED/data/genomics). Per repeat the bare forward and the whole
call run one after the other in this process, at one thread; seconds are CPU seconds. The bare forward is the network
cut after the layer that is read, without hooks, on the same batches of token tensors, built beforehand.

    adapter = whole call − bare forward − writing       (reading, tokens, hooks, copies, the check for NaN, Rows)
    writing = narrow, safetensors, SHA-256, fsync, Parquet, sealing and reopening the folder
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from common import GENOMES, Stopwatch, genomics, machine, row, spread, steady_allocator, tiny_llama

FORWARD, WRITE = "forward with hooks", "write: narrow, safetensors, Parquet"
PARTS = {
    "read": "windows of the genome",
    "prepare": "tokens",
    FORWARD: FORWARD,
    "unpack": "unpack (copy of the cells)",
    "cells": "cells that become rows",
    "rest": "NaN check, copy into the shard, Rows, loop",
    WRITE: WRITE,
    "hash": "write: SHA-256",
    "fsync": "write: fsync",
    "finish": "write: seal and reopen",
}
WRITING = (WRITE, "hash", "fsync", "finish")


def cut_llama(model: Any, layer: int) -> Callable[..., Any]:
    """A transformers Llama's own forward up to and including block `layer`."""
    from copy import copy

    from torch import nn

    network = copy(model.module.model)
    network._modules = dict(network._modules)
    network.layers, network.norm = network.layers[: layer + 1], nn.Identity()
    return lambda inputs: network(**inputs, use_cache=False)


def cut_splice(model: Any, layer: int) -> Callable[..., Any]:
    """OpenSpliceAI up to and including residual unit `layer`, with the running sum of the skips before it."""
    network = model.module
    last = model.blocks[layer]

    def forward(inputs: dict[str, Any]) -> Any:
        x = network.initial_conv(inputs["x"])
        total = network.initial_skip(x)
        for name, part in network.residual_units.named_children():
            if type(part).__name__ == "Skip":
                total = total + part(x)
            else:
                x = part(x)
            if f"residual_units.{name}" == last:
                break
        return x, total

    return forward


def open_case(case: str, folder: Path, temporary: Path) -> tuple[Any, Any, int, Callable[..., Any], str]:
    """(source, model, layer, bare forward, what it is) of one case."""
    import bioterp as bt

    fasta = folder / GENOMES["E. coli"]
    sizes = {"dna-small": (768, 128, 46_080), "tiny": (1024, 128, 524_288), "openspliceai": (4096, 200, 524_288)}
    window, halo, bases = sizes[case]
    import gzip

    with gzip.open(fasta, "rt") as handle:
        contig = next(handle).split()[0][1:]
    part = temporary / f"{case}.bed"
    part.write_text(f"{contig}\t0\t{bases}\n")
    source = bt.DNA(fasta, window=window, halo=halo, regions=part, blocks=window * 8)
    if case == "dna-small":
        model, layer = bt.load_model("bioterp/dna-small"), 4
    elif case == "tiny":
        name = tiny_llama(temporary / "tiny", 64, 2, window + 2 * halo)
        model, layer = bt.load_model(name, alphabet="ACGTN"), 1
    else:
        weights = folder / "models/openspliceai/mane_400nt_rs10.pt"
        model, layer = bt.load_model("openspliceai-400nt", weights=weights), 7
    bare = (cut_splice if case == "openspliceai" else cut_llama)(model, layer)
    said = f"{bases:,} bp of E. coli, both strands, window {window} + 2 × {halo}, layer {layer}, width"
    return source, model, layer, bare, f"{case}: {said} {model.width(layer)}"


def whole_call(source: Any, model: Any, layer: int, out: Path) -> Stopwatch:
    """bioterp.activations with its parts timed from outside."""
    from bioterp import activate, store
    from bioterp.field import FieldWriter
    from bioterp.models.layouts import Layout

    watch = Stopwatch()
    with (
        mock.patch.object(source, "read", watch.through(source.read, "read")),
        mock.patch.object(model, "prepare", watch.around(model.prepare, "prepare")),
        mock.patch.object(model, "run", watch.around(model.run, FORWARD)),
        mock.patch.object(Layout, "unpack", watch.around(Layout.unpack, "unpack")),
        mock.patch.object(activate, "core_cells", watch.around(activate.core_cells, "cells")),
        mock.patch.object(FieldWriter, "write", watch.around(FieldWriter.write, WRITE)),
        mock.patch.object(FieldWriter, "finish", watch.around(FieldWriter.finish, "finish")),
        mock.patch.object(store, "file_sha256", watch.around(store.file_sha256, "hash")),
        mock.patch.object(store, "_fsync", watch.around(store._fsync, "fsync")),
        watch.lap("rest"),
    ):
        activate.activations(source, model, [layer], out)
    return watch


def bare_call(forward: Callable[..., Any], batches: list[Any]) -> float:
    """CPU seconds of the network alone on batches made beforehand."""
    import torch

    watch = Stopwatch()
    with torch.no_grad(), watch.lap("bare"):
        for inputs in batches:
            forward(inputs)
    return watch.cpu["bare"]


def measure(case: str, folder: Path, repeats: int) -> None:
    """One case: two tables."""
    from bioterp.activate import BATCH_CELLS, forward_batches

    with tempfile.TemporaryDirectory(prefix="bioterp-benchmark-") as temporary:
        source, model, layer, forward, said = open_case(case, folder, Path(temporary))
        groups = [
            [array for _, array, _ in group] for group in forward_batches(source.read(0, len(source)), BATCH_CELLS)
        ]
        batches = [part.inputs for group in groups for part in model.prepare(group).parts]
        bare_call(forward, batches[:2])
        whole_call(source, model, layer, Path(temporary) / "warm")
        bare, watches = [], []
        for repeat in range(repeats):
            bare.append(bare_call(forward, batches))
            watches.append(whole_call(source, model, layer, Path(temporary) / f"out-{repeat}"))
        cells = sum(len(array) for group in groups for array in group)
    total = [sum(watch.cpu.values()) for watch in watches]
    writing = [sum(watch.cpu[name] for name in WRITING) for watch in watches]
    adapter = [100 * (t - w - b) / b for t, w, b in zip(total, writing, bare, strict=True)]
    print(f"\n**{said}**; {len(batches)} batches, {cells:,} array cells, n = {repeats}\n")
    row("CPU seconds, median (lowest–highest)", "", "% of bare")
    row("---", "---:", "---:")
    row("bare forward", spread(bare), 100)
    row("whole call", spread(total), spread([100 * t / b for t, b in zip(total, bare, strict=True)], 0))
    row("writing", spread(writing), spread([100 * w / b for w, b in zip(writing, bare, strict=True)], 1))
    row("**adapter** (whole − bare − writing)", "", f"**{spread(adapter, 1)}**")
    print()
    row("part of the whole call", "CPU s", "% of bare", "wall s")
    row("---", "---:", "---:", "---:")
    middle = statistics.median(bare)
    for name, label in PARTS.items():
        cpu, wall = (statistics.median(getattr(w, kind)[name] for w in watches) for kind in ("cpu", "wall"))
        row(label, f"{cpu:.3f}", f"{100 * cpu / middle:.1f}", f"{wall:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    cases = ("dna-small", "tiny", "openspliceai")
    parser.add_argument("--case", action="append", choices=cases)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--allocator", choices=("steady", "default"), default="steady", help="see common.py")
    options = parser.parse_args()
    if options.allocator == "steady":
        steady_allocator()
    folder = genomics(options.folder)
    print(f"{machine()}, {options.allocator} allocator")
    for case in options.case or cases:
        measure(case, folder, options.repeats)


if __name__ == "__main__":
    main()
