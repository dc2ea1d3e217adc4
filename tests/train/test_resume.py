"""Checkpoints: what was kept comes back bit for bit, or not at all and said so."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from bioterp import progress, store
from bioterp.errors import InputError, StoreError
from bioterp.train.resume import Keeper
from bioterp.train.world import World


class Engine:
    """A state of every kind of array, drawn from a number."""

    def __init__(self, seed: int = 0):
        rng = np.random.default_rng(seed)
        bits = rng.integers(0, 2**32, (7, 5), dtype=np.uint32)
        self.arrays = {
            "encoder": bits.view(np.float32),  # NaN, subnormals and −0 among them
            "adam.first": rng.standard_normal(3),
            "done": np.array(seed, np.int64),
            "fired": rng.random(6) < 0.5,
            "none": np.zeros((0, 4), np.float32),
        }

    def state(self) -> dict[str, np.ndarray]:
        return self.arrays


def same(found: dict[str, np.ndarray], engine: Engine) -> bool:
    return found.keys() == engine.arrays.keys() and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(found.values(), engine.arrays.values(), strict=True)
    )


def keeper(folder: Path | None, digest: str = "ab12", world: World | None = None, every: float = 0.0) -> Keeper:
    return Keeper(folder, digest, world or World(), every)


def copies(folder: Path) -> int:
    return len(list(folder.rglob("arrays.safetensors")))


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "keep"
    kept = keeper(folder)
    assert kept.load() is None
    for step in (3, 11, 205):
        assert kept.tick(step, [Engine(step), Engine(step + 1)])
        assert copies(folder) == 1
    found = keeper(folder).load()
    assert found is not None and found[0] == 205
    assert [same(state, Engine(205 + i)) for i, state in enumerate(found[1])] == [True, True]
    shutil.rmtree(folder)
    found[1][0]["encoder"] += 1  # in memory of its own
    kept.done()


def test_nothing_is_kept_without_a_folder_or_before_it_is_time(tmp_path: Path) -> None:
    nothing = keeper(None)
    assert nothing.load() is None and not nothing.tick(1, [Engine()])
    nothing.done()
    early = keeper(tmp_path / "keep", every=3_600)
    assert early.load() is None and not early.tick(1, [Engine()]) and not (tmp_path / "keep").exists()


def test_the_last_is_only_removed_when_the_next_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "keep"
    kept = keeper(folder)
    kept.tick(1, [Engine(1)])
    most = []
    for name in ("write", "discard"):
        real = getattr(store, name)

        def watched(path, *given, real=real, **named):
            most.append(copies(folder))
            assert keeper(folder)._kept()
            real(path, *given, **named)
            most.append(copies(folder))

        monkeypatch.setattr(store, name, watched)
    for step in (2, 3):
        kept.tick(step, [Engine(step)])
    assert max(most) == 2 and min(most) == 1


def killed(folder: Path, after: int) -> bool:
    """Train two steps in a process that is killed after so many times that it opened, moved or removed something.

    False when it came to its end before.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    left = [after]
    watched = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree")

    def hook(event: str, given: object) -> None:
        if event in watched and (str(folder) in str(given) or event in ("os.rmdir", "os.remove")):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(hook)
        kept = keeper(folder)
        found = kept.load()
        first = 0 if found is None else found[0]
        for step in range(first + 1, first + 3):
            kept.tick(step, [Engine(step)])
        os._exit(0)
    finally:
        os._exit(1)


def test_killed_at_any_moment_a_whole_checkpoint_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "keep"
    keeper(folder).tick(1, [Engine(1)])
    after, last = 0, 1
    while killed(folder, after):
        assert copies(folder) <= 2
        found = keeper(folder).load()
        assert found is not None and same(found[1][0], Engine(found[0])) and last <= found[0] <= last + 2
        assert copies(folder) == 1 and not list(folder.glob(".*"))
        after, last = after + 1, found[0]
    assert after > 20 and last > 10


