"""transformers models: local folders and hub ids, natively or with their own code behind a flag.

Weights come from safetensors, or from torch's format with weights_only=True (transformers' own loader); code of
a repository runs only with trust_remote_code=True, and for a hub id only at a pinned revision.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bioterp.arrays import Array
from bioterp.errors import InputError, missing_package
from bioterp.models.base import Batch, Model, Part
from bioterp.models.blocks import find_blocks
from bioterp.models.layouts import TokenLayout
from bioterp.models.tokens import Encoded, Tokens
from bioterp.models.weights import read_weights, seeded

# Weights a checkpoint may lack: they do not take part in the hidden states of tokens.
UNUSED = ("pooler", "contact_head", "position_ids", "inv_freq")
CONTEXT_KEYS = ("max_position_embeddings", "max_seq_len", "n_positions", "max_sequence_length")


class TokenModel(Model):
    """A network that reads token ids. Cells are tokens; special tokens have none.

    tokens: bases → tokens; padding: the id that fills up shorter items, used only when the network takes an
    attention mask. Without one, arrays of different length are run apart, so no item sees another's padding.
    """

    tokens: Tokens
    padding: int = 0
    masks: bool = True

    def _prepare(self, arrays: list[Array]) -> Batch:
        encoded = [self.tokens.encode(array) for array in arrays]
        for array, one in zip(arrays, encoded, strict=True):
            if self.context is not None and len(one.positions) > self.context:
                raise self._too_long(len(one.positions), len(array))
        lengths = [len(one.ids) for one in encoded]
        if self.masks:
            groups = [list(range(len(arrays)))]
        else:
            groups = [[i for i, n in enumerate(lengths) if n == length] for length in sorted(set(lengths))]
        return Batch([one.cells for one in encoded], [self._part(group, encoded) for group in groups])

    def _part(self, group: list[int], encoded: list[Encoded]) -> Part:
        lengths = [len(encoded[i].ids) for i in group]
        tokens = max(lengths)
        ids = np.full((len(group), tokens), self.padding, np.int64)
        for row, i in zip(ids, group, strict=True):
            row[: len(encoded[i].ids)] = encoded[i].ids
        inputs = {"input_ids": torch.from_numpy(ids)}
        if min(lengths) < tokens:
            inputs["attention_mask"] = torch.from_numpy(
                (np.arange(tokens) < np.array(lengths)[:, None]).astype(np.int64)
            )
        return Part(group, inputs, TokenLayout([encoded[i].positions for i in group], lengths, tokens))


class HuggingFaceModel(TokenModel):
    """A transformers network; 'output' is its logits (or its last hidden state when it has no language head)."""

    extra: dict[str, Any]

    def _call(self, inputs: dict[str, Tensor]) -> Callable[[], Any]:
        return lambda: self.module(**inputs, **self.extra)


def load(
    name: str,
    source: str | Path,
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    trust_remote_code: bool = False,
    revision: str | None = None,
    alphabet: str | None = None,
    context: int | None = None,
) -> HuggingFaceModel:
    """A model from a transformers folder or a hub id.

    weights: None for those of the folder, 'random' for the same architecture from `seed`, or a state dict file.
    alphabet: for a folder without a tokenizer, the letters whose ids are 0, 1, … ('ACGTN').
    context: the most tokens an array may have, where the configuration does not say it or says too little.

    Raises InputError for a folder without config.json, code that is not trusted, a hub id with code but no
    revision, weights that do not fill the network, a tokenizer that knows no DNA.
    """
    local = Path(source).is_dir()
    if trust_remote_code and not local and revision is None:
        raise InputError(
            f"{name} would run code from the hub, whatever is there today; give revision=, the commit you have read"
        )
    where: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if revision is not None:
        where["revision"] = revision
    try:
        import transformers
    except ImportError as error:
        raise missing_package("transformers", "dna", f"the model {name}") from error
    with _quiet(transformers):
        config = _from(transformers.AutoConfig, name, source, **where)
        network = _network(transformers, name, source, config, weights, seed, where)
        tokenizer = None if alphabet is not None else _from(transformers.AutoTokenizer, name, source, **where)
    network.to(device=device, dtype=dtype)
    tokens = Tokens(tokenizer, alphabet)
    about = {"architecture": type(network).__name__, "config": json.loads(config.to_json_string())}
    for key in ("_name_or_path", "transformers_version", "dtype", "torch_dtype"):
        about["config"].pop(key, None)
    limit = context if context is not None else _context(config, tokenizer)
    parameters = inspect.signature(network.forward).parameters
    model = HuggingFaceModel(
        name, network, find_blocks(network), context=None if limit is None else limit - tokens.specials, about=about
    )
    model.tokens = tokens
    model.masks = "attention_mask" in parameters
    model.extra = {"use_cache": False} if "use_cache" in parameters else {}
    pads = (getattr(config, "pad_token_id", None), getattr(tokenizer, "pad_token_id", None))
    model.padding = next((pad for pad in pads if pad is not None), 0)
    return model


def _from(loader: Any, name: str, source: str | Path | None, **options: Any) -> Any:
    """`loader.from_pretrained`, with what goes wrong told in a sentence."""
    try:
        return loader.from_pretrained(source, **options)
    except InputError:
        raise
    except Exception as error:  # a repository's code may fail in any way; the cause is kept
        said = " ".join(str(error).split())
        if "trust_remote_code" in said and not options.get("trust_remote_code"):
            raise InputError(
                f"{name} brings its own code, which is not run unless you trust it: read it, then give "
                "trust_remote_code=True" + ("" if Path(str(source)).is_dir() else " and revision=, the commit you read")
            ) from error
        raise InputError(
            f"{loader.__name__} could not load {name} ({type(error).__name__}: {said[:240]}); give a transformers "
            "folder with config.json, tokenizer and safetensors weights, or a hub id within reach"
            + _own_code(options.get("config"), options)
        ) from error


def _network(
    transformers: Any,
    name: str,
    source: str | Path,
    config: Any,
    weights: str | Path | None,
    seed: int,
    where: dict[str, Any],
) -> nn.Module:
    """The network of a configuration with the wanted weights, all of them loaded."""
    code = {"trust_remote_code": where["trust_remote_code"]}
    loaders = [getattr(transformers, head) for head in _heads(config)]
    random = weights is not None and str(weights) == "random"
    state = read_weights(weights) if weights is not None and not random else None
    options: dict[str, Any] = {"config": config, "output_loading_info": True}

    def build(loader: Any) -> tuple[nn.Module, dict[str, Any]]:
        if random:
            return loader.from_config(config, **code), {"missing_keys": []}
        if state is None:
            loaded: tuple[nn.Module, dict[str, Any]] = _from(loader, name, source, **where, **options)
            return loaded
        kind = type(loader.from_config(config, **code))
        return _from(kind, name, None, state_dict=state, **options)  # type: ignore[no-any-return]

    missing: list[str] = []
    for loader in loaders:
        # Seeded also for trained weights: a part they lack (a pooler) must not make two loads differ.
        network, told = seeded(seed, lambda loader=loader: build(loader))  # type: ignore[misc]
        missing = sorted(key for key in told["missing_keys"] if not any(part in key for part in UNUSED))
        if not missing:
            return network
    raise InputError(
        f"the weights of {name} lack {len(missing)} tensors of its network (such as '{missing[0]}'); give weights "
        f"of this architecture{_own_code(config, where)}"
    )


def _own_code(config: Any, where: dict[str, Any]) -> str:
    """A clause for a repository whose own code was not trusted, so that a stand-in architecture was tried."""
    if where.get("trust_remote_code") or not getattr(config, "auto_map", None):
        return ""
    return "; it brings its own code, which needs trust_remote_code=True"


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without transformers' own progress bars, which would mix with ours."""
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()


