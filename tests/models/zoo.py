"""Tiny random models of every loader, saved to a folder, each with an independent account of its tokens.

`truth(sequence)` gives the (start, end) of every cell and is written from what the tokenizer is said to do, not
from bioterp's code.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from zoo_sources import FACTORY, REMOTE, SLOW_TOKENIZER

Spans = list[tuple[int, int]]


@dataclass
class Entry:
    """How to load one tiny model, and what is true of it."""

    name: str
    truth: Callable[[str], Spans]
    blocks: int
    options: dict[str, Any] = field(default_factory=dict)
    multiple: int = 1  # lengths must be multiples of this


def random_codes(length: int, seed: int, masked: bool = True) -> np.ndarray:
    codes = np.random.default_rng(seed).integers(0, 4, length).astype(np.uint8)
    if masked and seed == 1:
        codes[5] = 4
        codes[17:20] = 4
    return codes


def single(sequence: str) -> Spans:
    return [(i, i + 1) for i in range(len(sequence))]


def six_mers_and_singles(sequence: str) -> Spans:
    """Nucleotide Transformer: 6-mers from the start of each run without N, single bases for what is left."""
    spans, at = [], 0
    for known, run in itertools.groupby(sequence, key=lambda base: base != "N"):
        n = len(list(run))
        six = n // 6 if known else 0
        spans += [(at + 6 * i, at + 6 * i + 6) for i in range(six)]
        spans += [(at + i, at + i + 1) for i in range(6 * six, n)]
        at += n
    return spans


def six_mers(sequence: str) -> Spans:
    """GENERator: 6-mers from the start, whatever is in them; the tail is one shorter token."""
    return [(i, min(i + 6, len(sequence))) for i in range(0, len(sequence), 6)]


def middles(k: int) -> Callable[[str], Spans]:
    return lambda sequence: [(i + (k - 1) // 2, i + (k - 1) // 2 + 1) for i in range(len(sequence) - k + 1)]


def bins(size: int) -> Callable[[str], Spans]:
    return lambda sequence: [(i, i + size) for i in range(0, len(sequence), size)]


def bpe(folder: Path) -> Callable[[str], Spans]:
    """Byte pair encoding by its definition: join the pair of lowest rank until none is left."""
    merges = json.loads((folder / "tokenizer.json").read_text())["model"]["merges"]
    ranks = {tuple(m if isinstance(m, list) else m.split()): i for i, m in enumerate(merges)}

    def truth(sequence: str) -> Spans:
        pieces = list(sequence)
        while True:
            pairs = [(ranks[p], i) for i, p in enumerate(itertools.pairwise(pieces)) if p in ranks]
            if not pairs:
                break
            _, i = min(pairs)
            pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
        ends = np.cumsum([len(p) for p in pieces]).tolist()
        return list(zip([0, *ends[:-1]], ends, strict=True))

    return truth


def save(network: Any, folder: Path) -> None:
    network.save_pretrained(folder)


def kmers(k: int) -> list[str]:
    return ["".join(word) for word in itertools.product("ACGT", repeat=k)]


def esm(folder: Path) -> Entry:
    from transformers import EsmConfig, EsmForMaskedLM, EsmTokenizer

    words = ["<unk>", "<pad>", "<mask>", "<cls>", "<eos>", "<bos>", *kmers(6), "A", "T", "C", "G", "N"]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words))
    EsmTokenizer(str(folder / "vocab.txt"), eos_token=None, model_max_length=44).save_pretrained(folder)
    config = EsmConfig(
        vocab_size=len(words),
        hidden_size=18,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=20,
        max_position_embeddings=46,
        pad_token_id=1,
        mask_token_id=2,
        token_dropout=True,
        position_embedding_type="absolute",
    )
    save(EsmForMaskedLM(config), folder)
    return Entry(str(folder), six_mers_and_singles, 3)


def bert_kmer(folder: Path) -> Entry:
    from transformers import BertConfig, BertForMaskedLM, BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *kmers(4)]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words))
    vocabulary = {word: i for i, word in enumerate(words)}
    BertTokenizer(vocab=vocabulary, do_lower_case=False, model_max_length=130).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=21,
        max_position_embeddings=130,
    )
    save(BertForMaskedLM(config), folder)
    return Entry(str(folder), middles(4), 4)


def bpe_tokenizer(folder: Path, template: str | None, **special: str) -> int:
    from tokenizers import Tokenizer, models, processors, trainers
    from transformers import PreTrainedTokenizerFast

    rng = np.random.default_rng(5)
    corpus = ["".join(rng.choice(list("ACGT"), 200)) for _ in range(40)]
    tokenizer = Tokenizer(models.BPE(unk_token=special["unk_token"]))
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=list(special.values()), show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    if template:
        ids = [(token, tokenizer.token_to_id(token)) for token in special.values()]
        tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return tokenizer.get_vocab_size()


def bert_bpe(folder: Path) -> Entry:
    from transformers import BertConfig, BertForMaskedLM

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    size = bpe_tokenizer(folder, "[CLS] $A [SEP]", **special)
    config = BertConfig(
        vocab_size=size,
        hidden_size=14,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=19,
        max_position_embeddings=131,
    )
    save(BertForMaskedLM(config), folder)
    return Entry(str(folder), bpe(folder), 2)


def mixtral(folder: Path) -> Entry:
    from transformers import MixtralConfig, MixtralForCausalLM

    size = bpe_tokenizer(folder, "<s> $A", bos_token="<s>", unk_token="<unk>", pad_token="<pad>")
    config = MixtralConfig(
        vocab_size=size,
        hidden_size=16,  # sizes of 16 bytes: what torch's grouped matrix product takes
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=24,
        num_local_experts=5,
        num_experts_per_tok=2,
        max_position_embeddings=132,
        bos_token_id=0,
        eos_token_id=1,
    )
    save(MixtralForCausalLM(config), folder)
    return Entry(str(folder), bpe(folder), 3)


def llama(folder: Path, size: int, context: int) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=size,
        hidden_size=20,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=23,
        max_position_embeddings=context,
        pad_token_id=6,
        bos_token_id=5,
        eos_token_id=None,
    )
    save(LlamaForCausalLM(config), folder)


def llama_single(folder: Path) -> Entry:
    llama(folder, 7, 133)
    return Entry(str(folder), single, 3, {"alphabet": "ACGTN"})


def slow_tokenizer(folder: Path, size: int, letters: str, build: str) -> None:
    (folder / "tokenization_slow.py").write_text(SLOW_TOKENIZER.format(size=size, letters=letters, build=build))
    settings = {
        "tokenizer_class": f"Slow{size}",
        "auto_map": {"AutoTokenizer": [f"tokenization_slow.Slow{size}", None]},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def llama_six(folder: Path) -> Entry:
    llama(folder, 4 + 4**6, 40)
    slow_tokenizer(folder, 6, "ATCG", "[1] + a + [2]")
    return Entry(str(folder), six_mers, 3, {"trust_remote_code": True})


def remote(folder: Path) -> Entry:
    """A model with its own code: no attention mask, (hidden, residual) blocks, a slow single-base tokenizer."""
    from safetensors.torch import save_file

    folder.mkdir()
    (folder / "modeling_mix.py").write_text(REMOTE)
    slow_tokenizer(folder, 1, "ACGTN", "a + [2]")
    settings = {
        "model_type": "bioterp_mix",
        "architectures": ["MixForMaskedLM"],
        "auto_map": {"AutoConfig": "modeling_mix.MixConfig", "AutoModelForMaskedLM": "modeling_mix.MixForMaskedLM"},
        "vocab_size": 9,
        "d_model": 11,
        "n_layer": 3,
        "max_seq_len": 134,
    }
    (folder / "config.json").write_text(json.dumps(settings))
    generator = torch.Generator().manual_seed(3)
    shapes = {"embed.weight": (9, 11), "head.weight": (9, 11), "head.bias": (9,)}
    for i in range(3):
        shapes |= {f"layers.{i}.conv.weight": (11, 11, 5), f"layers.{i}.conv.bias": (11,)}
    state = {key: 0.3 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return Entry(str(folder), single, 3, {"trust_remote_code": True})


def splice(folder: Path, family: str) -> Entry:
    """Random weights in a state dict with the published names, written here from the files' own key list."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(4)
    width, kernel = 6, 11

    def conv(name: str, out: int, into: int, size: int) -> dict[str, torch.Tensor]:
        weight = torch.randn((out, into, size), generator=generator) / (into * size) ** 0.5
        return {f"{name}.weight": weight, f"{name}.bias": torch.randn(out, generator=generator)}

    def norm(name: str) -> dict[str, torch.Tensor]:
        positive = {key: torch.rand(width, generator=generator) + 0.5 for key in ("weight", "running_var")}
        any_sign = {key: torch.randn(width, generator=generator) for key in ("bias", "running_mean")}
        count = {"num_batches_tracked": torch.tensor(7)}
        return {f"{name}.{key}": value for key, value in {**positive, **any_sign, **count}.items()}

    if family == "pangolin":
        state = conv("conv1", width, 4, 1) | conv("skip", width, width, 1) | conv("convs.0", width, width, 1)
        names = ("resblocks", "bn")
        for i in range(8):
            state |= conv(f"conv_last{i + 1}", 1 if i % 2 else 2, width, 1)
    else:
        state = conv("initial_conv", width, 4, 1) | conv("initial_skip.conv", width, width, 1)
        state |= conv("residual_units.4.conv", width, width, 1) | conv("final_conv", 3, width, 1)
        names = ("residual_units", "batchnorm")
    for i in range(4):
        for j in (1, 2):
            state |= conv(f"{names[0]}.{i}.conv{j}", width, width, kernel) | norm(f"{names[0]}.{i}.{names[1]}{j}")
    torch.save(state, folder / "weights.pt")
    name = "pangolin" if family == "pangolin" else "openspliceai-80nt"
    return Entry(name, single, 4, {"weights": str(folder / "weights.pt")})