def test_a_killed_process_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "keep"
    keeper(folder).tick(1, [Engine(1)])
    for name in (".step=2.partial-abcd1234", ".step=0.old-abcd1234"):  # what a kill in the middle leaves
        shutil.copytree(folder / "step=1", folder / name)
    (folder / ".step=2.partial-abcd1234" / "meta.json").unlink()
    (folder / "notes.txt").write_text("not ours")
    again = keeper(folder)
    found = again.load()
    assert found is not None and found[0] == 1 and same(found[1][0], Engine(1))
    assert sorted(path.name for path in folder.iterdir()) == ["notes.txt", "step=1"]
    again.done()
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    (folder / "notes.txt").unlink()
    again.done()
    assert not folder.exists()


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, kept: Keeper):
    monkeypatch.setattr(progress, "_on", True)
    found = kept.load()
    return found, capsys.readouterr().err


@pytest.mark.parametrize("name", ["arrays.safetensors", "meta.json"])
@pytest.mark.parametrize("damage", ["torn", "empty", "gone", "flipped"])
def test_damage_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, name: str, damage: str
) -> None:
    folder = tmp_path / "keep"
    keeper(folder).tick(9, [Engine(9)])
    file = folder / "step=9" / name
    whole = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        at = len(whole) // 2 if name[0] == "a" else whole.index(b'"sha256"') + 2
        flipped = bytes([*whole[:at], whole[at] ^ 4, *whole[at + 1 :]])
        file.write_bytes({"torn": whole[:-9], "empty": b"", "flipped": flipped}[damage])
    found, sentence = said(monkeypatch, capsys, keeper(folder))
    assert found is None and sentence.count("\n") == 1 and "damaged" in sentence and "begins anew" in sentence
    assert not list(folder.iterdir())
    kept = keeper(folder)
    assert kept.tick(1, [Engine(1)])


def test_any_flipped_bit_gives_the_same_state_or_none(tmp_path: Path) -> None:
    folder = tmp_path / "keep"
    rng = np.random.default_rng(5)
    for name in ("arrays.safetensors", "meta.json"):
        keeper(folder).tick(9, [Engine(9), Engine(4)])
        whole = (folder / "step=9" / name).read_bytes()
        for at in rng.choice(len(whole), 30, replace=False):
            keeper(folder).tick(9, [Engine(9), Engine(4)])
            file = folder / "step=9" / name
            bits = bytearray(file.read_bytes())
            bits[at % len(bits)] ^= 1 << int(rng.integers(8))
            file.write_bytes(bits)
            found = keeper(folder).load()
            if found is not None:
                assert name == "meta.json" and found[0] == 9
                assert same(found[1][0], Engine(9)) and same(found[1][1], Engine(4)) and len(found[1]) == 2


def test_of_two_the_whole_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "keep"  # killed after the new one was moved in place, and the disk lost some of it
    keeper(folder).tick(9, [Engine(9)])
    shutil.copytree(folder / "step=9", tmp_path / "aside")
    keeper(folder).tick(10, [Engine(10)])
    (tmp_path / "aside").rename(folder / "step=9")
    (folder / "step=10" / "arrays.safetensors").write_bytes(b"torn")
    found, sentence = said(monkeypatch, capsys, keeper(folder))
    assert found is not None and found[0] == 9 and same(found[1][0], Engine(9)) and "goes on from step 9" in sentence
    assert copies(folder) == 1


def test_another_training_is_refused_and_kept(tmp_path: Path) -> None:
    keeper(tmp_path, "ab12").tick(5, [Engine()])
    with pytest.raises(StoreError, match=r"other activations or settings, stopped at step 5; choose another folder"):
        keeper(tmp_path, "cd34").load()
    assert keeper(tmp_path, "ab12").load() is not None


class Told(World):
    """One of two processes, of which the other found the checkpoint of a given step."""

    def __init__(self, rank: int, other: int):
        super().__init__(rank, 2)
        self.other = other

    def sum(self, array):
        return array

    def gather(self, array):
        return [array, np.array([self.other])]


def test_of_several_processes_the_first_writes_and_all_must_find_the_same(tmp_path: Path) -> None:
    assert not keeper(tmp_path / "keep", world=Told(1, -1)).tick(4, [Engine(4)])
    assert keeper(tmp_path / "keep", world=Told(0, -1)).tick(4, [Engine(4)])
    found = keeper(tmp_path / "keep", world=Told(1, 4)).load()
    assert found is not None and same(found[1][0], Engine(4))
    with pytest.raises(InputError, match="different checkpoints"):
        keeper(tmp_path / "keep", world=Told(0, -1)).load()
    assert copies(tmp_path / "keep") == 1
