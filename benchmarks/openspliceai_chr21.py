"""OpenSpliceAI 400 nt on 1 Mb of human chr21, through `bioterp run`: its own AP, and what its layers' features mean.

    python benchmarks/openspliceai_chr21.py --data SHARED/data/genomics --out results/chr21

Rows are both strands of the whole megabase; the annotation is known inside the spans of coding transcripts that are
not cut by the edge, on their own strand, and unknown elsewhere.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from bioterp.cli import main


def run_file(data: Path, out: Path) -> Path:
    """Writes the run.yaml and says where."""
    annotation = {
        "path": str((data / "human" / "chr21_25-26M.ensembl.gff3.gz").resolve()),
        "terms": ["donor", "acceptor", "exon", "intron"],
        "having": "CDS",
        "exclude": {"truncated": "1"},
        "within": {"exclude": {"truncated": "1"}},
    }
    weights = data / "models" / "openspliceai" / "mane_400nt_rs10.pt"
    fasta = data / "human" / "chr21_25-26M.fa.gz"
    tree = {
        "out": str(out.resolve()),
        "source": {"kind": "dna", "fasta": str(fasta.resolve()), "window": 4096, "halo": 400},
        "model": {"name": "openspliceai-400nt", "weights": str(weights.resolve())},
        "layers": [1, 4, 7],
        "dictionary": {"kind": "topk", "width": 512, "k": 8, "tokens": "1M", "seeds": [0, 1, 2]},
        "labels": {"genes": annotation},
        "analyses": ["readout", "detection", "enrichment", "adjusted", "probing"],
        "adjust": ["gc", "kmer"],
        "exports": ["tsv", "bigwig"],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    path = out.parent / f"{out.name}.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    sys.exit(main(["run", str(run_file(given.data, given.out))]))
