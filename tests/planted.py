"""A small genome whose genes are planted, its annotation, and a run.yaml on it: what the tests of whole runs share."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from tests.conftest import write_fasta

COMPLEMENT = str.maketrans("ACGT", "TGCA")
CONTIGS = {"one": 6_700, "two": 2_900}
# Letters per codon position: genes differ from what lies between them, so that there is something to find.
CODON = ([0.15, 0.15, 0.55, 0.15], [0.35, 0.2, 0.15, 0.3], [0.05, 0.45, 0.45, 0.05])
STOPS = {"TAA", "TAG", "TGA"}


def genome(contigs: dict[str, int] | None = None, seed: int = 3) -> tuple[dict[str, str], pd.DataFrame]:
    """{contig: letters} and the genes planted in them: contig, start, end (0-based half-open), strand."""
    rng = np.random.default_rng(seed)
    sequences, genes = {}, []
    for name, length in (contigs or CONTIGS).items():
        letters = rng.choice(list("ACGT"), length, p=[0.3, 0.2, 0.2, 0.3])
        at = int(rng.integers(20, 70))
        while True:
            codons = int(rng.integers(35, 90))
            end = at + 3 * codons
            if end > length - 10:
                break
            strand = "+-"[int(rng.integers(2))]
            text = gene(rng, codons)
            text = text if strand == "+" else text.translate(COMPLEMENT)[::-1]
            letters[at:end] = list(text)
            genes.append((name, at, end, strand))
            at = end + int(rng.integers(25, 140))
        sequences[name] = "".join(letters)
    return sequences, pd.DataFrame(genes, columns=["contig", "start", "end", "strand"])


def gene(rng: np.random.Generator, codons: int) -> str:
    """ATG, codons of a GC-rich third position and no stop among them, TAA."""
    found = ["ATG"]
    while len(found) < codons - 1:
        codon = "".join(rng.choice(list("ACGT"), p=p) for p in CODON)
        found += [codon] if codon not in STOPS else []
    return "".join([*found, "TAA"])


def write_gff(path: Path, genes: pd.DataFrame, contigs: dict[str, int], extra: list[str] | None = None) -> Path:
    """Gene and CDS records, 1-based closed as GFF3 has it; packed when the name ends in .gz."""
    lines = ["##gff-version 3", *(f"##sequence-region {name} 1 {size}" for name, size in contigs.items())]
    for i, (contig, start, end, strand) in enumerate(genes.itertuples(index=False)):
        head, place = f"{contig}\tplanted", f"{start + 1}\t{end}\t.\t{strand}"
        lines.append(f"{head}\tgene\t{place}\t.\tID=g{i}")
        lines.append(f"{head}\tCDS\t{place}\t0\tID=c{i};Parent=g{i}")
    text = "\n".join([*lines, *(extra or [])]) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
    else:
        path.write_text(text)
    return path


def tree(model: Path | str, **changes: Any) -> dict[str, Any]:
    """The run file as a mapping; `changes` by dotted key, e.g. **{'dictionary.k': 4}; None takes a key away."""
    made: dict[str, Any] = {
        "out": "results",
        "source": {"kind": "dna", "fasta": "genome.fa", "window": 89, "halo": 17, "blocks": 310},
        "model": {"name": str(model), "alphabet": "ACGTN"},
        "layers": [1],
        "dictionary": {"width": 41, "k": 3, "tokens": "9k", "batch": 307, "seeds": [0]},
        "labels": {"genes": {"path": "genes.gff"}},
    }
    for key, value in changes.items():
        place = made
        *above, last = key.split(".")
        for word in above:
            place = place.setdefault(word, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return made


def write_run(folder: Path, model: Path | str, **changes: Any) -> Path:
    """genome.fa, genes.gff and run.yaml in a folder (files that are there already are kept)."""
    folder.mkdir(parents=True, exist_ok=True)
    sequences, genes = genome()
    if not (folder / "genome.fa").exists():
        write_fasta(folder / "genome.fa", **sequences)
    if not (folder / "genes.gff").exists():
        write_gff(folder / "genes.gff", genes, {name: len(text) for name, text in sequences.items()})
    (folder / "run.yaml").write_text(yaml.safe_dump(tree(model, **changes), sort_keys=False))
    return folder / "run.yaml"


def tables_of(out: Path) -> dict[str, pd.DataFrame]:
    """The joined tables of a run."""
    return {file.stem: pd.read_parquet(file) for file in sorted((out / "tables").glob("*.parquet"))}


def same_tables(left: Path, right: Path) -> None:
    """Assert that two runs left the same tables: every value of every column, and the same text in the TSVs."""
    mine, theirs = tables_of(left), tables_of(right)
    assert set(mine) == set(theirs) and mine
    for name, frame in mine.items():
        pd.testing.assert_frame_equal(frame, theirs[name], check_exact=True)
        assert (left / f"tables/{name}.tsv").read_bytes() == (right / f"tables/{name}.tsv").read_bytes()


def leftovers(folder: Path) -> list[str]:
    """What a writer that was stopped leaves: temporary names, and an index that was not put in place."""
    return [str(p) for p in folder.rglob("*") if ".partial-" in p.name or ".old-" in p.name or p.name == ".index"]


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every file (bytes) and folder (None) under a folder, by relative name."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}
