"""Peak memory against genome length: activations, and the chain activations → fit → encode → label → detection.

    python benchmarks/memory.py [FOLDER] [--repeats 3] [--stage activations --stage fit …]

FOLDER holds bacteria/ (default: $BIOTERP_SHARED/data/genomics). A random Llama of one block and 16 channels reads both
strands whole. Every stage of every genome is a process of its own that opens from disk what the one before it left, as
the shell's verbs do. Two peaks: `resident` is getrusage's ru_maxrss, and counts pages of memory-mapped files, which the
system may take back at any time; `anonymous` (RssAnon, polled every 20 ms) is what the process needs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from common import ANNOTATIONS, GENOMES, genomics, machine, row, spread, tiny_llama, watched

STAGES = ("activations", "fit", "encode", "label", "detection")
WINDOW, HALO, WIDTH, K, TOKENS = 2048, 128, 64, 4, 200_000


def stage(name: str, fasta: Path, annotation: Path, folder: Path) -> dict[str, float]:
    """Run one stage in this process; what it says of itself."""
    import bioterp as bt
    from bioterp.dictionary import Dictionary
    from bioterp.field import Field

    began = time.process_time()
    if name == "activations":
        source = bt.DNA(fasta, window=WINDOW, halo=HALO)
        model = bt.load_model(str(folder.parent / "model"), alphabet="ACGTN")
        size = bt.activations(source, model, [0], folder / "activations")[0].shape
    elif name == "fit":
        acts = Field.open(folder / "activations/layer=0")
        bt.fit(acts.split("train"), width=WIDTH, k=K, tokens=TOKENS).save(folder / "dictionary")
        size = acts.split("train").shape
    elif name == "encode":
        acts = Field.open(folder / "activations/layer=0")
        size = Dictionary.load(folder / "dictionary").encode(acts, folder / "codes").shape
    elif name == "label":
        acts = Field.open(folder / "activations/layer=0")
        size = bt.label(acts.rows, annotation).save(folder / "labels").shape
    else:
        codes, truth = Field.open(folder / "codes"), Field.open(folder / "labels")
        size = bt.detection(codes, truth, threads=1).shape
    return {"rows": size[0], "columns": size[1], "cpu": time.process_time() - began}


def child(name: str, fasta: Path, annotation: Path, folder: Path) -> None:
    """The process of one stage: its numbers as a line of JSON."""
    import resource

    import torch

    torch.set_num_threads(1)
    told = stage(name, fasta, annotation, folder)
    print(json.dumps({**told, "resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def measured(name: str, fasta: Path, annotation: Path, folder: Path) -> dict[str, float]:
    """One stage in a process of its own, watched from here; MiB."""
    command = [sys.executable, __file__, "--child", name, str(fasta), str(annotation), str(folder)]
    return watched(command, f"{name} of {fasta.name}")


def bases(fasta: Path) -> int:
    from bioterp.sequence import Sequences

    return sum(contig.length for contig in Sequences(fasta).contigs.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--stage", action="append", choices=STAGES, help="default: all; a later one needs the earlier")
    options = parser.parse_args()
    folder = genomics(options.folder)
    print(machine())
    sizes = f"window {WINDOW} + 2 × {HALO}, dictionary {WIDTH}, k {K}, {TOKENS:,} tokens of fit"
    print(f"\nn = {options.repeats}, {sizes}\n")
    row("stage", "genome", "Mb", "rows", "peak resident, MiB", "peak anonymous, MiB", "CPU s")
    row("---", "---", "---:", "---:", "---:", "---:", "---:")
    told: dict[tuple[str, str], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="bioterp-benchmark-") as temporary:
        tiny_llama(Path(temporary) / "model", 16, 1, WINDOW + 2 * HALO)
        for repeat in range(options.repeats):
            for genome, file in GENOMES.items():  # genomes in turn, so that a busy hour falls on all of them
                where = Path(temporary) / f"{genome}-{repeat}"
                for name in options.stage or STAGES:
                    one = measured(name, folder / file, folder / ANNOTATIONS[genome], where)
                    told.setdefault((name, genome), []).append(one)
    for name in options.stage or STAGES:
        for genome, file in GENOMES.items():
            runs = told[name, genome]
            peaks = [spread([run[kind] for run in runs], 0) for kind in ("resident", "anonymous")]
            size = f"{bases(folder / file) / 1e6:.2f}"
            row(name, genome, size, f"{int(runs[0]['rows']):,}", *peaks, spread([run["cpu"] for run in runs], 1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], *(Path(word) for word in sys.argv[3:6]))
    else:
        main()
