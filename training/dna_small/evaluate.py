"""Bits per base of the shipped model beside uniform and the best Markov model, on what it was not trained
on.

    python training/dna_small/evaluate.py --data GENOMICS --model bioterp/models/reference/dna_small \
        --out training/dna_small/evaluation.json

Every row is scored on the same bases: known ones with at least 256 bases of context inside their own 50 kb
block, on the forward strand. Errors are standard errors over blocks; the difference from the Markov model
is paired by block.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from pathlib import Path
from typing import Any

import baselines
import corpus
import markov
import numpy as np
import torch
from baselines import HALO, Baseline
from transformers import AutoModelForCausalLM, PreTrainedModel

ECOLI = ("bacteria/ecoli_k12_mg1655.fna.gz", 12)
HUMAN = ("human/chr21_25-26M.fa.gz", 10)
"""Held-out genomes: the file, and how many of its 50 kb blocks are scored, evenly spaced."""


def spaced_blocks(name: str, genome: dict[str, corpus.Bases], count: int) -> list[corpus.Stretch]:
    """``count`` whole blocks, evenly spaced over all whole blocks of the genome."""
    size = corpus.BLOCK
    blocks = [
        corpus.Stretch(name, contig, start, bases[start : start + size])
        for contig, bases in genome.items()
        for start in range(0, len(bases) - size + 1, size)
    ]
    return [blocks[i] for i in np.linspace(0, len(blocks) - 1, count).round().astype(int)]


@torch.no_grad()
def model_bits(model: PreTrainedModel, bases: corpus.Bases, length: int, halo: int, per_batch: int) -> markov.Floats:
    """Bits of every base with at least ``halo`` before it: (bases,), NaN elsewhere and at N.

    Windows of ``length`` overlap by ``halo``; the last one is pulled back to end with the block, and a base
    is scored once, by the first window that reaches it.
    """
    tokens = torch.from_numpy(bases.astype(np.int64))
    starts = [min(s, len(bases) - length) for s in range(0, len(bases) - halo, length - halo)]
    out = np.full(len(bases), np.nan)
    for i in range(0, len(starts), per_batch):
        some = starts[i : i + per_batch]
        windows = torch.stack([tokens[s : s + length] for s in some])
        logp = model(input_ids=windows, use_cache=False).logits[:, :-1].float().log_softmax(-1)
        nats = -logp.gather(-1, windows[:, 1:, None])[..., 0].double().numpy()
        for start, row in zip(some, nats, strict=True):
            here = slice(start + halo, start + length)
            fresh = np.isnan(out[here])
            out[here][fresh] = row[halo - 1 :][fresh] / math.log(2)
    out[bases >= corpus.N] = np.nan
    return out


def summary(per_block: list[markov.Floats]) -> dict[str, float | None]:
    """Mean over all scored bases, and its standard error from the blocks' means (None for a single block)."""
    means = np.array([np.nanmean(block) for block in per_block])
    weights = np.array([np.sum(~np.isnan(block)) for block in per_block], dtype=np.float64)
    mean = float(np.average(means, weights=weights))
    error = round(float(means.std(ddof=1)) / math.sqrt(len(means)), 4) if len(means) > 1 else None
    return {"bits_per_base": round(mean, 4), "standard_error": error}


def read_split(
    data: Path, sources: list[corpus.Source], config: dict[str, Any]
) -> tuple[list[list[corpus.Stretch]], list[corpus.Stretch]]:
    """Training stretches, source by source, and all held-out blocks, exactly as training split them."""
    train: list[list[corpus.Stretch]] = []
    held: list[corpus.Stretch] = []
    for source in sources:
        genome = corpus.read_genome(data / source.path, source.sha256)
        stretches, kept = corpus.split(source.name, genome, config["held_out_share"], config["seed"])
        train.append(stretches)
        held += kept
    return train, held


def same_rows(
    model: list[markov.Floats], other: list[markov.Floats]
) -> tuple[list[markov.Floats], list[markov.Floats]]:
    """Both, with NaN wherever either is NaN, so that they are averaged over the same bases."""
    gaps = [np.isnan(a) | np.isnan(b) for a, b in zip(model, other, strict=True)]
    blank = [np.where(gap, np.nan, 0.0) for gap in gaps]
    return [a + z for a, z in zip(model, blank, strict=True)], [b + z for b, z in zip(other, blank, strict=True)]


