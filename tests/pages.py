"""The code blocks of the pages (docs/*.md and README.md), and how they are run.

A page is run from top to bottom in a folder of its own: Python blocks in one namespace, `bioterp …` lines of bash
blocks through the command line, and a block with a title is the file of that name. A run file is read as `bioterp run`
would read it. `text` is what a command printed. A block below `<!-- not run: why -->` is only read: names, keywords and
options must exist.
"""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import bioterp
from bioterp import cli, config
from tests.conftest import ROOT

PAGES = sorted(str(path.relative_to(ROOT)) for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
LANGUAGES = ("python", "bash", "yaml", "text")
FENCE = re.compile(r"^(\s*)```(.*)$")
NOT_RUN = re.compile(r"^\s*<!-- not run: (.+) -->$")


@dataclass(frozen=True)
class Block:
    """page and line it begins on, language, file name or '', code, and why it is not run or ''."""

    page: str
    line: int
    language: str
    title: str
    code: str
    reason: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    lines = (ROOT / page).read_text(encoding="utf-8").split("\n")
    open_at, above = None, ""
    for number, line in enumerate(lines, 1):
        fence = FENCE.match(line)
        if fence and open_at is None:
            open_at, indent, info = number, len(fence[1]), fence[2]
        elif fence and fence[2] == "":
            body = "\n".join(one[indent:] for one in lines[open_at : number - 1]) + "\n"
            title = re.search(r'title="([^"]+)"', info)
            reason = NOT_RUN.match(above)
            language = info.split()[0] if info else ""
            found.append(Block(page, open_at, language, title[1] if title else "", body, reason[1] if reason else ""))
            open_at = None
        if open_at is None and line.strip():
            above = line
    assert open_at is None, f"{page}:{open_at}: a block that is never closed"
    return found


def run(page: str, folder: Path) -> dict[str, Any]:
    """Run a page in a folder, which is the current one; gives the namespace of its Python."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page):
        if block.title and not block.reason:
            (folder / block.title).write_text(block.code, encoding="utf-8")
        elif block.language == "python" and not block.reason:
            # Lines are counted as in the page, so that a traceback points into it.
            exec(compile("\n" * block.line + block.code, page, "exec"), names)
        elif block.language == "bash" and not block.reason:
            for words in commands(block):
                assert words[0] == "bioterp", f"{block}: {words[0]} is no bioterp; say why the block is not run"
                assert cli.main([*words[1:], "--quiet"]) == 0, f"{block}: {shlex.join(words)}"
    for block in blocks(page):  # last: what it says may need what the page plugged in
        if block.language == "yaml":
            run_file(block, folder)
    return names


def read(block: Block) -> None:
    """What holds of every block, run or not."""
    assert block.language in LANGUAGES, f"{block}: the language of a block is one of {', '.join(LANGUAGES)}"
    if block.language == "python":
        names_exist(block)
    elif block.language == "bash":
        for words in commands(block):
            if words[0] == "bioterp":
                cli._parser().parse_args(words[1:])
            elif words[0] == "make":
                assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M), f"{block}: {words}"
    elif block.language == "yaml" and block.reason:
        run_file(block, ROOT)


def commands(block: Block) -> Iterator[list[str]]:
    """The commands of a bash block, each as its words."""
    for line in block.code.replace("\\\n", " ").split("\n"):
        words = shlex.split(line, comments=True)
        if words:
            yield words


def run_file(block: Block, folder: Path) -> Any:
    """The Run a block of YAML says; only the part of one is put into a whole one first."""
    tree = yaml.safe_load(block.code)
    whole = {
        "out": "results",
        "source": {"kind": "dna", "fasta": "genome.fa"},
        "model": "bioterp/dna-small",
        "layers": [1],
    }
    return config.parse({**({} if "source" in tree else whole), **tree}, folder)


def names_exist(block: Block) -> None:
    """Every bt.name and bioterp.name is public, and takes the keywords it is called with."""
    for node in ast.walk(ast.parse(block.code)):
        call = node.func if isinstance(node, ast.Call) else node
        if not (isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name) and call.value.id == "bt"):
            continue
        assert call.attr in bioterp.__all__, f"{block}: bioterp has no {call.attr}"
        if isinstance(node, ast.Call):
            known = inspect.signature(getattr(bioterp, call.attr)).parameters.values()
            if not any(one.kind is one.VAR_KEYWORD for one in known):
                wrong = {word.arg for word in node.keywords if word.arg} - {one.name for one in known}
                assert not wrong, f"{block}: bt.{call.attr} has no keyword {', '.join(sorted(wrong))}"
