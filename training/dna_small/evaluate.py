"""Bits per base of the shipped model beside uniform and Markov models, on what it was not trained on.

    python training/dna_small/evaluate.py --data GENOMICS --model bioterp/models/reference/dna_small \
        --cache SCRATCH --out training/dna_small/evaluation.json

Every row is scored on the same bases: known ones with at least 256 bases of context inside their own 50 kb
block, on the forward strand; regions and strands (regions.py, consistency.py) read both. Errors are standard errors
over blocks, intervals are 95 % of Student's t over blocks, and differences are paired by block.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import baselines
import consistency
import corpus
import markov
import numpy as np
import regions
import torch
from baselines import Baseline
from scoring import LENGTH, Scorer, summary
from transformers import AutoModelForCausalLM

ECOLI, HUMAN = "E. coli K-12 MG1655", "human chr21:25-26 Mb"
HELD_OUT = {ECOLI: ("bacteria/ecoli_k12_mg1655.fna.gz", 24), HUMAN: ("human/chr21_25-26M.fa.gz", 10)}
"""Genomes held out entirely: the file, and how many of its 50 kb blocks are scored, evenly spaced."""

HELD_BLOCKS = "held-out blocks, all training species"
ANNOTATION = "bacteria/ecoli_k12_mg1655.gff.gz"
BOTH_STRANDS, LOW_PRECISION = slice(None, None, 2), slice(None, None, 6)
"""Which of the E. coli blocks are also read on the reverse strand, and in bfloat16."""

WANTED = -0.03
"""Bits per base by which the model is to beat both uniform and the best Markov model of the training genomes."""


def spaced_blocks(name: str, genome: dict[str, corpus.Bases], count: int) -> list[corpus.Stretch]:
    """``count`` whole blocks, evenly spaced over all whole blocks of the genome."""
    size = corpus.BLOCK
    blocks = [
        corpus.Stretch(name, contig, start, bases[start : start + size])
        for contig, bases in genome.items()
        for start in range(0, len(bases) - size + 1, size)
    ]
    return [blocks[i] for i in np.linspace(0, len(blocks) - 1, count).round().astype(int)]


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


def compare(model: list[markov.Floats], other: list[markov.Floats]) -> dict[str, Any]:
    """Bits of a rival, and model minus rival paired by block, both on the bases that both score."""
    ours, theirs = same_rows(model, other)
    return {**summary(theirs), "model_minus_this": summary([a - b for a, b in zip(ours, theirs, strict=True)])}


def compare_fitted(model: list[markov.Floats], baseline: Baseline, blocks: list[corpus.Stretch]) -> dict[str, Any]:
    """As ``compare``, and which Markov model it is."""
    what = {"weighting": baseline.weighting, "order": baseline.order, "strength": baseline.strength}
    return {**what, **compare(model, [baseline.bits(s.bases) for s in blocks])}


def against_floor(model: list[markov.Floats], hindsight: dict[str, Any]) -> dict[str, Any]:
    """Model minus the lower of uniform and the training genomes' best Markov model.

    ``met``: it is WANTED or better, and its interval excludes 0.
    """
    rivals = {"uniform": compare(model, [np.full(len(b), 2.0) for b in model]), "markov_best_in_hindsight": hindsight}
    floor = min(rivals, key=lambda name: float(rivals[name]["bits_per_base"]))
    lead = rivals[floor]["model_minus_this"]
    clear = lead["interval_95"] is not None and lead["interval_95"][1] < 0
    return {"floor": floor, **lead, "met": bool(clear and lead["bits_per_base"] <= WANTED)}


def halo_bits(genome_bits: dict[str, markov.Floats], block: corpus.Stretch) -> markov.Floats:
    """Those of a genome's bits that lie in a block and have the halo: (bases,), NaN elsewhere."""
    out = genome_bits[block.contig][block.start : block.start + len(block.bases)].copy()
    out[: baselines.HALO] = np.nan
    return out


def by_context(scorer: Scorer, blocks: list[corpus.Stretch]) -> dict[str, float]:
    """Bits per base by the number of bases of context within a window."""
    mean = np.nanmean(np.concatenate([scorer.windows(s)[:, 1:] for s in blocks]), axis=0)
    spans = itertools.pairwise((1, 16, 64, 256, 512, LENGTH))
    return {f"{a}-{b - 1}": round(float(mean[a - 1 : b - 1].mean()), 4) for a, b in spans}


