"""What is known of the features of a run, and what is not: everything made of codes, decoders and detection together.

`of_codes` while the codes of one dictionary are there; `over_seeds` at the end, of the joined tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bioterp.analyses.described import described, strongest_unknown
from bioterp.analyses.discoveries import discoveries
from bioterp.analyses.fidelity import Coder
from bioterp.analyses.layers import best_of, scored
from bioterp.analyses.loci import loci
from bioterp.analyses.motifs import Letters, motifs
from bioterp.analyses.relations import relations
from bioterp.analyses.replication import beyond, replication
from bioterp.arrays import Array
from bioterp.field import Field

Frames = dict[str, pd.DataFrame]
MOST_UNKNOWN = 12  # features without a term whose places are looked up
MOST_TERMS = 60  # terms whose best feature is


@dataclass(frozen=True)
class Text:
    """What is written along a sequence: the letters of a place, and the shares (4,) of A, C, G, T in all of it."""

    letters: Letters
    background: Array


def of_codes(
    codes: Field, truth: Field, coder: Coder, others: Sequence[Coder], frames: Frames, text: Text | None
) -> Frames:
    """`relations`, and the `loci` (and `motifs`) of unknown features and of the best feature of every term found.

    frames: detection and features of these codes, perhaps enrichment.
    """
    related = relations(codes, coder, others)
    found = described(frames["features"], frames["detection"], related, frames.get("enrichment"), len(codes))
    best = best_of(scored(frames["detection"]), ["term"])
    best = best[beyond(best) & (best["feature"] >= 0)].head(MOST_TERMS)
    wanted = [*strongest_unknown(found, MOST_UNKNOWN)["feature"], *best["feature"]]
    made = {"relations": related, "loci": loci(codes, wanted, truth=truth)}
    if text is not None:
        made["motifs"] = motifs(made["loci"], text.letters, text.background)
    return made


def over_seeds(joined: Frames, decoder: Callable[[str, int], Array], cells: Mapping[str, int]) -> Frames:
    """`features` with all columns, `replication` and `discoveries`, of the joined tables.

    decoder: gives that of a layer and seed; cells: rows of each layer.
    """
    if "detection" not in joined or "relations" not in joined:
        return {}
    table = joined["relations"]
    keys = {(str(line.layer), int(line.seed)) for line in table[["layer", "seed"]].drop_duplicates().itertuples()}
    many = table.groupby("layer")["seed"].nunique()
    decoders = {(layer, seed): decoder(layer, seed) for layer, seed in sorted(keys) if many[layer] > 1}
    detection = joined["detection"]
    mine = detection[
        [(str(at), int(seed)) in keys for at, seed in zip(detection["layer"], detection["seed"], strict=True)]
    ]
    again = replication(mine, decoders)
    parts = [
        described(group, detection, table, joined.get("enrichment"), cells[str(layer)], joined.get("adjusted"))
        for layer, group in joined["features"].groupby("layer", sort=False)
    ]
    whole = pd.concat(parts, ignore_index=True)
    return {"features": whole, "replication": again, "discoveries": discoveries(mine, whole, again)}


def text_of(source: Any) -> Text | None:
    """What a source has to read; None where it has no letters."""
    letters = getattr(source, "letters", None)
    if letters is None:
        return None
    count = np.ones(4)  # so that a letter that never occurs has a share
    step = max(1, len(source.items) // 512)
    for line in source.items.iloc[::step].itertuples(index=False):
        codes = letters(line.contig, line.start, line.end, "+")
        count += np.bincount(codes[codes < 4], minlength=4)
    count += count[::-1]  # both strands
    return Text(letters, count / count.sum())
