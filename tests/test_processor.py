"""A model asked for in bfloat16 where products in it are slow: said, and done all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from bioterp import models, progress


@pytest.mark.parametrize("slow", [True, False])
def test_bfloat16_is_told_to_be_slow_where_it_is(
    slow: bool, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models, "slow_in_bfloat16", lambda: slow)
    monkeypatch.setattr(progress, "_on", True)
    for dtype in ("bfloat16", "float32"):
        made = models.load_model(str(tiny_model_folder), alphabet="ACGTN", dtype=dtype)
        assert made.dtype == dtype
        assert ("takes less time with dtype: float32" in capsys.readouterr().err) == (slow and dtype == "bfloat16")
