"""Turn a run's checkpoint into the shipped folder: config.json, model.safetensors and a one-letter tokenizer.

    python training/dna_small/export.py --run RUN --out bioterp/models/reference/dna_small

Can be done while the run goes on: shapes never change, only the weights improve.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import model as dna
import torch
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, LlamaForCausalLM


def from_checkpoint(run: Path) -> tuple[LlamaForCausalLM, dict[str, str]]:
    """The model of a run, and how far it had come."""
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    config = json.loads(state["config"])
    model = dna.build(config["model"], config["seed"])
    model.load_state_dict(state["model"])
    done = state["seconds"] / (60.0 * config["budget_minutes"])
    note = {
        "steps": str(state["step"]),
        "tokens": str(state["tokens"]),
        "training_minutes": f"{state['seconds'] / 60:.1f}",
        "complete": str(done >= 1.0).lower(),
    }
    return model.eval(), note


def write_tokenizer(folder: Path) -> None:
    """A tokenizer that reads one letter at a time, either case, and takes anything but A, C, G, T for N."""
    tokenizer = Tokenizer(WordLevel(dna.VOCABULARY, unk_token="N"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(a.lower(), a) for a in "ACGTN"])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer.add_special_tokens(["<bos>", "<pad>"])
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "N",
        "bos_token": "<bos>",
        "pad_token": "<pad>",
        "model_max_length": dna.LONGEST,
        "clean_up_tokenization_spaces": False,
    }
    for name, text in (
        ("tokenizer.json", tokenizer.to_str(pretty=True)),
        ("tokenizer_config.json", json.dumps(settings, indent=2)),
    ):
        beside = folder / f"{name}.part"
        beside.write_text(text + "\n")
        beside.replace(folder / name)


@torch.no_grad()
def reload_difference(model: LlamaForCausalLM, folder: Path) -> float:
    """Largest difference in log-probability (nats) between the run's fp32 weights and the folder as a user
    loads it.
    """
    tokens = torch.randint(0, 4, (2, 512), generator=torch.Generator().manual_seed(0))
    shipped = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ours, theirs = (m(input_ids=tokens).logits.log_softmax(-1)[..., :4] for m in (model, shipped))
    return float((ours - theirs).abs().max())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    model, note = from_checkpoint(given.run)
    dna.export(model, given.out, torch.float16, note)
    write_tokenizer(given.out)
    print(note, f"largest difference after reloading: {reload_difference(model, given.out):.2g} nats")


if __name__ == "__main__":
    main()
