"""From a run file to the jobs of a workflow: what each needs, and exactly what of the run file it hangs on.

A job that is done leaves a mark, `out/jobs/<rule>/<piece>/<hash>`; the hash is of what the job hangs on. So a job is to
be done again when that changes, when a file it reads or a job it needs is newer, and never else: whatever records the
scheduler keeps, or has lost. Neither torch nor pandas is loaded here, for every job of a cluster reads this anew.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bioterp import config
from bioterp.records import Run
from bioterp.workflow import files
from bioterp.workflow.pieces import Job, jobs


class Plan:
    """The jobs of a run by name, in an order in which each comes after those it needs.

    run: a run as `config.load` gives it. base: the folder its paths are told from, so that a study that is moved is
    the same study.
    """

    def __init__(self, run: Run, base: Path):
        self.run, self.base = run, base
        self.jobs: dict[str, Job] = {}
        for job in jobs(run, self._plain):
            self.jobs[job.name] = job

    @classmethod
    def load(cls, file: str | Path) -> Plan:
        """The plan of a run file. Raises InputError as `config.load` does."""
        path = Path(file).resolve()
        if os.environ.get(files.PLUGINS):
            from bioterp import plugins

            plugins.plug_all()
        return cls(config.load(path), path.parent)

    def at(self, name: str) -> str:
        """A file below `out`, from here when that is here or below, else from the root."""
        told = os.path.relpath(self.run.out / name)
        return str(self.run.out.resolve() / name) if told.startswith("..") else told

    def _plain(self, value: Any) -> Any:
        """Records and paths as plain JSON."""
        if isinstance(value, Path):
            return os.path.relpath(value, self.base)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {one.name: self._plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
        if isinstance(value, dict):
            return {str(key): self._plain(one) for key, one in value.items()}
        return [self._plain(one) for one in value] if isinstance(value, list | tuple) else value

    # ------------------------------------------------------------------ what a Snakefile asks

    def of(self, rule: str, wildcards: Any) -> Job:
        """The job of a rule and its wildcards."""
        return self.jobs[f"{rule}/{wildcards.piece}"]

    def pattern(self, rule: str) -> str:
        """The marks of a rule's jobs, with wildcards."""
        return f"{self.at('jobs')}/{rule}/{{piece}}/{{mark}}"

    def done(self, job: Job) -> str:
        return self.at(job.mark)

    def needed(self, job: Job) -> list[str]:
        """Marks of the jobs it needs, and files it reads."""
        return [*(self.done(self.jobs[name]) for name in job.needs), *map(str, job.files)]

    def inputs(self, rule: str) -> Callable[[Any], list[str]]:
        """A function of wildcards: what the job needs."""
        return lambda wildcards: self.needed(self.of(rule, wildcards))

    def words(self, rule: str) -> Callable[[Any], str]:
        """A function of wildcards: the words of the verb, for a shell."""
        return lambda wildcards: shlex.join(self.of(rule, wildcards).words)

    def hangs_on(self, rule: str) -> Callable[[Any], str]:
        """A function of wildcards: the part of the run file that the job hangs on, as JSON."""
        return lambda wildcards: self.of(rule, wildcards).told

    @property
    def last(self) -> Job:
        """The job that needs all others."""
        return self.jobs["finish/all"]

    @property
    def results(self) -> list[str]:
        """Files of the result that every such run leaves, for other rules to need."""
        names = ["report.html", "run.json"]
        if self.run.labels and "detection" in self.run.analyses:
            names += ["tables/detection.tsv", "tables/features.tsv"]
        if self.run.cohort is not None:
            names += ["tables/association.tsv"]
        return [self.at(name) for name in names]
