"""Runs that are stopped, starved of disk, or whose files are spoilt: a warm process forks a child for each attempt.

Imports are paid once. A child runs `bioterp run run.yaml --quiet` in a folder, with at most one fault:

    after    seconds until SIGKILL
    mark     SIGKILL when a file of this pattern is there (a temporary name: in the midst of writing it)
    change   SIGKILL just before the n-th change of a name in `results` (open for writing, mkdir, rename, remove …)
    full     from the n-th change on, nothing new can be made: ENOSPC, as on a full disk
    largest  no file grows beyond so many bytes (RLIMIT_FSIZE): a write fails in its midst
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
WARM = """
import errno, glob, json, os, resource, signal, sys, time, traceback
sys.path.insert(0, sys.argv[1])
from bioterp import cli
import bioterp.study, bioterp.models.huggingface, transformers.models.llama.modeling_llama
import anndata, scipy.stats, matplotlib.backends.backend_agg, matplotlib.backends.backend_svg

NAMES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

def watch(out, fault, said):
    inside, count = os.path.join(out, "results"), 0
    def hook(event, args):
        nonlocal count
        if event == "open":
            if not isinstance(args[2], int) or not args[2] & WRITING:
                return
        elif event not in NAMES:
            return
        if not isinstance(args[0], (str, bytes, os.PathLike)):
            return
        path = os.path.abspath(os.fsdecode(args[0]))
        if not path.startswith(inside):
            return
        count += 1
        os.pwrite(said, str(count).ljust(12).encode(), 0)
        if count == fault.get("change"):
            os.kill(os.getpid(), signal.SIGKILL)
        if count >= fault.get("full", count + 1) and event in ("open", "os.mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    sys.addaudithook(hook)

def child(out, fault, said, told):
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(out)
            os.dup2(told, 2)
            if fault.get("largest"):
                resource.setrlimit(resource.RLIMIT_FSIZE, (fault["largest"], resource.RLIM_INFINITY))
            watch(os.getcwd(), fault, said)
            os._exit(cli.main(["run", "run.yaml", "--quiet"]))
        except BaseException:
            traceback.print_exc()
        os._exit(70)
    return pid

for line in sys.stdin:
    out, fault = json.loads(line)
    begun, dead = time.perf_counter(), False
    said = os.open(os.path.join(out, "changes"), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    told = os.open(os.path.join(out, "stderr"), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    pid = child(out, fault, said, told)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        late = time.perf_counter() - begun > fault.get("after", 600)
        if not dead and (late or ("mark" in fault and any(glob.iglob(f"{out}/{fault['mark']}")))):
            os.kill(pid, signal.SIGKILL)
            dead = True
        time.sleep(0.0005)
    changes = int(os.pread(said, 12, 0) or 0)
    words = os.pread(told, 20_000, 0).decode()
    os.close(said), os.close(told)
    result = {"status": os.waitstatus_to_exitcode(status), "seconds": time.perf_counter() - begun}
    print("=", json.dumps(result | {"changes": changes, "stderr": words}), file=sys.__stdout__, flush=True)
"""


@dataclass(frozen=True)
class Ended:
    """status: 0, 2, or −9 when killed; changes of names that were made; seconds; what it said on standard error."""

    status: int
    seconds: float
    changes: int
    stderr: str

    @property
    def killed(self) -> bool:
        return self.status == -9


class Warm:
    """The forking process."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", WARM, str(ROOT)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def attempt(self, folder: Path, **fault: float | str) -> Ended:
        """One run with a fault, or none; it ends well, with one sentence, or killed: anything else is an error here."""
        assert self.process.stdin and self.process.stdout
        print(json.dumps([str(folder), fault]), file=self.process.stdin, flush=True)
        while True:  # what a child prints comes first
            line = self.process.stdout.readline()
            if line.startswith("= "):
                break
            assert line or self.process.poll() is None, "the forking process died"
        ended = Ended(**json.loads(line[2:]))
        assert ended.status in (0, 2, -9), f"{fault}: the run ended with status {ended.status}: {ended.stderr}"
        return ended

    def run(self, folder: Path, after: float = 600.0, mark: str = "") -> tuple[bool, float]:
        """(killed, seconds) of a run that nothing but the signal stops."""
        ended = self.attempt(folder, after=after, **({"mark": mark} if mark else {}))
        assert ended.status in (0, -9), ended.stderr
        return ended.killed, ended.seconds

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(60)


SPOILT = ("flip", "cut", "lose")


def spoil(folder: Path, rng: np.random.Generator, how: str) -> str:
    """Flip a bit of a file below a folder, cut one short, or lose one; says which. Large files are likelier."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    sizes = np.array([path.stat().st_size for path in files], float)
    weights = np.sqrt(sizes) + 1
    path = files[int(rng.choice(len(files), p=weights / weights.sum()))]
    held = bytearray(path.read_bytes())
    if how == "lose" or not held:
        path.unlink()
    elif how == "cut":
        path.write_bytes(held[: int(rng.integers(len(held)))])
    else:
        at = int(rng.integers(len(held)))
        held[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(held)
    return f"{how} {path.relative_to(folder)}"


FAULTS = ("change", "after", "full", "largest", *SPOILT)


def trial(
    warm: Warm, folder: Path, calm: Ended, largest: int, rng: np.random.Generator, kinds: tuple[str, ...]
) -> list[str]:
    """Faults of these kinds one after the other in one folder, each followed by the same command; says what came.

    calm: an undisturbed run, which tells how many changes and seconds there are to choose from; largest: bytes of its
    largest file. The last attempt is undisturbed, and must end well.
    """
    told = []
    for kind in kinds:
        if kind in SPOILT:
            if any(path.is_file() and path.name != ".lock" for path in (folder / "results").rglob("*")):
                told.append(spoil(folder / "results", rng, kind))
            continue
        most = {"change": calm.changes, "full": calm.changes, "after": calm.seconds, "largest": largest}[kind]
        drawn = float(rng.uniform(0.02, 1)) if kind != "largest" else float(rng.uniform(0.05, 1)) ** 2
        fault = most * drawn if kind == "after" else max(1, int(most * drawn))
        ended = warm.attempt(folder, **{kind: fault})
        if ended.status == 2:
            lines = ended.stderr.strip().splitlines()
            assert len(lines) == 1 and lines[0].startswith("bioterp: "), ended.stderr
        told.append(f"{kind} {fault:.6g}: {'killed' if ended.killed else ended.stderr.strip() or 'ended'}")
    ended = warm.attempt(folder)
    assert ended.status == 0, f"after {told}: {ended.stderr}"
    return told
