"""The known models as data, readable without torch or transformers.

Numbers are from the models' configuration files and cards; None where this project has not seen the
configuration (the loader reads it anyway). `run_here` says what this project ran and what it did not.

Enformer and Borzoi are not listed: their packages take one-hot windows of fixed length and crop them, a lattice
the `module:factory` loader refuses rather than guesses. Models of scans are in `known_scans.py`
and `known_slices.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bioterp.models.known_scans import SCANS
from bioterp.models.known_slices import SLICES

NOT_RUN = "weights not run here (no network); "
ESM = NOT_RUN + "loader tested on a tiny random ESM with this tokeniser"
REMOTE = NOT_RUN + "loader tested on a tiny remote-code model, not on this repository's code"
EVO2 = NOT_RUN + "loader tested against a stand-in for the evo2 package (needs CUDA)"
SPLICE = "network and loader run here on real weights (human chr21); weights are the user's to fetch"


@dataclass(frozen=True)
class Known:
    """One row of `bioterp list models`.

    name: what `load_model` takes.  loader: the file of bioterp.models that loads it.  layers: number of blocks.
    width: channels of a block (of `layer` where they differ).  context: with its unit.  tokeniser: what a cell is.
    weights: where they come from.  code: whether the repository's own code is needed (trust_remote_code=True and a
    pinned revision).

    For scans also: title: what the model is called.  wants: keywords for `Scans` it was trained with.  layer: where to
    look first.  arguments: what load_model is given besides.  source: where the facts are from, and which were not
    verified.
    """

    name: str
    modality: str
    loader: str
    layers: int | None
    width: int | None
    context: str
    tokeniser: str
    licence: str
    weights: str
    run_here: str
    code: bool = False
    title: str = ""
    wants: dict[str, Any] = field(default_factory=dict)
    layer: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    source: str = ""


SIX_MER = "6-mer, single bases at the tail and around N"


def _hub(
    name: str, layers: int | None, width: int | None, context: str, tokeniser: str, licence: str, run: str, code: bool
) -> Known:
    return Known(name, "dna", "huggingface", layers, width, context, tokeniser, licence, "hub", run, code)


def _splice(name: str, layers: int, context: int) -> Known:
    flank = f"any length; sees {context:,} nt around a base"
    own = "path to a state dict of the project"
    return Known(name, "dna", "splice", layers, 32, flank, "single base (one-hot)", "GPL-3.0 (weights)", own, SPLICE)


def _evo2(name: str, layers: int | None, width: int | None, context: str) -> Known:
    return Known(name, "dna", "evo2", layers, width, context, "single base (byte)", "Apache-2.0", "evo2 package", EVO2)


_NT = "InstaDeepAI/nucleotide-transformer"
_NC = "CC-BY-NC-SA-4.0"
_BERT = NOT_RUN + "loader tested on a tiny random BERT with this kind of tokeniser"

_ROWS = (
    Known(
        "bioterp/dna-small",
        "dna",
        "huggingface",
        6,
        256,
        "any length; sees 1,024 bp at a time",
        "single base",
        "BSD-3-Clause",
        "shipped",
        "trained and run here",
    ),
    _splice("openspliceai-80nt", 4, 80),
    _splice("openspliceai-400nt", 8, 400),
    _splice("openspliceai-2000nt", 12, 2_000),
    _splice("openspliceai-10000nt", 16, 10_000),
    _splice("pangolin", 16, 10_000),
    _hub(f"{_NT}-500m-human-ref", 24, 1280, "1,000 tokens (about 6 kb)", SIX_MER, _NC, ESM, False),
    _hub(f"{_NT}-2.5b-multi-species", 32, 2560, "1,000 tokens (about 6 kb)", SIX_MER, _NC, ESM, False),
    _hub(f"{_NT}-v2-100m-multi-species", 22, 512, "2,048 tokens (about 12 kb)", SIX_MER, _NC, REMOTE, True),
    _hub(f"{_NT}-v2-500m-multi-species", 29, 1024, "2,048 tokens (about 12 kb)", SIX_MER, _NC, REMOTE, True),
    _hub("zhihan1996/DNA_bert_6", 12, 768, "512 tokens", "overlapping 6-mer", "Apache-2.0", _BERT, False),
    _hub("PoetschLab/GROVER", 12, 768, "512 tokens", "BPE", "not stated on its card", _BERT, False),
    _hub("zhihan1996/DNABERT-2-117M", 12, 768, "512 tokens (ALiBi)", "BPE", "Apache-2.0", REMOTE, True),
    _hub("LongSafari/hyenadna-medium-160k-seqlen-hf", 8, 256, "160 kb", "single base", "BSD-3-Clause", REMOTE, True),
    _hub("LongSafari/hyenadna-large-1m-seqlen-hf", 8, 256, "1 Mb", "single base", "BSD-3-Clause", REMOTE, True),
    # Two strands of 256 channels side by side in each block (reverse-complement parameter sharing).
    _hub(
        "kuleshov-group/caduceus-ps_seqlen-131k_d_model-256_n_layer-16",
        16,
        512,
        "131 kb",
        "single base",
        "Apache-2.0",
        REMOTE,
        True,
    ),
    _hub(
        "GenerTeam/GENERator-eukaryote-1.2b-base",
        None,
        None,
        "about 98 kb",
        "6-mer, shorter tail unknown to the vocabulary",
        "MIT",
        NOT_RUN + "loader tested on a tiny random Llama with a 6-mer tokeniser",
        True,
    ),
    _hub(
        "RaphaelMourad/Mistral-DNA-v1-422M-hg38",
        8,
        768,
        "512 tokens",
        "BPE",
        "Apache-2.0",
        NOT_RUN + "loader tested on a tiny random Mixtral with BPE",
        False,
    ),
    _evo2("evo2_1b_base", 25, 1920, "8,192 bp"),
    _evo2("evo2_7b", 32, 4096, "1,048,576 bp"),
    _evo2("evo2_40b", None, None, "1 Mb"),
)

KNOWN: dict[str, Known] = {row.name: row for row in (*_ROWS, *(Known(**row) for row in (*SCANS, *SLICES)))}
