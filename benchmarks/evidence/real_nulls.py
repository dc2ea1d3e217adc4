"""Real nulls: codes of yeast chromosome I against the annotation of other chromosomes, and its own read backwards.

    python benchmarks/evidence/real_nulls.py FOLDER --work work --pieces 40 --out real.tsv     # again: goes on
    python benchmarks/evidence/calibration.py table real.tsv

FOLDER holds genomics/. Codes: bioterp/dna-small, layer 3, of both strands of chromosome I, a TopK dictionary fitted to
them. Every other chromosome gives one annotation after another, moved onto these bases: its genes, codons and starts
have the lengths, gaps and periods of real ones, and these codes have not seen them. Reversed: base p stands at
L − 1 − p, on the same strand.
"""

from __future__ import annotations

import argparse
import gzip
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from nulls import NAMES, p_values

import bioterp as bt
from bioterp.rows import Rows

BLOCK, WINDOW, HALO = 10_000, 767, [256, 0]
TERMS = ("gene", "CDS", "CDS.phase0", "CDS.phase2", "start_codon", "between")


def masks_of(gtf: Path, least: dict[str, int]) -> dict[str, dict[str, np.ndarray]]:
    """{chromosome: {term: (2, length) bool}} of a GTF, codon phases from the frame column.

    A GTF says no lengths: a chromosome ends with its last record, or at `least` bases.
    """
    with gzip.open(gtf, "rt") as file:
        lines = [line.split("\t") for line in file if not line.startswith("#")]
    found: dict[str, dict[str, np.ndarray]] = {}
    for name in {line[0] for line in lines} - {"Mito"}:
        own = [line for line in lines if line[0] == name]
        size = max(least.get(name, 0), *(int(line[4]) for line in own))
        terms = {term: np.zeros((2, size), bool) for term in TERMS}
        for line in own:
            kind, start, stop, strand = line[2], int(line[3]) - 1, int(line[4]), int(line[6] == "-")
            if kind in terms:
                terms[kind][strand, start:stop] = True
            if kind == "CDS":
                first = start + int(line[7]) if strand == 0 else stop - 1 - int(line[7])
                for phase in (0, 2):
                    cells = range(first + phase, stop, 3) if strand == 0 else range(first - phase, start - 1, -3)
                    terms[f"CDS.phase{phase}"][strand, list(cells)] = True
        terms["between"][:] = ~terms["gene"].any(0)
        found[name] = terms
    return found


def codes_of(folder: Path, work: Path) -> tuple[Rows, object]:
    """Rows and codes (rows, features) of chromosome I."""
    fasta = folder / "genomics/eukaryote/scerevisiae_R64-1-1.fa.gz"
    source = bt.DNA(fasta, window=WINDOW, halo=HALO, contigs=["I"], blocks=BLOCK)
    acts = bt.activations(source, bt.load_model("bioterp/dna-small"), layers=[3], out=work)[3]
    sae = bt.fit(acts.split("train"), width=1_024, k=16, seed=0, tokens=300_000)
    return acts.rows, sae.encode(acts).read(0, len(acts.rows))


def laid(rows: Rows, codes: object, length: int) -> list[np.ndarray]:
    """(2, length) bool of every feature active in 0.01 % to 40 % of the cells."""
    item, start, _ = rows.cells()
    place = (rows.affines[item, 0, 0] < 0) * length + start
    columns = codes.tocsc()
    found = []
    for f in range(columns.shape[1]):
        active = columns.indices[columns.indptr[f] : columns.indptr[f + 1]]
        if 1e-4 < len(active) / columns.shape[0] < 0.4:
            mask = np.zeros(2 * length, bool)
            mask[place[active]] = True
            found.append(mask.reshape(2, length))
    return found


def score(features: list[np.ndarray], gtf: Path, pieces: int, per_term: int, backwards: int, out: Path) -> None:
    """One line per pair, appended as they come; pairs are drawn by a fixed seed, and those that are there left out."""
    length = features[0].shape[1] // BLOCK * BLOCK
    annotation = masks_of(gtf, {"I": length})
    own = {term: mask[:, :length][:, ::-1] for term, mask in annotation.pop("I").items()}
    stretches = [
        (name, at) for name, terms in annotation.items() for at in range(0, terms["CDS"].shape[1] - length + 1, length)
    ]
    drawn = [stretches[i] for i in np.random.default_rng(3).permutation(len(stretches))[:pieces]]
    sets = [(name, {t: m[:, at : at + length] for t, m in annotation[name].items()}, per_term) for name, at in drawn]
    sets += [("reversed", own, backwards)]
    done = out.read_text().count("\n") - 1 if out.exists() else 0
    with open(out, "a") as file:
        if file.tell() == 0:
            print("case", "feature", "term", *NAMES, "cpu_s", "piece", sep="\t", file=file)
        for piece, (name, terms, many) in enumerate(sets):
            for k, term in enumerate(TERMS):
                rng = np.random.default_rng([3, piece, k])
                for f in rng.integers(0, len(features), many):
                    done -= 1
                    if done >= 0:
                        continue
                    began = time.process_time()
                    found = p_values(rng, features[f][:, :length], terms[term], BLOCK)
                    case = "reversed" if name == "reversed" else "other chromosomes"
                    seconds = time.process_time() - began
                    print(case, "codes", term, *found.values(), seconds, piece, sep="\t", file=file, flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, default=Path("real_nulls"), help="where activations are kept")
    parser.add_argument("--pieces", type=int, default=40)
    parser.add_argument("--per-term", type=int, default=4)
    parser.add_argument("--backwards", type=int, default=32, help="pairs per term with the reversed annotation")
    parser.add_argument("--out", type=Path, default=Path("real.tsv"))
    given = parser.parse_args()
    rows, codes = codes_of(given.folder, given.work)
    features = laid(rows, codes, int(rows.extents()[1].max()))
    score(
        features,
        given.folder / "genomics/eukaryote/scerevisiae_R64-1-1.96.gtf.gz",
        given.pieces,
        given.per_term,
        given.backwards,
        given.out,
    )


if __name__ == "__main__":
    main()
