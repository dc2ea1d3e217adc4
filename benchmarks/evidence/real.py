"""The evidence tables on real genomes, scored on held-out blocks: 400 kb of E. coli and 160 kb of three others.

    python benchmarks/evidence/real.py run --case ecoli --data FOLDER --out results/real      # again: goes on
    python benchmarks/evidence/real.py table --out results/real                               # every case that is done

FOLDER holds bacteria/, eukaryote/ and human/. A case is an ordinary run of bioterp/dna-small: both strands, layer 5, a
TopK dictionary of 1,024 features, one seed, four baselines, blocks of 5 kb (E. coli: 10), what was found adjusted for
GC and codon phase, and probes.
Beside the annotation stand two labels that every codon tells, known inside CDS alone: `replaced` (each other base
there is another amino acid, as missense variants are) and `fourfold` (none is).
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from Bio import SeqIO
from Bio.Data.CodonTable import unambiguous_dna_by_id

from bioterp.cli import main as bioterp
from bioterp.report.adjustment import of_best
from bioterp.report.best import best_per_term, excess
from bioterp.report.probes import answers, tally
from bioterp.report.tally import in_words, tallies

CODONS = ["CDS", "CDS.phase0", "CDS.phase1", "CDS.phase2", "start_codon", "stop_codon"]
EXONS = ["exon", "intron", "donor", "acceptor", "five_prime_UTR", "three_prime_UTR", "intergenic"]
WHOLE = ["gene", "exon", "CDS", "five_prime_UTR", "three_prime_UTR"]
CODE = unambiguous_dna_by_id[1]


@dataclass(frozen=True)
class Case:
    """A genome, its annotation, where to read it, and what to look for there."""

    fasta: str
    genes: str
    regions: tuple[tuple[str, int, int], ...]
    terms: list[str]
    seed: int  # the lowest at which valid and test have six blocks each
    blocks: str = "5kb"
    more: dict[str, Any] = field(default_factory=dict)


CASES = {
    "ecoli": Case(
        "bacteria/ecoli_k12_mg1655.fna.gz",
        "bacteria/ecoli_k12_mg1655.gff.gz",
        (("NC_000913.3", 0, 400_000),),
        [*CODONS, "intergenic"],
        0,
        "10kb",
    ),
    "yeast": Case(
        "eukaryote/scerevisiae_R64-1-1.fa.gz",
        "eukaryote/scerevisiae_R64-1-1.96.gtf.gz",
        (("I", 60_000, 140_000), ("VI", 80_000, 160_000)),
        [*CODONS, "intergenic"],
        0,
    ),
    "arabidopsis": Case(
        "eukaryote/arabidopsis_1pct.fa.gz",
        "eukaryote/arabidopsis_1pct.gff3.gz",
        (("Chr1", 0, 160_000),),
        [*CODONS, *EXONS],
        4,
        more={"types": [*WHOLE, "mRNA"]},
    ),
    "chr21": Case(
        "human/chr21_25-26M.fa.gz",
        "human/chr21_25-26M.ensembl.gff3.gz",
        (("chr21_25000001_26000000", 580_000, 740_000),),
        ["CDS", "CDS.phase0", "CDS.phase1", "CDS.phase2", *EXONS],
        1,
        more={"types": [*WHOLE, "transcript"], "having": "CDS"},
    ),
}


def coding(path: Path) -> Iterator[tuple[str, str, list[int]]]:
    """(contig, strand, bases in reading order from the first whole codon on) of every coding transcript."""
    parts: dict[tuple[str, str, str], list[tuple[int, int, int]]] = {}
    with gzip.open(path, "rt") as file:
        for line in file:
            told = line.rstrip("\n").split("\t")
            if len(told) == 9 and told[2] == "CDS" and "pseudo=true" not in told[8]:
                gtf = 'transcript_id "' in told[8]
                words = told[8].split('transcript_id "')[1].split('"')[0] if gtf else told[8].split("Parent=")[1]
                owner = words.split(";")[0].split(",")[0]
                parts.setdefault((told[0], told[6], owner), []).append((int(told[3]) - 1, int(told[4]), int(told[7])))
    for (contig, strand, _), pieces in parts.items():
        forward = strand == "+"
        pieces.sort(reverse=not forward)
        bases = [at for lo, hi, _ in pieces for at in (range(lo, hi) if forward else range(hi - 1, lo - 1, -1))]
        yield contig, strand, bases[pieces[0][2] :]


def kinds(fasta: Path, genes: Path, case: Case) -> tuple[pd.DataFrame, pd.DataFrame]:
    """BED columns of the bases where any change, or none, changes the amino acid; and of all coding bases."""
    wanted = {contig: [(lo, hi) for c, lo, hi in case.regions if c == contig] for contig, _, _ in case.regions}
    with gzip.open(fasta, "rt") as file:
        letters = {one.id: str(one.seq).upper() for one in SeqIO.parse(file, "fasta") if one.id in wanted}
    turn = str.maketrans("ACGT", "TGCA")
    told: dict[tuple[str, str, int], set[str]] = {}
    for contig, strand, bases in coding(genes):
        if not any(lo < max(bases) and hi > min(bases) for lo, hi in wanted.get(contig, ())):
            continue
        own = "".join(letters[contig][at] for at in bases)
        own = own if strand == "+" else own.translate(turn)
        for first in range(0, len(bases) - 2, 3):
            codon = own[first : first + 3]
            if set(codon) - set("ACGT"):
                continue
            for place in range(3):
                same = sum(
                    CODE.forward_table.get(codon[:place] + base + codon[place + 1 :], "*")
                    == CODE.forward_table.get(codon, "*")
                    for base in "ACGT"
                )
                kind = {1: "replaced", 4: "fourfold"}.get(same, "other")
                told.setdefault((contig, strand, bases[first + place]), set()).add(kind)
    rows = [(c, at, at + 1, next(iter(kind)), 0, s) for (c, s, at), kind in sorted(told.items()) if len(kind) == 1]
    known = pd.DataFrame(rows, columns=["contig", "start", "end", "name", "score", "strand"])
    return known[known["name"] != "other"], known.assign(name="known")


def run_file(name: str, data: Path, out: Path) -> Path:
    """Write the run.yaml of a case and the BED files it reads, and say where."""
    case, folder = CASES[name], out / name
    folder.mkdir(parents=True, exist_ok=True)
    sites, known = kinds(data / case.fasta, data / case.genes, case)
    region = pd.DataFrame(case.regions)
    for table, stem in ((sites, "sites"), (known, "known"), (region, "regions")):
        table.to_csv(folder / f"{stem}.bed", sep="\t", header=False, index=False)
    within = str(folder.resolve() / "known.bed")
    tree = {
        "out": str(folder.resolve() / "run"),
        "source": {
            "kind": "dna",
            "fasta": str((data / case.fasta).resolve()),
            "regions": str(folder.resolve() / "regions.bed"),
            "window": 767,
            "halo": [256, 0],
            "blocks": case.blocks,
        },
        "model": {"name": "bioterp/dna-small"},
        "layers": [5],
        "dictionary": {"kind": "topk", "width": 1024, "k": 16, "tokens": "400k", "seeds": [0]},
        "labels": {
            "genes": {"path": str((data / case.genes).resolve()), "terms": case.terms, **case.more},
            "sites": {"path": str(folder.resolve() / "sites.bed"), "by": "name", "strand": "sense", "within": within},
        },
        "analyses": ["detection", "enrichment", "adjusted", "probing"],
        "adjust": ["gc", "phase"],
        "baselines": ["neurons", "pca", "random-directions", "composition"],
        "exports": ["tsv", "parquet"],
        "seed": case.seed,
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def run(name: str, data: Path, out: Path) -> None:
    """One case; seconds of every call that it took are kept, so that a run in pieces is told whole."""
    status = bioterp(["run", str(run_file(name, data, out))])
    if status:
        sys.exit(status)
    used = resource.getrusage(resource.RUSAGE_SELF)
    took = out / name / "took.json"
    before = json.loads(took.read_text()) if took.exists() else []
    took.write_text(json.dumps([*before, used.ru_utime + used.ru_stime]))


def line(*cells: object) -> None:
    print("|", " | ".join(map(str, cells)), "|")


def span(row: pd.Series, value: str, lo: str, hi: str, digits: int = 2) -> str:
    """'0.41 (0.33, 0.49)', a dash where nothing is known."""
    if pd.isna(row[value]):
        return "–"
    inside = "" if pd.isna(row[lo]) else f" ({row[lo]:.{digits}f}, {row[hi]:.{digits}f})"
    return f"{row[value]:.{digits}f}{inside}".replace("-", "−")


def table(name: str, out: Path) -> None:
    """What a case found, as markdown."""
    folder = out / name / "run" / "tables"
    held = {path.stem: pd.read_parquet(path) for path in folder.glob("*.parquet")}
    best = best_per_term(held["detection"])
    mine = best[best["representation"] == "dictionary"]
    mine = mine.assign(above=excess(mine)).sort_values("above", ascending=False)
    took = sum(json.loads((out / name / "took.json").read_text()))
    tested = held["detection"][(held["detection"]["representation"] == "dictionary") & held["detection"]["q"].notna()]
    many = int((tested["q"] <= 0.05).sum())
    print(
        f"\n**{name}** ({took:.0f} CPU s). {len(mine)} terms scored, {(mine['q'] <= 0.05).sum()} with a best feature at"
    )
    print(f"q ≤ 0.05; of {len(tested)} pairs tested {many}. Against baselines:\n")
    for one in tallies(held["comparison"]):
        print(f"* {one.baseline}: {in_words(one)}")
    print(f"* {tally(answers(held['probe_comparison'], held['probing']))}\n")
    head = held["headline"].set_index("term")
    fixed = of_best(held, mine)
    fixed = fixed[fixed["main"].astype(bool)].set_index("term")
    line(
        "term",
        "instances",
        "F1",
        "above chance",
        "q",
        "p within blocks",
        "log2 odds crude",
        "within strata",
        "AUROC crude → within",
        "fixed alone",
        "verdict",
    )
    line("---", *["---:"] * 9, "---")
    for _, row in mine.iterrows():
        term = row["term"]
        claim, adj = (frame.loc[term] if term in frame.index else None for frame in (head, fixed))
        line(
            term,
            f"{row['n_instances']:.0f}{'*' if row['split'] != 'test' else ''}",
            span(row, "f1", "f1_lo", "f1_hi"),
            f"{row['above']:.2f}" if claim is None else span(claim, "above", "above_lo", "above_hi"),
            f"{row['q']:.1g}",
            "–" if claim is None or pd.isna(claim["p_local"]) else f"{claim['p_local']:.1g}",
            "–" if adj is None else span(adj, "log2_odds_crude", "crude_lo", "crude_hi"),
            "–" if adj is None else span(adj, "log2_odds", "lo", "hi"),
            "–" if adj is None or pd.isna(adj["auroc"]) else f"{adj['auroc_crude']:.2f} → {adj['auroc']:.2f}",
            "–" if adj is None or pd.isna(adj["covariates_auroc"]) else f"{adj['covariates_auroc']:.2f}",
            "–" if adj is None else adj["verdict"],
        )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--case", choices=tuple(CASES))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    names = [given.case] if given.case else list(CASES)
    for name in names:
        if given.what == "run":
            run(name, given.data, given.out)
        elif (given.out / name / "took.json").exists():
            table(name, given.out)


if __name__ == "__main__":
    main()