class Evaluation:
    """What every part of the evaluation needs: the data, the scorers, the blocks and the Markov models."""

    def __init__(self, data: Path, folder: Path, cache: Path, here: Path) -> None:
        self.data = data
        self.full, self.low = (scorer(folder, dtype, cache) for dtype in (torch.float32, torch.bfloat16))
        config = json.loads((here / "config.json").read_text())
        sources = corpus.read_sources(here / "data.json")
        train, held = read_split(data, sources, config)
        held = [s for s in held if len(s.bases) >= LENGTH]
        self.genomes = {name: corpus.read_genome(data / path) for name, (path, _) in HELD_OUT.items()}
        self.sets = {name: spaced_blocks(name, self.genomes[name], count) for name, (_, count) in HELD_OUT.items()}
        self.sets[HELD_BLOCKS] = held
        for source in sources:
            if mine := [s for s in held if s.source == source.name]:
                self.sets[f"held-out blocks, {source.name}"] = mine
                self.genomes[source.name] = corpus.read_genome(data / source.path)
        offered = baselines.fitted(sources, train)
        self.best = {name: baselines.best(offered, blocks) for name, blocks in self.sets.items()}
        rna = regions.genes(ECOLI, self.genomes[ECOLI], data / ANNOTATION)
        exposed = {name: self.sets[name] for name in HELD_OUT} | rna
        self.seen = baselines.common_words(exposed, [stretch for stretches in train for stretch in stretches])
        self.halves = {name: baselines.other_half(genome) for name, genome in self.genomes.items()}

    def row(self, name: str) -> dict[str, Any]:
        """One set of blocks: the model and each rival, on the same bases."""
        blocks = self.sets[name]
        bits = [self.full.bits(s) for s in blocks]
        hindsight = compare_fitted(bits, self.best[name], blocks)
        row: dict[str, Any] = {
            "blocks": len(blocks),
            "bases_scored": int(sum(np.sum(~np.isnan(b)) for b in bits)),
            "uniform": 2.0,
            "model": summary(bits),
            "markov_chosen_on_held_out": compare_fitted(bits, self.best[HELD_BLOCKS], blocks),
            "markov_best_in_hindsight": hindsight,
            "model_minus_lower_of_uniform_and_markov": against_floor(bits, hindsight),
            "order_6_of_the_other_half": compare(bits, [halo_bits(self.halves[s.source], s) for s in blocks]),
        }
        if name in HELD_OUT:
            itself = baselines.in_species(self.genomes[name], blocks, name)
            row["share_of_bases_in_31_mers_seen_in_training"] = self.seen[name]
            row["markov_of_the_species_itself"] = compare_fitted(bits, baselines.best(itself, blocks), blocks)
        return row

    def ecoli(self) -> dict[str, Any]:
        """What is measured on E. coli alone."""
        blocks, genome, annotation = self.sets[ECOLI], self.genomes[ECOLI], self.data / ANNOTATION
        both = blocks[BOTH_STRANDS]
        loci = regions.rna_loci(ECOLI, genome, annotation)
        table, order = self.best[ECOLI].table, self.best[ECOLI].order
        rivals = regions.Rivals(
            {(c, s): markov.strand_bits(table, order, bases, s) for c, bases in genome.items() for s in "+-"},
            {(c, s): bits for s in "+-" for c, bits in baselines.other_half(genome, s).items()},
        )
        parts = ((both, regions.CODING | regions.BETWEEN), (loci, regions.RNA))
        rows: dict[str, Any] = {}
        for stretches, terms in parts:
            rows |= regions.by_region(self.full, stretches, genome, annotation, rivals, terms)
        return {
            "ecoli_regions": rows,
            "ecoli_share_of_bases_in_31_mers_seen_in_training": {gene: self.seen[gene] for gene in ("tRNA", "rRNA")},
            "ecoli_reverse_complement": consistency.reverse_complement(self.full, both),
            "ecoli_bfloat16_minus_float32": consistency.precision(self.full, self.low, blocks[LOW_PRECISION]),
            "ecoli_bits_by_bases_of_context": by_context(self.full, blocks),
        }


def scorer(folder: Path, dtype: torch.dtype, cache: Path) -> Scorer:
    """The exported model in one precision."""
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:16]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    return Scorer(model, f"{weights} {dtype}", cache)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the genomics data folder (read only)")
    parser.add_argument("--model", type=Path, required=True, help="the exported folder")
    parser.add_argument("--cache", type=Path, required=True, help="a folder for scored windows, 40 MB")
    parser.add_argument("--out", type=Path, required=True, help="where to write the JSON")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.cache.mkdir(parents=True, exist_ok=True)
    evaluation = Evaluation(given.data, given.model, given.cache, Path(__file__).parent)
    sets = {}
    for name in evaluation.sets:
        sets[name] = evaluation.row(name)
        print(name, json.dumps(sets[name]), flush=True)
    found = {"sets": sets, **evaluation.ecoli()}
    beside = given.out.with_name(given.out.name + ".part")
    beside.write_text(json.dumps(found, indent=2) + "\n")
    beside.replace(given.out)


if __name__ == "__main__":
    main()
