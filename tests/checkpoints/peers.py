"""Write one small checkpoint of every kind with the libraries themselves, and what they make of the same activations.

    python tests/checkpoints/peers.py LIBRARY OUT

Run by test_checkpoint_peers.py with a Python that has the library. Every folder OUT/NAME/ holds the checkpoint as the
library saves it and oracle.npz (x, codes, rebuilt); with LIBRARY_back, what bioterp has written to OUT/NAME/ours/ is
read by the library, and what it makes of the activations goes to OUT/NAME/theirs.npz.
"""

from __future__ import annotations

import json
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import torch

D, M, N, K, OUT = 13, 41, 29, 5, 7


def stub(*names: str) -> None:
    """Modules the libraries import and do not need here."""
    for name in names:
        module = types.ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.LanguageModel = module.load_dataset = object  # type: ignore[attr-defined]
        sys.modules.setdefault(name, module)


def shake(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Every parameter away from what it began as: no bias is zero, no decoder row has length 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(drawn.abs() * 0.4 if "threshold" in name else drawn * (0.5 if parameter.ndim == 1 else 0.6))
    return network.eval()


def acts() -> torch.Tensor:
    return torch.randn(N, D, generator=torch.Generator().manual_seed(3)) * 2 + 0.7


def keep(folder: Path, codes: torch.Tensor, rebuilt: torch.Tensor, **more: torch.Tensor) -> None:
    held = {"x": acts(), "codes": codes, "rebuilt": rebuilt, **more}
    np.savez(folder / "oracle.npz", **{name: value.detach().numpy() for name, value in held.items()})


def sae_lens(out: Path) -> None:
    stub("wandb")
    import sae_lens as sl

    base = {"d_in": D, "d_sae": M, "dtype": "float32", "device": "cpu"}
    told = sl.saes.sae.SAEMetadata(model_name="tiny", hook_name="blocks.2.hook_resid_post")
    cases = {
        "standard": (sl.StandardSAE, sl.StandardSAEConfig(**base)),
        "standard-unsubtracted": (sl.StandardSAE, sl.StandardSAEConfig(**base, apply_b_dec_to_input=False)),
        "standard-layernorm": (sl.StandardSAE, sl.StandardSAEConfig(**base, normalize_activations="layer_norm")),
        "standard-length": (
            sl.StandardSAE,
            sl.StandardSAEConfig(**base, normalize_activations="constant_norm_rescale"),
        ),
        "topk": (sl.TopKSAE, sl.TopKSAEConfig(**base, k=K)),
        "topk-rescaled": (sl.TopKSAE, sl.TopKSAEConfig(**base, k=K, rescale_acts_by_decoder_norm=True)),
        "jumprelu": (sl.JumpReLUSAE, sl.JumpReLUSAEConfig(**base)),
        "gated": (sl.GatedSAE, sl.GatedSAEConfig(**base)),
    }
    wide = {**base, "d_out": OUT, "apply_b_dec_to_input": False}
    for name in ("Transcoder", "SkipTranscoder", "JumpReLUTranscoder", "JumpReLUSkipTranscoder"):
        cases[name.lower()] = getattr(sl, name), getattr(sl, name + "Config")(**wide)
    for seed, (name, (kind, config)) in enumerate(cases.items()):
        config.metadata = told
        sae = shake(kind(config), seed)
        sae.save_model(out / name)
        x = acts()
        keep(out / name, sae.encode(x), sae(x))
    for name, kind, config in (
        ("batchtopk", sl.BatchTopKTrainingSAE, sl.BatchTopKTrainingSAEConfig(**base, k=K)),
        ("matryoshka", sl.MatryoshkaBatchTopKTrainingSAE,
         sl.MatryoshkaBatchTopKTrainingSAEConfig(**base, k=K, matryoshka_widths=[9, 20, M])),
    ):  # fmt: skip
        config.metadata = told
        sae = shake(kind(config), 77)
        sae.topk_threshold = torch.tensor(1.9, dtype=torch.double)
        sae.save_inference_model(out / name)
        sae.save_model(out / f"{name}-training")
        loaded, x = sl.SAE.load_from_disk(out / name), acts()
        for folder in (name, f"{name}-training"):
            keep(out / folder, loaded.encode(x), loaded(x))
    # As SAELens 3 wrote it: one flat record.
    sae = shake(sl.TopKSAE(sl.TopKSAEConfig(**base, k=K)), 5)
    sae.save_model(out / "flat-topk")
    flat = {
        **base,
        "architecture": "standard",
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": K},
        "model_name": "tiny",
        "hook_name": "blocks.2.hook_resid_post",
        "hook_layer": 2,
        "normalize_activations": "none",
        "apply_b_dec_to_input": False,
        "sae_lens_training_version": "3.20.0",
    }
    (out / "flat-topk" / "cfg.json").write_text(json.dumps(flat))
    loaded, x = sl.SAE.load_from_disk(out / "flat-topk"), acts()
    keep(out / "flat-topk", loaded.encode(x), loaded(x))


def sae_lens_back(out: Path) -> None:
    stub("wandb")
    import sae_lens as sl

    for folder in sorted(out.glob("*/ours")):
        loaded, x = sl.SAE.load_from_disk(folder), acts()
        np.savez(folder.parent / "theirs.npz", codes=loaded.encode(x).detach(), rebuilt=loaded(x).detach())


def dictionary_learning(out: Path) -> None:
    stub("nnsight", "zstandard", "datasets", "wandb", "umap", "plotly", "circuitsvis", "ipywidgets")
    from dictionary_learning import dictionary as dl
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    cases = {
        "AutoEncoder": dl.AutoEncoder(D, M), "AutoEncoderNew": dl.AutoEncoderNew(D, M),
        "GatedAutoEncoder": dl.GatedAutoEncoder(D, M), "JumpReluAutoEncoder": dl.JumpReluAutoEncoder(D, M),
        "AutoEncoderTopK": AutoEncoderTopK(D, M, K), "BatchTopKSAE": BatchTopKSAE(D, M, K),
        "MatryoshkaBatchTopKSAE": MatryoshkaBatchTopKSAE(D, M, K, [11, M - 11]),
    }  # fmt: skip
    for seed, (name, made) in enumerate(cases.items()):
        ae = shake(made, seed)
        if "BatchTopK" in name:
            ae.threshold.fill_(1.3)
        (out / name / "checkpoints").mkdir(parents=True)
        torch.save(ae.state_dict(), out / name / "ae.pt")
        torch.save(ae.state_dict(), out / name / "checkpoints" / "ae_120.pt")
        trainer = {"dict_class": name, "activation_dim": D, "dict_size": M, "k": K, "lm_name": "tiny", "layer": 2}
        (out / name / "config.json").write_text(json.dumps({"trainer": trainer}))
        x = acts()
        keep(out / name, ae.encode(x), ae(x))


def dictionary_learning_back(out: Path) -> None:
    stub("nnsight", "zstandard", "datasets", "wandb", "umap", "plotly", "circuitsvis", "ipywidgets")
    from dictionary_learning.utils import load_dictionary

    for folder in sorted(out.glob("*/ours")):
        (loaded, _), x = load_dictionary(str(folder), device="cpu"), acts()
        np.savez(folder.parent / "theirs.npz", rebuilt=loaded(x).detach())


def sparsify(out: Path) -> None:
    from sparsify import SparseCoder, SparseCoderConfig

    cases = {"topk": {}, "transcoder": {"transcode": True}, "skip": {"transcode": True, "skip_connection": True}}
    for seed, (name, options) in enumerate(cases.items()):
        coder = shake(SparseCoder(D, SparseCoderConfig(num_latents=M, k=K, **options)), seed)
        folder = out / name / "layers.2"
        coder.save_to_disk(folder)
        (out / name / "config.json").write_text(json.dumps({"model": "tiny"}))
        x = acts()
        values, places, _ = coder.encode(x)
        keep(out / name, torch.zeros(N, M).scatter(1, places, values), coder(x).sae_out)


def sparsify_back(out: Path) -> None:
    from sparsify import SparseCoder

    for folder in sorted(out.glob("*/ours")):
        np.savez(folder.parent / "theirs.npz", rebuilt=SparseCoder.load_from_disk(folder)(acts()).sae_out.detach())


if __name__ == "__main__":
    with torch.no_grad():
        globals()[sys.argv[1]](Path(sys.argv[2]))
