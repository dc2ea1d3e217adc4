"""Whatever is done to a valid file of any kind: it is read, or it is refused in one sentence of bioterp's own."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bioterp import config
from bioterp.errors import BioterpError, InputError
from tests.hostile import DOORS, Door

QUICK = settings(
    max_examples=20, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
LONG = settings(QUICK, max_examples=4_000, derandomize=False)
TOKENS = [
    b"\0", b"\t", b"\n", b"\r", b";", b"=", b'"', b",", b":", b"-1", b"0", b"9" * 25, b"\xff", "²".encode(), b">", b"#",
    b"%41", b"NaN", b"inf", b"1e400", b"[", b"{", b"'", b"\\", b"../", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff",
    b"\0\0\0\x80",
]  # fmt: skip
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True), st.integers(0, 40), st.one_of(st.sampled_from(TOKENS), st.binary(max_size=8))
    ),
    min_size=1,
    max_size=5,
)


def edited(valid: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """Pieces of a valid file replaced: where, as a share of its length, how many bytes go, and what comes."""
    for place, gone, put in edits:
        at = int(place * (len(valid) + 1))
        valid = valid[:at] + put + valid[at + gone :]
    return valid


def outcome(door: Door, path: Path, content: bytes) -> Any:
    """What a door makes of some content, or its refusal without the name of the file."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    try:
        return door.read(path)
    except BioterpError as error:
        said = str(error)
        assert said and "\n" not in said and "\0" not in said and len(said) < 2_000
        return said.replace(str(path), "FILE")


@pytest.mark.parametrize("name", DOORS)
def test_the_valid_file_is_read(tmp_path: Path, name: str) -> None:
    """Else the edits below would only be told that it is none; of a marker and of sheets of absent files little is."""
    door = DOORS[name]
    told = outcome(door, tmp_path / door.file, door.valid)
    expected = {
        "marker": "no marker", "scans": "can be read", "pickle": "could run code", "shard of torch": "holds neither",
        "dictionary": "cfg.json",
    }  # fmt: skip
    if name in expected:
        assert expected[name] in told
    else:
        assert not isinstance(told, str), told


def check(name: str, folder: Path, how: settings) -> None:
    door = DOORS[name]

    @how
    @given(edits=EDITS)
    def whatever(edits: list[tuple[float, int, bytes]]) -> None:
        content = edited(door.valid, edits)
        told = outcome(door, folder / door.file, content)
        if door.text and isinstance(told, list | str) and content[:2] != b"\x1f\x8b":
            packed = outcome(door, folder / "packed" / f"{door.file}.gz", gzip.compress(content, 1))
            if isinstance(packed, list):
                assert packed == told  # the same file, packed
            else:
                assert isinstance(told, str)

    whatever()


@pytest.mark.parametrize("name", DOORS)
def test_an_edited_file_is_read_or_refused(tmp_path: Path, name: str) -> None:
    check(name, tmp_path, QUICK)


@pytest.mark.stress
@pytest.mark.parametrize("name", DOORS)
def test_any_edited_file_is_read_or_refused(tmp_path: Path, name: str) -> None:
    check(name, tmp_path, LONG)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.just("a\0b"), st.just("~nobody/x")
)
KEYS = st.sampled_from(
    ["kind", "fasta", "window", "name", "path", "weights", "k", "width", "seeds", "options", "tokens", "dna", "scans"]
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.one_of(KEYS, SCALARS), inner, max_size=3)),
    max_leaves=6,
)
TOP = st.sampled_from(
    ["out", "source", "model", "layers", "dictionary", "labels", "analyses", "adjust", "baselines", "cohort", "exports",
     "export_features", "seed", "dtype", "disk", "huh"]
)  # fmt: skip
VALID: dict[str, Any] = {
    "out": "o", "source": {"kind": "dna", "fasta": "a.fa"}, "model": "bioterp/dna-small", "layers": [1],
}  # fmt: skip


def any_tree(how: settings) -> None:
    @how
    @given(changes=st.dictionaries(TOP, TREES, max_size=3))
    def whatever(changes: dict[str, Any]) -> None:
        try:
            config.parse(VALID | changes, Path("/nowhere"))
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 2_000

    whatever()


def test_a_run_of_any_tree_is_parsed_or_refused() -> None:
    any_tree(settings(QUICK, max_examples=150))


@pytest.mark.parametrize(
    ("name", "edit"),
    [("lengths", (0.5, 0, b"9" * 25)), ("marker", (0.0, 0, b"\x1f\x8b")), ("label python", (0.0, 0, b"\x1f\x8b"))],
)
def test_what_the_long_form_found(tmp_path: Path, name: str, edit: tuple[float, int, bytes]) -> None:
    """A length beyond 64 bits; two bytes that say gzip before what is none."""
    assert isinstance(outcome(DOORS[name], tmp_path / DOORS[name].file, edited(DOORS[name].valid, [edit])), str)


def test_a_kind_that_is_a_list_is_refused() -> None:
    with pytest.raises(InputError, match=r"source\.kind"):
        config.parse(VALID | {"source": {"kind": []}}, Path("/nowhere"))


@pytest.mark.stress
def test_a_run_of_any_tree_at_all_is_parsed_or_refused() -> None:
    any_tree(settings(LONG, max_examples=20_000))
