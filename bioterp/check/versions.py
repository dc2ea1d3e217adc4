"""The libraries that are installed, against the oldest that are allowed and those this project is tested with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata

from bioterp.check.finding import OK, PROBLEM, WARNING, Finding, some
from bioterp.records import Run

# What the tests ran with (constraints.txt), of the libraries whose versions change what a run does.
TESTED = {
    "anndata": "0.12.19", "biopython": "1.88", "highdicom": "0.28.2", "monai": "1.6.1", "networkx": "3.6.1",
    "nibabel": "5.4.2", "numba": "0.68.1", "numpy": "2.4.6", "pandas": "2.3.3", "pyarrow": "24.0.0",
    "pyBigWig": "0.3.29", "pydicom": "3.0.2", "pyrodigal": "3.7.1", "pysam": "0.24.1", "safetensors": "0.8.0",
    "scanpy": "1.11.5", "scikit-learn": "1.9.1", "scipy": "1.17.1", "tokenizers": "0.23.3", "torch": "2.13.0",
    "transformers": "5.23.0",
}  # fmt: skip
_LEAST = re.compile(r"([A-Za-z0-9_.-]+)\s*>=\s*([0-9.]+)")


def findings(run: Run) -> Iterator[Finding]:
    """What is older than it may be (problem), and what is a major version away from what was tested (warning)."""
    least = _least()
    near, other = 0, []
    for name, tested in TESTED.items():
        have = installed(name)
        if have is None:
            continue
        if name.lower() in least and key(have) < key(least[name.lower()]):
            yield Finding(
                PROBLEM, "versions", f"{name} {have} is older than {least[name.lower()]}", f"pip install -U {name}"
            )
        elif generation(have) != generation(tested):
            other.append(f"{name} {have} (tested {tested})")
        else:
            near += 1
    if other:
        yield Finding(
            WARNING,
            "versions",
            f"{len(other)} libraries are not of the generation this project is tested with: {some(other, 6)}",
            "compare a small run with one under constraints.txt, or install with -c constraints.txt",
        )
    yield Finding(OK, "versions", f"{near} libraries are of the generations tested")


def installed(name: str) -> str | None:
    """The version of a distribution; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def key(version: str) -> tuple[int, ...]:
    """The numbers a version begins with: '2.13.0+cpu' → (2, 13, 0)."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else (0,)


def generation(version: str) -> tuple[int, ...]:
    """What may not change without notice: the major number, and the minor where the major is 0."""
    numbers = (*key(version), 0)
    return numbers[:2] if numbers[0] == 0 else numbers[:1]


def _least() -> dict[str, str]:
    """{distribution, in small letters: oldest version} that this package asks for, its extras included."""
    found = (_LEAST.match(line) for line in metadata.requires("bioterp") or [])
    return {one[1].lower(): one[2] for one in found if one is not None}
