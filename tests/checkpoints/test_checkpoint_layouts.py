"""Every layout written by hand, and its dictionary against that library's forward pass, row by row in float64."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from safetensors.torch import save_file

import bioterp as bt
from bioterp import checkpoints

D, M, N, K, OUT = 11, 37, 19, 4, 7
NAMED = {"model": "tiny", "layer": "blocks.2"}
Rows = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # a row → (codes, reconstruction)
LAYOUTS: dict[str, Callable[[Path, Draw], tuple[Path, dict[str, Any], Rows]]] = {}


class Draw:
    """Weights as a file holds them (float32), and in float64 for the oracle."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape: int, size: float = 1.0) -> np.ndarray:
        return (self.rng.standard_normal(shape) * size).astype(np.float32).astype(np.float64)


def layout(write: Any) -> Any:
    LAYOUTS[write.__name__] = write
    return write


def tensors(**arrays: np.ndarray) -> dict[str, torch.Tensor]:
    named = {name.replace("__", "."): array for name, array in arrays.items()}
    return {name: torch.tensor(np.asarray(a), dtype=torch.float32).contiguous() for name, a in named.items()}


def relu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.0)


def largest(x: np.ndarray, k: int = K) -> np.ndarray:
    kept = np.zeros_like(x)
    for j in sorted(range(len(x)), key=lambda j: -x[j])[:k]:
        kept[j] = max(x[j], 0.0)
    return kept


def standard(x: np.ndarray, eps: float) -> tuple[np.ndarray, float, float]:
    middle = sum(x) / len(x)
    sd = (sum((v - middle) ** 2 for v in x) / (len(x) - 1)) ** 0.5
    return (x - middle) / (sd + eps), middle, sd


def saelens(folder: Path, cfg: dict[str, Any], **arrays: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors(**arrays), folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps({"d_in": D, "d_sae": M, "dtype": "float32", **cfg}))
    return folder


def six(architecture: str, subtract: bool = True, how: str = "none", **more: Any) -> dict[str, Any]:
    told = {"sae_lens_version": "6.1.0", "model_name": "tiny", "hook_name": "blocks.2"}
    kind = {"architecture": architecture, "apply_b_dec_to_input": subtract, "normalize_activations": how}
    return {**kind, "metadata": told, **more}


@layout
def saelens_standard(path: Path, draw: Draw) -> Any:
    e, w, b, c = draw(D, M), draw(M, D), draw(M), draw(D)

    def rows(x: np.ndarray) -> Any:
        f = relu((x - c) @ e + b)
        return f, f @ w + c

    return saelens(path, six("standard"), W_enc=e, W_dec=w, b_enc=b, b_dec=c), {}, rows


@layout
def saelens_flat_not_subtracted_layer_norm(path: Path, draw: Draw) -> Any:
    e, w, b, c = draw(D, M), draw(M, D), draw(M), draw(D)

    def rows(x: np.ndarray) -> Any:
        z, middle, sd = standard(x, 1e-5)
        f = relu(z @ e + b)
        return f, (f @ w + c) * sd + middle

    flat = {"model_name": "tiny", "hook_point": "blocks.2", "hook_point_layer": 2, "apply_b_dec_to_input": False}
    flat |= {"activation_fn_str": "relu", "normalize_activations": "layer_norm"}
    return saelens(path, flat, W_enc=e, W_dec=w, b_enc=b, b_dec=c), {}, rows


@layout
def saelens_topk_by_decoder_length(path: Path, draw: Draw) -> Any:
    e, w, b, c = draw(D, M), draw(M, D), draw(M), draw(D)

    def rows(x: np.ndarray) -> Any:
        long = np.sqrt((w**2).sum(1))
        f = largest(((x - c) @ e + b) * long)
        return f, (f / long) @ w + c

    cfg = six("topk", k=K, rescale_acts_by_decoder_norm=True)
    return saelens(path, cfg, W_enc=e, W_dec=w, b_enc=b, b_dec=c), {}, rows


