"""A run as jobs, through Snakemake: on this machine, on a cluster, or beside a user's own rules.

Snakemake says what is to be done, in which order and where; the verbs of bioterp do it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path

from bioterp import locks
from bioterp.errors import BioterpError, InputError
from bioterp.records import Run
from bioterp.workflow import warm

SNAKEFILE = Path(__file__).with_name("Snakefile")
LOCK = ".workflow.lock"  # of whoever hands out the jobs; each job holds the folder's own lock while it is at work
LOADED = {"scans": "bioterp.models.monai"}  # what loads models of a source; other sources: LOADS
LOADS = "transformers.modeling_utils"
SUBMITTED = 100  # jobs in a cluster's queue at a time, unless told


def launch(file: Path, run: Run, asked: argparse.Namespace) -> None:
    """Run, or with `dry_run` show, the jobs of a run file that are not done. Returns when all are.

    file: the run file; run: what it says; asked: `jobs`, `executor`, `profile`, `dry_run`, `cores` (threads of
    a job), `quiet`, and `words` for Snakemake. Raises InputError without Snakemake, BioterpError when a job failed.
    """
    out, kind = run.out, run.source.kind
    if asked.jobs is not None and asked.jobs < 1:
        raise InputError(f"--jobs must be at least 1; got {asked.jobs}")
    try:
        from snakemake.cli import main
    except ImportError:
        raise InputError("a run in jobs needs the package snakemake: pip install 'bioterp[workflow]'") from None
    words = ["--snakefile", str(SNAKEFILE), "--directory", str(out), "--nolock", "--rerun-incomplete"]
    if asked.executor:
        words += ["--executor", asked.executor]
    if asked.profile:
        words += ["--profile", asked.profile]
    if asked.executor:
        words += ["--jobs", str(asked.jobs or SUBMITTED)]
    elif asked.jobs:
        words += ["--cores", str(asked.jobs * (asked.cores or 1))]
    words += ["--dry-run"] if asked.dry_run else []
    words += ["--quiet", "all"] if asked.quiet else []
    given = [f"run={file.resolve()}", *([f"threads={asked.cores}"] if asked.cores else [])]
    more = list(asked.words)
    at = more.index("--config") + 1 if "--config" in more else len(more)  # of two, Snakemake heeds the last
    words += [*more[:at], *([] if "--config" in more else ["--config"]), *given, *more[at:]]
    new = [folder for folder in (out, *out.parents) if not folder.exists()]
    # Elsewhere than on Linux what is loaded may hold threads that a fork does not survive.
    here = sys.platform == "linux" and not (asked.executor or asked.profile or asked.dry_run)
    with (
        nullcontext() if asked.dry_run else locks.held(out, name=LOCK),
        warm.serving(asked.cores or 1, [LOADED.get(kind, LOADS)]) if here else nullcontext(),
    ):
        status = _ran(main, words)
    if asked.dry_run and new:  # Snakemake makes itself at home before it looks
        shutil.rmtree(out / ".snakemake", ignore_errors=True)
        for folder in new:
            folder.rmdir()
    if status:
        raise BioterpError(
            "not all jobs were done; what stopped the first of them stands above: mend that and run the same "
            "command again, which goes on from here"
        )


def _ran(main: object, words: list[str]) -> int:
    """Snakemake's exit status; it ends by leaving the program."""
    assert callable(main)
    try:
        main(words)
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    return 0
