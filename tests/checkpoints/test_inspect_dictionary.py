"""`inspect` and `calibrate`: planted dictionaries, exact counts, and the failure they are there to catch."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import bioterp as bt

D, M, K, N = 24, 60, 3, 2_900


def people(values: np.ndarray, **about: str) -> bt.Field:
    names = [f"p{i}" for i in range(len(values))]
    table = pd.DataFrame({"item": names, "sample": names, "block": names, "split": "train"})
    return bt.Field(bt.Rows.free(table), np.asarray(values, np.float32), about=about)


def planted(seed: int = 0, kind: str = "batchtopk", m: int = M) -> tuple[bt.Dictionary, np.ndarray, np.ndarray]:
    """A dictionary, activations that are sums of its rows, and how strongly each is in each."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((m, D)) / np.sqrt(D)
    strength = rng.uniform(2, 3, (N, m)) * (rng.random((N, m)) < K / m)
    x = strength @ rows
    # Least squares in place of the transpose: an encoder that finds what was planted.
    encoder = np.linalg.lstsq(x, strength, rcond=None)[0].T
    parts = (encoder, rows, np.zeros(m), np.zeros(D), np.zeros(D))
    options = {"about": {"model": "tiny", "layer": "2", **({} if kind == "relu" else {"k": K})}}
    arrays = [np.asarray(part, np.float32) for part in parts]
    return bt.Dictionary(*arrays, 1.0, kind, K if kind != "relu" else None, **options), x.astype(np.float32), strength


def test_a_calibrated_dictionary_has_k_codes_per_row_on_average() -> None:
    dictionary, x, _ = planted()
    for k in (1, K, 7):
        found = bt.calibrate(dictionary, people(x), k)
        assert found.activation == "threshold" and found.k == k and found.about["calibrated_on"] == N
        assert found.encode_array(x).nnz == k * N  # exactly: the threshold lies between two values
        pre = np.sort((x @ dictionary.encoder.T.astype(np.float64)).ravel())[::-1]
        assert pre[k * N] <= found.threshold <= pre[k * N - 1]


