"""A page of text, tables and pictures in one file: every string is escaped unless it is `Html`."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { --ink: #1d232b; --soft: #5b6570; --line: #dfe3e8; --accent: #0072b2; --paper: #fff; }
* { box-sizing: border-box; }
body { margin: 0; background: #f5f6f8; color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", "Liberation Sans", Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 48px 56px 72px; background: var(--paper); }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 6px; font-weight: 650; letter-spacing: -.01em; }
h2 { font-size: 20px; margin: 48px 0 10px; padding-top: 18px; border-top: 1px solid var(--line); font-weight: 650; }
h3 { font-size: 16px; margin: 28px 0 6px; font-weight: 650; }
p { margin: 8px 0; max-width: 76ch; }
.lead, .note, figcaption { color: var(--soft); }
.note, figcaption { font-size: 14px; }
ul { padding-left: 20px; margin: 10px 0; }
li { margin: 5px 0; }
figure { margin: 18px 0; }
img { max-width: 100%; height: auto; display: block; }
dl { display: grid; grid-template-columns: 150px 1fr; gap: 5px 20px; margin: 16px 0; font-size: 15px; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 16px 0; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; white-space: nowrap; }
th { text-align: right; font-weight: 600; color: var(--soft); border-bottom: 1.5px solid var(--ink);
  vertical-align: bottom; padding: 4px 0 5px 14px; white-space: normal; hyphens: manual; line-height: 1.3; }
td { text-align: right; padding: 3px 0 3px 14px; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; max-width: 220px; overflow: hidden;
  text-overflow: ellipsis; }
.dense table { font-size: 12.5px; }
.dense td:not(:first-child), .dense th:not(:first-child) { padding-left: 11px; }
.dense td:first-child { max-width: 170px; }
.dense small { font-size: 10.5px; padding-left: 2px; }
td.win { font-weight: 700; color: var(--accent); }
td.loss { font-weight: 700; color: #b34700; }
details { margin: 14px 0; }
summary { cursor: pointer; font-size: 14px; color: var(--soft); }
td.text { text-align: left; white-space: normal; max-width: 70ch; }
td small { color: var(--soft); font-weight: 400; padding-left: 4px; }
footer { margin-top: 56px; color: var(--soft); font-size: 13px; border-top: 1px solid var(--line); padding-top: 12px; }
@media print { body { background: #fff; } main { padding: 0; } }
"""


class Html(str):
    """Text that is markup already."""


def tag(name: str, /, *children: Any, **attributes: str) -> Html:
    """`<name …>children</name>`; children that are not `Html` are escaped, attribute values always are."""
    told = "".join(f' {key.rstrip("_")}="{html.escape(str(value), quote=True)}"' for key, value in attributes.items())
    inner = "".join(child if isinstance(child, Html) else html.escape(str(child)) for child in children)
    return Html(f"<{name}{told}>" + ("" if name in ("img", "meta") else f"{inner}</{name}>"))


def join(parts: Iterable[str]) -> Html:
    """Pieces of markup one after the other."""
    return Html("".join(part if isinstance(part, Html) else html.escape(part) for part in parts))


def figure(uri: str, alt: str, caption: str = "") -> Html:
    """A picture given as a data: URI."""
    return tag("figure", tag("img", src=uri, alt=alt), tag("figcaption", caption) if caption else Html(""))


def table(head: Sequence[str], lines: Iterable[Sequence[Any]], dense: bool = False) -> Html:
    """A table; a cell is text, `Html`, or a (text, class) pair; dense = many columns, set smaller."""
    body = []
    for line in lines:
        cells = [tag("td", cell[0], class_=cell[1]) if isinstance(cell, tuple) else tag("td", cell) for cell in line]
        body.append(tag("tr", *cells))
    top = tag("thead", tag("tr", *[tag("th", name) for name in head]))
    return tag("div", tag("table", top, tag("tbody", *body)), class_="scroll dense" if dense else "scroll")


def definitions(pairs: Iterable[tuple[str, str]]) -> Html:
    """Name and value, line by line."""
    return tag("dl", *[piece for name, value in pairs for piece in (tag("dt", name), tag("dd", value))])


def bullets(lines: Iterable[str]) -> Html:
    return tag("ul", *[tag("li", line) for line in lines])


def details(title: str, inner: Html) -> Html:
    """Something long that opens when its title is clicked; needs no script."""
    return tag("details", tag("summary", title), inner)


def document(title: str, body: Html) -> str:
    """The whole file."""
    policy = Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">')
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        policy,
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    return f'<!doctype html>\n<html lang="en">{head}{tag("body", tag("main", body))}</html>\n'
