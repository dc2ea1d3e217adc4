"""The engine of GPUs against that of the CPU: on CPU tensors, in Triton's interpreter, on a GPU where one is here."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from bioterp.errors import InputError
from bioterp.progress import show
from bioterp.train import torch_kernels
from bioterp.train.crew import Crew
from bioterp.train.cuda import CudaEngine
from bioterp.train.device_pairs import least
from bioterp.train.engine import Engine
from bioterp.train.finish import finished
from bioterp.train.moments import Moments
from bioterp.train.recipe import Recipe, Sizes
from bioterp.train.roads import disagreement, place, road
from bioterp.train.world import World, world

B, D, OUT, M, K = 203, 19, 13, 97, 5
HOW = Recipe(batch=B, steps=40, lr=2e-3, warm=2, patience=3 * B, aux=0.25, even=0.02, cap=1.1)  # the first step is even
KINDS = [("topk", False, False), ("batchtopk", False, False), ("matryoshka", False, False)]
KINDS += [("topk", True, False), ("batchtopk", True, True), ("matryoshka", True, True)]
ROOT = Path(__file__).parents[2]
NO_TRITON = "" if importlib.util.find_spec("triton") else "triton is not installed (it is for GPUs only)"
NO_GPU = "" if torch.cuda.is_available() else "there is no GPU here"


def rows(seed: int, d: int = D, count: int = B) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, d), np.float32)


def pair(
    kind: str, transcoder: bool, skip: bool, device: str = "cpu", kernels: types.ModuleType | None = None
) -> tuple[Engine, CudaEngine]:
    """Both engines at the same place, some features dead from the beginning."""
    sizes = Sizes(D, OUT if transcoder else D, M, K, kind, transcoder, skip)
    into, out = Moments(rows(1)[0], 1.7, 0.0), Moments(rows(2, OUT)[0], 0.6, 0.0) if transcoder else None
    with Crew(1) as crew:
        ours = Engine(sizes, HOW, 3, into, crew, out=out)
        theirs = CudaEngine(sizes, HOW, 3, into, crew, out=out, device=device, kernels=kernels)
    rng, state = np.random.default_rng(4), ours.state()
    for name in ("encoder", "b_enc", "b_out", "skip"):
        state[name] += 0.1 * rng.standard_normal(state[name].shape, np.float32)
    state["silent"][rng.choice(M, 31, replace=False)] = 10_000
    theirs.restore(state)
    return ours, theirs


def compare(ours: Engine, theirs: CudaEngine, steps: int = 3) -> None:
    """The same steps give the same weights, gradients, counts and thresholds, but for rounding."""
    wide = ours.sizes.transcoder
    for step in range(steps):
        x, y = rows(20 + step), rows(40 + step, OUT) if wide else None
        np.testing.assert_allclose(theirs.step(x, y), ours.step(x, y), rtol=1e-5)
    left, right = ours.state(), theirs.state()
    assert left.keys() == right.keys() and ours.done == theirs.done == steps
    for name, array in left.items():
        scale = float(np.abs(array).max(initial=0))
        close = 2e-4 * scale if name.endswith(("first", "second")) else 1e-5
        np.testing.assert_allclose(right[name], array, rtol=1e-5, atol=close, err_msg=name)
        assert scale > 0 or not array.size or (name == "limit" and ours.sizes.kind == "topk"), name
    np.testing.assert_array_equal(right["silent"], left["silent"])
    held = rows(60, count=3 * B)
    assert theirs.limit(held) == pytest.approx(ours.limit(held), rel=1e-5)


def in_the_interpreter(kinds: list[tuple[str, bool, bool]], count: int) -> None:
    """`compare` with Triton's kernels and a tile so small that they go through their loops more than once."""
    global B
    from bioterp.train import triton_kernels

    B, triton_kernels.TILE, triton_kernels.DOTS = count, 128, (16, 8)
    for kind in kinds:
        compare(*pair(*kind, kernels=triton_kernels), steps=2)


@pytest.mark.parametrize(("kind", "transcoder", "skip"), KINDS)
def test_its_steps_are_those_of_the_engine_of_the_cpu(kind: str, transcoder: bool, skip: bool) -> None:
    compare(*pair(kind, transcoder, skip))


def test_a_step_in_tiles_is_one_of_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bioterp.train.cuda.TILE", 64 * M)
    compare(*pair("matryoshka", False, False))


