"""What can be known before an hour is spent: paths, names, splits, labels, people, model, versions, disk, cost.

Everything that is wrong is listed, not only the first of it. The model is opened where it lies on this machine, and
never run but for the width of a layer, on a few cells, and on a batch where that is asked for. Nothing is fetched, and
nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator

from bioterp.check import cohort, labels, material, models, place, takes, versions
from bioterp.check.finding import OK, PROBLEM, WARNING, Finding, problem
from bioterp.errors import BioterpError
from bioterp.records import Run

__all__ = ["OK", "PROBLEM", "WARNING", "Finding", "findings", "problem", "status"]


def findings(run: Run, measure: bool = False) -> Iterator[Finding]:
    """One finding per thing looked at, each said once; a problem means that the run would fail.

    measure: run the model on one batch, to know its pace here.
    """
    said: set[tuple[str, str]] = set()
    for one in _all(run, measure):
        if (one.level, one.line) not in said:
            said.add((one.level, one.line))
            yield one


def status(found: list[Finding], strict: bool = False) -> int:
    """The exit status: 2 for problems; 1 for warnings, if `strict`; else 0."""
    levels = {one.level for one in found}
    return 2 if PROBLEM in levels else 1 if strict and WARNING in levels else 0


def _all(run: Run, measure: bool) -> Iterator[Finding]:
    yield from versions.findings(run)
    yield from place.paths(run)
    model = yield from models.findings(run)
    source = yield from material.findings(run, model)
    if source is not None and model is not None:
        yield from material.fits(run, source, model)
    known = model is not None and (yield from models.layers(run, model))
    if known:
        run = yield from models.dictionaries(run, model)
    columns = 0
    if source is not None:
        columns = yield from labels.findings(run, source)
        yield from cohort.findings(run, source)
    yield from labels.packages(run)
    if source is not None and known:
        yield from place.earlier(run, source, model)
        try:
            yield from takes.findings(run, source, model, columns, measure)
        except BioterpError as error:  # arrays the model does not take: told above with their remedy
            yield problem(error, "model")
