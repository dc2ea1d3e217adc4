"""Real people: the mtDNA of 1,074 of the 1000 Genomes through a model, a dictionary, and the cohort analyses.

    python benchmarks/cohort/mito.py --data FOLDER --out FOLDER [--sample 24]

FOLDER of data holds mito/ and variation/. Writes people.tsv and run.yaml into the other, calls the ordinary run, then
asks what the truth is known of: `mito_checks.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import mito_checks
from common import machine  # threads are set before torch loads
from mito_people import GROUP, TRAIT, dosages, panel, simulated
from mito_places import Places, phylotree

import bioterp as bt
from bioterp import config, outcomes, progress, study

WINDOW, HALO, LAYER = 128, 64, 2


def prepared(data: Path, out: Path) -> Path:
    """people.tsv and run.yaml, and truth.json: which variant drives the simulated trait."""
    people, variants, doses = dosages(data)
    sheet = panel(data, people)
    trait, truth = simulated(sheet[GROUP], variants, doses)
    sheet[TRAIT] = trait
    out.mkdir(parents=True, exist_ok=True)
    sheet.rename_axis("sample").to_csv(out / "people.tsv", sep="\t")
    (out / "truth.json").write_text(json.dumps(truth, indent=1))
    told: dict[str, Any] = {
        "out": str(out / "results"),
        "source": {
            "kind": "haplotypes",
            "vcf": str(data / "mito" / "1000G_phase1_chrMT_1074samples.vcf.gz"),
            "reference": str(data / "mito" / "NC_012920.1.fa.gz"),
            "window": WINDOW,
            "halo": [HALO, 0],
            "strands": "+",
            "blocks": 2048,
            "circular": True,
            "unphased": "mask",
        },
        "model": {"name": "bioterp/dna-small"},
        "layers": [LAYER],
        "dictionary": {"kind": "topk", "width": 1024, "k": 16, "tokens": 300_000},
        "analyses": ["fidelity"],
        "baselines": [],
        "cohort": {
            "samples": str(out / "people.tsv"),
            "outcome": TRAIT,
            "confounders": [GROUP],
            "groups": GROUP,
            "pool": "mean",
        },
        "exports": ["tsv"],
    }
    path = out / "run.yaml"
    path.write_text(yaml.safe_dump(told, sort_keys=False))
    return path


def checked(data: Path, out: Path, made: study.Study, joined: dict[str, pd.DataFrame], sample: int) -> dict[str, Any]:
    """Every check, by name; the tables behind them beside it."""
    told: dict[str, Any] = {"truth": json.loads((out / "truth.json").read_text())}
    people, variants, doses = dosages(data)
    sheet = pd.read_csv(out / "people.tsv", sep="\t", index_col="sample")
    known = sheet[GROUP].notna().to_numpy()
    own = [name for name, one in zip(people, known, strict=True) if one]
    labels, doses = sheet[GROUP][known], doses[known]
    pooled = bt.Field.open(out / "results" / outcomes.FOLDER / f"layer={LAYER}" / "codes")
    codes = next(iter(made.dictionaries(True)))[3]
    length = int(next(iter(made.source.spaces.values())).length)
    places = Places(codes, made.source.carriers.table(), own, length)
    tree = phylotree(data / "mito" / "phylotree17.xml.gz")
    at = pd.Index(pooled.rows.items["item"]).get_indexer(own)
    told["lambda"] = joined["outcomes"].iloc[0][["n", "explained", "lambda_naive", "lambda_adjusted"]].to_dict()
    told["haplogroups"], lines = mito_checks.haplogroups(
        places, pooled.take(at), labels, joined["confounding"], variants, doses, tree
    )
    lines.to_csv(out / "haplogroups.tsv", sep="\t", index=False)
    say(told["haplogroups"])
    told["resolved"], shown = mito_checks.resolved(places, joined["association"], variants, doses, told["truth"])
    shown.to_csv(out / "resolved.tsv", sep="\t", index=False)
    say(told["resolved"])
    say(shown.head(12).to_string())
    told["by_window"], best = mito_checks.by_window(codes, made.source, sheet, WINDOW, length, variants, doses)
    best.to_csv(out / "by_window.tsv", sep="\t", index=False)
    say(told["by_window"])
    say(best[["column", "p", "p_adjusted", "gain", "verdict", "variant", "r2_variant"]].head(24).to_string())
    say(best.groupby("window")["p_adjusted"].agg(["min", "size"]).sort_values("min").to_string())
    alone = mito_checks.by_variant(variants, doses, sheet, told["truth"]["variant"])
    alone.to_csv(out / "by_variant.tsv", sep="\t", index=False)
    say(alone.head(10).to_string())
    told["components"] = mito_checks.components(data, pooled, sheet, people)
    say(told["components"])
    audit = joined["audit"]
    say(
        audit[
            ["representation", "treatment", "target", "role", "probe", "part", "n", "metric", "score", "lo", "hi"]
        ].to_string()
    )
    record = json.loads((out / "cost.json").read_text())
    apart = ("kind", "samples", "shards")
    options = {key: value for key, value in vars(made.run.source).items() if key not in apart}
    told["cost"] = mito_checks.cost(data, out, options, LAYER, sample, record)
    say(told["cost"])
    return told


def say(what: Any) -> None:
    print(what, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sample", type=int, default=24)
    given = parser.parse_args()
    data, out = given.data.resolve(), given.out.resolve()
    progress.show(True)
    say(machine())
    made = study.Study(config.load(prepared(data, out)))
    begun = time.process_time()
    made.activate()
    seconds = time.process_time() - begun
    record = out / "cost.json"
    if not record.exists():  # a second call finds the activations made
        record.write_text(json.dumps({"activations_cpu": seconds, **made.source.counts}, indent=1, default=str))
    joined = made.execute()
    found = checked(data, out, made, joined, given.sample)
    (out / "checks.json").write_text(json.dumps(found, indent=1, default=str))


if __name__ == "__main__":
    main()
