"""What a run in one process would go through, and what of it an earlier run left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from bioterp.records import Run
from bioterp.workflow.pieces import RANDOM, Job
from bioterp.workflow.plan import Plan

NOTE = "what is there is looked at again: it is made anew where what it hangs on has changed"


def told(file: str | Path) -> Iterator[str]:
    """A line per piece of a run file, in order: its name, and whether its folder is there."""
    plan = Plan.load(file)
    there = {name: any(plan.run.out.glob(place(plan.run, job))) for name, job in plan.jobs.items()}
    width = max(map(len, there))
    for name, found in there.items():
        yield f"{name:<{width}}  {'there' if found else 'to do'}"
    if any(there.values()):
        yield NOTE


def place(run: Run, job: Job) -> str:
    """A pattern of the file, below `out`, that says a piece is whole."""
    first, *rest = job.piece.split("/")
    at = "/".join(unquote(one) for one in rest)
    suffix = "-random-weights" if RANDOM in (first, first.removesuffix("-weights")) else ""
    spec = run.dictionary
    own = f"dictionaries/{'brought-*' if spec.path is not None else f'{spec.kind}-{spec.width}-k{spec.k}'}{suffix}"
    if job.rule == "label":
        return f"labels/*/{unquote(first)}/meta.json"
    if job.rule == "activations":
        one = rest[0] if len(rest) > 1 else f"layer={run.layers[-1]}"
        return f"activations{suffix}/{one}/meta.json"
    if job.rule in ("fit", "encode"):
        return f"{own}/{at}/{'dictionary' if job.rule == 'fit' else 'codes'}/meta.json"
    if job.rule == "analyse":
        if first == "readout":
            return "readout/meta.json"
        folder = own if first in ("dictionary", "random-weights") else f"dictionaries/{first}"
        return f"{folder}/{'**' if at in ('', 'all') else at}/{'*/' if suffix else ''}tables/meta.json"
    if job.rule == "known":
        return f"{own}/{unquote(first)}/*/known/meta.json"
    if job.rule in ("fidelity", "people"):
        return f"{own}/{at or unquote(first)}/{job.rule}/meta.json"
    return {"rows": "rows/*/meta.json", "finish": "run.json"}.get(job.rule, "nothing")
