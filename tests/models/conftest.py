"""The tiny models, built once and loaded by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo

from bioterp.models import load_model


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def entries(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], zoo.Entry]:
    """kind → its Entry, saved to a folder the first time it is asked for."""
    root: Path = tmp_path_factory.mktemp("zoo")
    made: dict[str, zoo.Entry] = {}

    def entry(kind: str) -> zoo.Entry:
        if kind not in made:
            torch.manual_seed(11)
            made[kind] = zoo.BUILDERS[kind](root / kind.replace("-", "_"))
        return made[kind]

    return entry


@pytest.fixture(scope="session")
def models(entries: Callable[[str], zoo.Entry]) -> Callable[[str], Any]:
    made: dict[str, Any] = {}

    def model(kind: str) -> Any:
        if kind not in made:
            entry = entries(kind)
            made[kind] = load_model(entry.name, **entry.options)
        return made[kind]

    return model


@pytest.fixture(params=list(zoo.BUILDERS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture()
def entry(kind: str, entries: Callable[[str], zoo.Entry]) -> zoo.Entry:
    return entries(kind)


@pytest.fixture()
def model(kind: str, models: Callable[[str], Any]) -> Any:
    return models(kind)


@pytest.fixture()
def arrays(entry: zoo.Entry) -> list[np.ndarray]:
    """Three arrays of different lengths, one with N in two places."""
    return [zoo.random_codes(n * entry.multiple, seed) for seed, n in enumerate((53, 31, 44))]
