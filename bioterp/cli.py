"""The command line: one record per verb (commands.py), and what becomes of errors.

A user's error prints one sentence and exits with status 2; anything else is a bug and shows its traceback.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bioterp import progress
from bioterp.commands import VERBS
from bioterp.errors import BioterpError, InputError, nearest, plain
from bioterp.limits import TRUST
from bioterp.verbs import Verb


class Parser(argparse.ArgumentParser):
    """argparse, with errors in one sentence, and what stands behind -- for another program as `words`."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        given = list(args or ())
        at = given.index("--") if "--" in given else len(given)
        found = super().parse_args(given[:at], namespace)
        found.words = given[at + 1 :]
        if found.words and found.word != "run":
            raise InputError(f"{found.word} takes nothing after --; got {' '.join(found.words)}")
        return found

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
        print(f"bioterp: {plain(error)}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to fail at exit
        return 0
    except OSError as error:  # no permission, no space, a folder where a file was wanted
        if "--debug" in words or error.strerror is None:
            raise
        where = f"{plain(error.filename, 200)}: " if error.filename else ""
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


if __name__ == "__main__":
    sys.exit(main())
