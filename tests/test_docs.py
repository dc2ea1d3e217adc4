"""The pages that are made from the code are current."""

from __future__ import annotations

import runpy

from tests.conftest import ROOT


def test_formats_page_is_current() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_formats.py"))["text"]()
    assert (ROOT / "docs" / "formats.md").read_text() == made, "run: python docs/make_formats.py"