@layout
def saelens_jumprelu_scaled_inputs(path: Path, draw: Draw) -> Any:
    e, w, b, c, t = draw(D, M), draw(M, D), draw(M), draw(D), draw(M)

    def rows(x: np.ndarray) -> Any:
        pre = (3 * x - c) @ e + b
        f = relu(pre) * (pre > t)
        return f / 3, (f @ w + c) / 3  # codes come in model units

    cfg = six("jumprelu", how="expected_average_only_in")
    weights = {"W_enc": e, "W_dec": w, "b_enc": b, "b_dec": c, "threshold": t}
    return saelens(path, cfg, **weights), {"input_scale": 3.0}, rows


@layout
def saelens_scaled_inputs_and_a_bias_not_taken_away(path: Path, draw: Draw) -> Any:
    e, w, b, c = draw(D, M), draw(M, D), draw(M), draw(D)

    def rows(x: np.ndarray) -> Any:
        f = relu(0.25 * x @ e + b)
        return f / 0.25, (f @ w + c) / 0.25

    cfg = six("standard", subtract=False, how="expected_average_only_in")
    return saelens(path, cfg, W_enc=e, W_dec=w, b_enc=b, b_dec=c), {"input_scale": 0.25}, rows


@layout
def saelens_flat_finetuned(path: Path, draw: Draw) -> Any:
    e, w, b, c, factor = draw(D, M), draw(M, D), draw(M), draw(D), draw(M)

    def rows(x: np.ndarray) -> Any:
        f = relu((x - c) @ e + b)
        return f, (f * factor) @ w + c

    flat = {"model_name": "tiny", "hook_name": "blocks.2", "finetuning_scaling_factor": True}
    return saelens(path, flat, W_enc=e, W_dec=w, b_enc=b, b_dec=c, scaling_factor=factor), {}, rows


@layout
def saelens_training_of_a_matryoshka(path: Path, draw: Draw) -> Any:
    e, w, b, c = draw(D, M), draw(M, D), draw(M), draw(D)

    def rows(x: np.ndarray) -> Any:
        long = np.sqrt((w**2).sum(1))
        pre = ((x - c) @ e + b) * long
        f = relu(pre) * (pre > 6.5)
        return f, (f / long) @ w + c

    cfg = six("matryoshka_batchtopk", k=float(K), rescale_acts_by_decoder_norm=True, matryoshka_widths=[5, M])
    weights = {"W_enc": e, "W_dec": w, "b_enc": b, "b_dec": c, "topk_threshold": np.asarray(6.5)}
    return saelens(path, cfg, **weights), {}, rows


@layout
def saelens_jumprelu_transcoder_by_logarithms(path: Path, draw: Draw) -> Any:
    e, w, b, c, t = draw(D, M), draw(M, OUT), draw(M), draw(OUT), draw(M)

    def rows(x: np.ndarray) -> Any:
        pre = x @ e + b
        f = relu(pre) * (pre > np.exp(t))
        return f, f @ w + c

    cfg = six("jumprelu_transcoder", subtract=False, d_out=OUT)
    return saelens(path, cfg, W_enc=e, W_dec=w, b_enc=b, b_dec=c, log_threshold=t), {}, rows


@layout
def saelens_gated(path: Path, draw: Draw) -> Any:
    e, w, c, gate, mag, r = draw(D, M), draw(M, D), draw(D), draw(M), draw(M), draw(M, size=0.5)

    def rows(x: np.ndarray) -> Any:
        f = relu((x - c) @ (e * np.exp(r)) + mag) * ((x - c) @ e + gate > 0)
        return f, f @ w + c

    weights = {"W_enc": e, "W_dec": w, "b_dec": c, "b_gate": gate, "b_mag": mag, "r_mag": r}
    return saelens(path, six("gated"), **weights), {}, rows


@layout
def saelens_skip_transcoder(path: Path, draw: Draw) -> Any:
    e, w, b, c, skip = draw(D, M), draw(M, OUT), draw(M), draw(OUT), draw(OUT, D)

    def rows(x: np.ndarray) -> Any:
        f = relu(x @ e + b)
        return f, f @ w + c + skip @ x

    cfg = six("skip_transcoder", subtract=False, d_out=OUT)
    return saelens(path, cfg, W_enc=e, W_dec=w, b_enc=b, b_dec=c, W_skip=skip), {}, rows


