"""Dictionaries spliced into their models: against forwards by hand, the planted ends of the scale, and whole runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import torch
from scipy.special import log_softmax
from scipy.stats import t as student

import bioterp as bt
from bioterp import config, summary, tables
from bioterp.dictionary import Dictionary
from bioterp.errors import InputError
from bioterp.models import load_model
from bioterp.quality import layer_of, quality_report
from bioterp.quality.splicing import MEAN, ZERO, Outcome, Spliced
from bioterp.report import report
from bioterp.study import Study
from tests.analyses.test_fidelity import both_ways, silent
from tests.conftest import write_fasta
from tests.planted import leftovers, same_tables, snapshot, tables_of, write_run

WORD = "ACGTTGCAAGGCTTAC"
LETTERS = "ACGTN"
TURN = str.maketrans("ACGT", "TGCA")
WINDOW, HALO, LENGTH = 53, 11, 2_011


def dna(length: int = LENGTH) -> str:
    """A repeated word with one base in nine changed: a model can learn it, and is unsure now and then."""
    rng = np.random.default_rng(6)
    letters = np.array(list((WORD * (length // len(WORD) + 1))[:length]))
    changed = rng.random(length) < 1 / 9
    letters[changed] = rng.choice(list("ACGT"), changed.sum())
    letters[700:705] = "N"
    return "".join(letters)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny causal model that learned both strands of `dna`, so that taking a layer away costs it bits."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "learned"
    sizes = {"hidden_size": 20, "intermediate_size": 36, "num_hidden_layers": 2, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = LlamaForCausalLM(LlamaConfig(vocab_size=7, max_position_embeddings=128, **sizes))
        text = dna().replace("N", "A")
        ids = [torch.tensor([LETTERS.index(b) for b in one]) for one in (text, text[::-1].translate(TURN))]
        optimizer = torch.optim.Adam(network.parameters(), 2e-2)
        for step in range(60):
            rows = torch.stack([ids[i % 2][97 * (step + i) % 1900 :][:64] for i in range(12)])
            optimizer.zero_grad()
            network(input_ids=rows, labels=rows).loss.backward()
            optimizer.step()
        network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def read(learned: Path, tmp_path_factory: pytest.TempPathFactory):
    """(model, source, activations of layer 0, their mean over the rows of test)."""
    folder = tmp_path_factory.mktemp("read")
    source = bt.DNA(write_fasta(folder / "a.fa", one=dna()), window=WINDOW, halo=(HALO, 0), blocks=60)
    model = load_model(str(learned), alphabet=LETTERS)
    acts = bt.activations(source, model, [0], folder / "acts")[0]
    return model, source, acts, acts.split("test").read().mean(0, dtype=np.float64)


def rough(d: int, seed: int = 2) -> Dictionary:
    """A dictionary that keeps the six largest of its channels' both ways, and so loses some of the rest."""
    perfect = both_ways(d)
    zero = np.zeros(d, np.float32)
    about = {"seed": seed, "dictionary": "rough", "layer": "0"}
    return Dictionary(perfect.encoder, perfect.decoder, perfect.b_enc, zero, zero, k=6, about=about)


# ---------------------------------------------------------------------- planted ends of the scale


def test_a_perfect_dictionary_and_a_silent_one(read) -> None:
    model, source, acts, mean = read
    table = quality_report(both_ways(20), acts, model, source, [silent(20, mean)])["dictionaries"]
    perfect, none = table.iloc[0], table.iloc[1]
    assert perfect["fvu"] == 0 and perfect["kl"] == 0 and perfect["loss_spliced"] == perfect["loss_clean"]
    assert perfect["recovered_mean"] == perfect["recovered_zero"] == 1
    # Without any code a dictionary gives the mean of its rows: it is the anchor, not just near it.
    assert none["fvu"] == pytest.approx(1, abs=1e-9) and none["recovered_mean"] == 0
    assert none["loss_spliced"] == none["loss_mean"] and none["kl"] == none["kl_mean"] > 0.1
    assert none["loss_clean"] < 1.5 < none["loss_zero"] and none["loss"].startswith("next-token")
    assert not perfect["note"] and none["note"].startswith("100% of its features are active in no row")


