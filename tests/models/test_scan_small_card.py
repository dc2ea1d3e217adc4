"""The scan model's card says what its evaluation found, and the evaluation is of the weights that are shipped."""

from __future__ import annotations

import hashlib
import json
import runpy

from tests.conftest import ROOT

TRAINING = ROOT / "training" / "scan_small"
SHIPPED = ROOT / "bioterp" / "models" / "reference" / "scan_small"


def one_line(text: str) -> str:
    """Prose without its line breaks; a table keeps the order of its cells."""
    return " ".join(text.split())


def test_the_card_says_what_the_evaluation_found() -> None:
    found = json.loads((TRAINING / "evaluation.json").read_text())
    card = one_line((SHIPPED / "MODEL_CARD.md").read_text())
    for passage in runpy.run_path(str(TRAINING / "card.py"))["passages"](found):
        assert one_line(passage) in card, f"run: python training/scan_small/card.py, and put into the card:\n{passage}"


def test_the_evaluation_is_of_the_shipped_weights() -> None:
    found = json.loads((TRAINING / "evaluation.json").read_text())
    assert found["model"]["sha256"] == hashlib.sha256((SHIPPED / "model.safetensors").read_bytes()).hexdigest()
    assert found["model"]["complete"] == "true"


def test_the_card_names_every_licence_of_the_training_scans() -> None:
    listed = json.loads((TRAINING / "data.json").read_text())
    trained = {row["group"] for row in listed["sources"] if row["weight"] > 0}
    card = (SHIPPED / "MODEL_CARD.md").read_text()
    for group in trained:
        assert listed["licences"][group] in card, group
