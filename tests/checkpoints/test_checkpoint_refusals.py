"""What must not be read, or not without a word from the user: refused in one sentence, and nothing in it is run."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import bioterp as bt

D, M, K = 11, 37, 4
NAMED = {"model": "tiny", "layer": 2}


def state(seed: int = 0, **shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def linear() -> dict[str, torch.Tensor]:
    shapes = {"encoder.weight": (M, D), "encoder.bias": (M,), "decoder.weight": (D, M), "b_dec": (D,)}
    return {**state(**shapes), "k": torch.tensor(K), "threshold": torch.tensor(0.7)}


def parameters(seed: int = 0, d: int = D, m: int = M) -> dict[str, torch.Tensor]:
    return state(seed, W_enc=(d, m), W_dec=(m, d), b_enc=(m,), b_dec=(d,))


def trainer(folder: Path, tensors: Any, **said: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, folder / "ae.pt")
    sizes = {"dict_class": "BatchTopKSAE", "activation_dim": D, "dict_size": M, "lm_name": "tiny", "layer": 2}
    (folder / "config.json").write_text(json.dumps({"trainer": {**sizes, **said}}))
    return folder


def saelens(folder: Path, tensors: dict[str, torch.Tensor], **said: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "sae_weights.safetensors")
    told = {"model_name": "tiny", "hook_name": "blocks.2", "sae_lens_version": "6.0.0"}
    cfg = {"architecture": "standard", "d_in": D, "d_sae": M, "apply_b_dec_to_input": True, "metadata": told}
    (folder / "cfg.json").write_text(json.dumps({**cfg, **said}))
    return folder


def refused(path: Path, match: str, **said: Any) -> str:
    with pytest.raises(bt.InputError, match=match) as caught:
        bt.load_dictionary(path, **said)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    return str(caught.value)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", ["ae.pt", "ae_normalized.pt", "sae-k_64.pt", "sae.safetensors", "model.ckpt"])
@pytest.mark.parametrize("way", ["torch", "pickle", "nested"])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(name: str, way: str, tmp_path: Path) -> None:
    mark, file = tmp_path / "mark", tmp_path / name
    if way == "pickle":
        file.write_bytes(pickle.dumps(Hostile(mark)))
    else:
        torch.save({**linear(), "activation": Hostile(mark)} if way == "nested" else Hostile(mark), file)
    refused(file, "not opened because unpickling it could run code", **NAMED)
    refused(tmp_path, "not opened because unpickling it could run code", **NAMED)
    assert not mark.exists()


def test_a_yaml_beside_the_weights_is_not_opened(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "config.yaml").write_text(f"!!python/object/apply:os.system ['touch {mark}']\n")
    torch.save({**linear(), "normalize_to_sqrt_d": torch.tensor(False)}, tmp_path / "checkpoint.pt")
    assert bt.load_dictionary(tmp_path, kind="topk", **NAMED).k == K
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_a_file_cut_off_anywhere_is_refused(kind: str, tmp_path: Path) -> None:
    whole = tmp_path / "whole.bin"
    torch.save(linear(), whole) if kind == "torch" else save_file(linear(), whole)
    held = whole.read_bytes()
    for part in (0, 1, 7, 8, 40, len(held) // 2, len(held) - 1):
        folder = tmp_path / str(part)
        folder.mkdir()
        (folder / "ae.pt").write_bytes(held[:part])
        refused(folder, "is damaged|more than tensors", kind="topk", **NAMED)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("ae.pt", b"", "is empty"),
        ("ae.pt", b"<html>404 Not Found</html>", "is no file of safetensors or torch.save, or is damaged"),
        ("ae.safetensors", b"version https://git-lfs", "is no safetensors file, or is damaged"),
        ("ae.safetensors", (2**40).to_bytes(8, "little") + b"{}", "is no safetensors file, or is damaged"),
    ],
)
def test_nobody_is_told_to_unpickle_what_is_no_pickle(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert "unpickling" not in refused(tmp_path / name, told, **NAMED)


def test_numpy_arrays_are_named_as_such(tmp_path: Path) -> None:
    np.savez(tmp_path / "params.npz", W_enc=np.zeros((4, 8), np.float32))
    assert "unpickling" not in refused(tmp_path / "params.npz", r"holds NumPy arrays \(.npz\)", **NAMED)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.pt", "there is no checkpoint at")
    refused(tmp_path, "there are no weights")
    trainer(tmp_path / "run" / "trainer_0", linear())
    trainer(tmp_path / "run" / "trainer_1", linear())
    refused(tmp_path / "run", "it holds the folders trainer_0, trainer_1: give one of them")
    torch.save([torch.zeros(3)], tmp_path / "list.pt")
    refused(tmp_path / "list.pt", "holds a list")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt")
    refused(tmp_path / "other.pt", r"is no dictionary of saelens, .*it holds 1 tensors \(weight\)", **NAMED)
    refused(tmp_path, "holds 2 weights files")
    both = trainer(tmp_path / "interplm", linear())
    torch.save(linear(), both / "ae_normalized.pt")
    refused(both, r"holds 2 weights files \(ae.pt, ae_normalized.pt\); give the one to open")
    refused(tmp_path / "other.pt", "there is no format 'sealens'; did you mean 'saelens'", format="sealens")
    for format in ("saelens", "dictionary_learning", "interplm", "sparsify", "evo2", "interprot", "bionemo", "openai"):
        refused(tmp_path / "other.pt", "other.pt", format=format, k=2, **NAMED)


def test_a_file_of_several_formats_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    torch.save({**parameters(), **state(threshold=(M,))}, file)
    refused(file, "format='saelens' or format='dictionary_learning'", **NAMED)
    refused(file, "there is no cfg.json", format="saelens", **NAMED)
    assert bt.load_dictionary(file, format="dictionary_learning", **NAMED).b_out is not None  # b_dec not taken away
    alike = {"encoder.weight": (M, D), "decoder.weight": (D, M), "latent_bias": (M,), "pre_bias": (D,)}
    torch.save(state(**alike), file)
    refused(file, "format='bionemo' or format='openai'", **NAMED)
    refused(file, "says the activation None", format="openai", **NAMED)
    refused(file, "not a checkpoint of BioNeMo", format="bionemo", **NAMED)


def test_model_and_layer_are_demanded_where_the_file_does_not_say(tmp_path: Path) -> None:
    file = tmp_path / "sae-k_64.pt"
    torch.save(state(W=(D, M), b_enc=(M,), b_dec=(D,)), file)
    refused(file, "does not say which model and layer it reads; pass model=…, layer=…")
    refused(file, "does not say which layer it reads; pass layer=…", model="evo2")
    found = bt.load_dictionary(file, model="evo2", layer=26)
    assert (found.about["model"], found.about["layer"], found.about["k"]) == ("evo2", "26", 64)
    folder = trainer(tmp_path / "run", linear(), k=K)
    told = bt.load_dictionary(folder, model="mine").about
    assert (told["model"], told["model_in_file"], told["layer"]) == ("mine", "tiny", "2")


def test_k_and_the_kind_of_top_k_are_demanded(tmp_path: Path) -> None:
    file = tmp_path / "evo.pt"
    torch.save(state(W=(D, M), b_enc=(M,), b_dec=(D,)), file)
    refused(file, "neither inside nor in its name", **NAMED)
    torch.save(state(w_enc=(D, M), w_dec=(M, D), b_enc=(M,), b_pre=(D,)), file)
    refused(file, "pass k=…", **NAMED)
    torch.save(linear(), file)
    refused(file, "kind='topk' or kind='batchtopk'", **NAMED)
    refused(file, "kind='gated' is not one of", kind="gated", **NAMED)
    torch.save({**linear(), "normalize_to_sqrt_d": torch.tensor(False)}, file)
    refused(file, "kind='topk' or kind='batchtopk'", **NAMED)
    refused(saelens(tmp_path / "standard", parameters()), "holds a relu dictionary; leave kind=", kind="topk")


def test_settings_and_weights_that_disagree_are_refused(tmp_path: Path) -> None:
    refused(trainer(tmp_path / "a", linear(), dict_class="AutoEncoder"), "says AutoEncoder, and the names in it are")
    refused(trainer(tmp_path / "b", linear(), dict_class="TheirOwn"), "of a class not known here")
    refused(trainer(tmp_path / "c", linear(), dict_size=M + 1), f"say {M + 1} features, and its weights have {M}")
    refused(saelens(tmp_path / "d", parameters(), d_in=D + 2), f"say {D + 2} inputs, and its weights have {D}")
    refused(saelens(tmp_path / "e", parameters(), architecture="jumprelu"), "which needs .*threshold")
    refused(saelens(tmp_path / "f", {**parameters(), **state(threshold=(M,))}), "says architecture 'standard'")
    refused(saelens(tmp_path / "g", parameters(), architecture="topk"), "pass k=…")


@pytest.mark.parametrize("architecture", ["abstopk", "matching_pursuit", "temporal", "crosscoder"])
def test_architectures_no_dictionary_holds_are_refused(architecture: str, tmp_path: Path) -> None:
    refused(saelens(tmp_path / "a", parameters(), architecture=architecture), f"is of architecture '{architecture}'")


def test_normalisations_whose_numbers_are_not_in_the_file_are_refused(tmp_path: Path) -> None:
    path = saelens(tmp_path / "a", parameters(), normalize_activations="expected_average_only_in")
    refused(path, "pass input_scale=…")
    refused(path, "wanted a number above 0", input_scale=0)
    refused(
        saelens(tmp_path / "b", parameters(), normalize_activations="covariance_whitening"), "numbers for it are not"
    )
    refused(saelens(tmp_path / "c", parameters()), "leave input_scale out", input_scale=2.0)
    refused(saelens(tmp_path / "d", parameters(), metadata=None, activation_fn_str="tanh-relu"), "'tanh-relu'")


def test_codes_below_zero_and_groups_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "8.pt"
    held = state(**{"encoder.weight": (M, D), "decoder.weight": (D, M), "latent_bias": (M,), "pre_bias": (D,)})
    torch.save({**held, "activation": "TopK", "activation_state_dict": {"k": K, "postact_fn": "Identity"}}, file)
    refused(file, "keeps codes below 0", **NAMED)
    folder = tmp_path / "layers.2"
    folder.mkdir()
    weights = state(**{"encoder.weight": (M, D), "W_dec": (M, D), "encoder.bias": (M,), "b_dec": (D,)})
    save_file(weights, folder / "sae.safetensors")
    refused(folder, "there is no cfg.json", **NAMED)
    for said, match in (
        ({"activation": "groupmax"}, "the activation 'groupmax'"),
        ({"signed": True}, "signed codes"),
        ({"skip_connection": True}, "disagree on a skip connection"),
        ({"k": 0}, "whole number, 1 or more"),
        ({"num_latents": M - 1}, f"say {M - 1} features"),
    ):
        (folder / "cfg.json").write_text(json.dumps({"k": K, "d_in": D, **said}))
        refused(folder, match, **NAMED)
    (folder / "cfg.json").write_text("{'k': 4}")
    refused(folder, "is not JSON", **NAMED)


def test_a_matrix_the_other_way_round_is_read_by_its_biases_with_a_warning(tmp_path: Path) -> None:
    right = bt.load_dictionary(saelens(tmp_path / "a", parameters()))
    turned = {**parameters(), "W_enc": parameters()["W_enc"].T.contiguous()}
    with pytest.warns(UserWarning, match="lies the other way round than its format writes it"):
        found = bt.load_dictionary(saelens(tmp_path / "b", turned))
    assert found.id == right.id
    for name in ("W_enc", "W_dec"):
        wrong = {**parameters(), name: parameters()[name][:, :-1].contiguous()}
        refused(saelens(tmp_path / name, wrong), "does not fit the biases, which say 37 features × 11 channels")
    refused(saelens(tmp_path / "c", {**parameters(), "b_enc": torch.zeros(M, 1)}), "should be one row of numbers")
    refused(saelens(tmp_path / "d", {**parameters(), "W_enc": torch.zeros(M)}), "should be a matrix")


def test_square_matrices_are_read_as_the_format_writes_them(tmp_path: Path) -> None:
    square = parameters(3, D, D)
    x = np.random.default_rng(0).standard_normal((9, D)).astype(np.float32)
    with_rows = bt.load_dictionary(saelens(tmp_path / "a", square, d_sae=D))
    e, w, b, c = (square[name].double().numpy() for name in ("W_enc", "W_dec", "b_enc", "b_dec"))
    codes = np.maximum((x - c) @ e + b, 0)
    np.testing.assert_allclose(with_rows.encode_array(x), codes, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(with_rows.decode_array(codes), codes @ w + c, rtol=1e-4, atol=1e-3)
    named = {"encoder.weight": "W_enc", "decoder.weight": "W_dec", "encoder.bias": "b_enc", "bias": "b_dec"}
    folder = trainer(
        tmp_path / "b", {new: square[old] for new, old in named.items()}, dict_class="AutoEncoder", dict_size=D
    )
    codes = np.maximum((x - c) @ e.T + b, 0)
    np.testing.assert_allclose(bt.load_dictionary(folder).encode_array(x), codes, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_refused(bad: float, tmp_path: Path) -> None:
    for name in ("W_enc", "W_dec", "b_enc", "b_dec"):
        held = copy.deepcopy(parameters())
        held[name].view(-1)[2] = bad
        refused(saelens(tmp_path / name, held), "holds NaN or infinity")


def test_options_that_do_not_apply_are_refused(tmp_path: Path) -> None:
    path = saelens(tmp_path / "a", parameters())
    refused(path, "holds no factors to rescale by", rescaled=True)
    refused(path, "only for dictionaries trained with a batch top-k", threshold=0.3)
    refused(path, "wanted a whole number of features", k=0)
    own = bt.load_dictionary(path).save(tmp_path / "own")
    refused(own, "says all of itself", k=3)
    with pytest.raises(bt.StoreError, match="is not a finished bioterp folder"):
        bt.load_dictionary(path, format="bioterp")
    training = {**parameters(), "topk_threshold": torch.tensor(0.0)}
    unseen = bt.load_dictionary(saelens(tmp_path / "unseen", training, architecture="batchtopk", k=K))
    assert unseen.activation == "batchtopk"  # no batch has been seen
    refused(saelens(tmp_path / "factor", {**parameters(), **state(scaling_factor=(M,))}), "not a whole one")
    file = tmp_path / "ae_normalized.pt"
    held = {**linear(), "activation_rescale_factor": torch.full((M,), 2.0)}
    torch.save(held, file)
    refused(file, "picks the largest before it rescales", kind="topk", rescaled=True, **NAMED)
    torch.save({**held, "activation_rescale_factor": torch.ones(M)}, file)
    refused(file, "holds no factors to rescale features by", kind="topk", rescaled=True, **NAMED)


def test_a_threshold_that_was_never_estimated_is_not_used(tmp_path: Path) -> None:
    folder = trainer(tmp_path / "a", {**linear(), "threshold": torch.tensor(-1.0)}, k=K)
    dictionary = bt.load_dictionary(folder)
    assert dictionary.activation == "batchtopk" and "not calibrated" in repr(dictionary)
    with pytest.raises(bt.InputError, match=re.escape("bioterp.calibrate(dictionary, acts, k=4)")):
        dictionary.encode_array(np.zeros((3, D), np.float32))
    assert bt.load_dictionary(folder, threshold=0.25).threshold == pytest.approx(0.25)
    estimated = trainer(tmp_path / "b", linear(), k=K)
    assert bt.load_dictionary(estimated).threshold == pytest.approx(0.7)
    refused(estimated, "that hold none of their own", threshold=0.25)
    refused(estimated, "says k=4; leave k=5 out", k=5)
    refused(estimated, "holds a batchtopk dictionary; leave kind='topk' out", kind="topk")


def test_settings_of_any_wrong_type_are_refused_or_read_and_never_crash(tmp_path: Path) -> None:
    odd: list[Any] = [None, -1, 1.5, "many", [], {}, True, 1e400]
    path = saelens(tmp_path / "a", parameters(), k=K, architecture="topk")
    base = json.loads((path / "cfg.json").read_text())
    for name in base:
        for value in odd:
            (path / "cfg.json").write_text(json.dumps({**base, name: value}))
            try_to_load(path)
    folder = trainer(tmp_path / "b", linear(), k=K)
    base = json.loads((folder / "config.json").read_text())["trainer"]
    for name in base:
        for value in odd:
            (folder / "config.json").write_text(json.dumps({"trainer": {**base, name: value}}))
            try_to_load(folder)
    for value in odd:
        (folder / "config.json").write_text(json.dumps({"trainer": value}))
        try_to_load(folder)
    for name in linear():
        for tensor in (torch.zeros(0), torch.zeros(2, 3, 4), torch.tensor(True), torch.zeros(3, dtype=torch.cfloat)):
            try_to_load(trainer(tmp_path / "c", {**linear(), name: tensor}, k=K))


def try_to_load(path: Path) -> None:
    try:
        bt.load_dictionary(path)
    except bt.InputError as error:
        assert "\n" not in str(error)


def test_a_checkpoint_of_an_unfinished_run_is_read_with_a_warning(tmp_path: Path) -> None:
    folder = trainer(tmp_path / "run", linear(), k=K)
    (folder / "checkpoints").mkdir()
    (folder / "ae.pt").replace(folder / "checkpoints" / "ae_1200.pt")
    torch.save({**linear(), "threshold": torch.tensor(0.1)}, folder / "checkpoints" / "ae_300.pt")
    for path, step, threshold in ((folder, 1200, 0.7), (folder / "checkpoints" / "ae_300.pt", 300, 0.1)):
        with pytest.warns(UserWarning, match=f"is of step {step} of a run, not of its end"):
            found = bt.load_dictionary(path)
        assert found.about["step"] == step and found.threshold == pytest.approx(threshold)
        assert found.about["model"] == "tiny"  # from the config one folder up
