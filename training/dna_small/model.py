"""The model: a small Llama over single bases, and how it is started, saved and exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

VOCABULARY: dict[str, int] = {"A": 0, "C": 1, "G": 2, "T": 3, "N": 4, "<bos>": 5, "<pad>": 6}
"""Token ids. <bos> exists so that a caller who adds one does not fall off the table; training never shows
it.
"""

VOCABULARY_SIZE = 8
LONGEST = 131_072
"""Bases an array may have when the model is used: a bound on memory, not on what the weights can do."""


def build(shape: dict[str, Any], seed: int) -> LlamaForCausalLM:
    """A fresh model of the given shape, fp32, with the start described below."""
    config = LlamaConfig(
        **shape,
        vocab_size=VOCABULARY_SIZE,
        bos_token_id=VOCABULARY["<bos>"],
        pad_token_id=VOCABULARY["<pad>"],
        eos_token_id=None,
        tie_word_embeddings=False,
        attention_bias=False,
        mlp_bias=False,
        use_cache=False,
    )
    config._attn_implementation = "sdpa"
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    _start(model)
    return model


@torch.no_grad()
def _start(model: LlamaForCausalLM) -> None:
    """Unit-scale embeddings, 1/sqrt(fan-in) inside, zero at every write to the residual stream and at the
    head.

    So each block begins as the identity and the first prediction is uniform: with a run this short, no step
    should be spent undoing the initialisation. Each row of the embedding is a token, hence its large scale.
    """
    for name, weight in model.named_parameters():
        if weight.ndim == 1:
            weight.fill_(1.0)
        elif "embed_tokens" in name:
            weight.normal_(std=1.0)
        elif name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight")):
            weight.zero_()
        else:
            weight.normal_(std=weight.shape[1] ** -0.5)


def deployed(trained: LlamaConfig) -> MistralConfig:
    """The configuration the weights are shipped under: the same network with a sliding attention window.

    A Mistral model with the trained length as its window computes exactly what the Llama model does on arrays up
    to that length, and never meets a distance it was not trained on beyond it.
    """
    kept = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    kept += ("num_key_value_heads", "head_dim", "rms_norm_eps", "rope_parameters", "bos_token_id", "pad_token_id")
    return MistralConfig(
        **{name: getattr(trained, name) for name in kept},
        eos_token_id=None,
        tie_word_embeddings=False,
        use_cache=False,
        sliding_window=trained.max_position_embeddings,
        max_position_embeddings=LONGEST,
    )


def export(model: LlamaForCausalLM, folder: Path, dtype: torch.dtype, note: dict[str, str]) -> None:
    """Write ``config.json`` and ``model.safetensors`` so that
    ``AutoModelForCausalLM.from_pretrained(folder)`` works.

    Each file is written beside its place and moved there, so that a reader never meets half a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().to(dtype).contiguous() for name, tensor in model.state_dict().items()}
    beside = folder / "model.safetensors.part"
    save_file(weights, beside, metadata={"format": "pt", **note})
    beside.chmod(0o644)  # safetensors writes for the owner alone; this file is to be shipped
    beside.replace(folder / "model.safetensors")

    config = deployed(model.config).to_diff_dict()
    config["architectures"] = [MistralForCausalLM.__name__]
    # Stored small, run in fp32: the CPU is where this model mostly lives.
    config["dtype"] = "float32"
    beside = folder / "config.json.part"
    beside.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    beside.replace(folder / "config.json")
