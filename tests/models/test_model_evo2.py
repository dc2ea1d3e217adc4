"""The Evo 2 loader against a small stand-in with the package's interface (evo2/models.py of ArcInstitute/evo2)."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch
from torch import nn
from zoo import random_codes

from bioterp.errors import InputError
from bioterp.models import load_model


class Block(nn.Module):
    """vortex blocks take and return (hidden, inference parameters)."""

    def __init__(self, width: int):
        super().__init__()
        self.mlp = nn.Linear(width, width)

    def forward(self, x, inference_params=None):
        return x + torch.tanh(self.mlp(x)).cumsum(1) / 50, inference_params


class StripedHyena(nn.Module):
    def __init__(self):
        super().__init__()
        self.config = {"max_seqlen": 77}
        self.embedding = nn.Embedding(512, 10)
        self.blocks = nn.ModuleList([Block(10), Block(10), Block(10), Block(10)])
        self.unembed = nn.Linear(10, 512)

    def forward(self, x):
        x = self.embedding(x)
        for block in self.blocks:
            x, _ = block(x)
        return self.unembed(x), None


class CharLevelTokenizer:
    def tokenize(self, text):
        return [np.uint8(byte) for byte in text.encode()]


class Evo2:
    def __init__(self, model_name="evo2_7b", local_path=None):
        if model_name not in ("evo2_7b", "evo2_1b_base"):
            raise ValueError(f"Invalid model name {model_name}.")
        torch.manual_seed(0)
        self.model = StripedHyena()
        self.tokenizer = CharLevelTokenizer()
        self.local_path = local_path

    def __call__(self, input_ids, return_embeddings=False, layer_names=None):
        embeddings, handles = {}, []
        for name in layer_names or ():

            def hook(_module, _inputs, output, name=name):
                embeddings[name] = (output[0] if isinstance(output, tuple) else output).detach()

            handles.append(self.model.get_submodule(name).register_forward_hook(hook))
        with torch.no_grad():
            logits = self.model.forward(input_ids)
        for handle in handles:
            handle.remove()
        return logits, embeddings if return_embeddings else None


@pytest.fixture()
def evo2(monkeypatch):
    package, utils = types.ModuleType("evo2"), types.ModuleType("evo2.utils")
    package.Evo2, utils.MODEL_NAMES = Evo2, ["evo2_7b", "evo2_1b_base"]
    monkeypatch.setitem(sys.modules, "evo2", package)
    monkeypatch.setitem(sys.modules, "evo2.utils", utils)


def test_the_same_as_the_package(evo2):
    model, theirs = load_model("evo2_7b"), Evo2("evo2_7b")
    arrays = [random_codes(40, 0), random_codes(23, 1)]
    names = ["blocks.2", "blocks.1.mlp"]
    batch = model.prepare(arrays)
    assert [np.asarray(grid.bounds)[-1].tolist() for grid in batch.cells] == [[39, 40], [22, 23]]
    found = model.run(batch, [2, "blocks.1.mlp", "output"])
    for i, array in enumerate(arrays):
        ids = torch.tensor([[b"ACGTN"[code] for code in array]], dtype=torch.int)
        (logits, _), embeddings = theirs(ids, return_embeddings=True, layer_names=names)
        n = len(array)
        torch.testing.assert_close(found[2][i, :n], embeddings["blocks.2"][0])
        torch.testing.assert_close(found["blocks.1.mlp"][i, :n], embeddings["blocks.1.mlp"][0])
        torch.testing.assert_close(found["output"][i, :n], logits[0])
    assert (len(model.layers), model.width(0), model.context) == (4, 10, 77)
    zeroed = model.run(batch, ["output"], edit={1: torch.zeros_like})
    assert not torch.allclose(zeroed["output"], found["output"])


def test_what_cannot_be_done_is_told(evo2):
    with pytest.raises(InputError, match="100 bases makes 100 tokens, and evo2_7b takes at most 77"):
        load_model("evo2_7b").prepare([random_codes(100, 0)])
    with pytest.raises(InputError, match="only makes trained networks"):
        load_model("evo2_7b", weights="random")
    with pytest.raises(InputError, match="did you mean 'evo2_7b'"):
        load_model("evo2_40b")
    assert load_model("evo2_1b_base", weights="file.pt").name == "evo2_1b_base"


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "evo2", None)
    with pytest.raises(InputError, match="needs the package 'evo2'"):
        load_model("evo2_7b")
