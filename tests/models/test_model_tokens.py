"""Tokens on their bases, where tokenizers are awkward."""

from __future__ import annotations

import numpy as np
import pytest
from zoo import random_codes

from bioterp.errors import InputError
from bioterp.grid import Grid, Space
from bioterp.models.tokens import Tokens, spell


def codes(sequence: str) -> np.ndarray:
    return np.array(["ACGTN".index(base) for base in sequence], np.uint8)


def bounds(grid: Grid) -> list[tuple[int, int]]:
    return [tuple(b) for b in np.asarray(grid.bounds).tolist()]


@pytest.mark.parametrize("kind", ["esm-6mer", "bert-kmer", "bert-bpe", "mixtral-bpe", "llama-6mer", "remote-code"])
def test_token_strings_spell_their_bases(kind, entries, models):
    """Every token's own string against the sequence, for many lengths and masks."""
    model, entry = models(kind), entries(kind)
    tokens = model.tokens
    unknown = tokens.tokenizer.unk_token_id
    shift = 1 if kind == "bert-kmer" else 0
    for seed in range(25):
        array = random_codes(17 + 3 * seed, seed)
        if seed % 3 == 2:
            array[:4] = 4
            array[-2:] = 4
        sequence = spell(array)
        encoded = tokens.encode(array)
        assert bounds(encoded.cells) == entry.truth(sequence)
        words = tokens.tokenizer.convert_ids_to_tokens(encoded.ids[encoded.positions].tolist())
        for word, token, (start, end) in zip(words, encoded.ids[encoded.positions], bounds(encoded.cells), strict=True):
            if token != unknown:
                assert word == sequence[start - shift : start - shift + len(word)]
                assert len(word) == (4 if kind == "bert-kmer" else end - start)
        special = np.setdiff1d(np.arange(len(encoded.ids)), encoded.positions)
        assert len(special) == tokens.specials


def test_the_minus_strand_needs_nothing(models):
    """Index cells composed with a reversed grid give genome coordinates on the minus strand."""
    encoded = models("esm-6mer").tokens.encode(codes("ACGTACGGTACCAC"))
    genome = Grid.line(Space("chr", length=100), 20, 34, "-").compose(encoded.cells)
    assert genome.strand == "-"
    assert bounds(genome) == [(28, 34), (22, 28), (21, 22), (20, 21)]


def test_regular_cells_stay_regular(models):
    six = models("esm-6mer").tokens.encode(codes("ACGTAC" * 3))
    assert six.cells.affine is not None
    assert models("esm-6mer").tokens.encode(codes("ACGTAC" * 3 + "A")).cells.affine is None


def test_an_array_shorter_than_a_word(models):
    with pytest.raises(InputError, match="shorter than the model's 4-mers"):
        models("bert-kmer").prepare([codes("ACG")])


class Fake:
    """A slow tokenizer that cuts as it is told."""

    is_fast = False
    unk_token, unk_token_id = "?", 0
    all_special_tokens = ("?",)
    all_special_ids = (0,)

    def __init__(self, pieces: list[str]):
        self.pieces = pieces
        self.words = {"?": 0, "A": 1, "C": 2, "G": 3, "T": 4, "AC": 5, "GT": 6}

    def get_vocab(self):
        return self.words

    def tokenize(self, _text):
        return self.pieces

    def convert_tokens_to_ids(self, pieces):
        return [self.words.get(p, 0) for p in pieces]

    def __call__(self, _text, **_options):
        return {"input_ids": [*self.convert_tokens_to_ids(self.pieces), 9]}


def test_unknown_tokens_without_text():
    one = Tokens(Fake(["AC", "?", "GT"])).encode(codes("ACNNNGT"))
    assert bounds(one.cells) == [(0, 2), (2, 5), (5, 7)]
    each = Tokens(Fake(["AC", "?", "?", "GT"])).encode(codes("ACNNGT"))
    assert bounds(each.cells) == [(0, 2), (2, 3), (3, 4), (4, 6)]
    with pytest.raises(InputError, match="cannot be told"):
        Tokens(Fake(["AC", "?", "?", "GT"])).encode(codes("ACNNNGT"))


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        (["AC", "GT"], "without gap from base 4"),
        (["AC", "AC", "AC"], "gives the token 'AC' where the sequence has 'GT'"),
        (["AC", "GT", "AC", "A"], "without gap"),
        (["AC", "?"], "without gap"),
        ([], "without gap from base 0"),
        (["##AC", "##GT", "##AC"], None),
    ],
)
def test_tokens_must_spell_the_sequence(pieces, told):
    fake = Fake(pieces)
    fake.words |= {"##AC": 7, "##GT": 8}
    if told is None:
        assert bounds(Tokens(fake).encode(codes("ACGTAC")).cells) == [(0, 2), (2, 4), (4, 6)]
        return
    with pytest.raises(InputError, match=told):
        Tokens(fake).encode(codes("ACGTAC"))


def test_one_unknown_token_for_everything_is_refused():
    """WordPiece takes a long word it cannot spell for one unknown token, which has no bases of its own."""
    from transformers import BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "A", "C", "G", "T", "##AC", "##GT"]
    tokenizer = BertTokenizer(vocab={w: i for i, w in enumerate(words)}, do_lower_case=False)
    with pytest.raises(InputError, match="for one unknown token"):
        Tokens(tokenizer).encode(codes("ACGTAC" * 30))


def test_no_token_for_n():
    tokens = Tokens(alphabet="ACGT")
    assert tokens.encode(codes("GATT")).ids.tolist() == [2, 0, 3, 3]
    with pytest.raises(InputError, match="has no token for it"):
        tokens.encode(codes("GANT"))
    with pytest.raises(InputError, match="lacks the bases G, T"):
        Tokens(alphabet="AC")