def test_loss_and_kl_are_those_of_forwards_written_out(read) -> None:
    """transformers alone, with a hook and tokens of its own; only which windows are read is taken from the source."""
    model, source, acts, mean = read
    sae = rough(20)
    line = quality_report(sae, acts, model, source)["dictionaries"].iloc[0]

    def reconstruct(x: np.ndarray) -> np.ndarray:
        kept = np.zeros_like(x)
        both = np.concatenate([x, -x], 1)
        for i, row in enumerate(both):
            for j in sorted(range(40), key=lambda j: -row[j])[:6]:
                kept[i, j % 20] += max(row[j], 0) * (1 if j < 20 else -1)
        return kept

    network, sequence = model.module, dna()
    replace = {"clean": lambda x: x, "spliced": reconstruct, "mean": lambda x: x * 0 + mean, "zero": lambda x: x * 0}
    sums, cells = {name: [0.0, 0.0] for name in replace}, 0
    for record in source.items[source.items["split"] == "test"].to_dict("records"):
        lo, hi = record["start"], record["end"]
        forward = record["strand"] == "+"
        total = WINDOW + HALO
        first = min(max(0, lo - (HALO if forward else 0)), LENGTH - total)
        text = sequence[first : first + total]
        core = range(lo - first, hi - first)
        if not forward:
            text = text[::-1].translate(TURN)
            core = range(total - (hi - first), total - (lo - first))
        ids = torch.tensor([[LETTERS.index(b) for b in text]])
        logs = {}
        for name, change in replace.items():

            def hook(_m, _i, out, change=change):
                hidden = out[0] if isinstance(out, tuple) else out
                new = torch.tensor(change(hidden[0].numpy().astype(np.float32)), dtype=torch.float32)[None]
                return (new, *out[1:]) if isinstance(out, tuple) else new

            handle = network.model.layers[0].register_forward_hook(hook)
            with torch.no_grad():
                logs[name] = log_softmax(network(input_ids=ids).logits[0].numpy().astype(np.float64), axis=1) / np.log(
                    2
                )
            handle.remove()
        for cell in core:
            if cell == 0 or text[cell] == "N":
                continue
            cells += 1
            clean = logs["clean"][cell - 1]
            for name, found in logs.items():
                sums[name][0] -= found[cell - 1][LETTERS.index(text[cell])]
                sums[name][1] += np.sum(2**clean * (clean - found[cell - 1]))
    assert line["n_spliced"] == cells
    for name, (loss, kl) in sums.items():
        assert line[f"loss_{name}"] == pytest.approx(loss / cells, rel=1e-4)
        if name != "clean":
            assert line["kl" if name == "spliced" else f"kl_{name}"] == pytest.approx(kl / cells, rel=1e-3)
    loss = {name: found[0] for name, found in sums.items()}
    for anchor in ("mean", "zero"):
        value = (loss[anchor] - loss["spliced"]) / (loss[anchor] - loss["clean"])
        assert line[f"recovered_{anchor}"] == pytest.approx(value, rel=1e-3)
        assert line[f"recovered_{anchor}_lo"] < value < line[f"recovered_{anchor}_hi"]


def test_the_interval_of_loss_recovered_deletes_blocks() -> None:
    rng = np.random.default_rng(8)
    g, cells = 6, rng.integers(50, 90, 6)
    clean = cells * rng.uniform(1.7, 1.9, g)
    spliced, ablated = clean + cells * rng.uniform(0, 0.02, g), clean + cells * rng.uniform(0.1, 0.2, g)
    none = np.zeros(g)
    found = Spliced("next-token", cells, clean, np.zeros(7))
    found.outcomes = {"a": Outcome(spliced, none, none), MEAN: Outcome(ablated, none, none)}
    found.outcomes[ZERO] = Outcome(clean + rng.normal(0, 1, g) - 1, none, none)
    value, interval, reason = found.recovered("a", MEAN)
    left = []
    for b in range(g):
        a, s, c = (np.delete(one, b).sum() for one in (ablated, spliced, clean))
        left.append((a - s) / (a - c))
    reach = student.ppf(0.975, g - 1) * np.sqrt((g - 1) * np.var(left))
    assert value == pytest.approx((ablated - spliced).sum() / (ablated - clean).sum()) and not reason
    assert (interval.lo, interval.hi) == pytest.approx((value - reach, value + reach))
    value, interval, reason = found.recovered("a", ZERO)
    assert np.isnan(value) and np.isnan(interval.lo) and "zero-ablation costs no loss" in reason


