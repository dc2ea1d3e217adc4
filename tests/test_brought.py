"""Dictionaries of other tools in a run file: the same tables as those that were fitted here, and a loud word if not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bioterp import checkpoints, config
from bioterp.check import findings
from bioterp.dictionary import Dictionary
from bioterp.errors import AlignmentError, InputError
from bioterp.study import Study
from tests.planted import tables_of, write_run

CHEAP = {"baselines": ["random-directions"], "analyses": ["detection", "fidelity"], "exports": ["tsv"]}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Path:
    """A finished run, whose dictionary the tests take elsewhere."""
    folder = tmp_path_factory.mktemp("fitted")
    Study(config.load(write_run(folder, tiny_model_folder, **CHEAP))).analyse_all()
    return folder


def dictionary(folder: Path) -> Dictionary:
    return Dictionary.load(next((folder / "results/dictionaries").glob("topk*/layer=*/seed=0/dictionary")))


def bring(folder: Path, model: Path, layer: int | str, path: object, **more: object) -> Path:
    """A run file that fits nothing."""
    return write_run(folder, model, dictionary={"path": path, **more}, layers=[layer], **CHEAP)


@pytest.mark.parametrize("form", ["bioterp", "dictionary_learning"])
def test_another_tools_file_gives_the_tables_of_the_run_it_is_of(
    form: str, fitted: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    sae = dictionary(fitted)
    layer = int(sae.about["layer"])
    checkpoints.save(sae, tmp_path / "theirs", form)
    file = bring(tmp_path, tiny_model_folder, layer, "theirs")
    assert [one.line for one in findings(config.load(file)) if one.level == "problem"] == []
    Study(config.load(file)).analyse_all()
    mine, theirs = tables_of(fitted / "results"), tables_of(tmp_path / "results")
    for name in ("detection", "dictionaries"):
        one, other = (
            found[name][(found[name].representation == "dictionary") & (found[name].layer == str(layer))]
            for found in (mine, theirs)
        )
        assert len(other) > 0
        one = one[one.seed == 0]
        numbers = one.select_dtypes("number").columns
        np.testing.assert_allclose(one[numbers].to_numpy(), other[numbers].to_numpy(), rtol=2e-3, atol=2e-3)
    assert set(theirs["detection"]["dictionary"].unique()) >= {f"brought-{sae.width}-k{sae.k}"}
    assert not theirs["dictionaries"]["note"].fillna("").str.contains("not a working").any()


def test_a_dictionary_of_other_activations_is_warned_of_and_said_in_the_tables(
    fitted: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    sae = dictionary(fitted)
    wrong = dataclasses.replace(sae, mean=sae.mean + 90 * np.float32(sae.scale), scale=sae.scale * 30)
    wrong.save(tmp_path / "theirs")
    file = bring(tmp_path, tiny_model_folder, int(sae.about["layer"]), "theirs")
    with pytest.warns(UserWarning, match="not a working dictionary"):
        Study(config.load(file)).analyse_all()
    note = tables_of(tmp_path / "results")["dictionaries"]["note"]
    assert note.str.contains("not a working dictionary").all()


def test_what_cannot_be_brought_is_refused_before_work(fitted: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    sae = dictionary(fitted)
    layer = int(sae.about["layer"])
    sae.save(tmp_path / "theirs")
    with pytest.raises(InputError, match=r"there is no file or folder .*nowhere"):
        Study(config.load(bring(tmp_path, tiny_model_folder, layer, "nowhere")))
    with pytest.raises(InputError, match="nothing is fitted, so leave width out"):
        config.load(bring(tmp_path, tiny_model_folder, layer, "theirs", width=77))
    with pytest.raises(InputError, match="'treshold' in dictionary; did you mean 'threshold'"):
        config.load(bring(tmp_path, tiny_model_folder, layer, "theirs", treshold=0.5))
    with pytest.raises(InputError, match="names the layers 5; layers: "):
        Study(config.load(bring(tmp_path, tiny_model_folder, layer, {"5": "theirs"})))
    narrow = {name: getattr(sae, name)[..., :-3] for name in ("encoder", "decoder", "b_dec", "mean")}
    dataclasses.replace(sae, **narrow).save(tmp_path / "narrow")
    file = bring(tmp_path, tiny_model_folder, layer, "narrow")
    told = [one.line for one in findings(config.load(file)) if one.level == "problem"]
    assert any(f"reads {sae.inputs - 3} channels; layer {layer} has {sae.inputs}" in line for line in told)
    with pytest.raises(AlignmentError, match="channels; layer"):
        Study(config.load(file)).analyse_all()
    transcoder = dataclasses.replace(sae, about={**sae.about, "kind": "transcoder"})
    transcoder.save(tmp_path / "transcoder")
    with pytest.raises(InputError, match="a transcoder is analysed from Python"):
        Study(config.load(bring(tmp_path, tiny_model_folder, layer, "transcoder"))).analyse_all()
