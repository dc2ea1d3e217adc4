"""Folders that appear whole or not at all, and arrays that come back bit for bit."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bioterp import arrays, store
from bioterp.arrays import BFloat16
from bioterp.errors import StoreError

FLOATS = hnp.arrays(np.float32, st.integers(1, 23), elements=st.floats(width=32, allow_nan=True, allow_infinity=True))


@settings(max_examples=200, deadline=None)
@given(FLOATS)
def test_bfloat16_rounds_as_torch_does(values):
    ours = BFloat16.of(values).float32()
    theirs = torch.from_numpy(values.copy()).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(ours, theirs)


def test_bfloat16_over_every_exponent():
    bits = np.arange(0, 2**32, 65537, dtype=np.uint64).astype(np.uint32)
    values = bits.view(np.float32)
    theirs = torch.from_numpy(values.copy()).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(BFloat16.of(values).float32(), theirs)
    kept = BFloat16(np.arange(65536).astype(np.uint16)).float32()  # widening loses nothing
    np.testing.assert_array_equal(BFloat16.of(kept).float32(), kept)


@pytest.mark.parametrize(("dtype", "largest"), [("float16", 65504.0), ("bfloat16", 3.3895314e38)])
def test_overflow_is_an_error_and_infinity_is_not(dtype, largest):
    fine = np.array([largest, -largest, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(arrays.float32(arrays.narrow(fine, dtype)), fine)
    with pytest.raises(OverflowError, match=dtype):
        arrays.narrow(np.array([1.0, np.nextafter(np.float32(largest), np.float32(np.inf)) * np.float32(1.002)]), dtype)
    with pytest.raises(OverflowError):
        arrays.narrow(np.float32([[2.0, 3.4e38]]), dtype)


ARRAYS = {
    "f32": np.linspace(-3, 5, 21, dtype=np.float32).reshape(3, 7),
    "f16": np.arange(10, dtype=np.float16).reshape(5, 2),
    "i64": np.array([2**62, -5, 0]),
    "u8": np.arange(4, dtype=np.uint8),
    "yes": np.array([True, False, True]),
    "none": np.zeros((0, 11), np.float32),
    "one": np.array(6.5),
}


def test_safetensors_package_reads_ours(tmp_path):
    file = tmp_path / "a.safetensors"
    arrays.write_safetensors(file, {**ARRAYS, "half": BFloat16.of(ARRAYS["f32"])})
    theirs = safetensors.torch.load_file(file)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(theirs[name].numpy(), array)
        assert theirs[name].numpy().dtype == array.dtype and tuple(theirs[name].shape) == array.shape
    assert theirs["half"].dtype == torch.bfloat16
    assert torch.equal(theirs["half"], torch.from_numpy(ARRAYS["f32"]).to(torch.bfloat16))


def test_we_read_the_safetensors_package(tmp_path):
    file = tmp_path / "a.safetensors"
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in ARRAYS.items()}
    tensors["half"] = torch.linspace(-2, 9, 13).to(torch.bfloat16)
    safetensors.torch.save_file(tensors, file, {"made": "elsewhere"})
    ours = arrays.read_safetensors(file)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(ours[name], array)
    assert isinstance(ours["half"], BFloat16)
    np.testing.assert_array_equal(ours["half"].float32(), tensors["half"].float().numpy())
    assert isinstance(ours["f32"], np.memmap), "arrays are mapped, not loaded"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_reads_within_its_bounds(tmp_path_factory, data):
    whole = safetensors.numpy.save({"a": ARRAYS["f32"], "b": ARRAYS["i64"]})
    file = tmp_path_factory.mktemp("damage") / "a.safetensors"
    if data.draw(st.booleans()):
        file.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        with pytest.raises(StoreError):
            arrays.read_safetensors(file)
        return
    header = 8 + int.from_bytes(whole[:8], "little")
    at, bit = data.draw(st.integers(0, header - 1)), data.draw(st.integers(0, 7))
    file.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
    try:
        for array in arrays.read_safetensors(file).values():
            np.asarray(arrays.float32(array)).sum()
    except StoreError:
        pass  # the flip was noticed; a flip in a name or a shape that still fits is not noticeable here


def make(path, n=3):
    store.write(path, {"a": np.arange(n)}, {"t": pd.DataFrame({"x": [1.5, None]})}, {"what": "test"})


def test_written_and_read(tmp_path):
    make(tmp_path / "deep" / "f")
    held = store.read(tmp_path / "deep" / "f", check=True)
    assert held.meta["what"] == "test" and held.meta["made_by"]["versions"]["bioterp"]
    assert held.array("a").tolist() == [0, 1, 2] and held.table("t")["x"].isna().tolist() == [False, True]
    make(tmp_path / "deep" / "f", 5)  # replaces
    assert len(store.read(tmp_path / "deep" / "f").array("a")) == 5
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == ["f"]


@pytest.mark.parametrize("name", ["arrays.safetensors", "t.parquet"])
def test_a_flipped_bit_is_found_by_check(tmp_path, name):
    make(tmp_path / "f")
    raw = bytearray((tmp_path / "f" / name).read_bytes())
    raw[-1] ^= 4
    (tmp_path / "f" / name).write_bytes(raw)
    with pytest.raises(StoreError, match="damaged"):
        store.read(tmp_path / "f", check=True)
    (tmp_path / "f" / name).unlink()
    with pytest.raises(StoreError, match=f"lacks {name}"):
        store.read(tmp_path / "f")


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ("[1]", "no record"), ('{"schema_version": 99}', "newer"), (None, "finished")],
)
def test_a_bad_record_is_refused(tmp_path, text, message):
    make(tmp_path / "f")
    meta = tmp_path / "f" / "meta.json"
    meta.unlink()
    if text is not None:
        meta.write_text(text)
    with pytest.raises(StoreError, match=message):
        store.read(tmp_path / "f")


def test_a_folder_of_someone_else_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(StoreError, match="not written by bioterp"):
        make(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]


def test_a_failing_writer_leaves_the_old_result(tmp_path):
    make(tmp_path / "f")
    with pytest.raises(KeyError), store.writing_folder(tmp_path / "f") as beside:
        (beside / "half").write_text("half")
        raise KeyError
    with pytest.raises(KeyError), store.writing_file(tmp_path / "x.bed") as file:
        file.write_text("half")
        raise KeyError
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]
    assert len(store.read(tmp_path / "f", check=True).array("a")) == 3


@pytest.mark.parametrize("exists", [False, True])
def test_kill_while_writing_leaves_nothing_half(tmp_path, exists):
    target = tmp_path / "f"
    if exists:
        make(target)
    script = f"""
        import time
        from bioterp import arrays, store
        with store.writing_folder({str(target)!r}) as beside:
            (beside / "arrays.safetensors").write_bytes(b"half")
            with store.writing_file({str(tmp_path / "track.bw")!r}) as file:
                file.write_bytes(b"half")
                print("writing", flush=True)
                time.sleep(60)
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "writing\n"
    child.send_signal(signal.SIGKILL)
    assert child.wait(10) == -signal.SIGKILL
    child.stdout.close()
    assert not (tmp_path / "track.bw").exists()
    assert target.exists() == exists
    left = [entry.name for entry in tmp_path.iterdir() if entry.name != "f"]
    assert len(left) == 2 and all(name.startswith(".") for name in left)
    store.clear_partials(tmp_path)
    make(target, 4)
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]
    assert len(store.read(target, check=True).array("a")) == 4


