"""Turn a run's checkpoint into the shipped folder, and keep its decoder and loss curve beside the scripts.

    python training/scan_small/export.py --run RUN --out bioterp/models/reference/scan_small

Can be done while the run goes on: shapes never change, only the weights improve.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import model as scan
import torch


def from_checkpoint(run: Path) -> tuple[scan.MaskedAutoencoder, dict[str, object], dict[str, str]]:
    """The model of a run, its configuration, and how far it had come."""
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    config = json.loads(state["config"])
    model = scan.MaskedAutoencoder(config["model"], config["seed"])
    model.load_state_dict(state["model"])
    done = state["seconds"] / (60.0 * config["budget_minutes"])
    note = {
        "steps": str(state["step"]),
        "training_minutes": f"{state['seconds'] / 60:.1f}",
        "complete": str(done >= 1.0).lower(),
    }
    return model.eval(), config, note


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--beside", type=Path, default=Path(__file__).parent, help="folder for decoder and loss curve")
    given = parser.parse_args()
    model, config, note = from_checkpoint(given.run)
    scan.export(model.encoder, config, given.out, note)
    # Not shipped: evaluate.py needs it to say how well holes are filled.
    scan.write_weights(given.beside / "decoder.safetensors", model.decoder, note)
    (given.beside / "loss.tsv").write_text((given.run / "loss.tsv").read_text())
    print(note)


if __name__ == "__main__":
    main()
