"""The numbers of MODEL_CARD.md, written out from evaluation.json; a test holds the card to them.

python training/scan_small/card.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MODEL, WITH_POSITION = "model", "model and position"
STRIDES = (2, 4, 8)
MEASURES = {
    "macro_f1": "macro F1",
    "f1_anterior": "F1 anterior",
    "f1_posterior": "F1 posterior",
    "auroc_anterior": "AUROC anterior",
    "auroc_posterior": "AUROC posterior",
}


def number(value: float, sign: bool = False) -> str:
    """Three decimals, with a true minus sign."""
    return (f"{value:+.3f}" if sign else f"{value:.3f}").replace("-", "−")


def told(found: dict[str, Any], sign: bool = False) -> str:
    """A mean and its 95 % interval."""
    if found["interval_95"] is None:
        return number(found["mean"], sign)
    low, high = (number(end, sign) for end in found["interval_95"])
    return f"{number(found['mean'], sign)} ({low} to {high})"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def training(found: dict[str, Any]) -> str:
    """How long it was trained."""
    note = found["model"]
    return f"{float(note['training_minutes']):.0f} minutes of wall time, {int(note['steps']):,} steps"


def holes(found: dict[str, Any]) -> str:
    """Mean squared error on hidden voxels of the test scans, cubes of 4 and of 8 mm."""
    small, large = (found[f"holes_{side}"]["ways"] for side in (4, 8))
    head = ["filled by", "4 mm cubes", "model − this", "8 mm cubes", "model − this"]
    rows = []
    for name in small:
        cells = [f"**{name}**" if name == MODEL else name]
        for ways in (small, large):
            chosen = ways[name]["chosen_on_valid"]
            cells.append(told(ways[name]) + (f"; {chosen}" if chosen else ""))
            cells.append(told(ways[name]["model_minus_this"], sign=True) if name != MODEL else "")
        rows.append(cells)
    return table(head, rows)


def heads(found: dict[str, Any]) -> str:
    """The same on the three heads kept out."""
    names = list(next(iter(found["head_holes_4"].values())))
    rows = [
        [head, f"{side} mm", *(number(found[f"head_holes_{side}"][head][name]) for name in names)]
        for side in (4, 8)
        for head in found["head_holes_4"]
    ]
    return table(["head", "cubes", *names], rows)


def probe(found: dict[str, Any], stride: int, moved: bool = False) -> str:
    """Scores of the probes at one stride."""
    here = found[f"probe_stride_{stride}{'_moved' * moved}"]["measures"]
    rows = [
        [f"**{name}**" if name == MODEL else name, *(told(here[key][name]) for key in MEASURES)]
        for name in here["macro_f1"]
    ]
    head = f"{stride} mm cells{', moved crops' * moved}, probe on"
    return table([head, *MEASURES.values()], rows)


def cells(found: dict[str, Any]) -> str:
    """How many cells the probes were asked about."""
    parts = []
    for stride in STRIDES:
        here = found[f"probe_stride_{stride}"]
        each = ", ".join(f"{n:,} {name}" for name, n in here["test_cells"].items())
        parts.append(
            f"at {stride} mm {each}, {here['test_cells_not_asked']:,} not asked ({here['width']} channels, "
            f"{here['train_cells']:,} training cells)"
        )
    return "Test cells: " + "; ".join(parts) + "."


def differences(found: dict[str, Any]) -> str:
    """Macro F1 of the model's probe minus each baseline's, with and without position."""
    rivals = ("random weights", "intensity", "position", "intensity and position")
    rows = []
    for name in [f"probe_stride_{stride}" for stride in STRIDES] + ["probe_stride_4_moved"]:
        here, moved = found[name]["measures"]["macro_f1"], ", moved" * name.endswith("moved")
        for our in (MODEL, WITH_POSITION):
            key = f"{our.replace(' ', '_')}_minus_this"
            rows.append([f"{our}, {found[name]['stride_mm']} mm{moved}", *(told(here[r][key], True) for r in rivals)])
    return table(["macro F1, this minus", *rivals], rows)


def speed(found: dict[str, Any]) -> str:
    """Seconds of a forward."""
    here = found["speed"]
    whole, small = (here[name] for name in ("mni152_1mm", "hippocampus_crop"))
    shapes = (" × ".join(map(str, one["shape"])) for one in (whole, small))
    return (
        f"CPU time on {here['threads']} thread, all levels: {next(shapes)} voxels (MNI152 at 1 mm) in "
        f"{whole['seconds']:.1f} s, a hippocampus crop of {next(shapes)} in {small['seconds']:.2f} s."
    )


def passages(found: dict[str, Any]) -> list[str]:
    """All that the card must say word for word, line breaks aside."""
    probes = [probe(found, stride) for stride in STRIDES]
    probes.append(probe(found, 4, moved=True))
    return [training(found), holes(found), heads(found), *probes, cells(found), differences(found), speed(found)]


if __name__ == "__main__":
    print("\n\n".join(passages(json.loads(Path(__file__).with_name("evaluation.json").read_text()))))