def test_digest_tells_recipes_apart_and_not_their_order():
    assert store.digest({"a": 1, "b": [2]}) == store.digest({"b": [2], "a": 1}) != store.digest({"a": 1, "b": [3]})
    assert json.loads(json.dumps(store.provenance()))["python"] == sys.version.split()[0]
    assert store.provenance()["time"][:4] == time.strftime("%Y", time.gmtime())


def test_an_emptied_index_is_cleared_and_a_full_one_is_not(tmp_path: Path) -> None:
    for name, finished, full in (("a", True, False), ("b", False, False), ("c", True, True)):
        (tmp_path / name / ".index").mkdir(parents=True)
        if finished:
            (tmp_path / name / "meta.json").write_text("{}")
        if full:
            (tmp_path / name / ".index" / "columns.parquet").write_text("x")
    store.clear_partials(tmp_path)
    assert [(tmp_path / name / ".index").exists() for name in "abc"] == [False, True, True]


def test_only_what_a_writer_left_is_cleared(tmp_path: Path) -> None:
    for name in (
        ".partial-thesis",
        ".notes.old-2024",
        "sub/.x.partial-short",
        ".partial-12-kept.tsv",
        ".a.old-abcd1234",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "sub" / ".shard.partial-x_8zk1qa").mkdir()
    store.clear_partials(tmp_path, deep=False)
    assert (tmp_path / "sub" / ".shard.partial-x_8zk1qa").is_dir()
    store.clear_partials(tmp_path)
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")}
    assert left == {".partial-thesis", ".notes.old-2024", "sub", "sub/.x.partial-short"}
