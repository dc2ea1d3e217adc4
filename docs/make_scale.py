"""Writes docs/scale.md: the figures of `bioterp.cost.scale`, and what follows from them; a test holds it current."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bioterp.cost import scale
from bioterp.cost.estimate import measured

HEAD = """# How far it goes

`bioterp check run.yaml` says what *your* run will take on *your* machine. This page asks the same of three studies that
were **not run**: a human genome through a 7B model, 50,000 scans, 100,000 exomes. Made by `python docs/make_scale.py`
from `bioterp.cost.scale`; the code below prints the same figures, for other assumptions too.

```python
from bioterp.cost import scale

print(scale.figures().to_string())  # hours by stage on 1, 8 and 64 GPUs
print(scale.figures(utilisation=0.2, cores=8).to_string())
print(scale.room().to_string())  # terabytes, on disk and in memory
```
"""
END = """

## Where the design would break, and what carries it further

Each of these is met before the arithmetic above runs out.

**Activations do not fit on disk.** {activations:.0f} TB for one layer of one genome; `disk:` takes layers in
turns, and one layer alone is too much. Carried by what is there: `bioterp.stream` fits a dictionary while the
model runs, and encoding while it runs keeps codes only ({codes:.1f} TB). That costs the model a second pass. It
is Python's so far; a run file has no word for it. Codes of several seeds are again too many to keep; counted as
they are made (counts add, scores come last) they leave {counts:.1f} GB of counts a shard at 64 thresholds, and
nothing on disk. Kernels take them so (`benchmarks/evidence/fused.py`); no stage of a run does yet.

**Labels of a whole genome in one process.** Painting holds runs of rows for every term: {labels:.1f} TB by the
measured coefficient. Rows have to be painted contig by contig or shard by shard, as activations are; the counts
of shards add.

**Nulls along chromosomes.** A shift null is a spectrum of a chromosome's test rows: {spectra:.1f} GB a pair for
chromosome 1. One pair at a time that fits, and the best pairs of 60 terms are few; a screen of all features
against all terms is not for this size. The null within blocks (`p_local` of the table `headline`) needs no
spectrum.

**One process reads and runs.** For scans the GPU waits: {reading:.1f} h of reading on 16 cores against
{model:.1f} h of the model on one GPU. Readers beside the model (several shard jobs a GPU) close this; a
prefetching source would close it within one job. Every job opens all 50,000 headers first (about {headers:.0f}
minutes): sheets should be cut by shard.

**Carriers of exomes.** {carriers:.0f} GB if one process holds which of 200,000 haplotypes has which window.
Runs by `regions` (a gene list, a chromosome arm) divide that; whole biobanks want carriers kept as runs over
haplotypes sorted by their neighbourhood (positional Burrows–Wheeler), which is not built. Edits of a contig are
objects (0.3 kB each, {edits:.1f} GB in all): one chromosome at a time is fine.

**The fit.** It is shared by 8 GPUs at most here: a batch of 4,096 rows divided by 64 is too small for a GPU to
be busy with, and larger batches learn less per row. A dictionary of {features:,} features takes {fit:.1f} h on
one GPU; more seeds or widths are more jobs, not more GPUs a job.

**What does not break.** Row tables hold items, not rows: a genome in windows of 8,192 bp is 0.7 million lines.
Pooled codes of 100,000 people are {people:.0f} GB and are read in batches of people, once for all models.
Splits are hashes of blocks' names, the same in every job.

## What is not in these figures

Queueing, failed jobs, fetching data and weights, several layers, seeds or random weights (each is another
multiple; random weights double the model's passes), probes, reports, exports. The model's utilisation is an
assumption, attention beyond 2 operations a weight is left out (at 8,192 bp about a tenth more, and none in
convolutional hybrids), and CPU stages are extrapolated by four orders of magnitude from `benchmarks/cost.py`,
whose held-out ratios are in `benchmarks/RESULTS.md`: take them for the right power of ten.
"""


def text() -> str:
    """The whole page."""
    parts = [HEAD, _assumptions(), "\n## Hours\n"]
    table = scale.figures()
    for name, mine in table.groupby("study", sort=False):
        parts.append(f"\n**{str(name)[0].upper()}{str(name)[1:]}**\n\n" + _hours(mine))
    parts.append("\n## Terabytes\n\n" + _room(scale.room()))
    parts.append(END.format(**_said(table)))
    return "".join(parts)


def _assumptions() -> str:
    one, told = scale.Machine(), measured()
    lines = [
        f"One GPU: H200, {one.peak / 1e12:.0f} TFLOP/s of bfloat16 products (vendor), {one.bandwidth / 1e12:.1f} TB/s, "
        f"{one.memory / 1e9:.0f} GB; {one.utilisation:.0%} of the peak kept by inference with hooks (assumed).",
        f"Beside each GPU: {one.cores} CPU cores, as fast as the measured one; {one.write / 1e9:.0f} GB/s to disk, "
        f"{one.shared / 1e9:.0f} GB/s for all together (assumed).",
        f"CPU stages: seconds per unit from {told['points']} runs on {told['machine']} ({told['date']}), work divided "
        "evenly over cores.",
        *(" ".join((case.__doc__ or "").split()) for case in scale.CASES),
    ]
    return "\n## Assumptions\n\n" + "".join(f"* {line}\n" for line in lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.001 else "< 0.001"


def _hours(table: pd.DataFrame) -> str:
    columns = [f"{n} GPU" for n in scale.GPUS]
    lines = ["| stage | " + " | ".join(f"{n} GPU" + "s" * (n > 1) for n in scale.GPUS) + " |\n"]
    lines.append("|---|" + "---:|" * len(columns) + "\n")
    for row in table.to_dict("records"):
        lines.append(f"| {row['stage']} | " + " | ".join(_number(row[one]) for one in columns) + " |\n")
    return "".join(lines)


def _room(table: pd.DataFrame) -> str:
    lines = ["| study | what | TB |\n", "|---|---|---:|\n"]
    return "".join(lines + [f"| {r['study']} | {r['what']} | {_number(r['TB'])} |\n" for r in table.to_dict("records")])


def _said(table: pd.DataFrame) -> dict[str, float]:
    """The figures of the sentences."""
    genome, scans, exomes = (make() for make in scale.CASES)
    hours = table.set_index(["study", "stage"])["1 GPU"]
    room = scale.room().set_index(["study", "what"])["TB"]
    return {
        "activations": room[genome.name, "activations on disk"],
        "codes": room[genome.name, "codes on disk"],
        "counts": room[genome.name, "counts of one shard in memory"] * 1e3,
        "labels": room[genome.name, "labels in memory"],
        "spectra": genome.held["shift spectrum of a pair on chromosome 1"] / 1e9,
        "reading": hours[scans.name, "reading (CPU)"],
        "model": hours[scans.name, "model, one pass"],
        "headers": scans.held["headers opened by every process (s)"] / 60,
        "carriers": room[exomes.name, "carriers, one number a haplotype and window in memory"] * 1e3,
        "edits": exomes.held["edits, 0.3 kB each"] / 1e9,
        "features": genome.size.features,
        "fit": hours[genome.name, "fit"],
        "people": exomes.held["people x features"] / 1e9,
    }


if __name__ == "__main__":
    (Path(__file__).parent / "scale.md").write_text(text(), encoding="utf-8")
