"""The verbs of whole tasks: run, check, demo, simulate, apply, verify, list. Those of stages are in verbs.py."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bioterp.errors import InputError, nearest, plain
from bioterp.verbs import STAGES, Verb, marked, summary, threads

# ---------------------------------------------------------------------- run, check, demo


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a run.yaml")
    parser.add_argument("--cores", type=int, default=None, metavar="N", help="threads (default: all)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument("--jobs", type=int, default=None, metavar="N", help="as jobs, so many at a time (Snakemake)")
    parser.add_argument("--executor", default=None, metavar="NAME", help="where jobs run, such as slurm (Snakemake)")
    parser.add_argument("--profile", default=None, metavar="NAME", help="a profile of a cluster (Snakemake)")
    parser.add_argument("--mark", type=Path, default=None, help=argparse.SUPPRESS)
    parser.epilog = "What stands behind -- is passed on to Snakemake."


def _run(arguments: argparse.Namespace) -> int:
    from bioterp import config, workflow

    run = config.load(arguments.config)
    threads(arguments.cores)
    if arguments.jobs is not None or arguments.executor or arguments.profile or arguments.words:
        workflow.launch(Path(arguments.config), run, arguments)
    elif arguments.dry_run:
        from bioterp.workflow import here

        print("\n".join(here.told(arguments.config)))
        return 0
    else:
        return marked(arguments, lambda: _here(run, arguments.cores))
    if not arguments.dry_run:
        print(f"report: {run.out / 'report.html'}    tables: {run.out / 'tables'}")
    return 0


def _here(run: Any, cores: int | None) -> int:
    """The whole run in this process."""
    from bioterp import study

    summary(study.Study(run, threads=cores).execute())
    print(f"report: {run.out / 'report.html'}    tables: {run.out / 'tables'}")
    return 0


def _workflow(arguments: argparse.Namespace) -> int:
    from bioterp import workflow

    print(workflow.SNAKEFILE)
    return 0


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a run.yaml")
    parser.add_argument("--strict", action="store_true", help="exit status 1 when there are warnings, for CI")
    parser.add_argument("--json", action="store_true", help="findings as one JSON object on standard output")
    parser.add_argument("--measure", action="store_true", help="run the model on one batch to know its pace here")


def _check(arguments: argparse.Namespace) -> int:
    """Exit status 2: a problem; 1: a warning, with --strict; 0 otherwise."""
    import json

    from bioterp import check, config

    try:
        found = check.findings(config.load(arguments.config), arguments.measure)
        listed: list[check.Finding] = []
        for one in found:
            listed.append(one)
            if not arguments.json:
                print(f"{one.level:<8} {plain(one.line)}")
    except InputError as error:  # of the run file: a machine reads that as a finding too
        if not arguments.json:
            raise
        listed = [check.problem(error, "run.yaml")]
    status = check.status(listed, arguments.strict)
    if arguments.json:
        print(json.dumps({"findings": [{**vars(one), "line": one.line} for one in listed], "status": status}, indent=1))
    return status


DEMOS = ("dna", "scan", "cohort")


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", default="dna", help="dna (default) | scan | cohort")
    parser.add_argument("fasta", nargs="?", default=None, help="dna: your genome instead (FASTA or GenBank)")
    parser.add_argument("--whole", action="store_true", help="dna: all of the genome, not the first 400 kb")
    parser.add_argument("--out", default="demo", help="folder for the results (default: demo)")
    parser.add_argument("--cores", type=int, default=None, metavar="N", help="threads (default: all)")


def _demo(arguments: argparse.Namespace) -> int:
    if arguments.what not in DEMOS:
        raise InputError(f"there is no demo {arguments.what!r}; {nearest(arguments.what, DEMOS)}")
    threads(arguments.cores)
    if arguments.what == "cohort":
        from bioterp.demo import cohort

        if arguments.fasta or arguments.whole:
            raise InputError("demo cohort takes no genome; its people are simulated")
        cohort.run(Path(arguments.out))
        print(f"tables: {Path(arguments.out) / 'tables'}    truth: {Path(arguments.out) / 'truth.tsv'}")
        return 0
    if arguments.what == "scan":
        from bioterp.demo import scan

        if arguments.fasta or arguments.whole:
            raise InputError("demo scan takes no genome; for scans of your own write a run.yaml (see the README)")
        joined = scan.run(Path(arguments.out))
    else:
        from bioterp.demo import dna

        joined = dna.run(Path(arguments.out), Path(arguments.fasta) if arguments.fasta else None, arguments.whole)
    summary(joined)
    print(f"report: {Path(arguments.out) / 'report.html'}    exports: {Path(arguments.out) / 'exports'}")
    return 0


# ---------------------------------------------------------------------- simulate


def _simulate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        choices=["cohort", "sequences", "scans"],
        help="cohort: people whose features are drawn; sequences, scans: people's files and a run.yaml",
    )
    parser.add_argument("--out", required=True, help="folder for the people, their sheet people.tsv and truth.tsv")
    parser.add_argument("--people", type=int, metavar="N", help="how many (default: 600; sequences 450; scans 150)")
    parser.add_argument("--h2", type=float, help="share of the outcome that is causal (default: 0.5; 0.4; 0.36)")
    parser.add_argument("--binary", action="store_true", help="cases and controls in place of a number")
    parser.add_argument(
        "--demography", default="drift", metavar="NAME", help="drift, or out-of-africa, which needs msprime"
    )
    parser.add_argument("--seed", type=int, default=0)


def _simulate(arguments: argparse.Namespace) -> int:
    from bioterp import simulate

    people, h2 = {"cohort": (600, 0.5), "sequences": (450, 0.4), "scans": (150, 0.36)}[arguments.what]
    people = people if arguments.people is None else arguments.people
    h2 = h2 if arguments.h2 is None else arguments.h2
    plan = simulate.Plan(people=people, h2=h2, binary=arguments.binary, demography=arguments.demography)
    if arguments.what == "cohort":
        made = simulate.cohort(plan, seed=arguments.seed)
        print(f"{made.people} and its truth in {simulate.write(made, arguments.out)}")
        return 0
    if arguments.what == "sequences":
        from bioterp.simulate.sequences import sequences

        sequences(arguments.out, plan, seed=arguments.seed)
    else:
        from bioterp.simulate.scans import scans

        scans(arguments.out, plan, seed=arguments.seed)
    print(f"{people} people and their truth in {arguments.out}; next: bioterp run {Path(arguments.out) / 'run.yaml'}")
    return 0


# ---------------------------------------------------------------------- apply, verify, list


def _apply_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("marker", help="a marker.json that a run with a cohort left")
    parser.add_argument("people", help="pooled codes of another cohort: its people/layer=…/codes")
    parser.add_argument("sheet", help="that cohort's sample sheet")
    parser.add_argument("--key", default=None, help="the sheet's column of ids")
    parser.add_argument("--out", default=None, help="a TSV to write each person's probability to")


def _apply(arguments: argparse.Namespace) -> int:
    from bioterp import outcomes, store

    p, told = outcomes.apply(arguments.marker, arguments.people, arguments.sheet, arguments.key)
    row = told.iloc[0]
    print(row["note"])
    print(
        f"{row['n']:,} people, {row['n_cases']:,} cases: AUROC {row['auroc']:.3f} "
        f"(95 % {row['auroc_lo']:.3f} to {row['auroc_hi']:.3f}), Brier {row['brier']:.3f}, calibration slope "
        f"{row['calibration_slope']:.2f}, intercept {row['calibration_intercept']:.2f}"
    )
    if arguments.out:
        with store.writing_file(arguments.out) as beside:
            p.rename("probability").rename_axis("sample").to_csv(beside, sep="\t", na_rep="NaN")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from bioterp import verify

    problems = 0
    for level, line in verify.findings(arguments.results):
        problems += level == "problem"
        print(f"{level:<8} {plain(line)}")
    return 2 if problems else 0


LISTS = ("models", "annotations", "analyses", "formats")


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", help=" | ".join(LISTS))


def _list(arguments: argparse.Namespace) -> int:
    if arguments.what not in LISTS:
        raise InputError(f"there is no list of {arguments.what!r}; {nearest(arguments.what, LISTS)}")
    from bioterp import listing

    print(listing.text(arguments.what))
    return 0


VERBS = (
    Verb("demo", "everything on data that ships with the dependencies; no network", _demo_arguments, _demo),
    Verb(
        "simulate",
        "a cohort whose truth is known: features, sequences or scans, sample sheet, what was planted",
        _simulate_arguments,
        _simulate,
    ),
    Verb("run", "a run.yaml from end to end; the same command resumes", _run_arguments, _run),
    Verb("check", "what can be known about a run.yaml before an hour is spent", _check_arguments, _check),
    *STAGES,
    Verb("workflow", "where the Snakefile is that `run --jobs` uses", lambda parser: None, _workflow),
    Verb("apply", "a kept marker on another cohort: how it does there", _apply_arguments, _apply),
    Verb(
        "verify",
        "a result folder: every file against its hash, and who made it",
        lambda parser: parser.add_argument("results", help="the folder a run wrote into") and None,
        _verify,
    ),
    Verb("list", "models, annotations, analyses or formats that are known", _list_arguments, _list),
)
