"""Source files of the tiny models that bring their own code."""

from __future__ import annotations

SLOW_TOKENIZER = """
import itertools, json, os
from transformers import PreTrainedTokenizer

class Slow{size}(PreTrainedTokenizer):
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(self, **kwargs):
        special = ["<oov>", "<s>", "</s>", "<pad>"]
        self.words = special + ["".join(w) for w in itertools.product("{letters}", repeat={size})]
        self.ids = {{w: i for i, w in enumerate(self.words)}}
        for key, token in (("unk_token", "<oov>"), ("bos_token", "<s>"), ("eos_token", "</s>"), ("pad_token", "<pad>")):
            kwargs[key] = token
        super().__init__(**kwargs)

    @property
    def vocab_size(self):
        return len(self.words)

    def get_vocab(self):
        return dict(self.ids)

    def _tokenize(self, text, **kwargs):
        return [text[i : i + {size}] for i in range(0, len(text), {size})]

    def _convert_token_to_id(self, token):
        return self.ids.get(token, 0)

    def _convert_id_to_token(self, index):
        return self.words[index]

    def build_inputs_with_special_tokens(self, a, b=None):
        return {build}

    def get_special_tokens_mask(self, a, b=None, already_has_special_tokens=False):
        return [0] * len(self.build_inputs_with_special_tokens(a))

    def save_vocabulary(self, folder, filename_prefix=None):
        return ()
"""

REMOTE = '''
import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import MaskedLMOutput

class MixConfig(PretrainedConfig):
    model_type = "bioterp_mix"

    def __init__(self, vocab_size=9, d_model=11, n_layer=3, max_seq_len=134, **kwargs):
        self.vocab_size, self.d_model, self.n_layer, self.max_seq_len = vocab_size, d_model, n_layer, max_seq_len
        super().__init__(**kwargs)

class MixBlock(nn.Module):
    """Looks both ways and knows no mask, as state space models do; returns (hidden, residual)."""
    def __init__(self, d):
        super().__init__()
        self.conv = nn.Conv1d(d, d, 5, padding=2)
        self.drop = nn.Dropout(0.5)

    def forward(self, x, residual):
        residual = x if residual is None else x + residual
        y = self.drop(torch.tanh(self.conv(residual.transpose(1, 2)).transpose(1, 2)))
        return y + residual.mean(1, keepdim=True), residual

class MixForMaskedLM(PreTrainedModel):
    config_class = MixConfig
    _tied_weights_keys = {}

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList(MixBlock(config.d_model) for _ in range(config.n_layer))
        self.head = nn.Linear(config.d_model, config.vocab_size)
        self.post_init()

    def forward(self, input_ids, return_dict=None):
        x, residual = self.embed(input_ids), None
        for layer in self.layers:
            x, residual = layer(x, residual)
        return MaskedLMOutput(logits=self.head(x + residual))
'''

FACTORY = '''
import torch
from torch import nn

class Net(nn.Module):
    """Bases, then bins of four."""
    def __init__(self, width=8):
        super().__init__()
        self.stem = nn.Conv1d(4, 13, 3, padding=1)
        self.pool = nn.Conv1d(13, width, 4, stride=4)
        self.tower = nn.ModuleList(nn.Conv1d(width, width, 7, padding=3) for _ in range(3))
        self.crop = nn.Conv1d(width, 9, 3)
        self.head = nn.Conv1d(width, 5, 1)

    def forward(self, x):
        x = self.pool(self.stem(x))
        for layer in self.tower:
            x = x + torch.tanh(layer(x))
        self.crop(x)
        return self.head(x)

class Codes(nn.Module):
    """Reads codes; positions before channels."""
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 6)
        self.layers = nn.ModuleList(nn.GRU(6, 6, batch_first=True) for _ in range(2))

    def forward(self, x):
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)[0]
        return x

def net(width=8):
    return Net(width)

def not_a_module():
    return 3
'''
