"""The reference model's card says what its evaluation found."""

from __future__ import annotations

import json
import runpy

from tests.conftest import ROOT

TRAINING = ROOT / "training" / "dna_small"


def one_line(text: str) -> str:
    """Prose without its line breaks; a table keeps the order of its cells."""
    return " ".join(text.split())


def test_the_card_says_what_the_evaluation_found() -> None:
    found = json.loads((TRAINING / "evaluation.json").read_text())
    card = one_line((ROOT / "bioterp" / "models" / "reference" / "dna_small" / "MODEL_CARD.md").read_text())
    for passage in runpy.run_path(str(TRAINING / "card.py"))["passages"](found):
        assert one_line(passage) in card, f"run: python training/dna_small/card.py, and put into the card:\n{passage}"
