"""What the benchmarks share: where the genomes lie, a tiny model, a stopwatch, and words for the machine."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy and torch load: CPU seconds of one thread

ROOT = Path(__file__).resolve().parent.parent
GENOMES = {
    "M. genitalium": "bacteria/mycoplasma_genitalium_g37.fa.gz",
    "S. aureus": "bacteria/staphylococcus_aureus_502A.fa.gz",
    "E. coli": "bacteria/ecoli_k12_mg1655.fna.gz",
}
ANNOTATIONS = {
    "M. genitalium": "bacteria/mycoplasma_genitalium_g37.gff3.gz",
    "S. aureus": "bacteria/staphylococcus_aureus_502A.gff3.gz",
    "E. coli": "bacteria/ecoli_k12_mg1655.gff.gz",
}


ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}


def steady_allocator() -> None:
    """Start again with a malloc that keeps its pages.

    glibc gives freed pages back and fetches them again as its thresholds drift: the same forward in the same process
    then takes 0 to 40 % more system time, which would hide what is measured.
    """
    if any(os.environ.get(name) != value for name, value in ALLOCATOR.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})


def genomics(argument: Path | None) -> Path:
    """The folder that holds bacteria/ and models/: the argument, or $BIOTERP_SHARED/data/genomics."""
    folder = argument or Path(os.environ.get("BIOTERP_SHARED", ROOT.parent / "shared")) / "data" / "genomics"
    if not (folder / "bacteria").is_dir():
        sys.exit(f"{folder} has no bacteria/; give the folder as an argument, or set BIOTERP_SHARED")
    return folder


def imaging(argument: Path | None) -> Path:
    """The folder that holds msd_hippocampus/ and models/: the argument, or $BIOTERP_SHARED/data/imaging."""
    folder = argument or Path(os.environ.get("BIOTERP_SHARED", ROOT.parent / "shared")) / "data" / "imaging"
    if not (folder / "msd_hippocampus").is_dir():
        sys.exit(f"{folder} has no msd_hippocampus/; give the folder as an argument, or set BIOTERP_SHARED")
    return folder


def watched(command: list[str], what: str) -> dict[str, float]:
    """Run a process that prints its numbers as a line of JSON; these, and its peak of RssAnon in MiB as `anonymous`."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    most, status = 0, Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        found = re.search(r"RssAnon:\s+(\d+)", status.read_text())
        most = max(most, int(found[1]) if found else 0)
        time.sleep(0.02)
    out = process.stdout.read() if process.stdout else ""
    if process.returncode:
        sys.exit(f"{what} failed")
    return {**json.loads(out.splitlines()[-1]), "anonymous": most / 1024}


def machine() -> str:
    """CPU, cores, memory, versions, load."""
    import torch

    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    return (
        f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}, torch "
        f"{torch.__version__}, {torch.get_num_threads()} thread, load averages {load}"
    )


def tiny_llama(folder: Path, width: int, layers: int, context: int, intermediate: int | None = None) -> str:
    """A random Llama of single bases, saved to a folder; load it with alphabet='ACGTN'."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()

    config = LlamaConfig(
        vocab_size=7,
        hidden_size=width,
        intermediate_size=intermediate or 2 * width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 32),
        max_position_embeddings=context,
    )
    torch.manual_seed(11)
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def spread(values: list[float], digits: int = 2) -> str:
    """'median (lowest–highest)'."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def row(*cells: object) -> None:
    """One line of a Markdown table, now."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


class Stopwatch:
    """CPU and wall seconds by name. A name inside another is taken out of it, so that the parts add up."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = defaultdict(float)
        self.wall: dict[str, float] = defaultdict(float)
        self._names: list[str] = []
        self._mark = (0.0, 0.0)

    def _turn(self) -> None:
        now = (time.process_time(), time.perf_counter())
        if self._names:
            self.cpu[self._names[-1]] += now[0] - self._mark[0]
            self.wall[self._names[-1]] += now[1] - self._mark[1]
        self._mark = now

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        self._turn()
        self._names.append(name)
        try:
            yield
        finally:
            self._turn()
            self._names.pop()

    def around(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.lap(name):
                return function(*args, **kwargs)

        return timed

    def through(self, function: Callable[..., Iterator[Any]], name: str) -> Callable[..., Iterator[Any]]:
        """A generator function, whose every step is timed."""

        def timed(*args: Any, **kwargs: Any) -> Iterator[Any]:
            steps = function(*args, **kwargs)
            while True:
                with self.lap(name):
                    try:
                        one = next(steps)
                    except StopIteration:
                        return
                yield one

        return timed