@pytest.mark.slow
@pytest.mark.skipif(bool(NO_TRITON), reason=NO_TRITON)
@pytest.mark.parametrize("kind", [KINDS[0], KINDS[-1]])
def test_so_are_those_of_tritons_kernels_in_its_interpreter(kind: tuple[str, bool, bool]) -> None:
    lines = "from tests.train.test_cuda import in_the_interpreter", f"in_the_interpreter([{kind!r}], 41)"
    told = run(*lines, TRITON_INTERPRET="1")
    assert told.returncode == 0, told.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.skipif(bool(NO_TRITON), reason=NO_TRITON)
@pytest.mark.parametrize("capability", [80, 90])
def test_tritons_kernels_compile_where_there_is_no_gpu(capability: int, tmp_path: Path) -> None:
    lines = "from tests.train.test_cuda import compile_all", f"compile_all({capability})"
    told = run(*lines, TRITON_CACHE_DIR=str(tmp_path))
    assert told.returncode == 0, told.stderr[-3000:]


@pytest.mark.skipif(bool(NO_GPU), reason=NO_GPU)
@pytest.mark.parametrize("which", ["torch", "triton"])
@pytest.mark.parametrize(("kind", "transcoder", "skip"), KINDS)
def test_so_are_those_on_a_gpu_and_always_the_same_bits(kind: str, transcoder: bool, skip: bool, which: str) -> None:
    kernels = torch_kernels
    if which == "triton":
        kernels = pytest.importorskip("bioterp.train.triton_kernels", reason=NO_TRITON)
    ours, theirs = pair(kind, transcoder, skip, "cuda", kernels)
    compare(ours, theirs)
    again = pair(kind, transcoder, skip, "cuda", kernels)[1]
    for step in range(3):
        again.step(rows(20 + step), rows(40 + step, OUT) if transcoder else None)
    assert all(np.array_equal(array, again.state()[name]) for name, array in theirs.state().items())


