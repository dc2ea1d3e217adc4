"""The command line: one record per verb.

A user's error prints one sentence and exits with status 2; anything else is a bug and shows its traceback.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bioterp import locks, progress
from bioterp.errors import LONGEST, BioterpError, InputError, nearest, one_line
from bioterp.limits import TRUST


@dataclass(frozen=True)
class Verb:
    """name, one line of help, what it adds to its parser, and what it does (returns the exit status)."""

    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], Any]
    run: Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """argparse, with errors in one sentence."""

    def error(self, message: str) -> Any:
        match = re.match(r"argument verb: invalid choice: '(.*?)'", message)
        if match:
            raise InputError(f"there is no verb {match[1]!r}; {nearest(match[1], [verb.name for verb in VERBS])}")
        raise InputError(f"{message}; see {self.prog} --help")


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = _parser().parse_args(words)
        progress.show(not arguments.quiet)
        if arguments.plugin or os.environ.get("BIOTERP_PLUGINS"):
            from bioterp import plugins

            plugins.plug_all(arguments.plugin)
        verb: Verb = arguments.verb
        with _permission(arguments.trust_remote_code):
            status = verb.run(arguments)
        sys.stdout.flush()  # here, where a reader that has gone away is no error
        return status
    except BioterpError as error:
        if "--debug" in words:
            raise
        print(f"bioterp: {one_line(error, LONGEST)}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to fail at exit
        return 0
    except OSError as error:  # no permission, no space, a folder where a file was wanted
        if "--debug" in words or error.strerror is None:
            raise
        where = f"{one_line(error.filename)}: " if error.filename else ""
        print(f"bioterp: {where}{error.strerror}; mend that and run the same command again", file=sys.stderr)
        return 2
    except MemoryError:
        if "--debug" in words:
            raise
        print("bioterp: memory ran out; give smaller pieces (shards, window), or a machine with more", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bioterp: stopped; the same command goes on from here", file=sys.stderr)
        return 130


@contextmanager
def _permission(trusted: bool) -> Iterator[None]:
    """Say to this process and those it starts that code which a run file names may run."""
    before = os.environ.get(TRUST)
    if trusted:
        os.environ[TRUST] = "1"
    try:
        yield
    finally:
        if trusted and before is None:
            os.environ.pop(TRUST, None)


def _parser() -> argparse.ArgumentParser:
    import bioterp

    parser = Parser(prog="bioterp", description="Open scientific foundation models.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"bioterp {bioterp.__version__}")
    verbs = parser.add_subparsers(dest="word", metavar="verb", required=True, parser_class=Parser)
    for verb in VERBS:
        one = verbs.add_parser(verb.name, help=verb.help, description=verb.help, allow_abbrev=False)
        verb.arguments(one)
        one.add_argument(
            "--plugin", action="append", default=[], metavar="FILE", help="Python that adds a word of yours"
        )
        one.add_argument("--quiet", action="store_true", help="no progress on standard error")
        one.add_argument(
            "--trust-remote-code", action="store_true", help="run code that the run file's model brings; read it first"
        )
        one.add_argument("--debug", action="store_true", help="show the traceback of an error")
        one.set_defaults(verb=verb)
    return parser


# ---------------------------------------------------------------------- run, check, demo


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a run.yaml")
    parser.add_argument("--cores", type=int, default=None, metavar="N", help="threads (default: all)")


def _run(arguments: argparse.Namespace) -> int:
    from bioterp import config, study

    run = config.load(arguments.config)
    _threads(arguments.cores)
    joined = study.Study(run).execute()
    _summary(joined)
    print(f"report: {run.out / 'report.html'}    tables: {run.out / 'tables'}")
    return 0


def _threads(cores: int | None) -> None:
    if cores is not None:
        if cores < 1:
            raise InputError(f"--cores must be at least 1; got {cores}")
        import torch

        torch.set_num_threads(cores)


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
                print(f"{one.level:<8} {one_line(one.line, LONGEST)}")
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
    _threads(arguments.cores)
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
    _summary(joined)
    print(f"report: {Path(arguments.out) / 'report.html'}    exports: {Path(arguments.out) / 'exports'}")
    return 0


def _summary(joined: dict[str, Any]) -> None:
    """Per term: the best dictionary feature on held-out blocks beside the best of every baseline."""
    from bioterp import summary

    if "readout" in joined:
        summary.print_readout(joined["readout"])
    if "detection" in joined:
        summary.print_detection(joined["detection"])
    if "layers" in joined:
        summary.print_layers(joined["layers"])
        summary.print_comparison(joined["comparison"])
    if "adjusted" in joined:
        summary.print_adjusted(joined["adjusted"], joined["detection"])
    if "correlation" in joined:
        summary.print_correlation(joined["correlation"])
    if "probe_comparison" in joined:
        summary.print_probes(joined["probe_comparison"], joined["probing"])
    if "dictionaries" in joined:
        summary.print_dictionaries(joined["dictionaries"], joined.get("stability"))


# ---------------------------------------------------------------------- simulate


def _simulate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["cohort"], help="cohort: people with planted biomarkers and confounders")
    parser.add_argument("--out", required=True, help="folder for people/ (features), people.tsv and truth.tsv")
    parser.add_argument("--people", type=int, default=600, metavar="N", help="how many (default: 600)")
    parser.add_argument("--h2", type=float, default=0.5, help="share of the outcome that is causal (default: 0.5)")
    parser.add_argument("--binary", action="store_true", help="cases and controls in place of a number")
    parser.add_argument(
        "--demography", default="drift", metavar="NAME", help="drift, or out-of-africa, which needs msprime"
    )
    parser.add_argument("--seed", type=int, default=0)


def _simulate(arguments: argparse.Namespace) -> int:
    from bioterp import simulate

    options = {name: getattr(arguments, name) for name in ("people", "h2", "binary", "demography")}
    plan = simulate.Plan(**options)
    made = simulate.cohort(plan, seed=arguments.seed)
    print(f"{made.people} and its truth in {simulate.write(made, arguments.out)}")
    return 0


# ---------------------------------------------------------------------- stages


def _stage(name: str, help: str, run: Callable[[argparse.Namespace], int]) -> Verb:
    return Verb(name, help, lambda parser: parser.add_argument("config", help="a run.yaml") and None, run)


def _alone(work: Callable[[Any], int]) -> Callable[[argparse.Namespace], int]:
    """A stage of a study whose folder nobody else writes into meanwhile."""

    def run(arguments: argparse.Namespace) -> int:
        from bioterp import config, study

        made = study.Study(config.load(arguments.config))  # looks before anything is written, the lock included
        with locks.held(made.out):
            return work(made)

    return run


def _activations(study: Any) -> int:
    for layer, made in study.activate().items():
        print(f"layer {layer}: {made} in {made.path}")
    return 0


def _label(study: Any) -> int:
    for rows in study.lattices():
        print(study.truth(rows).columns.to_string(index=False))
    return 0


def _fit(study: Any) -> int:
    for layer, seed, sae, _ in study.dictionaries(encode=False):
        quality = ", ".join(f"{name} {sae.about[name]:.4g}" for name in ("fvu", "l0", "dead"))
        print(f"layer {layer} seed {seed}: {quality}")
    return 0


def _encode(study: Any) -> int:
    for layer, seed, _, codes in study.dictionaries():
        print(f"layer {layer} seed {seed}: {codes} in {codes.path}")
    return 0


def _analyse(study: Any) -> int:
    _summary(study.analyse_all().joined)
    print(f"tables: {study.out / 'tables'}")
    return 0


def _export(study: Any) -> int:
    study.export_all(study.analyse_all())
    print(f"exports: {study.out / 'exports'}")
    return 0


def _report(study: Any) -> int:
    study.report_all(study.analyse_all())
    print(f"report: {study.out / 'report.html'}")
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
        print(f"{level:<8} {one_line(line, LONGEST)}")
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
        "a cohort whose truth is known: features, sample sheet, what was planted",
        _simulate_arguments,
        _simulate,
    ),
    Verb("run", "a run.yaml from end to end; the same command resumes", _run_arguments, _run),
    Verb("check", "what can be known about a run.yaml before an hour is spent", _check_arguments, _check),
    _stage("activations", "stage: run the model over the source", _alone(_activations)),
    _stage("label", "stage: paint the annotation onto the rows", _alone(_label)),
    _stage("fit", "stage: fit the dictionaries", _alone(_fit)),
    _stage("encode", "stage: codes of all rows", _alone(_encode)),
    _stage("analyse", "stage: every table, baselines included", _alone(_analyse)),
    _stage("export", "stage: tracks and h5ad of the best features", _alone(_export)),
    _stage("report", "stage: the HTML report", _alone(_report)),
    Verb("apply", "a kept marker on another cohort: how it does there", _apply_arguments, _apply),
    Verb(
        "verify",
        "a result folder: every file against its hash, and who made it",
        lambda parser: parser.add_argument("results", help="the folder a run wrote into") and None,
        _verify,
    ),
    Verb("list", "models, annotations, analyses or formats that are known", _list_arguments, _list),
)

if __name__ == "__main__":
    sys.exit(main())
