"""The command line: every verb works, and bad input ends in one sentence, status 2 and nothing half-written."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from bioterp import cli, store
from bioterp.field import Field
from tests.conftest import random_dna, write_fasta
from tests.planted import gene, genome, leftovers, same_tables, snapshot, tables_of, tree, write_gff, write_run

ROOT = Path(__file__).resolve().parent.parent
SMALL: dict[str, Any] = {"baselines": [], "analyses": ["detection"], "labels.genes.terms": ["CDS"]}
TABLES = (
    "detection", "features", "blocks", "layers", "comparison", "headline", "replication", "discoveries", "loci",
    "motifs",
)  # fmt: skip
VERBS = ("run", "activations", "label", "fit", "encode", "analyse", "export", "report")


def refused(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must fail: status 2 and one line on stderr, which is returned."""
    capfd.readouterr()
    assert cli.main([*words, "--quiet"]) == 2
    said = capfd.readouterr()
    lines = said.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("bioterp: "), said.err
    assert "Traceback" not in said.out
    return lines[0]


def done(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    """Run a command that must succeed: what it wrote to stdout and stderr."""
    capfd.readouterr()
    assert cli.main(list(words)) == 0
    return tuple(capfd.readouterr())  # type: ignore[return-value]


def whole(out: Path) -> bool:
    """Nothing half-written: no temporary names, and every stored folder complete to the hash."""
    for meta in out.rglob("meta.json"):
        store.read(meta.parent, check=True)
    unsealed = [folder for folder in out.rglob("layer=*") if folder.is_dir() and not any(folder.iterdir())]
    return not leftovers(out) and not unsealed


def shell(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bioterp.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, **options)


# ---------------------------------------------------------------------- verbs


def test_every_stage_alone(tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    file = str(write_run(tmp_path, tiny_model_folder, **{**SMALL, "exports": ["tsv", "bed"], "export_features": 2}))
    out = tmp_path / "results"

    said, _ = done(capfd, "activations", file, "--quiet")
    assert "layer 1: Field(activation, 19200 rows × 24 columns" in said
    assert {p.name for p in out.iterdir()} == {".lock", "activations"}
    said, _ = done(capfd, "label", file, "--quiet")
    assert "CDS@antisense" in said and {p.name for p in out.iterdir()} == {".lock", "activations", "labels", "rows"}
    said, _ = done(capfd, "fit", file, "--quiet")
    assert said.startswith("layer 1 seed 0: fvu ") and not list(out.rglob("codes"))
    said, _ = done(capfd, "encode", file, "--quiet")
    assert "layer 1 seed 0: Field(code, 19200 rows × 41 columns" in said
    said, _ = done(capfd, "analyse", file, "--quiet")
    assert "CDS" in said and {p.name for p in (out / "tables").glob("*.tsv")} == {f"{n}.tsv" for n in TABLES}
    assert not (out / "exports").exists() and not (out / "report.html").exists()
    done(capfd, "export", file, "--quiet")
    assert len(list((out / "exports").glob("*.bed*"))) > 0 and not (out / "report.html").exists()
    done(capfd, "report", file, "--quiet")
    assert (out / "report.html").stat().st_size > 1_000 and (out / "run.json").is_file()
    before = snapshot(out / "tables")
    said, progress = done(capfd, "run", file)
    assert "report.html" in said and "writing the report" in progress and snapshot(out / "tables") == before
    assert whole(out)


def test_check(tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    file = write_run(tmp_path, tiny_model_folder)
    said, errors = done(capfd, "check", str(file), "--quiet")
    assert "problem" not in said and errors == "" and not (tmp_path / "results").exists()
    for word in ("2 contigs, 9,600 bp", "model.layers.1", "labels.genes: 68 records", "disk: "):
        assert word in said
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "thesis.txt").write_text("mine")
    moved = genome()[1].assign(contig="chrI")
    write_gff(tmp_path / "other.gff", moved, {"chrI": 6_700})
    changes = {
        "source.window": 200,
        "source.blocks": "contig",
        "labels.genes": {"path": "gone.gff"},
        "labels.more": {"path": "other.gff"},
        "layers": [9],
    }
    write_run(tmp_path, tiny_model_folder, **changes)
    assert cli.main(["check", str(file), "--quiet"]) == 2
    problems = [line for line in capfd.readouterr().out.splitlines() if line.startswith("problem")]
    for part in (
        "splits: no block",
        "layers 0 to 2",
        "gone.gff does not exist",
        "names none of the sequence's contigs",
    ):
        assert any(part in line for line in problems), part
    write_run(tmp_path, tiny_model_folder, **{"source.window": 200})
    assert cli.main(["check", str(file), "--quiet"]) == 2
    said = capfd.readouterr().out
    assert "at most 128" in said and "holds files that are no run of bioterp (such as 'thesis.txt')" in said


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("models", ("bioterp/dna-small", "evo2", "licence")),
        ("annotations", ("GFF3", "bigWig", "call: genes")),
        ("analyses", ("detection", "enrichment", "readout")),
        ("formats", ("h5ad", "bigwig", "tsv")),
    ],
)
def test_list(what: str, words: tuple[str, ...], capfd) -> None:
    said, errors = done(capfd, "list", what)
    assert all(word in said for word in words) and errors == ""


