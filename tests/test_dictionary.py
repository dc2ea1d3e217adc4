"""Dictionaries: encode and decode against the formulas written in float64, locality, storage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from bioterp.dictionary import Dictionary
from bioterp.errors import AlignmentError, InputError
from bioterp.field import Field
from bioterp.rows import Rows

M, D, N = 37, 11, 53


def random_dictionary(kind: str, seed: int = 0) -> Dictionary:
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
    options = {"topk": {"k": 5}, "threshold": {"threshold": 1.3}, "relu": {}}[kind]
    return Dictionary(draw(M, D), draw(M, D), draw(M), draw(D), draw(D), 2.5, kind, about={"seed": seed}, **options)


def people(values: np.ndarray) -> Field:
    names = [f"p{i}" for i in range(len(values))]
    return Field(Rows.free(pd.DataFrame({"item": names, "sample": names, "block": names, "split": "train"})), values)


def by_formula(d: Dictionary, x: np.ndarray) -> np.ndarray:
    """The docstring's formula, row by row in float64."""
    codes = np.zeros((len(x), d.width))
    for i, row in enumerate(x.astype(np.float64)):
        pre = d.encoder.astype(np.float64) @ ((row - d.mean) / d.scale - d.b_dec) + d.b_enc
        if d.activation == "topk":
            best = sorted(range(d.width), key=lambda j: -pre[j])[: d.k]
            on = [j for j in best if pre[j] > 0]
        else:
            on = [j for j in range(d.width) if pre[j] * d.scale > (d.threshold or 0)]
        codes[i, on] = pre[on] * d.scale
    return codes


@pytest.mark.parametrize("kind", ["topk", "threshold", "relu"])
def test_codes_and_reconstruction_follow_the_formula(kind: str) -> None:
    d = random_dictionary(kind)
    x = np.random.default_rng(1).standard_normal((N, D)).astype(np.float32) * 3
    codes = d.encode_array(x)
    dense = codes.toarray() if scipy.sparse.issparse(codes) else codes
    wanted = by_formula(d, x)
    np.testing.assert_allclose(dense, wanted, rtol=1e-4, atol=1e-4)
    rebuilt = d.mean + d.scale * d.b_dec + wanted @ d.decoder
    np.testing.assert_allclose(d.decode_array(codes), rebuilt, rtol=1e-3, atol=1e-3)