# ---------------------------------------------------------------------- other models


def test_a_masked_model_has_no_loss_but_kl(read, tmp_path: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    _, source, _, _ = read
    sizes = {"hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = BertForMaskedLM(BertConfig(vocab_size=6, max_position_embeddings=80, initializer_range=0.5, **sizes))
        network.save_pretrained(tmp_path / "bert")
    model = load_model(str(tmp_path / "bert"), alphabet=LETTERS)
    acts = bt.activations(source, model, [1], tmp_path / "acts")[1]
    table = quality_report(both_ways(12), acts, model, source, [rough(12)])["dictionaries"]
    assert table["kl"].tolist()[0] == 0 < table["kl"].tolist()[1] < table["kl_zero"][1]
    assert table["loss_clean"].isna().all() and table["recovered_mean"].isna().all() and table["loss"].isna().all()
    assert table["note"].str.contains("no loss is defined").all()


def test_probabilities_of_classes_give_kl(read, tmp_path: Path) -> None:
    _, source, _, _ = read
    model = load_model("openspliceai-80nt", weights="random", seed=3)
    acts = bt.activations(source, model, [0], tmp_path / "acts")[0]
    line = quality_report(both_ways(32), acts, model, source, cells=300)["dictionaries"].iloc[0]
    assert line["kl"] == 0 < line["kl_zero"] and np.isnan(line["loss_clean"]) and line["n_spliced"] >= 300


def test_of_other_outputs_the_change_is_given(read, tmp_path: Path) -> None:
    """Spliced into the outputs themselves, their change is the FVU of the dictionary on those very rows."""
    from transformers import LlamaConfig, LlamaModel

    _, source, _, _ = read
    sizes = {"hidden_size": 10, "intermediate_size": 14, "num_hidden_layers": 1, "num_attention_heads": 1}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        LlamaModel(LlamaConfig(vocab_size=7, max_position_embeddings=99, **sizes)).save_pretrained(tmp_path / "bare")
    model = load_model(str(tmp_path / "bare"), alphabet=LETTERS)
    acts = bt.activations(source, model, ["output"], tmp_path / "acts")["output"]
    line = quality_report(rough(10), acts, model, source)["dictionaries"].iloc[0]
    assert line["n_spliced"] == line["n"] and 0 < line["fvu"] < 1
    assert line["change"] == pytest.approx(line["fvu"], rel=1e-4) and line["change_mean"] == pytest.approx(1, rel=1e-5)
    assert np.isnan(line["kl"]) and "no distribution" in line["note"]


def test_what_cannot_be_spliced_is_said(read, monkeypatch: pytest.MonkeyPatch) -> None:
    model, source, acts, _ = read
    alone = quality_report(rough(20), acts)["dictionaries"].iloc[0]
    assert alone["n_spliced"] == 0 and np.isnan(alone["kl"]) and "no model and source were given" in alone["note"]
    plain = rough(20)
    skipping = Dictionary(
        plain.encoder, plain.decoder, plain.b_enc, plain.b_dec, plain.mean, k=6, skip=np.zeros((20, 20), np.float32)
    )
    both = quality_report(skipping, acts, model, source, [plain])["dictionaries"]
    assert np.isnan(both["fvu"][0]) and "writes something else" in both["note"][0] and both["kl"][1] > 0
    monkeypatch.setattr(model, "width", lambda layer: (_ for _ in ()).throw(InputError("returns 4 feature maps")))
    blind = quality_report(plain, acts, model, source)["dictionaries"].iloc[0]
    assert blind["fvu"] > 0 and "outputs cannot be read: returns 4 feature maps" in blind["note"]


def test_another_model_or_source_is_refused(read, tiny_model, tmp_path: Path) -> None:
    model, source, acts, _ = read
    other = bt.DNA(write_fasta(tmp_path / "b.fa", one=dna()[::-1]), window=WINDOW, halo=(HALO, 0), blocks=100)
    for wrong, told in (((tiny_model, source), "other weights"), ((model, other), "another source")):
        with pytest.raises(InputError, match=told):
            quality_report(rough(20), acts, *wrong)
    with pytest.raises(InputError, match="give both model and source"):
        quality_report(rough(20), acts, model)
    assert layer_of(acts) == 0


def test_the_report_of_what_was_not_spliced(read, tmp_path: Path, capsys) -> None:
    _, _, acts, _ = read
    made = quality_report(rough(20), acts)
    page = report(tmp_path, tables=made).read_text()
    assert f"{made['dictionaries']['fvu'][0]:.3f}" in page and "no model and source were given" in page
    assert "KL" not in page and "Seeds agree" not in page and "were not passed to the report" not in page
    summary.print_dictionaries(made["dictionaries"], made["stability"])
    assert "KL" not in capsys.readouterr().out
    empty = {name: frame.iloc[:0] for name, frame in made.items()}
    assert "were not passed to the report" in report(tmp_path / "empty", tables=empty).read_text()
    summary.print_dictionaries(empty["dictionaries"])


# ---------------------------------------------------------------------- whole runs


def test_a_run_leaves_the_quality_of_every_dictionary(tmp_path: Path, tiny_model_folder: Path, capsys) -> None:
    changes = {"layers": [0, 1], "dictionary.seeds": [0, 3], "baselines": ["random-weights"]}
    plain, out = {**changes, "analyses": ["detection"]}, tmp_path / "results"
    Study(config.load(write_run(tmp_path, tiny_model_folder, **plain))).analyse_all()
    first = tables_of(out)
    made = snapshot(out / "dictionaries" / "topk-41-k3")
    # The same folder, asked for more: what an earlier run left is opened as it is, and nothing of it is made again.
    file = write_run(tmp_path, tiny_model_folder, **changes, analyses=["detection", "fidelity"])
    Study(config.load(file)).execute()
    found = tables_of(out)
    assert set(found) - set(first) == {"dictionaries", "density", "stability"} and not leftovers(out)
    assert {k: v for k, v in snapshot(out / "dictionaries" / "topk-41-k3").items() if k in made} == made
    table = found["dictionaries"]
    pd.testing.assert_frame_equal(tables.conform("dictionaries", table), table)
    told = list(zip(table["representation"], table["layer"], table["seed"], strict=True))
    trained = [("dictionary", layer, seed) for layer in "01" for seed in (0, 3)]
    assert told == [*trained, *(("random-weights", layer, 0) for layer in "01")]
    assert table["fvu"].between(0, 1).all() and (table["n_spliced"] > 0).all() and (table["kl"] > 0).all()
    assert table["loss_clean"].nunique() == 2  # of the model, and of the one with random weights
    pairs = found["stability"]
    assert pairs[["layer", "seed", "other_seed"]].to_numpy().tolist() == [["0", 0, 3], ["1", 0, 3]]
    for line in pairs.itertuples():  # what is told is of the dictionaries that lie there
        folder = out / "dictionaries" / "topk-41-k3" / f"layer={line.layer}"
        one, other = (Dictionary.load(folder / f"seed={seed}" / "dictionary").decoder for seed in (0, 3))
        cosine = one @ other.T / np.outer(np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1))
        assert line.assigned == pytest.approx(cosine[scipy.optimize.linear_sum_assignment(-cosine)].mean(), abs=1e-5)
    bins = found["density"].groupby(["representation", "layer", "seed"])["n_features"].sum()
    assert len(bins) == 6 and (bins == 41).all()
    summary.print_dictionaries(table, pairs)
    said = capsys.readouterr().out
    assert "seeds agree" in said and f"{pairs['assigned'][1]:.2f}" in said and f"{table['fvu'][4]:.3f}" in said
    page = (out / "report.html").read_text()
    assert "Seeds agree" in page and "quality of the dictionaries by layer" in page
    # Short of disk, layer by layer, every number is the same.
    tight = write_run(
        tmp_path / "tight", tiny_model_folder, **changes, analyses=["detection", "fidelity"], disk=4_400_000
    )
    Study(config.load(tight)).analyse_all()
    same_tables(out, tmp_path / "tight" / "results")
    assert not list((tmp_path / "tight" / "results").glob("activations*/layer=*"))