def test_words_that_are_none(tmp_path: Path, capfd) -> None:
    assert "there is no verb 'rnu'; did you mean 'run'" in refused(capfd, "rnu", "run.yaml")
    assert "there is no list of 'model'; did you mean 'models'" in refused(capfd, "list", "model")
    assert "there is no demo 'dan'; did you mean 'dna'" in refused(capfd, "demo", "dan")
    assert "unrecognized arguments: --fast" in refused(capfd, "run", "run.yaml", "--fast")
    assert "required: verb" in refused(capfd)
    assert "required: config" in refused(capfd, "fit")
    for verb in (*VERBS, "check"):
        assert "there is no run file" in refused(capfd, verb, str(tmp_path / "gone.yaml"))
    assert "--cores must be at least 1" in refused(capfd, "demo", "dna", "--cores", "0")


def test_as_a_process(tmp_path: Path, tiny_model_folder: Path) -> None:
    import bioterp

    told = shell("--version")
    assert told.returncode == 0 and told.stdout == f"bioterp {bioterp.__version__}\n"
    file = str(write_run(tmp_path, tiny_model_folder, **{"source.fasta": "gone.fa"}))
    short = shell("run", file)
    assert short.returncode == 2 and short.stdout == "" and not (tmp_path / "results").exists()
    assert short.stderr.count("\n") == 1 and "there is no sequence file" in short.stderr
    long = shell("run", file, "--debug")
    assert long.returncode != 0 and long.stderr.startswith("Traceback") and "InputError: there is no seq" in long.stderr


@pytest.mark.parametrize("what", ["models", "formats"])
def test_a_reader_that_goes_away_is_no_error(what: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONUNBUFFERED", None)
    read, write = os.pipe()
    os.close(read)  # as `bioterp list models | head -0`
    command = [sys.executable, "-m", "bioterp.cli", "list", what]
    told = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, env=environment, timeout=120)
    os.close(write)
    assert told.stderr == "" and told.returncode == 0


def test_importing_costs_nothing() -> None:
    heavy = ["torch", "pandas", "numpy", "transformers", "monai", "pyarrow", "scipy", "matplotlib", "yaml"]
    code = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r}); begun = time.perf_counter(); import bioterp; "
        f"print(time.perf_counter() - begun, [m for m in {heavy} if m in sys.modules]); bioterp.cli"
    )
    seconds = []
    for _ in range(5):
        told = subprocess.run(
            [sys.executable, "-c", code.removesuffix("; bioterp.cli")], capture_output=True, text=True
        )
        first, _, loaded = told.stdout.strip().partition(" ")
        assert loaded == "[]", loaded
        seconds.append(float(first))
    assert statistics.median(seconds) < 0.1 or min(seconds) < 0.3  # a loaded machine may be slow, never this slow


# ---------------------------------------------------------------------- bad sequences


def fasta_of(case: str, path: Path) -> str:
    """Write one bad file; what must be said of it."""
    letters = genome()[0]
    if case == "empty":
        path.write_text("")
        return "holds no sequence"
    if case == "only a name":
        path.write_text(">one\n")
        return "contig 'one' has no bases"
    if case == "duplicate contigs":
        path.write_text(f">one\n{letters['one']}\n>two\n{letters['two']}\n>one\n{letters['two']}\n")
        return "names the contig 'one' twice"
    if case == "protein":
        path.write_text(">sp|P00001\nMKLVEFQIPSTARNDCHWYMKLVEFQ\n")
        return "looks like protein (letter 'L' at position 2)"
    if case == "damaged gzip":
        path.write_bytes(gzip.compress(f">one\n{letters['one']}\n".encode())[:900])
        return "is a damaged gzip file"
    if case == "text":
        path.write_text("dear reader,\nthis is a letter\n")
        return "is neither FASTA"
    assert case == "missing"
    path.unlink()
    return "there is no sequence file"


