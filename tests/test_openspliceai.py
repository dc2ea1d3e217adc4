"""Real weights on a real genome through `bioterp run`: the loader is right when the model's own AP is the known one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bioterp import tables
from bioterp.cli import main


@pytest.mark.slow
@pytest.mark.needs_shared
def test_splice_sites_of_chr21(genomics: Path, tmp_path: Path) -> None:
    annotation = {
        "path": str(genomics / "human" / "chr21_25-26M.ensembl.gff3.gz"),
        "terms": ["donor", "acceptor", "exon", "intron"],
        "having": "CDS",
        "exclude": {"truncated": "1"},
        "within": {"exclude": {"truncated": "1"}},  # spans of transcripts with CDS, own strand: the rest is unknown
    }
    run = {
        "out": "out",
        "source": {"kind": "dna", "fasta": str(genomics / "human" / "chr21_25-26M.fa.gz"), "window": 4096, "halo": 400},
        "model": {
            "name": "openspliceai-400nt",
            "weights": str(genomics / "models" / "openspliceai" / "mane_400nt_rs10.pt"),
        },
        "layers": [7],
        "dictionary": {"width": 256, "k": 8, "tokens": "100k"},
        "labels": {"genes": annotation},
        "analyses": ["readout", "detection", "enrichment"],
        "baselines": ["neurons"],
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    assert main(["run", str(tmp_path / "run.yaml"), "--quiet"]) == 0
    own = tables.read(tmp_path / "out" / "tables" / "readout.parquet").set_index(["output", "term"])
    assert own.loc[("donor", "donor"), ["n", "n_cells"]].tolist() == [157_215, 39]
    assert own.loc[("acceptor", "acceptor"), ["n", "n_cells"]].tolist() == [157_215, 37]
    assert own.loc[("donor", "donor"), "ap"] == pytest.approx(0.913, abs=0.003)
    assert own.loc[("acceptor", "acceptor"), "ap"] == pytest.approx(0.855, abs=0.003)
    found = tables.read(tmp_path / "out" / "tables" / "detection.parquet")
    donors = found[(found["term"] == "donor") & (found["representation"] == "dictionary")]
    # Its last residual block leads straight to the donor output: some feature of it must find donors.
    assert donors["f1"].max() > 0.3 and donors["q"].min() < 0.05
