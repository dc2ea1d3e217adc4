"""What `bioterp.activations` costs over the bare forward of the same network on the same scans, and its peak memory.

    python benchmarks/scan_overhead.py [FOLDER] [--repeats 5] [--scans 10 --scans 60 --scans 180]

FOLDER holds msd_hippocampus/ (default: $BIOTERP_SHARED/data/imaging). Overhead: per repeat the bare forward and the
whole call run one after the other in this process, at one thread; seconds are CPU seconds. The bare forward is the
network cut after the layer that is read, without hooks, on tensors made beforehand; writing is timed apart, as for DNA.
Memory: peaks of a process of its own per number of scans, resident and anonymous.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from common import Stopwatch, imaging, machine, row, spread, steady_allocator, watched

LAYER = 4
WRITE = ("write", "hash", "fsync", "finish")


def open_scans(folder: Path, count: int) -> Any:
    """The first `count` scans as a source, as the reference model wants them."""
    import pandas as pd

    import bioterp as bt

    files = sorted((folder / "msd_hippocampus/images").glob("*.nii.gz"))[:count]
    names = [file.name.split(".")[0] for file in files]
    sheet = pd.DataFrame({"scan": names, "path": [str(file) for file in files]})
    model = bt.load_model("bioterp/scan-small")
    return bt.Scans(sheet, blocks="scan", **model.wants), model


def bare(model: Any, inputs: list[Any]) -> float:
    """CPU seconds of the encoder alone, cut after the block that is read."""
    import torch

    network, last = model.module, model.blocks[LAYER]
    stage, block = int(last.split(".")[1]), int(last.split(".")[3])
    watch = Stopwatch()
    with torch.no_grad(), watch.lap("bare"):
        for x in inputs:
            x = network.conv_init(x)
            for number, level in enumerate(network.layers):
                for at, one in enumerate(level["blocks"]):
                    x = one(x)
                    if (number, at) == (stage, block):
                        break
                if number == stage:
                    break
                x = level["downsample"](x)
    return watch.cpu["bare"]


def whole(source: Any, model: Any, out: Path) -> Stopwatch:
    """bioterp.activations, with reading the files and writing timed apart."""
    from bioterp import activate, store
    from bioterp.field import FieldWriter
    from bioterp.imaging import Volume

    watch = Stopwatch()
    with (
        mock.patch.object(Volume, "read", watch.around(Volume.read, "files")),
        mock.patch.object(FieldWriter, "write", watch.around(FieldWriter.write, "write")),
        mock.patch.object(FieldWriter, "finish", watch.around(FieldWriter.finish, "finish")),
        mock.patch.object(store, "file_sha256", watch.around(store.file_sha256, "hash")),
        mock.patch.object(store, "_fsync", watch.around(store._fsync, "fsync")),
        mock.patch.object(model, "run", watch.around(model.run, "forward")),
        watch.lap("rest"),
    ):
        activate.activations(source, model, [LAYER], out)
    return watch


def overhead(folder: Path, count: int, repeats: int) -> None:
    source, model = open_scans(folder, count)
    inputs = [part.inputs["x"] for _, array, _ in source for part in model.prepare([array]).parts]
    bare(model, inputs[:2])
    seconds, watches = [], []
    with tempfile.TemporaryDirectory(prefix="bioterp-benchmark-") as temporary:
        whole(source, model, Path(temporary) / "warm")
        for repeat in range(repeats):
            seconds.append(bare(model, inputs))
            watches.append(whole(source, model, Path(temporary) / f"out-{repeat}"))
    print(f"\n**{count} hippocampus scans, scan-small, layer {LAYER}**, n = {repeats}, CPU seconds, one thread\n")
    row("part", "CPU s, median (lowest–highest)", "% of bare")
    row("---", "---:", "---:")
    parts = {"bare forward": seconds}
    parts["forward with hooks"] = [watch.cpu["forward"] for watch in watches]
    parts["reading files (unzip)"] = [watch.cpu["files"] for watch in watches]
    parts["writing"] = [sum(watch.cpu[name] for name in WRITE) for watch in watches]
    parts["orientation, intensity, rows, the rest"] = [watch.cpu["rest"] for watch in watches]
    parts["**adapter** (all but the bare forward and writing)"] = [
        sum(w.cpu.values()) - sum(w.cpu[name] for name in WRITE) - b for w, b in zip(watches, seconds, strict=True)
    ]
    for name, values in parts.items():
        row(name, spread(values), spread([100 * v / b for v, b in zip(values, seconds, strict=True)], 1))


def child(folder: Path, count: int, out: Path) -> None:
    import resource

    import torch

    torch.set_num_threads(1)
    source, model = open_scans(folder, count)
    import bioterp as bt

    rows = len(bt.activations(source, model, [2, LAYER], out)[LAYER])
    print(json.dumps({"rows": rows, "resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def memory(folder: Path, counts: list[int], repeats: int) -> None:
    print(f"\nPeak memory of activations (layers 2 and {LAYER}), MiB, n = {repeats}\n")
    row("scans", "rows of the coarser layer", "peak resident", "peak anonymous")
    row("---:", "---:", "---:", "---:")
    for count in counts:
        told = []
        for _ in range(repeats):
            with tempfile.TemporaryDirectory(prefix="bioterp-benchmark-") as temporary:
                command = [sys.executable, __file__, "--child", str(folder), str(count), f"{temporary}/out"]
                told.append(watched(command, f"{count} scans"))
        row(
            count,
            f"{told[0]['rows']:,}",
            spread([one["resident"] for one in told], 0),
            spread([one["anonymous"] for one in told], 0),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scans", action="append", type=int, help="for memory (default: 10, 60, 180)")
    options = parser.parse_args()
    steady_allocator()
    folder = imaging(options.folder)
    print(machine())
    overhead(folder, 20, options.repeats)
    memory(folder, options.scans or [10, 60, 180], min(options.repeats, 3))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    else:
        main()