def compare(model: list[markov.Floats], baseline: Baseline, blocks: list[corpus.Stretch]) -> dict[str, Any]:
    """One table entry for a baseline: what it is, its bits, and model minus baseline paired by block."""
    ours, theirs = same_rows(model, [baseline.bits(s.bases) for s in blocks])
    return {
        "weighting": baseline.weighting,
        "order": baseline.order,
        "strength": baseline.strength,
        **summary(theirs),
        "model_minus_this": summary([a - b for a, b in zip(ours, theirs, strict=True)]),
    }


def by_context(model: PreTrainedModel, blocks: list[corpus.Stretch]) -> dict[str, float]:
    """Bits per base by the number of bases of context, windows of 2,048 (twice what was trained) from block
    starts.
    """
    edges = (0, 1, 16, 64, 256, 512, 1024, 1536, 2048)
    total = np.zeros(2048)
    seen = np.zeros(2048)
    for stretch in blocks:
        for start in range(0, len(stretch.bases) - 2048, 8192):
            bits = model_bits(model, stretch.bases[start : start + 2048], 2048, 1, 1)
            total += np.nan_to_num(bits)
            seen += ~np.isnan(bits)
    spans = itertools.pairwise(edges[1:])
    return {f"{a}-{b - 1}": round(float(total[a:b].sum() / seen[a:b].sum()), 4) for a, b in spans}


def evaluate(data: Path, folder: Path, here: Path) -> dict[str, Any]:
    """The whole evaluation, as JSON-ready values."""
    config = json.loads((here / "config.json").read_text())
    sources = corpus.read_sources(here / "data.json")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    train, held = read_split(data, sources, config)
    offered = baselines.fitted(sources, train)
    every = [stretch for stretches in train for stretch in stretches]
    held = [s for s in held if len(s.bases) >= 1024]
    chosen = baselines.best(offered, held)
    print(
        f"Markov chosen on held-out blocks: order {chosen.order}, {chosen.strength}, {chosen.weighting}",
        flush=True,
    )

    genomes = {"E. coli K-12 MG1655": ECOLI, "human chr21:25-26 Mb": HUMAN}
    sets: dict[str, list[corpus.Stretch]] = {}
    landmarks: dict[str, list[Baseline]] = {}
    for name, (path, count) in genomes.items():
        genome = corpus.read_genome(data / path)
        sets[name] = spaced_blocks(name, genome, count)
        landmarks[name] = baselines.in_species(genome, sets[name], name)
    sets["held-out blocks, all training species"] = held
    for source in sources:
        mine = [s for s in held if s.source == source.name]
        if mine:
            sets[f"held-out blocks, {source.name}"] = mine

    scored: dict[tuple[str, str, int], markov.Floats] = {}
    results: dict[str, Any] = {}
    for name, blocks in sets.items():
        for s in blocks:
            key = (s.source, s.contig, s.start)
            if key not in scored:
                scored[key] = model_bits(model, s.bases, 1024, HALO, 8)
        bits = [scored[s.source, s.contig, s.start] for s in blocks]
        row: dict[str, Any] = {
            "blocks": len(blocks),
            "bases_scored": int(sum(np.sum(~np.isnan(b)) for b in bits)),
            "uniform": 2.0,
            "model": summary(bits),
            "markov_chosen_on_held_out": compare(bits, chosen, blocks),
            "markov_best_in_hindsight": compare(bits, baselines.best(offered, blocks), blocks),
        }
        if name in landmarks:
            row["share_of_bases_in_31_mers_seen_in_training"] = baselines.common_words(blocks, every)
            row["markov_of_the_species_itself"] = compare(bits, baselines.best(landmarks[name], blocks), blocks)
        results[name] = row
        print(name, json.dumps(row), flush=True)
    context = by_context(model, sets["E. coli K-12 MG1655"])
    print("by context", context, flush=True)
    return {"sets": results, "ecoli_bits_by_bases_of_context": context}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the genomics data folder (read only)")
    parser.add_argument("--model", type=Path, required=True, help="the exported folder")
    parser.add_argument("--out", type=Path, required=True, help="where to write the JSON")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found = evaluate(given.data, given.model, Path(__file__).parent)
    beside = given.out.with_name(given.out.name + ".part")
    beside.write_text(json.dumps(found, indent=2) + "\n")
    beside.replace(given.out)


if __name__ == "__main__":
    main()