@pytest.mark.parametrize("transcoder", [False, True])
def test_it_begins_and_ends_as_the_engine_of_the_cpu(transcoder: bool) -> None:
    ours, theirs = pair("batchtopk", transcoder, transcoder)
    x, y = rows(70), rows(71, OUT) if transcoder else None
    before = theirs.encoder
    for one in (ours, theirs):
        one.start(x, y)
        one.step(x, y)
    assert np.abs(theirs.encoder - before).max() > 0.01
    about = {"model": "planted", "layer": "none"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made, wanted = (finished(one, about, rows(72)) for one in (theirs, ours))  # type: ignore[arg-type]
    np.testing.assert_allclose(
        made.decode_array(made.encode_array(x), x), wanted.decode_array(wanted.encode_array(x), x), atol=1e-4
    )
    assert made.threshold == pytest.approx(wanted.threshold, rel=1e-5)


def test_from_a_state_it_goes_on_to_the_same_bits() -> None:
    one, other = pair("batchtopk", False, False)[1], pair("batchtopk", False, False)[1]
    one.step(rows(80))
    state = one.state()
    one.step(rows(81))
    other.restore(state)
    other.step(rows(81))
    assert other.done == 2
    assert all(np.array_equal(array, other.state()[name]) for name, array in one.state().items())


def apart() -> None:
    """In one of two processes: four steps on this process' share are those of one process on all rows."""
    us = world(timeout=300)
    alone, share = pair("matryoshka", True, True)[1], pair("matryoshka", True, True)[1]
    share.world = us
    cut = slice(0, 80) if us.is_first else slice(80, B)
    for step in range(4):
        x, y = rows(20 + step), rows(40 + step, OUT)
        np.testing.assert_allclose(share.step(x[cut], y[cut]), alone.step(x, y), rtol=1e-5)
    for name, array in alone.state().items():
        np.testing.assert_allclose(share.state()[name], array, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_two_processes_are_one() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", "from tests.train.test_cuda import apart; apart()"],
            env={**os.environ, **meet, "RANK": str(rank)},
            cwd=ROOT,
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    told = [one.communicate(timeout=600)[1].decode() for one in both]
    assert [one.returncode for one in both] == [0, 0], told[0][-2000:] + told[1][-2000:]


@pytest.mark.parametrize("wanted", [1, 7, 500, 5_000])
def test_the_threshold_over_processes_is_found_bit_by_bit(wanted: int) -> None:
    class Twice(World):
        """Another process with the same values."""

        def sum(self, array):  # type: ignore[no-untyped-def]
            array *= 2
            return array

    values = torch.from_numpy(np.abs(rows(90, 1, 500)).ravel().astype(np.float32) ** 9)
    every = np.sort(np.repeat(values.numpy(), 2))[::-1]
    assert least(values, wanted, Twice(0, 2)) == every[min(wanted, len(every)) - 1]
    assert least(values[:0], wanted, Twice(0, 2)) == least(values[:0], wanted, World()) == 0.0


def test_a_device_that_is_not_there_is_refused_in_a_sentence() -> None:
    assert place(None) == place("cpu") == torch.device("cpu")
    for word, said in (("gpu", "'cuda' or"), ("cuda:one", "'cuda' or"), ("cuda:99", "use device='cpu'")):
        with pytest.raises(InputError, match=said):
            place(word)
    if NO_GPU:
        with pytest.raises(InputError, match="0 CUDA devices are here"):
            CudaEngine(Sizes(D, D, M, K), HOW, 3, Moments(rows(1)[0], 1.7, 0.0), Crew(1), device="cuda")


def test_without_triton_it_says_that_it_takes_the_slower_road(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "bioterp.train.triton_kernels", None)
    monkeypatch.delattr("bioterp.train.triton_kernels", raising=False)
    road.cache_clear()
    show()
    try:
        with pytest.warns(RuntimeWarning, match="slower"):
            assert road(torch.device("cuda", 0), D, OUT, 1) is torch_kernels
    finally:
        show(False)
        road.cache_clear()
    assert "Triton's kernels cannot be used" in capsys.readouterr().err
    assert road(torch.device("cpu"), D, OUT, 1) is torch_kernels  # asked for, nothing to say


@pytest.mark.parametrize("name", ["rebuild", "dots", "gather", "learn"])
def test_kernels_that_give_other_numbers_are_noticed(name: str) -> None:
    wrong = types.ModuleType("wrong")
    vars(wrong).update(vars(torch_kernels))
    right = getattr(torch_kernels, name)

    def slightly(*given, **named):  # type: ignore[no-untyped-def]
        """As if the last pair had been left out, or the last row."""
        if name in ("gather", "learn"):
            given = (*given[:2], torch.cat([given[2][:-1], torch.zeros(1)]), *given[3:])
        made = right(*given, **named)
        return made[:-1].clone().resize_(len(made)) * 1.01 if name in ("rebuild", "dots") else made

    setattr(wrong, name, slightly)
    cpu = torch.device("cpu")
    assert disagreement(torch_kernels, cpu, D, OUT, 5) == 0
    assert disagreement(wrong, cpu, D, OUT, 5) > 1e-3


def run(*lines: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Lines of Python in a process of their own."""
    told = {**os.environ, "OMP_NUM_THREADS": "1", **more}
    return subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], env=told, cwd=ROOT, capture_output=True, text=True, timeout=600
    )


def compile_all(capability: int) -> None:
    """Every kernel to machine code of a GPU, for d = 512 and one that fills no tile; Triton brings what it takes."""
    from triton import compile as compiled
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from bioterp.train import triton_kernels as ours

    target = GPUTarget("cuda", capability, 32)
    ints, numbers = ("starts", "bounds", "index", "column", "slope"), ("b", "d", "n")
    for d in (512, 2305):
        shape = ours._shape(d)
        warps = {"num_warps": shape.pop("num_warps")}
        cases = [(ours._rebuild, {"CUTS": cuts, **shape}, warps) for cuts in (1, 5)]
        cases += [(ours._dots, {"PAIRS": ours.DOTS[0], "D": ours.DOTS[1]}, {})]
        cases += [(ours._rows, {"MOVE": move, "UNIT": unit, **shape}, warps) for move, unit in ((0, 0), (1, 0), (1, 1))]
        for kernel, fixed, options in cases:
            scalar = {"rate", "unbias", "keep1", "keep2", "eps"}
            kinds = {
                name: "constexpr" if name in fixed else "*i64" if name in ints else "i32" if name in numbers
                else "fp32" if name in scalar else "*fp32"
                for name in kernel.arg_names
            }  # fmt: skip
            made = compiled(ASTSource(kernel, kinds, fixed), target=target, options=options)
            assert len(made.asm["cubin"]) > 1000