def trained(folder: Path, name: str, *, step: int | None = None, **arrays: Any) -> Path:
    """A trainer's folder of dictionary_learning; with `step` one that was interrupted."""
    whole = {key: torch.tensor(value) for key, value in arrays.items() if isinstance(value, int | list)}
    real = {key: value for key, value in arrays.items() if key not in whole}
    file = folder / "ae.pt" if step is None else folder / "checkpoints" / f"ae_{step}.pt"
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**tensors(**real), **whole}, file)
    sizes = {"activation_dim": D, "dict_size": M, "k": K, "lm_name": "tiny", "layer": 2, "submodule_name": "blocks.2"}
    (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": name, **sizes}, "buffer": {}}))
    return folder


@layout
def dictionary_learning_auto_encoder(path: Path, draw: Draw) -> Any:
    e, w, b, c = draw(M, D), draw(D, M), draw(M), draw(D)

    def rows(x: np.ndarray) -> Any:
        f = relu(e @ (x - c) + b)
        return f, w @ f + c

    weights = {"encoder__weight": e, "decoder__weight": w, "encoder__bias": b, "bias": c}
    return trained(path, "AutoEncoder", **weights), {}, rows


@layout
def dictionary_learning_auto_encoder_new(path: Path, draw: Draw) -> Any:
    e, w, b, c = draw(M, D), draw(D, M), draw(M), draw(D)

    def rows(x: np.ndarray) -> Any:
        f = relu(e @ x + b)
        return f, w @ f + c

    weights = {"encoder__weight": e, "decoder__weight": w, "encoder__bias": b, "decoder__bias": c}
    return trained(path, "AutoEncoderNew", **weights), {}, rows


@layout
def dictionary_learning_gated(path: Path, draw: Draw) -> Any:
    e, w, c, gate, mag, r = draw(M, D), draw(D, M), draw(D), draw(M), draw(M), draw(M, size=0.5)

    def rows(x: np.ndarray) -> Any:
        shared = e @ (x - c)
        f = (shared + gate > 0) * relu(np.exp(r) * shared + mag)
        return f, w @ f + c

    weights = {"encoder__weight": e, "decoder__weight": w, "decoder_bias": c, "r_mag": r}
    return trained(path, "GatedAutoEncoder", gate_bias=gate, mag_bias=mag, **weights), {}, rows


@layout
def dictionary_learning_jumprelu(path: Path, draw: Draw) -> Any:
    e, w, b, c, t = draw(D, M), draw(M, D), draw(M), draw(D), draw(M)

    def rows(x: np.ndarray) -> Any:
        pre = x @ e + b  # b_dec is not taken away
        f = relu(pre * (pre > t))
        return f, f @ w + c

    return trained(path, "JumpReluAutoEncoder", W_enc=e, W_dec=w, b_enc=b, b_dec=c, threshold=t), {}, rows


def pair(draw: Draw) -> tuple[dict[str, np.ndarray], Any]:
    e, w, b, c = draw(M, D), draw(D, M), draw(M), draw(D)
    weights = {"encoder__weight": e, "decoder__weight": w, "encoder__bias": b, "b_dec": c}
    return weights, (lambda x: e @ (x - c) + b, lambda f: w @ f + c)


@layout
def dictionary_learning_topk(path: Path, draw: Draw) -> Any:
    weights, (pre, post) = pair(draw)

    def rows(x: np.ndarray) -> Any:
        f = largest(pre(x))
        return f, post(f)

    return trained(path, "AutoEncoderTopK", k=K, threshold=np.asarray(-1.0), **weights), {}, rows


@layout
def dictionary_learning_interrupted_batch_topk(path: Path, draw: Draw) -> Any:
    weights, (pre, post) = pair(draw)

    def rows(x: np.ndarray) -> Any:
        f = relu(pre(x)) * (pre(x) > 1.7)
        return f, post(f)

    folder = trained(path, "BatchTopKSAE", step=90, k=K, threshold=np.asarray(1.2), **weights)
    trained(path, "BatchTopKSAE", step=900, k=K, threshold=np.asarray(1.7), **weights)
    return folder, {}, rows


@layout
def dictionary_learning_matryoshka(path: Path, draw: Draw) -> Any:
    e, w, b, c = draw(D, M), draw(M, D), draw(M), draw(D)

    def rows(x: np.ndarray) -> Any:
        pre = (x - c) @ e + b
        f = relu(pre) * (pre > 0.9)
        return f, f @ w + c

    weights = {"W_enc": e, "W_dec": w, "b_enc": b, "b_dec": c, "threshold": np.asarray(0.9)}
    return trained(path, "MatryoshkaBatchTopKSAE", k=K, group_sizes=[10, M - 10], **weights), {}, rows


@layout
def interplm_published(path: Path, draw: Draw) -> Any:
    e, w, b, c = draw(M, D), draw(D, M), draw(M), draw(D)

    def rows(x: np.ndarray) -> Any:
        f = relu(e @ (x - c) + b)
        return f, w @ f + c

    path.mkdir()
    state = tensors(encoder__weight=e, decoder__weight=w, encoder__bias=b, bias=c)
    torch.save(state, path / "ae_normalized.pt")
    return path, {**NAMED, "format": "interplm"}, rows


@layout
def interplm_rescaled_and_brought_to_one_length(path: Path, draw: Draw) -> Any:
    e, w, b, c, top = draw(M, D), draw(D, M), draw(M), draw(D), np.abs(draw(M)) + 0.5
    top[3] = 0.0  # never fired

    def rows(x: np.ndarray) -> Any:
        long = np.sqrt((x**2).sum())
        f = relu(e @ (x / long * D**0.5 - c) + b)
        return f / np.where(top > 0, top, 1), (w @ f + c) * long / D**0.5

    path.mkdir()
    state = tensors(encoder__weight=e, decoder__weight=w, encoder__bias=b, bias=c, activation_rescale_factor=top)
    torch.save({**state, "normalize_to_sqrt_d": torch.tensor(True)}, path / "ae_normalized.pt")
    return path, {**NAMED, "rescaled": True}, rows


@layout
def interplm_batch_topk(path: Path, draw: Draw) -> Any:
    weights, (pre, post) = pair(draw)

    def rows(x: np.ndarray) -> Any:
        f = relu(pre(x)) * (pre(x) > 0.8)
        return f, post(f)

    path.mkdir()
    state = tensors(**weights, threshold=np.asarray(0.8), activation_rescale_factor=np.ones(M))
    torch.save({**state, "k": torch.tensor(K), "normalize_to_sqrt_d": torch.tensor(False)}, path / "checkpoint.pt")
    return path, {**NAMED, "kind": "batchtopk"}, rows


@layout
def interplm_jumprelu(path: Path, draw: Draw) -> Any:
    e, w, b, c, t = draw(M, D), draw(D, M), draw(M), draw(D), np.abs(draw(M))

    def rows(x: np.ndarray) -> Any:
        pre = e @ x + b
        f = relu(pre * (pre > t))
        return f, w @ f + c

    path.mkdir()
    state = tensors(encoder__weight=e, decoder__weight=w, encoder__bias=b, decoder__bias=c, threshold=t)
    torch.save({**state, "normalize_to_sqrt_d": torch.tensor(False)}, path / "ae_unnormalized.pt")
    return path, NAMED, rows


@layout
def interplm_jumprelu_rescaled(path: Path, draw: Draw) -> Any:
    e, w, b, c, t, top = draw(M, D), draw(D, M), draw(M), draw(D), np.abs(draw(M)), np.abs(draw(M)) + 0.5

    def rows(x: np.ndarray) -> Any:
        pre = e @ x + b
        f = relu(pre * (pre > t))
        return f / top, w @ f + c

    path.mkdir()
    state = tensors(encoder__weight=e, decoder__weight=w, encoder__bias=b, decoder__bias=c, threshold=t)
    torch.save({**state, **tensors(activation_rescale_factor=top)}, path / "ae_normalized.pt")
    return path, {**NAMED, "rescaled": True}, rows


def coder(path: Path, cfg: dict[str, Any], **arrays: np.ndarray) -> Path:
    folder = path / "layers.2"
    folder.mkdir(parents=True)
    save_file(tensors(**arrays), folder / "sae.safetensors")
    (folder / "cfg.json").write_text(json.dumps({"activation": "topk", "k": K, "d_in": D, "num_latents": M, **cfg}))
    (path / "config.json").write_text(json.dumps({"model": "tiny"}))
    return folder


@layout
def sparsify_topk(path: Path, draw: Draw) -> Any:
    e, w, b, c = draw(M, D), draw(M, D), draw(M), draw(D)

    def rows(x: np.ndarray) -> Any:
        f = largest(e @ (x - c) + b)
        return f, f @ w + c

    return coder(path, {}, encoder__weight=e, W_dec=w, encoder__bias=b, b_dec=c), {}, rows


@layout
def sparsify_skip_transcoder(path: Path, draw: Draw) -> Any:
    e, w, b, c, skip = draw(M, D), draw(M, D), draw(M), draw(D), draw(D, D)

    def rows(x: np.ndarray) -> Any:
        f = largest(e @ x + b)
        return f, f @ w + c + skip @ x

    cfg = {"transcode": True, "skip_connection": True}
    return coder(path, cfg, encoder__weight=e, W_dec=w, encoder__bias=b, b_dec=c, W_skip=skip), {}, rows


@layout
def evo2_with_a_threshold(path: Path, draw: Draw) -> Any:
    w, b, c = draw(D, M), draw(M), draw(D)

    def rows(x: np.ndarray) -> Any:
        pre = x @ w + b  # b_dec is not taken away
        f = relu(pre) * (pre > 1.1)
        return f, f @ w.T + c

    path.mkdir()
    file = path / "sae-layer26-mixed-expansion_8-k_4.pt"
    torch.save({f"_orig_mod.{name}": value for name, value in tensors(W=w, b_enc=b, b_dec=c).items()}, file)
    return file, {**NAMED, "threshold": 1.1}, rows


@layout
def evo2_by_rows_behind_two_prefixes(path: Path, draw: Draw) -> Any:
    w, b, c = draw(D, M), draw(M), draw(D)

    def rows(x: np.ndarray) -> Any:
        f = largest(x @ w + b)
        return f, f @ w.T + c

    path.mkdir()
    file = path / "evo2.pt"
    torch.save({f"module._orig_mod.{name}": value for name, value in tensors(W=w, b_enc=b, b_dec=c).items()}, file)
    return file, {**NAMED, "kind": "topk", "k": K}, rows


@layout
def interprot(path: Path, draw: Draw) -> Any:
    e, w, b, c = draw(D, M), draw(M, D), draw(M), draw(D)

    def rows(x: np.ndarray) -> Any:
        z, middle, sd = standard(x, 1e-5)
        f = largest((z - c) @ e + b)
        return f, (f @ w + c) * sd + middle

    path.mkdir()
    state = tensors(w_enc=e, w_dec=w, b_enc=b, b_pre=c)
    state["stats_last_nonzero"] = torch.zeros(M, dtype=torch.long)
    lightning = {"epoch": 1, "state_dict": {f"sae_model.{name}": value for name, value in state.items()}}
    torch.save(lightning, path / "esm2_plm1280_l24_sae4096.ckpt")
    return path, {**NAMED, "k": K}, rows


@layout
def bionemo_topk(path: Path, draw: Draw) -> Any:
    e, w, b, c = draw(M, D), draw(D, M), draw(M), draw(D)

    def rows(x: np.ndarray) -> Any:
        z, middle, sd = standard(x, 1e-8)
        f = largest(e @ (z - c) + b)
        return f, (w @ f + c) * sd + middle

    path.mkdir()
    state = tensors(encoder__weight=e, decoder__weight=w, latent_bias=b, pre_bias=c)
    state["stats_last_nonzero"] = torch.zeros(M, dtype=torch.long)
    cfg = {"input_dim": D, "hidden_dim": M, "top_k": K, "normalize_input": True, "auxk": None}
    held = {"model_state_dict": {f"module.{n}": v for n, v in state.items()}, "model_config": cfg, "global_step": 7}
    torch.save(
        {**held, "optimizer_state_dict": {"state": {0: {"step": torch.tensor(1.0)}}}}, path / "checkpoint_final.pt"
    )
    return path, NAMED, rows


@layout
def bionemo_relu(path: Path, draw: Draw) -> Any:
    e, w, b, c = draw(M, D), draw(D, M), draw(M, size=0.1), draw(D)

    def rows(x: np.ndarray) -> Any:
        z = (x - c) / np.sqrt(((x - c) ** 2).sum())
        f = relu(e @ z + b)
        return f, w @ f + c

    path.mkdir()
    state = tensors(encoder__weight=e, decoder__weight=w, latent_bias=b, pre_bias=c)
    held = {"model_state_dict": state, "input_dim": D, "hidden_dim": M, "config": {"lr": 1e-3}}
    torch.save(held, path / "checkpoint_final.pt")
    return path, NAMED, rows


@layout
def openai_topk(path: Path, draw: Draw) -> Any:
    e, w, b, c = draw(M, D), draw(D, M), draw(M), draw(D)

    def rows(x: np.ndarray) -> Any:
        z, middle, sd = standard(x, 1e-5)
        f = largest(e @ (z - c) + b)
        return f, (w @ f + c) * sd + middle

    path.mkdir()
    state: dict[str, Any] = tensors(encoder__weight=e, decoder__weight=w, latent_bias=b, pre_bias=c)
    state |= {"stats_last_nonzero": torch.zeros(M, dtype=torch.long), "latents_mean_square": torch.zeros(M)}
    state |= {"activation": "TopK", "activation_state_dict": {"k": K, "postact_fn": "ReLU"}}
    torch.save(state, path / "8.pt")
    return path, NAMED, rows


@layout
def openai_relu_tied(path: Path, draw: Draw) -> Any:
    e, b, c = draw(M, D), draw(M), draw(D)

    def rows(x: np.ndarray) -> Any:
        f = relu(e @ (x - c) + b)
        return f, e.T @ f + c

    path.mkdir()
    state: dict[str, Any] = tensors(encoder__weight=e, decoder__linear__weight=e, latent_bias=b, pre_bias=c)
    torch.save({**state, "activation": "ReLU"}, path / "8.pt")
    return path, NAMED, rows


def people(values: np.ndarray, **about: str) -> bt.Field:
    names = [f"p{i}" for i in range(len(values))]
    table = pd.DataFrame({"item": names, "sample": names, "block": names, "split": "train"})
    return bt.Field(bt.Rows.free(table), np.asarray(values, np.float32), about=about)


def codes_of(dictionary: bt.Dictionary, x: np.ndarray) -> np.ndarray:
    codes = dictionary.encode_array(x)
    return codes.toarray() if scipy.sparse.issparse(codes) else codes


@pytest.mark.filterwarnings("ignore:.*not of its end", "ignore:.*normalize_input")
@pytest.mark.parametrize("width", [M, D])  # as many features as channels: only the format tells rows from columns
@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_a_layout_is_recognised_and_read_as_its_library_reads_it(
    name: str, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "M", width)
    path, said, rows = LAYOUTS[name](tmp_path / "held", Draw(len(name)))
    dictionary = bt.load_dictionary(path, **said)
    assert name.startswith(dictionary.about["format"])
    assert (dictionary.about["model"], dictionary.about["layer"]) == (
        "tiny",
        "blocks.2" if "spars" not in name else "layers.2",
    )
    x = (np.random.default_rng(5).standard_normal((N, D)) * 2 + 0.6).astype(np.float32)
    codes, rebuilt = (np.array(part) for part in zip(*(rows(row) for row in x.astype(np.float64)), strict=True))
    assert 0 < (codes > 0).mean() < 1
    np.testing.assert_allclose(codes_of(dictionary, x), codes, rtol=1e-5, atol=1e-5 * np.abs(codes).max())
    found = dictionary.decode_array(dictionary.encode_array(x), x)
    np.testing.assert_allclose(found, rebuilt, rtol=1e-5, atol=1e-5 * np.abs(rebuilt).max())
    # As a Field, and after having been stored as bioterp's own.
    own = bt.load_dictionary(checkpoints.save(dictionary, tmp_path / "own"))
    assert own.id == dictionary.id and own.about == dictionary.about
    acts = people(x)
    np.testing.assert_array_equal(own.decode(own.encode(acts), acts).values, found)


@pytest.mark.filterwarnings("ignore:.*not of its end", "ignore:.*normalize_input")
@pytest.mark.parametrize("format", ["saelens", "dictionary_learning", "sparsify"])
@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_written_for_another_tool_it_is_the_same_function_or_refused(name: str, format: str, tmp_path: Path) -> None:
    path, said, _ = LAYOUTS[name](tmp_path / "held", Draw(len(name)))
    dictionary = bt.load_dictionary(path, **said)
    try:
        folder = checkpoints.save(dictionary, tmp_path / "theirs", format)
    except bt.InputError as error:
        assert f"cannot be written as {format}: " in str(error)
        assert not (tmp_path / "theirs").exists()
        assert not may_be_written(dictionary, format)
        return
    assert may_be_written(dictionary, format)
    again = bt.load_dictionary(folder, model="tiny", layer="blocks.2")
    assert again.about["format"] == format
    x = (np.random.default_rng(6).standard_normal((N, D)) * 2 + 0.6).astype(np.float32)
    for one, other in (
        (codes_of(again, x), codes_of(dictionary, x)),
        (again.decode_array(codes_of(again, x), x), dictionary.decode_array(codes_of(dictionary, x), x)),
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-5 * np.abs(other).max())


def may_be_written(d: bt.Dictionary, format: str) -> bool:
    """What each tool has a form for, said apart from the code that writes it."""
    rows = d.norm is not None
    across = d.skip is not None or d.decoder.shape[1] != d.inputs
    return {
        "saelens": not (rows and d.norm.kind == "unit") and not (rows and d.norm.eps == 1e-8)
        and not (across and d.activation == "topk"),
        "dictionary_learning": not rows and not across,
        "sparsify": not rows and d.activation == "topk" and d.decoder.shape[1] == d.inputs,
    }[format]  # fmt: skip


@pytest.mark.parametrize("own_bias", [False, True])
@pytest.mark.parametrize("format", ["saelens", "dictionary_learning", "sparsify"])
def test_a_dictionary_of_bioterp_is_written_with_its_mean_and_scale_folded_in(
    format: str, own_bias: bool, tmp_path: Path
) -> None:
    draw = Draw(8)
    kind = {"k": K} if format == "sparsify" else {"activation": "threshold", "threshold": 2.2, "k": K}
    weights = (draw(M, D), draw(M, D), draw(M), draw(D), draw(D))
    dictionary = bt.Dictionary(*(w.astype(np.float32) for w in weights), 1.9, about={"model": "a", "layer": 3}, **kind)
    if own_bias:
        dictionary = replace(dictionary, b_out=draw(D).astype(np.float32))
    folder = checkpoints.save(dictionary, tmp_path / "theirs", format)
    again = bt.load_dictionary(folder, model="a", layer=3)
    x = draw(N, D, size=3).astype(np.float32)
    np.testing.assert_allclose(codes_of(again, x), codes_of(dictionary, x), rtol=1e-4, atol=1e-4)
    rebuilt = [d.decode_array(d.encode_array(x)) for d in (again, dictionary)]
    np.testing.assert_allclose(*rebuilt, rtol=1e-4, atol=1e-3)
    with pytest.raises(bt.StoreError, match="was not written by bioterp"):
        checkpoints.save(dictionary, folder, format)
