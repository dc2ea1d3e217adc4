"""How much of what each stage does: amounts that measured coefficients turn into seconds and bytes.

An amount named 'product' is floating-point operations of matrix products and convolutions, whose speed a machine is
asked for; everything else is handling, and follows the speed of one thread. Stages are named as run.json names them.
"""

from __future__ import annotations

from collections.abc import Mapping

from bioterp.cost.sizes import Size

Amounts = Mapping[str, float]
PRODUCT = "product"
QUALITY = 64, 1 << 12, 1 << 16  # `bioterp.quality`: held-out cells that are spliced: a 64th, between these
GRAMS = 343  # columns of the baseline `composition`


def work(size: Size) -> dict[str, Amounts]:
    """{stage: {amount: how much}} of the stages this run has."""
    layers, m, k, columns = len(size.rows), size.features, size.k, size.columns
    cells = sum(size.rows)
    values = sum(n * d for n, d in zip(size.rows, size.channels, strict=True))
    random = "random-weights" in size.baselines
    fitted = size.seeds + random
    made: dict[str, Amounts] = {}
    made["start"] = {"once": 1, "weights": size.weights}
    made[f"labels.{size.modality}"] = {
        "once": 1,
        "rows": max(size.rows) * size.lattices,
        "row x column": cells / layers * columns,
    }
    run = {PRODUCT: size.flops, "values": values}  # whatever is done once is in "start"
    made[f"activations.{size.modality}"] = run
    if random:
        made[f"activations-random-weights.{size.modality}"] = run
    if size.tokens:
        made["fit"] = {
            PRODUCT: 2.0 * m * sum(size.channels) * size.tokens * fitted,
            "token x feature": size.tokens * m * layers * fitted,  # what a selection looks through
            "token x k x channel": size.tokens * k * sum(size.channels) * fitted,
            "once": layers * fitted,
        }
    encoded = fitted + ("random-directions" in size.baselines)
    made["codes"] = {
        PRODUCT: 2.0 * m * values * encoded,
        "row x feature": cells * m * encoded,
        "codes": cells * k * encoded,
        "once": layers * encoded,
    }
    if "detection" in size.analyses:
        made |= _detection(size, cells, values, random)
    if "fidelity" in size.analyses:
        made["quality"] = _quality(size, random)
    made["pages"] = {"once": 1, "features": m * layers * size.seeds}
    return made


def _detection(size: Size, cells: int, values: int, random: bool) -> dict[str, Amounts]:
    """Tables of dictionaries, and of what they must beat."""
    layers, m, k, columns = len(size.rows), size.features, size.k, size.columns
    made: dict[str, Amounts] = {}

    def sparse(many: int) -> Amounts:
        return {
            "codes": cells * k * many,
            "row x column": cells * columns * many,
            "feature x column": m * columns * layers * many,
            "once": layers * many,
        }

    made["analyses dictionary"] = sparse(size.seeds)
    made["known"] = sparse(size.seeds)
    plain = random + ("random-directions" in size.baselines)
    if plain:
        made["analyses sparse baselines"] = sparse(plain)
    dense = [name for name in ("neurons", "pca") if name in size.baselines]
    if dense:
        both = 2 * values * len(dense)  # every direction, both ways
        turned = 4.0 * sum(n * d * d for n, d in zip(size.rows, size.channels, strict=True))
        made["analyses dense baselines"] = {
            PRODUCT: turned * len(dense),
            "values": both,
            "row x column": cells * columns * len(dense),
            "once": layers * len(dense),
        }
    own = [name for name in ("composition", "position", "intensity") if name in size.baselines]
    if own:
        read = max(size.rows) * size.lattices
        made[f"analyses source baselines.{size.modality}"] = {
            "rows": read * len(own),
            "row x column": read * columns * len(own),
            "once": len(own),
        }
    return made


def _quality(size: Size, random: bool) -> Amounts:
    """Held-out rows encoded, and the model run anew for every replacement: clean, two anchors, each dictionary."""
    share, least, most = QUALITY
    runs = 3 + size.seeds + (4 if random else 0)
    product = 0.0
    for n in size.rows if size.whole is not None else ():
        product += (size.whole or 0) / size.cells * min(max(n // share, least), most) * size.cells / max(n, 1) * runs
    return {PRODUCT: product, "once": len(size.rows) * (1 + random), "features": size.features * len(size.rows)}


def memory(size: Size) -> dict[str, Amounts]:
    """{stage: amounts} of a stage's peak beyond what start-up takes, bytes.

    What a stage gives back the process mostly keeps, so that every stage stands on the widest before it: rows, labels
    and the model's batches are asked of all of them, and Adam's numbers of the fit.
    """
    rows, widest = max(size.rows), max(size.channels)
    common = {"once": 1.0, "weights": size.weights, "rows": rows, "row x column": rows * size.columns}
    made: dict[str, Amounts] = {}
    for stage in work(size):
        if stage in ("fit", "codes"):
            made[stage] = {**common, "feature x channel": size.features * widest * size.seeds}
        elif stage != "start":
            made[stage] = common
    return made


def disk(size: Size) -> dict[str, Amounts]:
    """{folder of the results: amounts} in bytes at the end."""
    cells = sum(size.rows)
    values = sum(n * d for n, d in zip(size.rows, size.channels, strict=True))
    random = "random-weights" in size.baselines
    stored = {"value bytes": values * size.value, "rows": cells, "once": 1}
    made: dict[str, Amounts] = {"activations": stored}
    if random:
        made["activations-random-weights"] = stored
    made["dictionaries"] = {
        "codes": cells * (size.k + 1) * size.seeds,
        "weights": size.features * sum(size.channels) * (size.seeds + random),
        "once": 1,
    }
    made["labels and rows"] = {"rows": max(size.rows), "row x column": max(size.rows) * size.columns, "once": 1}
    made["pages"] = {"once": 1, "features": size.features * len(size.rows) * size.seeds}
    return made


def passing(size: Size) -> float:
    """Bytes that are on disk for a while only: codes of one baseline of one layer."""
    beside = {"random-weights", "random-directions"} & set(size.baselines)
    return max(size.rows) * (size.k + 1) * 8.0 if beside else 0.0
