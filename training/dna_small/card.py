"""The numbers of MODEL_CARD.md, written out from evaluation.json; a test holds the card to them.

python training/dna_small/card.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAMES = {
    "E. coli K-12 MG1655": "***E. coli* K-12 MG1655**",
    "human chr21:25-26 Mb": "**human chr21:25–26 Mb**",
    "held-out blocks, all training species": "held-out blocks, all",
    "held-out blocks, bacillus_subtilis": "– *B. subtilis*",
    "held-out blocks, staphylococcus_aureus": "– *S. aureus*",
    "held-out blocks, mycoplasma_genitalium": "– *M. genitalium*",
    "held-out blocks, yeast": "– yeast",
    "held-out blocks, arabidopsis_1pct": "– *Arabidopsis* 1 %",
    "held-out blocks, celegans_1pct": "– *C. elegans* 1 %",
}
ECOLI = "E. coli K-12 MG1655"


def signed(value: float, places: int = 4) -> str:
    """A difference, with a true minus sign."""
    return f"{value:+.{places}f}".replace("-", "−")


def mean(found: dict[str, Any], difference: bool = False) -> str:
    """A mean and its standard error over blocks, where there is one."""
    value = signed(found["bits_per_base"]) if difference else f"{found['bits_per_base']:.4f}"
    return value if found["standard_error"] is None else f"{value} ± {found['standard_error']:.4f}"


def interval(found: dict[str, Any], places: int = 4) -> str:
    """A difference and its 95 % interval."""
    low, high = (signed(end, places) for end in found["interval_95"])
    return f"{signed(found['bits_per_base'], places)} ({low} to {high})"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def sets(found: dict[str, Any]) -> str:
    """Bits per base of every set of blocks."""
    head = ["scored on (50 kb blocks)", "bases", "model", "uniform", "Markov, chosen", "Markov, hindsight"]
    head += ["order 6, other half", "model − hindsight", "model − other half"]
    rows = []
    for name, row in found["sets"].items():
        chosen, hindsight, half = (
            row[key] for key in ("markov_chosen_on_held_out", "markov_best_in_hindsight", "order_6_of_the_other_half")
        )
        cells = [f"{NAMES[name]} ({row['blocks']})", f"{row['bases_scored']:,}", mean(row["model"]), "2"]
        cells += [f"{rival['bits_per_base']:.4f}" for rival in (chosen, hindsight, half)]
        cells += [mean(rival["model_minus_this"], difference=True) for rival in (hindsight, half)]
        rows.append(cells)
    return table(head, rows)


def regions(found: dict[str, Any]) -> str:
    """Bits per base of E. coli by region."""
    head = ["region", "bases read", "stretches", "model", "Markov, hindsight", "order 6, other half"]
    head += ["model − hindsight", "model − other half"]
    rows = []
    for name, row in found["ecoli_regions"].items():
        cells = [name, f"{row['bases_read']:,}", str(row["stretches"]), mean(row["model"])]
        cells += [mean(row[key]) for key in ("markov_best_in_hindsight", "order_6_of_the_other_half")]
        for rival in ("markov_best_in_hindsight", "order_6_of_the_other_half"):
            cells.append(interval(row[f"model_minus_{rival}"]))
        rows.append(cells)
    return table(head, rows)


def floor(found: dict[str, Any]) -> str:
    """Does the model beat both uniform and the training genomes' best Markov model on E. coli?"""
    row = found["sets"][ECOLI]
    lead = row["model_minus_lower_of_uniform_and_markov"]
    return (
        f"Against the lower of uniform and *hindsight* on *E. coli* ({lead['floor']}): {interval(lead)} bits per base, "
        f"{row['blocks']} blocks. The bar, 0.03 better with an interval clear of 0, is "
        f"{'' if lead['met'] else 'not '}met."
    )


def strands(found: dict[str, Any]) -> str:
    """Agreement of the two strands."""
    here = found["ecoli_reverse_complement"]
    low, high = here["correlation_interval_95"]
    return (
        f"{here['windows']} windows of {here['bases_per_window'] + 1:,} bases from {here['blocks']} blocks: "
        f"correlation of the totals {here['correlation']:.3f} ({low:.3f} to {high:.3f}), mean absolute difference "
        f"{here['mean_absolute_difference_bits_per_window']:.1f} bits per window "
        f"({here['mean_absolute_difference_bits_per_base']:.4f} per base), where windows differ among themselves "
        f"with a standard deviation of {here['standard_deviation_between_windows_bits_per_window']:.1f} bits. "
        f"Mean bits per base forward {mean(here['forward'])}, reverse {mean(here['reverse'])}, "
        f"difference {interval(here['forward_minus_reverse'])}."
    )


def precision(found: dict[str, Any]) -> str:
    """What bfloat16 changes."""
    here = found["ecoli_bfloat16_minus_float32"]
    return (
        f"bfloat16 instead of float32 changes *E. coli* by {interval(here['change'], 6)} bits per base "
        f"({here['blocks']} blocks, {here['bases_scored']:,} bases); at a single base by "
        f"{here['mean_absolute_change_at_a_base']:.4f} on average and {here['largest_change_at_a_base']:.2f} at most."
    )


def context(found: dict[str, Any]) -> str:
    """Bits per base by the context given."""
    first, *rest = found["ecoli_bits_by_bases_of_context"].items()
    steps = ", ".join(f"{bits:.3f} ({span.replace('-', '–')})" for span, bits in rest)
    return f"By bases of context, on *E. coli*: {first[1]:.3f} ({first[0].replace('-', '–')}), {steps}."


def itself(found: dict[str, Any]) -> str:
    """The Markov model of the rest of the held-out genome."""
    told = []
    for name in list(found["sets"])[:2]:
        rival = found["sets"][name]["markov_of_the_species_itself"]
        told.append(f"{rival['bits_per_base']:.4f} (model {mean(rival['model_minus_this'], difference=True)})")
    return f"The best order fitted on all the rest of the genome: *E. coli* {told[0]}, human {told[1]}."


def homology(found: dict[str, Any]) -> str:
    """How much of what is scored stands in the training genomes word for word."""
    ecoli, human = (row["share_of_bases_in_31_mers_seen_in_training"] for row in list(found["sets"].values())[:2])
    gene = found["ecoli_share_of_bases_in_31_mers_seen_in_training"]
    return (
        f"{ecoli:.2%} of the scored *E. coli* bases and {human:.2%} of the human ones lie in a 31-mer that training "
        f"also holds; of *E. coli*'s tRNA genes {gene['tRNA']:.0%}, of its rRNA genes {gene['rRNA']:.0%}."
    ).replace("%", " %")


def passages(found: dict[str, Any]) -> list[str]:
    """All that the card must say word for word, line breaks aside."""
    return [part(found) for part in (sets, floor, itself, regions, strands, precision, context, homology)]


if __name__ == "__main__":
    print("\n\n".join(passages(json.loads(Path(__file__).with_name("evaluation.json").read_text()))))
