"""Rules of training beside what their dictionaries know of an annotation.

    python benchmarks/sae/terms.py FOLDER [--rule now --rule helped=1 --rule kind=matryoshka …] [--layers 1,3,5]

FVU and dead features alone would have chosen the worst of the rules of docs/decisions.md. So each rule here fits
dictionaries to the same activations (`bioterp/dna-small`, the start of E. coli, one strand) and is asked for terms: F1
of the best feature, chosen on train and valid blocks and scored on test blocks, less that of the same feature shifted.
A rule is 'now', or words of `Recipe`, of a run file's dictionary (kind, width, k, tokens) or `rate` (times the
rule's own), with commas between: rate=0.5,beta2=0.999. FOLDER may be given again: a rule that is done is only read.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from common import genomics, row, spread  # noqa: E402  (before numpy: it asks for one thread)

DICTIONARY = {"kind": "topk", "width": 1024, "k": 16, "tokens": 1_000_000}
TERMS = ("CDS", "CDS.phase0", "CDS.phase1", "CDS.phase2", "start_codon", "stop_codon", "tRNA", "rRNA", "intergenic")
SHARED = ("rows", "labels", "activations")  # the same for every rule: linked, not made again
CONTIG = "NC_000913.3"


def parsed(rule: str) -> dict[str, Any]:
    """'rate=0.5,kind=matryoshka' → {'rate': 0.5, 'kind': 'matryoshka'}; 'now' → {}."""
    words = [] if rule == "now" else [word.split("=", 1) for word in rule.split(",")]
    return {name: value if name == "kind" else float(value) for name, value in words}


def child(file: str, rule: str) -> int:
    """One run, its recipes changed by the rule."""
    from bioterp import train
    from bioterp.cli import main as command

    own, asked = train.recipe, parsed(rule)
    changed = {name: value for name, value in asked.items() if name not in (*DICTIONARY, "rate")}

    def recipe(*args: Any, **more: Any) -> Any:
        how = own(*args, **more)
        whole = {name: int(v) if isinstance(getattr(how, name), int) else v for name, v in changed.items()}
        return dataclasses.replace(how, lr=how.lr * asked.get("rate", 1.0), **whole)

    train.recipe = recipe
    return command(["run", file])


def run(folder: Path, rule: str, options: argparse.Namespace) -> Path:
    """The folder of a rule's run, made where it is not there; a killed one goes on."""
    import yaml

    out = folder / rule.replace("=", "").replace(",", "-")
    if (out / "run.json").exists():
        return out
    done = next((one for one in sorted(folder.iterdir()) if (one / "run.json").exists()), None)
    if done is not None and not out.exists():
        for name in SHARED:
            shutil.copytree(done / name, out / name, copy_function=os.link)
    bacteria = genomics(None) / "bacteria"
    (folder / "part.bed").write_text(f"{CONTIG}\t0\t{options.bases}\n", encoding="utf-8")
    asked = {n: v if n == "kind" else int(v) for n, v in parsed(rule).items() if n in DICTIONARY}
    source: dict[str, Any] = {"kind": "dna", "fasta": str(bacteria / "ecoli_k12_mg1655.fna.gz"), "strands": "+"}
    source |= {"regions": str(folder / "part.bed"), "window": 767, "halo": [256, 0], "blocks": "10kb"}
    config = {
        "out": str(out),
        "source": source,
        "model": {"name": "bioterp/dna-small", "dtype": "float32"},
        "layers": [int(layer) for layer in options.layers.split(",")],
        "dtype": "float32",
        "dictionary": {**DICTIONARY, **asked, "seeds": list(range(options.seeds))},
        "labels": {"genes": {"path": str(bacteria / "ecoli_k12_mg1655.gff.gz"), "terms": list(TERMS)}},
        "analyses": ["detection"],
        "baselines": [],
        "exports": ["tsv"],
    }
    file = folder / f"{out.name}.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    command = [sys.executable, str(Path(__file__).resolve()), str(folder), "--child", str(file), rule]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def told(out: Path, rule: str) -> None:
    """One line per layer: FVU, dead features, and F1 above chance, mean over terms and of some, over seeds."""
    import json

    import pandas as pd

    found = pd.read_parquet(out / "tables/detection.parquet")
    found = found[found["representation"] == "dictionary"]
    best = found.groupby(["layer", "seed", "term"], sort=False).head(1)  # sorted by what was seen where it was chosen
    best = best.assign(above=best["f1"] - best["f1_null"])
    quality = [one for one in json.loads((out / "run.json").read_text(encoding="utf-8"))["quality"] if "fvu" in one]
    for layer, mine in best.groupby("layer"):
        by = mine.pivot_table(index="seed", columns="term", values="above")
        own = [one for one in quality if str(one["layer"]) == str(layer)]
        some = [f"{by[term].mean():.3f}" if term in by else "–" for term in TERMS]
        cells = [spread([one["fvu"] for one in own], 4), spread([100 * one["dead"] for one in own], 1)]
        row(rule, str(layer), *cells, spread(list(by.mean(axis=1)), 3), *some)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rule", action="append", help="default: now, helped=1, kind=matryoshka, width=448")
    parser.add_argument("--layers", default="1,3,5")
    parser.add_argument("--bases", type=int, default=700_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        sys.exit(child(*options.child))
    # Other layers or bases are other activations: they must not be linked to these.
    folder = options.folder.resolve() / f"layers-{options.layers.replace(',', '-')}-{options.bases}"
    folder.mkdir(parents=True, exist_ok=True)
    rules = options.rule or ["now", "helped=1", "kind=matryoshka", "width=448"]
    outs = [run(folder, rule, options) for rule in rules]
    row("rule", "layer", "FVU", "dead, %", "F1 above chance, mean of terms", *TERMS)
    row(*["---"] * 2, *["---:"] * (3 + len(TERMS)))
    for rule, out in zip(rules, outs, strict=True):
        told(out, rule)


if __name__ == "__main__":
    main()
