"""Jobs that start warm: their words, files and status are theirs, and nobody outlives who waits for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bioterp.workflow import warm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux")
JOB = [sys.executable, "-m", "bioterp.workflow.job"]
SLEEPS = """
import os, time
from pathlib import Path
Path("pid").write_text(str(os.getpid()))
if os.fork() == 0:
    Path("child").write_text(str(os.getpid()))
    time.sleep(300)
while True:
    time.sleep(300)
"""


@pytest.fixture(scope="module")
def served() -> Iterator[None]:
    with warm.serving(1):
        yield


def gone(pid: int) -> bool:
    """No such process, or one that has ended and that nobody has asked about yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def sleeping(folder: Path) -> tuple[subprocess.Popen[bytes], list[int]]:
    """A job that hangs, and the processes it is made of."""
    (folder / "sleeps.py").write_text(SLEEPS)
    job = subprocess.Popen([*JOB, "list", "formats", "--plugin", "sleeps.py"], cwd=folder)
    names = [folder / "pid", folder / "child"]
    until(lambda: all(one.is_file() and one.read_text() for one in names))
    return job, [int(one.read_text()) for one in names]


def test_a_job_has_its_own_words_folder_environment_and_files(served: None, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import os\nprint(os.getcwd(), os.environ['MINE'])\n")
    words = [*JOB, "list", "formats", "--plugin", "mine.py"]
    made = subprocess.run(words, cwd=tmp_path, env={**os.environ, "MINE": "7"}, capture_output=True, text=True)
    assert made.stdout == f"{tmp_path} 7\n"
    assert made.returncode == 2 and "mine.py needs a record ABOUT" in made.stderr  # it adds nothing


def test_a_mistake_is_its_sentence_and_status(served: None, tmp_path: Path) -> None:
    made = subprocess.run([*JOB, "lst"], cwd=tmp_path, capture_output=True, text=True)
    assert made.returncode == 2 and made.stdout == ""
    assert made.stderr == "bioterp: there is no verb 'lst'; did you mean 'list'?\n"


def test_a_fork_that_is_killed_is_told(served: None, tmp_path: Path) -> None:
    job, pids = sleeping(tmp_path)
    os.kill(pids[0], signal.SIGKILL)
    assert job.wait(30) == 128 + signal.SIGKILL
    os.kill(pids[1], signal.SIGKILL)


def test_a_job_that_is_killed_takes_its_fork_along(served: None, tmp_path: Path) -> None:
    job, pids = sleeping(tmp_path)
    other = subprocess.run([*JOB, "list", "formats"], capture_output=True)  # beside it
    assert other.returncode == 0 and not any(map(gone, pids))
    job.kill()
    job.wait()
    until(lambda: all(map(gone, pids)))


def test_the_end_takes_everything_along(tmp_path: Path) -> None:
    with warm.serving(1):
        place = Path(os.environ[warm.AT])
        job, pids = sleeping(tmp_path)
    until(lambda: all(map(gone, pids)))
    assert job.wait(30) == 1 and not place.parent.exists()
    assert os.environ.get(warm.AT) != str(place)
    made = subprocess.run(JOB, env={**os.environ, warm.AT: str(place)}, capture_output=True, text=True)
    assert made.returncode == 1
    assert made.stderr == "bioterp: the process that jobs start from has gone; run the same command again\n"
