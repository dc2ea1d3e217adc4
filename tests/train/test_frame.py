"""The coordinates of a training: the same lengths and angles; the dictionary does in channels what was learnt."""

from __future__ import annotations

import numpy as np
import pytest

from bioterp.errors import InputError
from bioterp.train.crew import Crew
from bioterp.train.engine import Engine
from bioterp.train.finish import finished
from bioterp.train.frame import TILE, Frame, frame
from bioterp.train.recipe import Recipe, Sizes

N, D, OUT = 3 * TILE + 77, 23, 14


def uneven(seed: int, d: int = D, n: int = N) -> np.ndarray:
    """Rows far from 0, whose standard deviations along hidden axes run from 10 to 0.01."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0]
    return ((rng.standard_normal((n, d)) * np.geomspace(10, 0.01, d)) @ axes + 40 * rng.standard_normal(d)).astype("f4")


def test_rows_are_turned_and_back_again() -> None:
    x = uneven(0)
    one = frame(x)
    with Crew(1) as crew:
        at = one.rows(x, crew)
    np.testing.assert_allclose(at.mean(0), 0, atol=1e-4)
    assert np.square(at).mean() == pytest.approx(1, rel=1e-4)
    covariance = at.T.astype("f8") @ at / N
    spread = np.diag(covariance)
    assert (np.diff(spread) > 0).all() and spread[-1] / spread[0] > 1e5
    assert np.abs(covariance - np.diag(spread)).max() < 1e-4
    np.testing.assert_allclose(one.mean + one.scale * one.back(at), x, atol=2e-3)
    assert one.gamma == pytest.approx(
        np.linalg.norm(x.mean(0, dtype="f8")) / np.sqrt(x.var(0, dtype="f8").sum()), rel=1e-4
    )


def test_where_axes_are_alike_nothing_is_turned() -> None:
    x = np.random.default_rng(1).standard_normal((N, D), np.float32) + 5
    one = frame(x)
    assert one.axes is None
    with Crew(1) as crew:
        np.testing.assert_allclose(one.rows(x, crew), (x - one.mean) / one.scale, rtol=1e-5, atol=1e-6)


def test_a_few_long_rows_set_nothing() -> None:
    x = uneven(2)
    usual = frame(x)
    x[5:9] += 1e4 * np.random.default_rng(3).standard_normal((4, D), np.float32)
    one = frame(x)
    assert one.long == pytest.approx(4 / N)
    assert one.scale == pytest.approx(usual.scale, rel=0.01)
    assert usual.axes is not None and one.axes is not None
    assert np.abs((usual.axes * one.axes).sum(0)).min() > 0.9


def test_rows_are_the_same_for_any_number_of_threads() -> None:
    x = uneven(4)
    one = frame(x)
    found = []
    for threads in (1, 3):
        with Crew(threads) as crew:
            found.append(one.rows(x, crew))
    np.testing.assert_array_equal(*found)
    np.testing.assert_array_equal(frame(x).axes, one.axes)


def test_a_state_holds_all_of_it() -> None:
    one, other = frame(uneven(5)), Frame(np.zeros(D, np.float32), 1.0, 0.0)
    other.restore(one.state())
    x = uneven(6)
    with Crew(1) as crew:
        np.testing.assert_array_equal(one.rows(x, crew), other.rows(x, crew))
    alike = Frame(np.ones(D, np.float32), 2.0, 0.5)
    other.restore(alike.state())
    assert other.axes is None and (other.scale, other.long) == (2.0, 0.5)


def test_rows_that_do_not_vary_are_refused() -> None:
    with pytest.raises(InputError, match="do not vary"):
        frame(np.ones((50, D), np.float32))


@pytest.mark.parametrize(("transcoder", "skip"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_the_dictionary_does_in_channels_what_was_trained(kind: str, transcoder: bool, skip: bool) -> None:
    x, y = uneven(7), None
    if transcoder:
        y = np.abs(x) @ np.random.default_rng(8).standard_normal((D, OUT), np.float32)
    into, out = frame(x), frame(x if y is None else y)
    sizes = Sizes(D, OUT if transcoder else D, 61, 4, kind, transcoder, skip)
    how = Recipe(N, 40, 4e-3, warm=2, even=0.0)
    with Crew(1) as crew:
        made = Engine(sizes, how, 3, crew)
        at, wanted = into.rows(x, crew), None if y is None else out.rows(y, crew)
        made.start(at, wanted)
        left = [made.step(at, wanted) for _ in range(how.steps)]
        dictionary = finished(made, into, out, {}, at)
    assert left[-1] < 0.9 * left[0]
    target = x if y is None else y
    error = np.square((dictionary.decode_array(dictionary.encode_array(x), x) - target).astype("f8")).sum()
    fvu = error / np.square(target.astype("f8") - target.mean(0, dtype="f8")).sum()
    # The batch kinds are deployed with a threshold; long rows counted less while it was trained.
    assert fvu == pytest.approx(left[-1], rel=0.02 if kind == "topk" else 0.1)
    np.testing.assert_allclose(np.linalg.norm(dictionary.decoder, axis=1), float(out.scale / into.scale), rtol=1e-5)


def test_features_begin_where_the_rows_are() -> None:
    """Directions lean to what varies, half as far as the rows do."""
    x = uneven(9)
    one = frame(x)
    with Crew(1) as crew:
        made = Engine(Sizes(D, D, 4_000, 4), Recipe(N, 40, 4e-3), 3, crew)
        at = one.rows(x, crew)
        made.start(at)
    spread = np.square(made.decoder).mean(0, dtype="f8")
    slope = np.polyfit(np.log(np.square(at).mean(0)), np.log(spread), 1)[0]
    assert slope == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(np.linalg.norm(made.decoder, axis=1), 1, rtol=1e-5)
