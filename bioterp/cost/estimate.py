"""Size, law, coefficients and this machine together: what each stage takes, and what the whole does."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bioterp.cost import law
from bioterp.cost.machine import Speed
from bioterp.cost.sizes import Size

MEASURED = Path(__file__).with_name("measured.json")


@dataclass(frozen=True)
class Stage:
    """seconds on this machine; memory: bytes at its peak."""

    name: str
    seconds: float
    memory: float


@dataclass(frozen=True)
class Estimate:
    """stages in their order; memory: bytes at the highest peak; disk: bytes at the end, by folder; peak: at most."""

    stages: tuple[Stage, ...]
    disk: Mapping[str, float]
    passing: float

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    @property
    def memory(self) -> float:
        return max(stage.memory for stage in self.stages)

    @property
    def kept(self) -> float:
        """Bytes at the end."""
        return sum(self.disk.values())

    @property
    def peak(self) -> float:
        """Bytes on disk at most."""
        return self.kept + self.passing


@functools.cache
def measured() -> dict[str, Any]:
    """machine, date, speed (its product per second), and {time, memory, disk: {stage: {amount: per unit}}}."""
    told: dict[str, Any] = json.loads(MEASURED.read_text(encoding="utf-8"))
    return told


def estimate(size: Size, speed: Speed, per: Mapping[str, Any] | None = None, forward: float | None = None) -> Estimate:
    """What a run of this size takes on a machine of this speed.

    per: coefficients in place of those that ship. forward: seconds of one pass of the model over all arrays, where
    they were measured (`bioterp check --measure`), in place of the law's.
    """
    per = measured() if per is None else per
    base = applied(per["memory"].get("start", {}), law.work(size)["start"])
    peaks = law.memory(size)
    stages = []
    for name, amounts in law.work(size).items():
        took = seconds(per["time"].get(shelf(name), {}), amounts, per["speed"], speed)
        if forward is not None and name.startswith("activations"):
            took = forward + seconds(per["time"].get(shelf(name), {}), {**amounts, law.PRODUCT: 0}, per["speed"], speed)
        beyond = applied(per["memory"].get(shelf(name), {}), peaks.get(name, {}))
        stages.append(Stage(name, took, base + beyond))
    disk = {
        name: applied(per["disk"].get(name.partition("-random")[0], {}), own) for name, own in law.disk(size).items()
    }
    return Estimate(tuple(stages), disk, law.passing(size))


def shelf(stage: str) -> str:
    """Where a stage's coefficients stand: random weights run as trained ones do."""
    return stage.replace("-random-weights", "")


def seconds(per: Mapping[str, float], amounts: law.Amounts, then: float, now: Speed) -> float:
    """Amounts times seconds per unit, as fast as this machine is against the one that was measured."""
    took = 0.0
    for name, each in per.items():
        took += each * amounts.get(name, 0) * then / (now.product if name == law.PRODUCT else now.one)
    return took


def applied(per: Mapping[str, float], amounts: law.Amounts) -> float:
    return sum(each * amounts.get(name, 0) for name, each in per.items())
