"""Names, weights, and what must not be trusted."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import zoo
from zoo import random_codes

from bioterp.errors import InputError
from bioterp.models import known_models, load_model


def test_importing_the_table_loads_neither_torch_nor_transformers():
    code = (
        "import sys, bioterp.models as m; m.known_models();"
        "sys.exit(any(x in sys.modules for x in ('torch', 'transformers', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_table_is_whole_and_its_names_are_taken():
    from bioterp.models import loader_of

    rows = known_models()
    assert list(rows) == [row.name for row in rows.values()]
    for row in rows.values():
        assert all((row.modality, row.context, row.tokeniser, row.licence, row.weights, row.run_here))
        assert row.layers is None or row.layers > 0
        if row.name != "bioterp/dna-small":
            assert loader_of(row.name)[0] == row.loader
    words = " ".join(rows)
    for family in ("nucleotide-transformer", "DNA_bert", "GROVER", "DNABERT-2", "hyenadna", "caduceus", "GENERator"):
        assert family in words
    for family in ("Mistral-DNA", "evo2", "openspliceai", "pangolin", "bioterp/dna-small"):
        assert family in words


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("bioterp/dna-smol", "did you mean 'bioterp/dna-small'"),
        ("openspliceai-400", "did you mean 'openspliceai-400nt'"),
        ("nothing", "not a known model"),
        ("no.such.package:factory", "could not be imported"),
        ("json:lods", "did you mean 'loads'"),
    ],
)
def test_a_wrong_name_is_told(name, told):
    with pytest.raises(InputError, match=told):
        load_model(name, weights="random")


def test_a_folder_without_a_model_is_told(tmp_path):
    with pytest.raises(InputError, match=r"has no config\.json"):
        load_model(str(tmp_path))


def test_weights_are_asked_for(entries):
    with pytest.raises(InputError, match="they are GPL"):
        load_model("pangolin")
    with pytest.raises(InputError, match="needs weights="):
        load_model(entries("factory-bins").name)
    with pytest.raises(InputError, match="there is no weights file"):
        load_model("openspliceai", weights="/nowhere/at.pt")


def test_hidden_states_are_those_of_transformers(entries, models):
    """Cell by cell against a plain forward on the tokenizer's own output."""
    from transformers import AutoTokenizer

    for kind in ("esm-6mer", "bert-kmer", "bert-bpe", "mixtral-bpe", "llama-6mer"):
        entry, model = entries(kind), models(kind)
        codes = random_codes(61, 1)
        sequence = "".join("ACGTN"[c] for c in codes)
        tokenizer = AutoTokenizer.from_pretrained(entry.name, trust_remote_code=True)
        text = " ".join(sequence[i : i + 4] for i in range(58)) if kind == "bert-kmer" else sequence
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        first = {"esm-6mer": 1, "bert-kmer": 1, "bert-bpe": 1, "mixtral-bpe": 1, "llama-6mer": 1}[kind]
        with torch.no_grad():
            plain = model.module(ids, output_hidden_states=True)
        batch = model.prepare([codes])
        n = batch.cells[0].size
        found = model.run(batch, [0, 1, "output"])
        for layer in (0, 1):
            torch.testing.assert_close(found[layer][0], plain.hidden_states[layer + 1][0, first : first + n])
        torch.testing.assert_close(found["output"][0], plain.logits[0, first : first + n])


def test_a_tokenizer_or_an_alphabet_give_the_same(entries, tmp_path):
    """A single-base folder with tokenizer files, and the same without, told by its alphabet."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path / "with"
    shutil.copytree(entries("llama-single").name, folder)
    words = {"A": 0, "C": 1, "G": 2, "T": 3, "N": 4, "<bos>": 5, "<pad>": 6}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="N"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="N", bos_token="<bos>", pad_token="<pad>"
    ).save_pretrained(folder)
    with_files, without = load_model(str(folder)), load_model(entries("llama-single").name, alphabet="ACGTN")
    codes = [random_codes(40, 1), random_codes(27, 2)]
    ours, theirs = (m.run(m.prepare(codes), [-1])[-1] for m in (with_files, without))
    assert torch.equal(ours, theirs)
    assert with_files.hash == without.hash
    assert with_files.tokens.table is not None


def test_other_weights_for_a_folder(entries, models, tmp_path):
    entry, model = entries("bert-bpe"), models("bert-bpe")
    state = {name: tensor * 1.5 for name, tensor in model.module.state_dict().items()}
    torch.save(state, tmp_path / "other.pt")
    other = load_model(entry.name, weights=tmp_path / "other.pt")
    for name, tensor in other.module.state_dict().items():
        assert torch.equal(tensor, state[name])
    torch.save({"nothing": torch.zeros(3)}, tmp_path / "wrong.pt")
    with pytest.raises(InputError, match="tensors of its network"):
        load_model(entry.name, weights=tmp_path / "wrong.pt")


class Payload:
    """Unpickling it writes a file."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_malicious_checkpoint_is_refused_and_not_executed(entries, tmp_path, form):
    ran = tmp_path / "ran"
    bad = tmp_path / "bad.pt"
    if form == "pickle":
        bad.write_bytes(pickle.dumps({"a": Payload(ran)}))
    else:
        torch.save({"a": Payload(ran)}, bad, _use_new_zipfile_serialization=form == "zip")
    for name in ("openspliceai", "pangolin", entries("factory-bins").name, entries("bert-bpe").name):
        with pytest.raises(InputError, match="is not opened because unpickling it could run code"):
            load_model(name, weights=bad)
    folder = tmp_path / "folder"
    shutil.copytree(entries("bert-bpe").name, folder)
    (folder / "model.safetensors").unlink()
    bad.rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="could not load"):
        load_model(str(folder))
    assert not ran.exists()


