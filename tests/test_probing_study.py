"""A run whose analyses name probing: its tables, its report, the lines on the screen."""

from __future__ import annotations

import pandas as pd
import pytest

from bioterp import config, summary
from bioterp.errors import InputError
from bioterp.report.probes import answers, tally
from bioterp.study import Study
from tests.conftest import write_fasta
from tests.planted import genome, tables_of, write_gff, write_run

PROBED = {"analyses": ["detection", "probing"], "baselines": ["neurons", "pca", "random-weights"]}
CONTIGS = {"one": 27_100, "two": 11_300}  # enough genes for a test split


@pytest.mark.slow
def test_a_run_answers_term_by_term(tmp_path, tiny_model_folder, capsys):
    sequences, genes = genome(CONTIGS)
    write_fasta(tmp_path / "genome.fa", **sequences)
    write_gff(tmp_path / "genes.gff", genes, CONTIGS)
    labels = {"labels.genes.terms": ["CDS", "CDS.phase1"], "source.blocks": 710}
    run = config.load(write_run(tmp_path, tiny_model_folder, **PROBED, **labels))
    Study(run).execute()
    made = tables_of(tmp_path / "results")
    probing = made["probing"]
    width = probing.groupby("representation")["features"].agg(
        lambda f: max(int(x) for t in f.dropna() for x in t.split(","))
    )
    assert width["neurons"] < 64 and width["pca"] < 64, "channels and directions as they are, not split by sign"
    assert set(probing["representation"]) == {"dictionary", "neurons", "pca", "random-weights"}
    tested = probing[probing["split"] == "test"]
    assert (tested.groupby("term")["n_rows"].nunique() == 1).all() and len(tested), "all are fitted on the same rows"
    assert 0 not in set(probing.loc[probing["representation"] == "pca", "k"])
    assert set(made["curves"]["representation"]) == {"dictionary", "neurons"} and set(made["curves"]["seed"]) == {0}
    paired = made["probe_comparison"]
    linear = paired[(paired["baseline"] == "neurons") & (paired["baseline_k"] == 0)]
    assert linear.groupby(["seed", "term"]).size().eq(5).all() and linear["term"].nunique() == 4
    text = (tmp_path / "results" / "report.html").read_text()
    found = answers(paired, probing)
    assert tally(found) in text and all(a.words in text for a in found) and len(found) == 4
    summary.print_probes(paired, probing)
    assert "is the dictionary better?" in capsys.readouterr().out
    summary.print_probes(paired.iloc[:0], probing)
    assert capsys.readouterr().out == ""


def test_words_follow_the_intervals():
    def of(results, ap=(0.2, 0.4, 0.6), raw=0.5):
        rows = [
            {"term": "x", "layer": "1", "k": k, "ap": a, "result": r, "seed": 0, "representation": "dictionary"}
            for k, a, r in zip((1, 5, 0), ap, results, strict=True)
        ]
        more = {"baseline": "neurons", "baseline_k": 0, "baseline_ap": raw, "split": "test", "n_instances": 7}
        probing = pd.DataFrame(
            {"representation": ["neurons"], "k": [0], "term": ["x"], "layer": ["1"], "ap_valid": [0.5]}
        )
        return answers(pd.DataFrame(rows).assign(**more, prevalence=0.1, note=""), probing)

    assert of(["loss", "open", "win"])[0].words == "yes, with all codes together: AP 0.600, the raw probe 0.500"
    assert of(["loss", "open", "open"])[0].words == "not told apart with 5 features: AP 0.400, the raw probe 0.500"
    lost = of(["loss"] * 3, (0.2, 0.4, 0.45))
    assert lost[0].words == "no: the raw probe has AP 0.500, the best on codes 0.450 (with all codes together)"
    assert "worse however many features they use on 1 (x)" in tally(lost)
    assert of(["none"] * 3)[0].words == "open: no interval"


def test_probing_wants_raw_activations(tmp_path, tiny_model_folder):
    with pytest.raises(InputError, match="put neurons among the baselines"):
        config.load(write_run(tmp_path, tiny_model_folder, analyses=["probing"], baselines=["pca"]))