def _heads(config: Any) -> list[str]:
    """Auto classes to try: the head the checkpoint was saved with, then the bare network."""
    saved = " ".join(getattr(config, "architectures", None) or [])
    offered = getattr(config, "auto_map", None) or {}
    if "CausalLM" in saved or "LMHead" in saved:
        head = "AutoModelForCausalLM"
    elif "MaskedLM" in saved:
        head = "AutoModelForMaskedLM"
    else:
        heads = ("AutoModelForMaskedLM", "AutoModelForCausalLM")
        head = next((h for h in heads if h in offered and "AutoModel" not in offered), "AutoModel")
    if offered and head not in offered and "AutoModel" in offered:
        head = "AutoModel"
    return list(dict.fromkeys([head, "AutoModel"]))


def _context(config: Any, tokenizer: Any) -> int | None:
    """The most tokens, special ones included, that configuration and tokenizer allow."""
    limits = [int(n) for key in CONTEXT_KEYS if isinstance(n := getattr(config, key, None), int)]
    kind = str(getattr(config, "position_embedding_type", ""))
    if getattr(config, "model_type", "") in ("esm", "roberta", "camembert", "xlm-roberta") and kind == "absolute":
        # Their learned positions start after the padding id.
        limits = [n - int(getattr(config, "pad_token_id", 1) or 0) - 1 for n in limits]
    said = getattr(tokenizer, "model_max_length", None)
    if isinstance(said, int) and said < 10**9:
        limits.append(said)
    return min(limits, default=None)
