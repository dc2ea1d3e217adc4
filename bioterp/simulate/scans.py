"""Small heads with planted atrophy and lesions, as several scanners would show them.

A head is an ellipsoid of tissue with a rim, a ventricle in its middle, and a smooth texture of its own. Severity widens
the ventricle and adds bright lesions; age widens it too, sex makes the head larger. A scanner tilts the brightness
along an axis of its own, blurs, and adds noise. The same person can be drawn again with another severity or scanner.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from bioterp.arrays import Array
from bioterp.errors import missing_package
from bioterp.simulate import Plan, checked, classes
from bioterp.store import writing_file

SIDE = 24
SCANNERS = ("a", "b", "c")
TILT = np.array([[0.25, 0, 0], [0, 0.25, 0], [0, 0, -0.25]])
NOISE, BLUR = (0.03, 0.06, 0.09), (0.0, 0.4, 0.7)
RECRUITED = 0.9  # sd of the outcome between neighbouring scanners: patients are not seen everywhere alike
NEAR = np.stack(np.meshgrid(*[np.arange(SIDE) - (SIDE - 1) / 2] * 3, indexing="ij"))  # voxels from the middle

RUN = """\
# Heads with planted atrophy and lesions. Start it with `bioterp run run.yaml`; truth.tsv tells the severity.
out: results
source:     {kind: scans, items: scans.tsv}
model:      {name: bioterp/scan-small}
layers:     [2]
dictionary: {kind: topk, width: 128, k: 8, tokens: 200k}
analyses:   [fidelity]
baselines:  []
cohort:
  samples: people.tsv
  outcome: outcome
  covariates: [age, sex]
  confounders: [scanner]
  groups: scanner
exports: [tsv]
"""


@dataclass(frozen=True)
class Person:
    """severity, age and head size in standard deviations; seed: of everything that is this person's alone."""

    severity: float
    age: float
    size: float
    scanner: int
    seed: int

    def drawn(self) -> Array:
        """(SIDE, SIDE, SIDE) float32."""
        rng = np.random.default_rng([self.seed, 5])
        shape = rng.normal(0, 0.03, 3)
        radius = (9.5 + 0.4 * self.size) * (1 + shape)
        away = np.sqrt(((NEAR / radius[:, None, None, None]) ** 2).sum(0))
        texture = gaussian_filter(rng.normal(size=(SIDE,) * 3), 2.0)
        image = np.where(away < 1, 0.6 + 0.6 * texture, 0.0)
        image[(away >= 0.85) & (away < 1)] = 0.8
        wide = 2.6 + 0.25 * self.age + 0.5 * self.severity + rng.normal(0, 0.25)
        middle = np.sqrt(((NEAR / np.array([0.8, 1.3, 0.9])[:, None, None, None]) ** 2).sum(0))
        image[middle < max(wide, 0.5)] = 0.2
        places, order = np.argwhere((away < 0.75) & (middle > 4.5)), rng.random(64)
        count = int(np.clip(np.round(2 + 1.5 * self.severity + rng.normal(0, 0.8)), 0, 12))
        for at in places[(order[:count] * len(places)).astype(int)]:
            image[((NEAR - NEAR[:, *at][:, None, None, None]) ** 2).sum(0) < 1.6] = 1.1
        return np.asarray(self._seen(rng, image), np.float32)

    def _seen(self, rng: np.random.Generator, image: Array) -> Array:
        """As the scanner shows it; the noise is the person's own, in another scanner's strength."""
        tilted = image * (1 + np.tensordot(TILT[self.scanner], NEAR / (SIDE / 2), 1))
        blurred = gaussian_filter(tilted, BLUR[self.scanner]) if BLUR[self.scanner] else tilted
        return np.asarray(blurred + NOISE[self.scanner] * rng.normal(size=image.shape))

    def but(self, **changed: Any) -> Person:
        return replace(self, **changed)


def heads(rng: np.random.Generator, people: int, h2: float) -> tuple[list[Person], pd.DataFrame]:
    """People, and their sheet: an outcome of whose variance h2 is severity, and which differs between scanners."""
    age, sex = rng.normal(size=people), rng.integers(0, 2, people)
    severity, scanner = rng.normal(size=people), rng.permutation(np.arange(people) % len(SCANNERS))
    outcome = np.sqrt(h2) * severity + np.sqrt(1 - h2) * rng.normal(size=people)
    outcome += RECRUITED * (scanner - 1) + 0.2 * age
    found = [
        Person(float(severity[i]), float(age[i]), float(sex[i] - 0.5), int(scanner[i]), int(rng.integers(1 << 31)))
        for i in range(people)
    ]
    sheet = pd.DataFrame({"outcome": outcome, "age": age, "sex": np.array(["f", "m"])[sex]})
    sheet["scanner"] = np.array(SCANNERS)[scanner]
    return found, sheet.set_axis([f"S{i:04d}" for i in range(people)]).rename_axis("sample")


def scans(out: str | Path, plan: Plan | None = None, *, seed: int = 0) -> pd.DataFrame:
    """Everything in a folder: scans/, scans.tsv, people.tsv, truth.tsv, run.yaml; gives the sheet of people.

    plan: people, h2 and binary are used. Raises InputError as `cohort` does, and without nibabel.
    """
    try:
        import nibabel
    except ImportError:
        raise missing_package("nibabel", "imaging", "writing scans") from None
    plan, out = checked(plan or Plan(people=150, h2=0.36)), Path(out)
    people, sheet = heads(np.random.default_rng([seed, 33]), plan.people, plan.h2)
    if plan.binary:
        sheet["outcome"] = classes(sheet["outcome"].to_numpy())
    image: Any = nibabel.Nifti1Image
    (out / "scans").mkdir(parents=True, exist_ok=True)
    for name, person in zip(sheet.index, people, strict=True):
        nibabel.save(image(person.drawn(), np.eye(4)), out / "scans" / f"{name}.nii.gz")
    files = [f"scans/{name}.nii.gz" for name in sheet.index]
    listed = pd.DataFrame({"scan": sheet.index, "subject": sheet.index, "path": files})
    truth = pd.DataFrame({"sample": sheet.index, "severity": [one.severity for one in people]})
    frames = {"scans.tsv": listed, "people.tsv": sheet.reset_index(), "truth.tsv": truth}
    texts = {name: frame.to_csv(sep="\t", index=False) for name, frame in frames.items()}
    for name, text in {**texts, "run.yaml": RUN}.items():
        with writing_file(out / name) as beside:
            beside.write_text(text, encoding="utf-8")
    return sheet
