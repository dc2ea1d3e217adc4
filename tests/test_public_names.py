"""Public names are what is documented, whatever was imported before."""

from __future__ import annotations

import importlib
import importlib.util
import types

import bioterp as bt


def test_a_module_of_the_same_name_does_not_hide_a_function() -> None:
    for name in bt.__all__:
        if importlib.util.find_spec(f"bioterp.{name}") is not None:
            importlib.import_module(f"bioterp.{name}")
        assert not isinstance(getattr(bt, name), types.ModuleType), name
    assert callable(bt.export) and callable(bt.report)
