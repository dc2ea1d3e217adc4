"""The report and the screen of a study of layers, seeds and baselines."""

from __future__ import annotations

import base64
import re

import numpy as np
import pandas as pd
import pytest

from bioterp import summary
from bioterp.analyses.comparison import comparison
from bioterp.analyses.layers import layers
from bioterp.errors import InputError
from bioterp.report import report
from bioterp.report.best import best_per_term, sentence, two
from bioterp.report.heat import _ramp, in_reading_order, layers_figure
from bioterp.report.pictures import save_layers
from bioterp.report.tally import in_words, tallies
from tests.studies import NAMES, study
from tests.test_report import EVIL, Page

FORMULA = r"$\frac{1}{0$ & <b>"


@pytest.fixture(scope="module")
def made():
    terms = ("gene", "tRNA", "rRNA", "origin_of_replication", EVIL, FORMULA)
    detection, blocks = study(terms, ("2", "10"), (0, 1), blocks=7, seed=3)
    return {"detection": detection, "layers": layers(detection), "comparison": comparison(detection, blocks)}


# ------------------------------------------------------------------ words


def line(term, seed, select, f1, split="test", layer="1", kind="dictionary", feature=0):
    return {"term": term, "seed": seed, "f1_select": select, "f1": f1, "split": split, "layer": layer,
            "representation": kind, "dictionary": kind, "feature": feature}  # fmt: skip


def test_best_per_term_takes_cross_fitted_lines_and_the_first_seed():
    table = pd.DataFrame(
        [
            line("gene", 5, 0.4, 0.4, feature=1), line("gene", 0, 0.9, 0.9, feature=2),
            line("late", 0, 0.3, 0.3, feature=3), line("rare", 5, 0.9, 0.9, feature=4),
            line("rare", 5, 0.2, 0.2, split="cross-fitted", feature=5), line("rare", 5, 0.9, 0.9, split="train"),
            line("gene", 0, 0.2, 0.2, kind="neurons", feature=6),
        ]
    )  # fmt: skip
    best = best_per_term(table).set_index(["representation", "term"])["feature"].to_dict()
    own = "dictionary"
    assert best == {(own, "gene"): 1, (own, "late"): 3, (own, "rare"): 5, ("neurons", "gene"): 6}


def test_a_cross_fitted_sentence():
    rare = pd.Series(line("rRNA", 0, 0.5, 0.5, split="cross-fitted", feature=7))
    assert sentence(rare) == "Dictionary feature 7 fires on rRNA: F1 0.50, cross-fitted."
    assert "chosen anew for every part, fires on rRNA" in sentence(rare.replace({7: -1}))


def test_numbers_are_written_with_a_real_minus_and_no_minus_nothing():
    assert [two(v) for v in (0.126, -0.2, -0.001, np.nan)] == ["0.13", "−0.20", "0.00", "–"]
    assert [two(v, sign=True) for v in (0.126, -0.2, -0.001)] == ["+0.13", "−0.20", "0.00"]


def compared(*results, baseline="neurons", seed=0):
    held = [{"baseline": baseline, "seed": seed, "term": f"t{k}", "result": r} for k, r in enumerate(results)]
    return pd.DataFrame(held)


def test_wins_are_counted_at_the_first_seed_and_ranged_over_all():
    one = compared("win", "win", "loss", "open")
    assert in_words(tallies(one)[0]) == "2 wins, 1 loss (t2), 1 open"
    both = pd.concat([one, compared("win", "open", "open", "none", seed=4), compared("none", baseline="pca")])
    neurons, pca = tallies(both)
    assert in_words(neurons) == "2 wins, 1 loss (t2), 1 open; over 2 seeds 1 to 2 wins and 0 to 1 losses"
    assert in_words(pca) == "0 wins, 0 losses, 0 open, 1 without an interval"
    many = in_words(tallies(compared(*["loss"] * 15))[0])
    assert "15 losses (t0, t1," in many and "t11 and 3 more)" in many


# ------------------------------------------------------------------ the picture


