"""The evidence in the report: discoveries, what is missing, features without a term, logos."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from bioterp import tables
from bioterp.analyses.loci import loci
from bioterp.analyses.motifs import information
from bioterp.report import report
from bioterp.report.logos import COLOURS, TALL, drawn
from tests.scan_world import BALL, head, image, study
from tests.test_report import EVIL

OF = {"dictionary": "d", "seed": 0, "representation": "dictionary", "layer": "2"}


def filled(name, lines):
    frame = pd.DataFrame(lines)
    for column in tables.columns(name):
        if column.name not in frame:
            frame[column.name] = {"float64": np.nan, "int32": 0, "bool": False, "string": None}[column.dtype]
    return tables.conform(name, frame)


def motif(feature=7):
    rng = np.random.default_rng(4)
    windows = rng.integers(0, 4, (60, 13), dtype=np.uint8)
    windows[:, 5:9] = [3, 0, 3, 0]
    windows[:20, 6] = 2
    made = information(windows, np.full(4, 0.25)).assign(position=np.arange(-8, 5), n_places=60, n_copies=3)
    return made.assign(feature=feature, **OF)


def made(seeds=2, **changes):
    terms = [
        {"term": "tRNA", "n_tested": 9, "n_discoveries": 5, "n_clusters": 3, "feature": 3, "f1": 0.9, "f1_null": 0.1,
         "q": 1e-4, "n_instances": 31, "n_seeds": seeds, "n_found": 2, "n_same": 1},
        {"term": EVIL, "n_tested": 4, "n_discoveries": 0, "n_clusters": 0, "feature": 5, "f1": 0.2, "f1_null": 0.15,
         "q": 0.3, "n_instances": 12, "n_seeds": seeds, "n_found": -1, "n_same": -1, "note": "q > 0.05: too bad"},
    ]  # fmt: skip
    features = [
        {"feature": f, "density": 0.01, "mean_active": 3.0, "n_seeds": seeds, "unknown": f == 7 and seeds > 1,
         "says": f"sentence on {f}"} for f in (3, 7)
    ]  # fmt: skip
    places = [
        {"feature": 7, "rank": k + 1, "contig": "chrE", "start": 1000 + k, "stop": 1010 + k, "strand": "+",
         "peak": 1003 + k, "activation": 9.0 - k, "terms": "CDS, gene" if k % 2 else ""} for k in range(8)
    ]  # fmt: skip
    detection = [OF | {"term": t["term"], "feature": t["feature"], "f1": t["f1"], "f1_null": t["f1_null"], "q": t["q"],
                       "f1_select": t["f1"], "f1_select_null": 0.1, "split": "test", "n_instances": 31}
                 for t in terms]  # fmt: skip
    given = {
        "discoveries": filled("discoveries", [OF | t for t in terms]),
        "features": filled("features", [OF | f for f in features]),
        "loci": filled("loci", [OF | p for p in places]),
        "motifs": tables.conform("motifs", pd.concat([motif(7), motif(3)])),
        "detection": filled("detection", detection),
    }
    return given | changes


def text_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.S)))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return report(tmp_path_factory.mktemp("page"), tables=made()).read_text()


def test_discoveries_are_told(page):
    text = text_of(page)
    assert "1 of 2 terms have a feature" in text and "5 matches, 3 when features that say the same" in text
    assert "the term is found by all 2 seeds in 1, and the very feature in 0" in text
    assert "tRNA 2 5 3 3 0.80 0.0001 2 of 2 1 of 2" in text
    assert "1 term without a feature, and why" in text and "q &gt; 0.05: too bad" in page
    assert EVIL not in page and "<script" not in page


def test_the_unknown_feature_is_shown_with_its_places_and_logo(page):
    text = text_of(page)
    after = text[text.index("Strong features without a term") :]
    assert "1 of 2 features that fire" in after and "Feature 7 of layer 2" in after and "Sentence on 7." in after
    assert "chrE 1,000 1,010 + 9 –" in after and "chrE 1,001 1,011 + 8 CDS, gene" in after
    assert "Labels at its 8 strongest places: none 4, CDS 4, gene 4." in after
    assert "60 strongest places; 3 more are copies" in after
    assert "Feature 3 of layer 2, best for tRNA" in text
    assert page.count('alt="letters where feature') == 2


def test_with_one_seed_nothing_is_called_unknown(tmp_path):
    text = text_of(report(tmp_path, tables=made(seeds=1)).read_text())
    assert "None can be named: one seed was fitted" in text and "Feature 7 of layer 2 " not in text


def test_nothing_unknown_and_nothing_at_all(tmp_path):
    known = made()["features"].assign(unknown=False)
    assert "There are none." in text_of(report(tmp_path / "a", tables=made(features=known)).read_text())
    bare = text_of(report(tmp_path / "b", tables={}).read_text())
    assert "How well the matches hold" not in bare and "without a term" not in bare


def test_letters_are_as_high_as_their_information():
    table = motif()
    root = ET.fromstring(drawn(table, "a < b"))
    letters = [e for e in root.iter() if e.tag.endswith("path")]
    by_colour = {colour: letter for letter, colour in COLOURS.items()}
    heights: dict[float, dict[str, float]] = {}
    for one in letters:
        x, _, _, h = map(float, re.findall(r"-?[\d.]+", one.attrib["transform"]))
        heights.setdefault(x, {})[by_colour[one.attrib["fill"]]] = h
    left = 34.5  # where the first position begins
    px = TALL / max(2, table["bits"].max())
    for k, line in enumerate(table.itertuples()):
        column = next((v for x, v in heights.items() if abs(x - left - 15 * k) < 1e-6), {})
        for letter in "ACGT":
            wanted = getattr(line, letter.lower()) * line.bits * px
            assert column.get(letter, 0) == pytest.approx(wanted, abs=0.31)
    assert set(heights[left + 15 * 5]) == {"T"} and set(heights[left + 15 * 6]) == {"A", "G"}


def test_letters_stand_on_one_another():
    ys: dict[str, list[tuple[float, float]]] = {}
    for one in ET.fromstring(drawn(motif())).iter():
        if one.tag.endswith("path"):
            x, y, _, h = re.findall(r"-?[\d.]+", one.attrib["transform"])
            ys.setdefault(x, []).append((float(y), float(h)))
    for column in ys.values():
        base = 8 + TALL
        for y, h in column:
            base -= h
            assert y == pytest.approx(base, abs=0.05)
        assert column == sorted(column, key=lambda one: one[1])  # the most frequent on top


def test_a_position_without_letters_is_empty():
    table = motif()
    table.loc[3, ["a", "c", "g", "t", "bits", "bits_chance"]] = np.nan
    assert "nan" not in drawn(table)
    assert "nan" not in drawn(table.assign(bits=np.nan, bits_chance=np.nan))


def test_of_scans_slices_and_millimetres(tmp_path):
    """A feature without a term that fires in a ball: its strongest cells lie in the middle of the balls."""
    heads = [head(name, ball, spacing=(3.0, 3.0, 3.0), shape=(52, 62, 48)) for name, ball in
             (("sub-1", (-20.0, 14.0, 8.0)), ("sub-2", (18.0, -10.0, 20.0)))]  # fmt: skip
    codes, truth = study(heads)
    places = loci(codes, [BALL], truth=truth)
    assert places["contig"].tolist() == ["sub-2", "sub-1"]  # the later head fires more
    for k, line in enumerate(places.itertuples()):
        cell = np.linalg.norm(heads[1 - k].cells.affine[:3, :3], axis=0)
        assert np.linalg.norm(np.array([line.x, line.y, line.z]) - heads[1 - k].ball) <= np.linalg.norm(cell) / 2 + 1e-6
    assert all("ball" in terms for terms in places["terms"])
    own = OF | {"layer": "4"}
    features = filled("features", [own | {"feature": BALL, "density": 0.01, "mean_active": 2.0, "n_seeds": 2,
                                          "unknown": True, "says": "a ball"}])  # fmt: skip
    images = {one.scan: (image(one, k), one.voxels) for k, one in enumerate(heads)}
    given = {"features": features, "loci": places}
    file = report(tmp_path, tables=given, codes=codes, truth=truth, images=images.__getitem__)
    page = file.read_text()
    after = page[page.index("Strong features without a term") :]
    assert after.count('alt="slices through scans"') == 1
    told = [f"{round(v)}".replace("-", "−") for v in places.iloc[0][["x", "y", "z"]]]
    assert " ".join(["sub-2", *told]) in text_of(after)
