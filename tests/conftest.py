"""What the tests share: where real data lie, and how to ask for them."""

from __future__ import annotations

import os
from pathlib import Path

# One thread per worker, set before numpy or torch load: tests run side by side on few cores.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import pytest  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("BIOTERP_SHARED", ROOT.parent / "shared")) / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stress", action="store_true", help="also the tests that take minutes of generated input")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--stress"):
        for item in items:
            if "stress" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes; --stress runs it"))


@pytest.fixture(scope="session")
def genomics() -> Path:
    """The folder of real genomes, annotations and weights; the test is skipped where it is absent."""
    if not (SHARED / "genomics").is_dir():
        pytest.skip("real genomics data are not here (set BIOTERP_SHARED to the folder that holds data/)")
    return SHARED / "genomics"


@pytest.fixture(scope="session")
def warm():
    """The process that forks runs to be killed, starved or spoilt (tests/faulty.py)."""
    from tests.faulty import Warm

    made = Warm()
    yield made
    made.close()


def tiny_llama(folder: Path) -> Path:
    """A transformers folder with a tiny random causal model of single bases (3 blocks, 24 channels, 128 tokens)."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(11)
        config = LlamaConfig(vocab_size=7, max_position_embeddings=128, initializer_range=0.3, **sizes)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformers folder with a tiny random causal model of single bases (3 blocks, 24 channels, 128 tokens)."""
    return tiny_llama(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture
def tiny_model(tiny_model_folder: Path):
    from bioterp.models import load_model

    return load_model(str(tiny_model_folder), alphabet="ACGTN")


def write_fasta(path: Path, **contigs: str) -> Path:
    """A FASTA file with lines of 61 letters."""
    lines = []
    for name, letters in contigs.items():
        lines += [f">{name} a contig", *(letters[i : i + 61] for i in range(0, len(letters), 61))]
    path.write_text("\n".join(lines) + "\n")
    return path


def random_dna(n: int, seed: int = 0) -> str:
    import numpy as np

    return "".join(np.random.default_rng(seed).choice(list("ACGT"), n))