def factory(folder: Path, kind: str) -> Entry:
    folder.mkdir()
    module = f"bioterp_tiny_{kind}"
    (folder / f"{module}.py").write_text(FACTORY)
    sys.path.insert(0, str(folder))
    torch.manual_seed(6)
    made = __import__(module)
    if kind == "codes":
        name, network, blocks, stride, options = f"{module}:Codes", made.Codes(), 2, 1, {"input": "codes"}
    else:
        name, network, blocks, stride = f"{module}:net", made.net(8), 3, 4
        options = {"stride": 4, "channels": "first"}
    path = folder / "weights.pth"
    torch.save({"state_dict": network.state_dict()}, path)
    options["weights"] = str(path)
    return Entry(name, bins(stride), blocks, options, multiple=stride)


BUILDERS: dict[str, Callable[[Path], Entry]] = {
    "esm-6mer": esm,
    "bert-kmer": bert_kmer,
    "bert-bpe": bert_bpe,
    "mixtral-bpe": mixtral,
    "llama-single": llama_single,
    "llama-6mer": llama_six,
    "remote-code": remote,
    "openspliceai": lambda folder: splice(folder, "openspliceai"),
    "pangolin": lambda folder: splice(folder, "pangolin"),
    "factory-bins": lambda folder: factory(folder, "bins"),
    "factory-codes": lambda folder: factory(folder, "codes"),
}