@pytest.mark.parametrize(
    "case", ["empty", "only a name", "duplicate contigs", "protein", "damaged gzip", "text", "missing"]
)
def test_bad_sequences(case: str, tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    file = write_run(tmp_path, tiny_model_folder)
    said = fasta_of(case, tmp_path / "genome.fa")
    before = snapshot(tmp_path)
    assert said in refused(capfd, "run", str(file))
    assert said in refused(capfd, "activations", str(file))
    assert cli.main(["check", str(file), "--quiet"]) == 2
    assert said in capfd.readouterr().out
    assert snapshot(tmp_path) == before  # nothing written anywhere, beside the input least of all


def test_carriage_returns_change_nothing(tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    plain = write_run(tmp_path / "plain", tiny_model_folder, **SMALL)
    write_run(tmp_path / "crlf", tiny_model_folder, **SMALL)
    for name in ("genome.fa", "genes.gff", "run.yaml"):
        text = (tmp_path / "plain" / name).read_bytes()
        (tmp_path / "crlf" / name).write_bytes(text.replace(b"\n", b"\r\n"))
    done(capfd, "analyse", str(plain), "--quiet")
    done(capfd, "analyse", str(tmp_path / "crlf" / "run.yaml"), "--quiet")
    same_tables(tmp_path / "plain" / "results", tmp_path / "crlf" / "results")


# ---------------------------------------------------------------------- annotations that do not fit


def annotated(folder: Path, model: Path, genes: pd.DataFrame, sizes: dict[str, int], **changes: Any) -> str:
    folder.mkdir(exist_ok=True)
    write_gff(folder / "genes.gff", genes, sizes)
    return str(write_run(folder, model, **{**SMALL, **changes}))


def painted(out: Path, term: str = "CDS") -> pd.DataFrame:
    """contig, strand, position of every row and the state of a term there: 1 positive, 0 negative, −1 unknown."""
    (folder,) = (out / "labels").glob("rows=*")
    truth = Field.open(folder / "genes")
    spans = truth.read()
    mine = spans.term == truth.column(term)
    state = np.zeros(len(truth), int)
    for lo, hi, number in zip(spans.start[mine], spans.stop[mine], spans.instance[mine], strict=True):
        state[lo:hi] = 1 if number >= 0 else -1
    item, start, _ = truth.rows.cells()
    grids = list(truth.rows.grids())
    frame = pd.DataFrame({"contig": [g.space.name for g in grids], "strand": [g.strand for g in grids]})
    return frame.iloc[item].reset_index(drop=True).assign(position=start, state=state)


def test_an_annotation_of_another_assembly(tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    genes = genome()[1]
    far = pd.concat([genes, pd.DataFrame([("one", 6_650, 6_953, "+")], columns=list(genes))])
    file = annotated(tmp_path, tiny_model_folder, far, {"one": 7_100, "two": 2_900})
    for verb in ("run", "label", "analyse"):
        said = refused(capfd, verb, file)
        assert "ends at 6953, past the end of 'one' (6700 bp)" in said and "another assembly" in said
    assert {p.name for p in (tmp_path / "results").iterdir()} == {".lock", "rows"}  # said before the model ran
    assert whole(tmp_path / "results")
    assert cli.main(["check", file, "--quiet"]) == 2
    assert "past the end of 'one'" in capfd.readouterr().out


def test_contig_names_that_differ_and_the_fix(tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    genes = genome()[1]
    names = {"one": "NC_000007.1", "two": "NC_000008.1"}
    theirs = genes.assign(contig=genes["contig"].map(names))
    file = annotated(tmp_path, tiny_model_folder, theirs, {"NC_000007.1": 6_700, "NC_000008.1": 2_900})
    said = refused(capfd, "label", file)
    assert "names none of the sequence's contigs" in said and f"pass contigs={names}" in said
    assert whole(tmp_path / "results")
    # What the sentence offers works when it is written into the run file.
    fixed = annotated(tmp_path, tiny_model_folder, theirs, {}, **{"labels.genes.contigs": names, "source.strands": "+"})
    shutil.rmtree(tmp_path / "results")
    done(capfd, "label", fixed, "--quiet")
    plus = genes[genes["strand"] == "+"]
    rows = painted(tmp_path / "results")
    wanted = {(c, p) for c, lo, hi, _ in plus.itertuples(index=False) for p in range(lo, hi)}
    # Where a gene crosses from one split into another, its lesser part is unknown.
    assert set(rows[rows["state"] != 0][["contig", "position"]].itertuples(index=False, name=None)) == wanted
    assert (rows["state"] == 1).sum() > 0.8 * len(wanted)


def test_a_contig_on_one_side_only(tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    genes = genome()[1]
    other = genes[genes["contig"] == "two"].assign(contig="three")
    genes = pd.concat([genes[genes["contig"] == "one"], other])
    file = annotated(tmp_path, tiny_model_folder, genes, {"one": 6_700, "three": 9_100})
    _, progress = done(capfd, "label", file)
    assert "says nothing of 'two': labels there are unknown, not negative" in progress
    assert "also annotates 'three', which the rows do not have" in progress
    state = painted(tmp_path / "results").groupby("contig")["state"].agg(set)
    assert {0, 1} <= state["one"] and state["two"] == {-1}
    done(capfd, "analyse", file, "--quiet")
    assert whole(tmp_path / "results")


@pytest.mark.parametrize("line", ["one\tx\tCDS\t900\t600\t.\t+\t0\tID=b", "one\tx\tCDS\t0\t60\t.\t+\t0\tID=b"])
def test_start_past_end(line: str, tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    file = write_run(tmp_path, tiny_model_folder, **SMALL)
    number = len((tmp_path / "genes.gff").read_text().splitlines()) + 1
    with open(tmp_path / "genes.gff", "a") as handle:
        handle.write(line + "\n")
    said = refused(capfd, "run", str(file))
    assert f"genes.gff, line {number}: start" in said and whole(tmp_path / "results")
    assert not (tmp_path / "results" / "tables").exists() and not list(tmp_path.glob("results/labels/*/genes"))


def test_a_feature_past_the_origin_of_a_circle(tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    length = 3_100
    write_fasta(tmp_path / "genome.fa", plasmid=random_dna(length, 5))
    genes = pd.DataFrame([("plasmid", 400, 520, "-"), ("plasmid", 2_990, 3_157, "+")], columns=list(genome()[1]))
    line = f"plasmid\tx\tregion\t1\t{length}\t.\t+\t.\tID=p;Is_circular=true"
    one_split = {"source.blocks": "contig"}
    straight = annotated(tmp_path, tiny_model_folder, genes, {"plasmid": length}, **one_split)
    assert "or the contig is circular and neither the sequence" in refused(capfd, "label", straight)
    shutil.rmtree(tmp_path / "results")
    # Either side may say that it is a circle.
    for how in ("run file", "annotation"):
        changes = {"source.circular": ["plasmid"]} if how == "run file" else {}
        write_gff(tmp_path / "genes.gff", genes, {"plasmid": length}, [line] if how == "annotation" else None)
        file = write_run(tmp_path, tiny_model_folder, out=how, **SMALL, **changes, **one_split)
        done(capfd, "label", str(file), "--quiet")
        rows = painted(tmp_path / how)
        got = set(rows[rows["state"] == 1][["position", "strand"]].itertuples(index=False, name=None))
        wanted = {(p % length, "+") for p in range(2_990, 3_157)} | {(p, "-") for p in range(400, 520)}
        assert got == wanted, how


@pytest.mark.needs_shared
def test_the_human_mitochondrion(genomics: Path, tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    """Its D-loop ends at 17145 on a circle of 16569 bp; base 3107 is N."""
    mito = genomics / "mito"
    changes = {
        "source.fasta": str(mito / "NC_012920.1.fa.gz"),
        "labels.genes": {"path": str(mito / "NC_012920.1.gff3.gz"), "terms": ["D_loop"]},
        "source.blocks": "contig",
    }
    done(capfd, "label", str(write_run(tmp_path, tiny_model_folder, **changes)), "--quiet")
    rows = painted(tmp_path / "results", "D_loop")
    rows = rows[rows["strand"] == "-"]  # RefSeq has it there
    at = set(rows.loc[rows["state"] == 1, "position"])
    assert at == {*range(16_023, 16_569), *range(17_145 - 16_569)}
    assert len(rows) == 16_568 and 3_106 not in set(rows["position"])


def test_genetic_code_4(tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    """TGA is tryptophan in code 4: it neither ends the genes that end in it, nor breaks those that hold it."""
    sequences, genes = genome()
    letters = {name: list(text) for name, text in sequences.items()}
    turned = genes.iloc[::2]
    for contig, start, end, strand in turned.itertuples(index=False):
        for at in (9, 21, end - start - 3):  # two codons inside, and the last
            if strand == "+":
                letters[contig][start + at : start + at + 3] = "TGA"
            else:
                letters[contig][end - at - 3 : end - at] = "TCA"
    write_fasta(tmp_path / "genome.fa", **{name: "".join(text) for name, text in letters.items()})
    stops, told = {}, {}
    for code in (4, 11):
        changes = {"labels.genes": {"path": "genes.gff", "terms": ["stop_codon"], "code": code}}
        _, told[code] = done(capfd, "label", str(write_run(tmp_path, tiny_model_folder, **changes)))
        stops[code] = int((painted(tmp_path / "results", "stop_codon")["state"] != 0).sum())
    assert stops == {4: 3 * (len(genes) - len(turned)), 11: 3 * len(genes)}
    assert "is the genetic code right? (code=4" not in told[4]
    assert f"{len(turned)} of {len(genes)} CDS have two or more stop codons inside" in told[11]
    said = refused(capfd, "label", str(write_run(tmp_path, tiny_model_folder, **{"labels.genes.code": 7})))
    assert "there is no genetic code 7" in said


@pytest.mark.filterwarnings("ignore:sequence should be at least")
def test_calling_genes_with_code_4(tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    pytest.importorskip("pyrodigal")
    rng = np.random.default_rng(8)
    spacers = ["".join(rng.choice(list("ACGT"), 130)) + "AGGAGGTAACAT" for _ in range(18)]
    text = "".join(spacer + gene(rng, 331 + i) for i, spacer in enumerate(spacers))
    write_fasta(tmp_path / "genome.fa", one=text + "ACGATCAGT" * 9)
    call = {"call": "genes", "table": 4, "rrna": False}
    few = {"source.strands": "+", "source.window": 113, "source.halo": 7}
    file = write_run(tmp_path, tiny_model_folder, **few, **{"labels.genes": call})
    said, _ = done(capfd, "label", str(file), "--quiet")
    assert "CDS" in said
    covered = painted(tmp_path / "results")["state"].to_numpy() != 0
    assert covered[142:1135].all() and not covered[1135:1277].any()  # the first planted gene, and what follows it
    wrong = write_run(tmp_path, tiny_model_folder, **few, **{"labels.genes": {**call, "table": 5}})
    assert "genetic codes 4 and 11; got table=5" in refused(capfd, "label", str(wrong))
    wrong = write_run(tmp_path, tiny_model_folder, **few, **{"labels.genes": {"call": "proteins"}})
    assert "labels.genes.call: 'proteins' is not known" in refused(capfd, "label", str(wrong))
    assert whole(tmp_path / "results")


# ---------------------------------------------------------------------- the model, the folder, the run file


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "nan"), (float("inf"), "nan")])
def test_activations_that_are_not_finite(
    value: float, word: str, tmp_path: Path, tiny_model_folder: Path, capfd
) -> None:
    """One poisoned weight: block 2, channel 7. Block 0 is sound, so the sentence must name layer 2."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_model_folder, tmp_path / "poisoned")
    weights = load_file(tmp_path / "poisoned" / "model.safetensors")
    weights["model.layers.2.mlp.down_proj.weight"][7, 3] = value
    save_file(weights, tmp_path / "poisoned" / "model.safetensors", metadata={"format": "pt"})
    file = write_run(tmp_path, "poisoned", layers=[0, 2], **SMALL)
    said = refused(capfd, "run", str(file))
    assert "layer 2 of" in said and "in item one:0-89+, cell [0, 1], channel 7" in said
    assert "finite" in said and (word in said or "inf" in said)
    assert not list((tmp_path / "results" / "activations").rglob("shard=*")) and whole(tmp_path / "results")


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_of_someone_else_is_left_alone(verb: str, tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    mine = tmp_path / "results"
    (mine / "tables").mkdir(parents=True)
    (mine / "tables" / "detection.tsv").write_text("the only copy")
    (mine / "tables" / ".notes.old-2019").write_text("also dear")
    (mine / ".partial-draft").write_text("a chapter")
    (mine / "thesis.tex").write_text("\\documentclass{article}")
    before = snapshot(mine)
    file = write_run(tmp_path, tiny_model_folder, **SMALL)
    assert "holds files that are no run of bioterp" in refused(capfd, verb, str(file))
    assert snapshot(mine) == before


def test_out_is_a_file_and_out_holds_only_the_input(tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    (tmp_path / "results").write_text("dear")
    assert "is a file; give a folder" in refused(capfd, "run", str(write_run(tmp_path, tiny_model_folder, **SMALL)))
    assert (tmp_path / "results").read_text() == "dear"
    (tmp_path / "here").mkdir()
    write_fasta(tmp_path / "here" / "genome.fa", **genome()[0])
    file = write_run(tmp_path, tiny_model_folder, **{**SMALL, "out": "here", "source.fasta": "here/genome.fa"})
    done(capfd, "activations", str(file), "--quiet")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layer": [1]}, "unknown key 'layer' in the run file; did you mean 'layers'"),
        ({"dictionary.widht": 8}, "unknown key 'widht' in dictionary; did you mean 'width'"),
        ({"source.windows": 8}, "unknown key 'windows' in source; did you mean 'window'"),
        ({"labels.genes.upstraem": 8}, "unknown key 'upstraem' in labels.genes; did you mean 'upstream'"),
        ({"model.alphabte": "ACGT"}, "takes no option 'alphabte'; did you mean 'alphabet'"),
        ({"analyses": ["detektion"]}, "analyses: 'detektion' is not known; did you mean 'detection'"),
        ({"layers": None}, "the run file lacks the key 'layers'"),
        ({"layers": [17]}, "has 3 blocks, so layers 0 to 2"),
        ({"source.window": 0}, "window must be ≥ 1 bp"),
        ({"source.window": 300}, "at most 128"),
        ({"source.contigs": ["three"]}, "has no contig 'three'; it has one, two"),
        ({"source.circular": ["ring"]}, "has no contig 'ring' to make circular"),
        ({"source.regions": "gone.bed"}, "there is no BED file"),
        ({"source.blocks": "wide"}, "blocks is a length such as '50kb'"),
        ({"model.name": "no-such-model"}, "'no-such-model' is not a known model"),
        ({"model.weights": "gone.pt"}, "gone.pt"),
        ({"labels.genes.path": "gone.gff"}, "gone.gff does not exist"),
        ({"labels": {}}, "labels names no annotation"),
    ],
)
def test_what_a_run_file_may_say_wrong(change: dict, said: str, tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    file = write_run(tmp_path, tiny_model_folder)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree(tiny_model_folder, **change)))
    assert said in refused(capfd, "run", str(file))
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dictionary.k": 41}, "k must lie between 1 and width"),
        ({"labels.genes.terms": ["CSD"]}, "CSD"),
        ({"labels.genes.attributes": {"biotype": "protein_coding"}}, "no record has the attribute 'biotype'"),
        ({"source.blocks": "contig"}, "fell into the split"),
    ],
)
def test_what_only_the_data_tell(change: dict, said: str, tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    file = write_run(tmp_path, tiny_model_folder, **{**SMALL, **change})
    assert said in refused(capfd, "run", str(file))
    assert whole(tmp_path / "results") and not (tmp_path / "results" / "report.html").exists()


def test_not_yaml(tmp_path: Path, capfd) -> None:
    for number, text in enumerate(("out: [", "", "- a\n- b\n", "\x00\x01")):
        (tmp_path / f"{number}.yaml").write_text(text)
        refused(capfd, "run", str(tmp_path / f"{number}.yaml"))


def test_tables_say_what_made_them(tmp_path: Path, tiny_model_folder: Path, capfd) -> None:
    file = write_run(tmp_path, tiny_model_folder, **SMALL)
    done(capfd, "run", str(file), "--quiet", "--cores", "1")
    side = json.loads((tmp_path / "results" / "tables" / "detection.tsv.json").read_text())
    found = tables_of(tmp_path / "results")["detection"]
    assert side["schema_version"] and [c["name"] for c in side["columns"]] == list(found.columns)
