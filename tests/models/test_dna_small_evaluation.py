"""How the reference model is scored: both strands alike, the other half of a genome, errors over blocks."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT

TRAINING = ROOT / "training" / "dna_small"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports a file of training/dna_small, and forgets them all afterwards: their names are common words."""
    monkeypatch.syspath_prepend(str(TRAINING))
    own = {path.stem for path in TRAINING.glob("*.py")}
    kept = {name: sys.modules.pop(name) for name in own & set(sys.modules)}
    yield importlib.import_module
    for name in own & set(sys.modules):
        del sys.modules[name]
    sys.modules.update(kept)


def bases(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, n).astype(np.uint8)


def test_the_minus_strand_is_the_reverse_complement_read_forward(script, tiny_model_folder: Path, tmp_path: Path):
    from transformers import AutoModelForCausalLM

    corpus, scoring = script("corpus"), script("scoring")
    scorer = scoring.Scorer(AutoModelForCausalLM.from_pretrained(tiny_model_folder).eval(), "tiny", tmp_path)
    # Windows of either direction lie at the same places when the last is not pulled back.
    forward = corpus.Stretch("x", "c", 0, bases(1024 + 768))
    forward.bases[700] = corpus.N
    other = corpus.Stretch("x", "c other", 0, corpus.reverse_complement(forward.bases))
    minus, plus = scorer.bits(forward, "-"), scorer.bits(other)[::-1]
    scored = np.isfinite(minus)
    assert scored.sum() == len(minus) - 256 - 1 and not scored[-256:].any() and not scored[700]
    np.testing.assert_allclose(minus, plus, atol=1e-4)
    np.testing.assert_allclose(scorer.windows(forward, "-")[::-1], scorer.windows(other), atol=1e-4)


def test_a_base_is_scored_by_the_half_it_is_not_in(script, monkeypatch: pytest.MonkeyPatch):
    corpus, baselines = script("corpus"), script("baselines")
    monkeypatch.setattr(corpus, "BLOCK", 500)
    genome = {"c": bases(2000)}
    changed = {"c": genome["c"].copy()}
    changed["c"][100:400] = 0
    for strand in "+-":
        before, after = (baselines.other_half(g, strand)["c"] for g in (genome, changed))
        np.testing.assert_array_equal(before[1010:1490], after[1010:1490])  # even, as the changed block is
        assert not np.isclose(before[510:990], after[510:990]).all()  # odd: its model is of the even half


def test_errors_of_equal_blocks_agree(script):
    scoring = script("scoring")
    blocks = [np.array([1.0, 2.0, np.nan]), np.array([2.0, 2.5, np.nan]), np.array([1.0, 1.0, np.nan])]
    one = scoring.summary(blocks)
    two = scoring.pooled(np.array([3.0, 4.5, 2.0]), np.array([2.0, 2.0, 2.0]))
    assert one == two and one["bits_per_base"] == round(9.5 / 6, 4)
    low, high = one["interval_95"]
    assert (high - low) / 2 == pytest.approx(4.303 * one["standard_error"], rel=1e-3)


@pytest.mark.parametrize(
    ("markov", "floor", "met"), [(2.1, "uniform", True), (1.92, "markov_best_in_hindsight", False)]
)
def test_the_model_is_held_to_the_lower_of_two(script, markov: float, floor: str, met: bool):
    evaluate = script("evaluate")
    model = [np.full(9, 1.90), np.full(9, 1.91), np.full(9, 1.90)]
    found = evaluate.against_floor(model, evaluate.compare(model, [np.full(9, markov)] * 3))
    assert (found["floor"], found["met"]) == (floor, met)
    assert found["bits_per_base"] == pytest.approx(1.9033 - min(markov, 2.0), abs=1e-4)
