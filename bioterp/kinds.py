"""What a value of a run file may be: numbers within bounds, texts that say one, keywords as functions have them."""

from __future__ import annotations

import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bioterp.errors import InputError, nearest, shown

MOST = 10**12  # of whole numbers: bases, rows, steps, seeds; past it nothing fits a machine


def count(text: str) -> int:
    """'500k', '2M', '1e6' → int."""
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,15})?(?:e\d{1,2})?)\s*([kKmM]?)\s*", text)
    number = float(match[1]) * {"": 1, "k": 1e3, "m": 1e6}[match[2].lower()] if match else math.inf
    if number > MOST:
        raise InputError(f"dictionary.tokens is a count such as 500k or 2M; got {shown(text)}")
    return round(number)


def size(text: str) -> int:
    """'25GB', '500 MB' → bytes, decimal as disks are sold."""
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT]?B)\s*", text, re.IGNORECASE)
    if not match:
        raise InputError(f"disk is a size such as 25GB; got {shown(text)}")
    return round(float(match[1]) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[match[2].upper()])


def bounded(value: Any) -> bool:
    """Whether a number is one to count with: whole ones up to MOST, others finite."""
    return abs(value) <= MOST if isinstance(value, int) else math.isfinite(value)


def named(kind: Any) -> str:
    """A type in the words of an error."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        told = [named(one) for one in inner if (one is not types.NoneType and one in WORDS) or typing.get_origin(one)]
        return " or ".join(dict.fromkeys(told)) or "of another kind"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return "a mapping"
    return "a list" if origin is not None else WORDS.get(kind, str(kind))


WORDS: dict[Any, str] = {
    int: "a whole number", float: "a number", str: "text", bool: "true or false",
    Path: "a path", Any: "anything",
}  # fmt: skip


def refusal(where: str, kind: Any, value: Any) -> InputError:
    """The error for a value of another type, or for a number nobody counts with."""
    odd = isinstance(value, int | float) and not bounded(value)
    bounds = " (whole ones reach to 10^12, others are finite)" if odd else ""
    return InputError(f"{where} must be {named(kind)}{bounds}; got {shown(value)}")


def fits(kind: Any, value: Any) -> bool:
    """Whether a value as YAML gives it is of a type as functions are annotated; a number will do for text."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(one, value) for one in inner)
    if kind is types.NoneType or value is None:
        return value is None and kind in (types.NoneType, None)
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return isinstance(value, dict) and all(fits(inner[0], k) and fits(inner[1], v) for k, v in value.items())
    if origin is not None:
        return isinstance(value, list) and all(fits(inner[0], one) for one in value)
    if isinstance(value, bool):
        return kind is bool
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and bounded(value)
    if kind is str:
        return isinstance(value, str | int | float)
    return isinstance(value, str | Path) if kind is Path else inspect.isclass(kind) and isinstance(value, kind)


def check_keywords(functions: list[tuple[Callable[..., Any], int]], options: Mapping[str, Any], where: str) -> None:
    """InputError for an option that none of the functions takes, or of another type. Each comes with how many of its
    first parameters are not options."""
    hints: dict[str, Any] = {}
    for function, first in functions:
        told = typing.get_type_hints(function)
        hints |= {name: told[name] for name in [*inspect.signature(function).parameters][first:]}
    for key, value in options.items():
        if key not in hints:
            raise InputError(
                f"unknown key {shown(key)} in {where}; {nearest(str(key)[:100], ['path', 'call', *hints])}"
            )
        if not fits(hints[key], value):
            raise refusal(f"{where}.{key}", hints[key], value)
