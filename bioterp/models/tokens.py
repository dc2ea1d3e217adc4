"""Tokens and the bases they stand for.

`Tokens` turns base codes into token ids and says which bases each token covers. Three ways, told from the
vocabulary and from how the tokenizer behaves, never from a stride:

    table        every DNA word has one letter: ids are looked up, no string is built
    overlapping  every DNA word has k letters and the tokenizer wants them as words (DNABERT): token i is the
                 one-base cell of its middle base, i + (k − 1) // 2
    spelled      anything else (non-overlapping k-mers with their single-base tail, BPE): the offsets of a fast
                 tokenizer, or the pieces of a slow one walked along the sequence; checked against it

Special tokens have no locus. An unknown token keeps the bases it swallowed, as far as that can be told.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from bioterp.arrays import Array
from bioterp.errors import InputError
from bioterp.grid import Grid
from bioterp.models.base import INDEX, MASKED

LETTERS = "ACGTN"
_LETTER_BYTES = np.frombuffer(LETTERS.encode(), np.uint8)
# How subword vocabularies mark the start or the inside of a word.
_MARKS = re.compile("^(##|Ġ|▁)|(</w>)$")


def spell(codes: Array) -> str:
    """Base codes → letters."""
    return _LETTER_BYTES[codes].tobytes().decode("ascii")


@dataclass(frozen=True)
class Encoded:
    """One array as tokens: all ids, special ones included; the positions of cells among them; the cells."""

    ids: Array
    positions: Array
    cells: Grid


class Tokens:
    """A transformers tokenizer (or an alphabet: letter i has id i) as a map from bases to tokens and back.

    Raises InputError when the tokenizer knows no DNA, or its tokens do not spell the sequence.
    """

    def __init__(self, tokenizer: Any = None, alphabet: str | None = None):
        self.tokenizer = tokenizer
        self.unknown: int | None = None
        self.prefix: list[int] = []
        self.suffix: list[int] = []
        self.k = 1
        if alphabet is not None:
            vocabulary = {letter: i for i, letter in enumerate(alphabet)}
            special: set[str] = set()
        else:
            vocabulary = dict(tokenizer.get_vocab())
            self.unknown = tokenizer.unk_token_id
            special = set(tokenizer.all_special_tokens) - {tokenizer.unk_token}
        self._words = {
            word: i
            for token, i in vocabulary.items()
            if token not in special and re.fullmatch("[ACGTN]+", word := _MARKS.sub("", token).upper())
        }
        lengths = {len(word) for word in self._words}
        if not lengths or not any("N" not in word for word in self._words):
            raise InputError("the tokenizer's vocabulary has no word of A, C, G and T; wanted a DNA model")
        self.longest = max(lengths)
        self.table: Array | None = None
        if lengths == {1}:
            self._single()
        elif len(lengths) == 1 and self._all_kmers(self.longest) and self._wants_words():
            self._overlapping(self.longest)

    @property
    def specials(self) -> int:
        """Special tokens around an array."""
        if self.table is None:
            return len(self._call("")["input_ids"])
        return len(self.prefix) + len(self.suffix)

    def encode(self, codes: Array) -> Encoded:
        """(length,) base codes → tokens and their cells. Raises InputError when they cannot be placed."""
        if self.table is not None:
            return self._looked_up(codes)
        return self._spelled(codes)

    # -- table --------------------------------------------------------------------------------------------------

    def _single(self) -> None:
        missing = [letter for letter in "ACGT" if letter not in self._words]
        if missing:
            raise InputError(f"the vocabulary lacks the bases {', '.join(missing)}; wanted A, C, G and T")
        masked = self._words.get("N", self.unknown)
        ids = [self._words[letter] for letter in "ACGT"] + [-1 if masked is None else masked]
        if self.tokenizer is None or self._observe("ACGGT", [ids[i] for i in (0, 1, 2, 2, 3)]):
            self.table = np.array(ids, np.int64)

    def _overlapping(self, k: int) -> None:
        kmers = ["".join(kmer) for kmer in itertools.product("ACGT", repeat=k)]
        ids = [self._words[kmer] for kmer in kmers]
        if self._observe(f"{kmers[0]} {kmers[1]} {kmers[-1]}", [ids[0], ids[1], ids[-1]]):
            self.k = k
            self.table = np.array([*ids, -1 if self.unknown is None else self.unknown], np.int64)

    def _observe(self, text: str, ids: list[int]) -> bool:
        """Find the special tokens the tokenizer puts around known ids; False when it made other ids of the text."""
        full = list(self._call(text)["input_ids"])
        for start in range(len(full) - len(ids) + 1):
            if full[start : start + len(ids)] == ids:
                self.prefix, self.suffix = full[:start], full[start + len(ids) :]
                return True
        return False

    def _all_kmers(self, k: int) -> bool:
        return k > 1 and all("".join(kmer) in self._words for kmer in itertools.product("ACGT", repeat=k))

    def _wants_words(self) -> bool:
        """Whether unbroken DNA is unknown to a tokenizer whose vocabulary holds all its k-mers."""
        known = {i for word, i in self._words.items()}
        ids = self._call("ACGTTGCA" * self.longest)["input_ids"]
        return sum(i in known for i in ids) < 8

    def _looked_up(self, codes: Array) -> Encoded:
        table = self.table if self.table is not None else np.zeros(0, np.int64)
        n = len(codes) - self.k + 1
        if n < 1:
            raise InputError(
                f"an array of {len(codes)} bases is shorter than the model's {self.k}-mers; use longer windows"
            )
        if self.k == 1:
            index = codes
        else:
            windows = np.lib.stride_tricks.sliding_window_view(codes.astype(np.int64), self.k)
            index = windows @ (4 ** np.arange(self.k - 1, -1, -1))
            index[(windows == MASKED).any(1)] = len(table) - 1
        ids = table[index]
        if ids.min() < 0:
            raise InputError(
                "an array holds N or an ambiguity code, and the model has no token for it; mask such windows out"
            )
        middle = (self.k - 1) // 2
        return Encoded(
            np.concatenate([self.prefix, ids, self.suffix]).astype(np.int64),
            np.arange(len(self.prefix), len(self.prefix) + n),
            Grid.line(INDEX, middle, middle + n),
        )

    # -- spelled ------------------------------------------------------------------------------------------------

    def _call(self, text: str, **options: Any) -> Any:
        # verbose=False: a sequence longer than the context is our error to tell, not a warning of the tokenizer's.
        return self.tokenizer(text, return_attention_mask=False, verbose=False, **options)

    def _spelled(self, codes: Array) -> Encoded:
        sequence = spell(codes)
        if self.tokenizer.is_fast:
            got = self._call(sequence, return_offsets_mapping=True)
            ids, offsets = list(got["input_ids"]), list(got["offset_mapping"])
            special = set(self.tokenizer.all_special_ids) - {self.unknown}
            cells = [
                (i, start, end)
                for i, (token, (start, end)) in enumerate(zip(ids, offsets, strict=True))
                if end > start and token not in special
            ]
            words = self.tokenizer.convert_ids_to_tokens([ids[i] for i, _, _ in cells])
        else:
            ids, cells, words = self._walk(sequence)
        bounds = np.array([(start, end) for _, start, end in cells], np.int64).reshape(-1, 2)
        self._check(sequence, bounds, words, [ids[i] for i, _, _ in cells])
        widths = np.unique(bounds[:, 1] - bounds[:, 0])
        if len(widths) == 1:
            grid = Grid(INDEX, (len(bounds),), [[float(widths[0]), 0.0], [0.0, 1.0]])
        else:
            grid = Grid(INDEX, (len(bounds),), bounds=bounds)
        return Encoded(np.array(ids, np.int64), np.array([i for i, _, _ in cells], np.int64), grid)

    def _walk(self, sequence: str) -> tuple[list[int], list[tuple[int, int, int]], list[str]]:
        """The pieces of a slow tokenizer, which carry no offsets, laid along the sequence."""
        pieces = [piece for piece in self.tokenizer.tokenize(sequence) if _MARKS.sub("", piece)]
        own = self.tokenizer.convert_tokens_to_ids(pieces)
        ids = list(self._call(sequence)["input_ids"])
        first = next((s for s in range(len(ids) - len(own) + 1) if ids[s : s + len(own)] == own), None)
        if first is None:
            raise InputError(
                "the tokenizer's pieces are not the tokens it feeds the model, so their bases cannot be told"
            )
        cells, at = [], 0
        for i, piece in enumerate(pieces):
            word = _MARKS.sub("", piece)
            width = len(word)
            if piece == self.tokenizer.unk_token:
                width = self._swallowed(sequence, at, pieces, i)
            cells.append((first + i, at, at + width))
            at += width
        return ids, cells, pieces

    def _swallowed(self, sequence: str, at: int, pieces: list[str], i: int) -> int:
        """Bases an unknown token without text covers: a run of N for one token, or a base for each."""
        run = len(sequence[at:]) - len(sequence[at:].lstrip("N"))
        tokens = len(list(itertools.takewhile(lambda piece: piece == self.tokenizer.unk_token, pieces[i:])))
        if tokens == 1:
            return run
        if tokens == run:
            return 1
        raise InputError(
            f"the tokenizer made {tokens} unknown tokens of '{sequence[at : at + 12]}…' (base {at}), and which bases "
            "each covers cannot be told; mask such windows out"
        )

    def _check(self, sequence: str, bounds: Array, words: list[str], ids: list[int]) -> None:
        """Tokens must tile the sequence and spell it; an unknown one may not hide more than the longest word."""
        ends = np.append(0, bounds[:, 1])
        starts = np.append(bounds[:, 0], len(sequence))
        if (starts != ends).any():
            at = int(ends[np.argmax(starts != ends)])
            raise InputError(
                f"the tokens of the tokenizer do not cover a sequence of {len(sequence)} bases without gap "
                f"from base {at} on; bioterp cannot tell the bases of such tokens"
            )
        for (start, end), word, token in zip(bounds.tolist(), words, ids, strict=True):
            text = sequence[start:end]
            if token == self.unknown:
                if "N" not in text and end - start > self.longest:
                    raise InputError(
                        f"the tokenizer takes '{text[:12]}…' ({end - start} bases) for one unknown token; it wants "
                        "another form of DNA, or does not belong to the model"
                    )
            elif _MARKS.sub("", word).upper() != text:
                raise InputError(
                    f"the tokenizer gives the token '{word}' where the sequence has '{text}' (base {start}); wanted "
                    "tokens that spell the sequence"
                )
