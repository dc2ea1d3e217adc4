"""run.yaml: what is read, and every wrong key or value named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bioterp.config import load, parse
from bioterp.errors import InputError
from bioterp.records import BASELINES, Run

GOOD = """
out: results
source: {kind: dna, fasta: a.fa, window: 100, blocks: 50kb}
model: bioterp/dna-small
layers: [2, output]
dictionary: {width: 512, k: 8, tokens: 2M, seeds: [0, 1]}
labels: {genes: a.gff.gz, peaks: {path: p.bed, terms: [peak]}}
"""


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(GOOD)
    run = load(tmp_path / "run.yaml")
    assert isinstance(run, Run)
    assert run.source.fasta == tmp_path / "a.fa" and run.out == tmp_path / "results"
    assert run.labels["genes"].path == tmp_path / "a.gff.gz"
    assert run.labels["peaks"].options == {"terms": ["peak"]}
    assert run.dictionary.tokens == 2_000_000 and run.layers == [2, "output"]
    assert run.model.name == "bioterp/dna-small" and run.source.halo == 512


BAD = {
    "unknown key": ({"layer": [1]}, "unknown key 'layer' in the run file; did you mean 'layers'"),
    "nested": ({"dictionary": {"widht": 3}}, "unknown key 'widht' in dictionary; did you mean 'width'"),
    "type": ({"layers": 3}, "layers must be a list"),
    "number": ({"dictionary": {"k": "many"}}, "dictionary.k must be a whole number; got 'many'"),
    "true": ({"dictionary": {"k": True}}, "dictionary.k must be a whole number"),
    "choice": ({"baselines": ["neuron"]}, "baselines: 'neuron' is not known; did you mean 'neurons'"),
    "kind": ({"source": {"kind": "rna", "fasta": "x"}}, "source.kind: 'rna' is not known"),
    "missing": ({"source": {"kind": "dna"}}, "source lacks the key 'fasta'"),
    "tokens": ({"dictionary": {"tokens": "lots"}}, "dictionary.tokens is a count"),
    "label": ({"labels": {"genes": {"types": ["CDS"]}}}, "labels.genes needs a path"),
    "k": ({"dictionary": {"k": 512, "width": 512}}, "dictionary.k must lie between 1 and width"),
    "layer twice": ({"layers": [2, 2]}, "names a layer twice"),
    "count": ({"export_features": -3}, "counts of at least 1"),
    "empty": ({"layers": []}, "layers names no layer"),
    "not a mapping": ({"source": "a.fa"}, "source must be a mapping"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_values_are_named(case: str, tmp_path: Path) -> None:
    change, expected = BAD[case]
    tree = {**yaml.safe_load(GOOD), **change}
    with pytest.raises(InputError) as caught:
        parse(tree, tmp_path)
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(GOOD + "layers: [3]\n")
    with pytest.raises(InputError, match=r"'layers' stands twice in the run file \(line 8\)"):
        load(tmp_path / "run.yaml")


@pytest.mark.parametrize("text", ["a: [", "- a", "!!python/object/apply:os.system ['true']", "\xff\x00"])
def test_what_is_not_a_run(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(text, encoding="latin-1")
    with pytest.raises(InputError):
        load(tmp_path / "run.yaml")


def test_sizes_of_disk() -> None:
    good = yaml.safe_load(GOOD)
    for text, size in (("25GB", 25_000_000_000), ("1.5 TB", 1_500_000_000_000), ("300 mb", 300_000_000), (7, 7)):
        assert parse(good | {"disk": text}, Path()).disk == size
    with pytest.raises(InputError, match="disk is a size such as 25GB; got '25 gigs'"):
        parse(good | {"disk": "25 gigs"}, Path())


def test_the_example_is_a_run() -> None:
    run = load(Path(__file__).parent.parent / "examples" / "ecoli.yaml")
    assert run.layers == [1, 3, 5] and run.dictionary.seeds == [0, 1, 2]
    assert set(run.baselines) == {*BASELINES, "composition"}


def test_a_table_of_names_is_a_path_and_shows_no_folder(tmp_path: Path) -> None:
    """run.json tells paths by their names, which it knows by their type."""
    tree = {"out": "o", "source": {"kind": "scans", "items": "s.tsv"}, "model": "bioterp/scan-small", "layers": [0]}
    run = parse(tree | {"labels": {"x": {"column": "seg", "names": "lut/class_map.py#total"}}}, tmp_path)
    assert run.labels["x"].options["names"] == tmp_path / "lut" / "class_map.py#total"