def test_calibration_reads_a_sample_of_rows_spread_over_the_field() -> None:
    dictionary, x, _ = planted()
    x[: N // 2] *= 5
    found = bt.calibrate(dictionary, people(x), rows=1_200)
    assert found.about["calibrated_on"] == 1_200
    assert found.encode_array(x).nnz / N == pytest.approx(K, rel=0.15)
    scaled = bt.Dictionary(dictionary.encoder, dictionary.decoder, *(np.zeros(n, np.float32) for n in (M, D, D)), 4.0,
                           "batchtopk", K)  # fmt: skip
    assert bt.calibrate(scaled, people(x)).encode_array(x).nnz == K * N  # the threshold is in raw code units


def test_the_dictionary_of_evo_2_from_its_file_to_its_codes(tmp_path: Path) -> None:
    dictionary, x, _ = planted()
    weights = {"W": torch.from_numpy(dictionary.encoder.T.copy()), "b_enc": torch.zeros(M), "b_dec": torch.zeros(D)}
    file = tmp_path / "sae-layer26-mixed-expansion_8-k_3.pt"
    torch.save({f"_orig_mod.{name}": tensor for name, tensor in weights.items()}, file)
    sae = bt.load_dictionary(file, model="evo2_7b_262k", layer=26)
    acts = people(x)
    with pytest.raises(bt.InputError, match="find one on your activations"):
        sae.encode(acts).read(0, 5)
    codes = bt.calibrate(sae, acts).encode(acts)
    assert codes.values.nnz == K * N and codes.about["layer"] == "26"
    # A spike elsewhere silences nobody, which it does under the recipe's own top-k over all rows.
    spiked = x.copy()
    spiked[:15] *= 1e4
    found = bt.calibrate(sae, acts).encode_array(spiked)
    assert (found[15:] != codes.values[15:]).nnz == 0


def test_calibration_asks_for_k_and_for_activations_of_its_width() -> None:
    dictionary, x, _ = planted()
    without = bt.Dictionary(*(getattr(dictionary, n) for n in ("encoder", "decoder", "b_enc", "b_dec", "mean")), 1.0,
                            "batchtopk")  # fmt: skip
    with pytest.raises(bt.InputError, match="pass k="):
        bt.calibrate(without, people(x))
    with pytest.raises(bt.AlignmentError, match=f"reads {D} channels"):
        bt.calibrate(dictionary, people(x[:, :-1]))
    with pytest.raises(bt.InputError, match=f"k=61 is more than the {M} features"):
        bt.calibrate(dictionary, people(x), 61)
    silent = bt.calibrate(dictionary, people(np.zeros((50, D))))
    assert silent.threshold == 0


def test_inspect_counts_what_it_says() -> None:
    dictionary, x, _ = planted()
    dictionary = bt.calibrate(dictionary, people(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = bt.inspect(dictionary, people(x, model="tiny", layer="2")).iloc[0]
    codes = dictionary.encode_array(x).toarray().astype(np.float64)
    error = x - codes @ dictionary.decoder.astype(np.float64)
    assert found.rows == N and found.l0 == pytest.approx((codes > 0).sum() / N) and found.l0_expected == K
    assert found.fvu == pytest.approx((error**2).sum() / ((x - x.mean(0)) ** 2).sum(), rel=1e-4)
    assert found.l2 == pytest.approx(np.sqrt((error**2).sum() / (x.astype(np.float64) ** 2).sum()), rel=1e-4)
    assert found.dead == pytest.approx(1 - (codes > 0).any(0).mean())
    assert found.working and found.warning == "" and (found.model, found.layer) == ("tiny", "2")


def test_a_dictionary_on_the_activations_of_another_model_is_told_loudly() -> None:
    """The published Evo 2 dictionary on a variant of its model: nothing fires, and nothing raises."""
    dictionary, x, _ = planted()
    dictionary = bt.calibrate(dictionary, people(x))
    with pytest.warns(UserWarning, match="no feature is ever active.*'evo2_7b' and"):
        found = bt.inspect(
            replace(dictionary, about={"model": "evo2_7b"}),
            people(x * 1e-3, model="evo2_7b_base"),
        ).iloc[0]
    assert not found.working and found.l0 == 0 and found.warning.count("\n") == 0
    with pytest.warns(UserWarning, match="features are active per row where 3 are expected"):
        assert not bt.inspect(dictionary, people(x * 1e3)).working[0]
    turned = replace(dictionary, decoder=-dictionary.decoder)
    with pytest.warns(UserWarning, match="worse than the mean of the rows"):
        assert bt.inspect(turned, people(x)).fvu[0] > 1


def test_dead_features_are_told_only_once_each_had_a_chance_to_fire() -> None:
    dictionary, x, strength = planted(kind="relu")
    alive = np.flatnonzero(strength[0] > 0)
    some = np.zeros(M, np.float32)
    some[np.setdiff1d(np.arange(M), alive)] = -100
    half_dead = replace(dictionary, b_enc=some)
    with pytest.warns(UserWarning, match="of its features are never active"):
        assert bt.inspect(half_dead, people(x)).dead[0] > 0.5
    few = quietly(half_dead, people(x[:40])).iloc[0]
    assert few.dead > 0.5 and "never active" not in few.warning


def quietly(dictionary: bt.Dictionary, acts: bt.Field) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bt.inspect(dictionary, acts)


def test_a_transcoder_is_compared_with_its_targets() -> None:
    dictionary, x, _ = planted(kind="relu")
    rng = np.random.default_rng(4)
    out, skip, b_out = rng.standard_normal((M, 5)), rng.standard_normal((5, D)), rng.standard_normal(5)
    more = {"decoder": out, "skip": skip, "b_out": b_out}
    transcoder = replace(dictionary, **{n: a.astype(np.float32) for n, a in more.items()})
    some = {n: getattr(transcoder, n) * 1.5 for n in ("skip", "b_out")}
    assert len({transcoder.id, *(replace(transcoder, **{n: value}).id for n, value in some.items())}) == 3
    acts = people(x)
    codes = transcoder.encode_array(x).astype(np.float64)
    y = codes @ out + b_out + x @ skip.T
    found = bt.inspect(transcoder, acts, people(y)).iloc[0]
    assert found.fvu < 1e-8 and found.working
    alone = bt.inspect(transcoder, acts).iloc[0]
    assert np.isnan(alone.fvu) and np.isnan(alone.l2) and alone.l0 == found.l0
    with pytest.raises(bt.AlignmentError, match="writes 5 channels"):
        bt.inspect(transcoder, acts, people(y[:, :-1]))
    with pytest.raises(bt.InputError, match="needs the activations that the codes are of"):
        transcoder.decode_array(codes)


@pytest.mark.parametrize("kind", ["standard", "length", "unit"])
def test_a_normalised_row_does_not_depend_on_how_many_are_read(kind: str) -> None:
    from bioterp.rownorm import RowNorm

    dictionary, x, _ = planted()
    sae = replace(dictionary, activation="topk", norm=RowNorm(kind, 1e-5))
    whole = sae.encode_array(x).toarray()
    for few in (1, 2, 7, 33):
        np.testing.assert_array_equal(sae.encode_array(x[:few]).toarray(), whole[:few])
    if kind != "unit":  # brought back by the same numbers, a scaled row has scaled reconstructions
        again = sae.decode_array(sae.encode_array(8 * x), 8 * x)
        np.testing.assert_allclose(again, 8 * sae.decode_array(sae.encode_array(x), x), rtol=1e-3, atol=1e-3)
    with pytest.raises(bt.InputError, match="neither a mean nor a scale"):
        replace(dictionary, norm=RowNorm("standard"), scale=2.0)
    with pytest.raises(bt.InputError, match="normalised by one of"):
        RowNorm("batch")