def test_rescaling_the_data_rescales_the_codes() -> None:
    """Codes carry model units: the same dictionary in other units gives the same codes in those units."""
    d = random_dictionary("topk")
    x = np.random.default_rng(2).standard_normal((N, D)).astype(np.float32)
    other = Dictionary(d.encoder, d.decoder, d.b_enc, d.b_dec, d.mean * 7, d.scale * 7, "topk", 5)
    np.testing.assert_allclose(
        other.encode_array(x * 7).toarray(), 7 * d.encode_array(x).toarray(), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("kind", ["topk", "threshold"])
def test_a_spike_elsewhere_changes_no_other_code(kind: str) -> None:
    """The published Evo 2 recipe lets 15 rows silence a window; here a row's code is its own."""
    d = random_dictionary(kind)
    x = np.random.default_rng(3).standard_normal((N, D)).astype(np.float32)
    spiked = x.copy()
    spiked[:15] *= 1e4
    a, b = d.encode_array(x)[15:].toarray(), d.encode_array(spiked)[15:].toarray()
    assert np.array_equal(a > 0, b > 0)
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    for kind in ("topk", "threshold", "relu"):
        d = random_dictionary(kind)
        found = Dictionary.load(d.save(tmp_path / kind))
        assert found.id == d.id and found.about == d.about and found.activation == kind
        assert found.threshold == d.threshold and found.k == d.k
        x = np.ones((3, D), np.float32)
        assert np.array_equal(d.decode_array(d.encode_array(x)), found.decode_array(found.encode_array(x)))


def test_fields_lazily_and_stored_agree(tmp_path: Path) -> None:
    d = random_dictionary("topk")
    acts = people(np.random.default_rng(4).standard_normal((N, D)).astype(np.float32))
    lazy, stored = d.encode(acts), d.encode(acts, out=tmp_path / "codes")
    assert lazy.rows.id == stored.rows.id == acts.rows.id
    assert (lazy.values != stored.values).nnz == 0
    assert stored.about["dictionary"] == d.id
    np.testing.assert_allclose(d.decode(stored).values, d.decode_array(d.encode_array(acts.values)), rtol=1e-5)


def test_quality_counts_what_it_says() -> None:
    d = random_dictionary("topk")
    x = np.random.default_rng(5).standard_normal((N, D)).astype(np.float32)
    codes = by_formula(d, x)
    rebuilt = d.mean + d.scale * d.b_dec + codes @ d.decoder
    wanted = ((x - rebuilt) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    quality = d.quality(people(x))
    assert quality["fvu"] == pytest.approx(wanted, rel=1e-4)
    assert quality["l0"] == pytest.approx((codes > 0).sum() / N)
    assert quality["dead"] == pytest.approx(1 - (codes > 0).any(0).mean())


def test_what_does_not_fit_is_refused() -> None:
    d = random_dictionary("topk")
    with pytest.raises(AlignmentError, match="reads 11 channels"):
        d.encode(people(np.zeros((3, D + 1), np.float32)))
    with pytest.raises(InputError, match="activation of a Dictionary"):
        Dictionary(d.encoder, d.decoder, d.b_enc, d.b_dec, d.mean, 1.0, "softmax")
    with pytest.raises(InputError, match="needs its k"):
        Dictionary(d.encoder, d.decoder, d.b_enc, d.b_dec, d.mean, 1.0, "topk")
    with pytest.raises(InputError, match="do not fit together"):
        Dictionary(d.encoder, d.decoder[:-1], d.b_enc, d.b_dec, d.mean, 1.0, "relu")


@pytest.mark.parametrize("scale", [1.0, 1.7])
@pytest.mark.parametrize("kind", ["channels", "directions", "one way", "odd"])
def test_relu_codes_that_are_multiplied_once_are_those_of_the_formula(kind, scale):
    rng = np.random.default_rng(11)
    directions = np.eye(6) if kind == "channels" else rng.standard_normal((7, 6))
    rows = directions if kind == "one way" else np.concatenate([directions, -directions])
    rows = rows[:-1] if kind == "odd" else rows
    mean, x = rng.standard_normal(6), rng.standard_normal((23, 6))
    zeros = np.zeros(len(rows), np.float32), np.zeros(6, np.float32)
    parts = rows.astype(np.float32), rows.astype(np.float32), *zeros, mean.astype(np.float32)
    dictionary = Dictionary(*parts, scale=scale, activation="relu")
    expected = np.maximum((x - mean) @ rows.T, 0)
    assert np.allclose(dictionary.encode_array(x.astype(np.float32)), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(24, 31), (256, 256), (256, 1024)])
def test_a_code_does_not_depend_on_how_many_rows_are_read(size: tuple[int, int]) -> None:
    d, m = size
    rng = np.random.default_rng(d + m)
    encoder = rng.standard_normal((m, d)).astype(np.float32)
    zeros = np.zeros(m, np.float32), np.zeros(d, np.float32)
    both = np.concatenate([encoder, -encoder])
    made = (
        Dictionary(encoder, encoder, *zeros, np.zeros(d, np.float32), k=5),
        Dictionary(both, both, np.zeros(2 * m, np.float32), zeros[1], zeros[1], activation="relu"),
    )
    x = np.repeat(rng.standard_normal((1, d)).astype(np.float32), 700, 0)
    for sae in made:
        whole = scipy.sparse.csr_matrix(sae.encode_array(x)).toarray()
        for few in range(1, 14):
            np.testing.assert_array_equal(scipy.sparse.csr_matrix(sae.encode_array(x[:few])).toarray(), whole[:few])
