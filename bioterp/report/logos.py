"""Sequence logos: letters as high as the information they carry, drawn as small SVG files of their own."""

from __future__ import annotations

import base64

import numpy as np
import pandas as pd

# Outlines in a box of 1 by 1, y downwards; drawn, so that no reader's fonts can change their height.
SHAPES = {
    "A": "M0 1L.39 0H.61L1 1H.79L.715 .77H.285L.21 1ZM.345 .6H.655L.5 .16Z",
    "C": "M1 .3C.95 .1 .78 0 .53 0C.2 0 0 .2 0 .5C0 .8 .2 1 .53 1C.78 1 .95 .9 1 .7L.79 .63C.75 .76 .67 .83 .53 .83"
    "C.32 .83 .21 .71 .21 .5C.21 .29 .32 .17 .53 .17C.67 .17 .75 .24 .79 .37Z",
    "G": "M1 .3C.95 .1 .78 0 .53 0C.2 0 0 .2 0 .5C0 .8 .2 1 .53 1C.75 1 .9 .93 1 .82V.46H.52V.62H.8V.74"
    "C.73 .8 .65 .83 .53 .83C.32 .83 .21 .71 .21 .5C.21 .29 .32 .17 .53 .17C.67 .17 .75 .24 .79 .35Z",
    "T": "M0 0H1V.17H.605V1H.395V.17H0Z",
}
# Okabe–Ito; the letters differ in shape too.
COLOURS = {"A": "#009e73", "C": "#0072b2", "G": "#e69f00", "T": "#d55e00"}
INK, SOFT, BAND = "#1d232b", "#5b6570", "#eef1f4"
WIDE, TALL = 15.0, 84.0  # px of a position, and of the whole axis
LEFT, TOP, FOOT = 34.0, 8.0, 30.0
MOST = 2.0  # bits the axis holds at least: what a letter carries when each is as frequent


def logo(motif: pd.DataFrame, title: str = "") -> str:
    """The lines of one feature of the table of motifs as an SVG file in a data: URI."""
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn(motif, title).encode()).decode()}"


def drawn(motif: pd.DataFrame, title: str = "") -> str:
    """The same as SVG text. A position of no information, or without letters, stays empty."""
    motif = motif.sort_values("position")
    bits = motif["bits"].to_numpy(float)
    top = max(MOST, float(np.nanmax(bits, initial=0)))
    px = TALL / top
    wide, tall = LEFT + WIDE * len(motif) + 6, TOP + TALL + FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {tall:g}" width="{wide:g}" height="{tall:g}" '
        f'font-family="DejaVu Sans, Arial, sans-serif" font-size="10" fill="{SOFT}">'
    ]
    parts += [f"<title>{_escaped(title)}</title>"] if title else []
    position = motif["position"].to_numpy(int)
    zero = np.flatnonzero(position == 0)
    parts += [
        f'<rect x="{_x(k):g}" y="{TOP:g}" width="{WIDE:g}" height="{TALL:g}" fill="{BAND}"/>' for k in zero.tolist()
    ]
    share = motif[["a", "c", "g", "t"]].to_numpy(float)
    for k in range(len(motif)):
        if bits[k] > 0:
            parts += _column(_x(k), share[k] * bits[k] * px)
    parts += _chance(motif["bits_chance"].to_numpy(float), px)
    parts += _axes(position, top, px)
    return "".join(parts) + "</svg>"


def _x(k: int) -> float:
    return LEFT + WIDE * k


def _column(x: float, height: np.ndarray) -> list[str]:  # type: ignore[type-arg]
    """The letters of a position, the most frequent on top."""
    parts, base = [], TOP + TALL
    for letter in np.argsort(height, kind="stable"):
        h = float(height[letter])
        if h >= 0.3:  # less would not be seen
            base -= h
            name = "ACGT"[letter]
            place = f"translate({x + 0.5:g} {base:.2f}) scale({WIDE - 1:g} {h:.2f})"
            parts.append(f'<path d="{SHAPES[name]}" transform="{place}" fill="{COLOURS[name]}" fill-rule="evenodd"/>')
    return parts


def _chance(line: np.ndarray, px: float) -> list[str]:  # type: ignore[type-arg]
    known = line[np.isfinite(line)]
    if not len(known):
        return []
    y = TOP + TALL - float(known.max()) * px
    end = _x(len(line))
    dash = f'stroke="{INK}" stroke-width=".8" stroke-dasharray="3 3"'
    return [f'<line x1="{LEFT:g}" x2="{end:g}" y1="{y:.2f}" y2="{y:.2f}" {dash}/>']


def _axes(position: np.ndarray, top: float, px: float) -> list[str]:  # type: ignore[type-arg]
    base = TOP + TALL
    line = f'stroke="{SOFT}" stroke-width=".8"'
    parts = [f'<line x1="{LEFT - 2:g}" x2="{LEFT - 2:g}" y1="{TOP:g}" y2="{base:g}" {line}/>']
    for bit in range(int(top) + 1):
        y = base - bit * px
        parts.append(f'<line x1="{LEFT - 5:g}" x2="{LEFT - 2:g}" y1="{y:.2f}" y2="{y:.2f}" {line}/>')
        parts.append(f'<text x="{LEFT - 8:g}" y="{y + 3.5:.2f}" text-anchor="end">{bit}</text>')
    middle = TOP + TALL / 2
    parts.append(f'<text transform="translate(10 {middle:g}) rotate(-90)" text-anchor="middle">bits</text>')
    for k, at in enumerate(position.tolist()):
        if at % 5 == 0:
            told = str(at).replace("-", "−")
            parts.append(f'<text x="{_x(k) + WIDE / 2:g}" y="{base + 13:g}" text-anchor="middle">{told}</text>')
    end = (LEFT + _x(len(position))) / 2
    told = "bp from the strongest cell, in reading direction"
    parts.append(f'<text x="{end:g}" y="{base + 26:g}" text-anchor="middle">{told}</text>')
    return parts


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
