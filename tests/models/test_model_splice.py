"""SpliceAI-family networks: their shapes, their flanks, and real weights on real genes."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from zoo import random_codes

from bioterp.errors import InputError
from bioterp.models import load_model


def test_a_base_sees_half_the_flank_on_either_side_and_no_more(models):
    """By finite difference on the input: the receptive field is the context the name promises."""
    model = models("openspliceai")
    codes = random_codes(200, 0)
    plain = model.run(model.prepare([codes]), ["output"])["output"][0]
    other = codes.copy()
    other[100] = (other[100] + 1) % 4
    moved = (model.run(model.prepare([other]), ["output"])["output"][0] - plain).abs().sum(1) > 0
    seen = torch.nonzero(moved)[:, 0]
    assert model.flank == 80
    assert (int(seen.min()), int(seen.max())) == (60, 140)


def test_the_ends_of_an_array_are_read_as_masked(models):
    """Real context and N beyond it give the same as an array that ends there."""
    for kind in ("openspliceai", "pangolin"):
        model = models(kind)
        codes = random_codes(90, 1)
        padded = np.concatenate([np.full(41, 4, np.uint8), codes, np.full(40, 4, np.uint8)])
        ends = model.run(model.prepare([codes]), [2, "output"])
        masked = model.run(model.prepare([padded]), [2, "output"])
        torch.testing.assert_close(ends["output"][0], masked["output"][0, 41:131])


def test_probabilities(models):
    splice, pangolin = models("openspliceai"), models("pangolin")
    assert splice.outputs == ("neither", "acceptor", "donor")
    batch = splice.prepare([random_codes(70, 0)])
    torch.testing.assert_close(splice.run(batch, ["output"])["output"].sum(2), torch.ones(1, 70))
    out = pangolin.run(pangolin.prepare([random_codes(70, 0)]), ["output"])["output"]
    assert len(pangolin.outputs) == out.shape[2] == 12
    for tissue in range(4):
        torch.testing.assert_close(out[..., 3 * tissue : 3 * tissue + 2].sum(2), torch.ones(1, 70))
    assert ((out >= 0) & (out <= 1)).all()


def test_the_name_must_fit_the_weights(entries, tmp_path):
    weights = entries("openspliceai").options["weights"]
    with pytest.raises(InputError, match=r"context of 400 nt, and the weights .* have 80"):
        load_model("openspliceai-400nt", weights=weights)
    with pytest.raises(InputError, match="no pangolin state dict"):
        load_model("pangolin", weights=weights)
    state = torch.load(weights, weights_only=True)
    for change, told in (
        ({"residual_units.1.conv2.bias": None}, "1 missing"),
        ({"extra": torch.zeros(1)}, "1 left over"),
        ({"final_conv.bias": torch.zeros(4)}, "1 of another shape"),
        ({f"residual_units.3.conv1.{p}": None for p in ("weight", "bias")}, "3 residual units"),
    ):
        changed = {key: value for key, value in {**state, **change}.items() if value is not None}
        torch.save(changed, tmp_path / "changed.pt")
        with pytest.raises(InputError, match=told):
            load_model("openspliceai", weights=tmp_path / "changed.pt")


@pytest.mark.needs_shared
def test_every_published_state_dict_loads_strictly(genomics: Path):
    folder = genomics / "models"
    for file, name, blocks in (
        ("openspliceai/mane_80nt_rs10.pt", "openspliceai-80nt", 4),
        ("openspliceai/arabidopsis_400nt_rs10.pt", "openspliceai-400nt", 8),
        ("openspliceai/mane_2000nt_rs10.pt", "openspliceai-2000nt", 12),
        ("openspliceai/mane_10000nt_rs10.pt", "openspliceai-10000nt", 16),
        ("pangolin/final.1.4.3.v2", "pangolin", 16),
    ):
        model = load_model(name, weights=folder / file)
        assert (len(model.layers), model.width(0)) == (blocks, 32)


def genome_and_sites(human: Path) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, dict[str, np.ndarray]]]:
    """chr21's piece; per strand the span of complete coding transcripts, their donors and their acceptors."""
    with gzip.open(human / "chr21_25-26M.fa.gz", "rt") as file:
        text = "".join(line.strip() for line in file if not line.startswith(">")).upper()
    table = np.full(256, 4, np.uint8)
    table[np.frombuffer(b"ACGT", np.uint8)] = range(4)
    codes = table[np.frombuffer(text.encode(), np.uint8)]
    transcripts: dict[str, tuple[str, int, int]] = {}
    exons: dict[str, list[tuple[int, int]]] = {}
    coding: set[str] = set()
    with gzip.open(human / "chr21_25-26M.ensembl.gff3.gz", "rt") as file:
        for line in file:
            if line.startswith("#"):
                continue
            _, _, kind, start, end, _, strand, _, rest = line.rstrip("\n").split("\t")
            about = dict(part.split("=", 1) for part in rest.split(";"))
            parents = about.get("Parent", "").split(",")
            if kind == "exon":
                for parent in parents:
                    exons.setdefault(parent, []).append((int(start) - 1, int(end)))
            elif kind == "CDS":
                coding.update(parents)
            elif "ID" in about and about.get("truncated") != "1":
                transcripts[about["ID"]] = (strand, int(start) - 1, int(end))
    span = {strand: np.zeros(len(codes), bool) for strand in "+-"}
    sites = {kind: {strand: np.zeros(len(codes), bool) for strand in "+-"} for kind in ("donor", "acceptor")}
    for name in coding & transcripts.keys():
        strand, start, end = transcripts[name]
        span[strand][start:end] = True
        inner = sorted(exons[name])
        for (_, left), (right, _) in itertools.pairwise(inner):
            first, last = (left - 1, right) if strand == "+" else (right, left - 1)
            sites["donor"][strand][first] = True
            sites["acceptor"][strand][last] = True
    return codes, span, sites


@pytest.mark.needs_shared
def test_openspliceai_finds_human_splice_sites(genomics: Path):
    """AP of the model's own probabilities on chr21: 0.913 for donors, 0.855 for acceptors."""
    from sklearn.metrics import average_precision_score

    codes, span, sites = genome_and_sites(genomics / "human")
    weights = genomics / "models" / "openspliceai" / "mane_400nt_rs10.pt"
    model = load_model("openspliceai-400nt", weights=weights)
    scores, truth = [], {kind: [] for kind in sites}
    for strand in "+-":
        array = codes if strand == "+" else np.where(codes < 4, 3 - codes, codes)[::-1].astype(np.uint8)
        turn = 1 if strand == "+" else -1
        inside = span[strand][::turn]
        found = np.zeros((len(array), 3), np.float32)
        for start in range(0, len(array), 8000):
            if inside[start : start + 8000].any():
                low = max(start - 200, 0)
                batch = model.prepare([array[low : start + 8200]])
                values = model.run(batch, ["output"])["output"][0].numpy()
                found[start : start + 8000] = values[start - low : start - low + 8000]
        scores.append(found[inside])
        for kind in sites:
            truth[kind].append(sites[kind][strand][::turn][inside])
    score = np.concatenate(scores)
    donor, acceptor = (np.concatenate(truth[kind]) for kind in ("donor", "acceptor"))
    assert (len(score), donor.sum(), acceptor.sum()) == (157_215, 39, 37)
    columns = [model.outputs.index(kind) for kind in ("donor", "acceptor")]
    assert average_precision_score(donor, score[:, columns[0]]) == pytest.approx(0.913, abs=0.003)
    assert average_precision_score(acceptor, score[:, columns[1]]) == pytest.approx(0.855, abs=0.003)