def test_terms_are_read_layer_by_layer_and_the_weak_come_last():
    held = [
        ("deep", "10", 0.5, True), ("deep", "2", 0.4, False), ("strong", "2", 0.6, True), ("mild", "2", 0.3, True),
        ("weak", "2", 0.04, True), ("unknown", "2", np.nan, False),
    ]  # fmt: skip
    table = pd.DataFrame(held, columns=["term", "layer", "above", "best"]).assign(representation="dictionary")
    assert in_reading_order(table) == ["strong", "mild", "deep", "weak"]


def test_the_colours_grow_dark_in_equal_steps():
    """Read back by the inverse formulas: from sRGB to relative luminance to L*."""
    rgb = _ramp()(np.linspace(0, 1, 256))[:, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    lightness = 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16
    steps = np.diff(lightness)
    assert lightness[0] > 95 and lightness[-1] < 30
    np.testing.assert_allclose(steps, steps.mean(), atol=0.03)


@pytest.mark.parametrize(("depth", "terms"), [(1, 1), (6, 25), (13, 45), (40, 3)])
def test_the_picture_holds_any_number_of_layers_and_terms(depth, terms):
    rng = np.random.default_rng(depth)
    names = [f"t{k}" for k in range(terms)]
    same = {"n_instances": 30, "n_seeds": 1, "split": "test"}
    held = [
        {"representation": kind, "layer": str(i), "term": t, "above": rng.uniform(-0.1, 0.9), "best": i == k % depth}
        for kind in ("dictionary", "random-weights", "pca")
        for i in range(depth)
        for k, t in enumerate(names)
    ]
    figure = layers_figure(pd.DataFrame(held).assign(**same))
    figure.canvas.draw()
    panels = [axes for axes in figure.axes if axes.get_xlabel() == "layer"]
    shown = min(terms, 40)
    assert len(panels) == 2
    width, height = figure.get_size_inches() * figure.dpi
    for axes in panels:
        assert axes.get_ylim() == (shown, 0) and axes.get_xlim() == (0, depth)
        assert len(axes.patches) == (shown if depth > 1 else 0)
        box = axes.get_window_extent()
        assert min(box.x0, box.y0) >= 0 and box.x1 <= width and box.y1 <= height
    numbers = [text.get_text() for text in panels[0].texts if re.fullmatch(r"−?0?\.\d\d", text.get_text())]
    assert len(numbers) == (shown * depth if depth < 40 else 0)


def test_the_picture_as_a_file(made, tmp_path):
    png = save_layers(made["layers"], tmp_path / "layers.png")
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    svg = save_layers(made["layers"], tmp_path / "layers.svg").read_bytes()
    assert b"<svg" in svg and b"<script" not in svg
    assert svg == save_layers(made["layers"], tmp_path / "again.svg").read_bytes()
    with pytest.raises(InputError, match=r"layers\.gif"):
        save_layers(made["layers"], tmp_path / "layers.gif")
    empty = save_layers(made["layers"].iloc[:0], tmp_path / "empty.svg")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.svg", "empty.svg", "layers.png", "layers.svg"]
    assert empty.stat().st_size


# ------------------------------------------------------------------ the page


def test_one_safe_page_of_a_study(made, tmp_path):
    text = report(tmp_path, tables=made).read_text(encoding="utf-8")
    page = Page(text)
    assert not page.open and not {"script", "link", "iframe", "object", "a", "form", "b"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("href", "action")]
    policy = next(value for name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    pictures = [base64.b64decode(v.split(",")[1]) for name, v in page.attributes if name == "src"]
    assert len(pictures) == 2 and not any(b"<script" in picture for picture in pictures)
    told = " ".join(page.text)
    wanted = [
        EVIL, FORMULA, "Which layer carries which term", "Over 2 seeds", "L 2", "L 10", "17*", "over 2 seeds",
        "Against the best random-weights model: ", "1 term that could not be scored", "first of 2 seeds (0)",
        "* cross-fitted: where fewer",
    ]  # fmt: skip
    assert [words for words in wanted if words not in told] == []
    first = made["comparison"]
    first = first[(first["seed"] == 0) & (first["term"] == "gene") & (first["baseline"] == "pca")].iloc[0]
    assert f"{first['difference']:+.2f}" in told and f"{first['lo']:.2f}, {first['hi']:.2f}" in told
    assert "intervals apart" not in told, "paired intervals replace the comparison of marginal ones"
    assert report(tmp_path / "again", tables=made).read_text(encoding="utf-8") == text


def test_the_tables_are_optional(made, tmp_path):
    alone = report(tmp_path, tables={"detection": made["detection"]}).read_text(encoding="utf-8")
    assert "Which layer carries" not in alone and "further above chance on" in alone
    empty = {name: table.iloc[:0] for name, table in made.items()}
    assert "detection table is missing or empty" in report(tmp_path, tables=empty).read_text(encoding="utf-8")
    unscored = made["layers"].assign(above=np.nan, best=False)
    text = report(tmp_path, tables={**made, "layers": unscored}).read_text(encoding="utf-8")
    assert "No term was scored on any layer" in text


def test_comparisons_that_failed_are_told_with_their_reason(made, tmp_path):
    bare = made["comparison"].assign(result="none", difference=np.nan, lo=np.nan, hi=np.nan, note=f"why {EVIL}")
    text = report(tmp_path, tables={**made, "comparison": bare}).read_text(encoding="utf-8")
    told = " ".join(Page(text).text)
    assert "without an interval" in told and f"why {EVIL}" in told


# ------------------------------------------------------------------ the screen


@pytest.mark.parametrize("width", [80, 180])
def test_the_screen_shows_every_number_whole(made, monkeypatch, capsys, width):
    from rich.console import Console

    monkeypatch.setattr(summary, "_console", lambda: Console(width=width, force_terminal=False))
    summary.print_detection(made["detection"])
    summary.print_layers(made["layers"])
    summary.print_comparison(made["comparison"])
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= width
    gene = made["layers"].query("representation == 'dictionary' and term == 'gene' and best").iloc[0]
    assert (
        f"[{gene['above']:.2f}]" in told and told.count("17*") == 2 and told.count("* cross-fitted: fewer than 20") == 2
    )
    assert "against random-weights: " in told and "0.…" not in told
    assert ("neurons" in told.split("* cross")[0]) == (width == 180)


def test_the_screen_with_little_to_say(made, capsys):
    summary.print_detection(made["detection"].assign(n_instances=1))
    summary.print_layers(made["layers"].iloc[:0])
    alone = made["layers"]
    summary.print_layers(alone[alone["layer"] == "2"].assign(n_seeds=1))
    summary.print_comparison(made["comparison"].iloc[:0])
    told = capsys.readouterr().out
    assert "No term has 5 held-out instances" in told and "layer" not in told.split("not shown")[1]


def test_many_layers_are_told_by_the_best_one(capsys):
    detection, _ = study(NAMES[:2], [str(i) for i in range(14)], (0,), blocks=5)
    summary.print_layers(layers(detection))
    told = capsys.readouterr().out
    assert "layer" in told and "above" in told and "[" not in told


def test_a_term_with_markup_is_printed_as_it_is_called(capsys):
    """`[red]` is rich's for a colour: names of terms and outputs come from files."""
    rows = [("[red]acceptor", "donor[/]"), ("other", "[bold]x")]
    frame = pd.DataFrame(rows, columns=["output", "term"]).assign(
        n=900, n_cells=37, prevalence=0.04, ap=[0.9, 0.3], ap_lo=np.nan, ap_hi=np.nan, auroc=0.99
    )
    summary.print_readout(frame)
    shown = capsys.readouterr().out
    assert "[red]acceptor" in shown and "donor[/]" in shown and "[bold]x" in shown


def test_the_layer_to_show_counts_the_terms_it_does_not_find():
    """A layer that finds one of three terms well is no better than one that finds all three half as well."""
    from bioterp.study import _selected

    def layer(found):
        rows = [{"term": t, "f1_select": f, "f1_select_null": 0.1 if f == f else np.nan} for t, f in found]
        return _selected(pd.DataFrame(rows))

    one = layer([("a", 0.7), ("a", 0.3), ("b", np.nan), ("c", np.nan)])
    all_three = layer([("a", 0.4), ("b", 0.4), ("c", 0.4)])
    assert one == pytest.approx(0.2) and all_three == pytest.approx(0.3)