def test_a_checkpoint_that_is_no_state_dict_is_told(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with pytest.raises(InputError, match="not a state dict"):
        load_model("openspliceai", weights=tmp_path / "list.pt")
    (tmp_path / "broken.safetensors").write_bytes(b"\x99" * 40)
    with pytest.raises(InputError, match="is damaged"):
        load_model("openspliceai", weights=tmp_path / "broken.safetensors")


def test_remote_code_is_not_run_without_the_flag(entries, tmp_path):
    ran = tmp_path / "ran"
    folder = tmp_path / "model"
    shutil.copytree(entries("remote-code").name, folder)
    code = f"open({str(ran)!r}, 'w').close()\n" + (folder / "modeling_mix.py").read_text()
    (folder / "modeling_mix.py").write_text(code)
    with pytest.raises(InputError, match="brings its own code, which is not run unless you trust it"):
        load_model(str(folder))
    assert not ran.exists()
    load_model(str(folder), trust_remote_code=True)
    assert ran.exists()


def test_a_tokenizer_with_code_needs_the_flag_too(entries):
    with pytest.raises(InputError, match="brings its own code"):
        load_model(entries("llama-6mer").name)


def test_code_from_the_hub_needs_a_revision():
    with pytest.raises(InputError, match="give revision="):
        load_model("LongSafari/hyenadna-large-1m-seqlen-hf", trust_remote_code=True)


def test_a_stand_in_architecture_is_not_filled_silently(entries, tmp_path):
    """DNABERT-2 says model_type bert but brings other code: without it, weights would be made up."""
    folder = tmp_path / "model"
    shutil.copytree(entries("bert-bpe").name, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"num_hidden_layers": 3, "auto_map": {"AutoModelForMaskedLM": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"lack \d+ tensors .* trust_remote_code=True"):
        load_model(str(folder))


def test_a_model_of_another_language_is_told(tmp_path):
    from transformers import BertTokenizer

    folder = tmp_path / "english"
    zoo.bert_bpe(folder)
    (folder / "tokenizer.json").unlink()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "of", "and"]
    BertTokenizer(vocab={w: i for i, w in enumerate(words)}).save_pretrained(folder)
    with pytest.raises(InputError, match="no word of A, C, G and T"):
        load_model(str(folder))


def test_factories(entries, monkeypatch, tmp_path):
    entry = entries("factory-bins")
    module = entry.name.split(":")[0]
    with pytest.raises(InputError, match="returned a int; wanted"):
        load_model(f"{module}:not_a_module", weights="random")
    with pytest.raises(InputError, match="wanted 'onehot' or 'codes'"):
        load_model(entry.name, weights="random", input="letters")
    with pytest.raises(InputError, match="left over"):
        load_model(f"{module}:Codes", weights=entry.options["weights"])
    with pytest.raises(InputError, match="of another shape"):
        load_model(entry.name, weights=entry.options["weights"], arguments={"width": 10})
    model = load_model(entry.name, **entry.options)
    with pytest.raises(InputError, match="do not divide an array of 30 bases"):
        model.prepare([random_codes(30, 0)])
    batch = model.prepare([random_codes(64, 0)])
    with pytest.raises(InputError, match="cells of 4 bp were expected"):
        model.run(batch, ["stem"])
    with pytest.raises(InputError, match="does not fit it"):
        model.run(batch, ["crop"])
    per_base = load_model(entry.name, weights=entry.options["weights"])
    with pytest.raises(InputError, match="load the model with stride=4"):
        per_base.run(per_base.prepare([random_codes(64, 0)]), [0])
    stem = per_base.run(per_base.prepare([random_codes(64, 1)]), ["stem"])["stem"]
    assert stem.shape == (1, 64, 13)


def test_onehot_leaves_masked_bases_zero(entries):
    entry = entries("factory-bins")
    model = load_model(entry.name, weights=entry.options["weights"])
    (part,) = model.prepare([np.array([0, 1, 2, 3, 4, 0, 2, 2], np.uint8)]).parts
    expected = [[1, 0, 0, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 1, 1], [0, 0, 0, 1, 0, 0, 0, 0]]
    assert part.inputs["x"].tolist() == [expected]


def test_a_misspelt_name_of_ours_never_asks_the_hub(monkeypatch):
    from bioterp.models import huggingface

    monkeypatch.setattr(huggingface, "load", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(InputError, match=r"there is no model 'bioterp/dna-smal' .*did you mean 'bioterp/dna-small'"):
        load_model("bioterp/dna-smal")


@pytest.mark.parametrize("misspelt", [True, False])
def test_a_hub_id_like_a_known_one_is_offered_when_it_fails(monkeypatch, misspelt):
    from bioterp.models import huggingface

    def fail(*_, **__):
        raise InputError("could not load")

    monkeypatch.setattr(huggingface, "load", fail)
    known = next(row.name for row in known_models().values() if row.loader == "huggingface" and row.weights == "hub")
    with pytest.raises(InputError, match=r"^could not load") as error:
        load_model(known[:-1] if misspelt else known)
    assert (f"did you mean {known!r}?" in str(error.value)) is misspelt
